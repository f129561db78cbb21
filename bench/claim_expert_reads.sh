#!/usr/bin/env bash
# Reading the chosen experts of Qwen3-30B-A3B's shape (three layers) beside streaming a dense model
. bench/common.sh
. bench/experts.sh
build
model llama-1g7 --shape llama --hidden 4096 --layers 3 --vocab 32000
stream=$model
model qwen3-moe-3 --shape qwen3-moe --layers 3 --vocab 32000
# Many small reads: bytes for each second in which the reader had some under way, in turns with a model that only streams.
ours=() other=()
for ((r = 0; r < rounds; r++)); do
    both e "$model" 3 35 --host-memory 700MiB
    both s "$stream" 3 9 --host-memory 300MiB
    ours+=("$(calc "$(between e read) / $(between e busy) / 1e9")")
    other+=("$(calc "$(between s read) / $(between s busy) / 1e9")")
done
header
row "reading experts, 8 of 9.4 MB in each layer / streaming" - "" GB/s "${ours[*]}" "${other[*]}"
