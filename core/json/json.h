/* Documents: parse, read by path, edit by splicing, merge, emit, pull, match.
 *
 *   text   {"id":"p1","tags":["a","b"],"n":1.5}          borrowed, never copied, never changed
 *   nodes  0 object ─ 1 "id" ─ 2 "tags" ─ 3 "a" ─ 4 "b" ─ 5 "n"      preorder, in the arena
 *          each: where its bytes are in the text, where its key is, where its subtree ends
 *
 * INVARIANTS
 *  1. A document that parsed is valid JSON and valid UTF-8, has no duplicate keys in one object, no
 *     lone surrogate, no number outside the range of a double, and is within the parser's size and
 *     depth.
 *  2. A ti_json_doc borrows its text and its arena: it is valid while both are.
 *  3. Errors name a byte offset, never contents.
 *  4. Object members and array elements keep the order of the text.
 *
 * Threads: a parser belongs to one thread at a time; a parsed document may be read by many.
 * What is NOT here: schemas, index fields (model), order-preserving encoding (codec). */
#ifndef TI_JSON_JSON_H
#define TI_JSON_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/slice.h"

/* ---- parsing ---- */

typedef struct ti_json_node ti_json_node; /* json_int.h */

/* A parsed document. A plain value: copy it freely, free nothing. */
typedef struct ti_json_doc {
    ti_slice text;             /* borrowed */
    const ti_json_node *nodes; /* in the arena; nodes[0] is the root */
    uint32_t node_count;
} ti_json_doc;

/* Scratch memory for parsing, reused from call to call. Owned by whoever declared it. */
typedef struct ti_json_parser {
    struct ti_json_scan *scan; /* structural scanner; owned; NULL until the first parse */
    char *text;                /* padded copy of the text; owned */
    size_t text_capacity;
    ti_json_node *nodes; /* owned */
    size_t node_capacity;
    void *members; /* keys of one object while it is checked for duplicates; owned */
    size_t members_size;
    size_t size_max;    /* bytes of a text */
    uint32_t depth_max; /* nested containers */
} ti_json_parser;

/* Readies a parser for texts up to TI_DOCUMENT_SIZE_MAX and TI_JSON_DEPTH_MAX; allocates nothing.
 */
void ti_json_parser_init(ti_json_parser *parser);
/* The same for texts that tito made itself by hydration: TI_PAGE_SIZE_MAX and
 * TI_JSON_DEPTH_HYDRATED_MAX. */
void ti_json_parser_init_hydrated(ti_json_parser *parser);
/* Frees the scratch memory; documents parsed with it stay valid. Safe on a zeroed or freed parser.
 */
void ti_json_parser_free(ti_json_parser *parser);

/* Parses one JSON text of any type. doc_out borrows text and a.
 * INVALID_ARGUMENT (not JSON, not UTF-8, duplicate key, number out of range; with the byte offset),
 * LIMIT_EXCEEDED (size, depth), OUT_OF_MEMORY. @thread any, one per parser */
ti_status ti_json_parse(ti_json_parser *parser, ti_arena *a, ti_slice text, ti_json_doc *doc_out,
                        ti_err *err);

/* ---- values ---- */

typedef enum ti_json_type {
    TI_JSON_NULL = 0,
    TI_JSON_BOOL,
    TI_JSON_INT,    /* in the range of int64, written without fraction or exponent; -0 is 0 */
    TI_JSON_DOUBLE, /* written with a fraction or exponent */
    TI_JSON_BIG,    /* an integer outside int64: kept as text, refused in indexed fields */
    TI_JSON_STRING,
    TI_JSON_ARRAY,
    TI_JSON_OBJECT,
} ti_json_type;

/* One value of a document. Borrows the ti_json_doc (by pointer: it must not move). doc NULL =
 * absent. */
typedef struct ti_json_value {
    const ti_json_doc *doc;
    uint32_t node;
} ti_json_value;

#define TI_JSON_ABSENT ((ti_json_value){.doc = NULL, .node = 0})

/* The whole document. */
ti_json_value ti_json_root(const ti_json_doc *doc);
/* Whether there is a value (a JSON null is one). */
static inline bool ti_json_is_present(ti_json_value value)
{
    return value.doc != NULL;
}
/* The type of a present value. */
ti_json_type ti_json_type_of(ti_json_value value);
/* "null", "boolean", "integer", "number", "string", "array", "object" for messages. Static. */
const char *ti_json_type_name(ti_json_type type);
/* The bytes of the value as written, without its key; borrowed from the text. */
ti_slice ti_json_raw(ti_json_value value);
/* Whether a BOOL is true. */
bool ti_json_bool(ti_json_value value);
/* The value of an INT. */
int64_t ti_json_int(ti_json_value value);
/* The value of an INT, DOUBLE or BIG, rounded to a double. */
double ti_json_double(ti_json_value value);
/* The unescaped text of a STRING: borrowed from the document when it has no escapes, else in a.
 * OUT_OF_MEMORY. */
