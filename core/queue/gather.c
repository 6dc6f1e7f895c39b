/* Publishing outside of a transaction, by many callers at once on a shared engine: those whose
 * events lie next to each other share a transaction, so a timestamp and a request to the store are
 * for all of them. Nobody waits for company: who comes while nobody publishes there goes at once,
 * and who comes meanwhile goes with the next one.
 *
 *   station (type, part of its partitions):   leads now: A      wait: B C D
 *   A has its answer                          leads now: B, with C and D
 *
 *   WAITING --the leader before passes on--> LEADS (the first of those who wait), or
 *                                            SHARES --answered--> DONE, or ALONE
 *
 * INVARIANTS
 *  1. A station is in the list while somebody leads there; it is part of the leader's member. A
 *     member is on its caller's stack: others touch it under the mutex, while it waits or shares.
 *  2. Who shares gets the answer of the transaction that its event was in. When that was no success,
 *     and surely none, it publishes alone (ALONE) while it has time, so that an error is told to
 *     its cause.
 *  3. Nobody shares whose deadline is clearly before the leader's; what is shared is cancelled when all are.
 *  4. A part of the partitions is a piece of the key space: most often one region, so that what is
 *     shared commits in one phase as well, and a slow store holds up its own events only.
 *
 * Thread rule: any thread. What is NOT here: the events themselves (publish.c). */
#include "base/assert.h"
#include "base/limits.h"
#include "kv/retry.h"
#include "queue/publish_int.h"

enum { WAITING, SHARES, LEADS, DONE, ALONE };

typedef struct member member;

typedef struct station {
    struct station *next;
    const ti_hub_type *type;
    uint32_t part;
    member *first; /* of those who wait */
    member **last;
} station;

struct member {
    member *next;
    ti_word state;
    const ti_event_spec *spec;
    char *id_out;
    ti_call call;
    ti_status status;
    ti_err *err; /* borrowed, never NULL */
    /* of the one who leads */
    station at;
    member *others; /* who share */
    uint32_t other_count;
    uint32_t wish_count;    /* of others who are cancelled */
    _Atomic(int) cancelled; /* what is shared */
    /* of one who shares */
    member *leader;
    bool wished;
};

struct ti_gatherer {
    ti_queues *queues;
    ti_mutex mutex; /* TI_RANK_LEAF */
    station *stations;
    uint32_t waiting; /* at all of them, or sharing */
};

ti_status ti_gatherer_new(ti_queues *queues, ti_gatherer **gatherer_out, ti_err *err)
{
    ti_gatherer *g = ti_alloc_zero(sizeof(*g));
    if (g == NULL)
        return ti_err_no_memory(err);
    ti_status status = ti_mutex_init(&g->mutex, TI_RANK_LEAF, err);
    if (status != TI_OK) {
        ti_free(g);
        return status;
    }
    g->queues = queues;
    *gatherer_out = g;
    return TI_OK;
}

void ti_gatherer_free(ti_gatherer *g)
{
    if (g == NULL)
        return;
    ti_assert(g->stations == NULL);
    ti_mutex_destroy(&g->mutex);
    ti_free(g);
}

uint32_t ti_gatherer_waiting(ti_gatherer *g)
{
    ti_mutex_lock(&g->mutex);
    uint32_t n = g->waiting;
    ti_mutex_unlock(&g->mutex);
    return n;
}

/* ---- stations, the mutex is held ---- */

static station **link_of(ti_gatherer *g, const ti_hub_type *type, uint32_t part)
{
    station **link = &g->stations;
    while (*link != NULL && ((*link)->type != type || (*link)->part != part))
        link = &(*link)->next;
    return link;
}

static void append(station *s, member *m)
{
    m->next = NULL;
    *s->last = m;
    s->last = &m->next;
}

static member *pop(station *s)
{
    member *m = s->first;
    s->first = m->next;
    if (s->first == NULL)
        s->last = &s->first;
    return m;
}

static void take_out(station *s, member *m)
{
    member **link = &s->first;
    while (*link != m)
        link = &(*link)->next;
    *link = m->next;
    if (s->last == &m->next)
        s->last = link;
}

