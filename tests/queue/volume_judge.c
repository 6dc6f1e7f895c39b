/* The checker of a run: from its plan, its log and what is left in the store. See volume.h.
 *
 * The order of effects and the strict look at the log are checker.h's; it knows of no event whose
 * publication is uncertain, so it gets the certain ones alone, numbered anew, key by key. */
#include "queue/volume.h"

#include "queue/checker.h"

#define FENCE_MARGIN_US 100000
#define CLOCK_SLACK_US 50000
#define PROCESSES_MAX 4096

typedef enum fate { NEVER, MAYBE, CERTAIN } fate;

typedef struct one_run {
    uint64_t run;
    uint64_t number;
    size_t started; /* places in the log */
    size_t ended;   /* SIZE_MAX: it did not */
    uint32_t kind;  /* of its end */
} one_run;

typedef struct stop {
    uint32_t process;
    size_t from;
    size_t to;
    int64_t us;
} stop;

typedef struct judge {
    const volume_plan *plan;
    const volume_record *log;
    size_t count;
    const volume_left *left;
    unsigned char *fates;    /* per number */
    uint32_t *effects;       /* per number: how many */
    uint64_t *certain_names; /* per number: its number among the certain ones; 0 = none */
    one_run *runs;           /* by run */
    size_t run_count;
    stop *stops;
    size_t stop_count;
    volume_verdict *out;
} judge;

static void blame(judge *j, const char *what, uint64_t number)
{
    if (j->out->what != NULL)
        return;
    j->out->what = what;
    j->out->number = number;
}

/* ---- reading the log ---- */

static int by_run(const void *a, const void *b)
{
    const one_run *x = a;
    const one_run *y = b;
    return x->run < y->run ? -1 : x->run > y->run;
}

static one_run *find_run(const judge *j, uint64_t run)
{
    one_run wanted = {.run = run};
    return bsearch(&wanted, j->runs, j->run_count, sizeof(wanted), by_run);
}

static void read_fate(judge *j, const volume_record *r)
{
    for (uint64_t i = r->number; i <= r->last; i++) {
        uint64_t n = volume_number(j->plan, r->key, i);
        if (n > j->plan->numbers)
            blame(j, "a number was published that is none", n);
        else if (r->kind == VOLUME_PUBLISHED)
            j->fates[n] = CERTAIN;
        else if (j->fates[n] != NEVER)
            blame(j, "a number was published twice", n);
        else
            j->fates[n] = MAYBE;
    }
}

static void read_stop(judge *j, size_t at)
{
    const volume_record *r = &j->log[at];
    if (r->kind == VOLUME_STOPPED) {
        j->stops[j->stop_count++] =
            (stop){.process = r->process, .from = at, .to = SIZE_MAX, .us = r->real_us};
        return;
    }
    for (size_t i = j->stop_count; i-- > 0;) {
        if (j->stops[i].process == r->process && j->stops[i].to == SIZE_MAX) {
            j->stops[i].to = at;
            j->stops[i].us = r->real_us - j->stops[i].us;
            return;
        }
    }
}

static void read_start(judge *j, size_t at)
{
    const volume_record *r = &j->log[at];
    j->runs[j->run_count++] =
        (one_run){.run = r->run, .number = r->number, .started = at, .ended = SIZE_MAX, .kind = 0};
    if (r->number == 0 || r->number > j->plan->numbers || j->fates[r->number] == NEVER)
        blame(j, "an event ran that was never published", r->number);
    else if (r->key != volume_key_of(j->plan, r->number))
        blame(j, "an event ran under another key", r->number);
    if (volume_has_due(j->plan, r->key) != (r->due_us != 0))
        blame(j, "an event came with another due time", r->number);
    if (r->due_us == 0)
        return;
    if (r->db_us != 0 && r->db_us < r->due_us)
        blame(j, "an event ran before it was due", r->number);
    /* the embedded engine's clock may be ahead of the machine's after it was killed */
    if (j->plan->pd_count > 0 && r->real_us + CLOCK_SLACK_US < r->due_us)
        blame(j, "an event ran before it was due, by the machine's clock", r->number);
}

