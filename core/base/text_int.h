/* Text helpers of base's own files. */
#ifndef TI_BASE_TEXT_INT_H
#define TI_BASE_TEXT_INT_H

#include <stddef.h>

/* The largest n <= len at which text can be cut without splitting a UTF-8 sequence. Text that is
 * not UTF-8 is cut at most three bytes early. @thread any */
size_t ti_text_cut(const char *text, size_t len);

#endif
