/* The troubles of the matrix: the table, and how each is made. See matrix.h.
 *
 * The letters are in the order of the scenes:
 *
 *   g b s S   Get, BatchGet, Scan, Scan in reverse
 *   1 a 2 p   Prewrite: 1PC, async commit, 2PC, after pessimistic locks (async commit)
 *   C c R     Commit of the primary, of secondaries, BatchRollback
 *   L U       PessimisticLock, PessimisticRollback
 *   t y r     CheckTxnStatus, CheckSecondaryLocks, ResolveLock
 *   h k d     TxnHeartBeat, ScanLock, UnsafeDestroyRange
 *
 * What they rest on (protocol reference): region errors 1.1, backoff rows 2.0, reads 2.5-2.7,
 * commits 2.8, rollbacks 2.9, pessimistic locks 2.10, busy stores 2.11, locks of others 2.12,
 * heartbeats 2.13, collection 2.14. A key error that a request does not have in TiKV ends the
 * operation definitely ('x'): the client can not know what it means. UnsafeDestroyRange is about a
 * store, not a region: region and key errors can not occur there. */
#include "matrix/matrix.h"

/* Troubles that are not region errors. */
enum {
    KEY_LOCK_LIVE = 1, /* a lock of a client that died just now */
    KEY_LOCK_DONE,     /* a lock of one that has committed before */
    KEY_LOCK_SHARED,   /* a shared lock around a dead one */
    KEY_CONFLICT,
    KEY_EXISTS,
    KEY_DEADLOCK,
    KEY_TS_EXPIRED,
    KEY_TXN_NOT_FOUND,
    KEY_TS_TOO_LARGE,
    KEY_ASSERTION,
    KEY_PRIMARY_MISMATCH,
    KEY_LOCK_NOT_FOUND,
    KEY_RETRYABLE,
    KEY_ABORT,
    KEY_UNKNOWN,
    WIRE_CUT,
    WIRE_REFUSED,
    WIRE_SILENT,
    WIRE_LATE,
    WIRE_GARBAGE,
    WIRE_TRUNCATED,
    WIRE_BAD_ERROR,
    WIRE_WRONG_KIND,
    WIRE_TWICE,
    WIRE_STRANGER,
    WIRE_TIMEOUT,
    WIRE_UNSUPPORTED,
    WIRE_LIMIT,
    WIRE_INTERNAL,
    WIRE_CANCELLED,
};
/* Variants of region errors: the field plus these. */
#define NO_LEADER 100
#define OLDER 200
#define NO_REGIONS 300
#define WITH_WAIT 400
#define TEXT_DEADLINE 500
#define TEXT_MAX_TS 600
#define FUTURE 99

#define ALWAYS                                                                                     \
    "++++"                                                                                         \
    "++++"                                                                                         \
    "+BB"                                                                                          \
    "+B"                                                                                           \
    "+++"                                                                                          \
    "++-"
#define FATAL_U                                                                                    \
    "UUUU"                                                                                         \
    "UUUU"                                                                                         \
    "Ubb"                                                                                          \
    "Ub"                                                                                           \
    "UUU"                                                                                          \
    "+U-"
#define FATAL_L                                                                                    \
    "LLLL"                                                                                         \
    "LLLL"                                                                                         \
    "Lbb"                                                                                          \
    "Lb"                                                                                           \
    "LLL"                                                                                          \
    "+L-"
#define UNDETERMINED                                                                               \
    "UUUU"                                                                                         \
    "??U?"                                                                                         \
    "?bb"                                                                                          \
    "Ub"                                                                                           \
    "UUU"                                                                                          \
    "+U-"
#define BROKEN                                                                                     \
    "xxxx"                                                                                         \
    "??x?"                                                                                         \
    "?bb"                                                                                          \
    "xb"                                                                                           \
    "xxx"                                                                                          \
    "+xx"
#define NOT_APPLIED                                                                                \
    "xxxx"                                                                                         \
    "xxxx"                                                                                         \
    "xbb"                                                                                          \
    "xb"                                                                                           \
    "xxx"                                                                                          \
    "+xx"

