#!/usr/bin/env bash
# Sixteen and sixty-four answers in the same sweeps beside one: from memory, and streamed from disk
. bench/common.sh
build
usual_model
for ((i = 0; i < 64; i++)); do echo "Once upon a time there was number $i"; done >"$scratch/sixtyfour"
head -16 "$scratch/sixtyfour" >"$scratch/sixteen"
head -1 "$scratch/sixteen" >"$scratch/one"
# together FILE FLAG...: "seconds of a sweep, tokens a second" of the sweeps of nothing but new tokens
together() {
    local file=$1 && shift
    in_group build/sluice run "$model" --temperature 0 --ignore-eos --speculate off --prompts "$file" -v "$@" 2>&1 >/dev/null |
        sed -n 's/.* sweeps of \([0-9.]*\) s gave \([0-9.e+]*\) tokens.*/\1 \2/p'
}
# many: tokens a second of one and of 64 in 3 GiB, rounds of both
many() {
    few=() lot=()
    for ((r = 0; r < rounds; r++)); do
        few+=("$(together "$scratch/one" -n 6 --host-memory 3GiB --io direct --kv-type bf16 --context 64 | cut -d' ' -f2)")
        lot+=("$(together "$scratch/sixtyfour" -n 6 --host-memory 3GiB --io direct --kv-type bf16 --context 64 | cut -d' ' -f2)")
        say "$(basename "$model"), round $((r + 1)): ${few[r]} and ${lot[r]} tok/s"
    done
}
one=() sixteen=() sweep1=() sweep16=()
for ((r = 0; r < rounds; r++)); do
    one+=("$(together "$scratch/one" -n 18 | cut -d' ' -f2)")
    sixteen+=("$(together "$scratch/sixteen" -n 18 | cut -d' ' -f2)")
    sweep1+=("$(together "$scratch/one" -n 10 --host-memory 2GiB --io direct | cut -d' ' -f1)")
    sweep16+=("$(together "$scratch/sixteen" -n 10 --host-memory 2GiB --io direct | cut -d' ' -f1)")
    say "round $((r + 1)): from memory ${one[r]} and ${sixteen[r]} tok/s; from disk ${sweep1[r]} and ${sweep16[r]} s a sweep"
done
header
row "from memory: tokens a second of 16 together / of one" min 4 tok/s "${sixteen[*]}" "${one[*]}"
row "streamed in 2 GiB: a sweep of 16 / of one" max 1.15 s "${sweep16[*]}" "${sweep1[*]}"
many
row "streamed in 3 GiB: tokens a second of 64 together / of one" min 45 tok/s "${lot[*]}" "${few[*]}"
model llama-7g7-f32 --shape llama --f32 --hidden 4096 --layers 8 --vocab 32000 # half the products for a byte
many
row "the same, weights in float32" min 55 tok/s "${lot[*]}" "${few[*]}"
