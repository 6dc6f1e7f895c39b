/* Parsing: simdjson finds the structural offsets, this file checks the grammar and writes the
 * nodes.
 *
 *   text       {"a":[1,2]}
 *   offsets    0 1   4 5 6 7 8 9 10          brackets, colons, commas, first bytes of scalars
 *
 * A string's closing quote is the last byte before the next offset that is not white space.
 * Nodes are written to the parser's scratch memory first, since their number is known only at the
 * end, and then copied to the arena. The text is copied too, with padding after it, as the scanner
 * asks for; nothing keeps a pointer to the copy.
 *
 * INVARIANTS
 *  1. depth <= depth_max <= TI_JSON_DEPTH_HYDRATED_MAX; no recursion.
 *  2. A valid text has at most offsets / 2 + 1 values; one that is cut has at most one more for
 *     each open container.
 *
 * Threads: a parser belongs to one thread at a time. */
#include "json/json_int.h"
#include "json/number_int.h"

#include <string.h>

#include "base/assert.h"

static_assert(TI_PAGE_SIZE_MAX < UINT32_MAX, "offsets are 32 bits");
static_assert(TI_JSON_DEPTH_MAX <= TI_JSON_DEPTH_HYDRATED_MAX, "one stack serves both");

/* One run over one text. */
typedef struct walk {
    ti_json_parser *parser;
    const char *text; /* the padded copy */
    size_t len;
    const uint32_t *offsets;
    size_t count;
    size_t at; /* the next offset */
    uint32_t node_count;
    bool slashes; /* the text has a backslash somewhere */
    uint32_t depth;
    uint32_t open[TI_JSON_DEPTH_HYDRATED_MAX]; /* nodes of the open containers */
    ti_json_node key;                          /* key fields of the member that comes next */
    ti_err *err;
} walk;

void ti_json_parser_init(ti_json_parser *parser)
{
    *parser = (ti_json_parser){.size_max = TI_DOCUMENT_SIZE_MAX, .depth_max = TI_JSON_DEPTH_MAX};
}

void ti_json_parser_init_hydrated(ti_json_parser *parser)
{
    *parser =
        (ti_json_parser){.size_max = TI_PAGE_SIZE_MAX, .depth_max = TI_JSON_DEPTH_HYDRATED_MAX};
}

void ti_json_parser_free(ti_json_parser *parser)
{
    ti_json_scan_free(parser->scan);
    ti_free(parser->text);
    ti_free(parser->nodes);
    ti_free(parser->members);
    *parser = (ti_json_parser){.size_max = parser->size_max, .depth_max = parser->depth_max};
}

/* ---- errors ---- */

static ti_status refuse(const walk *w, size_t offset, const char *what)
{
    return ti_err_set(w->err, TI_INVALID_ARGUMENT, "the document is not valid JSON: %s at byte %zu",
                      what, offset);
}

/* The offset of the structural that comes next, or the end. */
static size_t here(const walk *w)
{
    return w->at < w->count ? w->offsets[w->at] : w->len;
}

/* The first byte that is not valid UTF-8, sequence by sequence. Only for messages. */
static size_t find_bad_utf8(ti_slice text)
{
    size_t at = 0;
    while (at < text.len) {
        unsigned char lead = (unsigned char)text.data[at];
        size_t size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
        if (size > text.len - at || !ti_slice_is_utf8((ti_slice){text.data + at, size}))
            return at;
        at += size;
    }
    return at;
}

/* Where a string has a control character or, without one, where the string that does not end
 * begins. Only for messages. */
static size_t find_bad_string(ti_slice text)
{
    size_t opened = 0;
    bool inside = false;
    for (size_t at = 0; at < text.len; at++) {
        char c = text.data[at];
        if (inside && (unsigned char)c < 0x20)
            return at;
        if (inside && c == '\\')
            at++;
        else if (c == '"') {
            inside = !inside;
            opened = at;
        }
    }
    return opened;
}

