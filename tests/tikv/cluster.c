/* The cluster under test. See cluster.h. */
#include "tikv/cluster.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define START_WAIT_MS 20000
#define OPEN_WAIT_US 20000000

extern char **environ;

bool cluster_is_own(void)
{
    const char *pd = getenv("TITO_TEST_PD");
    return pd != NULL && pd[0] != '\0';
}

/* ---- Starting and stopping ---- */

/* Reads the one line that the mock prints when it is ready. */
static void read_line(int fd, char *line, size_t size)
{
    size_t len = 0;
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    while (len + 1 < size) {
        if (poll(&ready, 1, START_WAIT_MS) != 1)
            fail_msg("the mock cluster does not start");
        if (read(fd, line + len, 1) != 1)
            fail_msg("the mock cluster ended at once");
        if (line[len++] == '\n')
            break;
    }
    line[len] = '\0';
}

/* Copies the text between two quotes behind *at and moves behind it; false when there is none. */
static bool next_text(const char **at, char *out, size_t size)
{
    const char *from = strchr(*at, '"');
    const char *to = from == NULL ? NULL : strchr(from + 1, '"');
    if (to == NULL || (size_t)(to - from) > size)
        return false;
    memcpy(out, from + 1, (size_t)(to - from - 1));
    out[to - from - 1] = '\0';
    *at = to + 1;
    return true;
}

static void read_addresses(cluster *c, const char *line)
{
    const char *at = strstr(line, "\"control\":");
    assert_non_null(at);
    at += strlen("\"control\":");
    assert_true(next_text(&at, c->control, sizeof(c->control)));
    at = strstr(line, "\"pd\":");
    assert_non_null(at);
    at += strlen("\"pd\":");
    while (c->pd_count < CLUSTER_PDS_MAX &&
           next_text(&at, c->pd[c->pd_count], CLUSTER_ADDRESS_SIZE))
        c->pd_count++;
    assert_true(c->pd_count > 0);
}