/* The station of one who leads now; who waited at the one before waits there. */
static void set_up(station *s, const ti_hub_type *type, uint32_t part, const station *before)
{
    *s = (station){.type = type, .part = part};
    s->last = &s->first;
    if (before == NULL || before->first == NULL)
        return;
    s->first = before->first;
    s->last = before->last;
}

static size_t size_of(const member *m)
{
    return m->spec->payload.len + m->spec->references.len;
}

/* Whether its call ends clearly before the leader's. */
static bool ends_before(const member *m, const member *leader)
{
    const int64_t clear_ns = TI_GATHER_LOOK_US * INT64_C(1000);
    return m->call.deadline_ns < leader->call.deadline_ns - clear_ns;
}

/* Those who wait share with m, as many as may, in the order in which they came. */
static void gather(member *m)
{
    size_t size = size_of(m);
    member **last = &m->others;
    while (m->at.first != NULL && m->other_count + 1 < TI_GATHER_EVENTS_MAX) {
        size += size_of(m->at.first);
        if (size > TI_GATHER_SIZE_MAX || ends_before(m->at.first, m))
            return;
        member *other = pop(&m->at);
        other->leader = m;
        other->next = NULL;
        *last = other;
        last = &other->next;
        m->other_count++;
        atomic_store(&other->state, SHARES);
    }
}

/* The first of those who wait leads from now on; without one the station goes. */
static void pass_on(ti_gatherer *g, const member *m)
{
    station **link = link_of(g, m->at.type, m->at.part);
    ti_assert(*link == &m->at);
    *link = m->at.next;
    if (m->at.first == NULL)
        return;
    station before = m->at;
    member *next = pop(&before);
    set_up(&next->at, before.type, before.part, &before);
    next->at.next = g->stations;
    g->stations = &next->at;
    gather(next);
    g->waiting--;
    atomic_store(&next->state, LEADS);
    ti_word_wake(&next->state);
}

/* ---- leading ---- */

static bool is_cancelled(const member *m)
{
    return m->call.cancelled != NULL && atomic_load(m->call.cancelled) != 0;
}

static ti_status publish_one(const ti_gatherer *g, const member *m, ti_txn *txn,
                             const ti_call *call, ti_err *err)
{
    TI_TRY(ti_publish_in(g->queues, txn, m->spec, call, err));
    return m->id_out != NULL ? ti_publish_tell_id(txn, m->id_out, err) : TI_OK;
}

typedef struct shared {
    const ti_gatherer *g;
    const member *leader;
} shared;

/* A ti_transact_fn. */
static ti_status publish_all(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    const shared *s = context;
    TI_TRY(publish_one(s->g, s->leader, txn, call, err));
    for (const member *m = s->leader->others; m != NULL; m = m->next)
        TI_TRY(publish_one(s->g, m, txn, call, err));
    return TI_OK;
}

static ti_status transact(const shared *s, const ti_call *call)
{
    shared context = *s;
    return ti_kv_transact(s->g->queues->kv, NULL, NULL, publish_all, &context, NULL, call,
                          s->leader->err);
}

/* Gives the answer of what was shared; who has it may be gone. Answers how many words there are to
 * be woken, which is done without the mutex. The mutex is held. */
static uint32_t answer(ti_gatherer *g, const member *leader, int state,
                       ti_word *words_out[TI_GATHER_EVENTS_MAX])
{
    member *next;
    uint32_t count = 0;
    g->waiting -= leader->other_count;
    for (member *m = leader->others; m != NULL; m = next) {
        next = m->next;
        m->status = leader->status;
        if (leader->status != TI_OK)
            *m->err = *leader->err;
        words_out[count++] = &m->state;
        atomic_store(&m->state, (uint32_t)state);
    }
    return count;
}

/* Publishes what could not be shared, unless the time is over: then the error of that stands. */
static ti_status publish_alone(const ti_gatherer *g, member *m)
{
    const shared s = {.g = g, .leader = m};
    if (ti_call_left_ns(&m->call) < TI_GATHER_LOOK_US * INT64_C(1000) || is_cancelled(m))
        return m->status;
    ti_err_clear(m->err);
    m->others = NULL;
    return transact(&s, &m->call);
}

