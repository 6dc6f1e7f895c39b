/* Reading ahead: the records that a document names are read together with it, where it is known
 * what the document named when it was last read. On a cluster that saves a round trip.
 *
 *   guesses   slot[hash(document's record, relationships)] -> keys of the records it named
 *   known     what was read ahead in this operation: key -> value
 *
 * A page of posts with their tags:   scan ──> posts and, guessed, tags ──> (tags not guessed)
 *
 * INVARIANTS
 *  1. A guess decides what is read early, never what is answered: an answer is made of what the
 *     transaction's view holds, and what was not guessed is asked for as if there were no guesses.
 *  2. Guesses are bounded: so many slots, so many bytes in each; a newer one takes the place.
 *  3. Of one read at most TI_AHEAD_KEYS_MAX records are guessed.
 *
 * What a wrong guess costs: records are read for nothing; one that is locked is waited for.
 *
 * Threads: guesses by any; known by the one of its operation. What is NOT here: what a document
 * names (hydrate.c). */
#ifndef TI_MODEL_AHEAD_H
#define TI_MODEL_AHEAD_H

#include "base/thread.h"
#include "kv/txn.h"

typedef struct ti_ahead_slot ti_ahead_slot;

typedef struct ti_ahead {
    ti_mutex mutex;       /* TI_RANK_LEAF: slots */
    ti_ahead_slot *slots; /* made by the first note; TI_AHEAD_SLOTS of them */
} ti_ahead;

/* One database handle's guesses. UNAVAILABLE (system). */
ti_status ti_ahead_init(ti_ahead *ahead, ti_err *err);
void ti_ahead_free(ti_ahead *ahead);
/* Document `record` named these records by the relationships that `what` stands for; too many are
 * not remembered. @thread any */
void ti_ahead_note(ti_ahead *ahead, uint64_t what, ti_slice record, const ti_slice *named,
                   size_t count);

typedef struct ti_known_part ti_known_part;

/* Zero: nothing is known. Lives as long as the arenas that it was filled with. */
typedef struct ti_known {
    ti_known_part *first;
} ti_known;

/* ti_txn_batch_get of documents' records, and of what they are guessed to name, which becomes known
 * in a. */
ti_status ti_known_fetch(ti_known *known, ti_ahead *ahead, uint64_t what, ti_txn *txn,
                         const ti_slice *records, size_t count, ti_arena *a, ti_slice *values_out,
                         const ti_call *call, ti_err *err);
/* ti_txn_batch_get that asks only for what is not known. */
ti_status ti_known_batch_get(const ti_known *known, ti_txn *txn, const ti_slice *keys, size_t count,
                             ti_arena *a, ti_slice *values_out, const ti_call *call, ti_err *err);

#endif
