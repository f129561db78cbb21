#!/usr/bin/env bash
# Runs test programs one after the other, each with a time limit, and counts their tests.
#
#   tests/run.sh BUILD [PROGRAM...]      default: every BUILD/tests/test_*
#
# Shows the output of those that fail and the reasons of those that skip. A process of this build or a shared-memory
# name that a program leaves behind is a failure of its own. The last line: "N passed, N failed" (", N skipped").
set -uo pipefail
build=${1:?usage: tests/run.sh BUILD [PROGRAM...]}
shift
limit=${TEST_SECONDS:-60}
[ $# -gt 0 ] || set -- "$build"/tests/test_*
home=$(realpath "$build")
export SLUICE_BUILD=$home
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0

shm_names() { find /dev/shm -maxdepth 1 -name '*sluice*' -printf '%f\n' 2>/dev/null | sort; }

# Processes whose program lies in this build and is one of sluice's.
stages() {
    local p exe
    for p in /proc/[0-9]*; do
        exe=$(readlink "$p/exe" 2>/dev/null) || continue
        case $exe in "$home"/sluice*) echo "${exe##*/} (${p#/proc/})" ;; esac
    done
}

# What is there now and was not there before (file $1); a process that is ending gets two seconds for it.
leftovers() {
    local try names running
    for try in 1 2 3 4 5 6 7 8 9 10; do
        names=$(shm_names | comm -13 "$1" -)
        running=$(stages)
        [ -n "$names$running" ] || return 0
        sleep 0.2
    done
    [ -z "$names" ] || echo "left in /dev/shm:" $names
    [ -z "$running" ] || echo "left running:" $running
}

# The number in cmocka's line "[  PASSED  ] 12 test(s).", added up over the groups of a program.
count() { sed -nE "s/^\[ +$1 +\] ([0-9]+) test\(s\).*/\1/p" "$2" | awk '{n += $1} END {print n + 0}'; }

# A program that did not come to its summary: what had passed until then counts, and the end of it as one failure.
count_broken() {
    ok=$(grep -cE '^\[ +OK \]' "$1")
    bad=$(grep -cE '^\[ +FAILED +\]' "$1")
    skip=$(grep -cE '^\[ +SKIPPED +\]' "$1")
    bad=$((bad + 1))
}

run() {
    local name=${1##*/} out=$work/out status=0 ok bad skip left why=
    shm_names >"$work/shm"
    { timeout --kill-after=5 "$limit" "$1" >"$out" 2>&1 </dev/null; } 2>/dev/null || status=$?
    ok=$(count PASSED "$out") bad=$(count FAILED "$out") skip=$(count SKIPPED "$out")
    if ! grep -qE '^\[ +PASSED +\]' "$out"; then
        count_broken "$out"
        why=" (ended with status $status before its summary)"
        [ $status -ne 124 ] && [ $status -ne 137 ] || why=" (took more than $limit seconds)"
    elif [ $status -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1 why=" (exit status $status)"
    fi
    left=$(leftovers "$work/shm")
    [ -z "$left" ] || bad=$((bad + 1))
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
    if [ "$bad" -gt 0 ]; then
        echo "FAILED $name$why"
        sed 's/^/    /' "$out"
        [ -z "$left" ] || echo "    $left"
    elif [ "$skip" -gt 0 ]; then
        echo "ok     $name: $ok, skipped $skip"
        grep -iE '^skip(ped|ping)?\b' "$out" | sort -u | sed 's/^/           /'
    else
        echo "ok     $name: $ok"
    fi
}

for program in "$@"; do run "$program"; done
line="$passed passed, $failed failed"
[ "$skipped" -eq 0 ] || line+=", $skipped skipped"
echo "$line"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
