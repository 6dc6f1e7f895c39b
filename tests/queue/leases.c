/* Leased workers: sharing, joining, leaving, standing still beyond the lease, clocks that jump;
 * nothing commits without its lease.
 *
 * A worker that stands still is one on a handle whose clock does not return: every thread of it
 * stops at its next look at the time, as under SIGSTOP. */
#include "queue/load.h"
#include "tikv/spaced.h"

#include "base/id.h"
#include "base/limits.h"
#include "queue/lease_int.h"
#include "queue/still.h"

#define SECOND INT64_C(1000000)

/* Another handle on the same engine, whose workers can be made to stand still. */
static void open_still(qdb *d, const qdb *first, still_env *env)
{
    still_init(env);
    if (spaced_wanted()) /* nobody else waits for what stands still in a client of its own */
        qdb_open_on(d, spaced_beside(first->engine));
    else
        qdb_open_beside(d, first);
    d->env = &env->env;
    d->kv.env = &env->env;
}

/* ---- who has what ---- */

static ti_worker *start_leased(qdb *d, const char *type, int64_t lease_us)
{
    ti_worker_options options = {.concurrency = 4, .leased = true, .lease_us = lease_us};
    return start_worker(d, type, &options);
}

/* Waits until the workers have all n partitions, each once. */
static void wait_shared(ti_worker **workers, size_t count, const char *type, uint32_t n)
{
    for (int i = 0; i < 20000; i++) {
        uint32_t sum = 0;
        for (size_t k = 0; k < count; k++)
            sum += ti_worker_partitions(workers[k], S(type));
        bool once = sum == n;
        for (uint32_t p = 0; p < n && once; p++) {
            uint32_t owners = 0;
            for (size_t k = 0; k < count; k++)
                owners += ti_worker_has_partition(workers[k], S(type), p) ? 1 : 0;
            once = owners == 1;
        }
        if (once)
            return;
        usleep(2000);
    }
    fail_msg("the partitions were not shared");
}

static size_t owner_of(ti_worker **workers, size_t count, const char *type, uint32_t partition)
{
    size_t k = 0;
    while (k < count && !ti_worker_has_partition(workers[k], S(type), partition))
        k++;
    return k;
}

static void partitions_are_shared(void **state)
{
    (void)state;
    qdb d;
    ti_worker *w[3];
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 64, 0, TI_ORDERING_KEY);
    w[0] = start_leased(&d, "user", 30 * SECOND);
    wait_shared(w, 1, "user", 64);
    w[1] = start_leased(&d, "user", 30 * SECOND);
    w[2] = start_leased(&d, "user", 30 * SECOND);
    for (int i = 0; i < 20000; i++) {
        if (ti_worker_partitions(w[1], S("user")) > 4 && ti_worker_partitions(w[2], S("user")) > 4)
            break;
        usleep(1000);
    }
    wait_shared(w, 3, "user", 64);
    for (int i = 0; i < 3; i++)
        assert_true(ti_worker_partitions(w[i], S("user")) > 4);
    /* one that leaves gives all at once: long before its lease would run out */
    finish_worker(w[1]);
    w[1] = w[2];
    wait_shared(w, 2, "user", 64);
    finish_worker(w[0]);
    wait_shared(w + 1, 1, "user", 64);
    finish_worker(w[1]);
    ti_queue_stats stats;
    ti_queue_stats_of(d.queues, S("user"), &stats);
    assert_true(stats.leases_taken >= 64);
    assert_int_equal(stats.leases_lost, 0);
    qdb_close(&d);
}

