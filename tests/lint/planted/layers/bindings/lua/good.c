/* The public header only. */
#include "tito.h"
#include <lua.h>
