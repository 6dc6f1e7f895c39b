/* One handshake, to say in words what is wrong. See tls.h.
 *
 *   connect ── no ──> nothing to say
 *      │
 *      ├─ the caller speaks TLS:   hello ── alert, dates, authority, host ──> the cause
 *      │                             └─ accepted ── preface ── alert ──> what it says of the client
 *      └─ the caller speaks plainly: hello ── answered by TLS ──> the server wants TLS
 *
 * OpenSSL works on memory here; bytes are moved by send and recv, so that no SIGPIPE is raised and
 * no wait passes the deadline. */
#include <errno.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/tls.h"

#define HOST_SIZE 256
#define DATE_SIZE 64
#define CHUNK_SIZE 4096
/* How long an accepted client waits for a late refusal (TLS 1.3 checks the client's certificate
 * after the handshake has ended for the client). */
#define REFUSAL_WAIT_NS INT64_C(1000000000)
/* How HTTP/2 begins, with empty settings: a server that accepts the client answers it. */
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
#define ALPN "\2h2"

typedef struct probe {
    const ti_env *env;
    const char *address;
    const ti_tls_texts *texts; /* or NULL */
    int64_t deadline_ns;
    char host[HOST_SIZE]; /* without brackets */
    char expected[HOST_SIZE];
    int fd;
    SSL_CTX *context;
    SSL *ssl;
    BIO *in; /* both are owned by ssl */
    BIO *out;
} probe;

/* ---- TCP ---- */

/* Waits for an event of fd; false at the deadline. */
static bool wait_for(const probe *p, short events, int64_t deadline_ns)
{
    struct pollfd ready = {.fd = p->fd, .events = events};
    for (;;) {
        int64_t left_ms = (deadline_ns - ti_env_mono_ns(p->env)) / 1000000;
        if (left_ms <= 0)
            return false;
        int n = poll(&ready, 1, left_ms > 60000 ? 60000 : (int)left_ms);
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
    }
}

static bool connect_to(probe *p, const struct addrinfo *to)
{
    int error = 0;
    socklen_t len = sizeof(error);
    p->fd = socket(to->ai_family, to->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, to->ai_protocol);
    if (p->fd < 0)
        return false;
    if (connect(p->fd, to->ai_addr, to->ai_addrlen) == 0)
        return true;
    if (errno == EINPROGRESS && wait_for(p, POLLOUT, p->deadline_ns) &&
        getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0)
        return true;
    close(p->fd);
    p->fd = -1;
    return false;
}

/* Parts "host:port" or "[host]:port"; connects. */
static bool reach(probe *p)
{
    const char *colon = strrchr(p->address, ':');
    const char *from = p->address;
    if (colon == NULL)
        return false;
    size_t len = (size_t)(colon - from);
    if (len >= 2 && from[0] == '[' && from[len - 1] == ']') {
        from++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof(p->host))
        return false;
    memcpy(p->host, from, len);
    p->host[len] = '\0';
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *list = NULL;
    if (getaddrinfo(p->host, colon + 1, &hints, &list) != 0)
        return false;
    for (const struct addrinfo *at = list; at != NULL && p->fd < 0; at = at->ai_next)
        connect_to(p, at);
    freeaddrinfo(list);
    return p->fd >= 0;
}

/* ---- Moving bytes ---- */

/* Sends what OpenSSL has written. */
static bool flush(probe *p)
{
    char chunk[CHUNK_SIZE];
    int len = 0;
    while ((len = BIO_read(p->out, chunk, sizeof(chunk))) > 0) {
        for (int sent = 0; sent < len;) {
            ssize_t n = send(p->fd, chunk + sent, (size_t)(len - sent), MSG_NOSIGNAL);
            if (n > 0)
                sent += (int)n;
            else if (n < 0 && errno != EAGAIN && errno != EINTR)
                return false;
            else if (n < 0 && errno == EAGAIN && !wait_for(p, POLLOUT, p->deadline_ns))
                return false;
        }
    }
    return true;
}

typedef enum input { INPUT_SOME, INPUT_END, INPUT_LATE } input;