static ti_status lead(ti_gatherer *g, member *m)
{
    const shared s = {.g = g, .leader = m};
    const bool alone = m->others == NULL;
    ti_call call = m->call;
    if (!alone)
        call.cancelled = &m->cancelled;
    m->status = transact(&s, &call);
    const bool decided = alone || m->status == TI_OK || m->status == TI_OUTCOME_UNKNOWN;
    ti_word *words[TI_GATHER_EVENTS_MAX];
    uint32_t count = 0;
    ti_mutex_lock(&g->mutex);
    pass_on(g, m);
    count = answer(g, m, decided ? DONE : ALONE, words);
    ti_mutex_unlock(&g->mutex);
    while (count > 0)
        ti_word_wake(words[--count]);
    return decided ? m->status : publish_alone(g, m);
}

/* ---- waiting ---- */

/* One who shares is cancelled: when all are, the transaction is. The mutex is held. */
static void wish(member *m)
{
    member *leader = m->leader;
    leader->wish_count += m->wished ? 0 : 1;
    m->wished = true;
    if (leader->wish_count == leader->other_count && is_cancelled(leader))
        atomic_store(&leader->cancelled, 1);
}

/* Ends the wait of one whose call is over, when that is possible. */
static void look_at_call(ti_gatherer *g, const ti_hub_type *type, uint32_t part, member *m)
{
    ti_mutex_lock(&g->mutex);
    uint32_t state = atomic_load(&m->state);
    if (state == SHARES && is_cancelled(m))
        wish(m);
    if (state == WAITING) {
        m->status = ti_call_check(&m->call, "publish", m->err);
        if (m->status != TI_OK) {
            take_out(*link_of(g, type, part), m);
            g->waiting--;
            atomic_store(&m->state, DONE);
        }
    }
    ti_mutex_unlock(&g->mutex);
}

static uint32_t wait(ti_gatherer *g, const ti_hub_type *type, uint32_t part, member *m)
{
    const ti_env *env = m->call.env;
    uint32_t state = atomic_load(&m->state);
    while (state == WAITING || state == SHARES) {
        int64_t until_ns = ti_env_mono_ns(env) + TI_GATHER_LOOK_US * INT64_C(1000);
        if (state == WAITING && m->call.deadline_ns < until_ns)
            until_ns = m->call.deadline_ns;
        ti_word_wait(&m->state, state, env, until_ns);
        if (atomic_load(&m->state) == state)
            look_at_call(g, type, part, m);
        state = atomic_load(&m->state);
    }
    return state;
}

/* ---- entry ---- */

/* Which piece of the type's partitions the key's is in. */
static uint32_t part_of(ti_slice key, uint32_t partitions)
{
    uint64_t partition = ti_queue_partition_of(key, partitions);
    return (uint32_t)(partition * TI_GATHER_PARTS / partitions);
}

/* Leads at a free station, or waits at one where somebody does. */
static void enter(ti_gatherer *g, const ti_hub_type *type, uint32_t part, member *m)
{
    ti_mutex_lock(&g->mutex);
    station **link = link_of(g, type, part);
    if (*link != NULL) {
        append(*link, m);
        g->waiting++;
    } else {
        set_up(&m->at, type, part, NULL);
        *link = &m->at;
        atomic_store(&m->state, LEADS);
    }
    ti_mutex_unlock(&g->mutex);
}

ti_status ti_gather_publish(ti_gatherer *g, const ti_event_spec *spec, char *id_out,
                            const ti_call *call, ti_err *err)
{
    ti_event_spec checked = *spec;
    member m = {.spec = &checked, .id_out = id_out, .call = *call, .err = err};
    ti_call own = ti_kv_call(g->queues->kv);
    ti_hub_type *type;
    ti_hub_meta meta;
    ti_assert(spec->unique.len == 0);
    TI_TRY(ti_publish_check(spec, err));
    TI_TRY(ti_hub_type_of(g->queues->hub, spec->type, &type, err));
    TI_TRY(ti_queue_meta_resolve(g->queues, type, spec->partitions, &meta, call, err));
    checked.json_checked = true;
    if (own.deadline_ns < m.call.deadline_ns)
        m.call.deadline_ns = own.deadline_ns;
    uint32_t part = part_of(spec->key, meta.partitions);
    enter(g, type, part, &m);
    switch (wait(g, type, part, &m)) {
    case LEADS:
        return lead(g, &m);
    case DONE:
        return m.status;
    default:
        return publish_alone(g, &m);
    }
}
