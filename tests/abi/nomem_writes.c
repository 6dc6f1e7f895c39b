/* Scenarios: handles, writes, transactions. */
#include "abi/nomem.h"

/* ---- handles ---- */

static int32_t run_options(stage *s)
{
    (void)s;
    tito_options_t *options = tito_options_new();
    int32_t status = options == NULL ? TITO_OUT_OF_MEMORY : TITO_OK;
    if (options != NULL)
        status = first_of(tito_options_set(options, "a", TEXT("text")),
                          tito_options_set_int(options, "a", 5));
    tito_options_free(options);
    return status;
}

static int32_t run_error(stage *s)
{
    tito_error_t *error = NULL;
    tito_model_t *model = NULL;
    int32_t status = tito_model_declare(s->db, TEXT("{\"table\":\"!\"}"), &model, &error);
    assert_non_null(error);
    assert_int_equal(tito_error_status(error), status);
    assert_true(tito_error_message(error).len > 0);
    tito_error_free(error);
    return status;
}

static int32_t run_db_new(stage *s)
{
    (void)s;
    tito_db_t *db = NULL;
    tito_queue_t *queue = NULL;
    int32_t status = tito_db_new(TEXT("tikv://a:1,b:2"), NULL, &db, NULL);
    if (status == TITO_OK)
        status = tito_queue_open(db, TEXT("early"), NULL, &queue, NULL);
    tito_queue_free(queue);
    tito_db_free(db);
    return status;
}

/* A close that has begun ends, and its tag comes. */
static int32_t run_close_watch(stage *s)
{
    (void)s;
    tito_db_t *db = NULL;
    tito_cq_t *cq = NULL;
    uint64_t tag = 0;
    int32_t status = tito_cq_new(&cq, NULL);
    if (status == TITO_OK)
        status = tito_connect(TEXT("memory:"), NULL, &db, NULL);
    if (status == TITO_OK)
        status = tito_db_close_watch(db, cq, 9, NULL);
    while (status == TITO_OK && tito_cq_drain(cq, &tag, 1) == 0)
        usleep(100);
    if (status == TITO_OK)
        assert_int_equal(tag, 9);
    tito_cq_free(cq);
    tito_db_free(db);
    return status;
}

static int32_t connect_to(const char *target)
{
    tito_db_t *db = NULL;
    int32_t status = tito_connect(target, strlen(target), NULL, &db, NULL);
    if (status == TITO_OK)
        status = tito_db_close(db, NULL);
    tito_db_free(db);
    return status;
}

static int32_t run_connect_memory(stage *s)
{
    (void)s;
    return connect_to("memory:");
}

static int32_t run_connect_directory(stage *s)
{
    char dir[TEST_DIR_SIZE];
    (void)s;
    test_dir_make(dir);
    int32_t status = connect_to(dir);
    test_dir_remove(dir);
    return status;
}

/* A handle that is not open restores into dir/two what was backed up into dir/one. */
static int32_t restore_to(const char *two, const char *one)
{
    tito_db_t *db = NULL;
    int32_t status = tito_db_new(two, strlen(two), NULL, &db, NULL);
    if (status == TITO_OK)
        status = wait_free(tito_db_verify_backup(db, one, strlen(one)));
    if (status == TITO_OK)
        status = wait_free(tito_db_restore(db, one, strlen(one)));
    tito_db_free(db);
    return status;
}

static int32_t run_backup(stage *s)
{
    char dir[TEST_DIR_SIZE];
    char paths[3][TEST_DIR_SIZE + 8];
    tito_db_t *db = NULL;
    (void)s;
    test_dir_make(dir);
    for (int i = 0; i < 3; i++)
        (void)snprintf(paths[i], sizeof(paths[i]), "%s/%d", dir, i);
    int32_t status = tito_connect(paths[0], strlen(paths[0]), NULL, &db, NULL);
    if (status == TITO_OK)
        status = wait_free(tito_db_backup(db, paths[1], strlen(paths[1]), NULL));
    tito_db_free(db);
    if (status == TITO_OK)
        status = restore_to(paths[2], paths[1]);
    test_dir_remove(dir);
    return status;
}

