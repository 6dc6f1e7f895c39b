/* cluster_clear [PREFIX]: deletes what tests have left on the cluster of TITO_TEST_PD, every key
 * under PREFIX (default: all that any test has ever made there), and says how many there were. */
#include "tikv/spaced.h"

static const char *prefix = SPACED_ROOT;

static void clear(void **state)
{
    cluster c;
    (void)state;
    cluster_start(&c);
    ti_engine *e = cluster_open(&c);
    fprintf(stderr, "%llu keys deleted under %s\n",
            (unsigned long long)spaced_clear(e, ti_slice_of(prefix)), prefix);
    e->vt->unref(e);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(clear)};
    if (!cluster_is_own() || argc > 2 ||
        (argc == 2 && strncmp(argv[1], SPACED_ROOT, strlen(SPACED_ROOT)) != 0)) {
        fprintf(stderr, "usage: TITO_TEST_PD=host:port cluster_clear [%s...]\n", SPACED_ROOT);
        return 2;
    }
    if (argc == 2)
        prefix = argv[1];
    return TEST_RUN(tests);
}
