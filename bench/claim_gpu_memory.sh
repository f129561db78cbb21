#!/usr/bin/env bash
# Everything on the GPU (7.5 GB): bytes of weights in decode beside the card's own memory bandwidth
. bench/common.sh
[ -e /dev/nvidia0 ] || skip "there is no NVIDIA GPU"
make -s -j"$(nproc)" CUDA=yes all >&2
usual_model
build/sluice plan "$model" --json --backend cuda --context 128 >"$scratch/plan.json"
[ "$(field 'd["homes"]["host"] + d["homes"]["disk"]' <"$scratch/plan.json")" = 0 ] || skip "the card has no room for 7.5 GB"
ours=() ceiling=()
for ((r = 0; r < rounds; r++)); do
    build/sluice profile compute "$model" --json --backend cuda >"$scratch/p"
    ceiling+=("$(field 'd["compute"]["ceiling_bytes_per_second"] / 1e9' <"$scratch/p")")
    run_json s -p "Once upon a time" -n 32 --backend cuda --context 128
    ours+=("$(field 'd["homes"]["device"] / 1e9 / '"$(decode_seconds s)" <"$scratch/plan.json")")
    say "round $((r + 1)): decode ${ours[r]}, the card's memory ${ceiling[r]} GB/s"
done
header
row "bytes of weights in decode / the card's memory bandwidth" min 0.80 GB/s "${ours[*]}" "${ceiling[*]}"
