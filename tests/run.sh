#!/bin/bash
# run.sh [--lint] [--unit] [--e2e] [--soak] [--no-install]
# Installs the packages, builds the asan and release presets (warnings are errors) and runs every test:
#   --lint   layers, banned calls, symbols of the cores
#   --unit   ctest on both builds: unit, scenario, simulation, fuzz corpora
#   --e2e    real processes on loopback, on the asan build
#   --soak   e2e with longer kill and load tests
#   --no-install  the packages are there already
# Without a choice all three run. Ends with one line 'N passed, N failed'; exit 0 when nothing failed.
# JOBS (default: processors) and E2E_WORKERS (default: processors + 1, 2 to 4) bound the parallelism.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

want_lint="" want_unit="" want_e2e="" soak="" install=1
while [ $# -gt 0 ]; do
    case $1 in
    --lint) want_lint=1 ;;
    --unit) want_unit=1 ;;
    --e2e) want_e2e=1 ;;
    --soak) soak=1 want_e2e=1 ;;
    --no-install) install="" ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "run.sh: unknown option $1 (--help)" >&2; exit 2 ;;
    esac
    shift
done
[ -n "$want_lint$want_unit$want_e2e" ] || want_lint=1 want_unit=1 want_e2e=1

python=/usr/bin/python3 # the one Debian's packages serve, whatever comes first on PATH
export PYTHONDONTWRITEBYTECODE=1
jobs=${JOBS:-$(nproc)}
workers=${E2E_WORKERS:-$((jobs + 1 < 2 ? 2 : jobs + 1 > 4 ? 4 : jobs + 1))}
results=build/test-results
passed=0 failed=0
failures=()

stage() { printf '\n=== %s (%ss)\n' "$*" "$SECONDS"; }
count() { passed=$((passed + $1)) failed=$((failed + $2)); }
fail() {
    count 0 1
    failures+=("$1")
}

# check NAME COMMAND...: one test by exit code.
check() {
    local name=$1
    shift
    if "$@"; then
        echo "ok   $name"
        count 1 0
    else
        echo "FAIL $name"
        fail "$name"
    fi
}

# tally LABEL FILE: adds the counts of a JUnit file; one failure when the run left none.
tally() {
    local p f names
    if ! { read -r p f && read -r names; } < <("$python" tests/junit_counts.py "$2" 2>/dev/null); then
        echo "FAIL $1: no results"
        fail "$1: no results"
        return
    fi
    count "$p" "$f"
    [ "$f" = 0 ] || failures+=("$1: $names")
}

build() {
    stage "build $1"
    if cmake --preset "$1" >"$results/configure-$1.log" 2>&1 || { cat "$results/configure-$1.log"; false; } &&
        cmake --build "build/$1" -j "$jobs" -- --quiet; then
        return 0
    fi
    echo "FAIL build $1"
    fail "build $1"
    return 1
}

unit() {
    stage "ctest $1"
    rm -f "$results/ctest-$1.xml"
    ctest --test-dir "build/$1" -j "$jobs" --output-on-failure --no-tests=error --output-junit \
        "$PWD/$results/ctest-$1.xml" >"$results/ctest-$1.log" 2>&1 || grep -v ' Passed ' "$results/ctest-$1.log" | tail -300
    tail -4 "$results/ctest-$1.log" | grep 'tests passed'
    tally "ctest $1" "$results/ctest-$1.xml"
}

e2e() {
    stage "end to end, asan build, $workers workers"
    rm -f "$results/e2e.xml"
    # One file stays on one worker, which lets its tests share daemons; conftest.py starts the long files first.
    POSTRIDER_BIN=$PWD/build/asan/bin POSTRIDER_SOAK=$soak "$python" -m pytest tests/e2e -q -n "$workers" \
        --dist loadfile -p no:cacheprovider --junitxml "$results/e2e.xml" -ra --durations=10
    tally e2e "$results/e2e.xml"
}

if [ -n "$install" ]; then
    stage install
    deploy/install-deps.sh test || { echo "0 passed, 1 failed"; exit 1; }
fi
mkdir -p "$results"

if [ -n "$want_lint" ]; then
    stage lint
    check lint/layers "$python" tests/lint/layers.py
    check lint/banned "$python" tests/lint/banned.py
    check lint/selftest tests/lint/selftest.sh
fi
if [ -n "$want_lint$want_unit" ] && build release; then
    [ -z "$want_lint" ] || check lint/core_symbols tests/lint/core_symbols.sh build/release
    [ -z "$want_unit" ] || unit release
fi
if [ -n "$want_unit$want_e2e" ] && build asan; then
    [ -z "$want_unit" ] || unit asan
    [ -z "$want_e2e" ] || e2e
fi

stage "summary"
for f in "${failures[@]}"; do echo "FAILED $f"; done
echo "lint:${want_lint:-0} unit:${want_unit:-0} e2e:${want_e2e:-0} in $((SECONDS / 60)) min $((SECONDS % 60)) s"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
