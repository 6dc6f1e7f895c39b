/* A client of the cluster under test, and short ways to use it: what tests/engine/engine.h is for
 * the suite of all engines, for what only TiKV has.
 *
 * Thread rule: a tk belongs to one thread. */
#ifndef TITO_TESTS_TIKV_TK_H
#define TITO_TESTS_TIKV_TK_H

#include "tikv/cluster.h"

#include "base/assert.h"
#include "base/limits.h"

typedef struct tk {
    cluster *cluster;
    ti_engine *e;
    const ti_engine_vt *vt;
    ti_arena a;
    ti_err err;
    size_t failed_index;
    ti_ts commit_ts;
} tk;

#define TK_CALL_US 20000000

static inline ti_call tk_call(int64_t timeout_us)
{
    return ti_call_within(ti_env_real(), timeout_us);
}

static inline void tk_open(tk *t, cluster *c)
{
    memset(t, 0, sizeof(*t));
    t->cluster = c;
    t->e = cluster_open(c);
    t->vt = t->e->vt;
    ti_arena_init(&t->a);
}

static inline void tk_close(tk *t)
{
    ti_arena_free(&t->a);
    t->vt->unref(t->e);
}

/* A mock cluster of its own and one client. */
static inline void tk_begin(tk *t, cluster *c)
{
    cluster_start_mock(c, &(cluster_options){0});
    tk_open(t, c);
}

static inline void tk_end(tk *t)
{
    tk_close(t);
    cluster_stop(t->cluster);
}

#define PUT(k, v)                                                                                  \
    ((ti_mutation){.key = ti_slice_of(k), .value = ti_slice_of(v), .kind = TI_MUTATION_PUT})
#define INSERT(k, v)                                                                               \
    ((ti_mutation){.key = ti_slice_of(k), .value = ti_slice_of(v), .kind = TI_MUTATION_INSERT})
#define DELETE(k) ((ti_mutation){.key = ti_slice_of(k), .kind = TI_MUTATION_DELETE})
#define LOCK(k) ((ti_mutation){.key = ti_slice_of(k), .kind = TI_MUTATION_LOCK})
#define ABSENT(k) ((ti_mutation){.key = ti_slice_of(k), .kind = TI_MUTATION_ABSENT})

static inline ti_ts tk_now(tk *t)
{
    ti_ts ts = 0;
    ti_call call = tk_call(TK_CALL_US);
    test_ok(t->vt->now(t->e, &ts, &call, &t->err), &t->err);
    return ts;
}

static inline ti_status tk_commit_within(tk *t, const ti_commit_request *request,
                                         int64_t timeout_us)
{
    ti_commit_result result;
    ti_call call = tk_call(timeout_us);
    ti_err_clear(&t->err);
    ti_status status = t->vt->commit(t->e, request, &result, &call, &t->err);
    t->failed_index = result.failed_index;
    t->commit_ts = result.commit_ts;
    return status;
}

static inline ti_status tk_commit_list(tk *t, ti_ts start, const ti_mutation *list, size_t count)
{
    ti_commit_request request = {.start_ts = start, .mutations = list, .count = count};
    return tk_commit_within(t, &request, TK_CALL_US);
}

/* tk_commit(t, start, PUT("a", "1"), DELETE("b")), sorted by key. */
#define tk_commit(t, start, ...)                                                                   \
    tk_commit_list(t, start, (const ti_mutation[]){__VA_ARGS__},                                   \
                   sizeof((const ti_mutation[]){__VA_ARGS__}) / sizeof(ti_mutation))

static inline void tk_put(tk *t, const char *key, const char *value)
{
    test_ok(tk_commit(t, tk_now(t), PUT(key, value)), &t->err);
}

static inline ti_snapshot *tk_snapshot(tk *t)
{
    ti_snapshot *s = NULL;
    ti_call call = tk_call(TK_CALL_US);
    test_ok(t->vt->begin(t->e, TI_TS_NONE, &s, &call, &t->err), &t->err);
    return s;
}

static inline ti_status tk_read(tk *t, ti_snapshot *s, const char *key, int64_t timeout_us,
                                ti_slice *value_out)
{
    ti_call call = tk_call(timeout_us);
    return t->vt->get(s, ti_slice_of(key), &t->a, value_out, &call, &t->err);
}

/* Fails unless the snapshot holds value (NULL: nothing) under key. */
static inline void tk_expect_at(tk *t, ti_snapshot *s, const char *key, const char *value)
{
    ti_slice got = TI_SLICE_NONE;
    ti_status status = tk_read(t, s, key, TK_CALL_US, &got);
    if (status != TI_OK && status != TI_NOT_FOUND)
        fail_msg("%s: %s: %s", key, ti_status_name(status), t->err.message);
    bool same = value == NULL ? status == TI_NOT_FOUND
                              : status == TI_OK && ti_slice_equal(got, ti_slice_of(value));
    if (!same)
        fail_msg("%s holds '%.*s' instead of '%s'", key, (int)got.len,
                 got.data != NULL ? got.data : "", value != NULL ? value : "nothing");
}

static inline void tk_expect(tk *t, const char *key, const char *value)
{
    ti_snapshot *s = tk_snapshot(t);
    tk_expect_at(t, s, key, value);
    t->vt->release(s);
}

#endif
