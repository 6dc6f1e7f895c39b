/* Script workers: one Lua state per thread, all of them over one worker of the library.
 *
 *   run ── threads ──> each: new state, require "tito.script", the script's function(worker)
 *    │                        └── ready ──┐
 *    ├── all ready, same types everywhere ┴─> the worker starts, every state runs its loop
 *    └── signal, stop(), a failure ──> the loops end ──> states closed, threads joined
 *
 * INVARIANTS
 *  1. A state is entered by its own thread alone, from its creation to its lua_close.
 *  2. Nothing runs before every state is ready; when one fails nothing runs at all.
 *  3. Signals are for the thread that called run: the others block them. */
#include "worker.h"

#include <lualib.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { THREADS_MAX = 256, FAILURE_MAX = 4000, LEADER_INTERVAL_MS = 1000 };

typedef struct member member;

/* What the threads of one run share. */
typedef struct company {
    tl_crew *crew;
    tl_db *db;
    const char *script, *path, *cpath; /* anchored by the arguments of run */
    size_t task_count;                 /* of each state */
    size_t thread_count;
    member *members;
    int fd; /* becomes readable when a thread has ended */

    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    size_t ready, gone;
    bool go, failed;
    char failure[FAILURE_MAX];
} company;

struct member {
    company *company;
    pthread_t thread;
    size_t number; /* from 1 */
    size_t type_count;
};

static void fail(company *c, const char *text)
{
    pthread_mutex_lock(&c->mutex);
    if (!c->failed) {
        c->failed = true;
        size_t len = strnlen(text, FAILURE_MAX - 1);
        memcpy(c->failure, text, len);
        c->failure[len] = '\0';
    }
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
    tl_crew_stop(c->crew, 0);
}

/* ---- A thread ---- */

/* Says that this state is ready and waits for the others. Whether to run. */
static bool wait_for_all(company *c)
{
    pthread_mutex_lock(&c->mutex);
    c->ready++;
    pthread_cond_broadcast(&c->changed);
    while (!c->go && !c->failed)
        pthread_cond_wait(&c->changed, &c->mutex);
    bool go = c->go && !c->failed;
    pthread_mutex_unlock(&c->mutex);
    return go;
}

static void set_package_path(lua_State *L, const char *name, const char *value)
{
    lua_getglobal(L, "package");
    lua_pushstring(L, value);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

/* Argument: the member. Loads the script, then runs the loop. */
static int member_run(lua_State *L)
{
    member *m = lua_touserdata(L, 1);
    company *c = m->company;
    luaL_openlibs(L);
    set_package_path(L, "path", c->path);
    set_package_path(L, "cpath", c->cpath);
    luaL_requiref(L, "tito.core", luaopen_tito_core, 0);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "tito.script");
    lua_call(L, 1, 1);
    tl_db_push(L, c->db);
    const tl_worker *worker = tl_worker_push(L, tl_crew_ref(c->crew), c->task_count);
    lua_pushvalue(L, -1);
    lua_insert(L, 1); /* anchored below everything */
    lua_pushstring(L, c->script);
    lua_pushinteger(L, (lua_Integer)m->number);
    lua_call(L, 4, 0);
    m->type_count = worker->type_count;
    if (!wait_for_all(c))
        return 0;
    if (tl_worker_loop(L, tl_state_registered(L), 1) > 0)
        return lua_error(L);
    return 0;
}

static int describe(lua_State *L)
{
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}

static void *member_main(void *argument)
{
    const uint64_t one = 1;
    member *m = argument;
    company *c = m->company;
    lua_State *L = luaL_newstate();
    if (L == NULL) {
        fail(c, "there is no memory for a Lua state");
    } else {
        lua_pushcfunction(L, describe);
        lua_pushcfunction(L, member_run);
        lua_pushlightuserdata(L, m);
        if (lua_pcall(L, 1, 0, 1) != LUA_OK) {
            const char *text = lua_tostring(L, -1);
            fail(c, text != NULL ? text : "a script worker failed");
        }
        lua_close(L);
    }
    pthread_mutex_lock(&c->mutex);
    c->gone++;
    pthread_mutex_unlock(&c->mutex);
    if (write(c->fd, &one, sizeof(one)) < 0)
        return NULL; /* full: it is readable all the same */
    return NULL;
}

/* ---- The run ---- */

/* Starts the threads with signals blocked. How many there are. */
static size_t start_threads(company *c)
{
    sigset_t all, before;
    size_t count = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; count < c->thread_count; count++) {
        member *m = &c->members[count];
        *m = (member){.company = c, .number = count + 1};
        if (pthread_create(&m->thread, NULL, member_main, m) != 0)
            break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (count < c->thread_count)
        fail(c, "a thread could not be started");
    return count;
}

