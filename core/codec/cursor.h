/* Cursor tokens: where a query goes on, in a form that can be given to strangers.
 *
 *   base64url( 01 | tag (16) | resume key … )
 *
 *   tag:    HMAC-SHA256(secret, 01 | scope | resume key), first 128 bits
 *   scope:  namespace, table, index, version, direction, bounds and flags, each with its length in
 *           front
 *
 * INVARIANTS
 *  1. A token opens only with the secret and the scope that it was sealed with; every other text,
 *     cut, changed or of another query, is INVALID_ARGUMENT. The tag is compared in constant time.
 *  2. One token has one text: bits that base64 would ignore must be zero, padding is refused.
 *  3. A token is signed, not encrypted: whoever holds it can read the key in it.
 *
 * Threads: pure functions. What is NOT here: whether the key lies in the query's range (query
 * checks it again). */
#ifndef TI_CODEC_CURSOR_H
#define TI_CODEC_CURSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/slice.h"

#define TI_CURSOR_SECRET_SIZE 32

/* The query that a token belongs to. All slices borrowed. */
typedef struct ti_cursor_scope {
    ti_slice name_space;
    ti_slice table;
    ti_slice index; /* empty: a scan of the table */
    uint32_t index_version;
    bool reverse;
    ti_slice lo; /* the query's range, without the resume key */
    ti_slice hi;
    ti_slice extra; /* anything else that makes it another query; may be empty */
} ti_cursor_scope;

/* The token that resumes at key, in a. INVALID_ARGUMENT (a secret shorter than
 * TI_CURSOR_SECRET_SIZE, an empty key), LIMIT_EXCEEDED (TI_CURSOR_SIZE_MAX), OUT_OF_MEMORY. */
ti_status ti_cursor_seal(ti_arena *a, ti_slice secret, const ti_cursor_scope *scope, ti_slice key,
                         ti_slice *token_out, ti_err *err);
/* The resume key, in a. INVALID_ARGUMENT, OUT_OF_MEMORY. */
ti_status ti_cursor_open(ti_arena *a, ti_slice secret, const ti_cursor_scope *scope, ti_slice token,
                         ti_slice *key_out, ti_err *err);

#endif
