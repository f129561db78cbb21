#!/usr/bin/env bash
# The pipeline over 4 sweeps of a model larger than its memory (7.5 GB in a cgroup of 2 GiB) beside the reader alone
. bench/common.sh
build
usual_model
need_group $((2 << 30))
ours=() alone=()
for ((r = 0; r < rounds; r++)); do
    forget "$model"
    in_group build/sluice profile reader "$model" --json --io direct --seconds 6 >"$scratch/p"
    alone+=("$(field 'd["reader"]["bytes_per_second"] / 1e9' <"$scratch/p")")
    run_json s -p "Once upon a time" -n 5 --io direct --context 128
    ours+=("$(field 'd["sweep_bytes"] * 4 / sum(s["seconds"] for s in d["sweeps"][1:5]) / 1e9' <"$scratch/s.json")")
    say "round $((r + 1)): pipeline ${ours[r]}, reader alone ${alone[r]} GB/s"
done
header
row "bytes from disk: pipeline over 4 sweeps / reader alone" min 0.97 GB/s "${ours[*]}" "${alone[*]}"
