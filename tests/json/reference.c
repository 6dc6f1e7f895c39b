/* The parser against a naive one: random documents, then the same with random bytes changed. Both
 * must agree on valid or not. */
#include "json/docs.h"
#include "json/tree.h"

/* The naive parser: RFC 8259 by recursive descent over a NUL-terminated text, plus tito's own rules
 * (no duplicate keys, no lone surrogates, no number beyond a double). */
typedef struct naive {
    const char *p;
    const char *end;
} naive;

static bool naive_value(naive *n, int depth);

static void naive_space(naive *n)
{
    while (n->p < n->end && strchr(" \t\r\n", *n->p) != NULL && *n->p != '\0')
        n->p++;
}

static bool naive_hex(const char *p, const char *end, unsigned *out)
{
    char digits[5] = {0};
    if (end - p < 4 || strspn(p, "0123456789abcdefABCDEF") < 4)
        return false;
    memcpy(digits, p, 4);
    *out = (unsigned)strtoul(digits, NULL, 16);
    return true;
}

/* A string; out gets its text, unescaped as code points (one unsigned each), so that keys can be
 * compared. */
static bool naive_string(naive *n, unsigned *out, size_t *len)
{
    *len = 0;
    if (n->p == n->end || *n->p++ != '"')
        return false;
    while (n->p < n->end && *n->p != '"') {
        unsigned code = (unsigned char)*n->p++;
        if (code < 0x20)
            return false;
        if (code >= 0x80) { /* UTF-8 was checked before: decode */
            int more = code >= 0xf0 ? 3 : code >= 0xe0 ? 2 : 1;
            code &= 0x3fu >> more;
            while (more-- > 0)
                code = code << 6 | ((unsigned char)*n->p++ & 0x3f);
        } else if (code == '\\') {
            if (n->p == n->end)
                return false;
            char c = *n->p++;
            unsigned low;
            if (c == 'u') {
                if (!naive_hex(n->p, n->end, &code))
                    return false;
                n->p += 4;
                if (code >= 0xdc00 && code < 0xe000)
                    return false;
                if (code >= 0xd800 && code < 0xdc00) {
                    if (n->end - n->p < 6 || n->p[0] != '\\' || n->p[1] != 'u' ||
                        !naive_hex(n->p + 2, n->end, &low) || low < 0xdc00 || low > 0xdfff)
                        return false;
                    n->p += 6;
                    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                }
            } else {
                static const char letters[] = "\"\\/bfnrt";
                const char *at = c == '\0' ? NULL : strchr(letters, c);
                if (at == NULL)
                    return false;
                code = (unsigned)"\"\\/\b\f\n\r\t"[at - letters];
            }
        }
        out[(*len)++] = code;
    }
    return n->p < n->end && *n->p++ == '"';
}

static bool naive_digits(naive *n)
{
    const char *from = n->p;
    while (n->p < n->end && *n->p >= '0' && *n->p <= '9')
        n->p++;
    return n->p > from;
}

static bool naive_number(naive *n)
{
    const char *from = n->p;
    if (n->p < n->end && *n->p == '-')
        n->p++;
    if (n->p < n->end && *n->p == '0')
        n->p++;
    else if (!naive_digits(n))
        return false;
    if (n->p < n->end && *n->p == '.') {
        n->p++;
        if (!naive_digits(n))
            return false;
    }
    if (n->p < n->end && (*n->p == 'e' || *n->p == 'E')) {
        n->p++;
        if (n->p < n->end && (*n->p == '+' || *n->p == '-'))
            n->p++;
        if (!naive_digits(n))
            return false;
    }
    double d = strtod(from, NULL);
    return d - d == 0;
}

static bool naive_array(naive *n, int depth)
{
    n->p++;
    naive_space(n);
    if (n->p < n->end && *n->p == ']')
        return n->p++ != NULL;
    for (;;) {
        if (!naive_value(n, depth))
            return false;
        if (n->p == n->end)
            return false;
        char c = *n->p++;
        if (c == ']')
            return true;
        if (c != ',')
            return false;
    }
}

/* The keys of an object: their code points one behind the other, and where each one ends. A text of
 * n bytes has fewer than n code points and fewer than n keys, so that both have room for any. */
typedef struct naive_keys {
    unsigned *codes;
    size_t *ends;
    size_t count;
} naive_keys;

/* Reads a key; false also when it was there before. */
static bool naive_key(naive *n, naive_keys *keys)
{
    size_t from = keys->count == 0 ? 0 : keys->ends[keys->count - 1];
    size_t start = 0;
    size_t len;
    if (!naive_string(n, keys->codes + from, &len))
        return false;
    for (size_t i = 0; i < keys->count; start = keys->ends[i++]) {
        if (keys->ends[i] - start == len &&
            memcmp(keys->codes + start, keys->codes + from, len * sizeof(unsigned)) == 0)
            return false;
    }
    keys->ends[keys->count++] = from + len;
    return true;
}

/* What follows the opening brace of an object that is not empty. */
static bool naive_members(naive *n, naive_keys *keys, int depth)
{
    for (;;) {
        naive_space(n);
        if (!naive_key(n, keys))
            return false;
        naive_space(n);
        if (n->p == n->end || *n->p++ != ':' || !naive_value(n, depth) || n->p == n->end)
            return false;
        char c = *n->p++;
        if (c != ',')
            return c == '}';
    }
}

