/* One client. See client.h. */
#include "histories/client.h"

#include "base/assert.h"

#include <errno.h>
#include <inttypes.h>

#define CALL_US 60000000
/* Some can not wait: what has happened to their transaction nobody may ever tell them. */
#define HURRIED_ONE_IN 6
#define HURRIED_US_MIN 2000
#define HURRIED_DOUBLED_MAX 8 /* times */
/* Two such pairs are too much for 1PC and for async commit. */
#define PAD_KEY_LEN 2100
#define PAD_VALUE_LEN 9000
#define HELD_UP_NS 150000000 /* a transaction that takes longer is held up by something */
#define GROUP_TRIES 12

void hist_client_open(hist_client *c, ti_engine *engine, const hist_load *load, hist_shared *shared,
                      uint32_t number, uint32_t seat, int log)
{
    ti_kv_options options = {.prefix = ti_slice_of(shared->prefix), .timeout_us = CALL_US};
    memset(c, 0, sizeof(*c));
    c->load = load;
    c->shared = shared;
    c->number = number;
    c->seat = seat;
    c->log = log;
    c->random = (test_random){.state = shared->seed ^ ((uint64_t)number << 32)};
    ti_arena_init(&c->arena);
    ti_buf_init(&c->ops, HIST_LINE_SIZE);
    ti_status status = ti_kv_open(&c->kv, engine, &options, &c->err);
    ti_require(status == TI_OK);
}

void hist_client_close(hist_client *c)
{
    ti_kv_close(&c->kv);
    ti_buf_free(&c->ops);
    ti_arena_free(&c->arena);
}

/* One write: lines of several threads do not mix, and survive the process. */
static void log_line(hist_client *c, const char *data, size_t len)
{
    ssize_t written = write(c->log, data, len);
    ti_require(written == (ssize_t)len);
}

static void note(hist_client *c, char kind, const char *key, const char *value)
{
    ti_status status = ti_buf_append_format(&c->ops, &c->err, " %c:%s:%s", kind, key, value);
    ti_require(status == TI_OK);
}

static ti_slice full_key(hist_client *c, const char *key)
{
    char *full = ti_arena_format(&c->arena, "%s%s", c->shared->prefix, key);
    ti_require(full != NULL);
    return ti_slice_of(full);
}

uint64_t hist_fresh_value(hist_client *c)
{
    return atomic_fetch_add(&c->shared->values, 1) + 1;
}

static bool is_held_up(const hist_shared *shared, int group, int64_t now_ns)
{
    for (size_t i = 0; i < HIST_SEATS; i++) {
        int64_t begun_ns = atomic_load(&shared->seats[i].begun_ns);
        if (begun_ns != 0 && now_ns - begun_ns > HELD_UP_NS &&
            atomic_load(&shared->seats[i].group) == group)
            return true;
    }
    return false;
}

static void take_seat(hist_client *c)
{
    for (int i = 0; i < GROUP_TRIES; i++) {
        c->group = (int)test_random_below(&c->random, HIST_GROUPS);
        if (!is_held_up(c->shared, c->group, c->begun_ns))
            break;
    }
    atomic_store(&c->shared->seats[c->seat].group, c->group);
    atomic_store(&c->shared->seats[c->seat].begun_ns, c->begun_ns);
}

static int64_t patience_us(hist_client *c)
{
    if (!test_random_one_in(&c->random, HURRIED_ONE_IN) || c->patient)
        return CALL_US;
    return HURRIED_US_MIN << test_random_below(&c->random, HURRIED_DOUBLED_MAX);
}

void hist_begin(hist_client *c)
{
    ti_arena_reset(&c->arena);
    ti_buf_clear(&c->ops);
    ti_err_clear(&c->err);
    c->wrote = false;
    c->id = atomic_fetch_add(&c->shared->transactions, 1) + 1;
    c->call = ti_call_within(ti_env_real(), patience_us(c));
    c->begun_ns = ti_env_mono_ns(ti_env_real());
    take_seat(c);
    ti_status status = ti_txn_begin(&c->kv, NULL, &c->txn, &c->err);
    ti_require(status == TI_OK);
}

/* The bytes as text. Only texts are stored. */
static const char *text_of(hist_client *c, ti_slice value)
{
    ti_slice copy = ti_arena_copy(&c->arena, value);
    ti_require(copy.data != NULL);
    return copy.data;
}

static ti_status read_one(hist_client *c, const char *key, bool locked, const char **value_out)
{
    ti_slice value = TI_SLICE_NONE;
    ti_slice full = full_key(c, key);
    *value_out = "";
    ti_status status =
        locked ? ti_txn_get_locked(c->txn, full, -1, &c->arena, &value, &c->call, &c->err)
               : ti_txn_get(c->txn, full, &c->arena, &value, &c->call, &c->err);
    if (status == TI_OK)
        *value_out = text_of(c, value);
    return status == TI_NOT_FOUND ? TI_OK : status;
}

ti_status hist_get(hist_client *c, const char *key, const char **value_out)
{
    TI_TRY(read_one(c, key, false, value_out));
    note(c, 'r', key, *value_out);
    return TI_OK;
}

ti_status hist_get_locked(hist_client *c, const char *key, const char **value_out)
{
    TI_TRY(read_one(c, key, true, value_out));
    note(c, 'l', key, *value_out);
    return TI_OK;
}

