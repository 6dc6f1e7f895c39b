/* The JSON reader for bindings: core's pull reader with a parser and an arena that are reused.
 *
 * INVARIANTS
 *  1. Between a tito_json_open that answered OK and the next one, doc borrows the caller's text.
 *  2. After an open that failed there is nothing to read: END.
 *
 * Thread rule: one thread at a time. */
#include "json/json.h"

#include <string.h>

#include "abi/handle.h"

struct tito_json {
    uint32_t magic;
    bool open; /* doc and reader are valid */
    ti_json_parser parser;
    ti_arena arena; /* of doc's nodes */
    ti_json_doc doc;
    ti_json_reader reader;
};

static const int32_t exported_tokens[] = {
    [TI_JSON_TOKEN_END] = TITO_JSON_END,
    [TI_JSON_TOKEN_NULL] = TITO_JSON_NULL,
    [TI_JSON_TOKEN_BOOL] = TITO_JSON_TRUE,
    [TI_JSON_TOKEN_INT] = TITO_JSON_INT,
    [TI_JSON_TOKEN_DOUBLE] = TITO_JSON_DOUBLE,
    [TI_JSON_TOKEN_BIG] = TITO_JSON_BIG,
    [TI_JSON_TOKEN_STRING] = TITO_JSON_STRING,
    [TI_JSON_TOKEN_KEY] = TITO_JSON_KEY,
    [TI_JSON_TOKEN_ARRAY_BEGIN] = TITO_JSON_ARRAY,
    [TI_JSON_TOKEN_ARRAY_END] = TITO_JSON_ARRAY_END,
    [TI_JSON_TOKEN_OBJECT_BEGIN] = TITO_JSON_OBJECT,
    [TI_JSON_TOKEN_OBJECT_END] = TITO_JSON_OBJECT_END,
};

tito_json_t *tito_json_new(void)
{
    tito_json_t *json = ti_alloc_zero(sizeof(*json));
    if (json == NULL)
        return NULL;
    json->magic = TI_MAGIC_JSON;
    ti_json_parser_init_hydrated(&json->parser);
    ti_arena_init(&json->arena);
    return json;
}

static void close_text(tito_json_t *json)
{
    if (json->open)
        ti_json_reader_free(&json->reader);
    json->open = false;
    ti_arena_reset(&json->arena);
}

int32_t tito_json_open(tito_json_t *json, const char *text, size_t len, tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    TI_CHECK(ti_handle_check(json, TI_MAGIC_JSON, "json", &err));
    close_text(json);
    TI_CHECK(ti_bytes_check(text, len, "text", &err));
    TI_CHECK(ti_json_parse(&json->parser, &json->arena, (ti_slice){.data = text, .len = len},
                           &json->doc, &err));
    ti_json_reader_init(&json->reader, ti_json_root(&json->doc));
    json->open = true;
out:
    return ti_answer(status, &err, error_out);
}

/* Hands a token's parts out; each out-parameter may be NULL. */
static int32_t export_token(const ti_json_token *token, tito_slice *text_out, int64_t *int_out,
                            double *double_out)
{
    if (text_out != NULL)
        *text_out = (tito_slice){.data = token->text.data, .len = token->text.len};
    if (int_out != NULL)
        *int_out = token->integer;
    if (double_out != NULL)
        *double_out = token->number;
    if (token->type == TI_JSON_TOKEN_BOOL && !token->boolean)
        return TITO_JSON_FALSE;
    return exported_tokens[token->type];
}

int32_t tito_json_next(tito_json_t *json, tito_slice *text_out, int64_t *int_out,
                       double *double_out)
{
    if (ti_handle_check(json, TI_MAGIC_JSON, "json", NULL) != TI_OK)
        return -TITO_INVALID_ARGUMENT;
    ti_json_token token = {.type = TI_JSON_TOKEN_END};
    ti_status status = json->open ? ti_json_reader_next(&json->reader, &token, NULL) : TI_OK;
    return status == TI_OK ? export_token(&token, text_out, int_out, double_out) : -status;
}

void tito_json_free(tito_json_t *json)
{
    if (json == NULL)
        return;
    close_text(json);
    ti_json_parser_free(&json->parser);
    ti_arena_free(&json->arena);
    json->magic = TI_MAGIC_FREED;
    ti_free(json);
}

size_t tito_json_write_double(double value, char out[32])
{
    /* a buffer over the caller's bytes: what JSON needs for a double always fits, so it never grows
     */
    ti_buf buf = {.data = out, .len = 0, .capacity = 32, .size_max = 32};
    ti_json_writer writer;
    if (out == NULL)
        return 0;
    ti_json_writer_init(&writer, &buf, NULL);
    ti_json_write_double(&writer, value);
    if (ti_json_writer_end(&writer) != TI_OK)
        return 0;
    ti_assert(buf.data == out);
    return buf.len;
}
