/* Writing dumps: a stream, plain or compressed, and the documents of a table into it.
 *
 *   create ── write, dump … ── finish: fsync, rename ──> FILE
 *                    `── closed before: FILE.partial is removed
 *
 * INVARIANTS
 *  1. The first failure is kept: every later write, and finish, tell it.
 *  2. A document is one line: line feeds in its text, which JSON allows between values only, become
 *     spaces.
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

#define META "tito.cli.writer"
#define SUFFIX ".partial"

typedef struct writer {
    gzFile stream; /* NULL: closed */
    int file;      /* for fsync; -1: standard output */
    char *path;    /* owned; NULL: standard output */
    char *partial; /* owned */
    int failed;    /* errno of the first failure */
} writer;

static writer *check(lua_State *L)
{
    writer *w = luaL_checkudata(L, 1, META);
    if (w->stream == NULL)
        luaL_error(L, "the stream is closed");
    return w;
}

static int fail(lua_State *L, const char *what, const char *path, int number)
{
    lua_pushnil(L);
    lua_pushfstring(L, "%s %s: %s", what, path == NULL ? "standard output" : path,
                    strerror(number == 0 ? EIO : number));
    return 2;
}

/* ---- the stream */

static void drop(writer *w)
{
    if (w->stream != NULL)
        (void)gzclose_w(w->stream);
    if (w->file >= 0)
        (void)close(w->file);
    if (w->partial != NULL)
        (void)unlink(w->partial);
    free(w->path);
    free(w->partial);
    *w = (writer){.file = -1};
}

static int collect(lua_State *L)
{
    drop(luaL_checkudata(L, 1, META));
    return 0;
}

/* 0, or errno. */
static int open_file(writer *w, const char *path)
{
    size_t len = strlen(path);
    w->path = malloc(len + 1);
    w->partial = malloc(len + sizeof(SUFFIX));
    if (w->path == NULL || w->partial == NULL)
        return ENOMEM;
    memcpy(w->path, path, len + 1);
    memcpy(w->partial, path, len);
    memcpy(w->partial + len, SUFFIX, sizeof(SUFFIX));
    w->file = open(w->partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    return w->file < 0 ? errno : 0;
}

int tc_writer_create(lua_State *L)
{
    const char *path = luaL_optstring(L, 1, NULL);
    const char *mode = lua_isnoneornil(L, 2) ? "wbT" : "wb6";
    writer *w = lua_newuserdatauv(L, sizeof(*w), 0);
    *w = (writer){.file = -1};
    luaL_setmetatable(L, META);
    int failed = path == NULL ? 0 : open_file(w, path);
    if (failed != 0)
        return fail(L, "can not create", path, failed);
    int stream = dup(path == NULL ? STDOUT_FILENO : w->file);
    if (stream < 0)
        return fail(L, "can not write", path, errno);
    w->stream = gzdopen(stream, mode);
    if (w->stream == NULL) {
        (void)close(stream);
        return fail(L, "can not write", path, ENOMEM);
    }
    (void)gzbuffer(w->stream, TC_BLOCK_SIZE);
    return 1;
}

static void put(writer *w, const char *text, size_t len)
{
    while (len > 0 && w->failed == 0) {
        unsigned part = len > TC_LINE_MAX ? TC_LINE_MAX : (unsigned)len;
        errno = 0;
        if (gzwrite(w->stream, text, part) != (int)part)
            w->failed = errno == 0 ? EIO : errno;
        text += part;
        len -= part;
    }
}

/* writer:write(text): true, or nil and a text. */
static int write_text(lua_State *L)
{
    size_t len;
    writer *w = check(L);
    const char *text = luaL_checklstring(L, 2, &len);
    put(w, text, len);
    if (w->failed != 0)
        return fail(L, "can not write", w->path, w->failed);
    lua_pushboolean(L, 1);
    return 1;
}

/* writer:finish(): everything is at its place; true, or nil and a text. */
static int finish(lua_State *L)
{
    writer *w = check(L);
    errno = 0;
    if (gzclose_w(w->stream) != Z_OK && w->failed == 0)
        w->failed = errno == 0 ? EIO : errno;
    w->stream = NULL;
    if (w->failed == 0 && w->file >= 0 && fsync(w->file) != 0 && errno != EINVAL)
        w->failed = errno;
    if (w->failed == 0 && w->path != NULL && rename(w->partial, w->path) != 0)
        w->failed = errno;
    if (w->failed == 0) {
        free(w->partial);
        w->partial = NULL;
        lua_pushboolean(L, 1);
        return 1;
    }
    return fail(L, "can not write", w->path, w->failed);
}

/* ---- documents */

/* The document as one line's part. */
static void put_document(writer *w, tito_slice document)
{
    const char *at = document.data, *end = document.data + document.len;
    if (memchr(at, '\n', document.len) == NULL && memchr(at, '\r', document.len) == NULL) {
        put(w, at, document.len);
        return;
    }
    for (const char *c = at; c < end; c++) {
        if (*c != '\n' && *c != '\r')
            continue;
        put(w, at, (size_t)(c - at));
        put(w, " ", 1);
        at = c + 1;
    }
    put(w, at, (size_t)(end - at));
}

typedef struct dumping {
    writer *w;
    tito_query_t *query;
    tito_txn_t *txn;
    const char *prefix; /* {"table":"…","document": */
    size_t prefix_len;
    lua_Integer count;
} dumping;

/* Writes the next page; *more_out: another one follows. */
static int32_t dump_page(dumping *d, bool *more_out, tito_error_t **error_out)
{
    tito_future_t *future = tito_query_execute(d->query, d->txn);
    int32_t status = tito_future_wait(future, -1, error_out);
    tito_page_t *page = tito_future_page(future);
    tito_future_free(future);
    *more_out = false;
    if (status != TITO_OK)
        return status;
    size_t count = tito_page_count(page);
    for (size_t i = 0; i < count; i++) {
        put(d->w, d->prefix, d->prefix_len);
        put_document(d->w, tito_page_document(page, i));
        put(d->w, "}\n", 2);
    }
    d->count += (lua_Integer)count;
    tito_slice cursor = tito_page_cursor(page);
    *more_out = cursor.len > 0;
    if (*more_out)
        status = tito_query_cursor(d->query, cursor.data, cursor.len);
    tito_page_free(page);
    return status;
}

/* Calls the function at index with the count; false: it wants the end, or raised (then the error is
 * on the stack and *raised_out set). */
static bool tell(lua_State *L, int index, lua_Integer count, bool *raised_out)
{
    lua_pushvalue(L, index);
    lua_pushinteger(L, count);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        *raised_out = true;
        return false;
    }
    bool on = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return on;
}

