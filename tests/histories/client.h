/* A client under test: one thread that runs transactions over core/kv and writes down what it did.
 *
 * A process of clients has one log, a line per event:
 *
 *   T ID CLIENT BEGUN_NS START_TS OP…      about to end: all it read, and what it is to write
 *   E ID ENDED_NS STATUS COMMIT_TS         how it ended; no such line: the process was killed
 *
 *   r:KEY:VALUE   read from the snapshot (or written by itself before)     no value: absent
 *   l:KEY:VALUE   read under a pessimistic lock: the newest committed value
 *   w:KEY:VALUE   written                      a:KEY:VALUE   appended to a list of values, "1,2,3"
 *
 * Times are of the machine's monotonic clock, the same for all processes. START_TS is 0 where
 * nothing was read. STATUS is a status name of core/base/status.h.
 *
 * INVARIANTS
 *  1. The T line is in the log before the commit can have been sent, the E line after its answer.
 *  2. Every written value is written once in a run: who reads it knows who wrote it.
 *
 * Thread rule: a client belongs to one thread; the shared state is in memory that all processes
 * map. What is NOT here: what the transactions do (loads.c), faults (nemesis.c), checks (check/).
 */
#ifndef TITO_TESTS_HISTORIES_CLIENT_H
#define TITO_TESTS_HISTORIES_CLIENT_H

#include "tikv/cluster.h"

#include "kv/txn.h"

#define HIST_GROUPS 6
#define HIST_LISTS 5 /* of a group */
#define HIST_SEATS 64
#define HIST_KEY_SIZE 64
#define HIST_VALUE_SIZE 4096
#define HIST_LINE_SIZE (1 << 20)

/* Mapped by all processes of a run. */
typedef struct hist_shared {
    char prefix[HIST_KEY_SIZE]; /* before every key */
    uint64_t seed;
    bool padded; /* transactions write so much besides that none commits in one phase */
    _Atomic(uint64_t) transactions; /* ids */
    _Atomic(uint64_t) values;
    _Atomic(uint64_t) committed; /* ended well, read-only ones too */
    _Atomic(uint64_t) failed;
    _Atomic(uint64_t) unknown;
    _Atomic(uint64_t) one_pc; /* engine statistics of processes that ended in order */
    _Atomic(uint64_t) async;
    _Atomic(uint64_t) two_phase;
    _Atomic(uint32_t) generation[HIST_GROUPS][HIST_LISTS]; /* a full list gives way to the next */
    struct {
        _Atomic(int) group;
        _Atomic(int64_t) begun_ns; /* 0: idle */
    } seats[HIST_SEATS]; /* what each client does: those of a killed one stay until it is replaced
                          */
    _Atomic(int) stop;
} hist_shared;

typedef struct hist_load hist_load;

typedef struct hist_client {
    ti_kv kv;
    const hist_load *load;
    hist_shared *shared;
    uint32_t number; /* never given twice */
    uint32_t seat;
    int group;    /* of the transaction */
    bool patient; /* all its transactions have long deadlines; else some have short ones */
    int log;
    test_random random;
    ti_txn *txn;
    ti_arena arena; /* of one transaction */
    ti_buf ops;
    ti_call call;
    ti_err err;
    uint64_t id;
    int64_t begun_ns;
    bool wrote;
    ti_thread thread;
} hist_client;

/* What clients do. */
struct hist_load {
    const char *name;
    void (*set_up)(hist_client *c);   /* one transaction before all others, by one client */
    void (*step)(hist_client *c);     /* one transaction */
    void (*read_all)(hist_client *c); /* after all others: every key, so that outcomes show */
    /* A key of the load without prefix, for the nemesis to cut and move at. */
    void (*any_key)(hist_shared *shared, test_random *random, char out[HIST_KEY_SIZE]);
};

extern const hist_load hist_bank;
extern const hist_load hist_append;
extern const hist_load hist_ring;
extern const hist_load hist_register;

/* Takes over the engine reference. */
void hist_client_open(hist_client *c, ti_engine *engine, const hist_load *load, hist_shared *shared,
                      uint32_t number, uint32_t seat, int log);
void hist_client_close(hist_client *c);

/* One transaction: begin, reads and writes as long as they answer TI_OK, finish with the first
 * status that is not. begin picks a group of keys in c->group, one where nobody is held up when it
 * can: a lock of the dead stops those who meet it, not everybody. */
void hist_begin(hist_client *c);
/* The value as text in the client's arena, "" when absent. */
ti_status hist_get(hist_client *c, const char *key, const char **value_out);
ti_status hist_get_locked(hist_client *c, const char *key, const char **value_out);
/* All keys in one request; values_out has count elements. */
ti_status hist_batch_get(hist_client *c, const char (*keys)[HIST_KEY_SIZE], size_t count,
                         const char **values_out);
/* Scans [from, to), forward or reverse, and notes each pair. absent keys are not noted. */
ti_status hist_scan(hist_client *c, const char *from, const char *to, bool reverse);
ti_status hist_put(hist_client *c, const char *key, const char *value);
/* Reads the list, adds value, puts it. locked: under a pessimistic lock. */
ti_status hist_add(hist_client *c, const char *key, uint64_t value, bool locked,
                   const char **list_out);
/* Commits when status is TI_OK, else rolls back; notes the outcome. Answers it. */
ti_status hist_finish(hist_client *c, ti_status status);
/* A value that nobody has written. */
uint64_t hist_fresh_value(hist_client *c);

#endif