/* By weights alone: every pair of sizes from 1 to 64. */
static void one_more_moves_its_share(void **state)
{
    enum { PARTITIONS = 1024, MEMBERS = 64 };
    static char ids[MEMBERS + 1][TI_UUID_TEXT_SIZE + 1];
    static size_t owner[PARTITIONS];
    uint64_t type = ti_hash_stable(S("user"));
    uint64_t moved_all = 0;
    (void)state;
    for (size_t i = 0; i <= MEMBERS; i++)
        snprintf(ids[i], sizeof(ids[i]), "%08x-0000-4000-8000-0000%08x", (unsigned)i * 2654435761u,
                 (unsigned)(i * i));
    for (size_t n = 0; n < MEMBERS; n++) {
        uint64_t moved = 0;
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            size_t best = 0;
            for (size_t i = 1; i <= n; i++) {
                if (ti_lease_weight(type, p, S(ids[i])) > ti_lease_weight(type, p, S(ids[best])))
                    best = i;
            }
            if (n > 0 && best != owner[p]) {
                assert_int_equal(best, n); /* to the new one only */
                moved++;
            }
            owner[p] = best;
        }
        uint64_t share = PARTITIONS / (n + 1);
        if (n > 0 && (moved > share * 2 + 8 || moved < share / 3))
            fail_msg("%zu joined by one: %llu partitions moved", n, (unsigned long long)moved);
        moved_all += moved;
    }
    assert_true(moved_all > 0);
}

static void joining_moves_little(void **state)
{
    enum { N = 7, PARTITIONS = 256 };
    (void)state;
    qdb d;
    ti_worker *w[N + 1];
    size_t before[PARTITIONS];
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", PARTITIONS, 0, TI_ORDERING_KEY);
    for (size_t i = 0; i < N; i++)
        w[i] = start_leased(&d, "user", 60 * SECOND);
    wait_shared(w, N, "user", PARTITIONS);
    usleep(300000);
    wait_shared(w, N, "user", PARTITIONS);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        before[p] = owner_of(w, N, "user", p);
    w[N] = start_leased(&d, "user", 60 * SECOND);
    for (int i = 0; i < 20000 && ti_worker_partitions(w[N], S("user")) < 8; i++)
        usleep(1000);
    usleep(300000);
    wait_shared(w, N + 1, "user", PARTITIONS);
    uint32_t moved = 0;
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        size_t owner = owner_of(w, N + 1, "user", p);
        if (owner != before[p]) {
            assert_int_equal(owner, N);
            moved++;
        }
    }
    assert_in_range(moved, 8, 80); /* 32 of 256 on the average */
    for (size_t i = 0; i <= N; i++)
        finish_worker(w[i]);
    qdb_close(&d);
}

/* ---- fencing ---- */

static void write_row(qdb *d, ti_event *event, const char *who)
{
    ti_txn *txn;
    OK(d, ti_event_txn(event, &txn, &d->err));
    ti_slice key = ti_key_record(ti_store_keyspace(d->store), ti_txn_arena(txn), S("effects"),
                                 ti_event_info_of(event)->payload);
    OK(d, ti_txn_put(txn, key, S(who), &d->err));
}

static bool effect_is(qdb *d, const char *id, const char *who)
{
    ti_txn *txn;
    ti_slice value;
    OK(d, ti_txn_begin(&d->kv, NULL, &txn, &d->err));
    ti_slice key =
        ti_key_record(ti_store_keyspace(d->store), ti_txn_arena(txn), S("effects"), S(id));
    OK(d, ti_txn_get(txn, key, ti_txn_arena(txn), &value, &d->call, &d->err));
    bool same = is(value, who);
    ti_txn_free(txn);
    return same;
}

static uint64_t lost_of(qdb *d)
{
    ti_queue_stats stats;
    ti_queue_stats_of(d->queues, S("user"), &stats);
    return stats.lost + stats.dropped;
}

/* A worker that stands still beyond its lease: another one takes over, and what the first still has
 * in hand commits nothing, with and without writes. */
