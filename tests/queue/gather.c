/* Callers that publish at once on a shared engine: who shares a transaction, whose error is whose,
 * who waits no longer than its call. */
#include <pthread.h>

#include "queue/faulty.h"
#include "queue/support.h"

#include "base/limits.h"
#include "queue/publish_int.h"

#define SECOND INT64_C(1000000)

typedef struct gathered {
    qdb d;
    faulty *f;
} gathered;

/* One publication by a thread of its own. */
typedef struct caller {
    gathered *g;
    const char *key;
    uint32_t partitions; /* declared; 0 = none */
    const char *payload;
    int64_t within_us;
    _Atomic(int) cancelled;
    pthread_t thread;
    char id[TI_EVENT_ID_SIZE + 1];
    ti_status status;
    ti_err err;
    _Atomic(bool) done;
} caller;

static void open_all(gathered *g, uint32_t partitions)
{
    g->f = faulty_open(true);
    qdb_open_on(&g->d, &g->f->base);
    declare(&g->d, "user", partitions, 0, TI_ORDERING_KEY);
    publish(&g->d, "user", "first", "0");
    atomic_store(&g->f->commits, 0);
}

static void *call_it(void *context)
{
    caller *c = context;
    ti_call call = ti_call_within(c->g->d.env, c->within_us > 0 ? c->within_us : 60 * SECOND);
    ti_event_spec spec = {.type = S("user"),
                          .key = S(c->key),
                          .payload = S(c->payload != NULL ? c->payload : "1"),
                          .partitions = c->partitions};
    call.cancelled = &c->cancelled;
    ti_err_clear(&c->err);
    c->status = ti_queue_publish(c->g->d.queues, NULL, &spec, c->id, &call, &c->err);
    atomic_store(&c->done, true);
    return NULL;
}

static void begin(gathered *g, caller *c, const char *key)
{
    c->g = g;
    if (c->key == NULL)
        c->key = key;
    assert_int_equal(pthread_create(&c->thread, NULL, call_it, c), 0);
}

static void end(caller *c, ti_status wanted)
{
    pthread_join(c->thread, NULL);
    test_status(c->status, wanted);
}

static void wait_commits(const gathered *g, uint64_t n)
{
    for (int i = 0; i < 60000 && atomic_load(&g->f->commits) < n; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&g->f->commits), n);
}

static void wait_waiting(const gathered *g, uint32_t n)
{
    for (int i = 0; i < 60000 && ti_gatherer_waiting(g->d.queues->gatherer) != n; i++)
        usleep(1000);
    assert_int_equal(ti_gatherer_waiting(g->d.queues->gatherer), n);
}

/* The first of callers is in its commit, the others wait for it, but for those that are refused. */
static void begin_behind(gathered *g, caller *callers, size_t n, uint32_t wrong)
{
    atomic_store(&g->f->held, true);
    begin(g, &callers[0], "a");
    wait_commits(g, 1);
    for (size_t i = 1; i < n; i++)
        begin(g, &callers[i], "a");
    wait_waiting(g, (uint32_t)n - 1 - wrong);
}

static void go_on(const gathered *g)
{
    atomic_store(&g->f->held, false);
}

/* How many pending events there are with that id. */
static uint64_t stored(gathered *g, const char *id)
{
    ti_event_filter filter = {.type = S("user"), .state = TI_EVENT_PENDING, .limit = 1000};
    ti_event_list list;
    uint64_t n = 0;
    char text[TI_EVENT_ID_SIZE + 1];
    OK(&g->d, ti_queue_list(g->d.queues, &filter, &g->d.a, &list, &g->d.call, &g->d.err));
    assert_int_equal(list.cursor.len, 0);
    for (size_t i = 0; i < list.count; i++) {
        ti_event_id_format(&list.items[i].place, text);
        n += strcmp(text, id) == 0 ? 1 : 0;
    }
    return n;
}

static void callers_share(void **state)
{
    (void)state;
    gathered g;
    caller callers[9] = {{.key = NULL}};
    open_all(&g, 4);
    begin_behind(&g, callers, 9, 0);
    go_on(&g);
    for (size_t i = 0; i < 9; i++) {
        end(&callers[i], TI_OK);
        assert_int_equal(stored(&g, callers[i].id), 1);
    }
    assert_int_equal(atomic_load(&g.f->commits), 2);
    assert_int_equal(count_of(&g.d, "user", TI_EVENT_PENDING), 10);
    qdb_close(&g.d);
}

