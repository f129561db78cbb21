#!/usr/bin/env bash
# From start to the first byte read, second run
. bench/common.sh
build
usual_model
usual=() demo=()
for ((r = 0; r <= rounds; r++)); do
    run_json s -p "Once upon a time" -n 1 --io direct --host-memory 1GiB --context 128
    model=tests/data/demo-model run_json d -p "Once upon a time" -n 1
    [ $r -gt 0 ] || continue
    usual+=("$(field 'd["first_byte_seconds"]' <"$scratch/s.json")")
    demo+=("$(field 'd["first_byte_seconds"]' <"$scratch/d.json")")
done
header
row "start to first byte, 7.5 GB model, direct reads" max 0.3 s "${usual[*]}" ""
row "start to first byte, demo model" max 0.3 s "${demo[*]}" ""