static void standing_still_loses(void **state)
{
    (void)state;
    qdb d;
    qdb d2;
    still_env env;
    ti_event *old[2];
    const int64_t lease_us = SECOND;
    qdb_open(&d, NULL, NULL);
    open_still(&d2, &d, &env);
    declare(&d, "user", 8, 0, TI_ORDERING_KEY);
    publish(&d, "user", "a", "1");
    publish(&d, "user", "b", "2");
    publish(&d, "user", "a", "3");
    ti_worker *w2 = start_leased(&d2, "user", lease_us);
    old[0] = take_one(w2);
    old[1] = take_one(w2);
    write_row(&d2, old[0], "old");
    atomic_store(&env.still, true);
    ti_worker *w1 = start_leased(&d, "user", lease_us);
    int64_t begun_ns = ti_env_mono_ns(ti_env_real());
    for (int i = 0; i < 3; i++) {
        ti_event *event = take_one(w1);
        write_row(&d, event, "new");
        ack(event);
    }
    int64_t took_us = (ti_env_mono_ns(ti_env_real()) - begun_ns) / 1000;
    print_message("taken over within %lld ms of a lease of 1000 ms\n", (long long)took_us / 1000);
    wait_committed(w1);
    uint64_t lost = lost_of(&d2);
    atomic_store(&env.still, false);
    ack(old[0]);
    ack(old[1]);
    wait_committed(w2);
    assert_int_equal(lost_of(&d2), lost + 2);
    assert_true(effect_is(&d, "1", "new"));
    assert_true(effect_is(&d, "2", "new"));
    assert_true(effect_is(&d, "3", "new"));
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 0);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PARKED), 0);
    ti_worker *both[] = {w1, w2};
    wait_shared(both, 2, "user", 8); /* it comes back */
    finish_worker(w2);
    finish_worker(w1);
    qdb_close(&d2);
    qdb_close(&d);
}

/* Nobody takes over, but the lease has run out. What it then settles commits nothing, and the same
 * worker runs the event again under its next lease; unless it has that lease already, and nobody
 * has touched the event meanwhile: then it commits under that one. Either way there is one effect.
 */
static void without_a_lease_nothing_commits(void **state)
{
    (void)state;
    qdb d;
    qdb d2;
    still_env env;
    qdb_open(&d, NULL, NULL);
    open_still(&d2, &d, &env);
    declare(&d, "user", 4, 0, TI_ORDERING_KEY);
    publish(&d, "user", "a", "1");
    ti_worker *w = start_leased(&d2, "user", SECOND / 2);
    ti_event *event = take_one(w);
    write_row(&d2, event, "old");
    atomic_store(&env.still, true);
    usleep(1200000);
    publish(&d, "other", "b", "2"); /* the database's time goes on, whoever stands still */
    atomic_store(&env.still, false);
    ack(event);
    wait_committed(w);
    ti_queue_stats stats;
    ti_queue_stats_of(d2.queues, S("user"), &stats);
    bool again = stats.acknowledged == 0;
    if (again) {
        event = take_one(w);
        write_row(&d2, event, "new");
        ack(event);
        wait_committed(w);
    }
    assert_true(effect_is(&d, "1", again ? "new" : "old"));
    ti_queue_stats_of(d2.queues, S("user"), &stats);
    assert_true(stats.leases_lost > 0);
    assert_int_equal(stats.acknowledged, 1);
    finish_worker(w);
    qdb_close(&d2);
    qdb_close(&d);
}

/* A partition changes hands only when what was taken of it is settled. */
static void leases_wait_for_what_is_in_hand(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 16, 0, TI_ORDERING_KEY);
    ti_worker *w[2] = {start_leased(&d, "user", 30 * SECOND), NULL};
    char key[16];
    ti_event *held[4];
    for (int i = 0; i < 40; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        publish(&d, "user", key, "1");
    }
    for (int i = 0; i < 4; i++)
        held[i] = take_one(w[0]);
    w[1] = start_leased(&d, "user", 30 * SECOND);
    for (int i = 0; i < 20000 && ti_worker_partitions(w[1], S("user")) == 0; i++)
        usleep(1000);
    usleep(200000);
    for (int i = 0; i < 4; i++)
        assert_false(
            ti_worker_has_partition(w[1], S("user"), ti_event_info_of(held[i])->place.partition));
    for (int i = 0; i < 4; i++)
        ack(held[i]);
    wait_shared(w, 2, "user", 16);
    finish_worker(w[0]);
    wait_shared(w + 1, 1, "user", 16);
    for (int i = 4; i < 40; i++)
        ack(take_one(w[1]));
    finish_worker(w[1]);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 0);
    ti_queue_stats stats;
    ti_queue_stats_of(d.queues, S("user"), &stats);
    assert_int_equal(stats.acknowledged, 40);
    assert_int_equal(stats.lost + stats.dropped, 0);
    qdb_close(&d);
}

