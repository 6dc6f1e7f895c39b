/* The hub: types, counters, listeners; see hub_int.h. */
#include "queue/hub_int.h"

#include <string.h>

#include "base/assert.h"
#include "base/id.h"
#include "base/limits.h"

/* The slot is held for pointer work only, so waiting is spinning. */
static void slot_lock(ti_engine_slot *slot)
{
    int idle = 0;
    while (!atomic_compare_exchange_weak(&slot->busy, &idle, 1))
        idle = 0;
}

static void slot_unlock(ti_engine_slot *slot)
{
    atomic_store(&slot->busy, 0);
}

static void hub_free(ti_hub *hub)
{
    for (size_t i = 0; i < HUB_BUCKETS; i++) {
        while (hub->buckets[i] != NULL) {
            ti_hub_type *type = hub->buckets[i];
            ti_assert(type->listeners == NULL);
            hub->buckets[i] = type->next;
            ti_free(type);
        }
    }
    ti_mutex_destroy(&hub->mutex);
    ti_free(hub);
}

static ti_status hub_new(ti_slice prefix, ti_hub **hub_out, ti_err *err)
{
    ti_hub *hub = ti_alloc_zero(sizeof(*hub));
    if (hub == NULL)
        return ti_err_no_memory(err);
    ti_status status = ti_mutex_init(&hub->mutex, TI_RANK_QUEUE, err);
    if (status != TI_OK) {
        ti_free(hub);
        return status;
    }
    ti_require(prefix.len < sizeof(hub->prefix));
    if (prefix.len > 0)
        memcpy(hub->prefix, prefix.data, prefix.len);
    hub->refs = 1;
    *hub_out = hub;
    return TI_OK;
}

/* The hub of this prefix with one more reference, or NULL. The slot is locked. */
static ti_hub *slot_find(const ti_engine_slot *slot, ti_slice prefix)
{
    for (ti_hub *hub = slot->state; hub != NULL; hub = hub->next) {
        if (ti_slice_equal(ti_slice_of(hub->prefix), prefix)) {
            hub->refs++;
            return hub;
        }
    }
    return NULL;
}

ti_status ti_hub_attach(ti_kv *kv, ti_hub **hub_out, ti_err *err)
{
    ti_engine_slot *slot = &kv->engine->queue_slot;
    ti_hub *fresh = NULL;
    *hub_out = NULL;
    TI_TRY(hub_new(kv->options.prefix, &fresh, err));
    slot_lock(slot);
    ti_hub *known = slot_find(slot, kv->options.prefix);
    if (known == NULL) {
        fresh->next = slot->state;
        slot->state = fresh;
    }
    slot_unlock(slot);
    if (known != NULL)
        hub_free(fresh);
    *hub_out = known != NULL ? known : fresh;
    return TI_OK;
}

void ti_hub_detach(ti_hub *hub, ti_kv *kv)
{
    ti_engine_slot *slot = &kv->engine->queue_slot;
    slot_lock(slot);
    ti_assert(hub->refs > 0);
    bool last = --hub->refs == 0;
    if (last) {
        ti_hub *head = slot->state;
        ti_hub **link = &head;
        while (*link != hub)
            link = &(*link)->next;
        *link = hub->next;
        slot->state = head;
    }
    slot_unlock(slot);
    if (last)
        hub_free(hub);
}

ti_slice ti_hub_type_name(const ti_hub_type *type)
{
    return (ti_slice){.data = type->name, .len = type->name_len};
}

/* The hub's mutex is held. */
static ti_hub_type *find_held(const ti_hub *hub, ti_slice name, uint64_t hash)
{
    ti_hub_type *type = hub->buckets[hash % HUB_BUCKETS];
    while (type != NULL && !ti_slice_equal(ti_hub_type_name(type), name))
        type = type->next;
    return type;
}

ti_hub_type *ti_hub_type_find(ti_hub *hub, ti_slice name)
{
    ti_mutex_lock(&hub->mutex);
    ti_hub_type *type = find_held(hub, name, ti_hash_stable(name));
    ti_mutex_unlock(&hub->mutex);
    return type;
}

/* Adds a type; NULL when there is no memory. The hub's mutex is held. */
static ti_hub_type *add_held(ti_hub *hub, ti_slice name, uint64_t hash)
{
    ti_hub_type *type = ti_alloc_zero(sizeof(*type));
    if (type == NULL)
        return NULL;
    memcpy(type->name, name.data, name.len);
    type->name_len = name.len;
    type->declared.retention_us = TI_RETENTION_DEFAULT_US;
    type->next = hub->buckets[hash % HUB_BUCKETS];
    hub->buckets[hash % HUB_BUCKETS] = type;
    hub->type_count++;
    return type;
}

