#!/usr/bin/env bash
# Everything that a card can tell of sluice, in one report; needs no make, no network and no compiler.
#
#   bench/gpu_report.sh [--programs DIR] [--out FILE] [--data DIR] [--device N] [--quick]
#
#   --programs DIR  sluice, its stages and the test programs   [the bundle's, or build]
#   --out FILE      the report                                 [gpu-report-HOST-DATE.md]
#   --data DIR      models are made here, 9 GB                 [a temporary folder, removed at the end]
#   --device N      which GPU                                  [0]
#   --quick         no model of gigabytes, no long context: what the program does, not how fast
#
# Each step has a time limit, and the next one follows whatever became of it. The last thing in the report is a table of the
# claims: each met, missed, or not measured and why. Exit status 0: no claim was missed and no test failed; 1: some were.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
device=0 quick= data= out= programs=
while [ $# -gt 0 ]; do
    case $1 in
    --programs) programs=${2:?--programs DIR} && shift 2 ;;
    --out) out=${2:?--out FILE} && shift 2 ;;
    --data) data=${2:?--data DIR} && shift 2 ;;
    --device) device=${2:?--device N} && shift 2 ;;
    --quick) quick=1 && shift ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" && exit ;;
    *) echo "${0##*/}: unknown flag $1; see --help" >&2 && exit 2 ;;
    esac
done
case $device in '' | *[!0-9]*) echo "${0##*/}: --device $device: a number" >&2 && exit 2 ;; esac
# A bundle has this script beside its programs; a checkout has it in bench/.
if [ -z "$programs" ]; then
    if [ -x "$here/programs/sluice" ]; then programs=$here/programs; else programs=$here/../build; fi
fi
# A bundle's libraries, and those of a CUDA runtime that the loader was not told of.
[ ! -d "$here/lib" ] || export LD_LIBRARY_PATH=$here/lib:${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/usr/local/cuda/lib64
programs=$(cd "$programs" 2>/dev/null && pwd) || { echo "${0##*/}: no folder of programs; build first, or --programs DIR" >&2; exit 2; }
sluice=$programs/sluice
[ -x "$sluice" ] || { echo "${0##*/}: $sluice is not there; build first, or --programs DIR" >&2; exit 2; }
demo=
for d in "$here" "$here/.."; do [ -e "$d/tests/data/demo-model/config.json" ] && demo=$d/tests/data/demo-model && break; done
out=${out:-gpu-report-$(hostname)-$(date +%Y%m%d-%H%M).md}
case $out in /*) ;; *) out=$PWD/$out ;; esac
: >"$out" || exit 2
scratch=$(mktemp -d "${TMPDIR:-/tmp}/sluice-gpu-report-XXXXXX")
[ -n "$data" ] || data=$scratch/data
mkdir -p "$data"
trap '[ "$BASHPID" != $$ ] || rm -rf "$scratch"' EXIT # a child that is killed before it is another program has it too
trap 'exit 130' INT TERM
# Speeds of other days and cards are not this report's.
export XDG_CACHE_HOME=$scratch/cache
failed=()

# ---- steps ----

say() { echo "${0##*/}: $*" >&2; }
title() { printf '\n## %s\n\n' "$*" >>"$out" && say "$*"; }
note() { printf '%s\n' "$*" >>"$out"; }

# step LIMIT NAME PROGRAM ARG...: output into the report (its last lines where it is long) and to $scratch/NAME.out and .err;
# what became of it to $why: empty, or why there is no result.
step() {
    local limit=$1 name=$2 rc=0 start=$SECONDS
    shift 2
    timeout -k 5 "$limit" "$@" >"$scratch/$name.out" 2>"$scratch/$name.err" </dev/null || rc=$?
    case $rc in
    0) why= ;;
    77) why=$(tail -n 1 "$scratch/$name.err") ;;
    124 | 137) why="it ran for more than $limit s" ;;
    *) why="exit status $rc: $(grep -v '^$' "$scratch/$name.err" "$scratch/$name.out" -h | tail -n 1 | cut -c 1-300)" ;;
    esac
    { printf '\n`%s` (%s s)%s\n\n```\n' "${*##*/}" $((SECONDS - start)) "${why:+: **$why**}"
        tail -n 40 "$scratch/$name.out" "$scratch/$name.err" -q | cut -c 1-400
        printf '```\n'; } >>"$out"
    return $rc
}
# must NAME...: a step that is no measurement; its failure counts.
must() {
    step "$@" && return 0
    failed+=("$2: $why")
    return 1
}
has() { [ -x "$programs/$1" ]; }

