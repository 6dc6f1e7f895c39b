/* Reaches around the interface. */
#include "kv/kv.h"
