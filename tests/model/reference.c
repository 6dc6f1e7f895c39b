/* See reference.h. */
#include "model/reference.h"

#include "json/json.h"

/* ---- texts: shared prefixes, separators, NUL, the ends of UTF-8 ---- */

typedef struct text {
    const char *bytes;
    size_t len;
    char json[64];
} text;

#define TEXT(literal)                                                                              \
    {                                                                                              \
        .bytes = literal, .len = sizeof(literal) - 1                                               \
    }

static text pool[] = {
    TEXT(""),
    TEXT("a"),
    TEXT("aa"),
    TEXT("ab"),
    TEXT("a b"),
    TEXT("aB"),
    TEXT("a:b"),
    TEXT("b"),
    TEXT("\0"),
    TEXT("a\0"),
    TEXT("a\0b"),
    TEXT("a\x01"),
    TEXT("\xc3\xbf"),
    TEXT("\xf4\x8f\xbf\xbf"),
    TEXT("a\xf4\x8f\xbf\xbf"),
    TEXT("null"),
    TEXT("10"),
    TEXT("9"),
    TEXT("\"\\/\n"),
    TEXT("zzzzzzzzzzzzzzzzzzzzzz"),
    TEXT("\x7f"),
    TEXT("\xe2\x82\xac"),
    TEXT("active"),
    TEXT("@2"),
};
#define POOL_COUNT ((int)(sizeof pool / sizeof pool[0]))

static const int64_t ints[] = {0,
                               1,
                               -1,
                               2,
                               3,
                               10,
                               9,
                               -10,
                               100,
                               INT64_MAX,
                               INT64_MIN,
                               1LL << 53,
                               (1LL << 53) + 1,
                               -(1LL << 53),
                               -(1LL << 53) - 1,
                               INT64_MAX - 1,
                               20230101,
                               7,
                               8};
static const double doubles[] = {0.5,
                                 -0.5,
                                 1.0,
                                 2.5,
                                 1e300,
                                 -1e300,
                                 5e-324,
                                 -0.0,
                                 9007199254740992.0,
                                 1e19,
                                 -1e19,
                                 3.0,
                                 0.1,
                                 9.223372036854775e18,
                                 100.25};

void ref_setup(void)
{
    for (int i = 0; i < POOL_COUNT; i++) {
        ti_buf b;
        ti_buf_init(&b, 64);
        assert_int_equal(ti_json_append_string(&b, (ti_slice){pool[i].bytes, pool[i].len}, NULL),
                         TI_OK);
        assert_true(b.len < sizeof pool[i].json);
        memcpy(pool[i].json, b.data, b.len);
        ti_buf_free(&b);
    }
}

/* ---- order ---- */

static int class_of(const val *v)
{
    switch (v->type) {
    case V_BOOL:
        return v->b ? 2 : 1;
    case V_INT:
    case V_DOUBLE:
        return 3;
    case V_TEXT:
        return 4;
    default:
        return 0;
    }
}

static long double number_of(const val *v)
{
    return v->type == V_INT ? (long double)v->i
                            : (long double)v->d; /* 64 bits of mantissa: exact for both */
}

static int compare_text(int left, int right)
{
    const text *l = &pool[left];
    const text *r = &pool[right];
    size_t n = l->len < r->len ? l->len : r->len;
    int order = memcmp(l->bytes, r->bytes, n);
    return order != 0 ? (order < 0 ? -1 : 1) : (l->len > r->len) - (l->len < r->len);
}

static int compare_val(const val *l, const val *r)
{
    int lc = class_of(l);
    int rc = class_of(r);
    if (lc != rc)
        return lc < rc ? -1 : 1;
    if (lc == 3) {
        long double a = number_of(l);
        long double b = number_of(r);
        return (a > b) - (a < b);
    }
    return lc == 4 ? compare_text(l->text, r->text) : 0;
}

static const ref_index *sorting_by;

static int compare_tuples(const val *l, const val *r, const ref_index *index)
{
    for (int i = 0; i < index->field_count; i++) {
        int order = compare_val(&l[i], &r[i]);
        if (order != 0)
            return index->desc[i] ? -order : order;
    }
    return 0;
}

static int compare_entries(const void *left, const void *right)
{
    const ref_entry *l = left;
    const ref_entry *r = right;
    int order = sorting_by == NULL ? 0 : compare_tuples(l->tuple, r->tuple, sorting_by);
    return order != 0 ? order : strcmp(l->doc->id, r->doc->id);
}

/* ---- documents ---- */

