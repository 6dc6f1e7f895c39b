/* SHA-256 by libcrypto; see digest.h. */
#include "base/digest.h"

#include <openssl/evp.h>

#include "base/assert.h"
#include "base/mem.h"

#define BYTES 32

struct ti_digest {
    EVP_MD_CTX *context;
    EVP_MD *method;
};

ti_status ti_digest_new(ti_digest **digest_out, ti_err *err)
{
    ti_assert(digest_out != NULL);
    *digest_out = NULL;
    ti_digest *digest = ti_alloc_zero(sizeof(*digest));
    if (digest == NULL)
        return ti_err_no_memory(err);
    digest->context = EVP_MD_CTX_new();
    digest->method = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (digest->context == NULL || digest->method == NULL) {
        ti_digest_free(digest);
        return ti_err_no_memory(err);
    }
    *digest_out = digest;
    return TI_OK;
}

static ti_status refused(ti_err *err)
{
    return ti_err_set(err, TI_INTERNAL, "libcrypto refuses to compute SHA-256");
}

ti_status ti_digest_begin(ti_digest *digest, ti_err *err)
{
    ti_assert(digest != NULL);
    return EVP_DigestInit_ex(digest->context, digest->method, NULL) == 1 ? TI_OK : refused(err);
}

ti_status ti_digest_add(ti_digest *digest, const void *data, size_t len, ti_err *err)
{
    ti_assert(data != NULL || len == 0);
    return EVP_DigestUpdate(digest->context, data, len) == 1 ? TI_OK : refused(err);
}

ti_status ti_digest_end(ti_digest *digest, char out[TI_DIGEST_SIZE], ti_err *err)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (EVP_DigestFinal_ex(digest->context, bytes, &len) != 1 || len != BYTES)
        return refused(err);
    for (size_t i = 0; i < BYTES; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[TI_DIGEST_SIZE - 1] = '\0';
    return TI_OK;
}

void ti_digest_free(ti_digest *digest)
{
    if (digest == NULL)
        return;
    EVP_MD_CTX_free(digest->context);
    EVP_MD_free(digest->method);
    ti_free(digest);
}
