/* Ctrl-C in commands that people call, and whoever reads their output and goes away.
 *
 *   until a command asks      SIGINT and SIGTERM end the process, as they do everywhere
 *   from its first question   the first is counted, the command ends where it is consistent
 *                             the second ends the process at once, with 130
 *   SIGPIPE                   is noted: write() fails, and the command closes its database
 *
 * INVARIANTS
 *  1. The handlers use only atomics and _exit(). */
#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

static atomic_uint count;
static atomic_bool reader_gone;
static bool installed; /* of the main thread */

static void on_signal(int number)
{
    (void)number;
    if (atomic_fetch_add(&count, 1) > 0)
        _exit(TC_EXIT_INTERRUPTED);
}

static void install(int number)
{
    struct sigaction action = {.sa_handler = on_signal}, before;
    sigemptyset(&action.sa_mask);
    if (sigaction(number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        (void)sigaction(number, &action, NULL);
}

bool tc_interrupted(void)
{
    if (!installed) {
        installed = true;
        install(SIGINT);
        install(SIGTERM);
    }
    return atomic_load(&count) > 0;
}

static void on_pipe(int number)
{
    (void)number;
    atomic_store(&reader_gone, true);
}

void tc_reader_watch(void)
{
    struct sigaction action = {.sa_handler = on_pipe, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    (void)sigaction(SIGPIPE, &action, NULL);
}

bool tc_reader_is_gone(void)
{
    return atomic_load(&reader_gone);
}

void tc_interrupt_forget(void)
{
    atomic_store(&count, 0);
}

void tc_sleep(double seconds)
{
    struct timespec left = {.tv_sec = (time_t)seconds};
    left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
    while (!tc_interrupted() && nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}