static val random_number(test_random *r)
{
    if (test_random_one_in(r, 3))
        return (val){.type = V_DOUBLE,
                     .d = doubles[test_random_below(r, sizeof doubles / sizeof doubles[0])]};
    return (val){.type = V_INT, .i = ints[test_random_below(r, sizeof ints / sizeof ints[0])]};
}

static val random_of(test_random *r, int field)
{
    if (test_random_one_in(r, 8))
        return (val){.type = test_random_one_in(r, 2) ? V_MISSING : V_NULL};
    switch (field) {
    case F_S:
    case F_OS:
    case F_AS:
    case F_IK:
        return (val){.type = V_TEXT, .text = (int)test_random_below(r, (uint64_t)POOL_COUNT)};
    case F_B:
        return (val){.type = V_BOOL, .b = test_random_one_in(r, 2)};
    default:
        return random_number(r);
    }
}

static int random_list(test_random *r, val *out, int field)
{
    int count = (int)test_random_below(r, LIST_MAX + 2) - 1;
    for (int i = 0; i < count; i++) {
        out[i] = random_of(r, field);
        if (out[i].type == V_MISSING)
            out[i].type = V_NULL;
    }
    return count;
}

void ref_random_doc(test_random *r, const char *id, ref_doc *out)
{
    memset(out, 0, sizeof *out);
    snprintf(out->id, sizeof out->id, "%s", id);
    for (int f = F_S; f <= F_ON; f++)
        out->scalars[f] = random_of(r, f);
    out->as_count = random_list(r, out->as, F_AS);
    out->an_count = random_list(r, out->an, F_AN);
    out->item_count = (int)test_random_below(r, LIST_MAX + 2) - 1;
    for (int i = 0; i < out->item_count; i++) {
        out->item_k[i] = random_of(r, F_IK);
        out->item_v[i] = random_of(r, F_IV);
    }
    ref_render(r, out);
}

typedef struct pen {
    char *at;
    char *end;
    bool comma;
} pen;

static void put(pen *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(p->at, (size_t)(p->end - p->at), format, args);
    va_end(args);
    assert_true(n >= 0 && n < p->end - p->at);
    p->at += n;
}

static void put_val(pen *p, const val *v)
{
    switch (v->type) {
    case V_BOOL:
        put(p, v->b ? "true" : "false");
        break;
    case V_INT:
        put(p, "%lld", (long long)v->i);
        break;
    case V_DOUBLE:
        put(p, "%.17e", v->d);
        break;
    case V_TEXT:
        put(p, "%s", pool[v->text].json);
        break;
    default:
        put(p, "null");
        break;
    }
}

static void put_member(pen *p, const char *name, const val *v)
{
    if (v->type == V_MISSING)
        return;
    put(p, "%s\"%s\":", p->comma ? "," : "", name);
    put_val(p, v);
    p->comma = true;
}

static void put_list(pen *p, const char *name, const val *list, int count)
{
    if (count < 0)
        return;
    put(p, ",\"%s\":[", name);
    for (int i = 0; i < count; i++) {
        put(p, i > 0 ? ", " : "");
        put_val(p, &list[i]);
    }
    put(p, "]");
}

void ref_render(test_random *r, ref_doc *doc)
{
    pen p = {.at = doc->json, .end = doc->json + sizeof doc->json, .comma = true};
    put(&p, "{\"id\":\"%s\"", doc->id);
    put_member(&p, "s", &doc->scalars[F_S]);
    put_member(&p, "n", &doc->scalars[F_N]);
    put_list(&p, "as", doc->as, doc->as_count);
    put_member(&p, "b", &doc->scalars[F_B]);
    if (doc->scalars[F_OS].type != V_MISSING || doc->scalars[F_ON].type != V_MISSING ||
        test_random_one_in(r, 2)) {
        put(&p, ",\"o\":{");
        p.comma = false;
        put_member(&p, "s", &doc->scalars[F_OS]);
        put_member(&p, "n", &doc->scalars[F_ON]);
        put(&p, "}");
        p.comma = true;
    }
    put_list(&p, "an", doc->an, doc->an_count);
    if (doc->item_count >= 0) {
        put(&p, ",\"items\":[");
        for (int i = 0; i < doc->item_count; i++) {
            put(&p, i > 0 ? ",{" : "{");
            p.comma = false;
            put_member(&p, "k", &doc->item_k[i]);
            put_member(&p, "v", &doc->item_v[i]);
            put(&p, "}");
        }
        p.comma = true;
        put(&p, "]");
    }
    put(&p, ",\"x\":%llu}", (unsigned long long)test_random_below(r, 1000));
}

