/* Reading dumps: lines of a stream, plain or compressed (zlib tells them apart), and the members of
 * a line.
 *
 * INVARIANTS
 *  1. position() names all bytes up to the end of the line that line() gave last: their number, the
 *     number of lines, and a hash of them.
 *  2. A stream that was cut is an error, not an end.
 *
 * Thread rule: the thread of the state. */
#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define META "tito.cli.reader"
#define HASH_BEGIN UINT64_C(0xcbf29ce484222325)
#define HASH_STEP UINT64_C(0x100000001b3)

typedef struct reader {
    gzFile stream; /* NULL: closed */
    char *data;    /* owned */
    size_t room, begin, end;
    bool ended;
    uint64_t offset, lines, hash;
} reader;

static reader *check(lua_State *L)
{
    reader *r = luaL_checkudata(L, 1, META);
    if (r->stream == NULL)
        luaL_error(L, "the stream is closed");
    return r;
}

static int collect(lua_State *L)
{
    reader *r = luaL_checkudata(L, 1, META);
    if (r->stream != NULL)
        (void)gzclose_r(r->stream);
    free(r->data);
    *r = (reader){.stream = NULL};
    return 0;
}

int tc_reader_open(lua_State *L)
{
    const char *path = luaL_optstring(L, 1, NULL);
    reader *r = lua_newuserdatauv(L, sizeof(*r), 0);
    *r = (reader){.hash = HASH_BEGIN};
    luaL_setmetatable(L, META);
    int file = path == NULL ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0)
        r->stream = gzdopen(file, "rb");
    if (r->stream != NULL) {
        (void)gzbuffer(r->stream, TC_BLOCK_SIZE);
        return 1;
    }
    int failed = file < 0 ? errno : ENOMEM;
    if (file >= 0)
        (void)close(file);
    lua_pushnil(L);
    lua_pushfstring(L, "can not read %s: %s", path == NULL ? "standard input" : path,
                    strerror(failed));
    return 2;
}

/* ---- lines */

static void count_line(reader *r, const char *line, size_t len)
{
    uint64_t hash = r->hash;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)line[i]) * HASH_STEP;
    r->hash = hash;
    r->offset += len;
    r->lines++;
}

/* Makes room behind what has been read; false: no memory, or the line is too long. */
static bool make_room(reader *r)
{
    if (r->begin > 0) {
        memmove(r->data, r->data + r->begin, r->end - r->begin);
        r->end -= r->begin;
        r->begin = 0;
    }
    if (r->room - r->end >= TC_BLOCK_SIZE)
        return true;
    size_t room = r->room == 0 ? (size_t)2 * TC_BLOCK_SIZE : r->room * 2;
    char *data = r->end > TC_LINE_MAX ? NULL : realloc(r->data, room);
    if (data == NULL)
        return false;
    r->data = data;
    r->room = room;
    return true;
}

/* Reads more; NULL, or what is wrong. */
static const char *read_more(reader *r)
{
    int code = Z_OK;
    if (!make_room(r))
        return "a line is too long, or there is no memory";
    int len = gzread(r->stream, r->data + r->end, TC_BLOCK_SIZE);
    const char *text = gzerror(r->stream, &code);
    if (len > 0) {
        r->end += (size_t)len;
        return NULL;
    }
    if (code == Z_BUF_ERROR)
        return "it was cut: the end is missing";
    if (len < 0 || (code != Z_OK && code != Z_STREAM_END))
        return code == Z_ERRNO ? strerror(errno) : text;
    r->ended = true;
    return NULL;
}

/* reader:line(): the next line without its end, and whether it had one; nil: no more; nil and a
 * text: what is wrong. */
static int read_line(lua_State *L)
{
    reader *r = check(L);
    size_t seen = 0;
    for (;;) {
        size_t have = r->end - r->begin;
        const char *begin = r->data == NULL ? "" : r->data + r->begin;
        const char *feed = have > seen ? memchr(begin + seen, '\n', have - seen) : NULL;
        if (feed != NULL || (r->ended && have > 0)) {
            size_t len = feed == NULL ? have : (size_t)(feed - begin);
            size_t taken = feed == NULL ? len : len + 1;
            lua_pushlstring(L, begin, len);
            count_line(r, begin, taken);
            r->begin += taken;
            lua_pushboolean(L, feed != NULL);
            return 2;
        }
        lua_pushnil(L);
        if (r->ended)
            return 1;
        const char *wrong = read_more(r);
        if (wrong != NULL) {
            lua_pushstring(L, wrong);
            return 2;
        }
        lua_pop(L, 1);
        seen = have;
    }
}

