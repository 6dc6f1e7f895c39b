#!/bin/sh
# The checker of histories: sh tests/histories/check.sh build OUTPUT | test
set -u
here=$(cd "$(dirname "$0")" && pwd) || exit 1
verb=${1:?"usage: check.sh build OUTPUT | test"}
if ! command -v go >/dev/null 2>&1; then
    echo "The checker of histories needs Go 1.23 or newer on the PATH: see tests/cluster/build.sh." >&2
    exit 1
fi
case $verb in
build)
    out=${2:?"usage: check.sh build OUTPUT"}
    mkdir -p "$(dirname "$out")"
    cd "$here/check" && exec go build -o "$out" .
    ;;
test) cd "$here/check" && go vet . && exec go test -count=1 . ;;
*)
    echo "usage: check.sh build OUTPUT | test" >&2
    exit 2
    ;;
esac
