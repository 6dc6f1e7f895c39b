/* Many threads at once, against a serial check of snapshot isolation.
 *
 * Every transaction leaves a note: its start, its commit timestamp, what it read of which key, what
 * it wrote. Afterwards the notes are checked one by one in order of commit timestamps:
 *   - what was read is what the commits up to the start had written, exactly
 *   - no other commit on a written key lies between start and commit */
#include "engine/engine.h"

#define THREADS 4
#define KEYS 8

typedef struct note {
    ti_ts start;
    ti_ts commit;         /* TI_TS_NONE: it only read */
    uint32_t read[KEYS];  /* the value of every key in the snapshot; 0: absent */
    uint32_t wrote[KEYS]; /* 0: not written */
} note;

typedef struct worker {
    db d;
    ti_thread thread;
    test_random random;
    unsigned number;
    unsigned count; /* notes wanted */
    note *notes;    /* owned */
    unsigned noted;
    uint64_t conflicts;
    _Atomic(ti_ts) *acknowledged; /* the highest commit that anybody was told */
} worker;

static void name_key(unsigned k, char out[8])
{
    (void)snprintf(out, 8, "key%u", k);
}

/* Reads all keys, by gets or by one scan. */
static void read_all(worker *w, ti_snapshot *s, note *n)
{
    if (test_random_one_in(&w->random, 2)) {
        ti_scan_page page;
        ti_scan scan = {.range = {.from = TI_SLICE("key"), .to = TI_SLICE("kez")}, .items_max = 99};
        scan.reverse = test_random_one_in(&w->random, 2);
        ti_status status = w->d.vt->scan(s, &scan, &w->d.a, &page, &w->d.call, &w->d.err);
        ti_require(status == TI_OK);
        for (size_t i = 0; i < page.count; i++)
            memcpy(&n->read[page.pairs[i].key.data[3] - '0'], page.pairs[i].value.data, 4);
        return;
    }
    for (unsigned k = 0; k < KEYS; k++) {
        char key[8];
        name_key(k, key);
        ti_slice value = db_get(&w->d, s, key);
        if (value.data != NULL)
            memcpy(&n->read[k], value.data, 4);
    }
}

static void raise_to(_Atomic(ti_ts) *acknowledged, ti_ts ts)
{
    ti_ts before = atomic_load(acknowledged);
    while (before < ts && !atomic_compare_exchange_weak(acknowledged, &before, ts))
        ;
}

/* Begins, reads everything, writes up to three keys, commits. */
static void transact(worker *w)
{
    note *n = &w->notes[w->noted];
    ti_mutation mutations[KEYS];
    char keys[KEYS][8];
    size_t count = 0;
    memset(n, 0, sizeof(*n));
    ti_ts told = atomic_load(w->acknowledged);
    ti_snapshot *s = db_begin(&w->d);
    n->start = db_ts(&w->d, s);
    ti_require(n->start >= told); /* what was acknowledged is visible */
    read_all(w, s, n);
    uint32_t value = w->number * 1000000 + w->noted + 1;
    for (unsigned k = 0; k < KEYS && !test_random_one_in(&w->random, 8); k++) {
        if (!test_random_one_in(&w->random, 4))
            continue;
        name_key(k, keys[k]);
        mutations[count++] = (ti_mutation){.key = ti_slice_of(keys[k]),
                                           .value = {.data = (const char *)&value, .len = 4}};
        n->wrote[k] = value;
    }
    ti_status status =
        count == 0 ? TI_OK : db_commit_all(&w->d, n->start, mutations, count, &n->commit);
    w->d.vt->release(s);
    ti_arena_reset(&w->d.a);
    ti_require(status == TI_OK || status == TI_CONFLICT);
    if (status == TI_CONFLICT) {
        w->conflicts++;
        return;
    }
    if (count > 0)
        raise_to(w->acknowledged, n->commit);
    w->noted++;
}

static void *run_worker(void *arg)
{
    worker *w = arg;
    while (w->noted < w->count)
        transact(w);
    return NULL;
}

static int by_commit(const void *a, const void *b)
{
    const note *x = *(const note *const *)a;
    const note *y = *(const note *const *)b;
    return (x->commit > y->commit) - (x->commit < y->commit);
}

/* The value of a key in the state after all commits <= ts; sorted holds the commits. */
static uint32_t value_at(const note *const *sorted, size_t count, unsigned k, ti_ts ts)
{
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (sorted[mid]->commit <= ts)
            low = mid + 1;
        else
            high = mid;
    }
    while (low > 0 && sorted[low - 1]->wrote[k] == 0)
        low--;
    return low == 0 ? 0 : sorted[low - 1]->wrote[k];
}

/* Checks one transaction against all commits. */
static void check_note(const note *const *sorted, size_t count, const note *n)
{
    for (unsigned k = 0; k < KEYS; k++) {
        assert_int_equal(value_at(sorted, count, k, n->start), n->read[k]);
        if (n->wrote[k] != 0)
            assert_int_equal(value_at(sorted, count, k, n->commit - 1), n->read[k]);
    }
    if (n->commit != TI_TS_NONE)
        assert_true(n->commit > n->start);
}

