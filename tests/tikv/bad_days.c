/* Bad days: what a user sees when the cluster is not there, is not one, or is ill. Each is a clear
 * error within the deadline, says the cause in words, and nothing is lost: what was written before
 * is there afterwards. TLS has a program of its own (tls.c); the close, too (crowd.c, life.c). */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include "tikv/tk.h"

#define SHORT_US 2000000
#define SLACK_MS 8000 /* a loaded machine */

/* ---- opening what is no cluster ---- */

/* Opens the addresses in the given time; the error has the words and comes in time. */
static void expect_no_open(const char *const *addresses, size_t count, int64_t timeout_us,
                           bool definite, const char *words)
{
    cluster c = {.pd_count = count};
    ti_engine *e = NULL;
    ti_err err;
    ti_err_clear(&err);
    for (size_t i = 0; i < count; i++)
        snprintf(c.pd[i], CLUSTER_ADDRESS_SIZE, "%s", addresses[i]);
    int64_t began = ti_env_mono_ns(ti_env_real());
    ti_status status = cluster_try_open(&c, NULL, timeout_us, &e, &err);
    int64_t took_ms = (ti_env_mono_ns(ti_env_real()) - began) / 1000000;
    if (status == TI_OK)
        fail_msg("%s was opened", addresses[0]);
    if (strstr(err.message, words) == NULL)
        fail_msg("'%s' is not in: %s", words, err.message);
    if (strstr(err.message, addresses[0]) == NULL)
        fail_msg("the address is not in: %s", err.message);
    if (definite)
        assert_int_equal(status, TI_INVALID_ARGUMENT);
    else
        assert_true(status == TI_UNAVAILABLE || status == TI_TIMEOUT);
    assert_true(took_ms <= timeout_us / 1000 + SLACK_MS);
    assert_null(e);
}

/* A TCP server on a free port that does one thing with each connection. */
typedef struct server {
    int fd;
    pthread_t thread;
    void (*serve)(int fd);
    char address[CLUSTER_ADDRESS_SIZE];
} server;

static void *run_server(void *context)
{
    server *s = context;
    int fd = -1;
    while ((fd = accept(s->fd, NULL, NULL)) >= 0) {
        s->serve(fd);
        close(fd);
    }
    return NULL;
}

static void server_start(server *s, void (*serve)(int fd))
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    s->serve = serve;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(s->fd >= 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(s->fd, 64), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&at, &len), 0);
    snprintf(s->address, sizeof(s->address), "127.0.0.1:%d", ntohs(at.sin_port));
    if (serve != NULL)
        assert_int_equal(pthread_create(&s->thread, NULL, run_server, s), 0);
}

static void server_stop(server *s)
{
    shutdown(s->fd, SHUT_RDWR);
    close(s->fd);
    if (s->serve != NULL)
        assert_int_equal(pthread_join(s->thread, NULL), 0);
}

static void serve_echo(int fd)
{
    char bytes[4096];
    ssize_t n = 0;
    struct timeval limit = {.tv_sec = 1};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0 &&
           send(fd, bytes, (size_t)n, MSG_NOSIGNAL) == n) {
    }
}

static void serve_nothing(int fd)
{
    (void)fd; /* it is closed at once */
}

static void serve_greeting(int fd)
{
    static const char hello[] = "220 mail.example ESMTP ready\r\n";
    send(fd, hello, sizeof(hello) - 1, MSG_NOSIGNAL);
    usleep(100000);
}

static void nobody_is_there(void **state)
{
    (void)state;
    server s;
    server_start(&s, NULL);
    shutdown(s.fd, SHUT_RDWR);
    close(s.fd); /* now the port is closed */
    const char *const addresses[] = {s.address, "127.0.0.1:1"};
    expect_no_open(addresses, 2, SHORT_US, false, "127.0.0.1:1 can not be reached");
    expect_no_open(addresses, 2, SHORT_US, false, "Connection refused");
    const char *const unknown[] = {"no-such-host.invalid:2379"};
    expect_no_open(unknown, 1, SHORT_US, false, "no-such-host.invalid:2379 can not be reached");
}