const trouble troubles[] = {
    {"NotLeader, named", REGION, 2, 0, 0, false, false, ALWAYS},
    {"NotLeader, nobody", REGION, 2 + NO_LEADER, 2, 2, false, false, ALWAYS},
    {"RegionNotFound", REGION, 3, 2, 2, false, false, ALWAYS},
    {"KeyNotInRegion", REGION, 4, 2, 2, false, false, ALWAYS},
    {"EpochNotMatch, newer", REGION, 5, 0, 0, false, false, ALWAYS},
    {"EpochNotMatch, older", REGION, 5 + OLDER, 2, 2, false, false, ALWAYS},
    {"EpochNotMatch, bare", REGION, 5 + NO_REGIONS, 2, 2, false, false, ALWAYS},
    {"ServerIsBusy", REGION, 6, 1000, 2000, false, false, ALWAYS},
    {"ServerIsBusy for 30 ms", REGION, 6 + WITH_WAIT, 30, 30, false, false, ALWAYS},
    {"StaleCommand", REGION, 7, 2, 2, false, false, ALWAYS},
    {"StoreNotMatch", REGION, 8, 2, 2, false, false, ALWAYS},
    {"RaftEntryTooLarge", REGION, 9, 0, 0, false, false, FATAL_L},
    {"MaxTimestampNotSynced", REGION, 10, 2, 2, false, false, ALWAYS},
    {"ReadIndexNotReady", REGION, 11, 2, 2, false, false, ALWAYS},
    {"ProposalInMergingMode", REGION, 12, 2, 2, false, false, ALWAYS},
    {"DataIsNotReady", REGION, 13, 0, 2, false, false, ALWAYS},
    {"RegionNotInitialized", REGION, 14, 2, 2, false, false, ALWAYS},
    {"DiskFull", REGION, 15, 500, 500, false, false, ALWAYS},
    {"RecoveryInProgress", REGION, 16, 50, 100, false, false, ALWAYS},
    {"FlashbackInProgress", REGION, 17, 0, 0, false, false, FATAL_U},
    {"FlashbackNotPrepared", REGION, 18, 0, 0, false, false, FATAL_U},
    {"IsWitness", REGION, 19, 500, 1000, false, false, ALWAYS},
    {"MismatchPeerId", REGION, 20, 0, 2, false, false, ALWAYS},
    {"BucketVersionNotMatch", REGION, 21, 0, 2, false, false, ALWAYS},
    {"UndeterminedResult", REGION, 22, 0, 0, false, false, UNDETERMINED},
    {"UndeterminedResult, applied", REGION, 22, 0, 0, true, false, UNDETERMINED},
    {"a kind of the future", REGION, FUTURE, 2, 2, false, false, ALWAYS},
    {"Deadline is exceeded", REGION, TEXT_DEADLINE, 1000, 2000, false, false, ALWAYS},
    {"invalid max_ts update", REGION, TEXT_MAX_TS, 0, 0, false, false, FATAL_U},

    /* A reader pushes a live lock's commit above itself and reads on; a writer waits for its end.
     * Under the transaction's own pessimistic lock no other can be. */
    {"Locked, alive", KEY, KEY_LOCK_LIVE, 0, 3500, false, false,
     "++++"
     "+++-"
     "---"
     "+-"
     "---"
     "---"},
    {"Locked, committed", KEY, KEY_LOCK_DONE, 0, 0, false, false,
     "++++"
     "+++-"
     "---"
     "+-"
     "---"
     "---"},
    {"Locked, shared", KEY, KEY_LOCK_SHARED, 0, 0, false, false,
     "----"
     "+++-"
     "---"
     "+-"
     "---"
     "---"},
    {"WriteConflict", KEY, KEY_CONFLICT, 0, 0, false, false,
     "xxxx"
     "CCCC"
     "xbb"
     "+b"
     "xxx"
     "hx-"},
    {"AlreadyExist", KEY, KEY_EXISTS, 0, 0, false, false,
     "xxxx"
     "AAAA"
     "xbb"
     "Ab"
     "xxx"
     "hx-"},
    {"Deadlock", KEY, KEY_DEADLOCK, 0, 0, false, false,
     "xxxx"
     "xxxx"
     "xbb"
     "Db"
     "xxx"
     "hx-"},
    {"CommitTsExpired", KEY, KEY_TS_EXPIRED, 0, 0, false, false,
     "xxxx"
     "xxxx"
     "+bb"
     "xb"
     "xxx"
     "hx-"},
    /* The check meets an expired lock without a primary: it rolls back at the second look. */
    {"TxnNotFound", KEY, KEY_TXN_NOT_FOUND, 0, 2, false, false,
     "xxxx"
     "xxxx"
     "xbb"
     "xb"
     "+xx"
     "hx-"},
    {"CommitTsTooLarge", KEY, KEY_TS_TOO_LARGE, 0, 0, false, false,
     "xxxx"
     "CCCC"
     "xbb"
     "xb"
     "xxx"
     "hx-"},
    {"AssertionFailed", KEY, KEY_ASSERTION, 0, 0, false, false,
     "xxxx"
     "CCCC"
     "xbb"
     "Cb"
     "xxx"
     "hx-"},
    {"PrimaryMismatch", KEY, KEY_PRIMARY_MISMATCH, 0, 0, false, false,
     "xxxx"
     "xxxx"
     "xbb"
     "xb"
     "xxx"
     "hx-"},
    {"TxnLockNotFound", KEY, KEY_LOCK_NOT_FOUND, 0, 0, false, false,
     "xxxx"
     "CCCC"
     "Cbb"
     "xb"
     "xxx"
     "hx-"},
    {"Retryable", KEY, KEY_RETRYABLE, 0, 0, false, false,
     "xxxx"
     "CCCC"
     "Cbb"
     "Cb"
     "xxx"
     "hx-"},
    {"Abort", KEY, KEY_ABORT, 0, 0, false, false,
     "xxxx"
     "CCCC"
     "Cbb"
     "Cb"
     "xxx"
     "hxx"},
    {"an unknown key error", KEY, KEY_UNKNOWN, 0, 0, false, false,
     "xxxx"
     "xxxx"
     "xbb"
     "xb"
     "xxx"
     "hx-"},

    {"cut before", TRANSPORT, WIRE_CUT, 50, 100, false, false,
     "++++"
     "++++"
     "+BB"
     "+B"
     "+++"
     "++x"},
    {"cut after", TRANSPORT, WIRE_CUT, 50, 100, true, false,
     "++++"
     "++++"
     "+BB"
     "+B"
     "+++"
     "++x"},
    {"refused", TRANSPORT, WIRE_REFUSED, 50, 100, false, false,
     "++++"
     "++++"
     "+BB"
     "+B"
     "+++"
     "++x"},
    {"silent before", TRANSPORT, WIRE_SILENT, 50, 100, false, true,
     "++++"
     "++++"
     "+BB"
     "+b"
     "+++"
     "++x"},
    {"silent after", TRANSPORT, WIRE_SILENT, 50, 100, true, true,
     "++++"
     "++++"
     "+BB"
     "+b"
     "+++"
     "++x"},
    {"answered too late", TRANSPORT, WIRE_LATE, 50, 100, true, true,
     "++++"
     "++++"
     "+BB"
     "+b"
     "+++"
     "++x"},
    {"stranger's answer", TRANSPORT, WIRE_STRANGER, 50, 100, true, true,
     "++++"
     "++++"
     "+BB"
     "+b"
     "+++"
     "++x"},
    {"answered twice", TRANSPORT, WIRE_TWICE, 0, 0, true, false,
     "++++"
     "++++"
     "+BB"
     "+B"
     "+++"
     "+++"},
    {"garbage before", TRANSPORT, WIRE_GARBAGE, 0, 0, false, false, BROKEN},
    {"garbage after", TRANSPORT, WIRE_GARBAGE, 0, 0, true, false, BROKEN},
    {"a garbled region error", TRANSPORT, WIRE_BAD_ERROR, 0, 0, true, false,
     "xxxx"
     "??x?"
     "?bb"
     "xb"
     "xxx"
     "+x-"},
    {"truncated", TRANSPORT, WIRE_TRUNCATED, 0, 0, true, false, BROKEN},
    {"another kind before", TRANSPORT, WIRE_WRONG_KIND, 0, 0, false, false,
     "xxxx"
     "??x?"
     "?bb"
     "xb"
     "---"
     "---"},
    {"another kind after", TRANSPORT, WIRE_WRONG_KIND, 0, 0, true, false,
     "xxxx"
     "??x?"
     "?bb"
     "xb"
     "---"
     "---"},
    {"ended with TIMEOUT", TRANSPORT, WIRE_TIMEOUT, 50, 100, false, false,
     "++++"
     "++++"
     "+BB"
     "+B"
     "+++"
     "++x"},
    {"ended with CANCELLED", TRANSPORT, WIRE_CANCELLED, 50, 100, false, false,
     "++++"
     "++++"
     "+BB"
     "+B"
     "+++"
     "++x"},
    {"ended with UNSUPPORTED", TRANSPORT, WIRE_UNSUPPORTED, 0, 0, false, false, BROKEN},
    {"ended with LIMIT_EXCEEDED", TRANSPORT, WIRE_LIMIT, 0, 0, false, false, BROKEN},
    {"ended with INTERNAL, applied", TRANSPORT, WIRE_INTERNAL, 0, 0, true, false, BROKEN},
};
const size_t trouble_count = sizeof(troubles) / sizeof(troubles[0]);

