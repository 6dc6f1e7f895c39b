/* The HTTP server of `tito dashboard`: pages, a stream of figures, requests for Lua.
 *
 *   browser ──> libmicrohttpd's thread ── page, figures that were published ──> answer
 *                    │        ^
 *             tc_request   tc_server_reply, tc_server_publish
 *                    v        │
 *                 the thread that runs Lua (dashboard.lua), the only one that asks the store
 *
 *   server.c   the daemon, paths, requests    access.c   who may what
 *   stream.c   server-sent events             links.c    connections and their deadlines
 *   lua.c      what Lua sees, signals         page/      the page's files, compiled in
 *   beside.c   beside the work of `tito worker`
 *
 * INVARIANTS
 *  1. The HTTP thread never waits: neither for the store nor for Lua. Requests that need Lua are
 *     suspended, as are streams with nothing to say.
 *  2. Whatever a client sends or leaves unsent, what it costs is bounded: connections, bytes,
 *     seconds, waiting requests, streams (the limits below).
 *  3. Nothing is answered before access.c has seen the request; there is one place for that.
 *  4. The mutex is held for pointers alone; libmicrohttpd's resume is called without it.
 *
 * Threads: the HTTP thread (callbacks), one that runs Lua (wait, reply, publish), the watcher
 * (deadlines, the end).
 *
 * What is NOT here: what the figures are and what a request does (collect.lua, answers.lua). */
#ifndef TITO_CLI_DASHBOARD_SERVER_H
#define TITO_CLI_DASHBOARD_SERVER_H

#include "cli.h"

#include <microhttpd.h>
#include <pthread.h>

enum {
    TC_CONNECTIONS_MAX = 2048,    /* further ones wait to be accepted */
    TC_CONNECTION_MEMORY = 16384, /* bytes of a request's head and its answer's */
    TC_URI_MAX = 4096,
    TC_BODY_MAX = 65536,
    TC_IDLE_S = 10,    /* without a byte */
    TC_RECEIVE_S = 10, /* until a request is there, whole */
    TC_ANSWER_S = 30,  /* until its answer is taken */
    TC_STREAMS_MAX = 64,
    TC_WAITING_MAX = 64, /* requests for Lua */
    TC_TOKEN_MIN = 16,
    TC_TOKEN_MAX = 256,
    TC_TOKEN_SIZE = 44, /* of one made here: 43 characters and a NUL */
    TC_HOSTS_MAX = 16,
    TC_PLACE_MAX = 512,
    TC_LEAVE_MS = 1500 /* after a signal, until the process ends whatever the store does */
};

typedef struct tc_server tc_server;

/* ---- Who may what (access.c) ---- */

/* Set before the daemon starts, then read only. */
typedef struct tc_access {
    char token[TC_TOKEN_MAX + 1]; /* of the URL, the cookie and Authorization; "": a unix socket */
    char page_token[TC_TOKEN_SIZE];        /* what a page sends with a write; of this process */
    char cookie[64];                       /* the cookie's name */
    char hosts[TC_HOSTS_MAX][TC_HOST_MAX]; /* names besides localhost and addresses */
    size_t host_count;
    bool writes;
} tc_access;

/* Writes 43 random characters and a NUL. False: the system has no randomness. */
bool tc_token_make(char out[TC_TOKEN_SIZE]);
/* Whether text is a token: TC_TOKEN_MIN to TC_TOKEN_MAX of A-Z a-z 0-9 - _ */
bool tc_token_is(const char *text);

/* What a request is refused with: an HTTP status and a line for people; 0 when it may go on. */
typedef struct tc_refusal {
    unsigned code;
    const char *text;
} tc_refusal;

/* Whether it comes from where it says: Host, Origin, Sec-Fetch-Site. is_page: a navigation, which
 * other sites may link to. */
tc_refusal tc_access_origin(const tc_access *access, struct MHD_Connection *connection,
                            bool is_page);
/* Whether it has the token, as a cookie or in Authorization. */
tc_refusal tc_access_token(const tc_access *access, struct MHD_Connection *connection);
/* Whether it may write: writes are allowed, and a header has one of the tokens. */
tc_refusal tc_access_write(const tc_access *access, struct MHD_Connection *connection);
/* Whether the query of a URL has the token. */
bool tc_access_query(const tc_access *access, const char *query);

/* ---- Connections and their deadlines (links.c) ---- */

typedef struct tc_link {
    struct tc_link *next, **place;
    int fd;
    int64_t deadline_us; /* INT64_MAX: none */
} tc_link;

