/* One event and its handler: a coroutine that may yield, an outcome that is settled once.
 *
 *   coroutine: task_main(handle, serve) ── builds the event's table, calls serve(event) of
 *   lua/tito/worker.lua, which answers with the outcome:
 *     "acknowledge" │ "fail", text │ "reschedule", seconds │ "advance", JSON text
 *   or raises: the event fails with the message and the traceback.
 *
 * INVARIANTS
 *  1. The event's transaction is taken back before the event is settled.
 *  2. A coroutine that ended by an error, or that was interrupted, is not used again.
 *  3. Lua code of a handler that has run for too long, or that still runs when the time to drain
 *     has passed, is interrupted by a hook: once by an error, then, should that be caught, at
 *     each instruction. */
#include "worker.h"

#include <math.h>
#include <string.h>

enum { FAILURE_SIZE_MAX = 4000 };

/* ---- In the coroutine ---- */

static int main_continued(lua_State *L, int status, lua_KContext context)
{
    (void)status, (void)context;
    return lua_gettop(L) - 1;
}

/* Arguments: the event's handle, serve, the state. */
static int task_main(lua_State *L)
{
    tl_state *state = lua_touserdata(L, 3);
    tito_event_t *event = tl_handle_peek(L, 1, TL_EVENT);
    if (tito_event_count(event) > 0)
        tl_events_push(L, state, event);
    else
        tl_event_push(L, state, event);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "handle");
    lua_replace(L, 3);
    lua_callk(L, 1, LUA_MULTRET, 0, main_continued);
    return main_continued(L, LUA_OK, 0);
}

static void on_count(lua_State *L, lua_Debug *ar)
{
    const tl_state *state = tl_state_registered(L);
    const tl_task *task = state == NULL ? NULL : state->running;
    (void)ar;
    if (task == NULL || task->event == NULL)
        return;
    tl_worker_signals(task->worker);
    bool expired = tito_event_expired(task->event) != 0;
    if (!expired && !tl_crew_is_over(task->worker->crew))
        return;
    if (!expired)
        atomic_store(&task->worker->crew->gave_up, true);
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    luaL_error(L, expired ? "the handler has run longer than its handler_timeout"
                          : "the worker has stopped, and the time to drain has passed");
}

/* ---- Outcomes ---- */

/* Cuts text to what an event keeps, at the boundary of a character, and replaces bytes that are not
 * ASCII when it is not UTF-8. */
static size_t clean_failure(const char *text, size_t len, char *out)
{
    size_t used = len < FAILURE_SIZE_MAX ? len : FAILURE_SIZE_MAX;
    if (used < len)
        while (used > 0 && ((unsigned char)text[used] & 0xC0) == 0x80)
            used--;
    memcpy(out, text, used);
    if (!tl_is_utf8(out, used))
        for (size_t i = 0; i < used; i++)
            if ((unsigned char)out[i] >= 0x80)
                out[i] = '?';
    return used;
}

void tl_event_fail(tito_event_t *event, const char *text, size_t len)
{
    char clean[FAILURE_SIZE_MAX] = "";
    (void)tito_event_fail(event, clean, clean_failure(text, len, clean));
}

static void fail_event(const tl_task *task, const char *text, size_t len)
{
    char clean[FAILURE_SIZE_MAX] = "";
    size_t used = clean_failure(text, len, clean);
    if (task->worker->crew->on_failure != NULL)
        task->worker->crew->on_failure(task->event, clean, used);
    (void)tito_event_fail(task->event, clean, used);
}

/* Settles by the outcome that the coroutine has returned: count values on its stack. */
static void settle(const tl_task *task, lua_State *thread, int count)
{
    tito_event_t *event = task->event;
    static const char unknown[] = "the handler's outcome is not known";
    size_t len = 0;
    const char *kind =
        count >= 1 && lua_type(thread, -count) == LUA_TSTRING ? lua_tostring(thread, -count) : "";
    int value = count >= 2 ? lua_absindex(thread, -count + 1) : 0;
    bool text = value != 0 && lua_type(thread, value) == LUA_TSTRING;
    const char *bytes = text ? lua_tolstring(thread, value, &len) : NULL;
    if (strcmp(kind, "acknowledge") == 0)
        (void)tito_event_acknowledge(event);
    else if (strcmp(kind, "fail") == 0 && text)
        fail_event(task, bytes, len);
    else if (strcmp(kind, "reschedule") == 0 && value != 0)
        (void)tito_event_reschedule(event, (int64_t)floor(lua_tonumber(thread, value) * 1e6 + 0.5));
    else if (strcmp(kind, "advance") == 0 && text)
        (void)tito_event_advance(event, bytes, len);
    else
        fail_event(task, unknown, sizeof(unknown) - 1);
}

