/* The cluster under test: the mock cluster as a child process with its control port, or the user's
 * own (TITO_TEST_PD=host:port[,host:port]).
 *
 *   TITO_TEST_MOCK   the mock cluster's program, when not the one of this build
 *
 * INVARIANTS
 *  1. A started mock ends when its standard input closes: also when this process dies.
 *  2. A control request that is refused fails the test with the reason.
 *
 * Thread rule: cluster_start and cluster_stop by one thread; control requests by any. */
#ifndef TITO_TESTS_TIKV_CLUSTER_H
#define TITO_TESTS_TIKV_CLUSTER_H

#include "support/test.h"

#include "tikv/tikv.h"

#define CLUSTER_ADDRESS_SIZE 128
#define CLUSTER_PDS_MAX 8
#define CLUSTER_STATE_SIZE 262144

typedef struct cluster_options {
    int pds;          /* 0 = 1 */
    int stores;       /* 0 = 3 */
    bool strict;      /* a committed LOCK conflicts with later writes */
    bool two_phase;   /* the stores refuse 1PC and async commit */
    const char *ca;   /* TLS: files, or NULL */
    const char *cert; /* with key */
    const char *key;
    const char *extra; /* one more argument of the mock's, or NULL */
} cluster_options;

typedef struct cluster {
    pid_t pid; /* 0: the user's own cluster */
    int input; /* the child's standard input */
    char pd[CLUSTER_PDS_MAX][CLUSTER_ADDRESS_SIZE];
    size_t pd_count;
    char control[CLUSTER_ADDRESS_SIZE];
} cluster;

/* Whether the user named a cluster of his own: what needs the control port is skipped then. */
bool cluster_is_own(void);
/* Starts a mock cluster; fails the test when it can not. */
void cluster_start_mock(cluster *c, const cluster_options *options);
/* The user's cluster when he named one, else a mock of three stores. */
void cluster_start(cluster *c);
void cluster_stop(cluster *c);

/* A control request, as control.go lists them: cluster_do(c, "/store/stop?id=%d", 4). */
void cluster_do(const cluster *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A control request that may be refused; answers whether it was not. */
bool cluster_ask(const cluster *c, const char *path);
void cluster_fault(const cluster *c, const char *rule_json);
/* split, merge or leader at a key. */
void cluster_at_key(const cluster *c, const char *action, ti_slice key);
/* A number of the answer to a control request: cluster_count(c, "count", "/tls/peer?name=%s", "x").
 */
uint64_t cluster_count(const cluster *c, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A number of /state: "tso_requests", "lookups", "fault_hits", "safe_point". */
uint64_t cluster_number(const cluster *c, const char *name);
/* The ids of the stores, ascending; answers how many. */
size_t cluster_stores(const cluster *c, uint64_t *ids, size_t max);
/* Where the first store listens. */
void cluster_store_address(const cluster *c, char address[CLUSTER_ADDRESS_SIZE]);

/* An engine on the cluster, with these options besides the endpoints (or NULL). */
ti_status cluster_try_open(const cluster *c, const ti_tikv_options *base, int64_t timeout_us,
                           ti_engine **engine_out, ti_err *err);
ti_engine *cluster_open(const cluster *c);
/* A number of the engine's statistics by name; fails the test when there is none. */
uint64_t engine_number(ti_engine *e, const char *name);

#endif
