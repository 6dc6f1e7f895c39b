/* The commands: a Lua state for the frame and the command meant, and what they need of the process.
 *
 *   argv ──> tito.cli.program (frame/program.lua) ──> commands/NAME.lua ──> exit code
 *                                   │  cli: open, work, log, clock, interrupted, …
 *
 * INVARIANTS
 *  1. This state runs on the main thread and only code that is compiled in; for `tito worker` the
 *     app's code runs in states of its own (generation.c). Other commands load an app's file here
 *     when they were told to by --app.
 *  2. The database is closed before the state is, and both before main returns. */
#include "cli.h"
#include "transfer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

typedef struct program {
    int argc;
    char **argv;
    tl_db *db;
    tito_db_t *handle; /* of db, borrowed */
    int code;
} program;

static const char program_key; /* of the program in the registry */

static program *program_of(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &program_key);
    program *p = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return p;
}

tito_db_t *tc_program_db(lua_State *L)
{
    return program_of(L)->handle;
}

/* open(target, options): a handle for tito.database, or nil, the status's name and a text. */
static int open_database(lua_State *L)
{
    program *p = program_of(L);
    tito_error_t *error = NULL;
    tc_setup setup = {.target = luaL_checkstring(L, 1), .db_options = tito_options_new()};
    luaL_checktype(L, 2, LUA_TTABLE);
    tc_options_fill(L, 2, setup.db_options);
    int32_t status = tc_database_connect(&setup, &p->db, &p->handle, &error);
    tc_setup_free(&setup);
    if (status == TITO_OK) {
        tl_db_push(L, p->db);
        return 1;
    }
    tito_slice text = tito_error_message(error);
    lua_pushnil(L);
    lua_pushstring(L, tito_status_name(status));
    lua_pushfstring(L, "the database '%s' can not be opened: ", setup.target);
    lua_pushlstring(L, text.data, text.len);
    lua_concat(L, 2);
    tito_error_free(error);
    return 3;
}

/* host(app): host.lua's functions; its folder is searched by require. */
static int load_host(lua_State *L)
{
    tc_state_push_host(L, luaL_optstring(L, 1, NULL));
    return 1;
}

/* work(settings): `tito worker` to its end; the exit code. */
static int work(lua_State *L)
{
    tc_setup setup = {.app = NULL};
    setvbuf(stdout, NULL, _IOLBF, 0); /* handlers print lines */
    luaL_checktype(L, 1, LUA_TTABLE);
    tc_setup_fill(L, 1, &setup);
    int code = tc_work(&setup);
    tc_setup_free(&setup);
    lua_pushinteger(L, code);
    return 1;
}

static int log_setup(lua_State *L)
{
    static const char *const formats[] = {"line", "json", "plain", NULL};
    static const tc_format values[] = {TC_LINES, TC_JSON, TC_PLAIN};
    tc_format format = values[luaL_checkoption(L, 1, "plain", formats)];
    int32_t level = tc_log_level_of(luaL_checkstring(L, 2));
    tc_log_setup(format, level < 0 ? TC_WARN : level);
    return 0;
}

/* class_of(name): the class of the status of this name, or nil. */
static int class_of(lua_State *L)
{
    enum { STATUS_MAX = 700 };
    const char *name = luaL_checkstring(L, 1);
    const char *none = tito_status_name(-1);
    for (int32_t status = 0; status < STATUS_MAX; status++) {
        const char *known = tito_status_name(status);
        if (strcmp(known, none) != 0 && strcmp(known, name) == 0) {
            lua_pushinteger(L, status / 100);
            return 1;
        }
    }
    lua_pushnil(L);
    return 1;
}

static int is_address(lua_State *L)
{
    char host[TC_HOST_MAX], port[TC_PORT_TEXT_MAX];
    const char *text = luaL_checkstring(L, 1);
    lua_pushboolean(L, tc_split_address(text, host, sizeof(host), port, sizeof(port)));
    return 1;
}

