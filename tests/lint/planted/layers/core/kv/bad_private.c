/* A private header of another room. */
#include "base/x_int.h"