ti_status ti_hub_type_of(ti_hub *hub, ti_slice name, ti_hub_type **type_out, ti_err *err)
{
    uint64_t hash = ti_hash_stable(name);
    bool full = false;
    ti_assert(ti_name_is_valid(name));
    ti_mutex_lock(&hub->mutex);
    ti_hub_type *type = find_held(hub, name, hash);
    if (type == NULL) {
        full = hub->type_count >= TI_QUEUE_TYPES_MAX;
        type = full ? NULL : add_held(hub, name, hash);
    }
    ti_mutex_unlock(&hub->mutex);
    *type_out = type;
    if (full)
        return ti_err_set(err, TI_LIMIT_EXCEEDED,
                          "a database handle knows at most %d types of events", TI_QUEUE_TYPES_MAX);
    return type != NULL ? TI_OK : ti_err_no_memory(err);
}

ti_hub_meta ti_hub_meta_get(ti_hub *hub, const ti_hub_type *type)
{
    ti_mutex_lock(&hub->mutex);
    ti_hub_meta meta = type->meta;
    ti_mutex_unlock(&hub->mutex);
    return meta;
}

void ti_hub_meta_set(ti_hub *hub, ti_hub_type *type, ti_hub_meta meta)
{
    ti_assert(meta.partitions > 0);
    uint64_t layout = meta.partitions | (meta.moving ? UINT64_C(1) << 32 : 0);
    ti_mutex_lock(&hub->mutex);
    bool newer = meta.read_at >= type->meta.read_at;
    bool changed = newer && atomic_load(&type->layout) != layout;
    if (newer)
        type->meta = meta;
    if (type->agreed == 0 && type->declared.partitions == meta.partitions)
        type->agreed = meta.partitions;
    if (changed)
        atomic_store(&type->layout, layout);
    for (const ti_listener *l = type->listeners; changed && l != NULL; l = l->next) {
        if (l->changed != NULL)
            l->changed(l->context);
    }
    for (const ti_member *m = hub->members; changed && m != NULL; m = m->next)
        m->wake(m->context);
    ti_mutex_unlock(&hub->mutex);
}

bool ti_hub_has_settled(ti_hub *hub, const ti_hub_type *type, uint64_t until_us)
{
    bool settled = true;
    ti_mutex_lock(&hub->mutex);
    for (const ti_listener *l = type->listeners; l != NULL; l = l->next)
        settled = settled && l->rested;
    for (const ti_inflight *i = hub->inflight; i != NULL; i = i->next)
        settled = settled && i->t_us > until_us;
    ti_mutex_unlock(&hub->mutex);
    return settled;
}

void ti_hub_listen(ti_hub *hub, ti_hub_type *type, ti_listener *listener)
{
    ti_assert(listener->wake != NULL);
    ti_mutex_lock(&hub->mutex);
    ti_assert(!listener->is_on);
    listener->is_on = true;
    listener->next = type->listeners;
    type->listeners = listener;
    ti_mutex_unlock(&hub->mutex);
}

void ti_hub_unlisten(ti_hub *hub, ti_hub_type *type, ti_listener *listener)
{
    ti_mutex_lock(&hub->mutex);
    ti_listener **link = &type->listeners;
    while (*link != listener) {
        ti_assert(*link != NULL);
        link = &(*link)->next;
    }
    *link = listener->next;
    listener->is_on = false;
    ti_mutex_unlock(&hub->mutex);
}

bool ti_hub_enter(ti_hub *hub, ti_inflight *inflight, uint64_t t_us)
{
    ti_assert(!inflight->is_in);
    ti_mutex_lock(&hub->mutex);
    bool in_time = t_us >= hub->promised_us;
    if (in_time) {
        *inflight = (ti_inflight){.next = hub->inflight, .t_us = t_us, .is_in = true};
        if (hub->inflight != NULL)
            hub->inflight->prev = inflight;
        hub->inflight = inflight;
    }
    ti_mutex_unlock(&hub->mutex);
    return in_time;
}

void ti_hub_leave_held(ti_hub *hub, ti_inflight *inflight)
{
    ti_mutex_assert_held(&hub->mutex);
    if (!inflight->is_in)
        return;
    if (inflight->prev != NULL)
        inflight->prev->next = inflight->next;
    else
        hub->inflight = inflight->next;
    if (inflight->next != NULL)
        inflight->next->prev = inflight->prev;
    inflight->is_in = false;
}

uint64_t ti_hub_floor(ti_hub *hub, uint64_t now_us)
{
    uint64_t floor_us = now_us > TI_FLOOR_MARGIN_US ? now_us - TI_FLOOR_MARGIN_US : 0;
    ti_mutex_lock(&hub->mutex);
    for (const ti_inflight *i = hub->inflight; i != NULL; i = i->next)
        floor_us = i->t_us < floor_us ? i->t_us : floor_us;
    if (floor_us > hub->promised_us)
        hub->promised_us = floor_us;
    ti_mutex_unlock(&hub->mutex);
    return floor_us;
}

