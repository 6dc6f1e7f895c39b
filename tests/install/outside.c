/* A program that knows only the installed tito.h: stores a record and finds it. */
#include <stdio.h>
#include <string.h>
#include <tito.h>

static int failed(const char *what, int32_t status)
{
    fprintf(stderr, "%s: %s\n", what, tito_status_name(status));
    return 1;
}

int main(int argc, char **argv)
{
    const char *spec = "{\"table\":\"user\"}";
    const char *user = "{\"id\":\"u1\",\"name\":\"Alice\"}";
    tito_db_t *db = NULL;
    tito_model_t *users = NULL;
    if (argc != 2 || tito_abi_version() < TITO_ABI_VERSION)
        return failed("version", TITO_UNSUPPORTED);

    int32_t status = tito_connect(argv[1], strlen(argv[1]), NULL, &db, NULL);
    if (status != TITO_OK)
        return failed("connect", status);
    status = tito_model_declare(db, spec, strlen(spec), &users, NULL);
    if (status != TITO_OK)
        return failed("model", status);

    tito_future_t *built = tito_model_build(users, NULL, user, strlen(user), NULL);
    status = tito_future_wait(built, -1, NULL);
    tito_future_free(built);
    if (status != TITO_OK)
        return failed("build", status);

    tito_future_t *found = tito_model_find(users, NULL, "u1", 2, NULL);
    status = tito_future_wait(found, -1, NULL);
    printf("%.*s\n", (int)tito_future_bytes(found).len, tito_future_bytes(found).data);
    int whole = tito_future_bytes(found).len >= strlen(user);
    tito_future_free(found);
    tito_model_free(users);
    tito_db_free(db);
    return status == TITO_OK && whole ? 0 : failed("find", status);
}
