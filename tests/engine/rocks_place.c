/* Directories and processes: what may be opened, by whom, and what the others are told. */
#include "engine/engine.h"
#include "golden/golden.h"

#include <fcntl.h>
#include <grp.h>
#include <rocksdb/c.h>
#include <sys/stat.h>
#include <sys/wait.h>

typedef struct place {
    char dir[TEST_DIR_SIZE];
    char path[TEST_DIR_SIZE + 16]; /* dir/db */
    ti_err err;
    ti_call call;
} place;

static void place_make(place *p)
{
    test_dir_make(p->dir);
    (void)snprintf(p->path, sizeof(p->path), "%s/db", p->dir);
    p->call = ti_call_within(ti_env_real(), 20000000);
    ti_err_clear(&p->err);
}

static ti_status open_at(place *p, const char *path, const ti_rocks_options *options,
                         ti_engine **e_out)
{
    ti_rocks_options small = db_small_options();
    return ti_rocks_open(path, options != NULL ? options : &small, ti_env_real(), e_out, &p->call,
                         &p->err);
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[TEST_DIR_SIZE + 64];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static void set_key(ti_engine *e, const char *key, const char *value)
{
    db d = {.e = e, .vt = e->vt, .env = ti_env_real()};
    d.call = ti_call_within(d.env, 20000000);
    (void)db_set(&d, key, value);
}

static bool holds(ti_engine *e, const char *key, const char *value)
{
    db d = {.e = e, .vt = e->vt, .env = ti_env_real()};
    d.call = ti_call_within(d.env, 20000000);
    ti_arena_init(&d.a);
    bool is = db_holds_now(&d, key, value);
    ti_arena_free(&d.a);
    return is;
}

/* Runs fn in a child process and expects it to leave by 0. */
static void in_child(int (*fn)(place *p), place *p)
{
    int result;
    (void)fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(fn(p));
    assert_int_equal(waitpid(child, &result, 0), child);
    if (!WIFEXITED(result) || WEXITSTATUS(result) != 0)
        fail_msg("the child ended with %x", result);
}

/* ---- before this process has opened anything, so that children may */

static int open_without_rights(place *p)
{
    ti_engine *e;
    char path[TEST_DIR_SIZE + 32];
    if (setgroups(0, NULL) != 0 || setresgid(65534, 65534, 65534) != 0 ||
        setresuid(65534, 65534, 65534) != 0)
        return 1;
    if (open_at(p, p->path, NULL, &e) != TI_IO || strstr(p->err.message, p->path) == NULL)
        return 2;
    (void)snprintf(path, sizeof(path), "%s/other", p->dir);
    if (open_at(p, path, NULL, &e) != TI_IO)
        return 3;
    return 0;
}

static int create_and_leave(place *p)
{
    ti_engine *e;
    if (open_at(p, p->path, NULL, &e) != TI_OK)
        return 1;
    set_key(e, "a", "1");
    e->vt->unref(e);
    return 0;
}

static void a_directory_without_rights_is_refused(void **state)
{
    place p;
    (void)state;
    if (geteuid() != 0)
        skip();
    place_make(&p);
    in_child(create_and_leave, &p);
    in_child(open_without_rights, &p);
    test_dir_remove(p.dir);
}

static int hold_until_told(place *p)
{
    ti_engine *e;
    if (open_at(p, p->path, NULL, &e) != TI_OK)
        return 1;
    set_key(e, "from", "child");
    write_file(p->dir, "ready", "");
    char stop[TEST_DIR_SIZE + 16];
    (void)snprintf(stop, sizeof(stop), "%s/stop", p->dir);
    for (int i = 0; i < 10000 && access(stop, F_OK) != 0; i++)
        (void)usleep(1000);
    e->vt->unref(e);
    return 0;
}

static void a_second_process_is_told_the_pid(void **state)
{
    place p;
    ti_engine *e;
    char text[64];
    int result;
    (void)state;
    place_make(&p);
    pid_t child = fork();
    if (child == 0)
        _exit(hold_until_told(&p));
    char ready[TEST_DIR_SIZE + 16];
    (void)snprintf(ready, sizeof(ready), "%s/ready", p.dir);
    for (int i = 0; i < 10000 && access(ready, F_OK) != 0; i++)
        (void)usleep(1000);
    test_status(open_at(&p, p.path, NULL, &e), TI_UNAVAILABLE);
    (void)snprintf(text, sizeof(text), "pid %d ", (int)child);
    assert_non_null(strstr(p.err.message, text));
    /* It was only asked: the lock is still there. And waiting has its end. */
    ti_rocks_options options = db_small_options();
    options.open_wait_us = 100000;
    int64_t began_ns = ti_env_mono_ns(ti_env_real());
    test_status(open_at(&p, p.path, &options, &e), TI_UNAVAILABLE);
    assert_true(ti_env_mono_ns(ti_env_real()) - began_ns >= 100000000);
    p.call = ti_call_within(ti_env_real(), 50000);
    options.open_wait_us = 10000000;
    test_status(open_at(&p, p.path, &options, &e), TI_TIMEOUT);
    p.call = ti_call_within(ti_env_real(), 20000000);
    write_file(p.dir, "stop", "");
    test_ok(open_at(&p, p.path, &options, &e), &p.err); /* it waits until the child is gone */
    assert_true(holds(e, "from", "child"));
    e->vt->unref(e);
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
    test_dir_remove(p.dir);
}

/* ---- what a directory must look like */

static void a_new_database_is_closed_to_others(void **state)
{
    place p;
    ti_engine *e;
    struct stat about;
    char path[TEST_DIR_SIZE + 64];
    static const char *const names[] = {"CURRENT", "LOCK", "IDENTITY", "TITO"};
    (void)state;
    place_make(&p);
    mode_t before = umask(0);
    test_ok(open_at(&p, p.path, NULL, &e), &p.err);
    umask(before);
    assert_int_equal(stat(p.path, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0700);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", p.path, names[i]);
        assert_int_equal(stat(path, &about), 0);
        assert_int_equal(about.st_mode & 0777, 0600);
    }
    e->vt->unref(e);
    assert_int_equal(chmod(p.path, 0755), 0);
    test_ok(open_at(&p, p.path, NULL, &e), &p.err);
    assert_int_equal(stat(p.path, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0700);
    e->vt->unref(e);
    test_dir_remove(p.dir);
}

static void the_marker_keeps_its_bytes(void **state)
{
    place p;
    ti_engine *e;
    char path[TEST_DIR_SIZE + 64];
    char bytes[100];
    (void)state;
    place_make(&p);
    test_ok(open_at(&p, p.path, NULL, &e), &p.err);
    e->vt->unref(e);
    (void)snprintf(path, sizeof(path), "%s/TITO", p.path);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    size_t len = fread(bytes, 1, sizeof(bytes), in);
    (void)fclose(in);
    golden_check("rocks.txt", "marker", (ti_slice){.data = bytes, .len = len});
    test_dir_remove(p.dir);
}

static void other_directories_are_refused_untouched(void **state)
{
    place p;
    ti_engine *e;
    struct stat about;
    (void)state;
    place_make(&p);
    assert_int_equal(mkdir(p.path, 0755), 0);
    write_file(p.path, "letter.txt", "dear");
    test_status(open_at(&p, p.path, NULL, &e), TI_INVALID_ARGUMENT);
    assert_non_null(strstr(p.err.message, "not empty"));
    assert_int_equal(stat(p.path, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0755);
    char path[TEST_DIR_SIZE + 64];
    (void)snprintf(path, sizeof(path), "%s/letter.txt", p.path);
    test_status(open_at(&p, path, NULL, &e), TI_INVALID_ARGUMENT); /* a file */
    (void)snprintf(path, sizeof(path), "%s/no/such/place", p.path);
    test_status(open_at(&p, path, NULL, &e), TI_INVALID_ARGUMENT);
    test_status(open_at(&p, "", NULL, &e), TI_INVALID_ARGUMENT);
    test_status(open_at(&p, NULL, NULL, &e), TI_INVALID_ARGUMENT);
    (void)snprintf(path, sizeof(path), "%s/TITO", p.path);
    assert_int_not_equal(access(path, F_OK), 0);
    test_dir_remove(p.dir);
}

static void a_foreign_rocksdb_is_refused_untouched(void **state)
{
    place p;
    ti_engine *e;
    char *failed = NULL;
    char path[TEST_DIR_SIZE + 64];
    (void)state;
    place_make(&p);
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_t *foreign = rocksdb_open(options, p.path, &failed);
    assert_null(failed);
    rocksdb_close(foreign);
    rocksdb_options_destroy(options);
    test_status(open_at(&p, p.path, NULL, &e), TI_INVALID_ARGUMENT);
    assert_non_null(strstr(p.err.message, "RocksDB"));
    (void)snprintf(path, sizeof(path), "%s/TITO", p.path);
    assert_int_not_equal(access(path, F_OK), 0);
    test_dir_remove(p.dir);
}

static void newer_and_damaged_formats_are_told(void **state)
{
    place p;
    ti_engine *e;
    (void)state;
    place_make(&p);
    test_ok(open_at(&p, p.path, NULL, &e), &p.err);
    e->vt->unref(e);
    write_file(p.path, "TITO", "tito embedded database, format 2\n");
    test_status(open_at(&p, p.path, NULL, &e), TI_UNSUPPORTED);
    assert_non_null(strstr(p.err.message, "format 2"));
    write_file(p.path, "TITO", "tito embedded database, format 99999999999999999999\n");
    test_status(open_at(&p, p.path, NULL, &e), TI_UNSUPPORTED);
    write_file(p.path, "TITO", "tito embedded database, format \n");
    test_status(open_at(&p, p.path, NULL, &e), TI_CORRUPT);
    write_file(p.path, "TITO", "hello");
    test_status(open_at(&p, p.path, NULL, &e), TI_INVALID_ARGUMENT);
    write_file(p.path, "TITO", "");
    test_status(open_at(&p, p.path, NULL, &e), TI_INVALID_ARGUMENT);
    write_file(p.path, "TITO", "tito embedded database, format 1\n");
    test_ok(open_at(&p, p.path, NULL, &e), &p.err);
    e->vt->unref(e);
    write_file(p.path, "CURRENT", "nonsense\n");
    ti_status status = open_at(&p, p.path, NULL, &e);
    assert_true(status == TI_CORRUPT || status == TI_IO);
    test_dir_remove(p.dir);
}

/* A creation that was cut off at any point is taken up again. */
static void half_made_directories_are_completed(void **state)
{
    static const char *const left[] = {NULL, "TITO.new", "lost+found"};
    (void)state;
    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        place p;
        ti_engine *e;
        place_make(&p);
        assert_int_equal(mkdir(p.path, 0700), 0);
        if (left[i] != NULL)
            write_file(p.path, left[i], "tito em");
        test_ok(open_at(&p, p.path, NULL, &e), &p.err);
        e->vt->unref(e);
        test_dir_remove(p.dir);
    }
}

static void what_was_written_is_there_again(void **state)
{
    place p;
    ti_engine *e;
    (void)state;
    place_make(&p);
    for (int i = 0; i < 5; i++) {
        ti_rocks_options options = db_small_options();
        char key[8];
        (void)snprintf(key, sizeof(key), "k%d", i);
        options.durability = i % 2 == 0 ? TI_DURABILITY_SYNC : TI_DURABILITY_BUFFERED;
        test_ok(open_at(&p, p.path, &options, &e), &p.err);
        for (int j = 0; j < i; j++) {
            char old[8];
            (void)snprintf(old, sizeof(old), "k%d", j);
            assert_true(holds(e, old, "1"));
        }
        set_key(e, key, "1");
        e->vt->unref(e);
    }
    test_dir_remove(p.dir);
}

/* ---- one engine for all handles of a process */

static void a_second_handle_is_the_same_engine(void **state)
{
    place p;
    ti_engine *first;
    ti_engine *second;
    ti_engine *third;
    char link[TEST_DIR_SIZE + 16];
    char here[4096];
    (void)state;
    place_make(&p);
    test_ok(open_at(&p, p.path, NULL, &first), &p.err);
    (void)snprintf(link, sizeof(link), "%s/link", p.dir);
    assert_int_equal(symlink(p.path, link), 0);
    test_ok(open_at(&p, link, NULL, &second), &p.err);
    assert_ptr_equal(first, second);
    assert_non_null(getcwd(here, sizeof(here)));
    assert_int_equal(chdir(p.dir), 0);
    test_ok(open_at(&p, "db", NULL, &third), &p.err);
    assert_int_equal(chdir(here), 0);
    assert_ptr_equal(first, third);
    first->vt->unref(first);
    second->vt->unref(second);
    set_key(third, "a", "1"); /* still open */
    assert_true(holds(third, "a", "1"));
    third->vt->ref(third);
    third->vt->unref(third);
    third->vt->unref(third);
    test_ok(open_at(&p, p.path, NULL, &first), &p.err);
    assert_true(holds(first, "a", "1"));
    first->vt->unref(first);
    test_dir_remove(p.dir);
}

static void differing_options_are_told(void **state)
{
    place p;
    ti_engine *e;
    ti_engine *other;
    (void)state;
    place_make(&p);
    test_ok(open_at(&p, p.path, NULL, &e), &p.err);
    for (int i = 0; i < 5; i++) {
        static const char *const names[] = {"durability", "block_cache_size", "write_buffer_size",
                                            "open_files_max", "background_jobs_max"};
        ti_rocks_options options = db_small_options();
        options.durability = i == 0 ? TI_DURABILITY_SYNC : options.durability;
        options.block_cache_size += i == 1;
        options.write_buffer_size += i == 2;
        options.open_files_max += i == 3;
        options.background_jobs_max += i == 4;
        test_status(open_at(&p, p.path, &options, &other), TI_INVALID_ARGUMENT);
        assert_non_null(strstr(p.err.message, names[i]));
    }
    e->vt->unref(e);
    test_dir_remove(p.dir);
}

typedef struct opener {
    place *p;
    ti_thread thread;
    unsigned rounds;
} opener;

static void *open_and_close(void *arg)
{
    opener *o = arg;
    for (unsigned i = 0; i < o->rounds; i++) {
        ti_engine *e;
        ti_err err;
        ti_rocks_options small = db_small_options();
        ti_call call = ti_call_within(ti_env_real(), 60000000);
        ti_status status = ti_rocks_open(o->p->path, &small, ti_env_real(), &e, &call, &err);
        if (status != TI_OK)
            fprintf(stderr, "opening: %s\n", err.message);
        ti_require(status == TI_OK);
        set_key(e, "a", "1");
        e->vt->unref(e);
    }
    return NULL;
}

static void threads_open_and_close_one_directory(void **state)
{
    place p;
    opener openers[4];
    (void)state;
    place_make(&p);
    for (int i = 0; i < 4; i++) {
        openers[i] = (opener){.p = &p, .rounds = (unsigned)test_scaled(40)};
        test_ok(ti_thread_start(&openers[i].thread, "opener", open_and_close, &openers[i], &p.err),
                &p.err);
    }
    for (int i = 0; i < 4; i++)
        ti_thread_join(&openers[i].thread);
    test_dir_remove(p.dir);
}

/* ---- fork */

typedef struct forked {
    ti_engine *e;
    ti_snapshot *s;
    ti_locks *locks;
} forked;

static forked before_fork;

/* Every call of a child answers FORKED, and releasing frees memory only. */
static int use_after_fork(place *p)
{
    ti_engine *e = before_fork.e;
    const ti_engine_vt *vt = e->vt;
    ti_arena a;
    ti_slice value;
    ti_ts ts;
    ti_snapshot *s;
    ti_scan_page page;
    ti_buf out;
    ti_scan scan = {.items_max = 1};
    ti_slice key = TI_SLICE("a");
    ti_locked locked;
    ti_locks *locks = NULL;
    ti_commit_result result;
    ti_mutation m = SET("a", "2");
    ti_lock_request lock = {.start_ts = 1, .keys = &key, .count = 1};
    ti_commit_request commit = {.start_ts = 1, .mutations = &m, .count = 1};
    ti_range range = {.from = key};
    ti_arena_init(&a);
    ti_buf_init(&out, 1000);
    ti_status told[] = {
        vt->now(e, &ts, &p->call, &p->err),
        vt->begin(e, TI_TS_NONE, &s, &p->call, &p->err),
        vt->get(before_fork.s, key, &a, &value, &p->call, &p->err),
        vt->batch_get(before_fork.s, &key, 1, &a, &value, &p->call, &p->err),
        vt->scan(before_fork.s, &scan, &a, &page, &p->call, &p->err),
        vt->commit(e, &commit, &result, &p->call, &p->err),
        vt->lock(e, &locks, &lock, &a, &locked, &p->call, &p->err),
        vt->destroy_range(e, range, &p->call, &p->err),
        vt->gc(e, 0, &p->call, &p->err),
        vt->stats(e, &out, &p->err),
        open_at(p, p->path, NULL, &e),
        ti_rocks_open_memory(NULL, ti_env_real(), &e, &p->call, &p->err),
    };
    for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++)
        if (told[i] != TI_FORKED)
            return (int)i + 1;
    e = before_fork.e;
    vt->release(before_fork.s);
    vt->unlock(e, before_fork.locks);
    vt->ref(e);
    vt->unref(e);
    vt->unref(e);
    return 0;
}

static void a_child_is_told_and_frees_memory_only(void **state)
{
    place p;
    db d;
    ti_locked locked;
    ti_slice key = TI_SLICE("a");
    (void)state;
    place_make(&p);
    test_ok(open_at(&p, p.path, NULL, &before_fork.e), &p.err);
    db_share(
        &(db){.e = before_fork.e, .vt = before_fork.e->vt, .env = ti_env_real(), .call = p.call},
        &d);
    (void)db_set(&d, "a", "1");
    before_fork.s = db_begin(&d);
    ti_lock_request lock = {.start_ts = db_ts(&d, before_fork.s), .keys = &key, .count = 1};
    test_ok(d.vt->lock(d.e, &before_fork.locks, &lock, &d.a, &locked, &d.call, &d.err), &d.err);
    for (int i = 0; i < 3; i++)
        in_child(use_after_fork, &p);
    assert_true(db_holds(&d, before_fork.s, "a", "1")); /* the parent goes on */
    d.vt->release(before_fork.s);
    d.vt->unlock(d.e, before_fork.locks);
    (void)db_set(&d, "a", "2");
    db_unshare(&d);
    before_fork.e->vt->unref(before_fork.e);
    test_ok(open_at(&p, p.path, NULL, &before_fork.e), &p.err);
    assert_true(holds(before_fork.e, "a", "2"));
    before_fork.e->vt->unref(before_fork.e);
    test_dir_remove(p.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* These fork before this process has opened anything. */
        cmocka_unit_test(a_directory_without_rights_is_refused),
        cmocka_unit_test(a_second_process_is_told_the_pid),
        cmocka_unit_test(a_new_database_is_closed_to_others),
        cmocka_unit_test(the_marker_keeps_its_bytes),
        cmocka_unit_test(other_directories_are_refused_untouched),
        cmocka_unit_test(a_foreign_rocksdb_is_refused_untouched),
        cmocka_unit_test(newer_and_damaged_formats_are_told),
        cmocka_unit_test(half_made_directories_are_completed),
        cmocka_unit_test(what_was_written_is_there_again),
        cmocka_unit_test(a_second_handle_is_the_same_engine),
        cmocka_unit_test(differing_options_are_told),
        cmocka_unit_test(threads_open_and_close_one_directory),
        cmocka_unit_test(a_child_is_told_and_frees_memory_only),
    };
    return TEST_RUN(tests);
}
