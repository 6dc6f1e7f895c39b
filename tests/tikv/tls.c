/* TLS to PD and stores: good certificates, bad ones, and such that change while requests run.
 *
 * Each bad case is one row: how the servers are set up, what the client brings, and words that its
 * error must have. None may hang, none may end in a plain connection. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include "tikv/certs.h"
#include "tikv/tk.h"

#define OPEN_US 15000000

static char dir[TEST_DIR_SIZE];

static int make_certificates(void **state)
{
    (void)state;
    const cert_spec specs[] = {
        {.name = "ca", .authority = true},
        {.name = "other", .authority = true},
        {.name = "oldca", .authority = true, .from_s = -7200, .to_s = -3600},
        {.name = "server", .issuer = "ca", .names = "IP:127.0.0.1"},
        {.name = "byold", .issuer = "oldca", .names = "IP:127.0.0.1"},
        {.name = "elsewhere", .issuer = "ca", .names = "DNS:elsewhere.example"},
        {.name = "nameless", .issuer = "ca"},
        {.name = "expired", .issuer = "ca", .names = "IP:127.0.0.1", .from_s = -7200, .to_s = -60},
        {.name = "future", .issuer = "ca", .names = "IP:127.0.0.1", .from_s = 3600, .to_s = 7200},
        {.name = "itself", .names = "IP:127.0.0.1"},
        {.name = "forclients", .issuer = "ca", .names = "IP:127.0.0.1", .purpose = "clientAuth"},
        {.name = "client", .issuer = "ca", .purpose = "clientAuth"},
        {.name = "client2", .issuer = "ca", .purpose = "clientAuth"},
        {.name = "stranger", .issuer = "other"},
        {.name = "forservers", .issuer = "ca", .purpose = "serverAuth"},
        {.name = "oldclient", .issuer = "ca", .from_s = -7200, .to_s = -3600},
        {.name = "newclient", .issuer = "ca", .from_s = 3600, .to_s = 7200},
        {.name = "locked", .issuer = "ca", .passphrase = "sesame"},
    };
    test_dir_make(dir);
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++)
        certs_make(dir, &specs[i]);
    certs_write(certs_path(dir, "empty", "crt"), "");
    certs_write(certs_path(dir, "noise", "crt"),
                "-----BEGIN CERTIFICATE-----\nbm9pc2U=\n-----END CERTIFICATE-----\n");
    return 0;
}

static int remove_certificates(void **state)
{
    (void)state;
    test_dir_remove(dir);
    return 0;
}

static const char *crt(const char *name)
{
    return certs_path(dir, name, "crt");
}

static const char *key_of(const char *name)
{
    return certs_path(dir, name, "key");
}

/* What a client brings, by the names of certificates; NULL = not. */
static ti_tikv_options brings(const char *ca, const char *cert, const char *key)
{
    ti_tikv_options options = {0};
    if (ca != NULL)
        options.tls.ca = ti_slice_of(crt(ca));
    if (cert != NULL)
        options.tls.cert = ti_slice_of(crt(cert));
    if (key != NULL)
        options.tls.key = ti_slice_of(key_of(key));
    return options;
}

static void start(cluster *c, const char *server, const char *client_ca, const char *extra)
{
    cluster_options options = {.stores = 1, .extra = extra};
    if (server != NULL) {
        options.cert = crt(server);
        options.key = key_of(server);
        options.ca = client_ca != NULL ? crt(client_ca) : NULL;
    }
    cluster_start_mock(c, &options);
}

static void open_with(tk *t, cluster *c, const ti_tikv_options *options)
{
    memset(t, 0, sizeof(*t));
    t->cluster = c;
    test_ok(cluster_try_open(c, options, OPEN_US, &t->e, &t->err), &t->err);
    t->vt = t->e->vt;
    ti_arena_init(&t->a);
}

static void put_and_get(tk *t, const char *value)
{
    tk_put(t, "k", value);
    tk_expect(t, "k", value);
}

/* ---- good ---- */

