/* Every limit of tito, named, in one place. Units are last in the name. */
#ifndef TI_BASE_LIMITS_H
#define TI_BASE_LIMITS_H

/* Documents and keys */
#define TI_DOCUMENT_SIZE_MAX (1024 * 1024)
#define TI_JSON_DEPTH_MAX 64
#define TI_KEY_SIZE_MAX 4096
#define TI_ID_SIZE_MAX 1024
#define TI_NAME_SIZE_MAX 128
#define TI_PATH_SIZE_MAX 256

/* Models */
#define TI_INDEX_FIELDS_MAX 16
#define TI_INDEXES_MAX 64 /* per model; also the bits of a condition mask */
#define TI_RECORD_ENTRIES_MAX 1024
#define TI_RELATIONSHIPS_MAX 64 /* declared per model */
#define TI_PREDICATE_NODES_MAX 256
#define TI_CATALOG_LEASE_US 5000000  /* how long a shared catalog may be used unread */
#define TI_REINDEX_BATCH 128         /* records per transaction */
#define TI_REINDEX_LEASE_US 10000000 /* a runner that is silent for so long is gone */
#define TI_REINDEX_DUPLICATES_MAX 10
#define TI_CHECK_FINDINGS_MAX 256 /* told per step */

/* Queries */
#define TI_PAGE_ITEMS_DEFAULT 100
#define TI_PAGE_ITEMS_MAX 10000
#define TI_PAGE_SIZE_MAX (64 * 1024 * 1024)
#define TI_QUERY_RELATIONSHIPS_MAX 16
#define TI_CHAIN_DEPTH_MAX 4
/* A document with hydrated ones inside it, each in a list; read back by bindings */
#define TI_JSON_DEPTH_HYDRATED_MAX ((TI_CHAIN_DEPTH_MAX + 1) * (TI_JSON_DEPTH_MAX + 1))
#define TI_CURSOR_SIZE_MAX 8192
#define TI_AHEAD_KEYS_MAX 128   /* records guessed for one read */
#define TI_AHEAD_NAMED_SIZE 246 /* bytes of the keys that one document is remembered to name */
#ifdef TI_TESTING
#define TI_AHEAD_SLOTS 8
#else
#define TI_AHEAD_SLOTS 4096 /* documents remembered by a handle on a cluster: 1 MiB */
#endif
#define TI_FETCH_BATCH 128 /* records read at once, so that a page of large ones stays bounded */

/* Transactions */
#define TI_TXN_MUTATIONS_MAX 100000
#define TI_TXN_SIZE_MAX (64 * 1024 * 1024)
#define TI_ENTRY_SIZE_MAX (6 * 1024 * 1024) /* a key and its value: TiKV refuses more than 8 MiB */
#define TI_TXN_AGE_DEFAULT_S 60
#define TI_TXN_AGE_MAX_S 600
#define TI_TIMEOUT_DEFAULT_S 30
#define TI_RETRY_ATTEMPTS_MAX 64
#define TI_RETRY_BASE_US 2000
#define TI_RETRY_CAP_US 1000000
#ifdef TI_TESTING
#define TI_WRITES_LEAF_MAX 4
#define TI_TXN_MEMORY_SIZE 256
#else
#define TI_WRITES_LEAF_MAX 64   /* writes in one leaf of a write set */
#define TI_TXN_MEMORY_SIZE 3072 /* arena bytes allocated together with a transaction */
#endif

/* The embedded engine */
#define TI_ROCKS_CACHE_SIZE_DEFAULT (64 * 1024 * 1024)
#define TI_ROCKS_WRITE_BUFFER_SIZE_DEFAULT (32 * 1024 * 1024)
#define TI_ROCKS_OPEN_FILES_DEFAULT 512
#define TI_ROCKS_JOBS_DEFAULT 2
#define TI_ROCKS_GROUP_SIZE_MAX (4 * 1024 * 1024) /* bytes of commits written together */
#define TI_ROCKS_MULTI_GET_MAX 64                 /* keys looked up by one call of RocksDB */
#define TI_ROCKS_STALL_SLEEP_US 1000              /* between tries while RocksDB takes no writes */
#define TI_ROCKS_CLOCK_WINDOW_US 3000000          /* how far ahead timestamps are reserved */
#ifdef TI_TESTING
#define TI_ROCKS_RECENT_SLOTS_MIN 16
#define TI_ROCKS_RECENT_SLOTS_MAX 1024
#else
#define TI_ROCKS_RECENT_SLOTS_MIN (128 * 1024)
#define TI_ROCKS_RECENT_SLOTS_MAX (256 * 1024) /* 16 bytes each; keys of recent commits */
#endif

