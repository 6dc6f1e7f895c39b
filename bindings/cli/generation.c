/* One loading of the app: a Lua state per thread, all of them over one worker of the library.
 *
 *   manager ── threads ──> each: new state, the app's file, function(worker)
 *      │                        └── loaded ──┐
 *   LOADING ───────────────────────────────> LOADED ── go ──> STARTING ──> RUNNING ─┐ all loops
 *      │                                       │ stop            │ failed           │ have ended,
 *      │                                       │                 │                  v all settled
 *      └── the app has an error, stop ─────────┴─────────────────┴────────────────> ENDED
 *
 *   LOADING -> LOADED    every thread has run the file; they wait           [manage]
 *   LOADED -> STARTING   tc_generation_go; the manager starts the worker    [manage]
 *   STARTING -> RUNNING  the threads' loops take events                     [manage]
 *   any -> ENDED         the threads have ended, outcomes are committed     [manage]
 *
 * INVARIANTS
 *  1. A state is entered by its own thread alone, from its creation to its lua_close.
 *  2. No event is taken before every state has loaded and go was said.
 *  3. Only the manager changes the phase, and tells after each change.
 *  4. What blocks (loading, starting, joining, asking the store) blocks threads of the generation,
 *     never the one that calls the functions here. */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LOAD_HOOK_INSTRUCTIONS = 10000, IDLE_LOOK_MS = 100, NS_PER_MS = 1000000 };

typedef struct member {
    tc_generation *generation;
    pthread_t thread;
    size_t number; /* from 1 */
    size_t type_count;
} member;

struct tc_generation {
    const tc_setup *setup;
    tl_db *db; /* borrowed */
    tl_crew *crew;
    member *members;
    size_t member_count; /* threads that exist */
    pthread_t manager;
    int event_fd;
    atomic_bool stopping;

    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    tc_phase phase;
    size_t loaded, gone;
    bool go, over; /* over: the loops must not begin */
    bool failed, drained;
    char failure[TC_TEXT_MAX];
};

/* ---- What the threads tell each other ---- */

static void set_phase(tc_generation *g, tc_phase phase)
{
    const uint64_t one = 1;
    pthread_mutex_lock(&g->mutex);
    g->phase = phase;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
    if (write(g->event_fd, &one, sizeof(one)) < 0)
        return; /* full: it is readable all the same */
}

/* Keeps the first failure and ends the generation. Not a failure: text NULL. */
static void end_with(tc_generation *g, const char *text)
{
    pthread_mutex_lock(&g->mutex);
    if (!g->failed && text != NULL) {
        g->failed = true;
        (void)snprintf(g->failure, sizeof(g->failure), "%s", text);
    }
    g->over = true;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
    tl_crew_stop(g->crew, 0);
}

static void end_with_error(tc_generation *g, tito_error_t *error)
{
    char text[TC_TEXT_MAX];
    tito_slice message = tito_error_message(error);
    (void)snprintf(text, sizeof(text), "%.*s", (int)message.len, message.data);
    tito_error_free(error);
    end_with(g, text);
}

/* ---- A thread ---- */

/* Says that this state has loaded and waits until the worker runs. Whether to run the loop. */
static bool wait_for_start(tc_generation *g)
{
    pthread_mutex_lock(&g->mutex);
    g->loaded++;
    pthread_cond_broadcast(&g->changed);
    while (g->phase != TC_RUNNING && !g->over)
        pthread_cond_wait(&g->changed, &g->mutex);
    bool run = g->phase == TC_RUNNING;
    pthread_mutex_unlock(&g->mutex);
    return run;
}

/* The generation of a state, for the hook. */
static const char generation_key;

static void on_count(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &generation_key);
    tc_generation *g = lua_touserdata(L, -1);
    lua_pop(L, 1);
    /* Coroutines that the file has made keep this hook: it must not touch them later. */
    if (atomic_load(&g->stopping) && tc_generation_phase(g) == TC_LOADING)
        luaL_error(L, "the program ends");
}

/* The table of host.lua is on top; replaced by the worker's handle, at 2. */
static tl_worker *load(lua_State *L, member *m)
{
    tc_generation *g = m->generation;
    size_t each = (g->setup->concurrency + g->setup->threads - 1) / g->setup->threads;
    lua_getfield(L, -1, "app");
    tl_db_push(L, g->db);
    tl_worker *worker = tl_worker_push(L, tl_crew_ref(g->crew), each);
    lua_pushvalue(L, -1);
    lua_replace(L, 2);
    lua_pushstring(L, g->setup->app);
    lua_pushinteger(L, (lua_Integer)m->number);
    lua_sethook(L, on_count, LUA_MASKCOUNT, LOAD_HOOK_INSTRUCTIONS);
    lua_call(L, 4, 0);
    lua_sethook(L, NULL, 0, 0);
    return worker;
}

/* Argument: the member. Loads the app, then runs the loop. */
static int member_run(lua_State *L)
{
    member *m = lua_touserdata(L, 1);
    lua_pushlightuserdata(L, m->generation);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &generation_key);
    tc_state_fill(L, m->generation->setup->app);
    const tl_worker *worker = load(L, m);
    m->type_count = worker->type_count;
    if (wait_for_start(m->generation) && tl_worker_loop(L, tl_state_registered(L), 2) > 0)
        return lua_error(L);
    return 0;
}

