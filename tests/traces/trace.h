/* A run of a scenario in C: what its files share.
 *
 *   scenario ──> trace_open ──> trace_step, one line each ──> compared with what the file says
 *                   │               │
 *                models, queues     ops.c (records, queries, transactions),
 *                                   events.c (queues, workers)
 *
 * INVARIANTS
 *  1. Everything but reading JSON goes through tito.h.
 *  2. An op either fills `result` with JSON text and answers TITO_OK, or answers the failure and
 *     leaves its error in `error`.
 *
 * Thread rule: one thread; the handlers of events.c have their own state. What is NOT here: the
 * comparison (run.c). */
#ifndef TITO_TESTS_TRACES_TRACE_H
#define TITO_TESTS_TRACES_TRACE_H

#include "support/test.h"

#include "json/json.h"
#include "tito.h"

#define TRACE_SPACE                                                                                \
    "titotest.scenario."   /* namespaces on TiKV; unistore takes t.........r for a row of TiDB */
#define TRACE_NAMES_MAX 16 /* models, queues, transactions and versions of a scenario, each */

/* A model and what its spec says of host functions: names of functions, empty where there is none.
 */
typedef struct trace_model {
    ti_slice table;
    tito_model_t *handle;
    ti_slice
        conditions[TRACE_NAMES_MAX]; /* of the indexes that have one, in the order of their bits */
    size_t condition_count;
    ti_slice events;
    ti_slice partition_key;
    ti_slice references;
} trace_model;

typedef struct trace_queue {
    ti_slice type;
    tito_queue_t *handle;
} trace_queue;

/* A transaction or a version that a step gave a name to. */
typedef struct trace_named {
    ti_slice name;
    tito_txn_t *txn;
    uint64_t version;
} trace_named;

typedef struct trace {
    ti_arena arena; /* the scenario and whatever a run makes */
    ti_json_parser parser;
    ti_json_doc doc;
    ti_json_value scenario;
    tito_db_t *db;
    trace_model models[TRACE_NAMES_MAX];
    trace_queue queues[TRACE_NAMES_MAX];
    trace_named txns[TRACE_NAMES_MAX];
    trace_named versions[TRACE_NAMES_MAX];
    ti_slice cursor;     /* of the last page */
    ti_buf result;       /* JSON text, any order of keys */
    tito_error_t *error; /* of the step that has failed */
    ti_err err;
} trace;

/* ---- trace.c ---- */

/* Reads the scenario of a file and connects to target; fails the test when that is not possible. */
void trace_open(trace *t, const char *path, const char *target);
/* Closes the database and frees everything. */
void trace_close(trace *t);
/* Runs a step: its line without the number, in the trace's arena. */
const char *trace_step(trace *t, ti_json_value step);

/* A member of a step that is a text, unescaped; empty when it is not there. */
ti_slice trace_text(trace *t, ti_json_value object, const char *name);
/* A member's JSON text; empty when it is not there. */
ti_slice trace_raw(ti_json_value object, const char *name);
/* The children of a member; none when it is not there. */
ti_json_iter trace_each(ti_json_value object, const char *name);
/* Whether a member is there and true. */
bool trace_is(ti_json_value object, const char *name);
/* The scenario's things by name; models and queues must exist, a transaction is NULL when the step
 * names none. */
trace_model *trace_model_of(trace *t, ti_json_value step);
tito_queue_t *trace_queue_of(trace *t, ti_slice type);
tito_txn_t *trace_txn_of(trace *t, ti_json_value step);
/* The place for a name, new or there already. */
trace_named *trace_named_of(trace_named *all, ti_slice name);
/* Waits for a future, in this thread: its status; a failure's error goes to t->error. */
int32_t trace_wait(trace *t, tito_future_t *future);
/* Appends to t->result. */
void trace_put(trace *t, const char *text);
void trace_put_slice(trace *t, tito_slice text);
void trace_put_string(trace *t, tito_slice text);

/* ---- ops.c, events.c ---- */

typedef int32_t (*trace_op)(trace *t, ti_json_value step);

/* The function of an op, or NULL. */
trace_op trace_op_of(ti_slice name);
/* Says to write what the model's host functions say of a document; NULL model: nothing. A
 * tito_host_fn. */
int32_t trace_host(void *model, const char *document, size_t len, tito_write_t *write);

int32_t trace_op_publish(trace *t, ti_json_value step);
int32_t trace_op_history(trace *t, ti_json_value step);
int32_t trace_op_work(trace *t, ti_json_value step);

#endif
