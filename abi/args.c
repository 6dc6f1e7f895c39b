/* tito_write and tito_read: see args.h. */
#include "abi/args.h"

/* ---- writes ---- */

void ti_write_begin(tito_write_t *write)
{
    write->magic = TI_MAGIC_WRITE;
    write->write = (ti_write){.conditions = 0};
    ti_arena_init_in(&write->arena, write->room, sizeof(write->room));
}

void ti_write_end(tito_write_t *write)
{
    ti_arena_free(&write->arena);
    write->magic = TI_MAGIC_FREED;
}

tito_write_t *tito_write_new(void)
{
    tito_write_t *write = ti_alloc(sizeof(*write));
    if (write != NULL)
        ti_write_begin(write);
    return write;
}

void tito_write_reset(tito_write_t *write)
{
    if (ti_handle_check(write, TI_MAGIC_WRITE, "write", NULL) != TI_OK)
        return;
    ti_arena_free(&write->arena);
    ti_write_begin(write);
}

void tito_write_free(tito_write_t *write)
{
    if (write == NULL)
        return;
    ti_write_end(write);
    ti_free(write);
}

int32_t tito_write_conditions(tito_write_t *write, uint64_t bits)
{
    TI_TRY(ti_handle_check(write, TI_MAGIC_WRITE, "write", NULL));
    write->write.conditions = bits;
    return TITO_OK;
}

int32_t tito_write_if_version(tito_write_t *write, uint64_t version)
{
    TI_TRY(ti_handle_check(write, TI_MAGIC_WRITE, "write", NULL));
    if (version == 0)
        return TITO_INVALID_ARGUMENT;
    write->write.if_version = version;
    return TITO_OK;
}

/* Copies text into the write's arena and into *field. */
static int32_t set_text(tito_write_t *write, const char *text, size_t len, ti_slice *field)
{
    TI_TRY(ti_bytes_check(text, len, "text", NULL));
    if (len > TI_EVENT_SIZE_MAX)
        return TITO_LIMIT_EXCEEDED;
    ti_slice copy = ti_arena_copy(&write->arena, (ti_slice){.data = text, .len = len});
    if (copy.data == NULL)
        return TITO_OUT_OF_MEMORY;
    *field = copy;
    return TITO_OK;
}

int32_t tito_write_operation(tito_write_t *write, const char *operation, size_t len)
{
    TI_TRY(ti_handle_check(write, TI_MAGIC_WRITE, "write", NULL));
    return set_text(write, operation, len, &write->write.operation);
}

int32_t tito_write_events(tito_write_t *write, const char *events, size_t len)
{
    TI_TRY(ti_handle_check(write, TI_MAGIC_WRITE, "write", NULL));
    return set_text(write, events, len, &write->write.events);
}

int32_t tito_write_partition_key(tito_write_t *write, const char *key, size_t len)
{
    TI_TRY(ti_handle_check(write, TI_MAGIC_WRITE, "write", NULL));
    return set_text(write, key, len, &write->write.partition_key);
}

int32_t tito_write_references(tito_write_t *write, const char *references, size_t len)
{
    TI_TRY(ti_handle_check(write, TI_MAGIC_WRITE, "write", NULL));
    return set_text(write, references, len, &write->write.references);
}

tito_slice tito_write_get_operation(const tito_write_t *write)
{
    if (ti_handle_check(write, TI_MAGIC_WRITE, "write", NULL) != TI_OK)
        return (tito_slice){.data = "", .len = 0};
    ti_slice operation = write->write.operation;
    return (tito_slice){.data = operation.data == NULL ? "" : operation.data, .len = operation.len};
}

size_t ti_write_size(const tito_write_t *write)
{
    if (write == NULL)
        return 0;
    const ti_write *w = &write->write;
    return ti_copy_size(w->operation.len) + ti_copy_size(w->events.len) +
           ti_copy_size(w->partition_key.len) + ti_copy_size(w->references.len);
}

/* Puts a copy of *field in the arena in its place. An empty one needs no bytes. */
static ti_status copy_field(ti_slice *field, ti_arena *a, ti_err *err)
{
    if (field->len == 0) {
        *field = TI_SLICE_NONE;
        return TI_OK;
    }
    *field = ti_arena_copy(a, *field);
    return field->data == NULL ? ti_err_no_memory(err) : TI_OK;
}

ti_status ti_write_copy(const tito_write_t *write, ti_arena *a, ti_write *out, ti_err *err)
{
    *out = (ti_write){.conditions = 0};
    if (write == NULL)
        return TI_OK;
    TI_TRY(ti_handle_check(write, TI_MAGIC_WRITE, "write", err));
    *out = write->write;
    TI_TRY(copy_field(&out->operation, a, err));
    TI_TRY(copy_field(&out->events, a, err));
    TI_TRY(copy_field(&out->partition_key, a, err));
    return copy_field(&out->references, a, err);
}

/* ---- reads ---- */

tito_read_t *tito_read_new(void)
{
    tito_read_t *read = ti_alloc_zero(sizeof(*read));
    if (read == NULL)
        return NULL;
    read->magic = TI_MAGIC_READ;
    ti_arena_init(&read->arena);
    return read;
}

int32_t tito_read_relationship(tito_read_t *read, const char *path, size_t len)
{
    TI_TRY(ti_handle_check(read, TI_MAGIC_READ, "read", NULL));
    TI_TRY(ti_bytes_check(path, len, "path", NULL));
    if (read->read.relationship_count == TI_QUERY_RELATIONSHIPS_MAX || len > TI_PATH_SIZE_MAX)
        return TITO_LIMIT_EXCEEDED;
    ti_slice copy = ti_arena_copy(&read->arena, (ti_slice){.data = path, .len = len});
    if (copy.data == NULL)
        return TITO_OUT_OF_MEMORY;
    read->paths[read->read.relationship_count++] = copy;
    return TITO_OK;
}

int32_t tito_read_lock(tito_read_t *read, int64_t wait_us)
{
    TI_TRY(ti_handle_check(read, TI_MAGIC_READ, "read", NULL));
    read->read.lock = true;
    read->read.lock_wait_us = wait_us;
    return TITO_OK;
}

void tito_read_free(tito_read_t *read)
{
    if (read == NULL)
        return;
    ti_arena_free(&read->arena);
    read->magic = TI_MAGIC_FREED;
    ti_free(read);
}

size_t ti_read_size(const tito_read_t *read)
{
    size_t size = 0;
    if (read == NULL || read->read.relationship_count == 0)
        return 0;
    for (size_t i = 0; i < read->read.relationship_count; i++)
        size += ti_copy_size(read->paths[i].len);
    return size + ti_copy_size(read->read.relationship_count * sizeof(ti_slice));
}

ti_status ti_read_copy(const tito_read_t *read, ti_arena *a, ti_read *out, ti_err *err)
{
    *out = (ti_read){.relationship_count = 0};
    if (read == NULL)
        return TI_OK;
    TI_TRY(ti_handle_check(read, TI_MAGIC_READ, "read", err));
    *out = read->read;
    if (out->relationship_count == 0)
        return TI_OK;
    ti_slice *paths = ti_arena_alloc(a, out->relationship_count * sizeof(*paths));
    if (paths == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < out->relationship_count; i++) {
        paths[i] = read->paths[i];
        TI_TRY(copy_field(&paths[i], a, err));
    }
    out->relationships = paths;
    return TI_OK;
}
