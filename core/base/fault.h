/* Fault points: named places where a test makes the process die or a step fail.
 *
 *   TI_FAULT(rocks_after_write);                     here a test may kill the process
 *   if (TI_FAULT_FAILS(rocks_write)) …               here a test may make this step fail
 *
 * Compiled to nothing unless TI_TESTING is set. One fault is armed at a time: its point, after how
 * many hits it strikes, and how often.
 *
 * Thread rule: points may be hit from any thread; arm before the threads that are to hit start. */
#ifndef TI_BASE_FAULT_H
#define TI_BASE_FAULT_H

#include <stdbool.h>
#include <stdint.h>

typedef enum ti_fault_action {
    TI_FAULT_KILL, /* SIGKILL to the own process */
    TI_FAULT_FAIL, /* TI_FAULT_FAILS answers true */
} ti_fault_action;

typedef struct ti_fault {
    const char *name;       /* borrowed while armed; NULL: every point counts as a hit */
    ti_fault_action action; /* what happens when it strikes */
    uint64_t at;            /* the hit at which it strikes, from 1 */
    uint64_t times;         /* how many hits in a row; 0 = all that follow */
} ti_fault;

#ifdef TI_TESTING
#define TI_FAULT(name) ((void)ti_fault_hit(#name))
#define TI_FAULT_FAILS(name) ti_fault_hit(#name)

/* Arms one fault, and sets the count of hits to 0; NULL disarms. fault is borrowed until then.
 * @thread one */
void ti_fault_arm(const ti_fault *fault);
/* How often the armed fault's point was hit. @thread any */
uint64_t ti_fault_hits(void);
/* Called by the macros: true when the step has to fail. @thread any */
bool ti_fault_hit(const char *name);
#else
#define TI_FAULT(name) ((void)0)
#define TI_FAULT_FAILS(name) false
#endif

#endif
