/* Random calls of the interface from 1 to 8 threads: operations waited for, started, watched,
 * cancelled or freed at any point, transactions, events, and a close at a random moment. Nothing
 * crashes, hangs or leaks, no answer is one that only a defect explains. */
#include <pthread.h>

#include "abi/harness.h"

enum { FUTURES = 12, ROUNDS = 200, STEPS = 250 };

/* What all threads share. */
typedef struct shared {
    tito_db_t *db;
    tito_model_t *items;
    tito_queue_t *queue;
    tito_worker_t *worker;
    tito_cq_t *cq;
    uint64_t close_at; /* the step of thread 0 at which it closes; beyond the last: nobody does */
} shared;

/* What one thread has. */
typedef struct player {
    shared *s;
    test_random random;
    unsigned number;
    tito_txn_t *txn;
    tito_query_t *query;
    tito_future_t *futures[FUTURES];
    tito_event_t *event;
    bool in_txn; /* the operation at hand is one of txn */
} player;

static void expect_sound(int32_t status)
{
    if (status == TITO_INTERNAL || status == TITO_CORRUPT || status == TITO_IO ||
        status == TITO_FORKED || strcmp(tito_status_name(status), "unknown_status") == 0)
        fail_msg("%s", tito_status_name(status));
}

/* ---- futures ---- */

static void settle_future(player *p, tito_future_t *future)
{
    /* a write outside of the transaction may wait for a lock of it: not for ever */
    int64_t timeouts_us[] = {0, 100, 5000, p->in_txn ? -1 : 20000};
    tito_error_t *error = NULL;
    int32_t status =
        tito_future_wait(future, timeouts_us[test_random_below(&p->random, 4)], &error);
    /* a query sees a contradiction when its own transaction has built a record blindly that is
     * stored, and deleted it: the commit of that transaction fails */
    if (status == TITO_CORRUPT && !p->in_txn)
        fail_msg("%s", tito_error_message(error).data);
    if (status != TITO_CORRUPT)
        expect_sound(status);
    tito_error_free(error);
    (void)tito_future_bytes(future);
    (void)tito_future_int(future);
    tito_page_free(tito_future_page(future));
}

static void counted(void *context, tito_future_t *future)
{
    (void)future;
    atomic_fetch_add((_Atomic(uint64_t) *)context, 1);
}

static _Atomic(uint64_t) callbacks;

/* Does something with a new future, and maybe keeps it for later. */
static void play_future(player *p, tito_future_t *future)
{
    size_t slot = test_random_below(&p->random, FUTURES);
    assert_non_null(future);
    switch (test_random_below(&p->random, 8)) {
    case 0:
        break; /* stays lazy */
    case 1:
        expect_sound(tito_future_start(future, NULL));
        break;
    case 2:
        expect_sound(tito_future_watch(future, p->s->cq, p->number, NULL));
        break;
    case 3:
        expect_sound(tito_future_then(future, counted, &callbacks, NULL));
        break;
    case 4:
        tito_future_cancel(future);
        break;
    case 5:
        expect_sound(tito_future_start(future, NULL));
        tito_future_cancel(future);
        break;
    default:
        settle_future(p, future);
        break;
    }
    tito_future_free(p->futures[slot]);
    p->futures[slot] = future;
}

/* ---- calls ---- */

static size_t random_id(player *p, char *out, size_t size)
{
    return (size_t)snprintf(out, size, "i%d", (int)test_random_below(&p->random, 30));
}

static tito_txn_t *some_txn(player *p)
{
    p->in_txn = p->txn != NULL && test_random_one_in(&p->random, 2);
    return p->in_txn ? p->txn : NULL;
}

static void play_write(player *p)
{
    char id[16], text[256];
    size_t id_len = random_id(p, id, sizeof(id));
    size_t len = item_text(text, sizeof(text), id, p->number % 2 == 0 ? "x" : "y",
                           (int)test_random_below(&p->random, 100));
    tito_txn_t *txn = some_txn(p);
    switch (test_random_below(&p->random, 5)) {
    case 0:
        play_future(p, tito_model_build(p->s->items, txn, text, len, NULL));
        break;
    case 1:
        play_future(p, tito_model_update(p->s->items, txn, text, len, NULL));
        break;
    case 2:
        play_future(p, tito_model_save(p->s->items, txn, text, len, NULL));
        break;
    case 3:
        play_future(p, tito_model_patch(p->s->items, txn, id, id_len, TEXT("{\"n\":1}"), NULL));
        break;
    default:
        play_future(p, tito_model_delete(p->s->items, txn, id, id_len, NULL));
        break;
    }
}

static void play_read(player *p)
{
    char id[16];
    size_t id_len = random_id(p, id, sizeof(id));
    tito_txn_t *txn = some_txn(p);
    tito_read_t *read = tito_read_new();
    if (txn != NULL && test_random_one_in(&p->random, 4))
        (void)tito_read_lock(read, (int64_t)test_random_below(&p->random, 3) * 1000);
    switch (test_random_below(&p->random, 5)) {
    case 0:
        play_future(p, tito_model_find_many(p->s->items, txn, TEXT("[\"i1\",\"i2\"]"), NULL));
        break;
    case 1:
        play_future(p, tito_query_execute(p->query, txn));
        break;
    case 2:
        play_future(p, tito_query_count(p->query, txn));
        break;
    case 3:
        play_future(p, tito_db_stats(p->s->db));
        break;
    default:
        play_future(p, tito_model_find(p->s->items, txn, id, id_len, read));
        break;
    }
    tito_read_free(read);
}

