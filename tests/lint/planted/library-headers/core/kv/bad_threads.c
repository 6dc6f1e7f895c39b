/* Not here. */
#include <pthread.h>
