#!/usr/bin/env bash
# Q8_0 and Q4_K_M by `sluice pack --to`: llama.cpp says the same of MODEL (a folder; the demo model); sweeps of 7.5 GB beside AirLLM's
. bench/common.sh
model=${MODEL:-tests/data/demo-model}
source=$data/peers/llama_cpp_python/vendor/llama.cpp
libraries=$data/peers/llama-build/bin
build
header

same_tokens() {
    g++ -O1 -I"$source/include" -I"$source/ggml/include" bench/llama_greedy.cpp -o "$scratch/greedy" -L"$libraries" -lllama -lggml \
        -lggml-base -Wl,-rpath,"$libraries"
    texts=("The capital of France is" "Once upon a time" "Please tell me about the bell." "It's 12 o'clock, and  they'd say:")
    tokens=4 # llama.cpp rounds activations to 8 bits: later ones may differ
    for form in q8 q4; do
        gguf=$scratch/$form.gguf same=0 all=0
        sluice pack "$model" "$gguf" --to $form --json -q >"$scratch/$form.json"
        "$scratch/greedy" "$gguf" $tokens "${texts[@]}" >"$scratch/theirs"
        for ((i = 0; i < ${#texts[@]}; i++)); do
            theirs=$(sed -n "$((i + 1))p" "$scratch/theirs")
            ours=$(printf %s "${texts[i]}" | sluice tokenize "$gguf")
            [ "${theirs%% |*}" = "$ours" ] || { say "$form: \"${texts[i]}\" is $ours, and ${theirs%% |*} to llama.cpp" && exit 1; }
            for ((k = 0; k < tokens; k++)); do # token by token, so that nothing is lost on the way through text
                set -- ${theirs#*|}
                before=(${@:1:k})
                sluice logits "$gguf" --tokens "$ours ${before[*]:-}" --positions $(($(wc -w <<<"$ours") + k - 1)) --out "$scratch/l" -q
                next=$(python3 -c "import array, sys; a = array.array('f', open(sys.argv[1], 'rb').read()); print(a.index(max(a)))" "$scratch/l")
                all=$((all + 1))
                [ "$next" != "${@:k+1:1}" ] || same=$((same + 1))
            done
        done
        row "$form, likeliest next tokens that are llama.cpp's, of $all" min $all "" "$same" ""
        row "$form, bytes" - "" MB "$(field 'd["stored_bytes"] / 1e6' <"$scratch/$form.json")" ""
        row "$form, root mean square error of the worst tensor" - "" % "$(field 'max(t["relative_rms_error"] for t in d["tensors"]) * 100' <"$scratch/$form.json")" ""
    done
}
if [ -e "$libraries/libllama.so" ]; then same_tokens
else say "no llama.cpp in $data/peers, so nothing is held against it: bench/peers.sh --data $data"; fi

# A token's sweep of 7.5 GB with 2 GiB for all processes, from disk: as it lies and in both forms, in turns.
usual_model
declare -A folder=([bf16]=$model [q8]=$model-Q8_0.gguf [q4]=$model-Q4_K_M.gguf)
for form in q8 q4; do
    [ -e "${folder[$form]}" ] && continue
    say "making ${folder[$form]}"
    sluice pack "${folder[bf16]}" "${folder[$form]}" --to $form -q >&2
done
for form in bf16 q8 q4; do : >"$scratch/$form.seconds"; done
for ((r = 0; r < rounds; r++)); do
    for form in bf16 q8 q4; do
        model=${folder[$form]}
        forget "$model"
        run_json s -p "Once upon a time" -n 6 --context 128 --host-memory 2GiB --io direct
        decode_seconds s >>"$scratch/$form.seconds"
        field '"%.3f GB a sweep" % (d["sweep_bytes"] / 1e9)' <"$scratch/s.json" >"$scratch/$form.bytes"
    done
    say "round $((r + 1)): $(for form in bf16 q8 q4; do echo "$form $(tail -1 "$scratch/$form.seconds") s ($(cat "$scratch/$form.bytes"))"; done | tr '\n' ' ')"
done
seconds() { tr '\n' ' ' <"$scratch/$1.seconds"; }
row "q8: a sweep from disk in 2 GiB / BF16's" max 0.55 s "$(seconds q8)" "$(seconds bf16)"
row "q4: a sweep from disk in 2 GiB / BF16's" max 0.32 s "$(seconds q4)" "$(seconds bf16)"

# What AirLLM's own compression= gains over AirLLM, on the processor and in a cgroup of 4 GiB.
if ! [ -x "$airllm_python" ]; then say "no AirLLM in $data/peers: bench/peers.sh --data $data" && exit; fi
model=${folder[bf16]}
group=
for bits in 16 8 4; do # the layers, written by it before it can run
    shards=$data/models/llama-7g5.airllm && [ $bits = 16 ] || shards+=$bits
    [ -e "$shards/.whole" ] && continue
    say "AirLLM writes its layers in $bits bits"
    mkdir -p "$shards"
    "$airllm_python" bench/airllm_sweeps.py "$model" "$shards" 1 $([ $bits = 16 ] || echo ${bits}bit) >"$scratch/air" 2>"$scratch/air.errors" ||
        { tail -3 "$scratch/air.errors" >&2 && skip "AirLLM cannot write its layers in $bits bits"; }
    touch "$shards/.whole"
done
need_group $((4 << 30))
for bits in 16 8 4; do : >"$scratch/air$bits.seconds"; done
for ((r = 0; r < rounds; r++)); do
    for bits in 16 8 4; do
        shards=$data/models/llama-7g5.airllm && [ $bits = 16 ] || shards+=$bits
        forget "$shards"
        in_group "$airllm_python" bench/airllm_sweeps.py "$model" "$shards" 3 $([ $bits = 16 ] || echo ${bits}bit) 2>/dev/null | tail -1 |
            field 'sorted(d["sweeps"][1:])[len(d["sweeps"][1:]) // 2]' >>"$scratch/air$bits.seconds"
    done
    say "AirLLM, round $((r + 1)): $(tail -qn1 "$scratch"/air{16,8,4}.seconds | tr '\n' ' ')s with 16, 8, 4 bits"
done
row "AirLLM 4.0.0, compression=8bit / without, in 4 GiB" - "" s "$(seconds air8)" "$(seconds air16)" without
row "AirLLM 4.0.0, compression=4bit / without, in 4 GiB" - "" s "$(seconds air4)" "$(seconds air16)" without