# value FILE KEY[.KEY...]: a number of JSON, whose objects end up one line a key; nothing where it is not there.
value() {
    "$scratch/json" "$@" 2>/dev/null || true
}
# A reader of JSON where there is neither Python nor jq to be counted on: names of open objects, one number a line.
cat >"$scratch/json" <<'A'
#!/bin/sh
exec awk -v want="$2" '
{ text = text $0 "\n" }
END {
    n = length(text); depth = 0; key = ""; string = 0
    for (i = 1; i <= n; i++) {
        c = substr(text, i, 1)
        if (c == "\"") {
            word = ""
            for (i++; i <= n && (c = substr(text, i, 1)) != "\""; i++) { if (c == "\\") i++; else word = word c }
            rest = substr(text, i + 1, 8); gsub(/^[ \t\n]*/, "", rest)
            if (substr(rest, 1, 1) == ":") key = word
            else if (path[depth] key == want) { print word; exit }
        } else if (c == "{") { depth++; path[depth] = (key == "" ? path[depth - 1] : path[depth - 1] key "."); key = "" }
        else if (c == "[") { depth++; path[depth] = path[depth - 1] key "[]."; key = "" }
        else if (c == "}" || c == "]") { depth--; key = "" }
        else if (c == ",") { key = "" }
        else if (c ~ /[-0-9tf]/) {
            match(substr(text, i), /^[-+0-9.eEa-z]+/); word = substr(text, i, RLENGTH); i += RLENGTH - 1
            if (path[depth] key == want) { print word; exit }
        }
    }
}' "$1"
A
chmod +x "$scratch/json"
calc() { awk "BEGIN {printf \"%.4g\", $1}"; }
better() { awk "BEGIN {exit !($1)}"; }

# ---- claims ----

claims=()
missed=0
# claim WHAT min|max ASKED VALUE UNIT REASON: judged where there is a value; else not measured, for that reason.
claim() {
    local verdict=met
    if [ -z "$4" ]; then
        claims+=("| $1 | $([ "$2" = min ] && echo '≥' || echo '≤') $3 $5 | | not measured | ${6:-no reason was given} |")
        return
    fi
    if [ "$2" = min ]; then better "$4 >= $3" || verdict='**missed**'; else better "$4 <= $3" || verdict='**missed**'; fi
    [ $verdict = met ] || missed=$((missed + 1))
    claims+=("| $1 | $([ "$2" = min ] && echo '≥' || echo '≤') $3 $5 | $4 $5 | $verdict | ${7:-} |")
}

# ---- what there is ----

note "# sluice on a card: $(hostname), $(date -u '+%F %H:%M') UTC"
title "Machine"
card=
for tool in nvidia-smi; do
    command -v $tool >/dev/null || continue
    step 30 card nvidia-smi --query-gpu=index,name,driver_version,compute_cap,memory.total,memory.free,compute_mode,pcie.link.gen.max,pcie.link.width.current,power.limit --format=csv
done
step 5 cpu sh -c 'sed -n "s/^model name[^:]*: //p" /proc/cpuinfo | head -1; nproc; head -3 /proc/meminfo; uname -sr; cat /proc/driver/nvidia/version 2>/dev/null; ulimit -l' || true
must 5 version "$sluice" --version || true

title "Probe"
no_card=
if [ ! -x "$programs/sluice-compute-cuda" ]; then
    no_card="this build has no cuda stages"
    note "$no_card"
elif step 60 probe "$programs/sluice-compute-cuda" --probe "$device" --speeds && grep -q '^sluice-device ' "$scratch/probe.out"; then
    card=$(sed -n 's/^sluice-device [0-9]* [0-9]* [0-9]* [0-9]* [0-9]* [0-9]* [0-9]* //p' "$scratch/probe.out")
    total=$(awk '/^sluice-device / {print $7}' "$scratch/probe.out")
    link_probe=$(awk '/^sluice-device-speeds / {print $3}' "$scratch/probe.out")
    memory_probe=$(awk '/^sluice-device-speeds / {print $4}' "$scratch/probe.out")
