#!/usr/bin/env bash
# GGUF files: every stored form's kernels, alone; and a Llama of 7.5 GB in Q8_0 and Q4_K_M, from memory and streamed in a third of its
# bytes, beside llama.cpp. PARTS="forms files": what of it; TYPES: of which types.
. bench/common.sh
quantize=$data/peers/llama-build/bin/llama-quantize
[ -x "$llama_bench" ] || skip "no llama.cpp in $data/peers: bench/peers.sh --data $data"
bf16=$data/models/llama-7g5.gguf
[ -e "$bf16" ] || need_llama
# Multiplications and additions of one token in the layers; the head is for one token of a prompt.
layer_flops() {
    python3 -c "
import json; c = json.load(open('$model/config.json'))
h, i, q, k = c['hidden_size'], c['intermediate_size'], c['num_attention_heads'] * c['head_dim'], c['num_key_value_heads'] * c['head_dim']
print(2e-9 * c['num_hidden_layers'] * h * (2 * q + 2 * k + 3 * i))"
}
usual_model
work=$(layer_flops)
build kernel_bench
declare -A asked_stored=([Q8_0]=28 [Q4_K_M]=17)
header

# What is asked of a form's kernel for one token, in stored GB/s, and for 512 tokens, as a share of the FMA peak.
stored_asked() {
    case $1 in
    Q8_0) echo 28 ;;
    IQ1* | IQ2* | IQ3* | TQ*) echo 3 ;;
    *) echo 17 ;;
    esac
}
# The kernel bench's line of a case: its rate.
rate_of() { awk -v name="$2" 'index($0, name) == 1 {print substr($0, 29) + 0; exit}' "$1"; }
forms() {
    local name one many
    say "kernels of every form: one token, then 512"
    build/bench/kernel_bench --rounds "$((rounds * 3))" --only ", 1 token" >"$scratch/one"
    build/bench/kernel_bench --rounds "$((rounds))" --only ", 512 tokens" >"$scratch/many"
    one=$(rate_of "$scratch/one" "read memory") many=$(rate_of "$scratch/many" "multiply and add")
    for name in $(sed -n 's/^product \([^,]*\), 512 tokens.*/\1/p' "$scratch/many"); do
        row "$name, one token: stored bytes a second" min "$(stored_asked "$name")" GB/s "$(rate_of "$scratch/one" "product $name, 1 token")" ""
        row "$name, one token / reading memory" - "" GB/s "$(rate_of "$scratch/one" "product $name, 1 token")" "$one"
        row "$name, 512 tokens / the float32 FMA peak" min 0.7 GFLOP/s "$(rate_of "$scratch/many" "product $name, 512 tokens")" "$many"
    done
}
parts=${PARTS:-forms files}
case " $parts " in *" forms "*) forms ;; esac
case " $parts " in *" files "*) ;; *) exit 0 ;; esac

for type in ${TYPES:-Q8_0 Q4_K_M}; do
    gguf=$data/models/llama-7g5-$type.gguf model=$gguf
    if ! [ -e "$gguf" ]; then
        [ -x "$quantize" ] || skip "no llama-quantize in $data/peers (cmake --build llama-build --target llama-quantize)"
        "$quantize" "$bf16" "$gguf.part" "$type" "$(nproc)" >&2
        mv "$gguf.part" "$gguf"
    fi
    bytes=$(stat -c %s "$gguf")
    group='' ours=() peer=() stored=() prompt=() peer_prompt=() peak=()
    for ((r = 0; r < rounds; r++)); do
        peer+=("$(llama_rate "$llama_bench" -p 0 -n 16 -lm none)")
        run_json s -p "Once upon a time" -n 18 --context 128 --speculate off
        ours+=("$(calc "1 / $(decode_seconds s)")")
        stored+=("$(calc "$(field 'd["stages"]["compute"]["bytes"] / len(d["sweeps"]) / 1e9' <"$scratch/s.json") * ${ours[r]}")")
        # a token a letter: two chunks, the first reads the model, the second finds it in memory
        run_json p -p "$(words 210)" -n 1 --context 2048 --chunk 512 --speculate off
        prompt+=("$(field "512 / [s['seconds'] for s in d['sweeps'] if s['positions'] == 512][1]" <"$scratch/p.json")")
        peer_prompt+=("$(llama_rate "$llama_bench" -p 512 -n 0 -lm none)")
        peak+=("$(kernel_rate "multiply and add")")
        say "$type, round $((r + 1)): from memory ${ours[r]} and ${peer[r]} tok/s (${stored[r]} GB/s), a prompt ${prompt[r]} and ${peer_prompt[r]}"
    done
    row "$type, decode from memory / llama.cpp, which rounds activations to 8 bits" - "" tok/s "${ours[*]}" "${peer[*]}"
    row "$type, stored bytes multiplied" min "${asked_stored[$type]:-0}" GB/s "${stored[*]}" ""
    row "$type, a prompt from memory / llama.cpp, which rounds activations to 8 bits" - "" tok/s "${prompt[*]}" "${peer_prompt[*]}"
    row "$type, a prompt of 512: GFLOP/s / float32 FMA peak" min 0.7 GFLOP/s "$(for x in "${prompt[@]}"; do calc "$x * $work"; done | tr '\n' ' ')" "${peak[*]}"
    need_group $((bytes / 3))
    ours=() peer=() disk=() ceiling=()
    for ((r = 0; r < rounds; r++)); do
        forget "$gguf"
        peer+=("$(llama_rate "$llama_bench" -p 0 -n 3 -lm mmap --no-warmup)")
        forget "$gguf"
        in_group build/sluice profile reader "$gguf" --json --io direct --seconds 4 >"$scratch/p"
        ceiling+=("$(field 'd["reader"]["bytes_per_second"] / 1e9' <"$scratch/p")")
        run_json s -p "Once upon a time" -n 6 --context 128 --io direct --speculate off
        ours+=("$(calc "1 / $(decode_seconds s)")")
        disk+=("$(field 'd["sweep_bytes"] * 4 / sum(s["seconds"] for s in d["sweeps"][1:5]) / 1e9' <"$scratch/s.json")")
        say "$type, round $((r + 1)): streamed ${ours[r]} and ${peer[r]} tok/s; ${disk[r]} of ${ceiling[r]} GB/s"
    done
    row "$type in a third of its bytes / llama.cpp mmap" min 1.4 tok/s "${ours[*]}" "${peer[*]}"
    row "$type, bytes from disk / the reader alone" min 0.97 GB/s "${disk[*]}" "${ceiling[*]}"
    rmdir "$group" 2>/dev/null || true
done
