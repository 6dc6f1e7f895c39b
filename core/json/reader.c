/* The pull reader: nodes as a stream of tokens.
 *
 * INVARIANTS
 *  1. next is the node whose tokens come next; ends[0 … depth-1] rise never: an inner container
 *     ends within its outer one.
 *  2. A container's end token comes when next has reached the innermost end.
 *
 * Threads: a reader belongs to one thread at a time. */
#include "json/json_int.h"

#include "base/assert.h"

void ti_json_reader_init(ti_json_reader *reader, ti_json_value value)
{
    ti_assert(ti_json_is_present(value));
    reader->root = value;
    reader->next = value.node;
    reader->end = ti_json_node_of(value)->end;
    reader->depth = 0;
    reader->key_given = true; /* the root's own key is not part of the value */
    ti_buf_init(&reader->scratch, TI_PAGE_SIZE_MAX);
}

void ti_json_reader_free(ti_json_reader *reader)
{
    ti_buf_free(&reader->scratch);
}

/* Unescaped text: borrowed from the document, or in scratch. */
static ti_status give_text(ti_json_reader *reader, ti_slice inside, bool escaped, ti_slice *out,
                           ti_err *err)
{
    *out = inside;
    if (!escaped)
        return TI_OK;
    ti_buf_clear(&reader->scratch);
    TI_TRY(ti_buf_reserve(&reader->scratch, inside.len, err));
    reader->scratch.len = ti_json_unescape(inside, reader->scratch.data);
    *out = ti_buf_slice(&reader->scratch);
    return TI_OK;
}

static void give_begin(ti_json_reader *reader, const ti_json_node *node, ti_json_token *token)
{
    bool object = node->type == TI_JSON_OBJECT;
    ti_require(reader->depth < TI_JSON_DEPTH_HYDRATED_MAX);
    reader->ends[reader->depth] = node->end;
    reader->objects[reader->depth] = object;
    reader->depth++;
    token->type = object ? TI_JSON_TOKEN_OBJECT_BEGIN : TI_JSON_TOKEN_ARRAY_BEGIN;
    token->count = node->count;
}

static void give_number(ti_json_value value, ti_json_token *token)
{
    ti_json_type type = ti_json_type_of(value);
    token->number = ti_json_double(value);
    token->type = type == TI_JSON_INT      ? TI_JSON_TOKEN_INT
                  : type == TI_JSON_DOUBLE ? TI_JSON_TOKEN_DOUBLE
                                           : TI_JSON_TOKEN_BIG;
    if (type == TI_JSON_INT)
        token->integer = ti_json_int(value);
    if (type == TI_JSON_BIG)
        token->text = ti_json_raw(value);
}

static ti_status give_value(ti_json_reader *reader, ti_json_token *token, ti_err *err)
{
    ti_json_value value = {reader->root.doc, reader->next};
    const ti_json_node *node = ti_json_node_of(value);
    reader->next++;
    reader->key_given = false;
    switch (ti_json_type_of(value)) {
    case TI_JSON_NULL:
        token->type = TI_JSON_TOKEN_NULL;
        return TI_OK;
    case TI_JSON_BOOL:
        token->type = TI_JSON_TOKEN_BOOL;
        token->boolean = node->boolean;
        return TI_OK;
    case TI_JSON_STRING:
        token->type = TI_JSON_TOKEN_STRING;
        return give_text(reader, ti_json_inside_of(value.doc, node),
                         (node->flags & TI_JSON_ESCAPED) != 0, &token->text, err);
    case TI_JSON_ARRAY:
    case TI_JSON_OBJECT:
        give_begin(reader, node, token);
        return TI_OK;
    default:
        give_number(value, token);
        return TI_OK;
    }
}

ti_status ti_json_reader_next(ti_json_reader *reader, ti_json_token *token_out, ti_err *err)
{
    *token_out = (ti_json_token){.type = TI_JSON_TOKEN_END, .text = TI_SLICE_NONE};
    ti_assert(reader->next <= reader->end);
    if (reader->depth > 0 && reader->next == reader->ends[reader->depth - 1]) {
        reader->depth--;
        token_out->type =
            reader->objects[reader->depth] ? TI_JSON_TOKEN_OBJECT_END : TI_JSON_TOKEN_ARRAY_END;
        return TI_OK;
    }
    if (reader->next == reader->end)
        return TI_OK;
    const ti_json_node *node = &reader->root.doc->nodes[reader->next];
    if ((node->flags & TI_JSON_HAS_KEY) != 0 && !reader->key_given) {
        token_out->type = TI_JSON_TOKEN_KEY;
        TI_TRY(give_text(reader, ti_json_key_inside_of(reader->root.doc, node),
                         (node->flags & TI_JSON_KEY_ESCAPED) != 0, &token_out->text, err));
        reader->key_given = true;
        return TI_OK;
    }
    return give_value(reader, token_out, err);
}
