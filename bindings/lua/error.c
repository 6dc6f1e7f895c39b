/* Error tables: { code, message, retryable, outcome_unknown, table, index } with a metatable that
 * lua/tito/errors.lua gives. Every error that comes from C is made here.
 *
 * INVARIANTS
 *  1. code is the lower-case name of a status; message is never empty. */
#include "binding.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char error_key; /* of the metatable in the registry */

int tl_error_setup(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_pushvalue(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &error_key);
    return 0;
}

static void set_text(lua_State *L, const char *name, tito_slice text)
{
    if (text.len == 0)
        return;
    lua_pushlstring(L, text.data, text.len);
    lua_setfield(L, -2, name);
}

/* Pushes an error table; error may be NULL. */
static void push_error(lua_State *L, int32_t status, const tito_error_t *error, tito_slice message)
{
    lua_createtable(L, 0, 6);
    lua_pushstring(L, tito_status_name(status));
    lua_setfield(L, -2, "code");
    if (message.len == 0)
        message = (tito_slice){.data = "no more is known", .len = 16};
    set_text(L, "message", message);
    lua_pushboolean(L, error != NULL ? tito_error_retryable(error)
                                     : status / 100 == 2 || status / 100 == 3);
    lua_setfield(L, -2, "retryable");
    if (status == TITO_OUTCOME_UNKNOWN || tito_error_outcome_unknown(error)) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "outcome_unknown");
    }
    set_text(L, "table", tito_error_table(error));
    set_text(L, "index", tito_error_index(error));
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &error_key) == LUA_TTABLE)
        lua_setmetatable(L, -2);
    else
        lua_pop(L, 1);
}

typedef struct failure {
    int32_t status;
    const tito_error_t *error;
} failure;

static int push_protected(lua_State *L)
{
    const failure *f = lua_touserdata(L, 1);
    push_error(L, f->status, f->error, tito_error_message(f->error));
    return 1;
}

int tl_fail(lua_State *L, int32_t status, tito_error_t *error)
{
    failure f = {.status = status, .error = error};
    lua_pushnil(L);
    lua_pushcfunction(L, push_protected);
    lua_pushlightuserdata(L, &f);
    int called = lua_pcall(L, 1, 1, 0);
    tito_error_free(error);
    if (called != LUA_OK)
        (void)lua_error(L);
    return 2;
}

static tito_slice format_message(char *out, const char *format, va_list arguments)
{
    int len = vsnprintf(out, TL_MESSAGE_SIZE_MAX, format, arguments);
    size_t used = len < 0 ? 0 : (size_t)len;
    if (used >= TL_MESSAGE_SIZE_MAX)
        used = TL_MESSAGE_SIZE_MAX - 1;
    return (tito_slice){.data = out, .len = used};
}

int tl_fail_text(lua_State *L, int32_t status, const char *format, ...)
{
    char text[TL_MESSAGE_SIZE_MAX];
    va_list arguments;
    va_start(arguments, format);
    tito_slice message = format_message(text, format, arguments);
    va_end(arguments);
    lua_pushnil(L);
    push_error(L, status, NULL, message);
    return 2;
}

void tl_raise(lua_State *L, int32_t status, const char *format, ...)
{
    char text[TL_MESSAGE_SIZE_MAX];
    va_list arguments;
    va_start(arguments, format);
    tito_slice message = format_message(text, format, arguments);
    va_end(arguments);
    luaL_where(L, 2);
    lua_pushlstring(L, message.data, message.len);
    lua_concat(L, 2);
    message.data = lua_tolstring(L, -1, &message.len);
    push_error(L, status, NULL, message);
    (void)lua_error(L);
    __builtin_unreachable();
}

int32_t tl_status_of_name(lua_State *L, int index)
{
    static const int32_t classes[] = {TITO_INVALID_ARGUMENT, TITO_CONFLICT, TITO_UNAVAILABLE,
                                      TITO_OUTCOME_UNKNOWN,  TITO_CORRUPT,  TITO_HANDLER_FAILED};
    static const int32_t last[] = {TITO_CANCELLED,       TITO_DEADLOCK, TITO_BUSY,
                                   TITO_OUTCOME_UNKNOWN, TITO_INTERNAL, TITO_HANDLER_FAILED};
    const char *name = luaL_checkstring(L, index);
    if (strcmp(name, tito_status_name(TITO_NOT_FOUND)) == 0)
        return TITO_NOT_FOUND;
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
        for (int32_t status = classes[i]; status <= last[i]; status++)
            if (strcmp(name, tito_status_name(status)) == 0)
                return status;
    return TITO_INTERNAL;
}
