/* Workers whose handlers run in Lua: the loop.
 *
 *   turn:  ask is_leader (each second) ── resume what waits ── while there is room: take, start
 *   loop:  turn; when nothing happened: poll(events ready, signal) until there is something to do
 *
 * A handler runs until it ends or yields; a bare yield means "resume me next turn". When all that
 * runs only yields, the turns slow down to one per millisecond.
 *
 * INVARIANTS
 *  1. At most task_count handlers of one state run at once.
 *  2. After CLOSED nothing is taken any more; the loop ends when the last task has.
 *  3. When the time to drain has passed, tasks that wait are given up.
 *  4. An event is taken just before its handler starts: its time does not run while it waits for
 *     others of this state. */
#include "worker.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LEADER_INTERVAL_US = 1000000, REST_US = 1000 };

/* ---- The crew ---- */

int64_t tl_clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

tl_crew *tl_crew_new(tito_worker_t *worker, int64_t drain_us)
{
    tl_crew *crew = calloc(1, sizeof(*crew));
    if (crew == NULL)
        return NULL;
    atomic_init(&crew->references, 1);
    atomic_init(&crew->stop_at_us, INT64_MAX);
    atomic_init(&crew->gave_up, false);
    pthread_mutex_init(&crew->mutex, NULL);
    crew->worker = worker;
    crew->drain_us = drain_us;
    return crew;
}

tl_crew *tl_crew_ref(tl_crew *crew)
{
    atomic_fetch_add(&crew->references, 1);
    return crew;
}

void tl_crew_unref(tl_crew *crew)
{
    if (atomic_fetch_sub(&crew->references, 1) != 1)
        return;
    tito_worker_free(crew->worker);
    for (size_t i = 0; i < crew->type_count; i++)
        free(crew->types[i]);
    pthread_mutex_destroy(&crew->mutex);
    free(crew);
}

void tl_crew_stop(tl_crew *crew, int64_t drain_us)
{
    if (drain_us < 0)
        drain_us = crew->drain_us;
    long long at_us = tl_clock_us() + drain_us;
    long long known = atomic_load(&crew->stop_at_us);
    while (at_us < known && !atomic_compare_exchange_weak(&crew->stop_at_us, &known, at_us))
        continue;
    (void)tito_worker_stop(crew->worker, drain_us);
}

bool tl_crew_is_over(const tl_crew *crew)
{
    long long at_us = atomic_load(&crew->stop_at_us);
    return at_us != INT64_MAX && tl_clock_us() >= at_us;
}

/* mutex held. */
static bool knows_type(const tl_crew *crew, const char *type, size_t len)
{
    for (size_t i = 0; i < crew->type_count; i++)
        if (strlen(crew->types[i]) == len && memcmp(crew->types[i], type, len) == 0)
            return true;
    return false;
}

int32_t tl_crew_on(tl_crew *crew, const char *type, size_t len, const tito_options_t *options,
                   tito_error_t **error_out)
{
    int32_t status = TITO_OK;
    *error_out = NULL;
    pthread_mutex_lock(&crew->mutex);
    if (!knows_type(crew, type, len)) {
        char *copy = crew->type_count < TL_TYPES_MAX ? strndup(type, len) : NULL;
        status = copy == NULL
                     ? TITO_LIMIT_EXCEEDED
                     : tito_worker_on(crew->worker, type, len, options, NULL, NULL, error_out);
        if (status == TITO_OK)
            crew->types[crew->type_count++] = copy;
        else
            free(copy);
    }
    pthread_mutex_unlock(&crew->mutex);
    return status;
}

int tl_crew_join(lua_State *L, tl_state *state, tl_crew *crew)
{
    int count = tl_finish(L, state, tito_worker_join(crew->worker), tl_push_flag);
    if (count == 1 && (!lua_toboolean(L, -1) || atomic_load(&crew->gave_up))) {
        lua_pop(L, 1);
        return tl_fail_text(L, TITO_TIMEOUT,
                            "the worker stopped before every handler had ended: the time to drain "
                            "has passed");
    }
    return count;
}

void tl_crew_ask_leader(lua_State *L, tl_crew *crew)
{
    bool leads = false;
    if (lua_pcall(L, 0, 1, 0) == LUA_OK) {
        leads = lua_toboolean(L, -1) != 0;
    } else {
        const char *text = lua_tostring(L, -1);
        lua_warning(L, "tito: is_leader failed, so this worker rests: ", 1);
        lua_warning(L, text != NULL ? text : "an error that is no text", 0);
    }
    lua_pop(L, 1);
    (void)tito_worker_set_leader(crew->worker, leads ? 1 : 0);
}

/* ---- The worker of a state ---- */

