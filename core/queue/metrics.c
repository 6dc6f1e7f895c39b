/* How a type is now: counters, depth, lag, latencies; as JSON and as Prometheus text. */
#include <math.h>

#include "base/assert.h"
#include "queue/hub_int.h"

#define US_PER_SECOND 1e6

/* ---- latencies ---- */

typedef struct runs {
    uint64_t buckets[TI_RUN_BUCKETS];
    uint64_t count;
} runs;

static runs runs_of(ti_hub_type *type)
{
    runs r = {.count = 0};
    for (uint32_t i = 0; i < TI_RUN_BUCKETS; i++) {
        r.buckets[i] = atomic_load_explicit(&type->runs[i], memory_order_relaxed);
        r.count += r.buckets[i];
    }
    return r;
}

/* The bound below which that share of the runs was; 0 when there was none. */
static double quantile_us(const runs *r, double share)
{
    uint64_t wanted = (uint64_t)ceil((double)r->count * share);
    uint64_t seen = 0;
    for (uint32_t i = 0; i < TI_RUN_BUCKETS && r->count > 0; i++) {
        seen += r->buckets[i];
        if (seen >= wanted && seen > 0)
            return ti_run_bound_us(i);
    }
    return 0;
}

/* ---- the state of one type ---- */

static int64_t lag_us(uint64_t oldest_us, int64_t now_us)
{
    return oldest_us < (uint64_t)now_us ? now_us - (int64_t)oldest_us : 0;
}

ti_status ti_queue_state_of(ti_queues *queues, ti_slice name, ti_queue_state *s,
                            const ti_call *call, ti_err *err)
{
    ti_hub_type *type;
    ti_ts now;
    *s = (ti_queue_state){.paused = false};
    TI_TRY(ti_name_check(name, "event type", err));
    TI_TRY(ti_hub_type_of(queues->hub, name, &type, err));
    ti_queue_stats_of(queues, name, &s->stats);
    TI_TRY(ti_queue_is_paused(queues, name, &s->paused, call, err));
    TI_TRY(ti_queue_count(queues, name, TI_EVENT_PENDING, TI_DEPTH_MAX, &s->pending, call, err));
    TI_TRY(ti_queue_count(queues, name, TI_EVENT_PARKED, TI_DEPTH_MAX, &s->parked, call, err));
    TI_TRY(ti_queue_count(queues, name, TI_EVENT_FAILED, TI_DEPTH_MAX, &s->failed, call, err));
    TI_TRY(ti_kv_now(queues->kv, &now, call, err));
    s->lag_us = lag_us(ti_hub_oldest_us(queues->hub, type), ti_ts_to_us(now));
    runs r = runs_of(type);
    s->handler_p50_us = quantile_us(&r, 0.5);
    s->handler_p99_us = quantile_us(&r, 0.99);
    s->handler_max_us = quantile_us(&r, 1);
    return TI_OK;
}

static ti_status add_number(ti_buf *out, const char *name, uint64_t number, ti_err *err)
{
    return ti_buf_append_format(out, err, ",\"%s\":%llu", name, (unsigned long long)number);
}

static ti_status add_seconds(ti_buf *out, const char *name, double us, ti_err *err)
{
    return ti_buf_append_format(out, err, ",\"%s\":%.9f", name, us / US_PER_SECOND);
}

