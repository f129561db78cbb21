#!/usr/bin/env bash
# A model twice as large as its memory budget: speed of a sweep beside what fio reads from the same file, in turns.
#
#   bench/larger_than_memory.sh [FOLDER]      default: /var/tmp/sluice-bench-4g, made where it is not there (4.2 GB)
#
# As root with cgroup v1 or v2 it runs inside a memory cgroup of 2 GiB and prints the cgroup's own peak.
set -euo pipefail
cd "$(dirname "$0")/.."
model=${1:-/var/tmp/sluice-bench-4g}
make -s CUDA=no build/sluice build/sluice-reader build/sluice-transfer-cpu build/sluice-compute-cpu build/bench/mkmodel >/dev/null
[ -f "$model/config.json" ] || build/bench/mkmodel --shape llama --hidden 4096 --layers 9 --vocab 32000 "$model"
cp tests/data/tokenizers/llama2/tokenizer.json "$model/"
weights=$(ls -S "$model"/*.safetensors | head -1)
v1=/sys/fs/cgroup/memory v2=/sys/fs/cgroup group= peak=
if mkdir -p $v1/sluice-bench 2>/dev/null && [ -e $v1/sluice-bench/memory.limit_in_bytes ]; then
    group=$v1/sluice-bench peak=memory.max_usage_in_bytes; echo $((2 << 30)) >$group/memory.limit_in_bytes; echo 0 >$group/$peak
elif mkdir -p $v2/sluice-bench 2>/dev/null && [ -e $v2/sluice-bench/memory.max ]; then
    group=$v2/sluice-bench peak=memory.peak; echo $((2 << 30)) >$group/memory.max
else
    echo "no memory cgroup can be made here: running with --host-memory 2GiB alone"
fi
sluice() {
    [ -z "$group" ] || echo $BASHPID >$group/cgroup.procs
    build/sluice run "$model" -p "Once upon a time" -n 6 --temperature 0 --ignore-eos --json --context 256 --io direct --host-memory 1900MiB |
        python3 -c 'import json, sys
d = json.load(sys.stdin); r = d["stages"]["reader"]
print("sluice  %.2f GB/s read, disk busy %.0f%%, %.3f s/token (%.3f predicted), peak %.0f MB" % (r["bytes_per_second"] / 1e9, 100 * r["busy"],
      d["seconds_per_token"], d["predicted_seconds_per_token"], d["peak_host_bytes"] / 1e6))'
}
for round in 1 2 3; do
    for setting in "1M 32" "4M 16"; do
        set -- $setting
        command -v fio >/dev/null && fio --name=x --filename="$weights" --rw=read --ioengine=io_uring --direct=1 --bs=$1 --iodepth=$2 --runtime=2 \
            --time_based --readonly --output-format=terse | awk -F';' "{printf \"fio     %.2f GB/s (blocks of $1, $2 in flight)\n\", \$7 * 1024 / 1e9}"
    done
    (sluice)
done
[ -z "$group" ] || { echo "peak of the cgroup: $(($(cat $group/$peak) >> 20)) MiB of 2048"; rmdir $group; }
