/* Whether the other threads sleep. See calm.h.
 *
 * Threads are looked at one after the other, and twice: one that sleeps both times, and was not
 * switched to in between, has slept from the first look at it to the second. Where that holds for
 * all of them, they all slept at the moment between the two rounds. */
#include "tikv/calm.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TASKS "/proc/self/task"
#define STATUS_SIZE_MAX 4096

pid_t calm_self(void)
{
    static _Thread_local pid_t self;
    if (self == 0)
        self = (pid_t)syscall(SYS_gettid);
    return self;
}

static bool is_excepted(pid_t id, const pid_t *except, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (except[i] == id)
            return true;
    }
    return id == calm_self();
}

static unsigned long number_behind(const char *status, const char *name)
{
    const char *at = strstr(status, name);
    return at == NULL ? 0 : strtoul(at + strlen(name), NULL, 10);
}

/* Whether a thread sleeps; one that has ended does, too. Adds how often it was switched to. */
static bool sleeps(const char *id, unsigned long *switches)
{
    char path[64];
    char status[STATUS_SIZE_MAX];
    snprintf(path, sizeof(path), TASKS "/%.20s/status", id);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, status, sizeof(status) - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return true;
    status[n] = '\0';
    const char *state = strstr(status, "State:\t");
    *switches += number_behind(status, "\nvoluntary_ctxt_switches:\t") +
                 number_behind(status, "nonvoluntary_ctxt_switches:\t");
    return state != NULL && strchr("RD", state[strlen("State:\t")]) == NULL;
}

/* One round: whether all sleep, and how often they were switched to so far. */
static bool look(const pid_t *except, size_t count, unsigned long *switches_out)
{
    bool calm = true;
    *switches_out = 0;
    DIR *tasks = opendir(TASKS);
    if (tasks == NULL)
        return true;
    for (struct dirent *one = readdir(tasks); one != NULL && calm; one = readdir(tasks)) {
        pid_t id = (pid_t)strtol(one->d_name, NULL, 10);
        if (id > 0 && !is_excepted(id, except, count))
            calm = sleeps(one->d_name, switches_out);
    }
    closedir(tasks);
    return calm;
}

bool calm_but_for(const pid_t *except, size_t count)
{
    unsigned long before = 0;
    unsigned long after = 0;
    return look(except, count, &before) && look(except, count, &after) && before == after;
}