static void works_by_path_and_by_text(void **state)
{
    (void)state;
    cluster c;
    tk t;
    start(&c, "server", "ca", NULL);
    ti_tikv_options by_path = brings("ca", "client", "client");
    open_with(&t, &c, &by_path);
    put_and_get(&t, "by path");
    tk_close(&t);
    char *ca = certs_read(crt("ca"));
    char *cert = certs_read(crt("client2"));
    char *key = certs_read(key_of("client2"));
    ti_tikv_options by_text = {
        .tls = {.ca = ti_slice_of(ca), .cert = ti_slice_of(cert), .key = ti_slice_of(key)}};
    open_with(&t, &c, &by_text);
    memset(ca, 'x', strlen(ca)); /* copied */
    memset(key, 'x', strlen(key));
    put_and_get(&t, "by text");
    tk_close(&t);
    free(ca);
    free(cert);
    free(key);
    assert_true(cluster_count(&c, "count", "/tls/peer?name=client") >= 2);
    assert_true(cluster_count(&c, "count", "/tls/peer?name=client2") >= 2);
    assert_int_equal(cluster_count(&c, "count", "/tls/peer?name="), 0);
    cluster_stop(&c);
}

static void works_without_client_certificate(void **state)
{
    (void)state;
    cluster c;
    tk t;
    start(&c, "server", NULL, NULL);
    ti_tikv_options options = brings("ca", NULL, NULL);
    open_with(&t, &c, &options);
    put_and_get(&t, "one-sided");
    tk_close(&t);
    cluster_stop(&c);
}

static void a_server_name_replaces_the_host(void **state)
{
    (void)state;
    cluster c;
    tk t;
    start(&c, "elsewhere", NULL, NULL);
    ti_tikv_options options = brings("ca", NULL, NULL);
    options.tls.server_name = TI_SLICE("elsewhere.example");
    open_with(&t, &c, &options);
    put_and_get(&t, "elsewhere");
    tk_close(&t);
    cluster_stop(&c);
}

/* ---- bad ---- */

/* The error is definite, soon, and has these words; nothing secret is in it. */
static void expect_refused(cluster *c, const ti_tikv_options *options, const char *words)
{
    ti_engine *e = NULL;
    ti_err err;
    ti_err_clear(&err);
    ti_status status = cluster_try_open(c, options, OPEN_US, &e, &err);
    if (status == TI_OK)
        fail_msg("opened, instead of: %s", words);
    if (strstr(err.message, words) == NULL)
        fail_msg("'%s' is not in: %s", words, err.message);
    assert_int_equal(status, TI_INVALID_ARGUMENT);
    assert_null(e);
    assert_null(strstr(err.message, "-----"));
}

/* ca, cert and key are names of certificates, "/…" a path as it is. */
typedef struct bad_case {
    const char *server; /* NULL: without TLS */
    const char *client_ca;
    const char *ca;
    const char *cert;
    const char *key;
    const char *words;
} bad_case;

static const bad_case bad_servers[] = {
    {"server", NULL, "other", NULL, NULL, "is not signed by an authority in option ca"},
    {"itself", NULL, "ca", NULL, NULL, "is not signed by an authority in option ca"},
    {"elsewhere", NULL, "ca", NULL, NULL, "is not for '127.0.0.1'"},
    {"nameless", NULL, "ca", NULL, NULL, "is not for '127.0.0.1'"},
    {"expired", NULL, "ca", NULL, NULL, "the server's certificate expired at 20"},
    {"future", NULL, "ca", NULL, NULL, "the server's certificate is not valid before 20"},
    {"byold", NULL, "oldca", NULL, NULL, "a certificate above the server's"},
    {"forclients", NULL, "ca", NULL, NULL, "is not made for servers"},
    {"server", NULL, NULL, NULL, NULL, "wants TLS: give option ca"},
    {NULL, NULL, "ca", NULL, NULL, "answers without TLS"},
    {"server", "ca", NULL, NULL, NULL, "wants TLS: give option ca"},
};

static const bad_case bad_clients[] = {
    {"server", "ca", "ca", NULL, NULL, "demands a client certificate: give options cert and key"},
    {"server", "ca", "ca", "stranger", "stranger", "does not know the authority of the client"},
    {"server", "ca", "ca", "forservers", "forservers", "refuses the client certificate"},
    {"server", "ca", "ca", "oldclient", "oldclient", "in option cert expired at 20"},
    {"server", "ca", "ca", "newclient", "newclient", "in option cert is not valid before 20"},
    {"server", "ca", "ca", "client", "client2", "does not belong to the certificate"},
    {"server", "ca", "ca", "locked", "locked", "is encrypted"},
    {"server", "ca", "ca", "client", NULL, "cert and key together"},
    {"server", "ca", "ca", NULL, "client", "cert and key together"},
    {"server", "ca", NULL, "client", "client", "needs option ca"},
    {"server", "ca", "absent", "client", "client", "can not be read: No such file"},
    {"server", "ca", "empty", "client", "client", "option ca has no readable certificate"},
    {"server", "ca", "noise", "client", "client", "option ca has no readable certificate"},
    {"server", "ca", "ca", "noise", "client", "option cert has no readable certificate"},
    {"server", "ca", "ca", "client", "absent", "the file of option key"},
};

