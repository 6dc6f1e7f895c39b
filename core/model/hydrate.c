/* Hydration, level by level. See relationship.h for what relationships are.
 *
 *   tree      root ─ tags ─ category     level 0: the page's documents; level 1: their tags;
 *                  └ author              level 2: categories
 *   group     the documents of one node, parsed; per child and document the places (holder, ids)
 *             found in it
 *   level     all ids of all groups -> sorted, each once -> one batch_get -> documents
 *
 * INVARIANTS
 *  1. One batch_get per level; every record is asked for once in it.
 *  2. Documents come from the transaction's view, so they belong to one snapshot.
 *  3. A missing target is left out of a list and leaves a single destination absent.
 *
 * Threads: one per transaction. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/id.h"
#include "model/model_int.h"

/* ---- the tree of what is asked for ---- */

typedef struct node node;
struct node {
    node *next;  /* sibling */
    node *first; /* child */
    size_t child_count;
    const ti_relationship *rel;
    ti_model *model; /* one reference, owned */
};

struct ti_hydration {
    ti_model *model; /* borrowed: of the documents at the root */
    ti_arena *arena; /* borrowed */
    ti_ahead *ahead; /* NULL: nothing is read ahead */
    uint64_t what;   /* the relationships of the root */
    ti_known known;
    node root;
};

/* The relationship whose destination begins path; *rest_out is what follows it. */
static const ti_relationship *match(const ti_model *model, ti_slice path, ti_slice *rest_out)
{
    for (size_t i = 0; i < model->relationship_count; i++) {
        ti_slice d = model->relationships[i].destination;
        if (!ti_slice_has_prefix(path, d) || (path.len > d.len && path.data[d.len] != '.'))
            continue;
        size_t skip = path.len > d.len ? d.len + 1 : d.len;
        *rest_out = (ti_slice){.data = path.data + skip, .len = path.len - skip};
        return &model->relationships[i];
    }
    return NULL;
}

static ti_status add_child(ti_hydration *h, node *parent, const ti_relationship *rel,
                           const ti_model *model, ti_arena *a, node **child_out, ti_err *err)
{
    node **last = &parent->first;
    for (; *last != NULL; last = &(*last)->next) {
        if ((*last)->rel == rel) {
            *child_out = *last;
            return TI_OK;
        }
    }
    node *child = ti_arena_alloc_zero(a, sizeof *child);
    if (child == NULL)
        return ti_err_no_memory(err);
    child->rel = rel;
    child->model = ti_store_lookup(model->store, model->scope, rel->table);
    if (child->model == NULL) {
        ti_err_set(err, TI_INVALID_ARGUMENT,
                   "relationship \"%.*s\" of table \"%.*s\" names model \"%.*s\", which is "
                   "not declared",
                   (int)rel->destination.len, rel->destination.data, (int)model->table.len,
                   model->table.data, (int)rel->table.len, rel->table.data);
        return ti_err_of(h->model, TI_SLICE_NONE, TI_INVALID_ARGUMENT, err);
    }
    *last = child; /* members are added in the order asked for */
    parent->child_count++;
    *child_out = child;
    return TI_OK;
}

static ti_status add_path(ti_hydration *h, ti_slice path, ti_arena *a, ti_err *err)
{
    node *at = &h->root;
    const ti_model *model = h->model;
    ti_slice left = path;
    for (size_t depth = 0; left.len > 0 || depth == 0; depth++) {
        if (depth == TI_CHAIN_DEPTH_MAX)
            return ti_err_set(err, TI_LIMIT_EXCEEDED, "a relationship chain may have %d steps",
                              TI_CHAIN_DEPTH_MAX);
        const ti_relationship *rel = match(model, left, &left);
        if (rel == NULL) {
            ti_err_set(err, TI_INVALID_ARGUMENT, "table \"%.*s\" has no relationship \"%.*s\"",
                       (int)model->table.len, model->table.data,
                       (int)(path.len > 200 ? 200 : path.len), path.data);
            return ti_err_of(h->model, TI_SLICE_NONE, TI_INVALID_ARGUMENT, err);
        }
        TI_TRY(add_child(h, at, rel, model, a, &at, err));
        model = at->model;
    }
    return TI_OK;
}

