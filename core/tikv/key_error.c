/* Key errors: what they mean, and the locks met on the way. See tikv_int.h. */
#include <string.h>

#include "base/assert.h"
#include "tikv/tikv_int.h"

ti_status ti_key_error_status(const Kvrpcpb__KeyError *e, ti_slice *failed_out, ti_err *err)
{
    *failed_out = TI_SLICE_NONE;
    if (e->conflict != NULL) {
        *failed_out = ti_pb_slice(e->conflict->key);
        return ti_err_set(err, TI_CONFLICT,
                          "another transaction has changed what this one depends on");
    }
    if (e->already_exist != NULL) {
        *failed_out = ti_pb_slice(e->already_exist->key);
        return ti_err_set(err, TI_ALREADY_EXISTS, "the key exists already");
    }
    if (e->deadlock != NULL)
        return ti_err_set(err, TI_DEADLOCK,
                          "two transactions wait for each other's locks: this one gives way");
    if (e->txn_lock_not_found != NULL)
        return ti_err_set(
            err, TI_CONFLICT,
            "the transaction took longer than its locks live and was rolled back by another");
    if (e->assertion_failed != NULL)
        return ti_err_set(err, TI_CONFLICT, "an assertion about a key does not hold any more");
    if (e->commit_ts_too_large != NULL)
        return ti_err_set(err, TI_CONFLICT, "the commit came too late");
    if (e->retryable[0] != '\0')
        return ti_err_set(err, TI_CONFLICT, "the store asks to try again: %s",
                          ti_said_by(e->retryable).text);
    if (e->abort[0] != '\0')
        return ti_err_set(err, TI_CONFLICT, "the store has given the transaction up: %s",
                          ti_said_by(e->abort).text);
    return ti_err_set(err, TI_INTERNAL, "the store answered with an unknown kind of key error");
}

void ti_met_locks_init(ti_met_locks *m)
{
    memset(m, 0, sizeof(*m));
    ti_arena_init(&m->arena);
}

void ti_met_locks_free(ti_met_locks *m)
{
    ti_free(m->list);
    ti_arena_free(&m->arena);
}

void ti_met_locks_clear(ti_met_locks *m)
{
    m->count = 0;
    ti_arena_reset(&m->arena);
}

void ti_met_locks_why(const ti_met_locks *m, ti_status status, const char *what, ti_err *why)
{
    ti_assert(m->count > 0);
    const Kvrpcpb__LockInfo *lock = m->list[0];
    ti_err_set(why, status, "%s (begun at %llu, its lock lives for %llu ms)", what,
               (unsigned long long)lock->lock_version, (unsigned long long)lock->lock_ttl);
}

static ti_status append(ti_met_locks *m, Kvrpcpb__LockInfo *lock, ti_err *err)
{
    if (m->count == m->capacity) {
        size_t capacity = m->capacity * 2 + 8;
        Kvrpcpb__LockInfo **list = ti_realloc(m->list, capacity * sizeof(*list));
        if (list == NULL)
            return ti_err_no_memory(err);
        m->list = list;
        m->capacity = capacity;
    }
    m->list[m->count++] = lock;
    return TI_OK;
}

/* Unpacks a lock into the arena and enters it. */
static ti_status append_packed(ti_met_locks *m, ti_slice bytes, Kvrpcpb__LockInfo **lock_out,
                               ti_err *err)
{
    ti_err unpacked;
    *lock_out = ti_pb_unpack(&kvrpcpb__lock_info__descriptor, bytes, &m->arena, &unpacked);
    if (*lock_out != NULL)
        return append(m, *lock_out, err);
    if (err != NULL)
        *err = unpacked;
    return unpacked.status;
}

ti_status ti_met_locks_add(ti_met_locks *m, const Kvrpcpb__LockInfo *lock, ti_err *err)
{
    Kvrpcpb__LockInfo *copy = NULL;
    Kvrpcpb__LockInfo *one = NULL;
    ti_slice bytes = ti_pb_pack(&lock->base, &m->arena);
    if (bytes.data == NULL)
        return ti_err_no_memory(err);
    TI_TRY(append_packed(m, bytes, &copy, err));
    if (copy->n_shared_lock_infos > 0)
        m->count--; /* the wrapper is no lock */
    for (size_t i = 0; i < copy->n_shared_lock_infos; i++) {
        ti_slice shared = ti_arena_copy(&m->arena, ti_pb_slice(copy->shared_lock_infos[i]));
        if (shared.data == NULL)
            return ti_err_no_memory(err);
        TI_TRY(append_packed(m, shared, &one, err));
        if (one->key.len == 0)
            one->key = copy->key;
    }
    return TI_OK;
}
