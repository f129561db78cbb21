#!/usr/bin/env bash
# A Llama of 7.5 GB as GGUF in Q8_0 and Q4_K_M: from memory and streamed in a third of its bytes, beside llama.cpp
. bench/common.sh
quantize=$data/peers/llama-build/bin/llama-quantize
[ -x "$llama_bench" ] || skip "no llama.cpp in $data/peers: bench/peers.sh --data $data"
bf16=$data/models/llama-7g5.gguf
[ -e "$bf16" ] || need_llama
build
declare -A asked_stored=([Q8_0]=28 [Q4_K_M]=17)
header
for type in ${TYPES:-Q8_0 Q4_K_M}; do
    gguf=$data/models/llama-7g5-$type.gguf model=$gguf
    if ! [ -e "$gguf" ]; then
        [ -x "$quantize" ] || skip "no llama-quantize in $data/peers (cmake --build llama-build --target llama-quantize)"
        "$quantize" "$bf16" "$gguf.part" "$type" "$(nproc)" >&2
        mv "$gguf.part" "$gguf"
    fi
    bytes=$(stat -c %s "$gguf")
    group='' ours=() peer=() stored=() prompt=() peer_prompt=()
    for ((r = 0; r < rounds; r++)); do
        peer+=("$(llama_rate "$llama_bench" -p 0 -n 16 -lm none)")
        run_json s -p "Once upon a time" -n 18 --context 128 --speculate off
        ours+=("$(calc "1 / $(decode_seconds s)")")
        stored+=("$(calc "$(field 'd["stages"]["compute"]["bytes"] / len(d["sweeps"]) / 1e9' <"$scratch/s.json") * ${ours[r]}")")
        run_json p -p "$(words 70)" -n 2 --context 1024 --speculate off # a token a letter: about 512
        prompt+=("$(field 'max(s["positions"] / s["seconds"] for s in d["sweeps"] if s["positions"] > 64)' <"$scratch/p.json")")
        peer_prompt+=("$(llama_rate "$llama_bench" -p 512 -n 0 -lm none)")
        say "$type, round $((r + 1)): from memory ${ours[r]} and ${peer[r]} tok/s (${stored[r]} GB/s), a prompt ${prompt[r]} and ${peer_prompt[r]}"
    done
    row "$type, decode from memory / llama.cpp, which rounds activations to 8 bits" - "" tok/s "${ours[*]}" "${peer[*]}"
    row "$type, stored bytes multiplied" min "${asked_stored[$type]:-0}" GB/s "${stored[*]}" ""
    row "$type, a prompt from memory / llama.cpp" - "" tok/s "${prompt[*]}" "${peer_prompt[*]}"
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