void tl_worker_release(void *pointer)
{
    tl_worker *worker = pointer;
    tito_future_free(worker->joined);
    tl_crew_unref(worker->crew);
    free(worker->tasks);
    free(worker);
}

static tl_worker *worker_alloc(tl_crew *crew, size_t task_count)
{
    tl_worker *worker = calloc(1, sizeof(*worker));
    tl_task *tasks = calloc(task_count, sizeof(*tasks));
    if (worker == NULL || tasks == NULL) {
        free(worker);
        free(tasks);
        return NULL;
    }
    worker->crew = crew;
    worker->tasks = tasks;
    worker->task_count = task_count;
    for (size_t i = 0; i < task_count; i++)
        tasks[i].worker = worker;
    return worker;
}

tl_worker *tl_worker_push(lua_State *L, tl_crew *crew, size_t task_count)
{
    void **slot = tl_handle_new(L, TL_WORKER);
    tl_worker *worker = worker_alloc(crew, task_count);
    if (worker == NULL) {
        tl_crew_unref(crew);
        tl_raise(L, TITO_OUT_OF_MEMORY, "there is no memory for a worker");
    }
    *slot = worker;
    lua_newtable(L);
    lua_setiuservalue(L, -2, 1);
    return worker;
}

/* worker_new(db, options, concurrency, drain_timeout): a handle. */
static int worker_new(lua_State *L)
{
    tito_db_t *db = tl_check_db(L, 1);
    lua_Integer concurrency = luaL_checkinteger(L, 3);
    int64_t drain_us = tl_check_seconds(L, 4);
    tito_options_t *options;
    tito_error_t *error = NULL;
    tito_worker_t *worker = NULL;
    luaL_argcheck(L, concurrency >= 1 && concurrency <= 65536, 3, "1 to 65536 expected");
    tl_options(L, 2, &options);
    int32_t status = tito_worker_new(db, options, &worker, &error);
    tito_options_free(options);
    if (status != TITO_OK)
        return tl_fail(L, status, error);
    tl_crew *crew = tl_crew_new(worker, drain_us);
    if (crew == NULL) {
        tito_worker_free(worker);
        return tl_fail_text(L, TITO_OUT_OF_MEMORY, "there is no memory for a worker");
    }
    (void)tl_worker_push(L, crew, (size_t)concurrency);
    return 1;
}

/* worker_functions(worker, serve, is_leader): what the loop calls; is_leader may be nil. */
static int worker_functions(lua_State *L)
{
    (void)tl_handle_get(L, 1, TL_WORKER);
    lua_settop(L, 3);
    lua_getiuservalue(L, 1, 1);
    lua_insert(L, 2);
    lua_setfield(L, 2, "is_leader");
    lua_setfield(L, 2, "serve");
    return 0;
}

/* worker_on(worker, type, options) */
static int worker_on(lua_State *L)
{
    size_t len;
    tl_worker *worker = tl_handle_get(L, 1, TL_WORKER);
    const char *type = luaL_checklstring(L, 2, &len);
    tito_options_t *options;
    tito_error_t *error = NULL;
    tl_options(L, 3, &options);
    int32_t status = tl_crew_on(worker->crew, type, len, options, &error);
    tito_options_free(options);
    if (status != TITO_OK)
        return tl_fail(L, status, error);
    worker->type_count++;
    lua_pushboolean(L, 1);
    return 1;
}

/* worker_start(worker) */
static int worker_start(lua_State *L)
{
    tl_worker *worker = tl_handle_get(L, 1, TL_WORKER);
    tito_error_t *error = NULL;
    int32_t status = tito_worker_start(worker->crew->worker, &error);
    if (status != TITO_OK)
        return tl_fail(L, status, error);
    lua_pushboolean(L, 1);
    return 1;
}

/* worker_stop(worker, drain_timeout): nil: the worker's own. */
static int worker_stop(lua_State *L)
{
    tl_worker *worker = tl_handle_get(L, 1, TL_WORKER);
    int64_t drain_us = tl_opt_seconds(L, 2, -1);
    if (drain_us < 0 && !lua_isnoneornil(L, 2))
        tl_raise(L, TITO_INVALID_ARGUMENT, "drain_timeout must not be negative");
    tl_crew_stop(worker->crew, drain_us);
    return 0;
}

/* worker_fd(worker) */
static int worker_fd(lua_State *L)
{
    tl_worker *worker = tl_handle_get(L, 1, TL_WORKER);
    lua_pushinteger(L, tito_worker_fd(worker->crew->worker));
    return 1;
}

/* ---- A turn ---- */

void tl_worker_signals(tl_worker *worker)
{
    if (worker->watch == NULL)
        return;
    unsigned count = tl_watch_count(worker->watch);
    while (worker->signals_seen < count)
        tl_crew_stop(worker->crew, worker->signals_seen++ == 0 ? -1 : 0);
}

