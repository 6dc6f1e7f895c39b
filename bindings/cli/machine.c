/* What `tito doctor` asks of the machine: limits of the process, file systems, files.
 *
 * INVARIANTS
 *  1. Only looks: nothing is created, opened for writing or changed. */
#include "cli.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { ENTRIES_MAX = 10000, PERMISSIONS = 07777 };

static void set_number(lua_State *L, const char *name, lua_Number value)
{
    lua_pushnumber(L, value);
    lua_setfield(L, -2, name);
}

static int fail(lua_State *L, const char *path)
{
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", path, strerror(errno));
    return 2;
}

/* limits(): soft limits by name; math.huge where there is none. */
static int limits(lua_State *L)
{
    static const struct {
        const char *name;
        int resource;
    } known[] = {{"open_files", RLIMIT_NOFILE},
                 {"processes", RLIMIT_NPROC},
                 {"file_size", RLIMIT_FSIZE},
                 {"address_space", RLIMIT_AS},
                 {"stack", RLIMIT_STACK}};
    lua_newtable(L);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct rlimit limit;
        if (getrlimit((__rlimit_resource_t)known[i].resource, &limit) != 0)
            continue;
        set_number(L, known[i].name,
                   limit.rlim_cur == RLIM_INFINITY ? (lua_Number)HUGE_VAL
                                                   : (lua_Number)limit.rlim_cur);
    }
    return 1;
}

/* disk(path): { total, free (bytes), files_free, type (a number of the kernel's) }, or nil and why.
 */
static int disk(lua_State *L)
{
    struct statvfs space;
    struct statfs kind;
    const char *path = luaL_checkstring(L, 1);
    if (statvfs(path, &space) != 0 || statfs(path, &kind) != 0)
        return fail(L, path);
    lua_newtable(L);
    set_number(L, "total", (lua_Number)space.f_blocks * (lua_Number)space.f_frsize);
    set_number(L, "free", (lua_Number)space.f_bavail * (lua_Number)space.f_frsize);
    set_number(L, "files", (lua_Number)space.f_files);
    set_number(L, "files_free", (lua_Number)space.f_favail);
    lua_pushinteger(L, (lua_Integer)kind.f_type);
    lua_setfield(L, -2, "type");
    return 1;
}

/* Pushes { name, mode, own, link } of a file. */
static void push_entry(lua_State *L, const char *name, const struct stat *found)
{
    lua_createtable(L, 0, 4);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "name");
    lua_pushinteger(L, (lua_Integer)(found->st_mode & PERMISSIONS));
    lua_setfield(L, -2, "mode");
    lua_pushboolean(L, found->st_uid == geteuid());
    lua_setfield(L, -2, "own");
    lua_pushboolean(L, S_ISLNK(found->st_mode));
    lua_setfield(L, -2, "link");
}

/* files(folder): the folder itself ("."), and what is in it; or nil and why. */
static int files(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    struct stat found;
    lua_Integer count = 0;
    DIR *folder = opendir(path);
    if (folder == NULL)
        return fail(L, path);
    lua_newtable(L);
    if (lstat(path, &found) == 0) {
        push_entry(L, ".", &found);
        lua_rawseti(L, -2, ++count);
    }
    for (struct dirent *entry = readdir(folder); entry != NULL && count < ENTRIES_MAX;
         entry = readdir(folder)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(dirfd(folder), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        push_entry(L, entry->d_name, &found);
        lua_rawseti(L, -2, ++count);
    }
    closedir(folder);
    return 1;
}

/* system(): the kernel's name and release, and the machine's. */
static int system_name(lua_State *L)
{
    struct utsname name;
    if (uname(&name) != 0)
        return fail(L, "uname");
    lua_pushfstring(L, "%s %s %s", name.sysname, name.release, name.machine);
    return 1;
}

void tc_machine_push(lua_State *L)
{
    static const luaL_Reg functions[] = {{"limits", limits},
                                         {"disk", disk},
                                         {"files", files},
                                         {"system", system_name},
                                         {NULL, NULL}};
    luaL_newlib(L, functions);
}
