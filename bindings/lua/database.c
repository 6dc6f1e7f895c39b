/* Databases: connecting, closing, statistics, and the box by which states share one.
 *
 *   handle (state 1) ──┐
 *   handle (state 2) ──┴──> tl_db { references, tito_db_t } ── last one gone ──> tito_db_free
 *
 * INVARIANTS
 *  1. The tito_db_t of a box never changes, so any thread may read it while it holds a reference.
 *  2. db_close leaves the handle: later calls answer CLOSED. */
#include "binding.h"

#include <stdatomic.h>
#include <stdlib.h>

struct tl_db {
    atomic_int references;
    tito_db_t *db;
};

/* ---- The box ---- */

tito_db_t *tl_check_db(lua_State *L, int index)
{
    const tl_db *box = tl_handle_get(L, index, TL_DB);
    return box->db;
}

tl_db *tl_db_ref(lua_State *L, int index)
{
    tl_db *box = tl_handle_get(L, index, TL_DB);
    atomic_fetch_add(&box->references, 1);
    return box;
}

void tl_db_unref(tl_db *box)
{
    if (atomic_fetch_sub(&box->references, 1) != 1)
        return;
    tito_db_free(box->db);
    free(box);
}

void tl_db_push(lua_State *L, tl_db *box)
{
    void **slot = tl_handle_new(L, TL_DB);
    atomic_fetch_add(&box->references, 1);
    *slot = box;
}

/* db_open(target, options): a handle. */
static int db_open(lua_State *L)
{
    size_t len;
    const char *target = luaL_checklstring(L, 1, &len);
    tito_options_t *options;
    tito_error_t *error = NULL;
    void **slot = tl_handle_new(L, TL_DB);
    tl_options(L, 2, &options);
    tl_db *box = malloc(sizeof(*box));
    int32_t status = TITO_OUT_OF_MEMORY;
    if (box != NULL) {
        atomic_init(&box->references, 1);
        status = tito_connect(target, len, options, &box->db, &error);
    }
    tito_options_free(options);
    if (status != TITO_OK) {
        free(box);
        return tl_fail(L, status, error);
    }
    *slot = box;
    return 1;
}

/* db_close(db): ends everything made from it, in other states too. */
static int db_close(lua_State *L)
{
    tito_error_t *error = NULL;
    int32_t status = tito_db_close(tl_check_db(L, 1), &error);
    if (status != TITO_OK)
        return tl_fail(L, status, error);
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- Operations ---- */

static int db_now(lua_State *L)
{
    return tl_finish(L, tl_state_of(L), tito_db_now(tl_check_db(L, 1)), tl_push_seconds);
}

static int db_stats(lua_State *L)
{
    return tl_finish(L, tl_state_of(L), tito_db_stats(tl_check_db(L, 1)), tl_push_document);
}

static int db_schema(lua_State *L)
{
    return tl_finish(L, tl_state_of(L), tito_db_schema(tl_check_db(L, 1)), tl_push_document);
}

/* db_gc(db, retention in seconds) */
static int db_gc(lua_State *L)
{
    tito_db_t *db = tl_check_db(L, 1);
    return tl_finish(L, tl_state_of(L), tito_db_gc(db, tl_check_seconds(L, 2)), tl_push_true);
}

/* db_drop_table(db, table) */
static int db_drop_table(lua_State *L)
{
    size_t len;
    tito_db_t *db = tl_check_db(L, 1);
    const char *table = luaL_checklstring(L, 2, &len);
    return tl_finish(L, tl_state_of(L), tito_db_drop_table(db, table, len), tl_push_true);
}

/* db_drop_index(db, table, index) */
static int db_drop_index(lua_State *L)
{
    size_t table_len, index_len;
    tito_db_t *db = tl_check_db(L, 1);
    const char *table = luaL_checklstring(L, 2, &table_len);
    const char *index = luaL_checklstring(L, 3, &index_len);
    return tl_finish(L, tl_state_of(L), tito_db_drop_index(db, table, table_len, index, index_len),
                     tl_push_true);
}

const luaL_Reg tl_database_functions[] = {{"db_open", db_open},
                                          {"db_close", db_close},
                                          {"db_now", db_now},
                                          {"db_stats", db_stats},
                                          {"db_schema", db_schema},
                                          {"db_gc", db_gc},
                                          {"db_drop_table", db_drop_table},
                                          {"db_drop_index", db_drop_index},
                                          {NULL, NULL}};