/* Calls run(argument) in a state of its own. What it raised ends the generation. */
static void with_state(tc_generation *g, lua_CFunction run, void *argument)
{
    lua_State *L = luaL_newstate();
    if (L == NULL) {
        end_with(g, "there is no memory for a Lua state");
        return;
    }
    lua_pushcfunction(L, tc_state_describe);
    lua_pushcfunction(L, run);
    lua_pushlightuserdata(L, argument);
    if (lua_pcall(L, 1, 0, 1) != LUA_OK) {
        bool stopped = tc_generation_phase(g) == TC_LOADING && atomic_load(&g->stopping);
        const char *text = lua_tostring(L, -1);
        end_with(g, stopped ? NULL : text != NULL ? text : "a Lua state failed");
    }
    lua_close(L);
}

static void *member_main(void *argument)
{
    member *m = argument;
    tc_generation *g = m->generation;
    char name[16];
    (void)snprintf(name, sizeof(name), "tito-lua-%u", (unsigned)m->number);
    (void)pthread_setname_np(pthread_self(), name);
    with_state(g, member_run, m);
    pthread_mutex_lock(&g->mutex);
    g->gone++;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
    return NULL;
}

/* ---- The end of --once ---- */

/* Waits a moment. Whether the threads still run. */
static bool rest_while_running(tc_generation *g)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)IDLE_LOOK_MS * NS_PER_MS;
    until.tv_sec += until.tv_nsec / (1000L * NS_PER_MS);
    until.tv_nsec %= 1000L * NS_PER_MS;
    pthread_mutex_lock(&g->mutex);
    if (g->gone == 0 && !g->over)
        (void)pthread_cond_timedwait(&g->changed, &g->mutex, &until);
    bool running = g->gone == 0 && !g->over;
    pthread_mutex_unlock(&g->mutex);
    return running && !atomic_load(&g->stopping);
}

