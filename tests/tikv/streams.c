/* Backoff, timestamps and connections on the simulated wire. */
#include "tikv/sim.h"

#include "base/assert.h"
#include "pdpb.pb-c.h"
#include "tikv/backoff.h"
#include "tikv/conn.h"
#include "tikv/pb.h"
#include "tikv/tso.h"

static ti_call call_ms(const sim *s, int64_t ms)
{
    return ti_call_within(&s->env.env, ms * 1000);
}

static void end_sim(sim *s)
{
    s->base.vt->close(&s->base);
    sim_free(s);
}

/* ---- backoff ---- */

static void sleeps_grow_to_their_cap(void **state)
{
    (void)state;
    static const int64_t expected[] = {2, 4, 8, 16, 32, 64, 128, 256, 500, 500};
    sim *s = sim_create();
    ti_call call = call_ms(s, 3600000);
    ti_backoff b;
    ti_err why;
    ti_err err;
    ti_err_set(&why, TI_UNAVAILABLE, "seen");
    ti_backoff_init(&b, &s->base, &call, 20000);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        int64_t before = sim_now_ms(s);
        test_ok(ti_backoff_sleep(&b, TI_BACKOFF_REGION_MISS, -1, &why, &err), &err);
        assert_int_equal(sim_now_ms(s) - before, expected[i]);
    }
    for (uint32_t i = 0; i < 6; i++) { /* jitter: between half and the whole */
        int64_t whole = 100 << i < 2000 ? 100 << i : 2000;
        int64_t before = sim_now_ms(s);
        test_ok(ti_backoff_sleep(&b, TI_BACKOFF_RPC, -1, &why, &err), &err);
        assert_in_range(sim_now_ms(s) - before, whole / 2, whole);
    }
    end_sim(s);
}

static void a_budget_ends_with_the_longest_trouble(void **state)
{
    (void)state;
    sim *s = sim_create();
    ti_call call = call_ms(s, 3600000);
    ti_backoff b;
    ti_err why;
    ti_err err;
    ti_status status = TI_OK;
    ti_err_set(&why, TI_UNAVAILABLE, "what was seen");
    ti_backoff_init(&b, &s->base, &call, 20000);
    int64_t began = sim_now_ms(s);
    test_ok(ti_backoff_sleep(&b, TI_BACKOFF_REGION_MISS, -1, &why, &err), &err);
    while (status == TI_OK)
        status = ti_backoff_sleep(&b, TI_BACKOFF_DISK_FULL, -1, &why, &err);
    assert_int_equal(status, TI_UNAVAILABLE);
    assert_in_range(sim_now_ms(s) - began, 20000, 25000);
    assert_non_null(strstr(err.message, "full disks"));
    assert_non_null(strstr(err.message, "what was seen"));
    end_sim(s);
}

static void a_busy_store_is_not_charged(void **state)
{
    (void)state;
    sim *s = sim_create();
    ti_call call = call_ms(s, 3600000);
    ti_backoff b;
    ti_err why;
    ti_err err;
    ti_err_set(&why, TI_UNAVAILABLE, "busy");
    ti_backoff_init(&b, &s->base, &call, 20000);
    int64_t began = sim_now_ms(s);
    while (sim_now_ms(s) - began < 60000)
        test_ok(ti_backoff_sleep(&b, TI_BACKOFF_SERVER_BUSY, -1, &why, &err), &err);
    ti_status status = TI_OK;
    while (status == TI_OK)
        status = ti_backoff_sleep(&b, TI_BACKOFF_SERVER_BUSY, -1, &why, &err);
    assert_in_range(sim_now_ms(s) - began, 600000, 611000);
    end_sim(s);
}

static void deadline_and_cancel_are_seen_before_a_sleep(void **state)
{
    (void)state;
    sim *s = sim_create();
    _Atomic(int) cancelled = 0;
    ti_call call = call_ms(s, 90);
    ti_backoff b;
    ti_err why;
    ti_err err;
    ti_err_set(&why, TI_UNAVAILABLE, "seen");
    ti_backoff_init(&b, &s->base, &call, 20000);
    int64_t began = sim_now_ms(s);
    test_status(ti_backoff_sleep(&b, TI_BACKOFF_SERVER_BUSY, -1, &why, &err), TI_TIMEOUT);
    assert_int_equal(sim_now_ms(s), began);
    call.cancelled = &cancelled;
    atomic_store(&cancelled, 1);
    test_status(ti_backoff_sleep(&b, TI_BACKOFF_REGION_MISS, -1, &why, &err), TI_CANCELLED);
    assert_int_equal(sim_now_ms(s), began);
    end_sim(s);
}

