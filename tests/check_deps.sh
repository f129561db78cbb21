#!/usr/bin/env bash
# Proves by their #include lines that the processes share proto/ and nothing else:
#   - reader, transfer, compute and coordinator include proto/ and themselves, proto/ itself only
#   - reader/verify, a program of its own, includes proto/ and itself only
#   - CUDA headers appear in */cuda/ only, liburing in the reader's engine_uring.c, ZeroMQ and msgpack in proto/
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
report "the checksums' library belongs into reader/verify/" \
    "$(grep -E '<openssl[^>]*>' <<<"$all" | grep -v '^reader/verify/' || true)"
report "tests include no .c file" "$(includes tests | grep -E 'include[[:space:]]*[<"][^>"]*\.c[>"]' || true)"

if [ $# -gt 0 ]; then
    for stage in "$1"/sluice-*; do
        [ -x "$stage" ] || continue
        report "${stage##*/} is linked with a library of the coordinator" \
            "$(readelf -d "$stage" | grep NEEDED | grep -E 'jansson|pcre2|utf8proc|libedit|sentencepiece' || true)"
    done
fi
[ $rc -ne 0 ] || echo "check-deps: every process includes proto/ and itself only"
exit $rc
