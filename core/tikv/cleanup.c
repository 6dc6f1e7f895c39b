/* What follows a commit, in the background: secondaries after a success, rolling back after a
 * failure. See commit_int.h.
 *
 * Nobody waits for it, and it may be lost with the process: whoever meets a lock left over resolves
 * it by the primary. */
#include <string.h>

#include "base/assert.h"
#include "base/fault.h"
#include "tikv/commit_int.h"

typedef struct cleanup_task {
    ti_task task;
    ti_tikv *engine;
    ti_arena arena; /* the keys */
    ti_slice *keys;
    size_t count;
    size_t primary; /* index; count = none */
    uint64_t start_ts;
    uint64_t commit_ts; /* 0: roll back */
    bool async;
} cleanup_task;

static void drop_task(ti_task *task)
{
    cleanup_task *t = (cleanup_task *)task;
    ti_arena_free(&t->arena);
    ti_free(t);
}

/* ---- Requests ---- */

static bool fill_keys(const cleanup_task *t, const ti_fan_part *part,
                      ProtobufCBinaryData **keys_out, ti_arena *a)
{
    *keys_out = ti_arena_alloc(a, part->count * sizeof(**keys_out));
    for (size_t i = 0; *keys_out != NULL && i < part->count; i++)
        (*keys_out)[i] = ti_pb_bytes(t->keys[part->indexes[i]]);
    return *keys_out != NULL;
}

static ti_slice build_commit(void *context, const ti_fan_part *part, ti_context *c, ti_arena *a)
{
    const cleanup_task *t = context;
    Kvrpcpb__CommitRequest request = KVRPCPB__COMMIT_REQUEST__INIT;
    request.context = &c->message;
    request.start_version = t->start_ts;
    request.commit_version = t->commit_ts;
    request.commit_role = KVRPCPB__COMMIT_ROLE__Secondary;
    request.use_async_commit = t->async;
    request.n_keys = part->count;
    return fill_keys(t, part, &request.keys, a) ? ti_pb_pack(&request.base, a) : TI_SLICE_NONE;
}

static ti_slice build_roll_back(void *context, const ti_fan_part *part, ti_context *c, ti_arena *a)
{
    const cleanup_task *t = context;
    Kvrpcpb__BatchRollbackRequest request = KVRPCPB__BATCH_ROLLBACK_REQUEST__INIT;
    request.context = &c->message;
    request.start_version = t->start_ts;
    request.n_keys = part->count;
    return fill_keys(t, part, &request.keys, a) ? ti_pb_pack(&request.base, a) : TI_SLICE_NONE;
}

static ti_status take_commit(void *context, const ti_fan_part *part, ti_slice response, bool *left,
                             ti_err *err)
{
    cleanup_task *t = context;
    (void)part;
    (void)left;
    (void)err;
    TI_FAULT(tikv_secondary_committed);
    ti_arena a;
    ti_arena_init(&a);
    Kvrpcpb__CommitResponse *r =
        ti_pb_unpack(&kvrpcpb__commit_response__descriptor, response, &a, NULL);
    if (r != NULL && r->error != NULL)
        ti_log_write(t->engine->log, TI_LOG_ERROR,
                     "a secondary key of a committed transaction was refused (start %llu)",
                     (unsigned long long)t->start_ts);
    ti_arena_free(&a);
    return TI_OK;
}

static ti_status take_nothing(void *context, const ti_fan_part *part, ti_slice response, bool *left,
                              ti_err *err)
{
    (void)context;
    (void)part;
    (void)response;
    (void)left;
    (void)err;
    TI_FAULT(tikv_rolled_back);
    return TI_OK;
}

/* ---- Running ---- */

static void run_fan(cleanup_task *t, const ti_slice *keys, size_t count, const ti_call *call)
{
    if (count == 0)
        return;
    ti_backoff backoff;
    ti_backoff_init(&backoff, t->engine->cluster.wire, call, TI_BUDGET_CLEANUP_MS);
    bool commit = t->commit_ts != 0;
    ti_slice *all = t->keys;
    t->keys = (ti_slice *)(uintptr_t)keys;
    ti_fan fan = {.cluster = &t->engine->cluster,
                  .kind = commit ? TI_COMMAND_COMMIT : TI_COMMAND_BATCH_ROLLBACK,
                  .keys = keys,
                  .count = count,
                  .size_max = TI_BATCH_SIZE,
                  .context = t,
                  .build = commit ? build_commit : build_roll_back,
                  .take = commit ? take_commit : take_nothing};
    (void)ti_fan_run(&fan, &backoff, NULL); /* best effort: see the head of this file */
    t->keys = all;
}

/* The primary first: then the transaction's fate is sealed for everybody who meets the others. */
static void run_task(ti_task *task, const ti_call *call)
{
    cleanup_task *t = (cleanup_task *)task;
    if (t->commit_ts != 0)
        TI_FAULT(tikv_before_secondaries);
    else
        TI_FAULT(tikv_before_roll_back);
    if (t->primary < t->count) {
        ti_slice primary = t->keys[t->primary];
        run_fan(t, &primary, 1, call);
        memmove(&t->keys[t->primary], &t->keys[t->primary + 1],
                (t->count - t->primary - 1) * sizeof(*t->keys));
        t->count--;
    }
    run_fan(t, t->keys, t->count, call);
    drop_task(task);
}

/* The keys that are concerned, copied. NULL when there are none or no memory. */
static cleanup_task *task_create(const ti_committer *c, uint64_t commit_ts)
{
    cleanup_task *t = ti_alloc_zero(sizeof(*t));
    if (t == NULL)
        return NULL;
    ti_arena_init(&t->arena);
    t->task = (ti_task){.run = run_task, .drop = drop_task};
    t->engine = c->engine;
    t->start_ts = c->request->start_ts;
    t->commit_ts = commit_ts;
    t->async = c->async;
    t->keys = ti_arena_alloc(&t->arena, c->request->count * sizeof(*t->keys));
    t->primary = SIZE_MAX;
    for (size_t i = 0; t->keys != NULL && i < c->request->count; i++) {
        if (c->committed[i] || !ti_committer_writes(c, i))
            continue;
        if (i == c->primary)
            t->primary = t->count;
        t->keys[t->count] = ti_arena_copy(&t->arena, c->keys[i]);
        if (t->keys[t->count++].data == NULL)
            t->keys = NULL;
    }
    if (t->keys != NULL && t->count > 0)
        return t;
    drop_task(&t->task);
    return NULL;
}

static void offer(ti_committer *c, uint64_t commit_ts)
{
    cleanup_task *t = task_create(c, commit_ts);
    if (t != NULL && !ti_background_offer(c->engine->background, &t->task))
        drop_task(&t->task);
}

void ti_committer_commit_later(ti_committer *c)
{
    offer(c, c->commit_ts);
}

void ti_committer_clean_later(ti_committer *c)
{
    offer(c, 0);
}