static void ask_leader(lua_State *L, int anchor, tl_worker *worker)
{
    if (lua_getfield(L, anchor, "is_leader") != LUA_TFUNCTION ||
        tl_clock_us() < worker->leader_at_us) {
        lua_pop(L, 1);
        return;
    }
    tl_crew_ask_leader(L, worker->crew);
    worker->leader_at_us = tl_clock_us() + LEADER_INTERVAL_US;
}

/* Resumes every task that waits. Whether one has ended. */
static bool resume_waiting(lua_State *L, tl_state *state, int anchor, tl_worker *worker)
{
    size_t before = worker->running;
    for (size_t i = 0; i < worker->task_count && worker->running > 0; i++) {
        tl_task *task = &worker->tasks[i];
        if (!task->waiting)
            continue;
        if (tl_crew_is_over(worker->crew))
            tl_task_abandon(L, anchor, task);
        else
            tl_task_resume(L, state, anchor, task);
    }
    return worker->running < before;
}

/* Takes an event without waiting; *event_out NULL: there is none. */
static int32_t take(tl_worker *worker, tito_event_t **event_out, tito_error_t **error_out)
{
    size_t count = 0;
    *event_out = NULL;
    int32_t status = tito_worker_take(worker->crew->worker, event_out, 1, 0, &count, error_out);
    if (status != TITO_CLOSED)
        return status;
    worker->closed = true;
    tito_error_free(*error_out);
    *error_out = NULL;
    return TITO_OK;
}

/* Starts events in free tasks, at most TL_START_MAX. *started_out: whether there was one. */
static int32_t start_ready(lua_State *L, tl_state *state, int anchor, tl_worker *worker,
                           bool *started_out, tito_error_t **error_out)
{
    size_t place = 0; /* nothing before it becomes free in here */
    *started_out = false;
    for (int i = 0; i < TL_START_MAX && !worker->closed; i++) {
        tito_event_t *event;
        if (worker->running == worker->task_count)
            return TITO_OK;
        int32_t status = take(worker, &event, error_out);
        if (status != TITO_OK || event == NULL)
            return status;
        while (worker->tasks[place].event != NULL)
            place++;
        *started_out = true;
        tl_task_start(L, state, anchor, &worker->tasks[place], event);
    }
    return TITO_OK;
}

/* How long the loop may rest after a turn, at most limit_us. */
static int64_t rest_us(lua_State *L, int anchor, tl_worker *worker, bool progress, int64_t limit_us)
{
    if (progress) {
        worker->quick_turns = 0;
        return 0;
    }
    if (worker->running > 0) {
        int64_t us = worker->quick_turns++ < TL_QUICK_TURNS ? 0 : REST_US;
        return us < limit_us ? us : limit_us;
    }
    if (lua_getfield(L, anchor, "is_leader") == LUA_TFUNCTION) {
        int64_t us = worker->leader_at_us - tl_clock_us();
        limit_us = us < limit_us ? us : limit_us;
    }
    lua_pop(L, 1);
    return limit_us > 0 ? limit_us : 0;
}

/* Waits until events are ready, a signal comes or the time has passed. */
static void rest(tl_worker *worker, int64_t us)
{
    struct pollfd fds[2];
    nfds_t count = 0;
    worker->rested = us > 0;
    if (us <= 0)
        return;
    if (!worker->closed && worker->running < worker->task_count)
        fds[count++] =
            (struct pollfd){.fd = tito_worker_fd(worker->crew->worker), .events = POLLIN};
    if (worker->watch != NULL)
        fds[count++] = (struct pollfd){.fd = worker->watch->fd, .events = POLLIN};
    struct timespec limit = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    (void)ppoll(fds, count, &limit, NULL); /* whatever it was, the next turn finds out */
    if (worker->watch != NULL)
        tl_watch_drain(worker->watch);
}

/* One turn, then a rest of at most limit_us when nothing happened. The anchor is at index. */
static int32_t turn(lua_State *L, tl_state *state, int anchor, tl_worker *worker, int64_t limit_us,
                    tito_error_t **error_out)
{
    *error_out = NULL;
    worker->rested = false;
    tl_worker_signals(worker);
    tl_log_look(L, state);
    ask_leader(L, anchor, worker);
    bool progress = resume_waiting(L, state, anchor, worker);
    bool started;
    int32_t status = start_ready(L, state, anchor, worker, &started, error_out);
    if (status != TITO_OK)
        return status;
    if (!worker->closed || worker->running > 0)
        rest(worker, rest_us(L, anchor, worker, progress || started, limit_us));
    return TITO_OK;
}

typedef struct looping {
    tl_state *state;
    tl_worker *worker;
    bool once;
    int64_t limit_us;
} looping;

