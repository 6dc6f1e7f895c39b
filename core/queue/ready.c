/* What may run now, and how much of it: keys that are ready, by type; limits of types and of
 * business keys.
 *
 *   ready key ─> its type's list ─> taken by turns ─┬─> the host
 *                                                   `─> gate of its business key is full: waits
 *                                                       there
 *
 * The mutex is held by every function here.
 *
 * INVARIANTS
 *  1. A ready key is in its type's list or in the waiting list of a gate, never in both.
 *  2. A gate exists while events of its business key are with the host, or keys wait at it.
 *  3. A type with a rate has tokens for at most a second of it (at least one). */
#include <string.h>

#include "base/assert.h"
#include "base/id.h"
#include "queue/worker_int.h"

struct ti_gate {
    ti_gate *next; /* in its bucket */
    uint64_t hash;
    const ti_wtype *type;
    uint32_t running;
    ti_key *first; /* that wait */
    ti_key *last;
    ti_slice text; /* in the same block */
};

/* ---- lists ---- */

static void list_push(ti_key **first, ti_key **last, ti_key *key)
{
    key->ready_next = NULL;
    if (*last != NULL)
        (*last)->ready_next = key;
    else
        *first = key;
    *last = key;
}

static ti_key *list_pop(ti_key **first, ti_key **last)
{
    ti_key *key = *first;
    if (key == NULL)
        return NULL;
    *first = key->ready_next;
    if (*first == NULL)
        *last = NULL;
    return key;
}

static void list_remove(ti_key **first, ti_key **last, ti_key *key)
{
    ti_key *before = NULL;
    ti_key *at = *first;
    while (at != key) {
        ti_require(at != NULL);
        before = at;
        at = at->ready_next;
    }
    if (before != NULL)
        before->ready_next = key->ready_next;
    else
        *first = key->ready_next;
    if (*last == key)
        *last = before;
}

/* ---- gates ---- */

static uint64_t gate_hash(const ti_wtype *type, ti_slice text)
{
    return (ti_hash_stable(text) ^ (uintptr_t)type) * UINT64_C(0x9e3779b97f4a7c15);
}

static ti_gate **gate_bucket(ti_worker *w, uint64_t hash)
{
    return &w->gates[(hash >> 20) % TI_GATE_BUCKETS];
}

/* The gate of a business key, made when missing; NULL when there is no memory. */
static ti_gate *gate_of(ti_worker *w, const ti_wtype *type, ti_slice text)
{
    uint64_t hash = gate_hash(type, text);
    ti_gate **bucket = gate_bucket(w, hash);
    for (ti_gate *gate = *bucket; gate != NULL; gate = gate->next) {
        if (gate->hash == hash && gate->type == type && ti_slice_equal(gate->text, text))
            return gate;
    }
    ti_gate *gate = ti_alloc_zero(sizeof(*gate) + text.len);
    if (gate == NULL)
        return NULL;
    memcpy((char *)gate + sizeof(*gate), text.data, text.len);
    gate->text = (ti_slice){.data = (char *)gate + sizeof(*gate), .len = text.len};
    gate->hash = hash;
    gate->type = type;
    gate->next = *bucket;
    *bucket = gate;
    return gate;
}

static void gate_free_if_idle(ti_worker *w, ti_gate *gate)
{
    if (gate->running > 0 || gate->first != NULL)
        return;
    ti_gate **link = gate_bucket(w, gate->hash);
    while (*link != gate) {
        ti_require(*link != NULL);
        link = &(*link)->next;
    }
    *link = gate->next;
    ti_free(gate);
}

static bool has_gate(const ti_wtype *type, const ti_event *event)
{
    return type->key_concurrency > 0 && type->ordering == TI_ORDERING_NONE &&
           event->info.key.len > 0;
}