static void run_cases(const bad_case *cases, size_t count)
{
    cluster c;
    for (size_t i = 0; i < count; i++) {
        const bad_case *k = &cases[i];
        bool same = i > 0 && cases[i - 1].server == k->server && /* by address: static texts */
                    cases[i - 1].client_ca == k->client_ca;
        if (!same && i > 0)
            cluster_stop(&c);
        if (!same)
            start(&c, k->server, k->client_ca, NULL);
        ti_tikv_options options = brings(k->ca, k->cert, k->key);
        expect_refused(&c, &options, k->words);
    }
    cluster_stop(&c);
}

static void bad_servers_are_named(void **state)
{
    (void)state;
    run_cases(bad_servers, sizeof(bad_servers) / sizeof(bad_servers[0]));
}

static void bad_clients_are_named(void **state)
{
    (void)state;
    run_cases(bad_clients, sizeof(bad_clients) / sizeof(bad_clients[0]));
}

/* What gRPC has to say of it does not appear on the host's standard error. */
static void nothing_is_written_beside_the_error(void **state)
{
    (void)state;
    cluster c;
    struct stat written;
    start(&c, "server", NULL, NULL);
    ti_tikv_options options = brings("other", NULL, NULL);
    const char *path = certs_path(dir, "stderr", "txt");
    int was = dup(STDERR_FILENO);
    int file = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);
    assert_true(was >= 0 && file >= 0);
    dup2(file, STDERR_FILENO);
    ti_engine *e = NULL;
    ti_err err;
    ti_status status = cluster_try_open(&c, &options, OPEN_US, &e, &err);
    dup2(was, STDERR_FILENO);
    assert_int_equal(status, TI_INVALID_ARGUMENT);
    assert_int_equal(fstat(file, &written), 0);
    if (written.st_size > 0 && getenv("GRPC_VERBOSITY") == NULL) {
        char text[400] = "";
        ssize_t len = pread(file, text, sizeof(text) - 1, 0);
        fail_msg("on stderr: %.*s", (int)len, text);
    }
    close(file);
    close(was);
    cluster_stop(&c);
}

/* TLS 1.2 refuses within the handshake, and with other words. */
static void an_older_server_is_understood(void **state)
{
    (void)state;
    cluster c;
    tk t;
    start(&c, "server", "ca", "-tls-12");
    ti_tikv_options good = brings("ca", "client", "client");
    open_with(&t, &c, &good);
    put_and_get(&t, "1.2");
    tk_close(&t);
    ti_tikv_options none = brings("ca", NULL, NULL);
    expect_refused(&c, &none, "may demand a client certificate");
    ti_tikv_options strange = brings("ca", "stranger", "stranger");
    expect_refused(&c, &strange, "client certificate in option cert");
    ti_tikv_options wrong = brings("other", "client", "client");
    expect_refused(&c, &wrong, "is not signed by an authority in option ca");
    cluster_stop(&c);
}

static void a_folder_is_no_certificate(void **state)
{
    (void)state;
    cluster c;
    start(&c, "server", NULL, NULL);
    ti_tikv_options options = {.tls = {.ca = ti_slice_of(dir)}};
    expect_refused(&c, &options, "Is a directory");
    cluster_stop(&c);
}

/* One endpoint that can not be used does not keep the others from it. */
static void a_bad_endpoint_beside_a_good_one(void **state)
{
    (void)state;
    cluster plain;
    cluster c;
    tk t;
    start(&plain, NULL, NULL, NULL);
    start(&c, "server", NULL, NULL);
    assert_int_equal(c.pd_count, 1);
    memcpy(c.pd[1], c.pd[0], sizeof(c.pd[0]));
    memcpy(c.pd[0], plain.pd[0], sizeof(c.pd[0]));
    c.pd_count = 2;
    ti_tikv_options options = brings("ca", NULL, NULL);
    open_with(&t, &c, &options);
    put_and_get(&t, "one of two");
    tk_close(&t);
    cluster_stop(&c);
    cluster_stop(&plain);
}

