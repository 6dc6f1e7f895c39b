/* SIGKILL under load, through models: what was acknowledged is there with every index entry it has,
 * what was not is there as a whole or not at all, and check finds nothing.
 *
 * Transaction n of thread t:
 *
 *   left   save    head-t       {n}
 *                               entries move: number, covering, list, condition, unique
 *   left   build   row-t-n
 *   right  build   row-t-n
 *   both   delete  row-t-(n-1)  unless n - 1 is one of every KEPT_EVERY
 *   left   patch   the last row kept
 *
 * So after a crash that left head-t at n, exactly the rows that are kept and row-t-n are there, in
 * both tables and in every index. */
#include "crash/life.h"

#include <inttypes.h>

#include "base/assert.h"
#include "base/thread.h"
#include "json/json.h"
#include "kv/retry.h"
#include "model/maintenance.h"
#include "query/query.h"

#define KEPT_EVERY 8
#define TIMEOUT_US 120000000

static const char left_spec[] =
    "{\"table\":\"left\",\"indexes\":["
    "{\"name\":\"by_n\",\"fields\":[{\"name\":\"n\",\"type\":\"number\"}]},"
    "{\"name\":\"even\",\"where\":{\"even\":true},\"fields\":[{\"name\":\"thread\",\"type\":"
    "\"number\"}]},"
    "{\"name\":\"by_tag\",\"sparse\":true,\"fields\":[{\"name\":\"tags\",\"type\":\"string\"}]},"
    "{\"name\":\"cover\",\"covering\":true,\"fields\":[{\"name\":\"thread\",\"type\":\"number\"},"
    "{\"name\":\"n\",\"type\":\"number\",\"order\":\"desc\"}]}],"
    "\"unique_indexes\":[{\"name\":\"by_slug\",\"fields\":[{\"name\":\"slug\",\"type\":"
    "\"string\"}]}]}";
static const char right_spec[] =
    "{\"table\":\"right\",\"indexes\":[{\"name\":\"by_thread\",\"fields\":[{\"name\":\"thread\","
    "\"type\":\"number\"},{\"name\":\"n\",\"type\":\"number\"}]}]}";

/* An open database with its two tables. */
typedef struct db {
    ti_kv kv;
    ti_store *store;
    ti_model *left;
    ti_model *right;
} db;

typedef struct writer {
    const life *l;
    db *d;
    ti_thread thread;
    uint32_t number; /* of the thread */
    uint32_t at;     /* the number it has come to */
} writer;

static void must(ti_status status, const ti_err *err)
{
    if (status != TI_OK)
        fprintf(stderr, "%s: %s\n", ti_status_name(status), err->message);
    ti_require(status == TI_OK);
}

static void db_open(const life *l, db *d)
{
    const ti_env *env = ti_env_real();
    const ti_store_options options = {.env = env, .name_space = TI_SLICE("")};
    ti_call call = ti_call_within(env, TIMEOUT_US);
    ti_err err;
    must(ti_store_new(&options, &d->store, &err), &err);
    const ti_keyspace *ks = ti_store_keyspace(d->store);
    const ti_kv_options kv_options = {.prefix = {.data = ks->prefix, .len = ks->prefix_len},
                                      .describe = ti_store_describe_key,
                                      .describe_context = d->store};
    must(ti_kv_open(&d->kv, life_open(l), &kv_options, &err), &err);
    must(ti_store_open(d->store, &d->kv, &call, &err), &err);
    must(ti_model_declare(d->store, 0, TI_SLICE(left_spec), &d->left, &err), &err);
    must(ti_model_declare(d->store, 0, TI_SLICE(right_spec), &d->right, &err), &err);
}

static void db_close(db *d)
{
    ti_model_unref(d->left);
    ti_model_unref(d->right);
    ti_store_free(d->store);
    ti_kv_close(&d->kv);
}

/* ---- the child that works ---- */

typedef struct text {
    char bytes[200];
} text;

