/* Fanning out. See fan.h. */
#include "tikv/fan.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define LOOK_AHEAD_KEYS_MIN 2
#define LOOKS_AHEAD_MAX 64
#define LOOK_AHEAD_RANGES_MAX 64

typedef struct round {
    ti_arena arena;
    size_t *order; /* indexes of the keys left */
    size_t order_count;
    ti_region **regions; /* of each of order; owned references until taken by a request */
    ti_request *requests;
    ti_fan_part *parts;
    size_t part_count;
} round;

/* Allocates the round's lists; everything is sized by the keys left. */
static ti_status round_init(round *r, const ti_fan *fan, const bool *left, ti_err *err)
{
    memset(r, 0, sizeof(*r));
    ti_arena_init(&r->arena);
    size_t n = 0;
    for (size_t i = 0; i < fan->count; i++)
        n += left[i];
    r->order = ti_arena_alloc(&r->arena, n * sizeof(*r->order));
    r->regions = ti_arena_alloc_zero(&r->arena, n * sizeof(*r->regions));
    if (r->order == NULL || r->regions == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < fan->count; i++) {
        if (left[i])
            r->order[r->order_count++] = i;
    }
    return TI_OK;
}

static void round_free(round *r)
{
    for (size_t i = 0; r->requests != NULL && i < r->part_count; i++)
        ti_request_free(&r->requests[i]);
    for (size_t i = 0; r->regions != NULL && i < r->order_count; i++)
        ti_region_unref(r->regions[i]);
    ti_arena_free(&r->arena);
}

static int compare_keys(const void *a, const void *b)
{
    return ti_slice_compare(*(const ti_slice *)a, *(const ti_slice *)b);
}

/* The keys from `from` on, ascending; NULL without memory. */
static ti_slice *sorted_keys(round *r, const ti_fan *fan, size_t from)
{
    bool sorted = true;
    size_t count = r->order_count - from;
    ti_slice *keys = ti_arena_alloc(&r->arena, count * sizeof(*keys));
    for (size_t i = 0; keys != NULL && i < count; i++) {
        keys[i] = fan->keys[r->order[from + i]];
        sorted = sorted && (i == 0 || ti_slice_compare(keys[i - 1], keys[i]) <= 0);
    }
    if (!sorted)
        qsort(keys, count, sizeof(*keys), compare_keys);
    return keys;
}

/* The first key after this one; NULL without memory. */
static ti_slice key_after(ti_slice key, ti_arena *a)
{
    char *bytes = ti_arena_alloc_zero(a, key.len + 1);
    if (bytes == NULL)
        return TI_SLICE_NONE;
    memcpy(bytes, key.data, key.len);
    return (ti_slice){.data = bytes, .len = key.len + 1};
}

/* Few keys are a range each; of many, neighbours share one. Answers how many ranges; 0 without
 * memory. */
static size_t make_ranges(round *r, const ti_fan *fan, size_t from, ti_range *ranges)
{
    size_t n = 0;
    size_t count = r->order_count - from;
    size_t groups = count < LOOK_AHEAD_RANGES_MAX ? count : LOOK_AHEAD_RANGES_MAX;
    const ti_slice *keys = sorted_keys(r, fan, from);
    for (size_t g = 0; keys != NULL && g < groups; g++) {
        ti_slice first = keys[g * count / groups];
        ti_slice to = key_after(keys[(g + 1) * count / groups - 1], &r->arena);
        if (to.data == NULL)
            return 0;
        if (n > 0 && ti_slice_compare(first, ranges[n - 1].to) < 0) /* the same key twice */
            ranges[n - 1].to = to;
        else
            ranges[n++] = (ti_range){.from = first, .to = to};
    }
    return n;
}

/* Where many keys are still to be located and this one's region is not cached: loads a batch of
 * regions by one request instead of each by its own. */
static void look_ahead(round *r, const ti_fan *fan, size_t from, const ti_call *call)
{
    ti_range ranges[LOOK_AHEAD_RANGES_MAX];
    if (r->order_count - from < LOOK_AHEAD_KEYS_MIN ||
        ti_regions_knows(fan->cluster->regions, fan->keys[r->order[from]]))
        return;
    size_t count = make_ranges(r, fan, from, ranges);
    if (count > 0)
        ti_regions_preload(fan->cluster->regions, ranges, count, call);
}

