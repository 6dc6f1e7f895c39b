/* Parsing in one line, and making large texts, for tests of documents. */
#ifndef TITO_TESTS_JSON_DOCS_H
#define TITO_TESTS_JSON_DOCS_H

#include "support/test.h"

#include "json/json.h"

/* A parser, an arena and the last error. */
typedef struct docs {
    ti_json_parser parser;
    ti_arena arena;
    ti_err err;
} docs;

static inline void docs_init(docs *d)
{
    ti_json_parser_init(&d->parser);
    ti_arena_init(&d->arena);
    ti_err_clear(&d->err);
}

static inline void docs_free(docs *d)
{
    ti_json_parser_free(&d->parser);
    ti_arena_free(&d->arena);
}

/* Parses; the document must be valid. */
static inline ti_json_doc docs_parse(docs *d, ti_slice text)
{
    ti_json_doc doc;
    ti_status status = ti_json_parse(&d->parser, &d->arena, text, &doc, &d->err);
    if (status != TI_OK)
        fail_msg("%.*s: %s", text.len < 200 ? (int)text.len : 200, text.data, d->err.message);
    return doc;
}

static inline ti_json_doc docs_text(docs *d, const char *text)
{
    return docs_parse(d, ti_slice_of(text));
}

static inline ti_status docs_try(docs *d, ti_slice text)
{
    ti_json_doc doc;
    return ti_json_parse(&d->parser, &d->arena, text, &doc, &d->err);
}

static inline bool docs_equal(docs *d, const ti_json_doc *left, const ti_json_doc *right)
{
    bool equal = false;
    test_ok(ti_json_equal(ti_json_root(left), ti_json_root(right), &d->arena, &equal, &d->err),
            &d->err);
    return equal;
}

/* Fails unless both texts are documents of equal value. */
static inline void docs_same(docs *d, ti_slice left, ti_slice right)
{
    ti_json_doc a = docs_parse(d, left);
    ti_json_doc b = docs_parse(d, right);
    if (!docs_equal(d, &a, &b))
        fail_msg("%.*s is not %.*s", (int)left.len, left.data, (int)right.len, right.data);
}

/* A text that grows; text is allocated by the test. */
typedef struct maker {
    char *text;
    size_t len;
    size_t size;
} maker;

/* Appends in printf's manner; the text must have room. */
static inline void maker_put(maker *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline void maker_put(maker *m, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(m->text + m->len, m->size - m->len, format, args);
    va_end(args);
    assert_true(len >= 0 && (size_t)len < m->size - m->len);
    m->len += (size_t)len;
}

static inline ti_slice maker_slice(const maker *m)
{
    return (ti_slice){m->text, m->len};
}

#endif
