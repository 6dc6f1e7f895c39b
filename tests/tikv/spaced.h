/* Engines on the cluster under test, each with keys of its own: what a test of another room opens
 * where it would open a database in memory.
 *
 *      the test's key     k02
 *      the cluster's      titotest.{program}.{n}:k02        {program}: 16 hex digits, new each time
 *
 * The cluster is the program's: TITO_TEST_PD's, else a mock that starts with the first engine and
 * ends with the program.
 *
 * INVARIANTS
 *  1. No call of such an engine touches a key outside of its prefix.
 *  2. On a cluster of the user's, everything under the program's prefix is deleted at the end of
 *     the program. What a program leaves that was killed, the program cluster_clear deletes.
 *
 * Thread rule: opening by one thread; the engine as any engine. */
#ifndef TITO_TESTS_TIKV_SPACED_H
#define TITO_TESTS_TIKV_SPACED_H

#include "tikv/cluster.h"

#define SPACED_ROOT "titotest."

/* Whether TITO_TEST_ENGINE says that this program's databases are on TiKV. */
bool spaced_wanted(void);
/* The program's cluster. */
const cluster *spaced_cluster(void);
/* An engine on keys that nobody else has; one reference. */
ti_engine *spaced_new(void);
/* An engine on the keys of that name: the same ones for each engine of that name. */
ti_engine *spaced_named(const char *name);
/* Another client on the keys of e, as another process has one. */
ti_engine *spaced_beside(const ti_engine *e);
/* Deletes every key under a prefix, in transactions. Answers how many there were. */
uint64_t spaced_clear(ti_engine *e, ti_slice prefix);

#endif
