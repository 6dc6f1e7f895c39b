/* Who has which directory open in this process: opening one again gives the same engine.
 *
 *   absent --open--> OPENING --RocksDB is open--> OPEN --last unref--> CLOSING --closed--> absent
 *                      `------------failed----------------------------------------------> absent
 *
 * The one global state of the library, since RocksDB's lock on a directory belongs to the process.
 *
 * INVARIANTS
 *  1. A directory (device, inode) is in the list at most once; databases in memory never are.
 *  2. Only OPEN engines get new references. Who meets OPENING or CLOSING waits and looks again.
 *  3. The list's mutex is not held while RocksDB opens or closes.
 *  4. RocksDB's threads are not in a child of fork(), so once a process has opened an embedded
 *     database its children can not open any: they are told FORKED.
 *
 * Thread rule: any thread. */
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "rocks/rocks_int.h"

typedef enum ti_registered {
    TI_REGISTERED_NOT, /* in memory */
    TI_REGISTERED_OPENING,
    TI_REGISTERED_OPEN,
    TI_REGISTERED_CLOSING,
} ti_registered;

/* How long to wait before looking again at a directory that is busy. */
#define LOOK_NS INT64_C(2000000)
#define LOOK_OTHER_NS INT64_C(20000000)

static ti_mutex registry_mutex = TI_MUTEX_STATIC(TI_RANK_REGISTRY);
static ti_rocks *registry;
/* The process that uses RocksDB, 0 before; read before the mutex is, which a fork may have left
 * locked. */
static _Atomic(long) user_pid;

static ti_status check_process(ti_err *err)
{
    long pid = atomic_load(&user_pid);
    if (pid == 0 || pid == getpid())
        return TI_OK;
    return ti_err_set(err, TI_FORKED,
                      "the parent of this process (pid %ld) has used an embedded database before "
                      "fork(), so this process can not; open databases only after fork()",
                      pid);
}

/* options with the defaults filled in. */
static ti_rocks_options complete(const ti_rocks_options *options)
{
    ti_rocks_options o = options != NULL ? *options : (ti_rocks_options){.open_wait_us = 0};
    if (o.block_cache_size == 0)
        o.block_cache_size = TI_ROCKS_CACHE_SIZE_DEFAULT;
    if (o.write_buffer_size == 0)
        o.write_buffer_size = TI_ROCKS_WRITE_BUFFER_SIZE_DEFAULT;
    if (o.open_files_max == 0)
        o.open_files_max = TI_ROCKS_OPEN_FILES_DEFAULT;
    if (o.background_jobs_max == 0)
        o.background_jobs_max = TI_ROCKS_JOBS_DEFAULT;
    return o;
}

/* The option in which two sets differ that an engine can have only once; NULL when they agree. */
static const char *difference(const ti_rocks_options *a, const ti_rocks_options *b)
{
    if (a->durability != b->durability)
        return "durability";
    if (a->block_cache_size != b->block_cache_size)
        return "block_cache_size";
    if (a->write_buffer_size != b->write_buffer_size)
        return "write_buffer_size";
    if (a->open_files_max != b->open_files_max)
        return "open_files_max";
    if (a->background_jobs_max != b->background_jobs_max)
        return "background_jobs_max";
    return NULL;
}

/* Fills a new engine. path NULL: in memory. */
static ti_status init_engine(ti_rocks *e, const char *path, const ti_rocks_options *options,
                             ti_err *err)
{
    e->options = *options;
    e->options.log = NULL; /* it has joined, and may leave */
    e->refs = 1;
    TI_TRY(ti_log_hub_create(&e->logs, err));
    if (options->log != NULL)
        TI_TRY(ti_log_hub_join(e->logs, options->log, err));
    if (path == NULL)
        return TI_OK;
    size_t size = strlen(path) + 1;
    e->path = ti_alloc(size);
    if (e->path == NULL)
        return ti_err_no_memory(err);
    memcpy(e->path, path, size);
    return TI_OK;
}

/* A new engine with one reference, not started. path NULL: in memory. */
static ti_status new_engine(const char *path, const ti_rocks_options *options, const ti_env *env,
                            ti_rocks **engine_out, ti_err *err)
{
    ti_rocks *e = ti_alloc_zero(sizeof(*e));
    *engine_out = NULL;
    if (e == NULL)
        return ti_err_no_memory(err);
    e->base.vt = path == NULL ? &ti_rocks_memory_vt : &ti_rocks_vt;
    e->base.env = env;
    ti_status status = init_engine(e, path, options, err);
    if (status == TI_OK)
        *engine_out = e;
    else
        ti_rocks_free(e);
    return status;
}

static ti_rocks **find_place(const ti_rocks_place *place)
{
    ti_rocks **at = &registry;
    while (*at != NULL && ((*at)->device != place->device || (*at)->inode != place->inode))
        at = &(*at)->next;
    return at;
}

static void set_registered(ti_rocks *e, ti_registered state)
{
    ti_mutex_lock(&registry_mutex);
    e->registered = (int)state;
    ti_mutex_unlock(&registry_mutex);
}

static void leave_registry(ti_rocks *e)
{
    ti_mutex_lock(&registry_mutex);
    ti_rocks **at = &registry;
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    ti_mutex_unlock(&registry_mutex);
}

/* One look at the registry: a reference on the engine that is there, or fresh enters it as OPENING,
 * or neither, then the caller has to wait. */
