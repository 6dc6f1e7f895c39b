/* `tito`: the process. What the command line means is frame/program.lua's.
 *
 * INVARIANTS
 *  1. The exit code is one that README.md lists. */
#include "cli.h"

int main(int argc, char **argv)
{
    return tc_program(argc, argv);
}
