/* A blog: tags, posts with their tags hydrated, questions by tag and by author, page by page.
 *
 *     blog [--db TARGET]      TARGET: a directory, memory:, …; default: $TITO_DB, else memory:
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

static const char model_of_tag[] = "{\"table\": \"tag\"}";
static const char model_of_post[] =
    "{\"table\": \"post\","
    " \"indexes\": ["
    "   {\"name\": \"by_author\", \"fields\": [{\"name\": \"author\", \"type\": \"string\"},"
    "                                     {\"name\": \"published_at\", \"type\": \"number\"}]},"
    "   {\"name\": \"by_tag\", \"fields\": [{\"name\": \"tag_ids\", \"type\": \"string\"},"
    "                                  {\"name\": \"published_at\", \"type\": \"number\"}]}],"
    " \"relationships\": [{\"source_field_name\": \"tag_ids\","
    "                    \"destination_field_name\": \"tags\", \"model\": \"tag\"}]}";

enum { TECHNOLOGY, TRAVEL, RUST, DATABASES, TAG_COUNT };
static const char *const tag_names[TAG_COUNT] = {"Technology", "Travel", "Rust", "Databases"};
static char tag_ids[TAG_COUNT][37];

typedef struct post {
    const char *title;
    const char *author;
    int published_at;
    int tags[TAG_COUNT];
    int tag_count;
} post;

static const post posts[] = {
    {"Introduction to TiKV", "Alice", 20230101, {TECHNOLOGY, DATABASES}, 2},
    {"Best cities to visit in Europe", "Bob", 20230102, {TRAVEL}, 1},
    {"Using Rust with TiKV", "Alice", 20230103, {TECHNOLOGY, RUST, DATABASES}, 3},
};
enum { POST_COUNT = sizeof(posts) / sizeof(posts[0]) };

/* ---- writing ---- */

static void create_tags(tito_model_t *tags)
{
    for (int i = 0; i < TAG_COUNT; i++) {
        char text[128];
        tito_uuid(tag_ids[i]);
        int len = snprintf(text, sizeof(text), "{\"id\":\"%s\",\"name\":\"%s\"}", tag_ids[i],
                           tag_names[i]);
        tito_future_free(finish("tag", tito_model_build(tags, NULL, text, (size_t)len, NULL)));
        printf("Created tag: %s (ID: %s)\n", tag_names[i], tag_ids[i]);
    }
}

/* All posts in one transaction: every one is stored, or none. */
static int32_t create_posts(void *context, tito_txn_t *txn)
{
    for (int i = 0; i < POST_COUNT; i++) {
        char text[512];
        int len = snprintf(text, sizeof(text),
                           "{\"id\":\"post-%d\",\"title\":\"%s\",\"author\":\"%s\","
                           "\"published_at\":%d,\"tag_ids\":[",
                           i + 1, posts[i].title, posts[i].author, posts[i].published_at);
        for (int t = 0; t < posts[i].tag_count; t++)
            len += snprintf(text + len, sizeof(text) - (size_t)len, "%s\"%s\"", t > 0 ? "," : "",
                            tag_ids[posts[i].tags[t]]);
        len += snprintf(text + len, sizeof(text) - (size_t)len, "]}");
        tito_future_t *built = tito_model_save(context, txn, text, (size_t)len, NULL);
        int32_t status = tito_future_wait(built, -1, NULL);
        tito_future_free(built);
        if (status != TITO_OK)
            return status;
    }
    return TITO_OK;
}

/* ---- reading ---- */

/* Prints "title (by author)" and the names of the hydrated tags of a document, read token by token:
 * members of the post are at depth 1, those of a tag at depth 3. */