ti_status ti_hydration_begin(ti_model *model, const ti_slice *paths, size_t count, ti_arena *a,
                             ti_hydration **hydration_out, ti_err *err)
{
    *hydration_out = NULL;
    if (count == 0)
        return TI_OK;
    if (count > TI_QUERY_RELATIONSHIPS_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED, "%zu relationships asked for, at most %d", count,
                          TI_QUERY_RELATIONSHIPS_MAX);
    ti_hydration *h = ti_arena_alloc_zero(a, sizeof *h);
    if (h == NULL)
        return ti_err_no_memory(err);
    h->model = model;
    h->arena = a;
    h->ahead = atomic_load(&model->store->reads_ahead) ? &model->store->ahead : NULL;
    *hydration_out = h;
    for (size_t i = 0; i < count; i++)
        TI_TRY(add_path(h, paths[i], a, err));
    for (const node *child = h->root.first; child != NULL; child = child->next)
        h->what = h->what * 31 + ti_hash_stable(child->rel->destination);
    return TI_OK;
}

ti_status ti_hydration_fetch(ti_hydration *hydration, ti_txn *txn, const ti_slice *records,
                             size_t count, ti_slice *values_out, const ti_call *call, ti_err *err)
{
    ti_hydration *h = hydration;
    if (h->ahead == NULL)
        return ti_txn_batch_get(txn, records, count, h->arena, values_out, call, err);
    return ti_known_fetch(&h->known, h->ahead, h->what, txn, records, count, h->arena, values_out,
                          call, err);
}

static void node_end(node *n)
{
    for (node *child = n->first; child != NULL; child = child->next) {
        node_end(child); /* at most TI_CHAIN_DEPTH_MAX deep */
        ti_model_unref(child->model);
    }
    n->first = NULL;
}

void ti_hydration_end(ti_hydration *hydration)
{
    if (hydration != NULL)
        node_end(&hydration->root);
}

/* ---- work ---- */

/* Ids found in one document for one relationship, and where their documents go. */
typedef struct place place;
struct place {
    place *next;
    ti_json_value holder;
    bool list;
    uint32_t first; /* of the level's ids */
    uint32_t count;
};

typedef struct wanted {
    const ti_model *model;
    ti_slice id;
    ti_slice *json; /* where its document will be found; shared by equal ones */
    uint32_t slot;  /* among the distinct ones of the level */
} wanted;

typedef struct group group;
struct group {
    group *next; /* of the level */
    const node *at;
    ti_slice *json; /* the documents; replaced by hydrated ones */
    size_t count;
    ti_json_doc *docs;
    place **places;      /* [child][document] */
    group **children;    /* per child: the documents found, or NULL when nothing hangs below it */
    uint32_t **document; /* per child with a group: slot of the level -> document of that group */
};

typedef struct level {
    wanted *ids;
    uint32_t count;
    uint32_t capacity;
    ti_slice *json; /* per distinct id: its document; data NULL when missing */
    const ti_model **models;
    ti_slice *distinct;
    ti_slice *keys; /* of their records */
    uint32_t distinct_count;
} level;

typedef struct work {
    ti_hydration *hydration;
    ti_scratch *s;
    ti_txn *txn;
    level *at;
    size_t size; /* bytes of hydrated documents */
} work;

