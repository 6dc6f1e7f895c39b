#!/bin/sh
# Builds a cluster to test against: sh tests/cluster/build.sh OUTPUT [mock|real]. Go keeps what it has compiled, so a second
# run is quick. Of `real`, OUTPUT starts the servers; they are built beside it (pd-server, unistore-server).
# `sh tests/cluster/build.sh OUTPUT test` builds nothing but runs the mock's own tests.
set -u
out=${1:?"usage: build.sh OUTPUT [mock|real|test]"}
kind=${2:-mock}
here=$(cd "$(dirname "$0")" && pwd) || exit 1

if ! command -v go >/dev/null 2>&1; then
    echo "The tests of the TiKV engine need Go 1.23 or newer on the PATH: install the package golang-go (Debian" >&2
    echo "trixie, or bookworm-backports: golang-1.23-go), or unpack it from go.dev/dl. TITO_TEST_PD=host:port runs" >&2
    echo "what does not need the mock cluster on a cluster of yours instead." >&2
    exit 1
fi
version=$(go env GOVERSION | sed 's/^go//')
major=${version%%.*}
rest=${version#*.}
minor=${rest%%[!0-9]*}
if [ "$major" -eq 1 ] && [ "$minor" -lt 23 ]; then
    echo "The tests of the TiKV engine need Go 1.23 or newer; the one on the PATH is $version." >&2
    exit 1
fi
mkdir -p "$(dirname "$out")"
folder=$(cd "$(dirname "$out")" && pwd) || exit 1
out=$folder/$(basename "$out")
# -checklinkname=0: an old go:linkname in a module of the storage engine.
engine="-mod=mod -ldflags=-checklinkname=0"
# shellcheck disable=SC2086
case $kind in
mock) cd "$here/mock" && exec go build $engine -o "$out" . ;;
test) cd "$here/mock" && exec go test $engine . ;;
real)
    (cd "$here/real/pd" && go build -o "$folder/pd-server" .) || exit 1
    (cd "$here/real/store" && go build $engine -o "$folder/unistore-server" .) || exit 1
    cd "$here/real" && exec go build -o "$out" .
    ;;
*)
    echo "There is no cluster '$kind'." >&2
    exit 2
    ;;
esac
