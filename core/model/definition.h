/* What an index is: its name, version, fields and conditions, as a spec declares it and as the
 * catalog stores it (both are the same JSON members).
 *
 *   {"name", "version", "fields": [{"name", "type", "order"}], "condition", "where", "sparse",
 *    "covering"}
 *
 * INVARIANTS
 *  1. A definition is immutable once parsed; everything it points to lives in the arena it was
 *     parsed into.
 *  2. Two definitions are equal when no document could tell their entries apart by their text:
 * order of members and spelling of numbers in "where" do not count.
 *
 * Threads: pure functions. What is NOT here: states (schema.h), extraction of fields (extract.h).
 */
#ifndef TI_MODEL_DEFINITION_H
#define TI_MODEL_DEFINITION_H

#include "base/mem.h"
#include "json/json.h"

typedef enum ti_field_type {
    TI_FIELD_STRING = 0,
    TI_FIELD_NUMBER = 1,
    TI_FIELD_BOOLEAN = 2,
} ti_field_type;

typedef struct ti_index_field {
    ti_slice path;
    ti_field_type type;
    bool descending;
} ti_index_field;

typedef enum ti_condition {
    TI_CONDITION_ALWAYS = 0,
    TI_CONDITION_NEVER = 1,
    TI_CONDITION_HOST = 2, /* a function of the host decides */
} ti_condition;

typedef struct ti_index_def {
    ti_slice name;
    uint32_t version;
    bool unique;
    bool sparse;
    bool covering;
    ti_condition condition;
    ti_slice where_json;        /* "" = none */
    const ti_json_where *where; /* NULL = none */
    ti_index_field *fields;
    bool *descending; /* one flag per field, as ti_key_index_split takes them */
    size_t field_count;
} ti_index_def;

/* "string", "number", "boolean". Static. */
const char *ti_field_type_name(ti_field_type type);

/* Reads a definition; strict refuses unknown members (a user's spec; not the catalog, which has
 * more). INVALID_ARGUMENT naming table, index and member; LIMIT_EXCEEDED; OUT_OF_MEMORY. */
ti_status ti_index_def_parse(ti_json_value spec, bool unique, bool strict, ti_slice table,
                             ti_arena *a, ti_index_def *def_out, ti_err *err);
/* Writes the definition's members into the object that w has open. */
void ti_index_def_write(const ti_index_def *def, ti_json_writer *w);
/* Whether both define the same entries; names and versions are not compared. OUT_OF_MEMORY. */
ti_status ti_index_def_equal(const ti_index_def *left, const ti_index_def *right, bool *equal_out,
                             ti_err *err);

/* Refuses members of object that are not in names: INVALID_ARGUMENT "unknown member … of what". */
ti_status ti_spec_members(ti_json_value object, const char *const *names, size_t name_count,
                          const char *what, ti_slice table, ti_err *err);
/* Whether a value is a list: an array, or an empty object (an empty table of a script language is
 * both). */
bool ti_spec_is_list(ti_json_value value);
/* A member that must be a boolean when present; *value_io keeps its default otherwise. */
ti_status ti_spec_bool(ti_json_value object, const char *name, ti_slice table, bool *value_io,
                       ti_err *err);
/* A member that must be a string; required or "" when absent. In a. */
ti_status ti_spec_string(ti_json_value object, const char *name, bool required, const char *what,
                         ti_slice table, ti_arena *a, ti_slice *out, ti_err *err);

#endif
