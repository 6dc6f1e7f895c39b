/* Lua states of the program: libraries, where `require` looks, `tito`, and the program's own Lua
 * code.
 *
 *   package.path:  the app's folder ── the folder of this installation ── Lua's own (LUA_PATH or
 *                  its default)
 *
 * INVARIANTS
 *  1. tito.core is the one compiled in, whatever lies in package.cpath. */
#include "cli.h"

#include <limits.h>
#include <lualib.h>
#include <string.h>
#include <unistd.h>

/* ---- The database ---- */

int32_t tc_database_connect(const tc_setup *setup, tl_db **box_out, tito_db_t **db_out,
                            tito_error_t **error_out)
{
    tito_db_t *db = NULL;
    *box_out = NULL;
    *db_out = NULL;
    int32_t status =
        tito_db_new(setup->target, strlen(setup->target), setup->db_options, &db, error_out);
    if (status == TITO_OK)
        status = tito_db_set_log(db, tc_log_sink, NULL, tc_log_level());
    if (status == TITO_OK) {
        tito_future_t *opened = tito_db_open(db);
        status = tito_future_wait(opened, -1, error_out);
        tito_future_free(opened);
    }
    if (status == TITO_OK && (*box_out = tl_db_new(db)) == NULL)
        status = TITO_OUT_OF_MEMORY;
    if (status == TITO_OK)
        *db_out = db;
    else
        tito_db_free(db);
    return status;
}

tl_db *tc_database_open(const tc_setup *setup, tito_db_t **db_out)
{
    tl_db *box = NULL;
    tito_error_t *error = NULL;
    if (tc_database_connect(setup, &box, db_out, &error) != TITO_OK) {
        tito_slice text = tito_error_message(error);
        tc_log(TC_ERROR, "the database '%s' can not be opened: %.*s", setup->target, (int)text.len,
               text.data);
        tito_error_free(error);
    }
    return box;
}

/* ---- Paths ---- */

/* Puts what is on top (popped) before package[name]. */
static void put_before(lua_State *L, const char *name)
{
    lua_getglobal(L, "package");
    lua_insert(L, -2);
    lua_getfield(L, -2, name);
    lua_concat(L, 2);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

/* Pushes the folder of the file at path. */
static void push_folder(lua_State *L, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        lua_pushliteral(L, ".");
    else
        lua_pushlstring(L, path, slash == path ? 1 : (size_t)(slash - path));
}

static void add_installation(lua_State *L)
{
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (len <= 0)
        return;
    path[len] = '\0';
    push_folder(L, path);
    const char *folder = lua_tostring(L, -1);
    lua_pushfstring(L, "%s/../" TC_LUA_DIR "/?.lua;%s/../" TC_LUA_DIR "/?/init.lua;", folder,
                    folder);
    put_before(L, "path");
    lua_pushfstring(L, "%s/../" TC_LUA_CDIR "/?.so;", folder);
    put_before(L, "cpath");
    lua_pop(L, 1);
}

static void add_app(lua_State *L, const char *app)
{
    push_folder(L, app);
    const char *folder = lua_tostring(L, -1);
    lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;", folder, folder);
    put_before(L, "path");
    lua_pop(L, 1);
}

/* ---- What Lua says to the log ---- */

int tc_state_log(lua_State *L)
{
    static const char *const levels[] = {"error", "warn", "info", "debug", NULL};
    int level = luaL_checkoption(L, 1, NULL, levels);
    tc_log((int32_t)level, "%s", luaL_checkstring(L, 2));
    return 0;
}

typedef struct warning {
    size_t len;
    char text[TC_TEXT_MAX];
} warning;

/* Lua's warn: pieces of a message, then its last. */
static void on_warning(void *context, const char *piece, int to_be_continued)
{
    warning *w = context;
    size_t room = sizeof(w->text) - 1 - w->len;
    size_t len = strnlen(piece, room);
    if (w->len == 0 && !to_be_continued && piece[0] == '@')
        return; /* a control message */
    memcpy(w->text + w->len, piece, len);
    w->len += len;
    if (to_be_continued)
        return;
    w->text[w->len] = '\0';
    tc_log(TC_WARN, "%s", w->text);
    w->len = 0;
}

/* ---- The state ---- */

int tc_state_describe(lua_State *L)
{
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}

void tc_state_prepare(lua_State *L)
{
    luaL_openlibs(L);
    warning *w = lua_newuserdatauv(L, sizeof(*w), 0);
    w->len = 0;
    lua_rawsetp(L, LUA_REGISTRYINDEX, w); /* as long as the state */
    lua_setwarnf(L, on_warning, w);
    add_installation(L);
    luaL_requiref(L, "tito.core", luaopen_tito_core, 0);
    lua_pop(L, 1);
}

void tc_state_push_host(lua_State *L, const char *app)
{
    if (app != NULL)
        add_app(L, app);
    tc_compiled_load(L, "tito.cli.host");
    lua_pushcfunction(L, tc_state_log);
    lua_call(L, 1, 1);
}

void tc_state_fill(lua_State *L, const char *app)
{
    tc_state_prepare(L);
    tc_state_push_host(L, app);
}