/* Waits until every state is ready; then the worker may start. */
static void check_types(company *c)
{
    pthread_mutex_lock(&c->mutex);
    while (c->ready < c->thread_count && !c->failed)
        pthread_cond_wait(&c->changed, &c->mutex);
    bool failed = c->failed;
    pthread_mutex_unlock(&c->mutex);
    for (size_t i = 0; i < c->thread_count && !failed; i++)
        if (c->members[i].type_count != c->crew->type_count) {
            fail(c, "the script does not register the same types in every state");
            return;
        }
}

static void start_worker(company *c)
{
    tito_error_t *error = NULL;
    if (tito_worker_start(c->crew->worker, &error) != TITO_OK) {
        char text[FAILURE_MAX];
        tito_slice message = tito_error_message(error);
        size_t len = message.len < sizeof(text) - 1 ? message.len : sizeof(text) - 1;
        memcpy(text, message.data, len);
        text[len] = '\0';
        fail(c, text);
        tito_error_free(error);
        return;
    }
    pthread_mutex_lock(&c->mutex);
    c->go = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

static bool has_failed(company *c)
{
    pthread_mutex_lock(&c->mutex);
    bool failed = c->failed;
    pthread_mutex_unlock(&c->mutex);
    return failed;
}

static size_t gone(company *c)
{
    pthread_mutex_lock(&c->mutex);
    size_t count = c->gone;
    pthread_mutex_unlock(&c->mutex);
    return count;
}

/* Looks after signals and leadership until all threads have ended. is_leader: its place on the
 * stack, 0 = none. */
static void watch_over(lua_State *L, company *c, size_t thread_count, tl_watch *watch,
                       int is_leader)
{
    unsigned seen = 0;
    uint64_t ended;
    while (gone(c) < thread_count) {
        struct pollfd fds[2] = {{.fd = c->fd, .events = POLLIN},
                                {.fd = watch == NULL ? -1 : watch->fd, .events = POLLIN}};
        if (is_leader != 0) {
            lua_pushvalue(L, is_leader);
            tl_crew_ask_leader(L, c->crew);
        }
        (void)poll(fds, 2, is_leader != 0 ? LEADER_INTERVAL_MS : -1);
        while (read(c->fd, &ended, sizeof(ended)) > 0)
            continue;
        if (watch == NULL)
            continue;
        tl_watch_drain(watch);
        while (seen < tl_watch_count(watch))
            tl_crew_stop(c->crew, seen++ == 0 ? -1 : 0);
    }
}

static void run(lua_State *L, company *c, bool signals, int is_leader)
{
    tl_watch watch;
    bool watching = signals && tl_watch_begin(&watch);
    size_t count = start_threads(c);
    if (!has_failed(c))
        check_types(c);
    if (!has_failed(c))
        start_worker(c);
    watch_over(L, c, count, watching ? &watch : NULL, is_leader);
    for (size_t i = 0; i < count; i++)
        pthread_join(c->members[i].thread, NULL);
    if (watching)
        tl_watch_end(&watch);
}

/* script_run(worker, db, script, threads, concurrency of each, path, cpath, signals, is_leader):
 * true, or nil and an error. */
static int script_run(lua_State *L)
{
    const tl_worker *worker = tl_handle_get(L, 1, TL_WORKER);
    lua_Integer threads = luaL_checkinteger(L, 4), each = luaL_checkinteger(L, 5);
    company c = {.crew = worker->crew,
                 .script = luaL_checkstring(L, 3),
                 .path = luaL_checkstring(L, 6),
                 .cpath = luaL_checkstring(L, 7),
                 .task_count = (size_t)each,
                 .thread_count = (size_t)threads};
    bool signals = lua_toboolean(L, 8) != 0;
    int is_leader = lua_isfunction(L, 9) ? 9 : 0;
    luaL_argcheck(L, threads >= 1 && threads <= THREADS_MAX, 4, "1 to 256 expected");
    luaL_argcheck(L, each >= 1 && each <= 65536, 5, "1 to 65536 expected");
    luaL_checkstack(L, 16, NULL);
    c.members = lua_newuserdatauv(L, sizeof(member) * c.thread_count, 0);
    c.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c.fd < 0)
        return tl_fail_text(L, TITO_IO, "there is no descriptor for the threads");
    c.db = tl_db_ref(L, 2);
    pthread_mutex_init(&c.mutex, NULL);
    pthread_cond_init(&c.changed, NULL);
    run(L, &c, signals, is_leader);
    pthread_cond_destroy(&c.changed);
    pthread_mutex_destroy(&c.mutex);
    close(c.fd);
    tl_db_unref(c.db);
    if (c.failed)
        return tl_fail_text(L, TITO_HANDLER_FAILED, "%s", c.failure);
    return tl_crew_join(L, tl_state_of(L), c.crew);
}

const luaL_Reg tl_script_functions[] = {{"script_run", script_run}, {NULL, NULL}};
