/* The plan of a run and its log, in files. See volume.h.
 *
 * A record is appended by one write to a file opened with O_APPEND: records of all processes are in
 * one order, none is torn. */
#include "queue/volume.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

void volume_path(const char *dir, const char *name, char out[VOLUME_PATH_SIZE])
{
    int len = snprintf(out, VOLUME_PATH_SIZE, "%s/%s", dir, name);
    assert_true(len > 0 && len < VOLUME_PATH_SIZE);
}

/* ---- the plan ---- */

static uint64_t mix(const volume_plan *plan, uint64_t number, uint64_t what)
{
    test_random r = {.state = plan->seed ^ (number * 8 + what) * UINT64_C(0xd1342543de82ef95)};
    return test_random_u64(&r);
}

uint32_t volume_key_of(const volume_plan *plan, uint64_t number)
{
    uint64_t of_each = plan->keys / plan->publishers;
    uint64_t publisher = (number - 1) % plan->publishers;
    return (uint32_t)(mix(plan, number, 1) % of_each * plan->publishers + publisher);
}

bool volume_is_bad(const volume_plan *plan, uint64_t number)
{
    return plan->bad_in > 0 && mix(plan, number, 2) % plan->bad_in == 0;
}

bool volume_has_due(const volume_plan *plan, uint32_t key)
{
    return plan->due_in > 0 && mix(plan, key, 3) % plan->due_in == 0;
}

uint64_t volume_share(const volume_plan *plan, uint32_t publisher)
{
    return (plan->numbers + plan->publishers - 1 - publisher) / plan->publishers;
}

uint64_t volume_number(const volume_plan *plan, uint32_t publisher, uint64_t i)
{
    return i * plan->publishers + publisher + 1;
}

void volume_plan_write(const char *dir, const volume_plan *plan)
{
    char path[VOLUME_PATH_SIZE];
    volume_path(dir, "plan", path);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_int_equal(fwrite(plan, sizeof(*plan), 1, out), 1);
    assert_int_equal(fclose(out), 0);
}

void volume_plan_read(const char *dir, volume_plan *plan)
{
    char path[VOLUME_PATH_SIZE];
    volume_path(dir, "plan", path);
    FILE *in = fopen(path, "r");
    if (in == NULL || fread(plan, sizeof(*plan), 1, in) != 1)
        abort();
    fclose(in);
}

/* ---- the log ---- */

int64_t volume_real_us(void)
{
    struct timespec now;
    if (syscall(SYS_clock_gettime, CLOCK_REALTIME, &now) != 0)
        abort();
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int volume_log_open(const char *dir)
{
    char path[VOLUME_PATH_SIZE];
    volume_path(dir, "log", path);
    int log = open(path, O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0600);
    if (log < 0)
        abort();
    return log;
}

void volume_log_add(int log, volume_record record)
{
    record.real_us = volume_real_us();
    if (write(log, &record, sizeof(record)) != (ssize_t)sizeof(record))
        abort();
}

volume_record *volume_log_read(const char *dir, size_t *count_out)
{
    char path[VOLUME_PATH_SIZE];
    struct stat st;
    volume_path(dir, "log", path);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    assert_int_equal(fstat(fileno(in), &st), 0);
    assert_int_equal((size_t)st.st_size % sizeof(volume_record), 0);
    *count_out = (size_t)st.st_size / sizeof(volume_record);
    volume_record *log = calloc(*count_out + 1, sizeof(*log));
    assert_non_null(log);
    assert_int_equal(fread(log, sizeof(*log), *count_out, in), *count_out);
    fclose(in);
    return log;
}
