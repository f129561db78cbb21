# What the claims share; each begins with `. bench/common.sh`. Not a program of its own.
#
# A claim prints a table on standard output, ratios first, and says what it does on standard error. Its flags:
#   --data DIR    models and peers lie here   [${XDG_CACHE_HOME:-~/.cache}/sluice-bench]
#   --rounds N    each side is measured N times, in turns   [3]
set -euo pipefail
data=${XDG_CACHE_HOME:-$HOME/.cache}/sluice-bench rounds=3
while [ $# -gt 0 ]; do
    case $1 in
    --data) data=${2:?--data DIR} && shift 2 ;;
    --rounds) rounds=${2:?--rounds N} && shift 2 ;;
    *) echo "${0##*/}: unknown flag $1; known: --data DIR, --rounds N" >&2 && exit 2 ;;
    esac
done
case $rounds in '' | *[!0-9]* | 0) echo "${0##*/}: --rounds $rounds: 1 or more" >&2 && exit 2 ;; esac
scratch=$(mktemp -d)
group=
cleanup() {
    [ -z "$group" ] || rmdir "$group" 2>/dev/null || true
    rm -rf "$scratch"
}
trap cleanup EXIT

say() { echo "${0##*/}: $*" >&2; }
# Ends a claim that cannot be measured here; nothing is logged then.
skip() { say "not measured here: $*" && exit 77; }

build() { make -s -j"$(nproc)" CUDA=no all "${@/#/build/bench/}" >&2; }
sluice() { build/sluice "$@"; }

# ---- numbers ----