/* TLS at PD and none at the stores, or the other way round: reads fail within their deadline and
 * say why. */
static void expect_store_words(const char *extra, const ti_tikv_options *options, const char *words)
{
    cluster c;
    tk t;
    ti_slice value;
    start(&c, "server", NULL, extra);
    open_with(&t, &c, options);
    ti_snapshot *s = tk_snapshot(&t);
    ti_call call = tk_call(2000000);
    ti_status status = t.vt->get(s, TI_SLICE("k"), &t.a, &value, &call, &t.err);
    assert_true(status == TI_TIMEOUT || status == TI_UNAVAILABLE);
    if (strstr(t.err.message, words) == NULL)
        fail_msg("'%s' is not in: %s", words, t.err.message);
    t.vt->release(s);
    tk_close(&t);
    cluster_stop(&c);
}

static void stores_without_tls(void **state)
{
    (void)state;
    ti_tikv_options options = brings("ca", NULL, NULL);
    expect_store_words("-tls-stores=false", &options, "answers without TLS");
}

static void stores_that_want_tls(void **state)
{
    (void)state;
    expect_store_words("-tls-pd=false", NULL, "wants TLS");
}

/* ---- changing ---- */

/* Writes until stopped; counts what failed. */
typedef struct writer {
    cluster *cluster;
    ti_engine *e;
    pthread_t thread;
    _Atomic(bool) stop;
    _Atomic(int) written;
    _Atomic(int) failed;
    char why[TI_ERR_MESSAGE_SIZE];
} writer;

static void *write_on(void *context)
{
    writer *w = context;
    tk t = {.cluster = w->cluster, .e = w->e, .vt = w->e->vt};
    ti_arena_init(&t.a);
    while (!atomic_load(&w->stop)) {
        ti_ts now = TI_TS_NONE;
        ti_call call = tk_call(TK_CALL_US);
        ti_status status = t.vt->now(t.e, &now, &call, &t.err);
        if (status == TI_OK)
            status = tk_commit(&t, now, PUT("rotated", "x"));
        if (status == TI_OK)
            atomic_fetch_add(&w->written, 1);
        else if (status != TI_OUTCOME_UNKNOWN && atomic_fetch_add(&w->failed, 1) == 0)
            snprintf(w->why, sizeof(w->why), "%s", t.err.message);
    }
    ti_arena_free(&t.a);
    return NULL;
}

/* Waits until the writer has written so many more. */
static void await_writes(writer *w, int more)
{
    int until = atomic_load(&w->written) + more;
    for (int i = 0; i < 3000 && atomic_load(&w->written) < until; i++)
        usleep(10000);
    assert_true(atomic_load(&w->written) >= until);
}

static void copy_cert(const char *from, const char *to)
{
    char *text = certs_read(crt(from));
    certs_write(crt(to), text);
    free(text);
    text = certs_read(key_of(from));
    certs_write(key_of(to), text);
    free(text);
}

/* Closes every connection until one of the client with this certificate has come. */
static void await_peer(cluster *c, const char *name)
{
    for (int i = 0; i < 60; i++) {
        cluster_do(c, "/tls/drop");
        usleep(250000);
        if (cluster_count(c, "count", "/tls/peer?name=%s", name) > 0)
            return;
    }
    fail_msg("no connection with the new certificate of %s", name);
}

static void start_writer(writer *w, cluster *c, const ti_tikv_options *options)
{
    ti_err err;
    memset(w, 0, sizeof(*w));
    w->cluster = c;
    test_ok(cluster_try_open(c, options, OPEN_US, &w->e, &err), &err);
    assert_int_equal(pthread_create(&w->thread, NULL, write_on, w), 0);
    await_writes(w, 3);
}

static void stop_writer(writer *w)
{
    atomic_store(&w->stop, true);
    assert_int_equal(pthread_join(w->thread, NULL), 0);
    w->e->vt->unref(w->e);
    if (atomic_load(&w->failed) > 0)
        fail_msg("%d writes failed: %s", atomic_load(&w->failed), w->why);
}

