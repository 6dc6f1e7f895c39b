/* The dashboard's server as Lua has it (frame: dashboard/loop.lua), and the signals of its process.
 *
 *   start { listen, token, hosts, writes, signals }   a server; nil: told
 *   server:wait(seconds)     a request { path, query, body }; nil, and whether it ends
 *   server:reply(code, text) server:publish(figures, metrics)  server:viewers()
 *   server:place()   server:page_token()   server:writes()   server:stop()
 *
 * INVARIANTS
 *  1. The handler uses only atomics, write() and _exit(). */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char meta_name[] = "tito.cli.dashboard";

/* ---- Signals ---- */

static atomic_int signal_fd = -1;
static atomic_uint signals;

static void on_signal(int number)
{
    const uint64_t one = 1;
    int saved = errno;
    (void)number;
    if (atomic_fetch_add(&signals, 1) > 0)
        _exit(TC_EXIT_INTERRUPTED);
    if (write(atomic_load(&signal_fd), &one, sizeof(one)) < 0)
        _exit(TC_EXIT_OK); /* nobody watches any more */
    errno = saved;
}

void tc_dashboard_signals(int fd)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    atomic_store(&signal_fd, fd);
    for (size_t i = 0; fd >= 0 && i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, before;
        sigemptyset(&action.sa_mask);
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            (void)sigaction(numbers[i], &action, NULL);
    }
}

/* ---- The server ---- */

static tc_server **box_of(lua_State *L)
{
    return luaL_checkudata(L, 1, meta_name);
}

static tc_server *server_of(lua_State *L)
{
    tc_server **box = box_of(L);
    luaL_argcheck(L, *box != NULL, 1, "the server was stopped");
    return *box;
}

/* wait(seconds) */
static int server_wait(lua_State *L)
{
    tc_server *server = server_of(L);
    lua_Number seconds = luaL_checknumber(L, 2);
    luaL_argcheck(L, seconds <= TC_SECONDS_MAX, 2, "not a time to wait");
    tc_request *request = tc_server_wait(server, seconds > 0 ? seconds : 0);
    if (request == NULL) {
        lua_pushnil(L);
        pthread_mutex_lock(&server->mutex);
        lua_pushboolean(L, server->closing);
        pthread_mutex_unlock(&server->mutex);
        return 2;
    }
    lua_createtable(L, 0, 3);
    lua_pushstring(L, request->path);
    lua_setfield(L, -2, "path");
    lua_pushstring(L, request->query);
    lua_setfield(L, -2, "query");
    lua_pushlstring(L, request->body != NULL ? request->body : "", request->body_len);
    lua_setfield(L, -2, "body");
    return 1;
}

static int server_reply(lua_State *L)
{
    size_t len;
    tc_server *server = server_of(L);
    lua_Integer code = luaL_checkinteger(L, 2);
    const char *text = luaL_checklstring(L, 3, &len);
    tc_server_reply(server, (unsigned)code, text, len);
    return 0;
}

static int server_publish(lua_State *L)
{
    tito_slice figures, metrics;
    tc_server *server = server_of(L);
    figures.data = luaL_checklstring(L, 2, &figures.len);
    metrics.data = luaL_checklstring(L, 3, &metrics.len);
    if (!tc_server_publish(server, figures, metrics))
        return luaL_error(L, "there is no memory");
    return 0;
}

static int server_viewers(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tc_server_viewers(server_of(L)));
    return 1;
}

static int server_place(lua_State *L)
{
    lua_pushstring(L, server_of(L)->place);
    return 1;
}

static int server_page_token(lua_State *L)
{
    lua_pushstring(L, server_of(L)->access.page_token);
    return 1;
}

static int server_writes(lua_State *L)
{
    lua_pushboolean(L, server_of(L)->access.writes);
    return 1;
}

static int server_stop(lua_State *L)
{
    tc_server **box = box_of(L);
    tc_server *server = *box;
    *box = NULL;
    tc_server_free(server);
    return 0;
}

