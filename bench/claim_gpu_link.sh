#!/usr/bin/env bash
# Weights in RAM, streamed to the GPU every sweep (7.5 GB, 2 GiB of the card): bytes over the link beside pinned copies, with and without MPS
. bench/common.sh
[ -e /dev/nvidia0 ] || skip "there is no NVIDIA GPU"
make -s -j"$(nproc)" CUDA=yes all >&2
usual_model
with=() without=() ceiling=()
link_rate() { field '(d["sweep_bytes"] + d["homes"]["host"]) / 1e9 / '"$(decode_seconds "$1")" <"$scratch/plan.json"; }
build/sluice plan "$model" --json --backend cuda --device-memory 2GiB --context 128 >"$scratch/plan.json"
for ((r = 0; r < rounds; r++)); do
    build/sluice profile transfer "$model" --json --backend cuda --device-memory 2GiB >"$scratch/p"
    ceiling+=("$(field 'd["transfer"]["ceiling_bytes_per_second"] / 1e9' <"$scratch/p")")
    for mps in on off; do
        run_json $mps -p "Once upon a time" -n 8 --backend cuda --device-memory 2GiB --context 128 --mps $mps
    done
    with+=("$(link_rate on)")
    without+=("$(link_rate off)")
    say "round $((r + 1)): with MPS ${with[r]}, without ${without[r]}, pinned copies ${ceiling[r]} GB/s"
done
header
row "bytes over the link in decode, with MPS / pinned copies" min 0.95 GB/s "${with[*]}" "${ceiling[*]}"
row "the same without MPS / pinned copies" - "" GB/s "${without[*]}" "${ceiling[*]}"
