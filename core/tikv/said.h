/* What servers say in words, for errors: without what may be a key.
 *
 *   region errors   Key 7480000000FE is not in region 12         -> Key ... is not in region 12
 *   key errors      Mvcc(Locked { ts: 7, key: [116, 0, 255] })   -> Mvcc(Locked { ts: 7, key: ... })
 *   any             no table "t1"                                -> no table ...
 *
 * Keys of indexes hold values of documents, and errors come into logs: neither shows them. Numbers
 * stay: ids and timestamps are what such a text is read for.
 *
 * INVARIANTS
 *  1. Left out are bytes in hexadecimal (from 8 digits on, when a letter is among them or when they
 *     are too many for a number), lists of numbers in brackets, and quoted text. Every key of
 *     tito's is longer, and has a ':' (3A) behind its first segment, which no value comes before.
 *  2. The result fits and is NUL-terminated, whatever the text is.
 *
 * Thread rule: any thread, no state. */
#ifndef TI_TIKV_SAID_H
#define TI_TIKV_SAID_H

#define TI_SAID_SIZE 384

typedef struct ti_said {
    char text[TI_SAID_SIZE];
} ti_said;

/* The words that may be shown. @thread any */
ti_said ti_said_by(const char *text);

#endif