static ti_status add_id(work *w, const ti_model *model, ti_json_value value, place *p, ti_err *err)
{
    level *l = w->at;
    ti_slice id;
    TI_TRY(ti_json_string(value, &w->s->arena, &id, err));
    if (ti_id_check(id, NULL) != TI_OK)
        return TI_OK; /* names nothing that can exist */
    if (l->count == l->capacity) {
        uint32_t capacity = l->capacity == 0 ? 32 : l->capacity * 2;
        wanted *grown = ti_arena_alloc(&w->s->arena, capacity * sizeof *grown);
        if (grown == NULL)
            return ti_err_no_memory(err);
        if (l->count > 0)
            memcpy(grown, l->ids, l->count * sizeof *grown);
        l->ids = grown;
        l->capacity = capacity;
    }
    l->ids[l->count++] = (wanted){.model = model, .id = id};
    p->count++;
    return TI_OK;
}

/* Ids from value down rest; arrays on the way make a list. depth is bounded by the parser. */
static ti_status collect_ids(work *w, const ti_model *model, ti_json_value value, ti_slice rest,
                             place *p, ti_err *err)
{
    ti_slice step;
    ti_json_value child;
    if (!ti_json_is_present(value))
        return TI_OK;
    ti_json_type type = ti_json_type_of(value);
    if (type == TI_JSON_ARRAY) {
        p->list = true;
        ti_json_iter iter = ti_json_iterate(value);
        while (ti_json_next(&iter, &child))
            TI_TRY(collect_ids(w, model, child, rest, p, err));
        return TI_OK;
    }
    if (ti_json_path_step(&rest, &step))
        return collect_ids(w, model, ti_json_get(value, step), rest, p, err);
    return type == TI_JSON_STRING ? add_id(w, model, value, p, err) : TI_OK;
}

/* Every object at path is a holder; arrays on the way are walked. */
static ti_status collect_holders(work *w, const node *child, ti_json_value value, ti_slice path,
                                 place **places, ti_err *err)
{
    ti_slice step;
    ti_json_value element;
    if (!ti_json_is_present(value))
        return TI_OK;
    if (ti_json_type_of(value) == TI_JSON_ARRAY) {
        ti_json_iter iter = ti_json_iterate(value);
        while (ti_json_next(&iter, &element))
            TI_TRY(collect_holders(w, child, element, path, places, err));
        return TI_OK;
    }
    if (ti_json_type_of(value) != TI_JSON_OBJECT)
        return TI_OK;
    if (ti_json_path_step(&path, &step))
        return collect_holders(w, child, ti_json_get(value, step), path, places, err);
    place found = {.holder = value, .first = w->at->count};
    TI_TRY(collect_ids(w, child->model, value, child->rel->rest, &found, err));
    if (found.count == 0 && !found.list)
        return TI_OK;
    place *p = ti_arena_alloc(&w->s->arena, sizeof *p);
    if (p == NULL)
        return ti_err_no_memory(err);
    *p = found;
    p->next = *places;
    *places = p;
    return TI_OK;
}

/* Parses a group's documents and collects the ids of all its relationships. */
static ti_status collect_group(work *w, group *g, ti_err *err)
{
    ti_arena *a = &w->s->arena;
    size_t children = g->at->child_count;
    g->docs = ti_arena_alloc(a, g->count * sizeof *g->docs);
    g->places = ti_arena_alloc_zero(a, children * g->count * sizeof *g->places);
    g->children = ti_arena_alloc_zero(a, children * sizeof *g->children);
    g->document = ti_arena_alloc_zero(a, children * sizeof *g->document);
    if (g->docs == NULL || g->places == NULL || g->children == NULL || g->document == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < g->count; i++) {
        size_t c = 0;
        TI_TRY(ti_json_parse(&w->s->parser, a, g->json[i], &g->docs[i], err));
        for (const node *child = g->at->first; child != NULL; child = child->next, c++)
            TI_TRY(collect_holders(w, child, ti_json_root(&g->docs[i]), child->rel->holder,
                                   &g->places[c * g->count + i], err));
        ti_assert(c == children);
    }
    return TI_OK;
}

/* ---- fetching ---- */

