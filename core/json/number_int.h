/* Inside core/json only: reading numbers. */
#ifndef TI_JSON_NUMBER_INT_H
#define TI_JSON_NUMBER_INT_H

#include "json/json_int.h"

typedef enum ti_json_number_result {
    TI_JSON_NUMBER_OK = 0,
    TI_JSON_NUMBER_BAD,   /* not a JSON number */
    TI_JSON_NUMBER_RANGE, /* larger than any double */
} ti_json_number_result;

/* Reads the longest JSON number at the start of text into node's type and value and gives its
 * length. text is followed by a byte that is no part of a number (a NUL at the end of a document).
 * A number too small for a double is 0. */
ti_json_number_result ti_json_number_read(const char *text, ti_json_node *node, size_t *size_out);

#endif
