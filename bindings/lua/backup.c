/* Backups, and waiting for long work with a function that is told how far it is.
 *
 *   future ── wait a moment ──> progress(done, total) ── false or an error: cancel ──┐
 *                ^────────────────────┘                                             v
 *                                                     told once more <── wait to the end
 *
 * INVARIANTS
 *  1. The future is freed on every way out, also when the function raises. */
#include "binding.h"

enum { LOOK_US = 100000 };

/* Calls the function at index; false: it wants the end. An error stays on the stack, and
 * *raised_out is set. */
static bool tell(lua_State *L, int index, const tito_future_t *future, bool *raised_out)
{
    int64_t done, total;
    (void)tito_future_progress(future, &done, &total);
    lua_pushvalue(L, index);
    lua_pushinteger(L, done);
    lua_pushinteger(L, total);
    if (lua_pcall(L, 2, 1, 0) != LUA_OK) {
        *raised_out = true;
        return false;
    }
    bool on = lua_isnil(L, -1) || lua_toboolean(L, -1);
    lua_pop(L, 1);
    return on;
}

int tl_finish_told(lua_State *L, int index, tito_future_t *future, tl_push push)
{
    bool raised = false;
    bool told = lua_isfunction(L, index);
    luaL_checkstack(L, 8, NULL);
    while (told && tito_future_wait(future, LOOK_US, NULL) == TITO_TIMEOUT &&
           tito_future_ready(future) == 0)
        if (!tell(L, index, future, &raised)) {
            tito_future_cancel(future);
            told = false;
        }
    if (told)
        (void)tell(L, index, future, &raised);
    int count = tl_finish(L, tl_state_of(L), future, push);
    if (!raised)
        return count;
    lua_pop(L, count);
    return lua_error(L);
}

/* db_backup(db, dir, base or nil, progress or nil) */
static int db_backup(lua_State *L)
{
    size_t dir_len, base_len;
    tito_db_t *db = tl_check_db(L, 1);
    const char *dir = luaL_checklstring(L, 2, &dir_len);
    const char *base = luaL_optlstring(L, 3, NULL, &base_len);
    lua_settop(L, 4);
    tito_options_t *options = base == NULL ? NULL : tito_options_new();
    if (base != NULL && tito_options_set(options, "base", base, base_len) != TITO_OK) {
        tito_options_free(options);
        return tl_fail_text(L, TITO_OUT_OF_MEMORY, "there is no memory for options");
    }
    tito_future_t *future = tito_db_backup(db, dir, dir_len, options);
    tito_options_free(options);
    return tl_finish_told(L, 4, future, tl_push_document);
}

/* Pushes a handle of a database that is not open: NULL, and nil and an error are pushed. */
static tito_db_t *push_closed(lua_State *L, const char *target, size_t len)
{
    tito_db_t *db = NULL;
    tito_error_t *error = NULL;
    void **slot = tl_handle_new(L, TL_DB);
    int32_t status = tito_db_new(target, len, NULL, &db, &error);
    tl_db *box = status == TITO_OK ? tl_db_new(db) : NULL;
    if (box == NULL) {
        tito_db_free(db);
        (void)tl_fail(L, status == TITO_OK ? TITO_OUT_OF_MEMORY : status, error);
        return NULL;
    }
    *slot = box;
    return db;
}

/* backup_verify(dir, progress or nil) */
static int backup_verify(lua_State *L)
{
    size_t len;
    const char *dir = luaL_checklstring(L, 1, &len);
    lua_settop(L, 2);
    tito_db_t *db = push_closed(L, "memory:", 7);
    return db == NULL ? 2
                      : tl_finish_told(L, 2, tito_db_verify_backup(db, dir, len), tl_push_document);
}

/* backup_restore(dir, target, progress or nil) */
static int backup_restore(lua_State *L)
{
    size_t len, target_len;
    const char *dir = luaL_checklstring(L, 1, &len);
    const char *target = luaL_checklstring(L, 2, &target_len);
    lua_settop(L, 3);
    tito_db_t *db = push_closed(L, target, target_len);
    return db == NULL ? 2 : tl_finish_told(L, 3, tito_db_restore(db, dir, len), tl_push_document);
}

const luaL_Reg tl_backup_functions[] = {{"db_backup", db_backup},
                                        {"backup_verify", backup_verify},
                                        {"backup_restore", backup_restore},
                                        {NULL, NULL}};
