/* TLS of the real wire: gRPC credentials from certificates and keys, anew when a file changes, and
 * the words for a refused handshake. See wire.h (refresh, diagnose) and base/tls.h.
 *
 *   look (at most each LOOK_NS): read ─ same ─> nothing
 *                                  └ changed ─ usable ──> new credentials, for new channels
 *                                            └ not ─────> a warning, once; the old ones stay
 *
 * gRPC reads no file here and keeps the credentials that a channel was made with, so new ones come
 * with new channels; connections that stand are not touched.
 *
 * INVARIANTS
 *  1. Credentials are never given up for worse: what can not be read or does not fit together (a
 *     key that has been replaced before its certificate) changes nothing.
 *  2. Without TLS nothing of this is used but the probe, which then asks whether the server wants
 *     TLS. */
#include <grpc/grpc_security.h>
#include <stdatomic.h>
#include <string.h>

#include "base/assert.h"
#include "base/tls.h"
#include "tikv/grpc_int.h"

#define LOOK_NS INT64_C(1000000000)
#define PROBE_WITHIN_NS INT64_C(2000000000)
/* For how long the words about an address are good, and nobody asks again. */
#define WORDS_NS INT64_C(5000000000)
#define WORDS_MAX 8
#define ADDRESS_SIZE 272

/* What a probe has found out about an address; while one is on its way, nothing (err OK). */
typedef struct words {
    char address[ADDRESS_SIZE];
    int64_t until_ns;
    ti_err err;
} words;

struct ti_grpc_tls {
    const ti_env *env;
    const ti_log *log;
    ti_tls_source source; /* all empty: no TLS. Owned copies, wiped */
    char *server_name;    /* owned; NULL: the host's */
    bool has_files;       /* something can change */
    _Atomic(int64_t) look_ns;
    ti_mutex mutex;                            /* rank TI_RANK_LEAF: all below */
    ti_tls_texts texts;                        /* in use */
    unsigned char refused[TI_TLS_DIGEST_SIZE]; /* the last texts that could not be used */
    words words[WORDS_MAX];
};

/* ---- Making ---- */

static ti_status copy_slice(ti_slice from, ti_slice *to, ti_err *err)
{
    *to = TI_SLICE_NONE;
    if (from.len == 0)
        return TI_OK;
    char *copy = ti_alloc(from.len);
    if (copy == NULL)
        return ti_err_no_memory(err);
    memcpy(copy, from.data, from.len);
    *to = (ti_slice){.data = copy, .len = from.len};
    return TI_OK;
}

static void free_slice(ti_slice *s)
{
    if (s->data != NULL)
        explicit_bzero((char *)(uintptr_t)s->data, s->len);
    ti_free((char *)(uintptr_t)s->data);
    *s = TI_SLICE_NONE;
}

static bool is_file(ti_slice given)
{
    return given.len > 0 && !ti_tls_is_text(given);
}

static ti_status copy_source(ti_grpc_tls *t, const ti_wire_tls *given, ti_err *err)
{
    TI_TRY(copy_slice(given->ca, &t->source.ca, err));
    TI_TRY(copy_slice(given->cert, &t->source.cert, err));
    TI_TRY(copy_slice(given->key, &t->source.key, err));
    if (given->server_name.len > 0) {
        t->server_name = ti_alloc_zero(given->server_name.len + 1);
        if (t->server_name == NULL)
            return ti_err_no_memory(err);
        memcpy(t->server_name, given->server_name.data, given->server_name.len);
    }
    t->has_files = is_file(given->ca) || is_file(given->cert) || is_file(given->key);
    return TI_OK;
}

static grpc_channel_credentials *make_credentials(const ti_tls_texts *texts)
{
    grpc_ssl_pem_key_cert_pair pair = {.private_key = texts->key, .cert_chain = texts->cert};
    return grpc_ssl_credentials_create_ex(texts->ca, texts->cert != NULL ? &pair : NULL, NULL,
                                          NULL);
}

static bool wants_tls(const ti_grpc_tls *t)
{
    return t->source.ca.len > 0 || t->source.cert.len > 0 || t->source.key.len > 0;
}

static ti_status first_credentials(ti_grpc_tls *t, grpc_channel_credentials **credentials_out,
                                   ti_err *err)
{
    if (!wants_tls(t)) {
        *credentials_out = grpc_insecure_credentials_create();
        return TI_OK;
    }
    TI_TRY(ti_tls_read(&t->source, &t->texts, err));
    TI_TRY(ti_tls_check(&t->texts, err));
    *credentials_out = make_credentials(&t->texts);
    return *credentials_out != NULL
               ? TI_OK
               : ti_err_set(err, TI_INVALID_ARGUMENT, "the TLS certificates can not be used");
}

ti_status ti_grpc_tls_create(const ti_env *env, const ti_wire_options *options,
                             ti_grpc_tls **tls_out, grpc_channel_credentials **credentials_out,
                             ti_err *err)
{
    *tls_out = NULL;
    *credentials_out = NULL;
    ti_grpc_tls *t = ti_alloc_zero(sizeof(*t));
    if (t == NULL)
        return ti_err_no_memory(err);
    t->env = env;
    t->log = options->log;
    atomic_store(&t->look_ns, ti_env_mono_ns(env) + LOOK_NS);
    ti_status status = ti_mutex_init(&t->mutex, TI_RANK_LEAF, err);
    if (status != TI_OK) {
        ti_free(t);
        return status;
    }
    status = copy_source(t, &options->tls, err);
    if (status == TI_OK)
        status = first_credentials(t, credentials_out, err);
    if (status != TI_OK)
        ti_grpc_tls_free(t);
    else
        *tls_out = t;
    return status;
}