/* Queue */
#define TI_EVENT_SIZE_MAX (1024 * 1024)
#define TI_PARTITIONS_DEFAULT 1024
#define TI_PARTITIONS_MAX 9999
#define TI_GRACE_US 5000000
#define TI_EVENT_ERROR_SIZE_MAX 4096
#define TI_EVENT_CONFLICTS_MAX 32 /* runs in a row that a conflict may throw away */
#define TI_LIST_SCAN_MAX 100000   /* rows that one page of a list looks at */
#define TI_LIST_RANGES_MAX 64     /* scans of a cluster that leave out what was drained */
#define TI_RERUN_BASE_US 1000     /* a run thrown away by a conflict waits; doubles */
#define TI_RERUN_CAP_US 100000
#define TI_CONCURRENCY_MAX 65536 /* events of a worker with the host at once */
#define TI_BATCH_MAX 1000        /* events that a handler gets together */
#define TI_BATCH_CONFLICTS_MAX 2 /* runs in a row that a conflict throws away; then in halves */
#define TI_WORKER_TYPES_MAX 256
#define TI_QUEUE_TYPES_MAX 4096
#define TI_GATHER_EVENTS_MAX 32 /* events of callers that share a transaction */
#define TI_GATHER_SIZE_MAX (256 * 1024)
#define TI_GATHER_PARTS 4         /* pieces of a type's partitions; callers of one piece share */
#define TI_GATHER_LOOK_US 50000   /* looks at cancellations; deadlines so near are one */
#define TI_META_LEASE_US 10000000 /* shared engines: how long a count may be remembered */
#define TI_REPARTITION_COMMIT_SHARE 10 /* of that, the switch to another count may take a tenth */
#define TI_REPARTITION_LOOK_US 2000    /* how often to look whether workers have come to rest */
#define TI_ACK_GROUP_SIZE_MAX (8 * 1024 * 1024) /* bytes of the events in one commit */
#define TI_UNCOMMITTED_MAX 16384                /* settled events that wait for their commit */
#define TI_COMMITTERS_MAX 4                     /* threads that commit outcomes, per worker */
#define TI_READ_PAGE_SIZE_MAX (4 * 1024 * 1024)
#ifdef TI_TESTING
#define TI_ACK_GROUP_MAX 32
#define TI_READ_PAGE_MAX 16
#define TI_WINDOW_EVENTS_MAX 512
#define TI_WINDOW_PARTITION_MAX 128
#define TI_PARKED_PAGE_MAX 4
#define TI_PARKED_SIZE_MAX (16 * 1024)
#else
#define TI_ACK_GROUP_MAX 512                  /* outcomes in one commit */
#define TI_READ_PAGE_MAX 256                  /* events per read of a partition */
#define TI_WINDOW_EVENTS_MAX 16384            /* events in the memory of a worker */
#define TI_WINDOW_PARTITION_MAX 2048          /* of one partition */
#define TI_PARKED_PAGE_MAX 64                 /* parked events of one key read at once */
#define TI_PARKED_SIZE_MAX (32 * 1024 * 1024) /* memory for the keys that wait for a retry */
#endif
#define TI_WINDOW_SIZE_MAX (64 * 1024 * 1024)
#define TI_SPILL_AFTER_US 500000   /* full for so long: long keys get out of the way */
#define TI_SPILL_CHAIN_MIN 8       /* events of one key from which it counts as long */
#define TI_SWEEP_BUSY_US 1000000   /* shared engines: partitions with news or backlog are swept */
#define TI_SWEEP_IDLE_US 10000000  /* … idle ones */
#define TI_SWEEP_ALONE_US 60000000 /* engines with exact wake-ups */
#define TI_DUE_WAIT_US_MAX 3600000000u /* longer waits are looked at again on the way */
#define TI_OWNERSHIP_US 1000000        /* how often the ownership is asked */
#ifdef TI_TESTING
#define TI_BULK_BATCH 16
#else
#define TI_BULK_BATCH 256 /* events in one transaction of a purge or a replay */
#endif
#define TI_SCHEDULES_MAX 4096
#define TI_SCHEDULE_PAYLOAD_SIZE_MAX (64 * 1024)
#define TI_SCHEDULE_AHEAD_US 2000000 /* how long before its tick an event is published */
#define TI_SCHEDULE_LATE_US 30000000 /* a tick that old was missed */
#define TI_SCHEDULE_TICKS_MAX 100    /* events in one transaction */
#define TI_DEPTH_MAX 100000          /* events counted for a queue's depth */
#define TI_CENSUS_MAX 1000000        /* events looked at for how its partitions are */
#define TI_HINT_WRITE_US 5000        /* at most one writing of a process in that time */
#define TI_HINT_KEEP_US 2000000      /* how long a row tells news; at least half of it */
#define TI_HINT_POLL_MIN_US 1000     /* how often workers look while there is news */
#define TI_HINT_POLL_MAX_US 50000    /* … while there is none */
#define TI_HINT_AGE_US 3600000000ll
#define TI_HINT_CALL_US 1000000
#define TI_HINT_ROWS_MAX 4096
#ifdef TI_TESTING
#define TI_OPEN_BATCH 24
#define TI_OPEN_THREAD_MIN 4
#else
#define TI_OPEN_BATCH 256     /* partitions opened at once */
#define TI_OPEN_THREAD_MIN 16 /* shared engines: … from which another thread reads some of them */
#endif
#define TI_OPEN_THREADS_MAX 8
#define TI_SWEEP_ROWS_MAX 16            /* rows that the sweep of an idle partition reads at most */
#define TI_KEEPER_US 1000000            /* how often a worker keeps house */
#define TI_RETENTION_BATCH 256          /* completed events deleted in one transaction */
#define TI_RETENTION_BATCHES_MAX 16     /* … of one partition in a row */
#define TI_RETENTION_VISIT_US 120000000 /* each partition is visited that often, at least */
#define TI_LEASE_DEFAULT_US 10000000    /* how long a worker's lease lasts unrenewed */
#define TI_LEASE_US_MIN 200000
#define TI_LEASE_US_MAX 3600000000ll
#define TI_LEASE_TICK_US 1000000 /* how often a worker looks who else is there */
#define TI_LEASE_HURRY_US 20000  /* … while partitions wait to change hands; doubles */
#define TI_LEASE_MEMBERS_MAX 4096
#define TI_LEASE_BATCH 256         /* leases taken or given back in one transaction */
#define TI_LEASE_CALL_US 10000000  /* one transaction about leases */
#define TI_FLOOR_MARGIN_US 1000000 /* how long a commit may take from its T to its first write */
#define TI_CHECKPOINT_BATCH 256    /* checkpoints in one commit */
#define TI_CHECKPOINT_US 10000000  /* how often checkpoints are written */

/* Memory */
#ifdef TI_TESTING
#define TI_ARENA_CHUNK_SIZE 64 /* most allocations get a chunk of their own: bugs get a chance */
#define TI_ARENA_CHUNK_SIZE_MAX 64
#else
#define TI_ARENA_CHUNK_SIZE 4096             /* the first chunk */
#define TI_ARENA_CHUNK_SIZE_MAX (256 * 1024) /* chunks double up to here */
#endif
#define TI_ARENA_SIZE_MAX (1024ull * 1024 * 1024)

/* Executor */
#define TI_EXECUTOR_QUEUE_MAX 65536
#define TI_EXECUTOR_THREADS_DEFAULT 4        /* for operations */
#define TI_EXECUTOR_COMMIT_THREADS_DEFAULT 8 /* for commit and rollback: they share an fsync */
#define TI_EXECUTOR_LOCK_THREADS_DEFAULT 64  /* for operations that may wait for a lock */
#define TI_FUTURE_SIZE_MAX (64 * 1024)       /* of an operation's own memory */
#define TI_EXECUTOR_THREADS_MAX 64

#endif