static int is_terminal(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

/* width(): columns of the terminal of stdout, or nil. */
static int width(lua_State *L)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        lua_pushinteger(L, size.ws_col);
    else
        lua_pushnil(L);
    return 1;
}

/* clock(): seconds of a clock that never goes back. */
static int clock_seconds(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)tl_clock_us() / 1e6);
    return 1;
}

static int interrupted(lua_State *L)
{
    lua_pushboolean(L, tc_interrupted());
    return 1;
}

/* reader_is_gone(): whether something was written that nobody reads any more. */
static int reader_is_gone(lua_State *L)
{
    lua_pushboolean(L, tc_reader_is_gone());
    return 1;
}

/* sleep(seconds): until then, or until an interruption. */
static int sleep_seconds(lua_State *L)
{
    lua_Number seconds = luaL_checknumber(L, 1);
    luaL_argcheck(L, seconds >= 0 && seconds <= TC_SECONDS_MAX, 1, "not a time to sleep");
    tc_sleep(seconds);
    return 0;
}

static int processors(lua_State *L)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    lua_pushinteger(L, n < 1 ? 1 : n > TC_THREADS_MAX ? TC_THREADS_MAX : n);
    return 1;
}

static const luaL_Reg functions[] = {{"open", open_database},
                                     {"host", load_host},
                                     {"work", work},
                                     {"log", tc_state_log},
                                     {"log_setup", log_setup},
                                     {"class_of", class_of},
                                     {"is_address", is_address},
                                     {"is_terminal", is_terminal},
                                     {"width", width},
                                     {"clock", clock_seconds},
                                     {"interrupted", interrupted},
                                     {"reader_is_gone", reader_is_gone},
                                     {"sleep", sleep_seconds},
                                     {"processors", processors},
                                     {"interruptible", tc_interruptible},
                                     {NULL, NULL}};

void tc_program_push_functions(lua_State *L)
{
    luaL_newlib(L, functions);
    lua_pushstring(L, tito_version_string());
    lua_setfield(L, -2, "version");
    tc_edit_open(L);
    lua_setfield(L, -2, "editor");
    tc_machine_push(L);
    lua_setfield(L, -2, "machine");
    tc_bench_push(L);
    lua_setfield(L, -2, "bench");
    tc_dashboard_push(L);
    lua_setfield(L, -2, "dashboard");
    tc_compiled_push_commands(L);
    lua_setfield(L, -2, "commands");
}

/* Argument: a program. */
static int run_protected(lua_State *L)
{
    program *p = lua_touserdata(L, 1);
    tc_state_prepare(L);
    lua_pushvalue(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &program_key);
    tc_compiled_install(L);
    luaL_requiref(L, "tito.cli.transfer", tc_transfer_open, 0);
    lua_pop(L, 1);
    tc_compiled_load(L, "tito.cli.program");
    tc_program_push_functions(L);
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "main");
    lua_createtable(L, p->argc, 0);
    for (int i = 1; i < p->argc; i++) {
        lua_pushstring(L, p->argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_call(L, 1, 1);
    p->code = (int)luaL_checkinteger(L, -1);
    return 0;
}

int tc_program(int argc, char **argv)
{
    program p = {.argc = argc, .argv = argv, .code = TC_EXIT_FAILED};
    lua_State *L = luaL_newstate();
    tc_reader_watch();
    if (L == NULL) {
        tc_log(TC_ERROR, "there is no memory");
        return TC_EXIT_FAILED;
    }
    lua_pushcfunction(L, tc_state_describe);
    lua_pushcfunction(L, run_protected);
    lua_pushlightuserdata(L, &p);
    if (lua_pcall(L, 1, 0, 1) != LUA_OK)
        tc_log(TC_ERROR, "%s", lua_tostring(L, -1));
    lua_close(L);
    if (p.db != NULL)
        tl_db_unref(p.db);
    return p.code;
}