/* The region of each key; consecutive keys of one region share a lookup. */
static ti_status locate_all(round *r, const ti_fan *fan, ti_backoff *backoff, ti_err *err)
{
    size_t looks_left = LOOKS_AHEAD_MAX;
    for (size_t i = 0; i < r->order_count; i++) {
        ti_slice key = fan->keys[r->order[i]];
        if (i > 0 && atomic_load(&r->regions[i - 1]->valid) &&
            ti_region_holds(r->regions[i - 1], key, false)) {
            r->regions[i] = ti_region_ref(r->regions[i - 1]);
            continue;
        }
        if (looks_left > 0 && i > 0) { /* the second region: there may be many */
            looks_left--;
            look_ahead(r, fan, i, backoff->call);
        }
        TI_TRY(ti_regions_locate(fan->cluster->regions, key, false, backoff, &r->regions[i], err));
    }
    return TI_OK;
}

typedef struct placed {
    size_t index;
    ti_region *region;
} placed;

/* By region, then by index: keys keep their order inside a region. */
static int compare_placed(const void *a, const void *b)
{
    const placed *p = a;
    const placed *q = b;
    if (p->region->id != q->region->id)
        return p->region->id < q->region->id ? -1 : 1;
    return p->index < q->index ? -1 : p->index > q->index;
}

/* Whether the keys of each region are together already: sorted keys, the usual case. */
static bool is_gathered(const round *r)
{
    for (size_t i = 1; i < r->order_count; i++) {
        const ti_region *before = r->regions[i - 1];
        const ti_region *here = r->regions[i];
        if (before->id != here->id && ti_slice_compare(before->start, here->start) >= 0)
            return false;
    }
    return true;
}

/* Brings the keys of one region together. */
static ti_status gather(round *r, ti_err *err)
{
    placed *list = ti_arena_alloc(&r->arena, r->order_count * sizeof(*list));
    if (list == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < r->order_count; i++)
        list[i] = (placed){.index = r->order[i], .region = r->regions[i]};
    qsort(list, r->order_count, sizeof(*list), compare_placed);
    for (size_t i = 0; i < r->order_count; i++) {
        r->order[i] = list[i].index;
        r->regions[i] = list[i].region;
    }
    return TI_OK;
}

static size_t key_size(const ti_fan *fan, size_t index)
{
    return fan->size_of != NULL ? fan->size_of(fan->context, index) : fan->keys[index].len;
}

/* How many of order, from `from` on, go into one request. */
static size_t part_length(const round *r, const ti_fan *fan, size_t from)
{
    size_t size = 0;
    size_t n = 0;
    while (from + n < r->order_count && r->regions[from + n]->id == r->regions[from]->id) {
        if (n > 0 && ((fan->keys_max > 0 && n == fan->keys_max) ||
                      (fan->size_max > 0 && size >= fan->size_max)))
            break;
        size += key_size(fan, r->order[from + n]);
        n++;
    }
    return n;
}

/* How many of order, from `from` on, are of its region. */
static size_t region_length(const round *r, size_t from)
{
    size_t to = from;
    while (to < r->order_count && r->regions[to]->id == r->regions[from]->id)
        to++;
    return to - from;
}

static ti_status make_parts(round *r, const ti_fan *fan, bool again, ti_err *err)
{
    r->parts = ti_arena_alloc_zero(&r->arena, r->order_count * sizeof(*r->parts));
    r->requests = ti_arena_alloc_zero(&r->arena, r->order_count * sizeof(*r->requests));
    if (r->parts == NULL || r->requests == NULL)
        return ti_err_no_memory(err);
    size_t region_keys = 0;
    for (size_t from = 0; from < r->order_count;) {
        size_t n = part_length(r, fan, from);
        if (from == 0 || r->regions[from]->id != r->regions[from - 1]->id)
            region_keys = region_length(r, from);
        ti_fan_part *part = &r->parts[r->part_count];
        *part = (ti_fan_part){.indexes = &r->order[from],
                              .count = n,
                              .again = again,
                              .whole = n == fan->count,
                              .region_keys = region_keys,
                              .region = r->regions[from]};
        ti_request *request = &r->requests[r->part_count++];
        request->region = ti_region_ref(r->regions[from]);
        request->kind = fan->kind;
        request->timeout_us = fan->timeout_us;
        ti_context c;
        ti_context_fill(&c, request->region, again);
        request->body = fan->build(fan->context, part, &c, &r->arena);
        if (request->body.data == NULL)
            return ti_err_no_memory(err);
        from += n;
    }
    return TI_OK;
}