static ti_status refuse_scan(const walk *w, ti_json_scan_result result)
{
    ti_slice text = {w->text, w->len};
    switch (result) {
    case TI_JSON_SCAN_NO_MEMORY:
        return ti_err_no_memory(w->err);
    case TI_JSON_SCAN_NOT_UTF8:
        return refuse(w, find_bad_utf8(text), "not UTF-8");
    case TI_JSON_SCAN_UNCLOSED:
        return refuse(w, find_bad_string(text), "a string that does not end, begun");
    case TI_JSON_SCAN_CONTROL:
        return refuse(w, find_bad_string(text), "a control character in a string");
    case TI_JSON_SCAN_EMPTY:
        return refuse(w, 0, "there is no value");
    default:
        return ti_err_set(w->err, TI_INTERNAL, "the JSON scanner failed");
    }
}

/* ---- scratch memory ---- */

/* Makes *memory at least need bytes, doubling; contents are lost. */
static ti_status ensure_scratch(void **memory, size_t *size, size_t need, ti_err *err)
{
    size_t grown = *size < 1024 ? 1024 : *size;
    if (need <= *size)
        return TI_OK;
    while (grown < need)
        grown *= 2;
    ti_free(*memory);
    *size = 0;
    *memory = ti_alloc(grown);
    if (*memory == NULL)
        return ti_err_no_memory(err);
    *size = grown;
    return TI_OK;
}

static ti_status copy_text(walk *w, ti_slice text)
{
    ti_json_parser *parser = w->parser;
    void *memory = parser->text;
    ti_status status =
        ensure_scratch(&memory, &parser->text_capacity, text.len + TI_JSON_SCAN_PADDING, w->err);
    parser->text = memory;
    if (status != TI_OK)
        return status;
    if (text.len > 0)
        memcpy(parser->text, text.data, text.len);
    memset(parser->text + text.len, 0, TI_JSON_SCAN_PADDING);
    w->text = parser->text;
    w->len = text.len;
    w->slashes = text.len > 0 && memchr(w->text, '\\', text.len) != NULL;
    return TI_OK;
}

static ti_status ensure_nodes(walk *w)
{
    ti_json_parser *parser = w->parser;
    size_t need = w->count / 2 + 2 + parser->depth_max;
    size_t bytes = parser->node_capacity * sizeof(ti_json_node);
    void *memory = parser->nodes;
    ti_status status = ensure_scratch(&memory, &bytes, need * sizeof(ti_json_node), w->err);
    parser->nodes = memory;
    parser->node_capacity = bytes / sizeof(ti_json_node);
    return status;
}

/* ---- duplicate keys ---- */

/* Fills members with the object's keys, unescaped ones into spare. */
static void gather_keys(const walk *w, uint32_t object, ti_json_member *members, char *spare)
{
    const ti_json_node *nodes = w->parser->nodes;
    size_t filled = 0;
    for (uint32_t i = object + 1; i < w->node_count; i = nodes[i].end) {
        ti_slice inside = {w->text + nodes[i].key_start, nodes[i].key_size};
        if ((nodes[i].flags & TI_JSON_KEY_ESCAPED) != 0) {
            size_t size = ti_json_unescape(inside, spare);
            inside = (ti_slice){spare, size};
            spare += size;
        }
        members[filled++] = (ti_json_member){inside.data, (uint32_t)inside.len, i};
    }
    ti_assert(filled == nodes[object].count);
}

/* Bytes of the object's escaped keys. */
static size_t escaped_size(const walk *w, uint32_t object)
{
    const ti_json_node *nodes = w->parser->nodes;
    size_t size = 0;
    if (!w->slashes)
        return 0;
    for (uint32_t i = object + 1; i < w->node_count; i = nodes[i].end)
        if ((nodes[i].flags & TI_JSON_KEY_ESCAPED) != 0)
            size += nodes[i].key_size;
    return size;
}

/* Refuses an object that has one key twice. scratch: members, then what the search needs, then
 * unescaped keys. */
static ti_status check_keys(walk *w, uint32_t object)
{
    ti_json_parser *parser = w->parser;
    size_t n = parser->nodes[object].count;
    size_t members_size = n * sizeof(ti_json_member);
    size_t search_size = ti_json_members_scratch(n);
    uint32_t twice = 0;
    if (n < 2)
        return TI_OK;
    TI_TRY(ensure_scratch(&parser->members, &parser->members_size,
                          members_size + search_size + escaped_size(w, object), w->err));
    char *scratch = parser->members;
    gather_keys(w, object, parser->members, scratch + members_size + search_size);
    if (ti_json_members_twice(parser->members, n, scratch + members_size, &twice))
        return refuse(w, parser->nodes[twice].key_start - 1,
                      "a key for the second time in its object");
    return TI_OK;
}

