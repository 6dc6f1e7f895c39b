/* The table of pessimistic locks; see locks_int.h. */
#include "rocks/locks_int.h"

#include <string.h>

#include "base/assert.h"

#define CAPACITY_MIN 64

void ti_lock_table_init(ti_lock_table *t)
{
    *t = (ti_lock_table){.buckets = NULL};
}

void ti_lock_table_free(ti_lock_table *t)
{
    ti_assert(atomic_load(&t->count) == 0);
    ti_free(t->buckets);
    t->buckets = NULL;
}

void ti_lock_table_drop(ti_lock_table *t)
{
    for (size_t i = 0; t->buckets != NULL && i < t->capacity; i++) {
        while (t->buckets[i] != NULL) {
            ti_lock *lock = t->buckets[i];
            t->buckets[i] = lock->bucket_next;
            ti_free(lock);
        }
    }
    atomic_store(&t->count, 0);
    ti_lock_table_free(t);
}

static ti_lock **bucket_of(const ti_lock_table *t, uint64_t hash)
{
    return &t->buckets[(size_t)hash & (t->capacity - 1)];
}

ti_lock *ti_lock_table_find(const ti_lock_table *t, uint64_t hash, ti_slice key)
{
    if (t->buckets == NULL)
        return NULL;
    ti_lock *lock = *bucket_of(t, hash);
    while (lock != NULL && (lock->hash != hash || lock->key_len != key.len ||
                            memcmp(lock->key, key.data, key.len) != 0))
        lock = lock->bucket_next;
    return lock;
}

/* Doubles the buckets. Without memory the table stays as it is, and slower. */
static bool grow(ti_lock_table *t)
{
    size_t capacity = t->buckets == NULL ? CAPACITY_MIN : t->capacity * 2;
    ti_lock **buckets = ti_alloc_zero(capacity * sizeof(ti_lock *));
    if (buckets == NULL)
        return t->buckets != NULL;
    for (size_t i = 0; t->buckets != NULL && i < t->capacity; i++) {
        while (t->buckets[i] != NULL) {
            ti_lock *lock = t->buckets[i];
            t->buckets[i] = lock->bucket_next;
            lock->bucket_next = buckets[(size_t)lock->hash & (capacity - 1)];
            buckets[(size_t)lock->hash & (capacity - 1)] = lock;
        }
    }
    ti_free(t->buckets);
    t->buckets = buckets;
    t->capacity = capacity;
    return true;
}

ti_lock *ti_lock_table_add(ti_lock_table *t, uint64_t hash, ti_slice key, ti_locks *owner)
{
    size_t count = atomic_load(&t->count);
    ti_assert(ti_lock_table_find(t, hash, key) == NULL);
    ti_assert(owner != NULL);
    if (count >= t->capacity && !grow(t))
        return NULL;
    ti_lock *lock = ti_alloc(sizeof(*lock) + key.len);
    if (lock == NULL)
        return NULL;
    *lock = (ti_lock){.owner = owner, .hash = hash, .key_len = key.len};
    memcpy(lock->key, key.data, key.len);
    lock->held_next = owner->held;
    owner->held = lock;
    lock->bucket_next = *bucket_of(t, hash);
    *bucket_of(t, hash) = lock;
    atomic_store(&t->count, count + 1);
    return lock;
}

/* Takes a lock out of its bucket and frees it. */
static void remove_lock(ti_lock_table *t, ti_lock *lock)
{
    ti_lock **at = bucket_of(t, lock->hash);
    while (*at != lock)
        at = &(*at)->bucket_next;
    *at = lock->bucket_next;
    atomic_fetch_sub(&t->count, 1);
    ti_free(lock);
}

void ti_lock_table_release(ti_lock_table *t, ti_locks *owner)
{
    ti_assert(owner->waiting == NULL);
    while (owner->held != NULL) {
        ti_lock *lock = owner->held;
        ti_lock_waiter *first = lock->first;
        ti_assert(lock->owner == owner);
        owner->held = lock->held_next;
        if (first == NULL) {
            remove_lock(t, lock);
            continue;
        }
        ti_lock_leave(first);
        lock->owner = first->owner;
        lock->held_next = first->owner->held;
        first->owner->held = lock;
        first->owner->waiting = NULL;
        first->granted = true;
        ti_cond_signal(&first->cond);
    }
}

void ti_lock_enqueue(ti_lock *lock, ti_lock_waiter *waiter)
{
    ti_assert(waiter->owner->waiting == NULL);
    waiter->next = NULL;
    waiter->lock = lock;
    waiter->owner->waiting = waiter;
    if (lock->last == NULL)
        lock->first = waiter;
    else
        lock->last->next = waiter;
    lock->last = waiter;
}

void ti_lock_leave(ti_lock_waiter *waiter)
{
    ti_lock *lock = waiter->lock;
    ti_lock_waiter *before = NULL;
    for (ti_lock_waiter *w = lock->first; w != waiter; w = w->next) {
        ti_require(w != NULL);
        before = w;
    }
    if (before == NULL)
        lock->first = waiter->next;
    else
        before->next = waiter->next;
    if (lock->last == waiter)
        lock->last = before;
    waiter->owner->waiting = NULL;
}

size_t ti_lock_ring(const ti_lock *lock, const ti_locks *owner)
{
    const ti_locks *at = lock->owner;
    size_t met = 1;
    while (at != owner && at->waiting != NULL) {
        at = at->waiting->lock->owner;
        met++;
    }
    return at == owner ? met : 0;
}
