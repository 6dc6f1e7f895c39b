/* Certificates and keys: reading them and telling what is wrong with them. See tls.h; handshakes:
 * tls_probe.c. */
#include "base/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"

#define PEM_MARK "-----BEGIN "
#define DATE_SIZE 64

/* ---- Reading ---- */

bool ti_tls_is_text(ti_slice given)
{
    return given.len > 0 && memmem(given.data, given.len, PEM_MARK, strlen(PEM_MARK)) != NULL;
}

static char *copy_text(ti_slice s)
{
    char *copy = ti_alloc(s.len + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, s.data, s.len);
    copy[s.len] = '\0';
    return copy;
}

/* What an open file of this size holds. errno-style result. */
static int read_all(int fd, size_t size, char **text_out)
{
    size_t len = 0;
    char *text = ti_alloc(size + 1);
    if (text == NULL)
        return ENOMEM;
    while (len < size) {
        ssize_t got = read(fd, text + len, size - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        len += (size_t)got;
    }
    text[len] = '\0';
    *text_out = text;
    return 0;
}

/* errno-style result. */
static int read_path(const char *path, char **text_out)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return errno;
    int failed = 0;
    if (fstat(fd, &st) != 0)
        failed = errno;
    else if (!S_ISREG(st.st_mode))
        failed = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
    else if ((uintmax_t)st.st_size > TI_TLS_FILE_SIZE_MAX)
        failed = EFBIG;
    else
        failed = read_all(fd, (size_t)st.st_size, text_out);
    close(fd);
    return failed;
}

static ti_status read_file(const char *option, ti_slice given, char **text_out, ti_err *err)
{
    if (memchr(given.data, '\0', given.len) != NULL)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "option %s is neither PEM text nor the path of a file", option);
    char *path = copy_text(given);
    if (path == NULL)
        return ti_err_no_memory(err);
    char text[128];
    ti_status status = TI_OK;
    int failed = read_path(path, text_out);
    if (failed == ENOMEM)
        status = ti_err_no_memory(err);
    else if (failed != 0)
        status =
            ti_err_set(err, TI_INVALID_ARGUMENT, "the file of option %s, '%s', can not be read: %s",
                       option, path, strerror_r(failed, text, sizeof(text)));
    ti_free(path);
    return status;
}

static ti_status read_one(const char *option, ti_slice given, char **text_out, ti_err *err)
{
    if (given.len == 0)
        return TI_OK;
    if (!ti_tls_is_text(given))
        return read_file(option, given, text_out, err);
    *text_out = copy_text(given);
    return *text_out == NULL ? ti_err_no_memory(err) : TI_OK;
}

static bool digest_of(const ti_tls_texts *texts, unsigned char *out)
{
    const char *const parts[] = {texts->ca, texts->cert, texts->key};
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1;
    for (size_t i = 0; good && i < 3; i++) /* with its NUL, which parts them */
        good = parts[i] == NULL || EVP_DigestUpdate(context, parts[i], strlen(parts[i]) + 1) == 1;
    good = good && EVP_DigestFinal_ex(context, out, NULL) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return good;
}

ti_status ti_tls_read(const ti_tls_source *source, ti_tls_texts *texts_out, ti_err *err)
{
    memset(texts_out, 0, sizeof(*texts_out));
    if ((source->cert.len == 0) != (source->key.len == 0))
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "TLS needs the options cert and key together, or neither");
    if (source->ca.len == 0)
        return ti_err_set(
            err, TI_INVALID_ARGUMENT,
            "TLS needs option ca: the authority that signs the servers' certificates");
    ti_status status = read_one("ca", source->ca, &texts_out->ca, err);
    if (status == TI_OK)
        status = read_one("cert", source->cert, &texts_out->cert, err);
    if (status == TI_OK)
        status = read_one("key", source->key, &texts_out->key, err);
    if (status == TI_OK && !digest_of(texts_out, texts_out->digest))
        status = ti_err_no_memory(err);
    if (status != TI_OK)
        ti_tls_texts_free(texts_out);
    return status;
}

void ti_tls_texts_free(ti_tls_texts *texts)
{
    if (texts->key != NULL)
        explicit_bzero(texts->key, strlen(texts->key));
    ti_free(texts->key);
    ti_free(texts->cert);
    ti_free(texts->ca);
    memset(texts, 0, sizeof(*texts));
}

/* ---- Checking ---- */

/* Counts the certificates in a text; *first_out (or NULL) is the first, the caller's to free. -1:
 * one of them can not be read. */
static int read_certificates(const char *text, X509 **first_out)
{
    BIO *in = BIO_new_mem_buf(text, -1);
    int count = 0;
    X509 *cert = NULL;
    while (in != NULL && (cert = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL) {
        if (count++ == 0 && first_out != NULL)
            *first_out = cert;
        else
            X509_free(cert);
    }
    bool whole = in != NULL && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    BIO_free(in);
    ERR_clear_error();
    return whole ? count : -1;
}

/* Never asks anybody for a passphrase. */
static int no_passphrase(char *out, int size, int writing, void *context)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)context;
    return -1;
}

static void date_text(const ASN1_TIME *date, char out[DATE_SIZE])
{
    struct tm parts;
    memset(&parts, 0, sizeof(parts));
    if (ASN1_TIME_to_tm(date, &parts) != 1 ||
        strftime(out, DATE_SIZE, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0)
        snprintf(out, DATE_SIZE, "an unreadable date");
}

static ti_status check_dates(const X509 *cert, ti_err *err)
{
    char date[DATE_SIZE];
    if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0) {
        date_text(X509_get0_notAfter(cert), date);
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "the client certificate in option cert expired at %s", date);
    }
    if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0) {
        date_text(X509_get0_notBefore(cert), date);
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "the client certificate in option cert is not valid before %s", date);
    }
    return TI_OK;
}

static ti_status check_key(const char *text, X509 *cert, ti_err *err)
{
    BIO *in = BIO_new_mem_buf(text, -1);
    EVP_PKEY *key = in == NULL ? NULL : PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL);
    ti_status status = TI_OK;
    if (key == NULL && strstr(text, "ENCRYPTED") != NULL)
        status =
            ti_err_set(err, TI_INVALID_ARGUMENT,
                       "the private key in option key is encrypted: give it without passphrase");
    else if (key == NULL)
        status = ti_err_set(err, TI_INVALID_ARGUMENT, "option key has no readable private key");
    else if (X509_check_private_key(cert, key) != 1)
        status = ti_err_set(err, TI_INVALID_ARGUMENT,
                            "the private key in option key does not belong to the certificate in "
                            "option cert");
    EVP_PKEY_free(key);
    BIO_free(in);
    ERR_clear_error();
    return status;
}

ti_status ti_tls_check(const ti_tls_texts *texts, ti_err *err)
{
    X509 *cert = NULL;
    ti_assert(texts->ca != NULL);
    if (read_certificates(texts->ca, NULL) < 1)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "option ca has no readable certificate (PEM)");
    if (texts->cert == NULL)
        return TI_OK;
    ti_status status = TI_OK;
    if (read_certificates(texts->cert, &cert) < 1)
        status =
            ti_err_set(err, TI_INVALID_ARGUMENT, "option cert has no readable certificate (PEM)");
    if (status == TI_OK)
        status = check_key(texts->key, cert, err);
    if (status == TI_OK)
        status = check_dates(cert, err);
    X509_free(cert);
    return status;
}