static void attempts_are_bounded(void **state)
{
    (void)state;
    sim *s = sim_create();
    ti_call call = call_ms(s, 3600000);
    ti_backoff b;
    ti_err why;
    ti_err err;
    int count = 0;
    ti_err_set(&why, TI_CONFLICT, "again");
    ti_backoff_init(&b, &s->base, &call, 20000);
    while (ti_backoff_count(&b, &why, &err) == TI_OK)
        count++;
    assert_int_equal(count, TI_BACKOFF_ATTEMPTS_MAX - 1);
    assert_int_equal(err.status, TI_CONFLICT);
    end_sim(s);
}

/* ---- timestamps ---- */

typedef struct tso_script {
    uint64_t physical;
    uint64_t logical;
    int wrong_count; /* the reply of this number says another count */
    int backwards;   /* the reply of this number is below the one before */
    int silent_from; /* from this reply on there is none */
    int64_t delay_ms;
    int replies;
} tso_script;

static void give_timestamps(void *context, sim *s, ti_stream *stream, ti_slice message)
{
    tso_script *script = context;
    ti_arena a;
    ti_err err;
    (void)s;
    ti_arena_init(&a);
    Pdpb__TsoRequest *request = ti_pb_unpack(&pdpb__tso_request__descriptor, message, &a, &err);
    ti_require(request != NULL);
    Pdpb__TsoResponse reply = PDPB__TSO_RESPONSE__INIT;
    Pdpb__Timestamp ts = PDPB__TIMESTAMP__INIT;
    int number = ++script->replies;
    script->logical += request->count;
    ts.physical = (int64_t)script->physical;
    ts.logical = (int64_t)(number == script->backwards ? script->logical - 1000 : script->logical);
    reply.count = request->count + (number == script->wrong_count ? 1 : 0);
    reply.timestamp = &ts;
    if (script->silent_from == 0 || number < script->silent_from)
        sim_answer(stream, ti_pb_pack(&reply.base, &a), script->delay_ms);
    ti_arena_free(&a);
}

static ti_tso *begin_tso(sim *s, tso_script *script)
{
    ti_tso *tso = NULL;
    ti_err err;
    s->context = script;
    s->on_message = give_timestamps;
    test_ok(ti_tso_create(&s->base, &tso, &err), &err);
    return tso;
}

static ti_status take_ts(sim *s, ti_tso *tso, uint64_t *ts_out)
{
    ti_call call = call_ms(s, 60000);
    ti_err err;
    return ti_tso_get(tso, "pd:1", 7, 3000000, ts_out, &call, &err);
}

static void timestamps_rise_and_are_decoded(void **state)
{
    (void)state;
    sim *s = sim_create();
    tso_script script = {.physical = 1000, .logical = 5, .delay_ms = 1};
    ti_tso *tso = begin_tso(s, &script);
    uint64_t ts = 0;
    for (uint64_t i = 1; i <= 100; i++) {
        assert_int_equal(take_ts(s, tso, &ts), TI_OK);
        assert_true(ts == (UINT64_C(1000) << 18) + 5 + i);
    }
    assert_int_equal(atomic_load(&s->opened), 1);
    ti_tso_close(tso);
    end_sim(s);
}

static void a_wrong_count_ends_the_stream(void **state)
{
    (void)state;
    sim *s = sim_create();
    tso_script script = {.physical = 1000, .wrong_count = 2};
    ti_tso *tso = begin_tso(s, &script);
    uint64_t ts = 0;
    assert_int_equal(take_ts(s, tso, &ts), TI_OK);
    assert_int_equal(take_ts(s, tso, &ts), TI_UNAVAILABLE);
    assert_int_equal(ts, 0);
    sim_run(s, 1);
    assert_int_equal(take_ts(s, tso, &ts), TI_OK);
    assert_int_equal(atomic_load(&s->opened), 2);
    ti_tso_close(tso);
    end_sim(s);
}

