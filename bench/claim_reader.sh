#!/usr/bin/env bash
# Reader alone beside the best setting of fio (io_uring, O_DIRECT) found in the same minute
#
# fio reads into small pages unless some large ones are reserved (as root: sysctl vm.nr_hugepages=64; and back to 0). On a
# virtual disk that can make more than twice the difference; sluice has large pages without that. Both are shown.
. bench/common.sh
command -v fio >/dev/null || skip "fio is missing (apt-get install fio)"
build
usual_model
file=$model/model.safetensors
# fio_rate BLOCK DEPTH MEMORY SECONDS: GB/s
fio_rate() {
    fio --name=x --filename="$file" --rw=read --ioengine=io_uring --direct=1 --bs="$1" --iodepth="$2" --mem="$3" --runtime="$4" \
        --time_based --readonly --output-format=json | field 'd["jobs"][0]["read"]["bw_bytes"] / 1e9'
}
memory=malloc
[ "$(awk '/HugePages_Free/ {print $2}' /proc/meminfo)" -lt 40 ] || memory="malloc mmaphuge"
declare -A best found
ours=() ceiling=() cpu=()
for ((r = 0; r < rounds; r++)); do
    forget "$file"
    sluice profile reader "$model" --json --io direct --seconds 6 >"$scratch/p"
    ours+=("$(field 'd["reader"]["bytes_per_second"] / 1e9' <"$scratch/p")")
    ceiling+=("$(field 'd["reader"]["ceiling_bytes_per_second"] / 1e9' <"$scratch/p")")
    cpu+=("$(field 'd["reader"]["cpu_seconds_per_gb"] * 100' <"$scratch/p")")
    for m in $memory; do
        top=0 setting=
        for s in "64k 128" "256k 32" "1M 8" "1M 32" "4M 4" "4M 16" "16M 4"; do
            rate=$(fio_rate ${s% *} ${s#* } "$m" 1)
            if [ "$(calc "$rate > $top")" = True ]; then top=$rate setting=$s; fi
        done
        rate=$(fio_rate ${setting% *} ${setting#* } "$m" 3)
        best[$m]+=" $(calc "max($rate, $top)")"
        found[$m]+="${found[$m]:+, }${setting/ / x }"
    done
    say "round $((r + 1)): sluice ${ours[r]}; fio with small pages ${best[malloc]}, with large ones ${best[mmaphuge]:-not measured} GB/s"
done
header
for m in $memory; do
    row "reader alone / best fio with $([ "$m" = malloc ] && echo small || echo large) pages (found: ${found[$m]})" min 0.97 GB/s "${ours[*]}" "${best[$m]}"
done
row "reader alone / plain reads of the same files in the same command" min 0.97 GB/s "${ours[*]}" "${ceiling[*]}"
row "the reader's share of one core at 1 GB/s" max 3 % "${cpu[*]}" ""