/* What came first is first in its key, also among those that share. */
static void first_come_first_placed(void **state)
{
    (void)state;
    gathered g;
    caller callers[8] = {{.key = NULL}};
    open_all(&g, 4);
    begin_behind(&g, callers, 1, 0);
    for (size_t i = 1; i < 8; i++) {
        begin(&g, &callers[i], "a");
        wait_waiting(&g, (uint32_t)i);
    }
    go_on(&g);
    for (size_t i = 0; i < 8; i++) {
        end(&callers[i], TI_OK);
        assert_true(i == 0 || strcmp(callers[i - 1].id, callers[i].id) < 0);
    }
    qdb_close(&g.d);
}

/* Pieces of the partitions do not wait for each other; more than may share take turns. */
static void not_all_share(void **state)
{
    (void)state;
    gathered g;
    caller callers[TI_GATHER_EVENTS_MAX + 8] = {{.key = NULL}};
    caller other = {.key = NULL};
    const size_t n = sizeof(callers) / sizeof(callers[0]);
    char key[16];
    open_all(&g, 4);
    begin_behind(&g, callers, n, 0);
    uint32_t here = ti_queue_partition_of(S("a"), 4);
    int number = 0;
    do
        snprintf(key, sizeof(key), "b%d", number++);
    while (ti_queue_partition_of(S(key), 4) == here);
    begin(&g, &other, key);
    wait_commits(&g, 2);
    go_on(&g);
    end(&other, TI_OK);
    for (size_t i = 0; i < n; i++)
        end(&callers[i], TI_OK);
    assert_int_equal(atomic_load(&g.f->commits), 4);
    assert_int_equal(count_of(&g.d, "user", TI_EVENT_PENDING), n + 2);
    qdb_close(&g.d);
}

/* What is wrong with one event concerns nobody else. */
static void errors_have_their_owner(void **state)
{
    (void)state;
    gathered g;
    caller callers[6] = {{.key = NULL}};
    callers[2].payload = "{not json";
    callers[3].partitions = 5;
    open_all(&g, 4);
    begin_behind(&g, callers, 6, 2);
    go_on(&g);
    for (size_t i = 0; i < 6; i++)
        end(&callers[i], i == 2 ? TI_INVALID_ARGUMENT : i == 3 ? TI_SCHEMA_MISMATCH : TI_OK);
    assert_int_equal(count_of(&g.d, "user", TI_EVENT_PENDING), 5);
    qdb_close(&g.d);
}

/* An unknown outcome is everybody's; an event is there or not. */
static void nobody_knows(void **state)
{
    (void)state;
    gathered g;
    caller callers[6] = {{.key = NULL}};
    open_all(&g, 4);
    begin_behind(&g, callers, 6, 0);
    atomic_store(&g.f->unknown_in, 1);
    go_on(&g);
    for (size_t i = 0; i < 6; i++)
        end(&callers[i], TI_OUTCOME_UNKNOWN);
    assert_int_equal(count_of(&g.d, "user", TI_EVENT_PENDING), 7);
    qdb_close(&g.d);
}

/* A shorter deadline than the leader's: it is told in time, and nothing of it is published. */
static void nobody_waits_too_long(void **state)
{
    (void)state;
    gathered g;
    caller callers[4] = {{.key = NULL}};
    caller hasty = {.within_us = SECOND / 5};
    open_all(&g, 4);
    begin_behind(&g, callers, 4, 0);
    begin(&g, &hasty, "a");
    end(&hasty, TI_TIMEOUT);
    assert_false(atomic_load(&callers[1].done));
    atomic_store(&callers[2].cancelled, 1);
    end(&callers[2], TI_CANCELLED);
    go_on(&g);
    end(&callers[0], TI_OK);
    end(&callers[1], TI_OK);
    end(&callers[3], TI_OK);
    assert_int_equal(count_of(&g.d, "user", TI_EVENT_PENDING), 4);
    qdb_close(&g.d);
}

