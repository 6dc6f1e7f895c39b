/* What the files of backups share.
 *
 *   place   TARGET.partial/         flock()ed while work is under way
 *             PARTIAL               says that the directory is ours to clean
 *             db/                   what becomes TARGET
 *
 *   list    DIR/BACKUP              tito backup, format 1
 *                                   time 1700000000000000
 *                                   file 4096 {sha256} 000012.sst
 *                                   …
 *                                   end 7 {sha256 of all lines above}
 *
 * INVARIANTS
 *  1. A list is read as a whole or not at all: its own digest is checked first.
 *  2. Names in a list are plain file names: no '/', no ".", printable ASCII. */
#ifndef TI_ROCKS_BACKUP_INT_H
#define TI_ROCKS_BACKUP_INT_H

#include "base/digest.h"
#include "base/mem.h"
#include "base/slice.h"
#include "rocks/backup.h"
#include "rocks/rocks_int.h"

#define TI_BACKUP_LIST "BACKUP"
#define TI_BACKUP_NAME_SIZE 128
#define TI_BACKUP_FILES_MAX 1000000

typedef struct ti_backup_file {
    int64_t size;
    char digest[TI_DIGEST_SIZE];
    char name[TI_BACKUP_NAME_SIZE];
} ti_backup_file;

typedef struct ti_backup_files {
    int64_t time_us;
    ti_backup_file *items; /* owned */
    size_t count;
    size_t room;
} ti_backup_files;

/* ---- backup_list.c */

/* Adds an empty item. OUT_OF_MEMORY, LIMIT_EXCEEDED. */
ti_status ti_backup_files_add(ti_backup_files *files, ti_backup_file **file_out, ti_err *err);
/* The item of that name, or NULL. */
const ti_backup_file *ti_backup_files_find(const ti_backup_files *files, const char *name);
void ti_backup_files_free(ti_backup_files *files);
/* Whether a name may stand in a list. */
bool ti_backup_name_is_valid(const char *name);
/* Reads the list in dir (its path for messages). INVALID_ARGUMENT: there is none. CORRUPT,
 * UNSUPPORTED (of a newer tito), IO. What was read is freed by the caller in any case. */
ti_status ti_backup_files_read(int dir, const char *path, ti_backup_files *files_out, ti_err *err);
/* Writes the list into dir and to the disk. */
ti_status ti_backup_files_write(int dir, const char *path, const ti_backup_files *files,
                                ti_err *err);

/* ---- backup_place.c */

typedef struct ti_backup_place {
    int parent; /* descriptors; -1: none */
    int partial;
    int db;
    char path[TI_ROCKS_PATH_SIZE]; /* of the target, as it was given */
    char name[TI_ROCKS_PATH_SIZE]; /* its last part */
    char partial_name[TI_ROCKS_PATH_SIZE];
} ti_backup_place;

/* Prepares the work on target: an empty db, locked. INVALID_ARGUMENT (target is not empty), BUSY,
 * IO. Ended with ti_backup_place_end in any case. */
ti_status ti_backup_place_begin(ti_backup_place *place, const char *target, ti_err *err);
/* Makes what is in db the target: it is on the disk, under its name, when this returns. */
ti_status ti_backup_place_finish(ti_backup_place *place, ti_err *err);
/* Removes what is left of the work. */
void ti_backup_place_end(ti_backup_place *place);
/* Removes the files in a directory of dir, and it; nothing when there is none. */
ti_status ti_backup_remove(int dir, const char *name, ti_err *err);
/* Opens a directory for reading. */
ti_status ti_backup_open_dir(const char *path, int *dir_out, ti_err *err);

/* ---- backup_copy.c */

/* Where bytes go through. */
typedef struct ti_backup_copier {
    ti_digest *digest;
    char *block; /* two blocks, owned */
    ti_progress *progress;
    const ti_call *call;
} ti_backup_copier;

/* OUT_OF_MEMORY. Ended with ti_backup_copier_end in any case. */
ti_status ti_backup_copier_begin(ti_backup_copier *copier, ti_progress *progress,
                                 const ti_call *call, ti_err *err);
void ti_backup_copier_end(ti_backup_copier *copier);
/* Fills size and digest of file (its name is set) from the one in from. */
ti_status ti_backup_hash(ti_backup_copier *copier, int from, ti_backup_file *file, ti_err *err);
/* Copies a file to a new one in to, which is on the disk then; fills size and digest. */
ti_status ti_backup_copy(ti_backup_copier *copier, int from, int to, ti_backup_file *file,
                         ti_err *err);
/* Whether both directories hold the same bytes under name; false also when right has no such file.
 */
ti_status ti_backup_same(ti_backup_copier *copier, int left, int right, const char *name,
                         bool *same_out, ti_err *err);

#endif
