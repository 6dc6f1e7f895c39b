/* Sealing and opening cursor tokens with libcrypto's HMAC-SHA256. Layout and invariants are in
 * cursor.h.
 *
 * Threads: pure functions. */
#include "codec/cursor.h"

#include <assert.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/assert.h"
#include "base/limits.h"

#define VERSION 1
#define TAG_SIZE 16
#define HEAD_SIZE (1 + TAG_SIZE)
#define DIGEST_SIZE 32

static_assert(TAG_SIZE <= DIGEST_SIZE, "the tag is cut from the digest");
static_assert((HEAD_SIZE + TI_KEY_SIZE_MAX) * 4 / 3 + 4 < TI_CURSOR_SIZE_MAX,
              "a token of the longest key is within its limit");

static ti_status invalid(ti_err *err)
{
    return ti_err_set(
        err, TI_INVALID_ARGUMENT,
        "the cursor is not one of this query: use the one its last page gave, or none");
}

/* ---- base64url without padding ---- */

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static size_t encoded_size(size_t len)
{
    return len / 3 * 4 + (len % 3 == 0 ? 0 : len % 3 + 1);
}

static void encode(const unsigned char *in, size_t len, char *out)
{
    uint32_t bits = 0;
    int held = 0;
    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | in[i];
        for (held += 8; held >= 6; held -= 6)
            *out++ = letters[bits >> (held - 6) & 63];
    }
    if (held > 0)
        *out = letters[bits << (6 - held) & 63];
}

static int letter_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* Decodes into out, which has room for text.len bytes; false when text is no canonical base64url.
 */
static bool decode(ti_slice text, unsigned char *out, size_t *len_out)
{
    uint32_t bits = 0;
    int held = 0;
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        int value = letter_value(text.data[i]);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[len++] = (unsigned char)(bits >> held);
        }
    }
    *len_out = len;
    return held < 6 && (bits & ((1u << held) - 1)) == 0;
}

/* ---- the tag ---- */

static ti_status append_number(ti_buf *b, uint64_t number, ti_err *err)
{
    char bytes[8];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(unsigned char)(number >> (56 - 8 * i));
    return ti_buf_append(b, bytes, sizeof bytes, err);
}

static ti_status append_sized(ti_buf *b, ti_slice s, ti_err *err)
{
    TI_TRY(append_number(b, s.len, err));
    return ti_buf_append_slice(b, s, err);
}

/* Everything that the tag covers, one way only: numbers have 8 bytes, bytes have their length in
 * front. */
static ti_status append_covered(ti_buf *b, const ti_cursor_scope *scope, ti_slice key, ti_err *err)
{
    TI_TRY(append_number(b, VERSION, err));
    TI_TRY(append_sized(b, scope->name_space, err));
    TI_TRY(append_sized(b, scope->table, err));
    TI_TRY(append_sized(b, scope->index, err));
    TI_TRY(append_number(b, scope->index_version, err));
    TI_TRY(append_number(b, scope->reverse ? 1 : 0, err));
    TI_TRY(append_sized(b, scope->lo, err));
    TI_TRY(append_number(b, scope->hi.data == NULL ? 0 : 1, err));
    TI_TRY(append_sized(b, scope->hi, err));
    TI_TRY(append_sized(b, scope->extra, err));
    return append_sized(b, key, err);
}

static ti_status make_tag(ti_slice secret, const ti_cursor_scope *scope, ti_slice key,
                          unsigned char tag_out[TAG_SIZE], ti_err *err)
{
    ti_buf covered;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int digest_len = 0;
    ti_status status = TI_OK;
    ti_buf_init(&covered, TI_DOCUMENT_SIZE_MAX);
    TI_CHECK(append_covered(&covered, scope, key, err));
    ti_assert(secret.len >= TI_CURSOR_SECRET_SIZE);
    const unsigned char *made =
        HMAC(EVP_sha256(), secret.data, (int)secret.len, (const unsigned char *)covered.data,
             covered.len, digest, &digest_len);
    if (made == NULL || digest_len != DIGEST_SIZE) {
        status = ti_err_set(err, TI_INTERNAL, "libcrypto made no HMAC");
        goto out;
    }
    memcpy(tag_out, digest, TAG_SIZE);
out:
    OPENSSL_cleanse(digest, sizeof digest);
    ti_buf_free(&covered);
    return status;
}

/* ---- tokens ---- */

static ti_status check_secret(ti_slice secret, ti_err *err)
{
    if (secret.len < TI_CURSOR_SECRET_SIZE || secret.len > TI_KEY_SIZE_MAX)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "a cursor secret has at least %d bytes",
                          TI_CURSOR_SECRET_SIZE);
    return TI_OK;
}

ti_status ti_cursor_seal(ti_arena *a, ti_slice secret, const ti_cursor_scope *scope, ti_slice key,
                         ti_slice *token_out, ti_err *err)
{
    *token_out = TI_SLICE_NONE;
    TI_TRY(check_secret(secret, err));
    if (key.len == 0)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "a cursor needs a key to resume at");
    size_t raw_len = HEAD_SIZE + key.len;
    if (key.len > TI_CURSOR_SIZE_MAX || encoded_size(raw_len) > TI_CURSOR_SIZE_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED, "a cursor of %zu bytes is too long", key.len);
    unsigned char *raw = ti_arena_alloc(a, raw_len);
    char *token = ti_arena_alloc(a, encoded_size(raw_len) + 1);
    if (raw == NULL || token == NULL)
        return ti_err_no_memory(err);
    raw[0] = VERSION;
    TI_TRY(make_tag(secret, scope, key, raw + 1, err));
    memcpy(raw + HEAD_SIZE, key.data, key.len);
    encode(raw, raw_len, token);
    token[encoded_size(raw_len)] = '\0';
    *token_out = (ti_slice){token, encoded_size(raw_len)};
    return TI_OK;
}

ti_status ti_cursor_open(ti_arena *a, ti_slice secret, const ti_cursor_scope *scope, ti_slice token,
                         ti_slice *key_out, ti_err *err)
{
    unsigned char tag[TAG_SIZE];
    size_t len = 0;
    *key_out = TI_SLICE_NONE;
    TI_TRY(check_secret(secret, err));
    if (token.len > TI_CURSOR_SIZE_MAX || token.len <= encoded_size(HEAD_SIZE))
        return invalid(err);
    unsigned char *raw = ti_arena_alloc(a, token.len);
    if (raw == NULL)
        return ti_err_no_memory(err);
    if (!decode(token, raw, &len) || len <= HEAD_SIZE || raw[0] != VERSION)
        return invalid(err);
    ti_slice key = {(const char *)raw + HEAD_SIZE, len - HEAD_SIZE};
    TI_TRY(make_tag(secret, scope, key, tag, err));
    if (CRYPTO_memcmp(tag, raw + 1, TAG_SIZE) != 0)
        return invalid(err);
    *key_out = key;
    return TI_OK;
}
