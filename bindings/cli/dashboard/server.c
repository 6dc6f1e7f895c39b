/* The daemon: paths, requests that wait for Lua, the watcher.
 *
 *   GET /  /app.js  /style.css  /icon.svg     the page's files
 *   GET /?token=…                             sets the cookie, then /
 *   GET /events                               a stream: the figures, again and again
 *   GET /metrics                              the figures as Prometheus text
 *   GET /api/…   POST /api/act                Lua's
 *
 *   request:  READING ── whole ──> WAITING (suspended, in the list or current) ── reply ──> ANSWERED
 *
 * INVARIANTS
 *  1. Paths are compared as they were sent, before any decoding: what is not one of them, byte by
 *     byte, is not here.
 *  2. A request in WAITING is suspended, so libmicrohttpd leaves it alone until the reply; after
 *     the reply nobody but the HTTP thread touches it.
 *  3. One request a connection.
 *  4. A refusal waits for the end of a body that is not too long, so that the client gets to read
 *     it. */
#include "server.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const struct {
    const char *path, *file, *type;
} files[] = {
    {"/", "dashboard/index.html", "text/html; charset=utf-8"},
    {"/app.js", "dashboard/app.js", "text/javascript; charset=utf-8"},
    {"/parts.js", "dashboard/parts.js", "text/javascript; charset=utf-8"},
    {"/plot.js", "dashboard/plot.js", "text/javascript; charset=utf-8"},
    {"/queue.js", "dashboard/queue.js", "text/javascript; charset=utf-8"},
    {"/style.css", "dashboard/style.css", "text/css; charset=utf-8"},
    {"/icon.svg", "dashboard/icon.svg", "image/svg+xml"},
};

static const char plain[] = "text/plain; charset=utf-8";
static const char json[] = "application/json";
static const char act_path[] = "/api/act";

/* ---- Answers ---- */

static void add_headers(struct MHD_Response *response, const char *type)
{
    static const char *const headers[][2] = {
        {MHD_HTTP_HEADER_CONNECTION, "close"},
        {MHD_HTTP_HEADER_CACHE_CONTROL, "no-store"},
        {"Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; "
                                    "img-src 'self'; connect-src 'self'; "
                                    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
        {"X-Content-Type-Options", "nosniff"},
        {"X-Frame-Options", "DENY"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {"Cross-Origin-Opener-Policy", "same-origin"},
    };
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        MHD_add_response_header(response, headers[i][0], headers[i][1]);
}

/* Queues a response, which it frees. NULL: no memory; the connection is closed. */
static enum MHD_Result answer(tc_server *server, struct MHD_Connection *connection, unsigned code,
                              const char *type, struct MHD_Response *response, int seconds)
{
    if (response == NULL)
        return MHD_NO;
    add_headers(response, type);
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, POST");
    if (code == MHD_HTTP_UNAUTHORIZED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    tc_link_allow(server, connection, seconds);
    enum MHD_Result queued = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return queued;
}

static enum MHD_Result answer_text(tc_server *server, struct MHD_Connection *connection,
                                   unsigned code, const char *text)
{
    return answer(server, connection, code, plain,
                  MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text,
                                                  MHD_RESPMEM_PERSISTENT),
                  TC_ANSWER_S);
}

static enum MHD_Result answer_file(tc_server *server, struct MHD_Connection *connection, size_t i)
{
    size_t size;
    const unsigned char *bytes = tc_compiled_file(files[i].file, &size);
    return answer(
        server, connection, MHD_HTTP_OK, files[i].type,
        MHD_create_response_from_buffer(size, (void *)(uintptr_t)bytes, MHD_RESPMEM_PERSISTENT),
        TC_ANSWER_S);
}

static enum MHD_Result answer_login(tc_server *server, struct MHD_Connection *connection)
{
    char cookie[TC_TOKEN_MAX + 160];
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    if (response == NULL)
        return MHD_NO;
    (void)snprintf(cookie, sizeof(cookie), "%s=%s; Path=/; HttpOnly; SameSite=Strict",
                   server->access.cookie, server->access.token);
    MHD_add_response_header(response, MHD_HTTP_HEADER_SET_COOKIE, cookie);
    MHD_add_response_header(response, MHD_HTTP_HEADER_LOCATION, "/");
    return answer(server, connection, MHD_HTTP_SEE_OTHER, plain, response, TC_ANSWER_S);
}

static enum MHD_Result answer_metrics(tc_server *server, struct MHD_Connection *connection)
{
    struct MHD_Response *response = NULL;
    pthread_mutex_lock(&server->mutex);
    tc_message *metrics = server->metrics;
    if (metrics != NULL)
        response =
            MHD_create_response_from_buffer(metrics->len, metrics->bytes, MHD_RESPMEM_MUST_COPY);
    pthread_mutex_unlock(&server->mutex);
    if (metrics == NULL)
        return answer_text(server, connection, MHD_HTTP_SERVICE_UNAVAILABLE, "starting\n");
    return answer(server, connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8",
                  response, TC_ANSWER_S);
}

static enum MHD_Result answer_stream(tc_server *server, struct MHD_Connection *connection)
{
    bool full;
    struct MHD_Response *response = tc_stream_response(server, connection, &full);
    if (full)
        return answer_text(server, connection, MHD_HTTP_SERVICE_UNAVAILABLE,
                           "there are too many streams\n");
    return answer(server, connection, MHD_HTTP_OK, "text/event-stream", response, 0);
}

static enum MHD_Result answer_refusal(tc_server *server, const tc_request *request)
{
    return answer_text(server, request->connection, request->refusal.code, request->refusal.text);
}

/* What Lua has answered. */
static enum MHD_Result answer_reply(tc_server *server, tc_request *request)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        request->answer_len, request->answer, MHD_RESPMEM_MUST_FREE);
    if (response != NULL)
        request->answer = NULL;
    return answer(server, request->connection, request->code, json, response, TC_ANSWER_S);
}

