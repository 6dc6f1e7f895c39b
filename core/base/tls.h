/* What TLS needs: certificates and keys, given as PEM text or as the path of a file with it; and
 * finding out in words why a handshake fails.
 *
 * The handshakes that carry data are gRPC's. Its errors do not say whether a certificate expired,
 * comes from another authority, or whether the other side wants none at all; ti_tls_probe does one
 * handshake of its own and looks.
 *
 * INVARIANTS
 *  1. Errors name options, paths and hosts; never what is in a file.
 *  2. A private key is wiped before its memory is given back.
 *  3. The probe sends nothing but handshakes, and decides nothing: whom to trust is gRPC's
 *     business.
 *
 * Thread rule: any thread. OpenSSL's error queue of the thread is left empty. */
#ifndef TI_BASE_TLS_H
#define TI_BASE_TLS_H

#include <stdbool.h>

#include "base/env.h"
#include "base/err.h"
#include "base/slice.h"

#define TI_TLS_FILE_SIZE_MAX ((size_t)1 << 20)
#define TI_TLS_DIGEST_SIZE 32

/* Each is PEM text, the path of a file with it, or empty. cert and key come together or not at all.
 */
typedef struct ti_tls_source {
    ti_slice ca;   /* the authorities to trust */
    ti_slice cert; /* the client's own certificate, its chain behind it */
    ti_slice key;
} ti_tls_source;

/* The texts themselves, NUL-terminated; NULL where nothing was given. */
typedef struct ti_tls_texts {
    char *ca;
    char *cert;
    char *key;
    unsigned char digest[TI_TLS_DIGEST_SIZE]; /* of all three: equal where they are equal */
} ti_tls_texts;

/* Whether what was given is PEM text, and not a path. */
bool ti_tls_is_text(ti_slice given);
/* Reads the files and copies the texts; what they say is not looked at. INVALID_ARGUMENT with the
 * option and the path; OUT_OF_MEMORY. texts_out is the caller's to free, also empty after a
 * failure.
 */
ti_status ti_tls_read(const ti_tls_source *source, ti_tls_texts *texts_out, ti_err *err);
/* Whether they can be used: certificates that can be read, a key that belongs to the certificate,
 * dates of the client's certificate that hold now. INVALID_ARGUMENT says what is wrong where. */
ti_status ti_tls_check(const ti_tls_texts *texts, ti_err *err);
/* Wipes the key and frees all. Safe on a zeroed or freed one. */
void ti_tls_texts_free(ti_tls_texts *texts);

/* Why no connection to address ("host:port") can be used: connects, and shakes hands with texts, or
 * without (texts NULL: the caller speaks plainly). server_name: the name to expect in the
 * certificate; empty: the host. INVALID_ARGUMENT with the cause in words; OK when none was found
 * (also when the address can not be reached). Ends by deadline_ns, but for a slow resolver. */
ti_status ti_tls_probe(const ti_env *env, const char *address, ti_slice server_name,
                       const ti_tls_texts *texts, int64_t deadline_ns, ti_err *err);

#endif