static void read_log(judge *j)
{
    for (size_t i = 0; i < j->count; i++) {
        const volume_record *r = &j->log[i];
        if (r->kind == VOLUME_PUBLISHING || r->kind == VOLUME_PUBLISHED)
            read_fate(j, r);
        else if (r->kind == VOLUME_START)
            read_start(j, i);
        else if (r->kind == VOLUME_STOPPED || r->kind == VOLUME_GOES_ON)
            read_stop(j, i);
    }
    qsort(j->runs, j->run_count, sizeof(*j->runs), by_run);
    for (size_t i = 1; i < j->run_count; i++) {
        if (j->runs[i].run == j->runs[i - 1].run)
            blame(j, "two runs have one name", j->runs[i].number);
    }
    for (size_t i = 0; i < j->count; i++) {
        const volume_record *r = &j->log[i];
        if (r->kind != VOLUME_DONE && r->kind != VOLUME_FAIL)
            continue;
        one_run *run = find_run(j, r->run);
        if (run == NULL || run->number != r->number || run->started > i || run->ended != SIZE_MAX) {
            blame(j, "a run ended that had not begun", r->number);
            continue;
        }
        run->ended = i;
        run->kind = r->kind;
    }
}

/* ---- processes that ended well ---- */

static void look_at_drained(judge *j)
{
    static bool drained[PROCESSES_MAX];
    memset(drained, 0, sizeof(drained));
    for (size_t i = 0; i < j->count; i++) {
        const volume_record *r = &j->log[i];
        if (r->process >= PROCESSES_MAX) {
            blame(j, "a process has a number too high", r->process);
            return;
        }
        if (drained[r->process] && (r->kind == VOLUME_START || r->kind == VOLUME_DRAINED))
            blame(j, "a process handled an event after it had drained", r->process);
        drained[r->process] = drained[r->process] || r->kind == VOLUME_DRAINED;
    }
    for (size_t i = 0; i < j->run_count; i++) {
        if (j->runs[i].ended == SIZE_MAX && drained[j->runs[i].run >> 32])
            blame(j, "a process drained with a run open", j->runs[i].number);
    }
}

/* ---- effects ---- */

/* Whether the run was in hand while its process stood still for longer than the lease, and was not
 * done before. */
static bool is_fenced(const judge *j, const one_run *run)
{
    for (size_t i = 0; i < j->stop_count && j->plan->lease_us > 0; i++) {
        const stop *s = &j->stops[i];
        if (s->to != SIZE_MAX && s->process == run->run >> 32 && run->started < s->from &&
            run->ended > s->to && s->us > j->plan->lease_us + FENCE_MARGIN_US)
            return true;
    }
    return false;
}

/* Whether the process was neither killed nor stopped between two places of the log. */
static bool was_well(const judge *j, uint32_t process, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        const volume_record *r = &j->log[i];
        if (r->process == process && (r->kind == VOLUME_KILLED || r->kind == VOLUME_STOPPED))
            return false;
    }
    return true;
}

/* Whether another process, and a lively one, had begun with the event when this run said that it
 * is done. (A process whose lease has ended may have the partition again, under a new lease: then
 * nobody else has begun.) */
static bool is_taken_over(const judge *j, const one_run *run)
{
    if (!is_fenced(j, run))
        return false;
    for (size_t i = 0; i < j->run_count; i++) {
        const one_run *other = &j->runs[i];
        uint32_t process = (uint32_t)(other->run >> 32);
        if (other->number == run->number && process != run->run >> 32 &&
            other->started > run->started && other->started < run->ended &&
            was_well(j, process, other->started, run->ended))
            return true;
    }
    return false;
}

