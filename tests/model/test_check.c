/* Check: planted damage of every kind is found, and mended where it can be. */
#include "model/model_int.h"
#include "model/plant.h"

static ti_model *prepare(db *d)
{
    db_open(d, NULL);
    ti_model *m = plant_users(d);
    assert_string_equal(check(d, m, false, NULL), "");
    return m;
}

/* Finds exactly this, mends it, and finds nothing more. */
static void finds_and_mends(db *d, ti_model *m, const char *findings, const char *mended)
{
    assert_string_equal(check(d, m, false, NULL), findings);
    assert_string_equal(check(d, m, true, NULL), mended);
    assert_string_equal(check(d, m, false, NULL), "");
}

static void missing_entries(void **state)
{
    db d;
    (void)state;
    ti_model *m = prepare(&d);
    raw_delete(&d, index_key(&d, "by_name", text_tuple(&d, "n1"), "u04"));
    finds_and_mends(&d, m, "entry_missing by_name u04;", "entry_missing by_name u04 repaired;");
    raw_delete(&d, index_key(&d, "by_tag", text_tuple(&d, "a"), "u07"));
    raw_delete(&d, index_key(&d, "by_tag", text_tuple(&d, "t3"), "u07"));
    finds_and_mends(&d, m, "entry_missing by_tag u07;entry_missing by_tag u07;",
                    "entry_missing by_tag u07 repaired;entry_missing by_tag u07 repaired;");
    raw_delete(&d, unique_key(&d, "m5"));
    finds_and_mends(&d, m, "entry_missing u_mail u05;", "entry_missing u_mail u05 repaired;");
    assert_string_equal(ids(&d, m, NULL, "by_name \"n1\" limit=2", NULL), "u01 u04");
    ti_model_unref(m);
    db_close(&d);
}

static void stale_entries(void **state)
{
    db d;
    ti_slice value;
    (void)state;
    ti_model *m = prepare(&d);
    ti_slice key = index_key(&d, "cover", value_tuple(&d, ti_value_int(3), true), "u03");
    assert_true(raw_get(&d, key, &value));
    char *flipped = (char *)(uintptr_t)ti_arena_copy(&d.a, value).data;
    flipped[value.len - 3] ^= 1;
    raw_put(&d, key, (ti_slice){.data = flipped, .len = value.len});
    EXPECT(&d, TI_CORRUPT, query_status(&d, m, NULL, "cover 3"));
    finds_and_mends(&d, m, "entry_stale cover u03;", "entry_stale cover u03 repaired;");
    raw_put(&d, index_key(&d, "by_tag", text_tuple(&d, "a"), "u07"),
            ti_marker()); /* it has company */
    finds_and_mends(&d, m, "entry_stale by_tag u07;", "entry_stale by_tag u07 repaired;");
    ti_model_unref(m);
    db_close(&d);
}

static void extra_entries(void **state)
{
    db d;
    (void)state;
    ti_model *m = prepare(&d);
    raw_put(&d, index_key(&d, "by_name", text_tuple(&d, "zz"), "u04"), ti_marker());
    raw_put(&d, index_key(&d, "by_name", text_tuple(&d, "n1"), "ghost"), ti_marker());
    EXPECT(&d, TI_CORRUPT, query_status(&d, m, NULL, "by_name \"n1\""));
    SAYS(&d, "run check");
    raw_put(&d, index_key(&d, "gone", text_tuple(&d, "n1"), "u04"), ti_marker());
    put_owner(&d, "free", "u04");
    put_owner(&d, "lost", "ghost");
    finds_and_mends(&d, m,
                    "entry_extra by_name ghost;entry_extra by_name u04;entry_extra gone "
                    ";entry_extra u_mail u04;"
                    "entry_extra u_mail ghost;",
                    "entry_extra by_name ghost repaired;entry_extra by_name u04 "
                    "repaired;entry_extra gone  repaired;"
                    "entry_extra u_mail u04 repaired;entry_extra u_mail ghost repaired;");
    ti_model_unref(m);
    db_close(&d);
}

static void wrong_owners(void **state)
{
    db d;
    (void)state;
    ti_model *m = prepare(&d);
    put_owner(&d, "m3", "u09"); /* u09 does not list it */
    finds_and_mends(&d, m, "unique_owner u_mail u03;entry_extra u_mail u09;",
                    "unique_owner u_mail u03 repaired;");
    put_owner(&d, "m3", "ghost");
    finds_and_mends(&d, m, "unique_owner u_mail u03;entry_extra u_mail ghost;",
                    "unique_owner u_mail u03 repaired;");
    ti_model_unref(m);
    db_close(&d);
}

