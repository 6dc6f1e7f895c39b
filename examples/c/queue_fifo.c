/* A first-in-first-out queue: five users are created with an event each, a worker handles the
 * events in the order in which the users were committed.
 *
 *     queue_fifo [--db TARGET]      TARGET: a directory, memory:, …; default: $TITO_DB, else
 *                                   memory:
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

enum { USER_COUNT = 5 };

static const char model_of_user[] = "{\"table\": \"user\", \"events\": \"host\"}";
static const char *const names[USER_COUNT] = {"Alice", "Bob", "Carol", "Dave", "Erin"};

typedef struct progress {
    tito_worker_t *worker;
    char ids[USER_COUNT][37]; /* in the order of creation */
    int processed;
    int in_order;
} progress;

/* The host function of the model: which events a document has, when a write asks for them. */
static int32_t events_of_user(void *context, const char *document, size_t document_len,
                              tito_write_t *write)
{
    static const char events[] = "[{\"name\": \"user\"}]";
    (void)context;
    (void)document;
    (void)document_len;
    if (tito_write_get_operation(write).len == 0)
        return TITO_OK;
    return tito_write_events(write, events, sizeof(events) - 1);
}

static void create_users(tito_db_t *db, progress *p)
{
    tito_error_t *error;
    tito_model_t *users;
    tito_write_t *with_event = tito_write_new();
    check("model", tito_model_declare(db, model_of_user, sizeof(model_of_user) - 1, &users, &error),
          error);
    check("host", tito_model_set_host(users, events_of_user, NULL), NULL);
    check("write", tito_write_operation(with_event, "INSERT", 6), NULL);
    for (int i = 0; i < USER_COUNT; i++) {
        char text[128];
        tito_uuid(p->ids[i]);
        int len =
            snprintf(text, sizeof(text), "{\"id\":\"%s\",\"name\":\"%s\"}", p->ids[i], names[i]);
        tito_future_free(
            finish("build", tito_model_build(users, NULL, text, (size_t)len, with_event)));
        printf("Created user %d: %s (%s)\n", i + 1, names[i], p->ids[i]);
    }
    tito_write_free(with_event);
    tito_model_free(users);
}

/* Handles one event on a thread of the library. Returning TITO_OK acknowledges it. */
static int32_t process(void *context, tito_event_t *event)
{
    progress *p = context;
    tito_slice action = tito_event_text(event, TITO_EVENT_ACTION);
    tito_slice entity = tito_event_text(event, TITO_EVENT_ENTITY);
    tito_slice entity_id = tito_event_text(event, TITO_EVENT_ENTITY_ID);
    tito_slice sequence = tito_event_text(event, TITO_EVENT_SEQUENCE);
    if (p->processed < USER_COUNT && strlen(p->ids[p->processed]) == entity_id.len &&
        memcmp(p->ids[p->processed], entity_id.data, entity_id.len) == 0)
        p->in_order++;
    p->processed++;
    printf("[%d] Processing event: %.*s - %.*s (sequence: %.*s)\n", p->processed, (int)action.len,
           action.data, (int)entity.len, entity.data, (int)sequence.len, sequence.data);
    if (p->processed == USER_COUNT)
        return tito_worker_stop(p->worker, -1);
    return TITO_OK;
}

static void run_worker(tito_db_t *db, progress *p)
{
    tito_error_t *error;
    check("worker", tito_worker_new(db, NULL, &p->worker, &error), error);
    check("on", tito_worker_on(p->worker, "user", 4, NULL, process, p, &error), error);
    check("start", tito_worker_start(p->worker, &error), error);
    tito_future_free(finish("join", tito_worker_join(p->worker)));
    tito_worker_free(p->worker);
}

int main(int argc, char **argv)
{
    const char *target = target_of(argc, argv);
    tito_error_t *error;
    tito_db_t *db;
    tito_queue_t *queue;
    tito_options_t *one_after_the_other = tito_options_new();
    progress p = {.worker = NULL};

    check("connect", tito_connect(target, strlen(target), NULL, &db, &error), error);
    tito_options_set_int(one_after_the_other, "partitions", 1);
    tito_options_set(one_after_the_other, "ordering", "partition", 9);
    check("queue", tito_queue_open(db, "user", 4, one_after_the_other, &queue, &error), error);
    tito_options_free(one_after_the_other);

    create_users(db, &p);
    run_worker(db, &p);
    if (p.in_order == USER_COUNT)
        printf("Complete! Processed %d events in FIFO order\n", p.processed);

    tito_queue_free(queue);
    check("close", tito_db_close(db, &error), error);
    tito_db_free(db);
    return p.in_order == USER_COUNT ? 0 : 1;
}