static void check_history(worker *workers, size_t total)
{
    const note **sorted = ti_alloc(total * sizeof(*sorted));
    size_t count = 0;
    for (int i = 0; i < THREADS; i++)
        for (unsigned j = 0; j < workers[i].noted; j++)
            if (workers[i].notes[j].commit != TI_TS_NONE)
                sorted[count++] = &workers[i].notes[j];
    qsort(sorted, count, sizeof(*sorted), by_commit);
    for (size_t i = 1; i < count; i++)
        assert_true(sorted[i - 1]->commit < sorted[i]->commit);
    for (int i = 0; i < THREADS; i++)
        for (unsigned j = 0; j < workers[i].noted; j++)
            check_note(sorted, count, &workers[i].notes[j]);
    ti_free(sorted);
}

static void histories_are_snapshot_isolated(void **state)
{
    db d;
    worker workers[THREADS];
    _Atomic(ti_ts) acknowledged;
    unsigned each = (unsigned)test_scaled(db_is("tikv") ? 2500 : 20000);
    uint64_t conflicts = 0;
    (void)state;
    atomic_init(&acknowledged, 0);
    memset(workers, 0, sizeof(workers));
    db_open(&d);
    for (unsigned i = 0; i < THREADS; i++) {
        worker *w = &workers[i];
        ti_err err;
        db_share(&d, &w->d);
        w->random = test_random_start(100 + i);
        w->number = i + 1;
        w->count = each;
        w->notes = ti_alloc((size_t)each * sizeof(note));
        w->acknowledged = &acknowledged;
        assert_non_null(w->notes);
        test_ok(ti_thread_start(&w->thread, "worker", run_worker, w, &err), &err);
    }
    for (int i = 0; i < THREADS; i++) {
        ti_thread_join(&workers[i].thread);
        conflicts += workers[i].conflicts;
    }
    assert_true(conflicts > 0); /* else the test tested nothing */
    check_history(workers, (size_t)each * THREADS);
    for (int i = 0; i < THREADS; i++) {
        db_unshare(&workers[i].d);
        ti_free(workers[i].notes);
    }
    db_close(&d);
}

/* ---- a bank */

#define ACCOUNTS 10
#define OPENING 1000

typedef struct teller {
    db d;
    ti_thread thread;
    test_random random;
    unsigned count;
    bool audits;
} teller;

static int64_t balance_of(db *d, ti_snapshot *s, unsigned account, char key[16])
{
    int64_t balance = 0;
    (void)snprintf(key, 16, "account%02u", account);
    ti_slice value = db_get(d, s, key);
    ti_require(value.len == sizeof(balance));
    memcpy(&balance, value.data, sizeof(balance));
    return balance;
}

static void audit(db *d)
{
    ti_snapshot *s = db_begin(d);
    int64_t sum = 0;
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        char key[16];
        int64_t balance = balance_of(d, s, i, key);
        ti_require(balance >= 0);
        sum += balance;
    }
    ti_require(sum == ACCOUNTS * OPENING);
    d->vt->release(s);
    ti_arena_reset(&d->a);
}

static void transfer(teller *t)
{
    char keys[2][16];
    int64_t balances[2];
    unsigned from = (unsigned)test_random_below(&t->random, ACCOUNTS);
    unsigned to = (from + 1 + (unsigned)test_random_below(&t->random, ACCOUNTS - 1)) % ACCOUNTS;
    ti_snapshot *s = db_begin(&t->d);
    balances[0] = balance_of(&t->d, s, from, keys[0]);
    balances[1] = balance_of(&t->d, s, to, keys[1]);
    int64_t amount = (int64_t)test_random_below(&t->random, 50);
    if (balances[0] >= amount) {
        balances[0] -= amount;
        balances[1] += amount;
        int first = from < to ? 0 : 1;
        ti_mutation m[2];
        for (int i = 0; i < 2; i++) {
            int which = i == 0 ? first : 1 - first;
            m[i] = (ti_mutation){.key = ti_slice_of(keys[which]),
                                 .value = {.data = (const char *)&balances[which], .len = 8}};
        }
        ti_status status = db_commit_all(&t->d, db_ts(&t->d, s), m, 2, NULL);
        ti_require(status == TI_OK || status == TI_CONFLICT);
    }
    t->d.vt->release(s);
    ti_arena_reset(&t->d.a);
}

static void *run_teller(void *arg)
{
    teller *t = arg;
    for (unsigned i = 0; i < t->count; i++) {
        if (t->audits)
            audit(&t->d);
        else
            transfer(t);
    }
    return NULL;
}

