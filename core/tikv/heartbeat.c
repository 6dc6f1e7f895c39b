/* Heartbeats. See heartbeat.h. */
#include "tikv/heartbeat.h"

#include <string.h>

#include "base/assert.h"
#include "base/fault.h"
#include "tikv/fan.h"

typedef struct beat beat;
struct beat {
    beat *next;
    uint64_t start_ts;
    uint64_t age_ms; /* of the transaction, by PD's clock: a time to live counts from its start */
    int64_t begun_ms;
    int64_t due_ms;
    bool dead;
    bool removed; /* while it was under way: freed by its end */
    size_t primary_len;
    char primary[];
};

struct ti_heartbeat {
    ti_cluster *cluster;
    ti_mutex mutex; /* rank TI_RANK_EXECUTOR: all below */
    ti_cond changed;
    beat *list;
    beat *beating; /* the one under way */
    bool started;
    bool closing;
    ti_thread thread;
    _Atomic(int) cancelled;
};

static int64_t now_ms(const ti_heartbeat *h)
{
    return ti_env_mono_ns(h->cluster->wire->env) / 1000000;
}

static ti_slice build_beat(void *context, ti_context *c, ti_arena *a)
{
    const beat *b = context;
    Kvrpcpb__TxnHeartBeatRequest request = KVRPCPB__TXN_HEART_BEAT_REQUEST__INIT;
    request.context = &c->message;
    request.primary_lock = ti_pb_bytes((ti_slice){.data = b->primary, .len = b->primary_len});
    request.start_version = b->start_ts;
    request.advise_lock_ttl = b->age_ms + TI_HEARTBEAT_TTL_MS;
    return ti_pb_pack(&request.base, a);
}

/* Sends one beat; false when the lock is gone. Without the mutex. */
static bool send_beat(ti_heartbeat *h, beat *b)
{
    ti_arena a;
    ti_slice response = TI_SLICE_NONE;
    ti_call call = ti_call_within(h->cluster->wire->env, (int64_t)TI_HEARTBEAT_MS * 1000);
    call.cancelled = &h->cancelled;
    ti_backoff backoff;
    ti_backoff_init(&backoff, h->cluster->wire, &call, TI_HEARTBEAT_MS);
    ti_arena_init(&a);
    ti_slice primary = {.data = b->primary, .len = b->primary_len};
    bool alive = true;
    uint64_t now_ts = 0;
    if (ti_pd_timestamp(h->cluster->pd, &now_ts, &call, NULL) == TI_OK)
        b->age_ms = (now_ts >> 18) - (b->start_ts >> 18);
    else
        b->age_ms += TI_HEARTBEAT_MS;
    if (ti_send_to_key(h->cluster, TI_COMMAND_TXN_HEART_BEAT, primary, build_beat, b, &a, &response,
                       &backoff, NULL) == TI_OK) {
        Kvrpcpb__TxnHeartBeatResponse *r =
            ti_pb_unpack(&kvrpcpb__txn_heart_beat_response__descriptor, response, &a, NULL);
        alive = r == NULL || r->error == NULL; /* what can not be read says nothing */
    }
    ti_arena_free(&a);
    return alive;
}

/* The entry that is due first; NULL when there is none. */
static beat *next_due(const ti_heartbeat *h)
{
    beat *first = NULL;
    for (beat *b = h->list; b != NULL; b = b->next) {
        if (!b->dead && (first == NULL || b->due_ms < first->due_ms))
            first = b;
    }
    return first;
}

/* Beats one. The mutex is held before and after. */
static void beat_once(ti_heartbeat *h, beat *b)
{
    h->beating = b;
    ti_mutex_unlock(&h->mutex);
    bool alive = send_beat(h, b);
    TI_FAULT(tikv_beaten);
    ti_mutex_lock(&h->mutex);
    h->beating = NULL;
    if (b->removed) {
        ti_free(b);
        return;
    }
    b->due_ms = now_ms(h) + TI_HEARTBEAT_MS;
    b->dead = !alive || b->due_ms - b->begun_ms > TI_HEARTBEAT_LIFE_MS;
}

static void *work(void *context)
{
    ti_heartbeat *h = context;
    ti_mutex_lock(&h->mutex);
    while (!h->closing) {
        beat *b = next_due(h);
        if (b == NULL)
            ti_cond_wait(&h->changed, &h->mutex);
        else if (b->due_ms > now_ms(h))
            ti_cond_wait_until(&h->changed, &h->mutex, h->cluster->wire->env, b->due_ms * 1000000);
        else
            beat_once(h, b);
    }
    ti_mutex_unlock(&h->mutex);
    return NULL;
}

ti_status ti_heartbeat_add(ti_heartbeat *h, uint64_t start_ts, ti_slice primary, ti_err *err)
{
    beat *b = ti_alloc_zero(sizeof(*b) + primary.len);
    if (b == NULL)
        return ti_err_no_memory(err);
    memcpy(b->primary, primary.data, primary.len);
    b->primary_len = primary.len;
    b->start_ts = start_ts;
    b->begun_ms = now_ms(h);
    b->due_ms = b->begun_ms + TI_HEARTBEAT_MS;
    ti_status status = TI_OK;
    ti_mutex_lock(&h->mutex);
    if (!h->started) {
        status = ti_thread_start(&h->thread, "tito-beat", work, h, err);
        h->started = status == TI_OK;
    }
    if (status == TI_OK) {
        b->next = h->list;
        h->list = b;
        ti_cond_broadcast(&h->changed);
    }
    ti_mutex_unlock(&h->mutex);
    if (status != TI_OK)
        ti_free(b);
    return status;
}

void ti_heartbeat_remove(ti_heartbeat *h, uint64_t start_ts)
{
    beat *gone = NULL;
    ti_mutex_lock(&h->mutex);
    for (beat **at = &h->list; *at != NULL; at = &(*at)->next) {
        if ((*at)->start_ts == start_ts) {
            gone = *at;
            *at = gone->next;
            break;
        }
    }
    if (gone != NULL && h->beating == gone) {
        gone->removed = true;
        gone = NULL;
    }
    ti_mutex_unlock(&h->mutex);
    ti_free(gone);
}

ti_status ti_heartbeat_create(ti_cluster *c, ti_heartbeat **h_out, ti_err *err)
{
    *h_out = NULL;
    ti_heartbeat *h = ti_alloc_zero(sizeof(*h));
    if (h == NULL)
        return ti_err_no_memory(err);
    h->cluster = c;
    ti_status status = ti_mutex_init(&h->mutex, TI_RANK_EXECUTOR, err);
    if (status == TI_OK) {
        status = ti_cond_init(&h->changed, err);
        if (status != TI_OK)
            ti_mutex_destroy(&h->mutex);
    }
    if (status != TI_OK) {
        ti_free(h);
        return status;
    }
    *h_out = h;
    return TI_OK;
}

void ti_heartbeat_close(ti_heartbeat *h)
{
    ti_mutex_lock(&h->mutex);
    h->closing = true;
    atomic_store(&h->cancelled, 1);
    ti_cond_broadcast(&h->changed);
    ti_mutex_unlock(&h->mutex);
    if (h->started)
        ti_thread_join(&h->thread);
    while (h->list != NULL) {
        beat *b = h->list;
        h->list = b->next;
        ti_free(b);
    }
    ti_cond_destroy(&h->changed);
    ti_mutex_destroy(&h->mutex);
    ti_free(h);
}