static void time_that_goes_backwards_is_refused(void **state)
{
    (void)state;
    sim *s = sim_create();
    tso_script script = {.physical = 1000, .logical = 5000, .backwards = 2};
    ti_tso *tso = begin_tso(s, &script);
    uint64_t first = 0;
    uint64_t ts = 0;
    assert_int_equal(take_ts(s, tso, &first), TI_OK);
    assert_int_equal(take_ts(s, tso, &ts), TI_UNAVAILABLE);
    sim_run(s, 1);
    assert_int_equal(take_ts(s, tso, &ts), TI_OK);
    assert_true(ts > first);
    ti_tso_close(tso);
    end_sim(s);
}

static void a_frozen_pd_fails_in_time(void **state)
{
    (void)state;
    sim *s = sim_create();
    tso_script script = {.physical = 1000, .silent_from = 1};
    ti_tso *tso = begin_tso(s, &script);
    uint64_t ts = 0;
    int64_t began = sim_now_ms(s);
    assert_int_equal(take_ts(s, tso, &ts), TI_TIMEOUT);
    assert_in_range(sim_now_ms(s) - began, 2999, 3001);
    script.silent_from = 0;
    sim_run(s, 1);
    assert_int_equal(take_ts(s, tso, &ts), TI_OK); /* on a new stream */
    assert_int_equal(atomic_load(&s->opened), 2);
    ti_tso_close(tso);
    end_sim(s);
}

/* An answer that comes after its stream was given up is older than the next question. */
static void late_answers_are_not_taken_for_new_ones(void **state)
{
    (void)state;
    sim *s = sim_create();
    tso_script script = {.physical = 1000, .logical = 10, .delay_ms = 3500};
    ti_tso *tso = begin_tso(s, &script);
    uint64_t ts = 0;
    assert_int_equal(take_ts(s, tso, &ts), TI_TIMEOUT);
    script.delay_ms = 1;
    sim_run(s, 1);
    assert_int_equal(take_ts(s, tso, &ts), TI_OK);
    assert_true(ts == (UINT64_C(1000) << 18) + 12);
    ti_tso_close(tso);
    end_sim(s);
}

/* ---- connections ---- */

#define COMMANDS_MAX 300

typedef struct conn_script {
    ti_stream *stream;
    uint64_t ids[COMMANDS_MAX];
    size_t id_count;
    size_t messages;
    size_t largest; /* commands in one message */
} conn_script;

/* Notes the ids of what is sent. */
static void note_ids(void *context, sim *s, ti_stream *stream, ti_slice message)
{
    conn_script *script = context;
    ti_pb_field field;
    size_t count = 0;
    (void)s;
    script->stream = stream;
    script->messages++;
    while (ti_pb_next(&message, &field, NULL) == TI_OK) {
        count += field.number == 1;
        for (uint64_t id = 0; field.number == 2 && field.bytes.len > 0;) {
            ti_require(ti_pb_varint(&field.bytes, &id, NULL) == TI_OK);
            ti_require(script->id_count < COMMANDS_MAX);
            script->ids[script->id_count++] = id;
        }
    }
    script->largest = count > script->largest ? count : script->largest;
}

typedef struct sent {
    ti_command command;
    ti_latch latch;
    char body[16];
} sent;

static void send_one(ti_conn *conn, sent *one, int number)
{
    ti_err err;
    memset(one, 0, sizeof(*one));
    snprintf(one->body, sizeof(one->body), "%d", number);
    ti_latch_init(&one->latch, 1);
    one->command = (ti_command){.kind = TI_COMMAND_GET,
                                .body = ti_slice_of(one->body),
                                .latch = &one->latch,
                                .timeout_us = 1000000};
    test_ok(ti_conn_submit(conn, &one->command, &err), &err);
}

static void free_one(ti_conn *conn, sent *one)
{
    assert_int_equal(ti_latch_open(&one->latch), 0);
    ti_conn_release(conn, &one->command);
}

