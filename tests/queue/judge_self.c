/* The checker of long runs finds what it is there to find: one planted violation of each kind in a
 * run that is fine otherwise. */
#include "queue/volume.h"

#define RECORDS_MAX 64
#define NUMBERS 4

/* One publisher, one key that has due times or not; a log and what is left. */
typedef struct story {
    volume_plan plan;
    volume_record log[RECORDS_MAX];
    size_t count;
    volume_effect effects[RECORDS_MAX];
    bool failed[NUMBERS + 1];
    bool stored[NUMBERS + 1];
    volume_left left;
    bool drained;
} story;

static volume_record *tell(story *s, volume_kind kind, uint32_t process, uint64_t number,
                           uint32_t count)
{
    volume_record *r = &s->log[s->count++];
    assert_true(s->count <= RECORDS_MAX);
    *r = (volume_record){.kind = kind, .process = process, .number = number, .real_us = 1000000};
    r->run = (uint64_t)process << 32 | count;
    r->due_us = kind == VOLUME_START && s->plan.due_in > 0 ? 500000 : 0;
    r->db_us = r->due_us > 0 ? 500000 : 0;
    return r;
}

static void publish_numbers(story *s, uint64_t from, uint64_t to, bool certain)
{
    tell(s, VOLUME_PUBLISHING, 1, from - 1, 0)->last = to - 1;
    if (certain)
        tell(s, VOLUME_PUBLISHED, 1, from - 1, 0)->last = to - 1;
}

static void take_effect(story *s, uint32_t process, uint64_t number, uint32_t count)
{
    s->effects[s->left.effect_count++] =
        (volume_effect){.number = number, .run = (uint64_t)process << 32 | count};
}

/* A run that does what it should. */
static void run_well(story *s, uint32_t process, uint64_t number, uint32_t count)
{
    tell(s, VOLUME_START, process, number, count);
    tell(s, VOLUME_DONE, process, number, count);
    take_effect(s, process, number, count);
}

static void begin(story *s)
{
    memset(s, 0, sizeof(*s));
    s->plan = (volume_plan){.numbers = NUMBERS, .keys = 1, .publishers = 1};
    s->left.effects = s->effects;
    s->left.failed = s->failed;
    s->left.stored = s->stored;
    s->drained = true;
}

/* All four are published; those below `to` have been handled by process 2. */
static void begin_until(story *s, uint64_t to)
{
    begin(s);
    publish_numbers(s, 1, NUMBERS, true);
    for (uint64_t n = 1; n < to; n++)
        run_well(s, 2, n, (uint32_t)n);
}

static const char *verdict(story *s)
{
    volume_verdict v;
    volume_judge(&s->plan, s->log, s->count, &s->left, s->drained, &v);
    return v.what;
}

static void expect(story *s, const char *what)
{
    const char *found = verdict(s);
    if (found == NULL || strcmp(found, what) != 0)
        fail_msg("'%s' instead of '%s'", found != NULL ? found : "all is well", what);
}

static void good_runs_pass(void **state)
{
    (void)state;
    static story s;
    begin_until(&s, NUMBERS + 1);
    tell(&s, VOLUME_DRAINED, 2, 0, 0);
    assert_null(verdict(&s));
    begin_until(&s, NUMBERS); /* killed with one in hand, which comes again; that fails once */
    tell(&s, VOLUME_START, 2, NUMBERS, 9);
    tell(&s, VOLUME_KILLED, 2, 0, 0);
    tell(&s, VOLUME_START, 3, NUMBERS, 1);
    tell(&s, VOLUME_FAIL, 3, NUMBERS, 1);
    run_well(&s, 3, NUMBERS, 2);
    assert_null(verdict(&s));
    begin_until(&s, NUMBERS); /* not drained */
    s.stored[NUMBERS] = true;
    s.drained = false;
    assert_null(verdict(&s));
    begin(&s); /* a publisher that was killed, whose commit came through, or did not */
    publish_numbers(&s, 1, 2, false);
    publish_numbers(&s, 3, 4, true);
    for (uint64_t n = 2; n <= 4; n++)
        run_well(&s, 2, n, (uint32_t)n);
    assert_null(verdict(&s));
}

static void losses_are_found(void **state)
{
    (void)state;
    static story s;
    begin_until(&s, NUMBERS);
    expect(&s, "an event has no effect");
    begin_until(&s, NUMBERS); /* done, it said */
    tell(&s, VOLUME_START, 2, NUMBERS, 9);
    tell(&s, VOLUME_DONE, 2, NUMBERS, 9);
    expect(&s, "an event has no effect");
    begin_until(&s, NUMBERS);
    s.stored[NUMBERS] = true;
    expect(&s, "the queue is drained and not empty");
    begin_until(&s, NUMBERS);
    s.failed[NUMBERS] = true;
    expect(&s, "an event was given up that was not bad");
}

static void doubles_are_found(void **state)
{
    (void)state;
    static story s;
    begin_until(&s, NUMBERS + 1);
    run_well(&s, 3, NUMBERS, 1);
    expect(&s, "an event ended more than once");
    begin_until(&s, NUMBERS + 1);
    s.stored[2] = true;
    expect(&s, "an event ended more than once");
    begin_until(&s, NUMBERS + 1);
    s.plan.bad_in = 1;
    expect(&s, "a bad event has an effect");
    begin_until(&s, NUMBERS + 1); /* run again, without effect */
    tell(&s, VOLUME_START, 2, 2, 9);
    tell(&s, VOLUME_FAIL, 2, 2, 9);
    expect(&s, "an acknowledged event ran again");
    begin_until(&s, 3);
    publish_numbers(&s, 3, 3, true);
    expect(&s, "a number was published twice");
}

