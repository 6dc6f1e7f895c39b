/* The comparing part of a check. See check.c.
 *
 *   record   value readable, document readable and of this id
 *   list     = what is extracted today, for readable indexes whose condition can be evaluated
 *   entries  each listed one is there, with the value it must have
 *   back     each stored entry is listed by the record it names
 *
 * Threads: one at a time. */
#include "base/assert.h"
#include "model/check_int.h"

bool ti_record_lists(const ti_record *record, const ti_entry *entry)
{
    ti_entry listed;
    ti_entry_iter iter = ti_record_entries(record);
    while (ti_entry_next(&iter, &listed)) {
        if (ti_entry_compare(&listed, entry) == 0)
            return true;
    }
    return false;
}

/* ---- records ---- */

static ti_status tell_record(ti_check *c, const ti_steps_record *record, ti_finding_kind kind,
                             ti_slice index, const char *what, bool repaired, ti_err *err)
{
    const ti_finding finding = {
        .kind = kind, .index = index, .id = record->id, .what = what, .repaired = repaired};
    return ti_check_tell(c, &finding, err);
}

static ti_status tell_unreadable(ti_check *c, const ti_steps_record *record, ti_err *err)
{
    ti_record ignored;
    if (ti_record_open(record->value, record->key, &ignored, NULL) != TI_OK)
        return tell_record(c, record, TI_FINDING_RECORD_CORRUPT, TI_SLICE_NONE,
                           "the record's bytes are damaged", false, err);
    return tell_record(c, record, TI_FINDING_RECORD_UNREADABLE, TI_SLICE_NONE,
                       "the document can not be read", false, err);
}

static bool has_own_id(ti_check *c, const ti_steps_record *record)
{
    ti_slice id;
    ti_json_value value = ti_json_get(ti_json_root(&record->draft.doc), TI_SLICE("id"));
    return ti_json_is_present(value) && ti_json_type_of(value) == TI_JSON_STRING &&
           ti_json_string(value, &c->base.s->arena, &id, NULL) == TI_OK &&
           ti_slice_equal(id, record->id);
}

/* What is wrong with one listed entry; false when nothing is. */
static ti_status compare_entry(ti_check *c, const ti_steps_record *record,
                               const ti_entry_set *listed, size_t first, size_t run, size_t i,
                               ti_slice key, ti_slice value, ti_finding *finding_out,
                               bool *wrong_out, ti_err *err)
{
    const ti_entry *entry = &listed->entries[i];
    const ti_schema_index *index = ti_schema_find(c->schema, entry->index, entry->version);
    ti_slice owner;
    *wrong_out = true;
    *finding_out = (ti_finding){.index = entry->index, .id = record->id};
    if (value.data == NULL) {
        finding_out->kind = TI_FINDING_ENTRY_MISSING;
        finding_out->what = "the record lists an entry that is not there";
        return TI_OK;
    }
    TI_TRY(ti_entry_value(key, index, &listed->entries[first], run, record->id,
                          record->record.version, record->record.document, &c->base.s->value, err));
    if (ti_slice_equal(value, ti_buf_slice(&c->base.s->value))) {
        *wrong_out = false;
        return TI_OK;
    }
    bool other = entry->kind == TI_ENTRY_UNIQUE &&
                 ti_sealed_open(value, TI_SEALED_UNIQUE, key, &owner, NULL) == TI_OK;
    finding_out->kind = other ? TI_FINDING_UNIQUE_OWNER : TI_FINDING_ENTRY_STALE;
    finding_out->what =
        other ? "another record holds the record's unique value" : "an entry has another value";
    return TI_OK;
}

/* What is wrong with a record, told when it is known whether it could be repaired. */
typedef struct findings {
    ti_finding *list; /* in the batch's arena */
    size_t count;
} findings;

/* Looks every listed entry up, in one request. */
static ti_status compare_entries(ti_check *c, const ti_steps_record *record,
                                 const ti_entry_set *listed, findings *found, const ti_call *call,
                                 ti_err *err)
{
    ti_arena *a = &c->base.s->arena;
    ti_slice *keys = ti_arena_alloc(a, (listed->count + 1) * sizeof *keys);
    ti_slice *values = ti_arena_alloc(a, (listed->count + 1) * sizeof *values);
    if (keys == NULL || values == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < listed->count; i++) {
        const ti_entry *entry = &listed->entries[i];
        const ti_schema_index *index = ti_schema_find(c->schema, entry->index, entry->version);
        TI_TRY(
            ti_entry_key(c->base.model, entry, index->stored_name, record->id, a, &keys[i], err));
    }
    if (listed->count > 0)
        TI_TRY(ti_txn_batch_get(c->txn, keys, listed->count, a, values, call, err));
    for (size_t first = 0; first < listed->count;) {
        size_t run = ti_entry_run(listed, first);
        for (size_t i = first; i < first + run; i++) {
            bool wrong;
            TI_TRY(compare_entry(c, record, listed, first, run, i, keys[i], values[i],
                                 &found->list[found->count], &wrong, err));
            found->count += wrong ? 1 : 0;
        }
        first += run;
    }
    return TI_OK;
}

