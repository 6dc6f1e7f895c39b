/* Latches and the blocking call over any wire. See wire.h. */
#include "tikv/wire.h"

#include <string.h>

#include "base/assert.h"

/* How long a wait sleeps before it looks at the cancel flag again. */
#define CANCEL_LOOK_NS (20 * 1000 * 1000)

/* Who sleeps on which word and is woken by ti_wakes_release; the words may be gone by then. */
static _Thread_local struct {
    ti_word *words[TI_WAKES_MAX];
    size_t count;
    bool held;
} wakes;

void ti_latch_init(ti_latch *latch, size_t open)
{
    atomic_init(&latch->open, (uint32_t)open);
}

void ti_latch_add(ti_latch *latch, size_t count)
{
    atomic_fetch_add(&latch->open, (uint32_t)count);
}

void ti_latch_done(ti_latch *latch)
{
    uint32_t before = atomic_fetch_sub(&latch->open, 1);
    ti_require((before & ~TI_LATCH_SLEEPS) > 0);
    if (before != (TI_LATCH_SLEEPS | 1))
        return;
    if (wakes.held && wakes.count < TI_WAKES_MAX) /* from here on the latch may be gone */
        wakes.words[wakes.count++] = &latch->open;
    else
        ti_word_wake(&latch->open);
}

void ti_wakes_hold(void)
{
    ti_assert(!wakes.held && wakes.count == 0);
    wakes.held = true;
}

size_t ti_wakes_held(void)
{
    return wakes.count;
}

void ti_wakes_release(void)
{
    ti_assert(wakes.held);
    wakes.held = false;
    for (size_t i = 0; i < wakes.count; i++)
        ti_word_wake(wakes.words[i]);
    wakes.count = 0;
}

size_t ti_latch_open(const ti_latch *latch)
{
    return atomic_load(&latch->open) & ~TI_LATCH_SLEEPS;
}

void ti_latch_sleep(ti_latch *latch, const ti_env *env, int64_t deadline_ns)
{
    uint32_t seen = atomic_fetch_or(&latch->open, TI_LATCH_SLEEPS) | TI_LATCH_SLEEPS;
    if (seen != TI_LATCH_SLEEPS)
        ti_word_wait(&latch->open, seen, env, deadline_ns);
}

ti_status ti_wire_wait(ti_wire *w, ti_latch *latch, const ti_call *call, const char *what,
                       ti_err *err)
{
    for (;;) {
        if (ti_latch_open(latch) == 0)
            return TI_OK;
        TI_TRY(ti_call_check(call, what, err));
        int64_t until = call->deadline_ns;
        if (call->cancelled != NULL) {
            int64_t look = ti_env_mono_ns(w->env) + CANCEL_LOOK_NS;
            until = look < until ? look : until;
        }
        if (w->vt->wait(w, latch, until))
            return TI_OK;
    }
}

bool ti_wire_diagnose(ti_wire *w, const char *address, const ti_call *call, ti_err *why)
{
    ti_err found;
    if (why->status != TI_UNAVAILABLE || w->vt->diagnose == NULL ||
        strstr(why->message, TI_WIRE_UNREACHED) == NULL ||
        w->vt->diagnose(w, address, call, &found) == TI_OK)
        return false;
    ti_err_set(why, why->status, "%s", found.message);
    return true;
}

typedef struct unary_wait {
    ti_latch latch;
    ti_arena *arena;
    ti_slice response;
    ti_err err;
} unary_wait;

static void unary_ended(void *context, ti_slice response, const ti_err *err)
{
    unary_wait *wait = context;
    wait->err = *err;
    if (err->status == TI_OK) {
        wait->response = ti_arena_copy(wait->arena, response);
        if (wait->response.data == NULL)
            ti_err_no_memory(&wait->err);
    }
    ti_latch_done(&wait->latch);
}

/* Waits for the end of a call that was cancelled: the wire ends it at once. */
static void wait_for_end(ti_wire *w, ti_latch *latch)
{
    while (ti_latch_open(latch) > 0)
        w->vt->wait(w, latch, TI_NO_DEADLINE);
}

ti_status ti_wire_call(ti_wire *w, const char *address, const char *method, ti_slice request,
                       int64_t timeout_us, const ti_call *call, ti_arena *a, ti_slice *response_out,
                       ti_err *err)
{
    *response_out = TI_SLICE_NONE;
    ti_status begun = ti_call_check(call, method, err);
    if (begun == TI_TIMEOUT)
        ti_err_set(err, begun, "there was no time left to ask %s", address);
    TI_TRY(begun);
    ti_wire_refresh(w);
    unary_wait wait = {.arena = a};
    ti_latch_init(&wait.latch, 1);
    ti_unary *unary = NULL;
    int64_t left_ns = ti_call_left_ns(call);
    int64_t timeout_ns = left_ns / 1000 < timeout_us ? left_ns : timeout_us * 1000;
    ti_status status =
        w->vt->unary(w, address, method, request, timeout_ns, unary_ended, &wait, &unary, err);
    if (status == TI_OK) {
        status = ti_wire_wait(w, &wait.latch, call, method, err);
        if (status != TI_OK) {
            w->vt->cancel(w, unary);
            wait_for_end(w, &wait.latch);
            if (status == TI_TIMEOUT)
                ti_err_set(err, status, "%s did not answer in time", address);
        } else if (wait.err.status != TI_OK) {
            if (err != NULL)
                *err = wait.err;
            status = wait.err.status;
        } else {
            *response_out = wait.response;
        }
        w->vt->release(w, unary);
    }
    return status;
}
