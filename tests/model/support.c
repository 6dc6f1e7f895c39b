/* See support.h. */
#include "model/support.h"

#include "json/json.h"
#include "rocks/rocks.h"
#include "tikv/spaced.h"

#define TIMEOUT_US 120000000
/* Of the catalog where processes share a database: short, since changes of a schema wait for it. */
#define TIKV_LEASE_US 300000

/* ---- databases ---- */

static void open_on(db *d, ti_engine *engine, const char *name_space, bool leased, int64_t lease_us)
{
    const ti_env *env = ti_env_real();
    ti_store_options options = {.env = env,
                                .name_space = S(name_space),
                                .lease_always = leased,
                                .ahead_always = leased,
                                .lease_us = lease_us};
    d->engine = engine;
    OK(d, ti_store_new(&options, &d->store, &d->err));
    const ti_keyspace *ks = ti_store_keyspace(d->store);
    ti_kv_options kv_options = {.prefix = {.data = ks->prefix, .len = ks->prefix_len},
                                .describe = ti_store_describe_key,
                                .describe_context = d->store};
    OK(d, ti_kv_open(&d->kv, engine, &kv_options, &d->err));
    OK(d, ti_store_open(d->store, &d->kv, &d->call, &d->err));
}

void db_open(db *d, const char *path)
{
    const ti_env *env = ti_env_real();
    ti_engine *engine = NULL;
    ti_rocks_options options = {.durability = TI_DURABILITY_BUFFERED};
    memset(d, 0, sizeof *d);
    d->call = ti_call_within(env, TIMEOUT_US);
    ti_arena_init(&d->a);
    snprintf(d->path, sizeof d->path, "%s", path != NULL ? path : "");
    if (spaced_wanted()) {
        engine = d->path[0] == '\0' ? spaced_new() : spaced_named(path);
    } else if (d->path[0] == '\0') {
        OK(d, ti_rocks_open_memory(&options, env, &engine, &d->call, &d->err));
    } else {
        OK(d, ti_rocks_open(path, &options, env, &engine, &d->call, &d->err));
    }
    open_on(d, engine, "", false, spaced_wanted() ? TIKV_LEASE_US : 0);
}

void db_open_place(db *d, const char *place)
{
    static cluster c;
    static const char scheme[] = "tikv:";
    if (strncmp(place, scheme, sizeof scheme - 1) != 0) {
        db_open(d, place);
        return;
    }
    memset(d, 0, sizeof *d);
    d->call = ti_call_within(ti_env_real(), TIMEOUT_US);
    ti_arena_init(&d->a);
    assert_true(cluster_is_own()); /* else it would end with this program */
    if (c.pd_count == 0)
        cluster_start(&c);
    open_on(d, cluster_open(&c), place + sizeof scheme - 1, false, TIKV_LEASE_US);
}

void db_open_beside(db *d, const db *first, bool leased, int64_t lease_us)
{
    memset(d, 0, sizeof *d);
    d->call = ti_call_within(ti_env_real(), TIMEOUT_US);
    ti_arena_init(&d->a);
    first->engine->vt->ref(first->engine);
    open_on(d, first->engine, "", leased, lease_us);
}

void db_open_namespace(db *d, const db *first, const char *name_space)
{
    memset(d, 0, sizeof *d);
    d->call = ti_call_within(ti_env_real(), TIMEOUT_US);
    ti_arena_init(&d->a);
    first->engine->vt->ref(first->engine);
    open_on(d, first->engine, name_space, false, 0);
}

void db_close(db *d)
{
    ti_store_free(d->store);
    ti_kv_close(&d->kv);
    ti_arena_free(&d->a);
}

void db_reopen(db *d)
{
    char path[256];
    snprintf(path, sizeof path, "%s", d->path);
    db_close(d);
    db_open(d, path);
}

/* ---- words ---- */

ti_slice S(const char *text)
{
    return ti_slice_of(text);
}

const char *T(ti_slice s)
{
    static char *ring[64];
    static size_t at;
    at = (at + 1) % 64;
    free(ring[at]);
    ring[at] = malloc(s.len + 1);
    assert_non_null(ring[at]);
    if (s.len > 0)
        memcpy(ring[at], s.data, s.len);
    ring[at][s.len] = '\0';
    return ring[at];
}

