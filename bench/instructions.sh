#!/usr/bin/env bash
# Instructions for each weight, of the NEON kernels beside AVX2's: both run one instruction at a time under qemu, which counts.
#
#   bench/instructions.sh BUILD      after tests/arm.sh BUILD, which has fetched the compiler and qemu
#
# A count is no speed: an AVX2 instruction does twice the numbers of a NEON one, and processors begin several at once.
set -euo pipefail
build=${1:?usage: bench/instructions.sh BUILD}
home=$(realpath "$build")/arm
version=$(cat "$home/version") || { echo 'instructions: run tests/arm.sh first' >&2; exit 1; }
tool=$home/tools/usr/bin/aarch64-linux-gnu qemu=$home/tools/usr/bin
here=$build/bench/count_kernels there=$home/out/bench/count_kernels
MAKEFLAGS= make -s CUDA=no B="$build" CC="${CCACHE:-} gcc" "$here"
LD_LIBRARY_PATH=$home/tools/usr/lib/x86_64-linux-gnu MAKEFLAGS= make -s B="$home/out" CUDA=no CC="${CCACHE:-} $tool-gcc-$version --sysroot=$home/root" \
    CXX="${CCACHE:-} $tool-g++-$version --sysroot=$home/root" "$there"

# Instructions of the whole program: VARIANT CASE TOKENS TIMES
whole() {
    case $1 in
    neon) "$qemu/qemu-aarch64-static" -L "$home/root" -singlestep -d exec,nochain "$there" "$@" 2>&1 >/dev/null | grep -c '^Trace' ;;
    *) "$qemu/qemu-x86_64-static" -cpu max -singlestep -d exec,nochain "$here" "$@" 2>&1 >/dev/null | grep -c '^Trace' ;;
    esac
}
# For each weight, and in products for each token
each() {
    local once twice
    once=$(whole "$1" "$2" "$3" 1) twice=$(whole "$1" "$2" "$3" 2)
    awk -v n=$((twice - once)) -v tokens="$3" 'BEGIN { printf "%.3f", n / (24 * 1024) / tokens }'
}
echo '| kernel | NEON | AVX2 | NEON / AVX2 |'
echo '|---|---|---|---|'
row() { # NAME CASE TOKENS
    local a b
    a=$(each neon "$2" "$3") b=$(each avx2 "$2" "$3")
    echo "| $1 | $a | $b | $(awk "BEGIN { printf \"%.2f\", $a / $b }") |"
}
row 'unpacking BF16 (B223)' unit 1
for form in F32 BF16 F16 F8_E4M3 MXFP4 I8 NF4 Q8_0 Q4_0 Q4_K Q5_K Q6_K Q2_K Q3_K IQ4_XS; do row "product $form, 1 token" $form 1; done
for form in BF16 Q4_K; do
    for tokens in 4 32; do row "product $form, $tokens tokens" $form $tokens; done
done
