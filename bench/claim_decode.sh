#!/usr/bin/env bash
# Decoding from memory beside llama.cpp with as many threads, and as a share of what the memory can be read at
. bench/common.sh
need_llama
build kernel_bench
ours=() peer=() float=() bytes=() ceiling=()
for ((r = 0; r < rounds; r++)); do
    peer+=("$(llama_rate "$llama_bench" -p 0 -n 16 -lm none)")
    run_json s -p "Once upon a time" -n 18 --context 128
    ours+=("$(calc "1 / $(decode_seconds s)")")
    bytes+=("$(calc "$(field 'd["stages"]["compute"]["bytes"] / len(d["sweeps"]) / 1e9' <"$scratch/s.json") * ${ours[r]}")")
    ceiling+=("$(kernel_rate "read memory")")
    float+=("$(llama_rate "$llama_bench_f32" -p 0 -n 16 -lm none)")
    say "round $((r + 1)): sluice ${ours[r]}, llama.cpp ${peer[r]} (float32 ${float[r]}) tok/s; ${bytes[r]} of ${ceiling[r]} GB/s"
done
header
row "decode / llama.cpp" min 1.0 tok/s "${ours[*]}" "${peer[*]}"
row "decode / llama.cpp built without bfloat16 arithmetic" - "" tok/s "${ours[*]}" "${float[*]}"
row "weights read / the memory's read bandwidth" min 0.90 GB/s "${bytes[*]}" "${ceiling[*]}"