/* Gives OpenSSL what has come. */
static input fill(probe *p, int64_t deadline_ns)
{
    char chunk[CHUNK_SIZE];
    for (;;) {
        ssize_t n = recv(p->fd, chunk, sizeof(chunk), 0);
        if (n > 0)
            return BIO_write(p->in, chunk, (int)n) == n ? INPUT_SOME : INPUT_END;
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            return INPUT_END;
        if (errno == EAGAIN && !wait_for(p, POLLIN, deadline_ns))
            return INPUT_LATE;
    }
}

typedef enum outcome {
    DONE,   /* the handshake, or an answer, is there */
    FAILED, /* OpenSSL says why: its first error */
    ENDED,  /* the other side closed */
    LATE,
} outcome;

/* Runs one step of OpenSSL until it needs no more bytes. */
static outcome run(probe *p, int (*step)(SSL *ssl), int64_t deadline_ns)
{
    for (;;) {
        ERR_clear_error();
        int done = step(p->ssl);
        int why = SSL_get_error(p->ssl, done);
        bool flushed = flush(p);
        if (done > 0)
            return DONE;
        if (why != SSL_ERROR_WANT_READ)
            return why == SSL_ERROR_SSL ? FAILED : ENDED;
        input got = flushed ? fill(p, deadline_ns) : INPUT_END;
        if (got != INPUT_SOME)
            return got == INPUT_LATE ? LATE : ENDED;
    }
}

static int step_shake(SSL *ssl)
{
    return SSL_connect(ssl);
}

static int step_read(SSL *ssl)
{
    char byte;
    return SSL_read(ssl, &byte, 1);
}

/* ---- Making ---- */

