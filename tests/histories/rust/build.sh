#!/bin/sh
# Builds the other client: sh tests/histories/rust/build.sh OUTPUT. Without Rust there is none, and the tests with it are skipped.
set -u
out=${1:?"usage: build.sh OUTPUT"}
here=$(cd "$(dirname "$0")" && pwd) || exit 1
wanted_minor=78

version=$(cargo --version 2>/dev/null | sed -n 's/^cargo 1\.\([0-9]*\).*/\1/p')
if [ -z "$version" ] || [ "$version" -lt $wanted_minor ]; then
    echo "There is no Rust 1.$wanted_minor or newer on the PATH: no other client to test against."
    rm -f "$out"
    exit 0
fi
# About two minutes of one processor when nothing is there yet; afterwards a second.
cargo build --quiet --locked --manifest-path "$here/Cargo.toml" --target-dir "$out.build" || exit 1
cp "$out.build/debug/rust-client" "$out"
