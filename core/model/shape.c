/* From the document a user gives to the document that is stored.
 *
 *   parse -> id -> remove declared destinations -> check fields, add defaults -> timestamps
 *         -> parse again if changed
 *
 * INVARIANTS
 *  1. Bytes that no rule touches are stored as given.
 *  2. created_at, once stored, stays; updated_at is the host's clock at each write. Both in seconds
 *     with a fraction.
 *
 * Threads: pure, on what the caller owns. */
#include "base/assert.h"
#include "model/model_int.h"

/* ---- members ---- */

bool ti_member_accepts(ti_member_type type, ti_json_value value)
{
    ti_json_type json = ti_json_type_of(value);
    switch (type) {
    case TI_MEMBER_ANY:
        return true;
    case TI_MEMBER_STRING:
        return json == TI_JSON_STRING;
    case TI_MEMBER_NUMBER:
        return json == TI_JSON_INT || json == TI_JSON_DOUBLE || json == TI_JSON_BIG;
    case TI_MEMBER_INTEGER:
        return json == TI_JSON_INT;
    case TI_MEMBER_BOOLEAN:
        return json == TI_JSON_BOOL;
    case TI_MEMBER_OBJECT:
        return json == TI_JSON_OBJECT;
    case TI_MEMBER_ARRAY:
        return json == TI_JSON_ARRAY;
    }
    return false;
}

static ti_status refuse(const ti_model *model, const ti_member *member, const char *problem,
                        ti_err *err)
{
    ti_err_set(err, TI_INVALID_ARGUMENT, "field \"%.*s\" of table \"%.*s\" %s",
               (int)member->path.len, member->path.data, (int)model->table.len, model->table.data,
               problem);
    return ti_err_of(model, TI_SLICE_NONE, TI_INVALID_ARGUMENT, err);
}

static ti_status check_member(const ti_model *model, const ti_member *member, ti_json_value root,
                              ti_json_edits *edits, ti_err *err)
{
    static const char *const problems[] = {
        "is refused",        "must be a string",  "must be a number", "must be an integer",
        "must be a boolean", "must be an object", "must be an array"};
    ti_json_value value = ti_json_get_path(root, member->path);
    bool present = ti_json_is_present(value);
    if (!present && member->default_json.len > 0)
        return ti_json_edits_set_path(edits, root, member->path, member->default_json, err);
    if (!present || ti_json_type_of(value) == TI_JSON_NULL)
        return member->required ? refuse(model, member, "is required", err) : TI_OK;
    /* an empty table of a script language is both an empty object and an empty array */
    bool empty = (member->type == TI_MEMBER_OBJECT || member->type == TI_MEMBER_ARRAY) &&
                 ti_json_type_of(value) >= TI_JSON_ARRAY && ti_json_count(value) == 0;
    if (!empty && !ti_member_accepts(member->type, value))
        return refuse(model, member, problems[member->type], err);
    return TI_OK;
}

/* ---- timestamps ---- */

static ti_status set_timestamps(const ti_model *model, ti_scratch *s, ti_json_value root,
                                ti_slice old, ti_json_edits *edits, ti_err *err)
{
    int64_t us = ti_env_wall_us(model->store->options.env);
    char *text = ti_arena_format(&s->arena, "%lld.%06lld", (long long)(us / 1000000),
                                 (long long)(us % 1000000));
    if (text == NULL)
        return ti_err_no_memory(err);
    ti_slice now = ti_slice_of(text);
    ti_slice created = TI_SLICE_NONE;
    if (old.len > 0) {
        ti_json_doc doc;
        TI_TRY(ti_json_parse(&s->parser, &s->arena, old, &doc, err));
        ti_json_value value = ti_json_get(ti_json_root(&doc), TI_SLICE("created_at"));
        created = ti_json_is_present(value) ? ti_json_raw(value) : TI_SLICE_NONE;
    }
    if (created.len > 0)
        TI_TRY(ti_json_edits_set(edits, root, TI_SLICE("created_at"), created, err));
    else if (!ti_json_is_present(ti_json_get(root, TI_SLICE("created_at"))))
        TI_TRY(ti_json_edits_set(edits, root, TI_SLICE("created_at"), now, err));
    return ti_json_edits_set(edits, root, TI_SLICE("updated_at"), now, err);
}

/* ---- documents ---- */

