/* The module. */
#include <lua.h>
#include "tito.h"
