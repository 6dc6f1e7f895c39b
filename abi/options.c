/* The options object: a short list of name and value, and its reading by a table (options.h).
 *
 * INVARIANTS
 *  1. A name occurs once; the later set wins.
 *  2. Name and value live behind their node, each with a NUL.
 *
 * Thread rule: one thread at a time. */
#include "abi/options.h"

#include <stdio.h>
#include <string.h>

#include "abi/handle.h"
#include "base/mem.h"
#include "json/json.h"

#define OPTION_NAME_SIZE_MAX 64
#define OPTION_VALUE_SIZE_MAX (1024 * 1024)
#define OPTIONS_COUNT_MAX 64

typedef struct option_node option_node;
struct option_node {
    option_node *next;
    ti_slice name;
    ti_slice value;
};

struct tito_options {
    uint32_t magic;
    size_t count;
    option_node *first;
};

tito_options_t *tito_options_new(void)
{
    tito_options_t *options = ti_alloc_zero(sizeof(*options));
    if (options != NULL)
        options->magic = TI_MAGIC_OPTIONS;
    return options;
}

static option_node **find_node(tito_options_t *options, ti_slice name)
{
    option_node **place = &options->first;
    while (*place != NULL && !ti_slice_equal((*place)->name, name))
        place = &(*place)->next;
    return place;
}

static option_node *new_node(ti_slice name, ti_slice value)
{
    option_node *node = ti_alloc(sizeof(*node) + name.len + value.len + 2);
    if (node == NULL)
        return NULL;
    char *bytes = (char *)(node + 1);
    memcpy(bytes, name.data, name.len);
    bytes[name.len] = '\0';
    node->name = (ti_slice){.data = bytes, .len = name.len};
    bytes += name.len + 1;
    if (value.len > 0)
        memcpy(bytes, value.data, value.len);
    bytes[value.len] = '\0';
    node->value = (ti_slice){.data = bytes, .len = value.len};
    return node;
}

/* Wipes the value, which may be a private key. NULL is allowed. */
static void free_node(option_node *node)
{
    if (node != NULL && node->value.len > 0)
        explicit_bzero((char *)(uintptr_t)node->value.data, node->value.len);
    ti_free(node);
}

static ti_status set_option(tito_options_t *options, ti_slice name, ti_slice value)
{
    option_node **place = find_node(options, name);
    if (*place == NULL && options->count == OPTIONS_COUNT_MAX)
        return TI_LIMIT_EXCEEDED;
    option_node *node = new_node(name, value);
    if (node == NULL)
        return TI_OUT_OF_MEMORY;
    option_node *old = *place;
    node->next = old == NULL ? NULL : old->next;
    options->count += old == NULL ? 1 : 0;
    *place = node;
    free_node(old);
    return TI_OK;
}

int32_t tito_options_set(tito_options_t *options, const char *name, const char *value,
                         size_t value_len)
{
    TI_TRY(ti_handle_check(options, TI_MAGIC_OPTIONS, "options", NULL));
    if (name == NULL || (value == NULL && value_len > 0))
        return TITO_INVALID_ARGUMENT;
    size_t name_len = strnlen(name, OPTION_NAME_SIZE_MAX + 1);
    if (name_len == 0 || name_len > OPTION_NAME_SIZE_MAX || value_len > OPTION_VALUE_SIZE_MAX)
        return TITO_INVALID_ARGUMENT;
    return set_option(options, (ti_slice){.data = name, .len = name_len},
                      (ti_slice){.data = value, .len = value_len});
}

int32_t tito_options_set_int(tito_options_t *options, const char *name, int64_t value)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%lld", (long long)value);
    return tito_options_set(options, name, text, (size_t)len);
}

void tito_options_free(tito_options_t *options)
{
    if (options == NULL)
        return;
    while (options->first != NULL) {
        option_node *node = options->first;
        options->first = node->next;
        free_node(node);
    }
    options->magic = TI_MAGIC_FREED;
    ti_free(options);
}

/* ---- reading by a table ---- */

/* A decimal integer, the whole of text; false when it is none or outside int64. */
static bool parse_int(ti_slice text, int64_t *value_out)
{
    bool negative = text.len > 0 && text.data[0] == '-';
    size_t i = negative ? 1 : 0;
    int64_t value = 0;
    if (i == text.len)
        return false;
    for (; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        int64_t digit = text.data[i] - '0';
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, digit, &value))
            return false;
    }
    if (!negative && value == INT64_MIN)
        return false;
    *value_out = negative ? value : -value;
    return true;
}

