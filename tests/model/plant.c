/* A table of users, and damage to it. See plant.h. */
#include "model/plant.h"

#include <stdio.h>

static const char *spec =
    "{\"table\":\"user\",\"indexes\":[{\"name\":\"by_name\",\"fields\":[{\"name\":\"name\","
    "\"type\":\"string\"}]},"
    "{\"name\":\"by_tag\",\"fields\":[{\"name\":\"tags\",\"type\":\"string\"}]},"
    "{\"name\":\"cover\",\"covering\":true,\"fields\":[{\"name\":\"age\",\"type\":\"number\","
    "\"order\":\"desc\"}]}],"
    "\"unique_indexes\":[{\"name\":\"u_mail\",\"fields\":[{\"name\":\"mail\",\"type\":\"string\"}]}"
    "]}";

ti_model *plant_users(db *d)
{
    ti_model *m = declare(d, spec);
    for (int i = 0; i < 20; i++) {
        char json[200];
        snprintf(json, sizeof json,
                 "{\"id\":\"u%02d\",\"name\":\"n%d\",\"mail\":\"m%d\",\"age\":%d,\"tags\":[\"a\","
                 "\"t%d\"]}",
                 i, i % 3, i, i, i % 4);
        OK(d, build(d, m, NULL, json));
    }
    return m;
}

ti_slice value_tuple(db *d, ti_value value, bool descending)
{
    ti_buf b;
    ti_buf_init(&b, 4096);
    OK(d, ti_tuple_append(&b, &value, descending, &d->err));
    ti_slice tuple = ti_arena_copy(&d->a, ti_buf_slice(&b));
    ti_buf_free(&b);
    return tuple;
}

ti_slice text_tuple(db *d, const char *text)
{
    return value_tuple(d, ti_value_string(S(text)), false);
}

ti_slice index_key(db *d, const char *index, ti_slice tuple, const char *id)
{
    return ti_key_index(ti_store_keyspace(d->store), &d->a, S("user"), S(index), tuple, S(id));
}

ti_slice unique_key(db *d, const char *mail)
{
    return ti_key_unique(ti_store_keyspace(d->store), &d->a, S("user"), S("u_mail"),
                         text_tuple(d, mail));
}

ti_slice record_key(db *d, const char *id)
{
    return ti_key_record(ti_store_keyspace(d->store), &d->a, S("user"), S(id));
}

void put_owner(db *d, const char *mail, const char *owner)
{
    ti_buf b;
    ti_buf_init(&b, 4096);
    OK(d, ti_sealed_append(&b, TI_SEALED_UNIQUE, unique_key(d, mail), S(owner), &d->err));
    raw_put(d, unique_key(d, mail), ti_buf_slice(&b));
    ti_buf_free(&b);
}

/* Writes a record with a document and a list of the test's own. */
void put_record(db *d, const char *id, const char *json, const ti_entry *entries, size_t count)
{
    ti_buf b;
    ti_buf_init(&b, 1 << 20);
    const ti_record_spec spec_of = {
        .version = 77, .entries = entries, .entry_count = count, .document = S(json)};
    OK(d, ti_record_append(&b, record_key(d, id), &spec_of, &d->err));
    raw_put(d, record_key(d, id), ti_buf_slice(&b));
    ti_buf_free(&b);
}

static void plant_entries(db *d)
{
    ti_slice value;
    raw_delete(d, index_key(d, "by_name", text_tuple(d, "n0"), "u00"));
    raw_delete(d, unique_key(d, "m1"));
    ti_slice key = index_key(d, "cover", value_tuple(d, ti_value_int(3), true), "u03");
    assert_true(raw_get(d, key, &value));
    char *flipped = (char *)(uintptr_t)ti_arena_copy(&d->a, value).data;
    flipped[value.len - 3] ^= 1;
    raw_put(d, key, (ti_slice){.data = flipped, .len = value.len});
    raw_put(d, index_key(d, "by_name", text_tuple(d, "zz"), "u04"), ti_marker());
    raw_put(d, index_key(d, "by_name", text_tuple(d, "n1"), "ghost"), ti_marker());
    raw_put(d, index_key(d, "gone", text_tuple(d, "n1"), "u04"), ti_marker());
    put_owner(d, "m5", "u09");
    ti_slice prefix =
        ti_key_index_prefix(ti_store_keyspace(d->store), &d->a, S("user"), S("by_name"));
    raw_put(d, S(ti_arena_format(&d->a, "%.*sjunk", (int)prefix.len, prefix.data)), S("x"));
}

static void plant_records(db *d)
{
    ti_slice value;
    const ti_entry old = {
        .kind = TI_ENTRY_PLAIN, .version = 1, .index = S("by_name"), .tuple = text_tuple(d, "n1")};
    put_record(d, "u10", "{\"id\":\"u10\",\"name\":\"other\"}", &old, 1);
    assert_true(raw_get(d, record_key(d, "u12"), &value)); /* torn */
    raw_put(d, record_key(d, "u12"), (ti_slice){.data = value.data, .len = value.len - 1});
    assert_true(raw_get(d, record_key(d, "u13"), &value)); /* of a format that does not exist */
    char *other = (char *)(uintptr_t)ti_arena_copy(&d->a, value).data;
    other[0] = (char)(other[0] + 100);
    raw_put(d, record_key(d, "u13"), (ti_slice){.data = other, .len = value.len});
    put_record(d, "u14", "[1,2", NULL, 0);
    put_record(d, "u15", "{\"id\":\"u99\"}", NULL, 0);
}

void plant_damage(db *d)
{
    plant_entries(d);
    plant_records(d);
}
