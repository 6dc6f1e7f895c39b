/* A client on the simulated wire with the little store behind it (mvcc.h), and short ways to use
 * it. A test may meddle with requests: what it does not handle is answered truly.
 *
 * Thread rule: one thread; meddle runs under the cluster's gate. */
#ifndef TITO_TESTS_TIKV_LITTLE_H
#define TITO_TESTS_TIKV_LITTLE_H

#include "tikv/mvcc.h"

#include "base/assert.h"
#include "tikv/pb.h"
#include "tikv/tikv_int.h"

typedef struct little little;
struct little {
    fake f;
    mvcc m;
    ti_engine *e;
    ti_arena a;
    ti_err err;
    ti_ts commit_ts;
    bool (*meddle)(little *l, fake_ask *ask); /* true: answered */
    void *context;                            /* the test's */
    _Atomic(int) count;                       /* the test's */
};

static inline void little_answer(fake_ask *ask)
{
    little *l = ask->cluster->context;
    if (l->meddle == NULL || !l->meddle(l, ask))
        mvcc_answer(&l->m, ask);
}

/* Without a client: the regions may still be changed. The clock begins at an hour. */
static inline void little_begin_closed(little *l, const char *const *cuts)
{
    memset(l, 0, sizeof(*l));
    fake_begin(&l->f, cuts);
    l->f.context = l;
    l->f.answer = little_answer;
    mvcc_init(&l->m);
    ti_arena_init(&l->a);
    ti_err_clear(&l->err);
    sim_run(l->f.sim, 3600000);
}

static inline void little_begin(little *l, const char *const *cuts)
{
    little_begin_closed(l, cuts);
    l->e = fake_open(&l->f);
}

static inline void little_end(little *l)
{
    l->e->vt->unref(l->e);
    fake_end(&l->f);
    mvcc_free(&l->m);
    ti_arena_free(&l->a);
}

/* The client dies with what it has under way; another one comes to the same data. */
static inline void little_again(little *l, const char *const *cuts, int64_t later_ms)
{
    int64_t now_ms = sim_now_ms(l->f.sim) + later_ms;
    l->e->vt->unref(l->e);
    fake_end(&l->f);
    fake_begin(&l->f, cuts);
    l->f.context = l;
    l->f.answer = little_answer;
    sim_run(l->f.sim, now_ms);
    l->e = fake_open(&l->f);
}

static inline ti_call little_call(little *l, int64_t ms)
{
    return ti_call_within(&l->f.sim->env.env, ms * 1000);
}

static inline ti_ts little_now(little *l)
{
    ti_ts ts = 0;
    ti_call call = little_call(l, 60000);
    test_ok(l->e->vt->now(l->e, &ts, &call, &l->err), &l->err);
    return ts;
}

/* The value of key, in a snapshot of its own; "" when there is none. */
static inline ti_status little_get(little *l, const char *key, int64_t ms, ti_slice *value_out)
{
    ti_snapshot *s = NULL;
    ti_call call = little_call(l, ms);
    *value_out = TI_SLICE("");
    ti_status status = l->e->vt->begin(l->e, TI_TS_NONE, &s, &call, &l->err);
    if (status == TI_OK) {
        status = l->e->vt->get(s, ti_slice_of(key), &l->a, value_out, &call, &l->err);
        l->e->vt->release(s);
    }
    return status;
}

static inline void little_expect(little *l, const char *key, const char *value)
{
    ti_slice got = TI_SLICE("");
    ti_status status = little_get(l, key, 60000, &got);
    if (status != TI_OK && status != TI_NOT_FOUND)
        fail_msg("%s: %s: %s", key, ti_status_name(status), l->err.message);
    if (!ti_slice_equal(status == TI_OK ? got : TI_SLICE(""), ti_slice_of(value)))
        fail_msg("%s holds '%.*s' instead of '%s'", key, (int)got.len, got.data, value);
}

static inline ti_status little_commit_within(little *l, const ti_commit_request *request,
                                             const ti_call *call)
{
    ti_commit_result result;
    ti_err_clear(&l->err);
    ti_status status = l->e->vt->commit(l->e, request, &result, call, &l->err);
    l->commit_ts = result.commit_ts;
    return status;
}

/* PUTs of one value to keys, ascending, which end with NULL. */
static inline ti_status little_put(little *l, ti_ts start_ts, const char *const *keys,
                                   const char *value, int64_t ms)
{
    ti_mutation list[16];
    ti_commit_request request = {.start_ts = start_ts, .mutations = list};
    ti_call call = little_call(l, ms);
    for (; keys[request.count] != NULL; request.count++)
        list[request.count] = (ti_mutation){.key = ti_slice_of(keys[request.count]),
                                            .value = ti_slice_of(value),
                                            .kind = TI_MUTATION_PUT};
    return little_commit_within(l, &request, &call);
}

/* A key of 2100 bytes: two of them are too many bytes for async commit. In the test's arena. */
static inline const char *little_long(little *l, char letter)
{
    char *bytes = ti_arena_alloc(&l->a, 2101);
    memset(bytes, letter, 2100);
    bytes[2100] = '\0';
    return bytes;
}

/* Locks one key; its locks in *locks_io. */
static inline ti_status little_lock(little *l, ti_locks **locks_io, ti_ts start_ts, const char *key,
                                    int64_t wait_us, int64_t ms)
{
    ti_slice name = ti_slice_of(key);
    ti_locked out;
    ti_lock_request request = {.start_ts = start_ts, .keys = &name, .count = 1, .wait_us = wait_us};
    ti_call call = little_call(l, ms);
    return l->e->vt->lock(l->e, locks_io, &request, &l->a, &out, &call, &l->err);
}

#endif