static void stale_lists(void **state)
{
    db d;
    (void)state;
    ti_model *m = prepare(&d);
    const ti_entry old = {
        .kind = TI_ENTRY_PLAIN, .version = 1, .index = S("by_name"), .tuple = text_tuple(&d, "n0")};
    put_record(&d, "u00", "{\"id\":\"u00\",\"name\":\"other\"}", &old, 1);
    assert_string_equal(check(&d, m, false, NULL),
                        "list_stale by_name u00;entry_extra by_tag u00;entry_extra by_tag "
                        "u00;entry_extra cover u00;"
                        "entry_extra u_mail u00;");
    const char *mended = check(&d, m, true, NULL);
    assert_non_null(strstr(mended, "list_stale by_name u00 repaired;"));
    assert_string_equal(check(&d, m, false, NULL), "");
    assert_string_equal(ids(&d, m, NULL, "by_name \"other\"", NULL), "u00");
    ti_model_unref(m);
    db_close(&d);
}

static void damaged_records(void **state)
{
    db d;
    ti_slice value;
    (void)state;
    ti_model *m = prepare(&d);
    assert_true(raw_get(&d, record_key(&d, "u02"), &value));
    raw_put(&d, record_key(&d, "u02"), (ti_slice){.data = value.data, .len = value.len - 1});
    put_record(&d, "u06", "[1,2", NULL, 0);
    put_record(&d, "u08", "{\"id\":\"u09\"}", NULL, 0);
    put_record(&d, "x1", "{\"id\":\"x1\",\"name\":5}", NULL, 0);
    ti_document document;
    EXPECT(&d, TI_CORRUPT,
           ti_model_find(m, NULL, S("u02"), NULL, &d.a, &document, &d.call, &d.err));
    const char *found = check(&d, m, false, NULL);
    assert_non_null(strstr(found, "record_corrupt  u02;"));
    assert_non_null(strstr(found, "record_unreadable  u06;"));
    assert_non_null(strstr(found, "record_unreadable  u08;"));
    assert_non_null(strstr(found, "list_stale  x1;"));
    const char *mended = check(&d, m, true, NULL);
    assert_non_null(strstr(mended, "record_corrupt  u02;"));
    assert_null(strstr(mended, "u02 repaired"));
    ti_model_unref(m);
    db_close(&d);
}

static void foreign_keys(void **state)
{
    db d;
    ti_arena *a = &d.a;
    (void)state;
    ti_model *m = prepare(&d);
    ti_slice prefix = ti_key_index_prefix(ti_store_keyspace(d.store), a, S("user"), S("by_name"));
    char *junk = ti_arena_format(a, "%.*sjunk", (int)prefix.len, prefix.data);
    raw_put(&d, S(junk), S("x"));
    finds_and_mends(&d, m, "key_foreign by_name ;", "key_foreign by_name  repaired;");
    ti_model_unref(m);
    db_close(&d);
}

static void real_duplicates_stay(void **state)
{
    db d;
    (void)state;
    ti_model *m = prepare(&d);
    const ti_entry twin = {
        .kind = TI_ENTRY_UNIQUE, .version = 1, .index = S("u_mail"), .tuple = text_tuple(&d, "m1")};
    put_record(&d, "twin", "{\"id\":\"twin\",\"mail\":\"m1\"}", &twin, 1);
    const char *found = check(&d, m, true, NULL);
    assert_non_null(strstr(found, "unique_owner u_mail twin;"));
    OK(&d, del(&d, m, NULL, "twin", NULL)); /* takes nothing along that is not its own */
    assert_string_equal(ids(&d, m, NULL, "u_mail \"m1\"", NULL), "u01");
    ti_model_unref(m);
    db_close(&d);
}

/* All of plant_damage, found in one check and mended in another; then the rest is what nobody can mend. */
static void a_dozen_at_once(void **state)
{
    static const char *const findings[] = {
        "entry_missing by_name u00;", "entry_missing u_mail u01;",  "entry_stale cover u03;",
        "entry_extra by_name u04;",   "entry_extra by_name ghost;", "entry_extra gone ;",
        "unique_owner u_mail u05;",   "list_stale by_name u10;",    "record_corrupt  u12;",
        "record_corrupt  u13;",       "record_unreadable  u14;",    "record_unreadable  u15;",
        "key_foreign by_name ;"};
    db d;
    (void)state;
    ti_model *m = prepare(&d);
    plant_damage(&d);
    const char *found = check(&d, m, false, NULL);
    for (size_t i = 0; i < sizeof(findings) / sizeof(findings[0]); i++) {
        if (strstr(found, findings[i]) == NULL)
            fail_msg("there is no %s in %s", findings[i], found);
    }
    assert_string_equal(check_in_pieces(&d, m), found);
    (void)check(&d, m, true, NULL);
    assert_string_equal(check(&d, m, false, NULL),
                        "record_corrupt  u12;record_corrupt  u13;record_unreadable  u14;"
                        "record_unreadable  u15;");
    ti_model_unref(m);
    db_close(&d);
}