/* ---- values ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Whether a scalar may end before this offset. */
static bool is_scalar_end(const walk *w, size_t offset)
{
    char c = w->text[offset];
    return offset == w->len || is_space(c) || c == ',' || c == ']' || c == '}';
}

/* The inside of the string that begins at the next offset; checks its escapes. */
static ti_status take_string(walk *w, uint32_t *start_out, uint32_t *size_out, bool *escaped_out)
{
    size_t start = w->offsets[w->at++];
    size_t end = here(w);
    size_t bad = 0;
    ti_assert(w->text[start] == '"');
    while (end > start + 1 && is_space(w->text[end - 1]))
        end--;
    if (end < start + 2 || w->text[end - 1] != '"')
        return refuse(w, start, "a string that does not end, begun");
    ti_slice inside = {w->text + start + 1, end - start - 2};
    *start_out = (uint32_t)start + 1;
    *size_out = (uint32_t)inside.len;
    *escaped_out = w->slashes && memchr(inside.data, '\\', inside.len) != NULL;
    if (*escaped_out && !ti_json_escapes_valid(inside, &bad))
        return refuse(w, start + 1 + bad, "a wrong escape or a lone surrogate");
    return TI_OK;
}

static ti_status read_string(walk *w, ti_json_node *node)
{
    uint32_t start = 0;
    uint32_t size = 0;
    bool escaped = false;
    TI_TRY(take_string(w, &start, &size, &escaped));
    node->type = TI_JSON_STRING;
    node->start = start - 1;
    node->size = size + 2;
    if (escaped)
        node->flags |= TI_JSON_ESCAPED;
    return TI_OK;
}

static ti_status read_number(walk *w, ti_json_node *node)
{
    size_t size = 0;
    ti_json_number_result result = ti_json_number_read(w->text + node->start, node, &size);
    if (result == TI_JSON_NUMBER_RANGE)
        return refuse(w, node->start, "a number out of range");
    if (result != TI_JSON_NUMBER_OK || !is_scalar_end(w, node->start + size))
        return refuse(w, node->start, "a malformed number");
    node->size = (uint32_t)size;
    w->at++;
    return TI_OK;
}

static ti_status read_word(walk *w, ti_json_node *node, ti_slice word, ti_json_type type)
{
    const char *text = w->text + node->start;
    if (strncmp(text, word.data, word.len) != 0 || !is_scalar_end(w, node->start + word.len))
        return refuse(w, node->start, "an unknown word");
    node->type = (unsigned)type & 0xfu;
    node->boolean = text[0] == 't';
    node->size = (uint32_t)word.len;
    w->at++;
    return TI_OK;
}

static ti_status open_container(walk *w, ti_json_node *node, ti_json_type type)
{
    if (w->depth == w->parser->depth_max)
        return ti_err_set(w->err, TI_LIMIT_EXCEEDED,
                          "the document is nested deeper than %u levels at byte %u",
                          w->parser->depth_max, node->start);
    node->type = (unsigned)type & 0xfu;
    w->open[w->depth++] = w->node_count - 1;
    w->at++;
    return TI_OK;
}

/* Reads the value at the next offset; a container is only opened. */
static ti_status take_value(walk *w)
{
    if (w->at >= w->count)
        return refuse(w, w->len, "a value is missing");
    ti_require(w->node_count < w->parser->node_capacity);
    ti_json_node *node = &w->parser->nodes[w->node_count++];
    *node = w->key;
    node->start = w->offsets[w->at];
    node->end = w->node_count;
    switch (w->text[node->start]) {
    case '{':
        return open_container(w, node, TI_JSON_OBJECT);
    case '[':
        return open_container(w, node, TI_JSON_ARRAY);
    case '"':
        return read_string(w, node);
    case 't':
        return read_word(w, node, TI_SLICE("true"), TI_JSON_BOOL);
    case 'f':
        return read_word(w, node, TI_SLICE("false"), TI_JSON_BOOL);
    case 'n':
        return read_word(w, node, TI_SLICE("null"), TI_JSON_NULL);
    default:
        return read_number(w, node);
    }
}

