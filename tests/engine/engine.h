/* The engine under test, and short ways to use it.
 *
 * Thread rule: a db belongs to one thread; other threads share its engine through db_share. */
#ifndef TITO_TESTS_ENGINE_ENGINE_H
#define TITO_TESTS_ENGINE_ENGINE_H

#include "support/test.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/thread.h"
#include "rocks/rocks.h"
#include "tikv/spaced.h"

/* Of everything that a test does: far more than it takes, since machines are shared. */
#define DB_TIMEOUT_US INT64_C(600000000)

typedef struct db {
    ti_engine *e; /* one reference */
    const ti_engine_vt *vt;
    const ti_env *env;
    ti_call call;
    ti_arena a;
    ti_err err;
    size_t failed_index;     /* of the last commit */
    char dir[TEST_DIR_SIZE]; /* "" in memory */
    cluster cluster;         /* of the TiKV engine: a mock cluster of its own, unless the user's */
} db;

static inline bool db_is(const char *engine)
{
    const char *name = getenv("TITO_TEST_ENGINE");
    return strcmp(name == NULL ? "memory" : name, engine) == 0;
}

/* Whether the engine's keys have the prefix of tests on the user's cluster in front of ours. */
static inline bool db_is_spaced(void)
{
    return db_is("tikv") && cluster_is_own();
}

static inline bool db_is_memory(void)
{
    return db_is("memory");
}

static inline ti_rocks_options db_small_options(void)
{
    return (ti_rocks_options){
        .durability = TI_DURABILITY_BUFFERED,
        .block_cache_size = 1 << 20,
        .write_buffer_size = 1 << 20,
    };
}

/* Opens what is in d->dir, or a new database in memory. */
static inline ti_status db_try_open(db *d, const ti_rocks_options *options)
{
    d->call = ti_call_within(d->env, DB_TIMEOUT_US);
    if (d->dir[0] == '\0')
        return ti_rocks_open_memory(options, d->env, &d->e, &d->call, &d->err);
    return ti_rocks_open(d->dir, options, d->env, &d->e, &d->call, &d->err);
}

static inline void db_open_with(db *d, const ti_env *env, bool memory)
{
    ti_rocks_options options = db_small_options();
    memset(d, 0, sizeof(*d));
    d->env = env;
    ti_arena_init(&d->a);
    if (!memory)
        test_dir_make(d->dir);
    test_ok(db_try_open(d, &options), &d->err);
    d->vt = d->e->vt;
}

/* A new mock cluster whose regions are cut at the given keys, and a client of it; or keys of its
 * own on the user's cluster. */
static inline void db_open_tikv(db *d, const char *const *cuts, size_t count)
{
    memset(d, 0, sizeof(*d));
    d->env = ti_env_real();
    ti_arena_init(&d->a);
    if (cluster_is_own()) {
        d->e = spaced_new();
    } else {
        cluster_start_mock(&d->cluster, &(cluster_options){0});
        for (size_t i = 0; i < count; i++)
            cluster_at_key(&d->cluster, "split", ti_slice_of(cuts[i]));
        d->e = cluster_open(&d->cluster);
    }
    d->vt = d->e->vt;
    d->call = ti_call_within(d->env, DB_TIMEOUT_US);
}

/* The engine that the suite runs on. On TiKV the keys that the suite uses are spread over regions.
 */
static inline void db_open(db *d)
{
    static const char *const cuts[] = {"b", "k", "k02", "k04", "k07", "key", "m", "x"};
    if (db_is("tikv")) {
        db_open_tikv(d, cuts, sizeof(cuts) / sizeof(cuts[0]));
        return;
    }
    db_open_with(d, ti_env_real(), db_is_memory());
}

static inline void db_close(db *d)
{
    if (d->e != NULL)
        d->vt->unref(d->e);
    ti_arena_free(&d->a);
    cluster_stop(&d->cluster);
    if (d->dir[0] != '\0')
        test_dir_remove(d->dir);
    memset(d, 0, sizeof(*d));
}

