/* The database of a run, and what is left in it. See volume.h. */
#include "queue/volume.h"

#include <inttypes.h>

#define LEFT_AGE_US INT64_C(600000000)

static void open_engine(qdb *d, const char *dir, const volume_plan *plan)
{
    if (plan->pd_count > 0) {
        cluster c = {.pd_count = plan->pd_count};
        for (size_t i = 0; i < plan->pd_count; i++)
            memcpy(c.pd[i], plan->pd[i], sizeof(c.pd[i]));
        d->engine = cluster_open(&c);
        return;
    }
    char path[VOLUME_PATH_SIZE];
    ti_rocks_options options = {.durability = TI_DURABILITY_BUFFERED, .open_wait_us = 10000000};
    volume_path(dir, "db", path);
    OK(d, ti_rocks_open(path, &options, d->env, &d->engine, &d->call, &d->err));
}

void volume_db_open(qdb *d, const char *dir, const volume_plan *plan)
{
    memset(d, 0, sizeof(*d));
    d->env = ti_env_real();
    d->call = ti_call_within(d->env, TI_NO_DEADLINE);
    open_engine(d, dir, plan);
    ti_store_options options = {.env = d->env, .name_space = S(plan->space)};
    OK(d, ti_store_new(&options, &d->store, &d->err));
    const ti_keyspace *keyspace = ti_store_keyspace(d->store);
    ti_kv_options kv = {.prefix = {.data = keyspace->prefix, .len = keyspace->prefix_len},
                        .timeout_us = 60000000,
                        .txn_age_us = 60000000,
                        .describe = ti_store_describe_key,
                        .describe_context = d->store};
    OK(d, ti_kv_open(&d->kv, d->engine, &kv, &d->err));
    OK(d, ti_store_open(d->store, &d->kv, &d->call, &d->err));
    OK(d, ti_queues_open(d->store, NULL, &d->queues, &d->err));
    ti_arena_init(&d->a);
    declare(d, VOLUME_TYPE, plan->partitions, 0, TI_ORDERING_KEY);
}

bool volume_db_is_empty(qdb *d)
{
    return count_of(d, VOLUME_TYPE, TI_EVENT_PENDING) == 0 &&
           count_of(d, VOLUME_TYPE, TI_EVENT_PARKED) == 0;
}

/* ---- what is left ---- */

static void mark(qdb *d, const volume_plan *plan, ti_event_state state, bool *marks)
{
    ti_event_filter filter = {.type = S(VOLUME_TYPE), .state = state, .limit = 1000};
    do {
        ti_event_list list;
        ti_arena a;
        ti_arena_init(&a);
        OK(d, ti_queue_list(d->queues, &filter, &a, &list, &d->call, &d->err));
        for (size_t i = 0; i < list.count; i++) {
            uint64_t n = strtoull(list.items[i].payload.data + strlen("{\"n\":"), NULL, 10);
            if (n == 0 || n > plan->numbers || marks[n])
                fail_msg("the store has number %" PRIu64 " twice, or never published", n);
            marks[n] = true;
        }
        char *cursor = NULL;
        free((char *)(uintptr_t)filter.cursor.data);
        if (list.cursor.len > 0) {
            cursor = malloc(list.cursor.len);
            assert_non_null(cursor);
            memcpy(cursor, list.cursor.data, list.cursor.len);
        }
        filter.cursor = (ti_slice){.data = cursor, .len = list.cursor.len};
        ti_arena_free(&a);
    } while (filter.cursor.len > 0);
}

/* The effects of a chain: `number.process.count,` each. */
static void read_chain(const char *at, const char *end, uint32_t key, volume_left *out,
                       size_t *size)
{
    while (at < end) {
        char *next;
        volume_effect e = {.key = key};
        e.number = strtoull(at, &next, 10);
        assert_true(*next == '.');
        e.run = strtoull(next + 1, &next, 10) << 32;
        assert_true(*next == '.');
        e.run |= strtoull(next + 1, &next, 10);
        assert_true(*next == ',');
        at = next + 1;
        if (out->effect_count == *size) {
            *size = *size * 2 + 1024;
            out->effects = realloc(out->effects, *size * sizeof(e));
            assert_non_null(out->effects);
        }
        out->effects[out->effect_count++] = e;
    }
}

static void read_effects(qdb *d, const volume_plan *plan, volume_left *out)
{
    ti_txn *txn;
    size_t size = 0;
    OK(d, ti_txn_begin(&d->kv, &(ti_txn_options){.age_us_max = LEFT_AGE_US}, &txn, &d->err));
    for (uint32_t key = 0; key < plan->keys; key++) {
        char name[32];
        ti_slice chain;
        ti_arena a;
        ti_arena_init(&a);
        snprintf(name, sizeof(name), "k%u", key);
        ti_slice row = ti_key_record(ti_store_keyspace(d->store), &a, S("chains"), S(name));
        ti_status status = ti_txn_get(txn, row, &a, &chain, &d->call, &d->err);
        if (status == TI_OK)
            read_chain(chain.data, chain.data + chain.len, key, out, &size);
        else if (status != TI_NOT_FOUND)
            fail_msg("a chain can not be read: %s", d->err.message);
        ti_arena_free(&a);
    }
    ti_txn_free(txn);
}

void volume_left_read(qdb *d, const volume_plan *plan, volume_left *out)
{
    memset(out, 0, sizeof(*out));
    out->failed = calloc(plan->numbers + 1, sizeof(bool));
    out->stored = calloc(plan->numbers + 1, sizeof(bool));
    assert_true(out->failed != NULL && out->stored != NULL);
    mark(d, plan, TI_EVENT_FAILED, out->failed);
    mark(d, plan, TI_EVENT_PENDING, out->stored);
    mark(d, plan, TI_EVENT_PARKED, out->stored);
    read_effects(d, plan, out);
}

void volume_left_free(volume_left *left)
{
    free(left->effects);
    free(left->failed);
    free(left->stored);
}