/* Argument: the generation. Ends it as soon as nothing is due. */
static int look_for_end(lua_State *L)
{
    tc_generation *g = lua_touserdata(L, 1);
    tc_state_fill(L, NULL);
    lua_getfield(L, -1, "is_idle");
    tl_db_push(L, g->db);
    lua_createtable(L, (int)g->crew->type_count, 0);
    for (size_t i = 0; i < g->crew->type_count; i++) {
        lua_pushstring(L, g->crew->types[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    while (rest_while_running(g)) {
        for (int i = -3; i < 0; i++)
            lua_pushvalue(L, -3);
        lua_call(L, 2, 1);
        bool idle = lua_toboolean(L, -1) != 0;
        lua_pop(L, 1);
        if (!idle)
            continue;
        tc_log(TC_INFO, "no event is due: ending");
        tl_crew_stop(g->crew, -1);
        return 0;
    }
    return 0;
}

/* ---- The manager ---- */

static void start_members(tc_generation *g)
{
    while (g->member_count < g->setup->threads) {
        member *m = &g->members[g->member_count];
        *m = (member){.generation = g, .number = g->member_count + 1};
        if (pthread_create(&m->thread, NULL, member_main, m) != 0) {
            end_with(g, "a thread could not be started");
            return;
        }
        g->member_count++;
    }
}

/* Waits until every state has loaded. Whether the generation goes on. */
static bool wait_for_members(tc_generation *g)
{
    pthread_mutex_lock(&g->mutex);
    while (g->loaded < g->setup->threads && !g->over)
        pthread_cond_wait(&g->changed, &g->mutex);
    bool over = g->over;
    pthread_mutex_unlock(&g->mutex);
    return !over;
}

static bool check_types(tc_generation *g)
{
    if (g->crew->type_count == 0) {
        end_with(g, "the app registers no handler: call worker:on in the function that it returns");
        return false;
    }
    for (size_t i = 0; i < g->member_count; i++)
        if (g->members[i].type_count != g->crew->type_count) {
            end_with(g, "the app does not register the same types in every thread");
            return false;
        }
    return true;
}

/* Waits for go. Whether the generation goes on. */
static bool wait_for_go(tc_generation *g)
{
    pthread_mutex_lock(&g->mutex);
    while (!g->go && !g->over)
        pthread_cond_wait(&g->changed, &g->mutex);
    bool over = g->over;
    pthread_mutex_unlock(&g->mutex);
    return !over;
}

/* Whether the worker runs. */
static bool start_worker(tc_generation *g)
{
    tito_error_t *error = NULL;
    set_phase(g, TC_STARTING);
    if (tito_worker_start(g->crew->worker, &error) == TITO_OK) {
        set_phase(g, TC_RUNNING);
        return true;
    }
    if (atomic_load(&g->stopping)) { /* it was stopped meanwhile */
        tito_error_free(error);
        end_with(g, NULL);
    } else {
        end_with_error(g, error);
    }
    return false;
}

/* Waits until everything is settled. */
static void join_worker(tc_generation *g)
{
    tito_error_t *error = NULL;
    tito_future_t *joined = tito_worker_join(g->crew->worker);
    if (tito_future_wait(joined, -1, &error) != TITO_OK)
        end_with_error(g, error);
    pthread_mutex_lock(&g->mutex);
    g->drained = tito_future_int(joined) != 0 && !atomic_load(&g->crew->gave_up);
    pthread_mutex_unlock(&g->mutex);
    tito_future_free(joined);
}

static void *manage(void *argument)
{
    tc_generation *g = argument;
    bool started = false;
    (void)pthread_setname_np(pthread_self(), "tito-manager");
    start_members(g);
    if (wait_for_members(g) && check_types(g)) {
        set_phase(g, TC_LOADED);
        started = wait_for_go(g) && start_worker(g);
    }
    if (started && g->setup->once)
        with_state(g, look_for_end, g);
    for (size_t i = 0; i < g->member_count; i++)
        pthread_join(g->members[i].thread, NULL);
    if (started)
        join_worker(g);
    else
        g->drained = true; /* nothing was taken */
    set_phase(g, TC_ENDED);
    return NULL;
}

/* ---- Making one ---- */

static void on_failure(const tito_event_t *event, const char *text, size_t len)
{
    tito_slice id = tito_event_text(event, TITO_EVENT_ID);
    tito_slice type = tito_event_text(event, TITO_EVENT_TYPE);
    const char *end = memchr(text, '\n', len);
    size_t line = end != NULL ? (size_t)(end - text) : len;
    tc_log(TC_WARN, "event failed type=%.*s id=%.*s attempt=%lld: %.*s", (int)type.len, type.data,
           (int)id.len, id.data, (long long)tito_event_int(event, TITO_EVENT_ATTEMPTS) + 1,
           (int)line, text);
}

/* NULL: told. */
static tl_crew *new_crew(const tc_setup *setup, tito_db_t *db)
{
    tito_worker_t *worker = NULL;
    tito_error_t *error = NULL;
    if (tito_worker_new(db, setup->worker_options, &worker, &error) != TITO_OK) {
        tito_slice message = tito_error_message(error);
        tc_log(TC_ERROR, "there is no worker: %.*s", (int)message.len, message.data);
        tito_error_free(error);
        return NULL;
    }
    tl_crew *crew = tl_crew_new(worker, setup->drain_us);
    if (crew == NULL) {
        tito_worker_free(worker);
        tc_log(TC_ERROR, "there is no memory for a worker");
        return NULL;
    }
    crew->on_failure = on_failure;
    return crew;
}

static void release(tc_generation *g)
{
    if (g->crew != NULL)
        tl_crew_unref(g->crew);
    pthread_cond_destroy(&g->changed);
    pthread_mutex_destroy(&g->mutex);
    free(g->members);
    free(g);
}

tc_generation *tc_generation_new(const tc_setup *setup, tito_db_t *db, tl_db *box, int event_fd)
{
    tc_generation *g = calloc(1, sizeof(*g));
    if (g == NULL) {
        tc_log(TC_ERROR, "there is no memory to load the app");
        return NULL;
    }
    g->setup = setup;
    g->event_fd = event_fd;
    pthread_mutex_init(&g->mutex, NULL);
    pthread_cond_init(&g->changed, NULL);
    g->members = calloc(setup->threads, sizeof(*g->members));
    g->crew = g->members != NULL ? new_crew(setup, db) : NULL;
    g->db = box;
    if (g->crew == NULL || pthread_create(&g->manager, NULL, manage, g) != 0) {
        tc_log(TC_ERROR, "the app can not be loaded: there is no memory or no thread");
        release(g);
        return NULL;
    }
    return g;
}

/* ---- For the main thread ---- */

tc_phase tc_generation_phase(tc_generation *g)
{
    pthread_mutex_lock(&g->mutex);
    tc_phase phase = g->phase;
    pthread_mutex_unlock(&g->mutex);
    return phase;
}

void tc_generation_go(tc_generation *g)
{
    pthread_mutex_lock(&g->mutex);
    g->go = true;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
}

void tc_generation_stop(tc_generation *g, int64_t drain_us)
{
    atomic_store(&g->stopping, true);
    pthread_mutex_lock(&g->mutex);
    if (g->phase < TC_STARTING)
        g->over = true;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
    tl_crew_stop(g->crew, drain_us);
}

void tc_generation_lead(tc_generation *g, bool leads)
{
    (void)tito_worker_set_leader(g->crew->worker, leads ? 1 : 0);
}

const char *tc_generation_failure(const tc_generation *g)
{
    return g->failed ? g->failure : NULL;
}

bool tc_generation_drained(const tc_generation *g)
{
    return g->drained;
}

void tc_generation_types(tc_generation *g, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < g->crew->type_count && used < size; i++)
        used +=
            (size_t)snprintf(out + used, size - used, "%s%s", i > 0 ? ", " : "", g->crew->types[i]);
}

void tc_generation_free(tc_generation *g)
{
    pthread_join(g->manager, NULL);
    release(g);
}
