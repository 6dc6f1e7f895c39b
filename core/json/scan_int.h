/* Inside core/json only: the C face of simdjson (scan.cpp), with nothing but plain types, so that
 * both languages read it.
 *
 * INVARIANTS
 *  1. No exception leaves these functions.
 *  2. Offsets given by a scan are valid until its next scan or its end. */
#ifndef TI_JSON_SCAN_INT_H
#define TI_JSON_SCAN_INT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes that must be readable after a text. */
#define TI_JSON_SCAN_PADDING 64
/* Longest text of a double. */
#define TI_JSON_DOUBLE_TEXT_MAX 32

typedef struct ti_json_scan ti_json_scan;

typedef enum ti_json_scan_result {
    TI_JSON_SCAN_OK = 0,
    TI_JSON_SCAN_NO_MEMORY,
    TI_JSON_SCAN_NOT_UTF8,
    TI_JSON_SCAN_UNCLOSED, /* a string does not end */
    TI_JSON_SCAN_CONTROL,  /* a control character inside a string */
    TI_JSON_SCAN_EMPTY,
    TI_JSON_SCAN_BROKEN, /* anything else */
} ti_json_scan_result;

/* A scanner without capacity, or NULL when there is no memory. */
ti_json_scan *ti_json_scan_new(void);
/* Frees it; NULL is allowed. */
void ti_json_scan_free(ti_json_scan *scan);
/* Checks UTF-8 and finds, in order, the offset of every bracket, colon, comma and of the first byte
 * of every scalar. text must have TI_JSON_SCAN_PADDING readable bytes after it. offsets_out borrows
 * from scan. */
ti_json_scan_result ti_json_scan_run(ti_json_scan *scan, const char *text, size_t len,
                                     const uint32_t **offsets_out, size_t *count_out);

typedef enum ti_json_double_result {
    TI_JSON_DOUBLE_OK = 0,
    TI_JSON_DOUBLE_BAD,   /* not all of the text was read */
    TI_JSON_DOUBLE_RANGE, /* too large or too small; *out is unchanged */
} ti_json_double_result;

/* The double nearest to a decimal text. */
ti_json_double_result ti_json_double_parse(const char *text, size_t len, double *out);
/* The shortest text of a finite double that reads back as it; gives its length. */
size_t ti_json_double_format(double value, char out[TI_JSON_DOUBLE_TEXT_MAX]);

#ifdef __cplusplus
}
#endif

#endif
