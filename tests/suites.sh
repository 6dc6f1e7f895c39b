# The suites of tests/run, one function each. Sourced by it, with the current folder at the root of the project.
#
# A suite reports through count(): how many cases passed, failed and were skipped. What a suite prints besides is for
# people. Anything that keeps a suite from running is a failure of that suite, never a skip.

prepare() {
    jobs=${TITO_JOBS:-$(nproc)}
    [ "$jobs" -le 4 ] || jobs=4
    scale=${TITO_TEST_SCALE:-1}
    small_scale=$(awk -v s="$scale" 'BEGIN { print s * 0.05 }')
    tenth=$(awk -v s="$scale" 'BEGIN { print s * 0.1 }')
    mkdir -p build/log
    results=build/log/results
    : >$results
    unsteady=build/log/unsteady
    : >$unsteady
    # The tests of the TiKV engine build their mock cluster with Go.
    sh .ci/go build/go || echo "There is no Go for the mock cluster: what needs it will fail."
    if [ -x build/go/bin/go ]; then
        PATH=$root/build/go/bin:$PATH
        GOTOOLCHAIN=local
        export PATH GOTOOLCHAIN
    fi
    launcher=""
    if command -v ccache >/dev/null 2>&1; then
        launcher="-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache"
    fi
    if [ -e build/release/CMakeCache.txt ]; then
        # A checkout that was copied or moved brings paths that are no longer true.
        grep -qx "CMAKE_HOME_DIRECTORY:INTERNAL=$root" build/release/CMakeCache.txt ||
            rm -rf build/release build/test build/clang build/asan build/tsan build/install
    fi
}

# count PASSED FAILED SKIPPED: adds to the current suite.
count() {
    echo "$suite $1 $2 $3" >>$results
}

# could_not_run TEXT: the suite, or a part of it, did not run.
could_not_run() {
    echo "FAILED $suite: $1"
    count 0 1 0
}