static int32_t run_declare(stage *s)
{
    tito_model_t *model = NULL;
    int32_t status = tito_model_declare(s->db, model_spec, strlen(model_spec), &model, NULL);
    tito_model_free(model);
    return status;
}

static int32_t run_write(stage *s)
{
    (void)s;
    char events[400];
    tito_write_t *write = tito_write_new();
    if (write == NULL)
        return TITO_OUT_OF_MEMORY;
    memset(events, ' ', sizeof(events));
    int32_t status = first_of(tito_write_events(write, events, sizeof(events)),
                              tito_write_operation(write, TEXT("INSERT")));
    tito_write_reset(write);
    status = first_of(status, tito_write_references(write, TEXT("[]")));
    tito_write_free(write);
    return status;
}

static int32_t run_cq(stage *s)
{
    tito_cq_t *cq = NULL;
    uint64_t tag;
    int32_t status = tito_cq_new(&cq, NULL);
    tito_future_t *now = status == TITO_OK ? tito_db_now(s->db) : NULL;
    if (status == TITO_OK)
        status = tito_future_watch(now, cq, 7, NULL);
    if (status == TITO_OK)
        status = tito_future_wait(now, -1, NULL);
    if (status == TITO_OK)
        assert_true(tito_cq_drain(cq, &tag, 1) <= 1);
    tito_future_free(now);
    tito_cq_free(cq);
    return status;
}

static void nothing(void *context, tito_future_t *future)
{
    (void)context;
    (void)future;
}

static int32_t run_started(stage *s)
{
    tito_future_t *started = tito_model_find(s->items, NULL, TEXT("p"), NULL);
    int32_t status = tito_future_start(started, NULL);
    status = first_of(status, tito_future_wait(started, 10000000, NULL));
    tito_future_free(started);
    return status;
}

static int32_t run_then(stage *s)
{
    tito_future_t *future = tito_db_now(s->db);
    int32_t status = tito_future_then(future, nothing, NULL, NULL);
    status = first_of(status, tito_future_wait(future, -1, NULL));
    tito_future_free(future);
    return status;
}

static int32_t run_json(stage *s)
{
    (void)s;
    static const char text[] = "{\"a\\n\":[1,2.5,\"x\\u00e9\",null,{\"b\":123456789012345678901}]}";
    char out[32];
    int32_t token = TITO_JSON_OBJECT;
    tito_json_t *json = tito_json_new();
    int32_t status =
        json == NULL ? TITO_OUT_OF_MEMORY : tito_json_open(json, text, sizeof(text) - 1, NULL);
    while (status == TITO_OK && token > TITO_JSON_END)
        token = tito_json_next(json, NULL, NULL, NULL);
    tito_json_free(json);
    assert_int_equal(tito_json_write_double(1.0, out), 3);
    return token < 0 ? -token : status;
}

/* ---- writes ---- */

static int32_t run_build(stage *s)
{
    return wait_free(build(s, NULL));
}

static int32_t run_build_with_events(stage *s)
{
    char text[128];
    tito_write_t *write = tito_write_new();
    if (write == NULL)
        return TITO_OUT_OF_MEMORY;
    int len = snprintf(text, sizeof(text), "{\"id\":\"%s\"}", s->id);
    int32_t status = first_of(tito_write_operation(write, TEXT("INSERT")),
                              tito_write_events(write, TEXT("[{\"name\":\"made\"}]")));
    if (status == TITO_OK)
        status = wait_free(tito_model_build(s->conditional, NULL, text, (size_t)len, write));
    tito_write_free(write);
    return status;
}

