/* Memory. */
#ifndef TI_BASE_MEM_H
#define TI_BASE_MEM_H

#include <stddef.h>

/* Memory of the caller. */
void *ti_alloc(size_t size);

#endif
