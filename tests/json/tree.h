/* A naive tree of JSON values: random ones are made, printed with random white space and escapes,
 * edited and merged by plain pointer work, as the reference for splicing and merging. Fixed size;
 * nothing is freed. */
#ifndef TITO_TESTS_JSON_TREE_H
#define TITO_TESTS_JSON_TREE_H

#include "support/test.h"

#include "base/slice.h"

#define TREE_NODES_MAX 4096
#define TREE_CHILDREN_MAX 40
#define TREE_TEXT_MAX (256 * 1024)

typedef struct tree tree;
struct tree {
    char type;       /* s scalar, a array, o object */
    const char *key; /* of a member; plain text without escapes */
    char text[24];   /* of a scalar: JSON */
    tree *children[TREE_CHILDREN_MAX];
    size_t count;
    bool removed;
};

/* Memory of one test round. */
typedef struct trees {
    tree *nodes;
    size_t used;
    char *text; /* the last print */
    size_t len;
    test_random r;
} trees;

static inline void trees_init(trees *t, uint64_t stream)
{
    t->nodes = malloc(TREE_NODES_MAX * sizeof(tree));
    t->text = malloc(TREE_TEXT_MAX);
    assert_non_null(t->nodes);
    assert_non_null(t->text);
    t->used = 0;
    t->len = 0;
    t->r = test_random_start(stream);
}

static inline void trees_free(trees *t)
{
    free(t->nodes);
    free(t->text);
}

static inline tree *tree_new(trees *t, char type, const char *key)
{
    assert_true(t->used < TREE_NODES_MAX);
    tree *node = &t->nodes[t->used++];
    memset(node, 0, sizeof *node);
    node->type = type;
    node->key = key;
    return node;
}

/* Keys: few, so that documents meet; some with bytes that must be escaped. */
static inline const char *tree_key(trees *t)
{
    static const char *const keys[] = {"a",
                                       "b",
                                       "c",
                                       "id",
                                       "name",
                                       "a.b",
                                       "",
                                       "\"",
                                       "\\",
                                       "\n",
                                       "\xc3\xa9",
                                       "\xf0\x9f\x98\x80",
                                       "ab",
                                       "x",
                                       "a\tb",
                                       "long key number one",
                                       "long key number two"};
    return keys[test_random_below(&t->r, sizeof keys / sizeof *keys)];
}

static inline tree *tree_child(tree *parent, const char *key)
{
    for (size_t i = 0; i < parent->count; i++)
        if (strcmp(parent->children[i]->key, key) == 0 && !parent->children[i]->removed)
            return parent->children[i];
    return NULL;
}

static inline tree *tree_scalar(trees *t, const char *key)
{
    static const char *const scalars[] = {"null",
                                          "true",
                                          "false",
                                          "0",
                                          "-1",
                                          "1.5",
                                          "1e3",
                                          "\"x\"",
                                          "\"\"",
                                          "\"a\\\"b\"",
                                          "9223372036854775807",
                                          "\"\\u00e9\"",
                                          "12345678901234567890"};
    tree *node = tree_new(t, 's', key);
    snprintf(node->text, sizeof node->text, "%s",
             scalars[test_random_below(&t->r, sizeof scalars / sizeof *scalars)]);
    return node;
}

static inline tree *tree_random(trees *t, const char *key, int depth)
{
    if (depth == 0 || test_random_one_in(&t->r, 3))
        return tree_scalar(t, key);
    tree *node = tree_new(t, test_random_one_in(&t->r, 3) ? 'a' : 'o', key);
    size_t wanted = test_random_below(&t->r, test_random_one_in(&t->r, 8) ? 14 : 5);
    for (size_t i = 0; i < wanted; i++) {
        const char *child_key = node->type == 'o' ? tree_key(t) : NULL;
        if (child_key == NULL || tree_child(node, child_key) == NULL)
            node->children[node->count++] = tree_random(t, child_key, depth - 1);
    }
    return node;
}

/* ---- printing ---- */

static inline void tree_put(trees *t, const char *text)
{
    size_t len = strlen(text);
    assert_true(t->len + len < TREE_TEXT_MAX);
    memcpy(t->text + t->len, text, len);
    t->len += len;
}

static inline void tree_space(trees *t)
{
    static const char *const spaces[] = {"", "", "", " ", "\n", "\t ", "\r\n  "};
    tree_put(t, spaces[test_random_below(&t->r, sizeof spaces / sizeof *spaces)]);
}

/* A string, each byte escaped where it must be and sometimes where it need not be. */
static inline void tree_string(trees *t, const char *text)
{
    char escaped[8];
    tree_put(t, "\"");
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        if (*p < 0x20 || *p == '"' || *p == '\\' || (*p < 0x80 && test_random_one_in(&t->r, 10)))
            snprintf(escaped, sizeof escaped, "\\u%04X", *p);
        else
            snprintf(escaped, sizeof escaped, "%c", *p);
        tree_put(t, escaped);
    }
    tree_put(t, "\"");
}

static inline void tree_print_into(trees *t, const tree *node)
{
    bool first = true;
    if (node->type == 's') {
        tree_put(t, node->text);
        return;
    }
    tree_put(t, node->type == 'o' ? "{" : "[");
    for (size_t i = 0; i < node->count; i++) {
        const tree *child = node->children[i];
        if (child->removed)
            continue;
        tree_space(t);
        if (!first)
            tree_put(t, ",");
        first = false;
        tree_space(t);
        if (node->type == 'o') {
            tree_string(t, child->key);
            tree_space(t);
            tree_put(t, ":");
            tree_space(t);
        }
        tree_print_into(t, child);
        tree_space(t);
    }
    tree_put(t, node->type == 'o' ? "}" : "]");
}

/* The text of a tree; in the round's one text buffer: copy it to keep it. */
static inline ti_slice tree_print(trees *t, const tree *node)
{
    t->len = 0;
    tree_space(t);
    tree_print_into(t, node);
    tree_space(t);
    return (ti_slice){t->text, t->len};
}

/* A deep copy. */
static inline tree *tree_copy(trees *t, const tree *from)
{
    tree *node = tree_new(t, from->type, from->key);
    memcpy(node->text, from->text, sizeof node->text);
    for (size_t i = 0; i < from->count; i++)
        if (!from->children[i]->removed)
            node->children[node->count++] = tree_copy(t, from->children[i]);
    return node;
}

#endif