ti_status ti_queue_state_write(const ti_queue_state *s, ti_buf *out, ti_err *err)
{
    const struct {
        const char *name;
        uint64_t number;
    } numbers[] = {
        {"pending", s->pending},
        {"parked", s->parked},
        {"failed_stored", s->failed},
        {"published", s->stats.published},
        {"delivered", s->stats.delivered},
        {"acknowledged", s->stats.acknowledged},
        {"retried", s->stats.retried},
        {"failed", s->stats.failed},
        {"rescheduled", s->stats.rescheduled},
        {"advanced", s->stats.advanced},
        {"timed_out", s->stats.timed_out},
        {"conflicts", s->stats.conflicts},
        {"dropped", s->stats.dropped},
        {"lost", s->stats.lost},
        {"expired", s->stats.expired},
        {"leases_taken", s->stats.leases_taken},
        {"leases_given", s->stats.leases_given},
        {"leases_lost", s->stats.leases_lost},
        {"waiting", s->stats.waiting},
        {"parked_keys", s->stats.parked_keys},
    };
    TI_TRY(ti_buf_append_format(out, err, "{\"paused\":%s", s->paused ? "true" : "false"));
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        TI_TRY(add_number(out, numbers[i].name, numbers[i].number, err));
    TI_TRY(add_seconds(out, "lag", (double)s->lag_us, err));
    TI_TRY(add_seconds(out, "handler_p50", s->handler_p50_us, err));
    TI_TRY(add_seconds(out, "handler_p99", s->handler_p99_us, err));
    TI_TRY(add_seconds(out, "handler_max", s->handler_max_us, err));
    return ti_buf_append_byte(out, '}', err);
}

/* ---- Prometheus ---- */

typedef struct metric {
    const char *name;
    const char *help;
    ti_counter counter;
    bool gauge;
} metric;

static const metric metrics[] = {
    {"published_total", "Events committed by this process.", TI_COUNT_PUBLISHED, false},
    {"delivered_total", "Events given to handlers.", TI_COUNT_DELIVERED, false},
    {"acknowledged_total", "Acknowledgements committed.", TI_COUNT_ACKNOWLEDGED, false},
    {"retried_total", "Failures that are tried again.", TI_COUNT_RETRIED, false},
    {"failed_total", "Events given up.", TI_COUNT_FAILED, false},
    {"rescheduled_total", "Events put off by their handlers.", TI_COUNT_RESCHEDULED, false},
    {"advanced_total", "Steps of events.", TI_COUNT_ADVANCED, false},
    {"timed_out_total", "Handlers that had no time left.", TI_COUNT_TIMED_OUT, false},
    {"conflicts_total", "Runs thrown away by a conflict.", TI_COUNT_CONFLICTS, false},
    {"dropped_total", "Outcomes whose event was gone.", TI_COUNT_DROPPED, false},
    {"lost_total", "Outcomes whose partition was lost.", TI_COUNT_LOST, false},
    {"expired_total", "Completed events deleted.", TI_COUNT_EXPIRED, false},
    {"leases_taken_total", "Partitions taken.", TI_COUNT_LEASES_TAKEN, false},
    {"leases_given_total", "Partitions given back.", TI_COUNT_LEASES_GIVEN, false},
    {"leases_lost_total", "Partitions lost.", TI_COUNT_LEASES_LOST, false},
    {"waiting", "Events in the memory of workers.", TI_COUNT_WAITING, true},
    {"parked_keys", "Keys that are held back.", TI_COUNT_PARKED_KEYS, true},
};

/* A function of each type; the hub's mutex is held. */
typedef ti_status (*write_fn)(ti_hub *hub, ti_hub_type *type, const void *context, ti_buf *out,
                              ti_err *err);

static ti_status each_type(ti_hub *hub, write_fn write, const void *context, ti_buf *out,
                           ti_err *err)
{
    for (size_t i = 0; i < HUB_BUCKETS; i++) {
        for (ti_hub_type *type = hub->buckets[i]; type != NULL; type = type->next)
            TI_TRY(write(hub, type, context, out, err));
    }
    return TI_OK;
}

static ti_status write_head(const char *name, const char *help, const char *kind, ti_buf *out,
                            ti_err *err)
{
    return ti_buf_append_format(out, err, "# HELP tito_queue_%s %s\n# TYPE tito_queue_%s %s\n",
                                name, help, name, kind);
}