static void servers_of_another_kind(void **state)
{
    (void)state;
    server s;
    const struct {
        void (*serve)(int fd);
        const char *words;
    } kinds[] = {
        {serve_echo, "can not be reached"},
        {serve_nothing, "can not be reached"},
        {serve_greeting, "can not be reached"},
        {NULL, "did not answer in time"}, /* accepts and says nothing */
    };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        server_start(&s, kinds[i].serve);
        const char *const addresses[] = {s.address};
        expect_no_open(addresses, 1, SHORT_US, false, kinds[i].words);
        server_stop(&s);
    }
}

static void a_web_server_is_no_pd(void **state)
{
    (void)state;
    cluster c;
    cluster_start_mock(&c, &(cluster_options){.stores = 1});
    const char *const addresses[] = {c.control};
    expect_no_open(addresses, 1, 20000000, true, "is not a PD: it speaks HTTP/1");
    cluster_stop(&c);
}

/* The port of a store instead of PD's. */
static void a_store_is_no_pd(void **state)
{
    (void)state;
    cluster c;
    tk t;
    char address[CLUSTER_ADDRESS_SIZE];
    tk_begin(&t, &c);
    cluster_store_address(&c, address);
    const char *const addresses[] = {address};
    expect_no_open(addresses, 1, 20000000, true, "is not a PD: it knows no /pdpb.PD/GetMembers");
    tk_end(&t);
}

static void two_clusters(void **state)
{
    (void)state;
    cluster one;
    cluster two;
    cluster_start_mock(&one, &(cluster_options){.stores = 1});
    cluster_start_mock(&two, &(cluster_options){.stores = 1});
    cluster_do(&two, "/pd/cluster?id=4242");
    const char *const addresses[] = {two.pd[0], one.pd[0]};
    ti_engine *e = NULL;
    ti_err err;
    cluster both = {.pd_count = 2};
    for (size_t i = 0; i < 2; i++)
        snprintf(both.pd[i], CLUSTER_ADDRESS_SIZE, "%s", addresses[i]);
    test_status(cluster_try_open(&both, NULL, 20000000, &e, &err), TI_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "4242"));
    assert_non_null(strstr(err.message, "name endpoints of one cluster only"));
    cluster_stop(&one);
    cluster_stop(&two);
}

static void a_pd_without_leader(void **state)
{
    (void)state;
    cluster c;
    tk t;
    ti_ts ts = 0;
    cluster_start_mock(&c, &(cluster_options){.pds = 3, .stores = 1});
    cluster_do(&c, "/pd/leader?index=-1");
    const char *const addresses[] = {c.pd[0], c.pd[1], c.pd[2]};
    expect_no_open(addresses, 3, SHORT_US, false, "PD has no leader at the moment");
    cluster_do(&c, "/pd/leader?index=1");
    tk_open(&t, &c);
    tk_put(&t, "k", "before");
    cluster_do(&c, "/pd/leader?index=-1");
    ti_call call = tk_call(SHORT_US);
    ti_status status = t.vt->now(t.e, &ts, &call, &t.err);
    assert_true(status == TI_TIMEOUT || status == TI_UNAVAILABLE);
    assert_non_null(strstr(t.err.message, "leader"));
    cluster_do(&c, "/pd/leader?index=2");
    tk_expect(&t, "k", "before");
    tk_end(&t);
}

/* PD's leader takes requests and is silent: named by its address to whoever has no time to wait for
 * more, and left as soon as another leads. */
static void a_silent_pd(void **state)
{
    (void)state;
    cluster c;
    tk t;
    ti_ts ts = 0;
    cluster_start_mock(&c, &(cluster_options){.pds = 3, .stores = 1});
    tk_open(&t, &c);
    tk_put(&t, "k", "before");
    cluster_do(&c, "/pd/freeze?index=0");
    ti_call call = tk_call(SHORT_US / 2);
    test_status(t.vt->now(t.e, &ts, &call, &t.err), TI_TIMEOUT);
    assert_non_null(strstr(t.err.message, c.pd[0]));
    const char *const addresses[] = {c.pd[0]};
    expect_no_open(addresses, 1, SHORT_US, false, "did not answer in time");
    cluster_do(&c, "/pd/leader?index=1");
    int64_t began = ti_env_mono_ns(ti_env_real());
    ti_status status = TI_TIMEOUT;
    while (status == TI_TIMEOUT && ti_env_mono_ns(ti_env_real()) - began < INT64_C(30000000000)) {
        call = tk_call(SHORT_US / 2);
        status = t.vt->now(t.e, &ts, &call, &t.err);
    }
    test_ok(status, &t.err);
    tk_expect(&t, "k", "before");
    tk_end(&t);
}