/* Lets an event through, or has its key wait; without memory for a gate it goes through. */
static bool pass_gate(ti_worker *w, ti_wtype *type, ti_key *key, ti_event *event)
{
    if (!has_gate(type, event))
        return true;
    ti_gate *gate = gate_of(w, type, event->info.key);
    if (gate == NULL)
        return true;
    if (gate->running < type->key_concurrency) {
        gate->running++;
        event->gate = gate;
        return true;
    }
    list_push(&gate->first, &gate->last, key);
    key->gate = gate;
    return false;
}

/* ---- limits ---- */

static void refill(ti_worker *w, ti_wtype *type)
{
    int64_t now_ns = ti_env_mono_ns(w->env);
    double most = type->rate > 1 ? type->rate : 1;
    type->tokens += (double)(now_ns - type->tokens_ns) / 1e9 * type->rate;
    if (type->tokens_ns == 0 || type->tokens > most)
        type->tokens = most;
    type->tokens_ns = now_ns;
}

/* Has the reader look again when there is a token. */
static void wait_for_token(ti_worker *w, ti_wtype *type)
{
    int64_t at_ns = type->tokens_ns + (int64_t)((1 - type->tokens) / type->rate * 1e9) + 1000;
    ti_timers_set(&w->timers, &type->timer, at_ns);
    if (at_ns < w->reader_until_ns)
        ti_worker_nudge(w);
}

/* How many of the type may be taken now. */
static uint32_t allowance(ti_worker *w, ti_wtype *type)
{
    uint32_t n = type->ready_count;
    if (n == 0 || atomic_load_explicit(&type->type->paused, memory_order_relaxed) != 0)
        return 0;
    if (type->concurrency > 0) {
        uint32_t room = type->taken < type->concurrency ? type->concurrency - type->taken : 0;
        n = room < n ? room : n;
    }
    if (n == 0 || !(type->rate > 0))
        return n;
    refill(w, type);
    if (type->tokens < 1)
        wait_for_token(w, type);
    return type->tokens < (double)n ? (uint32_t)type->tokens : n;
}

/* A worker that was stopped for longer than its lease gives out nothing that it remembers. */
static bool has_lease(const ti_worker *w)
{
    int64_t until_ns = w->ownership->vt->until_ns(w->ownership);
    return until_ns == TI_NO_DEADLINE || ti_env_mono_ns(w->env) < until_ns;
}

size_t ti_ready_count(ti_worker *w, size_t max)
{
    size_t count = 0;
    ti_mutex_assert_held(&w->mutex);
    if (w->life != TI_LIFE_RUNNING || w->uncommitted >= TI_UNCOMMITTED_MAX || w->ready_count == 0)
        return 0;
    size_t room = w->taken < w->options.concurrency ? w->options.concurrency - w->taken : 0;
    room = room < max ? room : max;
    for (ti_wtype *type = w->types; type != NULL && count < room; type = type->next)
        count += allowance(w, type);
    if (count == 0 || !has_lease(w))
        return 0;
    return count < room ? count : room;
}

/* ---- in and out ---- */

void ti_ready_changed(ti_worker *w)
{
    if ((w->takers == 0 && !w->want_notify) || ti_ready_count(w, 1) == 0)
        return;
    if (w->wakes < w->takers)
        w->wakes++;
    if (w->want_notify) {
        w->want_notify = false;
        w->notify = true;
    }
}

void ti_ready_push(ti_worker *w, ti_key *key)
{
    ti_wtype *type = key->part->type;
    ti_assert(!key->is_ready);
    key->is_ready = true;
    list_push(&type->ready_first, &type->ready_last, key);
    type->ready_count++;
    w->ready_count++;
    ti_ready_changed(w);
}

void ti_ready_remove(ti_worker *w, ti_key *key)
{
    ti_wtype *type = key->part->type;
    if (!key->is_ready)
        return;
    key->is_ready = false;
    if (key->gate != NULL) {
        list_remove(&key->gate->first, &key->gate->last, key);
        gate_free_if_idle(w, key->gate);
        key->gate = NULL;
        return;
    }
    list_remove(&type->ready_first, &type->ready_last, key);
    type->ready_count--;
    w->ready_count--;
}

