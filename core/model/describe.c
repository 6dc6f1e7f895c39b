/* The key of a failed mutation in words: a ti_key_describe. See store.h. */
#include "model/store_int.h"

#define ID_SHOWN_MAX 200

static int shown(ti_slice id)
{
    return (int)(id.len > ID_SHOWN_MAX ? ID_SHOWN_MAX : id.len);
}

/* Name and version of a stored index name; the version is left out. */
static ti_slice index_name(ti_slice stored)
{
    ti_slice name;
    uint32_t version;
    return ti_index_name_parse(stored, &name, &version) ? name : stored;
}

static ti_status describe_record(const ti_key_parts *parts, ti_status status, ti_err *err)
{
    if (status == TI_ALREADY_EXISTS)
        return ti_err_set(err, status, "table \"%.*s\" already has a record with id \"%.*s\"",
                          (int)parts->name.len, parts->name.data, shown(parts->id), parts->id.data);
    if (status == TI_CONFLICT)
        return ti_err_set(err, status,
                          "record \"%.*s\" of table \"%.*s\" was changed by another transaction; "
                          "run this one again",
                          shown(parts->id), parts->id.data, (int)parts->name.len, parts->name.data);
    return status;
}

static ti_status describe_unique(const ti_key_parts *parts, ti_slice index, ti_status status,
                                 ti_err *err)
{
    if (status == TI_ALREADY_EXISTS)
        return ti_err_set(
            err, TI_UNIQUE_VIOLATION,
            "another record of table \"%.*s\" has the same values in unique index \"%.*s\"",
            (int)parts->name.len, parts->name.data, (int)index.len, index.data);
    if (status == TI_CONFLICT)
        return ti_err_set(
            err, status,
            "another transaction has changed who holds a value of unique index \"%.*s\" of table "
            "\"%.*s\"; run this one again",
            (int)index.len, index.data, (int)parts->name.len, parts->name.data);
    return status;
}

static ti_status describe_index(const ti_key_parts *parts, ti_slice index, ti_status status,
                                ti_err *err)
{
    if (status != TI_CONFLICT)
        return status;
    return ti_err_set(
        err, status,
        "an entry of index \"%.*s\" of table \"%.*s\" was changed by another transaction; run this "
        "one again",
        (int)index.len, index.data, (int)parts->name.len, parts->name.data);
}

ti_status ti_store_describe_key(void *context, ti_slice key, ti_status status, ti_err *err)
{
    const ti_store *store = context;
    ti_key_parts parts;
    if (!ti_key_parse(&store->keyspace, key, &parts))
        return status;
    ti_slice index = index_name(parts.index);
    switch (parts.kind) {
    case TI_KEY_RECORD:
        status = describe_record(&parts, status, err);
        index = TI_SLICE_NONE;
        break;
    case TI_KEY_UNIQUE:
        status = describe_unique(&parts, index, status, err);
        break;
    case TI_KEY_INDEX:
        status = describe_index(&parts, index, status, err);
        break;
    case TI_KEY_SCHEMA:
    case TI_KEY_INDEX_TODO:
        break;
    default:
        return status;
    }
    ti_err_where(err, parts.name.data, parts.name.len, index.data, index.len);
    return status;
}