ref_doc *ref_find(ref_state *state, const char *id)
{
    for (int i = 0; i < state->count; i++) {
        if (strcmp(state->docs[i].id, id) == 0)
            return &state->docs[i];
    }
    return NULL;
}

/* ---- indexes ---- */

static const char *const paths[F_COUNT] = {"s",  "n",  "b",       "o.s",    "o.n",
                                           "as", "an", "items.k", "items.v"};
static const char *const types[F_COUNT] = {"string", "number", "boolean", "string", "number",
                                           "string", "number", "string",  "number"};

static int group_of(int field)
{
    switch (field) {
    case F_AS:
        return GROUP_AS;
    case F_AN:
        return GROUP_AN;
    case F_IK:
    case F_IV:
        return GROUP_ITEMS;
    default:
        return GROUP_NONE;
    }
}

static int index_group(const ref_index *index)
{
    for (int i = 0; i < index->field_count; i++) {
        if (group_of(index->fields[i]) != GROUP_NONE)
            return group_of(index->fields[i]);
    }
    return GROUP_NONE;
}

static bool may_add(const ref_index *index, int field)
{
    int group = index_group(index);
    for (int i = 0; i < index->field_count; i++) {
        if (index->fields[i] == field)
            return false;
    }
    return group == GROUP_NONE || group_of(field) == GROUP_NONE || group == group_of(field);
}

void ref_random_index(test_random *r, int number, ref_index *out)
{
    *out = (ref_index){.version = 1};
    snprintf(out->name, sizeof out->name, "%s%d", test_random_one_in(r, 2) ? "ix" : "by.", number);
    int wanted = 1 + (int)test_random_below(r, REF_FIELDS_MAX);
    for (int tries = 0; tries < 20 && out->field_count < wanted; tries++) {
        int field = (int)test_random_below(r, F_COUNT);
        if (may_add(out, field))
            out->fields[out->field_count++] = field;
    }
    for (int i = 0; i < out->field_count; i++)
        out->desc[i] = test_random_one_in(r, 3);
    out->sparse = test_random_one_in(r, 3);
    out->unique = test_random_one_in(r, 5);
    out->covering = !out->unique && test_random_one_in(r, 3);
    out->cond = test_random_one_in(r, 2) ? COND_ALWAYS : (int)test_random_below(r, COND_COUNT);
    if (out->cond == COND_NEVER && !test_random_one_in(r, 4))
        out->cond = COND_ALWAYS;
}

static void put_index(pen *p, const ref_index *index)
{
    put(p, "{\"name\":\"%s\",\"version\":%d,\"fields\":[", index->name, index->version);
    for (int i = 0; i < index->field_count; i++)
        put(p, "%s{\"name\":\"%s\",\"type\":\"%s\"%s}", i > 0 ? "," : "", paths[index->fields[i]],
            types[index->fields[i]], index->desc[i] ? ",\"order\":\"desc\"" : "");
    put(p, "],\"sparse\":%s", index->sparse ? "true" : "false");
    if (index->covering)
        put(p, ",\"covering\":true");
    static const char *const conditions[COND_COUNT] = {
        "", ",\"condition\":\"host\"", ",\"where\":{\"b\":true}",
        ",\"where\":{\"s\":[\"a\",\"b\",null],\"o.n\":1.0}", ",\"condition\":false"};
    put(p, "%s}", conditions[index->cond]);
}

void ref_spec(const ref_index *indexes, int count, char *out, size_t size)
{
    pen p = {.at = out, .end = out + size};
    put(&p, "{\"table\":\"doc\",\"indexes\":[");
    for (int pass = 0; pass < 2; pass++) {
        bool comma = false;
        for (int i = 0; i < count; i++) {
            if (indexes[i].unique != (pass == 1))
                continue;
            put(&p, comma ? "," : "");
            put_index(&p, &indexes[i]);
            comma = true;
        }
        put(&p, pass == 0 ? "],\"unique_indexes\":[" : "]}");
    }
}

bool ref_host_condition(const ref_doc *doc)
{
    return doc->scalars[F_S].type != V_TEXT || pool[doc->scalars[F_S].text].len % 2 == 0;
}

uint64_t ref_conditions(const ref_index *indexes, int count, const ref_doc *doc)
{
    uint64_t bits = 0;
    int bit = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < count; i++) {
            if (indexes[i].unique != (pass == 1) || indexes[i].cond != COND_HOST)
                continue;
            bits |= (uint64_t)ref_host_condition(doc) << bit++;
        }
    }
    return bits;
}

