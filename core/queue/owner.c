/* The ownership of a fixed range of partitions, with a leader gate. It never expires, so outcomes
 * have no fence: an event's own row is what keeps two workers of one range apart.
 *
 * Threads: any. */
#include <stdatomic.h>
#include <stddef.h>

#include "base/assert.h"
#include "base/mem.h"
#include "queue/worker_int.h"

typedef struct owner_fixed {
    ti_ownership base;
    uint32_t from;
    uint32_t to; /* 0 = no end */
    _Atomic(uint64_t) epoch;
    _Atomic(int) leader;
} owner_fixed;

_Static_assert(offsetof(owner_fixed, base) == 0, "an ownership comes first");

static uint64_t fixed_epoch(ti_ownership *o)
{
    return atomic_load(&((owner_fixed *)o)->epoch);
}

/* The epoch counts changes of leadership. */
static uint64_t fixed_holding(ti_ownership *o, ti_slice type, uint32_t partition)
{
    const owner_fixed *fixed = (const owner_fixed *)o;
    (void)type;
    uint64_t epoch = atomic_load(&((owner_fixed *)o)->epoch);
    bool ours = partition >= fixed->from && (fixed->to == 0 || partition < fixed->to);
    return ours && atomic_load(&((owner_fixed *)o)->leader) != 0 ? epoch : 0;
}

static ti_ts fixed_fence(ti_ownership *o, ti_slice type, uint32_t partition, uint64_t holding)
{
    (void)holding;
    (void)o;
    (void)type;
    (void)partition;
    return TI_TS_NONE;
}

static int64_t fixed_until_ns(ti_ownership *o)
{
    (void)o;
    return TI_NO_DEADLINE;
}

static void fixed_set_leader(ti_ownership *o, bool leader)
{
    owner_fixed *fixed = (owner_fixed *)o;
    if (atomic_exchange(&fixed->leader, leader ? 1 : 0) != (leader ? 1 : 0))
        atomic_fetch_add(&fixed->epoch, 1);
}

static void fixed_release(ti_ownership *o)
{
    ti_free(o);
}

static const ti_ownership_vt fixed_vt = {
    .version = 3,
    .epoch = fixed_epoch,
    .holding = fixed_holding,
    .fence = fixed_fence,
    .until_ns = fixed_until_ns,
    .set_leader = fixed_set_leader,
    .release = fixed_release,
};

ti_status ti_owner_fixed_new(uint32_t from, uint32_t to, bool leader, ti_ownership **out,
                             ti_err *err)
{
    owner_fixed *fixed = ti_alloc_zero(sizeof(*fixed));
    *out = NULL;
    if (fixed == NULL)
        return ti_err_no_memory(err);
    fixed->base.vt = &fixed_vt;
    fixed->from = from;
    fixed->to = to;
    atomic_init(&fixed->leader, leader ? 1 : 0);
    atomic_init(&fixed->epoch, 1);
    *out = &fixed->base;
    return TI_OK;
}
