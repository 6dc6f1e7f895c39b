/* The fault matrix of the requests to PD: kind × trouble × place, on the simulated wire. See
 * matrix.h for places and the meaning of a cell.
 *
 * Every operation either succeeds with a true result or ends with an error within its deadline.
 * Region errors and key errors can not occur: PD does not have them. What PD has instead are errors
 * in the header of its answers, and texts in which a follower says that it does not lead.
 *
 *   MATRIX_ONLY   a cell's name, or a part of one */
#include "matrix/matrix.h"

#include "tikv/pd.h"

typedef enum pd_trouble_id {
    HEADER, /* + the error type */
    NOT_LEADER,
    CUT,
    SILENT,
    LATE,
    GARBAGE,
    EMPTY,
    END, /* + the status */
    COUNT_DIFFERS,
    GOES_BACK,
} pd_trouble_id;

/* + overcome, x a definite error, - can not occur, e either (best effort: another way is open) */
typedef struct pd_trouble {
    const char *name;
    pd_trouble_id id;
    int detail;
    const char *deeds; /* one letter per kind: members, tso, region, previous region, scan, store,
                          all stores, safe point, its update, service safe point */
} pd_trouble;

static const pd_trouble pd_troubles[] = {
    {"UNKNOWN", HEADER, PDPB__ERROR_TYPE__UNKNOWN, "++++e+++++"},
    {"NOT_BOOTSTRAPPED", HEADER, PDPB__ERROR_TYPE__NOT_BOOTSTRAPPED, "++++e+++++"},
    {"STORE_TOMBSTONE", HEADER, PDPB__ERROR_TYPE__STORE_TOMBSTONE,
     "----"
     "-+"
     "----"},
    {"REGION_NOT_FOUND", HEADER, PDPB__ERROR_TYPE__REGION_NOT_FOUND, "--++e-----"},
    {"not leader", NOT_LEADER, 0, "-+++e+++++"},
    {"cut", CUT, 0, "++++e+++++"},
    {"silent", SILENT, 0, "++++e+++++"},
    {"late", LATE, 0, "++++e+++++"},
    {"garbage", GARBAGE, 0, "x+xxexxxxx"},
    {"empty", EMPTY, 0, "++++e+xexe"},
    {"ended with TIMEOUT", END, TI_TIMEOUT, "++++e+++++"},
    {"ended with UNSUPPORTED", END, TI_UNSUPPORTED, "xxxxexxxxx"},
    {"ended with INTERNAL", END, TI_INTERNAL, "+xxxexxxxx"},
    {"another count", COUNT_DIFFERS, 0, "-+--------"},
    {"time goes back", GOES_BACK, 0, "-+--------"},
};

typedef struct pd_world {
    fake f;
    mvcc m;
    ti_engine *e;
    fake_pd_kind kind;
    const pd_trouble *trouble;
    place place;
    char letter;
    int seen;
    int hits;
    bool armed;
    ti_arena a;
    ti_status status;
    ti_err err;
    char complaint[256];
} pd_world;