static void print_post(const char *head, tito_json_t *json, tito_slice document)
{
    tito_error_t *error;
    char title[128] = "", author[64] = "", names[128] = "", key[32] = "";
    int depth = 0;
    int32_t token;
    tito_slice text;
    check("json", tito_json_open(json, document.data, document.len, &error), error);
    while ((token = tito_json_next(json, &text, NULL, NULL)) > TITO_JSON_END) {
        if (token == TITO_JSON_OBJECT || token == TITO_JSON_ARRAY)
            depth++;
        else if (token == TITO_JSON_OBJECT_END || token == TITO_JSON_ARRAY_END)
            depth--;
        else if (token == TITO_JSON_KEY)
            snprintf(key, sizeof(key), "%.*s", (int)text.len, text.data);
        else if (token == TITO_JSON_STRING && depth == 1 && strcmp(key, "title") == 0)
            snprintf(title, sizeof(title), "%.*s", (int)text.len, text.data);
        else if (token == TITO_JSON_STRING && depth == 1 && strcmp(key, "author") == 0)
            snprintf(author, sizeof(author), "%.*s", (int)text.len, text.data);
        else if (token == TITO_JSON_STRING && depth == 3 && strcmp(key, "name") == 0)
            snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%.*s",
                     names[0] == '\0' ? "" : ", ", (int)text.len, text.data);
    }
    printf("%s%s (by %s)%s%s%s\n", head, title, author, names[0] == '\0' ? "" : " [", names,
           names[0] == '\0' ? "" : "]");
}

static void print_page(tito_json_t *json, const tito_page_t *page)
{
    for (size_t i = 0; i < tito_page_count(page); i++)
        print_post("  - ", json, tito_page_document(page, i));
}

static void print_all(tito_model_t *posts_model, tito_json_t *json)
{
    tito_error_t *error;
    tito_query_t *query;
    check("scan", tito_query_scan(posts_model, &query, &error), error);
    tito_future_t *executed = finish("execute", tito_query_execute(query, NULL));
    tito_page_t *page = tito_future_page(executed);
    for (size_t i = 0; i < tito_page_count(page); i++) {
        char head[24];
        snprintf(head, sizeof(head), "%zu. ", i + 1);
        print_post(head, json, tito_page_document(page, i));
    }
    tito_page_free(page);
    tito_future_free(executed);
    tito_query_free(query);
}

static void print_first(tito_model_t *posts_model, tito_json_t *json)
{
    tito_read_t *read = tito_read_new();
    if (read == NULL)
        check("read", TITO_OUT_OF_MEMORY, NULL);
    check("read", tito_read_relationship(read, "tags", 4), NULL);
    tito_future_t *found = finish("find", tito_model_find(posts_model, NULL, "post-1", 6, read));
    print_post("  ", json, tito_future_bytes(found));
    tito_future_free(found);
    tito_read_free(read);
}

/* The posts with one value in the first field of an index, two to a page, with their tags. */
static void print_by(tito_model_t *posts_model, tito_json_t *json, const char *index,
                     const char *value)
{
    tito_error_t *error;
    tito_query_t *query;
    tito_slice cursor;
    char text[64];
    int len = snprintf(text, sizeof(text), "\"%s\"", value);
    check("query", tito_query_new(posts_model, index, strlen(index), &query, &error), error);
    check("value", tito_query_value(query, text, (size_t)len), NULL);
    check("limit", tito_query_limit(query, 2), NULL);
    check("relationship", tito_query_relationship(query, "tags", 4), NULL);
    do {
        tito_future_t *executed = finish("execute", tito_query_execute(query, NULL));
        tito_page_t *page = tito_future_page(executed);
        print_page(json, page);
        cursor = tito_page_cursor(page);
        check("cursor", tito_query_cursor(query, cursor.data, cursor.len), NULL);
        tito_page_free(page);
        tito_future_free(executed);
    } while (cursor.len > 0);
    tito_query_free(query);
}

int main(int argc, char **argv)
{
    const char *target = target_of(argc, argv);
    tito_error_t *error;
    tito_db_t *db;
    tito_model_t *tags, *blog;
    tito_json_t *json = tito_json_new();

    check("connect", tito_connect(target, strlen(target), NULL, &db, &error), error);
    check("tag", tito_model_declare(db, model_of_tag, sizeof(model_of_tag) - 1, &tags, &error),
          error);
    check("post", tito_model_declare(db, model_of_post, sizeof(model_of_post) - 1, &blog, &error),
          error);

    create_tags(tags);
    check("posts", tito_transact(db, NULL, create_posts, blog, &error), error);
    print_all(blog, json);
    printf("Post with tags:\n");
    print_first(blog, json);
    printf("Technology posts:\n");
    print_by(blog, json, "by_tag", tag_ids[TECHNOLOGY]);
    printf("Posts by Alice:\n");
    print_by(blog, json, "by_author", "Alice");

    tito_json_free(json);
    tito_model_free(tags);
    tito_model_free(blog);
    check("close", tito_db_close(db, &error), error);
    tito_db_free(db);
    return 0;
}