static void strangers_are_found(void **state)
{
    (void)state;
    static story s;
    begin(&s);
    publish_numbers(&s, 1, 3, true);
    for (uint64_t n = 1; n <= 4; n++)
        run_well(&s, 2, n, (uint32_t)n);
    expect(&s, "an event ran that was never published");
    begin(&s);
    publish_numbers(&s, 1, 3, true);
    for (uint64_t n = 1; n <= 3; n++)
        run_well(&s, 2, n, (uint32_t)n);
    s.stored[4] = true;
    expect(&s, "the store has an event that was never published");
    begin_until(&s, NUMBERS);
    take_effect(&s, 2, NUMBERS, 9);
    expect(&s, "an effect of a run that never began");
    begin_until(&s, NUMBERS);
    tell(&s, VOLUME_START, 2, NUMBERS, 9);
    tell(&s, VOLUME_FAIL, 2, NUMBERS, 9);
    take_effect(&s, 2, NUMBERS, 9);
    expect(&s, "an effect of a run that was not done");
    begin_until(&s, NUMBERS + 1);
    tell(&s, VOLUME_DONE, 2, NUMBERS, NUMBERS);
    expect(&s, "a run ended that had not begun");
}

static void disorder_is_found(void **state)
{
    (void)state;
    static story s;
    begin_until(&s, 3);
    run_well(&s, 2, 4, 4);
    run_well(&s, 2, 3, 3);
    expect(&s, "an effect came after a later one of its key");
    begin_until(&s, 3); /* the same among runs alone */
    tell(&s, VOLUME_START, 2, 4, 9);
    tell(&s, VOLUME_FAIL, 2, 4, 9);
    run_well(&s, 2, 3, 3);
    run_well(&s, 2, 4, 4);
    expect(&s, "an event was passed over within its key");
    begin_until(&s, 3);
    tell(&s, VOLUME_START, 2, 3, 3);
    tell(&s, VOLUME_START, 2, 4, 4);
    tell(&s, VOLUME_DONE, 2, 3, 3);
    tell(&s, VOLUME_DONE, 2, 4, 4);
    take_effect(&s, 2, 3, 3);
    take_effect(&s, 2, 4, 4);
    expect(&s, "two runs of one key overlap");
}

static void early_runs_are_found(void **state)
{
    (void)state;
    static story s;
    begin(&s);
    s.plan.due_in = 1;
    publish_numbers(&s, 1, NUMBERS, true);
    for (uint64_t n = 1; n <= NUMBERS; n++)
        run_well(&s, 2, n, (uint32_t)n);
    assert_null(verdict(&s));
    s.log[2].db_us = 499999;
    expect(&s, "an event ran before it was due");
    s.log[2].db_us = 500000;
    s.log[2].real_us = 400000;
    s.plan.pd_count = 1;
    expect(&s, "an event ran before it was due, by the machine's clock");
    s.log[2].due_us = 0;
    expect(&s, "an event came with another due time");
}

/* Process 2 stands still beyond its lease with the last number in hand; another one begins with it
 * meanwhile. */
static void stand_still(story *s, bool late)
{
    begin_until(s, NUMBERS);
    s->plan.lease_us = 2000000;
    tell(s, VOLUME_START, 2, NUMBERS, 9);
    tell(s, VOLUME_STOPPED, 2, 0, 0);
    tell(s, VOLUME_START, 3, NUMBERS, 1);
    tell(s, VOLUME_GOES_ON, 2, 0, 0)->real_us = late ? 4000000 : 2000000;
    tell(s, VOLUME_DONE, 2, NUMBERS, 9);
    tell(s, VOLUME_DONE, 3, NUMBERS, 1);
}

static void work_without_a_lease_is_found(void **state)
{
    (void)state;
    static story s;
    stand_still(&s, true);
    take_effect(&s, 3, NUMBERS, 1);
    assert_null(verdict(&s));
    stand_still(&s, true);
    take_effect(&s, 2, NUMBERS, 9);
    expect(&s, "an effect of a run whose lease had ended");
    stand_still(&s, false); /* not for so long */
    take_effect(&s, 2, NUMBERS, 9);
    assert_null(verdict(&s));
}

static void work_after_the_drain_is_found(void **state)
{
    (void)state;
    static story s;
    begin_until(&s, NUMBERS);
    tell(&s, VOLUME_DRAINED, 2, 0, 0);
    run_well(&s, 2, NUMBERS, 9);
    expect(&s, "a process handled an event after it had drained");
    begin_until(&s, NUMBERS);
    tell(&s, VOLUME_START, 2, NUMBERS, 9);
    tell(&s, VOLUME_DRAINED, 2, 0, 0);
    run_well(&s, 3, NUMBERS, 1);
    expect(&s, "a process drained with a run open");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_runs_pass),
        cmocka_unit_test(losses_are_found),
        cmocka_unit_test(doubles_are_found),
        cmocka_unit_test(strangers_are_found),
        cmocka_unit_test(disorder_is_found),
        cmocka_unit_test(early_runs_are_found),
        cmocka_unit_test(work_without_a_lease_is_found),
        cmocka_unit_test(work_after_the_drain_is_found),
    };
    return TEST_RUN(tests);
}
