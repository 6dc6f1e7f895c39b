/* Words of servers. See said.h. */
#include "tikv/said.h"

#include <stdbool.h>
#include <string.h>

#include "base/assert.h"

#define GAP "..."
#define GAP_LEN (sizeof(GAP) - 1)
#define HEX_LEAST 8
#define NUMBER_MOST 20 /* digits of an unsigned 64-bit number */

#define DIGITS "0123456789"
#define HEX_LETTERS "abcdefABCDEF"

/* Letters, digits and what else makes a word go on. */
static bool is_wordly(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The length of a quoted text with its quotes, or up to the end when that is cut. */
static size_t quoted(const char *at)
{
    size_t len = 1;
    while (at[len] != '\0' && at[len] != '"')
        len += at[len] == '\\' && at[len + 1] != '\0' ? 2 : 1;
    return at[len] == '"' ? len + 1 : len;
}

/* The length of "[1, 2, 3]", or of what is left of it; 0 for brackets around anything else. */
static size_t numbers(const char *at)
{
    size_t len = 1 + strspn(at + 1, DIGITS ", ");
    if (len == 1 || (at[len] != ']' && at[len] != '\0'))
        return 0;
    return at[len] == ']' ? len + 1 : len;
}

/* The length of bytes in hexadecimal; 0 for a number or a word. */
static size_t hexadecimal(const char *at)
{
    size_t len = strspn(at, DIGITS HEX_LETTERS);
    bool letters = strcspn(at, HEX_LETTERS) < len;
    bool whole = !is_wordly(at[len]);
    return whole && ((letters && len >= HEX_LEAST) || len > NUMBER_MOST) ? len : 0;
}

/* How many bytes from `at` on are left out. */
static size_t hidden(const char *at, bool begins_word)
{
    if (*at == '"')
        return quoted(at);
    if (*at == '[')
        return numbers(at);
    return begins_word ? hexadecimal(at) : 0;
}

ti_said ti_said_by(const char *text)
{
    ti_said said;
    size_t len = 0;
    char before = ' ';
    ti_assert(text != NULL);
    for (const char *at = text; *at != '\0' && len + GAP_LEN < sizeof(said.text);) {
        size_t gap = hidden(at, !is_wordly(before));
        before = gap > 0 ? ' ' : *at;
        if (gap > 0) {
            memcpy(said.text + len, GAP, GAP_LEN);
            len += GAP_LEN;
            at += gap;
        } else {
            said.text[len++] = *at++;
        }
    }
    ti_assert(len < sizeof(said.text));
    said.text[len] = '\0';
    return said;
}
