/* Server-sent events: each stream sends the newest figures, whole; one that is slow misses some.
 *
 *   publish ──> figures (number n) ──wake──> stream: at n-1? take it, send it, else suspend
 *
 * INVARIANTS
 *  1. A stream is suspended under the mutex, and only when it has the newest figures and the
 *     server is not closing; whoever publishes or closes afterwards sees `suspended`, and resumes
 *     it once.
 *  2. Figures cost memory once, however many streams send them. */
#include "server.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 16384 };

/* ---- Messages ---- */

tc_message *tc_message_new(const char *head, const char *text, size_t len, const char *tail)
{
    size_t head_len = strlen(head), tail_len = strlen(tail);
    tc_message *message = malloc(sizeof(*message) + head_len + len + tail_len);
    if (message == NULL)
        return NULL;
    message->refs = 1;
    message->number = 0;
    message->len = head_len + len + tail_len;
    memcpy(message->bytes, head, head_len);
    memcpy(message->bytes + head_len, text, len);
    memcpy(message->bytes + head_len + len, tail, tail_len);
    return message;
}

void tc_message_unref(tc_message *message)
{
    if (message != NULL && --message->refs == 0)
        free(message);
}

/* ---- Streams ---- */

/* Takes the newest figures when they were not sent. Mutex held. */
static void take_newest(tc_stream *stream)
{
    tc_message *newest = stream->server->figures;
    if (newest == NULL || newest->number == stream->last)
        return;
    newest->refs++;
    stream->message = newest;
    stream->done = 0;
    stream->last = newest->number;
}

/* An MHD_ContentReaderCallback. */
static ssize_t on_read(void *context, uint64_t position, char *out, size_t max)
{
    tc_stream *stream = context;
    tc_server *server = stream->server;
    ssize_t len = 0;
    (void)position;
    pthread_mutex_lock(&server->mutex);
    if (stream->message == NULL && !server->closing)
        take_newest(stream);
    tc_message *message = stream->message;
    if (server->closing) {
        len = MHD_CONTENT_READER_END_OF_STREAM;
    } else if (message == NULL) {
        stream->suspended = true;
        MHD_suspend_connection(stream->connection);
    } else {
        size_t left = message->len - stream->done;
        len = (ssize_t)(left < max ? left : max);
        memcpy(out, message->bytes + stream->done, (size_t)len);
        stream->done += (size_t)len;
        if (stream->done == message->len) {
            tc_message_unref(message);
            stream->message = NULL;
        }
    }
    pthread_mutex_unlock(&server->mutex);
    return len;
}

/* An MHD_ContentReaderFreeCallback. */
static void on_free(void *context)
{
    tc_stream *stream = context;
    tc_server *server = stream->server;
    pthread_mutex_lock(&server->mutex);
    *stream->place = stream->next;
    if (stream->next != NULL)
        stream->next->place = stream->place;
    tc_message_unref(stream->message);
    server->stream_count--;
    pthread_mutex_unlock(&server->mutex);
    free(stream);
}

/* Puts it into the list; whether there was room. */
static bool add(tc_server *server, tc_stream *stream)
{
    pthread_mutex_lock(&server->mutex);
    bool room = server->stream_count < TC_STREAMS_MAX && !server->closing;
    if (room) {
        stream->next = server->streams;
        stream->place = &server->streams;
        if (stream->next != NULL)
            stream->next->place = &stream->next;
        server->streams = stream;
        server->stream_count++;
        server->woken = true; /* somebody looks: figures are due sooner */
        pthread_cond_signal(&server->moved);
    }
    pthread_mutex_unlock(&server->mutex);
    return room;
}

struct MHD_Response *tc_stream_response(tc_server *server, struct MHD_Connection *connection,
                                        bool *full_out)
{
    tc_stream *stream = calloc(1, sizeof(*stream));
    *full_out = false;
    if (stream == NULL)
        return NULL;
    stream->server = server;
    stream->connection = connection;
    if (!add(server, stream)) {
        free(stream);
        *full_out = true;
        return NULL;
    }
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, on_read, stream, on_free);
    if (response == NULL)
        on_free(stream);
    return response;
}

void tc_streams_wake(tc_server *server)
{
    struct MHD_Connection *asleep[TC_STREAMS_MAX];
    size_t count = 0;
    pthread_mutex_lock(&server->mutex);
    for (tc_stream *stream = server->streams; stream != NULL; stream = stream->next)
        if (stream->suspended) {
            stream->suspended = false;
            asleep[count++] = stream->connection;
        }
    pthread_mutex_unlock(&server->mutex);
    for (size_t i = 0; i < count; i++)
        MHD_resume_connection(asleep[i]);
}