static ti_event *next_of(const ti_key *key)
{
    ti_event *event = key->is_parked ? key->parked_first : key->window_first;
    ti_require(event != NULL);
    return event;
}

/* A key that has left its type's list: its next event is the running one; NULL: it waits at a gate.
 */
static ti_event *let_run(ti_worker *w, ti_wtype *type, ti_key *key)
{
    ti_event *event = next_of(key);
    type->ready_count--;
    w->ready_count--;
    if (!pass_gate(w, type, key, event))
        return NULL;
    key->is_ready = false;
    ti_key_chain_remove(key, event);
    key->running = event;
    if (type->rate > 0)
        type->tokens -= 1;
    return event;
}

/* The next event of a type, past the gates; NULL: all that was ready waits at gates now. */
static ti_event *take_of(ti_worker *w, ti_wtype *type)
{
    ti_key *key;
    while ((key = list_pop(&type->ready_first, &type->ready_last)) != NULL) {
        ti_event *event = let_run(w, type, key);
        if (event == NULL)
            continue;
        type->taken++;
        return event;
    }
    return NULL;
}

uint32_t ti_batch_class(const ti_event *event)
{
    if (event->info.attempts > 0)
        return 1;
    return event->batch_max > 0 ? event->batch_max : event->part->type->batch;
}

size_t ti_ready_take_more(ti_worker *w, const ti_event *first, size_t max, ti_event **events_out)
{
    ti_wtype *type = first->part->type;
    uint32_t class = ti_batch_class(first);
    size_t size = first->size;
    size_t n = 0;
    ti_key *before = NULL;
    ti_key *next;
    size_t looks = max * 4; /* at keys that do not go with it, too */
    ti_mutex_assert_held(&w->mutex);
    for (ti_key *key = type->ready_first; key != NULL && n < max && looks > 0;
         key = next, looks--) {
        next = key->ready_next;
        if (size >= TI_ACK_GROUP_SIZE_MAX || (type->rate > 0 && type->tokens < 1))
            break;
        if (ti_batch_class(next_of(key)) != class) {
            before = key;
            continue;
        }
        *(before != NULL ? &before->ready_next : &type->ready_first) = next;
        if (next == NULL)
            type->ready_last = before;
        ti_event *event = let_run(w, type, key);
        if (event == NULL)
            continue;
        size += event->size;
        events_out[n++] = event;
    }
    return n;
}

ti_event *ti_ready_take(ti_worker *w)
{
    ti_mutex_assert_held(&w->mutex);
    for (uint32_t i = 0; i < w->type_count; i++) {
        ti_wtype *type = w->turn != NULL ? w->turn : w->types;
        w->turn = type->next;
        ti_event *event = allowance(w, type) > 0 ? take_of(w, type) : NULL;
        if (event == NULL)
            continue;
        if (ti_batch_class(event) > 1)
            ti_batch_fill(w, event);
        return event;
    }
    return NULL;
}

/* One event less of a business key is with the host. */
static void leave_gate(ti_worker *w, ti_event *event)
{
    ti_gate *gate = event->gate;
    if (gate == NULL)
        return;
    event->gate = NULL;
    ti_assert(gate->running > 0);
    gate->running--;
    ti_key *key = list_pop(&gate->first, &gate->last);
    gate_free_if_idle(w, gate);
    if (key == NULL)
        return;
    key->gate = NULL;
    key->is_ready = false;
    ti_ready_push(w, key);
}

void ti_ready_released(ti_worker *w, ti_event *event)
{
    ti_wtype *type = event->part->type;
    ti_mutex_assert_held(&w->mutex);
    ti_assert(type->taken > 0);
    type->taken--;
    for (uint32_t i = 0; event->batch != NULL && i < event->batch->count; i++)
        leave_gate(w, event->batch->events[i]);
    if (event->batch == NULL)
        leave_gate(w, event);
}
