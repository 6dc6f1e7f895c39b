/* What a commit asks of the stores, on the simulated wire: its timestamps, how long its locks live,
 * what keeps them alive, and in which order they are cleared away. */
#include "tikv/little.h"

static const char *const two[] = {"m", NULL};
static const char *const both[] = {"a", "z", NULL};

/* Waits until requests of that kind have come, which another thread sends. */
static void until_asked(little *l, ti_command_id kind, int count)
{
    for (int i = 0; i < 60000 && atomic_load(&l->f.asked[kind]) < count; i++)
        usleep(1000);
    assert_true(atomic_load(&l->f.asked[kind]) >= count);
}

/* ---- 58: in order of real time ---- */

static ti_status put_a(little *l, ti_ts start_ts, bool causal)
{
    ti_mutation put = {.key = TI_SLICE("a"), .value = TI_SLICE("1"), .kind = TI_MUTATION_PUT};
    ti_commit_request request = {
        .start_ts = start_ts, .mutations = &put, .count = 1, .causal = causal};
    ti_call call = little_call(l, 60000);
    return little_commit_within(l, &request, &call);
}

static void a_commit_comes_after_all_that_was_before_it(void **state)
{
    (void)state;
    little l;
    little_begin(&l, NULL);
    ti_ts start_ts = little_now(&l);
    ti_ts other = little_now(&l); /* of somebody who has read nothing here yet */
    test_ok(put_a(&l, start_ts, false), &l.err);
    assert_true(l.commit_ts > other);
    /* Who does not want that saves the timestamp. */
    start_ts = little_now(&l);
    uint64_t given = l.f.logical;
    test_ok(put_a(&l, start_ts, true), &l.err);
    assert_true(l.commit_ts == start_ts + 1);
    assert_true(l.f.logical == given);
    little_end(&l);
}

/* ---- How long locks live ---- */

typedef struct lives {
    uint64_t ttl_ms; /* of the last Prewrite */
    uint64_t size;   /* keys of the transaction in its region */
} lives;

static bool notes_life(little *l, fake_ask *ask)
{
    lives *seen = l->context;
    if (ask->kind == TI_COMMAND_PREWRITE) {
        Kvrpcpb__PrewriteRequest *r = mvcc_unpack(&kvrpcpb__prewrite_request__descriptor, ask);
        seen->ttl_ms = r->lock_ttl;
        seen->size = r->txn_size;
    }
    return false;
}

/* PUTs of one value to count keys "00", "01" … */
static ti_status put_large(little *l, size_t value_len, size_t count, int64_t ms)
{
    ti_mutation list[16];
    char *value = ti_arena_alloc(&l->a, value_len);
    memset(value, 'v', value_len);
    for (size_t i = 0; i < count; i++) {
        char key[4] = {(char)('0' + i / 10), (char)('0' + i % 10), '\0', '\0'};
        list[i] = (ti_mutation){.key = ti_arena_copy(&l->a, ti_slice_of(key)),
                                .value = {.data = value, .len = value_len},
                                .kind = TI_MUTATION_PUT};
    }
    ti_commit_request request = {.start_ts = little_now(l), .mutations = list, .count = count};
    ti_call call = little_call(l, ms);
    return little_commit_within(l, &request, &call);
}

static void locks_live_as_their_transaction_is_large(void **state)
{
    static const struct {
        size_t value_len;
        size_t count;
        uint64_t ttl_ms;
    } sizes[] = {{10, 2, 3000},
                 {15000, 4, 3000},
                 {1 << 20, 1, 6000},
                 {1 << 20, 4, 12000},
                 {1 << 20, 14, 20000}};
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        little l;
        lives seen = {0};
        little_begin(&l, NULL);
        l.context = &seen;
        l.meddle = notes_life;
        test_ok(put_large(&l, sizes[i].value_len, sizes[i].count, 60000), &l.err);
        assert_in_range(seen.ttl_ms, sizes[i].ttl_ms, sizes[i].ttl_ms + 100);
        assert_int_equal(seen.size, sizes[i].count);
        little_end(&l);
    }
}

