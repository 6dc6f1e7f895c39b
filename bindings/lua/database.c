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
    tl_log *log; /* of the state that connected, or NULL */
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

tl_db *tl_db_new(tito_db_t *db)
{
    tl_db *box = malloc(sizeof(*box));
    if (box == NULL)
        return NULL;
    atomic_init(&box->references, 1);
    box->db = db;
    box->log = NULL;
    return box;
}

void tl_db_unref(tl_db *box)
{
    if (atomic_fetch_sub(&box->references, 1) != 1)
        return;
    tito_db_free(box->db);
    tl_log_close(box->log);
    free(box);
}

void tl_db_push(lua_State *L, tl_db *box)
{
    void **slot = tl_handle_new(L, TL_DB);
    atomic_fetch_add(&box->references, 1);
    *slot = box;
}

/* Connects; with a log from the first line on. */
static int32_t connect(tl_db *box, tito_slice target, const tito_options_t *options, int32_t level,
                       tito_error_t **error_out)
{
    int32_t status = tito_db_new(target.data, target.len, options, &box->db, error_out);
    if (status != TITO_OK)
        return status;
    if (box->log != NULL)
        status = tito_db_set_log(box->db, tl_log_line, box->log, level);
    if (status == TITO_OK) {
        tito_future_t *opened = tito_db_open(box->db);
        status = tito_future_wait(opened, -1, error_out);
        tito_future_free(opened);
    }
    if (status != TITO_OK)
        tito_db_free(box->db);
    return status;
}

/* db_open(target, options, log or nil, its level): a handle. */
static int db_open(lua_State *L)
{
    tito_slice target;
    tito_options_t *options;
    tito_error_t *error = NULL;
    int32_t status = TITO_OUT_OF_MEMORY;
    target.data = luaL_checklstring(L, 1, &target.len);
    lua_settop(L, 4);
    bool logs = !lua_isnil(L, 3);
    int32_t level = (int32_t)luaL_optinteger(L, 4, 1);
    void **slot = tl_handle_new(L, TL_DB);
    tl_options(L, 2, &options);
    tl_log *log = logs ? tl_log_new(L, tl_state_of(L), 3) : NULL;
    tl_db *box = malloc(sizeof(*box));
    if (box != NULL && (log != NULL || !logs)) {
        atomic_init(&box->references, 1);
        box->log = log;
        status = connect(box, target, options, level, &error);
    }
    tito_options_free(options);
    if (status != TITO_OK) {
        tl_log_close(log);
        free(box);
        tl_log_look(L, tl_state_of(L));
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
    tl_log_look(L, tl_state_of(L));
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

/* db_cluster(db, options) */
static int db_cluster(lua_State *L)
{
    tito_options_t *options;
    tito_db_t *db = tl_check_db(L, 1);
    tl_options(L, 2, &options);
    tito_future_t *future = tito_db_cluster(db, options);
    tito_options_free(options);
    return tl_finish(L, tl_state_of(L), future, tl_push_document);
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
                                          {"db_cluster", db_cluster},
                                          {"db_drop_table", db_drop_table},
                                          {"db_drop_index", db_drop_index},
                                          {NULL, NULL}};
