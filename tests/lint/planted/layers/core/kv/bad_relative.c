/* Out of its folder. */
#include "../base/good.h"