/* Appends { 1: { number: body } } for each, then the ids. */
static void answer(conn_script *script, const size_t *order, size_t count, uint32_t number)
{
    ti_buf b;
    ti_err err;
    ti_buf ids;
    ti_buf_init(&b, 100000);
    ti_buf_init(&ids, 100000);
    test_ok(ti_buf_reserve(&b, 90000, &err), &err);
    test_ok(ti_buf_reserve(&ids, 10000, &err), &err);
    for (size_t i = 0; i < count; i++) {
        char text[24];
        uint64_t id = order[i] < script->id_count ? script->ids[order[i]] : 999999;
        snprintf(text, sizeof(text), "%zu", order[i]);
        ti_pb_put_tag(&b, 1, 2);
        ti_pb_put_varint(&b, strlen(text) + 2);
        ti_pb_put_tag(&b, number, 2);
        ti_pb_put_varint(&b, strlen(text));
        test_ok(ti_buf_append_text(&b, text, &err), &err);
        ti_pb_put_varint(&ids, id);
    }
    ti_pb_put_tag(&b, 2, 2);
    ti_pb_put_varint(&b, ids.len);
    test_ok(ti_buf_append_slice(&b, ti_buf_slice(&ids), &err), &err);
    sim_answer(script->stream, ti_buf_slice(&b), 1);
    ti_buf_free(&b);
    ti_buf_free(&ids);
}

static ti_conn *begin_conn(sim *s, conn_script *script)
{
    ti_conn *conn = NULL;
    ti_err err;
    memset(script, 0, sizeof(*script));
    s->context = script;
    s->on_message = note_ids;
    test_ok(ti_conn_create(&s->base, "store:1", 0, &conn, &err), &err);
    return conn;
}

static void answers_come_in_any_order_and_grouping(void **state)
{
    (void)state;
    sim *s = sim_create();
    conn_script script;
    ti_conn *conn = begin_conn(s, &script);
    sent list[6];
    for (int i = 0; i < 6; i++) {
        send_one(conn, &list[i], i);
        sim_run(s, 1);
    }
    assert_int_equal(script.id_count, 6);
    answer(&script, (size_t[]){5, 2}, 2, 1);
    answer(&script, (size_t[]){100, 0, 1}, 3, 1); /* 100: nobody's */
    answer(&script, (size_t[]){4, 3, 3}, 3, 1);   /* 3 twice */
    sim_run(s, 10);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(list[i].command.err.status, TI_OK);
        assert_true(
            ti_slice_equal(ti_buf_slice(&list[i].command.response), ti_slice_of(list[i].body)));
        free_one(conn, &list[i]);
    }
    assert_int_equal(ti_conn_pending(conn), 0);
    ti_conn_close(conn);
    end_sim(s);
}

static void commands_gather_while_one_is_on_its_way(void **state)
{
    (void)state;
    sim *s = sim_create();
    conn_script script;
    ti_conn *conn = begin_conn(s, &script);
    static sent list[201];
    atomic_store(&s->hold_sent, true);
    for (int i = 0; i < 201; i++)
        send_one(conn, &list[i], i);
    assert_int_equal(script.messages, 1);
    sim_end(script.stream, TI_UNAVAILABLE, 0);
    sim_run(s, 1);
    for (int i = 0; i < 201; i++) {
        assert_int_equal(list[i].command.err.status, TI_UNAVAILABLE);
        assert_int_equal(list[i].command.sent, i == 0); /* the others never left */
        free_one(conn, &list[i]);
    }
    atomic_store(&s->hold_sent, false);
    send_one(conn, &list[0], 0);
    for (int i = 1; i < 50; i++)
        send_one(conn, &list[i], i);
    sim_run(s, 1);
    assert_int_equal(atomic_load(&s->opened), 2);
    sim_end(script.stream, TI_UNAVAILABLE, 0);
    sim_run(s, 1);
    for (int i = 0; i < 50; i++)
        free_one(conn, &list[i]);
    ti_conn_close(conn);
    end_sim(s);
}

