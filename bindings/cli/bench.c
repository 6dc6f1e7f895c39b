/* The loads of `tito bench`: an operation again and again, by some threads at once, through tito.h.
 *
 *   tc_bench        handles on the benchmark's own tables and queue
 *     load          what runs now:  start ──> threads count and measure ──> stop joins them
 *
 * The documents are those of tests/bench: posts of about 450 bytes with an author of 100 and three tags of 50.
 *
 * INVARIANTS
 *  1. Every number below `next` that a thread has taken was done, or the load has failed.
 *  2. No thread of a load lives after stop.
 *  3. The first failure of an operation ends the load, and is kept.
 *
 * Thread rule: the functions for Lua belong to the main thread; what the threads of a load share is atomic, or under
 * the mutex. What is NOT here: which loads run, for how long, and what is shown (commands/bench.lua). */
#include "cli.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TYPE_NAME "tito.cli.bench"
#define EVENTS "job"

enum {
    CALLERS_MAX = 256,
    TAGS = 50,
    AUTHORS = 100,
    KEYS = 64,
    PARTITIONS = 4,
    QUERY_LIMIT = 10,
    BUCKET_BITS = 5, /* 32 buckets for each power of two: within 3 % */
    BUCKETS = 64 << BUCKET_BITS,
    DOCUMENT_MAX = 1024,
    FAILURE_MAX = 400
};

typedef struct tc_bench tc_bench;
typedef bool (*load_fn)(tc_bench *b, int64_t i);

typedef struct load {
    load_fn act; /* NULL: a drain, by the library's threads */
    int64_t ops; /* how many; 0: until it is stopped */
    int64_t first, posts;
    size_t threads;
    pthread_t ids[CALLERS_MAX];
    tito_worker_t *worker;
    int64_t began_us;
    _Atomic(int64_t) ended_us; /* 0: not yet; when the last operation was done */
    _Atomic(int64_t) next, done;
    _Atomic(size_t) running;
    atomic_bool stop;
    _Atomic(uint64_t) counts[BUCKETS];
    _Atomic(int64_t) most_us;
} load;

struct tc_bench {
    tito_db_t *db; /* borrowed: the program has it to its end */
    tito_model_t *tag, *post;
    tito_queue_t *queue;
    pthread_mutex_t mutex; /* of the failure */
    int32_t failed;        /* a status, or 0 */
    char failure[FAILURE_MAX];
    load load;
};

/* ---- Time ---- */