const char *class_name(trouble_class c)
{
    static const char *const names[CLASSES] = {"region", "key", "transport"};
    return names[c];
}

/* ---- Region errors ---- */

static fake_region *region_asked(fake_ask *ask)
{
    ti_pb_field field;
    ti_err err;
    ti_slice rest = ask->request;
    ti_require(ti_pb_next(&rest, &field, &err) == TI_OK && field.number == 1);
    Kvrpcpb__Context *c = ti_pb_unpack(&kvrpcpb__context__descriptor, field.bytes, ask->a, &err);
    ti_require(c != NULL);
    for (size_t i = 0; i < ask->cluster->region_count; i++) {
        if (ask->cluster->regions[i].id == c->region_id)
            return &ask->cluster->regions[i];
    }
    return &ask->cluster->regions[0];
}

/* The leader moves to the next store, and the one asked says so. */
static void move_leader(fake_ask *ask)
{
    fake_region *region = region_asked(ask);
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__NotLeader not_leader = ERRORPB__NOT_LEADER__INIT;
    Metapb__Peer leader = METAPB__PEER__INIT;
    region->leader = ask->store % FAKE_STORES + 1;
    leader.id = region->id * 10 + region->leader;
    leader.store_id = region->leader;
    not_leader.leader = &leader;
    error.not_leader = &not_leader;
    fake_region_error(ask, &error);
}

