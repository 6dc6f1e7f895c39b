/* The one room. */
#include <rocksdb/c.h>