tc_server **tc_server_push(lua_State *L, tc_server *server)
{
    tc_server **box = lua_newuserdatauv(L, sizeof(tc_server *), 0);
    *box = server;
    luaL_setmetatable(L, meta_name);
    return box;
}

/* ---- Starting ---- */

static const char *text_of(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    const char *text = lua_tostring(L, -1); /* it stays in the table */
    lua_pop(L, 1);
    return text;
}

static bool flag_of(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    bool set = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return set;
}

static void add_hosts(lua_State *L, int table, tc_access *access)
{
    lua_getfield(L, table, "hosts");
    for (int i = 1; i <= TC_HOSTS_MAX && lua_istable(L, -1); i++) {
        if (lua_rawgeti(L, -1, i) == LUA_TSTRING) {
            (void)snprintf(access->hosts[access->host_count], TC_HOST_MAX, "%s",
                           lua_tostring(L, -1));
            access->host_count++;
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static int start(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    tc_server_options options = {.option = "--listen",
                                 .listen = text_of(L, 1, "listen"),
                                 .token = text_of(L, 1, "token"),
                                 .writes = flag_of(L, 1, "writes"),
                                 .signals = flag_of(L, 1, "signals")};
    luaL_argcheck(L, options.listen != NULL, 1, "where to listen?");
    tc_server **box = tc_server_push(L, NULL);
    *box = tc_server_new(&options);
    if (*box == NULL)
        return luaL_error(L, "there is no memory");
    add_hosts(L, 1, &(*box)->access);
    if (tc_server_start(*box, &options))
        return 1;
    tc_server_free(*box);
    *box = NULL;
    lua_pushnil(L);
    return 1;
}

/* ---- Tokens ---- */

/* token(): a new one. */
static int token(lua_State *L)
{
    char text[TC_TOKEN_SIZE];
    if (!tc_token_make(text))
        return luaL_error(L, "the system has no randomness");
    lua_pushstring(L, text);
    return 1;
}

static int fail(lua_State *L, int fd, const char *path, const char *why)
{
    if (fd >= 0)
        close(fd);
    lua_pushnil(L);
    lua_pushfstring(L, "--token-file %s: %s", path, why);
    return 2;
}

/* Makes the file with a new token; left on the stack. */
static int token_new_file(lua_State *L, const char *path)
{
    char text[TC_TOKEN_SIZE + 1];
    if (!tc_token_make(text))
        return fail(L, -1, path, "the system has no randomness");
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(L, -1, path, strerror(errno));
    lua_pushstring(L, text);
    text[TC_TOKEN_SIZE - 1] = '\n';
    if (write(fd, text, TC_TOKEN_SIZE) != TC_TOKEN_SIZE)
        return fail(L, fd, path, "it can not be written");
    close(fd);
    return 1;
}

/* token_file(path): the token in it, which is made when there is no file; nil and why. */
static int token_file(lua_State *L)
{
    char text[TC_TOKEN_MAX + 2];
    struct stat found;
    const char *path = luaL_checkstring(L, 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? token_new_file(L, path) : fail(L, -1, path, strerror(errno));
    if (fstat(fd, &found) != 0 || !S_ISREG(found.st_mode))
        return fail(L, fd, path, "this is no file");
    if ((found.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return fail(L, fd, path, "others may read it: chmod 600");
    ssize_t len = read(fd, text, sizeof(text) - 1);
    if (len < 0)
        return fail(L, fd, path, strerror(errno));
    text[len] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    if (!tc_token_is(text))
        return fail(L, fd, path, "it must be a line of 16 to 256 letters, digits, - and _");
    close(fd);
    lua_pushstring(L, text);
    return 1;
}

void tc_dashboard_push(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"wait", server_wait},       {"reply", server_reply},
        {"publish", server_publish}, {"viewers", server_viewers},
        {"place", server_place},     {"page_token", server_page_token},
        {"writes", server_writes},   {"stop", server_stop},
        {"__gc", server_stop},       {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"start", start}, {"token", token}, {"token_file", token_file}, {NULL, NULL}};
    luaL_newmetatable(L, meta_name);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
}