static void a_changed_client_certificate_is_used(void **state)
{
    (void)state;
    cluster c;
    writer w;
    copy_cert("client", "mine");
    start(&c, "server", "ca", NULL);
    ti_tikv_options options = brings("ca", "mine", "mine");
    start_writer(&w, &c, &options);
    assert_int_equal(cluster_count(&c, "count", "/tls/peer?name=client2"), 0);
    copy_cert("client2", "mine");
    await_peer(&c, "client2");
    await_writes(&w, 3);
    stop_writer(&w);
    cluster_stop(&c);
}

/* The authority changes on both sides: first both are trusted, then the servers' certificate is
 * replaced, then the old authority goes. */
static void a_changed_authority_is_used(void **state)
{
    (void)state;
    cluster c;
    writer w;
    copy_cert("server", "current");
    char *old_ca = certs_read(crt("ca"));
    char *new_ca = certs_read(crt("other"));
    char both[16384];
    snprintf(both, sizeof(both), "%s%s", old_ca, new_ca);
    certs_write(crt("trusted"), old_ca);
    start(&c, "current", NULL, NULL);
    ti_tikv_options options = brings("trusted", NULL, NULL);
    start_writer(&w, &c, &options);
    certs_write(crt("trusted"), both);
    usleep(1200000);
    await_writes(&w, 3);
    certs_make(dir, &(cert_spec){.name = "next", .issuer = "other", .names = "IP:127.0.0.1"});
    copy_cert("next", "current");
    uint64_t before = cluster_count(&c, "count", "/tls/peer?name=");
    cluster_do(&c, "/tls/drop");
    await_writes(&w, 3);
    assert_true(cluster_count(&c, "count", "/tls/peer?name=") > before);
    certs_write(crt("trusted"), new_ca);
    usleep(1200000);
    cluster_do(&c, "/tls/drop");
    await_writes(&w, 3);
    stop_writer(&w);
    free(old_ca);
    free(new_ca);
    cluster_stop(&c);
}

static _Atomic(int) warnings;
static char warning[1100];

static void note_warning(void *context, ti_log_level level, const char *line)
{
    (void)context;
    if (level == TI_LOG_WARN && strstr(line, "TLS") != NULL && atomic_fetch_add(&warnings, 1) == 0)
        snprintf(warning, sizeof(warning), "%s", line);
}

/* A key that was replaced before its certificate, a file that is gone or cut: what works goes on.
 */
static void what_does_not_fit_changes_nothing(void **state)
{
    (void)state;
    cluster c;
    writer w;
    ti_log log = {.sink = note_warning, .level = TI_LOG_DEBUG};
    copy_cert("client", "torn");
    start(&c, "server", "ca", NULL);
    ti_tikv_options options = brings("ca", "torn", "torn");
    options.log = &log;
    atomic_store(&warnings, 0);
    start_writer(&w, &c, &options);
    char *key = certs_read(key_of("client2"));
    certs_write(key_of("torn"), key); /* the certificate comes later */
    usleep(1200000);
    cluster_do(&c, "/tls/drop");
    await_writes(&w, 3);
    assert_int_equal(unlink(crt("torn")), 0);
    usleep(1200000);
    cluster_do(&c, "/tls/drop");
    await_writes(&w, 3);
    assert_int_equal(atomic_load(&warnings), 1);
    assert_non_null(strstr(warning, "does not belong to the certificate"));
    key[strlen(key) / 2] = '\0';
    assert_null(strstr(warning, key + 40));
    copy_cert("client2", "torn"); /* now they fit */
    await_peer(&c, "client2");
    stop_writer(&w);
    free(key);
    cluster_stop(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(works_by_path_and_by_text),
        cmocka_unit_test(works_without_client_certificate),
        cmocka_unit_test(a_server_name_replaces_the_host),
        cmocka_unit_test(nothing_is_written_beside_the_error),
        cmocka_unit_test(bad_servers_are_named),
        cmocka_unit_test(bad_clients_are_named),
        cmocka_unit_test(an_older_server_is_understood),
        cmocka_unit_test(a_folder_is_no_certificate),
        cmocka_unit_test(a_bad_endpoint_beside_a_good_one),
        cmocka_unit_test(stores_without_tls),
        cmocka_unit_test(stores_that_want_tls),
        cmocka_unit_test(a_changed_client_certificate_is_used),
        cmocka_unit_test(a_changed_authority_is_used),
        cmocka_unit_test(what_does_not_fit_changes_nothing),
    };
    return test_finish(cmocka_run_group_tests(tests, make_certificates, remove_certificates));
}