static bool add_authorities(SSL_CTX *context, const char *text)
{
    BIO *in = BIO_new_mem_buf(text, -1);
    X509 *cert = NULL;
    bool any = false;
    while (in != NULL && (cert = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL) {
        any |= X509_STORE_add_cert(SSL_CTX_get_cert_store(context), cert) == 1;
        X509_free(cert);
    }
    BIO_free(in);
    return any;
}

static bool add_identity(SSL_CTX *context, const ti_tls_texts *texts)
{
    BIO *in = BIO_new_mem_buf(texts->cert, -1);
    BIO *key_in = BIO_new_mem_buf(texts->key, -1);
    X509 *cert = in == NULL ? NULL : PEM_read_bio_X509(in, NULL, NULL, NULL);
    EVP_PKEY *key = key_in == NULL ? NULL : PEM_read_bio_PrivateKey(key_in, NULL, NULL, (void *)"");
    bool good = cert != NULL && key != NULL && SSL_CTX_use_certificate(context, cert) == 1 &&
                SSL_CTX_use_PrivateKey(context, key) == 1;
    X509 *chain = NULL;
    while (good && (chain = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL)
        good = SSL_CTX_add0_chain_cert(context, chain) == 1;
    EVP_PKEY_free(key);
    X509_free(cert);
    BIO_free(key_in);
    BIO_free(in);
    return good;
}

/* OpenSSL's objects; false when that is not possible: then there is nothing to say. */
static bool prepare(probe *p)
{
    p->context = SSL_CTX_new(TLS_client_method());
    if (p->context == NULL)
        return false;
    SSL_CTX_set_min_proto_version(p->context, TLS1_2_VERSION);
    SSL_CTX_set_verify(p->context, SSL_VERIFY_NONE, NULL); /* the result is looked at instead */
    if (SSL_CTX_set_alpn_protos(p->context, (const unsigned char *)ALPN, sizeof(ALPN) - 1) != 0)
        return false;
    if (p->texts != NULL && !add_authorities(p->context, p->texts->ca))
        return false;
    if (p->texts != NULL && p->texts->cert != NULL && !add_identity(p->context, p->texts))
        return false;
    p->ssl = SSL_new(p->context);
    p->in = BIO_new(BIO_s_mem());
    p->out = BIO_new(BIO_s_mem());
    if (p->ssl == NULL || p->in == NULL || p->out == NULL) {
        BIO_free(p->in);
        BIO_free(p->out);
        return false;
    }
    BIO_set_mem_eof_return(p->in, -1);
    SSL_set_bio(p->ssl, p->in, p->out);
    ASN1_OCTET_STRING *numeric = a2i_IPADDRESS(p->expected);
    bool named = numeric != NULL || SSL_set_tlsext_host_name(p->ssl, p->expected) == 1;
    ASN1_OCTET_STRING_free(numeric); /* addresses are not sent as names */
    return named;
}

/* ---- Words ---- */

static ti_status say(const probe *p, ti_err *err, const char *what)
{
    return ti_err_set(err, TI_INVALID_ARGUMENT, "TLS with %s: %s", p->address, what);
}

static void date_text(const ASN1_TIME *date, char out[DATE_SIZE])
{
    struct tm parts;
    memset(&parts, 0, sizeof(parts));
    if (ASN1_TIME_to_tm(date, &parts) != 1 ||
        strftime(out, DATE_SIZE, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0)
        snprintf(out, DATE_SIZE, "an unreadable date");
}

/* What an alert of the server means. alert: its number. */
static ti_status say_alert(const probe *p, int alert, ti_err *err)
{
    bool has_cert = p->texts->cert != NULL;
    switch (alert) {
    case SSL_AD_CERTIFICATE_REQUIRED:
        return say(p, err, "the server demands a client certificate: give options cert and key");
    case SSL_AD_UNKNOWN_CA:
        return say(p, err,
                   "the server does not know the authority of the client certificate in "
                   "option cert");
    case SSL_AD_CERTIFICATE_EXPIRED:
        return say(p, err,
                   "the server says that the client certificate in option cert has expired");
    case SSL_AD_CERTIFICATE_REVOKED:
        return say(p, err, "the server says that the client certificate in option cert is revoked");
    case SSL_AD_PROTOCOL_VERSION:
        return say(p, err, "the server speaks no TLS 1.2 or newer");
    case SSL_AD_NO_APPLICATION_PROTOCOL:
        return say(p, err, "the server does not speak HTTP/2: is it the right port?");
    case SSL_AD_UNRECOGNIZED_NAME:
        return say(p, err, "the server does not know the host name that it is called by");
    default:
        break;
    }
    if (!has_cert)
        return say(p, err,
                   "the server refuses the handshake; it may demand a client certificate "
                   "(options cert and key)");
    return ti_err_set(err, TI_INVALID_ARGUMENT,
                      "TLS with %s: the server refuses the client certificate in option cert (%s)",
                      p->address, SSL_alert_desc_string_long(alert));
}

/* The number of the alert that OpenSSL's first error tells of; -1: it was no alert. */
static int alert_of(unsigned long error)
{
    int reason = ERR_GET_REASON(error);
    if (ERR_GET_LIB(error) != ERR_LIB_SSL || reason < SSL_AD_REASON_OFFSET)
        return -1;
    return reason - SSL_AD_REASON_OFFSET;
}

static ti_status say_failed(const probe *p, unsigned long error, ti_err *err)
{
    int alert = alert_of(error);
    if (alert >= 0)
        return say_alert(p, alert, err);
    switch (ERR_GET_REASON(error)) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_UNEXPECTED_MESSAGE:
    case SSL_R_BAD_RECORD_TYPE:
        return say(p, err,
                   "the server answers without TLS: it is not set up for it, or it is "
                   "another port; connect without ca, or turn TLS on there");
    case SSL_R_UNSUPPORTED_PROTOCOL:
        return say(p, err, "the server speaks no TLS 1.2 or newer");
    default:
        break;
    }
    const char *reason = ERR_reason_error_string(error);
    return ti_err_set(err, TI_INVALID_ARGUMENT, "TLS with %s: the handshake failed (%s)",
                      p->address, reason != NULL ? reason : "no reason given");
}

/* The certificate that the verification stopped at, with its date. */
static ti_status say_dates(const probe *p, X509 *leaf, bool expired, ti_err *err)
{
    char date[DATE_SIZE];
    const ASN1_TIME *end = expired ? X509_get0_notAfter(leaf) : X509_get0_notBefore(leaf);
    int compared = X509_cmp_current_time(end);
    if (expired ? compared > 0 : compared < 0)
        return say(p, err,
                   expired ? "a certificate above the server's (in its chain, or in option "
                             "ca) has expired"
                           : "a certificate above the server's (in its chain, or in option "
                             "ca) is not valid yet");
    date_text(end, date);
    return ti_err_set(err, TI_INVALID_ARGUMENT,
                      expired ? "TLS with %s: the server's certificate expired at %s"
                              : "TLS with %s: the server's certificate is not valid before %s (or "
                                "this machine's clock is behind)",
                      p->address, date);
}

static bool names_host(X509 *cert, const char *host)
{
    return X509_check_ip_asc(cert, host, 0) == 1 || X509_check_host(cert, host, 0, 0, NULL) == 1;
}

/* What is wrong with the certificate that the server has shown. */
static ti_status check_server(const probe *p, ti_err *err)
{
    X509 *leaf = SSL_get0_peer_certificate(p->ssl);
    long result = SSL_get_verify_result(p->ssl);
    if (leaf == NULL)
        return say(p, err, "the server shows no certificate");
    switch (result) {
    case X509_V_OK:
        break;
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return say_dates(p, leaf, result == X509_V_ERR_CERT_HAS_EXPIRED, err);
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        return say(p, err, "the server's certificate is not signed by an authority in option ca");
    case X509_V_ERR_INVALID_PURPOSE:
        return say(p, err, "the server's certificate is not made for servers");
    default:
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "TLS with %s: the server's certificate is refused (%s)", p->address,
                          X509_verify_cert_error_string(result));
    }
    if (!names_host(leaf, p->expected))
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "TLS with %s: the server's certificate is not for '%s'", p->address,
                          p->expected);
    return TI_OK;
}