static void cursors_of_others_are_refused(void **state)
{
    const ti_check_options forged = {.cursor = TI_SLICE("AAAA")};
    ti_check_options foreign = {.batch = 1};
    ti_steps *steps = NULL;
    ti_step step;
    ti_slice json;
    db d;
    (void)state;
    ti_model *m = prepare(&d);
    ti_model *other = declare(&d, "{\"table\": \"other\"}");
    test_status(ti_check_open(m, &forged, &steps, &d.err), TI_INVALID_ARGUMENT);
    OK(&d, ti_check_open(m, &foreign, &steps, &d.err));
    OK(&d, ti_steps_next(steps, &step, &json, &d.call, &d.err));
    foreign.cursor = cursor_of(&d, json);
    ti_steps_free(steps);
    test_status(ti_check_open(other, &foreign, &steps, &d.err), TI_INVALID_ARGUMENT);
    ti_model_unref(other);
    ti_model_unref(m);
    db_close(&d);
}

/* Runs a check that counts; the total of its steps, and in *done_out what it has looked at. */
static int counted(db *d, ti_model *m, ti_slice cursor, int *done_out)
{
    const ti_check_options options = {.batch = 7, .count = true, .cursor = cursor};
    ti_steps *steps = NULL;
    ti_step step = TI_STEP_MORE;
    ti_slice json;
    int total = -1;
    OK(d, ti_check_open(m, &options, &steps, &d->err));
    for (int i = 0; step != TI_STEP_DONE; i++) {
        OK(d, ti_steps_next(steps, &step, &json, &d->call, &d->err));
        const char *text = T(json);
        const char *at = strstr(text, "\"done\":");
        assert_non_null(at);
        if (i < 3 && cursor.len == 0)
            assert_non_null(strstr(text, "\"phase\":\"count\",\"done\":0,"));
        assert_int_equal(sscanf(at, "\"done\":%d,\"total\":%d", done_out, &total), 2);
    }
    ti_steps_free(steps);
    return total;
}

static void counts_before_when_asked(void **state)
{
    ti_check_options half = {.batch = 7};
    ti_steps *steps = NULL;
    ti_step step;
    ti_slice json;
    db d;
    int done;
    (void)state;
    ti_model *m = prepare(&d);
    int whole = counted(&d, m, TI_SLICE_NONE, &done);
    assert_true(whole > 20);
    assert_int_equal(done, whole);
    for (int steps_done = 1; steps_done < 40; steps_done++) { /* into each of the phases */
        OK(&d, ti_check_open(m, &half, &steps, &d.err));
        OK(&d, ti_steps_next(steps, &step, &json, &d.call, &d.err));
        if (step == TI_STEP_DONE) {
            ti_steps_free(steps);
            break;
        }
        int before;
        assert_int_equal(sscanf(strstr(T(json), "\"done\":"), "\"done\":%d,", &before), 1);
        assert_null(strstr(T(json), "total"));
        half.cursor = ti_arena_copy(&d.a, cursor_of(&d, json));
        ti_steps_free(steps);
        whole -= before;
        assert_int_equal(counted(&d, m, half.cursor, &done), whole);
        assert_int_equal(done, whole);
    }
    assert_true(whole < 20); /* it came to the last phase */
    ti_model_unref(m);
    db_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_entries),
        cmocka_unit_test(stale_entries),
        cmocka_unit_test(extra_entries),
        cmocka_unit_test(wrong_owners),
        cmocka_unit_test(stale_lists),
        cmocka_unit_test(damaged_records),
        cmocka_unit_test(foreign_keys),
        cmocka_unit_test(real_duplicates_stay),
        cmocka_unit_test(a_dozen_at_once),
        cmocka_unit_test(cursors_of_others_are_refused),
        cmocka_unit_test(counts_before_when_asked),
    };
    return TEST_RUN(tests);
}