# A value of the JSON on standard input: a Python expression of d.
field() { python3 -c "import json, sys; d = json.load(sys.stdin); print($1)"; }
calc() { python3 -c "print($1)"; }
median() { printf '%s\n' "$@" | sort -g | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

header() { printf '| what | ratio | asked | verdict | sluice | beside it |\n|---|---|---|---|---|---|\n'; }

# row WHAT min|max|near|- ASKED UNIT "OURS..." "OTHERS..." [OTHER'S NAME]
# One number a round. The ratio is the median of the rounds' ratios; without others the number itself is judged. near: the
# ratio is 1, give or take this.
row() {
    python3 - "$@" <<'P'
import statistics, sys
what, sense, asked, unit, ours, others, *name = sys.argv[1:]
ours, others = [float(x) for x in ours.split()], [float(x) for x in others.split()]
def told(v):
    m = "%.4g" % statistics.median(v)
    return (m if len(v) == 1 else "%s (%.4g to %.4g)" % (m, min(v), max(v))) + " " + unit
value = statistics.median([a / b for a, b in zip(ours, others)] if others else ours)
shown = "%.2f" % value if others else "%.4g %s" % (value, unit)
good = {"min": lambda: value >= float(asked), "max": lambda: value <= float(asked), "near": lambda: abs(value - 1) <= float(asked)}
met = "" if sense == "-" else "met" if good[sense]() else "**missed**"
sign = {"min": "≥ ", "max": "≤ ", "near": "1 ± ", "-": ""}[sense]
print("| %s | **%s** | %s%s | %s | %s | %s |" % (what, shown, sign, asked, met, told(ours),
      (name[0] + " " if name else "") + told(others) if others else ""))
P
}

# ---- a server ----

# serve_up FLAG...: a server at $port that answers; $pid. serve_down: it ends.
serve_up() {
    build/sluice serve "$@" --port "$port" -q 2>/dev/null &
    pid=$!
    for _ in $(seq 600); do curl -s -o /dev/null "http://127.0.0.1:$port/health" && return || sleep 0.1; done
    say "the server does not answer" && exit 1
}
serve_down() { kill $pid && wait $pid || true; }

# ---- models ----

# model NAME SHAPE...: makes it where it is not there; $model is its folder.
model() {
    model=$data/models/$1 && shift
    mkdir -p "$model"
    if ! [ -e "$model/.whole" ]; then
        say "making $model"
        build mkmodel
        build/bench/mkmodel "$@" "$model"
        sync
        touch "$model/.whole"
    fi
    # as many tokens as the model has rows: one more, at the end
    python3 - "$model" >"$scratch/tokenizer.json" <<'P'
import json, sys
vocab = json.load(open(sys.argv[1] + "/config.json"))["vocab_size"]
tokenizer = json.load(open("tests/data/tokenizers/llama2/tokenizer.json"))
tokenizer["model"]["vocab"]["<last>"] = vocab - 1
json.dump(tokenizer, sys.stdout)
P
    cp "$scratch/tokenizer.json" "$model/"
    echo '{"tokenizer_class":"PreTrainedTokenizerFast","bos_token":"<s>","eos_token":"</s>"}' >"$model/tokenizer_config.json"
}
# The model that most claims are about: a Llama of 16 layers in BF16, 7.5 GB.
usual_model() { model llama-7g5 --shape llama --hidden 4096 --layers 16 --vocab 32000; }

# Takes a file, or the files of a folder, out of the page cache.
forget() { find "$@" -type f -exec dd if={} iflag=nocache count=0 status=none \;; }

words() { printf 'the story %.0s' $(seq "$(($1 / 2 + 1))"); }
# run_json NAME FLAG...: one answer of $model, summary to $scratch/NAME.json. Text is no matter here: weights are noise.
run_json() {
    local name=$1 && shift
    in_group build/sluice run "$model" --temperature 0 --ignore-eos --speculate off --json "$@" >"$scratch/$name.json"
}
# Median seconds of the sweeps of one position, but the first of them.
decode_seconds() { field 'sorted(s["seconds"] for s in d["sweeps"][1:] if s["positions"] == 1)[(len(d["sweeps"]) - 2) // 2]' <"$scratch/$1.json"; }

# ---- a memory cgroup ----

# need_group BYTES: everything that in_group runs lives in a cgroup of this size.
need_group() {
    local v1=/sys/fs/cgroup/memory v2=/sys/fs/cgroup
    if mkdir -p $v1/sluice-bench-$$ 2>/dev/null && [ -e $v1/sluice-bench-$$/memory.limit_in_bytes ]; then
        group=$v1/sluice-bench-$$
        echo "$1" >"$group/memory.limit_in_bytes"
    elif mkdir -p $v2/sluice-bench-$$ 2>/dev/null && [ -e $v2/sluice-bench-$$/memory.max ]; then
        group=$v2/sluice-bench-$$
        echo "$1" >"$group/memory.max"
        [ ! -e "$group/memory.swap.max" ] || echo 0 >"$group/memory.swap.max"
    else
        rmdir $v1/sluice-bench-$$ $v2/sluice-bench-$$ 2>/dev/null || true
        skip "it needs a memory cgroup: run it as root, or below systemd-run --scope -p Delegate=yes"
    fi
}
in_group() { (
    [ -z "$group" ] || echo "$BASHPID" >"$group/cgroup.procs"
    exec "$@"
); }
group_failures() {
    if [ -e "$group/memory.oom_control" ]; then sed -n 's/^oom_kill //p' "$group/memory.oom_control"
    else sed -n 's/^oom_kill //p' "$group/memory.events"; fi
}

# ---- peers ----

llama_bench=$data/peers/llama-build/bin/llama-bench          # as its makers build it for this machine
llama_bench_f32=$data/peers/llama-build-f32/bin/llama-bench  # the same without bfloat16 arithmetic
airllm_python=$data/peers/air/bin/python
need_llama() {
    [ -x "$llama_bench" ] && [ -x "$llama_bench_f32" ] || skip "no llama.cpp in $data/peers: bench/peers.sh --data $data"
    usual_model
    gguf=$data/models/llama-7g5.gguf
    [ -e "$gguf" ] && return
    say "making $gguf"
    PYTHONPATH=$(echo "$data"/peers/llama_cpp_python/vendor/llama.cpp/gguf-py) "$airllm_python" bench/gguf_from_llama.py "$model" "$gguf.part" >&2
    mv "$gguf.part" "$gguf"
}
# llama_rate PROGRAM FLAG...: tokens a second of one test.
llama_rate() {
    local program=$1 && shift
    in_group "$program" -m "$gguf" -t "$(nproc)" -r 1 -o json "$@" 2>/dev/null | field 'd[0]["avg_ts"]'
}
# Of one thing that kernel_bench measures, the rate.
kernel_rate() { build/bench/kernel_bench --rounds 5 --only "$1" | awk -v name="$1" 'index($0, name) == 1 {print substr($0, 29) + 0; exit}'; }
