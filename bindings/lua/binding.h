/* The Lua 5.4 module "tito.core": tito.h for the pure-Lua layer in lua/tito.
 *
 *   program ── require "tito" ── the files in lua/ ── tito.core ── tito.h
 *
 *   module.c       the module: its table of functions, its state
 *   error.c        error tables: the one place where a C error becomes a Lua value
 *   handle.c       handles as userdata: checks, __gc, __close
 *   encode.c       Lua value -> JSON        decode.c   JSON -> Lua value
 *   operation.c    waiting for a future and handing over its result
 *   database.c transaction.c model.c query.c maintenance.c backup.c queue.c   the functions
 *   event.c        an event in a handler    task.c     its coroutine, its outcome
 *   worker.c       the worker and its loop  signals.c  SIGINT and SIGTERM while it runs
 *   script.c       states and threads of a script worker
 *   log.c          log lines for a function of the program
 *
 * Conventions of the functions in the module's table: handles come first; what may fail returns
 * nil and an error table; what is wrong in the calling program raises an error table.
 *
 * INVARIANTS
 *  1. Nothing of tito's is lost when Lua raises: between getting a future, a page or an error and
 *     freeing it, Lua is only entered in a protected call (tl_finish).
 *  2. One tl_state per lua_State, upvalue 1 of every function. It is used by one thread at a time.
 *  3. A handle's pointer is NULL after its release; every use is checked (tl_handle_get).
 *
 * What is NOT here: models, queries and transactions as users know them (lua/tito). */
#ifndef TITO_LUA_BINDING_H
#define TITO_LUA_BINDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lauxlib.h>
#include <lua.h>

#include "tito.h"

enum {
    TL_JSON_DEPTH_MAX = 64,                /* containers in a value that is encoded */
    TL_DECODE_DEPTH_MAX = 512,             /* the library's own limit is lower */
    TL_BUFFER_SIZE_MAX = 64 * 1024 * 1024, /* JSON text made of one value */
    TL_BUFFER_KEEP_MAX = 1024 * 1024,      /* a larger buffer is not kept */
    TL_MESSAGE_SIZE_MAX = 1024             /* of an error made here */
};

/* ---- The state ---- */

typedef struct tl_buffer {
    char *data; /* malloc'd */
    size_t len;
    size_t capacity;
} tl_buffer;

typedef struct tl_task tl_task;
typedef struct tl_log tl_log;

typedef struct tl_state {
    tito_json_t *json;   /* the reader of decode.c; NULL until first used */
    bool json_busy;      /* … is in use further up the stack: a finalizer calls tito */
    bool in_host;        /* a host function runs: it may not call tito */
    tl_buffer buffer;    /* the text encode.c has made last */
    tito_write_t *write; /* reused by model.c; NULL until first used */
    tl_task *running;    /* the event whose handler runs now, or NULL */
    tl_log *logs;        /* whose functions are this state's */
} tl_state;

static inline tl_state *tl_state_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* The state, where there is no upvalue (hooks); NULL before the module is open. */
tl_state *tl_state_registered(lua_State *L);

/* ---- Errors ---- */

/* Pushes nil and an error table. Takes error over; an error that is NULL but whose status is not
 * OK gets a message of its own. Returns 2. */
