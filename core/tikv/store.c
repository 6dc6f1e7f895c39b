/* Stores. See store.h. */
#include "tikv/store.h"

#include <stdatomic.h>
#include <string.h>

#include "base/assert.h"
#include "tikv/flight.h"

struct ti_tikv_store {
    _Atomic(uint32_t) refs;
    uint64_t id;
    ti_conn *conns[TI_STORE_LANES];
    bool doubted; /* under the table's mutex, both */
    bool wrong;
    ti_tikv_store *next;
    char address[];
};

struct ti_tikv_stores {
    ti_wire *wire;
    ti_pd *pd;
    ti_flights lookups;  /* of GetStore, by id; results are ti_err */
    ti_mutex mutex;      /* rank TI_RANK_CLOCK: the list */
    ti_tikv_store *list; /* owned references */
};

const char *ti_tikv_store_address(const ti_tikv_store *store)
{
    return store->address;
}

ti_conn *ti_tikv_store_conn(ti_tikv_store *store)
{
    unsigned lane = 0;
    while (lane + 1 < TI_STORE_LANES && ti_conn_pending(store->conns[lane]) >= TI_STORE_LANE_BUSY)
        lane++;
    return store->conns[lane];
}

void ti_tikv_store_unref(ti_tikv_store *store)
{
    if (store == NULL)
        return;
    uint32_t before = atomic_fetch_sub(&store->refs, 1);
    ti_require(before > 0);
    if (before > 1)
        return;
    for (unsigned i = 0; i < TI_STORE_LANES; i++) {
        if (store->conns[i] != NULL)
            ti_conn_close(store->conns[i]);
    }
    ti_free(store);
}

static ti_status store_create(ti_tikv_stores *s, const ti_tikv_store_info *info,
                              ti_tikv_store **store_out, ti_err *err)
{
    size_t len = strlen(info->address);
    ti_tikv_store *store = ti_alloc_zero(sizeof(*store) + len + 1);
    if (store == NULL)
        return ti_err_no_memory(err);
    atomic_store(&store->refs, 1);
    store->id = info->id;
    memcpy(store->address, info->address, len + 1);
    for (unsigned i = 0; i < TI_STORE_LANES; i++) {
        ti_status status = ti_conn_create(s->wire, info->address, i, &store->conns[i], err);
        if (status != TI_OK) {
            ti_tikv_store_unref(store);
            return status;
        }
    }
    *store_out = store;
    return TI_OK;
}

/* The listed store with a reference, unless it is doubted. Called with the mutex held. */
static ti_tikv_store *look_up(ti_tikv_stores *s, uint64_t id)
{
    for (ti_tikv_store *store = s->list; store != NULL; store = store->next) {
        if (store->id == id && !store->doubted) {
            atomic_fetch_add(&store->refs, 1);
            return store;
        }
    }
    return NULL;
}

/* Takes the entry of this id off the list; NULL when there is none. Called with the mutex held. */
static ti_tikv_store *take(ti_tikv_stores *s, uint64_t id)
{
    for (ti_tikv_store **at = &s->list; *at != NULL; at = &(*at)->next) {
        if ((*at)->id == id) {
            ti_tikv_store *store = *at;
            *at = store->next;
            return store;
        }
    }
    return NULL;
}

/* Enters what PD said: keeps the old entry when the address is the same. A reference of the
 * caller's in *store_out. */
static ti_status enter(ti_tikv_stores *s, const ti_tikv_store_info *info, ti_tikv_store **store_out,
                       ti_err *err)
{
    ti_tikv_store *fresh = NULL;
    TI_TRY(store_create(s, info, &fresh, err));
    ti_mutex_lock(&s->mutex);
    ti_tikv_store *old = take(s, info->id);
    bool same = old != NULL && !old->wrong && strcmp(old->address, info->address) == 0;
    ti_tikv_store *kept = same ? old : fresh;
    ti_tikv_store *gone = same ? fresh : old;
    kept->doubted = false;
    kept->next = s->list;
    s->list = kept;
    atomic_fetch_add(&kept->refs, 1);
    ti_mutex_unlock(&s->mutex);
    ti_tikv_store_unref(gone);
    *store_out = kept;
    return TI_OK;
}

