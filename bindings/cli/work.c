/* `tito worker`: the main thread, which only waits and decides.
 *
 *   open the database ── load ──> current runs ──────────── ended ──> exit
 *                                   │   ^
 *               SIGHUP: next loads  │   │ go, when current has ended
 *               next LOADED ── stop current (drain) ── or its time is up: it is set aside
 *               next failed ── told; current goes on
 *   leader file there, or not: current works, or rests
 *   SIGTERM, SIGINT: stop current (drain), drop next; ended, or out of time ──> exit
 *
 * INVARIANTS
 *  1. Two generations never take events at the same time, unless one is stuck in a handler that
 *     can not be interrupted after its time to drain: its leases are gone, what it still does has
 *     no effect.
 *  2. After the first signal the process ends within drain timeout + TC_GRACE_S (signals.c), here
 *     within drain timeout + PATIENCE_US.
 *  3. The database is closed only after every thread that uses it has ended; else _exit. */
#include "cli.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_US = 5000000, SET_ASIDE_MAX = 16, TYPES_TEXT_MAX = 1000, NOTE_MAX = 200 };

typedef struct supervisor {
    const tc_setup *setup;
    tito_db_t *db;
    tl_db *box;
    tc_metrics *metrics;
    tc_beside *dashboard;
    tc_status status;
    int fd; /* readable when something has moved */

    tc_generation *current, *next;
    tc_generation *aside[SET_ASIDE_MAX]; /* stuck; NULL: free */
    bool told_ready;                     /* of current */
    bool stopping;                       /* current was told to stop */
    bool leads;                          /* as current was told */
    int64_t stop_limit_us;               /* when current is given up; INT64_MAX: not stopping */
    bool draining;                       /* the process ends */
    unsigned reloads_seen;
    int code; /* -1: it goes on */
} supervisor;

/* ---- Current ---- */

static void stop_current(supervisor *s)
{
    if (s->stopping)
        return;
    s->stopping = true;
    s->stop_limit_us = tl_clock_us() + s->setup->drain_us + PATIENCE_US;
    tc_generation_stop(s->current, -1);
}

static void tell_ready(supervisor *s)
{
    char types[TYPES_TEXT_MAX];
    char note[NOTE_MAX];
    s->told_ready = true;
    tc_generation_types(s->current, types, sizeof(types));
    unsigned number = atomic_fetch_add(&s->status.generation, 1) + 1;
    atomic_store(&s->status.running, true);
    tc_log(TC_INFO, "ready: pid=%ld threads=%zu concurrency=%zu generation=%u types=%s",
           (long)getpid(), s->setup->threads, s->setup->concurrency, number, types);
    (void)snprintf(note, sizeof(note), "READY=1\nMAINPID=%ld\nSTATUS=working", (long)getpid());
    tc_notify(note);
}

/* The leader file tells whether current works. It begins resting. */
static void look_at_leader(supervisor *s)
{
    const char *file = s->setup->leader_file;
    if (file == NULL)
        return;
    bool leads = access(file, F_OK) == 0;
    if (leads == s->leads)
        return;
    s->leads = leads;
    tc_log(TC_INFO, leads ? "works: '%s' is there" : "rests: '%s' is not there", file);
    tc_generation_lead(s->current, leads);
}

/* Every thread of current has ended: what that means for the process. */
static int code_of_end(const supervisor *s)
{
    const char *failure = tc_generation_failure(s->current);
    if (failure != NULL) {
        tc_log(TC_ERROR, "%s", failure);
        return TC_EXIT_FAILED;
    }
    if (!tc_generation_drained(s->current)) {
        tc_log(TC_WARN,
               "the time to drain has passed: handlers were given up, their events will be "
               "handled again");
        return TC_EXIT_DRAIN;
    }
    return TC_EXIT_OK;
}

/* ---- Reload ---- */