static void note(pd_world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(pd_world *w, const char *format, ...)
{
    va_list args;
    if (w->complaint[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(w->complaint, sizeof(w->complaint), format, args);
    va_end(args);
}

/* ---- Trouble ---- */

/* Every answer of PD has its header in field 1. */
static void say_header(fake_pd_ask *ask, Pdpb__ErrorType type, const char *text)
{
    Pdpb__GetMembersResponse r = PDPB__GET_MEMBERS_RESPONSE__INIT;
    Pdpb__ResponseHeader header = PDPB__RESPONSE_HEADER__INIT;
    Pdpb__Error error = PDPB__ERROR__INIT;
    error.type = type;
    error.message = (char *)(uintptr_t)text;
    header.cluster_id = 7;
    header.error = &error;
    r.header = &header;
    ask->answer = ti_pb_pack(&r.base, ask->a);
}

/* Another count, or a time that is further back each time. */
static void change_time(fake_pd_ask *ask, bool count, int hits)
{
    ti_err err;
    Pdpb__TsoResponse *r = ti_pb_unpack(&pdpb__tso_response__descriptor, ask->answer, ask->a, &err);
    ti_require(r != NULL);
    r->count += count;
    r->timestamp->physical -= count ? 0 : 50000 * hits;
    ask->answer = ti_pb_pack(&r->base, ask->a);
}

static void make(pd_world *w, fake_pd_ask *ask)
{
    const pd_trouble *t = w->trouble;
    w->hits++;
    switch (t->id) {
    case HEADER:
        say_header(ask, (Pdpb__ErrorType)t->detail, "simulated");
        return;
    case NOT_LEADER: /* the leader has moved to the next one */
        say_header(ask, PDPB__ERROR_TYPE__UNKNOWN, "is not leader");
        w->f.leader = (ask->index + 1) % FAKE_PDS;
        return;
    case CUT:
        ask->failure = TI_UNAVAILABLE;
        return;
    case SILENT:
        ask->silent = true;
        return;
    case LATE:
        ask->delay_ms = TI_PD_TIMEOUT_US / 1000 + 500;
        return;
    case GARBAGE:
        ask->answer = TI_SLICE("\xff\xff\xff");
        return;
    case EMPTY:
        ask->answer = TI_SLICE("");
        return;
    case END:
        ask->failure = (ti_status)t->detail;
        return;
    case COUNT_DIFFERS:
    case GOES_BACK:
        change_time(ask, t->id == COUNT_DIFFERS, w->hits);
        return;
    }
}

static void pd_answer(fake_pd_ask *ask)
{
    pd_world *w = ask->cluster->context;
    if (!w->armed || ask->kind != w->kind)
        return;
    w->seen++;
    bool turn = w->place == EVER || (w->place == FIRST && w->seen == 1) ||
                (w->place == MIDDLE && w->seen == 2) || (w->place == LAST && w->seen == 3) ||
                (w->place == RETRY && w->seen == 2);
    if (w->place == RETRY && w->seen == 1)
        ask->failure = TI_UNAVAILABLE;
    else if (turn)
        make(w, ask);
}

static void answer(fake_ask *ask)
{
    pd_world *w = ask->cluster->context;
    mvcc_answer(&w->m, ask);
}

/* ---- Operations ---- */

static ti_call call_of(pd_world *w)
{
    int64_t ms = w->place == EVER ? DEADLINE_EVER_MS : DEADLINE_MS;
    return ti_call_within(&w->f.sim->env.env, ms * 1000);
}

static void read_keys(pd_world *w, const ti_call *call, size_t count, bool reverse)
{
    static const char *const keys[] = {"a", "g", "n", "u"};
    ti_snapshot *s = NULL;
    w->status = w->e->vt->begin(w->e, TI_TS_NONE, &s, call, &w->err);
    for (size_t i = 0; i < count && w->status == TI_OK && !reverse; i++) {
        ti_slice value = TI_SLICE_NONE;
        w->status = w->e->vt->get(s, ti_slice_of(keys[i]), &w->a, &value, call, &w->err);
        if (w->status == TI_NOT_FOUND || (w->status == TI_OK && value.len != 3))
            note(w, "key %zu is not what it was", i);
    }
    ti_scan_page page = {0};
    ti_scan what = {
        .range = {.from = TI_SLICE("a"), .to = TI_SLICE("z")}, .reverse = true, .items_max = 100};
    if (w->status == TI_OK && reverse) {
        w->status = w->e->vt->scan(s, &what, &w->a, &page, call, &w->err);
        if (w->status == TI_OK && page.count != 4)
            note(w, "the scan has %zu pairs", page.count);
    }
    if (s != NULL)
        w->e->vt->release(s);
}

/* Opens a second client; the first has its own wire, so this one takes its place. */
static void act_open(pd_world *w)
{
    ti_engine *e = NULL;
    ti_call call = call_of(w);
    ti_slice endpoints[] = {TI_SLICE("pd1:1"), TI_SLICE("pd2:1"), TI_SLICE("pd3:1")};
    ti_tikv_options options = {
        .endpoints = endpoints, .endpoint_count = 3, .wire = &w->f.sim->base};
    w->status = ti_tikv_open(&w->f.sim->env.env, &options, &call, &e, &w->err);
    w->e = e;
}

static void act_timestamps(pd_world *w)
{
    ti_ts last = 0;
    ti_call call = call_of(w);
    for (int i = 0; i < 3 && w->status == TI_OK; i++) {
        ti_ts ts = 0;
        w->status = w->e->vt->now(w->e, &ts, &call, &w->err);
        if (w->status == TI_OK && ts <= last)
            note(w, "a timestamp does not rise");
        last = ts;
    }
}

/* Regions that are not cached any more are asked for by one request, three times. */
static void act_batches(pd_world *w)
{
    ti_slice keys[] = {TI_SLICE("a"), TI_SLICE("g"), TI_SLICE("n"), TI_SLICE("u")};
    for (int round = 0; round < 3 && w->status == TI_OK; round++) {
        ti_slice values[4];
        ti_snapshot *s = NULL;
        w->armed = false;
        sim_run(w->f.sim, 800000);
        w->armed = true;
        ti_call call = call_of(w);
        w->status = w->e->vt->begin(w->e, TI_TS_NONE, &s, &call, &w->err);
        if (w->status == TI_OK)
            w->status = w->e->vt->batch_get(s, keys, 4, &w->a, values, &call, &w->err);
        for (int i = 0; i < 4 && w->status == TI_OK; i++) {
            if (values[i].len != 3)
                note(w, "key %d is not what it was", i);
        }
        if (s != NULL)
            w->e->vt->release(s);
    }
}

/* Reads far apart look at the safe point before they trust what they read. */
static void act_late_reads(pd_world *w)
{
    for (int round = 0; round < 3 && w->status == TI_OK; round++) {
        w->armed = false;
        sim_run(w->f.sim, 150000);
        w->armed = true;
        ti_call call = call_of(w);
        read_keys(w, &call, 1, false);
    }
}

static void act_collect(pd_world *w)
{
    for (int round = 0; round < 3 && w->status == TI_OK; round++) {
        uint64_t before = w->f.safe_point;
        w->armed = false;
        sim_run(w->f.sim, 1000);
        w->armed = true;
        ti_call call = call_of(w);
        w->status = w->e->vt->gc(w->e, 0, &call, &w->err);
        if (w->status == TI_OK && w->f.safe_point <= before && w->letter == '+')
            note(w, "the safe point has not moved");
    }
}

static void act_destroy(pd_world *w)
{
    for (int round = 0; round < 3 && w->status == TI_OK; round++) {
        ti_call call = call_of(w);
        ti_range range = {.from = TI_SLICE("a"), .to = TI_SLICE("z")};
        w->status = w->e->vt->destroy_range(w->e, range, &call, &w->err);
        if (w->status == TI_OK && mvcc_value(&w->m, TI_SLICE("a"), UINT64_MAX).len > 0)
            note(w, "the range is still there");
    }
}

static void act(pd_world *w)
{
    ti_call call = call_of(w);
    switch (w->kind) {
    case FAKE_PD_GET_MEMBERS:
        act_open(w);
        return;
    case FAKE_PD_TSO:
        act_timestamps(w);
        return;
    case FAKE_PD_GET_REGION:
    case FAKE_PD_GET_STORE:
        read_keys(w, &call, 4, false);
        return;
    case FAKE_PD_GET_PREV_REGION:
        read_keys(w, &call, 4, true);
        return;
    case FAKE_PD_SCAN_REGIONS:
        act_batches(w);
        return;
    case FAKE_PD_GET_SAFE_POINT:
        act_late_reads(w);
        return;
    case FAKE_PD_GET_ALL_STORES:
        act_destroy(w);
        return;
    default:
        act_collect(w);
    }
}

/* ---- Cells ---- */

static const char *const kind_names[FAKE_PD_KINDS] = {
    "GetMembers", "Tso",          "GetRegion",      "GetPrevRegion",     "ScanRegions",
    "GetStore",   "GetAllStores", "GetGCSafePoint", "UpdateGCSafePoint", "UpdateServiceGCSafePoint",
};

static const char *const cuts[] = {"f", "m", "t", NULL};

static void pd_begin(pd_world *w)
{
    static const char *const keys[] = {"a", "g", "n", "u"};
    mvcc_init(&w->m);
    ti_arena_init(&w->a);
    fake_begin(&w->f, cuts);
    w->f.context = w;
    w->f.answer = answer;
    w->f.pd_answer = pd_answer;
    for (size_t i = 0; i < 4; i++) {
        w->f.regions[i].leader = i % FAKE_STORES + 1;
        mvcc_put(&w->m, keys[i], "old", 1, 2);
    }
    sim_run(w->f.sim, 100000);
    if (w->kind != FAKE_PD_GET_MEMBERS)
        w->e = fake_open(&w->f);
}

static void judge(pd_world *w, int64_t elapsed_ms)
{
    ti_status_class class = ti_status_class_of(w->status);
    int64_t rounds = w->kind == FAKE_PD_SCAN_REGIONS ? 2490000 : 450000;
    if (w->hits == 0)
        note(w, "the trouble was never made: %d requests", w->seen);
    if (class == TI_CLASS_UNKNOWN)
        note(w, "there is nothing unknown about it");
    if (elapsed_ms > rounds + (w->place == EVER ? DEADLINE_EVER_MS : DEADLINE_MS) + 1)
        note(w, "it took %lld ms", (long long)elapsed_ms);
    bool fits = w->letter == 'e' || (w->letter == '+' && w->status == TI_OK) ||
                (w->letter == 'x' && class != TI_CLASS_OK);
    if (w->place == EVER && w->letter == '+')
        fits = class == TI_CLASS_TRANSIENT || w->trouble->id == NOT_LEADER;
    if (w->kind == FAKE_PD_GET_MEMBERS && w->place != EVER && w->place != RETRY)
        fits |= w->status == TI_OK; /* the other endpoints answer */
    if (!fits)
        note(w, "it ended with %s (%s), where the table says '%c'", ti_status_name(w->status),
             w->err.message, w->letter);
}

static int cells;
static int impossible;
static int failures;

static void run_cell(fake_pd_kind kind, const pd_trouble *t, place p)
{
    char name[128];
    const char *only = getenv("MATRIX_ONLY");
    snprintf(name, sizeof(name), "%s / %s / %s", kind_names[kind], t->name, place_name(p));
    if (t->deeds[kind] == '-') {
        impossible++;
        return;
    }
    if (only != NULL && strstr(name, only) == NULL)
        return;
    pd_world *w = ti_alloc_zero(sizeof(*w));
    assert_non_null(w);
    w->kind = kind;
    w->trouble = t;
    w->place = p;
    w->letter = t->deeds[kind];
    pd_begin(w);
    w->armed = true;
    int64_t began_ms = sim_now_ms(w->f.sim);
    act(w);
    w->armed = false;
    judge(w, sim_now_ms(w->f.sim) - began_ms);
    cells++;
    if (w->complaint[0] != '\0' || only != NULL)
        fprintf(stderr, "%s: %s after %lld ms: %s\n", name, ti_status_name(w->status),
                (long long)(sim_now_ms(w->f.sim) - began_ms), w->complaint);
    failures += w->complaint[0] != '\0';
    if (w->e != NULL)
        w->e->vt->unref(w->e);
    fake_end(&w->f);
    mvcc_free(&w->m);
    ti_arena_free(&w->a);
    ti_free(w);
}

static void every_trouble_of_pd_has_its_outcome(void **state)
{
    test_random random = test_random_start(2);
    (void)state;
    for (fake_pd_kind kind = 0; kind < FAKE_PD_KINDS; kind++) {
        for (size_t t = 0; t < sizeof(pd_troubles) / sizeof(pd_troubles[0]); t++) {
            assert_int_equal(strlen(pd_troubles[t].deeds), FAKE_PD_KINDS);
            for (place p = FIRST; p < PLACES; p++) {
                if (test_scale() >= 1 ||
                    test_random_below(&random, 10000) < (uint64_t)(test_scale() * 10000))
                    run_cell(kind, &pd_troubles[t], p);
            }
        }
    }
    fprintf(stderr, "PD: %d cells run, %d can not occur, %d wrong\n", cells, impossible, failures);
    assert_int_equal(failures, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_trouble_of_pd_has_its_outcome),
    };
    return TEST_RUN(tests);
}