static bool holds(const ref_index *index, const ref_doc *doc)
{
    const val *s = &doc->scalars[F_S];
    const val *on = &doc->scalars[F_ON];
    bool text_fits = s->type == V_MISSING || s->type == V_NULL ||
                     (s->type == V_TEXT && (strcmp(pool[s->text].json, "\"a\"") == 0 ||
                                            strcmp(pool[s->text].json, "\"b\"") == 0));
    switch (index->cond) {
    case COND_HOST:
        return ref_host_condition(doc);
    case COND_WHERE_BOOL:
        return doc->scalars[F_B].type == V_BOOL && doc->scalars[F_B].b;
    case COND_WHERE_TEXT:
        return text_fits && class_of(on) == 3 && number_of(on) == 1.0L;
    case COND_NEVER:
        return false;
    default:
        return true;
    }
}

/* A field's value in the i-th element of the index's array. */
static val value_at(const ref_doc *doc, int field, int i, int count)
{
    bool element = i < count;
    switch (field) {
    case F_AS:
        return element ? doc->as[i] : (val){.type = V_NULL};
    case F_AN:
        return element ? doc->an[i] : (val){.type = V_NULL};
    case F_IK:
        return element ? doc->item_k[i] : (val){.type = V_NULL};
    case F_IV:
        return element ? doc->item_v[i] : (val){.type = V_NULL};
    default:
        return doc->scalars[field];
    }
}

int ref_entries(const ref_index *index, const ref_doc *doc, ref_entry *out)
{
    int n = 0;
    int group = index_group(index);
    int count = group == GROUP_AS      ? doc->as_count
                : group == GROUP_AN    ? doc->an_count
                : group == GROUP_ITEMS ? doc->item_count
                                       : 0;
    if (!holds(index, doc))
        return 0;
    for (int i = 0; i < (count > 0 ? count : 1); i++) {
        ref_entry e = {.doc = doc};
        bool null = false;
        bool twice = false;
        for (int f = 0; f < index->field_count; f++) {
            e.tuple[f] = value_at(doc, index->fields[f], i, count);
            null = null || class_of(&e.tuple[f]) == 0;
        }
        for (int k = 0; k < n; k++)
            twice = twice || compare_tuples(out[k].tuple, e.tuple, index) == 0;
        if (!twice && !(null && (index->sparse || index->unique)))
            out[n++] = e;
    }
    return n;
}

bool ref_violates(const ref_state *state, const ref_index *indexes, int count, const ref_doc *doc)
{
    ref_entry mine[LIST_MAX];
    ref_entry theirs[LIST_MAX];
    for (int i = 0; i < count; i++) {
        if (!indexes[i].unique)
            continue;
        int n = ref_entries(&indexes[i], doc, mine);
        for (int k = 0; k < state->count; k++) {
            if (strcmp(state->docs[k].id, doc->id) == 0)
                continue;
            int m = ref_entries(&indexes[i], &state->docs[k], theirs);
            for (int a = 0; a < n; a++) {
                for (int b = 0; b < m; b++) {
                    if (compare_tuples(mine[a].tuple, theirs[b].tuple, &indexes[i]) == 0)
                        return true;
                }
            }
        }
    }
    return false;
}

/* ---- queries ---- */

/* A tuple that some document has, most of the time. */
static void pick_tuple(test_random *r, const ref_state *state, const ref_index *index, val *out)
{
    ref_entry entries[LIST_MAX];
    for (int i = 0; i < index->field_count; i++)
        out[i] = random_of(r, index->fields[i]);
    for (int tries = 0; tries < 5 && state->count > 0 && !test_random_one_in(r, 6); tries++) {
        const ref_doc *doc = &state->docs[test_random_below(r, (uint64_t)state->count)];
        int n = ref_entries(index, doc, entries);
        if (n == 0)
            continue;
        memcpy(out, entries[test_random_below(r, (uint64_t)n)].tuple, sizeof entries[0].tuple);
        return;
    }
}

