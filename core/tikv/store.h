/* Stores: their addresses and connections.
 *
 * A ti_tikv_store is one store at one address with its connections, shared by reference. When PD
 * names another address the old one leaves the table, and closes when the last command on it has
 * ended.
 */
#ifndef TI_TIKV_STORE_H
#define TI_TIKV_STORE_H

#include "tikv/conn.h"
#include "tikv/pd.h"

#define TI_STORE_LANES 2
/* Commands on one connection from which on the next one is used: fewer share their messages. */
#define TI_STORE_LANE_BUSY TI_CONN_BATCH_MAX

typedef struct ti_tikv_store ti_tikv_store;
typedef struct ti_tikv_stores ti_tikv_stores;

ti_status ti_tikv_stores_create(ti_wire *w, ti_pd *pd, ti_tikv_stores **stores_out, ti_err *err);
void ti_tikv_stores_free(ti_tikv_stores *s);
/* The store, asking PD at first; a reference of the caller's. NOT_FOUND for one that is gone for
 * good (a tombstone too). */
ti_status ti_tikv_stores_get(ti_tikv_stores *s, uint64_t id, ti_tikv_store **store_out,
                             const ti_call *call, ti_err *err);
/* Something is wrong at the store's address: asks PD again at the next use. With wrong_store
 * (another store answers there) it also connects anew. */
void ti_tikv_stores_doubt(ti_tikv_stores *s, uint64_t id, bool wrong_store);
void ti_tikv_store_unref(ti_tikv_store *store); /* NULL is allowed */
const char *ti_tikv_store_address(const ti_tikv_store *store);
/* A connection of the store: the first that is not busy. Borrowed as long as the reference. */
ti_conn *ti_tikv_store_conn(ti_tikv_store *store);

#endif
