/* Whether the other threads of this process sleep, as the kernel sees it: one that could run and
 * waits for a processor does not. Simulated time must not move while there is such a thread.
 *
 * Thread rule: any thread. */
#ifndef TITO_TESTS_TIKV_CALM_H
#define TITO_TESTS_TIKV_CALM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

pid_t calm_self(void);
/* true: there was a moment during the call in which all threads slept, but the caller and those of
 * `except`. Where the kernel does not tell, true. */
bool calm_but_for(const pid_t *except, size_t count);

#endif
