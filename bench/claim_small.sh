#!/usr/bin/env bash
# Small models from memory: decoding beside llama.cpp on the same BF16 file, and the first prompt of a fresh process beside its later ones
. bench/common.sh
[ -x "$llama_bench" ] || skip "no llama.cpp in $data/peers: bench/peers.sh --data $data"
build
shopt -s nullglob
files=("$data"/small/*.gguf)
[ ${#files[@]} -gt 0 ] || skip "put GGUF files in BF16 into $data/small: llama-quantize --allow-requantize IN.gguf OUT.gguf BF16 makes them"

# Seconds of prompts of some 240 tokens, each new, in one process that answers one token to each; the first is its first.
prompt_seconds() {
    local port=18431 pid word
    serve_up "$1" --parallel 1 --threads 2 --speculate off
    for word in quick slow brown green silent; do
        curl -s -o /dev/null -w '%{time_total} ' "http://127.0.0.1:$port/v1/completions" -H 'Content-Type: application/json' \
            -d "{\"prompt\":\"$(printf "$word %.0s" $(seq 240))\",\"max_tokens\":1,\"temperature\":0}"
    done
    serve_down
}

header
for model in "${files[@]}"; do
    name=$(basename "$model" .gguf) ours=() peer=() first=() later=()
    for ((r = 0; r < rounds; r++)); do
        peer+=("$("$llama_bench" -m "$model" -p 0 -n 128 -t 2 -r 1 -o json 2>/dev/null | field 'd[0]["avg_ts"]')")
        run_json s -p "Once upon a time" -n 130 --context 256 --threads 2
        ours+=("$(calc "1 / $(decode_seconds s)")")
        read -r -a t <<<"$(prompt_seconds "$model")"
        first+=("${t[0]}")
        later+=("$(median "${t[@]:1}")")
        say "$name, round $((r + 1)): sluice ${ours[r]}, llama.cpp ${peer[r]} tok/s; prompts ${t[*]} s"
    done
    row "$name: decode / llama.cpp" min 1.0 tok/s "${ours[*]}" "${peer[*]}"
    row "$name: first prompt of a fresh process / its later ones" max 1.3 s "${first[*]}" "${later[*]}" "later"
done