/* ---- Requests ---- */

/* An MHD_OPTION_URI_LOG_CALLBACK: the request, with the URI as it was sent. */
static void *on_uri(void *context, const char *uri, struct MHD_Connection *connection)
{
    size_t len = strnlen(uri, TC_URI_MAX + 1);
    tc_request *request = calloc(1, sizeof(*request) + len + 1);
    (void)context;
    if (request == NULL)
        return NULL;
    request->connection = connection;
    request->wrong = len > TC_URI_MAX || uri[0] != '/';
    for (size_t i = 0; i < len; i++)
        request->wrong = request->wrong || uri[i] <= ' ' || uri[i] > '~';
    memcpy(request->uri, uri, len);
    char *mark = strchr(request->uri, '?');
    request->path = request->uri;
    request->query = mark != NULL ? mark + 1 : request->uri + len;
    if (mark != NULL)
        *mark = '\0';
    return request;
}

/* An MHD_RequestCompletedCallback. */
static void on_completed(void *context, struct MHD_Connection *connection, void **kept,
                         enum MHD_RequestTerminationCode code)
{
    tc_request *request = *kept;
    (void)context, (void)connection, (void)code;
    *kept = NULL;
    if (request == NULL)
        return;
    free(request->body);
    free(request->answer);
    free(request);
}

/* Suspends the request until Lua has answered it. */
static enum MHD_Result hand_over(tc_server *server, tc_request *request)
{
    pthread_mutex_lock(&server->mutex);
    bool room = server->waiting < TC_WAITING_MAX && !server->closing;
    if (room) {
        request->state = TC_WAITING;
        request->next = NULL;
        *(server->first != NULL ? &server->last->next : &server->first) = request;
        server->last = request;
        server->waiting++;
        MHD_suspend_connection(request->connection);
        pthread_cond_signal(&server->moved);
    }
    pthread_mutex_unlock(&server->mutex);
    if (room)
        return MHD_YES;
    return answer_text(server, request->connection, MHD_HTTP_SERVICE_UNAVAILABLE,
                       "too much is asked at once\n");
}

/* Keeps a piece of the body; false: it is too long, or there is no memory. */
static bool add_body(tc_request *request, const char *bytes, size_t len)
{
    if (len > TC_BODY_MAX - request->body_len)
        return false;
    char *body = realloc(request->body, request->body_len + len + 1);
    if (body == NULL)
        return false;
    memcpy(body + request->body_len, bytes, len);
    request->body = body;
    request->body_len += len;
    body[request->body_len] = '\0';
    return true;
}

