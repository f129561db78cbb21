#!/usr/bin/env bash
# Predicted seconds beside achieved ones: for each token, and for the prompt, from memory, pinned in part, from disk
. bench/common.sh
build
model llama-1g7 --shape llama --hidden 4096 --layers 3 --vocab 32000
export XDG_CACHE_HOME=$scratch/cache # what this machine's other runs have learned does not count
forget "$model"
declare -A predicted achieved
names=()
# note SERIES: the last run's figures.
note() {
    [ -n "${predicted[$1]-}" ] || names+=("$1")
    predicted[$1]+="$(field "$2" <"$scratch/p.json") "
    achieved[$1]+="$(field "$3" <"$scratch/p.json") "
}
# one NAME TOKENS PROMPT FLAG...: a run, and what it says of itself.
one() {
    local name=$1 tokens=$2 prompt=$3 text=Once
    shift 3
    [ "$prompt" = 1 ] || text=$(words "$prompt" || true)
    run_json p -p "$text" -n "$tokens" --context 512 "$@"
    note "$name, prompt of $prompt: a token" 'd["predicted_seconds_per_token"]' 'd["seconds_per_token"]'
    note "$name, prompt of $prompt: a token, with the lanes' speeds of the run itself" 'd["seconds_per_token_by_lanes"]' 'd["seconds_per_token"]'
    note "$name, prompt of $prompt: a prompt token" 'd["predicted_seconds_per_prompt_token"]' 'd["seconds_per_prompt_token"]'
    say "$name, prompt of $prompt: $(field '"token %.4f predicted (%s), %.4f by lanes, %.4f achieved; prompt %.3f, %.3f; %s; first sweep %.3f" % (
        d["predicted_seconds_per_token"], d["predicted_from"], d["seconds_per_token_by_lanes"], d["seconds_per_token"], d["predicted_prompt_seconds"], d["prompt_seconds"],
        d["bottleneck"], d["first_sweep_seconds"])' <"$scratch/p.json")"
}
for prompt in 1 64; do # nothing is known yet
    rm -rf "$XDG_CACHE_HOME"
    one "first run, from disk" 6 $prompt --io direct --host-memory 300MiB
done
rm -rf "$XDG_CACHE_HOME"
one "first run, from memory" 16 1 --io direct
for ((r = 0; r < rounds; r++)); do
    for prompt in 1 64 300; do
        one "from memory" 24 $prompt --io direct
        one "a fifth from disk" 12 $prompt --io direct --host-memory 1250MiB
        one "from disk" 6 $prompt --io direct --host-memory 300MiB
    done
done
header
for n in "${names[@]}"; do row "$n: predicted / achieved" near 0.1 s "${predicted[$n]}" "${achieved[$n]}" achieved; done
