/* A header of base. */
#include <string.h>
#include "base/other.h"
