/* kv may use base. */
#include "base/good.h"
#include "kv/kv_int.h"
#include "made.pb-c.h"