static int compare_wanted(const void *left, const void *right)
{
    const wanted *l = *(const wanted *const *)left;
    const wanted *r = *(const wanted *const *)right;
    int order = ti_slice_compare(l->model->table, r->model->table);
    return order != 0 ? order : ti_slice_compare(l->id, r->id);
}

/* Gives every id its slot among the distinct ones. */
static ti_status make_distinct(work *w, ti_err *err)
{
    level *l = w->at;
    ti_arena *a = &w->s->arena;
    wanted **sorted = ti_arena_alloc(a, l->count * sizeof *sorted);
    l->distinct = ti_arena_alloc(a, l->count * sizeof *l->distinct);
    l->models = ti_arena_alloc(a, l->count * sizeof *l->models);
    l->json = ti_arena_alloc_zero(a, l->count * sizeof *l->json);
    if (sorted == NULL || l->distinct == NULL || l->models == NULL || l->json == NULL)
        return ti_err_no_memory(err);
    for (uint32_t i = 0; i < l->count; i++)
        sorted[i] = &l->ids[i];
    qsort(sorted, l->count, sizeof *sorted, compare_wanted);
    for (uint32_t i = 0; i < l->count; i++) {
        if (i == 0 || compare_wanted(&sorted[i - 1], &sorted[i]) != 0) {
            l->models[l->distinct_count] = sorted[i]->model;
            l->distinct[l->distinct_count++] = sorted[i]->id;
        }
        sorted[i]->slot = l->distinct_count - 1;
    }
    return TI_OK;
}

static ti_status fetch(work *w, const ti_call *call, ti_err *err)
{
    level *l = w->at;
    ti_arena *a = &w->s->arena;
    if (l->count == 0)
        return TI_OK;
    TI_TRY(make_distinct(w, err));
    ti_slice *keys = l->keys = ti_arena_alloc(a, l->distinct_count * sizeof *keys);
    ti_slice *values = ti_arena_alloc(a, l->distinct_count * sizeof *values);
    if (keys == NULL || values == NULL)
        return ti_err_no_memory(err);
    for (uint32_t i = 0; i < l->distinct_count; i++) {
        const ti_model *model = l->models[i];
        keys[i] = ti_key_record(&model->store->keyspace, a, model->table, l->distinct[i]);
        TI_TRY(ti_key_check(keys[i], "a record's key", err));
    }
    TI_TRY(ti_known_batch_get(&w->hydration->known, w->txn, keys, l->distinct_count, a, values,
                              call, err));
    for (uint32_t i = 0; i < l->distinct_count; i++) {
        ti_record record;
        if (values[i].data == NULL)
            continue;
        ti_status status = ti_record_open(values[i], keys[i], &record, err);
        if (status != TI_OK)
            return ti_err_of(l->models[i], TI_SLICE_NONE, status, err);
        l->json[i] = record.document;
    }
    return TI_OK;
}

/* The group of a child that has children itself: the distinct documents found for it. */
static ti_status child_group(work *w, group *g, size_t c, const node *child, group **group_out,
                             ti_err *err)
{
    level *l = w->at;
    ti_arena *a = &w->s->arena;
    group *next = ti_arena_alloc_zero(a, sizeof *next);
    uint32_t *document = ti_arena_alloc(a, (l->distinct_count + 1) * sizeof *document);
    if (next == NULL || document == NULL)
        return ti_err_no_memory(err);
    next->json = ti_arena_alloc(a, (l->distinct_count + 1) * sizeof *next->json);
    if (next->json == NULL)
        return ti_err_no_memory(err);
    memset(document, 0xff, (l->distinct_count + 1) * sizeof *document);
    next->at = child;
    for (size_t i = 0; i < g->count; i++) {
        for (const place *p = g->places[c * g->count + i]; p != NULL; p = p->next) {
            for (uint32_t k = p->first; k < p->first + p->count; k++) {
                uint32_t slot = l->ids[k].slot;
                if (l->json[slot].data == NULL || document[slot] != UINT32_MAX)
                    continue;
                document[slot] = (uint32_t)next->count;
                next->json[next->count++] = l->json[slot];
            }
        }
    }
    g->children[c] = next;
    g->document[c] = document;
    *group_out = next;
    return TI_OK;
}

