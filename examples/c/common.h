/* What every example does alike: the option that names the database, and what happens when a call
 * fails. */
#ifndef TITO_EXAMPLES_COMMON_H
#define TITO_EXAMPLES_COMMON_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tito.h"

/* The database that the command line or the environment names. */
static inline const char *target_of(int argc, char **argv)
{
    const char *target = getenv("TITO_DB");
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--db") == 0 && i + 1 < argc) {
            target = argv[++i];
            continue;
        }
        printf("usage: %s [--db TARGET]\n"
               "TARGET is a directory or memory:; the default is $TITO_DB, else memory:\n",
               argv[0]);
        exit(strcmp(argv[i], "--help") == 0 ? 0 : 2);
    }
    return target != NULL ? target : "memory:";
}

/* Ends the program when a call has failed. */
static inline void check(const char *what, int32_t status, tito_error_t *error)
{
    if (status == TITO_OK)
        return;
    tito_slice message = tito_error_message(error);
    fprintf(stderr, "%s: %s: %.*s\n", what, tito_status_name(status), (int)message.len,
            message.data);
    tito_error_free(error);
    exit(1);
}

/* Waits for an operation that must succeed. */
static inline tito_future_t *finish(const char *what, tito_future_t *future)
{
    tito_error_t *error;
    int32_t status = tito_future_wait(future, -1, &error);
    check(what, status, error);
    return future;
}

#endif