static ti_slice say(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static ti_slice say(text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(t->bytes, sizeof t->bytes, format, args);
    va_end(args);
    ti_require(len > 0 && (size_t)len < sizeof t->bytes);
    return (ti_slice){.data = t->bytes, .len = (size_t)len};
}

static ti_slice row_id(text *t, uint32_t thread, uint32_t n)
{
    return say(t, "row-%u-%u", thread, n);
}

static ti_slice left_document(text *t, const char *id, uint32_t thread, uint32_t n)
{
    return say(t,
               "{\"id\":\"%s\",\"thread\":%u,\"n\":%u,\"even\":%s,\"slug\":\"%s %u\",\"tags\":["
               "\"all\",\"t%u\"]}",
               id, thread, n, n % 2 == 0 ? "true" : "false", id, n, n % 5);
}

static ti_status delete_row(const writer *w, ti_txn *txn, uint32_t n, const ti_call *call,
                            ti_err *err)
{
    text id;
    bool existed;
    ti_slice name = row_id(&id, w->number, n);
    TI_TRY(ti_model_delete(w->d->left, txn, name, NULL, &existed, call, err));
    ti_require(existed);
    TI_TRY(ti_model_delete(w->d->right, txn, name, NULL, &existed, call, err));
    ti_require(existed);
    return TI_OK;
}

static ti_status write_number(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    const writer *w = context;
    ti_arena *a = ti_txn_arena(txn);
    uint32_t n = w->at;
    uint32_t kept = n - n % KEPT_EVERY;
    text id;
    text t;
    (void)say(&id, "head-%u", w->number);
    TI_TRY(ti_model_save(w->d->left, txn, left_document(&t, id.bytes, w->number, n), NULL, a, NULL,
                         call, err));
    (void)row_id(&id, w->number, n);
    TI_TRY(ti_model_build(w->d->left, txn, left_document(&t, id.bytes, w->number, n), NULL, a, NULL,
                          call, err));
    TI_TRY(ti_model_build(w->d->right, txn,
                          say(&t, "{\"id\":\"%s\",\"thread\":%u,\"n\":%u}", id.bytes, w->number, n),
                          NULL, a, NULL, call, err));
    if ((n - 1) % KEPT_EVERY != 0)
        TI_TRY(delete_row(w, txn, n - 1, call, err));
    if (kept == 0)
        return TI_OK;
    return ti_model_patch(w->d->left, txn, row_id(&id, w->number, kept),
                          say(&t, "{\"tags\":[\"p%u\",\"all\"]}", n), NULL, a, NULL, call, err);
}

static void *run_writer(void *arg)
{
    writer *w = arg;
    for (;;) {
        report told = {.thread = w->number, .number = ++w->at};
        ti_err err;
        ti_call call = ti_call_within(ti_env_real(), TIMEOUT_US);
        must(ti_kv_transact(&w->d->kv, NULL, NULL, write_number, w, &told.ts, &call, &err), &err);
        life_report(w->l, told);
    }
    return NULL;
}

static void work(const life *l)
{
    db d;
    ti_err err;
    writer writers[LIFE_THREADS];
    db_open(l, &d);
    for (uint32_t i = 0; i < LIFE_THREADS; i++) {
        writers[i] = (writer){.l = l, .d = &d, .number = i, .at = l->known.told[i]};
        must(ti_thread_start(&writers[i].thread, "writer", run_writer, &writers[i], &err), &err);
    }
    for (uint32_t i = 0; i < LIFE_THREADS; i++)
        ti_thread_join(&writers[i].thread);
}

/* ---- the child that checks ---- */

/* The number that a thread's head is at; 0 when there is none. */
static uint32_t head_number(db *d, ti_txn *txn, uint32_t thread, const ti_call *call)
{
    ti_arena *a = ti_txn_arena(txn);
    ti_json_parser parser;
    ti_json_doc doc;
    ti_document head;
    ti_err err;
    text id;
    ti_status status =
        ti_model_find(d->left, txn, say(&id, "head-%u", thread), NULL, a, &head, call, &err);
    if (status == TI_NOT_FOUND)
        return 0;
    must(status, &err);
    ti_json_parser_init(&parser);
    must(ti_json_parse(&parser, a, head.json, &doc, &err), &err);
    int64_t n = ti_json_int(ti_json_get(ti_json_root(&doc), TI_SLICE("n")));
    ti_json_parser_free(&parser);
    ti_require(n > 0);
    return (uint32_t)n;
}

/* How many documents an index has under a thread's number. */
static uint64_t count_of(ti_model *model, ti_txn *txn, ti_slice index, uint32_t thread,
                         const ti_call *call)
{
    ti_query *query;
    ti_err err;
    uint64_t count;
    text t;
    must(ti_query_new(model, index, &query, &err), &err);
    must(ti_query_value(query, say(&t, "%u", thread), &err), &err);
    must(ti_query_count(query, txn, &count, call, &err), &err);
    ti_query_free(query);
    return count;
}

static void check_thread(const life *l, db *d, ti_txn *txn, uint32_t thread, const ti_call *call)
{
    uint32_t n = head_number(d, txn, thread, call);
    uint64_t kept = n / KEPT_EVERY;
    uint64_t rows = kept + (n % KEPT_EVERY != 0);
    uint64_t heads = n > 0;
    ti_require(count_of(d->right, txn, TI_SLICE("by_thread"), thread, call) == rows);
    ti_require(count_of(d->left, txn, TI_SLICE("cover"), thread, call) == rows + heads);
    ti_require(count_of(d->left, txn, TI_SLICE("even"), thread, call) ==
               kept + (n % 2 == 0 ? heads + (n % KEPT_EVERY != 0) : 0));
    life_found(l, thread, n);
}

/* Runs check to its end. */
static void check_table(ti_model *model)
{
    const ti_check_options options = {.repair = false};
    ti_call call = ti_call_within(ti_env_real(), TIMEOUT_US);
    ti_json_parser parser;
    ti_json_doc doc;
    ti_steps *steps;
    ti_step step = TI_STEP_MORE;
    ti_arena a;
    ti_err err;
    ti_slice json;
    ti_arena_init(&a);
    must(ti_check_open(model, &options, &steps, &err), &err);
    while (step != TI_STEP_DONE)
        must(ti_steps_next(steps, &step, &json, &call, &err), &err);
    ti_json_parser_init(&parser);
    must(ti_json_parse(&parser, &a, json, &doc, &err), &err);
    ti_json_value found = ti_json_get(ti_json_root(&doc), TI_SLICE("found"));
    ti_require(ti_json_is_present(found));
    ti_require(ti_json_int(found) == 0);
    ti_json_parser_free(&parser);
    ti_steps_free(steps);
    ti_arena_free(&a);
}

static void check(const life *l)
{
    const ti_txn_options options = {.read_only = true};
    db d;
    ti_err err;
    ti_txn *txn;
    ti_ts now;
    db_open(l, &d);
    ti_call call = ti_kv_call(&d.kv);
    must(ti_txn_begin(&d.kv, &options, &txn, &err), &err);
    for (uint32_t i = 0; i < LIFE_THREADS; i++)
        check_thread(l, &d, txn, i, &call);
    ti_txn_free(txn);
    check_table(d.left);
    check_table(d.right);
    must(ti_kv_now(&d.kv, &now, &call, &err), &err);
    ti_require(now > l->known.last);
    db_close(&d);
}

/* ---- the tests ---- */

static void sync_loses_nothing_and_indexes_agree(void **state)
{
    life l = {.durability = TI_DURABILITY_SYNC, .work = work, .check = check};
    (void)state;
    life_kill_at_random(&l, test_scaled(200), 75);
    print_message("%u %u %u transactions acknowledged\n", l.known.told[0], l.known.told[1],
                  l.known.told[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sync_loses_nothing_and_indexes_agree),
    };
    return TEST_RUN(tests);
}