static bool naive_object(naive *n, int depth)
{
    n->p++;
    naive_space(n);
    if (n->p < n->end && *n->p == '}')
        return n->p++ != NULL;
    size_t left = (size_t)(n->end - n->p) + 1;
    naive_keys keys = {.codes = malloc(left * sizeof(unsigned)),
                       .ends = malloc(left * sizeof(size_t))};
    assert_non_null(keys.codes);
    assert_non_null(keys.ends);
    bool valid = naive_members(n, &keys, depth);
    free(keys.codes);
    free(keys.ends);
    return valid;
}

static bool naive_word(naive *n, const char *word)
{
    size_t len = strlen(word);
    if ((size_t)(n->end - n->p) < len || memcmp(n->p, word, len) != 0)
        return false;
    n->p += len;
    return true;
}

static bool naive_value(naive *n, int depth)
{
    static unsigned text[TREE_TEXT_MAX];
    size_t len;
    bool valid;
    naive_space(n);
    if (n->p == n->end || depth > 64)
        return false;
    switch (*n->p) {
    case '{':
        valid = depth < 64 && naive_object(n, depth + 1);
        break;
    case '[':
        valid = depth < 64 && naive_array(n, depth + 1);
        break;
    case '"':
        valid = naive_string(n, text, &len);
        break;
    case 't':
        valid = naive_word(n, "true");
        break;
    case 'f':
        valid = naive_word(n, "false");
        break;
    case 'n':
        valid = naive_word(n, "null");
        break;
    default:
        valid = naive_number(n);
    }
    naive_space(n);
    return valid;
}

/* text[len] is a NUL. */
static bool naive_is_valid(const char *text, size_t len)
{
    naive n = {text, text + len};
    return ti_slice_is_utf8((ti_slice){text, len}) && naive_value(&n, 0) && n.p == n.end;
}

/* Changes a few bytes, preferring those that mean something. */
static size_t damage(test_random *r, char *text, size_t len)
{
    static const char bytes[] = "{}[]:,\"\\ \n0123456789-+.eEtfnu\x01\xff\xc3\xa9ud8dc";
    for (uint64_t k = 1 + test_random_below(r, 3); k > 0 && len > 0; k--) {
        size_t at = test_random_below(r, len);
        char c = bytes[test_random_below(r, sizeof bytes - 1)];
        switch (test_random_below(r, 4)) {
        case 0: /* insert */
            memmove(text + at + 1, text + at, len - at);
            text[at] = c;
            len++;
            break;
        case 1: /* remove */
            memmove(text + at, text + at + 1, len - at - 1);
            len--;
            break;
        case 2: /* cut */
            len = test_random_one_in(r, 4) ? at : len;
            break;
        default:
            text[at] = c;
        }
    }
    text[len] = '\0';
    return len;
}

/* Keys longer than any of the random ones, and more of them, met by both parsers alike. */
static void keys_of_any_length(void **state)
{
    static char text[40000];
    docs d;
    (void)state;
    docs_init(&d);
    for (size_t escapes = 100; escapes <= 3000; escapes += 290) {
        maker m = {.text = text, .size = sizeof text};
        for (int twice = 0; twice < 2; twice++) {
            m.len = 0;
            maker_put(&m, "{");
            for (size_t i = 0; i < escapes / 10; i++)
                maker_put(&m, "\"%zu\":1,", i);
            maker_put(&m, "\"");
            for (size_t i = 0; i < escapes; i++)
                maker_put(&m, "\\\"");
            maker_put(&m, "\":1,\"");
            for (size_t i = 0; i < escapes; i++)
                maker_put(&m, "\\u%04x", i + 1 == escapes && !twice ? 0x21u : 0x22u);
            maker_put(&m, "\":2}");
            assert_int_equal(naive_is_valid(text, m.len), !twice);
            assert_int_equal(docs_try(&d, maker_slice(&m)) == TI_OK, !twice);
        }
        ti_arena_reset(&d.arena);
    }
    docs_free(&d);
}

static void both_parsers_agree(void **state)
{
    static char text[TREE_TEXT_MAX + 16];
    trees t;
    docs d;
    uint64_t valid = 0;
    uint64_t refused = 0;
    (void)state;
    trees_init(&t, 1);
    docs_init(&d);
    for (uint64_t n = test_scaled(60000); n > 0; n--) {
        t.used = 0;
        ti_slice made = tree_print(&t, tree_random(&t, NULL, 4));
        memcpy(text, made.data, made.len);
        text[made.len] = '\0';
        size_t len = made.len;
        assert_int_equal(docs_try(&d, (ti_slice){text, len}), TI_OK);
        assert_true(naive_is_valid(text, len));
        for (int k = 0; k < 5; k++) {
            len = damage(&t.r, text, len);
            bool wanted = naive_is_valid(text, len);
            ti_status status = docs_try(&d, (ti_slice){text, len});
            if ((status == TI_OK) != wanted)
                fail_msg("'%.*s': %s, but the reference says %d", (int)len, text, d.err.message,
                         wanted);
            valid += wanted;
            refused += !wanted;
        }
        ti_arena_reset(&d.arena);
    }
    assert_true(valid > 100);
    assert_true(refused > 100);
    docs_free(&d);
    trees_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_any_length),
        cmocka_unit_test(both_parsers_agree),
    };
    return TEST_RUN(tests);
}
