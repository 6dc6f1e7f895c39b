/* SIGKILL under load: with `sync` no acknowledged commit is lost and none is half there; with
 * `buffered` the same holds, since it is the process that dies and not the machine.
 *
 * Each thread t of the child commits transactions number 1, 2, 3 …: every one sets the thread's
 * three keys to its number, inserts a row of its own, and deletes the row before. So after a crash
 *   - the three keys of a thread hold the same number n             (all or nothing)
 *   - acknowledged <= n <= acknowledged + 1                         (nothing lost, one in flight)
 *   - of the rows exactly row n is there                            (inserts and deletes alike)
 * and timestamps go on above every one that was reported. */
#include "crash/life.h"

#include "base/assert.h"
#include "base/thread.h"
#include "kv/retry.h"

#define KEYS 3

typedef struct writer {
    const life *l;
    ti_kv *kv;
    ti_thread thread;
    uint32_t number; /* of the thread */
    uint32_t at;     /* the number it has come to */
} writer;

static ti_slice name(char out[32], const char *kind, uint32_t thread, uint32_t number)
{
    int len = snprintf(out, 32, "%s:%u:%u", kind, thread, number);
    return (ti_slice){.data = out, .len = (size_t)len};
}

/* ---- the child that works */

static ti_status write_number(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    const writer *w = context;
    char key[32];
    char value[200];
    int len = snprintf(value, sizeof(value), "%u %0150u", w->at, w->at);
    ti_slice v = {.data = value, .len = (size_t)len};
    (void)call;
    for (uint32_t k = 0; k < KEYS; k++)
        TI_TRY(ti_txn_put(txn, name(key, "key", w->number, k), v, err));
    TI_TRY(ti_txn_insert(txn, name(key, "row", w->number, w->at), v, err));
    return ti_txn_delete(txn, name(key, "row", w->number, w->at - 1), err);
}

static void *run_writer(void *arg)
{
    writer *w = arg;
    for (;;) {
        report told = {.thread = w->number};
        ti_err err;
        ti_call call = ti_call_within(ti_env_real(), 30000000);
        w->at++;
        ti_status status =
            ti_kv_transact(w->kv, NULL, NULL, write_number, w, &told.ts, &call, &err);
        ti_require(status == TI_OK);
        told.number = w->at;
        life_report(w->l, told);
    }
    return NULL;
}

static void work(const life *l)
{
    ti_kv kv;
    ti_err err;
    writer writers[LIFE_THREADS];
    ti_fault_arm(l->fault.name != NULL ? &l->fault : NULL);
    ti_require(ti_kv_open(&kv, life_open(l), NULL, &err) == TI_OK);
    for (uint32_t i = 0; i < LIFE_THREADS; i++) {
        writers[i] = (writer){.l = l, .kv = &kv, .number = i, .at = l->known.told[i]};
        ti_require(ti_thread_start(&writers[i].thread, "writer", run_writer, &writers[i], &err) ==
                   TI_OK);
    }
    for (uint32_t i = 0; i < LIFE_THREADS; i++)
        ti_thread_join(&writers[i].thread);
}

/* ---- the child that checks */

static uint32_t number_under(ti_kv *kv, ti_txn *txn, ti_slice key)
{
    ti_slice value;
    ti_err err;
    ti_call call = ti_kv_call(kv);
    ti_status status = ti_txn_get(txn, key, ti_txn_arena(txn), &value, &call, &err);
    ti_require(status == TI_OK || status == TI_NOT_FOUND);
    return status == TI_OK ? (uint32_t)strtoul(value.data, NULL, 10) : 0;
}

/* Which row of a thread is there; there must be at most one. */
static uint32_t only_row(ti_kv *kv, ti_txn *txn, uint32_t thread)
{
    char from[32];
    char to[32];
    ti_err err;
    ti_scan_page page;
    ti_call call = ti_kv_call(kv);
    int from_len = snprintf(from, sizeof(from), "row:%u:", thread);
    int to_len = snprintf(to, sizeof(to), "row:%u;", thread);
    ti_scan scan = {.range = {.from = {.data = from, .len = (size_t)from_len},
                              .to = {.data = to, .len = (size_t)to_len}},
                    .items_max = 10};
    ti_require(ti_txn_scan(txn, &scan, ti_txn_arena(txn), &page, &call, &err) == TI_OK);
    ti_require(page.count <= 1);
    if (page.count == 0)
        return 0;
    uint32_t number = (uint32_t)strtoul(page.pairs[0].value.data, NULL, 10);
    ti_require(ti_slice_equal(page.pairs[0].key, name(from, "row", thread, number)));
    return number;
}

/* Compares the database with the ledger, and reports what is in it now. */
static void check(const life *l)
{
    ti_kv kv;
    ti_err err;
    ti_txn *txn;
    ti_ts now;
    char key[32];
    ti_require(ti_kv_open(&kv, life_open(l), NULL, &err) == TI_OK);
    ti_call call = ti_kv_call(&kv);
    ti_require(ti_txn_begin(&kv, NULL, &txn, &err) == TI_OK);
    for (uint32_t i = 0; i < LIFE_THREADS; i++) {
        uint32_t found = number_under(&kv, txn, name(key, "key", i, 0));
        for (uint32_t k = 1; k < KEYS; k++)
            ti_require(number_under(&kv, txn, name(key, "key", i, k)) == found);
        ti_require(only_row(&kv, txn, i) == found);
        life_found(l, i, found);
    }
    ti_txn_free(txn);
    ti_require(ti_kv_now(&kv, &now, &call, &err) == TI_OK);
    ti_require(now > l->known.last);
    ti_kv_close(&kv);
}

static void sync_loses_nothing(void **state)
{
    life l = {.durability = TI_DURABILITY_SYNC, .work = work, .check = check};
    (void)state;
    life_kill_at_random(&l, test_scaled(100), 71);
}

static void buffered_loses_nothing_with_the_process(void **state)
{
    life l = {.durability = TI_DURABILITY_BUFFERED, .work = work, .check = check};
    (void)state;
    life_kill_at_random(&l, test_scaled(50), 72);
}

/* Every place of the engine where something could be torn apart. */
static void kills_at_fault_points(void **state)
{
    static const char *const points[] = {"rocks_commit_looked", "rocks_before_write",
                                         "rocks_after_write", "rocks_before_bound",
                                         "rocks_after_bound"};
    test_random r = test_random_start(73);
    life l = {.work = work, .check = check};
    (void)state;
    test_dir_make(l.dir);
    for (uint64_t i = 0; i < test_scaled(60); i++) {
        bool bound = i % 5 >= 3; /* hit once in a life */
        l.fault = (ti_fault){.name = points[i % 5],
                             .action = TI_FAULT_KILL,
                             .at = bound ? 1 : 1 + test_random_below(&r, 100)};
        assert_true(life_kill_once(&l, 0));
    }
    test_dir_remove(l.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sync_loses_nothing),
        cmocka_unit_test(buffered_loses_nothing_with_the_process),
        cmocka_unit_test(kills_at_fault_points),
    };
    return TEST_RUN(tests);
}
