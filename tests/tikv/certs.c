/* Certificates made at test time. See certs.h. */
#include "tikv/certs.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define HOUR_S 3600
#define DAY_S 86400

const char *certs_path(const char *dir, const char *name, const char *ending)
{
    static _Thread_local char paths[8][CERTS_PATH_SIZE];
    static _Thread_local unsigned next;
    char *path = paths[next++ % 8];
    int n = snprintf(path, CERTS_PATH_SIZE, "%s/%s.%s", dir, name, ending);
    assert_true(n > 0 && n < CERTS_PATH_SIZE);
    return path;
}

char *certs_read(const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *text = calloc(1, 65536);
    assert_non_null(text);
    size_t len = fread(text, 1, 65535, file);
    assert_true(len > 0 && len < 65535);
    fclose(file);
    return text;
}

void certs_write(const char *path, const char *text)
{
    char fresh[CERTS_PATH_SIZE + 8];
    snprintf(fresh, sizeof(fresh), "%s.new", path);
    FILE *file = fopen(fresh, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(fresh, path), 0);
}

/* The issuer's certificate and key. */
static void load_issuer(const char *dir, const char *name, X509 **cert_out, EVP_PKEY **key_out)
{
    FILE *file = fopen(certs_path(dir, name, "crt"), "rb");
    assert_non_null(file);
    *cert_out = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    file = fopen(certs_path(dir, name, "key"), "rb");
    assert_non_null(file);
    *key_out = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    assert_non_null(*cert_out);
    assert_non_null(*key_out);
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static X509 *make_cert(const cert_spec *spec, X509 *issuer, EVP_PKEY *key)
{
    X509 *cert = X509_new();
    uint64_t serial = 0;
    bool dates = spec->from_s != 0 || spec->to_s != 0;
    assert_non_null(cert);
    ti_env_real()->random(ti_env_real(), &serial, sizeof(serial));
    assert_int_equal(X509_set_version(cert, 2), 1);
    assert_int_equal(ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial >> 1), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), dates ? spec->from_s : -HOUR_S);
    X509_gmtime_adj(X509_getm_notAfter(cert), dates ? spec->to_s : DAY_S);
    assert_int_equal(X509_set_pubkey(cert, key), 1);
    X509_NAME *subject = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)spec->name, -1,
                               -1, 0);
    X509 *above = issuer != NULL ? issuer : cert;
    assert_int_equal(X509_set_issuer_name(cert, X509_get_subject_name(above)), 1);
    add_extension(cert, above, NID_basic_constraints,
                  spec->authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (spec->authority)
        add_extension(cert, above, NID_key_usage, "critical,keyCertSign,cRLSign");
    if (spec->names != NULL)
        add_extension(cert, above, NID_subject_alt_name, spec->names);
    if (spec->purpose != NULL)
        add_extension(cert, above, NID_ext_key_usage, spec->purpose);
    return cert;
}

static void write_pem(const char *dir, const cert_spec *spec, X509 *cert, EVP_PKEY *key)
{
    BIO *text = BIO_new(BIO_s_mem());
    const EVP_CIPHER *cipher = spec->passphrase != NULL ? EVP_aes_128_cbc() : NULL;
    int len = spec->passphrase != NULL ? (int)strlen(spec->passphrase) : 0;
    assert_int_equal(PEM_write_bio_X509(text, cert), 1);
    assert_int_equal(BIO_write(text, "", 1), 1);
    char *bytes = NULL;
    BIO_get_mem_data(text, &bytes);
    certs_write(certs_path(dir, spec->name, "crt"), bytes);
    BIO_free(text);
    text = BIO_new(BIO_s_mem());
    assert_int_equal(
        PEM_write_bio_PKCS8PrivateKey(text, key, cipher, spec->passphrase, len, NULL, NULL), 1);
    assert_int_equal(BIO_write(text, "", 1), 1);
    BIO_get_mem_data(text, &bytes);
    certs_write(certs_path(dir, spec->name, "key"), bytes);
    BIO_free(text);
}

void certs_make(const char *dir, const cert_spec *spec)
{
    X509 *issuer = NULL;
    EVP_PKEY *issuer_key = NULL;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert_non_null(key);
    if (spec->issuer != NULL)
        load_issuer(dir, spec->issuer, &issuer, &issuer_key);
    X509 *cert = make_cert(spec, issuer, key);
    assert_true(X509_sign(cert, issuer_key != NULL ? issuer_key : key, EVP_sha256()) > 0);
    write_pem(dir, spec, cert, key);
    X509_free(cert);
    X509_free(issuer);
    EVP_PKEY_free(issuer_key);
    EVP_PKEY_free(key);
}
