/* Connections on the simulated wire: commands, their messages, their answers, and how their callers
 * are woken. */
#include "tikv/sim.h"

#include "base/assert.h"
#include "tikv/conn.h"
#include "tikv/pb.h"

static void end_sim(sim *s)
{
    s->base.vt->close(&s->base);
    sim_free(s);
}

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

/* Something happens on another thread while the first message is handed over. */
typedef struct beside {
    conn_script script; /* first: note_ids' context */
    sim *s;
    ti_conn *conn;
    sent *list;
    int count;
    void *(*run)(void *beside);
    bool joined; /* before the message is handed over; else it is left to the test */
    bool done;
    ti_thread thread;
} beside;

static void note_and_run(void *context, sim *s, ti_stream *stream, ti_slice message)
{
    beside *b = context;
    ti_err err;
    note_ids(&b->script, s, stream, message);
    if (b->done)
        return;
    b->done = true;
    test_ok(ti_thread_start(&b->thread, "beside", b->run, b, &err), &err);
    if (b->joined)
        ti_thread_join(&b->thread); /* would never end if it waited for this message */
    else
        while (ti_latch_open(&b->list[0].latch) > 0)
            ti_thread_yield();
}

static ti_conn *begin_beside(sim *s, beside *b)
{
    b->conn = begin_conn(s, &b->script);
    s->on_message = note_and_run;
    return b->conn;
}

static void *submit_beside(void *context)
{
    beside *b = context;
    for (int i = 1; i < b->count; i++)
        send_one(b->conn, &b->list[i], i);
    return NULL;
}