static void money_is_neither_made_nor_lost(void **state)
{
    db d;
    teller tellers[THREADS + 1];
    (void)state;
    memset(tellers, 0, sizeof(tellers));
    db_open(&d);
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        char key[16];
        int64_t balance = OPENING;
        (void)snprintf(key, sizeof(key), "account%02u", i);
        ti_mutation m = {.key = ti_slice_of(key),
                         .value = {.data = (const char *)&balance, .len = 8}};
        assert_int_equal(db_commit_all(&d, db_now(&d), &m, 1, NULL), TI_OK);
    }
    for (unsigned i = 0; i <= THREADS; i++) {
        ti_err err;
        db_share(&d, &tellers[i].d);
        tellers[i].random = test_random_start(200 + i);
        tellers[i].count = (unsigned)test_scaled(db_is("tikv") ? 2000 : 10000);
        tellers[i].audits = i == THREADS;
        test_ok(ti_thread_start(&tellers[i].thread, "teller", run_teller, &tellers[i], &err), &err);
    }
    for (unsigned i = 0; i <= THREADS; i++) {
        ti_thread_join(&tellers[i].thread);
        db_unshare(&tellers[i].d);
    }
    audit(&d);
    db_close(&d);
}

/* ---- unique claims */

typedef struct claimer {
    db d;
    ti_thread thread;
    unsigned number;
    unsigned claims;
    unsigned char *won; /* one per claim; owned */
} claimer;

/* Blind INSERTs of the same keys by all threads at once. */
static void *run_claimer(void *arg)
{
    claimer *c = arg;
    for (unsigned i = 0; i < c->claims; i++) {
        char key[24];
        char value[8];
        ti_status status;
        (void)snprintf(key, sizeof(key), "claim%u", i);
        (void)snprintf(value, sizeof(value), "%u", c->number);
        do
            status = db_commit(&c->d, db_now(&c->d), INSERT(key, value));
        while (status == TI_CONFLICT);
        ti_require(status == TI_OK || status == TI_ALREADY_EXISTS);
        c->won[i] = status == TI_OK;
        bool mine = db_holds_now(&c->d, key, value);
        ti_require(mine == (status == TI_OK)); /* and who lost sees the winner */
        ti_arena_reset(&c->d.a);
    }
    return NULL;
}

static void a_key_is_claimed_once(void **state)
{
    db d;
    claimer claimers[THREADS];
    unsigned claims = (unsigned)test_scaled(db_is("tikv") ? 1000 : 5000);
    (void)state;
    db_open(&d);
    for (unsigned i = 0; i < THREADS; i++) {
        ti_err err;
        db_share(&d, &claimers[i].d);
        claimers[i].number = i;
        claimers[i].claims = claims;
        claimers[i].won = ti_alloc_zero(claims);
        test_ok(ti_thread_start(&claimers[i].thread, "claimer", run_claimer, &claimers[i], &err),
                &err);
    }
    for (unsigned i = 0; i < THREADS; i++)
        ti_thread_join(&claimers[i].thread);
    for (unsigned c = 0; c < claims; c++) {
        unsigned winners = 0;
        for (unsigned i = 0; i < THREADS; i++)
            winners += claimers[i].won[c];
        assert_int_equal(winners, 1);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        db_unshare(&claimers[i].d);
        ti_free(claimers[i].won);
    }
    db_close(&d);
}

/* ---- timestamps of many threads */

typedef struct ticker {
    db d;
    ti_thread thread;
    unsigned count;
    ti_ts *ticks; /* owned */
} ticker;

static void *run_ticker(void *arg)
{
    ticker *t = arg;
    for (unsigned i = 0; i < t->count; i++)
        t->ticks[i] = db_now(&t->d);
    return NULL;
}

static int by_ts(const void *a, const void *b)
{
    const ti_ts *x = a;
    const ti_ts *y = b;
    return (*x > *y) - (*x < *y);
}

static void no_timestamp_is_given_twice(void **state)
{
    db d;
    ticker tickers[THREADS];
    unsigned count = (unsigned)test_scaled(db_is("tikv") ? 10000 : 50000);
    ti_ts *all = ti_alloc(THREADS * count * sizeof(ti_ts));
    (void)state;
    db_open(&d);
    for (unsigned i = 0; i < THREADS; i++) {
        ti_err err;
        db_share(&d, &tickers[i].d);
        tickers[i].count = count;
        tickers[i].ticks = all + i * count;
        test_ok(ti_thread_start(&tickers[i].thread, "ticker", run_ticker, &tickers[i], &err), &err);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        ti_thread_join(&tickers[i].thread);
        db_unshare(&tickers[i].d);
        for (unsigned j = 1; j < count; j++)
            assert_true(tickers[i].ticks[j - 1] < tickers[i].ticks[j]);
    }
    qsort(all, THREADS * count, sizeof(ti_ts), by_ts);
    for (size_t i = 1; i < (size_t)THREADS * count; i++)
        assert_true(all[i - 1] < all[i]);
    ti_free(all);
    db_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histories_are_snapshot_isolated),
        cmocka_unit_test(money_is_neither_made_nor_lost),
        cmocka_unit_test(a_key_is_claimed_once),
        cmocka_unit_test(no_timestamp_is_given_twice),
    };
    return TEST_RUN(tests);
}
