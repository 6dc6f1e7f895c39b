/* Every function of the interface with handles that it must refuse: none, of another kind, of a
 * closed database, of a forked parent. It answers an error and never crashes. */
#include <sys/wait.h>

#include "abi/calls.h"
#include "abi/harness.h"

static int32_t work_of_calls(void *context, tito_txn_t *txn)
{
    (void)context;
    (void)txn;
    return TITO_OK;
}

/* ---- the table ---- */

typedef enum call_kind { STATUS, FUTURE, PLAIN } call_kind;

typedef struct call {
    const char *name;
    call_kind kind;
    int32_t (*run)(const world *w, outs *o); /* for kind FUTURE: what waiting for it answers */
} call;

static int32_t wait_and_free(tito_future_t *future)
{
    int32_t status = tito_future_wait(future, -1, NULL);
    tito_future_free(future);
    return status;
}

#define RUN_STATUS(expression) return (expression);
#define RUN_FUTURE(expression) return wait_and_free(expression);
#define RUN_PLAIN(expression)                                                                      \
    (void)(expression);                                                                            \
    return TITO_OK;
#define CALL_FUNCTION(name, kind, ...)                                                             \
    static int32_t call_##name(const world *w, outs *o)                                            \
    {                                                                                              \
        (void)w;                                                                                   \
        (void)o;                                                                                   \
        RUN_##kind(__VA_ARGS__)                                                                    \
    }
CALLS(CALL_FUNCTION)

#define CALL_ENTRY(name, kind, ...) {#name, kind, call_##name},
static const call calls[] = {CALLS(CALL_ENTRY)};
enum { CALL_COUNT = sizeof(calls) / sizeof(calls[0]) };

/* Runs all calls on w; those with a status must answer it. */
static void run_calls(const world *w, int32_t expected)
{
    for (size_t i = 0; i < CALL_COUNT; i++) {
        outs o;
        memset(&o, 0, sizeof(o));
        int32_t status = calls[i].run(w, &o);
        if (calls[i].kind != PLAIN && status != expected)
            fail_msg("%s: %s instead of %s", calls[i].name, tito_status_name(status),
                     tito_status_name(expected));
        tito_error_free(o.error);
        assert_null(o.txn);
        assert_null(o.model);
        assert_null(o.query);
        assert_null(o.worker);
        assert_null(o.steps);
    }
}

/* ---- a world with one handle of each kind ---- */

static void make_event(world *w)
{
    size_t count = 0;
    OK(tito_queue_open(w->db, TEXT("job"), NULL, &w->queue, &error));
    RUN(tito_queue_publish(w->queue, NULL, TEXT("k"), TEXT("{\"a\":1}"), 0, 0, NULL));
    OK(tito_worker_new(w->db, NULL, &w->worker, &error));
    OK(tito_worker_on(w->worker, TEXT("job"), NULL, NULL, NULL, &error));
    OK(tito_worker_start(w->worker, &error));
    OK(tito_worker_take(w->worker, &w->event, 1, -1, &count, &error));
    assert_int_equal(count, 1);
}

static void make_world(world *w)
{
    memset(w, 0, sizeof(*w));
    w->db = open_memory();
    w->model = declare(w->db, model_spec);
    RUN(build_item(w->model, NULL, "a", "x", 1));
    w->txn = begin(w->db);
    w->options = tito_options_new();
    w->write = tito_write_new();
    w->read = tito_read_new();
    w->json = tito_json_new();
    OK(tito_query_new(w->model, TEXT("by_kind"), &w->query, &error));
    tito_future_t *executed = DONE(tito_query_execute(w->query, NULL));
    w->page = tito_future_page(executed);
    assert_non_null(w->page);
    tito_future_free(executed);
    make_event(w);
    OK(tito_check_open(w->model, NULL, &w->steps, &error));
    OK(tito_cq_new(&w->cq, &error));
    w->future = tito_model_find(w->model, NULL, TEXT("a"), NULL);
    assert_int_equal(tito_model_declare(w->db, TEXT("{}"), &(tito_model_t *){NULL}, &w->error),
                     TITO_INVALID_ARGUMENT);
}

/* Frees everything, in an order that seed decides. */
static void free_world(world *w, test_random *r)
{
    bool freed[16] = {false};
    for (size_t left = 16; left > 0;) {
        size_t i = test_random_below(r, 16);
        if (freed[i])
            continue;
        freed[i] = true;
        left--;
        switch (i) {
        case 0:
            tito_error_free(w->error);
            break;
        case 1:
            tito_options_free(w->options);
            break;
        case 2:
            tito_db_free(w->db);
            break;
        case 3:
            tito_txn_free(w->txn);
            break;
        case 4:
            tito_model_free(w->model);
            break;
        case 5:
            tito_write_free(w->write);
            break;
        case 6:
            tito_read_free(w->read);
            break;
        case 7:
            tito_query_free(w->query);
            break;
        case 8:
            tito_page_free(w->page);
            break;
        case 9:
            tito_queue_free(w->queue);
            break;
        case 10:
            tito_worker_free(w->worker);
            break;
        case 11:
            tito_event_free(w->event);
            break;
        case 12:
            tito_steps_free(w->steps);
            break;
        case 13:
            tito_future_free(w->future);
            break;
        case 14:
            tito_cq_free(w->cq);
            break;
        default:
            tito_json_free(w->json);
            break;
        }
    }
}

