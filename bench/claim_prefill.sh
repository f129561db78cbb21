#!/usr/bin/env bash
# Prompts of 128 and 512 tokens from memory beside llama.cpp with as many threads, and as a share of the float32 FMA peak
. bench/common.sh
need_llama
build kernel_bench
declare -A ours peer float flops
peak=()
for ((r = 0; r < rounds; r++)); do
    for n in 128 512; do
        peer[$n]+=" $(llama_rate "$llama_bench" -p $n -n 0 -lm none)"
        # two chunks: the first sweep reads the model, the second finds it in memory (and attends to twice the tokens)
        run_json s -p "$(words $((2 * n)))" -n 1 --context 2048 --chunk $n
        ours[$n]+=" $(field "$n / [s['seconds'] for s in d['sweeps'] if s['positions'] == $n][1]" <"$scratch/s.json")"
        float[$n]+=" $(llama_rate "$llama_bench_f32" -p $n -n 0 -lm none)"
    done
    peak+=("$(kernel_rate "multiply and add")")
    say "round $((r + 1)): of 128: sluice${ours[128]}, llama.cpp${peer[128]}, float32${float[128]}; of 512:${ours[512]},${peer[512]},${float[512]} tok/s"
done
# multiplications and additions of one token in the layers; the head is for one token of a prompt
work=$(python3 -c "
import json; c = json.load(open('$model/config.json'))
h, i, q, k = c['hidden_size'], c['intermediate_size'], c['num_attention_heads'] * c['head_dim'], c['num_key_value_heads'] * c['head_dim']
print(2e-9 * c['num_hidden_layers'] * h * (2 * q + 2 * k + 3 * i))")
header
for n in 128 512; do
    row "prompt of $n / llama.cpp (its activations rounded to bfloat16 where the processor multiplies those)" min 1.3 tok/s "${ours[$n]}" "${peer[$n]}"
    row "prompt of $n / llama.cpp built without bfloat16 arithmetic" min 1.3 tok/s "${ours[$n]}" "${float[$n]}"
    row "prompt of $n: GFLOP/s / float32 FMA peak" - "" GFLOP/s "$(for x in ${ours[$n]}; do calc "$x * $work"; done | tr '\n' ' ')" "${peak[*]}"
done
