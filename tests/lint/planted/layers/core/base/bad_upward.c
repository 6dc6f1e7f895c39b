/* base may not use kv. */
#include "kv/kv.h"
