/* The HTTP server of `tito worker`: /metrics (Prometheus text) and /healthz.
 *
 * INVARIANTS
 *  1. Small: one thread, CONNECTIONS_MAX connections, requests of at most MEMORY_MAX bytes with
 *     their answers' heads, TIMEOUT_S seconds without a byte.
 *  2. Strict: GET only, no bodies, one request a connection, two paths.
 *  3. It reads counters of this process; it does not ask the store.
 *
 * What is NOT here: the protocol (libmicrohttpd), the queues' counters (tito_db_metrics). */
#include "cli.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 32,
    MEMORY_MAX = 16384,
    TIMEOUT_S = 5,
    PLACE_MAX = 300,
    OWN_TEXT_MAX = 4096
};

struct tc_metrics {
    struct MHD_Daemon *daemon;
    tc_status *status;
};

/* ---- What is told ---- */

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static long resident_bytes(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*d %ld", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

/* The process's own counters; the length. */
static size_t own_text(tc_status *s, char *out)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    int len = snprintf(
        out, OWN_TEXT_MAX,
        "# HELP tito_worker_info The program and how it was started.\n"
        "# TYPE tito_worker_info gauge\n"
        "tito_worker_info{version=\"%s\",threads=\"%zu\",concurrency=\"%zu\"} 1\n"
        "# HELP tito_worker_running 1 while events are taken.\n"
        "# TYPE tito_worker_running gauge\n"
        "tito_worker_running %d\n"
        "# HELP tito_worker_draining 1 after the first signal to end.\n"
        "# TYPE tito_worker_draining gauge\n"
        "tito_worker_draining %d\n"
        "# HELP tito_worker_reloads_total Reloads of the app, by result.\n"
        "# TYPE tito_worker_reloads_total counter\n"
        "tito_worker_reloads_total{result=\"ok\"} %llu\n"
        "tito_worker_reloads_total{result=\"error\"} %llu\n"
        "# HELP process_start_time_seconds When the process began, since the epoch.\n"
        "# TYPE process_start_time_seconds gauge\n"
        "process_start_time_seconds %.3f\n"
        "# HELP process_cpu_seconds_total Time on processors.\n"
        "# TYPE process_cpu_seconds_total counter\n"
        "process_cpu_seconds_total %.6f\n"
        "# HELP process_resident_memory_bytes Memory in use.\n"
        "# TYPE process_resident_memory_bytes gauge\n"
        "process_resident_memory_bytes %ld\n",
        tito_version_string(), s->threads, s->concurrency, atomic_load(&s->running) ? 1 : 0,
        atomic_load(&s->draining) ? 1 : 0, atomic_load(&s->reloads),
        atomic_load(&s->reload_failures), (double)s->started_us / 1e6,
        seconds_of(used.ru_utime) + seconds_of(used.ru_stime), resident_bytes());
    return (size_t)len;
}

static struct MHD_Response *metrics_response(tc_status *s)
{
    tito_db_t *db = atomic_load(&s->db);
    tito_future_t *asked = db != NULL ? tito_db_metrics(db) : NULL;
    tito_slice queues = {.data = "", .len = 0};
    if (asked != NULL && tito_future_wait(asked, -1, NULL) == TITO_OK)
        queues = tito_future_bytes(asked);
    struct MHD_Response *response = NULL;
    char *text = malloc(OWN_TEXT_MAX + queues.len);
    if (text != NULL) {
        size_t len = own_text(s, text);
        memcpy(text + len, queues.data, queues.len);
        response = MHD_create_response_from_buffer(len + queues.len, text, MHD_RESPMEM_MUST_FREE);
        if (response == NULL)
            free(text);
    }
    tito_future_free(asked);
    return response;
}

static struct MHD_Response *text_response(const char *text)
{
    return MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text,
                                           MHD_RESPMEM_PERSISTENT);
}

/* ---- Requests ---- */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned code, const char *type,
                              struct MHD_Response *response)
{
    if (response == NULL)
        return MHD_NO; /* no memory: the connection is closed */
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET");
    enum MHD_Result queued = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return queued;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned code,
                                   const char *text)
{
    return answer(connection, code, "text/plain; charset=utf-8", text_response(text));
}

static bool has_body(struct MHD_Connection *connection)
{
    const char *length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return (length != NULL && strcmp(length, "0") != 0) ||
           MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
                                       MHD_HTTP_HEADER_TRANSFER_ENCODING) != NULL;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **request)
{
    tc_status *s = context;
    (void)version, (void)upload, (void)upload_size, (void)request;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0)
        return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET\n");
    if (has_body(connection))
        return answer_text(connection, MHD_HTTP_BAD_REQUEST, "no body is expected\n");
    if (strcmp(url, "/metrics") == 0)
        return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8",
                      metrics_response(s));
    if (strcmp(url, "/healthz") != 0)
        return answer_text(connection, MHD_HTTP_NOT_FOUND, "/metrics and /healthz are here\n");
    if (atomic_load(&s->draining))
        return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "draining\n");
    if (!atomic_load(&s->running))
        return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "starting\n");
    return answer_text(connection, MHD_HTTP_OK, "ok\n");
}

/* ---- Listening ---- */

tc_metrics *tc_metrics_start(const char *address, tc_status *status)
{
    char place[PLACE_MAX];
    tc_metrics *metrics = calloc(1, sizeof(*metrics));
    int fd = metrics != NULL ? tc_listen("--metrics", address, CONNECTIONS_MAX) : -1;
    if (fd < 0) {
        free(metrics);
        return NULL;
    }
    metrics->status = status;
    metrics->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO, 0, NULL, NULL, on_request, status,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)TIMEOUT_S, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (metrics->daemon == NULL) {
        tc_log(TC_ERROR, "--metrics %s: the server could not be started", address);
        close(fd);
        free(metrics);
        return NULL;
    }
    if (tc_place(fd, place, sizeof(place)))
        tc_log(TC_INFO, "metrics at http://%s/metrics", place);
    return metrics;
}

void tc_metrics_stop(tc_metrics *metrics)
{
    if (metrics == NULL)
        return;
    MHD_stop_daemon(metrics->daemon);
    free(metrics);
}
