/* The module of transfer.h, and writing a document that is JSON text.
 *
 * Thread rule: the thread of the state. */
#include "transfer.h"

#include <string.h>

/* put(model, txn, document, "build" or "save", low, high): true, or nil and the error. low, high:
 * the bits of its conditions. */
static int put(lua_State *L)
{
    size_t len;
    tito_model_t *model = tl_handle_get(L, 1, TL_MODEL);
    tito_txn_t *txn = tl_handle_get(L, 2, TL_TXN);
    const char *document = luaL_checklstring(L, 3, &len);
    bool build = strcmp(luaL_checkstring(L, 4), "build") == 0;
    uint64_t low = (uint64_t)luaL_optnumber(L, 5, 0), high = (uint64_t)luaL_optnumber(L, 6, 0);
    tito_error_t *error = NULL;
    tito_write_t *write = low == 0 && high == 0 ? NULL : tito_write_new();
    if (write != NULL)
        (void)tito_write_conditions(write, high << 32 | low);
    else if (low != 0 || high != 0)
        return tl_fail_text(L, TITO_OUT_OF_MEMORY, "there is no memory for a write");
    tito_future_t *future = build ? tito_model_build(model, txn, document, len, write)
                                  : tito_model_save(model, txn, document, len, write);
    tito_write_free(write);
    int32_t status = tito_future_wait(future, -1, &error);
    tito_future_free(future);
    if (status != TITO_OK)
        return tl_fail(L, status, error);
    lua_pushboolean(L, 1);
    return 1;
}

static const luaL_Reg functions[] = {{"create", tc_writer_create},
                                     {"open", tc_reader_open},
                                     {"members", tc_reader_members},
                                     {"put", put},
                                     {NULL, NULL}};

void tc_transfer_push(lua_State *L, const luaL_Reg *list)
{
    lua_newtable(L);
    lua_pushlightuserdata(L, tl_state_registered(L));
    luaL_setfuncs(L, list, 1);
}

int tc_transfer_open(lua_State *L)
{
    tc_writer_setup(L);
    tc_reader_setup(L);
    tc_transfer_push(L, functions);
    return 1;
}