ti_status ti_json_string(ti_json_value value, ti_arena *a, ti_slice *out, ti_err *err);
/* The unescaped key of an object's member; like ti_json_string. */
ti_status ti_json_key(ti_json_value member, ti_arena *a, ti_slice *out, ti_err *err);
/* Members of an object, elements of an array; 0 for others. */
uint32_t ti_json_count(ti_json_value value);

/* The member of an object with this (unescaped) key; absent when there is none, when value is no
 * object, or absent. */
ti_json_value ti_json_get(ti_json_value value, ti_slice key);
/* Walks a dotted path ("address.city") through objects; absent when a step is missing or meets
 * anything but an object. An empty path is the value itself. */
ti_json_value ti_json_get_path(ti_json_value value, ti_slice path);
/* Cuts the first step off a dotted path: "a.b.c" gives "a" and leaves "b.c". false when the path is
 * empty. */
bool ti_json_path_step(ti_slice *path, ti_slice *step_out);
/* Whether path is one or more non-empty steps of valid UTF-8, at most TI_PATH_SIZE_MAX;
 * INVALID_ARGUMENT naming what ("index field"). */
ti_status ti_json_path_check(ti_slice path, const char *what, ti_err *err);

/* Iteration over members or elements, in the order of the text. */
typedef struct ti_json_iter {
    const ti_json_doc *doc;
    uint32_t next;
    uint32_t end;
} ti_json_iter;

/* Ready before the first child; anything but an array or object has none. */
ti_json_iter ti_json_iterate(ti_json_value container);
/* The next child, or false at the end. */
bool ti_json_next(ti_json_iter *iter, ti_json_value *child_out);

/* Whether two values are equal: objects in any order of members, numbers by exact mathematical
 * value (1 = 1.0; a BIG equals only the same BIG), strings unescaped. a: scratch, reset before
 * return. OUT_OF_MEMORY. */
ti_status ti_json_equal(ti_json_value left, ti_json_value right, ti_arena *a, bool *equal_out,
                        ti_err *err);

/* RFC 7396: appends to out the target changed by patch. Members that stay keep their bytes. target
 * may be absent. a: scratch. OUT_OF_MEMORY, LIMIT_EXCEEDED (out's maximum); out is then
 * unspecified. */
ti_status ti_json_merge_patch(ti_json_value target, ti_json_value patch, ti_arena *a, ti_buf *out,
                              ti_err *err);

/* ---- editing by splicing ---- */

/* A set of changes to one document, applied in one pass. Bytes that no edit touches are copied as
 * they are. The later of two edits of one place wins; edits inside a place that is removed or
 * replaced are dropped. The arena and every raw value given must live until apply. Raw values must
 * be valid JSON (asserted: not empty). */
typedef struct ti_json_edit ti_json_edit;
typedef struct ti_json_edits {
    const ti_json_doc *doc;
    ti_arena *arena;
    ti_json_edit *edits; /* in the arena */
    size_t count;
    size_t capacity;
} ti_json_edits;

/* Begins an empty set for doc; allocates nothing. */
void ti_json_edits_init(ti_json_edits *edits, const ti_json_doc *doc, ti_arena *a);
/* Removes a member of an object or an element of an array (not the root). OUT_OF_MEMORY. */
ti_status ti_json_edits_remove(ti_json_edits *edits, ti_json_value value, ti_err *err);
/* Puts raw in the value's place. OUT_OF_MEMORY. */
ti_status ti_json_edits_replace(ti_json_edits *edits, ti_json_value value, ti_slice raw,
                                ti_err *err);
/* Sets a member of an object: in place when there is one, else appended. key is unescaped UTF-8; it
 * is copied. OUT_OF_MEMORY. */
ti_status ti_json_edits_set(ti_json_edits *edits, ti_json_value object, ti_slice key, ti_slice raw,
                            ti_err *err);
/* Sets by dotted path from an object on; missing objects on the way are made. INVALID_ARGUMENT when
 * a step meets something that is no object, OUT_OF_MEMORY. */
ti_status ti_json_edits_set_path(ti_json_edits *edits, ti_json_value object, ti_slice path,
                                 ti_slice raw, ti_err *err);
/* Removes every value that the dotted path reaches from value on; arrays on the way are passed
 * element by element
 * ("items.product" over a list of items). OUT_OF_MEMORY. */
ti_status ti_json_edits_remove_path(ti_json_edits *edits, ti_json_value value, ti_slice path,
                                    ti_err *err);
/* Appends the changed document to out. OUT_OF_MEMORY, LIMIT_EXCEEDED (out's maximum). The set is
 * used up. */
ti_status ti_json_edits_apply(ti_json_edits *edits, ti_buf *out, ti_err *err);

/* ---- emitting ---- */

/* Writes JSON text into a buffer. The first failure sticks and ends all writing: check once, with
 * ti_json_writer_end. Commas are put by the writer; begin and end must match (asserted). */