/* The listed entries that count: those of indexes that the schema still keeps. */
static ti_status counted_entries(ti_check *c, const ti_record *record, ti_entry_set *set_out,
                                 ti_err *err)
{
    size_t kept = 0;
    TI_TRY(ti_entry_set_of(record, &c->base.s->arena, set_out, err));
    for (size_t i = 0; i < set_out->count; i++) {
        const ti_entry *entry = &set_out->entries[i];
        const ti_schema_index *index = ti_schema_find(c->schema, entry->index, entry->version);
        if (index != NULL && index->state != TI_INDEX_ABSENT)
            set_out->entries[kept++] = *entry;
    }
    set_out->count = kept;
    return TI_OK;
}

/* The first entry that one set has and the other has not, or NULL. */
static const ti_entry *difference(const ti_entry_set *left, const ti_entry_set *right)
{
    size_t i = 0;
    while (i < left->count && i < right->count &&
           ti_entry_compare(&left->entries[i], &right->entries[i]) == 0)
        i++;
    if (i < left->count)
        return &left->entries[i];
    return i < right->count ? &right->entries[i] : NULL;
}

/* Whether the list is what the document says; a finding otherwise. *fits_out false: it can not be
 * repaired. */
static ti_status compare_list(ti_check *c, const ti_steps_record *record,
                              const ti_entry_set *listed, findings *found, bool *fits_out,
                              ti_err *err)
{
    ti_entry_set expected;
    ti_finding finding = {.kind = TI_FINDING_LIST_STALE, .id = record->id};
    ti_status status = ti_steps_entries(&c->base, c->plan, record, &expected, err);
    *fits_out = status == TI_OK;
    if (status == TI_INVALID_ARGUMENT || status == TI_LIMIT_EXCEEDED) {
        finding.what = "the document does not fit its indexes";
        found->list[found->count++] = finding;
        return TI_OK;
    }
    TI_TRY(status);
    const ti_entry *differs = difference(listed, &expected);
    if (differs == NULL)
        return TI_OK;
    finding.index = differs->index;
    finding.what = "the record's list of entries is not what its document says";
    found->list[found->count++] = finding;
    return TI_OK;
}

static ti_status inspect_record(ti_check *c, const ti_steps_record *record, const ti_call *call,
                                ti_err *err)
{
    ti_entry_set listed;
    findings found = {.count = 0};
    bool repaired = false;
    bool fits;
    if (!record->readable)
        return tell_unreadable(c, record, err);
    if (!has_own_id(c, record))
        return tell_record(c, record, TI_FINDING_RECORD_UNREADABLE, TI_SLICE_NONE,
                           "the document has another id", false, err);
    TI_TRY(counted_entries(c, &record->record, &listed, err));
    found.list = ti_arena_alloc_zero(&c->base.s->arena, (listed.count + 1) * sizeof *found.list);
    if (found.list == NULL)
        return ti_err_no_memory(err);
    TI_TRY(compare_entries(c, record, &listed, &found, call, err));
    TI_TRY(compare_list(c, record, &listed, &found, &fits, err));
    if (found.count > 0 && c->repair && fits)
        TI_TRY(ti_repair_record(c, record, &repaired, call, err));
    for (size_t i = 0; i < found.count; i++) {
        found.list[i].repaired = repaired;
        TI_TRY(ti_check_tell(c, &found.list[i], err));
    }
    return TI_OK;
}

ti_status ti_check_records(ti_check *c, const ti_call *call, ti_err *err)
{
    for (size_t i = 0; i < c->base.record_count; i++)
        TI_TRY(inspect_record(c, &c->base.records[i], call, err));
    return TI_OK;
}

/* ---- entries ---- */

/* One stored entry as its key and value say. */
typedef struct stored {
    ti_slice key;
    ti_slice index; /* name, "" when the key is foreign */
    ti_slice id;    /* of the record it belongs to; "" when it names none */
    ti_entry entry;
    bool foreign;
    bool skip; /* of an index that is being dropped */
} stored;

