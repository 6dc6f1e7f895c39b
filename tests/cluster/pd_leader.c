/* Three real PDs (tests/cluster/real): the one that leads is killed under load, and the clients go
 * on.
 *
 *   TITO_TEST_MOCK   the real cluster's program
 *
 * Nothing is asserted about how long it takes but that it ends: an election of these PDs takes
 * seconds. */
#include "tikv/cluster.h"

#include "base/assert.h"
#include "base/thread.h"

#define WRITERS 4
#define WRITES 100 /* of a writer, before and after */
#define CALL_US INT64_C(120000000)

typedef struct writer {
    ti_thread thread;
    ti_engine *e;
    _Atomic(bool) stop;
    _Atomic(unsigned) done;
    unsigned number;
    ti_ts last;
    unsigned refused;
} writer;

/* Writes the writer's own key: whatever happens to PD, an answer is right, and time rises. */
static void write_once(writer *w)
{
    char key[16];
    ti_err err;
    ti_ts now = TI_TS_NONE;
    ti_commit_result result;
    const ti_engine_vt *vt = w->e->vt;
    ti_call call = ti_call_within(ti_env_real(), CALL_US);
    ti_err_clear(&err);
    snprintf(key, sizeof(key), "titotest.l%u", w->number);
    ti_mutation m = {.key = ti_slice_of(key), .value = TI_SLICE("v"), .kind = TI_MUTATION_PUT};
    ti_status status = vt->now(w->e, &now, &call, &err);
    ti_commit_request request = {.start_ts = now, .fresh_ts = now, .mutations = &m, .count = 1};
    if (status == TI_OK)
        status = vt->commit(w->e, &request, &result, &call, &err);
    if (status != TI_OK) { /* given up in an election: said so, and nothing else is wrong */
        ti_require(status == TI_UNAVAILABLE || status == TI_TIMEOUT);
        w->refused++;
        return;
    }
    ti_require(now > w->last);
    ti_require(result.commit_ts >= now);
    w->last = result.commit_ts;
    atomic_fetch_add(&w->done, 1);
}

static void *run_writer(void *arg)
{
    writer *w = arg;
    while (!atomic_load(&w->stop))
        write_once(w);
    return NULL;
}

/* Waits until every writer has written so many times more. */
static void wait_for_writes(writer *writers)
{
    for (unsigned i = 0; i < WRITERS; i++) {
        unsigned from = atomic_load(&writers[i].done);
        while (atomic_load(&writers[i].done) - from < WRITES)
            ti_env_real()->sleep_ns(ti_env_real(), 1000000);
    }
}

static void clients_outlive_the_leader(void **state)
{
    cluster c;
    writer writers[WRITERS];
    ti_err err;
    (void)state;
    cluster_start_mock(&c, &(cluster_options){.pds = 3, .stores = 1});
    ti_engine *e = cluster_open(&c);
    memset(writers, 0, sizeof(writers));
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i].e = e;
        writers[i].number = i;
        test_ok(ti_thread_start(&writers[i].thread, "writer", run_writer, &writers[i], &err), &err);
    }
    wait_for_writes(writers);
    uint64_t leader = cluster_number(&c, "leader");
    cluster_do(&c, "/pd/kill?index=%d", (int)leader);
    wait_for_writes(writers);
    assert_int_not_equal(cluster_number(&c, "leader"), leader);
    for (unsigned i = 0; i < WRITERS; i++) {
        atomic_store(&writers[i].stop, true);
        ti_thread_join(&writers[i].thread);
        print_message("writer %u: %u written, %u refused\n", i, atomic_load(&writers[i].done),
                      writers[i].refused);
    }
    e->vt->unref(e);
    cluster_stop(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(clients_outlive_the_leader)};
    return TEST_RUN(tests);
}
