/* Fanning out. See fan.h. */
#include "tikv/fan.h"

#include <string.h>

#include "base/assert.h"

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

/* The region of each key; consecutive keys of one region share a lookup. */
static ti_status locate_all(round *r, const ti_fan *fan, ti_backoff *backoff, ti_err *err)
{
    for (size_t i = 0; i < r->order_count; i++) {
        ti_slice key = fan->keys[r->order[i]];
        if (i > 0 && atomic_load(&r->regions[i - 1]->valid) &&
            ti_region_holds(r->regions[i - 1], key, false))
            r->regions[i] = ti_region_ref(r->regions[i - 1]);
        else
            TI_TRY(
                ti_regions_locate(fan->cluster->regions, key, false, backoff, &r->regions[i], err));
    }
    return TI_OK;
}

static bool order_before(const round *r, size_t a, size_t b)
{
    if (r->regions[a]->id != r->regions[b]->id)
        return r->regions[a]->id < r->regions[b]->id;
    return r->order[a] < r->order[b];
}

/* Brings the keys of one region together, unless they are already (the usual case: sorted keys). */
static void gather(round *r)
{
    for (size_t i = 1; i < r->order_count; i++) {
        for (size_t k = i; k > 0 && order_before(r, k, k - 1); k--) {
            size_t order = r->order[k];
            ti_region *region = r->regions[k];
            r->order[k] = r->order[k - 1];
            r->regions[k] = r->regions[k - 1];
            r->order[k - 1] = order;
            r->regions[k - 1] = region;
        }
    }
}

static bool is_gathered(const round *r)
{
    for (size_t i = 2; i < r->order_count; i++) {
        for (size_t k = 0; r->regions[i]->id != r->regions[i - 1]->id && k < i; k++) {
            if (r->regions[k]->id == r->regions[i]->id)
                return false;
        }
    }
    return true;
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

static size_t region_length(const round *r, size_t from)
{
    size_t n = 0;
    for (size_t i = 0; i < r->order_count; i++)
        n += r->regions[i]->id == r->regions[from]->id;
    return n;
}

static ti_status make_parts(round *r, const ti_fan *fan, bool again, ti_err *err)
{
    r->parts = ti_arena_alloc_zero(&r->arena, r->order_count * sizeof(*r->parts));
    r->requests = ti_arena_alloc_zero(&r->arena, r->order_count * sizeof(*r->requests));
    if (r->parts == NULL || r->requests == NULL)
        return ti_err_no_memory(err);
    for (size_t from = 0; from < r->order_count;) {
        size_t n = part_length(r, fan, from);
        ti_fan_part *part = &r->parts[r->part_count];
        *part = (ti_fan_part){.indexes = &r->order[from],
                              .count = n,
                              .again = again,
                              .whole = n == fan->count,
                              .region_keys = region_length(r, from),
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

static ti_status run_round(ti_fan *fan, bool *left, bool again, ti_backoff *backoff, ti_err *err)
{
    round r;
    ti_status status = round_init(&r, fan, left, err);
    if (status == TI_OK)
        status = locate_all(&r, fan, backoff, err);
    if (status == TI_OK && !is_gathered(&r))
        gather(&r);
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
        if (status == TI_OK && sent != TI_OK) {
            status = sent;
            if (err != NULL)
                *err = sent_err;
        }
    }
    round_free(&r);
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