int tl_fail(lua_State *L, int32_t status, tito_error_t *error);
/* The same with a text made here. */
int tl_fail_text(lua_State *L, int32_t status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Raises an error table; its message begins with the place of the caller's caller. */
_Noreturn void tl_raise(lua_State *L, int32_t status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The status that has the name at index; TITO_INTERNAL when there is none. */
int32_t tl_status_of_name(lua_State *L, int index);
/* Registers the metatable of error tables (function "setup" of the module). */
int tl_error_setup(lua_State *L);

/* ---- Handles ---- */

typedef enum tl_kind {
    TL_DB,
    TL_TXN,
    TL_MODEL,
    TL_QUEUE,
    TL_STEPS,
    TL_EVENT,
    TL_WORKER,
    TL_KIND_COUNT
} tl_kind;

/* Makes the metatables of all kinds. */
void tl_handle_init(lua_State *L);
/* Pushes a new handle without a pointer: set *tl_handle_slot after the pointer was made, so that
 * no allocation of Lua's can lose it. */
void **tl_handle_new(lua_State *L, tl_kind kind);
/* The pointer of the handle at index. Raises when it is not such a handle, was released
 * (INVALID_STATE), or when a host function runs. */
void *tl_handle_get(lua_State *L, int index, tl_kind kind);
/* The same, NULL for nil and none. */
void *tl_handle_opt(lua_State *L, int index, tl_kind kind);
/* The pointer, or NULL when the value is no such handle or was released. Never raises. */
void *tl_handle_peek(lua_State *L, int index, tl_kind kind);
/* The slot of the pointer, whether or not it is set; raises when the value is no such handle. */
void **tl_handle_slot(lua_State *L, int index, tl_kind kind);
/* Makes the handle at index one that never frees its pointer. */
void tl_handle_lend(lua_State *L, int index);
/* Whether it is such a handle. */
bool tl_handle_is_lent(lua_State *L, int index);
/* Takes the pointer from the handle, which is released from then on; NULL when it was. */
void *tl_handle_take(lua_State *L, int index, tl_kind kind);

/* ---- JSON ---- */

/* The value at index as JSON in buffer. OK, or a status with the reason in message (of
 * TL_MESSAGE_SIZE_MAX bytes). Never raises, never runs Lua code; needs 2 free slots. */
int32_t tl_encode(lua_State *L, int index, tl_buffer *buffer, char *message);
/* Whether text is well-formed UTF-8. */
bool tl_is_utf8(const char *text, size_t len);
/* Gives back a buffer that has grown large. */
void tl_buffer_trim(tl_buffer *buffer);
void tl_buffer_free(tl_buffer *buffer);
/* Pushes the value of a JSON text, or nil and an error table; returns how many. May raise. */
int tl_decode(lua_State *L, tl_state *state, tito_slice text);
/* Registers the metatable of arrays and null. */
int tl_json_setup(lua_State *L);
/* Pushes the metatable of arrays. */
void tl_push_array_mt(lua_State *L);
/* Pushes the string "__jsontype" without allocating. */
void tl_push_json_type_name(lua_State *L);

/* ---- Operations ---- */

/* Pushes the result of a future that ended with OK; returns how many values. May raise. */
typedef int (*tl_push)(lua_State *L, tl_state *state, tito_future_t *future);

/* Waits for future, pushes what push makes of it, or nil and the error, and frees it. Returns how
 * many values. */
int tl_finish(lua_State *L, tl_state *state, tito_future_t *future, tl_push push);
/* The same, but NOT_FOUND pushes nil alone. */
int tl_finish_absent(lua_State *L, tl_state *state, tito_future_t *future, tl_push push);
/* The same as tl_finish, telling the function at index (none or nil: nobody) every 0.1 seconds how
 * far it is; what that raises comes after the end. */
int tl_finish_told(lua_State *L, int index, tito_future_t *future, tl_push push);

int tl_push_true(lua_State *L, tl_state *state, tito_future_t *future);
int tl_push_int(lua_State *L, tl_state *state, tito_future_t *future);
int tl_push_flag(lua_State *L, tl_state *state, tito_future_t *future);
int tl_push_seconds(lua_State *L, tl_state *state, tito_future_t *future);
int tl_push_document(lua_State *L, tl_state *state, tito_future_t *future);
/* The document and its version. */
int tl_push_versioned(lua_State *L, tl_state *state, tito_future_t *future);
/* { items = …, cursor = … } */
int tl_push_page(lua_State *L, tl_state *state, tito_future_t *future);
/* The list of documents of a page. */
int tl_push_items(lua_State *L, tl_state *state, tito_future_t *future);

/* Options from the table at index (nil and none: NULL in *options_out): texts, booleans, whole
 * numbers. Raises for anything else. The caller frees them, without raising before. */
void tl_options(lua_State *L, int index, tito_options_t **options_out);

/* Seconds as microseconds, raising when the argument is no number or out of range. */
int64_t tl_check_seconds(lua_State *L, int index);
int64_t tl_opt_seconds(lua_State *L, int index, int64_t otherwise_us);

/* ---- Databases shared by states ---- */

typedef struct tl_db tl_db;

/* The database of the handle at index; raises like tl_handle_get. */
tito_db_t *tl_check_db(lua_State *L, int index);
/* The box that states share, referenced for the caller; given back with tl_db_unref. */
tl_db *tl_db_ref(lua_State *L, int index);
void tl_db_unref(tl_db *db);
/* A box of a database that a C program has made; takes it over. NULL: no memory. */
tl_db *tl_db_new(tito_db_t *db);
/* Pushes a handle of a shared database (with a reference of its own). */
void tl_db_push(lua_State *L, tl_db *db);

/* ---- Log lines ---- */

/* A log for the function at index, owned by the state and by the caller, who ends with
 * tl_log_close. NULL: no memory. Never raises. */
tl_log *tl_log_new(lua_State *L, tl_state *state, int index);
/* Keeps a line for the function: a tito_log_sink, whose context is the log. Any thread. */
void tl_log_line(void *context, int32_t level, const char *text);
/* No more lines will come. NULL is allowed. Any thread. */
void tl_log_close(tl_log *log);
/* Hands lines that wait to the state's functions. Never raises; see tl_log_look. */
void tl_log_deliver(lua_State *L, tl_state *state);
/* The same, at the price of one load where there is no log. */
static inline void tl_log_look(lua_State *L, tl_state *state)
{
    if (state->logs != NULL)
        tl_log_deliver(L, state);
}
/* The state ends: lines that wait are lost. */
void tl_log_end(tl_state *state);

/* Release functions of the kinds; called once with a pointer that is not NULL. */
void tl_event_release(void *pointer);
void tl_worker_release(void *pointer);

/* ---- The functions of each file, NULL-terminated ---- */

extern const luaL_Reg tl_database_functions[];
extern const luaL_Reg tl_transaction_functions[];
extern const luaL_Reg tl_model_functions[];
extern const luaL_Reg tl_query_functions[];
extern const luaL_Reg tl_maintenance_functions[];
extern const luaL_Reg tl_backup_functions[];
extern const luaL_Reg tl_queue_functions[];
extern const luaL_Reg tl_worker_functions[];
extern const luaL_Reg tl_script_functions[];

/* Opens the module; also called for the states of script workers. */
__attribute__((visibility("default"))) int luaopen_tito_core(lua_State *L);

#endif
