/* A process of a run: publishers, a worker and its handlers, until it is killed, asked to end
 * (SIGTERM), or everything is done. See volume.h.
 *
 * Exit status: 0 all is done, 3 asked to end and drained, 4 asked to end and not drained in time.
 */
#include "queue/volume.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#define PUBLISHERS_MAX 16
#define HANDLERS_MAX 64
#define DUE_AFTER_US 300000
#define POLL_US 20000
#define EMPTY_POLLS 10 /* the store is asked each so many polls */

typedef struct process process;

typedef struct publisher {
    process *p;
    uint32_t number;
    pthread_t thread;
    int state; /* a file: the index of the first number that it did not try */
    uint64_t from;
    uint64_t to; /* of this transaction, exclusive */
    int64_t due_us;
} publisher;

struct process {
    volume_plan plan;
    qdb d;
    ti_worker *w;
    int log;
    uint32_t number;
    _Atomic(uint32_t) runs;
    _Atomic(uint32_t) threads;    /* that handle */
    _Atomic(uint32_t) publishing; /* publishers that are not done */
    _Atomic(bool) stop;
    publisher publishers[PUBLISHERS_MAX];
    pthread_t handlers[HANDLERS_MAX];
};

static volatile sig_atomic_t asked_to_end;

static void ask_to_end(int signal)
{
    (void)signal;
    asked_to_end = 1;
}

/* Of one thread of this process. */
static test_random random_of(const process *p, uint32_t thread)
{
    uint64_t stream = (uint64_t)p->number * (PUBLISHERS_MAX + HANDLERS_MAX) + thread + 1;
    return (test_random){.state = p->plan.seed ^ stream * UINT64_C(0xd1342543de82ef95)};
}

/* ---- publishing ---- */

/* A ti_transact_fn. */
static ti_status publish_batch(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    const publisher *pub = context;
    const volume_plan *plan = &pub->p->plan;
    for (uint64_t i = pub->from; i < pub->to; i++) {
        char name[32];
        char payload[96];
        uint64_t n = volume_number(plan, pub->number, i);
        uint32_t key = volume_key_of(plan, n);
        int64_t due_us = volume_has_due(plan, key) ? pub->due_us : 0;
        snprintf(name, sizeof(name), "k%u", key);
        snprintf(payload, sizeof(payload), "{\"n\":%" PRIu64 ",\"due\":%" PRId64 "}", n, due_us);
        ti_event_spec spec = {
            .type = S(VOLUME_TYPE), .key = S(name), .payload = S(payload), .due_us = due_us};
        TI_TRY(ti_queue_publish(pub->p->d.queues, txn, &spec, NULL, call, err));
    }
    return TI_OK;
}

static void publish_once(publisher *pub)
{
    process *p = pub->p;
    ti_err err;
    ti_ts now;
    ti_call call = ti_call_within(p->d.env, TI_NO_DEADLINE);
    ti_err_clear(&err);
    if (ti_kv_now(&p->d.kv, &now, &call, &err) != TI_OK)
        return;
    pub->due_us = ti_ts_to_us(now) + DUE_AFTER_US;
    if (pwrite(pub->state, &pub->to, sizeof(pub->to), 0) != (ssize_t)sizeof(pub->to))
        abort();
    volume_record record = {.kind = VOLUME_PUBLISHING,
                            .process = p->number,
                            .number = pub->from,
                            .last = pub->to - 1,
                            .key = pub->number};
    volume_log_add(p->log, record);
    ti_status status = ti_kv_transact(&p->d.kv, NULL, NULL, publish_batch, pub, NULL, &call, &err);
    record.kind = VOLUME_PUBLISHED;
    if (status == TI_OK)
        volume_log_add(p->log, record);
    pub->from = pub->to;
}

static void *publish_all(void *context)
{
    publisher *pub = context;
    process *p = pub->p;
    const volume_plan *plan = &p->plan;
    uint64_t share = volume_share(plan, pub->number);
    test_random random = random_of(p, pub->number);
    while (!atomic_load(&p->stop) && pub->from < share) {
        uint64_t count = 1 + test_random_below(&random, plan->batch);
        pub->to = pub->from + count < share ? pub->from + count : share;
        publish_once(pub);
        if (plan->publish_us > 0)
            usleep(plan->publish_us);
    }
    atomic_fetch_sub(&p->publishing, 1);
    return NULL;
}

