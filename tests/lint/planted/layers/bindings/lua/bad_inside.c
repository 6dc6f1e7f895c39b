/* Reaches around the interface. */
#include "base/good.h"
