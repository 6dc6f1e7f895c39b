/* Histories: what clients saw and did while the cluster fell apart around them, checked afterwards.
 *
 * 100,000 transactions at TITO_TEST_SCALE=1 over all loads together. The lists run twice: by 2PC
 * alone, and by all modes of commit with the front of each store keeping reads out of a Prewrite
 * that may commit by itself. */
#include "histories/run.h"

static void a_bank_keeps_its_sum(void **state)
{
    (void)state;
    hist_run(&(hist_run_options){.load = &hist_bank, .transactions = test_scaled(22000)});
}

static void lists_tell_of_snapshot_isolation(void **state)
{
    (void)state;
    hist_run(&(hist_run_options){
        .load = &hist_append, .transactions = test_scaled(22000), .two_phase = true});
}

static void lists_tell_the_same_of_one_phase(void **state)
{
    (void)state;
    hist_run(&(hist_run_options){.load = &hist_append, .transactions = test_scaled(22000)});
}

static void a_ring_stays_one_ring(void **state)
{
    (void)state;
    hist_run(&(hist_run_options){.load = &hist_ring, .transactions = test_scaled(16000)});
}

static void a_register_is_linearizable(void **state)
{
    (void)state;
    hist_run(&(hist_run_options){.load = &hist_register, .transactions = test_scaled(18000)});
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bank_keeps_its_sum),
        cmocka_unit_test(lists_tell_of_snapshot_isolation),
        cmocka_unit_test(lists_tell_the_same_of_one_phase),
        cmocka_unit_test(a_ring_stays_one_ring),
        cmocka_unit_test(a_register_is_linearizable),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return TEST_RUN(tests);
}
