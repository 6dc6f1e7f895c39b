/* Misfortunes. See nemesis.h. */
#include "histories/nemesis.h"

#include "base/assert.h"

#define FIRST_REGIONS 16

static unsigned below(nemesis *n, unsigned bound)
{
    return (unsigned)test_random_below(&n->random, bound);
}

static void rest(nemesis *n, unsigned min_ms, unsigned max_ms)
{
    usleep(1000 * (min_ms + below(n, max_ms - min_ms + 1)));
}

static int some_store(nemesis *n)
{
    return (int)n->stores[below(n, (unsigned)n->store_count)];
}

/* split, merge or leader at a key of the load's. Not every key can be split or merged at. */
static void at_some_key(nemesis *n, const char *action)
{
    char key[HIST_KEY_SIZE];
    char path[512];
    n->load->any_key(n->shared, &n->random, key);
    int len = snprintf(path, sizeof(path), "/%s?key=", action);
    const char *const parts[] = {n->shared->prefix, key};
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; parts[k][i] != '\0'; i++)
            len += snprintf(path + len, sizeof(path) - (size_t)len, "%02x",
                            (unsigned)(unsigned char)parts[k][i]);
    (void)cluster_ask(n->cluster, path);
}

static void split(nemesis *n)
{
    at_some_key(n, "split");
}

static void merge(nemesis *n)
{
    at_some_key(n, "merge");
}

static void move_leader(nemesis *n)
{
    at_some_key(n, "leader");
}

void nemesis_begin(nemesis *n, const cluster *c, hist_shared *shared, const hist_load *load)
{
    *n = (nemesis){.cluster = c, .shared = shared, .load = load};
    n->random = test_random_start(0xbad);
    n->store_count = cluster_stores(c, n->stores, NEMESIS_STORES_MAX);
    assert_true(n->store_count > 0);
    for (int i = 0; i < FIRST_REGIONS; i++) {
        split(n);
        move_leader(n);
    }
}

static const char *const kinds[] = {
    "Prewrite",
    "Prewrite",
    "Commit",
    "Commit",
    "Get",
    "BatchGet",
    "Scan",
    "CheckTxnStatus",
    "ResolveLock",
    "CheckSecondaryLocks",
    "PessimisticLock",
    "BatchRollback",
    "PessimisticRollback",
    "Prewrite",
    "Commit",
};
#define KINDS (unsigned)(sizeof(kinds) / sizeof(kinds[0]))

/* The next requests of one kind meet something. */
static void fault_next(nemesis *n, const char *action, const char *more)
{
    char rule[512];
    snprintf(rule, sizeof(rule), "{\"kind\":\"%s\",\"action\":\"%s\",\"nth\":%u,\"times\":%u%s}",
             kinds[below(n, KINDS)], action, 1 + below(n, 20), 1 + below(n, 2), more);
    cluster_fault(n->cluster, rule);
}

static void break_stream(nemesis *n)
{
    fault_next(n, below(n, 2) == 0 ? "cut_before" : "cut_after", "");
}

/* The client learns of it only when its time is up. */
static void lose_answer(nemesis *n)
{
    fault_next(n, below(n, 2) == 0 ? "drop_before" : "drop_after", "");
}

static void disturb_answers(nemesis *n)
{
    static const char *const actions[] = {"duplicate", "reorder", "truncate"};
    fault_next(n, actions[below(n, 3)], "");
}

static void delay(nemesis *n)
{
    char more[64];
    snprintf(more, sizeof(more), ",\"delay_ms\":%u", 20 + below(n, 400));
    fault_next(n, "delay", more);
}

static void region_error(nemesis *n)
{
    static const char *const errors[] = {
        "NotLeader",    "RegionNotFound", "EpochNotMatch",         "NotLeader",
        "StaleCommand", "EpochNotMatch",  "MaxTimestampNotSynced", "ReadIndexNotReady",
        "Unknown",      "MismatchPeerId", "ProposalInMergingMode", "RegionNotInitialized",
    };
    char more[96];
    snprintf(more, sizeof(more), ",\"error\":\"%s\"",
             errors[below(n, (unsigned)(sizeof(errors) / sizeof(errors[0])))]);
    fault_next(n, "region_error", more);
}

/* Waited for in seconds, with locks held. */
static void trouble(nemesis *n)
{
    fault_next(n, "region_error",
               below(n, 2) == 0 ? ",\"error\":\"ServerIsBusy\"" : ",\"error\":\"DiskFull\"");
}

static void restart_store(nemesis *n)
{
    int id = some_store(n);
    cluster_do(n->cluster, "/store/stop?id=%d", id);
    rest(n, 50, 400);
    cluster_do(n->cluster, "/store/start?id=%d", id);
}

static void move_store(nemesis *n)
{
    cluster_do(n->cluster, "/store/move?id=%d", some_store(n));
}

static void freeze_store(nemesis *n)
{
    int id = some_store(n);
    cluster_do(n->cluster, "/store/freeze?id=%d", id);
    rest(n, 50, 500);
    cluster_do(n->cluster, "/store/thaw?id=%d", id);
}

static void add_store(nemesis *n)
{
    if (n->store_count == NEMESIS_STORES_MAX)
        return;
    cluster_do(n->cluster, "/store/add");
    n->store_count = cluster_stores(n->cluster, n->stores, NEMESIS_STORES_MAX);
}

static void move_pd(nemesis *n)
{
    if (below(n, 3) == 0) {
        cluster_do(n->cluster, "/pd/leader?index=-1");
        rest(n, 20, 200);
    }
    cluster_do(n->cluster, "/pd/leader?index=%u", below(n, NEMESIS_PDS));
}

static void freeze_pd(nemesis *n)
{
    unsigned index = below(n, NEMESIS_PDS);
    cluster_do(n->cluster, "/pd/freeze?index=%u", index);
    rest(n, 50, 400);
    cluster_do(n->cluster, "/pd/thaw?index=%u", index);
}

static void forget_rules(nemesis *n)
{
    cluster_do(n->cluster, "/faults/clear");
}

void nemesis_act(nemesis *n)
{
    static const struct {
        void (*act)(nemesis *n);
        unsigned weight;
    } actions[] = {
        {split, 12},        {merge, 9},      {move_leader, 12},  {break_stream, 14},
        {lose_answer, 1},   {delay, 6},      {region_error, 12}, {disturb_answers, 6},
        {restart_store, 2}, {move_store, 1}, {freeze_store, 2},  {add_store, 1},
        {move_pd, 2},       {freeze_pd, 1},  {trouble, 1},       {forget_rules, 2},
    };
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
        sum += actions[i].weight;
    unsigned pick = below(n, sum);
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        if (pick < actions[i].weight) {
            actions[i].act(n);
            break;
        }
        pick -= actions[i].weight;
    }
    n->actions++;
}

void nemesis_heal(nemesis *n)
{
    forget_rules(n);
    cluster_do(n->cluster, "/pd/leader?index=0");
}