static bool is_json(struct MHD_Connection *connection)
{
    const char *type =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_TYPE);
    size_t len = sizeof(json) - 1;
    return type != NULL && strncmp(type, json, len) == 0 &&
           (type[len] == '\0' || type[len] == ';' || type[len] == ' ');
}

/* The size that was said of the body: -1 not said, too much is TC_BODY_MAX + 1. */
static long body_size(struct MHD_Connection *connection)
{
    const char *length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    const char *coding =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING);
    if (length == NULL)
        return coding != NULL ? -1 : 0;
    errno = 0;
    long size = strtol(length, NULL, 10);
    return errno != 0 || size < 0 || size > TC_BODY_MAX ? TC_BODY_MAX + 1 : size;
}

/* The one place that decides whether a request is looked at. */
static tc_refusal refuse(tc_server *server, const tc_request *request, const char *method,
                         const char *version)
{
    struct MHD_Connection *connection = request->connection;
    bool is_page = strcmp(request->path, "/") == 0;
    bool is_act = strcmp(request->path, act_path) == 0;
    if (request->wrong || strncmp(version, "HTTP/1.", 7) != 0)
        return (tc_refusal){MHD_HTTP_BAD_REQUEST, "this is no address\n"};
    if (body_size(connection) > TC_BODY_MAX)
        return (tc_refusal){MHD_HTTP_CONTENT_TOO_LARGE, "the body is too long\n"};
    tc_refusal refusal = tc_access_origin(&server->access, connection, is_page);
    if (refusal.code == 0 && !(is_page && tc_access_query(&server->access, request->query)))
        refusal = tc_access_token(&server->access, connection);
    if (refusal.code != 0)
        return refusal;
    if (strcmp(method, is_act ? MHD_HTTP_METHOD_POST : MHD_HTTP_METHOD_GET) != 0)
        return (tc_refusal){MHD_HTTP_METHOD_NOT_ALLOWED, "GET; POST to /api/act\n"};
    if (!is_act)
        return (tc_refusal){body_size(connection) == 0 ? 0 : MHD_HTTP_BAD_REQUEST,
                            "no body is expected\n"};
    refusal = tc_access_write(&server->access, connection);
    if (refusal.code != 0)
        return refusal;
    if (!is_json(connection))
        return (tc_refusal){MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "application/json is expected\n"};
    return (tc_refusal){.code = 0};
}

/* A request that was allowed and is whole. */
static enum MHD_Result serve(tc_server *server, tc_request *request)
{
    struct MHD_Connection *connection = request->connection;
    if (strcmp(request->path, "/") == 0 && server->access.token[0] != '\0' &&
        tc_access_query(&server->access, request->query))
        return answer_login(server, connection);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        if (strcmp(request->path, files[i].path) == 0)
            return answer_file(server, connection, i);
    if (strcmp(request->path, "/metrics") == 0)
        return answer_metrics(server, connection);
    if (strcmp(request->path, "/events") == 0)
        return answer_stream(server, connection);
    if (strncmp(request->path, "/api/", 5) == 0)
        return hand_over(server, request);
    return answer_text(server, connection, MHD_HTTP_NOT_FOUND, "there is nothing here\n");
}

/* An MHD_AccessHandlerCallback: at the head, for each piece of a body, at the end, after a reply. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **kept)
{
    tc_server *server = context;
    tc_request *request = *kept;
    (void)url;
    if (request == NULL)
        return MHD_NO; /* there was no memory */
    if (!request->met) {
        request->met = true;
        request->refusal = refuse(server, request, method, version);
        return body_size(connection) > TC_BODY_MAX ? answer_refusal(server, request) : MHD_YES;
    }
    if (*upload_size > 0) {
        bool kept_all = add_body(request, upload, *upload_size);
        *upload_size = 0;
        return kept_all ? MHD_YES : MHD_NO;
    }
    if (request->refusal.code != 0)
        return answer_refusal(server, request);
    if (request->state == TC_ANSWERED)
        return answer_reply(server, request);
    tc_link_allow(server, connection, 0);
    return serve(server, request);
}