void ref_random_query(test_random *r, const ref_state *state, const ref_index *index,
                      ref_query *out)
{
    val low[REF_FIELDS_MAX];
    val high[REF_FIELDS_MAX];
    *out = (ref_query){.index = index, .starts = -1, .reverse = test_random_one_in(r, 3)};
    if (index == NULL)
        return;
    pick_tuple(r, state, index, out->equal);
    pick_tuple(r, state, index, low);
    pick_tuple(r, state, index, high);
    out->equal_count = (int)test_random_below(r, (uint64_t)index->field_count + 1);
    if (out->equal_count == index->field_count || test_random_one_in(r, 3))
        return;
    const val *l = &low[out->equal_count];
    const val *h = &high[out->equal_count];
    if (class_of(l) == 4 && test_random_one_in(r, 3)) {
        out->starts = l->text;
        return;
    }
    if (class_of(l) != 0 && !test_random_one_in(r, 3))
        out->lower = *l;
    if (class_of(h) != 0 && !test_random_one_in(r, 3))
        out->upper = *h;
    out->lower_excluded = test_random_one_in(r, 2);
    out->upper_excluded = test_random_one_in(r, 2);
}

static bool same_type(const val *l, const val *r)
{
    int a = class_of(l);
    int b = class_of(r);
    return a == b || (a > 0 && a < 3 && b > 0 && b < 3);
}

static bool in_bounds(const ref_query *q, const val *v)
{
    if (q->starts >= 0) {
        const text *start = &pool[q->starts];
        return v->type == V_TEXT && pool[v->text].len >= start->len &&
               memcmp(pool[v->text].bytes, start->bytes, start->len) == 0;
    }
    if (q->lower.type != V_MISSING) {
        int order = compare_val(v, &q->lower);
        if (!same_type(v, &q->lower) || order < 0 || (order == 0 && q->lower_excluded))
            return false;
    }
    if (q->upper.type != V_MISSING) {
        int order = compare_val(v, &q->upper);
        if (!same_type(v, &q->upper) || order > 0 || (order == 0 && q->upper_excluded))
            return false;
    }
    return true;
}

static bool in_query(const ref_query *q, const ref_entry *e)
{
    for (int i = 0; i < q->equal_count; i++) {
        if (compare_val(&e->tuple[i], &q->equal[i]) != 0)
            return false;
    }
    return q->equal_count == q->index->field_count || in_bounds(q, &e->tuple[q->equal_count]);
}

int ref_run(const ref_state *state, const ref_query *query, const ref_doc **out)
{
    static ref_entry all[REF_DOCS_MAX * LIST_MAX];
    int n = 0;
    for (int i = 0; i < state->count; i++) {
        ref_entry entries[LIST_MAX];
        int m = query->index == NULL ? 1 : ref_entries(query->index, &state->docs[i], entries);
        for (int k = 0; k < m; k++) {
            if (query->index == NULL)
                all[n++] = (ref_entry){.doc = &state->docs[i]};
            else if (in_query(query, &entries[k]))
                all[n++] = entries[k];
        }
    }
    sorting_by = query->index;
    qsort(all, (size_t)n, sizeof all[0], compare_entries);
    int count = 0;
    for (int i = 0; i < n; i++) {
        const ref_doc *doc = all[query->reverse ? n - 1 - i : i].doc;
        bool met = false;
        for (int k = 0; k < count; k++)
            met = met || out[k] == doc;
        if (!met)
            out[count++] = doc;
    }
    return count;
}

static ti_slice json_of(const val *v)
{
    static char ring[8][64];
    static int at;
    at = (at + 1) % 8;
    pen p = {.at = ring[at], .end = ring[at] + sizeof ring[at]};
    put_val(&p, v);
    return ti_slice_of(ring[at]);
}

ti_query *ref_build(db *d, ti_model *m, const ref_query *query)
{
    ti_query *q = NULL;
    if (query->index == NULL) {
        OK(d, ti_query_scan(m, &q, &d->err));
    } else {
        OK(d, ti_query_new(m, S(query->index->name), &q, &d->err));
        for (int i = 0; i < query->equal_count; i++)
            OK(d, ti_query_value(q, json_of(&query->equal[i]), &d->err));
        if (query->starts >= 0)
            OK(d, ti_query_bound(q, TI_BOUND_STARTS_WITH, S(pool[query->starts].json), &d->err));
        if (query->lower.type != V_MISSING)
            OK(d, ti_query_bound(q, query->lower_excluded ? TI_BOUND_GT : TI_BOUND_GTE,
                                 json_of(&query->lower), &d->err));
        if (query->upper.type != V_MISSING)
            OK(d, ti_query_bound(q, query->upper_excluded ? TI_BOUND_LT : TI_BOUND_LTE,
                                 json_of(&query->upper), &d->err));
    }
    ti_query_reverse(q, query->reverse);
    return q;
}