static bool moves_once(little *l, fake_ask *ask)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__RegionNotFound moved = ERRORPB__REGION_NOT_FOUND__INIT;
    if (ask->kind != TI_COMMAND_PREWRITE || ask->number > 1)
        return notes_life(l, ask);
    error.region_not_found = &moved;
    fake_region_error(ask, &error);
    return true;
}

/* How many keys are in a region that was split is not known: its locks are cleared by region. */
static void after_a_move_the_keys_of_a_region_are_not_counted(void **state)
{
    (void)state;
    little l;
    lives seen = {0};
    little_begin(&l, NULL);
    l.context = &seen;
    l.meddle = moves_once;
    test_ok(put_large(&l, 10, 2, 60000), &l.err);
    assert_true(seen.size == UINT64_MAX);
    little_end(&l);
}

/* Nothing is prewritten until there was a beat. */
static bool is_busy_until_beaten(little *l, fake_ask *ask)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__ServerIsBusy busy = ERRORPB__SERVER_IS_BUSY__INIT;
    if (ask->kind == TI_COMMAND_TXN_HEART_BEAT)
        atomic_store(&l->count, 1);
    if (ask->kind != TI_COMMAND_PREWRITE || atomic_load(&l->count) > 0 || ask->number > 60)
        return false;
    usleep(20000); /* the thread that beats needs its time */
    error.server_is_busy = &busy;
    fake_region_error(ask, &error);
    return true;
}

static void a_large_commit_keeps_its_locks_alive(void **state)
{
    (void)state;
    little l;
    little_begin(&l, NULL);
    l.meddle = is_busy_until_beaten;
    test_ok(put_large(&l, 1 << 20, TI_BEATING_SIZE >> 20, 1200000), &l.err);
    assert_int_equal(atomic_load(&l.count), 1);
    little_end(&l);
}

/* ---- Commit timestamps that are refused ---- */

typedef struct refusal {
    uint64_t ahead_ms;
    bool of_another_key;
} refusal;

static bool refuses_first(little *l, fake_ask *ask)
{
    Kvrpcpb__CommitResponse out = KVRPCPB__COMMIT_RESPONSE__INIT;
    Kvrpcpb__KeyError error = KVRPCPB__KEY_ERROR__INIT;
    Kvrpcpb__CommitTsExpired expired = KVRPCPB__COMMIT_TS_EXPIRED__INIT;
    const refusal *f = l->context;
    if (ask->kind != TI_COMMAND_COMMIT || ask->number > 1)
        return false;
    Kvrpcpb__CommitRequest *r = mvcc_unpack(&kvrpcpb__commit_request__descriptor, ask);
    expired.key = f->of_another_key ? ti_pb_bytes(TI_SLICE("z")) : r->primary_key;
    expired.attempted_commit_ts = r->commit_version;
    expired.min_commit_ts = r->commit_version + (f->ahead_ms << TI_TS_LOGICAL_BITS);
    error.commit_ts_expired = &expired;
    out.error = &error;
    fake_say(ask, &out.base);
    return true;
}

static void only_a_credible_refusal_of_the_primary_moves_a_commit(void **state)
{
    static const struct {
        refusal refusal;
        ti_status status;
    } cases[] = {{{.ahead_ms = 1}, TI_OK},
                 {{.ahead_ms = 7200000}, TI_CONFLICT},
                 {{.ahead_ms = 1, .of_another_key = true}, TI_CONFLICT}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        little l;
        refusal how = cases[i].refusal;
        little_begin(&l, two);
        l.context = &how;
        l.meddle = refuses_first;
        l.m.refuses_1pc = l.m.refuses_async = true;
        test_status(little_put(&l, little_now(&l), both, "1", 60000), cases[i].status);
        until_asked(&l, TI_COMMAND_COMMIT, cases[i].status == TI_OK ? 2 : 1);
        little_expect(&l, "a", cases[i].status == TI_OK ? "1" : "");
        little_expect(&l, "z", cases[i].status == TI_OK ? "1" : "");
        little_end(&l);
    }
}

