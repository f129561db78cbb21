#!/usr/bin/env bash
# MODEL (a folder; the demo model) as Q8_0 and Q4_K_M by `sluice pack --to`: llama.cpp reads it, and says the same
. bench/common.sh
model=${MODEL:-tests/data/demo-model}
source=$data/peers/llama_cpp_python/vendor/llama.cpp
libraries=$data/peers/llama-build/bin
[ -e "$libraries/libllama.so" ] || skip "no llama.cpp in $data/peers: bench/peers.sh --data $data"
build
g++ -O1 -I"$source/include" -I"$source/ggml/include" bench/llama_greedy.cpp -o "$scratch/greedy" -L"$libraries" -lllama -lggml \
    -lggml-base -Wl,-rpath,"$libraries"
texts=("The capital of France is" "Once upon a time" "Please tell me about the bell." "It's 12 o'clock, and  they'd say:")
tokens=4 # llama.cpp rounds activations to 8 bits: later ones may differ
header
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