static int32_t run_build_large(stage *s)
{
    static char text[40000];
    int len = snprintf(text, sizeof(text), "{\"id\":\"%s\",\"x\":\"", s->id);
    memset(text + len, 'x', 32000);
    memcpy(text + len + 32000, "\"}", 2);
    return wait_free(tito_model_build(s->items, NULL, text, (size_t)len + 32002, NULL));
}

static int32_t run_already_exists(stage *s)
{
    return wait_free(tito_model_build(s->items, NULL, TEXT("{\"id\":\"p\"}"), NULL));
}

static int32_t run_unique_violation(stage *s)
{
    char text[128];
    int len = snprintf(text, sizeof(text), "{\"id\":\"%s\",\"code\":\"taken\"}", s->id);
    return wait_free(tito_model_build(s->items, NULL, text, (size_t)len, NULL));
}

static int32_t run_wrong_type(stage *s)
{
    return wait_free(tito_model_build(s->items, NULL, TEXT("{\"id\":\"z\",\"kind\":5}"), NULL));
}

static int32_t run_update(stage *s)
{
    return wait_free(
        tito_model_update(s->items, NULL, TEXT("{\"id\":\"k1\",\"kind\":\"k\",\"n\":1}"), NULL));
}

static int32_t run_update_absent(stage *s)
{
    return wait_free(tito_model_update(s->items, NULL, TEXT("{\"id\":\"none\"}"), NULL));
}

static int32_t run_save(stage *s)
{
    char text[128];
    int len = snprintf(text, sizeof(text), "{\"id\":\"%s\",\"kind\":\"s\"}", s->id);
    int32_t status = wait_free(tito_model_save(s->items, NULL, text, (size_t)len, NULL));
    return first_of(status, wait_free(tito_model_save(s->items, NULL, text, (size_t)len, NULL)));
}

static int32_t run_patch(stage *s)
{
    return wait_free(tito_model_patch(s->items, NULL, TEXT("k2"), TEXT("{\"n\":2}"), NULL));
}

static int32_t run_patch_with_host(stage *s)
{
    return wait_free(tito_model_patch(s->conditional, NULL, TEXT("c"), TEXT("{\"x\":null}"), NULL));
}

static int32_t run_delete(stage *s)
{
    return first_of(wait_free(build(s, NULL)),
                    wait_free(tito_model_delete(s->items, NULL, s->id, strlen(s->id), NULL)));
}

/* ---- transactions ---- */

static int32_t work_build(stage *s, tito_txn_t *txn)
{
    return wait_free(build(s, txn));
}
static int32_t run_txn_build(stage *s)
{
    return in_txn(s, work_build);
}

static int32_t work_rollback(stage *s, tito_txn_t *txn)
{
    int32_t status = first_of(wait_free(build(s, txn)), wait_free(tito_txn_rollback(txn)));
    return status == TITO_OK ? TITO_CANCELLED : status;
}
static int32_t run_txn_rollback(stage *s)
{
    return in_txn(s, work_rollback);
}

static int32_t work_delete(stage *s, tito_txn_t *txn)
{
    int32_t status = wait_free(build(s, txn));
    return first_of(status,
                    wait_free(tito_model_delete(s->items, txn, s->id, strlen(s->id), NULL)));
}
static int32_t run_txn_delete(stage *s)
{
    return in_txn(s, work_delete);
}

static int32_t work_merge(stage *s, tito_txn_t *txn)
{
    return wait_free(tito_model_merge(s->items, txn, TEXT("p"), TEXT("{\"n\":1}")));
}
static int32_t run_txn_merge(stage *s)
{
    return in_txn(s, work_merge);
}

static int32_t work_lock(stage *s, tito_txn_t *txn)
{
    tito_read_t *read = tito_read_new();
    int32_t status = read == NULL ? TITO_OUT_OF_MEMORY : tito_read_lock(read, 0);
    if (status == TITO_OK)
        status = wait_free(tito_model_find(s->items, txn, TEXT("p"), read));
    tito_read_free(read);
    return status;
}
static int32_t run_txn_lock(stage *s)
{
    return in_txn(s, work_lock);
}

