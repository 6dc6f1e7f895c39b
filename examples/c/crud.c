/* Creates, finds, updates and deletes a user: the four operations on one record.
 *
 *     crud [--db TARGET]      TARGET: a directory, memory:, …; default: $TITO_DB, else memory:
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

static const char model_of_user[] =
    "{\"table\": \"user\","
    " \"fields\": {\"name\": {\"type\": \"string\", \"required\": true}, \"age\": \"integer\"},"
    " \"indexes\": [{\"name\": \"by_age\", \"fields\": [{\"name\": \"age\", \"type\": "
    "\"number\"}]}],"
    " \"unique_indexes\": [{\"name\": \"by_email\","
    "                     \"fields\": [{\"name\": \"email\", \"type\": \"string\"}]}]}";

static void create(tito_model_t *users, const char *id)
{
    char text[256];
    int len = snprintf(text, sizeof(text),
                       "{\"id\":\"%s\",\"name\":\"John Doe\",\"email\":\"john@example.com\","
                       "\"age\":30}",
                       id);
    tito_future_t *built = finish("build", tito_model_build(users, NULL, text, (size_t)len, NULL));
    tito_slice stored = tito_future_bytes(built);
    printf("Created user: %.*s\n", (int)stored.len, stored.data);
    tito_future_free(built);
}

static uint64_t find(tito_model_t *users, const char *id)
{
    tito_future_t *found = finish("find", tito_model_find(users, NULL, id, strlen(id), NULL));
    tito_slice user = tito_future_bytes(found);
    uint64_t version = (uint64_t)tito_future_int(found);
    printf("Found user: %.*s\n", (int)user.len, user.data);
    tito_future_free(found);
    return version;
}

/* Changes the age, unless somebody else has changed the record since it was read. */
static void update(tito_model_t *users, const char *id, uint64_t version)
{
    static const char changes[] = "{\"age\":31}";
    tito_write_t *write = tito_write_new();
    if (write == NULL)
        check("write", TITO_OUT_OF_MEMORY, NULL);
    tito_write_if_version(write, version);
    tito_future_free(finish("patch", tito_model_patch(users, NULL, id, strlen(id), changes,
                                                      sizeof(changes) - 1, write)));
    tito_write_free(write);
    printf("User updated successfully\n");
}

static void delete_again(tito_model_t *users, const char *id)
{
    tito_future_t *deleted = finish("delete", tito_model_delete(users, NULL, id, strlen(id), NULL));
    if (tito_future_int(deleted) == 1)
        printf("User deleted successfully\n");
    tito_future_free(deleted);

    tito_future_t *absent = tito_model_find(users, NULL, id, strlen(id), NULL);
    if (tito_future_wait(absent, -1, NULL) != TITO_NOT_FOUND)
        check("find after delete", TITO_INTERNAL, NULL);
    tito_future_free(absent);
}

int main(int argc, char **argv)
{
    const char *target = target_of(argc, argv);
    tito_error_t *error;
    tito_db_t *db;
    tito_model_t *users;
    char id[37];

    check("connect", tito_connect(target, strlen(target), NULL, &db, &error), error);
    check("model", tito_model_declare(db, model_of_user, sizeof(model_of_user) - 1, &users, &error),
          error);
    tito_uuid(id);

    create(users, id);
    uint64_t version = find(users, id);
    update(users, id, version);
    (void)find(users, id);
    delete_again(users, id);

    tito_model_free(users);
    check("close", tito_db_close(db, &error), error);
    tito_db_free(db);
    return 0;
}
