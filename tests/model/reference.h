/* A naive model of documents, indexes and queries, written for the tests alone: arrays, linear
 * search, qsort. It knows the rules (design: order of values, fan-out, sparse, unique, conditions)
 * and nothing of how they are carried out. */
#ifndef TI_TESTS_MODEL_REFERENCE_H
#define TI_TESTS_MODEL_REFERENCE_H

#include "model/support.h"

enum { V_MISSING, V_NULL, V_BOOL, V_INT, V_DOUBLE, V_TEXT };

typedef struct val {
    int type;
    bool b;
    int64_t i;
    double d;
    int text; /* of the pool */
} val;

/* Fields a document may have; those under one array fan out together. */
enum { F_S, F_N, F_B, F_OS, F_ON, F_AS, F_AN, F_IK, F_IV, F_COUNT };
enum { GROUP_NONE, GROUP_AS, GROUP_AN, GROUP_ITEMS };

#define LIST_MAX 4
#define REF_FIELDS_MAX 3
#define REF_INDEXES_MAX 6
#define REF_DOCS_MAX 80

typedef struct ref_doc {
    char id[24];
    val scalars[5]; /* F_S … F_ON */
    int as_count;   /* -1 = missing */
    int an_count;
    int item_count;
    val as[LIST_MAX];
    val an[LIST_MAX];
    val item_k[LIST_MAX];
    val item_v[LIST_MAX];
    char json[1200];
} ref_doc;

enum { COND_ALWAYS, COND_HOST, COND_WHERE_BOOL, COND_WHERE_TEXT, COND_NEVER, COND_COUNT };

typedef struct ref_index {
    char name[16];
    int version;
    int field_count;
    int fields[REF_FIELDS_MAX];
    bool desc[REF_FIELDS_MAX];
    bool sparse;
    bool covering;
    bool unique;
    int cond;
} ref_index;

typedef struct ref_state {
    ref_doc docs[REF_DOCS_MAX];
    int count;
} ref_state;

typedef struct ref_entry {
    val tuple[REF_FIELDS_MAX];
    const ref_doc *doc;
} ref_entry;

typedef struct ref_query {
    const ref_index *index; /* NULL: a scan */
    val equal[REF_FIELDS_MAX];
    int equal_count;
    val lower; /* V_MISSING: none */
    val upper;
    bool lower_excluded;
    bool upper_excluded;
    int starts; /* text of the pool, -1 = none */
    bool reverse;
} ref_query;

void ref_setup(void);
void ref_random_doc(test_random *r, const char *id, ref_doc *out);
/* Writes doc->json from the rest. */
void ref_render(test_random *r, ref_doc *doc);
void ref_random_index(test_random *r, int number, ref_index *out);
void ref_spec(const ref_index *indexes, int count, char *out, size_t size);
bool ref_host_condition(const ref_doc *doc);
uint64_t ref_conditions(const ref_index *indexes, int count, const ref_doc *doc);
ref_doc *ref_find(ref_state *state, const char *id);
/* The entries of a document in an index, as a set; the number of them. */
int ref_entries(const ref_index *index, const ref_doc *doc, ref_entry *out);
/* Whether another document of the state holds a unique value of this one. */
bool ref_violates(const ref_state *state, const ref_index *indexes, int count, const ref_doc *doc);
void ref_random_query(test_random *r, const ref_state *state, const ref_index *index,
                      ref_query *out);
/* The documents of a query, in order. */
int ref_run(const ref_state *state, const ref_query *query, const ref_doc **out);
/* The same query for the real thing. */
ti_query *ref_build(db *d, ti_model *m, const ref_query *query);

#endif