static void start_publisher(process *p, const char *dir, uint32_t number)
{
    char name[32];
    char path[VOLUME_PATH_SIZE];
    publisher *pub = &p->publishers[number];
    pub->p = p;
    pub->number = number;
    snprintf(name, sizeof(name), "publisher.%u", number);
    volume_path(dir, name, path);
    pub->state = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (pub->state < 0)
        abort();
    if (pread(pub->state, &pub->from, sizeof(pub->from), 0) < (ssize_t)sizeof(pub->from))
        pub->from = 0;
    pthread_create(&pub->thread, NULL, publish_all, pub);
}

/* ---- handling ---- */

/* Appends the run to the chain of the event's key. */
static ti_status take_effect(process *p, ti_event *event, const volume_record *run, ti_err *err)
{
    const ti_event_info *info = ti_event_info_of(event);
    ti_call call = ti_call_within(p->d.env, 10000000);
    ti_txn *txn;
    ti_slice chain;
    TI_TRY(ti_event_txn(event, &txn, err));
    ti_arena *a = ti_txn_arena(txn);
    ti_slice key = ti_key_record(ti_store_keyspace(p->d.store), a, S("chains"), info->key);
    ti_status status = ti_txn_get(txn, key, a, &chain, &call, err);
    if (status != TI_OK && status != TI_NOT_FOUND)
        return status;
    size_t len = status == TI_OK ? chain.len : 0;
    char *longer = ti_arena_alloc(a, len + 64);
    if (longer == NULL)
        abort();
    if (len > 0)
        memcpy(longer, chain.data, len);
    len += (size_t)snprintf(longer + len, 64, "%" PRIu64 ".%u.%u,", run->number, run->process,
                            (uint32_t)run->run);
    return ti_txn_put(txn, key, (ti_slice){.data = longer, .len = len}, err);
}

/* What the event is, as a START. */
static volume_record begin_run(process *p, const ti_event *event)
{
    const ti_event_info *info = ti_event_info_of(event);
    char *at;
    volume_record run = {.kind = VOLUME_START, .process = p->number, .attempts = info->attempts};
    run.run = (uint64_t)p->number << 32 | (atomic_fetch_add(&p->runs, 1) + 1);
    run.number = strtoull(info->payload.data + strlen("{\"n\":"), &at, 10);
    run.due_us = strtoll(at + strlen(",\"due\":"), NULL, 10);
    run.key = (uint32_t)strtoul(info->key.data + 1, NULL, 10);
    if (run.due_us != 0) {
        ti_ts now;
        ti_err err;
        ti_call call = ti_call_within(p->d.env, TI_NO_DEADLINE);
        if (ti_kv_now(&p->d.kv, &now, &call, &err) == TI_OK)
            run.db_us = ti_ts_to_us(now);
    }
    return run;
}

static void handle(process *p, ti_event *event, test_random *random)
{
    const volume_plan *plan = &p->plan;
    ti_err err;
    ti_err_clear(&err);
    volume_record run = begin_run(p, event);
    volume_log_add(p->log, run);
    if (plan->handle_us > 0)
        usleep((useconds_t)test_random_below(random, plan->handle_us) + 1);
    if (plan->crash_in > 0 && test_random_one_in(random, plan->crash_in))
        raise(SIGKILL);
    if (plan->late_in > 0 && test_random_one_in(random, plan->late_in))
        usleep((useconds_t)(plan->timeout_us * 3 / 2));
    bool fails = volume_is_bad(plan, run.number) ||
                 (plan->fail_in > 0 && test_random_one_in(random, plan->fail_in));
    ti_status status = take_effect(p, event, &run, &err);
    run.kind = status == TI_OK && !fails ? VOLUME_DONE : VOLUME_FAIL;
    volume_log_add(p->log, run);
    if (fails)
        ti_event_fail(event, S("planned"));
    else if (status == TI_OK)
        ti_event_ack(event);
    else
        ti_event_abandon(event);
    ti_event_free(event);
}