/* ---- ill stores ---- */

static ti_status read_within(tk *t, ti_snapshot *s, const char *key, int64_t timeout_us)
{
    ti_slice value = TI_SLICE_NONE;
    return tk_read(t, s, key, timeout_us, &value);
}

/* A transient error that has the words, in time. */
static void expect_ill(tk *t, ti_status status, int64_t began, const char *words)
{
    int64_t took_ms = (ti_env_mono_ns(ti_env_real()) - began) / 1000000;
    if (status != TI_TIMEOUT && status != TI_UNAVAILABLE && status != TI_BUSY)
        fail_msg("%s instead of a transient error: %s", ti_status_name(status), t->err.message);
    if (strstr(t->err.message, words) == NULL)
        fail_msg("'%s' is not in: %s", words, t->err.message);
    assert_true(took_ms <= SHORT_US / 1000 + SLACK_MS);
}

static void all_stores_down(void **state)
{
    (void)state;
    cluster c;
    tk t;
    uint64_t ids[8];
    tk_begin(&t, &c);
    tk_put(&t, "k", "before");
    size_t n = cluster_stores(&c, ids, 8);
    for (size_t i = 0; i < n; i++)
        cluster_do(&c, "/store/stop?id=%d", (int)ids[i]);
    ti_snapshot *s = tk_snapshot(&t); /* PD is there */
    int64_t began = ti_env_mono_ns(ti_env_real());
    expect_ill(&t, read_within(&t, s, "k", SHORT_US), began, "127.0.0.1:");
    t.vt->release(s);
    ti_mutation put = PUT("k", "meanwhile");
    ti_commit_request request = {.start_ts = tk_now(&t), .mutations = &put, .count = 1};
    began = ti_env_mono_ns(ti_env_real());
    expect_ill(&t, tk_commit_within(&t, &request, SHORT_US), began, "can not be reached");
    for (size_t i = 0; i < n; i++)
        cluster_do(&c, "/store/start?id=%d", (int)ids[i]);
    tk_expect(&t, "k", "before");
    tk_put(&t, "k", "after");
    tk_expect(&t, "k", "after");
    tk_end(&t);
}

/* Keys of the others are served as ever; the dead one's when another leads them. */
static void one_store_down(void **state)
{
    (void)state;
    cluster c;
    tk t;
    uint64_t ids[8];
    tk_begin(&t, &c);
    assert_int_equal(cluster_stores(&c, ids, 8), 3);
    cluster_at_key(&c, "split", TI_SLICE("m"));
    cluster_do(&c, "/leader?key=61&store=%d", (int)ids[0]); /* "a" */
    cluster_do(&c, "/leader?key=7a&store=%d", (int)ids[1]); /* "z" */
    tk_put(&t, "a", "1");
    tk_put(&t, "z", "1");
    cluster_do(&c, "/store/stop?id=%d", (int)ids[0]);
    ti_snapshot *s = tk_snapshot(&t);
    int64_t began = ti_env_mono_ns(ti_env_real());
    for (int i = 0; i < 50; i++)
        tk_expect_at(&t, s, "z", "1");
    assert_true((ti_env_mono_ns(ti_env_real()) - began) / 1000000 < SLACK_MS);
    began = ti_env_mono_ns(ti_env_real());
    expect_ill(&t, read_within(&t, s, "a", SHORT_US), began, "");
    cluster_do(&c, "/leader?key=61&store=%d", (int)ids[2]);
    tk_expect_at(&t, s, "a", "1");
    t.vt->release(s);
    test_ok(tk_commit(&t, tk_now(&t), PUT("a", "2"), PUT("z", "2")), &t.err);
    tk_expect(&t, "a", "2");
    tk_end(&t);
}

#define STUCK 8

typedef struct stuck {
    tk t; /* the engine is the main thread's, the rest its own */
    pthread_t thread;
    ti_status status;
} stuck;

