#!/usr/bin/env bash
# DeepSeek V3's shape, 671B, as a split GGUF in Q4_K_M (sparse files): one token, peak memory of all processes together
. bench/common.sh
build
gguf=$data/models/deepseek-v3-q4_k_m
[ -e "$gguf" ] || { say "making $gguf" && python3 bench/gguf_shape.py "$gguf.part" && mv "$gguf.part" "$gguf"; }
python3 bench/gguf_shape.py "$scratch/bf16" --type BF16
model=$gguf
need_group $((3 << 30))
run_json s -p "Once" -n 1 --context 512
[ "$(group_failures)" = 0 ] || { say "the cgroup ran out of memory" && exit 1; }
sweep() { sluice plan "$1" --host-memory 3G --json | field 'd["sweep_bytes"] / 1e9'; }
header
row "the token, peak of all processes (in a cgroup of 3 GiB, nothing refused)" max 3 GiB \
    "$(field 'd["peak_host_bytes"] / 2**30' <"$scratch/s.json")" ""
row "the token, prompt and start included" - "" s "$(field 'd["seconds"]' <"$scratch/s.json")" ""
row "bytes of a sweep / those of the same shape in BF16" max 0.32 GB "$(sweep "$gguf")" "$(sweep "$scratch/bf16")" BF16
