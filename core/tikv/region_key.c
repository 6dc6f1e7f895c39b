/* Region keys. See region_key.h. */
#include "tikv/region_key.h"

#include <string.h>

#include "base/assert.h"

#define GROUP_SIZE 8
#define MARKER_FULL 0xFFu

ti_slice ti_region_key_encode(ti_arena *a, ti_slice key)
{
    size_t groups = key.len / GROUP_SIZE + 1;
    unsigned char *out = ti_arena_alloc(a, groups * (GROUP_SIZE + 1));
    if (out == NULL)
        return TI_SLICE_NONE;
    unsigned char *at = out;
    for (size_t g = 0; g < groups; g++) {
        size_t offset = g * GROUP_SIZE;
        size_t len = key.len - offset < GROUP_SIZE ? key.len - offset : GROUP_SIZE;
        memset(at, 0, GROUP_SIZE);
        if (len > 0)
            memcpy(at, key.data + offset, len);
        at[GROUP_SIZE] = (unsigned char)(MARKER_FULL - (GROUP_SIZE - len));
        at += GROUP_SIZE + 1;
    }
    ti_assert(at == out + groups * (GROUP_SIZE + 1));
    return (ti_slice){.data = (const char *)out, .len = groups * (GROUP_SIZE + 1)};
}

/* Whether the padding of a group of len bytes is all zero. */
static bool padding_is_zero(const unsigned char *group, size_t len)
{
    for (size_t i = len; i < GROUP_SIZE; i++) {
        if (group[i] != 0)
            return false;
    }
    return true;
}

static ti_status not_a_region_key(ti_err *err)
{
    return ti_err_set(err, TI_CORRUPT, "a region bound is not in the memcomparable form");
}

ti_status ti_region_key_decode(ti_arena *a, ti_slice encoded, ti_slice *key_out, ti_err *err)
{
    *key_out = TI_SLICE(""); /* no bound */
    if (encoded.len == 0)
        return TI_OK;
    if (encoded.len % (GROUP_SIZE + 1) != 0)
        return not_a_region_key(err);
    char *out = ti_arena_alloc(a, encoded.len);
    if (out == NULL)
        return ti_err_no_memory(err);
    size_t len = 0;
    size_t groups = encoded.len / (GROUP_SIZE + 1);
    for (size_t g = 0; g < groups; g++) {
        const unsigned char *group = (const unsigned char *)encoded.data + g * (GROUP_SIZE + 1);
        size_t padding = MARKER_FULL - group[GROUP_SIZE];
        bool last = g + 1 == groups;
        if (padding > GROUP_SIZE || (padding == 0) == last ||
            !padding_is_zero(group, GROUP_SIZE - padding))
            return not_a_region_key(err);
        memcpy(out + len, group, GROUP_SIZE - padding);
        len += GROUP_SIZE - padding;
    }
    *key_out = (ti_slice){.data = out, .len = len};
    return TI_OK;
}