/* writer:dump(model, txn, prefix, progress): how many documents; or nil and an error table or a
 * text. progress(count): false ends it, and the result is false. */
static int dump(lua_State *L)
{
    writer *w = check(L);
    tito_model_t *model = tl_handle_get(L, 2, TL_MODEL);
    dumping d = {.w = w, .txn = tl_handle_get(L, 3, TL_TXN)};
    d.prefix = luaL_checklstring(L, 4, &d.prefix_len);
    luaL_checktype(L, 5, LUA_TFUNCTION);
    luaL_checkstack(L, 8, NULL);
    tito_error_t *error = NULL;
    bool more = true, raised = false, stopped = false;
    int32_t status = tito_query_scan(model, &d.query, &error);
    if (status == TITO_OK)
        status = tito_query_limit(d.query, TC_PAGE_ITEMS);
    while (status == TITO_OK && more && w->failed == 0 && !stopped) {
        status = dump_page(&d, &more, &error);
        if (status == TITO_OK)
            stopped = !tell(L, 5, d.count, &raised);
    }
    tito_query_free(d.query);
    if (raised)
        return lua_error(L);
    if (status != TITO_OK)
        return tl_fail(L, status, error);
    if (w->failed != 0)
        return fail(L, "can not write", w->path, w->failed);
    if (stopped)
        lua_pushboolean(L, 0);
    else
        lua_pushinteger(L, d.count);
    return 1;
}

void tc_writer_setup(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"write", write_text}, {"dump", dump}, {"finish", finish}, {NULL, NULL}};
    luaL_newmetatable(L, META);
    lua_pushcfunction(L, collect);
    lua_setfield(L, -2, "__gc");
    tc_transfer_push(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