static void *read_from_the_silent(void *context)
{
    stuck *one = context;
    ti_snapshot *s = tk_snapshot(&one->t);
    one->status = read_within(&one->t, s, "a", SHORT_US + SHORT_US / 2);
    one->t.vt->release(s);
    return NULL;
}

/* A store takes requests and does not answer: who asks it is told so in time, by its address; who
 * asks others is served meanwhile, over the same handle. */
static void a_half_dead_store_holds_nobody_back(void **state)
{
    (void)state;
    cluster c;
    tk t;
    uint64_t ids[8];
    stuck all[STUCK];
    tk_begin(&t, &c);
    assert_int_equal(cluster_stores(&c, ids, 8), 3);
    cluster_at_key(&c, "split", TI_SLICE("m"));
    cluster_do(&c, "/leader?key=61&store=%d", (int)ids[0]); /* "a" */
    cluster_do(&c, "/leader?key=7a&store=%d", (int)ids[1]); /* "z" */
    tk_put(&t, "a", "1");
    tk_put(&t, "z", "1");
    ti_snapshot *s = tk_snapshot(&t);
    cluster_do(&c, "/store/freeze?id=%d", (int)ids[0]);
    for (size_t i = 0; i < STUCK; i++) {
        all[i] = (stuck){.t = {.e = t.e, .vt = t.vt, .cluster = &c}};
        ti_arena_init(&all[i].t.a);
        assert_int_equal(pthread_create(&all[i].thread, NULL, read_from_the_silent, &all[i]), 0);
    }
    usleep(100000); /* they wait by now */
    for (int i = 0; i < 50; i++)
        tk_expect_at(&t, s, "z", "1");
    int64_t began = ti_env_mono_ns(ti_env_real());
    expect_ill(&t, read_within(&t, s, "a", SHORT_US), began, "did not answer Get in time");
    assert_non_null(strstr(t.err.message, "store 127.0.0.1:"));
    for (size_t i = 0; i < STUCK; i++) {
        assert_int_equal(pthread_join(all[i].thread, NULL), 0);
        assert_int_equal(all[i].status, TI_TIMEOUT);
        ti_arena_free(&all[i].t.a);
    }
    cluster_do(&c, "/store/thaw?id=%d", (int)ids[0]);
    tk_expect_at(&t, s, "a", "1");
    t.vt->release(s);
    tk_end(&t);
}

/* What a store answers with for ever, and the words. */
static void write_against(const char *error, const char *words)
{
    cluster c;
    tk t;
    char rule[256];
    tk_begin(&t, &c);
    tk_put(&t, "k", "before");
    snprintf(rule, sizeof(rule),
             "{\"kind\":\"Prewrite\",\"action\":\"region_error\",\"error\":\"%s\",\"times\":-1}",
             error);
    cluster_fault(&c, rule);
    ti_mutation put = PUT("k", "meanwhile");
    ti_commit_request request = {.start_ts = tk_now(&t), .mutations = &put, .count = 1};
    int64_t began = ti_env_mono_ns(ti_env_real());
    ti_status status = tk_commit_within(&t, &request, SHORT_US);
    /* Unknown is true, too: the deadline may pass while the commit is under way once more. */
    if (status != TI_OUTCOME_UNKNOWN)
        expect_ill(&t, status, began, words);
    assert_non_null(strstr(t.err.message, words));
    tk_expect(&t, "k", "before"); /* reads go on, and nothing was applied */
    cluster_do(&c, "/faults/clear");
    tk_put(&t, "k", "after");
    tk_expect(&t, "k", "after");
    tk_end(&t);
}

static void a_full_disk(void **state)
{
    (void)state;
    write_against("DiskFull", "the disk of its store is full, free space there or add a store");
}

static void a_region_too_hot(void **state)
{
    (void)state;
    cluster c;
    tk t;
    write_against("ServerIsBusy", "its store has more to do than it can");
    tk_begin(&t, &c);
    tk_put(&t, "k", "before");
    ti_snapshot *s = tk_snapshot(&t);
    cluster_fault(&c, "{\"kind\":\"Get\",\"action\":\"region_error\",\"error\":\"ServerIsBusy\","
                      "\"times\":-1}");
    int64_t began = ti_env_mono_ns(ti_env_real());
    expect_ill(&t, read_within(&t, s, "k", SHORT_US), began, "ServerIsBusy");
    cluster_do(&c, "/faults/clear");
    tk_expect_at(&t, s, "k", "before");
    t.vt->release(s);
    tk_end(&t);
}

