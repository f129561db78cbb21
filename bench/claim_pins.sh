#!/usr/bin/env bash
# Half of the tiles pinned beside none pinned: time of a sweep that reads from disk
. bench/common.sh
build
usual_model
# The budget at which this share of the sweep's bytes is pinned, by halving.
budget_for() {
    python3 - "$model" "$1" <<'P'
import json, subprocess, sys
model, share = sys.argv[1], float(sys.argv[2])
def pinned(mib):
    p = subprocess.run(["build/sluice", "plan", model, "--json", "--context", "128", "--host-memory", "%dMiB" % mib], capture_output=True)
    if p.returncode: return -1
    h = json.loads(p.stdout)["homes"]
    return h["host"] / (h["host"] + h["disk"])
low, high = 64, 16384
while high - low > 4:
    mid = (low + high) // 2
    low, high = (mid, high) if pinned(mid) < share else (low, mid)
print("%dMiB" % (low if share < 0.01 else high))
P
}
none=$(budget_for 0.001) half=$(budget_for 0.5)
say "none pinned: --host-memory $none; half: $half"
ours=() other=()
for ((r = 0; r < rounds; r++)); do
    for which in none half; do
        run_json $which -p "Once upon a time" -n 6 --io direct --context 128 --host-memory ${!which}
    done
    ours+=("$(decode_seconds half)")
    other+=("$(decode_seconds none)")
    say "round $((r + 1)): half ${ours[r]}, none ${other[r]} s"
done
header
row "a sweep, half pinned / none pinned" max 0.53 s "${ours[*]}" "${other[*]}"
