/* Backups of the embedded engine: what is in them while commits go on, what is left of one that is
 * killed, what verifying finds, where they may lie. */
#include "engine/engine.h"
#include "golden/golden.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "rocks/backup_int.h"

#define PATH_SIZE (TEST_DIR_SIZE + 200)
#define ACCOUNTS 8
#define MONEY 1000
#define MOVERS 3

typedef struct spot {
    db d;
    char dir[TEST_DIR_SIZE]; /* of backups */
    ti_backup_summary summary;
} spot;

static void path_in(const char *dir, const char *name, char out[PATH_SIZE])
{
    size_t dir_len = strlen(dir);
    assert_true(dir_len + 1 + strlen(name) < PATH_SIZE);
    memcpy(out, dir, dir_len);
    out[dir_len] = '/';
    memcpy(out + dir_len + 1, name, strlen(name) + 1);
}

static void spot_begin(spot *s)
{
    db_open_with(&s->d, ti_env_real(), false);
    test_dir_make(s->dir);
}

static void spot_end(spot *s)
{
    test_dir_remove(s->dir);
    db_close(&s->d);
}

static ti_status back_up_from(spot *s, const char *path, const char *base)
{
    ti_backup_request request = {.dir = path, .base = base};
    return ti_rocks_backup(s->d.e, &request, &s->summary, &s->d.call, &s->d.err);
}

static ti_status back_up(spot *s, const char *path)
{
    return back_up_from(s, path, NULL);
}

static ti_status verify(spot *s, const char *path)
{
    return ti_rocks_backup_verify(path, NULL, &s->summary, &s->d.call, &s->d.err);
}

static ti_status restore(spot *s, const char *from, const char *to)
{
    return ti_rocks_restore(from, to, NULL, &s->summary, &s->d.call, &s->d.err);
}

static void open_other(db *d, const char *path)
{
    ti_rocks_options options = db_small_options();
    memset(d, 0, sizeof(*d));
    d->env = ti_env_real();
    d->call = ti_call_within(d->env, DB_TIMEOUT_US);
    ti_arena_init(&d->a);
    test_ok(ti_rocks_open(path, &options, d->env, &d->e, &d->call, &d->err), &d->err);
    d->vt = d->e->vt;
}

static size_t count_entries(const char *path)
{
    size_t count = 0;
    DIR *entries = opendir(path);
    assert_non_null(entries);
    while (readdir(entries) != NULL)
        count++;
    (void)closedir(entries);
    return count - 2; /* the dots */
}

/* ---- what is in one */

static void a_backup_is_a_database(void **state)
{
    spot s;
    db other;
    char path[PATH_SIZE];
    (void)state;
    spot_begin(&s);
    path_in(s.dir, "one", path);
    (void)db_set(&s.d, "a", "1");
    (void)db_set(&s.d, "b", "1");
    ti_ts before = db_now(&s.d);
    test_ok(back_up(&s, path), &s.d.err);
    assert_true(s.summary.time_us >= ti_ts_to_us(before));
    assert_true(s.summary.files > 3);
    assert_true(s.summary.size > 0);
    ti_ts after = db_set(&s.d, "a", "2");
    test_ok(verify(&s, path), &s.d.err);
    assert_int_equal(count_entries(s.dir), 1); /* nothing is left beside it */
    open_other(&other, path);
    assert_true(db_holds_now(&other, "a", "1"));
    assert_true(db_holds_now(&other, "b", "1"));
    assert_true(db_now(&other) > before); /* the clock came with it */
    other.vt->unref(other.e);
    ti_arena_free(&other.a);
    assert_true(db_holds_now(&s.d, "a", "2"));
    assert_true(db_now(&s.d) > after);
    spot_end(&s);
}

