/* Fault points; see fault.h. One armed fault and its counter: state of test builds only. */
#include "base/fault.h"

#ifdef TI_TESTING

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"

static _Atomic(const ti_fault *) armed;
static _Atomic(uint64_t) hits;

void ti_fault_arm(const ti_fault *fault)
{
    ti_assert(fault == NULL || fault->at > 0);
    atomic_store(&armed, NULL);
    atomic_store(&hits, 0);
    atomic_store(&armed, fault);
}

uint64_t ti_fault_hits(void)
{
    return atomic_load(&hits);
}

bool ti_fault_hit(const char *name)
{
    const ti_fault *fault = atomic_load_explicit(&armed, memory_order_acquire);
    ti_assert(name != NULL);
    if (fault == NULL || (fault->name != NULL && strcmp(fault->name, name) != 0))
        return false;
    uint64_t hit = atomic_fetch_add(&hits, 1) + 1;
    if (hit < fault->at || (fault->times > 0 && hit >= fault->at + fault->times))
        return false;
    if (fault->action == TI_FAULT_KILL)
        (void)kill(getpid(), SIGKILL);
    return true;
}

#else

typedef int ti_fault_is_empty; /* ISO C wants at least one declaration */

#endif