static void *handle_all(void *context)
{
    process *p = context;
    test_random random = random_of(p, PUBLISHERS_MAX + atomic_fetch_add(&p->threads, 1));
    for (;;) {
        ti_event *events[4];
        size_t count;
        ti_err err;
        ti_err_clear(&err);
        ti_status status = ti_worker_take(p->w, events, 4, 100000, &count, &err);
        if (status == TI_CLOSED)
            return NULL;
        if (status != TI_OK) {
            fprintf(stderr, "take: %s\n", err.message);
            _exit(5);
        }
        for (size_t i = 0; i < count; i++)
            handle(p, events[i], &random);
    }
}

/* ---- a life ---- */

/* Whether this process's clock is another than the machine's, or runs differently. */
static bool has_other_clock(void)
{
    int64_t real_us = volume_real_us();
    int64_t mine_us = ti_env_wall_us(ti_env_real());
    int64_t mono_ns = ti_env_mono_ns(ti_env_real());
    int64_t apart_us = mine_us > real_us ? mine_us - real_us : real_us - mine_us;
    while (volume_real_us() < real_us + 20000)
        continue;
    return apart_us > 1000000000 || ti_env_mono_ns(ti_env_real()) - mono_ns > 100000000;
}

static void start_work(process *p)
{
    const volume_plan *plan = &p->plan;
    ti_worker_options options = {
        .concurrency = plan->handlers * 4,
        .leased = plan->lease_us > 0,
        .lease_us = plan->lease_us,
        .handler_timeout_us = plan->timeout_us,
        .retry = {
            .max_retries = 8, .base_us = 2000, .factor = 1.5, .cap_us = 20000, .jitter = 0.5}};
    p->w = start_worker(&p->d, VOLUME_TYPE, &options);
    for (uint32_t i = 0; i < plan->handlers; i++)
        pthread_create(&p->handlers[i], NULL, handle_all, p);
}

/* Until there is nothing more to do; false: it was asked to end before. */
static bool live(process *p, bool publishes)
{
    for (uint32_t polls = 1; asked_to_end == 0; polls++) {
        usleep(POLL_US);
        if (!publishes || atomic_load(&p->publishing) > 0)
            continue;
        if (p->w == NULL || (polls % EMPTY_POLLS == 0 && volume_db_is_empty(&p->d)))
            return true;
    }
    return false;
}

/* Whether all that was taken was settled and committed in time. */
static bool drain(process *p)
{
    ti_err err;
    ti_err_clear(&err);
    ti_worker_stop(p->w, p->plan.drain_us);
    if (ti_worker_join(p->w, &err) != TI_OK)
        return false;
    for (uint32_t i = 0; i < p->plan.handlers; i++)
        pthread_join(p->handlers[i], NULL);
    ti_worker_free(p->w);
    volume_log_add(p->log, (volume_record){.kind = VOLUME_DRAINED, .process = p->number});
    return true;
}

int volume_process(const char *dir, uint32_t number, const char *role)
{
    static process p;
    bool publishes = strchr(role, 'p') != NULL;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGTERM, ask_to_end);
    volume_plan_read(dir, &p.plan);
    if (getenv("FAKETIME") != NULL && !has_other_clock())
        abort();
    if (p.plan.publishers > PUBLISHERS_MAX || p.plan.handlers > HANDLERS_MAX)
        abort();
    p.number = number;
    p.log = volume_log_open(dir);
    volume_db_open(&p.d, dir, &p.plan);
    if (strchr(role, 'w') != NULL)
        start_work(&p);
    atomic_store(&p.publishing, publishes ? p.plan.publishers : 0);
    for (uint32_t i = 0; publishes && i < p.plan.publishers; i++)
        start_publisher(&p, dir, i);
    bool done = live(&p, publishes);
    atomic_store(&p.stop, true);
    if (p.w != NULL && !drain(&p))
        _exit(4);
    for (uint32_t i = 0; publishes && i < p.plan.publishers; i++)
        pthread_join(p.publishers[i].thread, NULL);
    qdb_close(&p.d);
    return done ? 0 : 3;
}
