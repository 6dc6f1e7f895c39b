/* The scenarios of nomem.c: what is done while memory runs out, and on what. */
#ifndef TITO_TESTS_ABI_NOMEM_H
#define TITO_TESTS_ABI_NOMEM_H

#include "abi/harness.h"

typedef struct stage {
    tito_db_t *db;
    tito_model_t *items;       /* with some records: "p", "c" (child of p), "k0" … "k9" */
    tito_model_t *conditional; /* with a C host function */
    tito_queue_t *queue;
    char id[32]; /* a new one for each run */
} stage;

typedef struct scenario {
    const char *name;
    int32_t (*run)(stage *s);
    int32_t expected; /* besides OUT_OF_MEMORY */
} scenario;

/* Ends with one without a name. Three lists: handles, writes and transactions; reads and the whole
 * database; queues. */
extern const scenario nomem_writes[];
extern const scenario nomem_reads[];
extern const scenario nomem_queues[];

/* ---- small steps ---- */

static inline int32_t wait_free(tito_future_t *future)
{
    int32_t status = tito_future_wait(future, -1, NULL);
    tito_future_free(future);
    return status;
}

static inline int32_t wait_page(tito_future_t *future)
{
    int32_t status = tito_future_wait(future, -1, NULL);
    tito_page_t *page = tito_future_page(future);
    tito_future_free(future);
    if (status == TITO_OK && page == NULL)
        status = TITO_OUT_OF_MEMORY;
    tito_page_free(page);
    return status;
}

/* a, then b when a was OK: the first that is not OK. */
#define first_of(a, b)                                                                             \
    ({                                                                                             \
        int32_t first_ = (a);                                                                      \
        first_ != TITO_OK ? first_ : (b);                                                          \
    })

static inline tito_future_t *build(stage *s, tito_txn_t *txn)
{
    char text[256];
    int len =
        snprintf(text, sizeof(text),
                 "{\"id\":\"%s\",\"kind\":\"made\",\"n\":1.5,\"code\":\"c-%s\"}", s->id, s->id);
    return tito_model_build(s->items, txn, text, (size_t)len, NULL);
}

static inline int32_t in_txn(stage *s, int32_t (*work)(stage *s, tito_txn_t *txn))
{
    tito_txn_t *txn = NULL;
    int32_t status = tito_txn_begin(s->db, NULL, &txn, NULL);
    if (status == TITO_OK)
        status = work(s, txn);
    if (status == TITO_OK)
        status = wait_free(tito_txn_commit(txn));
    tito_txn_free(txn);
    return status;
}

#endif