/* Another user of the same engine, ended with db_unshare. */
static inline void db_share(const db *from, db *d)
{
    *d = (db){.e = from->e, .vt = from->vt, .env = from->env, .call = from->call};
    ti_arena_init(&d->a);
    d->vt->ref(d->e);
}

static inline void db_unshare(db *d)
{
    d->vt->unref(d->e);
    ti_arena_free(&d->a);
}

/* ---- mutations */

#define SET(k, v)                                                                                  \
    ((ti_mutation){.key = ti_slice_of(k), .value = ti_slice_of(v), .kind = TI_MUTATION_PUT})
#define INSERT(k, v)                                                                               \
    ((ti_mutation){.key = ti_slice_of(k), .value = ti_slice_of(v), .kind = TI_MUTATION_INSERT})
#define DELETE(k) ((ti_mutation){.key = ti_slice_of(k), .kind = TI_MUTATION_DELETE})
#define LOCK(k) ((ti_mutation){.key = ti_slice_of(k), .kind = TI_MUTATION_LOCK})
#define ABSENT(k) ((ti_mutation){.key = ti_slice_of(k), .kind = TI_MUTATION_ABSENT})

static inline ti_ts db_now(db *d)
{
    ti_ts ts;
    ti_status status = d->vt->now(d->e, &ts, &d->call, &d->err);
    ti_require(status == TI_OK);
    return ts;
}

/* Commits mutations sorted by key, as a transaction that began at start. */
static inline ti_status db_commit_all(db *d, ti_ts start, const ti_mutation *mutations,
                                      size_t count, ti_ts *ts_out)
{
    ti_commit_result result;
    ti_commit_request request = {.start_ts = start, .mutations = mutations, .count = count};
    ti_status status = d->vt->commit(d->e, &request, &result, &d->call, &d->err);
    d->failed_index = result.failed_index;
    if (ts_out != NULL)
        *ts_out = result.commit_ts;
    return status;
}

/* db_commit(d, start, SET("a", "1"), DELETE("b")) */
#define db_commit(d, start, ...)                                                                   \
    db_commit_all(d, start, (const ti_mutation[]){__VA_ARGS__},                                    \
                  sizeof((const ti_mutation[]){__VA_ARGS__}) / sizeof(ti_mutation), NULL)

/* Sets a key now, as a transaction that read nothing: again when another one came between. */
static inline ti_ts db_set(db *d, const char *key, const char *value)
{
    ti_mutation m = SET(key, value);
    ti_commit_result result;
    ti_status status;
    do {
        ti_ts now = db_now(d);
        ti_commit_request request = {.start_ts = now, .fresh_ts = now, .mutations = &m, .count = 1};
        status = d->vt->commit(d->e, &request, &result, &d->call, &d->err);
    } while (status == TI_CONFLICT);
    ti_require(status == TI_OK);
    return result.commit_ts;
}

/* ---- snapshots */

static inline ti_snapshot *db_begin(db *d)
{
    ti_snapshot *s;
    ti_status status = d->vt->begin(d->e, TI_TS_NONE, &s, &d->call, &d->err);
    ti_require(status == TI_OK);
    return s;
}

static inline ti_ts db_ts(db *d, const ti_snapshot *s)
{
    return d->vt->snapshot_ts(s);
}

/* The value of a key in a snapshot, in the arena; data NULL when absent. */
static inline ti_slice db_get(db *d, ti_snapshot *s, const char *key)
{
    ti_slice value;
    ti_status status = d->vt->get(s, ti_slice_of(key), &d->a, &value, &d->call, &d->err);
    ti_require(status == TI_OK || status == TI_NOT_FOUND);
    return status == TI_OK ? value : TI_SLICE_NONE;
}

static inline bool db_holds(db *d, ti_snapshot *s, const char *key, const char *value)
{
    ti_slice got = db_get(d, s, key);
    return value == NULL ? got.data == NULL
                         : got.data != NULL && ti_slice_equal(got, ti_slice_of(value));
}

/* Whether the newest state holds value (NULL: nothing) under key. */
static inline bool db_holds_now(db *d, const char *key, const char *value)
{
    ti_snapshot *s = db_begin(d);
    bool holds = db_holds(d, s, key, value);
    d->vt->release(s);
    return holds;
}

#endif