/* The gate of a leased worker. */
static void followers_hold_nothing(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 16, 0, TI_ORDERING_KEY);
    ti_worker *w[2] = {start_leased(&d, "user", 30 * SECOND),
                       start_leased(&d, "user", 30 * SECOND)};
    wait_shared(w, 2, "user", 16);
    ti_worker_set_leader(w[0], false);
    wait_shared(w + 1, 1, "user", 16);
    assert_int_equal(ti_worker_partitions(w[0], S("user")), 0);
    ti_worker_set_leader(w[0], true);
    for (int i = 0; i < 20000 && ti_worker_partitions(w[0], S("user")) == 0; i++)
        usleep(1000);
    wait_shared(w, 2, "user", 16);
    finish_worker(w[0]);
    finish_worker(w[1]);
    qdb_close(&d);
}

static void options_are_checked(void **state)
{
    (void)state;
    qdb d;
    ti_worker *w;
    qdb_open(&d, NULL, NULL);
    ti_worker_options both = {.leased = true, .partition_to = 5};
    assert_int_equal(ti_worker_open(d.queues, &both, &w, &d.err), TI_INVALID_ARGUMENT);
    ti_worker_options short_lease = {.leased = true, .lease_us = TI_LEASE_US_MIN - 1};
    assert_int_equal(ti_worker_open(d.queues, &short_lease, &w, &d.err), TI_INVALID_ARGUMENT);
    qdb_close(&d);
}

/* A partition that was lost and has come back is another holding: what was read under the first one
 * commits never (fences.c), what is read under the second does. */
static void holdings_differ(void **state)
{
    (void)state;
    qdb d;
    qdb d2;
    still_env env;
    qdb_open(&d, NULL, NULL);
    open_still(&d2, &d, &env);
    declare(&d2, "user", 1, 0, TI_ORDERING_KEY);
    ti_worker *w = start_leased(&d2, "user", SECOND / 2);
    wait_shared(&w, 1, "user", 1);
    ti_ownership *o = w->ownership;
    uint64_t first = o->vt->holding(o, S("user"), 0);
    assert_true(first != 0 && o->vt->fence(o, S("user"), 0, first) != TI_FENCE_LOST);
    uint64_t second = first;
    for (int i = 0; i < 60 && (second == first || second == 0); i++) {
        atomic_store(&env.still, true);
        usleep(1200000);
        publish(&d, "other", "b", "2"); /* the database's time goes on */
        atomic_store(&env.still, false);
        usleep(200000);
        second = o->vt->holding(o, S("user"), 0);
    }
    assert_true(second != first && second != 0);
    assert_int_equal(o->vt->fence(o, S("user"), 0, first), TI_FENCE_LOST);
    finish_worker(w);
    qdb_close(&d2);
    qdb_close(&d);
}

/* ---- clocks ---- */

static ti_event *take_moving(ti_worker *w, test_env *env)
{
    ti_event *event = NULL;
    size_t count = 0;
    for (int i = 0; i < 20000 && count == 0; i++) {
        assert_int_equal(ti_worker_take(w, &event, 1, 0, &count, NULL), TI_OK);
        if (count == 0) {
            usleep(500);
            test_env_advance_us(env, 1000);
        }
    }
    if (count == 0)
        fail_msg("no event came");
    return event;
}

/* Wall clocks that jump by an hour, and time that runs ten times as fast: the worker goes on, and
 * what it had in hand when its lease ran out has no effect. */
static void clocks_jump(void **state)
{
    (void)state;
    qdb d;
    test_env env;
    test_env_init(&env, INT64_C(1700000000000000), 7);
    qdb_open(&d, NULL, &env.env);
    declare(&d, "user", 4, 0, TI_ORDERING_KEY);
    ti_worker *w = start_leased(&d, "user", SECOND);
    const int64_t jumps[] = {3600 * SECOND, -3600 * SECOND, 10 * SECOND, 0};
    char payload[16];
    for (int i = 0; i < 4; i++) {
        snprintf(payload, sizeof(payload), "%d", i + 1);
        publish(&d, "user", "a", payload);
        ti_event *event = take_moving(w, &env);
        write_row(&d, event, "old");
        test_env_set_wall_us(&env, test_env_wall_us(&env.env) + jumps[i]);
        for (int k = 0; k < 50; k++) {
            test_env_advance_us(&env, 10000);
            usleep(500);
        }
        ack(event);
        uint64_t pending = 1;
        while ((pending = count_of(&d, "user", TI_EVENT_PENDING)) > 0) {
            size_t count = 0;
            test_env_advance_us(&env, 2000);
            assert_int_equal(ti_worker_take(w, &event, 1, 0, &count, NULL), TI_OK);
            if (count > 0) {
                write_row(&d, event, "new");
                ack(event);
            }
            usleep(500);
        }
    }
    wait_committed(w);
    ti_queue_stats stats;
    ti_queue_stats_of(d.queues, S("user"), &stats);
    assert_int_equal(stats.acknowledged, 4);
    ti_worker_stop(w, -1);
    assert_int_equal(ti_worker_join(w, NULL), TI_OK);
    ti_worker_free(w);
    qdb_close(&d);
}