static void a_withdrawn_command_s_answer_is_dropped(void **state)
{
    (void)state;
    sim *s = sim_create();
    conn_script script;
    ti_conn *conn = begin_conn(s, &script);
    sent list[2];
    send_one(conn, &list[0], 0);
    sim_run(s, 1);
    send_one(conn, &list[1], 1);
    sim_run(s, 1);
    ti_conn_withdraw(conn, &list[0].command);
    ti_conn_withdraw(conn, &list[0].command); /* again: nothing */
    assert_int_equal(list[0].command.err.status, TI_CANCELLED);
    assert_true(list[0].command.sent);
    answer(&script, (size_t[]){0, 1}, 2, 1);
    sim_run(s, 10);
    assert_int_equal(list[1].command.err.status, TI_OK);
    free_one(conn, &list[0]);
    free_one(conn, &list[1]);
    ti_conn_close(conn);
    end_sim(s);
}

static void an_answer_of_another_kind_is_corrupt(void **state)
{
    (void)state;
    sim *s = sim_create();
    conn_script script;
    ti_conn *conn = begin_conn(s, &script);
    sent one;
    send_one(conn, &one, 0);
    sim_run(s, 1);
    answer(&script, (size_t[]){0}, 1, 3);
    sim_run(s, 10);
    assert_int_equal(one.command.err.status, TI_CORRUPT);
    free_one(conn, &one);
    ti_conn_close(conn);
    end_sim(s);
}

static void truncated_messages_end_the_stream(void **state)
{
    static const char whole[] = "\x0a\x04\x0a\x02hi\x12\x01\x01";
    (void)state;
    for (size_t len = 1; len < sizeof(whole) - 1; len++) {
        sim *s = sim_create();
        conn_script script;
        ti_conn *conn = begin_conn(s, &script);
        sent one;
        send_one(conn, &one, 0);
        sim_run(s, 1);
        sim_answer(script.stream, (ti_slice){.data = whole, .len = len}, 0);
        sim_run(s, 1);
        assert_int_equal(ti_latch_open(&one.latch), 0);
        assert_int_equal(one.command.err.status, TI_CORRUPT);
        free_one(conn, &one);
        ti_conn_close(conn);
        end_sim(s);
    }
}

static void closing_ends_what_is_under_way(void **state)
{
    (void)state;
    sim *s = sim_create();
    conn_script script;
    ti_conn *conn = begin_conn(s, &script);
    static sent list[100];
    for (int i = 0; i < 100; i++)
        send_one(conn, &list[i], i);
    sim_run(s, 1);
    for (int i = 0; i < 50; i++) {
        ti_conn_withdraw(conn, &list[i].command);
        free_one(conn, &list[i]);
    }
    for (int i = 50; i < 100; i++)
        assert_int_equal(ti_latch_open(&list[i].latch), 1);
    ti_conn_close(conn);
    for (int i = 50; i < 100; i++) {
        assert_int_equal(ti_latch_open(&list[i].latch), 0);
        assert_int_equal(list[i].command.err.status, TI_CLOSED);
        ti_buf_free(&list[i].command.response);
    }
    end_sim(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sleeps_grow_to_their_cap),
        cmocka_unit_test(a_budget_ends_with_the_longest_trouble),
        cmocka_unit_test(a_busy_store_is_not_charged),
        cmocka_unit_test(deadline_and_cancel_are_seen_before_a_sleep),
        cmocka_unit_test(attempts_are_bounded),
        cmocka_unit_test(timestamps_rise_and_are_decoded),
        cmocka_unit_test(a_wrong_count_ends_the_stream),
        cmocka_unit_test(time_that_goes_backwards_is_refused),
        cmocka_unit_test(a_frozen_pd_fails_in_time),
        cmocka_unit_test(late_answers_are_not_taken_for_new_ones),
        cmocka_unit_test(answers_come_in_any_order_and_grouping),
        cmocka_unit_test(commands_gather_while_one_is_on_its_way),
        cmocka_unit_test(a_withdrawn_command_s_answer_is_dropped),
        cmocka_unit_test(an_answer_of_another_kind_is_corrupt),
        cmocka_unit_test(truncated_messages_end_the_stream),
        cmocka_unit_test(closing_ends_what_is_under_way),
    };
    return TEST_RUN(tests);
}
