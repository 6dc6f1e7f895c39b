/* Unary calls over gRPC core. See wire.h.
 *
 * One batch carries all operations of the call, so one tag ends it. The object has two holders: the
 * caller (release) and the batch. */
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/support/alloc.h>
#include <stdatomic.h>
#include <string.h>

#include "base/assert.h"
#include "tikv/grpc_int.h"

struct ti_unary {
    ti_tag tag;
    ti_grpc_link link;
    ti_grpc *wire;
    ti_unary_done done;
    void *context;
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_byte_buffer *response;
    grpc_status_code code;
    grpc_slice details;
    _Atomic(int) holders;
    ti_mutex mutex; /* rank TI_RANK_LEAF: guards ended against cancel */
    bool ended;
    char address[];
};

static void let_go(ti_unary *u)
{
    if (atomic_fetch_sub(&u->holders, 1) != 1)
        return;
    ti_mutex_destroy(&u->mutex);
    ti_free(u);
}

static void hand_over(ti_unary *u)
{
    ti_err err;
    grpc_slice bytes = grpc_empty_slice();
    ti_grpc_explain(u->code, u->details, u->address, &err);
    if (err.status == TI_OK && (u->response == NULL || !ti_grpc_read(u->response, &bytes)))
        ti_err_set(&err, TI_UNAVAILABLE, "%s answered with nothing", u->address);
    ti_slice response = {.data = (const char *)GRPC_SLICE_START_PTR(bytes),
                         .len = GRPC_SLICE_LENGTH(bytes)};
    u->done(u->context, response, &err);
    grpc_slice_unref(bytes);
}

/* The call's one tag: its status is there. */
static void unary_complete(ti_tag *tag, bool ok)
{
    (void)ok; /* a batch with RECV_STATUS always succeeds */
    ti_unary *u = (ti_unary *)tag;
    ti_mutex_lock(&u->mutex);
    u->ended = true;
    ti_mutex_unlock(&u->mutex);
    hand_over(u);
    if (u->response != NULL)
        grpc_byte_buffer_destroy(u->response);
    grpc_metadata_array_destroy(&u->initial);
    grpc_metadata_array_destroy(&u->trailing);
    grpc_slice_unref(u->details);
    ti_grpc_link_end(u->wire, &u->link);
    let_go(u);
}

static grpc_call_error start_batch(ti_unary *u, ti_slice request)
{
    grpc_slice bytes = grpc_slice_from_copied_buffer(request.data, request.len);
    grpc_byte_buffer *message = grpc_raw_byte_buffer_create(&bytes, 1);
    grpc_op ops[6];
    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = message;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &u->initial;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &u->response;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.trailing_metadata = &u->trailing;
    ops[5].data.recv_status_on_client.status = &u->code;
    ops[5].data.recv_status_on_client.status_details = &u->details;
    TI_TAG_IN(&u->tag);
    grpc_call_error error = grpc_call_start_batch(u->link.call, ops, 6, &u->tag, NULL);
    grpc_byte_buffer_destroy(message);
    grpc_slice_unref(bytes);
    return error;
}

static ti_status unary_create(ti_grpc *g, const char *address, ti_unary_done done, void *context,
                              ti_unary **call_out, ti_err *err)
{
    size_t len = strlen(address);
    ti_unary *u = ti_alloc_zero(sizeof(*u) + len + 1);
    if (u == NULL)
        return ti_err_no_memory(err);
    ti_status status = ti_mutex_init(&u->mutex, TI_RANK_LEAF, err);
    if (status != TI_OK) {
        ti_free(u);
        return status;
    }
    memcpy(u->address, address, len + 1);
    u->tag.run = unary_complete;
    u->wire = g;
    u->done = done;
    u->context = context;
    u->details = grpc_empty_slice();
    atomic_store(&u->holders, 2);
    *call_out = u;
    return TI_OK;
}

ti_status ti_grpc_unary(ti_wire *w, const char *address, const char *method, ti_slice request,
                        int64_t timeout_ns, ti_unary_done done, void *context, ti_unary **call_out,
                        ti_err *err)
{
    ti_grpc *g = (ti_grpc *)w;
    *call_out = NULL;
    ti_unary *u = NULL;
    TI_TRY(unary_create(g, address, done, context, &u, err));
    ti_status status =
        ti_grpc_link_start(g, &u->link, address, 0, method, ti_grpc_timeout(timeout_ns), err);
    if (status == TI_OK) {
        grpc_metadata_array_init(&u->initial);
        grpc_metadata_array_init(&u->trailing);
        *call_out = u; /* before the batch: done may come at once */
        grpc_call_error error = start_batch(u, request);
        if (error == GRPC_CALL_OK)
            return TI_OK;
        *call_out = NULL;
        ti_grpc_link_end(g, &u->link);
        status =
            ti_err_set(err, TI_INTERNAL, "gRPC refused to start %s (error %d)", method, (int)error);
    }
    let_go(u);
    let_go(u);
    return status;
}

void ti_grpc_cancel(ti_wire *w, ti_unary *call)
{
    (void)w;
    ti_mutex_lock(&call->mutex);
    if (!call->ended)
        grpc_call_cancel(call->link.call, NULL);
    ti_mutex_unlock(&call->mutex);
}

void ti_grpc_release(ti_wire *w, ti_unary *call)
{
    (void)w;
    let_go(call);
}