/* An MHD_NotifyConnectionCallback; context: the server. */
void tc_link_notify(void *context, struct MHD_Connection *connection, void **socket_context,
                    enum MHD_ConnectionNotificationCode code);
/* From now on it has so many seconds; 0: no deadline. @thread http */
void tc_link_allow(tc_server *server, struct MHD_Connection *connection, int seconds);
/* Shuts those whose time is up. @thread watcher */
void tc_links_reap(tc_server *server);

/* ---- Server-sent events (stream.c) ---- */

/* Shared bytes; refs under the server's mutex. */
typedef struct tc_message {
    size_t refs;
    uint64_t number;
    size_t len;
    char bytes[];
} tc_message;

typedef struct tc_stream {
    struct tc_stream *next, **place;
    tc_server *server;
    struct MHD_Connection *connection;
    tc_message *message; /* being sent; NULL: none */
    size_t done;
    uint64_t last; /* number of the last message */
    bool suspended;
} tc_stream;

/* A message with these parts one after another; NULL: no memory. */
tc_message *tc_message_new(const char *head, const char *text, size_t len, const char *tail);
/* Drops a reference. NULL is allowed. Mutex held. */
void tc_message_unref(tc_message *message);
/* A response that is a stream; NULL: no memory, or there are too many (*full_out). @thread http */
struct MHD_Response *tc_stream_response(tc_server *server, struct MHD_Connection *connection,
                                        bool *full_out);
/* Lets every stream look for what is new, or that the server ends. Mutex not held. */
void tc_streams_wake(tc_server *server);

/* ---- Requests for Lua (server.c) ---- */

typedef enum tc_request_state { TC_READING, TC_WAITING, TC_ANSWERED } tc_request_state;

typedef struct tc_request {
    struct tc_request *next;
    struct MHD_Connection *connection;
    tc_request_state state;
    bool wrong; /* the URI is none that is looked at */
    bool met;   /* the handler was called */
    tc_refusal refusal;
    char *path;  /* into uri */
    char *query; /* into uri, "" when there is none */
    char *body;
    size_t body_len;
    unsigned code; /* of the answer */
    char *answer;  /* owned */
    size_t answer_len;
    char uri[]; /* the path's and the query's bytes */
} tc_request;

struct tc_server {
    struct MHD_Daemon *daemon;
    tc_access access;
    char place[TC_PLACE_MAX]; /* "127.0.0.1:8080" or the socket's path */
    bool is_unix;
    bool has_signals; /* the process is the dashboard's alone */

    pthread_mutex_t mutex; /* of everything below */
    pthread_cond_t moved;
    bool closing;             /* nothing new begins */
    bool woken;               /* wait returns */
    tc_request *first, *last; /* for Lua */
    size_t waiting;
    tc_request *current; /* in Lua's hands */
    tc_message *figures, *metrics;
    uint64_t number; /* of figures */
    tc_stream *streams;
    size_t stream_count;
    tc_link *links;

    pthread_t watcher;
    bool has_watcher;
    int event_fd; /* a signal, or the end, for the watcher */
    atomic_bool ended;
};

typedef struct tc_server_options {
    const char *option; /* that errors are told of */
    const char *listen; /* HOST:PORT or unix:PATH */
    const char *token;
    bool writes;
    bool signals;
} tc_server_options;

/* A server that does not listen yet; add hosts to its access. NULL: no memory. */
tc_server *tc_server_new(const tc_server_options *options);
/* Listens and serves. False: told. */
bool tc_server_start(tc_server *server, const tc_server_options *options);
/* The next request for Lua, kept in server->current until the reply; NULL: the time has passed,
 * something has moved, or the end (server->closing). @thread lua */
tc_request *tc_server_wait(tc_server *server, double seconds);
/* Answers server->current with JSON. @thread lua */
void tc_server_reply(tc_server *server, unsigned code, const char *text, size_t len);
/* What streams and /metrics tell from now on. @thread lua */
bool tc_server_publish(tc_server *server, tito_slice figures, tito_slice metrics);
/* How many streams there are. */
size_t tc_server_viewers(tc_server *server);
/* Nothing new begins, streams end, wait returns. @thread any, not a signal handler */
void tc_server_close(tc_server *server);
/* Ends and frees it. NULL is allowed. @thread lua */
void tc_server_free(tc_server *server);

/* ---- Lua and signals (lua.c) ---- */

/* Pushes a server as Lua has it; what is returned is to be set to NULL before Lua's state is closed
 * by who keeps the server. */
tc_server **tc_server_push(lua_State *L, tc_server *server);
/* Lets SIGTERM and SIGINT write to fd; the second ends the process. */
void tc_dashboard_signals(int fd);

#endif
