/* Certificates made at test time, good and bad ones: an authority, and what it signs.
 *
 *   certs_make(dir, &(cert_spec){.name = "ca", .authority = true});
 *   certs_make(dir, &(cert_spec){.name = "server", .issuer = "ca", .names = "IP:127.0.0.1"});
 *
 * write dir/ca.crt, dir/ca.key, dir/server.crt, dir/server.key (PEM, P-256). A file that exists is
 * replaced by renaming, as a careful administrator does.
 *
 * Thread rule: any thread; one at a time for one folder. */
#ifndef TITO_TESTS_TIKV_CERTS_H
#define TITO_TESTS_TIKV_CERTS_H

#include "support/test.h"

#define CERTS_PATH_SIZE (TEST_DIR_SIZE + 64)

typedef struct cert_spec {
    const char *name;       /* of the files, and the common name */
    const char *issuer;     /* name of the authority that signs; NULL: itself */
    const char *names;      /* subjectAltName ("IP:127.0.0.1,DNS:a.example"), or NULL */
    bool authority;         /* it may sign others */
    const char *purpose;    /* extendedKeyUsage ("serverAuth"), or NULL: any */
    long from_s;            /* valid from and to, from now on; both 0: from an hour ago */
    long to_s;              /* … to a day from now */
    const char *passphrase; /* of the key file; or NULL */
} cert_spec;

/* Fails the test when it can not. */
void certs_make(const char *dir, const cert_spec *spec);
/* "dir/name.ending" in a static buffer of the calling thread; 8 are valid at once. */
const char *certs_path(const char *dir, const char *name, const char *ending);
/* The contents of a file, freed with free(). */
char *certs_read(const char *path);
void certs_write(const char *path, const char *text);

#endif
