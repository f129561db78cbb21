#!/usr/bin/env bash
# A model of 7.5 GB in a memory cgroup of 3 GiB: decoding beside llama.cpp with mmap
. bench/common.sh
need_llama
build
need_group $((3 << 30))
ours=() peer=()
for ((r = 0; r < rounds; r++)); do
    forget "$gguf" "$model"
    peer+=("$(llama_rate "$llama_bench" -p 0 -n 3 -lm mmap --no-warmup)")
    forget "$gguf" "$model"
    run_json s -p "Once upon a time" -n 6 --context 128
    ours+=("$(calc "1 / $(decode_seconds s)")")
    say "round $((r + 1)): sluice ${ours[r]}, llama.cpp ${peer[r]} tok/s; $(field 'd["peak_host_bytes"] >> 20' <"$scratch/s.json") MiB"
done
header
row "7.5 GB in 3 GiB: sluice / llama.cpp mmap" min 1.4 tok/s "${ours[*]}" "${peer[*]}"