static ti_status check_id(const ti_model *model, ti_scratch *s, ti_draft *draft, ti_err *err)
{
    ti_json_value root = ti_json_root(&draft->doc);
    if (ti_json_type_of(root) != TI_JSON_OBJECT) {
        ti_err_set(err, TI_INVALID_ARGUMENT,
                   "a document of table \"%.*s\" must be an object, not %s", (int)model->table.len,
                   model->table.data, ti_json_type_name(ti_json_type_of(root)));
        return ti_err_of(model, TI_SLICE_NONE, TI_INVALID_ARGUMENT, err);
    }
    ti_json_value id = ti_json_get(root, TI_SLICE("id"));
    if (!ti_json_is_present(id) || ti_json_type_of(id) != TI_JSON_STRING) {
        ti_err_set(err, TI_INVALID_ARGUMENT, "a document of table \"%.*s\" needs \"id\", a string",
                   (int)model->table.len, model->table.data);
        return ti_err_of(model, TI_SLICE_NONE, TI_INVALID_ARGUMENT, err);
    }
    TI_TRY(ti_json_string(id, &s->arena, &draft->id, err));
    ti_status status = ti_id_check(draft->id, err);
    return status == TI_OK ? TI_OK : ti_err_of(model, TI_SLICE_NONE, status, err);
}

static ti_status edit(const ti_model *model, ti_scratch *s, ti_slice old, ti_draft *draft,
                      ti_json_edits *edits, ti_err *err)
{
    ti_json_value root = ti_json_root(&draft->doc);
    for (size_t i = 0; i < model->relationship_count; i++)
        TI_TRY(ti_json_edits_remove_path(edits, root, model->relationships[i].destination, err));
    for (size_t i = 0; i < model->member_count; i++)
        TI_TRY(check_member(model, &model->members[i], root, edits, err));
    return model->timestamps ? set_timestamps(model, s, root, old, edits, err) : TI_OK;
}

/* Applies edits and parses the result, whose bytes are put into the arena. */
static ti_status reparse(ti_scratch *s, ti_json_edits *edits, ti_draft *draft, ti_err *err)
{
    ti_buf_clear(&s->text);
    TI_TRY(ti_json_edits_apply(edits, &s->text, err));
    draft->json = ti_arena_copy(&s->arena, ti_buf_slice(&s->text));
    if (draft->json.data == NULL)
        return ti_err_no_memory(err);
    return ti_json_parse(&s->parser, &s->arena, draft->json, &draft->doc, err);
}

ti_status ti_shape(const ti_model *model, ti_scratch *s, ti_slice json, ti_slice old,
                   ti_draft *draft_out, ti_err *err)
{
    ti_json_edits edits;
    *draft_out = (ti_draft){.json = json};
    ti_status status = ti_json_parse(&s->parser, &s->arena, json, &draft_out->doc, err);
    bool oversize = status == TI_LIMIT_EXCEEDED && model->relationship_count > 0;
    if (oversize) /* a document that was read with its relationships: they are about to be removed
                   */
        status = ti_json_parse(&s->hydrated, &s->arena, json, &draft_out->doc, err);
    if (status != TI_OK)
        return ti_err_of(model, TI_SLICE_NONE, status, err);
    TI_TRY(check_id(model, s, draft_out, err));
    ti_json_edits_init(&edits, &draft_out->doc, &s->arena);
    TI_TRY(edit(model, s, old, draft_out, &edits, err));
    if (edits.count == 0 && !oversize)
        return TI_OK;
    status = reparse(s, &edits, draft_out, err);
    if (status != TI_OK)
        return ti_err_of(model, TI_SLICE_NONE, status, err);
    return check_id(model, s, draft_out, err);
}

ti_status ti_shape_stored(const ti_model *model, ti_scratch *s, ti_slice json, ti_slice id,
                          ti_draft *draft_out, ti_err *err)
{
    *draft_out = (ti_draft){.json = json, .id = id};
    ti_status status = ti_json_parse(&s->parser, &s->arena, json, &draft_out->doc, err);
    if (status == TI_OUT_OF_MEMORY)
        return status;
    if (status == TI_OK && ti_json_type_of(ti_json_root(&draft_out->doc)) == TI_JSON_OBJECT)
        return TI_OK;
    ti_err_set(err, TI_CORRUPT, "the document of a record of table \"%.*s\" can not be read",
               (int)model->table.len, model->table.data);
    return ti_err_of(model, TI_SLICE_NONE, TI_CORRUPT, err);
}