static void spawn(cluster *c, const char *const *argv, int *output_out)
{
    int in[2];
    int out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    int failed =
        posix_spawn(&c->pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    c->input = in[1];
    *output_out = out[0];
    if (failed != 0)
        fail_msg("%s can not be started: build the target mock_cluster", argv[0]);
}

void cluster_start_mock(cluster *c, const cluster_options *options)
{
    char pds[32];
    char stores[32];
    char line[4096];
    int output = -1;
    const char *program = getenv("TITO_TEST_MOCK");
    const char *argv[16] = {program != NULL ? program : TITO_MOCK_CLUSTER};
    size_t n = 1;
    memset(c, 0, sizeof(*c));
    snprintf(pds, sizeof(pds), "-pds=%d", options->pds > 0 ? options->pds : 1);
    snprintf(stores, sizeof(stores), "-stores=%d", options->stores > 0 ? options->stores : 3);
    argv[n++] = pds;
    argv[n++] = stores;
    if (options->strict)
        argv[n++] = "-strict-locks";
    if (options->extra != NULL)
        argv[n++] = options->extra;
    if (options->two_phase)
        argv[n++] = "-two-phase";
    const char *const tls[][2] = {
        {"-tls-ca", options->ca}, {"-tls-cert", options->cert}, {"-tls-key", options->key}};
    for (size_t i = 0; i < 3; i++) {
        if (tls[i][1] != NULL) {
            argv[n++] = tls[i][0];
            argv[n++] = tls[i][1];
        }
    }
    spawn(c, argv, &output);
    read_line(output, line, sizeof(line));
    close(output);
    read_addresses(c, line);
}

void cluster_start(cluster *c)
{
    if (!cluster_is_own()) {
        cluster_start_mock(c, &(cluster_options){0});
        return;
    }
    memset(c, 0, sizeof(*c));
    for (const char *at = getenv("TITO_TEST_PD"); at != NULL && c->pd_count < CLUSTER_PDS_MAX;) {
        const char *comma = strchr(at, ',');
        int len = comma != NULL ? (int)(comma - at) : (int)strlen(at);
        snprintf(c->pd[c->pd_count++], CLUSTER_ADDRESS_SIZE, "%.*s", len, at);
        at = comma != NULL ? comma + 1 : NULL;
    }
}

void cluster_stop(cluster *c)
{
    if (c->pid == 0)
        return;
    int status = 0;
    close(c->input);
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    c->pid = 0;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- The control port ---- */

static int control_connect(const cluster *c)
{
    char host[CLUSTER_ADDRESS_SIZE];
    snprintf(host, sizeof(host), "%s", c->control);
    char *colon = strrchr(host, ':');
    if (colon == NULL)
        fail_msg("this needs the mock cluster's control port");
    *colon = '\0';
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
    assert_int_equal(inet_pton(AF_INET, host, &to.sin_addr), 1);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

/* One request; the answer with its head in out. */
static void exchange(const cluster *c, const char *path, const char *body, char *out, size_t size)
{
    char request[2048];
    size_t len = 0;
    int fd = control_connect(c);
    int n = snprintf(request, sizeof(request),
                     "%s %s HTTP/1.0\r\nHost: mock\r\nContent-Length: %zu\r\n\r\n%s",
                     body != NULL ? "POST" : "GET", path, body != NULL ? strlen(body) : 0,
                     body != NULL ? body : "");
    assert_true(n > 0 && (size_t)n < sizeof(request));
    assert_int_equal(write(fd, request, (size_t)n), n);
    for (ssize_t got = 1; got > 0 && len + 1 < size; len += (size_t)got) {
        got = read(fd, out + len, size - 1 - len);
        assert_true(got >= 0);
    }
    out[len] = '\0';
    close(fd);
}

static bool is_granted(const char *answer)
{
    return strncmp(answer + strlen("HTTP/1.0"), " 200", 4) == 0;
}

bool cluster_ask(const cluster *c, const char *path)
{
    char out[4096];
    exchange(c, path, NULL, out, sizeof(out));
    return is_granted(out);
}

/* One request; the answer's body in out. Fails the test when it is refused. */
static void control(const cluster *c, const char *path, const char *body, char *out, size_t size)
{
    exchange(c, path, body, out, size);
    char *text = strstr(out, "\r\n\r\n");
    if (text == NULL || !is_granted(out))
        fail_msg("%s was refused: %s", path, out);
    memmove(out, text + 4, strlen(text + 4) + 1);
}

void cluster_do(const cluster *c, const char *format, ...)
{
    char path[1024];
    char out[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(path, sizeof(path), format, args);
    va_end(args);
    control(c, path, NULL, out, sizeof(out));
}

void cluster_fault(const cluster *c, const char *rule_json)
{
    char out[4096];
    control(c, "/fault", rule_json, out, sizeof(out));
}

void cluster_at_key(const cluster *c, const char *action, ti_slice key)
{
    char hex[512] = "";
    assert_true(key.len * 2 < sizeof(hex));
    for (size_t i = 0; i < key.len; i++)
        snprintf(hex + 2 * i, 3, "%02x", (unsigned char)key.data[i]);
    cluster_do(c, "/%s?key=%s", action, hex);
}

/* The text behind "name": in JSON; fails the test when there is none. */
static const char *value_of(const char *json, const char *name)
{
    char quoted[64];
    snprintf(quoted, sizeof(quoted), "\"%s\":", name);
    const char *at = strstr(json, quoted);
    if (at == NULL)
        fail_msg("no %s in %s", name, json);
    return at + strlen(quoted);
}

uint64_t cluster_count(const cluster *c, const char *name, const char *format, ...)
{
    char path[1024];
    char out[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(path, sizeof(path), format, args);
    va_end(args);
    control(c, path, NULL, out, sizeof(out));
    return strtoull(value_of(out, name), NULL, 10);
}

uint64_t cluster_number(const cluster *c, const char *name)
{
    char *out = malloc(CLUSTER_STATE_SIZE);
    assert_non_null(out);
    control(c, "/state", NULL, out, CLUSTER_STATE_SIZE);
    uint64_t number = strtoull(value_of(out, name), NULL, 10);
    free(out);
    return number;
}

size_t cluster_stores(const cluster *c, uint64_t *ids, size_t max)
{
    size_t count = 0;
    char *out = malloc(CLUSTER_STATE_SIZE);
    char id[CLUSTER_ADDRESS_SIZE];
    char address[CLUSTER_ADDRESS_SIZE];
    assert_non_null(out);
    control(c, "/state", NULL, out, CLUSTER_STATE_SIZE);
    const char *at = value_of(out, "stores");
    while (count < max && *at != '}' && next_text(&at, id, sizeof(id)) &&
           next_text(&at, address, sizeof(address)))
        ids[count++] = strtoull(id, NULL, 10);
    free(out);
    return count;
}

void cluster_store_address(const cluster *c, char address[CLUSTER_ADDRESS_SIZE])
{
    char *out = malloc(CLUSTER_STATE_SIZE);
    char id[CLUSTER_ADDRESS_SIZE];
    assert_non_null(out);
    control(c, "/state", NULL, out, CLUSTER_STATE_SIZE);
    const char *at = value_of(out, "stores");
    assert_true(next_text(&at, id, sizeof(id)));
    assert_true(next_text(&at, address, CLUSTER_ADDRESS_SIZE));
    free(out);
}

/* ---- Engines ---- */

ti_status cluster_try_open(const cluster *c, const ti_tikv_options *base, int64_t timeout_us,
                           ti_engine **engine_out, ti_err *err)
{
    ti_slice endpoints[CLUSTER_PDS_MAX];
    ti_tikv_options options = {0};
    if (base != NULL)
        options = *base;
    for (size_t i = 0; i < c->pd_count; i++)
        endpoints[i] = ti_slice_of(c->pd[i]);
    options.endpoints = endpoints;
    options.endpoint_count = c->pd_count;
    ti_call call = ti_call_within(ti_env_real(), timeout_us);
    return ti_tikv_open(ti_env_real(), &options, &call, engine_out, err);
}

ti_engine *cluster_open(const cluster *c)
{
    ti_engine *e = NULL;
    ti_err err;
    ti_err_clear(&err);
    test_ok(cluster_try_open(c, NULL, OPEN_WAIT_US, &e, &err), &err);
    return e;
}

uint64_t engine_number(ti_engine *e, const char *name)
{
    ti_buf out;
    ti_err err;
    ti_buf_init(&out, 65536);
    test_ok(e->vt->stats(e, &out, &err), &err);
    test_ok(ti_buf_append_slice(&out, (ti_slice){.data = "\0", .len = 1}, &err), &err);
    uint64_t number = strtoull(value_of(out.data, name), NULL, 10);
    ti_buf_free(&out);
    return number;
}