/* reader:position(): bytes, lines, a hash as text. */
static int position(lua_State *L)
{
    char text[TC_HASH_TEXT_SIZE];
    reader *r = check(L);
    (void)snprintf(text, sizeof(text), "%016llx", (unsigned long long)r->hash);
    lua_pushinteger(L, (lua_Integer)r->offset);
    lua_pushinteger(L, (lua_Integer)r->lines);
    lua_pushstring(L, text);
    return 3;
}

/* reader:progress(): bytes of the file that were read, before decompression. */
static int progress(lua_State *L)
{
    reader *r = check(L);
    lua_pushinteger(L, (lua_Integer)gzoffset(r->stream));
    return 1;
}

void tc_reader_setup(lua_State *L)
{
    static const luaL_Reg methods[] = {{"line", read_line},
                                       {"position", position},
                                       {"progress", progress},
                                       {"close", collect},
                                       {NULL, NULL}};
    luaL_newmetatable(L, META);
    lua_pushcfunction(L, collect);
    lua_setfield(L, -2, "__gc");
    tc_transfer_push(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

/* ---- members of a line */

typedef struct text {
    const char *at;
    const char *end;
} text;

static void skip_space(text *t)
{
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\t' || *t->at == '\r' || *t->at == '\n'))
        t->at++;
}

static bool take(text *t, char c)
{
    skip_space(t);
    if (t->at == t->end || *t->at != c)
        return false;
    t->at++;
    return true;
}

/* Passes a string, whose quote is next. */
static bool pass_string(text *t)
{
    for (t->at++; t->at < t->end; t->at++) {
        if (*t->at == '\\')
            t->at++;
        else if (*t->at == '"') {
            t->at++;
            return true;
        }
    }
    t->at = t->end;
    return false;
}

/* Passes an object or an array by its brackets. */
static bool pass_nested(text *t)
{
    size_t depth = 0;
    while (t->at < t->end) {
        char c = *t->at;
        if (c == '"') {
            if (!pass_string(t))
                return false;
            continue;
        }
        t->at++;
        if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && --depth == 0)
            return true;
    }
    return false;
}

static bool pass_value(text *t)
{
    skip_space(t);
    if (t->at == t->end)
        return false;
    if (*t->at == '"')
        return pass_string(t);
    if (*t->at == '{' || *t->at == '[')
        return pass_nested(t);
    const char *begin = t->at;
    while (t->at < t->end && strchr(",}] \t\r\n", *t->at) == NULL)
        t->at++;
    return t->at > begin;
}

/* Passes a name and its colon, and pushes the name. */
static bool take_name(lua_State *L, text *t)
{
    skip_space(t);
    const char *name = t->at;
    if (t->at == t->end || *t->at != '"' || !pass_string(t))
        return false;
    lua_pushlstring(L, name + 1, (size_t)(t->at - name) - 2);
    return take(t, ':');
}

/* Adds the members to the table on top. */
static bool add_members(lua_State *L, text *t)
{
    int top = lua_gettop(L);
    if (!take(t, '{'))
        return false;
    if (take(t, '}'))
        return true;
    do {
        if (!take_name(L, t))
            return false;
        skip_space(t);
        const char *value = t->at;
        if (!pass_value(t))
            return false;
        lua_pushlstring(L, value, (size_t)(t->at - value));
        lua_rawset(L, top);
    } while (take(t, ','));
    return take(t, '}');
}

int tc_reader_members(lua_State *L)
{
    size_t len;
    text t = {.at = luaL_checklstring(L, 1, &len)};
    t.end = t.at + len;
    lua_settop(L, 1);
    lua_createtable(L, 0, 2);
    bool good = add_members(L, &t);
    skip_space(&t);
    if (good && t.at == t.end)
        lua_settop(L, 2);
    else
        lua_pushnil(L);
    return 1;
}
