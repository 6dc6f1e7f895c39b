/* Deaths. See killed_deaths.h. */
#include "tikv/killed_deaths.h"

#include "base/fault.h"

#include <signal.h>
#include <sys/wait.h>

#define LONG_PAD 2100 /* two such keys are too much for async commit */
#define DIE_WITHIN_MS 30000
#define MISSED 3 /* a child's exit status: the point was not hit */

#define LOCK_TTL_MS 3000
#define PESSIMISTIC_TTL_MS 20000
#define BEAT_MS 8000

static uint64_t leaders[DEATH_KEYS]; /* the store that leads each region */

const death deaths_short[] = {
    {"1PC: nothing is sent", "tikv_before_prewrite", .mode = DEATH_ONE_PC},
    {"1PC: it is applied", "tikv_prewritten", .mode = DEATH_ONE_PC, .find = FIND_ALL},

    {"async: nothing is sent", "tikv_before_prewrite", .mode = DEATH_ASYNC},
    {"async: a secondary is not prewritten", "tikv_prewrite_answered", .mode = DEATH_ASYNC,
     .blocked = "Prewrite", .blocked_region = 2, .unread = true},
    {"async: the primary is not prewritten", "tikv_prewrite_answered", .mode = DEATH_ASYNC,
     .blocked = "Prewrite", .blocked_region = 0, .unread = true},
    {"async: all is prewritten", "tikv_prewritten", .mode = DEATH_ASYNC, .find = FIND_ALL,
     .unread = true},
    {"async: before the keys are committed", "tikv_before_secondaries", .mode = DEATH_ASYNC,
     .find = FIND_ALL, .unread = true},
    {"async: the primary is committed", "tikv_secondary_committed", .mode = DEATH_ASYNC,
     .find = FIND_ALL},
    {"async: in the middle of the secondaries", "tikv_secondary_committed", .hit = 2,
     .mode = DEATH_ASYNC, .find = FIND_ALL, .blocked = "Commit", .blocked_region = 2},

    {"2PC: nothing is sent", "tikv_before_prewrite", .mode = DEATH_TWO_PHASE},
    {"2PC: some secondaries are prewritten", "tikv_prewrite_answered", .hit = 2,
     .mode = DEATH_TWO_PHASE, .blocked = "Prewrite", .blocked_region = 2},
    {"2PC: the primary is not prewritten", "tikv_prewrite_answered", .mode = DEATH_TWO_PHASE,
     .blocked = "Prewrite", .blocked_region = 0, .unread = true},
    {"2PC: all is prewritten", "tikv_prewritten", .mode = DEATH_TWO_PHASE},
    {"2PC: before the primary's commit", "tikv_before_commit", .mode = DEATH_TWO_PHASE},
    {"2PC: the primary is committed", "tikv_primary_committed", .mode = DEATH_TWO_PHASE,
     .find = FIND_ALL},
    {"2PC: before the secondaries", "tikv_before_secondaries", .mode = DEATH_TWO_PHASE,
     .find = FIND_ALL},
    {"2PC: in the middle of the secondaries", "tikv_secondary_committed", .mode = DEATH_TWO_PHASE,
     .find = FIND_ALL, .blocked = "Commit", .blocked_region = 2},

    {"async: before it is rolled back", "tikv_before_roll_back", .mode = DEATH_ASYNC,
     .refused = true, .unread = true},
    {"async: the primary is rolled back", "tikv_rolled_back", .mode = DEATH_ASYNC, .refused = true},
    {"2PC: before it is rolled back", "tikv_before_roll_back", .mode = DEATH_TWO_PHASE,
     .refused = true},
    {"2PC: the primary is rolled back", "tikv_rolled_back", .mode = DEATH_TWO_PHASE,
     .refused = true},
    {"2PC: in the middle of rolling back", "tikv_rolled_back", .hit = 2, .mode = DEATH_TWO_PHASE,
     .refused = true, .blocked = "BatchRollback", .blocked_region = 2},
};
const size_t deaths_short_count = sizeof(deaths_short) / sizeof(deaths_short[0]);