static void a_backup_restores(void **state)
{
    spot s;
    db other;
    char path[PATH_SIZE], target[PATH_SIZE];
    struct stat about;
    (void)state;
    spot_begin(&s);
    path_in(s.dir, "one", path);
    path_in(s.dir, "new", target);
    (void)db_set(&s.d, "a", "1");
    test_ok(back_up(&s, path), &s.d.err);
    test_ok(restore(&s, path, target), &s.d.err);
    assert_int_equal(stat(target, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0700);
    open_other(&other, target);
    assert_true(db_holds_now(&other, "a", "1"));
    (void)db_set(&other, "a", "2");
    other.vt->unref(other.e);
    ti_arena_free(&other.a);
    test_ok(verify(&s, path), &s.d.err); /* using what was restored does not touch the backup */
    test_status(restore(&s, path, target), TI_INVALID_ARGUMENT);
    assert_non_null(strstr(s.d.err.message, "not empty"));
    path_in(s.dir, "empty", target);
    assert_int_equal(mkdir(target, 0755), 0);
    test_ok(restore(&s, path, target), &s.d.err);
    spot_end(&s);
}

/* ---- while commits go on: money moves between accounts, its sum stays */

typedef struct mover {
    db d;
    ti_thread thread;
    atomic_bool *stop;
    test_random random;
    uint64_t stream;
    _Atomic(uint64_t) moves; /* acknowledged */
} mover;

static int balance(db *d, ti_snapshot *s, const char *key)
{
    ti_slice value = db_get(d, s, key);
    assert_non_null(value.data);
    return (int)strtol(value.data, NULL, 10);
}

static void account(uint64_t i, char out[8])
{
    (void)snprintf(out, 8, "acc%u", (unsigned)(i % ACCOUNTS));
}

static void move_once(mover *m, test_random *r)
{
    char from[8], to[8], less[16], more[16], count[24], key[24];
    uint64_t i = test_random_below(r, ACCOUNTS - 1);
    uint64_t j = i + 1 + test_random_below(r, ACCOUNTS - 1 - i);
    account(i, from);
    account(j, to);
    ti_snapshot *s = db_begin(&m->d);
    (void)snprintf(less, sizeof(less), "%d", balance(&m->d, s, from) - 1);
    (void)snprintf(more, sizeof(more), "%d", balance(&m->d, s, to) + 1);
    (void)snprintf(key, sizeof(key), "count%u", (unsigned)m->stream);
    (void)snprintf(count, sizeof(count), "%llu", (unsigned long long)atomic_load(&m->moves) + 1);
    ti_status status =
        db_commit(&m->d, db_ts(&m->d, s), SET(from, less), SET(to, more), SET(key, count));
    m->d.vt->release(s);
    assert_true(status == TI_OK || status == TI_CONFLICT);
    if (status == TI_OK)
        atomic_fetch_add(&m->moves, 1);
    ti_arena_reset(&m->d.a);
}

static void *run_mover(void *context)
{
    mover *m = context;
    while (!atomic_load(m->stop))
        move_once(m, &m->random);
    return NULL;
}

static void set_up_accounts(db *d)
{
    char key[8], amount[16];
    (void)snprintf(amount, sizeof(amount), "%d", MONEY);
    for (uint64_t i = 0; i < ACCOUNTS; i++) {
        account(i, key);
        (void)db_set(d, key, amount);
    }
}

/* The backup holds every move that was acknowledged before it began, and no half of one. */
static void check_accounts(const char *path, const uint64_t before[MOVERS])
{
    db other;
    char key[24];
    int sum = 0;
    open_other(&other, path);
    ti_snapshot *s = db_begin(&other);
    for (uint64_t i = 0; i < ACCOUNTS; i++) {
        account(i, key);
        sum += balance(&other, s, key);
    }
    assert_int_equal(sum, ACCOUNTS * MONEY);
    for (unsigned i = 0; i < MOVERS; i++) {
        (void)snprintf(key, sizeof(key), "count%u", i);
        ti_slice count = db_get(&other, s, key);
        assert_true((count.data == NULL ? 0 : strtoull(count.data, NULL, 10)) >= before[i]);
    }
    other.vt->release(s);
    other.vt->unref(other.e);
    ti_arena_free(&other.a);
}

static void commits_go_on_meanwhile(void **state)
{
    spot s;
    mover movers[MOVERS];
    uint64_t before[MOVERS];
    char path[PATH_SIZE];
    atomic_bool stop = false;
    uint64_t rounds = test_scaled(12);
    (void)state;
    spot_begin(&s);
    set_up_accounts(&s.d);
    for (unsigned i = 0; i < MOVERS; i++) {
        movers[i] = (mover){.stop = &stop, .stream = i, .random = test_random_start(i)};
        db_share(&s.d, &movers[i].d);
        test_ok(ti_thread_start(&movers[i].thread, "mover", run_mover, &movers[i], &s.d.err),
                &s.d.err);
    }
    for (uint64_t round = 0; round < rounds; round++) {
        (void)snprintf(path, sizeof(path), "%s/%u", s.dir, (unsigned)round);
        for (unsigned i = 0; i < MOVERS; i++)
            before[i] = atomic_load(&movers[i].moves);
        test_ok(back_up(&s, path), &s.d.err);
        test_ok(verify(&s, path), &s.d.err);
        check_accounts(path, before);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < MOVERS; i++) {
        ti_thread_join(&movers[i].thread);
        db_unshare(&movers[i].d);
    }
    spot_end(&s);
}

/* ---- sharing files */

/* A value that makes a table file of some size. */
static void fill(db *d, const char *key)
{
    char value[20001];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    (void)db_set(d, key, value);
}

/* How many table files both directories hold as one. */
static unsigned count_shared(const char *left, const char *right)
{
    unsigned count = 0;
    struct stat a, b;
    char path[PATH_SIZE + 300];
    const struct dirent *entry;
    DIR *entries = opendir(left);
    assert_non_null(entries);
    while ((entry = readdir(entries)) != NULL) {
        (void)snprintf(path, sizeof(path), "%s/%s", right, entry->d_name);
        if (strstr(entry->d_name, ".sst") == NULL || stat(path, &b) != 0)
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", left, entry->d_name);
        assert_int_equal(stat(path, &a), 0);
        count += a.st_dev == b.st_dev && a.st_ino == b.st_ino;
    }
    (void)closedir(entries);
    return count;
}

static void unchanged_files_are_shared(void **state)
{
    spot s;
    char one[PATH_SIZE], two[PATH_SIZE];
    (void)state;
    spot_begin(&s);
    path_in(s.dir, "one", one);
    path_in(s.dir, "two", two);
    fill(&s.d, "a");
    test_ok(back_up(&s, one), &s.d.err);
    assert_true(s.summary.shared > 0);
    assert_true(s.summary.shared < s.summary.size);
    fill(&s.d, "b");
    test_ok(back_up(&s, two), &s.d.err);
    assert_true(count_shared(one, two) > 0);
    test_ok(verify(&s, one), &s.d.err);
    test_ok(verify(&s, two), &s.d.err);
    spot_end(&s);
}

/* On another file system than the database's, with an earlier backup there. */
static void an_earlier_backup_shares_its_files(void **state)
{
    spot s;
    struct stat here, there;
    char other[] = "/dev/shm/tito-test-XXXXXX";
    char one[PATH_SIZE], two[PATH_SIZE], three[PATH_SIZE];
    (void)state;
    if (mkdtemp(other) == NULL)
        skip();
    spot_begin(&s);
    if (stat(s.d.dir, &here) == 0 && stat(other, &there) == 0 && here.st_dev == there.st_dev) {
        test_dir_remove(other);
        spot_end(&s);
        skip();
    }
    path_in(other, "one", one);
    path_in(other, "two", two);
    path_in(other, "three", three);
    fill(&s.d, "a");
    test_ok(back_up(&s, one), &s.d.err);
    assert_int_equal(s.summary.shared, 0);
    test_ok(back_up_from(&s, two, one), &s.d.err);
    assert_true(s.summary.shared > 0);
    assert_true(count_shared(one, two) > 0);
    test_ok(back_up(&s, three), &s.d.err);
    assert_int_equal(count_shared(one, three), 0);
    test_ok(verify(&s, two), &s.d.err);
    test_ok(verify(&s, three), &s.d.err);
    test_dir_remove(other);
    spot_end(&s);
}

/* ---- damage */

static void change_file(const char *path, long at, bool cut)
{
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    if (cut) {
        assert_int_equal(ftruncate(fileno(file), size - 1), 0);
    } else {
        assert_int_equal(fseek(file, at % size, SEEK_SET), 0);
        int byte = fgetc(file);
        assert_int_equal(fseek(file, at % size, SEEK_SET), 0);
        assert_true(fputc(byte ^ 4, file) >= 0);
    }
    assert_int_equal(fclose(file), 0);
}

/* Restores a copy of the backup in which one file was changed, after verifying it. */
static void damage_one(spot *s, const char *name, int how)
{
    char bad[PATH_SIZE], target[PATH_SIZE], path[PATH_SIZE + 300];
    path_in(s->dir, "bad", bad);
    path_in(s->dir, "target", target);
    test_ok(back_up(s, bad), &s->d.err);
    (void)snprintf(path, sizeof(path), "%s/%s", bad, name);
    if (how == 2)
        assert_int_equal(unlink(path), 0);
    else
        change_file(path, 37, how == 1);
    ti_status expected = how == 2 && strcmp(name, "BACKUP") == 0 ? TI_INVALID_ARGUMENT : TI_CORRUPT;
    test_status(verify(s, bad), expected);
    assert_non_null(strstr(s->d.err.message, name));
    test_status(restore(s, bad, target), expected);
    assert_int_not_equal(access(target, F_OK), 0);
    test_dir_remove(bad);
    assert_int_equal(count_entries(s->dir), 0);
}

static void damage_is_found(void **state)
{
    static const char *const names[] = {"TITO", "CURRENT", "BACKUP"};
    spot s;
    (void)state;
    spot_begin(&s);
    (void)db_set(&s.d, "a", "1");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        for (int how = 0; how < 3; how++)
            damage_one(&s, names[i], how);
    spot_end(&s);
}

/* Every bit of the list counts. */
static void a_damaged_list_is_found(void **state)
{
    spot s;
    char path[PATH_SIZE], list[PATH_SIZE + 300];
    struct stat about;
    (void)state;
    spot_begin(&s);
    path_in(s.dir, "one", path);
    path_in(path, "BACKUP", list);
    (void)db_set(&s.d, "a", "1");
    test_ok(back_up(&s, path), &s.d.err);
    assert_int_equal(stat(list, &about), 0);
    for (long at = 0; at < about.st_size; at++) {
        change_file(list, at, false);
        ti_status status = verify(&s, path);
        assert_true(status == TI_CORRUPT || status == TI_UNSUPPORTED);
        change_file(list, at, false);
    }
    test_ok(verify(&s, path), &s.d.err);
    spot_end(&s);
}

static void the_list_keeps_its_bytes(void **state)
{
    char dir[TEST_DIR_SIZE], path[PATH_SIZE], bytes[1000];
    ti_err err;
    ti_backup_file *file;
    ti_backup_files files = {.time_us = INT64_C(1700000000123456)}, again;
    (void)state;
    test_dir_make(dir);
    test_ok(ti_backup_files_add(&files, &file, &err), &err);
    file->size = 4096;
    memset(file->digest, 'a', sizeof(file->digest) - 1);
    (void)snprintf(file->name, sizeof(file->name), "000012.sst");
    int at = open(dir, O_RDONLY | O_DIRECTORY);
    assert_true(at >= 0);
    test_ok(ti_backup_files_write(at, dir, &files, &err), &err);
    test_ok(ti_backup_files_read(at, dir, &again, &err), &err);
    assert_int_equal(again.count, 1);
    assert_int_equal(again.time_us, files.time_us);
    assert_memory_equal(again.items, files.items, sizeof(*files.items));
    (void)close(at);
    path_in(dir, "BACKUP", path);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    size_t len = fread(bytes, 1, sizeof(bytes), in);
    (void)fclose(in);
    golden_check("rocks.txt", "backup_list", (ti_slice){.data = bytes, .len = len});
    ti_backup_files_free(&files);
    ti_backup_files_free(&again);
    test_dir_remove(dir);
}

/* ---- where it may not lie, and who else is at work */

static void places_are_refused(void **state)
{
    spot s;
    db memory;
    char path[PATH_SIZE], partial[PATH_SIZE], inside[PATH_SIZE];
    (void)state;
    spot_begin(&s);
    (void)db_set(&s.d, "a", "1");
    test_status(back_up(&s, s.d.dir), TI_INVALID_ARGUMENT); /* not empty */
    test_status(back_up(&s, ""), TI_INVALID_ARGUMENT);
    test_status(back_up(&s, "/"), TI_INVALID_ARGUMENT);
    path_in(s.dir, "no/such/place", path);
    test_status(back_up(&s, path), TI_INVALID_ARGUMENT);
    test_status(verify(&s, path), TI_INVALID_ARGUMENT);
    test_status(verify(&s, s.dir), TI_INVALID_ARGUMENT);
    assert_non_null(strstr(s.d.err.message, "holds no backup"));
    path_in(s.dir, "one", path);
    test_status(back_up_from(&s, path, s.dir), TI_INVALID_ARGUMENT); /* the base is no backup */
    path_in(s.dir, "one.partial", partial);
    assert_int_equal(mkdir(partial, 0700), 0);
    path_in(partial, "db", inside);
    assert_int_equal(mkdir(inside, 0700), 0);
    path_in(inside, "letter", path);
    assert_int_equal(mknod(path, S_IFREG | 0600, 0), 0);
    path_in(s.dir, "one", path);
    test_status(back_up(&s, path), TI_INVALID_ARGUMENT);
    assert_non_null(strstr(s.d.err.message, "in the way"));
    assert_int_equal(count_entries(partial), 1); /* somebody else's, and left alone */
    assert_int_equal(count_entries(inside), 1);
    db_open_with(&memory, ti_env_real(), true);
    ti_backup_request request = {.dir = path};
    test_status(ti_rocks_backup(memory.e, &request, &s.summary, &memory.call, &memory.err),
                TI_UNSUPPORTED);
    db_close(&memory);
    spot_end(&s);
}

static void only_one_is_at_work(void **state)
{
    spot s;
    char path[PATH_SIZE], partial[PATH_SIZE];
    (void)state;
    spot_begin(&s);
    path_in(s.dir, "one", path);
    path_in(s.dir, "one.partial", partial);
    assert_int_equal(mkdir(partial, 0700), 0);
    int dir = open(partial, O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(dir, LOCK_EX), 0);
    test_status(back_up(&s, path), TI_BUSY);
    (void)close(dir);
    assert_int_equal(rmdir(partial), 0);
    test_ok(back_up(&s, path), &s.d.err);
    spot_end(&s);
}

static void a_cancelled_one_leaves_nothing(void **state)
{
    spot s;
    _Atomic(int) cancelled = 1;
    char path[PATH_SIZE], target[PATH_SIZE];
    (void)state;
    spot_begin(&s);
    (void)db_set(&s.d, "a", "1");
    path_in(s.dir, "one", path);
    path_in(s.dir, "new", target);
    s.d.call.cancelled = &cancelled;
    test_status(back_up(&s, path), TI_CANCELLED);
    assert_int_equal(count_entries(s.dir), 0);
    s.d.call.cancelled = NULL;
    test_ok(back_up(&s, path), &s.d.err);
    s.d.call.cancelled = &cancelled;
    test_status(restore(&s, path, target), TI_CANCELLED);
    test_status(verify(&s, path), TI_CANCELLED);
    assert_int_equal(count_entries(s.dir), 1);
    s.d.call.cancelled = NULL;
    spot_end(&s);
}

/* ---- disks */

static void full_and_read_only_disks_are_told(void **state)
{
    spot s;
    char path[PATH_SIZE];
    (void)state;
    spot_begin(&s);
    for (int i = 0; i < 8; i++) {
        char key[8];
        (void)snprintf(key, sizeof(key), "k%d", i);
        fill(&s.d, key);
    }
    if (geteuid() != 0 || mount("tmpfs", s.dir, "tmpfs", 0, "size=16k") != 0) {
        spot_end(&s);
        skip();
    }
    path_in(s.dir, "one", path);
    test_status(back_up(&s, path), TI_IO);
    assert_non_null(strstr(s.d.err.message, "No space left"));
    assert_int_equal(count_entries(s.dir), 0);
    assert_int_equal(mount("tmpfs", s.dir, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL), 0);
    test_status(back_up(&s, path), TI_IO);
    assert_non_null(strstr(s.d.err.message, "Read-only"));
    assert_int_equal(umount(s.dir), 0);
    (void)db_set(&s.d, "a", "1"); /* the database goes on */
    test_ok(back_up(&s, path), &s.d.err);
    spot_end(&s);
}

/* ---- killed: in child processes, before this one opens a database */

typedef struct place {
    char dir[TEST_DIR_SIZE];
    char db[PATH_SIZE], backup[PATH_SIZE], target[PATH_SIZE];
    const char *point;
} place;

/* Runs fn in a child process, which leaves by 0 or is killed; whether it was. */
static bool in_child(int (*fn)(const place *p), const place *p)
{
    int result;
    (void)fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(fn(p));
    assert_int_equal(waitpid(child, &result, 0), child);
    if (WIFSIGNALED(result) && WTERMSIG(result) == SIGKILL)
        return true;
    if (!WIFEXITED(result) || WEXITSTATUS(result) != 0)
        fail_msg("the child ended with %x", result);
    return false;
}

static int write_and_back_up(const place *p)
{
    spot s;
    ti_fault fault = {.name = p->point, .action = TI_FAULT_KILL, .at = 1};
    open_other(&s.d, p->db);
    (void)db_set(&s.d, "a", "1");
    if (p->point != NULL)
        ti_fault_arm(&fault);
    ti_status status = back_up(&s, p->backup);
    s.d.vt->unref(s.d.e);
    return status == TI_OK ? 0 : 1;
}

static int restore_it(const place *p)
{
    spot s;
    ti_fault fault = {.name = p->point, .action = TI_FAULT_KILL, .at = 2};
    s.d.call = ti_call_within(ti_env_real(), DB_TIMEOUT_US);
    if (p->point != NULL)
        ti_fault_arm(&fault);
    if (restore(&s, p->backup, p->target) != TI_OK)
        return 1;
    open_other(&s.d, p->target);
    bool holds = db_holds_now(&s.d, "a", "1");
    s.d.vt->unref(s.d.e);
    return holds ? 0 : 2;
}

/* Whether a directory holds a name that has this text in it. */
static bool holds_name(const char *dir, const char *text)
{
    bool found = false;
    const struct dirent *entry;
    DIR *entries = opendir(dir);
    assert_non_null(entries);
    while ((entry = readdir(entries)) != NULL)
        found = found || strstr(entry->d_name, text) != NULL;
    (void)closedir(entries);
    return found;
}

static void killed_ones_leave_nothing_whole(void **state)
{
    static const char *const points[] = {"rocks_backup_staged", "rocks_backup_file",
                                         "rocks_backup_listed"};
    place p;
    (void)state;
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        test_dir_make(p.dir);
        path_in(p.dir, "db", p.db);
        path_in(p.dir, "backup", p.backup);
        path_in(p.dir, "target", p.target);
        p.point = points[i];
        assert_true(in_child(write_and_back_up, &p));
        assert_int_not_equal(access(p.backup, F_OK), 0);
        assert_true(holds_name(p.db, "backup.stage"));
        p.point = NULL;
        assert_false(in_child(write_and_back_up, &p));
        assert_false(holds_name(p.db, "backup.stage"));
        p.point = "rocks_restore_file";
        assert_true(in_child(restore_it, &p));
        assert_int_not_equal(access(p.target, F_OK), 0);
        p.point = NULL;
        assert_false(in_child(restore_it, &p));
        assert_false(holds_name(p.dir, ".partial"));
        test_dir_remove(p.dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_ones_leave_nothing_whole),
        cmocka_unit_test(a_backup_is_a_database),
        cmocka_unit_test(a_backup_restores),
        cmocka_unit_test(commits_go_on_meanwhile),
        cmocka_unit_test(unchanged_files_are_shared),
        cmocka_unit_test(an_earlier_backup_shares_its_files),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(a_damaged_list_is_found),
        cmocka_unit_test(the_list_keeps_its_bytes),
        cmocka_unit_test(places_are_refused),
        cmocka_unit_test(only_one_is_at_work),
        cmocka_unit_test(a_cancelled_one_leaves_nothing),
        cmocka_unit_test(full_and_read_only_disks_are_told),
    };
    return TEST_RUN(tests);
}