/* Its locks may have been cleared away long ago, and with them what others knew of it. */
static void a_transaction_ends_within_a_day(void **state)
{
    (void)state;
    for (int hours = 23; hours <= 25; hours += 2) {
        little l;
        little_begin(&l, two);
        l.m.refuses_1pc = l.m.refuses_async = true;
        ti_ts start_ts = little_now(&l) - ((uint64_t)hours * 3600000 << TI_TS_LOGICAL_BITS);
        test_status(little_put(&l, start_ts, both, "1", 60000), hours < 24 ? TI_OK : TI_CONFLICT);
        little_expect(&l, "z", hours < 24 ? "1" : "");
        little_end(&l);
    }
}

/* ---- 1PC whose answer was lost ---- */

/* It was applied, and its region is split meanwhile. */
static bool is_lost_and_split(little *l, fake_ask *ask)
{
    fake *f = &l->f;
    if (ask->kind != TI_COMMAND_PREWRITE || ask->number > 1)
        return false;
    mvcc_answer(&l->m, ask);
    ask->cut = true;
    f->regions[0].end = "m";
    f->regions[0].version++;
    f->regions[1] = f->regions[0];
    f->regions[1].id = 77;
    f->regions[1].start = "m";
    f->regions[1].end = "";
    f->region_count = 2;
    return true;
}

/* No part of it is committed once more, at another time: also where async commit is out of question,
 * because its keys are long. */
static void a_lost_1pc_keeps_its_commit_timestamp(void **state)
{
    (void)state;
    for (int long_keys = 0; long_keys < 2; long_keys++) {
        little l;
        little_begin(&l, NULL);
        l.meddle = is_lost_and_split;
        const char *const keys[] = {long_keys ? little_long(&l, 'a') : "a",
                                    long_keys ? little_long(&l, 'z') : "z", NULL};
        ti_ts start_ts = little_now(&l);
        test_ok(little_put(&l, start_ts, keys, "1", 60000), &l.err);
        for (int i = 0; i < 2; i++) {
            uint64_t ts = mvcc_committed_at(&l.m, ti_slice_of(keys[i]), start_ts);
            assert_true(ts != 0 && ts == l.commit_ts);
        }
        little_end(&l);
    }
}

/* ---- Commits that only look ---- */

static void assertions_alone_write_and_commit_nothing(void **state)
{
    (void)state;
    little l;
    little_begin(&l, two);
    ti_mutation list[] = {{.key = TI_SLICE("a"), .kind = TI_MUTATION_ABSENT},
                          {.key = TI_SLICE("z"), .kind = TI_MUTATION_ABSENT}};
    ti_commit_request request = {.start_ts = little_now(&l), .mutations = list, .count = 2};
    ti_call call = little_call(&l, 60000);
    test_ok(little_commit_within(&l, &request, &call), &l.err);
    assert_int_equal(mvcc_locks(&l.m), 0);
    mvcc_put(&l.m, "z", "1", 1, 2);
    request.start_ts = little_now(&l);
    test_status(little_commit_within(&l, &request, &call), TI_ALREADY_EXISTS);
    assert_int_equal(mvcc_locks(&l.m), 0);
    assert_int_equal(atomic_load(&l.f.asked[TI_COMMAND_COMMIT]), 0);
    little_end(&l);
}

/* ---- Answers that can not be read ---- */

static bool mumbles(little *l, fake_ask *ask)
{
    if (ask->kind != TI_COMMAND_COMMIT || ask->number > 1)
        return false;
    mvcc_answer(&l->m, ask);
    ask->answer = TI_SLICE("\xff\xff\xff\xff");
    return true;
}

/* It says nothing of what was done: that is asked for. */
static void an_unreadable_answer_to_a_commit_is_none(void **state)
{
    (void)state;
    little l;
    little_begin(&l, two);
    l.m.refuses_1pc = l.m.refuses_async = true;
    l.meddle = mumbles;
    ti_ts start_ts = little_now(&l);
    test_ok(little_put(&l, start_ts, both, "1", 60000), &l.err);
    assert_true(mvcc_committed_at(&l.m, TI_SLICE("a"), start_ts) == l.commit_ts);
    little_expect(&l, "z", "1");
    little_end(&l);
}

/* ---- Busy until the deadline ---- */