ti_status hist_batch_get(hist_client *c, const char (*keys)[HIST_KEY_SIZE], size_t count,
                         const char **values_out)
{
    ti_slice *full = ti_arena_alloc(&c->arena, count * sizeof(*full));
    ti_slice *values = ti_arena_alloc_zero(&c->arena, count * sizeof(*values));
    ti_require(full != NULL && values != NULL);
    for (size_t i = 0; i < count; i++)
        full[i] = full_key(c, keys[i]);
    TI_TRY(ti_txn_batch_get(c->txn, full, count, &c->arena, values, &c->call, &c->err));
    for (size_t i = 0; i < count; i++) {
        values_out[i] = values[i].data == NULL ? "" : text_of(c, values[i]);
        note(c, 'r', keys[i], values_out[i]);
    }
    return TI_OK;
}

ti_status hist_scan(hist_client *c, const char *from, const char *to, bool reverse)
{
    size_t prefix = strlen(c->shared->prefix);
    ti_scan scan = {.range = {.from = full_key(c, from), .to = full_key(c, to)},
                    .reverse = reverse,
                    .items_max = 7};
    for (bool more = true; more;) {
        ti_scan_page page;
        TI_TRY(ti_txn_scan(c->txn, &scan, &c->arena, &page, &c->call, &c->err));
        for (size_t i = 0; i < page.count; i++)
            note(c, 'r', text_of(c, page.pairs[i].key) + prefix, text_of(c, page.pairs[i].value));
        more = page.more && page.count > 0;
        if (!more)
            break;
        ti_slice last = page.pairs[page.count - 1].key;
        if (reverse)
            scan.range.to = last;
        else /* the NUL behind a copy belongs to the next key */
            scan.range.from =
                (ti_slice){.data = ti_arena_copy(&c->arena, last).data, .len = last.len + 1};
    }
    return TI_OK;
}

static ti_status write_one(hist_client *c, const char *key, const char *value)
{
    c->wrote = true;
    return ti_txn_put(c->txn, full_key(c, key), ti_slice_of(value), &c->err);
}

ti_status hist_put(hist_client *c, const char *key, const char *value)
{
    note(c, 'w', key, value);
    return write_one(c, key, value);
}

ti_status hist_add(hist_client *c, const char *key, uint64_t value, bool locked,
                   const char **list_out)
{
    const char *before = "";
    char number[24];
    if (locked)
        TI_TRY(hist_get_locked(c, key, &before));
    else
        TI_TRY(read_one(c, key, false, &before));
    *list_out = before;
    snprintf(number, sizeof(number), "%" PRIu64, value);
    note(c, 'a', key, number);
    char *after =
        ti_arena_format(&c->arena, "%s%s%s", before, before[0] != '\0' ? "," : "", number);
    ti_require(after != NULL);
    return write_one(c, key, after);
}

/* The line of what is about to end. */
static void log_try(hist_client *c)
{
    char head[128];
    int len = snprintf(head, sizeof(head), "T %" PRIu64 " %u %" PRId64 " %" PRIu64, c->id,
                       c->number, c->begun_ns, (uint64_t)ti_txn_start_ts_if_any(c->txn));
    ti_slice ops = ti_buf_slice(&c->ops);
    char *line = ti_arena_format(&c->arena, "%.*s%.*s\n", len, head, (int)ops.len,
                                 ops.data != NULL ? ops.data : "");
    ti_require(line != NULL);
    log_line(c, line, strlen(line));
}

static void log_end(hist_client *c, ti_status status, ti_ts commit_ts)
{
    char line[768];
    int len = snprintf(line, sizeof(line), "E %" PRIu64 " %" PRId64 " %s %" PRIu64, c->id,
                       ti_env_mono_ns(ti_env_real()), ti_status_name(status), (uint64_t)commit_ts);
    if (status != TI_OK)
        len += snprintf(line + len, sizeof(line) - (size_t)len, " %s", c->err.message);
    if ((size_t)len > sizeof(line) - 2)
        len = (int)sizeof(line) - 2;
    line[len++] = '\n';
    log_line(c, line, (size_t)len);
}

/* Keys of this client alone, which no history tells of. */
static ti_status pad(hist_client *c)
{
    char *value = ti_arena_alloc_zero(&c->arena, PAD_VALUE_LEN + 1);
    ti_require(value != NULL);
    memset(value, 'x', PAD_VALUE_LEN);
    for (int i = 0; i < 2; i++)
        TI_TRY(write_one(c, ti_arena_format(&c->arena, "pad/%u/%0*d", c->seat, PAD_KEY_LEN, i),
                         value));
    return TI_OK;
}

ti_status hist_finish(hist_client *c, ti_status status)
{
    ti_ts commit_ts = TI_TS_NONE;
    log_try(c);
    if (status == TI_OK && c->wrote && c->shared->padded)
        status = pad(c);
    if (status == TI_OK)
        status = ti_txn_commit(c->txn, &commit_ts, &c->call, &c->err);
    log_end(c, status, commit_ts);
    ti_txn_free(c->txn);
    c->txn = NULL;
    atomic_store(&c->shared->seats[c->seat].begun_ns, 0);
    if (status == TI_OK)
        atomic_fetch_add(&c->shared->committed, 1);
    else if (status == TI_OUTCOME_UNKNOWN)
        atomic_fetch_add(&c->shared->unknown, 1);
    else
        atomic_fetch_add(&c->shared->failed, 1);
    return status;
}
