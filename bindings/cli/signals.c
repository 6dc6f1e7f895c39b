/* SIGTERM, SIGINT and SIGHUP, and the time after which the process ends by itself.
 *
 *   before work:  SIGTERM, SIGINT ──> _exit(0)
 *   at work:      first ──> counted, alarm(drain + grace) ── SIGALRM ──> _exit(3)
 *                 second ──> _exit(4)
 *
 * INVARIANTS
 *  1. Handlers use only atomics, write(), alarm() and _exit(): they do their work also when the
 *     main thread is stuck.
 *  2. Nothing is lost by _exit: what was acknowledged is in the store's log, the rest is handled
 *     again. (The same as for SIGKILL.)
 *  3. SIGINT that was ignored when the process began (a job in the background) stays ignored.
 *  4. Signals are blocked nowhere and none is ignored, so that programs started by handlers begin
 *     as usual. */
#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

static atomic_int descriptor;
static atomic_bool working;
static atomic_uint ends, reloads, limit_s;
static atomic_int last_code;

static void tell(void)
{
    const uint64_t one = 1;
    if (write(atomic_load(&descriptor), &one, sizeof(one)) < 0)
        return; /* full: it is readable all the same */
}

static void on_end(int number)
{
    int saved = errno;
    (void)number;
    if (!atomic_load(&working))
        _exit(TC_EXIT_OK);
    if (atomic_fetch_add(&ends, 1) > 0)
        _exit(TC_EXIT_FORCED);
    alarm(atomic_load(&limit_s));
    tell();
    errno = saved;
}

static void on_reload(int number)
{
    int saved = errno;
    (void)number;
    atomic_fetch_add(&reloads, 1);
    tell();
    errno = saved;
}

static void on_alarm(int number)
{
    (void)number;
    _exit(atomic_load(&last_code));
}

static void on_pipe(int number)
{
    (void)number; /* write() says EPIPE */
}

static void install(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigset_t set;
    sigemptyset(&action.sa_mask);
    (void)sigaction(number, &action, NULL);
    sigemptyset(&set);
    sigaddset(&set, number);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void tc_signals_begin(int fd, int64_t drain_us)
{
    struct sigaction before;
    atomic_store(&descriptor, fd);
    atomic_store(&last_code, TC_EXIT_DRAIN);
    atomic_store(&limit_s, (unsigned)((drain_us + 999999) / 1000000 + TC_GRACE_S));
    install(SIGALRM, on_alarm);
    install(SIGPIPE, on_pipe);
    install(SIGHUP, on_reload);
    install(SIGTERM, on_end);
    if (sigaction(SIGINT, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        install(SIGINT, on_end);
}

void tc_signals_working(void)
{
    atomic_store(&working, true);
}

unsigned tc_signals_ends(void)
{
    return atomic_load(&ends);
}

unsigned tc_signals_reloads(void)
{
    return atomic_load(&reloads);
}

void tc_signals_last(int code)
{
    atomic_store(&last_code, code);
    alarm(TC_GRACE_S);
}
