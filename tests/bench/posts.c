/* The documents of the benchmark: 50 tags, posts of about 450 bytes with an author of 100, three
 * tags and a number of views. */
#include "bench.h"

#define X16 "xxxxxxxxxxxxxxxx"
#define X256 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16

const char bench_tag_spec[] = "{\"table\":\"tag\"}";
const char bench_post_spec[] =
    "{\"table\":\"post\",\"indexes\":["
    "{\"name\":\"by_author\",\"fields\":[{\"name\":\"author\",\"type\":\"string\"},"
    "{\"name\":\"views\",\"type\":\"number\"}]},"
    "{\"name\":\"by_tag\",\"fields\":[{\"name\":\"tag_ids\",\"type\":\"string\"}]}],"
    "\"relationships\":[{\"source_field_name\":\"tag_ids\",\"destination_field_name\":\"tags\","
    "\"model\":\"tag\"}]}";

/* snprintf's result as a length; a text that did not fit ends the run. */
static size_t fitted(int length, size_t size)
{
    if (length < 0 || (size_t)length >= size)
        bench_fail("a text did not fit into %zu bytes", size);
    return (size_t)length;
}

size_t bench_tag_document(char *out, size_t size, int i)
{
    return fitted(snprintf(out, size, "{\"id\":\"t%d\",\"name\":\"Tag %d\"}", i, i), size);
}

int bench_post_tag(long i, int which)
{
    static const int shift[] = {0, 7, 13};
    return (int)((i + shift[which]) % BENCH_TAGS);
}

size_t bench_post_document(char *out, size_t size, long offset, long i)
{
    return fitted(snprintf(out, size,
                           "{\"id\":\"p%ld\",\"title\":\"Title %ld\",\"author\":\"author%ld\","
                           "\"body\":\"" X256 "\",\"views\":%ld,"
                           "\"tag_ids\":[\"t%d\",\"t%d\",\"t%d\"]}",
                           offset + i, i, i % BENCH_AUTHORS, i % 1000, bench_post_tag(i, 0),
                           bench_post_tag(i, 1), bench_post_tag(i, 2)),
                  size);
}

size_t bench_post_id(char *out, size_t size, long offset, long i)
{
    return fitted(snprintf(out, size, "p%ld", offset + i), size);
}

size_t bench_event_key(char *out, size_t size, long i)
{
    return fitted(snprintf(out, size, "user:%ld", i % BENCH_KEYS), size);
}

size_t bench_event_payload(char *out, size_t size, long i)
{
    return fitted(snprintf(out, size, "{\"n\":%ld}", i), size);
}

long bench_level_ops(const bench_options *options, int callers)
{
    long n = callers == 1 ? options->ops / 4 : options->ops;
    return n > 0 ? n : 1;
}

long bench_events(const bench_options *options)
{
    long n = 0;
    for (int level = 0; level < BENCH_LEVELS; level++)
        n += bench_level_ops(options, bench_levels[level]);
    return n;
}