# add_counts LOG: adds the counts of the last line `tests: N passed, N failed, N skipped` of a log.
add_counts() {
    line=$(grep -E '^tests: [0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$1" | tail -n 1)
    if [ -z "$line" ]; then
        could_not_run "no counts in $1"
        return
    fi
    # shellcheck disable=SC2046
    count $(echo "$line" | tr -dc '0-9 ')
}

# second_try NAME STATUS: whether a test that has ended with this status is to be run once more. It is named at the end of
# the run, whatever becomes of it.
second_try() {
    [ -n "$again" ] && [ "$2" -ne 0 ] || return 1
    echo "$suite: $1" >>$unsteady
    echo "--again: $1 failed, and is run once more"
}

run_suite() {
    suite=$1
    started=$(date +%s)
    echo "== $suite: $(describe "$suite")"
    before=$(wc -l <$results)
    "suite_$suite" </dev/null
    [ "$(wc -l <$results)" -gt "$before" ] || could_not_run "it reported nothing"
    awk -v s="$suite" -v t="$(($(date +%s) - started))" '$1 == s { p += $2; f += $3; k += $4 }
        END { printf "== %s: %d passed, %d failed, %d skipped, %d s\n\n", s, p, f, k, t }' $results
}

summary() {
    awk '{ p += $2; f += $3; s += $4; if ($3 > 0) bad[$1] = 1 }
        END {
            for (name in bad) printf "failed: %s\n", name
            while ((getline line < "'$unsteady'") > 0) printf "failed once, and was run again: %s\n", line
            printf "tests: %d passed, %d failed, %d skipped\n", p, f, s
            exit f > 0
        }' $results
}

# build NAME "CMAKE OPTIONS" TARGET...: configures and builds build/NAME; the log is shown only when it fails.
# What can be built is built also when something else can not.
build() {
    name=$1
    options=$2
    shift 2
    log=build/log/build-$name.log
    began=$(date +%s)
    # shellcheck disable=SC2086
    if ! cmake -G Ninja -S . -B "build/$name" $options $launcher >"$log" 2>&1; then
        tail -n 40 "$log"
        could_not_run "build/$name could not be configured"
        return 1
    fi
    for target in "$@"; do
        if ! cmake --build "build/$name" -j "$jobs" --target "$target" -- -k 0 >>"$log" 2>&1; then
            grep -A 4 -E ' (fatal )?error: |undefined reference|CMake Error|multiple definition' "$log" | cut -c 1-300 | head -n 100
            could_not_run "build/$name did not build ($log)"
            return 1
        fi
    done
    echo "built build/$name in $(($(date +%s) - began)) s"
}

build_release() {
    build release "-DCMAKE_BUILD_TYPE=Release -DTITO_TESTS=OFF -DTITO_TESTING=OFF" "$@"
}

build_test() {
    build test "-DCMAKE_BUILD_TYPE=RelWithDebInfo -DTITO_TESTING=ON -DTITO_TESTS=ON" "$@"
}

# ctest_in NAME SCALE CTEST-ARGUMENTS...: runs tests of build/NAME and counts the cases in them. $leave_out is a regular
# expression of tests to leave out, $under a command that ctest is run by.
leave_out=""
under=""
ctest_in() {
    where=build/$1
    test_scale=$2
    shift 2
    junit=$root/build/log/$suite.xml
    log=build/log/$suite.log
    rm -f "$junit"
    if [ -n "${TITO_TEST_PD:-}" ]; then
        # The user's cluster: no mock is built for it, and what is about the mock's control port is not run.
        mock_only=$(python3 tests/cluster/needs_mock.py "$where" own)
        set -- "$@" -FA mock_cluster
        [ -n "$under" ] || echo "About the mock cluster alone, not run on yours: $(echo "$mock_only" | tr '|' ' ')"
    else
        mock_only=""
    fi
    left_out=${leave_out:-none}${mock_only:+"|$mock_only"}
    # shellcheck disable=SC2086
    TITO_TEST_SCALE=$test_scale $under ctest --test-dir "$where" -j "$jobs" --timeout "${TITO_TEST_TIMEOUT:-900}" \
        ${again:+--repeat until-pass:2} --output-on-failure --no-tests=error --output-junit "$junit" -E "^($left_out)\$" \
        --test-output-size-passed 4000000 --test-output-size-failed 4000000 "$@" ${only:+-R "$only"} >"$log" 2>&1
    grep -vE '^ +Start +[0-9]+:|^Internal ctest|^Test project' "$log" | tail -n 2000
    [ -z "$again" ] || sed -n 's/^ *[0-9/]* *Test *#[0-9]*: *\([a-z0-9_]*\) \.*[A-Za-z ]*\*\*\*.*/\1/p' "$log" | sort -u |
        sed "s/^/$suite: /" >>$unsteady
    if [ -s "$junit" ]; then
        python3 tests/counts.py junit "$junit" >build/log/counts
        add_counts build/log/counts
    else
        could_not_run "ctest did not run ($log)"
    fi
}

# ---- C tests: the label of a test is its folder under tests/

own_labels='^(engine|tikv|model|queue|crash|histories|abi|real)$'

suite_unit() {
    build_test all && ctest_in test "$scale" -LE "$own_labels"
}
labelled() {
    build_test all && ctest_in test "$scale" -L "^$1\$"
}
suite_engine() { labelled engine; }
suite_tikv() { labelled tikv; }
suite_model() { labelled model; }
suite_queue() { labelled queue; }
suite_crash() { labelled crash; }
suite_histories() { labelled histories; }
suite_abi() { labelled abi; }

suite_clang() {
    build clang "-DCMAKE_BUILD_TYPE=Release -DTITO_TESTING=ON -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++" \
        all || return
    count 1 0 0
    ctest_in clang "$small_scale" -LE "$own_labels"
}

# What a sanitizer does not run of the tests on a mock cluster: programs of others, libfaketime's clocks, and what fills the
# machine by itself. Not to be named here: cluster_build, which builds the mock (ctest leaves out a set-up that -E names).
not_sanitized='cluster_(mock|with)|histories.*|real_.*|tikv_.*rust.*|queue_clocks_tikv'

suite_asan() {
    build asan "-DCMAKE_BUILD_TYPE=RelWithDebInfo -DTITO_TESTING=ON -DTITO_SANITIZE=address" all || return
    export ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1:abort_on_error=0"
    export UBSAN_OPTIONS="print_stacktrace=1"
    export LSAN_OPTIONS="suppressions=$root/tests/lsan.supp:print_suppressions=0"
    leave_out=$not_sanitized
    ctest_in asan "$small_scale"
    leave_out=""
    # The interpreter itself is not instrumented: the runtime is put in front of it.
    preload="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so.6)"
    busted_in asan "$small_scale" "$preload"
    # Of the program `tito` what speaks to strangers.
    script build/log/cli-asan.log env PYTHONDONTWRITEBYTECODE=1 TITO_TEST_PRELOAD="$preload" "TITO_TEST_SCALE=$small_scale" \
        python3 tests/cli/main.py build/asan --module dashboards
    # Python frees little of its own at its end. What builds packages and runs programs has no place here.
    ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0"
    script build/log/python-asan.log env TITO_VENV="$root/build/python/asan" TITO_TEST_PRELOAD="$preload" \
        TITO_TEST_SCALE="$small_scale" sh tests/python/run build/asan --deselect test_package.py --deselect test_examples.py
    script build/log/resty-asan.log env TITO_TEST_PRELOAD="$preload" TITO_TEST_SCALE="$small_scale" \
        sh tests/resty/run build/asan test_specs test_exit
    unset ASAN_OPTIONS UBSAN_OPTIONS LSAN_OPTIONS
}

suite_tsan() {
    build tsan "-DCMAKE_BUILD_TYPE=RelWithDebInfo -DTITO_TESTING=ON -DTITO_SANITIZE=thread" all || return
    export TSAN_OPTIONS="suppressions=$root/tests/tsan.supp:second_deadlock_stack=1:history_size=4"
    # Four tests change what the simulated servers answer while the client's background asks them: races of their own. Four
    # wait in real time for what takes ThreadSanitizer many times as long: gRPC is not instrumented, and what it does with
    # large messages is reported and suppressed race by race.
    leave_out="$not_sanitized|matrix_stores|museum_m1[123]_.*|tikv_basics|tikv_outcome|tikv_keepalive|tikv_killed"
    ctest_in tsan "$small_scale"
    leave_out=""
    unset TSAN_OPTIONS
}

# ---- Lua

# one_spec NAME SCALE [PRELOAD]: runs $spec, what it prints goes to $log.
one_spec() {
    (
        export TITO_TEST_SCALE="$2"
        export TITO_BUILD="$root/build/$1"
        export LUA_PATH="$root/lua/?.lua;$root/lua/?/init.lua;$root/tests/lua/?.lua;;"
        export LUA_CPATH="$modules/?.so;;"
        export LD_LIBRARY_PATH="$root/build/$1/abi${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
        export TITO_TEST_NAMESPACE="titotest.lua$$.$(basename "$spec" _spec.lua)"
        [ -n "$under" ] || unset TITO_TEST_PD
        # shellcheck disable=SC2086
        timeout -k 10 "${TITO_TEST_TIMEOUT:-900}" $under \
            env ${3:+"LD_PRELOAD=$3"} lua5.4 /usr/bin/busted -o plainTerminal "$spec" >"$log" 2>&1
    )
}

# busted_in NAME SCALE [PRELOAD]: runs each spec of tests/lua in a process of its own against build/NAME; of $specs only
# these, by $under.
specs=""
busted_in() {
    core=$(find "$root/build/$1/bindings/lua" -path '*/tito/core.so' 2>/dev/null | head -n 1)
    if [ -z "$core" ]; then
        could_not_run "build/$1 has no tito/core.so"
        return
    fi
    modules=${core%/tito/core.so}
    found=no
    for spec in tests/lua/*_spec.lua; do
        [ -e "$spec" ] || continue
        case " ${specs:-$(basename "$spec" _spec.lua)} " in
        *" $(basename "$spec" _spec.lua) "*) ;;
        *) continue ;;
        esac
        found=yes
        log=build/log/$suite-$(basename "$spec" .lua)${under:+-cluster}.log
        began=$(date +%s)
        one_spec "$@"
        status=$?
        if second_try "$(basename "$spec")" $status; then
            tail -n 200 "$log"
            one_spec "$@"
            status=$?
        fi
        python3 tests/counts.py busted "$log" $status >build/log/counts
        add_counts build/log/counts
        echo "$(basename "$spec")${under:+ on a cluster}: $(tail -n 1 build/log/counts), $(($(date +%s) - began)) s"
        [ $status -eq 0 ] || tail -n 200 "$log"
    done
    [ $found = yes ] || could_not_run "there is no spec in tests/lua"
}

# The specs whose databases are nothing but databases, not folders or memory.
cluster_specs="host json lifetime model query queue script transaction worker"

suite_lua() {
    build_test all || return
    busted_in test "$scale"
    under="sh tests/cluster/with --keep build/test/tests/cluster"
    specs=$cluster_specs
    busted_in test "$small_scale"
    under=""
    specs=""
    clear_cluster
}

# Deletes what tests have left on the user's cluster: namespaces titotest.HOST$$.…
clear_cluster() {
    [ -n "${TITO_TEST_PD:-}" ] || return 0
    build_test cluster_clear && build/test/tests/tikv/cluster_clear "titotest.${1:-lua}$$." >/dev/null ||
        could_not_run "the tests' namespaces could not be cleared"
}

# ---- The real servers: PD 5.0 and unistore's stores

suite_real() {
    build_test all || return
    began=$(date +%s)
    if ! sh tests/cluster/build.sh build/cluster/real-cluster real >build/log/build-real.log 2>&1; then
        tail -n 40 build/log/build-real.log
        could_not_run "the real servers did not build (build/log/build-real.log)"
        return
    fi
    echo "built the real servers in $(($(date +%s) - began)) s"
    under="env -u TITO_TEST_PD sh tests/cluster/with --real --keep build/cluster"
    # The long runs of the queue, those with other clocks and those that stop its stores have the mock cluster.
    leave_out='queue_(volume|clocks|ends|ticks|stores)_tikv'
    ctest_in test "$tenth" -FA mock_cluster -R '^(engine|model|query|queue)_.*_tikv$'
    leave_out=""
    # Those stores are unistore's: what commits in one phase there is not isolated.
    export TITO_TEST_COMMIT=2pc
    ctest_in test "$small_scale" -FA mock_cluster -R '^histories$'
    unset TITO_TEST_COMMIT
    specs="model query queue transaction"
    busted_in test "$small_scale"
    under="env TITO_TEST_MOCK=$root/build/cluster/real-cluster"
    ctest_in test "$tenth" -L '^real$'
    under=""
    specs=""
}

# ---- Python

# on_cluster HOST: what goes before a command that runs the tests of that host on a cluster, small.
on_cluster() {
    echo "sh tests/cluster/with --keep build/test/tests/cluster env TITO_TEST_SCALE=$small_scale TITO_TEST_NAMESPACE=titotest.$1$$."
}

suite_python() {
    build_release tito tito_lua || return
    script build/log/python.log env -u TITO_TEST_PD "TITO_TEST_SCALE=$scale" sh tests/python/run build/release
    # Each table that is dropped waits there for the others' catalogs: one loop does.
    # shellcheck disable=SC2046
    script build/log/python-cluster.log $(on_cluster python) sh tests/python/run build/release \
        -k "tikv and not uvloop and not reindex"
    clear_cluster python
}

# ---- OpenResty

suite_resty() {
    build_test tito tito_resty || return
    script build/log/resty.log env -u TITO_TEST_PD "TITO_TEST_SCALE=$scale" sh tests/resty/run build/test
    # shellcheck disable=SC2046
    script build/log/resty-cluster.log $(on_cluster resty) sh tests/resty/run build/test
    clear_cluster resty
}

suite_browser() {
    sh .ci/browser build/chromium || { could_not_run "there is no headless Chromium"; return; }
    build_test tito tito_resty tito_cli tito_lua || return
    script build/log/browser.log sh tests/resty/run build/test test_browser
    script build/log/browser-cli.log env PYTHONDONTWRITEBYTECODE=1 python3 tests/cli/pages.py build/test
    # Not by the suite's name: keys that begin with `t` and have an `r` or an `i` as their eleventh byte are records of TiDB
    # to unistore, which tries to read them as such.
    # shellcheck disable=SC2046
    script build/log/browser-cluster.log $(on_cluster page) PYTHONDONTWRITEBYTECODE=1 python3 tests/cli/pages.py build/test --cluster
    clear_cluster browser
}

# ---- The program `tito`

suite_cli() {
    build_test all && script build/log/cli.log env "TITO_TEST_SCALE=$scale" sh tests/cli/run build/test
}

# ---- Scripts with tests of their own; each prints a line `tests: N passed, N failed, N skipped` at its end

# script LOG COMMAND...: shows its output and adds its counts.
script() {
    log=$1
    shift
    "$@" >"$log" 2>&1
    status=$?
    cat "$log"
    if second_try "$(basename "$log" .log)" $status; then
        "$@" >"$log" 2>&1
        cat "$log"
    fi
    add_counts "$log"
}

suite_lint() {
    build_release tito
    script build/log/lint.log python3 tests/lint/lint.py --self-test --library build/release
}

suite_examples() {
    script build/log/examples.log python3 tests/examples/compare.py
}

suite_install() {
    build_release all && script build/log/install.log sh tests/install/run build/release
    script build/log/packages.log sh tests/install/packages build/package
}

suite_bench() {
    build_release all || return
    script build/log/bench.log python3 tests/bench/smoke.py build/release
    sh .ci/packages bench || { could_not_run "wrk could not be installed"; return; }
    # shellcheck disable=SC2046
    script build/log/bench-resty.log $(on_cluster bench) python3 tests/bench/resty/run.py build/release 1 4
    clear_cluster bench
}
