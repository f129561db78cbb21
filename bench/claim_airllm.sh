#!/usr/bin/env bash
# A model of 7.5 GB in a memory cgroup of 4 GiB: sweeps beside AirLLM's
. bench/common.sh
[ -x "$airllm_python" ] || skip "no AirLLM in $data/peers: bench/peers.sh --data $data"
build
usual_model
shards=$data/models/llama-7g5.airllm
if ! [ -e "$shards/.whole" ]; then
    say "AirLLM splits the model"
    mkdir -p "$shards"
    "$airllm_python" bench/airllm_sweeps.py "$model" "$shards" 1 2>/dev/null | tail -1 | field '"preparation: %.1f s" % d["preparation_seconds"]' >&2
    touch "$shards/.whole"
fi
need_group $((4 << 30))
ours=() peer=()
for ((r = 0; r < rounds; r++)); do
    forget "$shards" "$model"
    peer+=("$(in_group "$airllm_python" bench/airllm_sweeps.py "$model" "$shards" 3 2>/dev/null | tail -1 |
        field '1 / sorted(d["sweeps"][1:])[len(d["sweeps"][1:]) // 2]')")
    forget "$shards" "$model"
    run_json s -p "Once upon a time" -n 6 --context 128
    ours+=("$(calc "1 / $(decode_seconds s)")")
    say "round $((r + 1)): sluice ${ours[r]}, AirLLM ${peer[r]} sweeps/s"
done
header
row "7.5 GB in 4 GiB: sluice / AirLLM 4.0.0" min 3.5 sweeps/s "${ours[*]}" "${peer[*]}"
