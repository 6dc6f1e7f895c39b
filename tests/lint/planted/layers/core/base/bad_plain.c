/* Not by room. */
#include "good.h"
