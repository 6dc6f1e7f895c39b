/* SHA-256 of bytes that come in pieces, as the text that sha256sum writes.
 *
 *   new ──> begin ──> add … ──> end ──> begin … ──> free
 *
 * Thread rule: one at a time. */
#ifndef TI_BASE_DIGEST_H
#define TI_BASE_DIGEST_H

#include <stddef.h>

#include "base/err.h"

/* 64 hexadecimal digits and a NUL. */
#define TI_DIGEST_SIZE 65

typedef struct ti_digest ti_digest;

/* One that can be begun; freed with ti_digest_free. OUT_OF_MEMORY. */
ti_status ti_digest_new(ti_digest **digest_out, ti_err *err);
/* Forgets what was added. INTERNAL when libcrypto refuses. */
ti_status ti_digest_begin(ti_digest *digest, ti_err *err);
ti_status ti_digest_add(ti_digest *digest, const void *data, size_t len, ti_err *err);
/* Writes the digest of all that was added since the begin. */
ti_status ti_digest_end(ti_digest *digest, char out[TI_DIGEST_SIZE], ti_err *err);
/* NULL is allowed. */
void ti_digest_free(ti_digest *digest);

#endif