/* ---- The two questions ---- */

static ti_status ask_plain(probe *p, ti_err *err)
{
    outcome shaken = run(p, step_shake, p->deadline_ns);
    if (shaken == DONE || (shaken == FAILED && alert_of(ERR_peek_error()) >= 0))
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "%s wants TLS: give option ca (and cert and key where the server demands "
                          "a client certificate)",
                          p->address);
    return TI_OK;
}

static ti_status ask_tls(probe *p, ti_err *err)
{
    outcome shaken = run(p, step_shake, p->deadline_ns);
    if (shaken == ENDED)
        return say(p, err,
                   "the server closes the connection when TLS begins: is it set up for TLS, "
                   "and the right port?");
    if (shaken == FAILED)
        return say_failed(p, ERR_peek_error(), err);
    if (shaken == LATE)
        return TI_OK;
    TI_TRY(check_server(p, err));
    if (SSL_write(p->ssl, PREFACE, sizeof(PREFACE) - 1) <= 0 || !flush(p))
        return TI_OK;
    int64_t until_ns = ti_env_mono_ns(p->env) + REFUSAL_WAIT_NS;
    outcome read = run(p, step_read, until_ns < p->deadline_ns ? until_ns : p->deadline_ns);
    return read == FAILED ? say_failed(p, ERR_peek_error(), err) : TI_OK;
}

ti_status ti_tls_probe(const ti_env *env, const char *address, ti_slice server_name,
                       const ti_tls_texts *texts, int64_t deadline_ns, ti_err *err)
{
    probe p = {
        .env = env, .address = address, .texts = texts, .deadline_ns = deadline_ns, .fd = -1};
    ti_status status = TI_OK;
    ti_assert(texts == NULL || texts->ca != NULL);
    if (server_name.len >= sizeof(p.expected) || !reach(&p))
        return TI_OK;
    if (server_name.len > 0)
        memcpy(p.expected, server_name.data, server_name.len);
    else
        memcpy(p.expected, p.host, sizeof(p.host));
    ERR_clear_error();
    if (prepare(&p))
        status = texts == NULL ? ask_plain(&p, err) : ask_tls(&p, err);
    SSL_free(p.ssl);
    SSL_CTX_free(p.context);
    close(p.fd);
    ERR_clear_error();
    return status;
}
