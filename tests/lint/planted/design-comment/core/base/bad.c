#include <string.h>
/* Too late. */