void ti_grpc_tls_free(ti_grpc_tls *t)
{
    if (t == NULL)
        return;
    ti_tls_texts_free(&t->texts);
    free_slice(&t->source.ca);
    free_slice(&t->source.cert);
    free_slice(&t->source.key);
    ti_free(t->server_name);
    ti_mutex_destroy(&t->mutex);
    ti_free(t);
}

const char *ti_grpc_tls_server_name(const ti_grpc_tls *t)
{
    return t->server_name;
}

/* ---- Looking again ---- */

/* Takes over texts that differ from those in use; false when they are the same or no good. */
static bool take_over(ti_grpc_tls *t, ti_tls_texts *fresh)
{
    ti_err err;
    ti_mutex_lock(&t->mutex);
    bool same = memcmp(fresh->digest, t->texts.digest, TI_TLS_DIGEST_SIZE) == 0;
    bool known_bad = memcmp(fresh->digest, t->refused, TI_TLS_DIGEST_SIZE) == 0;
    ti_mutex_unlock(&t->mutex);
    if (same || known_bad)
        return false;
    bool good = ti_tls_check(fresh, &err) == TI_OK;
    ti_tls_texts old = *fresh;
    ti_mutex_lock(&t->mutex);
    if (good) {
        old = t->texts;
        t->texts = *fresh;
    } else {
        memcpy(t->refused, fresh->digest, TI_TLS_DIGEST_SIZE);
    }
    ti_mutex_unlock(&t->mutex);
    *fresh = old; /* the caller frees it */
    if (!good)
        ti_log_write(t->log, TI_LOG_WARN, "changed TLS files are not used: %s", err.message);
    return good;
}

grpc_channel_credentials *ti_grpc_tls_look(ti_grpc_tls *t)
{
    int64_t now_ns = ti_env_mono_ns(t->env);
    int64_t due_ns = atomic_load(&t->look_ns);
    if (!t->has_files || now_ns < due_ns ||
        !atomic_compare_exchange_strong(&t->look_ns, &due_ns, now_ns + LOOK_NS))
        return NULL;
    ti_tls_texts fresh;
    ti_err err;
    grpc_channel_credentials *credentials = NULL;
    if (ti_tls_read(&t->source, &fresh, &err) != TI_OK) {
        ti_log_write(t->log, TI_LOG_DEBUG, "TLS files can not be read again: %s", err.message);
    } else if (take_over(t, &fresh)) {
        ti_mutex_lock(&t->mutex); /* texts stay while it is held */
        credentials = make_credentials(&t->texts);
        ti_mutex_unlock(&t->mutex);
        ti_log_write(t->log, TI_LOG_INFO, "TLS files have changed: new connections use them");
    }
    ti_tls_texts_free(&fresh);
    return credentials;
}

/* ---- Words ---- */

/* The entry of address, or the oldest one emptied for it. The mutex is held. */
static words *entry_of(ti_grpc_tls *t, const char *address)
{
    words *oldest = &t->words[0];
    for (size_t i = 0; i < WORDS_MAX; i++) {
        if (strcmp(t->words[i].address, address) == 0)
            return &t->words[i];
        if (t->words[i].until_ns < oldest->until_ns)
            oldest = &t->words[i];
    }
    memset(oldest, 0, sizeof(*oldest));
    memcpy(oldest->address, address, strlen(address) + 1);
    return oldest;
}

/* Whether it is the caller's turn to ask; otherwise err is what is known, which may be nothing. */
static bool claim(ti_grpc_tls *t, const char *address, int64_t now_ns, ti_err *err)
{
    ti_mutex_lock(&t->mutex);
    words *entry = entry_of(t, address);
    bool mine = entry->until_ns <= now_ns;
    if (mine) {
        entry->until_ns = now_ns + WORDS_NS;
        ti_err_clear(&entry->err);
    } else {
        *err = entry->err;
    }
    ti_mutex_unlock(&t->mutex);
    return mine;
}

static ti_status copy_texts(ti_grpc_tls *t, ti_tls_texts *copy, ti_err *err)
{
    ti_mutex_lock(&t->mutex);
    ti_tls_source held = {.ca = ti_slice_of(t->texts.ca)};
    if (t->texts.cert != NULL) {
        held.cert = ti_slice_of(t->texts.cert);
        held.key = ti_slice_of(t->texts.key);
    }
    ti_status status = ti_tls_read(&held, copy, err); /* texts, no files: it only copies */
    ti_mutex_unlock(&t->mutex);
    return status;
}

ti_status ti_grpc_tls_diagnose(ti_grpc_tls *t, const char *address, const ti_call *call,
                               ti_err *err)
{
    int64_t now_ns = ti_env_mono_ns(t->env);
    ti_err_clear(err);
    if (strlen(address) >= ADDRESS_SIZE || !claim(t, address, now_ns, err))
        return err->status;
    int64_t until_ns = now_ns + PROBE_WITHIN_NS;
    ti_tls_texts texts = {0};
    bool tls = wants_tls(t);
    if (tls && copy_texts(t, &texts, err) != TI_OK)
        return TI_OK;
    ti_err_clear(err);
    ti_slice name = t->server_name != NULL ? ti_slice_of(t->server_name) : TI_SLICE_NONE;
    ti_tls_probe(t->env, address, name, tls ? &texts : NULL,
                 until_ns < call->deadline_ns ? until_ns : call->deadline_ns, err);
    ti_tls_texts_free(&texts);
    ti_mutex_lock(&t->mutex);
    entry_of(t, address)->err = *err;
    ti_mutex_unlock(&t->mutex);
    return err->status;
}
