/* What `tito dump` and `tito load` need besides Lua: streams of lines, plain or compressed, and
 * documents that pass as the text they are.
 *
 *   table ──page by page──> writer ──(zlib)──> FILE.partial ──rename──> FILE
 *   FILE ──(zlib)──> reader ──> a line ──> its members as text ──> put(model, txn, document)
 *
 * INVARIANTS
 *  1. At FILE there is nothing or a whole dump.
 *  2. A document is never decoded on its way; the library checks it when it is written.
 *  3. Everything that is open is a userdata: whatever raises, it is closed.
 *
 * Thread rule: the thread of the state. What is NOT here: the order of lines, batches, conflicts
 * (frame/dumps.lua, commands/dump.lua, commands/load.lua). */
#ifndef TITO_CLI_TRANSFER_H
#define TITO_CLI_TRANSFER_H

#include "binding.h"

enum {
    TC_LINE_MAX = 16 * 1024 * 1024, /* bytes of a line; a document has 1 MiB at most */
    TC_BLOCK_SIZE = 256 * 1024,
    TC_PAGE_ITEMS = 1000,
    TC_HASH_TEXT_SIZE = 17
};

/* A lua_CFunction, for a state that has tito.core open, that pushes the module: create, open,
 * members, put. */
int tc_transfer_open(lua_State *L);
/* Pushes a table of functions that have the binding's state as their upvalue, as tl_… wants it. */
void tc_transfer_push(lua_State *L, const luaL_Reg *list);

/* ---- transfer_write.c */

/* create(path or nil for stdout, "gzip" or nil): a writer; or nil and a text. Methods: write(text),
 * dump(model, txn, prefix, progress), finish(). */
int tc_writer_create(lua_State *L);
/* Makes the metatable. */
void tc_writer_setup(lua_State *L);

/* ---- transfer_read.c */

/* open(path or nil for stdin): a reader; or nil and a text. Methods: line(), position(), close().
 */
int tc_reader_open(lua_State *L);
void tc_reader_setup(lua_State *L);
/* members(text): a table of the members of a JSON object, each as its JSON text; nil when it is no
 * object. Values are not checked beyond their brackets. */
int tc_reader_members(lua_State *L);

#endif