static ti_status read_entry(ti_check *c, const ti_pair *pair, ti_span span, stored *out,
                            ti_err *err)
{
    ti_key_parts parts;
    ti_key_kind kind = span == TI_SPAN_UNIQUES ? TI_KEY_UNIQUE : TI_KEY_INDEX;
    *out = (stored){.key = pair->key, .foreign = true};
    if (!ti_key_parse(&c->base.model->store->keyspace, pair->key, &parts) || parts.kind != kind ||
        !ti_index_name_parse(parts.index, &out->entry.index, &out->entry.version))
        return TI_OK;
    out->foreign = false;
    out->index = out->entry.index;
    const ti_schema_index *index = ti_schema_find(c->schema, out->entry.index, out->entry.version);
    out->skip = index != NULL && index->state == TI_INDEX_ABSENT;
    if (index == NULL || out->skip || index->def.unique != (kind == TI_KEY_UNIQUE))
        return TI_OK;
    out->entry.kind = index->def.unique ? TI_ENTRY_UNIQUE : TI_ENTRY_PLAIN;
    if (index->def.unique) {
        out->entry.tuple = parts.tuple;
        if (ti_sealed_open(pair->value, TI_SEALED_UNIQUE, pair->key, &out->id, NULL) != TI_OK)
            out->id = TI_SLICE_NONE;
        return TI_OK;
    }
    ti_status status =
        ti_key_index_split(parts.tuple, index->def.descending, index->def.field_count,
                           &c->base.s->arena, &out->entry.tuple, &out->id, NULL);
    if (status == TI_OUT_OF_MEMORY)
        return ti_err_no_memory(err);
    out->foreign = status != TI_OK;
    return TI_OK;
}

static ti_status judge_entry(ti_check *c, const stored *s, ti_slice key, ti_slice value,
                             const ti_call *call, ti_err *err)
{
    ti_record record;
    ti_finding finding = {.kind = TI_FINDING_ENTRY_EXTRA, .index = s->index, .id = s->id};
    if (s->skip)
        return TI_OK;
    if (s->foreign) {
        finding.kind = TI_FINDING_KEY_FOREIGN;
        finding.what = "a key in the table's range that is none of its entries";
    } else if (s->id.len == 0) {
        finding.what = "an entry that names no record";
    } else if (value.data == NULL) {
        finding.what = "an entry without its record";
    } else {
        if (ti_record_open(value, key, &record, NULL) != TI_OK)
            return TI_OK; /* told with the record */
        if (ti_record_lists(&record, &s->entry))
            return TI_OK;
        finding.what = "an entry that its record does not list";
    }
    if (c->repair)
        TI_TRY(ti_repair_entry(c, s->key, s->id, &s->entry, &finding.repaired, call, err));
    return ti_check_tell(c, &finding, err);
}

/* Records that the entries name; keys[i].data NULL where there is none to look for. */
static ti_status fetch_records(ti_check *c, const stored *entries, size_t count, ti_slice *keys,
                               ti_slice *values, const ti_call *call, ti_err *err)
{
    ti_arena *a = &c->base.s->arena;
    ti_slice *asked = ti_arena_alloc(a, (count + 1) * sizeof *asked);
    ti_slice *found = ti_arena_alloc(a, (count + 1) * sizeof *found);
    size_t n = 0;
    if (asked == NULL || found == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        keys[i] = values[i] = TI_SLICE_NONE;
        if (entries[i].id.len == 0 || entries[i].skip)
            continue;
        keys[i] =
            ti_key_record(&c->base.model->store->keyspace, a, c->base.model->table, entries[i].id);
        if (keys[i].data == NULL)
            return ti_err_no_memory(err);
        asked[n++] = keys[i];
    }
    if (n > 0)
        TI_TRY(ti_txn_batch_get(c->txn, asked, n, a, found, call, err));
    n = 0;
    for (size_t i = 0; i < count; i++) {
        if (keys[i].data != NULL)
            values[i] = found[n++];
    }
    return TI_OK;
}

ti_status ti_check_entries(ti_check *c, ti_span span, const ti_call *call, ti_err *err)
{
    ti_arena *a = &c->base.s->arena;
    ti_key_range range;
    ti_scan_page page;
    TI_TRY(ti_key_span(&c->base.model->store->keyspace, a, span, c->base.model->table,
                       TI_SLICE_NONE, &range, err));
    ti_scan scan = {.range = {.from = range.lo, .to = range.hi},
                    .items_max = c->batch,
                    .size_max = STEPS_BATCH_SIZE};
    if (c->from.len > 0)
        scan.range.from = ti_buf_slice(&c->from);
    TI_TRY(ti_txn_scan(c->txn, &scan, a, &page, call, err));
    stored *entries = ti_arena_alloc_zero(a, (page.count + 1) * sizeof *entries);
    ti_slice *keys = ti_arena_alloc(a, (page.count + 1) * sizeof *keys);
    ti_slice *values = ti_arena_alloc(a, (page.count + 1) * sizeof *values);
    if (entries == NULL || keys == NULL || values == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < page.count; i++)
        TI_TRY(read_entry(c, &page.pairs[i], span, &entries[i], err));
    TI_TRY(fetch_records(c, entries, page.count, keys, values, call, err));
    for (size_t i = 0; i < page.count; i++)
        TI_TRY(judge_entry(c, &entries[i], keys[i], values[i], call, err));
    c->done += page.count;
    c->more = page.more && page.count > 0;
    ti_buf_clear(&c->from);
    if (!c->more)
        return TI_OK;
    TI_TRY(ti_buf_append_slice(&c->from, page.pairs[page.count - 1].key, err));
    return ti_buf_append_byte(&c->from, 0, err); /* the key after it */
}
