/* The inside of a check; shared by check.c (phases, findings), inspect.c (comparing) and repair.c.
 */
#ifndef TI_MODEL_CHECK_INT_H
#define TI_MODEL_CHECK_INT_H

#include "model/catalog.h"
#include "model/steps_int.h"

typedef enum ti_check_phase {
    TI_CHECK_RECORDS = 0, /* every record: readable, list, entries */
    TI_CHECK_ENTRIES,     /* every entry of plain indexes: has it a record that lists it */
    TI_CHECK_UNIQUES,     /* the same of unique ones */
    TI_CHECK_DONE,
} ti_check_phase;

typedef enum ti_finding_kind {
    TI_FINDING_RECORD_CORRUPT = 0, /* its checksum or its list */
    TI_FINDING_RECORD_UNREADABLE,  /* its document: not JSON, or of another id */
    TI_FINDING_LIST_STALE,         /* the list is not what the document says */
    TI_FINDING_ENTRY_MISSING,      /* listed, not there */
    TI_FINDING_ENTRY_STALE,        /* listed, with another value */
    TI_FINDING_ENTRY_EXTRA,        /* there, not listed by its record */
    TI_FINDING_UNIQUE_OWNER,       /* a unique entry that another record holds */
    TI_FINDING_KEY_FOREIGN,        /* a key in the table's ranges that is none of an entry */
} ti_finding_kind;

typedef struct ti_finding {
    ti_finding_kind kind;
    ti_slice index; /* name; "" = none */
    ti_slice id;
    const char *what;
    bool repaired;
} ti_finding;

typedef struct ti_check {
    ti_steps base; /* first */
    ti_check_phase at;
    bool repair;
    uint32_t batch;
    uint64_t done;           /* records and entries looked at */
    uint64_t total;          /* of them, when counted */
    bool counting;           /* what is to be looked at is counted before */
    ti_check_phase count_at; /* the phase whose keys are counted */
    ti_buf count_from;       /* where that goes on */
    uint64_t found;
    uint64_t repaired;
    ti_buf from;       /* where the phase goes on: an id, or a key */
    bool more;         /* the batch is not the phase's last */
    ti_txn *txn;       /* of the batch */
    ti_schema *schema; /* at its snapshot; one reference */
    ti_plan *plan;     /* readable indexes whose condition can be evaluated; one reference */
    ti_json_writer *w; /* of the step's findings */
    size_t told;       /* findings in this step */
} ti_check;

/* Counts a finding and tells it, up to TI_CHECK_FINDINGS_MAX of a step. */
ti_status ti_check_tell(ti_check *c, const ti_finding *finding, ti_err *err);
/* Compares the batch's records with their lists and entries; repairs. */
ti_status ti_check_records(ti_check *c, const ti_call *call, ti_err *err);
/* The next entries of a phase. */
ti_status ti_check_entries(ti_check *c, ti_span span, const ti_call *call, ti_err *err);

/* Makes entries and list of a record what its document says. *repaired_out false: it can not be, or
 * somebody is faster. */
ti_status ti_repair_record(ti_check *c, const ti_steps_record *record, bool *repaired_out,
                           const ti_call *call, ti_err *err);
/* Deletes a key that its record still does not list (id "": whatever it is). */
ti_status ti_repair_entry(ti_check *c, ti_slice key, ti_slice id, const ti_entry *entry,
                          bool *repaired_out, const ti_call *call, ti_err *err);
/* Whether a record's list has an entry. */
bool ti_record_lists(const ti_record *record, const ti_entry *entry);

#endif