/* ---- storms ---- */

#define STORM_WORKERS 64

typedef struct storm {
    run r;
    _Atomic(bool) over;
    uint64_t seed;
} storm;

/* What a thread has for itself: calls leave their errors in its d. */
typedef struct comer {
    storm *s;
    qdb d;
    pthread_t thread;
} comer;

/* A thread with a worker that comes and goes. */
static void *come_and_go(void *context)
{
    comer *me = context;
    storm *s = me->s;
    test_random random =
        test_random_start(atomic_fetch_add(&s->r.finished, 0) + (uintptr_t)&random);
    while (!atomic_load(&s->over)) {
        ti_worker_options options = {.concurrency = 2, .leased = true, .lease_us = 60 * SECOND};
        ti_worker *w = start_worker(&me->d, "user", &options);
        uint64_t rounds = 2 + test_random_below(&random, 30);
        for (uint64_t i = 0; i < rounds || atomic_load(&s->r.stop); i++) {
            ti_event *events[4];
            size_t count;
            if (ti_worker_take(w, events, 4, 20000, &count, NULL) != TI_OK)
                break;
            for (size_t k = 0; k < count; k++)
                run_handle(&s->r, events[k], &random);
            if (atomic_load(&s->over))
                break;
        }
        finish_worker(w);
    }
    return NULL;
}

/* 64 workers that join and leave all the time share 1,024 partitions. Nobody stands still, so order
 * and single runs hold as with one worker. */
static void storms_of_joins_and_leaves(void **state)
{
    (void)state;
    static storm s;
    static comer comers[STORM_WORKERS];
    uint64_t n = test_scaled(20000);
    if (spaced_wanted())
        skip();                 /* 64 readers of 1,024 partitions: too much for a mock cluster */
    (void)test_random_start(0); /* the seed, before there are threads */
    run_open(&s.r, NULL, n, 300, 1024);
    s.r.write_in = 3;
    for (int i = 0; i < STORM_WORKERS; i++)
        comers[i] = (comer){.s = &s, .d = s.r.d};
    for (int i = 0; i < STORM_WORKERS; i++)
        pthread_create(&comers[i].thread, NULL, come_and_go, &comers[i]);
    for (uint64_t from = 1; from <= n; from += 50)
        run_publish(&s.r, from, from + 49 < n ? from + 49 : n, 10);
    atomic_store(&s.r.stop, true); /* no more leaves */
    run_wait_empty(&s.r);
    atomic_store(&s.over, true);
    for (int i = 0; i < STORM_WORKERS; i++)
        pthread_join(comers[i].thread, NULL);
    run_judge(&s.r);
    ti_queue_stats stats;
    ti_queue_stats_of(s.r.d.queues, S("user"), &stats);
    print_message("leases: %llu taken, %llu given, %llu lost\n",
                  (unsigned long long)stats.leases_taken, (unsigned long long)stats.leases_given,
                  (unsigned long long)stats.leases_lost);
    run_close(&s.r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partitions_are_shared),
        cmocka_unit_test(one_more_moves_its_share),
        cmocka_unit_test(joining_moves_little),
        cmocka_unit_test(standing_still_loses),
        cmocka_unit_test(without_a_lease_nothing_commits),
        cmocka_unit_test(leases_wait_for_what_is_in_hand),
        cmocka_unit_test(followers_hold_nothing),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(holdings_differ),
        cmocka_unit_test(clocks_jump),
        cmocka_unit_test(storms_of_joins_and_leaves),
    };
    return TEST_RUN(tests);
}