/* ---- splicing ---- */

/* The document of an id as it goes into its place; data NULL when there is none. */
static ti_slice target(const group *g, size_t c, const level *l, uint32_t id)
{
    uint32_t slot = l->ids[id].slot;
    if (l->json[slot].data == NULL || g->children[c] == NULL)
        return l->json[slot];
    ti_require(g->document[c][slot] != UINT32_MAX);
    return g->children[c]->json[g->document[c][slot]];
}

static ti_status too_large(ti_err *err)
{
    return ti_err_set(err, TI_LIMIT_EXCEEDED,
                      "the documents and their relationships are larger than %d MiB together",
                      TI_PAGE_SIZE_MAX / (1024 * 1024));
}

/* "[a,b,c]" in the arena. */
static ti_status list_of(work *w, const group *g, size_t c, const level *l, const place *p,
                         ti_slice *raw_out, ti_err *err)
{
    size_t len = 2;
    for (uint32_t k = p->first; k < p->first + p->count; k++)
        len += target(g, c, l, k).len + 1;
    if (len > TI_PAGE_SIZE_MAX || w->size + len > TI_PAGE_SIZE_MAX)
        return too_large(err);
    char *text = ti_arena_alloc(&w->s->arena, len);
    if (text == NULL)
        return ti_err_no_memory(err);
    size_t at = 0;
    text[at++] = '[';
    for (uint32_t k = p->first; k < p->first + p->count; k++) {
        ti_slice json = target(g, c, l, k);
        if (json.data == NULL)
            continue;
        if (at > 1)
            text[at++] = ',';
        memcpy(text + at, json.data, json.len);
        at += json.len;
    }
    text[at++] = ']';
    *raw_out = (ti_slice){.data = text, .len = at};
    return TI_OK;
}

static ti_status splice_document(work *w, group *g, const level *l, size_t i, ti_err *err)
{
    ti_json_edits edits;
    size_t c = 0;
    ti_json_edits_init(&edits, &g->docs[i], &w->s->arena);
    for (const node *child = g->at->first; child != NULL; child = child->next, c++) {
        for (const place *p = g->places[c * g->count + i]; p != NULL; p = p->next) {
            ti_slice raw = p->list ? TI_SLICE_NONE : target(g, c, l, p->first);
            if (p->list)
                TI_TRY(list_of(w, g, c, l, p, &raw, err));
            if (raw.data != NULL)
                TI_TRY(ti_json_edits_set(&edits, p->holder, child->rel->key, raw, err));
        }
    }
    if (edits.count == 0)
        return TI_OK;
    ti_buf_clear(&w->s->text);
    ti_status status = ti_json_edits_apply(&edits, &w->s->text, err);
    w->size += w->s->text.len;
    if (status == TI_LIMIT_EXCEEDED || w->size > TI_PAGE_SIZE_MAX)
        return too_large(err);
    TI_TRY(status);
    g->json[i] = ti_arena_copy(&w->s->arena, ti_buf_slice(&w->s->text));
    return g->json[i].data == NULL ? ti_err_no_memory(err) : TI_OK;
}

static ti_status splice_group(work *w, group *g, const level *l, ti_err *err)
{
    for (size_t i = 0; i < g->count; i++)
        TI_TRY(splice_document(w, g, l, i, err));
    return TI_OK;
}

/* ---- levels ---- */

/* Goes one level down: what the groups name, and the groups that hang below. */
static ti_status descend(work *w, group *groups, group **below_out, const ti_call *call,
                         ti_err *err)
{
    *below_out = NULL;
    for (group *g = groups; g != NULL; g = g->next)
        TI_TRY(collect_group(w, g, err));
    TI_TRY(fetch(w, call, err));
    for (group *g = groups; g != NULL; g = g->next) {
        size_t c = 0;
        for (const node *child = g->at->first; child != NULL; child = child->next, c++) {
            group *next = NULL;
            if (child->child_count == 0)
                continue;
            TI_TRY(child_group(w, g, c, child, &next, err));
            next->next = *below_out;
            *below_out = next;
        }
    }
    return TI_OK;
}

