/* Recurring events; see schedule.h. The row:
 *
 *   version 04, catch_up (1 byte), varint next tick in µs (0: never), then
 *   type key cron timezone payload        each: varint length, bytes */
#include "queue/schedule.h"

#include "base/assert.h"
#include "json/json.h"
#include "kv/retry.h"
#include "queue/cron_int.h"
#include "queue/hub_int.h"
#include "queue/value_int.h"

/* ---- checking ---- */

static ti_status check(const ti_schedule *s, ti_err *err)
{
    TI_TRY(ti_name_check(s->name, "schedule name", err));
    TI_TRY(ti_name_check(s->type, "event type", err));
    if (s->key.len == 0 || s->key.len > TI_ID_SIZE_MAX || !ti_slice_is_utf8(s->key))
        return ti_err_set(err, TI_INVALID_ARGUMENT, "a schedule needs a key of 1 to %d bytes",
                          TI_ID_SIZE_MAX);
    if (s->payload.len > TI_SCHEDULE_PAYLOAD_SIZE_MAX || s->cron.len > TI_NAME_SIZE_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED,
                          "the payload of a schedule can have %d bytes, its cron %d",
                          TI_SCHEDULE_PAYLOAD_SIZE_MAX, TI_NAME_SIZE_MAX);
    if (s->catch_up > TI_CATCH_UP_NONE)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "unknown catch_up %d", (int)s->catch_up);
    if (s->payload.len == 0)
        return TI_OK;
    ti_json_parser parser;
    ti_json_doc doc;
    ti_arena a;
    ti_json_parser_init(&parser);
    ti_arena_init(&a);
    ti_status status = ti_json_parse(&parser, &a, s->payload, &doc, err);
    ti_arena_free(&a);
    ti_json_parser_free(&parser);
    return status;
}

/* The times of a schedule. Zone to be freed after OK. */
static ti_status times_of(const ti_schedule *s, ti_cron *cron_out, ti_zone *zone_out, ti_err *err)
{
    TI_TRY(ti_cron_parse(s->cron, cron_out, err));
    return ti_zone_load(s->timezone, zone_out, err);
}

/* ---- rows ---- */

static ti_status key_of(const ti_queues *queues, ti_arena *a, ti_slice name, ti_slice *key_out,
                        ti_err *err)
{
    *key_out = ti_key_queue_schedule(queues->keyspace, a, name);
    return ti_key_check(*key_out, "queue key", err);
}

static ti_status put(ti_txn *txn, ti_slice key, const ti_schedule *s, ti_err *err)
{
    ti_buf value;
    ti_buf_init(&value, TI_SCHEDULE_PAYLOAD_SIZE_MAX + 4 * TI_KEY_SIZE_MAX);
    ti_status status = ti_schedule_seal(&value, key, s, err);
    if (status == TI_OK)
        status = ti_txn_put(txn, key, ti_buf_slice(&value), err);
    ti_buf_free(&value);
    return status;
}

/* NOT_FOUND without a text. */
static ti_status get(const ti_queues *queues, ti_txn *txn, ti_slice name, ti_slice *key_out,
                     ti_schedule *s_out, const ti_call *call, ti_err *err)
{
    ti_arena *a = ti_txn_arena(txn);
    ti_slice value;
    TI_TRY(key_of(queues, a, name, key_out, err));
    TI_TRY(ti_txn_get(txn, *key_out, a, &value, call, err));
    s_out->name = name;
    return ti_schedule_open(value, *key_out, s_out, err);
}

/* ---- setting ---- */

typedef struct set_job {
    ti_queues *queues;
    ti_schedule schedule;
    const ti_cron *cron;
    const ti_zone *zone;
} set_job;

/* Whether the tick has been published already, by the times that the schedule had before. */
static bool is_fired(const ti_schedule *old, int64_t tick_us)
{
    ti_cron cron;
    ti_zone zone;
    if (tick_us >= old->next_us || times_of(old, &cron, &zone, NULL) != TI_OK)
        return false;
    bool fired = ti_cron_next(&cron, &zone, tick_us - 1) == tick_us;
    ti_zone_free(&zone);
    return fired;
}

