/* Not here. */
#include <rocksdb/c.h>
