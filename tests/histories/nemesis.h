/* What happens to the cluster while clients run: regions split and merge, leaders move, stores and
 * PD's come and go, streams break, answers are lost, all through the mock cluster's control port.
 *
 * INVARIANTS
 *  1. After nemesis_heal everything is up and no rule is left.
 *
 * Thread rule: one thread. What is NOT here: killing clients (run.c). */
#ifndef TITO_TESTS_HISTORIES_NEMESIS_H
#define TITO_TESTS_HISTORIES_NEMESIS_H

#include "histories/client.h"

#define NEMESIS_PDS 3
#define NEMESIS_STORES_MAX 5

typedef struct nemesis {
    const cluster *cluster;
    hist_shared *shared;
    const hist_load *load;
    test_random random;
    uint64_t stores[NEMESIS_STORES_MAX];
    size_t store_count;
    uint64_t actions;
} nemesis;

/* Cuts the load's keys into a few regions to begin with. */
void nemesis_begin(nemesis *n, const cluster *c, hist_shared *shared, const hist_load *load);
/* One misfortune; returns when it is over, or lasting when it is one that clients overcome by
 * themselves. Takes up to half a second. */
void nemesis_act(nemesis *n);
void nemesis_heal(nemesis *n);

#endif
