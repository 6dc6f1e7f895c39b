/* How a broken invariant ends the process: one line on stderr, then abort, so that no wrong byte is
 * written after it. Thread rule: any thread. */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void ti_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "tito: assertion failed: %s (%s:%d)\n", condition, file, line);
    fflush(stderr);
    abort();
}