void expect_at(ti_status got, ti_status wanted, const ti_err *err, const char *what,
               const char *file, int line)
{
    if (got != wanted)
        print_error("%s:%d: %s: %s instead of %s: %s\n", file, line, what, ti_status_name(got),
                    ti_status_name(wanted),
                    got != TI_OK && got != TI_NOT_FOUND ? err->message : "");
    _assert_int_equal((LargestIntegralType)got, (LargestIntegralType)wanted, file, line);
}

void says_at(const ti_err *err, const char *text, const char *file, int line)
{
    if (strstr(err->message, text) == NULL)
        print_error("%s:%d: the message \"%s\" does not say \"%s\"\n", file, line, err->message,
                    text);
    _assert_true(strstr(err->message, text) != NULL, "message", file, line);
}

/* ---- operations ---- */

ti_model *declare(db *d, const char *spec)
{
    ti_model *model = NULL;
    OK(d, ti_model_declare(d->store, 0, S(spec), &model, &d->err));
    return model;
}

ti_status build(db *d, ti_model *m, ti_txn *txn, const char *json)
{
    return ti_model_build(m, txn, S(json), NULL, &d->a, NULL, &d->call, &d->err);
}

ti_status update(db *d, ti_model *m, ti_txn *txn, const char *json)
{
    return ti_model_update(m, txn, S(json), NULL, &d->a, NULL, &d->call, &d->err);
}

ti_status save(db *d, ti_model *m, ti_txn *txn, const char *json)
{
    return ti_model_save(m, txn, S(json), NULL, &d->a, NULL, &d->call, &d->err);
}

ti_status patch(db *d, ti_model *m, ti_txn *txn, const char *id, const char *changes)
{
    return ti_model_patch(m, txn, S(id), S(changes), NULL, &d->a, NULL, &d->call, &d->err);
}

ti_status del(db *d, ti_model *m, ti_txn *txn, const char *id, bool *existed)
{
    return ti_model_delete(m, txn, S(id), NULL, existed, &d->call, &d->err);
}

const char *find(db *d, ti_model *m, ti_txn *txn, const char *id)
{
    return find_with(d, m, txn, id, "");
}

const char *find_with(db *d, ti_model *m, ti_txn *txn, const char *id, const char *relationships)
{
    ti_document document;
    ti_slice names[TI_QUERY_RELATIONSHIPS_MAX + 1];
    size_t count = 0;
    const char *at = relationships;
    while (*at != '\0') {
        size_t len = strcspn(at, ",");
        names[count++] = (ti_slice){.data = at, .len = len};
        at += len + (at[len] == ',');
    }
    ti_read read = {.relationships = names, .relationship_count = count};
    ti_status status = ti_model_find(m, txn, S(id), &read, &d->a, &document, &d->call, &d->err);
    if (status == TI_NOT_FOUND)
        return NULL;
    OK(d, status);
    return T(document.json);
}

ti_txn *begin(db *d)
{
    ti_txn *txn = NULL;
    OK(d, ti_txn_begin(&d->kv, NULL, &txn, &d->err));
    return txn;
}

ti_status try_commit(db *d, ti_txn *txn)
{
    ti_status status = ti_txn_commit(txn, NULL, &d->call, &d->err);
    ti_txn_free(txn);
    return status;
}

void commit(db *d, ti_txn *txn)
{
    OK(d, try_commit(d, txn));
}

/* ---- queries in words ---- */

