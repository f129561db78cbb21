#!/usr/bin/env bash
# Runs libFuzzer on each target for so many seconds, from the seeds and from what earlier runs have found.
#
#   tests/fuzz/run.sh BUILD SECONDS TARGET...
#   SECONDS 0                    no new inputs: the seeds and the kept cases once, the same in every run
#
# The corpus grows in BUILD/corpus/TARGET; an input that fails lies in BUILD/found/TARGET afterwards: mend what it shows and
# keep it as tests/data/fuzz/TARGET/NAME. Prints a line for each target: inputs, coverage, what failed.
set -uo pipefail
build=${1:?usage: tests/fuzz/run.sh BUILD SECONDS TARGET...} seconds=${2:?} failed=0
shift 2
[ "$seconds" -ge 0 ] || { echo "fuzz: SECONDS must be 0 or more" >&2; exit 1; }
# Memory that a target may hold: what the largest inputs account for, many times over. One input may take 20 s of a loaded machine.
limits=(-rss_limit_mb=2048 -malloc_limit_mb=256 -timeout=20 -max_len=65536 -print_final_stats=1 -verbosity=1)
# libFuzzer's own 0 is for ever.
if [ "$seconds" -eq 0 ]; then limits+=(-runs=0); else limits+=(-max_total_time="$seconds"); fi
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:handle_abort=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1

for target in "$@"; do
    corpus=$build/corpus/$target found=$build/found/$target log=$build/$target.log words=()
    # What an earlier run has found is no part of a run that has to be the same everywhere.
    [ "$seconds" -gt 0 ] || { corpus=$build/seeds/$target && rm -rf "$corpus"; }
    mkdir -p "$corpus" "$found"
    [ -n "$(ls -A "$corpus")" ] || "$build/fuzz_$target" --seeds "$corpus" || exit 1
    # Each line of a trace is an event, and some dozens show all that many do, sooner.
    [ "$target" != trace ] || words=(-max_len=6000)
    [ ! -f "tests/fuzz/$target.dict" ] || words+=(-dict="tests/fuzz/$target.dict")
    [ ! -d "tests/data/fuzz/$target" ] || words+=("tests/data/fuzz/$target")
    "$build/fuzz_$target" "${limits[@]}" -artifact_prefix="$found/" "$corpus" "${words[@]}" >"$log" 2>&1
    status=$?
    inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
    coverage=$(grep -oE 'cov: [0-9]+' "$log" | tail -1)
    echo "fuzz   $target: ${inputs:-?} inputs, ${coverage:-no coverage}, corpus $(ls "$corpus" | wc -l)"
    if [ $status -ne 0 ]; then
        failed=$((failed + 1))
        echo "FAILED $target (status $status), see $log"
        grep -E 'ERROR|SUMMARY|runtime error|fuzz: |Test unit written|leads outside' "$log" | head -5 | sed 's/^/       /'
    fi
done
[ $failed -eq 0 ]
