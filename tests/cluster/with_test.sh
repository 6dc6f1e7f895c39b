#!/bin/sh
# What `with` promises: the command's status comes back, no cluster outlives it, an interrupt reaches the command alone.
set -u
here=$(cd "$(dirname "$0")" && pwd)
keep=${1:?"usage: with_test.sh FOLDER"}
unset TITO_TEST_PD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0

# expect WHAT COMMAND...: the command must succeed.
expect() {
    what=$1
    shift
    if "$@"; then
        echo "ok    $what"
    else
        echo "FAIL  $what"
        bad=1
    fi
}

# gone PORT: nobody listens there, within ten seconds.
gone() {
    for _ in $(seq 100); do
        python3 -c 'import socket, sys; socket.create_connection(("127.0.0.1", int(sys.argv[1])))' "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    return 1
}
port() { sed 's/.*://' "$work/pd"; }

sh "$here/with" --keep "$keep" sh -c "echo \$TITO_TEST_PD >$work/pd; exit 7"
expect "the command's status" test $? -eq 7
expect "its cluster has ended" gone "$(port)"
TITO_TEST_PD=h:1 sh "$here/with" --keep "$keep" sh -c "echo \$TITO_TEST_PD >$work/pd"
expect "a cluster that is named is used" grep -qx h:1 "$work/pd"

# killed SIGNAL: the whole group of a `with` gets it, as from a terminal.
killed() {
    rm -f "$work/pd"
    python3 - "$here/with" "$keep" "$work/pd" "$1" <<'P'
import os, signal, subprocess, sys, time
script, keep, out, name = sys.argv[1:]
child = subprocess.Popen(
    ["sh", script, "--keep", keep, "sh", "-c", "echo $TITO_TEST_PD >%s; exec sleep 60" % out],
    start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
)
for _ in range(600):
    if os.path.exists(out) and os.path.getsize(out) > 0:
        break
    time.sleep(0.1)
os.killpg(child.pid, getattr(signal, name))
child.wait(30)
sys.exit(child.returncode == 0)
P
}
for signal in SIGINT SIGTERM SIGKILL; do
    expect "$signal ends it" killed $signal
    expect "and its cluster" gone "$(port)"
done
exit $bad