void ti_hub_random(ti_hub *hub, const ti_env *env, unsigned char out[TI_UUID_V7_RANDOM_SIZE])
{
    _Static_assert(TI_HUB_RANDOM_SIZE % TI_UUID_V7_RANDOM_SIZE == 0, "no byte is left over");
    ti_mutex_lock(&hub->mutex);
    if (hub->random_left == 0) {
        ti_env_random(env, hub->random, sizeof(hub->random));
        hub->random_left = sizeof(hub->random);
    }
    memcpy(out, hub->random + sizeof(hub->random) - hub->random_left, TI_UUID_V7_RANDOM_SIZE);
    hub->random_left -= TI_UUID_V7_RANDOM_SIZE;
    ti_mutex_unlock(&hub->mutex);
}

void ti_hub_wake_held(ti_hub *hub, const ti_hub_type *type, uint32_t partition, uint64_t place_us)
{
    ti_mutex_assert_held(&hub->mutex);
    for (const ti_listener *l = type->listeners; l != NULL; l = l->next)
        l->wake(l->context, partition, place_us);
}

void ti_hub_wake(ti_hub *hub, const ti_hub_type *type, uint32_t partition, uint64_t place_us)
{
    ti_mutex_lock(&hub->mutex);
    ti_hub_wake_held(hub, type, partition, place_us);
    ti_mutex_unlock(&hub->mutex);
}

/* ---- leased workers ---- */

void ti_hub_join(ti_hub *hub, ti_member *member)
{
    ti_assert(member->wake != NULL);
    ti_mutex_lock(&hub->mutex);
    member->next = hub->members;
    hub->members = member;
    ti_mutex_unlock(&hub->mutex);
}

void ti_hub_rename(ti_hub *hub, ti_member *member, const char *id)
{
    ti_mutex_lock(&hub->mutex);
    member->id[0] = '\0';
    if (id != NULL)
        memcpy(member->id, id, sizeof(member->id));
    ti_mutex_unlock(&hub->mutex);
}

void ti_hub_part(ti_hub *hub, ti_member *member)
{
    ti_mutex_lock(&hub->mutex);
    ti_member **link = &hub->members;
    while (*link != member) {
        ti_assert(*link != NULL);
        link = &(*link)->next;
    }
    *link = member->next;
    ti_mutex_unlock(&hub->mutex);
}

bool ti_hub_has_member(ti_hub *hub, ti_slice id)
{
    ti_mutex_lock(&hub->mutex);
    const ti_member *m = hub->members;
    while (m != NULL && !ti_slice_equal(ti_slice_of(m->id), id))
        m = m->next;
    ti_mutex_unlock(&hub->mutex);
    return m != NULL;
}

void ti_hub_wake_members(ti_hub *hub, const ti_member *but)
{
    ti_mutex_lock(&hub->mutex);
    for (const ti_member *m = hub->members; m != NULL; m = m->next) {
        if (m != but)
            m->wake(m->context);
    }
    ti_mutex_unlock(&hub->mutex);
}

/* ---- how long handlers took ---- */

double ti_run_bound_us(uint32_t bucket)
{
    double bound = bucket % 2 == 0 ? 1.0 : 1.4142135623730951;
    for (uint32_t i = 0; i < bucket / 2; i++)
        bound *= 2;
    return bound;
}

void ti_hub_note_run(ti_hub_type *type, int64_t ns)
{
    uint64_t us2 = ns > 0 ? (uint64_t)ns / 1000 * ((uint64_t)ns / 1000) : 0; /* squared: one bucket
                                                                                per doubling */
    uint32_t bucket = us2 == 0 ? 0 : 64 - (uint32_t)__builtin_clzll(us2);
    if (bucket >= TI_RUN_BUCKETS || ns > INT64_C(3000000000000))
        bucket = TI_RUN_BUCKETS - 1;
    atomic_fetch_add_explicit(&type->runs[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&type->runs_ns, ns > 0 ? (uint64_t)ns : 0, memory_order_relaxed);
}

uint64_t ti_hub_oldest_us(ti_hub *hub, const ti_hub_type *type)
{
    uint64_t oldest = UINT64_MAX;
    ti_mutex_lock(&hub->mutex);
    for (const ti_listener *l = type->listeners; l != NULL; l = l->next) {
        uint64_t us = atomic_load(&l->oldest_us);
        oldest = us < oldest ? us : oldest;
    }
    ti_mutex_unlock(&hub->mutex);
    return oldest;
}
