/* Not here. */
# include "simdjson.h"
