#!/usr/bin/env bash
# A packed model of 7.5 GB beside the same as it lies: in a cgroup of 2 GiB, with half of its bytes as budget, in memory
. bench/common.sh
build
usual_model
raw=$model packed=$model.packed back=$data/models/unpacked
cores=$(nproc) bytes=$(du -sb "$raw" | cut -f1)
timed() { # what it took, in seconds; its output goes to the scratch folder
    local began=$EPOCHREALTIME
    "$@" >"$scratch/out"
    calc "$EPOCHREALTIME - $began"
}
sums() { (cd "$1" && sha256sum ./*.safetensors); }

# What packing itself takes, without a disk: a model of two such layers, from memory into memory.
memory=/dev/shm/sluice-bench-$$
trap 'rm -rf "$memory"; cleanup' EXIT
build mkmodel
mkdir -p "$memory"
build/bench/mkmodel --shape llama --hidden 4096 --layers 2 --vocab 32000 "$memory/model"
in_memory=()
for ((r = 0; r < rounds; r++)); do
    rm -rf "$memory/packed"
    seconds=$(timed build/sluice pack "$memory/model" "$memory/packed" -q)
    in_memory+=("$(calc "$(du -sb "$memory/model" | cut -f1) / 1e9 / $seconds / $cores")")
done
rm -rf "$memory"

rm -rf "$packed" "$back"
forget "$raw"
seconds=$(timed build/sluice pack "$raw" "$packed" --json)
pack_speed=$(calc "$bytes / 1e9 / $seconds / $cores")
ratio=$(field 'd["packed_to_bytes"] / d["packed_bytes"]' <"$scratch/out")
whole=$(field 'd["stored_bytes"] / d["bytes"]' <"$scratch/out")
say "packed in $seconds s, matrices to $ratio, all to $whole"
forget "$raw" "$packed" # what the disk itself takes for the same bytes, read and written by turns in large pieces
copy=$(timed bash -c 'cat "$1"/*.safetensors >/dev/null; cat "$2"/* | dd of="$3" bs=4M iflag=fullblock conv=fsync status=none' - "$raw" "$packed" "$scratch.copy")
rm -f "$scratch.copy"
pack_seconds=$seconds
forget "$packed"
seconds=$(timed build/sluice unpack "$packed" "$back")
unpack_speed=$(calc "$bytes / 1e9 / $seconds")
[ "$(sums "$raw")" = "$(sums "$back")" ] || { say "what was unpacked is not what was packed" && exit 1; }
rm -rf "$back"

# sweeps NAME FLAG...: in turns, one token's sweep of either; medians to $scratch/NAME.raw and NAME.packed
sweeps() {
    local name=$1 which && shift
    : >"$scratch/$name.raw" && : >"$scratch/$name.packed"
    for ((r = 0; r < rounds; r++)); do
        for which in raw packed; do
            model=${!which}
            [ "$name" = memory ] || forget "$model"
            run_json s -p "Once upon a time" -n 6 --context 128 "$@"
            decode_seconds s >>"$scratch/$name.$which"
        done
        say "$name, round $((r + 1)): as it lies $(tail -1 "$scratch/$name.raw"), packed $(tail -1 "$scratch/$name.packed") s"
    done
}
numbers() { tr '\n' ' ' <"$scratch/$1"; }

sweeps half --io direct --host-memory "$((bytes / 2 < 200000000 ? 200000000 : bytes / 2))"
sweeps memory
need_group $((2 << 30))
sweeps disk --io direct

header
row "packed matrices / as they were, noise of one deviation" max 0.68 "of the bytes" "$ratio" ""
row "packing from memory into memory, per core" min 0.5 GB/s "${in_memory[*]}" ""
row "packing on the disk, per core" - "" GB/s "$pack_speed" ""
row "the same / reading as many bytes from the disk and then writing as many" max 1.1 s "$pack_seconds" "$copy"
row "unpacking, sums equal" - - GB/s "$unpack_speed" ""
row "a sweep from disk in 2 GiB: packed / as it lies" max 0.69 s "$(numbers disk.packed)" "$(numbers disk.raw)"
row "a sweep at a budget of half the model: packed / as it lies" max 0.55 s "$(numbers half.packed)" "$(numbers half.raw)"
row "a sweep in memory: packed / as it lies" max 1.6 s "$(numbers memory.packed)" "$(numbers memory.raw)"
