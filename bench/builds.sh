#!/usr/bin/env bash
# This build beside another one, in turns: is a change slower?
#
#   bench/builds.sh OTHER_BUILD [--data DIR] [--rounds N]      e.g. of a work tree of an earlier commit, made by make CUDA=no
#
# Decoding, prefill, start and peak memory of the 7.5 GB model from memory; a sweep from disk in 2 GiB.
[ $# -gt 0 ] && [ -x "$1/sluice" ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2 && exit 2; }
other=$(realpath "$1") && shift
cd "$(dirname "$0")/.."
. bench/common.sh
build
usual_model
# one BUILD NAME FLAG...
one() {
    local from=$1 name=$2 && shift 2
    "$from/sluice" run "$model" --temperature 0 --ignore-eos --json "$@" $("$from/sluice" run --help | sed -n '/--speculate/{s/.*/--speculate off/p;q}') >"$scratch/$name.json"
}
prompt=$(words 512)
new_decode=() new_prefill=() new_start=() new_peak=() new_disk=()
old_decode=() old_prefill=() old_start=() old_peak=() old_disk=()
for ((r = 0; r < rounds; r++)); do
    for kind in new old; do
        from=build && [ $kind = new ] || from=$other
        declare -n decode=${kind}_decode prefill=${kind}_prefill start=${kind}_start peak=${kind}_peak disk=${kind}_disk
        one "$from" a -p "Once upon a time" -n 18 --context 128
        decode+=("$(calc "1 / $(decode_seconds a)")")
        start+=("$(field 'd["first_byte_seconds"]' <"$scratch/a.json")")
        peak+=("$(field 'd["peak_host_bytes"] / 1e9' <"$scratch/a.json")")
        one "$from" b -p "$prompt" -n 2 --context 1024 --host-memory 10GB
        prefill+=("$(field 'd["prompt_tokens"] / d["prompt_seconds"]' <"$scratch/b.json")")
        one "$from" c -p "Once upon a time" -n 5 --context 128 --host-memory 2GiB --io direct
        disk+=("$(decode_seconds c)")
    done
    say "round $((r + 1)): decode ${new_decode[r]} and ${old_decode[r]} tok/s, prefill ${new_prefill[r]} and ${old_prefill[r]}, disk ${new_disk[r]} and ${old_disk[r]} s"
done
header
row "decode from memory / the other build" min 0.97 tok/s "${new_decode[*]}" "${old_decode[*]}"
row "prompt of 512, first sweep included / the other build" min 0.97 tok/s "${new_prefill[*]}" "${old_prefill[*]}"
row "a sweep from disk in 2 GiB / the other build" max 1.03 s "${new_disk[*]}" "${old_disk[*]}"
row "start to first byte / the other build" - "" s "${new_start[*]}" "${old_start[*]}"
row "peak memory / the other build" max 1.03 GB "${new_peak[*]}" "${old_peak[*]}"