/* The region's epoch rises, or an old one is told. */
static void tell_epoch(fake_ask *ask, bool older)
{
    fake_region *region = region_asked(ask);
    fake_region told = *region;
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__EpochNotMatch epoch = ERRORPB__EPOCH_NOT_MATCH__INIT;
    if (older)
        told.version--;
    else
        told.version = ++region->version;
    Metapb__Region *list[] = {fake_region_message(&told, ask->a)};
    epoch.n_current_regions = 1;
    epoch.current_regions = list;
    error.epoch_not_match = &epoch;
    fake_region_error(ask, &error);
}

static void say_busy(fake_ask *ask, uint64_t backoff_ms)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__ServerIsBusy busy = ERRORPB__SERVER_IS_BUSY__INIT;
    busy.backoff_ms = backoff_ms;
    error.server_is_busy = &busy;
    fake_region_error(ask, &error);
}

static void say_text(fake_ask *ask, const char *text)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    error.message = (char *)(uintptr_t)text;
    fake_region_error(ask, &error);
}

/* A region error of one kind, its message empty. */
static void say_kind(fake_ask *ask, uint32_t field)
{
    ti_buf b;
    ti_err err;
    ti_buf_init(&b, 64);
    test_ok(ti_buf_reserve(&b, 64, &err), &err);
    ti_pb_put_tag(&b, 1, 2);
    ti_pb_put_varint(&b, ti_pb_varint_size((uint64_t)field << 3) + 1);
    ti_pb_put_tag(&b, field, 2);
    ti_pb_put_varint(&b, 0);
    ask->answer = ti_arena_copy(ask->a, ti_buf_slice(&b));
    ti_buf_free(&b);
}

static void make_region(world *w, fake_ask *ask)
{
    if (w->trouble->applied)
        mvcc_answer(&w->m, ask);
    switch (w->trouble->id) {
    case 2:
        move_leader(ask);
        return;
    case 5:
    case 5 + OLDER:
        tell_epoch(ask, w->trouble->id != 5);
        return;
    case 6 + WITH_WAIT:
        say_busy(ask, 30);
        return;
    case TEXT_DEADLINE:
        say_text(ask, "Deadline is exceeded");
        return;
    case TEXT_MAX_TS:
        say_text(ask, "invalid max_ts update");
        return;
    default:
        say_kind(ask, (uint32_t)(w->trouble->id % 100));
    }
}

/* ---- Key errors ---- */