static ti_status write_counter(ti_hub *hub, ti_hub_type *type, const void *context, ti_buf *out,
                               ti_err *err)
{
    const metric *m = context;
    uint64_t n = atomic_load_explicit(&type->counters[m->counter], memory_order_relaxed);
    (void)hub;
    return ti_buf_append_format(out, err, "tito_queue_%s{type=\"%s\"} %llu\n", m->name, type->name,
                                (unsigned long long)n);
}

static ti_status write_runs(ti_hub *hub, ti_hub_type *type, const void *context, ti_buf *out,
                            ti_err *err)
{
    runs r = runs_of(type);
    uint64_t seen = 0;
    double sum_s = (double)atomic_load_explicit(&type->runs_ns, memory_order_relaxed) / 1e9;
    (void)hub;
    (void)context;
    for (uint32_t i = 0; i < TI_RUN_BUCKETS; i++) {
        seen += r.buckets[i];
        if (i % 4 == 0) /* a bound for each factor of four */
            TI_TRY(ti_buf_append_format(
                out, err, "tito_queue_handler_seconds_bucket{type=\"%s\",le=\"%.9g\"} %llu\n",
                type->name, ti_run_bound_us(i) / US_PER_SECOND, (unsigned long long)seen));
    }
    return ti_buf_append_format(out, err,
                                "tito_queue_handler_seconds_bucket{type=\"%s\",le=\"+Inf\"} %llu\n"
                                "tito_queue_handler_seconds_sum{type=\"%s\"} %.6f\n"
                                "tito_queue_handler_seconds_count{type=\"%s\"} %llu\n",
                                type->name, (unsigned long long)r.count, type->name, sum_s,
                                type->name, (unsigned long long)r.count);
}

static ti_status write_lag(ti_hub *hub, ti_hub_type *type, const void *context, ti_buf *out,
                           ti_err *err)
{
    const int64_t *now_us = context;
    uint64_t oldest = UINT64_MAX;
    (void)hub;
    for (const ti_listener *l = type->listeners; l != NULL; l = l->next) {
        uint64_t us = atomic_load(&l->oldest_us);
        oldest = us < oldest ? us : oldest;
    }
    TI_TRY(ti_buf_append_format(out, err, "tito_queue_lag_seconds{type=\"%s\"} %.6f\n", type->name,
                                (double)lag_us(oldest, *now_us) / US_PER_SECOND));
    return TI_OK;
}

static ti_status write_paused(ti_hub *hub, ti_hub_type *type, const void *context, ti_buf *out,
                              ti_err *err)
{
    (void)hub;
    (void)context;
    return ti_buf_append_format(out, err, "tito_queue_paused{type=\"%s\"} %d\n", type->name,
                                atomic_load(&type->paused));
}

static ti_status write_all(ti_hub *hub, int64_t now_us, ti_buf *out, ti_err *err)
{
    for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++) {
        const metric *m = &metrics[i];
        TI_TRY(write_head(m->name, m->help, m->gauge ? "gauge" : "counter", out, err));
        TI_TRY(each_type(hub, write_counter, m, out, err));
    }
    TI_TRY(write_head("lag_seconds", "How long the oldest due event waits.", "gauge", out, err));
    TI_TRY(each_type(hub, write_lag, &now_us, out, err));
    TI_TRY(write_head("paused", "Whether the type is paused.", "gauge", out, err));
    TI_TRY(each_type(hub, write_paused, NULL, out, err));
    TI_TRY(write_head("handler_seconds", "How long handlers took.", "histogram", out, err));
    return each_type(hub, write_runs, NULL, out, err);
}

ti_status ti_queues_metrics(ti_queues *queues, ti_buf *out, ti_err *err)
{
    int64_t now_us = ti_env_wall_us(queues->kv->env);
    ti_mutex_lock(&queues->hub->mutex);
    ti_status status = write_all(queues->hub, now_us, out, err);
    ti_mutex_unlock(&queues->hub->mutex);
    return status;
}