/* ---- For the thread that runs Lua ---- */

static struct timespec deadline_after(double seconds)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    int64_t ns = at.tv_nsec + (int64_t)(seconds * 1e9);
    at.tv_sec += (time_t)(ns / 1000000000);
    at.tv_nsec = (long)(ns % 1000000000);
    return at;
}

tc_request *tc_server_wait(tc_server *server, double seconds)
{
    struct timespec at = deadline_after(seconds);
    pthread_mutex_lock(&server->mutex);
    int waited = 0;
    while (server->first == NULL && !server->woken && !server->closing && waited == 0)
        waited = pthread_cond_timedwait(&server->moved, &server->mutex, &at);
    tc_request *request = server->closing ? NULL : server->first;
    if (request != NULL) {
        server->first = request->next;
        server->waiting--;
    } else {
        server->woken = false;
    }
    server->current = request;
    pthread_mutex_unlock(&server->mutex);
    return request;
}

/* Lets the HTTP thread go on with a request that was taken out of the list. */
static void settle(tc_request *request, unsigned code, char *text, size_t len)
{
    request->code = code;
    request->answer = text;
    request->answer_len = text != NULL ? len : 0;
    request->state = TC_ANSWERED;
    MHD_resume_connection(request->connection);
}

void tc_server_reply(tc_server *server, unsigned code, const char *text, size_t len)
{
    tc_request *request = server->current;
    server->current = NULL;
    if (request == NULL)
        return;
    char *copy = malloc(len + 1);
    if (copy != NULL)
        memcpy(copy, text, len);
    settle(request, copy != NULL ? code : MHD_HTTP_INTERNAL_SERVER_ERROR, copy, len);
}

bool tc_server_publish(tc_server *server, tito_slice figures, tito_slice metrics)
{
    tc_message *event = tc_message_new("data: ", figures.data, figures.len, "\n\n");
    tc_message *text = tc_message_new("", metrics.data, metrics.len, "");
    if (event == NULL || text == NULL) {
        free(event);
        free(text);
        return false;
    }
    pthread_mutex_lock(&server->mutex);
    event->number = ++server->number;
    tc_message_unref(server->figures);
    tc_message_unref(server->metrics);
    server->figures = event;
    server->metrics = text;
    pthread_mutex_unlock(&server->mutex);
    tc_streams_wake(server);
    return true;
}

size_t tc_server_viewers(tc_server *server)
{
    pthread_mutex_lock(&server->mutex);
    size_t count = server->stream_count;
    pthread_mutex_unlock(&server->mutex);
    return count;
}

/* ---- The watcher ---- */

void tc_server_close(tc_server *server)
{
    pthread_mutex_lock(&server->mutex);
    server->closing = true;
    pthread_cond_broadcast(&server->moved);
    pthread_mutex_unlock(&server->mutex);
    tc_streams_wake(server);
}

/* The signal has come: the process ends, also when the store keeps Lua waiting. */
static void leave(tc_server *server)
{
    struct pollfd fd = {.fd = server->event_fd, .events = POLLIN};
    tc_server_close(server);
    (void)poll(&fd, 1, TC_LEAVE_MS);
    if (!atomic_load(&server->ended)) {
        tc_log(TC_INFO, "the store keeps it waiting: the process ends without it");
        if (server->is_unix)
            (void)unlink(server->place);
        _exit(TC_EXIT_OK); /* nothing is under way that a crash would not end as well */
    }
}

static void *watch(void *context)
{
    enum { LOOK_MS = 1000 };
    tc_server *server = context;
    struct pollfd fd = {.fd = server->event_fd, .events = POLLIN};
    while (!atomic_load(&server->ended)) {
        uint64_t count;
        (void)poll(&fd, 1, LOOK_MS);
        bool told = read(server->event_fd, &count, sizeof(count)) > 0;
        if (told && !atomic_load(&server->ended))
            leave(server);
        tc_links_reap(server);
    }
    return NULL;
}

/* ---- Beginning and end ---- */

