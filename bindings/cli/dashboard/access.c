/* Who may what.
 *
 *   Host      localhost, an address, or a name of --allow-host: a page of another name that was
 *             made to point here (DNS rebinding) has none of them
 *   Origin    when there is one: http(s):// and the same as Host. Sec-Fetch-Site likewise
 *   token     Authorization: Bearer …, or the cookie (HttpOnly, SameSite=Strict) that the printed
 *             URL sets. On a unix socket the file's mode is the rule, and there is no token
 *   writes    besides: Authorization: Bearer …, or X-Tito-Token with the page's token, which no
 *             other origin can read; a cookie alone never writes
 *
 * INVARIANTS
 *  1. Tokens are compared in a time that does not depend on where they differ.
 *  2. A token is never logged. */
#include "server.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

static const tc_refusal allowed = {.code = 0};

/* ---- Tokens ---- */

bool tc_token_make(char out[TC_TOKEN_SIZE])
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char bytes[TC_TOKEN_SIZE - 1];
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return false;
    for (size_t i = 0; i < sizeof(bytes); i++)
        out[i] = alphabet[bytes[i] & 63];
    out[sizeof(bytes)] = '\0';
    return true;
}

static bool is_token_char(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

bool tc_token_is(const char *text)
{
    size_t len = 0;
    while (is_token_char(text[len]))
        len++;
    return text[len] == '\0' && len >= TC_TOKEN_MIN && len <= TC_TOKEN_MAX;
}

/* Whether len bytes are the token. */
static bool same(const char *token, const char *given, size_t len)
{
    size_t expected = strlen(token);
    unsigned char differs = len == expected && expected > 0 ? 0 : 1;
    for (size_t i = 0; i < len; i++)
        differs |= (unsigned char)(given[i] ^ token[expected > 0 ? i % expected : 0]);
    return differs == 0;
}

/* ---- Host and Origin ---- */

/* The name of HOST, HOST:PORT or [HOST]:PORT, without brackets. False: it is none of them. */
static bool cut_name(const char *text, char *out, size_t size)
{
    const char *end = text[0] == '[' ? strchr(text, ']') : text + strcspn(text, ":");
    if (end == NULL)
        return false;
    const char *port = text[0] == '[' ? end + 1 : end;
    size_t len = (size_t)(end - text) - (text[0] == '[' ? 1 : 0);
    if (len == 0 || len >= size || (port[0] != '\0' && port[0] != ':'))
        return false;
    if (port[0] == ':' && strspn(port + 1, "0123456789") != strlen(port + 1))
        return false;
    memcpy(out, text + (text[0] == '[' ? 1 : 0), len);
    out[len] = '\0';
    return true;
}

static bool host_is_ours(const tc_access *access, const char *host)
{
    char name[TC_HOST_MAX];
    unsigned char address[sizeof(struct in6_addr)];
    if (host == NULL || !cut_name(host, name, sizeof(name)))
        return false;
    if (strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, address) == 1 ||
        inet_pton(AF_INET6, name, address) == 1)
        return true;
    for (size_t i = 0; i < access->host_count; i++)
        if (strcasecmp(name, access->hosts[i]) == 0)
            return true;
    return false;
}

static const char *header(struct MHD_Connection *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

static bool origin_is_host(const char *origin, const char *host)
{
    const char *rest = strncmp(origin, "http://", 7) == 0    ? origin + 7
                       : strncmp(origin, "https://", 8) == 0 ? origin + 8
                                                             : "";
    return strcasecmp(rest, host) == 0;
}

tc_refusal tc_access_origin(const tc_access *access, struct MHD_Connection *connection,
                            bool is_page)
{
    const char *host = header(connection, MHD_HTTP_HEADER_HOST);
    const char *origin = header(connection, MHD_HTTP_HEADER_ORIGIN);
    const char *site = header(connection, "Sec-Fetch-Site");
    if (!host_is_ours(access, host))
        return (tc_refusal){MHD_HTTP_MISDIRECTED_REQUEST,
                            "this host is not served here; --allow-host names further ones\n"};
    if (origin != NULL && !origin_is_host(origin, host))
        return (tc_refusal){MHD_HTTP_FORBIDDEN, "not from another site\n"};
    if (!is_page && site != NULL && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
        return (tc_refusal){MHD_HTTP_FORBIDDEN, "not from another site\n"};
    return allowed;
}

/* ---- Access ---- */

static bool has_bearer(const tc_access *access, struct MHD_Connection *connection)
{
    static const char scheme[] = "Bearer ";
    const char *text = header(connection, MHD_HTTP_HEADER_AUTHORIZATION);
    if (text == NULL || strncasecmp(text, scheme, sizeof(scheme) - 1) != 0)
        return false;
    text += sizeof(scheme) - 1;
    return same(access->token, text, strlen(text));
}

tc_refusal tc_access_token(const tc_access *access, struct MHD_Connection *connection)
{
    const char *cookie = MHD_lookup_connection_value(connection, MHD_COOKIE_KIND, access->cookie);
    if (access->token[0] == '\0' || has_bearer(access, connection) ||
        (cookie != NULL && same(access->token, cookie, strlen(cookie))))
        return allowed;
    return (tc_refusal){MHD_HTTP_UNAUTHORIZED,
                        "Open the address that was printed when the dashboard was started: it has "
                        "the token. Programs send it as Authorization: Bearer TOKEN.\n"};
}

tc_refusal tc_access_write(const tc_access *access, struct MHD_Connection *connection)
{
    const char *given = header(connection, "X-Tito-Token");
    if (!access->writes)
        return (tc_refusal){MHD_HTTP_FORBIDDEN,
                            "read-only: it was started without --allow-writes\n"};
    if (has_bearer(access, connection) ||
        (given != NULL && same(access->page_token, given, strlen(given))))
        return allowed;
    return (tc_refusal){MHD_HTTP_FORBIDDEN, "a write needs the token in a header\n"};
}

bool tc_access_query(const tc_access *access, const char *query)
{
    static const char name[] = "token=";
    for (const char *at = query; at != NULL; at = strchr(at, '&') ? strchr(at, '&') + 1 : NULL) {
        if (strncmp(at, name, sizeof(name) - 1) != 0)
            continue;
        const char *value = at + sizeof(name) - 1;
        return same(access->token, value, strcspn(value, "&"));
    }
    return false;
}