static size_t bucket_of(uint64_t us)
{
    const uint64_t fine = UINT64_C(1) << BUCKET_BITS;
    if (us < fine)
        return (size_t)us;
    unsigned shift = 63u - (unsigned)__builtin_clzll(us) - BUCKET_BITS;
    size_t bucket = (size_t)((shift + 1) * fine + ((us >> shift) - fine));
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static double middle_of(size_t bucket)
{
    const size_t fine = (size_t)1 << BUCKET_BITS;
    if (bucket < fine)
        return (double)bucket;
    size_t shift = bucket / fine - 1;
    return ((double)(fine + bucket % fine) + 0.5) * (double)(UINT64_C(1) << shift);
}

static void note_time(load *l, int64_t us)
{
    int64_t most = atomic_load(&l->most_us);
    atomic_fetch_add(&l->counts[bucket_of(us > 0 ? (uint64_t)us : 0)], 1);
    while (us > most && !atomic_compare_exchange_weak(&l->most_us, &most, us))
        continue;
}

/* The time that this share of the operations did not take longer than. */
static double share_us(load *l, double share)
{
    uint64_t total = 0, seen = 0;
    size_t bucket = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        total += atomic_load(&l->counts[i]);
    uint64_t wanted = (uint64_t)((double)total * share);
    for (; bucket < BUCKETS - 1; bucket++) {
        seen += atomic_load(&l->counts[bucket]);
        if (seen > wanted)
            break;
    }
    return middle_of(bucket);
}

/* ---- Operations ---- */

/* Keeps the first failure, which ends the load. Frees error. */
static bool keep_failure(tc_bench *b, int32_t status, tito_error_t *error)
{
    if (status == TITO_OK)
        return true;
    tito_slice text = tito_error_message(error);
    pthread_mutex_lock(&b->mutex);
    if (b->failed == TITO_OK) {
        b->failed = status;
        snprintf(b->failure, sizeof(b->failure), "%.*s", (int)text.len, text.data);
    }
    pthread_mutex_unlock(&b->mutex);
    tito_error_free(error);
    atomic_store(&b->load.stop, true);
    return false;
}

/* Waits for a future and frees it. */
static bool await(tc_bench *b, tito_future_t *future)
{
    tito_error_t *error = NULL;
    int32_t status = tito_future_wait(future, -1, &error);
    tito_future_free(future);
    return keep_failure(b, status, error);
}

static bool insert(tc_bench *b, int64_t i)
{
    char text[DOCUMENT_MAX], body[257];
    memset(body, 'x', sizeof(body) - 1);
    body[sizeof(body) - 1] = '\0';
    long long n = (long long)i, id = (long long)(b->load.first + i);
    int len =
        snprintf(text, sizeof(text),
                 "{\"id\":\"p%lld\",\"title\":\"Title "
                 "%lld\",\"author\":\"author%lld\",\"body\":\"%s\",\"views\":"
                 "%lld,\"tag_ids\":[\"t%lld\",\"t%lld\",\"t%lld\"]}",
                 id, n, n % AUTHORS, body, n % 1000, n % TAGS, (n + 7) % TAGS, (n + 13) % TAGS);
    return await(b, tito_model_build(b->post, NULL, text, (size_t)len, NULL));
}

static bool find(tc_bench *b, int64_t i)
{
    char id[32];
    int len =
        snprintf(id, sizeof(id), "p%lld", (long long)(b->load.first + (i * 7919) % b->load.posts));
    return await(b, tito_model_find(b->post, NULL, id, (size_t)len, NULL));
}

static bool query(tc_bench *b, int64_t i)
{
    char author[32];
    tito_query_t *q = NULL;
    tito_error_t *error = NULL;
    int len = snprintf(author, sizeof(author), "\"author%lld\"", (long long)(i % AUTHORS));
    int32_t status = tito_query_new(b->post, "by_author", 9, &q, &error);
    if (!keep_failure(b, status, error))
        return false;
    tito_query_value(q, author, (size_t)len);
    tito_query_limit(q, QUERY_LIMIT);
    tito_query_relationship(q, "tags", 4);
    bool good = await(b, tito_query_execute(q, NULL));
    tito_query_free(q);
    return good;
}

static bool publish(tc_bench *b, int64_t i)
{
    char key[32], payload[32];
    int key_len = snprintf(key, sizeof(key), "user:%lld", (long long)(i % KEYS));
    int payload_len = snprintf(payload, sizeof(payload), "{\"n\":%lld}", (long long)i);
    return await(b, tito_queue_publish(b->queue, NULL, key, (size_t)key_len, payload,
                                       (size_t)payload_len, 0, 0, NULL));
}

/* ---- Loads ---- */

static void *call_again(void *context)
{
    tc_bench *b = context;
    load *l = &b->load;
    while (!atomic_load(&l->stop)) {
        int64_t i = atomic_fetch_add(&l->next, 1);
        if (l->ops > 0 && i >= l->ops)
            break;
        int64_t began = tl_clock_us();
        if (!l->act(b, i))
            break;
        note_time(l, tl_clock_us() - began);
        atomic_fetch_add(&l->done, 1);
    }
    if (atomic_fetch_sub(&l->running, 1) == 1)
        atomic_store(&l->ended_us, tl_clock_us());
    return NULL;
}

/* A handler: an event more; the last one ends the drain. */
static int32_t count_event(void *context, tito_event_t *event)
{
    load *l = &((tc_bench *)context)->load;
    (void)event;
    if (atomic_fetch_add(&l->done, 1) + 1 == l->ops) {
        atomic_store(&l->ended_us, tl_clock_us());
        atomic_store(&l->running, 0);
    }
    return TITO_OK;
}

static bool start_worker(tc_bench *b, int64_t callers)
{
    tito_error_t *error = NULL;
    tito_options_t *options = tito_options_new();
    tito_options_set_int(options, "concurrency", callers);
    tito_options_set_int(options, "partition_from", 0);
    tito_options_set_int(options, "partition_to", PARTITIONS);
    int32_t status = tito_worker_new(b->db, options, &b->load.worker, &error);
    tito_options_free(options);
    if (status == TITO_OK)
        status =
            tito_worker_on(b->load.worker, EVENTS, strlen(EVENTS), NULL, count_event, b, &error);
    if (status == TITO_OK)
        status = tito_worker_start(b->load.worker, &error);
    return keep_failure(b, status, error);
}

static void start_threads(tc_bench *b, size_t callers)
{
    load *l = &b->load;
    atomic_store(&l->running, callers);
    for (; l->threads < callers; l->threads++) {
        if (pthread_create(&l->ids[l->threads], NULL, call_again, b) != 0)
            break;
    }
    if (l->threads < callers) { /* those that are not there have ended */
        (void)keep_failure(b, TITO_OUT_OF_MEMORY, NULL);
        if (atomic_fetch_sub(&l->running, callers - l->threads) == callers - l->threads)
            atomic_store(&l->ended_us, tl_clock_us());
    }
}

/* Ends what runs, and waits for its end. */
static void stop_load(tc_bench *b)
{
    load *l = &b->load;
    atomic_store(&l->stop, true);
    for (; l->threads > 0; l->threads--)
        pthread_join(l->ids[l->threads - 1], NULL);
    if (l->worker != NULL) {
        (void)tito_worker_stop(l->worker, -1);
        (void)await(b, tito_worker_join(l->worker));
        tito_worker_free(l->worker);
        l->worker = NULL;
    }
}

/* ---- For Lua ---- */

static tc_bench *check_bench(lua_State *L)
{
    return luaL_checkudata(L, 1, TYPE_NAME);
}

/* nil, the status's name and a text, when something has failed; else 0. */
static int push_failure(lua_State *L, tc_bench *b)
{
    if (b->failed == TITO_OK)
        return 0;
    lua_pushnil(L);
    lua_pushstring(L, tito_status_name(b->failed));
    lua_pushstring(L, b->failure[0] != '\0' ? b->failure : "there is no memory for a thread");
    return 3;
}

static int bench_close(lua_State *L)
{
    tc_bench *b = check_bench(L);
    stop_load(b);
    tito_queue_free(b->queue);
    tito_model_free(b->post);
    tito_model_free(b->tag);
    b->queue = NULL;
    b->post = b->tag = NULL;
    return 0;
}

static int bench_free(lua_State *L)
{
    (void)bench_close(L);
    pthread_mutex_destroy(&check_bench(L)->mutex);
    return 0;
}

/* bench:start(kind, callers, ops (0: until stop), first id, posts to read) */
static int bench_start(lua_State *L)
{
    static const char *const kinds[] = {"insert", "find", "query", "publish", "drain", NULL};
    static const load_fn acts[] = {insert, find, query, publish, NULL};
    tc_bench *b = check_bench(L);
    load *l = &b->load;
    int kind = luaL_checkoption(L, 2, NULL, kinds);
    lua_Integer callers = luaL_checkinteger(L, 3);
    luaL_argcheck(L, callers >= 1 && callers <= CALLERS_MAX, 3, "too few or too many callers");
    luaL_argcheck(L, b->post != NULL, 1, "closed");
    stop_load(b);
    memset(l, 0, sizeof(*l));
    l->act = acts[kind];
    l->ops = luaL_checkinteger(L, 4);
    l->first = luaL_optinteger(L, 5, 0);
    l->posts = luaL_optinteger(L, 6, 1);
    luaL_argcheck(L, l->posts > 0, 6, "nothing to read");
    l->began_us = tl_clock_us();
    if (l->act != NULL) {
        start_threads(b, (size_t)callers);
    } else {
        atomic_store(&l->running, 1);
        (void)start_worker(b, callers);
    }
    int failed = push_failure(L, b);
    if (failed == 0)
        lua_pushboolean(L, 1);
    return failed == 0 ? 1 : failed;
}

/* bench:stop() */
static int bench_stop(lua_State *L)
{
    stop_load(check_bench(L));
    return 0;
}

static void set_number(lua_State *L, const char *name, double value)
{
    lua_pushnumber(L, value);
    lua_setfield(L, -2, name);
}

/* bench:look(): { ops, seconds, running, p50_us, p99_us, most_us }; or nil, code, text. */
static int bench_look(lua_State *L)
{
    tc_bench *b = check_bench(L);
    load *l = &b->load;
    pthread_mutex_lock(&b->mutex);
    bool failed = b->failed != TITO_OK;
    pthread_mutex_unlock(&b->mutex);
    if (failed) {
        stop_load(b);
        return push_failure(L, b);
    }
    int64_t ended = atomic_load(&l->ended_us), done = atomic_load(&l->done);
    lua_createtable(L, 0, 6);
    lua_pushinteger(L, done);
    lua_setfield(L, -2, "ops");
    lua_pushboolean(L, atomic_load(&l->running) > 0);
    lua_setfield(L, -2, "running");
    set_number(L, "seconds", (double)((ended > 0 ? ended : tl_clock_us()) - l->began_us) / 1e6);
    if (l->act != NULL && done > 0) {
        double most = (double)atomic_load(&l->most_us), p50 = share_us(l, 0.5),
               p99 = share_us(l, 0.99);
        set_number(L, "p50_us", p50 < most ? p50 : most); /* a bucket's middle may be above */
        set_number(L, "p99_us", p99 < most ? p99 : most);
        set_number(L, "most_us", most);
    }
    return 1;
}

/* bench.drop(): true once both tables are gone, or were not there; or nil, code, text. On a cluster a drop waits for what
 * other processes know: both wait at once. */
static int bench_drop(lua_State *L)
{
    static const char *const tables[] = {"post", "tag"};
    tito_future_t *futures[2];
    tc_bench b = {.db = tc_program_db(L)};
    if (b.db == NULL)
        return luaL_error(L, "the database is not open");
    pthread_mutex_init(&b.mutex, NULL);
    for (size_t i = 0; i < 2; i++) {
        futures[i] = tito_db_drop_table(b.db, tables[i], strlen(tables[i]));
        (void)tito_future_start(futures[i], NULL);
    }
    for (size_t i = 0; i < 2; i++) {
        tito_error_t *error = NULL;
        int32_t status = tito_future_wait(futures[i], -1, &error);
        tito_future_free(futures[i]);
        if (status == TITO_NOT_FOUND)
            tito_error_free(error);
        else
            (void)keep_failure(&b, status, error);
    }
    pthread_mutex_destroy(&b.mutex);
    int failed = push_failure(L, &b);
    if (failed == 0)
        lua_pushboolean(L, 1);
    return failed == 0 ? 1 : failed;
}

/* Declares the tables and the queue, and writes the tags. */
static void declare_all(tc_bench *b)
{
    static const char tag[] = "{\"table\":\"tag\"}";
    static const char post[] =
        "{\"table\":\"post\",\"indexes\":["
        "{\"name\":\"by_author\",\"fields\":[{\"name\":\"author\",\"type\":\"string\"},"
        "{\"name\":\"views\",\"type\":\"number\"}]},"
        "{\"name\":\"by_tag\",\"fields\":[{\"name\":\"tag_ids\",\"type\":\"string\"}]}],"
        "\"relationships\":[{\"source_field_name\":\"tag_ids\",\"destination_field_name\":\"tags\","
        "\"model\":\"tag\"}]}";
    tito_error_t *error = NULL;
    tito_options_t *options = tito_options_new();
    tito_options_set_int(options, "partitions", PARTITIONS);
    int32_t status = tito_model_declare(b->db, tag, sizeof(tag) - 1, &b->tag, &error);
    if (status == TITO_OK)
        status = tito_model_declare(b->db, post, sizeof(post) - 1, &b->post, &error);
    if (status == TITO_OK)
        status = tito_queue_open(b->db, EVENTS, strlen(EVENTS), options, &b->queue, &error);
    tito_options_free(options);
    bool good = keep_failure(b, status, error);
    for (int i = 0; good && i < TAGS; i++) {
        char text[64];
        int len = snprintf(text, sizeof(text), "{\"id\":\"t%d\",\"name\":\"Tag %d\"}", i, i);
        good = await(b, tito_model_save(b->tag, NULL, text, (size_t)len, NULL));
    }
}

/* open(): a bench on the program's database; or nil, code, text. */
static int bench_open(lua_State *L)
{
    tc_bench *b = lua_newuserdatauv(L, sizeof(*b), 0);
    memset(b, 0, sizeof(*b));
    b->db = tc_program_db(L);
    if (b->db == NULL)
        return luaL_error(L, "the database is not open");
    pthread_mutex_init(&b->mutex, NULL);
    luaL_setmetatable(L, TYPE_NAME);
    declare_all(b);
    int failed = push_failure(L, b);
    return failed == 0 ? 1 : failed;
}

void tc_bench_push(lua_State *L)
{
    static const luaL_Reg methods[] = {{"start", bench_start},
                                       {"stop", bench_stop},
                                       {"look", bench_look},
                                       {"close", bench_close},
                                       {NULL, NULL}};
    luaL_newmetatable(L, TYPE_NAME);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, bench_free);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, bench_open);
    lua_setfield(L, -2, "open");
    lua_pushcfunction(L, bench_drop);
    lua_setfield(L, -2, "drop");
}
