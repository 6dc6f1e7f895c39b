/* A hub of logs: what many handles share writes one line, every handle's sink gets it.
 *
 *   engine ──ti_log_write──> hub ──> handle 1's sink
 *                                └─> handle 2's sink        stderr: once, however many have no sink
 *
 * INVARIANTS
 *  1. No mutex is held around a sink; who leaves waits until no line is on its way to its sink, and
 *     gets none afterwards.
 *  2. A listener stays in the list as long as a line is on its way to it, so that whoever walks the
 *     list can go on from it.
 *
 * Thread rule: any thread; a sink must not leave (nor call tito at all). */
#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"

typedef struct listener listener;
struct listener {
    listener *next;
    const ti_log *log; /* borrowed until it leaves */
    uint32_t lines;    /* on their way to its sink */
    bool leaving;
};

struct ti_log_hub {
    _Atomic(uint32_t) refs;
    ti_log log; /* whose sink hands lines out */
    ti_mutex mutex;
    ti_cond changed; /* lines of who is leaving */
    listener *first; /* owned */
};

/* Hands one line out. */
static void hand_out(void *context, ti_log_level level, const char *line)
{
    ti_log_hub *hub = context;
    bool told = false; /* on stderr */
    ti_mutex_lock(&hub->mutex);
    for (listener *l = hub->first; l != NULL; l = l->next) {
        bool to_stderr = l->log->sink == NULL;
        if (l->leaving || level > l->log->level || (to_stderr && told))
            continue;
        told = told || to_stderr;
        l->lines++;
        ti_mutex_unlock(&hub->mutex);
        ti_log_write(l->log, level, "%s", line);
        ti_mutex_lock(&hub->mutex);
        l->lines--;
        if (l->leaving)
            ti_cond_broadcast(&hub->changed);
    }
    ti_mutex_unlock(&hub->mutex);
}

ti_status ti_log_hub_create(ti_log_hub **hub_out, ti_err *err)
{
    *hub_out = NULL;
    ti_log_hub *hub = ti_alloc_zero(sizeof(*hub));
    if (hub == NULL)
        return ti_err_no_memory(err);
    ti_status status = ti_mutex_init(&hub->mutex, TI_RANK_LEAF, err);
    if (status == TI_OK && (status = ti_cond_init(&hub->changed, err)) != TI_OK)
        ti_mutex_destroy(&hub->mutex);
    if (status != TI_OK) {
        ti_free(hub);
        return status;
    }
    atomic_init(&hub->refs, 1);
    hub->log = (ti_log){.sink = hand_out, .context = hub, .level = TI_LOG_DEBUG};
    *hub_out = hub;
    return TI_OK;
}

ti_log_hub *ti_log_hub_ref(ti_log_hub *hub)
{
    uint32_t before = atomic_fetch_add_explicit(&hub->refs, 1, memory_order_relaxed);
    ti_require(before > 0);
    return hub;
}

void ti_log_hub_unref(ti_log_hub *hub)
{
    if (hub == NULL || atomic_fetch_sub_explicit(&hub->refs, 1, memory_order_acq_rel) > 1)
        return;
    while (hub->first != NULL) {
        listener *l = hub->first;
        ti_assert(l->lines == 0);
        hub->first = l->next;
        ti_free(l);
    }
    ti_cond_destroy(&hub->changed);
    ti_mutex_destroy(&hub->mutex);
    ti_free(hub);
}

const ti_log *ti_log_hub_log(const ti_log_hub *hub)
{
    return &hub->log;
}

ti_status ti_log_hub_join(ti_log_hub *hub, const ti_log *log, ti_err *err)
{
    ti_assert(log != NULL);
    ti_assert(log != &hub->log);
    listener *l = ti_alloc_zero(sizeof(*l));
    if (l == NULL)
        return ti_err_no_memory(err);
    l->log = log;
    ti_mutex_lock(&hub->mutex);
    l->next = hub->first;
    hub->first = l;
    ti_mutex_unlock(&hub->mutex);
    return TI_OK;
}

void ti_log_hub_leave(ti_log_hub *hub, const ti_log *log)
{
    ti_mutex_lock(&hub->mutex);
    listener *l = hub->first;
    while (l != NULL && (l->log != log || l->leaving))
        l = l->next;
    if (l != NULL) {
        l->leaving = true;
        while (l->lines > 0)
            ti_cond_wait(&hub->changed, &hub->mutex);
        listener **at = &hub->first;
        while (*at != l)
            at = &(*at)->next;
        *at = l->next;
    }
    ti_mutex_unlock(&hub->mutex);
    ti_free(l);
}
