#!/usr/bin/env bash
# The server: sixteen clients at once beside one, from memory, and how soon a streamed answer's headers come while the disk is the limit
. bench/common.sh
build
usual_model
port=18433 tokens=24
up() { serve_up "$model" --threads "$(nproc)" --context 128 --speculate off "$@"; }
# ask NUMBER FLAG...
ask() {
    local i=$1 && shift
    curl -s "http://127.0.0.1:$port/v1/completions" -H 'Content-Type: application/json' -o /dev/null "$@" \
        -d "{\"prompt\":\"Once upon a time there was number $i\",\"max_tokens\":$tokens,\"temperature\":0,\"ignore_eos\":true,\"stream\":${stream:-false}}"
}
# clients N: tokens a second of N at once
clients() {
    local waited=() began=$EPOCHREALTIME
    for ((i = 0; i < $1; i++)); do ask $i & waited+=($!); done
    wait "${waited[@]}"
    calc "$1 * $tokens / ($EPOCHREALTIME - $began)"
}
header
one=() sixteen=()
up --parallel 16
clients 1 >/dev/null # the weights are read
for ((r = 0; r < rounds; r++)); do
    one+=("$(clients 1)")
    sixteen+=("$(clients 16)")
    say "round $((r + 1)): ${one[r]} and ${sixteen[r]} tok/s"
done
serve_down
row "from memory: tokens a second of 16 clients / of one" min 4 tok/s "${sixteen[*]}" "${one[*]}"

up --parallel 4 --host-memory 2GiB --io direct
first=()
stream=true tokens=2
for ((r = 0; r < rounds; r++)); do
    ask 100 & # a sweep is under way
    busy=$!
    sleep 1
    first+=("$(calc "$(ask "$r" -w '%{time_starttransfer}') * 1000")")
    wait $busy
done
serve_down
row "streamed in 2 GiB: first byte of a streamed answer" max 20 ms "${first[*]}" ""
