# Sourced by the scripts of this folder, which have made the folder $work.
passed=0
failed=0

# check NAME COMMAND...: one test; its output is shown only when it fails.
check() {
    name=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        passed=$((passed + 1))
        echo "ok    $name"
    else
        failed=$((failed + 1))
        echo "FAIL  $name"
        tail -n 40 "$work/log"
    fi
}
