/* What the machines of maintenance share: the base they embed, documents handed to the host,
 * reading a table in batches. See maintenance.h. */
#ifndef TI_MODEL_STEPS_INT_H
#define TI_MODEL_STEPS_INT_H

#include "model/maintenance.h"
#include "model/model_int.h"

#define STEPS_BATCH_SIZE (4 * 1024 * 1024) /* bytes of records after which a batch ends */

typedef struct ti_steps_vt {
    /* The next piece of work; writes the members of its JSON object into w. */
    ti_status (*next)(ti_steps *steps, ti_step *step_out, ti_json_writer *w, const ti_call *call,
                      ti_err *err);
    /* Gives everything back but the base; no transaction or lock stays. */
    void (*close)(ti_steps *steps);
} ti_steps_vt;

/* One record of a batch. Everything lives in the machine's batch arena. */
typedef struct ti_steps_record {
    ti_slice id;
    ti_slice key;
    ti_slice value;      /* data NULL: there is none (an index_todo row of a deleted record) */
    ti_record record;    /* when readable */
    ti_draft draft;      /* its document */
    bool readable;       /* record and draft are filled */
    uint64_t conditions; /* the host's answer */
    bool replied;
} ti_steps_record;

struct ti_steps {
    const ti_steps_vt *vt;
    ti_model *model; /* one reference, owned */
    ti_scratch *s;   /* owned; arena: the batch */
    ti_buf json;     /* of the last step */
    bool finished;
    bool failed;
    bool waiting; /* records wait for the host */
    ti_steps_record *records;
    size_t record_count;
    size_t *waiting_index; /* the i-th that waits -> its record */
    size_t waiting_count;
};

/* Fills the base. OUT_OF_MEMORY; then nothing is held. */
ti_status ti_steps_init(ti_steps *steps, const ti_steps_vt *vt, ti_model *model, ti_err *err);
/* Empties the batch. */
void ti_steps_clear(ti_steps *steps);
/* Reads up to count records behind after ("" = from the first) into the batch; *more_out: others
 * follow. Unreadable ones stay in it with readable false. */
ti_status ti_steps_read(ti_steps *steps, ti_txn *txn, ti_slice after, size_t count, bool *more_out,
                        const ti_call *call, ti_err *err);
/* Reads the records with these ids into the batch; ids outlive it. */
ti_status ti_steps_read_ids(ti_steps *steps, ti_txn *txn, const ti_slice *ids, size_t count,
                            const ti_call *call, ti_err *err);
/* Counts one page of a range's keys, those from `from` on (empty: from the range's begin), for
 * whoever watches; *more_out: others follow, and `from` is where. In a snapshot of its own: keys
 * that come and go between pages are counted or not. */
ti_status ti_steps_count_page(ti_steps *steps, const ti_key_range *range, ti_buf *from,
                              uint64_t *count_io, bool *more_out, const ti_call *call, ti_err *err);
/* Lets all readable records wait for the host. false when there are none. */
ti_status ti_steps_ask(ti_steps *steps, bool *asked_out, ti_err *err);

/* The entries that a record shall have: extracted under plan, and from its list those of indexes
 * that plan leaves out but the schema has. Sorted; in a. INVALID_ARGUMENT when the document does
 * not fit an index. */
ti_status ti_steps_entries(ti_steps *steps, const ti_plan *plan, const ti_steps_record *record,
                           ti_entry_set *set_out, ti_err *err);
/* A plan of some of a schema's indexes; keep says which. One reference. */
typedef bool (*ti_plan_filter)(const ti_model *model, const ti_schema_index *index, void *context);
ti_status ti_plan_some(ti_model *model, ti_schema *schema, ti_plan_filter keep, void *context,
                       ti_plan **plan_out, ti_err *err);
/* Whether core or this model can say which records an index holds. */
bool ti_plan_knows(const ti_model *model, const ti_schema_index *index);

/* Removes versions of an index below `below` (0: all of them) with their entries: write_only,
 * absent, deleted, each after the wait. host_only: only those with a host condition. *found_out
 * (may be NULL) tells whether there were any. */
typedef struct ti_drop_request {
    ti_slice index;
    uint32_t below;
    bool host_only;
} ti_drop_request;
ti_status ti_drop_versions(ti_store *store, ti_slice table, const ti_drop_request *request,
                           bool *found_out, const ti_call *call, ti_err *err);

#endif
