/* Handles and timestamps; see kv.h and engine.h. */
#include "kv/kv.h"

#include <string.h>

#include "base/assert.h"
#include "base/limits.h"

ti_ts ti_ts_add_us(ti_ts ts, int64_t us)
{
    /* Down to whole milliseconds is enough: the physical part has no finer unit. */
    uint64_t ms = (uint64_t)(us < 0 ? -(us / 1000) : us / 1000);
    if (ms > (TI_TS_MAX >> TI_TS_LOGICAL_BITS))
        return us < 0 ? TI_TS_NONE : TI_TS_MAX;
    ti_ts delta = ms << TI_TS_LOGICAL_BITS;
    if (us < 0)
        return delta > ts ? TI_TS_NONE : ts - delta;
    return delta > TI_TS_MAX - ts ? TI_TS_MAX : ts + delta;
}

/* Copies the prefix, and behind it the first key after everything that begins with it: the prefix
 * with its last byte below 0xff raised and cut there. */
static ti_status copy_prefix(ti_kv *kv, ti_slice prefix, ti_err *err)
{
    if (prefix.len == 0) {
        kv->options.prefix = TI_SLICE_NONE;
        return TI_OK;
    }
    if (prefix.len > TI_KEY_SIZE_MAX)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "the key prefix is longer than %d bytes",
                          TI_KEY_SIZE_MAX);
    kv->prefix_bytes = ti_alloc(2 * prefix.len);
    if (kv->prefix_bytes == NULL)
        return ti_err_no_memory(err);
    memcpy(kv->prefix_bytes, prefix.data, prefix.len);
    kv->options.prefix = (ti_slice){.data = kv->prefix_bytes, .len = prefix.len};
    char *end = kv->prefix_bytes + prefix.len;
    memcpy(end, prefix.data, prefix.len);
    size_t len = prefix.len;
    while (len > 0 && (unsigned char)end[len - 1] == 0xff)
        len--;
    if (len > 0)
        end[len - 1] = (char)((unsigned char)end[len - 1] + 1);
    kv->prefix_end = (ti_slice){.data = end, .len = len};
    return TI_OK;
}

ti_status ti_kv_open(ti_kv *kv, ti_engine *engine, const ti_kv_options *options, ti_err *err)
{
    ti_assert(kv != NULL);
    ti_assert(engine != NULL);
    memset(kv, 0, sizeof(*kv));
    if (options != NULL)
        kv->options = *options;
    kv->engine = engine;
    kv->env = engine->env;
    if (kv->options.timeout_us <= 0)
        kv->options.timeout_us = TI_TIMEOUT_DEFAULT_S * INT64_C(1000000);
    if (kv->options.txn_age_us <= 0)
        kv->options.txn_age_us = TI_TXN_AGE_DEFAULT_S * INT64_C(1000000);
    ti_status status = copy_prefix(kv, kv->options.prefix, err);
    if (status == TI_OK && kv->options.txn_age_us > TI_TXN_AGE_MAX_S * INT64_C(1000000))
        status = ti_err_set(err, TI_INVALID_ARGUMENT,
                            "the age of a transaction can be at most %d seconds", TI_TXN_AGE_MAX_S);
    if (status != TI_OK)
        ti_kv_close(kv);
    return status;
}

void ti_kv_close(ti_kv *kv)
{
    ti_assert(kv != NULL);
    if (kv->engine != NULL)
        kv->engine->vt->unref(kv->engine);
    ti_free(kv->prefix_bytes);
    memset(kv, 0, sizeof(*kv));
}

ti_status ti_kv_now(ti_kv *kv, ti_ts *ts_out, const ti_call *call, ti_err *err)
{
    ti_assert(kv->engine != NULL);
    ti_assert(ts_out != NULL);
    return kv->engine->vt->now(kv->engine, ts_out, call, err);
}

ti_call ti_kv_call(const ti_kv *kv)
{
    return ti_call_within(kv->env, kv->options.timeout_us);
}

void ti_kv_require_key(const ti_kv *kv, ti_slice key)
{
    ti_require(ti_slice_has_prefix(key, kv->options.prefix));
}
