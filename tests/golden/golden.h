/* Golden files: stored bytes that must read and be written the same for ever.
 *
 *   # comment
 *   name  hexadecimal bytes
 *
 * golden_check compares what the code makes with the line of that name. With TITO_GOLDEN_PRINT=1 it
 * prints the line it would have wanted and goes on: the way to add one, never to change one.
 *
 * INVARIANTS
 *  1. A line that is in a file is never changed or removed: stores with these bytes exist.
 *
 * Needs TITO_GOLDEN_DIR from the build. */
#ifndef TITO_TESTS_GOLDEN_H
#define TITO_TESTS_GOLDEN_H

#include "support/test.h"

#include "base/slice.h"

#define GOLDEN_LINE_SIZE 16384

/* The bytes of a name, in out; their number, or -1 when the file has no such line. */
static inline long golden_find(const char *file, const char *name, char *out, size_t size)
{
    char path[1024];
    static char line[GOLDEN_LINE_SIZE];
    snprintf(path, sizeof path, "%s/%s", TITO_GOLDEN_DIR, file);
    FILE *in = fopen(path, "r");
    long found = -1;
    if (in == NULL)
        fail_msg("no golden file %s", path);
    while (found < 0 && fgets(line, sizeof line, in) != NULL) {
        size_t len = strcspn(line, " \n");
        if (len != strlen(name) || strncmp(line, name, len) != 0)
            continue;
        const char *hex = line + len + strspn(line + len, " ");
        for (found = 0; strspn(hex, "0123456789abcdef") >= 2; hex += 2) {
            char digits[3] = {hex[0], hex[1], '\0'};
            assert_true((size_t)found < size);
            out[found++] = (char)strtoul(digits, NULL, 16);
        }
    }
    fclose(in);
    return found;
}

static inline void golden_print(const char *name, ti_slice bytes)
{
    printf("%s  ", name);
    for (size_t i = 0; i < bytes.len; i++)
        printf("%02x", (unsigned char)bytes.data[i]);
    printf("\n");
}

/* Fails unless the file has these bytes under this name. */
static inline void golden_check(const char *file, const char *name, ti_slice bytes)
{
    static char wanted[GOLDEN_LINE_SIZE];
    if (getenv("TITO_GOLDEN_PRINT") != NULL) {
        golden_print(name, bytes);
        return;
    }
    long len = golden_find(file, name, wanted, sizeof wanted);
    if (len < 0)
        fail_msg("%s has no line %s", file, name);
    if ((size_t)len != bytes.len || memcmp(wanted, bytes.data, bytes.len) != 0) {
        golden_print(name, bytes);
        fail_msg("%s: the bytes of %s have changed", file, name);
    }
}

#endif