const death deaths_long[] = {
    {"locks: the primary is locked", "tikv_primary_locked", .mode = DEATH_PESSIMISTIC},
    {"locks: all are locked", "tikv_locked", .mode = DEATH_PESSIMISTIC},
    {"locks: nothing is prewritten", "tikv_before_prewrite", .mode = DEATH_PESSIMISTIC},
    {"locks: a secondary is not prewritten", "tikv_prewrite_answered", .mode = DEATH_PESSIMISTIC,
     .blocked = "Prewrite", .blocked_region = 2, .unread = true},
    {"locks: all is prewritten", "tikv_prewritten", .mode = DEATH_PESSIMISTIC, .find = FIND_ALL,
     .unread = true},
    {"locks: the heart has beaten", "tikv_beaten", .mode = DEATH_PESSIMISTIC},
};
const size_t deaths_long_count = sizeof(deaths_long) / sizeof(deaths_long[0]);

int64_t death_ttl_ms(const death *d)
{
    if (d->mode != DEATH_PESSIMISTIC)
        return LOCK_TTL_MS;
    return PESSIMISTIC_TTL_MS; /* also after a beat: it counts from there */
}

void deaths_begin(cluster *c)
{
    uint64_t stores[DEATH_KEYS];
    static const char *const inside[DEATH_KEYS] = {"61", "6e", "75"}; /* a, n, u */
    cluster_start_mock(c, &(cluster_options){0});
    cluster_at_key(c, "split", TI_SLICE("m"));
    cluster_at_key(c, "split", TI_SLICE("t"));
    assert_int_equal(cluster_stores(c, stores, DEATH_KEYS), DEATH_KEYS);
    for (int i = 0; i < DEATH_KEYS; i++) {
        cluster_do(c, "/leader?key=%s&store=%d", inside[i], (int)stores[i]);
        leaders[i] = stores[i];
    }
}

uint64_t death_leader(int region)
{
    return leaders[region];
}

/* The number of the death in the lists. */
static int number_of(const death *d)
{
    if (d >= deaths_short && d < deaths_short + deaths_short_count)
        return (int)(d - deaths_short);
    return (int)(deaths_short_count + (size_t)(d - deaths_long));
}

void death_key(const death *d, char tag, int region, char out[DEATH_KEY_SIZE])
{
    static const char letters[] = "anu";
    snprintf(out, DEATH_KEY_SIZE, "%c/%c%02d/%d", d->mode == DEATH_ONE_PC ? 'a' : letters[region],
             tag, number_of(d), region);
}

/* ---- In the child ---- */

static ti_mutation put(ti_arena *a, const char *key, size_t pad, const char *value)
{
    char *bytes = ti_arena_alloc_zero(a, strlen(key) + pad + 1);
    ti_require(bytes != NULL);
    memcpy(bytes, key, strlen(key));
    memset(bytes + strlen(key), 'x', pad);
    return (ti_mutation){.key = {.data = bytes, .len = strlen(key) + pad},
                         .value = ti_slice_of(value),
                         .kind = TI_MUTATION_PUT};
}

/* Locks the keys, and waits for a beat of the heart where that is the point. */
static void lock_all(tk *t, const death *d, ti_ts start_ts, const ti_mutation *list, size_t count,
                     ti_locks **locks_out)
{
    ti_slice keys[DEATH_KEYS];
    ti_locked got[DEATH_KEYS];
    ti_call call = tk_call(TK_CALL_US);
    for (size_t i = 0; i < count; i++)
        keys[i] = list[i].key;
    ti_lock_request request = {.start_ts = start_ts, .keys = keys, .count = count, .wait_us = -1};
    ti_status status = t->vt->lock(t->e, locks_out, &request, &t->a, got, &call, &t->err);
    ti_require(status == TI_OK);
    if (strcmp(d->point, "tikv_beaten") == 0)
        usleep(DIE_WITHIN_MS * 1000);
}

static size_t list_mutations(const death *d, char tag, ti_arena *a, ti_mutation *list)
{
    char key[DEATH_KEY_SIZE];
    size_t count = 0;
    for (int i = 0; i < DEATH_KEYS; i++) {
        death_key(d, tag, i, key);
        list[count++] = put(a, key, 0, "new");
        if (d->mode == DEATH_TWO_PHASE && i > 0)
            list[count++] = put(a, key, LONG_PAD, "new");
    }
    return count;
}

