/* The program `tito`: commands over tito.h and the Lua module of bindings/lua.
 *
 *   main.c        the process                       program.c     a Lua state for the commands
 *   frame/, commands/   in Lua, compiled in          compiled.c    where `require` finds them
 *   setup.c       what `tito worker` was told        interrupt.c   Ctrl-C in the other commands
 *   work.c        `tito worker`: signals, reloads, end
 *   generation.c  its Lua states and their threads   signals.c     SIGTERM, SIGINT, SIGHUP
 *   state.c       a Lua state with tito at hand      log.c         log lines
 *   edit.c        lines from a terminal              machine.c     what `tito doctor` asks
 *   bench.c       the loads of `tito bench`
 *   metrics.c     the HTTP server of the worker      notify.c      what a service manager is told
 *   listen.c      sockets                            dashboard/    `tito dashboard`
 *   transfer.h    streams of dumps: transfer.c, transfer_read.c, transfer_write.c
 *   host.lua      compiled in: what runs inside of an app's state
 *
 *   signal ──> work.c ── load, go, stop ──> generation ── a thread each ──> Lua states
 *                 ^                             |                             |
 *                 `── eventfd: something moved ─┘      one tl_crew over one tito_worker_t
 *
 * INVARIANTS
 *  1. In `tito worker` the main thread never runs code of the app and never waits for the store:
 *     whatever an app or a store does, a signal is answered.
 *  2. What the process says to people goes to stderr through tc_log; stdout is the app's, and the
 *     result of a command.
 *
 * What is NOT here: how events are taken, ordered and settled (the library), what a handler sees
 * (bindings/lua and lua/). */
#ifndef TITO_CLI_H
#define TITO_CLI_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker.h"

/* How the process ends, where C decides it; frame/program.lua has the codes by class of status. */
enum {
    TC_EXIT_OK = 0,
    TC_EXIT_FAILED = 1, /* the app, the store, or what a command was to do */
    TC_EXIT_USAGE = 2,
    TC_EXIT_DRAIN = 3,  /* the time to drain has passed with handlers unfinished */
    TC_EXIT_FORCED = 4, /* by a second signal */
    TC_EXIT_INTERRUPTED = 130
};

enum {
    TC_THREADS_MAX = 256,
    TC_SECONDS_MAX = 86400,
    TC_TEXT_MAX = 4000, /* bytes of one message */
    TC_HOST_MAX = 256,
    TC_PORT_TEXT_MAX = 16,
    TC_GRACE_S = 10 /* after the time to drain, until the process ends by itself */
};

/* ---- What `tito worker` was told (setup.c) ---- */

typedef struct tc_setup {
    const char *app;
    const char *target;
    tito_options_t *db_options;
    tito_options_t *worker_options;
    const char *metrics;         /* HOST:PORT, or NULL */
    const char *dashboard;       /* HOST:PORT or unix:PATH, or NULL */
    const char *dashboard_token; /* NULL: none, on a unix socket */
    bool dashboard_writes, dashboard_values;
    size_t threads;
    size_t concurrency; /* of all threads */
    int64_t drain_us;
    bool once;
    const char *leader_file; /* works while it is there; NULL: always */
} tc_setup;

/* Fills setup from the table at index `table`, whose texts it borrows. Raises. */
void tc_setup_fill(lua_State *L, int table, tc_setup *setup);
void tc_setup_free(tc_setup *setup);
/* Sets each name of the table at index `table`. options NULL: there was no memory. Raises. */
void tc_options_fill(lua_State *L, int table, tito_options_t *options);
/* Cuts HOST:PORT or [HOST]:PORT; false when it is neither. */
bool tc_split_address(const char *text, char *host, size_t host_size, char *port, size_t port_size);

/* ---- Log lines (log.c) ---- */

enum { TC_ERROR = 0, TC_WARN = 1, TC_INFO = 2, TC_DEBUG = 3 };

typedef enum tc_format {
    TC_LINES,
    TC_JSON,  /* an object a line */
    TC_PLAIN, /* "tito: text", for commands that people call */
} tc_format;