/* Hands the answers to the fan. */
static ti_status take_answers(round *r, ti_fan *fan, bool *left, ti_err *err)
{
    ti_status status = TI_OK;
    for (size_t i = 0; i < r->part_count; i++) {
        ti_request *request = &r->requests[i];
        if (request->lost && fan->lost != NULL)
            fan->lost(fan->context, &r->parts[i]);
        if (request->verdict != TI_VERDICT_ANSWERED)
            continue;
        for (size_t k = 0; k < r->parts[i].count; k++)
            left[r->parts[i].indexes[k]] = false;
        ti_err first;
        ti_status taken = fan->take(fan->context, &r->parts[i], request->response, left, &first);
        if (taken != TI_OK && status == TI_OK) {
            status = taken;
            if (err != NULL)
                *err = first;
        }
    }
    return status;
}

static bool any_left(const bool *left, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (left[i])
            return true;
    }
    return false;
}

static ti_status run_round(ti_fan *fan, bool *left, bool again, ti_backoff *backoff, ti_err *err)
{
    round r;
    ti_status status = round_init(&r, fan, left, err);
    if (status == TI_OK)
        status = locate_all(&r, fan, backoff, err);
    if (status == TI_OK && !is_gathered(&r))
        status = gather(&r, err);
    if (status == TI_OK)
        status = make_parts(&r, fan, again, err);
    if (status == TI_OK) {
        ti_err sent_err;
        ti_err_clear(&sent_err);
        ti_status sent = ti_send_round(fan->cluster, r.requests, r.part_count, backoff, &sent_err);
        status =
            take_answers(&r, fan, left, err); /* what came counts, also when the round failed */
        if (status == TI_OK)
            status = ti_round_failure(r.requests, r.part_count, err);
        if (status == TI_OK && sent != TI_OK && any_left(left, fan->count)) {
            status = sent; /* with nothing left the last answers came just in time */
            if (err != NULL)
                *err = sent_err;
        }
    }
    round_free(&r);
    return status;
}

ti_status ti_fan_run(ti_fan *fan, ti_backoff *backoff, ti_err *err)
{
    ti_assert(fan->count > 0);
    bool *left = ti_alloc(fan->count * sizeof(*left));
    if (left == NULL)
        return ti_err_no_memory(err);
    memset(left, true, fan->count * sizeof(*left));
    ti_status status = TI_OK;
    for (bool again = false; status == TI_OK && any_left(left, fan->count); again = true) {
        status = run_round(fan, left, again, backoff, err);
        if (status == TI_OK && fan->settle != NULL)
            status = fan->settle(fan->context, backoff, err);
    }
    ti_free(left);
    return status;
}

typedef struct single {
    ti_key_build build;
    void *context;
    ti_arena *arena;
    ti_slice response;
} single;

static ti_slice build_single(void *context, const ti_fan_part *part, ti_context *c, ti_arena *a)
{
    single *s = context;
    (void)part;
    return s->build(s->context, c, a);
}

static ti_status take_single(void *context, const ti_fan_part *part, ti_slice response, bool *left,
                             ti_err *err)
{
    single *s = context;
    (void)part;
    (void)left;
    s->response = ti_arena_copy(s->arena, response);
    return s->response.data == NULL ? ti_err_no_memory(err) : TI_OK;
}

ti_status ti_send_to_key(ti_cluster *c, ti_command_id kind, ti_slice key, ti_key_build build,
                         void *context, ti_arena *a, ti_slice *response_out, ti_backoff *backoff,
                         ti_err *err)
{
    single s = {.build = build, .context = context, .arena = a, .response = TI_SLICE_NONE};
    ti_fan fan = {.cluster = c,
                  .kind = kind,
                  .keys = &key,
                  .count = 1,
                  .context = &s,
                  .build = build_single,
                  .take = take_single};
    TI_TRY(ti_fan_run(&fan, backoff, err));
    *response_out = s.response;
    return TI_OK;
}