/* Puts a key error into an answer of the request's kind: all but two have it in field 2. */
static void say_key_error(fake_ask *ask, const Kvrpcpb__KeyError *e)
{
    ti_buf b;
    ti_err err;
    uint32_t field = ask->kind == TI_COMMAND_BATCH_GET ? 5 : ask->kind == TI_COMMAND_SCAN ? 3 : 2;
    ti_slice packed = ti_pb_pack(&e->base, ask->a);
    ti_buf_init(&b, packed.len + 64);
    test_ok(ti_buf_reserve(&b, packed.len + 64, &err), &err);
    ti_pb_put_tag(&b, field, 2);
    ti_pb_put_varint(&b, packed.len);
    test_ok(ti_buf_append_slice(&b, packed, &err), &err);
    ask->answer = ti_arena_copy(ask->a, ti_buf_slice(&b));
    ti_buf_free(&b);
}

static ti_slice first_key(const world *w, fake_ask *ask)
{
    fake_region *region = region_asked(ask);
    for (size_t i = 0; i < KEYS; i += 2) {
        if (fake_region_of(ask->cluster, w->keys[i]) == region)
            return w->keys[i];
    }
    return w->keys[0];
}

static const char *text_of(fake_ask *ask, ti_slice key)
{
    return ti_arena_copy(ask->a, key).data;
}

/* A lock of somebody else comes up on the key asked for. Its owner began just before. */
static void put_lock(world *w, fake_ask *ask, bool committed)
{
    ti_slice key = first_key(w, ask);
    uint64_t now_ms = fake_now(ask->cluster) >> 18;
    uint64_t start_ts = (now_ms - 10) << 18;
    mvcc_lock lock = {.op = KVRPCPB__OP__Put,
                      .value = TI_SLICE("other"),
                      .primary = committed ? TI_SLICE("zz") : key,
                      .start_ts = start_ts + (uint64_t)w->hits + (w->before != NULL ? 1000 : 0),
                      .ttl_ms = 3000,
                      .txn_size = 1};
    mvcc_set_lock(&w->m, text_of(ask, key), &lock);
    if (committed)
        mvcc_put(&w->m, "zz", "other", lock.start_ts, start_ts + (5 << 18));
    for (size_t i = 0; committed && i < KEYS; i++) {
        if (ti_slice_equal(w->keys[i], key))
            w->expected[i] = "other";
    }
    mvcc_answer(&w->m, ask);
}

/* A shared lock around one that died long ago, before its primary was written. */
static void say_shared(world *w, fake_ask *ask)
{
    Kvrpcpb__KeyError e = KVRPCPB__KEY_ERROR__INIT;
    Kvrpcpb__LockInfo wrapper = KVRPCPB__LOCK_INFO__INIT;
    Kvrpcpb__LockInfo inner = KVRPCPB__LOCK_INFO__INIT;
    wrapper.key = inner.key = ti_pb_bytes(first_key(w, ask));
    wrapper.lock_type = KVRPCPB__OP__SharedLock;
    inner.primary_lock = inner.key;
    inner.lock_version = 1000 << 18;
    inner.lock_ttl = 1;
    ProtobufCBinaryData packed = ti_pb_bytes(ti_pb_pack(&inner.base, ask->a));
    wrapper.n_shared_lock_infos = 1;
    wrapper.shared_lock_infos = &packed;
    e.locked = &wrapper;
    say_key_error(ask, &e);
}

/* One later than what was attempted; as the store would say it of the commit's primary. */
static void say_expired(world *w, fake_ask *ask)
{
    Kvrpcpb__KeyError e = KVRPCPB__KEY_ERROR__INIT;
    Kvrpcpb__CommitTsExpired expired = KVRPCPB__COMMIT_TS_EXPIRED__INIT;
    expired.key = ti_pb_bytes(first_key(w, ask));
    if (ask->kind == TI_COMMAND_COMMIT) {
        Kvrpcpb__CommitRequest *r = mvcc_unpack(&kvrpcpb__commit_request__descriptor, ask);
        expired.key = r->primary_key;
        expired.attempted_commit_ts = r->commit_version;
        expired.min_commit_ts = r->commit_version + 1;
    }
    e.commit_ts_expired = &expired;
    say_key_error(ask, &e);
}

