/* Two kinds of clients on one cluster: the Rust one (tests/histories/rust, over the crate
 * tikv-client 0.4) reads what killed clients of ours leave, and ours what killed ones of it leave.
 *
 * The Rust client gives up after two and a half seconds of waiting, less than a lock lives, so it
 * is asked again until the bound. What it can not do at all is not asked of it (death.unread): to
 * recover an async commit for a read ("Failed to resolve lock", client-rust issues 528 and 561),
 * and to roll back a lock whose primary was never written (it takes TxnNotFound for an error).
 */
#include "tikv/killed_deaths.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#define SLACK_MS 2000
#define SHARED_MS 1500 /* of a machine that others use too, with a process to start */
#define ARGUMENTS_MAX 16
#define OUTPUT_SIZE 4096

extern char **environ;

static int64_t now_ms(void)
{
    return ti_env_mono_ns(ti_env_real()) / 1000000;
}

/* Skips the test where there is no Rust client. */
static void need_rust(void)
{
    if (access(TITO_RUST_CLIENT, X_OK) != 0)
        skip();
}

/* Starts it; *output_out is what it prints. Arguments end with NULL. */
static pid_t start_rust(const cluster *c, const char *const *arguments, int *output_out)
{
    const char *argv[ARGUMENTS_MAX + 3] = {TITO_RUST_CLIENT, c->pd[0]};
    size_t n = 2;
    int out[2];
    pid_t pid = 0;
    for (size_t i = 0; arguments[i] != NULL; i++) {
        assert_true(i < ARGUMENTS_MAX);
        argv[n++] = arguments[i];
    }
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, out[1], 2);
    int failed =
        posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    assert_int_equal(failed, 0);
    close(out[1]);
    *output_out = out[0];
    return pid;
}

/* Reads until the end, or until the text is there. */
static void read_output(int fd, const char *until, char *text, size_t size)
{
    size_t len = 0;
    text[0] = '\0';
    for (ssize_t got = 1; got > 0 && len + 1 < size && (until == NULL || !strstr(text, until));) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (poll(&ready, 1, 60000) != 1)
            fail_msg("the Rust client says nothing");
        got = read(fd, text + len, size - 1 - len);
        len += got > 0 ? (size_t)got : 0;
        text[len] = '\0';
    }
}

/* ---- It reads ---- */

/* The value behind "KEY " at the beginning of a line of its output, cut off there; NULL: nothing.
 */
static const char *value_in(char *output, const char *key)
{
    size_t len = strlen(key);
    for (char *line = output; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, len) != 0 || line[len] != ' ' || line[len + 1] == '\n')
            continue;
        line[strcspn(line, "\n")] = '\0';
        return line + len + 1;
    }
    return NULL;
}

/* One try; false when it failed, with what it said in output. */
static bool rust_reads(const cluster *c, const death *d, char output[OUTPUT_SIZE])
{
    char keys[DEATH_KEYS][DEATH_KEY_SIZE];
    char outputs[DEATH_KEYS][OUTPUT_SIZE];
    const char *values[DEATH_KEYS];
    int fd = -1;
    int status = 0;
    for (int i = 0; i < DEATH_KEYS; i++)
        death_key(d, 'r', i, keys[i]);
    const char *arguments[] = {"read", keys[2], keys[1], keys[0], NULL};
    pid_t pid = start_rust(c, arguments, &fd);
    read_output(fd, NULL, output, OUTPUT_SIZE);
    close(fd);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return false;
    for (int i = 0; i < DEATH_KEYS; i++) {
        memcpy(outputs[i], output, OUTPUT_SIZE);
        values[i] = value_in(outputs[i], keys[i]);
    }
    death_check(d, "the Rust client", values);
    return true;
}

static void rust_reads_on(const cluster *c, const death *d, int64_t died_ms)
{
    char output[OUTPUT_SIZE];
    int64_t over_ms = died_ms + death_ttl_ms(d);
    while (now_ms() < over_ms) { /* it is of no use before */
        if (d->mode == DEATH_PESSIMISTIC && rust_reads(c, d, output))
            return;
        usleep(50000);
    }
    int64_t until_ms = now_ms() + SLACK_MS + SHARED_MS;
    while (!rust_reads(c, d, output)) {
        if (now_ms() > until_ms)
            fail_msg("%s: the Rust client can not read on: %s", d->name, output);
        usleep(50000);
    }
}

static void the_rust_client_reads_on(void **state)
{
    cluster c;
    int64_t died_ms[64];
    (void)state;
    need_rust();
    deaths_begin(&c);
    for (size_t i = 0; i < deaths_long_count; i++)
        if (!deaths_long[i].unread)
            died_ms[deaths_short_count + i] = death_happens(&c, &deaths_long[i], 'r') / 1000000;
    for (size_t i = 0; i < deaths_short_count; i++)
        if (!deaths_short[i].unread)
            died_ms[i] = death_happens(&c, &deaths_short[i], 'r') / 1000000;
    for (size_t i = 0; i < deaths_short_count; i++)
        if (!deaths_short[i].unread)
            rust_reads_on(&c, &deaths_short[i], died_ms[i]);
    for (size_t i = 0; i < deaths_long_count; i++)
        if (!deaths_long[i].unread)
            rust_reads_on(&c, &deaths_long[i], died_ms[deaths_short_count + i]);
    cluster_stop(&c);
}

