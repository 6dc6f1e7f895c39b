/* See store.h. This file: life, secret, scratch memory, registry; describe.c: keys in words. */
#include <assert.h>
#include <string.h>

#include "base/assert.h"
#include "codec/record.h"
#include "kv/retry.h"
#include "model/model_int.h"
#include "model/store_int.h"

#define STORE_FORMAT 1 /* of everything stored; a higher one was written by a newer tito */
#define VERSION_BITS 40
#define VERSION_ROOM_BITS                                                                          \
    12 /* writes of one record before its version leaves the block it began in */

static_assert(VERSION_BITS + VERSION_ROOM_BITS <= 52, "versions are exact in a double");

/* ---- life ---- */

ti_status ti_store_new(const ti_store_options *options, ti_store **store_out, ti_err *err)
{
    *store_out = NULL;
    ti_store *store = ti_alloc_zero(sizeof *store);
    if (store == NULL)
        return ti_err_no_memory(err);
    ti_status status;
    store->options = *options;
    store->options.name_space = TI_SLICE_NONE;
    if (store->options.lease_us <= 0)
        store->options.lease_us = TI_CATALOG_LEASE_US;
    TI_CHECK(ti_keyspace_init(&store->keyspace, options->name_space, err));
    TI_CHECK(ti_mutex_init(&store->mutex, TI_RANK_LEAF, err));
    status = ti_ahead_init(&store->ahead, err);
    if (status != TI_OK) {
        ti_mutex_destroy(&store->mutex);
        goto out;
    }
    options->env->random(options->env, &store->version_seed, sizeof store->version_seed);
    atomic_store(&store->refs, 1);
    *store_out = store;
    store = NULL;
out:
    ti_free(store);
    return status;
}

static void scratch_free(ti_scratch *scratch)
{
    ti_json_parser_free(&scratch->parser);
    ti_json_parser_free(&scratch->hydrated);
    ti_buf_free(&scratch->tuples);
    ti_buf_free(&scratch->value);
    ti_buf_free(&scratch->text);
    ti_arena_free(&scratch->arena);
    ti_free(scratch);
}

ti_store *ti_store_ref(ti_store *store)
{
    atomic_fetch_add(&store->refs, 1);
    return store;
}

void ti_store_unref(ti_store *store)
{
    if (atomic_fetch_sub(&store->refs, 1) > 1)
        return;
    while (store->scratches != NULL) {
        ti_scratch *scratch = store->scratches;
        store->scratches = scratch->next;
        scratch_free(scratch);
    }
    ti_ahead_free(&store->ahead);
    ti_mutex_destroy(&store->mutex);
    ti_free(store);
}

/* Takes every registered model of a scope (or, with all, of every scope) out and returns them as a
 * chain. */
static ti_model *registry_take(ti_store *store, uint64_t scope, bool all)
{
    ti_model *taken = NULL;
    ti_mutex_lock(&store->mutex);
    for (size_t i = 0; i < STORE_BUCKETS; i++) {
        ti_model **link = &store->models[i];
        while (*link != NULL) {
            ti_model *model = *link;
            if (!all && model->scope != scope) {
                link = &model->registry_next;
                continue;
            }
            *link = model->registry_next;
            model->registry_next = taken;
            taken = model;
        }
    }
    ti_mutex_unlock(&store->mutex);
    return taken;
}

static void unref_chain(ti_model *model)
{
    while (model != NULL) {
        ti_model *next = model->registry_next;
        ti_model_unref(model);
        model = next;
    }
}

void ti_store_close(ti_store *store)
{
    int open = TI_STORE_OPEN;
    if (!atomic_compare_exchange_strong(&store->state, &open, TI_STORE_CLOSED)) {
        atomic_store(&store->state, TI_STORE_CLOSED);
        return;
    }
    ti_catalog_detach(store->catalog, store->kv);
    store->catalog = NULL;
    store->kv = NULL;
}

void ti_store_free(ti_store *store)
{
    if (store == NULL)
        return;
    ti_store_close(store);
    unref_chain(registry_take(store, 0, true));
    ti_store_unref(store);
}

/* ---- opening ---- */

/* Reads a meta row into a; data NULL when there is none. */
static ti_status meta_get(ti_store *store, ti_txn *txn, ti_slice name, ti_arena *a,
                          ti_slice *payload_out, const ti_call *call, ti_err *err)
{
    *payload_out = TI_SLICE_NONE;
    ti_slice value;
    ti_slice key = ti_key_meta(&store->keyspace, a, name);
    if (key.data == NULL)
        return ti_err_no_memory(err);
    ti_status status = ti_txn_get(txn, key, a, &value, call, err);
    if (status == TI_NOT_FOUND)
        return TI_OK;
    TI_TRY(status);
    return ti_sealed_open(value, TI_SEALED_META, key, payload_out, err);
}

