/* Polling gRPC's completion queue. See grpc_poll.h. */
#include "tikv/grpc_poll.h"

#include <grpc/support/time.h>

#include "base/assert.h"
#include "tikv/grpc_int.h"

/* How long a caller polls before it looks at its latch, which others may count down, and its clock.
 */
#define LOOK_NS (20 * 1000 * 1000)
#define FOREIGN_LOOK_NS (1000 * 1000)

/* Runs the next event's handler. false: none came, or the queue has been shut down. */
static bool run_next(ti_poll *p, gpr_timespec deadline, bool *shut_out)
{
    grpc_event event = grpc_completion_queue_next(p->queue, deadline, NULL);
    *shut_out = event.type == GRPC_QUEUE_SHUTDOWN;
    if (event.type != GRPC_OP_COMPLETE)
        return false;
    ti_tag *tag = event.tag;
    TI_TAG_OUT(tag);
    tag->run(tag, event.success != 0);
    return true;
}

/* Runs the next event's handler; when that ends somebody's sleep, those of the events that are
 * there already, before it wakes all of them. false: the queue has been shut down. */
static bool poll_once(ti_poll *p, gpr_timespec deadline)
{
    bool shut = false;
    ti_wakes_hold();
    bool more = run_next(p, deadline, &shut);
    for (int i = 0; more && i < TI_POLL_GO_MAX && ti_wakes_held() > 0; i++)
        more = run_next(p, gpr_inf_past(GPR_CLOCK_MONOTONIC), &shut);
    ti_wakes_release();
    return !shut;
}

/* ---- Callers ---- */

/* Takes the role when it is free. */
static bool take_free(ti_poll *p)
{
    bool was = false;
    return atomic_compare_exchange_strong(&p->taken, &was, true);
}

/* Notes the one caller that waits, or NULL. */
static void set_alone(ti_poll *p, const ti_latch *latch)
{
    ti_mutex_lock(&p->mutex);
    p->alone = latch;
    ti_mutex_unlock(&p->mutex);
}

/* Gives the role back; the own thread takes it when somebody needs it. */
static void give_back(ti_poll *p)
{
    atomic_fetch_add(&p->turns, 1);
    atomic_store(&p->taken, false);
    if (atomic_load(&p->waiting) > 0 || atomic_load(&p->closing)) {
        ti_mutex_lock(&p->mutex);
        ti_cond_signal(&p->wanted);
        ti_mutex_unlock(&p->mutex);
    }
}

/* Polls until the latch is down or for a while. */
static void poll_for(ti_poll *p, const ti_latch *latch, int64_t deadline_ns)
{
    int64_t most = p->env == ti_env_real() ? LOOK_NS : FOREIGN_LOOK_NS;
    int64_t left = deadline_ns == TI_NO_DEADLINE ? most : deadline_ns - ti_env_mono_ns(p->env);
    gpr_timespec until = ti_grpc_timeout(left < most ? left : most);
    while (ti_latch_open(latch) > 0 && poll_once(p, until))
        if (gpr_time_cmp(gpr_now(GPR_CLOCK_MONOTONIC), until) >= 0)
            return;
}

bool ti_poll_wait(ti_poll *p, ti_latch *latch, int64_t deadline_ns)
{
    if (ti_latch_open(latch) == 0)
        return true;
    ti_mutex_assert_none_held();
    bool alone = atomic_fetch_add(&p->waiting, 1) == 0;
    bool mine = take_free(p);
    if (mine) {
        poll_for(p, latch, deadline_ns);
    } else {
        if (alone)
            set_alone(p, latch);
        ti_latch_sleep(latch, p->env, deadline_ns);
        if (alone)
            set_alone(p, NULL);
    }
    atomic_fetch_sub(&p->waiting, 1);
    if (mine)
        give_back(p);
    return ti_latch_open(latch) == 0;
}

/* ---- The own thread ---- */

/* Whether somebody waits whose answer has not come. Called with the mutex held, under which a latch
 * that is known here is not forgotten. */
static bool is_needed(ti_poll *p)
{
    ti_mutex_assert_held(&p->mutex);
    size_t waiting = atomic_load(&p->waiting);
    if (atomic_load(&p->closing) || waiting > 1)
        return true;
    return waiting == 1 && (p->alone == NULL || ti_latch_open(p->alone) > 0);
}

/* Waits until the role is free and there is something to do with it, or nobody had it for a while;
 * then takes it. */
static void take(ti_poll *p)
{
    ti_mutex_lock(&p->mutex);
    for (bool idle = false; !((idle || is_needed(p)) && take_free(p));) {
        uint64_t turns = atomic_load(&p->turns);
        int64_t until_ns = ti_env_mono_ns(ti_env_real()) + TI_POLL_IDLE_MS * INT64_C(1000000);
        bool woken = ti_cond_wait_until(&p->wanted, &p->mutex, ti_env_real(), until_ns);
        idle = !woken && atomic_load(&p->turns) == turns;
    }
    ti_mutex_unlock(&p->mutex);
}

/* Gives the role back when nobody needs it; true: it is kept. */
static bool keep(ti_poll *p)
{
    ti_mutex_lock(&p->mutex);
    bool kept = is_needed(p);
    if (!kept)
        atomic_store(&p->taken, false);
    kept = kept || (is_needed(p) && take_free(p)); /* somebody came meanwhile */
    ti_mutex_unlock(&p->mutex);
    return kept;
}

static void *own_thread(void *context)
{
    ti_poll *p = context;
    for (;;) {
        take(p);
        do {
            if (!poll_once(p, gpr_inf_future(GPR_CLOCK_MONOTONIC)))
                return NULL;
        } while (keep(p));
    }
}

ti_status ti_poll_start(ti_poll *p, const ti_env *env, grpc_completion_queue *queue, ti_err *err)
{
    *p = (ti_poll){.env = env, .queue = queue};
    TI_TRY(ti_mutex_init(&p->mutex, TI_RANK_LEAF, err));
    ti_status status = ti_cond_init(&p->wanted, err);
    if (status != TI_OK) {
        ti_mutex_destroy(&p->mutex);
        return status;
    }
    status = ti_thread_start(&p->thread, "tito-wire", own_thread, p, err);
    if (status != TI_OK) {
        ti_cond_destroy(&p->wanted);
        ti_mutex_destroy(&p->mutex);
    }
    return status;
}

void ti_poll_close(ti_poll *p)
{
    ti_mutex_lock(&p->mutex);
    atomic_store(&p->closing, true);
    ti_cond_signal(&p->wanted);
    ti_mutex_unlock(&p->mutex);
}

void ti_poll_join(ti_poll *p)
{
    ti_thread_join(&p->thread);
    ti_cond_destroy(&p->wanted);
    ti_mutex_destroy(&p->mutex);
}