/* The listed store, or NULL. */
static ti_tikv_store *listed(ti_tikv_stores *s, uint64_t id)
{
    ti_mutex_lock(&s->mutex);
    ti_tikv_store *store = look_up(s, id);
    ti_mutex_unlock(&s->mutex);
    return store;
}

/* Asks PD. */
static ti_status ask_pd(ti_tikv_stores *s, uint64_t id, ti_tikv_store **store_out,
                        const ti_call *call, ti_err *err)
{
    ti_arena a;
    ti_tikv_store_info info;
    ti_arena_init(&a);
    ti_status status = ti_pd_store(s->pd, id, &a, &info, call, err);
    if (status == TI_OK && info.tombstone)
        status = ti_err_set(err, TI_NOT_FOUND, "store %llu has left the cluster",
                            (unsigned long long)id);
    if (status == TI_OK)
        status = enter(s, &info, store_out, err);
    ti_arena_free(&a);
    return status;
}

/* Asks for all who wait, unless somebody has just done so. */
static ti_status lead_lookup(ti_tikv_stores *s, uint64_t id, ti_flight *mine,
                             ti_tikv_store **store_out, const ti_call *call, ti_err *err)
{
    ti_err said;
    ti_err_clear(&said);
    *store_out = listed(s, id);
    ti_status status = *store_out != NULL ? TI_OK : ask_pd(s, id, store_out, call, &said);
    ti_flight_end(&s->lookups, mine, &said);
    if (status != TI_OK && err != NULL)
        *err = said;
    return status;
}

ti_status ti_tikv_stores_get(ti_tikv_stores *s, uint64_t id, ti_tikv_store **store_out,
                             const ti_call *call, ti_err *err)
{
    for (;;) {
        ti_flight mine;
        ti_err said;
        bool leads = false;
        *store_out = listed(s, id);
        if (*store_out != NULL)
            return TI_OK;
        TI_TRY(ti_flight_begin(&s->lookups, id, &mine, &leads, &said, call, err));
        if (leads)
            return lead_lookup(s, id, &mine, store_out, call, err);
        if (said.status == TI_OK || said.status == TI_TIMEOUT || said.status == TI_CANCELLED)
            continue; /* it is listed now, or only the other's time was up */
        if (err != NULL)
            *err = said;
        return said.status;
    }
}

void ti_tikv_stores_doubt(ti_tikv_stores *s, uint64_t id, bool wrong_store)
{
    ti_tikv_store *forget = NULL;
    ti_mutex_lock(&s->mutex);
    for (ti_tikv_store *store = s->list; store != NULL; store = store->next) {
        if (store->id != id)
            continue;
        store->doubted = true;
        store->wrong |= wrong_store;
        if (wrong_store) {
            forget = store;
            atomic_fetch_add(&store->refs, 1);
        }
    }
    ti_mutex_unlock(&s->mutex);
    if (forget == NULL)
        return;
    s->wire->vt->forget(s->wire, forget->address);
    ti_tikv_store_unref(forget);
}

ti_status ti_tikv_stores_create(ti_wire *w, ti_pd *pd, ti_tikv_stores **stores_out, ti_err *err)
{
    *stores_out = NULL;
    ti_tikv_stores *s = ti_alloc_zero(sizeof(*s));
    if (s == NULL)
        return ti_err_no_memory(err);
    s->wire = w;
    s->pd = pd;
    ti_status status = ti_mutex_init(&s->mutex, TI_RANK_CLOCK, err);
    if (status == TI_OK) {
        status = ti_flights_init(&s->lookups, w, sizeof(ti_err), err);
        if (status != TI_OK)
            ti_mutex_destroy(&s->mutex);
    }
    if (status != TI_OK) {
        ti_free(s);
        return status;
    }
    *stores_out = s;
    return TI_OK;
}

void ti_tikv_stores_free(ti_tikv_stores *s)
{
    while (s->list != NULL) {
        ti_tikv_store *store = s->list;
        s->list = store->next;
        ti_tikv_store_unref(store);
    }
    ti_flights_destroy(&s->lookups);
    ti_mutex_destroy(&s->mutex);
    ti_free(s);
}
