/* Children: what holds engine state between calls; see db.h.
 *
 * INVARIANTS
 *  1. A child is let go once and disposed once: whoever of owner and close comes second disposes.
 *  2. Nobody waits for the other here: an owner that comes while the close has the child leaves the
 *     rest to it.
 *
 * Locks: the handle's mutex guards the list; it is never held while a child's function runs. */
#include "base/assert.h"
#include "db/db_int.h"

static void unlist(ti_db *db, ti_db_child *child)
{
    if (child->prev != NULL)
        child->prev->next = child->next;
    else
        db->children = child->next;
    if (child->next != NULL)
        child->next->prev = child->prev;
}

/* Calls stop of every child; they stay in the list. */
void ti_db_stop_children(ti_db *db)
{
    ti_mutex_lock(&db->mutex);
    for (ti_db_child *child = db->children; child != NULL; child = child->next) {
        if (child->stop == NULL)
            continue;
        child->state = TI_CHILD_BUSY; /* stays in the list, and so does its neighbour's link */
        ti_mutex_unlock(&db->mutex);
        child->stop(child);
        ti_mutex_lock(&db->mutex);
        child->state = TI_CHILD_LISTED;
    }
    ti_mutex_unlock(&db->mutex);
}

void ti_db_let_children_go(ti_db *db)
{
    ti_mutex_lock(&db->mutex);
    while (db->children != NULL) {
        ti_db_child *child = db->children;
        unlist(db, child);
        child->state = TI_CHILD_BUSY;
        ti_mutex_unlock(&db->mutex);
        child->let_go(child);
        ti_mutex_lock(&db->mutex);
        child->state = TI_CHILD_FREE;
        if (!child->released)
            continue;
        ti_mutex_unlock(&db->mutex);
        child->dispose(child);
        ti_mutex_lock(&db->mutex);
    }
    ti_mutex_unlock(&db->mutex);
}

void ti_db_adopt(ti_db *db, ti_db_child *child)
{
    ti_assert(child->state == TI_CHILD_FREE && !child->released);
    ti_mutex_lock(&db->mutex);
    child->prev = NULL;
    child->next = db->children;
    if (child->next != NULL)
        child->next->prev = child;
    db->children = child;
    child->state = TI_CHILD_LISTED;
    ti_mutex_unlock(&db->mutex);
}

/* Takes a listed child out for its owner while the database is open, and enters. false: the close
 * has it, or has had it (*gone_out). */
static bool take_child(ti_db *db, ti_db_child *child, bool *gone_out)
{
    ti_mutex_lock(&db->mutex);
    ti_assert(!child->released);
    bool mine = child->state == TI_CHILD_LISTED && atomic_load(&db->state) == DB_OPEN &&
                ti_executor_enter(db->executor, NULL) == TI_OK;
    *gone_out = child->state == TI_CHILD_FREE;
    if (mine) {
        unlist(db, child);
        child->state = TI_CHILD_FREE;
        ti_db_thread_in();
    } else {
        child->released = true;
    }
    ti_mutex_unlock(&db->mutex);
    return mine;
}

void ti_db_release(ti_db *db, ti_db_child *child)
{
    bool gone = false;
    if (take_child(db, child, &gone)) {
        child->let_go(child);
        ti_db_leave(db);
        gone = true;
    }
    if (gone)
        child->dispose(child);
}
