/* A run: a cluster, processes of clients that are killed, paused and replaced, misfortunes, and
 * afterwards the checker over all that was written down.
 *
 *   this process ──fork──> set up, then PROCESSES × THREADS clients, then the last reader
 *        │ misfortunes, SIGKILL, SIGSTOP       │ logs in one folder
 *        └──────────── at the end ──────────> check FOLDER
 *
 * INVARIANTS
 *  1. This process makes no engine and no thread, so that forking it is harmless.
 *  2. No client process outlives this one.
 *
 *   TITO_TEST_COMMIT=2pc   by 2PC alone, for clusters of unistore's: it picks the timestamp of 1PC
 *     and async commit before what it commits is visible
 *
 * Thread rule: one thread. */
#ifndef TITO_TESTS_HISTORIES_RUN_H
#define TITO_TESTS_HISTORIES_RUN_H

#include "histories/client.h"

typedef struct hist_run_options {
    const hist_load *load;
    uint64_t transactions; /* that must have ended well */
    bool two_phase;        /* neither 1PC nor async commit: the stores refuse them, as they may */
} hist_run_options;

/* Fails the test when the checker finds an anomaly. */
void hist_run(const hist_run_options *options);

#endif