/* Before there are threads. */
void tc_log_setup(tc_format format, int32_t level);
int32_t tc_log_level(void);
/* error, warn, info, debug: its number, or -1. */
int32_t tc_log_level_of(const char *name);
/* One message, at most TC_TEXT_MAX bytes; what is no UTF-8 is replaced. @thread any */
void tc_log(int32_t level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A tito_log_sink. */
void tc_log_sink(void *context, int32_t level, const char *line);

/* ---- Signals (signals.c) ---- */

/* Installs the handlers; fd becomes readable with each signal. Until tc_signals_working, SIGTERM
 * and SIGINT end the process at once, with 0: nothing has begun. From then on the first asks to
 * drain and ends the process drain_us + TC_GRACE_S later, whatever happens; the second at once. */
void tc_signals_begin(int fd, int64_t drain_us);
void tc_signals_working(void);
/* How many of SIGTERM and SIGINT came. */
unsigned tc_signals_ends(void);
/* How many SIGHUPs came. */
unsigned tc_signals_reloads(void);
/* From now on the process lives for TC_GRACE_S at most, then ends with code. */
void tc_signals_last(int code);

/* ---- The service manager (notify.c) ---- */

/* Sends text ("READY=1") to $NOTIFY_SOCKET, where there is one. */
void tc_notify(const char *text);

/* ---- Lua states (state.c) ---- */

/* Opens the database of setup, with log lines to tc_log. Blocks. An error is the caller's. */
int32_t tc_database_connect(const tc_setup *setup, tl_db **box_out, tito_db_t **db_out,
                            tito_error_t **error_out);
/* The same: a box, or NULL (told). */
tl_db *tc_database_open(const tc_setup *setup, tito_db_t **db_out);
/* Fills L with the libraries, paths, `tito` and the host's functions; leaves the table that
 * host.lua returns on the stack. Called protected; raises. */
void tc_state_fill(lua_State *L, const char *app);
/* Its two parts: everything but the app, and what belongs to one (app NULL: none). */
void tc_state_prepare(lua_State *L);
void tc_state_push_host(lua_State *L, const char *app);
/* log(level, text), for Lua. */
int tc_state_log(lua_State *L);
/* A message handler: adds a traceback. */
int tc_state_describe(lua_State *L);

/* ---- Generations (generation.c) ---- */

typedef enum tc_phase {
    TC_LOADING, /* the states run the app's file */
    TC_LOADED,  /* all have; they wait for tc_generation_go */
    TC_STARTING,
    TC_RUNNING,
    TC_ENDED /* every thread but its own has ended; nothing is under way */
} tc_phase;

typedef struct tc_generation tc_generation;

/* Begins to load the app in threads of its own. event_fd becomes readable whenever the phase has
 * changed. Borrows all of it. NULL: no memory or no thread (told). */
tc_generation *tc_generation_new(const tc_setup *setup, tito_db_t *db, tl_db *box, int event_fd);
tc_phase tc_generation_phase(tc_generation *g);
/* Starts the worker. In TC_LOADED. */
void tc_generation_go(tc_generation *g);
/* Ends it, in whatever phase; may be called again to end sooner. Does not block. */
void tc_generation_stop(tc_generation *g, int64_t drain_us);
/* Whether its worker takes events now. */
void tc_generation_lead(tc_generation *g, bool leads);
/* Why it failed, NULL when it has not. After TC_ENDED; borrowed. */
const char *tc_generation_failure(const tc_generation *g);
/* Whether every handler had ended in time. After TC_ENDED. */
bool tc_generation_drained(const tc_generation *g);
/* The types it handles, joined by ", ". From TC_LOADED on. */
void tc_generation_types(tc_generation *g, char *out, size_t size);
/* Waits for its own thread, which has nothing left to do. In TC_ENDED. */
void tc_generation_free(tc_generation *g);

/* ---- The HTTP server (metrics.c) ---- */

/* What it tells; written by the main thread. */
typedef struct tc_status {
    atomic_bool running, draining;
    atomic_uint generation;
    atomic_ullong reloads, reload_failures;
    _Atomic(tito_db_t *) db; /* NULL: not open */
    size_t threads, concurrency;
    int64_t started_us;
} tc_status;

typedef struct tc_metrics tc_metrics;

/* Listens at address (HOST:PORT; port 0: any) and says so in the log. NULL: it could not (told). */
tc_metrics *tc_metrics_start(const char *address, tc_status *status);
/* Ends it with its thread. NULL is allowed. */
void tc_metrics_stop(tc_metrics *metrics);

/* ---- Compiled in (compiled.c) ---- */

/* Pushes the chunk of a module as a function. Raises when there is none. */
void tc_compiled_load(lua_State *L, const char *name);
/* Lets `require` find every module. */
void tc_compiled_install(lua_State *L);
/* Pushes the list of the files in commands/, without ".lua". */
void tc_compiled_push_commands(lua_State *L);
/* The bytes of a file that is no module, for ever; NULL: there is none. */
const unsigned char *tc_compiled_file(const char *name, size_t *size_out);

/* ---- Sockets that listen (listen.c) ---- */

/* One at address (HOST:PORT), or -1 (told, as of `option`). */
int tc_listen(const char *option, const char *address, int backlog);
/* One at a path, for its owner alone, or -1 (told). */
int tc_listen_unix(const char *option, const char *path);
/* Writes the address that fd has: "127.0.0.1:8080", "[::1]:8080". */
bool tc_place(int fd, char *out, size_t size);

/* ---- The dashboard's server (dashboard/) ---- */

/* Pushes the table of functions that starts one. */
void tc_dashboard_push(lua_State *L);

typedef struct tc_beside tc_beside;

/* Starts the dashboard of a worker, in a thread of its own; borrows both. NULL: it could not
 * (told). */
tc_beside *tc_beside_start(const tc_setup *setup, tl_db *box);
/* Ends and frees it; false: its thread waits for the store, and must be left by _exit. NULL is
 * allowed. */
bool tc_beside_stop(tc_beside *beside);

/* ---- Ctrl-C (interrupt.c) ---- */

/* Whether SIGINT or SIGTERM came; the first call is what keeps them from ending the process.
 * @thread main */
bool tc_interrupted(void);
/* From here on SIGPIPE does not end the process, but is noted: whoever read the output has gone.
 * @thread main */
void tc_reader_watch(void);
bool tc_reader_is_gone(void);
/* As if no signal had come. */
void tc_interrupt_forget(void);
/* Sleeps so long, or until one comes. */
void tc_sleep(double seconds);

/* ---- The machine (machine.c) ---- */

/* Pushes the table of functions that `tito doctor` asks. */
void tc_machine_push(lua_State *L);

/* ---- The loads of `tito bench` (bench.c) ---- */

/* Pushes a table with open() and drop(). */
void tc_bench_push(lua_State *L);

/* ---- The prompt (edit.c) ---- */

/* Pushes the function that makes an editor. */
int tc_edit_open(lua_State *L);
/* For Lua: calls a function that Ctrl-C interrupts. */
int tc_interruptible(lua_State *L);

/* ---- Commands: the process's exit code ---- */

int tc_work(const tc_setup *setup);
int tc_program(int argc, char **argv);
/* The program's database, borrowed; NULL while it is not open. */
tito_db_t *tc_program_db(lua_State *L);
/* Pushes the table that frame/program.lua calls cli. */
void tc_program_push_functions(lua_State *L);

#endif