/* It says so after a while: what is asked shortly before the deadline has no answer in time. */
static bool is_busy(little *l, fake_ask *ask)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__ServerIsBusy busy = ERRORPB__SERVER_IS_BUSY__INIT;
    if (ask->kind != (l->m.refuses_1pc ? TI_COMMAND_COMMIT : TI_COMMAND_PREWRITE) ||
        atomic_load(&l->count) == 0)
        return false;
    error.server_is_busy = &busy;
    fake_region_error(ask, &error);
    ask->delay_ms = 60;
    return true;
}

/* A refusal is an outcome that is known: no last try of a commit point makes it unknown. */
static void a_commit_that_is_refused_in_time_is_known(void **state)
{
    (void)state;
    for (int two_phases = 0; two_phases < 2; two_phases++) {
        little l;
        little_begin(&l, two);
        l.m.refuses_1pc = l.m.refuses_async = two_phases == 1;
        l.meddle = is_busy;
        test_ok(little_put(&l, little_now(&l), both, "0", 60000), &l.err); /* all is located */
        atomic_store(&l.count, 1);
        test_status(little_put(&l, little_now(&l), both, "1", 900), TI_TIMEOUT);
        atomic_store(&l.count, 0);
        little_expect(&l, "a", "0");
        little_end(&l);
    }
}

/* ---- The order of clearing away ---- */

typedef struct order {
    ti_command_id kind;
    _Atomic(size_t) first_keys; /* of the first request of that kind; 0: there was none */
    char first;                 /* letter of its first key */
} order;

static bool notes_order(little *l, fake_ask *ask)
{
    order *o = l->context;
    if (ask->kind != o->kind || ask->number > 1)
        return false;
    if (ask->kind == TI_COMMAND_COMMIT) {
        Kvrpcpb__CommitRequest *r = mvcc_unpack(&kvrpcpb__commit_request__descriptor, ask);
        o->first = (char)r->keys[0].data[0];
        atomic_store(&o->first_keys, r->n_keys);
    } else {
        Kvrpcpb__BatchRollbackRequest *r =
            mvcc_unpack(&kvrpcpb__batch_rollback_request__descriptor, ask);
        o->first = (char)r->keys[0].data[0];
        atomic_store(&o->first_keys, r->n_keys);
    }
    return false;
}

/* The keys of the others are first in their regions' order: still the primary goes before them. */
static void the_primary_is_cleared_first_and_alone(void **state)
{
    static const char *const three[] = {"a", "b", "z", NULL};
    (void)state;
    for (int commits = 0; commits < 2; commits++) {
        little l;
        order seen = {.kind = commits ? TI_COMMAND_COMMIT : TI_COMMAND_BATCH_ROLLBACK};
        little_begin(&l, two);
        l.context = &seen;
        l.meddle = notes_order;
        uint64_t later = fake_now(&l.f) + 1000;
        if (!commits)
            mvcc_put(&l.m, "z", "other", later, later + 1);
        test_status(little_put(&l, little_now(&l), three, "1", 60000),
                    commits ? TI_OK : TI_CONFLICT);
        until_asked(&l, seen.kind, 2);
        assert_int_equal(atomic_load(&seen.first_keys), 1);
        assert_int_equal(seen.first, 'a');
        little_expect(&l, "b", commits ? "1" : "");
        little_end(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_commit_comes_after_all_that_was_before_it),
        cmocka_unit_test(locks_live_as_their_transaction_is_large),
        cmocka_unit_test(after_a_move_the_keys_of_a_region_are_not_counted),
        cmocka_unit_test(a_large_commit_keeps_its_locks_alive),
        cmocka_unit_test(only_a_credible_refusal_of_the_primary_moves_a_commit),
        cmocka_unit_test(a_transaction_ends_within_a_day),
        cmocka_unit_test(a_lost_1pc_keeps_its_commit_timestamp),
        cmocka_unit_test(assertions_alone_write_and_commit_nothing),
        cmocka_unit_test(an_unreadable_answer_to_a_commit_is_none),
        cmocka_unit_test(a_commit_that_is_refused_in_time_is_known),
        cmocka_unit_test(the_primary_is_cleared_first_and_alone),
    };
    return TEST_RUN(tests);
}
