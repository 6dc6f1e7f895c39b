/* The fault matrix of the requests to stores: runs every cell and reads back. See matrix.h.
 *
 *   MATRIX_ONLY    a cell's name, or a part of one: only those run, and say how they went
 *   MATRIX_PAIRS   all pairs, not some by chance */
#include <limits.h>

#include "matrix/matrix.h"

/* How many cells of a class ran, and how many can not occur. */
typedef struct tally {
    int run;
    int impossible;
    int by_place[PLACES];
} tally;

static tally tallies[CLASSES];
static int lone; /* pairs whose first trouble led to no second sending */

/* How many pairs a run takes of about 27,800. */
#define PAIRS 1000

/* First sendings that are refused before a second one comes. */
#define TRIPS_MAX 16

void complain(world *w, const char *format, ...)
{
    va_list args;
    if (w->complaint[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(w->complaint, sizeof(w->complaint), format, args);
    va_end(args);
}

/* ---- Trouble ---- */

static bool is_again(fake_ask *ask)
{
    ti_pb_field field;
    ti_err err;
    ti_slice rest = ask->request;
    if (ti_pb_next(&rest, &field, &err) != TI_OK || field.number != 1)
        return false;
    Kvrpcpb__Context *c = ti_pb_unpack(&kvrpcpb__context__descriptor, field.bytes, ask->a, &err);
    return c != NULL && c->is_retry_request;
}

/* A refusal that every operation overcomes, before the second sending. */
static void trip(fake_ask *ask)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__RegionNotFound gone = ERRORPB__REGION_NOT_FOUND__INIT;
    error.region_not_found = &gone;
    fake_region_error(ask, &error);
}

static bool is_its_turn(world *w, fake_ask *ask)
{
    switch (w->place) {
    case FIRST:
        return w->seen == 1;
    case MIDDLE:
        return w->seen == 2;
    case LAST:
        return w->seen == w->scene->last;
    case RETRY:
        return w->hits == 0 && is_again(ask);
    default:
        return true;
    }
}

/* From here on a pair's second trouble is the trouble. */
static void go_on_to_second(world *w)
{
    w->before = w->trouble;
    w->trouble = w->then;
    w->then = NULL;
    w->deed = (deed)w->trouble->deeds[w->scene - scenes];
    w->place = RETRY;
    w->hits = 0;
}

static void answer(fake_ask *ask)
{
    world *w = ask->cluster->context;
    bool counts = !w->quiet && ask->kind == w->scene->kind &&
                  (w->scene->counts == NULL || w->scene->counts(w, ask));
    w->seen += counts;
    if (counts && w->then != NULL && w->hits > 0 && is_again(ask))
        go_on_to_second(w);
    if (counts && w->place == RETRY && w->before == NULL && w->hits == 0 && !is_again(ask) &&
        w->seen < TRIPS_MAX)
        trip(ask);
    else if (counts && is_its_turn(w, ask)) {
        trouble_make(w, ask);
        w->applied += w->trouble->applied;
    } else {
        mvcc_answer(&w->m, ask);
        w->applied += counts;
    }
}

/* ---- The world of a cell ---- */

static const char *const cuts[] = {"f", "m", "t", NULL};

static void open_cluster(world *w)
{
    fake_begin(&w->f, cuts);
    w->f.context = w;
    w->f.answer = answer;
    for (size_t i = 0; i < w->f.region_count; i++)
        w->f.regions[i].leader = i % FAKE_STORES + 1;
    sim_run(w->f.sim, (int64_t)w->clock_ms);
    w->e = fake_open(&w->f);
}

static void close_cluster(world *w)
{
    w->e->vt->unref(w->e);
    w->clock_ms = (uint64_t)sim_now_ms(w->f.sim) + 100000;
    fake_end(&w->f);
}

/* Two keys in each region; long ones are too many bytes for async commit. */
static void name_keys(world *w)
{
    static const char letters[] = "abghnouv";
    size_t len = w->scene->long_keys ? 2100 : 1;
    for (size_t i = 0; i < KEYS; i++) {
        char *bytes = ti_arena_alloc(&w->a, len + 1);
        memset(bytes, letters[i], len);
        bytes[len] = '\0';
        w->keys[i] = (ti_slice){.data = bytes, .len = len};
        mvcc_put(&w->m, bytes, "old", 1, 2);
        w->expected[i] = "old";
    }
}

static void world_begin(world *w, const scene *s, const trouble *t, place p)
{
    size_t column = (size_t)(s - scenes);
    memset(w, 0, sizeof(*w));
    w->scene = s;
    w->trouble = t;
    w->place = p;
    w->deed = (deed)t->deeds[column];
    w->clock_ms = 100000;
    ti_arena_init(&w->a);
    mvcc_init(&w->m);
    name_keys(w);
    ti_err_clear(&w->err);
}

static void world_end(world *w)
{
    mvcc_free(&w->m);
    ti_arena_free(&w->a);
}

/* ---- Judging ---- */

/* What a trouble that stays may end with. */
static bool ever_fits(const world *w)
{
    ti_status_class class = ti_status_class_of(w->status);
    bool point = w->trouble->class == TRANSPORT || w->trouble->id % 100 == 22;
    bool unknown = class == TI_CLASS_UNKNOWN && point && w->commit_count > 0;
    if (w->scene->kind == TI_COMMAND_TXN_HEART_BEAT)
        return class == TI_CLASS_OK;
    switch (w->deed) {
    case OVERCOME:
        if (w->trouble->id % 100 == 5 && w->trouble->class == REGION)
            return class == TI_CLASS_TRANSIENT; /* an epoch that always rises */
        if (w->trouble->class == KEY || w->trouble->wait_max_ms == 0)
            return class == TI_CLASS_OK || class == TI_CLASS_TRANSIENT ||
                   class == TI_CLASS_CONFLICT;
        return class == TI_CLASS_TRANSIENT || unknown || (point && class == TI_CLASS_OK);
    case FOUND_OUT:
        return true; /* what it says must be true: judge_commit */
    default:
        return false;
    }
}

/* Whether a prewrite of another region went down with the stream that the trouble ended: then the
 * commit has not happened, although the request with the trouble was carried out. */
static bool is_cut_short(const world *w)
{
    const attempt *last = &w->commits[w->commit_count - 1];
    return w->scene->kind == TI_COMMAND_PREWRITE &&
           w->applied - last->applied_before < (int)last->count;
}

/* Whether a pair's first trouble, a lost answer, may hide that a commit has happened. */
static bool may_be_unknown(const world *w)
{
    const trouble *t = w->before;
    return t->class == TRANSPORT || (t->class == REGION && t->id % 100 == 22);
}

/* A commit that met a pair: as after the second alone, but the first may have been applied, and the
 * second may have asked a store that does not lead. What it says must be true: judge_commit. */
static bool pair_fits(const world *w)
{
    ti_status_class class = ti_status_class_of(w->status);
    if (class == TI_CLASS_UNKNOWN)
        return w->deed != OVERCOME && may_be_unknown(w);
    return w->deed == FOUND_OUT || (class == TI_CLASS_OK && may_be_unknown(w));
}

static bool fits(const world *w)
{
    ti_status_class class = ti_status_class_of(w->status);
    if (w->before != NULL && w->commit_count > 0 && pair_fits(w))
        return true;
    if (w->place == EVER && (w->deed == OVERCOME || w->deed == FOUND_OUT))
        return ever_fits(w);
    switch (w->deed) {
    case OVERCOME:
    case BEHIND:
    case LEFT:
    case STOPS:
        return w->status == TI_OK;
    case CONFLICTS:
        return w->status == TI_CONFLICT;
    case EXISTS:
        return w->status == TI_ALREADY_EXISTS;
    case DEADLOCKS:
        return w->status == TI_DEADLOCK;
    case TOO_LARGE:
        return w->status == TI_LIMIT_EXCEEDED;
    case TRANSIENT:
        return w->status == TI_UNAVAILABLE;
    case FAILS:
        return class != TI_CLASS_OK && class != TI_CLASS_UNKNOWN;
    case FOUND_OUT: /* by whether it was applied: see judge_commit */
        return class != TI_CLASS_UNKNOWN &&
               (w->status == TI_OK ? w->trouble->applied : !w->trouble->applied || is_cut_short(w));
    default:
        return false;
    }
}

/* Both waits; the second may have grown, where it is of the first's kind. */
static void judge_pair_time(world *w, int64_t timeout_ms)
{
    const trouble *a = w->before;
    const trouble *b = w->trouble;
    timeout_ms += a->timed_out ? w->scene->timeout_ms : 0;
    int64_t low_ms = a->wait_min_ms + b->wait_min_ms + timeout_ms;
    int64_t high_ms = a->wait_max_ms + 2 * b->wait_max_ms + timeout_ms + 2;
    if (w->elapsed_ms < low_ms || w->elapsed_ms > high_ms)
        complain(w, "it took %lld ms instead of %lld to %lld", (long long)w->elapsed_ms,
                 (long long)low_ms, (long long)high_ms);
}

/* Waits: one of the row's for each trouble, and its timeout; never beyond the deadline. */
static void judge_time(world *w)
{
    int64_t deadline_ms = w->place == EVER ? DEADLINE_EVER_MS : DEADLINE_MS;
    const trouble *t = w->trouble;
    if (w->elapsed_ms > deadline_ms + 1)
        complain(w, "it took %lld ms, past its deadline", (long long)w->elapsed_ms);
    if (w->place == EVER || w->deed != OVERCOME || w->scene->kind == TI_COMMAND_TXN_HEART_BEAT)
        return;
    int64_t timeout_ms = t->timed_out ? w->scene->timeout_ms : 0;
    int64_t trip_ms = w->place == RETRY && w->before == NULL ? 2 : 0;
    if (w->before != NULL) {
        judge_pair_time(w, timeout_ms);
        return;
    }
    int64_t low_ms = t->wait_min_ms + timeout_ms + trip_ms;
    int64_t high_ms = t->wait_max_ms + timeout_ms + trip_ms + (trip_ms > 0 ? t->wait_max_ms : 0);
    if (w->elapsed_ms < low_ms || w->elapsed_ms > high_ms + 1)
        complain(w, "it took %lld ms instead of %lld to %lld", (long long)w->elapsed_ms,
                 (long long)low_ms, (long long)high_ms);
}

/* What is in the store must be what was answered. */
static void judge_commit(world *w, const attempt *one)
{
    uint64_t first = 0;
    for (size_t i = 0; i < one->count; i++) {
        uint64_t ts = mvcc_committed_at(&w->m, w->keys[one->keys[i]], one->start_ts);
        if (i == 0)
            first = ts;
        if (ts != first)
            complain(w, "a commit is torn: %s", ti_status_name(one->status));
    }
    if (one->status == TI_OK && first == 0)
        complain(w, "a commit that was answered with OK is not there");
    if (one->status == TI_OK && first != one->commit_ts)
        complain(w, "a commit is at another timestamp than was answered");
    if (one->status != TI_OK && one->status != TI_OUTCOME_UNKNOWN && first != 0)
        complain(w, "a commit that was refused with %s is there", ti_status_name(one->status));
    for (size_t i = 0; i < one->count && first != 0; i++)
        w->expected[one->keys[i]] = "new";
}

static ti_status scan_once(world *w, ti_scan_page *page)
{
    ti_snapshot *s = NULL;
    ti_call call = ti_call_within(&w->f.sim->env.env, INT64_C(60000000));
    ti_scan what = {.range = {.from = TI_SLICE("a"), .to = TI_SLICE("z")}, .items_max = 100};
    TI_TRY(w->e->vt->begin(w->e, TI_TS_NONE, &s, &call, &w->err));
    ti_status status = w->e->vt->scan(s, &what, &w->a, page, &call, &w->err);
    w->e->vt->release(s);
    return status;
}

static ti_status get_once(world *w)
{
    ti_slice values[KEYS];
    ti_snapshot *s = NULL;
    ti_call call = ti_call_within(&w->f.sim->env.env, INT64_C(60000000));
    TI_TRY(w->e->vt->begin(w->e, TI_TS_NONE, &s, &call, &w->err));
    ti_status status = w->e->vt->batch_get(s, w->keys, KEYS, &w->a, values, &call, &w->err);
    w->e->vt->release(s);
    return status;
}

/* Takes a LOCK of every key. */
static ti_status lock_once(world *w)
{
    ti_commit_result result;
    ti_mutation list[KEYS];
    ti_call call = ti_call_within(&w->f.sim->env.env, INT64_C(60000000));
    for (size_t i = 0; i < KEYS; i++)
        list[i] = (ti_mutation){.key = w->keys[i], .kind = TI_MUTATION_LOCK};
    ti_commit_request request = {.start_ts = fake_now(&w->f), .mutations = list, .count = KEYS};
    return w->e->vt->commit(w->e, &request, &result, &call, &w->err);
}

static void judge_values(world *w)
{
    ti_scan_page page;
    test_ok(scan_once(w, &page), &w->err);
    for (size_t i = 0, at = 0; i < KEYS; i++) {
        bool there = at < page.count && ti_slice_equal(page.pairs[at].key, w->keys[i]);
        ti_slice value = there ? page.pairs[at++].value : TI_SLICE("(nothing)");
        if (w->expected[i] != NULL && !ti_slice_equal(value, ti_slice_of(w->expected[i])))
            complain(w, "read back, key %zu holds '%.*s' instead of '%s'", i, (int)value.len,
                     value.data, w->expected[i]);
    }
}

/* A second client, after all locks have expired, reads everything and overwrites it. */
static void read_back(world *w)
{
    w->quiet = true;
    open_cluster(w);
    test_ok(get_once(w), &w->err);
    for (int i = 0; i < 400 && mvcc_locks(&w->m) > 0; i++)
        usleep(500); /* what the reads have met is cleared in the background */
    test_ok(lock_once(w), &w->err);
    for (size_t i = 0; i < w->commit_count; i++)
        judge_commit(w, &w->commits[i]);
    judge_values(w);
    if (w->scene->check != NULL)
        w->scene->check(w);
    close_cluster(w);
    if (mvcc_locks(&w->m) > 0)
        complain(w, "%zu locks are left over", mvcc_locks(&w->m));
}

/* ---- Running ---- */

/* Lets the background finish what it is expected to finish. */
static void settle(world *w)
{
    if (w->deed != BEHIND || w->place == EVER)
        return;
    for (int i = 0; i < 60000 && mvcc_locks(&w->m) > 0; i++)
        usleep(500);
    if (mvcc_locks(&w->m) > 0)
        complain(w, "%zu locks are left in the background", mvcc_locks(&w->m));
}

static void act(world *w)
{
    bool measures_itself = w->scene->kind == TI_COMMAND_PESSIMISTIC_LOCK ||
                           w->scene->kind == TI_COMMAND_PESSIMISTIC_ROLLBACK ||
                           w->scene->kind == TI_COMMAND_TXN_HEART_BEAT ||
                           strcmp(w->scene->name, "Prewrite, locked") == 0;
    if (measures_itself) {
        w->scene->act(w);
        return;
    }
    int64_t began_ms = sim_now_ms(w->f.sim);
    w->scene->act(w);
    w->elapsed_ms = sim_now_ms(w->f.sim) - began_ms;
}

static void run_cell(world *w)
{
    open_cluster(w);
    if (w->scene->prepare != NULL)
        w->scene->prepare(w);
    act(w);
    settle(w);
    close_cluster(w);
    if (w->hits == 0)
        complain(w, "the trouble was never made: %d requests", w->seen);
    lone += w->then != NULL;
    if (w->then != NULL && w->trouble->class != KEY) /* a key error may lead to other requests */
        complain(w, "there was no second sending: %d requests", w->seen);
    if (!fits(w))
        complain(
            w, "it ended with %s (%s) after %lld ms and %d troubles, where the table says '%c'",
            ti_status_name(w->status), w->err.message, (long long)w->elapsed_ms, w->hits, w->deed);
    judge_time(w);
    read_back(w);
}

/* Whether the cell is chosen by MATRIX_ONLY and by the volume. */
static bool is_chosen(const char *name, test_random *random)
{
    const char *only = getenv("MATRIX_ONLY");
    if (only != NULL)
        return strstr(name, only) != NULL;
    return test_scale() >= 1 || test_random_below(random, 10000) < (uint64_t)(test_scale() * 10000);
}

/* The same commit may not be sent to a store that answers region errors of one kind for ever... */
static bool is_impossible(const scene *s, const trouble *t, place p)
{
    char letter = t->deeds[s - scenes];
    bool no_second_sending = p == RETRY && s->kind == TI_COMMAND_UNSAFE_DESTROY_RANGE;
    bool once = p == EVER && t->class == KEY && strncmp(t->name, "Locked", 6) == 0;
    return letter == IMPOSSIBLE || no_second_sending || once;
}

static int failures;

/* Runs a cell, or a pair when `then` is not NULL. false: it was wrong, and said so. */
static bool run_one(const char *name, const scene *s, const trouble *t, const trouble *then,
                    place p)
{
    world *w = ti_alloc(sizeof(*w));
    assert_non_null(w);
    world_begin(w, s, t, p);
    w->then = then;
    run_cell(w);
    bool right = w->complaint[0] == '\0';
    if (!right) {
        fprintf(stderr, "%s: %s\n", name, w->complaint);
    } else if (getenv("MATRIX_ONLY") != NULL) {
        fprintf(stderr, "%s: %s after %lld ms: %s\n", name, ti_status_name(w->status),
                (long long)w->elapsed_ms, w->err.message);
    }
    world_end(w);
    ti_free(w);
    return right;
}

static void run_named(const scene *s, const trouble *t, place p, test_random *random)
{
    char name[256];
    snprintf(name, sizeof(name), "%s / %s / %s", s->name, t->name, place_name(p));
    if (is_impossible(s, t, p)) {
        tallies[t->class].impossible++;
        return;
    }
    if (!is_chosen(name, random))
        return;
    failures += !run_one(name, s, t, NULL, p);
    tallies[t->class].run++;
    tallies[t->class].by_place[p]++;
}

/* ---- Pairs ---- */

/* The first is one that makes the request be sent again, the second another one. Heartbeats are not
 * sent again: the next one comes. */
static bool can_follow(const scene *s, const trouble *t, const trouble *then)
{
    bool again = t->deeds[s - scenes] == OVERCOME && s->kind != TI_COMMAND_TXN_HEART_BEAT &&
                 strcmp(t->name, "answered twice") != 0;
    /* Another's transaction of just before is a later one where the first has cost time; and there
     * are no two locks on a key. */
    bool late = (t->wait_max_ms > 2 || t->timed_out || strncmp(t->name, "Locked", 6) == 0) &&
                strncmp(then->name, "Locked", 6) == 0;
    /* A store that has committed says so. */
    bool lie = s->kind == TI_COMMAND_COMMIT && t->applied && then->class == KEY;
    return again && t != then && !late && !lie && !is_impossible(s, t, FIRST) &&
           !is_impossible(s, then, RETRY);
}

static void run_pair(const scene *s, const trouble *t, const trouble *then)
{
    char name[256];
    const char *only = getenv("MATRIX_ONLY");
    snprintf(name, sizeof(name), "%s / %s, then %s", s->name, t->name, then->name);
    if (only == NULL || strstr(name, only) != NULL)
        failures += !run_one(name, s, t, then, FIRST);
}

static void a_trouble_after_another_has_its_outcome(void **state)
{
    (void)state;
    test_random random = test_random_start(2);
    int run = 0;
    int wanted = getenv("MATRIX_PAIRS") != NULL ? INT_MAX : (int)(PAIRS * test_scale()) + 1;
    size_t all = scene_count * trouble_count * trouble_count;
    failures = 0;
    for (size_t i = 0; i < all && run < wanted; i++) {
        size_t n = wanted == INT_MAX ? i : (size_t)test_random_below(&random, all);
        const scene *s = &scenes[n / trouble_count / trouble_count];
        const trouble *t = &troubles[n / trouble_count % trouble_count];
        const trouble *then = &troubles[n % trouble_count];
        if (!can_follow(s, t, then))
            continue;
        run_pair(s, t, then);
        run++;
    }
    fprintf(stderr, "%d pairs, %d without a second, %d wrong\n", run, lone, failures);
    assert_int_equal(failures, 0);
    assert_true(run == 0 || lone < run / 2);
}

static void every_trouble_of_a_request_has_its_outcome(void **state)
{
    test_random random = test_random_start(1);
    (void)state;
    for (size_t s = 0; s < scene_count; s++) {
        for (size_t t = 0; t < trouble_count; t++) {
            assert_int_equal(strlen(troubles[t].deeds), scene_count);
            for (place p = FIRST; p < PLACES; p++)
                run_named(&scenes[s], &troubles[t], p, &random);
        }
    }
    int run = 0;
    for (trouble_class c = REGION; c < CLASSES; c++) {
        run += tallies[c].run;
        fprintf(stderr, "%s errors: %d cells run, %d can not occur\n", class_name(c),
                tallies[c].run, tallies[c].impossible);
    }
    fprintf(stderr, "%d cells, %d wrong\n", run, failures);
    assert_int_equal(failures, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_trouble_of_a_request_has_its_outcome),
        cmocka_unit_test(a_trouble_after_another_has_its_outcome),
    };
    return TEST_RUN(tests);
}