tc_server *tc_server_new(const tc_server_options *options)
{
    tc_server *server = calloc(1, sizeof(*server));
    pthread_condattr_t attributes;
    if (server == NULL)
        return NULL;
    pthread_mutex_init(&server->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&server->moved, &attributes);
    pthread_condattr_destroy(&attributes);
    server->event_fd = -1;
    server->has_signals = options->signals;
    server->access.writes = options->writes;
    server->is_unix = strncmp(options->listen, "unix:", 5) == 0;
    if (options->token != NULL && !server->is_unix)
        (void)snprintf(server->access.token, sizeof(server->access.token), "%s", options->token);
    return server;
}

/* How many connections the process's limit of descriptors bears; raises that when it can. */
static unsigned connections_max(void)
{
    enum { OTHERS = 256, LEAST = 16 };
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return TC_CONNECTIONS_MAX / 4;
    rlim_t wanted = TC_CONNECTIONS_MAX + OTHERS;
    if (limit.rlim_cur < wanted && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur >= wanted)
        return TC_CONNECTIONS_MAX;
    return limit.rlim_cur > OTHERS + LEAST ? (unsigned)(limit.rlim_cur - OTHERS) : LEAST;
}

static bool start_daemon(tc_server *server, int fd)
{
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, server,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, connections_max(),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)TC_CONNECTION_MEMORY,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)TC_IDLE_S, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_URI_LOG_CALLBACK, on_uri, server, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
        server, MHD_OPTION_NOTIFY_CONNECTION, tc_link_notify, server, MHD_OPTION_END);
    return server->daemon != NULL;
}

bool tc_server_start(tc_server *server, const tc_server_options *options)
{
    tc_access *access = &server->access;
    int fd = server->is_unix ? tc_listen_unix(options->option, options->listen + 5)
                             : tc_listen(options->option, options->listen, SOMAXCONN);
    if (fd < 0)
        return false;
    if (server->is_unix)
        (void)snprintf(server->place, sizeof(server->place), "%s", options->listen + 5);
    else
        (void)tc_place(fd, server->place, sizeof(server->place));
    const char *port = strrchr(server->place, ':');
    (void)snprintf(access->cookie, sizeof(access->cookie), "tito_dashboard_%.8s",
                   !server->is_unix && port != NULL ? port + 1 : "");
    server->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (server->event_fd < 0 || !tc_token_make(access->page_token) || !start_daemon(server, fd)) {
        tc_log(TC_ERROR, "%s %s: the server could not be started", options->option,
               options->listen);
        close(fd);
        return false;
    }
    server->has_watcher = pthread_create(&server->watcher, NULL, watch, server) == 0;
    if (server->has_watcher && server->has_signals)
        tc_dashboard_signals(server->event_fd);
    return server->has_watcher;
}

/* Answers what waits for Lua, which will not come. */
static void dismiss(tc_server *server)
{
    pthread_mutex_lock(&server->mutex);
    tc_request *request = server->first;
    server->first = NULL;
    server->waiting = 0;
    pthread_mutex_unlock(&server->mutex);
    while (request != NULL) {
        tc_request *next = request->next;
        settle(request, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, 0);
        request = next;
    }
    tc_server_reply(server, MHD_HTTP_SERVICE_UNAVAILABLE, "", 0);
}

void tc_server_free(tc_server *server)
{
    const uint64_t one = 1;
    if (server == NULL)
        return;
    atomic_store(&server->ended, true);
    if (server->has_watcher) {
        if (server->has_signals)
            tc_dashboard_signals(-1);
        (void)!write(server->event_fd, &one, sizeof(one));
        pthread_join(server->watcher, NULL);
    }
    tc_server_close(server);
    dismiss(server);
    if (server->daemon != NULL)
        MHD_stop_daemon(server->daemon);
    if (server->is_unix && server->place[0] != '\0')
        (void)unlink(server->place);
    if (server->event_fd >= 0)
        close(server->event_fd);
    tc_message_unref(server->figures);
    tc_message_unref(server->metrics);
    pthread_cond_destroy(&server->moved);
    pthread_mutex_destroy(&server->mutex);
    free(server);
}
