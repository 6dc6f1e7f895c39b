/* A long run of a queue over several processes that are killed, stopped and restarted, and what is
 * asked of it afterwards.
 *
 *   volume.c         the parent: starts processes, kills and stops them, drains, judges
 *   volume_child.c   a process (this program again): publishers, a worker and its handlers
 *   volume_log.c     the plan and the log, in files that outlive every process
 *   volume_store.c   the database, and what is left in it at the end
 *   volume_judge.c   the checker: from the log and what is left in the store, nothing else
 *
 * Numbers 1 … plan.numbers identify events; publisher p of P publishes p + 1, p + 1 + P, … in this
 * order, in transactions of a few. A number says what its key is, whether its handler always fails
 * (it is bad) and whether its key's events have a due time. Keys belong to one publisher each.
 *
 * Each handler appends `number.process.count,` to the chain of the event's key, in the event's
 * transaction. The log is one file that all processes append to: the order of its records is the
 * order in which they were written, and a record that was written survives SIGKILL.
 *
 * INVARIANTS
 *  1. A START is written before its handler does anything, its end before the event is settled.
 *  2. PUBLISHING is written before a transaction begins, PUBLISHED after its commit returned.
 *  3. KILLED and STOPPED are written by the parent when the process is dead, or stands still;
 *     GOES_ON before it is let go on. DRAINED is a process's own last word.
 *  4. The log's times are the machine's, also in a process whose clock is another. */
#ifndef TITO_TESTS_QUEUE_VOLUME_H
#define TITO_TESTS_QUEUE_VOLUME_H

#include "queue/support.h"
#include "tikv/cluster.h"

#define VOLUME_PATH_SIZE (TEST_DIR_SIZE + 32)
#define VOLUME_TYPE "volume"

/* What all processes of a run know; stored in its directory. */
typedef struct volume_plan {
    char pd[CLUSTER_PDS_MAX][CLUSTER_ADDRESS_SIZE]; /* of the cluster */
    size_t pd_count;                                /* 0: the embedded engine, in the directory */
    char space[64];                                 /* the namespace; "" = none */
    uint64_t numbers;
    uint32_t keys; /* a multiple of publishers */
    uint32_t publishers;
    uint32_t partitions;
    uint32_t handlers; /* threads of a process */
    uint32_t batch;    /* events of a transaction, at most */
    uint32_t bad_in;   /* one number in so many is bad; 0 = none */
    uint32_t due_in;   /* one key in so many has due times; 0 = none */
    uint32_t fail_in;  /* one run in so many fails, is late, kills its process; 0 = none */
    uint32_t late_in;
    uint32_t crash_in;
    uint32_t handle_us;  /* what a handler takes at most */
    uint32_t publish_us; /* what a publisher waits between transactions */
    int64_t timeout_us;  /* of handlers */
    int64_t lease_us;    /* 0: every process works on all partitions */
    int64_t drain_us;    /* how long a process may drain after SIGTERM */
    uint64_t seed;
} volume_plan;

uint32_t volume_key_of(const volume_plan *plan, uint64_t number);
bool volume_is_bad(const volume_plan *plan, uint64_t number);
bool volume_has_due(const volume_plan *plan, uint32_t key);
/* How many numbers a publisher has, and its i-th, from 0. */
uint64_t volume_share(const volume_plan *plan, uint32_t publisher);
uint64_t volume_number(const volume_plan *plan, uint32_t publisher, uint64_t i);

/* ---- the log ---- */

typedef enum volume_kind {
    VOLUME_PUBLISHING = 1, /* number … last: indices of a publisher, which is `key` */
    VOLUME_PUBLISHED,
    VOLUME_START,
    VOLUME_DONE, /* will acknowledge what it wrote */
    VOLUME_FAIL, /* will fail */
    VOLUME_KILLED,
    VOLUME_STOPPED,
    VOLUME_GOES_ON,
    VOLUME_DRAINED, /* the worker has ended well; handles nothing more */
} volume_kind;

typedef struct volume_record {
    uint32_t kind;
    uint32_t process; /* from 1, another one at each start */
    uint64_t number;
    uint64_t last;
    uint64_t run; /* process << 32 | count */
    uint32_t key;
    uint32_t attempts;
    int64_t due_us; /* of the event; 0 = none */
    int64_t db_us;  /* the database's time, where there is a due time; else 0 */
    int64_t real_us;
} volume_record;

/* Writes and reads dir/plan. */
void volume_plan_write(const char *dir, const volume_plan *plan);
void volume_plan_read(const char *dir, volume_plan *plan);
/* The log of a directory, for appending. */
int volume_log_open(const char *dir);
/* Appends a record with the time; ends the process when that fails. */
void volume_log_add(int log, volume_record record);
/* All of it; the caller frees. */
volume_record *volume_log_read(const char *dir, size_t *count_out);
/* The machine's time, whatever libfaketime says. */
int64_t volume_real_us(void);
/* dir/name */
void volume_path(const char *dir, const char *name, char out[VOLUME_PATH_SIZE]);

/* ---- what is left ---- */

typedef struct volume_effect {
    uint64_t number;
    uint64_t run;
    uint32_t key;
} volume_effect;

typedef struct volume_left {
    volume_effect *effects; /* chain by chain, each in its order */
    size_t effect_count;
    bool *failed; /* per number: the store has it as FAILED */
    bool *stored; /* per number: it is still to be delivered */
} volume_left;

/* Opens the run's database in this process. */
void volume_db_open(qdb *d, const char *dir, const volume_plan *plan);
/* Whether nothing is to be delivered. */
bool volume_db_is_empty(qdb *d);
void volume_left_read(qdb *d, const volume_plan *plan, volume_left *out);
void volume_left_free(volume_left *left);

/* ---- the checker ---- */

typedef struct volume_verdict {
    const char *what; /* NULL: all holds; else what does not (static text) */
    uint64_t number;  /* of the event, or of the process */
    uint64_t certain; /* events whose publication returned */
    uint64_t effective;
    uint64_t given_up;
    uint64_t runs;
    uint64_t fenced; /* runs that stood still beyond their lease */
} volume_verdict;

/* What must hold
 *  1. An event whose publication returned has exactly one effect, or is bad and FAILED, or is still
 *     stored. One whose publisher was killed meanwhile has at most one. Nothing else has any.
 *  2. Effects of a key are in the order of publication.
 *  3. An effect is of a run that began and said that it is done.
 *  4. No run begins before the event's due time.
 *  5. A run that was in hand while its process stood still for longer than the lease has no
 *     effect when it said that it is done after another process had begun with the event.
 *  6. A process that has drained has no run open, and begins none.
 *  7. Where one process at a time has all partitions: everything that checker.h asks of a log.
 *  8. With `drained`: nothing is stored any more. */
void volume_judge(const volume_plan *plan, const volume_record *log, size_t count,
                  const volume_left *left, bool drained, volume_verdict *out);

/* ---- a process ---- */

/* What `program --process DIR NUMBER ROLE` does; the exit status. ROLE: p = publishes, w = works,
 * both = pw. What publishes ends by itself, when all is published and (works it, too) handled. */
int volume_process(const char *dir, uint32_t process, const char *role);

#endif