static void look_at_effects(judge *j)
{
    for (size_t i = 0; i < j->left->effect_count; i++) {
        const volume_effect *e = &j->left->effects[i];
        if (e->number == 0 || e->number > j->plan->numbers || j->fates[e->number] == NEVER) {
            blame(j, "an effect of an event that was never published", e->number);
            continue;
        }
        const one_run *run = find_run(j, e->run);
        j->effects[e->number]++;
        if (run == NULL || run->number != e->number)
            blame(j, "an effect of a run that never began", e->number);
        else if (run->ended == SIZE_MAX || run->kind != VOLUME_DONE)
            blame(j, "an effect of a run that was not done", e->number);
        else if (is_taken_over(j, run))
            blame(j, "an effect of a run whose lease had ended", e->number);
    }
    for (size_t i = 0; i < j->run_count; i++)
        j->out->fenced += is_fenced(j, &j->runs[i]);
}

/* What checker.h does not see: numbers whose publication is uncertain, and bad ones. */
static void look_at_numbers(judge *j, bool drained)
{
    for (uint64_t n = 1; n <= j->plan->numbers; n++) {
        uint32_t ways = j->effects[n] + j->left->failed[n] + j->left->stored[n];
        bool never = j->fates[n] == NEVER;
        if (ways > (never ? 0u : 1u))
            blame(j,
                  never ? "the store has an event that was never published"
                        : "an event ended more than once",
                  n);
        if (j->left->failed[n] && !volume_is_bad(j->plan, n))
            blame(j, "an event was given up that was not bad", n);
        if (j->effects[n] > 0 && volume_is_bad(j->plan, n))
            blame(j, "a bad event has an effect", n);
        if (drained && j->left->stored[n])
            blame(j, "the queue is drained and not empty", n);
        j->out->certain += j->fates[n] == CERTAIN;
        j->out->effective += j->effects[n];
        j->out->given_up += j->left->failed[n];
    }
}

/* ---- what checker.h looks at ---- */

typedef struct certain {
    uint64_t max;
    uint32_t *key_of;
    bool *given_up;
    bool *stored;
} certain;

/* The numbers of a key get neighbouring names, in their order. */
static void number_anew(judge *j, certain *c)
{
    uint64_t *next = calloc((size_t)j->plan->keys + 1, sizeof(*next));
    c->key_of = calloc(j->plan->numbers + 1, sizeof(uint32_t));
    c->given_up = calloc(j->plan->numbers + 1, sizeof(bool));
    c->stored = calloc(j->plan->numbers + 1, sizeof(bool));
    for (uint64_t n = 1; n <= j->plan->numbers; n++)
        next[volume_key_of(j->plan, n) + 1] += j->fates[n] == CERTAIN;
    for (uint32_t key = 0; key < j->plan->keys; key++)
        next[key + 1] += next[key];
    c->max = next[j->plan->keys];
    for (uint64_t n = 1; n <= j->plan->numbers; n++) {
        if (j->fates[n] != CERTAIN)
            continue;
        uint32_t key = volume_key_of(j->plan, n);
        uint64_t name = ++next[key];
        j->certain_names[n] = name;
        c->key_of[name] = key;
        c->given_up[name] = j->left->failed[n];
        c->stored[name] = j->left->stored[n];
    }
    free(next);
}

static uint64_t old_name(const judge *j, uint64_t name)
{
    for (uint64_t n = 1; n <= j->plan->numbers; n++) {
        if (j->certain_names[n] == name && name != 0)
            return n;
    }
    return 0;
}

static void check_chains_of(judge *j, const certain *c)
{
    const volume_left *left = j->left;
    uint64_t number = 0;
    uint64_t *numbers = calloc(left->effect_count + 1, sizeof(*numbers));
    const uint64_t **chains = calloc(j->plan->keys, sizeof(*chains));
    size_t *lengths = calloc(j->plan->keys, sizeof(*lengths));
    size_t at = 0;
    size_t n = 0;
    for (uint32_t key = 0; key < j->plan->keys; key++) {
        chains[key] = numbers + n;
        for (; at < left->effect_count && left->effects[at].key == key; at++) {
            uint64_t name = left->effects[at].number;
            name = name <= j->plan->numbers ? j->certain_names[name] : 0;
            numbers[n] = name;
            n += name != 0;
            lengths[key] += name != 0;
        }
    }
    check_chains run = {.chains = chains,
                        .lengths = lengths,
                        .key_count = j->plan->keys,
                        .number_max = c->max,
                        .key_of = c->key_of,
                        .given_up = c->given_up,
                        .stored = c->stored};
    const char *what = check_effects(&run, &number);
    if (what != NULL)
        blame(j, what, old_name(j, number));
    free(numbers);
    free(chains);
    free(lengths);
}

