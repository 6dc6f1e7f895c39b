/* Not here. */
#include <lauxlib.h>