static ti_status read_int(const ti_option *known, ti_slice value, int64_t *field,
                          const char *function, ti_err *err)
{
    int64_t parsed = 0;
    if (!parse_int(value, &parsed) || parsed < known->min || parsed > known->max)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "%s: option %s must be an integer from %lld to %lld", function,
                          known->name, (long long)known->min, (long long)known->max);
    *field = parsed;
    return TI_OK;
}

static ti_status read_double(const ti_option *known, ti_slice value, double *field,
                             const char *function, ti_err *err)
{
    ti_json_parser parser;
    ti_arena arena;
    ti_json_doc doc;
    ti_json_parser_init(&parser);
    ti_arena_init(&arena);
    ti_status status = ti_json_parse(&parser, &arena, value, &doc, NULL);
    ti_json_type type = status == TI_OK ? ti_json_type_of(ti_json_root(&doc)) : TI_JSON_NULL;
    double number = type == TI_JSON_INT || type == TI_JSON_DOUBLE
                        ? ti_json_double(ti_json_root(&doc))
                        : (double)known->min - 1;
    ti_arena_free(&arena);
    ti_json_parser_free(&parser);
    if (status == TI_OUT_OF_MEMORY)
        return ti_err_no_memory(err);
    if (!(number >= (double)known->min && number <= (double)known->max))
        return ti_err_set(err, TI_INVALID_ARGUMENT, "%s: option %s must be from %lld to %lld",
                          function, known->name, (long long)known->min, (long long)known->max);
    *field = number;
    return TI_OK;
}

static ti_status read_bool(const ti_option *known, ti_slice value, bool *field,
                           const char *function, ti_err *err)
{
    bool yes = ti_slice_equal(value, TI_SLICE("true")) || ti_slice_equal(value, TI_SLICE("1"));
    bool no = ti_slice_equal(value, TI_SLICE("false")) || ti_slice_equal(value, TI_SLICE("0"));
    if (!yes && !no)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "%s: option %s must be true or false", function,
                          known->name);
    *field = yes;
    return TI_OK;
}

static ti_status read_choice(const ti_option *known, ti_slice value, int64_t *field,
                             const char *function, ti_err *err)
{
    char accepted[128] = "";
    size_t used = 0;
    for (size_t i = 0; i < TI_OPTION_CHOICES_MAX && known->choices[i] != NULL; i++) {
        if (ti_slice_equal(value, ti_slice_of(known->choices[i]))) {
            *field = (int64_t)i;
            return TI_OK;
        }
        int wrote = snprintf(accepted + used, sizeof(accepted) - used, "%s%s", i > 0 ? ", " : "",
                             known->choices[i]);
        used += wrote > 0 ? (size_t)wrote : 0;
        ti_assert(used < sizeof(accepted));
    }
    return ti_err_set(err, TI_INVALID_ARGUMENT, "%s: option %s must be one of: %s", function,
                      known->name, accepted);
}

static ti_status read_option(const ti_option *known, ti_slice value, char *field,
                             const char *function, ti_err *err)
{
    switch (known->kind) {
    case TI_OPTION_INT:
        return read_int(known, value, (int64_t *)(void *)field, function, err);
    case TI_OPTION_BOOL:
        return read_bool(known, value, (bool *)(void *)field, function, err);
    case TI_OPTION_DOUBLE:
        return read_double(known, value, (double *)(void *)field, function, err);
    case TI_OPTION_CHOICE:
        return read_choice(known, value, (int64_t *)(void *)field, function, err);
    case TI_OPTION_TEXT:
        *(ti_slice *)(void *)field = value;
        return TI_OK;
    }
    return TI_OK;
}

static const ti_option *find_known(const ti_option *known, size_t count, ti_slice name)
{
    for (size_t i = 0; i < count; i++)
        if (ti_slice_equal(ti_slice_of(known[i].name), name))
            return &known[i];
    return NULL;
}

ti_status ti_options_read(const tito_options_t *options, const char *function,
                          const ti_option *known, size_t count, void *fields, ti_err *err)
{
    if (options == NULL)
        return TI_OK;
    TI_TRY(ti_handle_check(options, TI_MAGIC_OPTIONS, "options", err));
    for (const option_node *node = options->first; node != NULL; node = node->next) {
        const ti_option *found = find_known(known, count, node->name);
        if (found == NULL)
            return ti_err_set(err, TI_INVALID_ARGUMENT, "%s knows no option named %s", function,
                              node->name.data);
        TI_TRY(read_option(found, node->value, (char *)fields + found->offset, function, err));
    }
    return TI_OK;
}