/* Ends the runs of a dead process: their events come again. */
static size_t end_runs_of(const judge *j, uint32_t process, size_t at, check_entry *entries)
{
    size_t n = 0;
    one_run first = {.run = (uint64_t)process << 32};
    size_t i = 0;
    for (size_t below = j->run_count; i < below;) {
        size_t middle = i + (below - i) / 2;
        if (by_run(&j->runs[middle], &first) < 0)
            i = middle + 1;
        else
            below = middle;
    }
    for (; i < j->run_count && j->runs[i].run >> 32 == process; i++) {
        const one_run *run = &j->runs[i];
        uint64_t name = j->certain_names[run->number];
        if (run->started < at && run->ended == SIZE_MAX && name != 0)
            entries[n++] = (check_entry){
                .number = name, .key = volume_key_of(j->plan, run->number), .kind = CHECK_AGAIN};
    }
    return n;
}

static void check_log_of(judge *j, const certain *c)
{
    uint64_t number = 0;
    size_t n = 0;
    check_entry *entries = calloc(j->count + j->run_count + 1, sizeof(*entries));
    for (size_t i = 0; i < j->count; i++) {
        const volume_record *r = &j->log[i];
        if (r->kind == VOLUME_KILLED)
            n += end_runs_of(j, r->process, i, entries + n);
        if (r->kind != VOLUME_START && r->kind != VOLUME_DONE && r->kind != VOLUME_FAIL)
            continue;
        check_kind kind = r->kind == VOLUME_START  ? CHECK_START
                          : r->kind == VOLUME_DONE ? CHECK_OWN
                                                   : CHECK_FAIL;
        uint64_t name = j->certain_names[r->number];
        if (name != 0)
            entries[n++] = (check_entry){.number = name, .key = r->key, .kind = kind};
    }
    check_run run = {.entries = entries,
                     .entry_count = n,
                     .number_max = c->max,
                     .key_of = c->key_of,
                     .given_up = c->given_up,
                     .stored = c->stored,
                     .key_count = j->plan->keys};
    const char *what = check(&run, &number);
    if (what != NULL)
        blame(j, what, old_name(j, number));
    free(entries);
}

void volume_judge(const volume_plan *plan, const volume_record *log, size_t count,
                  const volume_left *left, bool drained, volume_verdict *out)
{
    judge j = {.plan = plan, .log = log, .count = count, .left = left, .out = out};
    certain c = {.max = 0};
    memset(out, 0, sizeof(*out));
    j.fates = calloc(plan->numbers + 1, 1);
    j.effects = calloc(plan->numbers + 1, sizeof(*j.effects));
    j.certain_names = calloc(plan->numbers + 1, sizeof(*j.certain_names));
    j.runs = calloc(count + 1, sizeof(*j.runs));
    j.stops = calloc(count + 1, sizeof(*j.stops));
    read_log(&j);
    out->runs = j.run_count;
    look_at_drained(&j);
    if (out->what == NULL) {
        look_at_effects(&j);
        look_at_numbers(&j, drained);
    }
    if (out->what == NULL) {
        number_anew(&j, &c);
        check_chains_of(&j, &c);
        if (plan->lease_us == 0)
            check_log_of(&j, &c);
    }
    free(c.key_of);
    free(c.given_up);
    free(c.stored);
    free(j.fates);
    free(j.effects);
    free(j.certain_names);
    free(j.runs);
    free(j.stops);
}