static void begin_reload(supervisor *s)
{
    char note[NOTE_MAX];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    tc_log(TC_INFO, "reloading '%s'", s->setup->app);
    (void)snprintf(note, sizeof(note), "RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=reloading",
                   (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    tc_notify(note);
    s->next = tc_generation_new(s->setup, s->db, s->box, s->fd);
    if (s->next == NULL)
        atomic_fetch_add(&s->status.reload_failures, 1);
}

static void end_failed_reload(supervisor *s)
{
    const char *failure = tc_generation_failure(s->next);
    tc_log(TC_ERROR, "the reload has failed, the handlers from before go on: %s",
           failure != NULL ? failure : "the app was not loaded");
    atomic_fetch_add(&s->status.reload_failures, 1);
    tc_generation_free(s->next);
    s->next = NULL;
    tc_notify("READY=1\nSTATUS=working; the last reload has failed");
}

/* Takes away what has ended; whether there is still one. */
static bool sweep_aside(supervisor *s)
{
    bool any = false;
    for (size_t i = 0; i < SET_ASIDE_MAX; i++) {
        if (s->aside[i] != NULL && tc_generation_phase(s->aside[i]) == TC_ENDED) {
            tc_generation_free(s->aside[i]);
            s->aside[i] = NULL;
        }
        any = any || s->aside[i] != NULL;
    }
    return any;
}

/* Puts current aside; false when there is no place. */
static bool set_aside(supervisor *s)
{
    for (size_t i = 0; i < SET_ASIDE_MAX; i++)
        if (s->aside[i] == NULL) {
            s->aside[i] = s->current;
            tc_log(TC_WARN, "a handler does not end: its thread is left alone, its event will be "
                            "handled again");
            return true;
        }
    return false;
}

/* Next becomes current. */
static void swap(supervisor *s)
{
    s->current = s->next;
    s->next = NULL;
    s->told_ready = false;
    s->stopping = false;
    s->stop_limit_us = INT64_MAX;
    s->leads = false;
    atomic_fetch_add(&s->status.reloads, 1);
    tc_generation_go(s->current);
}

/* ---- A turn ---- */

/* Whether a SIGHUP waits and can be answered now: not while another reload is under way. */
static bool wants_reload(const supervisor *s)
{
    return tc_signals_reloads() != s->reloads_seen && s->told_ready && s->next == NULL &&
           !s->stopping && !s->setup->once;
}

static void look_at_signals(supervisor *s)
{
    if (tc_signals_ends() > 0 && !s->draining) {
        s->draining = true;
        atomic_store(&s->status.draining, true);
        tc_log(TC_INFO, "draining for at most %.6g s; another signal ends at once",
               (double)s->setup->drain_us / 1e6);
        tc_notify("STOPPING=1\nSTATUS=draining");
        stop_current(s);
        if (s->next != NULL)
            tc_generation_stop(s->next, 0);
    }
    if (wants_reload(s)) {
        s->reloads_seen = tc_signals_reloads();
        begin_reload(s);
    }
}

static void look_at_next(supervisor *s)
{
    if (s->next == NULL || s->draining)
        return;
    tc_phase phase = tc_generation_phase(s->next);
    if (phase == TC_ENDED)
        end_failed_reload(s);
    else if (phase == TC_LOADED)
        stop_current(s);
}

/* Current has ended. */
static void end_current(supervisor *s)
{
    bool swaps = s->next != NULL && !s->draining && tc_generation_phase(s->next) == TC_LOADED;
    int code = code_of_end(s);
    if (!swaps || code == TC_EXIT_FAILED) {
        s->code = code;
        return;
    }
    tc_generation_free(s->current);
    swap(s);
}

static void look_at_current(supervisor *s)
{
    tc_phase phase = tc_generation_phase(s->current);
    if (phase == TC_LOADED && !s->stopping)
        tc_generation_go(s->current);
    if (phase == TC_RUNNING && !s->told_ready)
        tell_ready(s);
    if (phase == TC_ENDED) {
        end_current(s);
    } else if (tl_clock_us() >= s->stop_limit_us) {
        if (!s->draining && s->next != NULL && set_aside(s))
            swap(s);
        else
            s->code = TC_EXIT_DRAIN;
    }
}

static void rest(const supervisor *s)
{
    enum { LOOK_MS = 1000 };
    uint64_t count;
    struct pollfd fd = {.fd = s->fd, .events = POLLIN};
    bool waits = s->stop_limit_us != INT64_MAX || s->setup->leader_file != NULL;
    (void)poll(&fd, 1, waits ? LOOK_MS : -1);
    while (read(s->fd, &count, sizeof(count)) > 0)
        continue;
}

static void supervise(supervisor *s)
{
    while (s->code < 0) {
        look_at_signals(s);
        look_at_next(s);
        look_at_current(s);
        look_at_leader(s);
        (void)sweep_aside(s);
        if (s->code < 0 && !wants_reload(s))
            rest(s);
    }
}

/* ---- Beginning and end ---- */

/* Whether everything was opened. */
static bool begin(supervisor *s)
{
    const tc_setup *setup = s->setup;
    s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->fd < 0) {
        tc_log(TC_ERROR, "there is no descriptor for the signals");
        return false;
    }
    tc_signals_begin(s->fd, setup->drain_us);
    if (setup->metrics != NULL) {
        s->metrics = tc_metrics_start(setup->metrics, &s->status);
        if (s->metrics == NULL)
            return false;
    }
    s->box = tc_database_open(setup, &s->db);
    if (s->box == NULL)
        return false;
    atomic_store(&s->status.db, s->db);
    if (setup->dashboard != NULL) {
        s->dashboard = tc_beside_start(setup, s->box);
        if (s->dashboard == NULL)
            return false;
    }
    tc_signals_working();
    s->current = tc_generation_new(setup, s->db, s->box, s->fd);
    return s->current != NULL;
}

/* Frees a generation that has ended; whether it has. */
static bool finish(tc_generation *g)
{
    if (g == NULL)
        return true;
    if (tc_generation_phase(g) != TC_ENDED)
        return false;
    tc_generation_free(g);
    return true;
}

/* Closes everything, or leaves at once when a thread does not end. */
static int end(supervisor *s)
{
    enum { TRIES = 100, TRY_MS = 20 };
    atomic_store(&s->status.running, false);
    tc_signals_last(s->code);
    if (s->next != NULL)
        tc_generation_stop(s->next, 0);
    bool ended = finish(s->current);
    for (int i = 0; ended && s->next != NULL && i < TRIES; i++) {
        if (finish(s->next))
            s->next = NULL;
        else
            (void)poll(NULL, 0, TRY_MS);
    }
    if (!ended || s->next != NULL || sweep_aside(s)) {
        tc_log(TC_WARN, "a handler does not end: the process ends without it");
        _exit(s->code == TC_EXIT_OK ? TC_EXIT_DRAIN : s->code);
    }
    if (!tc_beside_stop(s->dashboard)) {
        tc_log(TC_WARN, "the store keeps the dashboard waiting: the process ends without it");
        _exit(s->code);
    }
    tc_metrics_stop(s->metrics);
    if (s->box != NULL)
        tl_db_unref(s->box);
    if (s->fd >= 0)
        close(s->fd);
    return s->code;
}

int tc_work(const tc_setup *setup)
{
    static supervisor s; /* handlers and threads may outlive this call by _exit */
    s.setup = setup;
    s.code = -1;
    s.fd = -1;
    s.stop_limit_us = INT64_MAX;
    s.status.threads = setup->threads;
    s.status.concurrency = setup->concurrency;
    s.status.started_us = tito_now_us();
    if (access(setup->app, R_OK) != 0) {
        tc_log(TC_ERROR, "there is no file '%s' that can be read", setup->app);
        return TC_EXIT_USAGE;
    }
    if (begin(&s))
        supervise(&s);
    else
        s.code = TC_EXIT_FAILED;
    tc_log(TC_INFO, "ended: code=%d", s.code);
    return end(&s);
}
