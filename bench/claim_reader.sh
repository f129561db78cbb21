#!/usr/bin/env bash
# Reader alone beside the best setting of fio (io_uring, O_DIRECT) found in the same minute
. bench/common.sh
command -v fio >/dev/null || skip "fio is missing (apt-get install fio)"
build
usual_model
file=$model/model.safetensors
# fio_rate BLOCK DEPTH SECONDS: GB/s
fio_rate() {
    fio --name=x --filename="$file" --rw=read --ioengine=io_uring --direct=1 --bs="$1" --iodepth="$2" --runtime="$3" --time_based \
        --readonly --output-format=json | field 'd["jobs"][0]["read"]["bw_bytes"] / 1e9'
}
ours=() best=() cpu=() found=()
for ((r = 0; r < rounds; r++)); do
    top=0
    for setting in "64k 128" "256k 32" "256k 128" "1M 8" "1M 32" "1M 128" "4M 4" "4M 16" "4M 64" "16M 4" "16M 16"; do
        rate=$(fio_rate ${setting% *} ${setting#* } 1)
        if [ "$(calc "$rate > $top")" = True ]; then top=$rate best_setting=$setting; fi
    done
    forget "$file"
    sluice profile reader "$model" --json --io direct >"$scratch/p"
    ours+=("$(field 'd["reader"]["bytes_per_second"] / 1e9' <"$scratch/p")")
    cpu+=("$(field 'd["reader"]["cpu_seconds_per_gb"] * 100' <"$scratch/p")")
    best+=("$(fio_rate ${best_setting% *} ${best_setting#* } 4)")
    found+=("$best_setting")
    say "round $((r + 1)): sluice ${ours[r]}, fio $best_setting ${best[r]} GB/s, found at $top"
done
header
row "reader alone / best fio (found: $(printf '%s; ' "${found[@]}" | sed 's/; $//'))" min 0.97 GB/s "${ours[*]}" "${best[*]}"
row "the reader's share of one core at 1 GB/s" max 3 % "${cpu[*]}" ""
