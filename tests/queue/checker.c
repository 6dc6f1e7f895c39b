/* See checker.h. */
#include "queue/checker.h"

#include <stdlib.h>

typedef struct key_state {
    uint64_t running; /* number with a handler; 0 = none */
    uint64_t open;    /* started, not done: comes again */
    uint64_t last;    /* highest number that was started */
    bool own;         /* open is done, unless it comes again */
} key_state;

typedef struct judge {
    const check_run *run;
    key_state *keys;
    unsigned char *done;   /* per number: how often */
    unsigned char *failed; /* per number: its last run failed */
} judge;

/* The lowest number of the key that lies between and is not finished; 0 = none. */
static uint64_t skipped(const judge *j, uint32_t key, uint64_t after, uint64_t before)
{
    for (uint64_t n = after + 1; n < before; n++) {
        if (j->run->key_of[n] == key)
            return n;
    }
    return 0;
}

static const char *start(judge *j, const check_entry *e, uint64_t *number_out)
{
    key_state *k = &j->keys[e->key];
    *number_out = e->number;
    if (k->running != 0)
        return "two runs of one key overlap";
    if (k->own && k->open == e->number)
        j->done[e->number]--;
    else if (k->own)
        k->open = 0;
    k->own = false;
    if (j->done[e->number] != 0)
        return "an acknowledged event ran again";
    k->running = e->number;
    if (e->number == k->open)
        return NULL;
    if (k->open != 0 && !(j->failed[k->open] && j->run->given_up[k->open])) {
        *number_out = k->open;
        return "an event was overtaken within its key";
    }
    if (e->number < k->last)
        return "an event ran after a later one of its key";
    uint64_t between = skipped(j, e->key, k->last, e->number);
    if (between != 0) {
        *number_out = between;
        return "an event was passed over within its key";
    }
    k->last = e->number;
    k->open = e->number;
    return NULL;
}

static const char *end(judge *j, const check_entry *e, uint64_t *number_out)
{
    key_state *k = &j->keys[e->key];
    *number_out = e->number;
    if (k->running != e->number)
        return "a run ended that had not begun";
    k->running = 0;
    j->failed[e->number] = e->kind == CHECK_FAIL;
    if (e->kind == CHECK_DONE || e->kind == CHECK_OWN)
        j->done[e->number]++;
    k->own = e->kind == CHECK_OWN;
    if (e->kind == CHECK_DONE)
        k->open = 0;
    return NULL;
}

static const char *whole(const judge *j, uint64_t *number_out)
{
    for (uint64_t n = 1; n <= j->run->number_max; n++) {
        int ways = (j->done[n] != 0) + j->run->given_up[n] + j->run->stored[n];
        *number_out = n;
        if (ways == 0)
            return "an event was lost";
        if (ways > 1 || j->done[n] > 1)
            return "an event ended more than once";
    }
    return NULL;
}

const char *check(const check_run *run, uint64_t *number_out)
{
    judge j = {.run = run};
    const char *what = NULL;
    j.keys = calloc(run->key_count, sizeof(*j.keys));
    j.done = calloc(run->number_max + 1, 1);
    j.failed = calloc(run->number_max + 1, 1);
    for (size_t i = 0; i < run->entry_count && what == NULL; i++) {
        const check_entry *e = &run->entries[i];
        what = e->kind == CHECK_START ? start(&j, e, number_out) : end(&j, e, number_out);
    }
    if (what == NULL)
        what = whole(&j, number_out);
    free(j.keys);
    free(j.done);
    free(j.failed);
    return what;
}

/* One chain; marks what it has. */
static const char *look_at_chain(const check_chains *run, uint32_t key, bool *seen,
                                 uint64_t *number_out)
{
    uint64_t last = 0;
    for (size_t i = 0; i < run->lengths[key]; i++) {
        uint64_t n = run->chains[key][i];
        *number_out = n;
        if (n == 0 || n > run->number_max)
            return "an effect of an event that was never published";
        if (run->key_of[n] != key)
            return "an effect in the chain of another key";
        if (seen[n])
            return "an effect came twice";
        if (n < last)
            return "an effect came after a later one of its key";
        if (run->stored[n] || run->given_up[n])
            return "an effect of an event that is not done";
        seen[n] = true;
        last = n;
    }
    return NULL;
}

const char *check_effects(const check_chains *run, uint64_t *number_out)
{
    bool *seen = calloc(run->number_max + 1, sizeof(bool));
    const char *what = NULL;
    for (uint32_t key = 0; key < run->key_count && what == NULL; key++)
        what = look_at_chain(run, key, seen, number_out);
    for (uint64_t n = 1; n <= run->number_max && what == NULL; n++) {
        *number_out = n;
        if (!seen[n] && !run->stored[n] && !run->given_up[n])
            what = "an event has no effect";
    }
    free(seen);
    return what;
}
