#!/usr/bin/env bash
# What `sluice plan` predicts for four models on cards of 4, 8, 12 and 24 GB: the tables of bench/GPU.md. Nothing runs: the
# models are sparse files of their shapes, the cards are words of a stand-in for the compute stage, the speeds are assumed.
#
#   bench/gpu_plans.sh        into standard output; after make and make build/bench/mkmodel build/tests/pretend.so
set -euo pipefail
cd "$(dirname "$0")/.."
ram=${RAM:-16G} disk=3e9 link=12e9 memory=400e9
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/bin" "$dir/cache/sluice"
cp build/sluice build/sluice-reader build/sluice-transfer-cpu build/sluice-compute-cpu "$dir/bin/"
printf '#!/bin/sh\nexit 1\n' | tee "$dir/bin/sluice-transfer-cuda" >"$dir/bin/sluice-compute-cuda"
chmod +x "$dir"/bin/*
export XDG_CACHE_HOME=$dir/cache LD_PRELOAD=$PWD/build/tests/pretend.so
printf '{"disk-%x":[%s],"link-gpu0":[%s],"memory-gpu0":[%s]}\n' "$(stat -c %d "$dir")" $disk $link $memory >"$dir/cache/sluice/speeds.json"
shape() { # NAME MKMODEL'S FLAGS...
    build/bench/mkmodel "${@:2}" --sparse --shard-gib 5 "$dir/$1"
}
LD_PRELOAD= shape 8B --shape llama --vocab 128256
LD_PRELOAD= shape 70B --shape llama --hidden 8192 --layers 80 --inter 28672 --heads 64 --vocab 128256
LD_PRELOAD= shape 405B --shape llama --hidden 16384 --layers 126 --inter 53248 --heads 128 --vocab 128256
LD_PRELOAD= shape 671B --shape deepseek-v3
echo "| model | card | on the card | in RAM | read for a token | predicted s a token | bottleneck |"
echo "|---|---|---|---|---|---|---|"
for model in 8B 70B 405B 671B; do
    for gb in 4 8 12 24; do
        # what a desktop leaves of it
        printf '#!/bin/sh\necho "sluice-device 2 0 1 86 0 %s %s card"\n' $((gb << 30)) $(((gb << 30) / 20 * 19)) >"$dir/bin/sluice-compute-cuda"
        "$dir/bin/sluice" plan "$dir/$model" --backend cuda --host-memory "$ram" --json >"$dir/plan.json"
        python3 - "$model" $gb "$dir/plan.json" <<'P'
import json, sys
d = json.load(open(sys.argv[3]))
h = d["homes"]
print("| %s | %s GB | %.1f GB | %.1f GB | %.1f GB | %.3g | %s |" % (sys.argv[1], sys.argv[2], (h["device"] + h.get("resident", 0)) / 1e9,
      h["host"] / 1e9, d["sweep_bytes"] / 1e9, d["predicted_seconds_per_token"], d["bottleneck"]))
P
    done
done
