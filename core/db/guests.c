/* Guests: operations that run, so that the close can ask them to end; see db.h.
 *
 * INVARIANTS
 *  1. A guest is listed before it looks whether the close has begun, and the close changes the
 *     state before it looks at the lists: every guest is cancelled by the close or by itself. */
#include "base/assert.h"
#include "db/db_int.h"

ti_status ti_db_guests_init(ti_db *db, ti_err *err)
{
    for (size_t i = 0; i < DB_SHARDS; i++) {
        TI_TRY(ti_mutex_init(&db->shards[i].mutex, TI_RANK_DB, err));
        db->shards[i].made = true;
    }
    return TI_OK;
}

void ti_db_guests_destroy(ti_db *db)
{
    for (size_t i = 0; i < DB_SHARDS; i++) {
        ti_assert(db->shards[i].first == NULL);
        if (db->shards[i].made)
            ti_mutex_destroy(&db->shards[i].mutex);
    }
}

/* The calling thread's shard. */
static db_shard *shard_of(ti_db *db)
{
    return &db->shards[ti_thread_self() % DB_SHARDS];
}

ti_status ti_db_guest_in(ti_db *db, ti_db_guest *guest, ti_err *err)
{
    TI_TRY(ti_db_enter(db, err));
    db_shard *shard = shard_of(db);
    ti_mutex_lock(&shard->mutex);
    guest->prev = NULL;
    guest->next = shard->first;
    if (guest->next != NULL)
        guest->next->prev = guest;
    shard->first = guest;
    ti_mutex_unlock(&shard->mutex);
    if (ti_db_is_closing(db))
        ti_future_interrupt(guest->future);
    return TI_OK;
}

void ti_db_guest_out(ti_db *db, ti_db_guest *guest)
{
    db_shard *shard = shard_of(db);
    ti_mutex_lock(&shard->mutex);
    if (guest->prev != NULL)
        guest->prev->next = guest->next;
    else
        shard->first = guest->next;
    if (guest->next != NULL)
        guest->next->prev = guest->prev;
    ti_mutex_unlock(&shard->mutex);
    ti_db_leave(db);
}

void ti_db_cancel_guests(ti_db *db)
{
    for (size_t i = 0; i < DB_SHARDS; i++) {
        ti_mutex_lock(&db->shards[i].mutex);
        for (ti_db_guest *guest = db->shards[i].first; guest != NULL; guest = guest->next)
            ti_future_interrupt(guest->future);
        ti_mutex_unlock(&db->shards[i].mutex);
    }
}