/* The first tick of other times than before. Those before old's next one, up to
 * TI_SCHEDULE_AHEAD_US from now, have been published. */
static ti_status first_tick(const set_job *job, const ti_schedule *old, int64_t *next_out,
                            const ti_call *call, ti_err *err)
{
    ti_ts now;
    TI_TRY(ti_kv_now(job->queues->kv, &now, call, err));
    const int64_t now_us = ti_ts_to_us(now);
    *next_out = ti_cron_next(job->cron, job->zone, now_us);
    if (old != NULL && *next_out <= now_us + TI_SCHEDULE_AHEAD_US && is_fired(old, *next_out))
        *next_out = ti_cron_next(job->cron, job->zone, *next_out);
    return TI_OK;
}

/* A ti_transact_fn. */
static ti_status set(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    set_job *job = context;
    ti_schedule old;
    ti_slice key;
    ti_status status = get(job->queues, txn, job->schedule.name, &key, &old, call, err);
    if (status != TI_OK && status != TI_NOT_FOUND)
        return status;
    bool known = status == TI_OK;
    if (known && ti_slice_equal(old.cron, job->schedule.cron) &&
        ti_slice_equal(old.timezone, job->schedule.timezone))
        job->schedule.next_us = old.next_us;
    else
        TI_TRY(first_tick(job, known ? &old : NULL, &job->schedule.next_us, call, err));
    return put(txn, key, &job->schedule, err);
}

ti_status ti_schedule_set(ti_queues *queues, const ti_schedule *schedule, const ti_call *call,
                          ti_err *err)
{
    ti_cron cron;
    ti_zone zone;
    TI_TRY(check(schedule, err));
    TI_TRY(times_of(schedule, &cron, &zone, err));
    set_job job = {.queues = queues, .schedule = *schedule, .cron = &cron, .zone = &zone};
    ti_status status = ti_kv_transact(queues->kv, NULL, NULL, set, &job, NULL, call, err);
    ti_zone_free(&zone);
    return status;
}

typedef struct name_job {
    ti_queues *queues;
    ti_slice name;
    uint32_t fired;
} name_job;

static ti_status not_found(ti_slice name, ti_err *err)
{
    return ti_err_set(err, TI_NOT_FOUND, "there is no schedule '%.*s'", (int)name.len, name.data);
}

/* A ti_transact_fn. */
static ti_status remove_row(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    const name_job *job = context;
    ti_slice value;
    ti_slice key;
    TI_TRY(key_of(job->queues, ti_txn_arena(txn), job->name, &key, err));
    ti_status status = ti_txn_get(txn, key, ti_txn_arena(txn), &value, call, err);
    if (status == TI_NOT_FOUND)
        return not_found(job->name, err);
    TI_TRY(status);
    return ti_txn_delete(txn, key, err);
}

ti_status ti_schedule_remove(ti_queues *queues, ti_slice name, const ti_call *call, ti_err *err)
{
    name_job job = {.queues = queues, .name = name};
    TI_TRY(ti_name_check(name, "schedule name", err));
    return ti_kv_transact(queues->kv, NULL, NULL, remove_row, &job, NULL, call, err);
}

/* ---- listing ---- */

static ti_status list(ti_queues *queues, ti_txn *txn, ti_arena *a, ti_schedule **schedules_out,
                      size_t *count_out, const ti_call *call, ti_err *err)
{
    ti_key_range range;
    ti_key_parts parts;
    ti_scan_page page;
    TI_TRY(ti_key_span(queues->keyspace, a, TI_SPAN_SCHEDULES, TI_SLICE_NONE, TI_SLICE_NONE, &range,
                       err));
    ti_scan scan = {.range = {.from = range.lo, .to = range.hi}, .items_max = TI_SCHEDULES_MAX};
    TI_TRY(ti_txn_scan(txn, &scan, a, &page, call, err));
    *schedules_out = ti_arena_alloc_zero(a, (page.count + 1) * sizeof(ti_schedule));
    if (*schedules_out == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < page.count; i++) {
        ti_schedule *s = &(*schedules_out)[*count_out];
        if (!ti_key_parse(queues->keyspace, page.pairs[i].key, &parts) ||
            parts.kind != TI_KEY_SCHEDULE)
            continue;
        s->name = parts.name;
        TI_TRY(ti_schedule_open(page.pairs[i].value, page.pairs[i].key, s, err));
        (*count_out)++;
    }
    return TI_OK;
}