/* One of those who share does not end the others by its cancellation; all together end it. */
static void cancelled_together(void **state)
{
    (void)state;
    gathered g;
    caller callers[4] = {{.key = NULL}};
    open_all(&g, 4);
    begin_behind(&g, callers, 4, 0);
    atomic_store(&callers[0].cancelled, 1); /* alone in its transaction */
    end(&callers[0], TI_CANCELLED);
    wait_commits(&g, 2); /* the others are in theirs now */
    atomic_store(&callers[1].cancelled, 1);
    atomic_store(&callers[2].cancelled, 1);
    usleep(200000);
    assert_false(atomic_load(&callers[1].done));
    assert_false(atomic_load(&callers[3].done));
    atomic_store(&callers[3].cancelled, 1);
    for (size_t i = 1; i < 4; i++)
        end(&callers[i], TI_CANCELLED);
    go_on(&g);
    qdb_close(&g.d);
}

/* ---- under faults ---- */

typedef struct crowd {
    gathered *g;
    _Atomic(uint32_t) next;
    _Atomic(uint32_t) ok;
    _Atomic(uint32_t) unknown;
    unsigned char *outcome; /* per number: 0 = surely not, 1 = yes, 2 = maybe */
    uint32_t count;
} crowd;

static void *publish_crowd(void *context)
{
    crowd *c = context;
    for (uint32_t n; (n = atomic_fetch_add(&c->next, 1)) < c->count;) {
        char key[16];
        char payload[16];
        ti_err err;
        ti_call call = ti_call_within(c->g->d.env, 60 * SECOND);
        snprintf(key, sizeof(key), "k%u", n % 7);
        snprintf(payload, sizeof(payload), "%u", n + 1);
        ti_event_spec spec = {.type = S("user"), .key = S(key), .payload = S(payload)};
        ti_err_clear(&err);
        ti_status status = ti_queue_publish(c->g->d.queues, NULL, &spec, NULL, &call, &err);
        c->outcome[n] = status == TI_OK ? 1 : status == TI_OUTCOME_UNKNOWN ? 2 : 0;
        atomic_fetch_add(status == TI_OK ? &c->ok : &c->unknown, 1);
    }
    return NULL;
}

static void mark(crowd *c, unsigned char *seen)
{
    ti_event_filter filter = {.type = S("user"), .state = TI_EVENT_PENDING, .limit = 1000};
    ti_event_list list;
    do {
        OK(&c->g->d,
           ti_queue_list(c->g->d.queues, &filter, &c->g->d.a, &list, &c->g->d.call, &c->g->d.err));
        for (size_t i = 0; i < list.count; i++) {
            uint64_t n = strtoull(list.items[i].payload.data, NULL, 10);
            if (n > 0)
                seen[n - 1]++;
        }
        filter.cursor = list.cursor;
    } while (list.cursor.len > 0);
}

/* What was answered with OK is there once, what was answered with an error is not. */
static void a_crowd_under_faults(void **state)
{
    (void)state;
    gathered g;
    pthread_t threads[16];
    crowd c = {.g = &g, .count = (uint32_t)test_scaled(4000)};
    open_all(&g, 4);
    c.outcome = calloc(c.count, 1);
    unsigned char *seen = calloc(c.count, 1);
    atomic_store(&g.f->slow_commit_in, 2);
    atomic_store(&g.f->conflict_in, 9);
    atomic_store(&g.f->unavailable_in, 31);
    atomic_store(&g.f->unknown_in, 41);
    atomic_store(&g.f->lost_in, 43);
    for (size_t i = 0; i < 16; i++)
        pthread_create(&threads[i], NULL, publish_crowd, &c);
    for (size_t i = 0; i < 16; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&g.f->unavailable_in, 0);
    mark(&c, seen);
    for (uint32_t n = 0; n < c.count; n++) {
        if (c.outcome[n] == 2)
            assert_true(seen[n] <= 1);
        else
            assert_int_equal(seen[n], c.outcome[n]);
    }
    print_message("%u commits for %u events\n", (unsigned)atomic_load(&g.f->commits), c.count);
    assert_true(atomic_load(&c.ok) > c.count / 2);
    assert_true(atomic_load(&g.f->commits) < c.count);
    free(seen);
    free(c.outcome);
    qdb_close(&g.d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callers_share),      cmocka_unit_test(first_come_first_placed),
        cmocka_unit_test(not_all_share),      cmocka_unit_test(errors_have_their_owner),
        cmocka_unit_test(nobody_knows),       cmocka_unit_test(nobody_waits_too_long),
        cmocka_unit_test(cancelled_together), cmocka_unit_test(a_crowd_under_faults),
    };
    return TEST_RUN(tests);
}