static int32_t work_assert(stage *s, tito_txn_t *txn)
{
    return first_of(wait_free(tito_model_assert_current(s->items, txn, TEXT("p"))),
                    wait_free(build(s, txn)));
}
static int32_t run_txn_assert(stage *s)
{
    return in_txn(s, work_assert);
}

static int32_t work_doom(stage *s, tito_txn_t *txn)
{
    return first_of(wait_free(build(s, txn)),
                    tito_txn_doom(txn, TITO_VERSION_MISMATCH, TEXT("doomed")));
}
static int32_t run_txn_doom(stage *s)
{
    return in_txn(s, work_doom);
}

static int32_t work_retry(stage *s, tito_txn_t *txn)
{
    int32_t status = wait_free(tito_txn_start_version(txn));
    status = first_of(status, wait_free(tito_txn_retry(txn, TITO_CONFLICT)));
    return first_of(status, wait_free(build(s, txn)));
}
static int32_t run_txn_retry(stage *s)
{
    return in_txn(s, work_retry);
}

static int32_t transact_work(void *context, tito_txn_t *txn)
{
    return wait_free(build(context, txn));
}
static int32_t run_transact(stage *s)
{
    return tito_transact(s->db, NULL, transact_work, s, NULL);
}

static int32_t work_query_own(stage *s, tito_txn_t *txn)
{
    tito_query_t *query = NULL;
    int32_t status = wait_free(build(s, txn));
    if (status == TITO_OK)
        status = tito_query_new(s->items, TEXT("by_kind"), &query, NULL);
    if (status == TITO_OK)
        status = tito_query_value(query, TEXT("\"made\""));
    if (status == TITO_OK)
        status = wait_page(tito_query_execute(query, txn));
    tito_query_free(query);
    return status;
}
static int32_t run_txn_query(stage *s)
{
    return in_txn(s, work_query_own);
}

const scenario nomem_writes[] = {
    {"options", run_options, TITO_OK},
    {"error", run_error, TITO_INVALID_ARGUMENT},
    {"db new", run_db_new, TITO_OK},
    {"connect memory", run_connect_memory, TITO_OK},
    {"close watch", run_close_watch, TITO_OK},
    {"connect directory", run_connect_directory, TITO_OK},
    {"backup", run_backup, TITO_OK},
    {"declare", run_declare, TITO_OK},
    {"write", run_write, TITO_OK},
    {"cq", run_cq, TITO_OK},
    {"started", run_started, TITO_OK},
    {"then", run_then, TITO_OK},
    {"json", run_json, TITO_OK},
    {"build", run_build, TITO_OK},
    {"build with events", run_build_with_events, TITO_OK},
    {"build large", run_build_large, TITO_OK},
    {"already exists", run_already_exists, TITO_ALREADY_EXISTS},
    {"unique violation", run_unique_violation, TITO_UNIQUE_VIOLATION},
    {"wrong type", run_wrong_type, TITO_INVALID_ARGUMENT},
    {"update", run_update, TITO_OK},
    {"update absent", run_update_absent, TITO_NOT_FOUND},
    {"save", run_save, TITO_OK},
    {"patch", run_patch, TITO_OK},
    {"patch with host", run_patch_with_host, TITO_OK},
    {"delete", run_delete, TITO_OK},
    {"txn build", run_txn_build, TITO_OK},
    {"txn rollback", run_txn_rollback, TITO_CANCELLED},
    {"txn delete", run_txn_delete, TITO_OK},
    {"txn merge", run_txn_merge, TITO_OK},
    {"txn lock", run_txn_lock, TITO_OK},
    {"txn assert", run_txn_assert, TITO_OK},
    {"txn doom", run_txn_doom, TITO_VERSION_MISMATCH},
    {"txn retry", run_txn_retry, TITO_OK},
    {"transact", run_transact, TITO_OK},
    {"txn query", run_txn_query, TITO_OK},
    {NULL, NULL, TITO_OK},
};
