/* The counters of all event types that this process has met, as one JSON object. */
#include "base/assert.h"
#include "queue/hub_int.h"

static const char *const counter_names[TI_COUNTERS] = {
    [TI_COUNT_PUBLISHED] = "published",
    [TI_COUNT_DELIVERED] = "delivered",
    [TI_COUNT_ACKNOWLEDGED] = "acknowledged",
    [TI_COUNT_RETRIED] = "retried",
    [TI_COUNT_FAILED] = "failed",
    [TI_COUNT_RESCHEDULED] = "rescheduled",
    [TI_COUNT_ADVANCED] = "advanced",
    [TI_COUNT_TIMED_OUT] = "timed_out",
    [TI_COUNT_CONFLICTS] = "conflicts",
    [TI_COUNT_DROPPED] = "dropped",
    [TI_COUNT_PARKED] = "parked",
    [TI_COUNT_LOST] = "lost",
    [TI_COUNT_EXPIRED] = "expired",
    [TI_COUNT_LEASES_TAKEN] = "leases_taken",
    [TI_COUNT_LEASES_GIVEN] = "leases_given",
    [TI_COUNT_LEASES_LOST] = "leases_lost",
    [TI_COUNT_WAITING] = "waiting",
    [TI_COUNT_PARKED_KEYS] = "parked_keys",
};

/* Appends `"type":{"published":1,…}`. Names of types need no escapes. */
static ti_status add_type(ti_hub_type *type, bool first, ti_buf *out, ti_err *err)
{
    TI_TRY(ti_buf_append_format(out, err, "%s\"%s\":{\"partitions\":%u", first ? "" : ",",
                                type->name, type->meta.partitions));
    for (size_t i = 0; i < TI_COUNTERS; i++) {
        uint64_t count = atomic_load_explicit(&type->counters[i], memory_order_relaxed);
        ti_assert(counter_names[i] != NULL);
        TI_TRY(ti_buf_append_format(out, err, ",\"%s\":%llu", counter_names[i],
                                    (unsigned long long)count));
    }
    return ti_buf_append_byte(out, '}', err);
}

/* All types. The hub's mutex is held. */
static ti_status add_types(ti_hub *hub, ti_buf *out, ti_err *err)
{
    bool first = true;
    for (size_t i = 0; i < HUB_BUCKETS; i++)
        for (ti_hub_type *type = hub->buckets[i]; type != NULL; type = type->next) {
            TI_TRY(add_type(type, first, out, err));
            first = false;
        }
    return TI_OK;
}

ti_status ti_queues_stats(ti_queues *queues, ti_buf *out, ti_err *err)
{
    TI_TRY(ti_buf_append_byte(out, '{', err));
    ti_mutex_lock(&queues->hub->mutex);
    ti_status status = add_types(queues->hub, out, err);
    ti_mutex_unlock(&queues->hub->mutex);
    TI_TRY(status);
    return ti_buf_append_byte(out, '}', err);
}