/* ---- It dies ---- */

typedef struct rust_death {
    const char *verb;
    const char *dropped; /* requests of that kind are not applied … */
    int region;          /* … by the store that leads this region; -1: by all */
    bool found;
    int64_t ttl_ms;
} rust_death;

static const rust_death rust_deaths[] = {
    {"lock", NULL, 0, false, 20000},       {"put", "Commit", -1, false, 3000},
    {"put", "Commit", 2, true, 3000},      {"put", "Prewrite", 2, false, 3000},
    {"put", "Prewrite", 0, false, 3000},   {"async", "Commit", -1, true, 3000},
    {"async", "Prewrite", 2, false, 3000},
};
#define RUST_DEATHS (sizeof(rust_deaths) / sizeof(rust_deaths[0]))

static void rust_key(size_t number, int region, char out[DEATH_KEY_SIZE])
{
    snprintf(out, DEATH_KEY_SIZE, "%c/rust%02d/%d", "anu"[region], (int)number, region);
}

/* Waits until the request that is dropped has come, and a little for the others. */
static void wait_for_drop(const cluster *c, uint64_t hits)
{
    for (int i = 0; i < 5000 && cluster_number(c, "fault_hits") == hits; i++)
        usleep(2000);
    assert_true(cluster_number(c, "fault_hits") > hits);
    usleep(200000);
}

static int64_t rust_dies(const cluster *c, size_t number)
{
    const rust_death *d = &rust_deaths[number];
    char keys[DEATH_KEYS][DEATH_KEY_SIZE];
    char output[64];
    char rule[256];
    int fd = -1;
    int status = 0;
    uint64_t hits = cluster_number(c, "fault_hits");
    for (int i = 0; i < DEATH_KEYS; i++)
        rust_key(number, i, keys[i]);
    const char *arguments[] = {d->verb, "new", keys[0], keys[1], keys[2], NULL};
    if (d->dropped != NULL) {
        snprintf(rule, sizeof(rule),
                 "{\"kind\":\"%s\",\"store\":%d,\"times\":-1,\"action\":\"drop_before\"}",
                 d->dropped, d->region < 0 ? 0 : (int)death_leader(d->region));
        cluster_fault(c, rule);
    }
    pid_t pid = start_rust(c, arguments, &fd);
    if (d->dropped != NULL)
        wait_for_drop(c, hits);
    else
        read_output(fd, "done\n", output, sizeof(output));
    close(fd);
    int64_t now = now_ms();
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFSIGNALED(status))
        fail_msg("death %d: the Rust client had ended: %d", (int)number, status);
    cluster_do(c, "/faults/clear");
    return now;
}

/* Reads, secondaries first, then writes. */
static void go_on(tk *t, size_t number, int64_t died_ms)
{
    const rust_death *d = &rust_deaths[number];
    char keys[DEATH_KEYS][DEATH_KEY_SIZE];
    int64_t began = now_ms();
    int64_t left_ms = died_ms + d->ttl_ms - began;
    int64_t bound_ms = (left_ms > 0 ? left_ms : 0) + SLACK_MS + SHARED_MS;
    ti_snapshot *s = tk_snapshot(t);
    for (int i = DEATH_KEYS - 1; i >= 0; i--) {
        rust_key(number, i, keys[i]);
        tk_expect_at(t, s, keys[i], d->found ? "new" : NULL);
    }
    t->vt->release(s);
    ti_commit_request request = {
        .start_ts = tk_now(t),
        .mutations = (ti_mutation[]){PUT(keys[0], "x"), PUT(keys[1], "x"), PUT(keys[2], "x")},
        .count = DEATH_KEYS};
    test_ok(tk_commit_within(t, &request, 60000000), &t->err);
    if (now_ms() - began > bound_ms)
        fail_msg("death %d (%s, %s): read and wrote after %d ms, bound %d ms", (int)number, d->verb,
                 d->dropped != NULL ? d->dropped : "", (int)(now_ms() - began), (int)bound_ms);
}

static void ours_goes_on_after_the_rust_client(void **state)
{
    cluster c;
    tk t;
    int64_t died_ms[RUST_DEATHS];
    (void)state;
    need_rust();
    deaths_begin(&c);
    for (size_t i = 0; i < RUST_DEATHS; i++)
        died_ms[i] = rust_dies(&c, i);
    tk_open(&t, &c);
    for (size_t i = RUST_DEATHS; i-- > 0;)
        go_on(&t, i, died_ms[i]);
    tk_end(&t);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rust_client_reads_on),
        cmocka_unit_test(ours_goes_on_after_the_rust_client),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return TEST_RUN(tests);
}