static void query_word(db *d, ti_query *q, const char *word)
{
    const char *value = strchr(word, '=');
    if (word[0] == '>' || word[0] == '<') {
        bool equal = word[1] == '=';
        ti_bound bound = word[0] == '>' ? (equal ? TI_BOUND_GTE : TI_BOUND_GT)
                                        : (equal ? TI_BOUND_LTE : TI_BOUND_LT);
        OK(d, ti_query_bound(q, bound, S(word + (equal ? 2 : 1)), &d->err));
    } else if (word[0] == '^') {
        OK(d, ti_query_bound(q, TI_BOUND_STARTS_WITH, S(word + 1), &d->err));
    } else if (strncmp(word, "limit=", 6) == 0) {
        OK(d, ti_query_limit(q, atoll(value + 1), &d->err));
    } else if (strncmp(word, "rel=", 4) == 0) {
        OK(d, ti_query_relationship(q, S(value + 1), &d->err));
    } else if (strncmp(word, "cursor=", 7) == 0) {
        OK(d, ti_query_cursor(q, S(value + 1), &d->err));
    } else if (strcmp(word, "reverse") == 0) {
        ti_query_reverse(q, true);
    } else if (strcmp(word, "keys") == 0) {
        ti_query_keys_only(q, true);
    } else {
        OK(d, ti_query_value(q, S(word), &d->err));
    }
}

ti_query *query_of(db *d, ti_model *m, const char *words)
{
    ti_query *q = NULL;
    char *copy = strdup(words);
    char *state = NULL;
    char *word = strtok_r(copy, " ", &state);
    if (strcmp(word, "*") == 0)
        OK(d, ti_query_scan(m, &q, &d->err));
    else
        OK(d, ti_query_new(m, S(word), &q, &d->err));
    while ((word = strtok_r(NULL, " ", &state)) != NULL)
        query_word(d, q, word);
    free(copy);
    return q;
}

ti_status query_status(db *d, ti_model *m, ti_txn *txn, const char *words)
{
    ti_page *page = NULL;
    ti_query *q = query_of(d, m, words);
    ti_status status = ti_query_execute(q, txn, &page, &d->call, &d->err);
    ti_page_free(page);
    ti_query_free(q);
    return status;
}

ti_page *page_of(db *d, ti_model *m, ti_txn *txn, const char *words)
{
    ti_page *page = NULL;
    ti_query *q = query_of(d, m, words);
    OK(d, ti_query_execute(q, txn, &page, &d->call, &d->err));
    ti_query_free(q);
    return page;
}

const char *ids(db *d, ti_model *m, ti_txn *txn, const char *words, const char **cursor_out)
{
    ti_page *page = page_of(d, m, txn, words);
    char *text = calloc(1, 1);
    size_t len = 0;
    for (size_t i = 0; i < page->count; i++) {
        ti_slice id = page->items[i].id;
        text = realloc(text, len + id.len + 2);
        if (i > 0)
            text[len++] = ' ';
        memcpy(text + len, id.data, id.len);
        len += id.len;
        text[len] = '\0';
    }
    if (cursor_out != NULL)
        *cursor_out = page->cursor.len > 0 ? T(page->cursor) : NULL;
    const char *result = T((ti_slice){.data = text, .len = len});
    free(text);
    ti_page_free(page);
    return result;
}

/* ---- bytes ---- */

void raw_put(db *d, ti_slice key, ti_slice value)
{
    ti_txn *txn = begin(d);
    OK(d, ti_txn_put(txn, key, value, &d->err));
    commit(d, txn);
}

void raw_delete(db *d, ti_slice key)
{
    ti_txn *txn = begin(d);
    OK(d, ti_txn_delete(txn, key, &d->err));
    commit(d, txn);
}

bool raw_get(db *d, ti_slice key, ti_slice *value_out)
{
    ti_txn *txn = begin(d);
    ti_status status = ti_txn_get(txn, key, &d->a, value_out, &d->call, &d->err);
    ti_txn_free(txn);
    if (status != TI_NOT_FOUND)
        OK(d, status);
    return status == TI_OK;
}

/* ---- machines ---- */

const char *run_steps(db *d, ti_steps *steps, conditions_fn conditions)
{
    ti_step step = TI_STEP_MORE;
    ti_slice json = TI_SLICE_NONE;
    while (step != TI_STEP_DONE) {
        OK(d, ti_steps_next(steps, &step, &json, &d->call, &d->err));
        for (size_t i = 0; i < ti_steps_count(steps); i++) {
            assert_non_null(conditions);
            OK(d, ti_steps_reply(steps, i, conditions(ti_steps_document(steps, i)), &d->err));
        }
    }
    const char *text = T(json);
    ti_steps_free(steps);
    return text;
}