/* The message and traceback of the error on top of the coroutine's stack. Protected: __tostring may
 * be the program's own. Arguments: the coroutine. */
static int describe_failure(lua_State *L)
{
    lua_State *thread = lua_tothread(L, 1);
    lua_pushvalue(thread, -1);
    lua_xmove(thread, L, 1);
    const char *message = luaL_tolstring(L, -1, NULL);
    luaL_traceback(L, thread, message, 0);
    return 1;
}

static void settle_failure(lua_State *L, const tl_task *task, lua_State *thread)
{
    static const char nameless[] = "the handler failed with an error that can not be shown";
    size_t len;
    lua_pushcfunction(L, describe_failure);
    lua_pushthread(thread);
    lua_xmove(thread, L, 1);
    bool described = lua_pcall(L, 1, 1, 0) == LUA_OK && lua_type(L, -1) == LUA_TSTRING;
    const char *text = described ? lua_tolstring(L, -1, &len) : NULL;
    if (described)
        fail_event(task, text, len);
    else
        fail_event(task, nameless, sizeof(nameless) - 1);
    lua_pop(L, 1);
}

/* ---- Life ---- */

static lua_Integer thread_place(const tl_task *task)
{
    return 2 * (lua_Integer)(task - task->worker->tasks) + 1;
}

/* Frees the event, empties its handle and makes the task free. */
static void end(lua_State *L, int anchor, tl_task *task)
{
    lua_rawgeti(L, anchor, thread_place(task) + 1);
    if (tl_handle_peek(L, -1, TL_EVENT) != NULL) {
        tl_event_end_txn(L, lua_gettop(L));
        tito_event_free(tl_handle_take(L, -1, TL_EVENT));
    }
    lua_pop(L, 1);
    lua_pushboolean(L, 0);
    lua_rawseti(L, anchor, thread_place(task) + 1);
    task->event = NULL;
    task->waiting = false;
    task->worker->running--;
}

/* Takes the transaction back, for whoever settles next. */
static void end_txn(lua_State *L, int anchor, const tl_task *task)
{
    lua_rawgeti(L, anchor, thread_place(task) + 1);
    tl_event_end_txn(L, lua_gettop(L));
    lua_pop(L, 1);
}

static void resume(lua_State *L, tl_state *state, int anchor, tl_task *task, int arguments)
{
    lua_State *thread = task->thread;
    tl_task *outer = state->running;
    int count = 0;
    state->running = task;
    int status = lua_resume(thread, L, arguments, &count);
    state->running = outer;
    task->waiting = status == LUA_YIELD;
    if (status == LUA_YIELD) {
        lua_pop(thread, count);
        return;
    }
    end_txn(L, anchor, task);
    if (status == LUA_OK)
        settle(task, thread, count);
    else
        settle_failure(L, task, thread);
    if (status == LUA_OK && tito_event_expired(task->event) == 0)
        lua_settop(thread, 0);
    else
        task->thread = NULL;
    end(L, anchor, task);
}

/* The coroutine for a task, from its last event when it ended well. */
static lua_State *thread_for(lua_State *L, int anchor, tl_task *task)
{
    if (task->thread == NULL) {
        task->thread = lua_newthread(L);
        lua_rawseti(L, anchor, thread_place(task));
    }
    lua_sethook(task->thread, on_count, LUA_MASKCOUNT, TL_HOOK_INSTRUCTIONS);
    return task->thread;
}

void tl_task_start(lua_State *L, tl_state *state, int anchor, tl_task *task, tito_event_t *event)
{
    luaL_checkstack(L, 8, NULL);
    lua_State *thread = thread_for(L, anchor, task);
    *tl_handle_new(L, TL_EVENT) = event;
    task->event = event;
    task->worker->running++;
    lua_pushcfunction(thread, task_main);
    lua_pushvalue(L, -1);
    lua_rawseti(L, anchor, thread_place(task) + 1);
    lua_getfield(L, anchor, "serve");
    lua_xmove(L, thread, 2);
    lua_pushlightuserdata(thread, state);
    resume(L, state, anchor, task, 3);
}

void tl_task_resume(lua_State *L, tl_state *state, int anchor, tl_task *task)
{
    resume(L, state, anchor, task, 0);
}

void tl_task_abandon(lua_State *L, int anchor, tl_task *task)
{
    static const char reason[] = "the worker stopped before the handler had ended";
    atomic_store(&task->worker->crew->gave_up, true);
    end_txn(L, anchor, task);
    fail_event(task, reason, sizeof(reason) - 1);
    task->thread = NULL;
    end(L, anchor, task);
}