ti_status ti_schedule_list(ti_queues *queues, ti_arena *a, ti_schedule **schedules_out,
                           size_t *count_out, const ti_call *call, ti_err *err)
{
    ti_txn *txn;
    *schedules_out = NULL;
    *count_out = 0;
    TI_TRY(ti_txn_begin(queues->kv, &(ti_txn_options){.read_only = true}, &txn, err));
    ti_status status = list(queues, txn, a, schedules_out, count_out, call, err);
    ti_txn_free(txn);
    return status;
}

/* ---- firing ---- */

static ti_status publish(const name_job *job, ti_txn *txn, const ti_schedule *s, int64_t tick_us,
                         const ti_call *call, ti_err *err)
{
    char *entity =
        ti_arena_format(ti_txn_arena(txn), "schedule:%.*s", (int)s->name.len, s->name.data);
    if (entity == NULL)
        return ti_err_no_memory(err);
    ti_event_spec spec = {.type = s->type,
                          .key = s->key,
                          .payload = s->payload,
                          .action = TI_SLICE("SCHEDULE"),
                          .entity = ti_slice_of(entity),
                          .entity_id = s->name,
                          .due_us = tick_us,
                          .json_checked = true};
    return ti_queue_publish(job->queues, txn, &spec, NULL, call, err);
}

/* Publishes the ticks from s->next_us to the horizon, and moves it on. */
static ti_status fire_ticks(name_job *job, ti_txn *txn, ti_schedule *s, const ti_cron *cron,
                            const ti_zone *zone, const ti_call *call, ti_err *err)
{
    ti_ts now;
    TI_TRY(ti_kv_now(job->queues->kv, &now, call, err));
    int64_t now_us = ti_ts_to_us(now);
    job->fired = 0;
    while (s->next_us <= now_us + TI_SCHEDULE_AHEAD_US && job->fired < TI_SCHEDULE_TICKS_MAX) {
        bool missed = s->next_us < now_us - TI_SCHEDULE_LATE_US;
        if (!missed || s->catch_up != TI_CATCH_UP_NONE) {
            TI_TRY(publish(job, txn, s, s->next_us, call, err));
            job->fired++;
        }
        if (missed && s->catch_up != TI_CATCH_UP_ALL) /* the others that were missed, too */
            s->next_us = now_us - TI_SCHEDULE_LATE_US - 1;
        s->next_us = ti_cron_next(cron, zone, s->next_us);
    }
    return TI_OK;
}

/* A ti_transact_fn. */
static ti_status fire(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    name_job *job = context;
    ti_schedule s;
    ti_cron cron;
    ti_zone zone;
    ti_slice key;
    ti_status status = get(job->queues, txn, job->name, &key, &s, call, err);
    if (status == TI_NOT_FOUND)
        return not_found(job->name, err);
    TI_TRY(status);
    TI_TRY(times_of(&s, &cron, &zone, err));
    int64_t before_us = s.next_us;
    status = fire_ticks(job, txn, &s, &cron, &zone, call, err);
    ti_zone_free(&zone);
    if (status == TI_OK && s.next_us != before_us)
        status = put(txn, key, &s, err);
    return status;
}

ti_status ti_schedule_fire(ti_queues *queues, ti_slice name, uint32_t *fired_out,
                           const ti_call *call, ti_err *err)
{
    name_job job = {.queues = queues, .name = name};
    TI_TRY(ti_name_check(name, "schedule name", err));
    ti_status status = ti_kv_transact(queues->kv, NULL, NULL, fire, &job, NULL, call, err);
    *fired_out = status == TI_OK ? job.fired : 0;
    return status;
}
