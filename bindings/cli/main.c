/* `tito`: which command is meant, and what --help says.
 *
 * INVARIANTS
 *  1. The exit code is one of TC_EXIT_…; README.md lists them. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

static const char general_help[] =
    "usage: tito COMMAND [OPTIONS] …\n"
    "\n"
    "  tito worker APP.lua     runs the event handlers of an app\n"
    "  tito queue ACTION TYPE  looks at a type of events and acts on it\n"
    "  tito check APP.lua      compares the records of an app's models with their indexes\n"
    "  tito reindex APP.lua    fills indexes that are not readable yet\n"
    "\n"
    "  tito COMMAND --help     the options of a command\n"
    "  tito --version\n";

#define DB_HELP                                                                                    \
    "  --db TARGET             a directory, memory:, or tikv://pd1:2379,pd2:2379 ($TITO_TARGET)\n" \
    "  --db-option NAME=VALUE  an option of the connection: namespace, durability, timeout_us, "   \
    "ca,\n"                                                                                        \
    "                          cert, key, … (tito_db_new in tito.h lists them); more than once\n"

static const char worker_help[] =
    "usage: tito worker APP.lua [OPTIONS]\n"
    "\n"
    "Runs APP.lua in a Lua state per thread. It returns function(worker), which registers "
    "handlers:\n"
    "    local tito = require \"tito\"          -- tito.db is the database\n"
    "    return function(worker)\n"
    "      worker:on(\"email\", function(event, tx) print(event.payload.to) end)\n"
    "    end\n"
    "\n" DB_HELP
    "  --threads N             Lua states, each with a thread (default: the number of processors)\n"
    "  --concurrency N         events in hand at once, in all threads (default: one per thread)\n"
    "  --handler-timeout S     after which a handler has failed (600)\n"
    "  --max-retries N         of an event, before it is FAILED (25)\n"
    "  --lease S               after which the partitions of a silent worker are taken over (10)\n"
    "  --partitions FROM-TO    only these, TO excluded, without leases\n"
    "  --gc-retention S        have old versions removed (TiKV)\n"
    "  --once                  end when no event is due\n"
    "  --drain-timeout S       how long handlers may go on after the first signal (30)\n"
    "  --metrics HOST:PORT     serve /metrics (Prometheus) and /healthz; port 0: any\n"
    "  --log-format line|json  (line)      --log-level error|warn|info|debug  (info)\n"
    "\n"
    "Signals: SIGTERM and SIGINT drain, a second one ends at once; SIGHUP loads APP.lua again, and "
    "the\n"
    "handlers from before go on when it has an error.\n"
    "Exit codes: 0 done, 1 the app or the database failed, 2 wrong usage, 3 the time to drain has "
    "passed,\n"
    "4 ended by a second signal.\n";

static const char queue_help[] =
    "usage: tito queue ACTION TYPE [OPTIONS]\n"
    "\n"
    "  stats TYPE              how the type is now\n"
    "  failed TYPE             the events that have failed for good: id, when, key, attempts, "
    "error\n"
    "  retry TYPE ID… | all    makes failed events pending again\n"
    "  drop TYPE ID…           deletes failed or pending events\n"
    "  replay TYPE             publishes completed events again, as new ones\n"
    "  pause TYPE, resume TYPE holds events back in every worker\n"
    "\n" DB_HELP
    "  --json                  results of stats and failed as JSON, one object a line\n"
    "  --limit N               of failed: at most so many (100)\n"
    "  --from T, --to T        of failed and replay: finished in this time; seconds since 1970, "
    "or\n"
    "                          2026-01-31T12:00:00Z\n"
    "  --into TYPE             of replay: as events of another type\n"
    "  --failed                of replay: failed events instead of completed ones\n"
    "  --log-level error|warn|info|debug  (warn)\n"
    "\n"
    "An embedded database belongs to one process: these work while no worker has it open.\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage.\n";

static const char check_help[] =
    "usage: tito check APP.lua [TABLE…] [OPTIONS]\n"
    "       tito reindex APP.lua [TABLE…] [OPTIONS]\n"
    "\n"
    "check compares every record with its index entries, both ways, and prints what is wrong; "
    "reindex\n"
    "fills the indexes that are not readable yet. Both take the models that APP.lua declares (in "
    "its\n"
    "file or in its function), or the named tables of them. No handler runs.\n"
    "\n" DB_HELP "  --repair                of check: mend what is wrong\n"
    "  --log-level error|warn|info|debug  (warn)\n"
    "\n"
    "Exit codes: 0 done and nothing is wrong, 1 failed or something was wrong, 2 wrong usage.\n";

static int help(const char *text)
{
    fputs(text, stdout);
    return fflush(stdout) == 0 ? TC_EXIT_OK : TC_EXIT_FAILED;
}

/* ---- Commands ---- */

typedef struct command {
    const char *name;
    const char *groups; /* of options */
    const char *text;   /* of --help */
} command;

static const command commands[] = {{"worker", "dw", worker_help},
                                   {"queue", "dq", queue_help},
                                   {"check", "dr", check_help},
                                   {"reindex", "d", check_help}};

static int run(const command *c, char *called, tc_setup *setup)
{
    if (strcmp(c->name, "queue") == 0)
        return tc_tool(c->name, setup);
    if (setup->word_count < 1)
        return tc_usage_error(called, "which file? Give APP.lua");
    setup->app = setup->words[0];
    setup->words++;
    setup->word_count--;
    if (strcmp(c->name, "worker") != 0)
        return tc_tool(c->name, setup);
    if (setup->word_count > 0)
        return tc_usage_error(called, "one file, not '%s' besides", setup->words[0]);
    return tc_work(setup);
}

int main(int argc, char **argv)
{
    char called[32];
    tc_setup setup;
    bool wants_help = false;
    const command *c = NULL;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
        printf("tito %s\n", tito_version_string());
        return TC_EXIT_OK;
    }
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return help(general_help);
    for (size_t i = 0; argc >= 2 && i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            c = &commands[i];
    if (c == NULL)
        return argc < 2 ? tc_usage_error("tito", "which command?")
                        : tc_usage_error("tito", "there is no command '%s'", argv[1]);
    (void)snprintf(called, sizeof(called), "tito %s", c->name);
    argv[1] = called;
    int code = tc_arguments(argc - 1, argv + 1, c->groups, &setup, &wants_help);
    if (code == 0)
        code = wants_help ? help(c->text) : run(c, called, &setup);
    tc_setup_free(&setup);
    return code;
}