static void nobody_waits_for_a_message_to_be_handed_over(void **state)
{
    (void)state;
    enum { COUNT = 20 };
    sim *s = sim_create();
    static sent list[COUNT];
    beside b = {.list = list, .count = COUNT, .run = submit_beside, .joined = true};
    ti_conn *conn = begin_beside(s, &b);
    send_one(conn, &list[0], 0);
    sim_run(s, 1);
    assert_int_equal(b.script.messages, 2);
    assert_int_equal(b.script.largest, COUNT - 1);
    assert_int_equal(ti_conn_pending(conn), COUNT);
    size_t order[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        order[i] = i;
    answer(&b.script, order, COUNT, 1);
    sim_run(s, 10);
    for (int i = 0; i < COUNT; i++) { /* in the order submitted */
        assert_true(
            ti_slice_equal(ti_buf_slice(&list[i].command.response), ti_slice_of(list[i].body)));
        free_one(conn, &list[i]);
    }
    ti_conn_close(conn);
    end_sim(s);
}

/* Ends the stream; when that is known, submits the next command, which opens another. */
static void *end_beside(void *context)
{
    beside *b = context;
    sim_end(b->script.stream, TI_UNAVAILABLE, 0);
    while (ti_latch_open(&b->list[0].latch) > 0)
        ti_thread_yield();
    send_one(b->conn, &b->list[1], 1);
    ti_require(b->script.messages == 1);
    return NULL;
}

static void a_stream_may_end_while_a_message_is_handed_over(void **state)
{
    (void)state;
    sim *s = sim_create();
    sent list[2];
    beside b = {.list = list, .run = end_beside, .joined = true};
    ti_conn *conn = begin_beside(s, &b);
    send_one(conn, &list[0], 0);
    assert_int_equal(list[0].command.err.status, TI_UNAVAILABLE);
    assert_true(list[0].command.sent);
    free_one(conn, &list[0]);
    sim_run(s, 1);
    assert_int_equal(b.script.messages, 2); /* the other, on the new stream */
    assert_int_equal(atomic_load(&s->opened), 2);
    answer(&b.script, (size_t[]){1}, 1, 1);
    sim_run(s, 10);
    assert_int_equal(list[1].command.err.status, TI_OK);
    free_one(conn, &list[1]);
    ti_conn_close(conn);
    end_sim(s); /* which finds both streams dropped */
}

/* Ends the stream, and the one that the next command opens. */
static void *end_two_beside(void *context)
{
    beside *b = context;
    sim_end(b->script.stream, TI_UNAVAILABLE, 0);
    while (ti_latch_open(&b->list[0].latch) > 0)
        ti_thread_yield();
    send_one(b->conn, &b->list[1], 1);
    sim_refuse(sim_newest(b->s), 0);
    while (ti_latch_open(&b->list[1].latch) > 0)
        ti_thread_yield();
    ti_require(b->script.messages == 1);
    return NULL;
}

static void the_next_stream_may_end_meanwhile_too(void **state)
{
    (void)state;
    sim *s = sim_create();
    sent list[3];
    beside b = {.s = s, .list = list, .run = end_two_beside, .joined = true};
    ti_conn *conn = begin_beside(s, &b);
    send_one(conn, &list[0], 0);
    assert_int_equal(list[0].command.err.status, TI_UNAVAILABLE);
    assert_int_equal(list[1].command.err.status, TI_UNAVAILABLE);
    assert_false(list[1].command.sent);
    send_one(conn, &list[2], 2);
    sim_run(s, 1);
    assert_int_equal(b.script.messages, 2);
    assert_int_equal(atomic_load(&s->opened), 3);
    answer(&b.script, (size_t[]){1}, 1, 1);
    sim_run(s, 10);
    assert_int_equal(list[2].command.err.status, TI_OK);
    for (int i = 0; i < 3; i++)
        free_one(conn, &list[i]);
    ti_conn_close(conn);
    end_sim(s); /* which finds all streams dropped */
}

static void *close_beside(void *context)
{
    beside *b = context;
    ti_conn_close(b->conn);
    return NULL;
}

static void closing_waits_for_a_message_to_be_handed_over(void **state)
{
    (void)state;
    sim *s = sim_create();
    sent one;
    beside b = {.list = &one, .run = close_beside};
    send_one(begin_beside(s, &b), &one, 0);
    ti_thread_join(&b.thread);
    assert_int_equal(one.command.err.status, TI_CLOSED);
    ti_buf_free(&one.command.response);
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

/* ---- held wakes ---- */

typedef struct sleeper {
    ti_latch latch;
    ti_thread thread;
} sleeper;

static void *sleep_until_down(void *context)
{
    sleeper *one = context;
    while (ti_latch_open(&one->latch) > 0)
        ti_latch_sleep(&one->latch, ti_env_real(), TI_NO_DEADLINE);
    return NULL;
}

static void held_wakes_wake_all_in_the_end(void **state)
{
    (void)state;
    enum { SLEEPERS = TI_WAKES_MAX + 6 };
    static sleeper list[SLEEPERS];
    ti_err err;
    for (int i = 0; i < SLEEPERS; i++) {
        ti_latch_init(&list[i].latch, 1);
        test_ok(ti_thread_start(&list[i].thread, "sleeper", sleep_until_down, &list[i], &err),
                &err);
    }
    for (int i = 0; i < SLEEPERS; i++) {
        while ((atomic_load(&list[i].latch.open) & TI_LATCH_SLEEPS) == 0)
            ti_thread_yield();
    }
    ti_wakes_hold();
    for (int i = 0; i < SLEEPERS; i++) {
        ti_latch_done(&list[i].latch);
        assert_int_equal(ti_wakes_held(), i < TI_WAKES_MAX ? i + 1 : TI_WAKES_MAX);
    }
    ti_wakes_release();
    assert_int_equal(ti_wakes_held(), 0);
    for (int i = 0; i < SLEEPERS; i++) /* would sleep for ever */
        ti_thread_join(&list[i].thread);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come_in_any_order_and_grouping),
        cmocka_unit_test(commands_gather_while_one_is_on_its_way),
        cmocka_unit_test(nobody_waits_for_a_message_to_be_handed_over),
        cmocka_unit_test(a_stream_may_end_while_a_message_is_handed_over),
        cmocka_unit_test(the_next_stream_may_end_meanwhile_too),
        cmocka_unit_test(closing_waits_for_a_message_to_be_handed_over),
        cmocka_unit_test(a_withdrawn_command_s_answer_is_dropped),
        cmocka_unit_test(an_answer_of_another_kind_is_corrupt),
        cmocka_unit_test(truncated_messages_end_the_stream),
        cmocka_unit_test(closing_ends_what_is_under_way),
        cmocka_unit_test(held_wakes_wake_all_in_the_end),
    };
    return TEST_RUN(tests);
}