static ti_status meta_put(ti_store *store, ti_txn *txn, ti_slice name, ti_slice payload,
                          ti_arena *a, ti_err *err)
{
    ti_buf value;
    ti_status status;
    ti_buf_init(&value, TI_KEY_SIZE_MAX);
    ti_slice key = ti_key_meta(&store->keyspace, a, name);
    if (key.data == NULL)
        return ti_err_no_memory(err);
    TI_CHECK(ti_sealed_append(&value, TI_SEALED_META, key, payload, err));
    TI_CHECK(ti_txn_put(txn, key, ti_buf_slice(&value), err));
out:
    ti_buf_free(&value);
    return status;
}

/* The format is one little-endian 32-bit number. */
static ti_status open_format(ti_store *store, ti_txn *txn, ti_arena *a, const ti_call *call,
                             ti_err *err)
{
    ti_slice payload;
    const unsigned char mine[4] = {STORE_FORMAT, 0, 0, 0};
    TI_TRY(meta_get(store, txn, TI_SLICE("format"), a, &payload, call, err));
    if (payload.data == NULL)
        return meta_put(store, txn, TI_SLICE("format"),
                        (ti_slice){.data = (const char *)mine, .len = sizeof mine}, a, err);
    if (payload.len != sizeof mine)
        return ti_err_set(err, TI_CORRUPT, "the format row of the database has %zu bytes, not 4",
                          payload.len);
    const unsigned char *b = (const unsigned char *)payload.data;
    uint32_t format =
        (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    if (format != STORE_FORMAT)
        return ti_err_set(err, TI_UNSUPPORTED,
                          "the database has format %u, this tito reads format %d: use a newer tito",
                          format, STORE_FORMAT);
    return TI_OK;
}

static ti_status open_secret(ti_store *store, ti_txn *txn, ti_arena *a, const ti_call *call,
                             ti_err *err)
{
    ti_slice payload;
    TI_TRY(meta_get(store, txn, TI_SLICE("cursor_secret"), a, &payload, call, err));
    if (payload.data == NULL) {
        store->options.env->random(store->options.env, store->secret, sizeof store->secret);
        return meta_put(
            store, txn, TI_SLICE("cursor_secret"),
            (ti_slice){.data = (const char *)store->secret, .len = sizeof store->secret}, a, err);
    }
    if (payload.len != sizeof store->secret)
        return ti_err_set(err, TI_CORRUPT,
                          "the cursor secret of the database has %zu bytes, not %zu", payload.len,
                          sizeof store->secret);
    memcpy(store->secret, payload.data, payload.len);
    return TI_OK;
}

static ti_status open_meta(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    ti_store *store = context;
    ti_arena a;
    ti_status status;
    ti_arena_init(&a);
    TI_CHECK(open_format(store, txn, &a, call, err));
    TI_CHECK(open_secret(store, txn, &a, call, err));
out:
    ti_arena_free(&a);
    return status;
}

ti_status ti_store_open(ti_store *store, ti_kv *kv, const ti_call *call, ti_err *err)
{
    if (atomic_load(&store->state) != TI_STORE_NEW)
        return ti_err_set(err, TI_INVALID_STATE, "the database is open, or was closed");
    ti_slice prefix = {.data = store->keyspace.prefix, .len = store->keyspace.prefix_len};
    ti_require(ti_slice_equal(kv->options.prefix, prefix));
    TI_TRY(ti_kv_transact(kv, NULL, NULL, open_meta, store, NULL, call, err));
    bool shared = kv->engine->vt->shared(kv->engine);
    bool leased = store->options.lease_always || shared;
    atomic_store(&store->reads_ahead, store->options.ahead_always || shared);
    TI_TRY(ti_catalog_attach(kv, leased ? store->options.lease_us : 0, &store->catalog, err));
    store->kv = kv;
    atomic_store(&store->state, TI_STORE_OPEN);
    return TI_OK;
}

ti_status ti_store_kv(ti_store *store, ti_kv **kv_out, ti_err *err)
{
    *kv_out = NULL;
    int state = atomic_load(&store->state);
    if (state == TI_STORE_NEW)
        return ti_err_set(err, TI_INVALID_STATE, "the database is not open yet");
    if (state == TI_STORE_CLOSED)
        return ti_err_set(err, TI_CLOSED, "the database is closed");
    *kv_out = store->kv;
    return TI_OK;
}

/* ---- what others ask for ---- */

const ti_keyspace *ti_store_keyspace(const ti_store *store)
{
    return &store->keyspace;
}

const ti_env *ti_store_env(const ti_store *store)
{
    return store->options.env;
}

const ti_log *ti_store_log(const ti_store *store)
{
    return store->options.log;
}

const unsigned char *ti_store_secret(const ti_store *store)
{
    return store->secret;
}

void ti_store_set_event_sink(ti_store *store, const ti_event_sink *sink)
{
    store->sink = sink == NULL ? (ti_event_sink){0} : *sink;
}

uint64_t ti_store_first_version(ti_store *store)
{
    uint64_t n = atomic_fetch_add(&store->version_count, 1);
    uint64_t z = store->version_seed + n * 0x9e3779b97f4a7c15u; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z = z ^ (z >> 31);
    return ((z >> (64 - VERSION_BITS)) << VERSION_ROOM_BITS) + 1;
}

/* ---- scratch memory ---- */

static ti_scratch *scratch_new(void)
{
    ti_scratch *scratch = ti_alloc_zero(sizeof *scratch);
    if (scratch == NULL)
        return NULL;
    ti_json_parser_init(&scratch->parser);
    ti_json_parser_init_hydrated(&scratch->hydrated);
    ti_arena_init(&scratch->arena);
    ti_buf_init(&scratch->tuples, (size_t)TI_KEY_SIZE_MAX * 2 * TI_RECORD_ENTRIES_MAX);
    ti_buf_init(&scratch->value,
                (size_t)TI_DOCUMENT_SIZE_MAX + (size_t)TI_KEY_SIZE_MAX * TI_RECORD_ENTRIES_MAX);
    ti_buf_init(&scratch->text, TI_PAGE_SIZE_MAX);
    return scratch;
}

ti_status ti_store_take(ti_store *store, ti_scratch **scratch_out, ti_err *err)
{
    ti_mutex_lock(&store->mutex);
    ti_scratch *scratch = store->scratches;
    if (scratch != NULL) {
        store->scratches = scratch->next;
        store->scratch_count--;
    }
    ti_mutex_unlock(&store->mutex);
    if (scratch == NULL)
        scratch = scratch_new();
    *scratch_out = scratch;
    return scratch == NULL ? ti_err_no_memory(err) : TI_OK;
}

/* Empties a buffer; gives memory back that only a rare large document needed. */
static void tidy(ti_buf *b)
{
    if (b->capacity > (size_t)TI_DOCUMENT_SIZE_MAX)
        ti_buf_free(b);
    ti_buf_clear(b);
}

void ti_store_give(ti_store *store, ti_scratch *scratch)
{
    if (scratch == NULL)
        return;
    ti_arena_reset(&scratch->arena);
    tidy(&scratch->tuples);
    tidy(&scratch->value);
    tidy(&scratch->text);
    ti_mutex_lock(&store->mutex);
    bool keep = store->scratch_count < STORE_SCRATCH_MAX;
    if (keep) {
        scratch->next = store->scratches;
        store->scratches = scratch;
        store->scratch_count++;
    }
    ti_mutex_unlock(&store->mutex);
    if (!keep)
        scratch_free(scratch);
}

/* ---- registry ---- */

static ti_model **registry_bucket(ti_store *store, uint64_t scope, ti_slice table)
{
    return &store->models[(ti_hash_stable(table) ^ scope) % STORE_BUCKETS];
}

static ti_model **registry_find(ti_store *store, uint64_t scope, ti_slice table)
{
    ti_model **link = registry_bucket(store, scope, table);
    while (*link != NULL && !((*link)->scope == scope && ti_slice_equal((*link)->table, table)))
        link = &(*link)->registry_next;
    return link;
}

void ti_store_register(ti_store *store, ti_model *model)
{
    ti_model_ref(model);
    ti_mutex_lock(&store->mutex);
    ti_model **link = registry_find(store, model->scope, model->table);
    ti_model *old = *link;
    model->registry_next = old != NULL ? old->registry_next : NULL;
    *link = model;
    ti_mutex_unlock(&store->mutex);
    ti_model_unref(old);
}

ti_model *ti_store_lookup(ti_store *store, uint64_t scope, ti_slice table)
{
    ti_mutex_lock(&store->mutex);
    ti_model *model = *registry_find(store, scope, table);
    if (model != NULL)
        ti_model_ref(model);
    ti_mutex_unlock(&store->mutex);
    return model;
}

void ti_store_forget_scope(ti_store *store, uint64_t scope)
{
    unref_chain(registry_take(store, scope, false));
}