/* The keys of the records that document i of the root names; a few times the same, perhaps. */
static size_t named_by(const group *root, const level *l, size_t i, ti_slice *named, size_t max)
{
    size_t n = 0;
    for (size_t c = 0; c < root->at->child_count; c++) {
        for (const place *p = root->places[c * root->count + i]; p != NULL; p = p->next) {
            for (uint32_t k = p->first; k < p->first + p->count; k++) {
                ti_slice key = l->keys[l->ids[k].slot];
                bool again = n > 0 && n <= max && named[n - 1].data == key.data;
                if (n < max && !again)
                    named[n] = key;
                n += !again;
            }
        }
    }
    return n;
}

/* Remembers what the root's documents name; of too many nothing. */
static ti_status note_named(const work *w, const group *root, const level *l,
                            const ti_document *documents, ti_err *err)
{
    ti_slice named[TI_AHEAD_NAMED_SIZE / sizeof(uint16_t)];
    const ti_hydration *h = w->hydration;
    const ti_model *model = h->model;
    size_t max = sizeof named / sizeof *named;
    for (size_t i = 0; h->ahead != NULL && i < root->count; i++) {
        size_t n = named_by(root, l, i, named, max);
        ti_slice record =
            ti_key_record(&model->store->keyspace, &w->s->arena, model->table, documents[i].id);
        if (record.data == NULL)
            return ti_err_no_memory(err);
        ti_ahead_note(h->ahead, h->what, record, named, n <= max ? n : 0);
    }
    return TI_OK;
}

static ti_status hydrate_all(work *w, group *root, const ti_document *documents,
                             const ti_call *call, ti_err *err)
{
    group *groups[TI_CHAIN_DEPTH_MAX + 1] = {root};
    level levels[TI_CHAIN_DEPTH_MAX] = {0};
    size_t depth = 0;
    while (groups[depth] != NULL) {
        ti_require(depth < TI_CHAIN_DEPTH_MAX);
        w->at = &levels[depth];
        TI_TRY(descend(w, groups[depth], &groups[depth + 1], call, err));
        depth++;
    }
    TI_TRY(note_named(w, root, &levels[0], documents, err));
    while (depth-- > 0) { /* what lies deepest first */
        for (group *g = groups[depth]; g != NULL; g = g->next)
            TI_TRY(splice_group(w, g, &levels[depth], err));
        w->size = depth > 0 ? 0 : w->size;
    }
    return TI_OK;
}

ti_status ti_hydrate(ti_hydration *hydration, ti_txn *txn, ti_document *documents, size_t count,
                     ti_arena *a, const ti_call *call, ti_err *err)
{
    ti_store *store = hydration->model->store;
    work w = {.hydration = hydration, .txn = txn};
    group root = {.at = &hydration->root, .count = count};
    ti_status status;
    if (count == 0)
        return TI_OK;
    TI_CHECK(ti_store_take(store, &w.s, err));
    root.json = ti_arena_alloc(&w.s->arena, count * sizeof *root.json);
    if (root.json == NULL) {
        status = ti_err_no_memory(err);
        goto out;
    }
    for (size_t i = 0; i < count; i++)
        root.json[i] = documents[i].json;
    TI_CHECK(hydrate_all(&w, &root, documents, call, err));
    for (size_t i = 0; i < count; i++) {
        if (root.json[i].data == documents[i].json.data)
            continue;
        documents[i].json = ti_arena_copy(a, root.json[i]);
        if (documents[i].json.data == NULL) {
            status = ti_err_no_memory(err);
            goto out;
        }
    }
out:
    ti_store_give(store, w.s);
    return status;
}
