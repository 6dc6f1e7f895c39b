/* Inside core/codec only: the first segments of keys as data, shared by building and reading. */
#ifndef TI_CODEC_KEYS_INT_H
#define TI_CODEC_KEYS_INT_H

#include "codec/keys.h"

/* What follows a first segment. */
typedef enum ti_key_shape {
    TI_SHAPE_NAME_FREE,        /* {name}:{free text} */
    TI_SHAPE_NAME_INDEX_FREE,  /* {name}:{index}:{free text} */
    TI_SHAPE_NAME_INDEX_TUPLE, /* {name}:{index}:{tuple} */
    TI_SHAPE_NAME,             /* {name} */
    TI_SHAPE_NAME_NAME,        /* {name}:{name} */
    TI_SHAPE_NAME_PARTITION,   /* {name}:{partition} */
    TI_SHAPE_NAME_PARKED,      /* {name}:{partition}:{tuple} */
    TI_SHAPE_NAME_PLACE,       /* {name}:{partition}:{timestamp}:{uuid} */
    TI_SHAPE_HISTORY,          /* {name}:COMPLETED|FAILED:{partition}:{timestamp}:{uuid} */
} ti_key_shape;

typedef struct ti_segment {
    const char *text;
    size_t len;
    ti_key_kind kind; /* of history: COMPLETED */
    ti_key_shape shape;
} ti_segment;

/* The first segment of this text, or NULL. */
const ti_segment *ti_segment_find(ti_slice text);

/* Whether text is a UUID as tito writes it: lower case, dashes where they belong. */
bool ti_uuid_text_is_valid(ti_slice text);

/* The largest timestamp of a place: int64 µs, so that it fits tuples and the ABI. */
#define TI_TIMESTAMP_US_MAX ((uint64_t)INT64_MAX)

/* Whether every part of a place is within its slot. */
bool ti_event_place_is_valid(const ti_event_place *place);

/* "{namespace}{parts…}" in a, or data NULL. The result is required to be a key of ks. */
ti_slice ti_key_join(const ti_keyspace *ks, ti_arena *a, const ti_slice *parts, size_t count);

/* ti_key_join of a list of slices. */
#define TI_KEY_JOIN(ks, a, ...)                                                                    \
    ti_key_join(ks, a, (const ti_slice[]){__VA_ARGS__},                                            \
                sizeof((const ti_slice[]){__VA_ARGS__}) / sizeof(ti_slice))

/* text, required to be a valid name. */
ti_slice ti_key_name(ti_slice text);
/* text, required to be an index name as stored, with or without version. */
ti_slice ti_key_index_name(ti_slice text);

#define TI_PLACE_TEXT_SIZE (4 + 1 + 20 + 1 + TI_UUID_TEXT_SIZE)
/* Room for the text of a place or the beginning of one. */
typedef struct ti_place_text {
    char text[TI_PLACE_TEXT_SIZE];
} ti_place_text;

/* Writes number in exactly width decimal digits, which it must fit, without a NUL; where they end.
 */
char *ti_put_digits(char *at, unsigned width, uint64_t number);
/* Writes "pppp{separator}tttttttttttttttttttt{separator}uuid" of a valid place, without a NUL. */
void ti_put_place(char *at, const ti_event_place *place, char separator);

/* "pppp"; borrowed from out. */
ti_slice ti_place_partition(uint32_t partition, ti_place_text *out);
/* "pppp:tttttttttttttttttttt"; borrowed from out. */
ti_slice ti_place_time(uint32_t partition, uint64_t timestamp_us, ti_place_text *out);
/* "pppp:tttttttttttttttttttt:uuid"; borrowed from out. */
ti_slice ti_place_whole(const ti_event_place *place, ti_place_text *out);

/* "COMPLETED" or "FAILED". */
ti_slice ti_history_name(ti_history state);

#endif