/* Commits and dies of it; ends with MISSED when it lives. */
static void live(const cluster *c, const death *d, char tag)
{
    tk t;
    ti_mutation list[2 * DEATH_KEYS];
    ti_locks *locks = NULL;
    ti_fault fault = {
        .name = d->point, .action = TI_FAULT_KILL, .at = d->hit == 0 ? 1 : d->hit, .times = 1};
    tk_open(&t, (cluster *)(uintptr_t)c);
    size_t count = list_mutations(d, tag, &t.a, list);
    ti_ts start = tk_now(&t);
    if (d->refused) {
        ti_mutation other = put(&t.a, list[count - 1].key.data, 0, "other");
        other.key.len = list[count - 1].key.len;
        ti_status status = tk_commit_list(&t, tk_now(&t), &other, 1);
        ti_require(status == TI_OK);
        usleep(200000); /* its own secondaries */
    }
    ti_fault_arm(&fault);
    if (d->mode == DEATH_PESSIMISTIC)
        lock_all(&t, d, start, list, count, &locks);
    ti_commit_request request = {
        .start_ts = start, .mutations = list, .count = count, .locks = locks};
    (void)tk_commit_within(&t, &request, TK_CALL_US);
    usleep(3000000); /* what goes on in the background */
    _exit(MISSED);
}

static void read_on(const cluster *c, const death *d, char tag, const char *point)
{
    tk t;
    ti_fault fault = {.name = point, .action = TI_FAULT_KILL, .at = 1, .times = 1};
    tk_open(&t, (cluster *)(uintptr_t)c);
    ti_fault_arm(&fault);
    ti_snapshot *s = tk_snapshot(&t);
    for (int i = DEATH_KEYS - 1; i >= 0; i--) {
        char key[DEATH_KEY_SIZE];
        ti_slice value;
        death_key(d, tag, i, key);
        (void)tk_read(&t, s, key, TK_CALL_US, &value);
    }
    usleep(3000000); /* reads leave the clearing to the background */
    _exit(MISSED);
}

/* ---- In the parent ---- */

/* Waits for the child's end by SIGKILL. */
static void must_die(pid_t pid, const char *name, const char *point)
{
    int status = 0;
    bool ended = false;
    for (int ms = 0; ms < DIE_WITHIN_MS && !ended; ms++) {
        ended = waitpid(pid, &status, WNOHANG) == pid;
        if (!ended)
            usleep(1000);
    }
    if (!ended) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        fail_msg("%s: %s was not hit in time", name, point);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == MISSED)
        fail_msg("%s: %s was not hit", name, point);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail_msg("%s: died of something else: status %d", name, status);
}

static pid_t fork_quietly(void)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    return pid;
}

int64_t death_happens(const cluster *c, const death *d, char tag)
{
    char rule[256];
    if (d->blocked != NULL) {
        snprintf(rule, sizeof(rule),
                 "{\"kind\":\"%s\",\"store\":%d,\"times\":-1,\"action\":\"region_error\","
                 "\"error\":\"MaxTimestampNotSynced\"}",
                 d->blocked, (int)leaders[d->blocked_region]);
        cluster_fault(c, rule);
    }
    pid_t pid = fork_quietly();
    if (pid == 0)
        live(c, d, tag);
    must_die(pid, d->name, d->point);
    int64_t now = ti_env_mono_ns(ti_env_real());
    cluster_do(c, "/faults/clear");
    return now;
}

void death_reader_dies(const cluster *c, const death *d, char tag, const char *point)
{
    pid_t pid = fork_quietly();
    if (pid == 0)
        read_on(c, d, tag, point);
    must_die(pid, d->name, point);
}

void death_check(const death *d, const char *who, const char *const values[DEATH_KEYS])
{
    for (int i = 0; i < DEATH_KEYS; i++) {
        const char *expected = d->find == FIND_ALL ? "new" : NULL;
        if (d->refused && i == DEATH_KEYS - 1 && d->mode != DEATH_TWO_PHASE)
            expected = "other";
        bool same = expected == NULL ? values[i] == NULL
                                     : values[i] != NULL && strcmp(values[i], expected) == 0;
        if (!same)
            fail_msg("%s: %s finds '%s' instead of '%s' under key %d", d->name, who,
                     values[i] != NULL ? values[i] : "nothing",
                     expected != NULL ? expected : "nothing", i);
    }
}
