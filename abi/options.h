/* Options as text, and how a function reads the ones it knows: by a table, not by code.
 *
 *   static const ti_option known[] = {
 *       {.name = "partitions", .kind = TI_OPTION_INT, .offset = offsetof(x, partitions), .min = 1,
 *        .max = 9999},
 *       ...
 *   };
 *   TI_TRY(ti_options_read(options, "tito_queue_open", known, TI_COUNT(known), &x, err));
 *
 * INVARIANTS
 *  1. What is not given stays as it is in the structure that is filled: set the defaults before.
 *  2. A name outside the table, and a value outside its range, is INVALID_ARGUMENT naming function,
 *     option and what is accepted. A value is never quoted (it may be a secret). */
#ifndef TI_ABI_OPTIONS_H
#define TI_ABI_OPTIONS_H

#include "base/err.h"
#include "base/slice.h"
#include "tito.h"

typedef enum ti_option_kind {
    TI_OPTION_INT,    /* int64_t field; min <= value <= max */
    TI_OPTION_BOOL,   /* bool field; "true" or "false" (or 1, 0) */
    TI_OPTION_DOUBLE, /* double field; min <= value <= max */
    TI_OPTION_TEXT,   /* ti_slice field; borrowed from the options */
    TI_OPTION_CHOICE, /* int64_t field: the position of the value in choices */
} ti_option_kind;

#define TI_OPTION_CHOICES_MAX 4

typedef struct ti_option {
    const char *name;
    ti_option_kind kind;
    size_t offset;
    int64_t min;
    int64_t max;
    const char *choices[TI_OPTION_CHOICES_MAX]; /* NULL behind the last */
} ti_option;

#define TI_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Fills the fields that options gives. options may be NULL. known may be NULL with count 0: nothing
 * is accepted. INVALID_ARGUMENT. @thread owner of options */
ti_status ti_options_read(const tito_options_t *options, const char *function,
                          const ti_option *known, size_t count, void *fields, ti_err *err);

#endif
