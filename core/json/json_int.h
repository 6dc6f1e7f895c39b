/* Inside core/json only: nodes, and what the files share.
 *
 * A node says where a value is and where its subtree ends. Children of a container are the nodes
 * after it, each child beginning where the one before ended:
 *
 *   node:   0     1    2     3    4    5
 *           {     a    [     1    2    b        {"a":"x","c":[1,2],"b":null}
 *   end:    6     2    5     4    5    6
 *
 * scan.cpp is the only file that knows simdjson; what it gives is in scan_int.h. */
#ifndef TI_JSON_JSON_INT_H
#define TI_JSON_JSON_INT_H

#include <assert.h>

#include "json/json.h"
#include "json/scan_int.h"

/* Bits of ti_json_node.flags */
#define TI_JSON_ESCAPED 1u     /* a string with backslashes */
#define TI_JSON_KEY_ESCAPED 2u /* a key with backslashes */
#define TI_JSON_HAS_KEY 4u     /* a member of an object */

struct ti_json_node {
    uint32_t start;     /* first byte of the value (the quote of a string) */
    uint32_t size;      /* bytes of the value */
    uint32_t key_start; /* first byte inside the key's quotes */
    uint32_t key_size;
    uint32_t end;        /* the node after this subtree */
    uint32_t count : 24; /* children; a text of 2^24 children is refused */
    uint32_t type : 4;
    uint32_t flags : 4;
    union {
        int64_t integer;
        double number;
        bool boolean;
    };
};
static_assert(sizeof(struct ti_json_node) == 32, "two nodes fit a cache line");

#define TI_JSON_COUNT_MAX ((1u << 24) - 1)

/* The node of a present value. */
static inline const ti_json_node *ti_json_node_of(ti_json_value value)
{
    return &value.doc->nodes[value.node];
}

/* ---- text.c: escaping ---- */

/* Whether the escapes of a string's inside are valid (pairs of surrogates included); *bad_out:
 * offset of the first that is not. */
bool ti_json_escapes_valid(ti_slice inside, size_t *bad_out);
/* Writes the unescaped bytes (never more than inside.len) and gives their number. The escapes must
 * be valid. */
size_t ti_json_unescape(ti_slice inside, char *out);
/* Whether the inside of a string, unescaped, is text. Allocates nothing. */
bool ti_json_inside_equal(ti_slice inside, bool escaped, ti_slice text);
/* inside itself, or its unescaped copy in a. OUT_OF_MEMORY. */
ti_status ti_json_inside(ti_slice inside, bool escaped, ti_arena *a, ti_slice *out, ti_err *err);

/* The bytes between a string's quotes. */
static inline ti_slice ti_json_inside_of(const ti_json_doc *doc, const ti_json_node *node)
{
    return (ti_slice){doc->text.data + node->start + 1, node->size - 2};
}
/* The bytes between a key's quotes. */
static inline ti_slice ti_json_key_inside_of(const ti_json_doc *doc, const ti_json_node *node)
{
    return (ti_slice){doc->text.data + node->key_start, node->key_size};
}

/* ---- members.c: keys of one object, fast to find and to check ---- */

typedef struct ti_json_member {
    const char *key; /* unescaped */
    uint32_t key_size;
    uint32_t node;
} ti_json_member;

/* Bytes of scratch that ti_json_members_twice needs for n members. */
size_t ti_json_members_scratch(size_t n);
/* Whether two of the members have one key; then *node_out is the later one's node. Worst case n log
 * n. Reorders members. */
bool ti_json_members_twice(ti_json_member *members, size_t n, void *scratch, uint32_t *node_out);
/* Sorts by size, then bytes. scratch: n members. */
void ti_json_members_sort(ti_json_member *members, size_t n, ti_json_member *scratch);
/* The member with this key in sorted members, or NULL. */
const ti_json_member *ti_json_members_find(const ti_json_member *members, size_t n, ti_slice key);
/* The members of an object, sorted, in a; keys unescaped. OUT_OF_MEMORY. */
ti_status ti_json_members_of(ti_json_value object, ti_arena *a, ti_json_member **members_out,
                             ti_err *err);

/* Whether an int64 and a double are the same number. */
static inline bool ti_json_int_is_double(int64_t integer, double number)
{
    return number >= -9223372036854775808.0 && number < 9223372036854775808.0 &&
           (int64_t)number == integer && (double)(int64_t)number == number;
}

#endif