else
    no_card="no card can be used: ${why#exit status *: }"
fi
emulated=
case $card in 'emulated device') emulated="the device is emulated: it has no speed" ;; esac
slow=${no_card:-${emulated:-${quick:+not asked for (--quick)}}}

title "Doctor"
step 120 doctor "$sluice" doctor || true # it fails where something is in the way
step 60 plan "$sluice" plan "$demo" --device "$device" || true

# ---- is it right ----

title "Kernels against their references"
tests_run=0
for t in "$programs"/gpu/test_cuda_* "$programs"/tests/test_cuda_*; do
    [ -x "$t" ] && [ ! -d "$t" ] || continue
    if [ -n "$no_card" ]; then continue; fi
    # all of them take minutes there, and `make test-emulated` runs them
    case $emulated:${t##*/} in ?*:test_cuda_uploads | ?*:test_cuda_scan | :*) ;; *) continue ;; esac
    tests_run=$((tests_run + 1))
    must 300 "${t##*/}" "$t"
    # what the sanitizer finds in them; races are looked for where kernels share memory
    command -v compute-sanitizer >/dev/null && [ -z "$quick$emulated" ] || continue
    for tool in memcheck racecheck; do
        must 600 "${t##*/}-$tool" compute-sanitizer --tool $tool --error-exitcode 9 "$t"
    done
done
[ $tests_run -gt 0 ] || note "Not run: ${no_card:-there are no test programs beside sluice}."

text_of() { # BACKEND FLAG...
    local backend=$1
    shift
    step 300 "text-$backend" "$sluice" run "$demo" -p "Once upon a time" --temperature 0 -n 24 --backend "$backend" --device "$device" --quiet "$@"
}
title "The same text as on the processor"
same= same_why=$no_card
if [ -z "$demo" ]; then
    same_why="there is no demo model"
elif [ -z "$no_card" ]; then
    text_of cpu && text_of cuda && {
        same=0
        cmp -s "$scratch/text-cpu.out" "$scratch/text-cuda.out" && same=1
    } || same_why=$why
fi
goldens= goldens_why=$no_card
if [ -z "$no_card" ]; then
    for t in "$programs/test_goldens" "$programs/tests/test_goldens"; do [ -x "$t" ] && break; done
    models=
    for d in "$here" "$here/.."; do [ -d "$d/tests/data/models" ] && models=$d && break; done
    if [ ! -x "$t" ] || [ -z "$models" ]; then goldens_why="no test_goldens and reference models beside sluice"
    elif [ -n "$quick" ]; then goldens_why="not asked for (--quick)"
    else
        title "Reference models"
        goldens=0
        (cd "$models" && SLUICE_BUILD=$programs step 1800 goldens "$t" --backend cuda) && goldens=1 || failed+=("test_goldens --backend cuda")
    fi
fi

# ---- how it ends ----

title "Kills and leftovers"
left= left_why=$no_card
processes() { pgrep -f "^$programs/sluice(-reader|-transfer-cuda|-compute-cuda| )" | tr '\n' ' '; }
if [ -z "$no_card" ] && [ -n "$demo" ]; then
    left=0 many=400
    [ -z "$emulated" ] || many=10
    before=$(ls -d "${TMPDIR:-/tmp}"/sluice-mps-* 2>/dev/null | wc -l) names=$(ls /dev/shm | grep -c sluice)
    for how in "KILL self" "KILL compute" "KILL transfer" "INT self" "TERM self"; do
        set -- $how
        rm -f "$scratch/kill.out"
        "$sluice" run "$demo" -p "Once" -n "$many" --ignore-eos --backend cuda --device "$device" --quiet >"$scratch/kill.out" 2>"$scratch/kill.err" </dev/null &
        pid=$!
        for ((i = 0; i < 100; i++)); do [ -s "$scratch/kill.out" ] && break; sleep 0.1; done
        target=$pid
        [ "$2" = self ] || target=$(pgrep -P $pid -f "sluice-$2" | head -1)
        [ -z "$target" ] || kill -"$1" "$target"
        for ((lasted = 0; lasted < 600; lasted++)); do kill -0 $pid 2>/dev/null || break; sleep 0.1; done
        kill -KILL $pid 2>/dev/null
        wait $pid 2>/dev/null
        ended=$?
        for ((i = 0; i < 150; i++)); do [ -z "$(processes)" ] && break; sleep 0.1; done
        rest=$(processes)
        left=$((left + $(echo "$rest" | wc -w)))
        note "- $how: exit status $ended, $((lasted / 10)) s after it, left: ${rest:-nothing}"
    done
    left=$((left + $(ls -d "${TMPDIR:-/tmp}"/sluice-mps-* 2>/dev/null | wc -l) - before + $(ls /dev/shm | grep -c sluice) - names))
fi

# ---- how fast ----

rate() { value "$scratch/$1.out" "$2"; }
# make_model NAME SHAPE...: $model, or $why
make_model() {
    model=$data/$1 && shift
    why=
    [ -e "$model/.whole" ] && return 0
    has mkmodel || has bench/mkmodel || { why="there is no mkmodel beside sluice"; return 1; }
    mkdir -p "$model"
    step 1200 mkmodel "$programs/$(has mkmodel && echo mkmodel || echo bench/mkmodel)" "$@" "$model" || return 1
    cp "$demo/tokenizer.json" "$demo/tokenizer_config.json" "$model/" 2>/dev/null
    touch "$model/.whole"
}
share= resident= peak= prefill= overlap= with= first_byte=
share_why=$slow resident_why=$slow prefill_why=$slow overlap_why=$slow with_why=$slow first_why=$slow
streamed() { # NAME FLAG...: bytes per second over the link in tokens after the first
    local name=$1
    shift
    step 900 "$name" "$sluice" profile pipeline "$model" --json --backend cuda --device "$device" --device-memory 2GiB --context 128 "$@"
}
if [ -z "$slow" ]; then
    title "7.5 GB of weights, streamed and resident"
    if make_model llama-7g5 --shape llama --hidden 4096 --layers 16 --vocab 32000; then
        step 600 transfer "$sluice" profile transfer "$model" --json --backend cuda --device "$device" --device-memory 2GiB &&
            share=$(rate transfer transfer.share) || share_why=$why
        [ -n "$share" ] || { a=$(rate transfer transfer.bytes_per_second) b=$(rate transfer transfer.ceiling_bytes_per_second)
            [ -n "$a" ] && [ -n "$b" ] && share=$(calc "$a / $b"); }
        for mps in off on; do
            step 900 "mps-$mps" "$sluice" run "$model" -p "Once" -n 12 --ignore-eos --temperature 0 --speculate off --json --backend cuda --device "$device" --device-memory 2GiB --context 128 --mps $mps || true
        done
        a=$(rate mps-off seconds_per_token) b=$(rate mps-on seconds_per_token)
        [ -n "$a" ] && [ -n "$link_probe" ] && overlap=$(calc "$(rate mps-off stages.transfer.busy)") || overlap_why=$why
        [ -n "$a" ] && [ -n "$b" ] && with=$(calc "$a / $b") || with_why="one of the runs with and without MPS failed"
        first_byte=$(rate mps-off first_byte_seconds) || first_why=$why
        step 600 resident "$sluice" profile compute "$model" --json --backend cuda --device "$device" --context 128 || resident_why=$why
        a=$(rate resident compute.bytes_per_second) b=$(rate resident compute.ceiling_bytes_per_second)
        [ -n "$a" ] && [ -n "$b" ] && resident=$(calc "$a / $b")
        a=$(rate resident compute.flops) b=$(rate resident compute.peak_flops)
        [ -n "$a" ] && [ -n "$b" ] && prefill=$(calc "$a / $b")
        [ -n "$prefill" ] || prefill_why="profile compute gave no figure for many positions"
    else
        share_why=$why resident_why=$why prefill_why=$why overlap_why=$why with_why=$why first_why=$why
    fi
fi

title "Kernels by shape"
narrow= wide= bench_why=$slow
if [ -n "$emulated" ]; then
    [ ! -x "$programs/gpu_bench" ] || must 300 bench "$programs/gpu_bench" --quick
elif [ -z "$slow" ]; then
    for b in "$programs/gpu/gpu_bench" "$programs/gpu_bench"; do [ -x "$b" ] && break; done
    if [ -x "$b" ]; then
        step 900 bench "$b" --device "$device" || bench_why=$why
        narrow=$(awk '$1 == "gemv" && $2 == "BF16" && $3 == 4096 {print $NF; exit}' "$scratch/bench.out")
        wide=$(awk '$1 == "gemv" && $2 == "BF16" && $3 == 28672 {print $NF; exit}' "$scratch/bench.out")
    else
        bench_why="there is no gpu_bench beside sluice"
    fi
fi

title "Large shapes in little device memory"
shape_70b= shape_405b= shape_671b= why70= why405= why671= shape_why=$slow
used() { nvidia-smi -i "$device" --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null; }
# shape NAME LIMIT SHAPE...: one token of sparse files, which no disk holds up; $taken: GB of the card's memory that it took
shape() {
    local name=$1 limit=$2 before most now watcher rc=0
    shift 2
    taken=
    make_model "$name" --sparse --shard-gib 5 "$@" || return 1
    before=$(used)
    [ -n "$before" ] || { why="nvidia-smi does not say what the card's memory holds" && return 1; }
    (most=$before; while sleep 0.2; do now=$(used); [ "${now:-0}" -le "$most" ] || { most=$now && echo "$most" >"$scratch/most"; }; done) &
    watcher=$!
    step 1800 "$name" "$sluice" run "$model" -p Once -n 1 --ignore-eos --context 512 --json --backend cuda --device "$device" --device-memory "$limit" --io-engine null || rc=1
    kill $watcher
    wait $watcher 2>/dev/null
    [ $rc = 0 ] || return 1
    most=$(cat "$scratch/most" 2>/dev/null)
    [ -n "$most" ] || { why="it was over before nvidia-smi looked" && return 1; }
    taken=$(calc "($most - $before) * 1.048576e-3")
    rm -f "$scratch/most"
}
if [ -z "$shape_why" ]; then
    shape llama-70b 1500M --shape llama --hidden 8192 --layers 80 --inter 28672 --heads 64 --kv-heads 8 --vocab 128256 && shape_70b=$taken || why70=$why
    shape llama-405b 2G --shape llama --hidden 16384 --layers 126 --inter 53248 --heads 128 --kv-heads 8 --vocab 128256 && shape_405b=$taken || why405=$why
    shape deepseek-671b 3G --shape deepseek-v3 && shape_671b=$taken || why671=$why
fi

# ---- the table ----

title "Claims"
claim "the demo model's text is the processor's" min 1 "$same" "" "$same_why"
claim "reference models within 2e-4, the same bits however they ran" min 1 "$goldens" "" "$goldens_why"
claim "processes, folders and names left by kills" max 0 "$left" "" "${left_why:-there is no demo model}"
claim "bytes over the link / pinned copies" min 0.97 "$share" "" "$share_why"
claim "time that copies are under way while kernels run, without MPS" min 0.9 "$overlap" "" "$overlap_why"
claim "seconds a token without MPS / with it (above 1.05 MPS is worth its start)" max 1.05 "$with" "" "$with_why"
claim "weights in decode / the card's memory, 4096 columns" min 0.8 "${narrow:-$resident}" "" "${bench_why:-$resident_why}"
claim "weights in decode / the card's memory, 28672 columns" min 0.8 "$wide" "" "$bench_why"
claim "prefill / the card's float32 peak" min 0.5 "$prefill" "" "$prefill_why"
claim "device memory of the 70B shape" max 1.5 "$shape_70b" GB "${shape_why:-$why70}"
claim "device memory of the 405B shape" max 2 "$shape_405b" GB "${shape_why:-$why405}"
claim "device memory of the 671B shape" max 3 "$shape_671b" GB "${shape_why:-$why671}"
claim "start to first byte" max 5 "$first_byte" s "$first_why"
{
    printf '| claim | asked | seen | verdict | |\n|---|---|---|---|---|\n'
    printf '%s\n' "${claims[@]}"
    printf '\n'
    for f in "${failed[@]}"; do printf -- '- failed: %s\n' "$f"; done
    printf '%s of %s claims measured, %s missed, %s steps failed. %s\n' "$(printf '%s\n' "${claims[@]}" | grep -vc 'not measured')" "${#claims[@]}" "$missed" "${#failed[@]}" \
        "${card:+Card: $card.}${no_card:+Nothing was measured on a card: $no_card.}"
} | tee -a "$out"
say "the report is $out"
[ $missed = 0 ] && [ ${#failed[@]} = 0 ]
