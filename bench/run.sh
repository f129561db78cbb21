#!/usr/bin/env bash
# Measures a claim and appends what came out to bench/SPEED.md, with commit and machine.
#
#   bench/run.sh                          the claims, one line each
#   bench/run.sh NAME... [--data DIR] [--rounds N] [--no-log]
#   bench/run.sh all     [...]            all of them, one after the other
#
# Models and peers (bench/peers.sh) lie in DIR, default ${XDG_CACHE_HOME:-~/.cache}/sluice-bench. Sides are measured in turns,
# N rounds of each [3]; the ratio is the median of the rounds' ratios, the numbers beside it medians (lowest to highest).
set -euo pipefail
cd "$(dirname "$0")/.."
names=() flags=() log=bench/SPEED.md
while [ $# -gt 0 ]; do
    case $1 in
    --data | --rounds) flags+=("$1" "${2:?$1 wants a value}") && shift 2 ;;
    --no-log) log=/dev/null && shift ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" && exit ;;
    -*) echo "run.sh: unknown flag $1" >&2 && exit 2 ;;
    *) names+=("$1") && shift ;;
    esac
done
claims() { for c in bench/claim_*.sh; do c=${c#bench/claim_} && echo "${c%.sh}"; done; }
about() { sed -n '2s/^# //p' "bench/claim_$1.sh"; }
if [ ${#names[@]} -eq 0 ]; then
    for c in $(claims); do printf '%-12s %s\n' "$c" "$(about "$c")"; done
    exit
fi
[ "${names[*]}" != all ] || mapfile -t names < <(claims)
for c in "${names[@]}"; do
    [ -e "bench/claim_$c.sh" ] || { echo "run.sh: no claim is called $c; there are: $(claims | tr '\n' ' ')" >&2 && exit 2; }
done

commit() { git rev-parse --short HEAD 2>/dev/null || echo "no commit"; }
changed() { git diff --quiet HEAD -- ':!bench/SPEED.md' 2>/dev/null || echo ' with changes'; }
machine() {
    echo "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) cores, $(awk '/MemTotal/ {printf "%.0f GB", $2 * 1024 / 1e9}' /proc/meminfo)$(
        command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1 | sed 's/^/, /' || true)"
}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
worst=0
for c in "${names[@]}"; do
    rc=0
    bash "bench/claim_$c.sh" "${flags[@]}" >"$out" || rc=$?
    cat "$out"
    if [ $rc = 77 ]; then continue; fi
    if [ $rc != 0 ]; then
        echo "run.sh: $c failed" >&2
        worst=1
        continue
    fi
    { printf '\n### %s — %s, commit %s%s, %s\n\n%s.\n\n' "$c" "$(date +%F)" "$(commit)" "$(changed)" "$(machine)" "$(about "$c")" && cat "$out"; } >>"$log"
done
exit $worst
