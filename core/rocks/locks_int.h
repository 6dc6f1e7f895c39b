/* The table of pessimistic locks: who holds a key, and who waits for it in which order.
 *
 *   key "a":  owner T1   queue T2, T3         T2 and T3 wait for T1
 *   key "b":  owner T2   queue T1             T1 would wait for T2: a ring, T1 is refused
 *
 * INVARIANTS
 *  1. A key in the table has an owner. When the owner gives it back the first in its queue owns it
 *     at once: nobody can come between.
 *  2. A transaction waits for at most one key at a time, so it waits for one other transaction: the
 *     owner. (Those ahead in the queue wait for the same owner; and whoever becomes the owner has
 *     just stopped waiting.) Rings are found by following one pointer.
 *  3. A wait that would close a ring is not begun; so following the pointer always ends.
 *
 * Thread rule: everything is guarded by the engine's mutex, except `count`, which may be read
 * without. What is NOT here: the waiting itself (lock.c). */
#ifndef TI_ROCKS_LOCKS_INT_H
#define TI_ROCKS_LOCKS_INT_H

#include <stdatomic.h>

#include "base/thread.h"
#include "kv/engine.h"

typedef struct ti_lock ti_lock;
typedef struct ti_lock_waiter ti_lock_waiter;

/* All locks of one transaction. */
struct ti_locks {
    ti_lock *held;           /* owned */
    ti_lock_waiter *waiting; /* borrowed, while it waits */
};

struct ti_lock {
    ti_lock *bucket_next;
    ti_lock *held_next;
    ti_locks *owner; /* never NULL */
    ti_lock_waiter *first;
    ti_lock_waiter *last;
    uint64_t hash;
    size_t key_len;
    char key[];
};

/* A waiting thread, on its stack. */
struct ti_lock_waiter {
    ti_lock_waiter *next;
    ti_locks *owner; /* for whom it waits */
    ti_lock *lock;
    bool granted;
    ti_cond cond;
};

typedef struct ti_lock_table {
    ti_lock **buckets; /* owned; NULL until the first lock */
    size_t capacity;   /* a power of two */
    _Atomic(size_t) count;
} ti_lock_table;

/* An empty table; allocates nothing. */
void ti_lock_table_init(ti_lock_table *t);
/* Frees it; no key is locked any more. */
void ti_lock_table_free(ti_lock_table *t);
/* Frees it with all locks in it, and nobody's ti_locks: for a child of fork(). */
void ti_lock_table_drop(ti_lock_table *t);
/* The lock of a key, or NULL. */
ti_lock *ti_lock_table_find(const ti_lock_table *t, uint64_t hash, ti_slice key);
/* Locks a key that is free. NULL when there is no memory. */
ti_lock *ti_lock_table_add(ti_lock_table *t, uint64_t hash, ti_slice key, ti_locks *owner);
/* Gives back all locks of owner, each to the first in its queue (whose waiter is granted and
 * signalled), else it leaves the table. */
void ti_lock_table_release(ti_lock_table *t, ti_locks *owner);
/* Puts a waiter at the end of the queue; takes one out that was not granted. */
void ti_lock_enqueue(ti_lock *lock, ti_lock_waiter *waiter);
void ti_lock_leave(ti_lock_waiter *waiter);
/* How many transactions would wait for each other in a ring if owner waited for lock: 0 when there
 * is none. */
size_t ti_lock_ring(const ti_lock *lock, const ti_locks *owner);

#endif
