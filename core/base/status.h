/* The one list of statuses, shared by every layer and by the ABI, each with the class that alone
 * decides policy.
 *
 * INVARIANTS
 *  1. A number never changes its meaning; new statuses are appended inside their hundred.
 *  2. number / 100 is the class, so that a binding can tell the class without a table.
 *  3. Nothing maps a status of class UNKNOWN to another class.
 *
 * What is NOT here: messages (err.h). */
#ifndef TI_BASE_STATUS_H
#define TI_BASE_STATUS_H

typedef int ti_status;

typedef enum ti_status_class {
    TI_CLASS_OK = 0,        /* done, or the thing asked for is absent */
    TI_CLASS_CALLER = 1,    /* the caller's mistake or a rule of the data: never retried */
    TI_CLASS_CONFLICT = 2,  /* the transaction function runs again on a new snapshot */
    TI_CLASS_TRANSIENT = 3, /* not applied: retry within deadline and budget */
    TI_CLASS_UNKNOWN = 4,   /* the commit may be durable: never retried, never renamed */
    TI_CLASS_BROKEN = 5,    /* told to the caller */
    TI_CLASS_HANDLER = 6,   /* an event handler failed */
} ti_status_class;

/* X(number, NAME, lower-case name) */
#define TI_STATUS_MAP(X)                                                                           \
    X(0, OK, "ok")                                                                                 \
    X(1, NOT_FOUND, "not_found")                                                                   \
    X(100, INVALID_ARGUMENT, "invalid_argument")                                                   \
    X(101, INVALID_STATE, "invalid_state")                                                         \
    X(102, ALREADY_EXISTS, "already_exists")                                                       \
    X(103, UNIQUE_VIOLATION, "unique_violation")                                                   \
    X(104, VERSION_MISMATCH, "version_mismatch")                                                   \
    X(105, LIMIT_EXCEEDED, "limit_exceeded")                                                       \
    X(106, SCHEMA_MISMATCH, "schema_mismatch")                                                     \
    X(107, UNSUPPORTED, "unsupported")                                                             \
    X(108, FORKED, "forked")                                                                       \
    X(109, CLOSED, "closed")                                                                       \
    X(110, CANCELLED, "cancelled")                                                                 \
    X(200, CONFLICT, "conflict")                                                                   \
    X(201, DEADLOCK, "deadlock")                                                                   \
    X(300, UNAVAILABLE, "unavailable")                                                             \
    X(301, TIMEOUT, "timeout")                                                                     \
    X(302, BUSY, "busy")                                                                           \
    X(400, OUTCOME_UNKNOWN, "outcome_unknown")                                                     \
    X(500, CORRUPT, "corrupt")                                                                     \
    X(501, IO, "io")                                                                               \
    X(502, OUT_OF_MEMORY, "out_of_memory")                                                         \
    X(503, INTERNAL, "internal")                                                                   \
    X(600, HANDLER_FAILED, "handler_failed")

enum {
#define TI_STATUS_ENUM(number, NAME, text) TI_##NAME = number,
    TI_STATUS_MAP(TI_STATUS_ENUM)
#undef TI_STATUS_ENUM
};

/* The class of a status. Unknown numbers count as BROKEN. @thread any */
ti_status_class ti_status_class_of(ti_status status);

/* The lower-case name ("not_found"), static storage; "unknown_status" for a number outside the
 * list. @thread any */
const char *ti_status_name(ti_status status);

#endif