static void say_simple(world *w, fake_ask *ask)
{
    Kvrpcpb__KeyError e = KVRPCPB__KEY_ERROR__INIT;
    Kvrpcpb__WriteConflict conflict = KVRPCPB__WRITE_CONFLICT__INIT;
    Kvrpcpb__AlreadyExist exists = KVRPCPB__ALREADY_EXIST__INIT;
    Kvrpcpb__Deadlock deadlock = KVRPCPB__DEADLOCK__INIT;
    Kvrpcpb__TxnNotFound not_found = KVRPCPB__TXN_NOT_FOUND__INIT;
    Kvrpcpb__CommitTsTooLarge too_large = KVRPCPB__COMMIT_TS_TOO_LARGE__INIT;
    Kvrpcpb__AssertionFailed assertion = KVRPCPB__ASSERTION_FAILED__INIT;
    Kvrpcpb__PrimaryMismatch mismatch = KVRPCPB__PRIMARY_MISMATCH__INIT;
    Kvrpcpb__TxnLockNotFound no_lock = KVRPCPB__TXN_LOCK_NOT_FOUND__INIT;
    int id = w->trouble->id;
    conflict.key = exists.key = ti_pb_bytes(first_key(w, ask));
    e.conflict = id == KEY_CONFLICT ? &conflict : NULL;
    e.already_exist = id == KEY_EXISTS ? &exists : NULL;
    e.deadlock = id == KEY_DEADLOCK ? &deadlock : NULL;
    e.txn_not_found = id == KEY_TXN_NOT_FOUND ? &not_found : NULL;
    e.commit_ts_too_large = id == KEY_TS_TOO_LARGE ? &too_large : NULL;
    e.assertion_failed = id == KEY_ASSERTION ? &assertion : NULL;
    e.primary_mismatch = id == KEY_PRIMARY_MISMATCH ? &mismatch : NULL;
    e.txn_lock_not_found = id == KEY_LOCK_NOT_FOUND ? &no_lock : NULL;
    if (id == KEY_RETRYABLE)
        e.retryable = (char *)(uintptr_t) "again";
    if (id == KEY_ABORT)
        e.abort = (char *)(uintptr_t) "given up";
    say_key_error(ask, &e);
}

static void make_key(world *w, fake_ask *ask)
{
    switch (w->trouble->id) {
    case KEY_LOCK_LIVE:
    case KEY_LOCK_DONE:
        put_lock(w, ask, w->trouble->id == KEY_LOCK_DONE);
        return;
    case KEY_LOCK_SHARED:
        say_shared(w, ask);
        return;
    case KEY_TS_EXPIRED:
        say_expired(w, ask);
        return;
    default:
        say_simple(w, ask);
    }
}

/* ---- Transport ---- */

static ti_status failure_of(int id)
{
    switch (id) {
    case WIRE_TIMEOUT:
        return TI_TIMEOUT;
    case WIRE_UNSUPPORTED:
        return TI_UNSUPPORTED;
    case WIRE_LIMIT:
        return TI_LIMIT_EXCEEDED;
    case WIRE_INTERNAL:
        return TI_INTERNAL;
    case WIRE_CANCELLED:
        return TI_CANCELLED;
    default:
        return TI_UNAVAILABLE;
    }
}

static void make_transport(world *w, fake_ask *ask)
{
    int id = w->trouble->id;
    if (w->trouble->applied)
        mvcc_answer(&w->m, ask);
    switch (id) {
    case WIRE_SILENT:
        ask->silent = true;
        return;
    case WIRE_LATE:
        ask->delay_ms = w->scene->timeout_ms + 1000;
        return;
    case WIRE_GARBAGE:
        ask->answer = TI_SLICE("\x12\xff\xff\xff\xff\x0f what is this");
        return;
    case WIRE_TRUNCATED: /* a field is promised that does not come */
        ask->answer = TI_SLICE("\x12\x7f\x0a");
        return;
    case WIRE_BAD_ERROR:
        ask->answer = TI_SLICE("\x0a\x03\x12\x7f\x0a");
        return;
    case WIRE_WRONG_KIND:
        ask->as_number = 255;
        return;
    case WIRE_TWICE:
        ask->twice = true;
        return;
    case WIRE_STRANGER:
        ask->stranger = true;
        return;
    default:
        ask->cut = true;
        ask->refused = id == WIRE_REFUSED;
        ask->failure = failure_of(id);
    }
}

void trouble_make(world *w, fake_ask *ask)
{
    w->hits++;
    switch (w->trouble->class) {
    case REGION:
        make_region(w, ask);
        return;
    case KEY:
        make_key(w, ask);
        return;
    default:
        make_transport(w, ask);
    }
}
