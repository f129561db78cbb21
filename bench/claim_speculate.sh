#!/usr/bin/env bash
# Tokens of a sweep with guesses, predicted and achieved, and seconds per token beside the plain run, from disk and from memory
. bench/common.sh
# A model of 135 million weights that follows instructions: SmolLM2-135M-Instruct, as a folder or a GGUF file.
model=
for m in "$data"/models/SmolLM2-135M-Instruct*; do [ ! -e "$m" ] || model=$m; done
[ -n "$model" ] || skip "put SmolLM2-135M-Instruct, a folder or a GGUF file, into $data/models"
build draft_bench
tokens=${TOKENS:-600}
# answer NAME TASK FLAG...
answer() {
    local name=$1 task=$2 && shift 2
    sluice run "$model" --chat -f "bench/data/speculate/$task.txt" -t 0 -n "$tokens" --context 2048 -q --json "$@" >"$scratch/$name.json"
}
of() { field "$2" <"$scratch/$1.json"; }
# A copy of the model that is right in nine of ten tokens stands for a small one of its family.
draft=
if [ -d "$model" ] && "${PYTHON:-python3}" -c 'import torch, safetensors' 2>/dev/null; then
    draft=$scratch/draft
    "${PYTHON:-python3}" bench/round_mantissa.py "$model" "$draft" 3
else
    say "no draft model: it is made of a folder, and PYTHON=... needs torch and safetensors"
fi
header
row "guessing after 32,768 tokens, 64 guesses, a sweep" max 1 ms "$(build/bench/draft_bench coordinator/*/*.c | awk '/^64 / {print $3}')" ""
declare -A asked=([edit]=10 [quote]=3 [code]=2 [prose]=1.5)
for task in edit quote code prose; do
    answer plain $task --speculate off
    answer tree $task --speculate 64
    [ "$(of plain 'd["text"]')" = "$(of tree 'd["text"]')" ] || { say "$task: the text is another" && exit 1; }
    say "$task: $(of tree 'd["prompt_tokens"]') tokens asked, $(of tree 'd["tokens"]') answered in $(of tree 'd["speculation"]["sweeps"]') sweeps, guessing took $(of tree 'd["speculation"]["draft_seconds"] / d["speculation"]["sweeps"] * 1e3') ms a sweep"
    row "$task: tokens of a sweep, 64 guesses" min "${asked[$task]}" "" "$(of tree 'd["speculation"]["tokens_per_sweep"]')" ""
    row "$task: the same / predicted" near 0.2 tokens "$(of tree 'd["speculation"]["tokens_per_sweep"]')" "$(of tree 'd["speculation"]["predicted_tokens_per_sweep"]')"
    for t in ${draft:+0 0.7}; do
        answer plain $task --speculate off -t "$t" --seed 1
        answer tree $task --speculate 64 --draft "$draft" -t "$t" --seed 1
        [ "$(of plain 'd["text"]')" = "$(of tree 'd["text"]')" ] || { say "$task: the text is another" && exit 1; }
        row "$task, -t $t: with a draft model" min 5 "" "$(of tree 'd["speculation"]["tokens_per_sweep"]')" ""
        row "$task, -t $t: the same / predicted" near 0.2 tokens "$(of tree 'd["speculation"]["tokens_per_sweep"]')" "$(of tree 'd["speculation"]["predicted_tokens_per_sweep"]')"
    done
done
for task in edit quote code prose; do
    for where in disk memory; do
        flags=() && [ $where = memory ] || flags=(--io direct --host-memory 300M) # with less there is no room for guesses
        off=() auto=() promised=() kept=()
        for ((r = 0; r < rounds; r++)); do
            answer off $task --speculate off "${flags[@]}"
            answer auto $task "${flags[@]}"
            off+=("$(of off 'd["seconds_per_token"]')")
            auto+=("$(of auto 'd["seconds_per_token"]')")
            promised+=("$(of auto 'd["tokens_per_sweep"]')")
            kept+=("$(calc "${off[r]} / ${auto[r]}")")
        done
        if [ $where = disk ]; then
            row "$task, from disk: times as fast as off / tokens of a sweep" min 0.8 "" "${kept[*]}" "${promised[*]}"
        else
            row "$task, from memory: seconds per token / off" max 1.02 s "${auto[*]}" "${off[*]}"
        fi
    done
done