const char *reindex(db *d, ti_model *m, conditions_fn conditions)
{
    ti_steps *steps = NULL;
    OK(d, ti_reindex_open(m, NULL, &steps, &d->err));
    return run_steps(d, steps, conditions);
}

/* Appends "kind index id[ repaired];" of each finding. */
static void append_findings(db *d, ti_slice json, ti_buf *out)
{
    ti_json_parser parser;
    ti_json_doc doc;
    ti_json_value finding;
    ti_json_parser_init(&parser);
    OK(d, ti_json_parse(&parser, &d->a, json, &doc, &d->err));
    ti_json_iter iter = ti_json_iterate(ti_json_get(ti_json_root(&doc), TI_SLICE("findings")));
    while (ti_json_next(&iter, &finding)) {
        ti_slice kind;
        ti_slice index;
        ti_slice id;
        OK(d, ti_json_string(ti_json_get(finding, TI_SLICE("kind")), &d->a, &kind, &d->err));
        OK(d, ti_json_string(ti_json_get(finding, TI_SLICE("index")), &d->a, &index, &d->err));
        OK(d, ti_json_string(ti_json_get(finding, TI_SLICE("id")), &d->a, &id, &d->err));
        bool repaired = ti_json_bool(ti_json_get(finding, TI_SLICE("repaired")));
        OK(d, ti_buf_append_format(out, &d->err, "%.*s %.*s %.*s%s;", (int)kind.len, kind.data,
                                   (int)index.len, index.data, (int)id.len, id.data,
                                   repaired ? " repaired" : ""));
    }
    ti_json_parser_free(&parser);
}

ti_slice cursor_of(db *d, ti_slice json)
{
    ti_json_parser parser;
    ti_json_doc doc;
    ti_slice cursor = TI_SLICE_NONE;
    ti_json_parser_init(&parser);
    OK(d, ti_json_parse(&parser, &d->a, json, &doc, &d->err));
    ti_json_value value = ti_json_get(ti_json_root(&doc), TI_SLICE("cursor"));
    if (ti_json_is_present(value))
        OK(d, ti_json_string(value, &d->a, &cursor, &d->err));
    ti_json_parser_free(&parser);
    return ti_arena_copy(&d->a, cursor);
}

const char *check_in_pieces(db *d, ti_model *m)
{
    ti_check_options options = {.batch = 7};
    ti_step step = TI_STEP_MORE;
    ti_buf out;
    ti_buf_init(&out, 1 << 20);
    for (int pieces = 0; step != TI_STEP_DONE; pieces++) {
        ti_steps *steps = NULL;
        ti_slice json;
        assert_true(pieces < 1000);
        OK(d, ti_check_open(m, &options, &steps, &d->err));
        OK(d, ti_steps_next(steps, &step, &json, &d->call, &d->err));
        append_findings(d, json, &out);
        options.cursor = cursor_of(d, json);
        assert_int_equal(options.cursor.len > 0, step == TI_STEP_MORE);
        ti_steps_free(steps);
    }
    const char *text = T(ti_buf_slice(&out));
    ti_buf_free(&out);
    return text;
}

const char *check(db *d, ti_model *m, bool repair, conditions_fn conditions)
{
    ti_steps *steps = NULL;
    ti_step step = TI_STEP_MORE;
    ti_slice json;
    ti_buf out;
    const ti_check_options options = {.repair = repair, .batch = 7};
    ti_buf_init(&out, 1 << 20);
    OK(d, ti_check_open(m, &options, &steps, &d->err));
    while (step != TI_STEP_DONE) {
        OK(d, ti_steps_next(steps, &step, &json, &d->call, &d->err));
        append_findings(d, json, &out);
        for (size_t i = 0; i < ti_steps_count(steps); i++) {
            assert_non_null(conditions);
            OK(d, ti_steps_reply(steps, i, conditions(ti_steps_document(steps, i)), &d->err));
        }
    }
    ti_steps_free(steps);
    const char *text = T(ti_buf_slice(&out));
    ti_buf_free(&out);
    return text;
}