static void play_txn(player *p)
{
    p->in_txn = true;
    switch (test_random_below(&p->random, 6)) {
    case 0:
        play_future(p, tito_txn_commit(p->txn));
        break;
    case 1:
        play_future(p, tito_txn_rollback(p->txn));
        break;
    case 2:
        play_future(p, tito_txn_retry(p->txn, TITO_CONFLICT));
        break;
    case 3:
        expect_sound(tito_txn_doom(p->txn, TITO_CONFLICT, TEXT("so")));
        break;
    default:
        tito_txn_free(p->txn);
        p->txn = NULL;
        expect_sound(tito_txn_begin(p->s->db, NULL, &p->txn, NULL));
        break;
    }
}

static void play_event(player *p)
{
    size_t count = 0;
    tito_txn_t *txn = NULL;
    p->in_txn = true;
    if (test_random_one_in(&p->random, 2)) {
        play_future(p,
                    tito_queue_publish(p->s->queue, some_txn(p), TEXT("k"), TEXT("1"), 0, 0, NULL));
        return;
    }
    if (p->event == NULL) {
        tito_error_t *error = NULL;
        int32_t status = tito_worker_take(p->s->worker, &p->event, 1, 0, &count, &error);
        if (status == TITO_CORRUPT)
            fail_msg("%s", tito_error_message(error).data);
        expect_sound(status);
        tito_error_free(error);
        return;
    }
    if (test_random_one_in(&p->random, 2) && tito_event_txn(p->event, &txn, NULL) == TITO_OK)
        play_future(p, tito_model_save(p->s->items, txn, TEXT("{\"id\":\"i3\"}"), NULL));
    if (test_random_one_in(&p->random, 2))
        expect_sound(tito_event_acknowledge(p->event));
    else if (test_random_one_in(&p->random, 3))
        expect_sound(tito_event_advance(p->event, TEXT("2")));
    tito_event_free(p->event);
    p->event = NULL;
}

static void drain(player *p)
{
    uint64_t tags[8];
    size_t count = tito_cq_drain(p->s->cq, tags, 8);
    assert_true(count <= 8);
}

static void *play(void *argument)
{
    player *p = argument;
    expect_sound(tito_txn_begin(p->s->db, NULL, &p->txn, NULL));
    for (uint64_t step = 0; step < STEPS; step++) {
        if (p->number == 0 && step == p->s->close_at)
            assert_int_equal(tito_db_close(p->s->db, NULL), TITO_OK);
        switch (test_random_below(&p->random, 8)) {
        case 0:
        case 1:
        case 2:
            play_write(p);
            break;
        case 3:
        case 4:
            play_read(p);
            break;
        case 5:
            play_txn(p);
            break;
        case 6:
            play_event(p);
            break;
        default:
            drain(p);
            break;
        }
    }
    tito_txn_free(p->txn); /* its locks, which others may wait for */
    p->txn = NULL;
    return NULL;
}

/* ---- rounds ---- */

static void set_up(shared *s, test_random *r)
{
    tito_options_t *options = tito_options_new();
    s->db = open_memory();
    s->items = declare(s->db, model_spec);
    tito_options_set_int(options, "partitions", 2);
    OK(tito_queue_open(s->db, TEXT("job"), options, &s->queue, &error));
    OK(tito_worker_new(s->db, NULL, &s->worker, &error));
    OK(tito_worker_on(s->worker, TEXT("job"), NULL, NULL, NULL, &error));
    OK(tito_worker_start(s->worker, &error));
    OK(tito_cq_new(&s->cq, &error));
    s->close_at = test_random_below(r, 2 * STEPS);
    tito_options_free(options);
}

static void free_player(player *p)
{
    for (size_t i = 0; i < FUTURES; i++) {
        p->in_txn = true; /* as far as is known */
        if (p->futures[i] != NULL && test_random_one_in(&p->random, 2))
            settle_future(p, p->futures[i]);
        tito_future_free(p->futures[i]);
    }
    tito_event_free(p->event);
    tito_query_free(p->query);
}

static void free_shared(shared *s, test_random *r)
{
    bool db_first = test_random_one_in(r, 2);
    if (db_first)
        tito_db_free(s->db);
    tito_worker_free(s->worker);
    tito_cq_free(s->cq);
    tito_queue_free(s->queue);
    tito_model_free(s->items);
    if (!db_first)
        tito_db_free(s->db);
}

static void play_round(test_random *r, uint64_t round)
{
    enum { THREADS_MAX = 8 };
    shared s;
    player players[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    unsigned count = 1 + (unsigned)test_random_below(r, THREADS_MAX);
    set_up(&s, r);
    for (unsigned i = 0; i < count; i++) {
        players[i] = (player){.s = &s, .number = i, .random = test_random_start(round * 16 + i)};
        OK(tito_query_new(s.items, TEXT("by_kind"), &players[i].query, &error));
    }
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, play, &players[i]), 0);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (unsigned i = 0; i < count; i++)
        free_player(&players[i]);
    free_shared(&s, r);
}

static void random_calls(void **state)
{
    (void)state;
    test_random r = test_random_start(1);
    int64_t live = ti_mem_live();
    for (uint64_t round = 1; round <= test_scaled(ROUNDS); round++)
        play_round(&r, round);
    assert_int_equal(ti_mem_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_calls)};
    return TEST_RUN(tests);
}
