/* Keys; never strcpy(). */
#include "base/mem.h"

void *ti_kv_new(void)
{
    return ti_alloc(1);
}
