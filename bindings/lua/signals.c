/* SIGINT and SIGTERM while a worker runs.
 *
 *   signal ──> handler: count++, wake each watch's eventfd ──> the loops see it and stop
 *
 * INVARIANTS
 *  1. The handlers are installed with the first watch, and what was there before is restored with
 *     the last. A signal that was ignored stays ignored.
 *  2. The handler uses only atomics and write(). */
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { WATCHES_MAX = 64 };

static const int watched[] = {SIGINT, SIGTERM};
enum { WATCHED_COUNT = sizeof(watched) / sizeof(watched[0]) };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static size_t watch_count;                     /* under mutex */
static struct sigaction before[WATCHED_COUNT]; /* under mutex */
static bool replaced[WATCHED_COUNT];           /* under mutex */
static atomic_int descriptors[WATCHES_MAX];    /* fd + 1; 0: free */
static atomic_uint signal_count;

static void on_signal(int number)
{
    const uint64_t one = 1;
    int saved = errno;
    (void)number;
    atomic_fetch_add(&signal_count, 1);
    for (size_t i = 0; i < WATCHES_MAX; i++) {
        int fd = atomic_load(&descriptors[i]) - 1;
        if (fd >= 0 && write(fd, &one, sizeof(one)) < 0)
            continue; /* the count says it as well */
    }
    errno = saved;
}

/* mutex held. */
static void install(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < WATCHED_COUNT; i++) {
        replaced[i] = sigaction(watched[i], NULL, &before[i]) == 0 &&
                      before[i].sa_handler != SIG_IGN &&
                      sigaction(watched[i], &action, &before[i]) == 0;
    }
}

/* mutex held. */
static void restore(void)
{
    for (size_t i = 0; i < WATCHED_COUNT; i++)
        if (replaced[i])
            (void)sigaction(watched[i], &before[i], NULL);
}

bool tl_watch_begin(tl_watch *watch)
{
    bool found = false;
    *watch = (tl_watch){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (watch->fd < 0)
        return false;
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < WATCHES_MAX && !found; i++) {
        if (atomic_load(&descriptors[i]) != 0)
            continue;
        found = true;
        watch->slot = i;
        watch->count_before = atomic_load(&signal_count);
        atomic_store(&descriptors[i], watch->fd + 1);
        if (watch_count++ == 0)
            install();
    }
    pthread_mutex_unlock(&mutex);
    if (!found)
        close(watch->fd);
    return found;
}

void tl_watch_end(tl_watch *watch)
{
    pthread_mutex_lock(&mutex);
    if (--watch_count == 0)
        restore();
    atomic_store(&descriptors[watch->slot], 0);
    pthread_mutex_unlock(&mutex);
    close(watch->fd);
    watch->fd = -1;
}

unsigned tl_watch_count(const tl_watch *watch)
{
    return atomic_load(&signal_count) - watch->count_before;
}

void tl_watch_drain(const tl_watch *watch)
{
    uint64_t count;
    while (read(watch->fd, &count, sizeof(count)) > 0)
        continue;
}