/* ---- tests ---- */

static void table_is_the_map(void **state)
{
    (void)state;
    char line[256];
    size_t found = 0;
    FILE *map = fopen(TITO_MAP, "r");
    assert_non_null(map);
    while (fgets(line, sizeof(line), map) != NULL) {
        char *name = strstr(line, "tito_");
        char *end = name == NULL ? NULL : strchr(name, ';');
        if (end == NULL)
            continue;
        *end = '\0';
        size_t i = 0;
        while (i < CALL_COUNT && strcmp(calls[i].name, name) != 0)
            i++;
        if (i == CALL_COUNT)
            fail_msg("%s is exported and not in the table", name);
        found++;
    }
    (void)fclose(map);
    assert_int_equal(found, CALL_COUNT);
}

static void without_handles(void **state)
{
    (void)state;
    world w;
    memset(&w, 0, sizeof(w));
    run_calls(&w, TITO_INVALID_ARGUMENT);
    assert_int_equal(tito_future_wait(NULL, -1, NULL), TITO_OUT_OF_MEMORY);
    assert_int_equal(tito_json_next(NULL, NULL, NULL, NULL), -TITO_INVALID_ARGUMENT);
}

/* A handle of another kind: memory whose magic is none. Errors, pages and such answer emptily. */
static void handles_of_another_kind(void **state)
{
    (void)state;
    static uint64_t other[512];
    other[0] = 0x1234;
    world w = {.options = (void *)other,
               .db = (void *)other,
               .txn = (void *)other,
               .model = (void *)other,
               .write = (void *)other,
               .read = (void *)other,
               .query = (void *)other,
               .page = (void *)other,
               .queue = (void *)other,
               .worker = (void *)other,
               .event = (void *)other,
               .steps = (void *)other,
               .future = (void *)other,
               .cq = (void *)other,
               .json = (void *)other};
    run_calls(&w, TITO_INVALID_ARGUMENT);
    assert_int_equal(other[0], 0x1234);
}

static void handles_of_a_closed_database(void **state)
{
    (void)state;
    test_random r = test_random_start(1);
    world w;
    make_world(&w);
    OK(tito_db_close(w.db, &error));
    OK(tito_db_close(w.db, &error));
    FAILS(w.future, TITO_CLOSED);
    w.future = NULL;
    run_calls(&w, TITO_CLOSED);
    assert_int_equal(tito_txn_is_open(w.txn), 0);
    assert_int_equal(tito_page_count(w.page), 1);
    free_world(&w, &r);
}

static void frees_in_any_order(void **state)
{
    (void)state;
    test_random r = test_random_start(2);
    for (uint64_t i = 0; i < test_scaled(100); i++) {
        world w;
        make_world(&w);
        if (test_random_one_in(&r, 2))
            (void)tito_future_start(w.future, NULL);
        if (test_random_one_in(&r, 3))
            OK(tito_db_close(w.db, &error));
        free_world(&w, &r);
    }
}

/* The child of a fork answers FORKED everywhere, frees, and ends; the parent goes on. */
static void handles_of_a_forked_parent(void **state)
{
    (void)state;
    test_random r = test_random_start(3);
    world w;
    make_world(&w);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)alarm(30);
        run_calls(&w, TITO_FORKED);
        if (tito_db_close(w.db, NULL) != TITO_FORKED || tito_txn_is_open(w.txn) != 0 ||
            tito_future_wait(w.future, -1, NULL) != TITO_FORKED || tito_cq_fd(w.cq) != -1 ||
            tito_worker_fd(w.worker) != -1)
            _exit(2);
        free_world(&w, &r);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    RUN(tito_model_find(w.model, NULL, TEXT("a"), NULL));
    RUN(build_item(w.model, w.txn, "b", "x", 2));
    RUN(tito_txn_commit(w.txn));
    assert_int_equal(tito_event_acknowledge(w.event), TITO_OK);
    free_world(&w, &r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_the_map),        cmocka_unit_test(without_handles),
        cmocka_unit_test(handles_of_another_kind), cmocka_unit_test(handles_of_a_closed_database),
        cmocka_unit_test(frees_in_any_order),      cmocka_unit_test(handles_of_a_forked_parent),
    };
    return TEST_RUN(tests);
}