static ti_status enter_registry(ti_rocks *fresh, const ti_rocks_place *place, ti_rocks **there_out,
                                bool *entered_out, ti_err *err)
{
    ti_status status = TI_OK;
    *there_out = NULL;
    *entered_out = false;
    ti_mutex_lock(&registry_mutex);
    ti_rocks *there = *find_place(place);
    if (there == NULL) {
        fresh->device = place->device;
        fresh->inode = place->inode;
        fresh->registered = TI_REGISTERED_OPENING;
        fresh->next = registry;
        registry = fresh;
        *entered_out = true;
    } else if (there->registered == TI_REGISTERED_OPEN) {
        const char *differs = difference(&there->options, &fresh->options);
        if (differs != NULL || there->base.env != fresh->base.env) {
            status = ti_err_set(err, TI_INVALID_ARGUMENT,
                                "this process has %s open with another value of the option %s",
                                there->path, differs != NULL ? differs : "env");
        } else {
            there->refs++;
            *there_out = there;
        }
    }
    ti_mutex_unlock(&registry_mutex);
    return status;
}

/* Opens a registered engine. Whatever the result, it is OPEN or gone (freed). */
static ti_status start_registered(ti_rocks *e, ti_err *err)
{
    atomic_store(&user_pid, getpid());
    ti_status status = ti_rocks_start(e, err);
    if (status == TI_OK) {
        set_registered(e, TI_REGISTERED_OPEN);
        return TI_OK;
    }
    ti_rocks_stop(e);
    leave_registry(e);
    ti_rocks_free(e);
    return status;
}

/* One try to open path: OK with *engine_out, or OK without one when a thread of this process is
 * opening or closing it just now. */
static ti_status try_open(const char *path, const ti_rocks_options *options, const ti_env *env,
                          ti_rocks **engine_out, ti_err *err)
{
    ti_rocks_place place;
    ti_rocks *there;
    bool entered;
    *engine_out = NULL;
    TI_TRY(ti_rocks_place_prepare(path, &place, err));
    ti_rocks *fresh;
    TI_TRY(new_engine(place.path, options, env, &fresh, err));
    ti_status status = enter_registry(fresh, &place, &there, &entered, err);
    if (!entered) {
        ti_rocks_free(fresh);
        if (there != NULL && options->log != NULL)
            status = ti_log_hub_join(there->logs, options->log, err);
        if (there != NULL && status != TI_OK)
            ti_rocks_unref(&there->base);
        else
            *engine_out = there;
        return status;
    }
    TI_TRY(start_registered(fresh, err));
    *engine_out = fresh;
    return TI_OK;
}

ti_status ti_rocks_open(const char *path, const ti_rocks_options *options, const ti_env *env,
                        ti_engine **engine_out, const ti_call *call, ti_err *err)
{
    ti_rocks_options complete_options = complete(options);
    int64_t wait_us = complete_options.open_wait_us;
    ti_call others = ti_call_within(env, wait_us);
    *engine_out = NULL;
    if (path == NULL || path[0] == '\0')
        return ti_err_set(err, TI_INVALID_ARGUMENT, "the path of the database is empty");
    TI_TRY(check_process(err));
    for (;;) {
        ti_rocks *e;
        TI_TRY(ti_call_check(call, "opening the database", err));
        ti_status status = try_open(path, &complete_options, env, &e, err);
        if (e != NULL) {
            *engine_out = &e->base;
            return TI_OK;
        }
        bool waits = status == TI_UNAVAILABLE && wait_us > 0 && ti_call_left_ns(&others) > 0;
        if (status != TI_OK && !waits)
            return status;
        env->sleep_ns(env, status == TI_OK ? LOOK_NS : LOOK_OTHER_NS);
    }
}

ti_status ti_rocks_open_memory(const ti_rocks_options *options, const ti_env *env,
                               ti_engine **engine_out, const ti_call *call, ti_err *err)
{
    ti_rocks_options complete_options = complete(options);
    *engine_out = NULL;
    TI_TRY(ti_call_check(call, "opening the database", err));
    TI_TRY(check_process(err));
    ti_rocks *e;
    TI_TRY(new_engine(NULL, &complete_options, env, &e, err));
    atomic_store(&user_pid, getpid());
    ti_status status = ti_rocks_start(e, err);
    if (status != TI_OK) {
        ti_rocks_stop(e);
        ti_rocks_free(e);
        return status;
    }
    *engine_out = &e->base;
    return TI_OK;
}

void ti_rocks_ref(ti_engine *engine)
{
    ti_rocks *e = ti_rocks_of(engine);
    if (ti_process_guard_forked(&e->guard)) {
        e->refs++; /* a child has one thread at first, and the mutex may be locked for ever */
        return;
    }
    ti_mutex_lock(&registry_mutex);
    ti_assert(e->refs > 0);
    e->refs++;
    ti_mutex_unlock(&registry_mutex);
}

/* The last reference in a child of fork() is gone. The registry is not told: a child can not open
 * anything. */
static void unref_in_child(ti_rocks *e)
{
    if (--e->refs > 0)
        return;
    ti_rocks_abandon(e);
    ti_rocks_free(e);
}

void ti_rocks_unref(ti_engine *engine)
{
    ti_rocks *e = ti_rocks_of(engine);
    if (ti_process_guard_forked(&e->guard)) {
        unref_in_child(e);
        return;
    }
    ti_mutex_lock(&registry_mutex);
    ti_assert(e->refs > 0);
    bool last = --e->refs == 0;
    bool listed = e->registered == TI_REGISTERED_OPEN;
    if (last && listed)
        e->registered = TI_REGISTERED_CLOSING;
    ti_mutex_unlock(&registry_mutex);
    if (!last)
        return;
    ti_rocks_stop(e);
    if (listed)
        leave_registry(e);
    ti_rocks_free(e);
}
