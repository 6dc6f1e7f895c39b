/* Parsing connection targets; the forms are in target.h.
 *
 *   "memory:"            exactly                       memory
 *   "rocksdb:" rest      rest is a path                directory
 *   "tikv://" list       list of host:port             TiKV
 *   with '/', or no ':'  and no ','                    directory
 *   anything else        list of host:port             TiKV, or the error says what is missing */
#include "kv/target.h"

#include <string.h>

#include "base/assert.h"

#define FORMS                                                                                      \
    "write a directory (./data or rocksdb:data), memory:, or TiKV's PD servers "                   \
    "(tikv://host:port,host:port)"
#define HOST_SIZE_MAX 255

static bool is_host_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
}

/* The part of s behind its first n bytes. */
static ti_slice after(ti_slice s, size_t n)
{
    ti_assert(n <= s.len);
    return (ti_slice){.data = s.data + n, .len = s.len - n};
}

/* Length of the host at the beginning of s, brackets of an IPv6 address included; 0 when bad. */
static size_t host_len(ti_slice s)
{
    size_t n = 0;
    if (s.len > 0 && s.data[0] == '[') {
        n = 1;
        while (n < s.len && (s.data[n] == ':' || is_host_byte(s.data[n])))
            n++;
        return n > 1 && n < s.len && s.data[n] == ']' ? n + 1 : 0;
    }
    while (n < s.len && is_host_byte(s.data[n]))
        n++;
    return n;
}

/* host:port with a port of 1 to 65535. */
static bool is_endpoint(ti_slice s)
{
    size_t host = host_len(s);
    if (host == 0 || host > HOST_SIZE_MAX || host >= s.len || s.data[host] != ':')
        return false;
    ti_slice port = after(s, host + 1);
    uint32_t number = 0;
    if (port.len == 0 || port.len > 5)
        return false;
    for (size_t i = 0; i < port.len; i++) {
        if (port.data[i] < '0' || port.data[i] > '9')
            return false;
        number = number * 10 + (uint32_t)(port.data[i] - '0');
    }
    return number >= 1 && number <= 65535;
}

static ti_status add_endpoint(ti_slice part, ti_arena *a, ti_target *target, ti_err *err)
{
    if (!is_endpoint(part))
        return ti_err_set(err, TI_INVALID_ARGUMENT, "'%.*s' is not host:port; " FORMS,
                          (int)(part.len < 200 ? part.len : 200), part.data);
    if (target->endpoint_count == TI_TARGET_ENDPOINTS_MAX)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "more than %d PD servers",
                          TI_TARGET_ENDPOINTS_MAX);
    ti_slice copy = ti_arena_copy(a, part);
    if (copy.data == NULL)
        return ti_err_no_memory(err);
    target->endpoints[target->endpoint_count++] = copy;
    return TI_OK;
}

static ti_status parse_endpoints(ti_slice list, ti_arena *a, ti_target *target, ti_err *err)
{
    target->kind = TI_TARGET_TIKV;
    for (;;) {
        const char *comma = list.len == 0 ? NULL : memchr(list.data, ',', list.len);
        ti_slice part = list;
        if (comma != NULL)
            part.len = (size_t)(comma - list.data);
        TI_TRY(add_endpoint(part, a, target, err));
        if (comma == NULL)
            return TI_OK;
        list = after(list, part.len + 1);
    }
}

static ti_status parse_path(ti_slice path, ti_arena *a, ti_target *target, ti_err *err)
{
    if (path.len == 0)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "the path is empty; " FORMS);
    target->kind = TI_TARGET_ROCKSDB;
    target->path = ti_arena_copy(a, path);
    return target->path.data == NULL ? ti_err_no_memory(err) : TI_OK;
}

static bool has_byte(ti_slice s, char byte)
{
    return s.len > 0 && memchr(s.data, byte, s.len) != NULL;
}

ti_status ti_target_parse(ti_slice text, ti_arena *a, ti_target *target_out, ti_err *err)
{
    static const ti_slice rocksdb = {.data = "rocksdb:", .len = 8};
    static const ti_slice tikv = {.data = "tikv://", .len = 7};
    *target_out = (ti_target){.kind = TI_TARGET_MEMORY};
    if (has_byte(text, '\0'))
        return ti_err_set(err, TI_INVALID_ARGUMENT, "the target has a NUL byte; " FORMS);
    if (ti_slice_equal(text, TI_SLICE("memory:")))
        return TI_OK;
    if (ti_slice_has_prefix(text, TI_SLICE("memory:")))
        return ti_err_set(err, TI_INVALID_ARGUMENT, "nothing can follow memory:; " FORMS);
    if (ti_slice_has_prefix(text, rocksdb))
        return parse_path(after(text, rocksdb.len), a, target_out, err);
    if (ti_slice_has_prefix(text, tikv))
        return parse_endpoints(after(text, tikv.len), a, target_out, err);
    const char *scheme = text.len == 0 ? NULL : memmem(text.data, text.len, "://", 3);
    if (scheme != NULL)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "'%.*s://' is not a known kind of target; " FORMS,
                          (int)(scheme - text.data < 64 ? scheme - text.data : 64), text.data);
    bool list = has_byte(text, ',') || has_byte(text, ':');
    if (has_byte(text, '/') || !list)
        return parse_path(text, a, target_out, err);
    return parse_endpoints(text, a, target_out, err);
}
