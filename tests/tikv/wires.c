/* Streams of the real wire, to a store of the mock cluster: the next message is looked for when one
 * is expected, or when something is sent; one that nobody has looked for is not lost and keeps no
 * stream from its end. Commands are empty ones, which a store answers at once. */
#include <stdio.h>

#include "tikv/cluster.h"
#include "tikv/pb.h"
#include "tikv/wire.h"

#define METHOD "/tikvpb.Tikv/BatchCommands"
#define EMPTY_NUMBER 255 /* of the command, in tikvpb.proto */
#define COMMANDS 40
#define WITHIN_US 60000000

typedef struct line {
    cluster cluster;
    ti_wire *wire;
    ti_stream *stream;
    bool expecting; /* what is said of each message */
    uint64_t sent;
    _Atomic(uint64_t) gone; /* messages that are on their way */
    _Atomic(uint64_t) answered;
    _Atomic(uint64_t) ids; /* the sum of the ids that were answered */
    _Atomic(int) ended;
} line;

static void on_sent(void *context)
{
    atomic_fetch_add(&((line *)context)->gone, 1);
}

static bool on_message(void *context, ti_slice message)
{
    line *l = context;
    ti_pb_field field;
    ti_err err;
    while (ti_pb_next(&message, &field, &err) == TI_OK) {
        uint64_t id = field.varint;
        ti_slice packed = field.bytes;
        while (field.number == 2 && (field.wire_type == 0 || packed.len > 0)) {
            if (field.wire_type != 0)
                test_ok(ti_pb_varint(&packed, &id, &err), &err);
            atomic_fetch_add(&l->ids, id);
            atomic_fetch_add(&l->answered, 1);
            if (field.wire_type == 0)
                break;
        }
    }
    return l->expecting;
}

static void on_end(void *context, const ti_err *why)
{
    line *l = context;
    assert_int_not_equal(why->status, TI_OK);
    atomic_store(&l->ended, 1);
}

static const ti_stream_handler handler = {
    .on_sent = on_sent, .on_message = on_message, .on_end = on_end};

static void line_open(line *l, bool expecting)
{
    char address[CLUSTER_ADDRESS_SIZE];
    ti_err err;
    memset(l, 0, sizeof(*l));
    l->expecting = expecting;
    cluster_start_mock(&l->cluster, &(cluster_options){0});
    cluster_store_address(&l->cluster, address);
    ti_wire_options options = {.log = NULL};
    test_ok(ti_wire_grpc_open(ti_env_real(), &options, &l->wire, &err), &err);
    test_ok(l->wire->vt->open(l->wire, address, 0, METHOD, &handler, l, &l->stream, &err), &err);
}

static void line_close(line *l)
{
    l->wire->vt->drop(l->wire, l->stream);
    l->wire->vt->close(l->wire);
    cluster_stop(&l->cluster);
}

/* One command, with the next id. */
static ti_status line_send(line *l, ti_err *err)
{
    ti_buf message;
    ti_buf_init(&message, 64);
    test_ok(ti_buf_reserve(&message, 64, err), err);
    ti_pb_put_tag(&message, 1, 2);
    ti_pb_put_varint(&message, 3);
    ti_pb_put_tag(&message, EMPTY_NUMBER, 2);
    ti_pb_put_varint(&message, 0);
    ti_pb_put_tag(&message, 2, 0);
    ti_pb_put_varint(&message, ++l->sent);
    ti_status status = l->wire->vt->send(l->wire, l->stream, ti_buf_slice(&message), err);
    ti_buf_free(&message);
    return status;
}

static void wait_for(_Atomic(uint64_t) *count, uint64_t wanted)
{
    for (int64_t us = 0; us < WITHIN_US && atomic_load(count) < wanted; us += 1000)
        usleep(1000);
    assert_true(atomic_load(count) >= wanted);
}

static void wait_for_end(line *l)
{
    for (int64_t us = 0; us < WITHIN_US && !atomic_load(&l->ended); us += 1000)
        usleep(1000);
    assert_true(atomic_load(&l->ended));
}

static void send_one(line *l)
{
    ti_err err;
    test_ok(line_send(l, &err), &err);
    wait_for(&l->gone, l->sent);
}

static void each_question_brings_its_answer(void **state)
{
    line l;
    (void)state;
    line_open(&l, false);
    for (uint64_t i = 1; i <= COMMANDS; i++) {
        send_one(&l);
        wait_for(&l.answered, i);
    }
    assert_int_equal(l.ids, COMMANDS * (COMMANDS + 1) / 2);
    l.wire->vt->end(l.wire, l.stream);
    wait_for_end(&l);
    line_close(&l);
}

static void what_is_expected_comes_unasked(void **state)
{
    line l;
    (void)state;
    line_open(&l, true);
    for (int i = 0; i < COMMANDS; i++)
        send_one(&l);
    wait_for(&l.answered, COMMANDS);
    assert_int_equal(l.ids, COMMANDS * (COMMANDS + 1) / 2);
    l.wire->vt->end(l.wire, l.stream);
    wait_for_end(&l);
    line_close(&l);
}

/* More questions than are looked after: later ones bring the rest of the answers. */
static void nothing_is_lost_that_nobody_looked_for(void **state)
{
    line l;
    (void)state;
    line_open(&l, false);
    for (int i = 0; i < COMMANDS; i++)
        send_one(&l);
    while (atomic_load(&l.answered) < COMMANDS) {
        uint64_t before = atomic_load(&l.answered);
        send_one(&l);
        wait_for(&l.answered, before + 1);
    }
    l.wire->vt->end(l.wire, l.stream); /* answers may wait: it ends all the same */
    wait_for_end(&l);
    assert_true(atomic_load(&l.answered) <= l.sent);
    line_close(&l);
}

/* The store stops while answers wait that nobody has looked for: the next question finds out. */
static void an_end_behind_an_answer_is_found(void **state)
{
    line l;
    ti_err err;
    uint64_t ids[8];
    (void)state;
    line_open(&l, false);
    for (int i = 0; i < COMMANDS; i++)
        send_one(&l);
    assert_true(cluster_stores(&l.cluster, ids, 8) > 0);
    cluster_do(&l.cluster, "/store/stop?id=%d", (int)ids[0]);
    for (int64_t us = 0; us < WITHIN_US && !atomic_load(&l.ended); us += 10000) {
        if (line_send(&l, &err) == TI_UNAVAILABLE)
            break;
        usleep(10000);
    }
    wait_for_end(&l);
    line_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_question_brings_its_answer),
        cmocka_unit_test(what_is_expected_comes_unasked),
        cmocka_unit_test(nothing_is_lost_that_nobody_looked_for),
        cmocka_unit_test(an_end_behind_an_answer_is_found),
    };
    return TEST_RUN(tests);
}
