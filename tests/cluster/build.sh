#!/bin/sh
# Builds the mock cluster: sh tests/cluster/build.sh OUTPUT. Go keeps what it has compiled, so a second run is quick.
set -u
out=${1:?"usage: build.sh OUTPUT"}
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
# -checklinkname=0: an old go:linkname in a module of the storage engine.
cd "$here/mock" && exec go build -mod=mod -ldflags=-checklinkname=0 -o "$out" .