/* Reads a member's key and its colon. */
static ti_status take_key(walk *w)
{
    bool escaped = false;
    if (w->at >= w->count || w->text[w->offsets[w->at]] != '"')
        return refuse(w, here(w), "a key is missing");
    TI_TRY(take_string(w, &w->key.key_start, &w->key.key_size, &escaped));
    w->key.flags = TI_JSON_HAS_KEY | (escaped ? TI_JSON_KEY_ESCAPED : 0);
    if (w->at >= w->count || w->text[w->offsets[w->at]] != ':')
        return refuse(w, here(w), "a colon is missing");
    w->at++;
    return TI_OK;
}

static ti_status close_container(walk *w)
{
    uint32_t index = w->open[--w->depth];
    ti_json_node *node = &w->parser->nodes[index];
    node->size = w->offsets[w->at++] + 1 - node->start;
    node->end = w->node_count;
    return node->type == TI_JSON_OBJECT ? check_keys(w, index) : TI_OK;
}

/* One step inside the innermost open container: its end, or its next child. */
static ti_status take_next(walk *w)
{
    ti_json_node *top = &w->parser->nodes[w->open[w->depth - 1]];
    bool object = top->type == TI_JSON_OBJECT;
    if (w->at >= w->count)
        return refuse(w, w->len, "the text ends too early");
    char c = w->text[w->offsets[w->at]];
    if (c == (object ? '}' : ']'))
        return close_container(w);
    if (top->count > 0) {
        if (c != ',')
            return refuse(w, here(w), "a comma is missing");
        w->at++;
    }
    if (top->count == TI_JSON_COUNT_MAX)
        return ti_err_set(w->err, TI_LIMIT_EXCEEDED, "more than %u values in one array or object",
                          TI_JSON_COUNT_MAX);
    top->count = (top->count + 1) & TI_JSON_COUNT_MAX;
    w->key = (ti_json_node){0};
    if (object)
        TI_TRY(take_key(w));
    return take_value(w);
}

static ti_status walk_text(walk *w)
{
    TI_TRY(take_value(w));
    while (w->depth > 0)
        TI_TRY(take_next(w));
    if (w->at < w->count)
        return refuse(w, here(w), "something after the value");
    return TI_OK;
}

static ti_status scan_text(walk *w)
{
    ti_json_parser *parser = w->parser;
    if (parser->scan == NULL)
        parser->scan = ti_json_scan_new();
    if (parser->scan == NULL)
        return ti_err_no_memory(w->err);
    ti_json_scan_result result =
        ti_json_scan_run(parser->scan, w->text, w->len, &w->offsets, &w->count);
    return result == TI_JSON_SCAN_OK ? TI_OK : refuse_scan(w, result);
}

ti_status ti_json_parse(ti_json_parser *parser, ti_arena *a, ti_slice text, ti_json_doc *doc_out,
                        ti_err *err)
{
    walk w;
    *doc_out = (ti_json_doc){.text = TI_SLICE_NONE, .nodes = NULL, .node_count = 0};
    ti_assert(parser->size_max <= TI_PAGE_SIZE_MAX);
    ti_assert(parser->depth_max > 0);
    ti_assert(parser->depth_max <= TI_JSON_DEPTH_HYDRATED_MAX);
    if (text.len > parser->size_max)
        return ti_err_set(err, TI_LIMIT_EXCEEDED,
                          "the document is %zu bytes long, the limit is %zu", text.len,
                          parser->size_max);
    w.parser = parser;
    w.at = 0;
    w.node_count = 0;
    w.depth = 0;
    w.key = (ti_json_node){0};
    w.err = err;
    TI_TRY(copy_text(&w, text));
    TI_TRY(scan_text(&w));
    TI_TRY(ensure_nodes(&w));
    TI_TRY(walk_text(&w));
    ti_json_node *nodes = ti_arena_alloc(a, w.node_count * sizeof *nodes);
    if (nodes == NULL)
        return ti_err_no_memory(err);
    memcpy(nodes, parser->nodes, w.node_count * sizeof *nodes);
    *doc_out = (ti_json_doc){.text = text, .nodes = nodes, .node_count = w.node_count};
    return TI_OK;
}
