/* What the tests of models and queries share: a database of their own, short forms of the
 * operations, checks that print the error. Every helper fails the test when the call does what the
 * test did not ask for. */
#ifndef TI_TESTS_MODEL_SUPPORT_H
#define TI_TESTS_MODEL_SUPPORT_H

#include "support/test.h"

#include "kv/retry.h"
#include "model/maintenance.h"
#include "model/model.h"
#include "query/query.h"

/* An open database with one store. */
typedef struct db {
    ti_engine *engine; /* owned by kv */
    ti_kv kv;
    ti_store *store;
    ti_call call;
    ti_err err;
    ti_arena a;
    char path[256]; /* "" = in memory */
} db;

/* In memory, or (path given) in that directory; with TITO_TEST_ENGINE=tikv on the cluster under
 * test, with keys of its own (of the path). */
void db_open(db *d, const char *path);
/* For programs whose databases others open too: the directory of that path, or, for "tikv:NAME",
 * that namespace of the cluster of TITO_TEST_PD. */
void db_open_place(db *d, const char *place);
/* Another store on the same engine: another handle of this process, or (leased) as if another
 * process had it. */
void db_open_beside(db *d, const db *first, bool leased, int64_t lease_us);
/* Another store on the same engine, in a namespace of its own. */
void db_open_namespace(db *d, const db *first, const char *name_space);
void db_close(db *d);
/* Closes and opens the same directory again. */
void db_reopen(db *d);
ti_slice S(const char *text);
/* A NUL-terminated copy, good until many calls later. */
const char *T(ti_slice s);

/* status must be as wanted; prints the message of err otherwise. */
void expect_at(ti_status got, ti_status wanted, const ti_err *err, const char *what,
               const char *file, int line);
#define EXPECT(d, wanted, call) expect_at((call), (wanted), &(d)->err, #call, __FILE__, __LINE__)
#define OK(d, call) EXPECT(d, TI_OK, call)
/* The error's message contains a text. */
void says_at(const ti_err *err, const char *text, const char *file, int line);
#define SAYS(d, text) says_at(&(d)->err, (text), __FILE__, __LINE__)

ti_model *declare(db *d, const char *spec);
/* Short forms in a transaction of their own (txn NULL) or in txn; they return the status. */
ti_status build(db *d, ti_model *m, ti_txn *txn, const char *json);
ti_status update(db *d, ti_model *m, ti_txn *txn, const char *json);
ti_status save(db *d, ti_model *m, ti_txn *txn, const char *json);
ti_status patch(db *d, ti_model *m, ti_txn *txn, const char *id, const char *changes);
ti_status del(db *d, ti_model *m, ti_txn *txn, const char *id, bool *existed);
/* The document's text, or NULL when it is not there. */
const char *find(db *d, ti_model *m, ti_txn *txn, const char *id);
/* With relationships, separated by commas. */
const char *find_with(db *d, ti_model *m, ti_txn *txn, const char *id, const char *relationships);
ti_txn *begin(db *d);
void commit(db *d, ti_txn *txn);
ti_status try_commit(db *d, ti_txn *txn);

/* A query in words: "index value value >x <y ^start limit=3 reverse keys rel=tags cursor=…", values
 * as JSON without blanks. The ids of the page, joined by blanks; the page's cursor in *cursor_out
 * (may be NULL). */
const char *ids(db *d, ti_model *m, ti_txn *txn, const char *words, const char **cursor_out);
ti_status query_status(db *d, ti_model *m, ti_txn *txn, const char *words);
ti_query *query_of(db *d, ti_model *m, const char *words);
ti_page *page_of(db *d, ti_model *m, ti_txn *txn, const char *words);

/* Runs a machine to its end; conditions(document) answers for the host. The last JSON. */
typedef uint64_t (*conditions_fn)(ti_slice document);
const char *run_steps(db *d, ti_steps *steps, conditions_fn conditions);
const char *reindex(db *d, ti_model *m, conditions_fn conditions);
/* The findings of a check as one text: "kind index id;" each; "" = clean. */
const char *check(db *d, ti_model *m, bool repair, conditions_fn conditions);
/* The cursor of a step's answer; empty: none. */
ti_slice cursor_of(db *d, ti_slice json);
/* The same by a check of its own for each step, which goes on where the one before ended. */
const char *check_in_pieces(db *d, ti_model *m);

/* Every pair of the database under a prefix, as raw bytes, for tests that plant damage. */
void raw_put(db *d, ti_slice key, ti_slice value);
void raw_delete(db *d, ti_slice key);
bool raw_get(db *d, ti_slice key, ti_slice *value_out);

#endif