static bool has_ended(const tl_worker *worker)
{
    return worker->closed && worker->running == 0;
}

/* Arguments: a looping, the anchor. Results: none, or nil and an error. */
static int loop_protected(lua_State *L)
{
    looping *l = lua_touserdata(L, 1);
    tito_error_t *error;
    int32_t status = TITO_OK;
    do
        status = turn(L, l->state, 2, l->worker, l->limit_us, &error);
    while (status == TITO_OK && !l->once && !has_ended(l->worker));
    if (status == TITO_OK && l->once && l->worker->rested)
        status = turn(L, l->state, 2, l->worker, 0, &error); /* what came meanwhile */
    return status == TITO_OK ? 0 : tl_fail(L, status, error);
}

/* Runs the loop (or one turn) of the worker at index, protected against running inside itself. */
static int run(lua_State *L, tl_state *state, int index, bool once, int64_t limit_us)
{
    tl_worker *worker = tl_handle_peek(L, index, TL_WORKER);
    looping l = {.state = state, .worker = worker, .once = once, .limit_us = limit_us};
    if (worker->in_turn)
        tl_raise(L, TITO_INVALID_STATE, "a handler can not run the worker that runs it");
    lua_pushvalue(L, index); /* alive while the loop runs */
    int top = lua_gettop(L);
    lua_pushcfunction(L, loop_protected);
    lua_pushlightuserdata(L, &l);
    lua_getiuservalue(L, index, 1);
    worker->in_turn = true;
    int called = lua_pcall(L, 2, LUA_MULTRET, 0);
    worker->in_turn = false;
    if (called != LUA_OK)
        return lua_error(L);
    return lua_gettop(L) - top;
}

int tl_worker_loop(lua_State *L, tl_state *state, int index)
{
    return run(L, state, index, false, LEADER_INTERVAL_US);
}

/* What step returns after the last handler: true while commits are under way, then what join says,
 * false for well. */
static int step_to_end(lua_State *L, tl_worker *worker, int64_t limit_us)
{
    tl_crew *crew = worker->crew;
    if (worker->joined == NULL)
        worker->joined = tito_worker_join(crew->worker);
    (void)tito_future_wait(worker->joined, limit_us < 0 ? 0 : limit_us, NULL);
    if (worker->joined != NULL && tito_future_ready(worker->joined) == 0) {
        lua_pushboolean(L, 1);
        return 1;
    }
    int count = tl_crew_join(L, tl_state_of(L), crew);
    if (count == 1)
        lua_pushboolean(L, 0);
    return count;
}

/* worker_step(worker, seconds): one turn that waits at most so long; whether the worker goes on. */
static int worker_step(lua_State *L)
{
    tl_worker *worker = tl_handle_get(L, 1, TL_WORKER);
    int64_t limit_us = tl_check_seconds(L, 2);
    int count = run(L, tl_state_of(L), 1, true, limit_us);
    if (count > 0)
        return count;
    if (has_ended(worker))
        return step_to_end(L, worker, limit_us);
    lua_pushboolean(L, 1);
    return 1;
}

/* Arguments: the handle, the state. Results: true, or nil and an error. */
static int run_to_end(lua_State *L)
{
    tl_state *state = lua_touserdata(L, 2);
    const tl_worker *worker = tl_handle_peek(L, 1, TL_WORKER);
    int count = tl_worker_loop(L, state, 1);
    return count > 0 ? count : tl_crew_join(L, state, worker->crew);
}

/* worker_run(worker, signals): runs until the worker has ended; true, or nil and an error. */
static int worker_run(lua_State *L)
{
    tl_watch watch;
    tl_state *state = tl_state_of(L);
    tl_worker *worker = tl_handle_get(L, 1, TL_WORKER);
    bool watching = lua_toboolean(L, 2) && worker->watch == NULL && tl_watch_begin(&watch);
    lua_settop(L, 1);
    if (watching) {
        worker->watch = &watch;
        worker->signals_seen = 0;
    }
    lua_pushcfunction(L, run_to_end);
    lua_insert(L, 1);
    lua_pushlightuserdata(L, state);
    int called = lua_pcall(L, 2, LUA_MULTRET, 0);
    if (watching) {
        worker->watch = NULL;
        tl_watch_end(&watch);
    }
    if (called != LUA_OK)
        return lua_error(L);
    return lua_gettop(L);
}

const luaL_Reg tl_worker_functions[] = {{"worker_new", worker_new},
                                        {"worker_functions", worker_functions},
                                        {"worker_on", worker_on},
                                        {"worker_start", worker_start},
                                        {"worker_stop", worker_stop},
                                        {"worker_fd", worker_fd},
                                        {"worker_step", worker_step},
                                        {"worker_run", worker_run},
                                        {NULL, NULL}};
