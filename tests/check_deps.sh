#!/usr/bin/env bash
# Proves by their #include lines that the processes share proto/ and nothing else:
#   - reader, transfer, compute and coordinator include proto/ and themselves, proto/ itself only
#   - reader/verify, a program of its own, includes proto/ and itself only
#   - transfer/link, a program of its own, includes proto/ and itself only, and nobody else includes MPI
#   - CUDA headers appear in */cuda/ only, liburing in the reader's engine_uring.c, ZeroMQ and msgpack in proto/
#   - inside of coordinator and proto, rooms lie on floors: who is on one includes what is below, itself, and nothing else
# With a build folder as argument, also that no stage is linked with what belongs to the coordinator alone.
set -euo pipefail
rc=0

# includes ROOM: "file:line:#include ..." of every source file in it
includes() { grep -rnE '^[[:space:]]*#[[:space:]]*include' --include='*.[ch]' --include='*.cu' --include='*.cuh' --include='*.cc' "$1" || true; }

report() { # what is wrong, lines
    [ -n "$2" ] || return 0
    printf '%s\n' "$2" | sed "s|^|check-deps: $1: |"
    rc=1
}

for room in proto reader transfer compute coordinator; do
    [ -d "$room" ] || continue
    report "$room may include $room/ and proto/ only" \
        "$(includes $room | grep -E 'include[[:space:]]*"' | grep -vE "include[[:space:]]*\"($room|proto)/" || true)"
done
all=$(for room in proto reader transfer compute coordinator; do includes $room; done)
report "MPI belongs into transfer/link/" \
    "$(grep -E '<mpi[^>]*>' <<<"$all" | grep -v '^transfer/link/' || true)"
report "transfer/link may include transfer/link/ and proto/ only" \
    "$(grep '^transfer/link/' <<<"$all" | grep -E 'include[[:space:]]*"' | grep -vE 'include[[:space:]]*"(transfer/link|proto)/' || true)"
# sluice-verify is a program of its own beside the reader's.
report "reader/verify may include reader/verify/ and proto/ only" \
    "$(grep '^reader/verify/' <<<"$all" | grep -E 'include[[:space:]]*"' | grep -vE 'include[[:space:]]*"(reader/verify|proto)/' || true)"
report "reader may not include reader/verify/" \
    "$(grep '^reader/' <<<"$all" | grep -v '^reader/verify/' | grep -E 'include[[:space:]]*"reader/verify/' || true)"
report "CUDA belongs into the cuda folders" \
    "$(grep -E '<(cuda|cublas|cooperative_groups|nvml)[^>]*>' <<<"$all" | grep -vE '^[a-z]+/cuda/' || true)"
report "liburing belongs into reader/engine_uring.c" \
    "$(grep -E '<liburing[^>]*>' <<<"$all" | grep -v '^reader/engine_uring\.c:' || true)"
report "ZeroMQ and msgpack belong into proto/" \
    "$(grep -E '<(zmq|msgpack)[^>]*>' <<<"$all" | grep -v '^proto/' || true)"
report "the checksums' library belongs into reader/verify/ and coordinator/pack/" \
    "$(grep -E '<openssl[^>]*>' <<<"$all" | grep -vE '^(reader/verify|coordinator/pack)/' || true)"
# Floors, the lowest first: rooms of one line do not include each other. A name without a folder's is that of the room, with
# one it begins the names of files that have a floor of their own: what was asked for and whether somebody has interrupted it
# is read everywhere, so it lies low.
floors_coordinator='
text
cli/values engine/interrupt
cli/options
jinja tokenizer
grammar source
tools
cli/input
cli/template_vars
arch
plan
hosts
engine
remote
node
batch/sampling
draft
batch
profile
view
chat doctor verify pack
serve
cli
main
'
floors_proto='
base
unit
protocol
stage
'

# climbs TREE FLOORS ROOM-OF-FILES-IN-THE-TREE-ITSELF: lines that include something that does not lie below
climbs() {
    includes "$1" | awk -v tree="$1/" -v floors="$2" -v own="$3" '
    function place(path,    rest, i, best) { # which of the names, and so which floor
        rest = substr(path, length(tree) + 1)
        if (index(rest, "/") == 0) rest = own "/" rest
        best = 0
        for (i = 1; i <= n; i++)
            if ((name[i] ~ "/" ? index(rest, name[i] ".") == 1 || index(rest, name[i] "_") == 1 : index(rest, name[i] "/") == 1) &&
                (!best || length(name[i]) > length(name[best]))) best = i
        return best
    }
    BEGIN {
        lines = split(floors, line, "\n")
        for (i = 1; i <= lines; i++) {
            words = split(line[i], word, " ")
            for (k = 1; k <= words; k++) { name[++n] = word[k]; floor[n] = i }
        }
    }
    match($0, "\"" tree "[^\"]*\"") {
        from = place(substr($0, 1, index($0, ":") - 1))
        to = place(substr($0, RSTART + 1, RLENGTH - 2))
        if (!from || !to || (from != to && floor[to] >= floor[from])) print
    }'
}
report "the floors of the coordinator (tests/check_deps.sh)" "$(climbs coordinator "$floors_coordinator" main)"
report "the floors of proto (tests/check_deps.sh)" "$(climbs proto "$floors_proto" protocol)"
report "tests include no .c file" "$(includes tests | grep -E 'include[[:space:]]*[<"][^>"]*\.c[>"]' || true)"

if [ $# -gt 0 ]; then
    for stage in "$1"/sluice-*; do
        [ -x "$stage" ] || continue
        report "${stage##*/} is linked with a library of the coordinator" \
            "$(readelf -d "$stage" | grep NEEDED | grep -E 'jansson|pcre2|utf8proc|libedit|sentencepiece' || true)"
    done
fi
[ $rc -ne 0 ] || echo "check-deps: every process includes proto/ and itself only, every room what lies below it"
exit $rc
