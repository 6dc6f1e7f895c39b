/* Memory. */
#include "base/mem.h"
#include <pthread.h>
#include <stdlib.h>

void *ti_alloc(size_t size)
{
    return malloc(size);
}