typedef struct ti_json_writer {
    ti_buf *out; /* borrowed */
    ti_err *err; /* borrowed; may be NULL */
    ti_status status;
    uint32_t depth;
    bool comma; /* a value stands before: the next one needs a comma */
    bool keyed; /* a key was written: its value comes next */
} ti_json_writer;

void ti_json_writer_init(ti_json_writer *w, ti_buf *out, ti_err *err);
void ti_json_write_object_begin(ti_json_writer *w);
void ti_json_write_object_end(ti_json_writer *w);
void ti_json_write_array_begin(ti_json_writer *w);
void ti_json_write_array_end(ti_json_writer *w);
/* The key of the next member: unescaped UTF-8. INVALID_ARGUMENT sticks when it is not UTF-8. */
void ti_json_write_key(ti_json_writer *w, ti_slice key);
/* A string, escaped: unescaped UTF-8 in. INVALID_ARGUMENT sticks when it is not UTF-8. */
void ti_json_write_string(ti_json_writer *w, ti_slice text);
void ti_json_write_int(ti_json_writer *w, int64_t value);
/* Shortest text that reads back as the same double, always with '.', 'e' or both, so that 1.0 stays
 * a double. INVALID_ARGUMENT sticks for NaN and infinities. */
void ti_json_write_double(ti_json_writer *w, double value);
void ti_json_write_bool(ti_json_writer *w, bool value);
void ti_json_write_null(ti_json_writer *w);
/* Bytes that are JSON already. */
void ti_json_write_raw(ti_json_writer *w, ti_slice raw);
/* The first failure, or OK. Asserts that everything begun was ended. */
ti_status ti_json_writer_end(ti_json_writer *w);

/* Appends text as a quoted JSON string. INVALID_ARGUMENT (not UTF-8), OUT_OF_MEMORY,
 * LIMIT_EXCEEDED. */
ti_status ti_json_append_string(ti_buf *out, ti_slice text, ti_err *err);

/* ---- pulling ---- */

typedef enum ti_json_token_type {
    TI_JSON_TOKEN_END = 0, /* the value is read to its end */
    TI_JSON_TOKEN_NULL,
    TI_JSON_TOKEN_BOOL,
    TI_JSON_TOKEN_INT,
    TI_JSON_TOKEN_DOUBLE,
    TI_JSON_TOKEN_BIG, /* text: the digits as written */
    TI_JSON_TOKEN_STRING,
    TI_JSON_TOKEN_KEY, /* the value of this member comes next */
    TI_JSON_TOKEN_ARRAY_BEGIN,
    TI_JSON_TOKEN_ARRAY_END,
    TI_JSON_TOKEN_OBJECT_BEGIN,
    TI_JSON_TOKEN_OBJECT_END,
} ti_json_token_type;

typedef struct ti_json_token {
    ti_json_token_type type;
    bool boolean;    /* BOOL */
    uint32_t count;  /* ARRAY_BEGIN, OBJECT_BEGIN: children to come */
    int64_t integer; /* INT */
    double number;   /* INT, DOUBLE, BIG */
    ti_slice text;   /* STRING, KEY: unescaped; BIG: digits. Valid until the next call */
} ti_json_token;

/* Reads a value token by token, so that a binding can build host values without seeing nodes. */
typedef struct ti_json_reader {
    ti_json_value root;
    ti_buf scratch; /* owned: unescaped text */
    uint32_t next;
    uint32_t end;
    uint32_t depth;
    bool key_given;
    uint32_t ends[TI_JSON_DEPTH_HYDRATED_MAX]; /* node after each open container */
    bool objects[TI_JSON_DEPTH_HYDRATED_MAX];
} ti_json_reader;

/* Ready before the first token of a present value; allocates nothing. Borrows the document. */
void ti_json_reader_init(ti_json_reader *reader, ti_json_value value);
void ti_json_reader_free(ti_json_reader *reader);
/* The next token; TI_JSON_TOKEN_END again and again after the last. OUT_OF_MEMORY. */
ti_status ti_json_reader_next(ti_json_reader *reader, ti_json_token *token_out, ti_err *err);

/* ---- matching ---- */

/* A compiled condition: {"status":"active","kind":["a","b"],"address.city":null}. Every member is a
 * dotted path with a scalar (equal to it) or a non-empty array of scalars (equal to any); all
 * members must hold. Numbers are compared by exact mathematical value; null holds for null and for
 * missing; an array or object in the document equals no scalar.
 * {} always holds. */
typedef struct ti_json_where ti_json_where;

/* Compiles an object. where_out lives in a and borrows nothing else. INVALID_ARGUMENT (not an
 * object, a value that is no scalar, an integer outside int64, a bad path), LIMIT_EXCEEDED
 * (TI_PREDICATE_NODES_MAX), OUT_OF_MEMORY. */
ti_status ti_json_where_compile(ti_json_value spec, ti_arena *a, ti_json_where **where_out,
                                ti_err *err);
/* Whether the document holds it. Allocates nothing. @thread any */
bool ti_json_where_holds(const ti_json_where *where, ti_json_value doc);

#endif