/* ---- clocks ---- */

typedef struct jumping {
    ti_env env;
    _Atomic(int64_t) ahead_us;
} jumping;

static int64_t jumping_wall(const ti_env *env)
{
    const jumping *j = (const jumping *)env;
    return ti_env_wall_us(ti_env_real()) + atomic_load(&((jumping *)(uintptr_t)j)->ahead_us);
}

static int64_t real_mono(const ti_env *env)
{
    (void)env;
    return ti_env_mono_ns(ti_env_real());
}

static void real_random(const ti_env *env, void *out, size_t len)
{
    (void)env;
    ti_env_random(ti_env_real(), out, len);
}

static void real_sleep(const ti_env *env, int64_t ns)
{
    (void)env;
    ti_env_sleep_ns(ti_env_real(), ns);
}

/* The wall clock of this machine steps by an hour and a day, forth and back: timestamps are PD's,
 * deadlines the monotonic clock's, so nobody notices; locks of the living are kept. */
static void a_clock_that_jumps(void **state)
{
    (void)state;
    static const int64_t steps_us[] = {0, INT64_C(3600000000), INT64_C(-3600000000),
                                       INT64_C(86400000000), INT64_C(-86400000000)};
    jumping j = {.env = {.wall_us = jumping_wall,
                         .mono_ns = real_mono,
                         .random = real_random,
                         .sleep_ns = real_sleep}};
    cluster c;
    cluster_start_mock(&c, &(cluster_options){0});
    tk t = {.cluster = &c};
    ti_slice endpoint = ti_slice_of(c.pd[0]);
    ti_tikv_options options = {.endpoints = &endpoint, .endpoint_count = 1};
    ti_call call = ti_call_within(&j.env, TK_CALL_US);
    test_ok(ti_tikv_open(&j.env, &options, &call, &t.e, &t.err), &t.err);
    t.vt = t.e->vt;
    ti_arena_init(&t.a);
    ti_ts last = 0;
    for (size_t i = 0; i < sizeof(steps_us) / sizeof(steps_us[0]); i++) {
        char value[16];
        ti_locks *locks = NULL;
        ti_locked locked;
        ti_slice key = TI_SLICE("k");
        atomic_store(&j.ahead_us, steps_us[i]);
        ti_lock_request lock = {.start_ts = tk_now(&t), .keys = &key, .count = 1};
        call = tk_call(TK_CALL_US);
        test_ok(t.vt->lock(t.e, &locks, &lock, &t.a, &locked, &call, &t.err), &t.err);
        atomic_store(&j.ahead_us, -steps_us[i]);
        snprintf(value, sizeof(value), "%zu", i);
        ti_mutation put = PUT("k", value);
        put.check_ts = locked.ts;
        ti_commit_request request = {
            .start_ts = lock.start_ts, .mutations = &put, .count = 1, .locks = locks};
        test_ok(tk_commit_within(&t, &request, TK_CALL_US), &t.err);
        t.vt->unlock(t.e, locks);
        assert_true(t.commit_ts > last);
        last = t.commit_ts;
        tk_expect(&t, "k", value);
    }
    tk_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_there),
        cmocka_unit_test(servers_of_another_kind),
        cmocka_unit_test(a_web_server_is_no_pd),
        cmocka_unit_test(a_store_is_no_pd),
        cmocka_unit_test(two_clusters),
        cmocka_unit_test(a_pd_without_leader),
        cmocka_unit_test(a_silent_pd),
        cmocka_unit_test(all_stores_down),
        cmocka_unit_test(one_store_down),
        cmocka_unit_test(a_full_disk),
        cmocka_unit_test(a_region_too_hot),
        cmocka_unit_test(a_clock_that_jumps),
        cmocka_unit_test(a_half_dead_store_holds_nobody_back),
    };
    return TEST_RUN(tests);
}
