/* Values: how rows look inside. A version byte comes first and, unless the value is one byte long,
 * a checksum that covers its key too.
 *
 *   marker   01, or 02: the record has several entries in this index
 *   sealed   vv cccc payload…        covering documents, unique owners, and any other row
 *   record   01 cccc rrrrrrrr gg group… document…
 *   group    k n name… v c { t tuple… }
 *
 *     vv        kind of row, see ti_sealed_kind
 *     cccc      CRC-32C, little-endian, of: size of the key (8 bytes), key, version byte, and all
 *               bytes after the checksum
 *     rrrrrrrr  version of the record, little-endian
 *     gg        varint: bytes of all groups
 *     k         1 plain, 2 unique
 *     n name    varint and bytes: name of the index
 *     v c       varints: version of the index, number of entries
 *     t tuple   varint and bytes: encoded fields, without the id
 *
 * INVARIANTS
 *  1. A value of another key, a cut one, and any flipped bit give CORRUPT, never wrong data.
 *  2. A value is never empty.
 *  3. Decoding copies nothing: slices borrow from the value.
 *  4. A version byte that is not known is CORRUPT with a message that says which one was found.
 *
 * Threads: pure functions. What is NOT here: what the document means (json, model). */
#ifndef TI_CODEC_RECORD_H
#define TI_CODEC_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

/* CRC-32C (Castagnoli) of bytes, continuing crc (0 at first). Uses the processor's instruction
 * where there is one. */
uint32_t ti_crc32c(uint32_t crc, ti_slice bytes);

/* ---- markers and sealed values ---- */

/* The value of an entry that says nothing but "here". Static. */
ti_slice ti_marker(void);
/* The value of an entry whose record has other entries in the same index: a query may meet the
 * record again. Static. */
ti_slice ti_marker_several(void);
/* OK when value is a marker, else CORRUPT. */
ti_status ti_marker_check(ti_slice value, ti_err *err);

/* Version bytes of sealed values, one per kind of row, so that one can not be read as another. */
typedef enum ti_sealed_kind {
    TI_SEALED_COVERING = 0x21,
    TI_SEALED_UNIQUE = 0x22,
    TI_SEALED_SCHEMA = 0x23,
    TI_SEALED_EVENT = 0x31,
    TI_SEALED_HISTORY = 0x32,
    TI_SEALED_PARKED = 0x33,
    TI_SEALED_QUEUE = 0x34, /* checkpoints, leases, workers, hints, meta, tokens, schedules */
    TI_SEALED_META = 0x41,
    TI_SEALED_TODO = 0x42,
} ti_sealed_kind;

/* Appends kind, checksum and payload. OUT_OF_MEMORY, LIMIT_EXCEEDED. */
ti_status ti_sealed_append(ti_buf *b, ti_sealed_kind kind, ti_slice key, ti_slice payload,
                           ti_err *err);
/* The payload, borrowed from value. CORRUPT. */
ti_status ti_sealed_open(ti_slice value, ti_sealed_kind kind, ti_slice key, ti_slice *payload_out,
                         ti_err *err);

/* ---- records ---- */

typedef enum ti_entry_kind {
    TI_ENTRY_PLAIN = 1,
    TI_ENTRY_UNIQUE = 2,
} ti_entry_kind;

/* One index entry that a record owns. */
typedef struct ti_entry {
    ti_entry_kind kind;
    uint32_t version; /* of the index; from 1 */
    ti_slice index;   /* name, without version */
    ti_slice tuple;   /* encoded fields, without the id */
} ti_entry;

/* A decoded record. Slices borrow from the value. */
typedef struct ti_record {
    uint64_t version;
    ti_slice groups; /* encoded; read with ti_record_entries */
    ti_slice document;
} ti_record;

/* What is written. entries of one index must stand together (they share a group). */
typedef struct ti_record_spec {
    uint64_t version;
    const ti_entry *entries;
    size_t entry_count;
    ti_slice document; /* not empty */
} ti_record_spec;

/* Appends the record's value for key. LIMIT_EXCEEDED (TI_RECORD_ENTRIES_MAX, the buffer),
 * OUT_OF_MEMORY. */
ti_status ti_record_append(ti_buf *b, ti_slice key, const ti_record_spec *spec, ti_err *err);
/* Checks the checksum and the whole list of entries; CORRUPT. */
ti_status ti_record_open(ti_slice value, ti_slice key, ti_record *record_out, ti_err *err);

/* Iteration over a record's entries, in the order they were written. */
typedef struct ti_entry_iter {
    ti_slice left;
    ti_entry group;
    uint64_t group_left;
} ti_entry_iter;

ti_entry_iter ti_record_entries(const ti_record *record);
/* The next entry, or false at the end. Can not fail: ti_record_open has checked the list. */
bool ti_entry_next(ti_entry_iter *iter, ti_entry *entry_out);

#endif
