# Common to the claims about experts; sourced after common.sh.

# with_top N: a folder in $scratch with $model's weights, N experts for each token; $topped is its path.
with_top() {
    topped=$scratch/top-$1
    mkdir -p "$topped"
    ln -sf "$model"/*.safetensors* "$model"/tokenizer* "$topped/"
    python3 - "$model" "$topped" "$1" <<'P'
import json, sys
c = json.load(open(sys.argv[1] + "/config.json"))
c["num_experts_per_tok"] = int(sys.argv[3])
json.dump(c, open(sys.argv[2] + "/config.json", "w"))
P
}

# between NAME KEY: how much a sum grew for each token from a run of few tokens to one of more.
between() { python3 - "$scratch/$1-few.json" "$scratch/$1-more.json" "$2" <<'P'
import json, sys
few, more = (json.load(open(f)) for f in sys.argv[1:3])
r = lambda d: d["stages"]["reader"]
span = lambda d: r(d)["bytes"] / r(d)["bytes_per_second"]
sums = {
    "asked": lambda d: d["expert_hit_bytes"] + d["expert_miss_bytes"],
    "hit": lambda d: d["expert_hit_bytes"],
    "read": lambda d: d["bytes_read"],
    "busy": lambda d: r(d)["busy"] * span(d),
}
print((sums[sys.argv[3]](more) - sums[sys.argv[3]](few)) / (more["tokens"] - few["tokens"]))
P
}
# both NAME FOLDER FEW MORE FLAG...: the two runs. What is subtracted must be counts: times of two runs differ by more than
# the tokens between them take. Tokens are drawn at a high temperature.
both() {
    local name=$1 few=$3 more=$4 keep=$model
    model=$2
    shift 4
    run_json "$name-few" -p "Once upon a time" -n "$few" --io direct --context 256 --temperature 50 --top-k 0 --seed 7 "$@"
    run_json "$name-more" -p "Once upon a time" -n "$more" --io direct --context 256 --temperature 50 --top-k 0 --seed 7 "$@"
    model=$keep
}
planned() { build/sluice plan "$1" --json --context 256 --host-memory "$2" | field "d['$3']"; }

# bytes_rows BUDGET TOP...: bytes that a token asks for and reads, by experts used.
bytes_rows() {
    local budget=$1 used top asked=() want=() read=() plan=()
    shift
    for top; do
        with_top "$top"
        both "top$top" "$topped" 3 11 --host-memory "$budget"
        used=$(planned "$topped" "$budget" expert_used_bytes)
        asked+=("$(between "top$top" asked)") want+=("$used")
        read+=("$(between "top$top" read)") plan+=("$(planned "$topped" "$budget" sweep_bytes)")
        say "$top experts: $(between "top$top" asked) bytes asked for, $(between "top$top" read) read each token"
    done
    for i in "${!asked[@]}"; do
        row "bytes of experts for each token, top ${*:i+1:1} / the plan's" - "" GB "$(calc "${asked[i]} / 1e9")" "$(calc "${want[i]} / 1e9")"
        row "bytes read for each token, top ${*:i+1:1} / the plan's (layers that are not pinned included)" - "" GB "$(calc "${read[i]} / 1e9")" "$(calc "${plan[i]} / 1e9")"
    done
}

# hit_rows BUDGET...: hits of the cache, by budget.
hit_rows() {
    local budget
    for budget; do
        both "b$budget" "$model" 17 41 --host-memory "$budget"
        row "hits at --host-memory $budget / expected of even choices" - "" % "$(calc "100 * $(between "b$budget" hit) / $(between "b$budget" asked)")" \
            "$(calc "100 * $(planned "$model" "$budget" expert_hit_rate) + 1e-9")"
    done
}
# chosen EXPERTS LAYERS BUDGET: how even the choices were, on standard error.
chosen() {
    run_json chosen -p "Once upon a time" -n 57 --io direct --context 256 --temperature 50 --top-k 0 --seed 7 --host-memory "$3" --trace "$scratch/chosen.trace"
    python3 bench/expert_choices.py "$scratch/chosen.trace" "$1" "$2" $(($(planned "$model" "$3" sweep_tiles) + 1)) >&2
}
