#!/usr/bin/env bash
# Builds sluice for 64-bit ARM on a PC with Debian or Ubuntu, and runs its tests there under qemu.
#
#   tests/arm.sh BUILD [PROGRAM...]   PROGRAM: test programs by name; default: what kernels, rings and models are tested with
#   tests/arm.sh BUILD --short        a model of each kind of operation, rings, units, the sandbox's list; where the packages
#                                     have been fetched before, else skipped
#   CCACHE=ccache                     put before the compilers
#   JOBS=N                            of make [all processors]
#
# Compilers, libraries and qemu are Debian's packages, fetched by apt-get with lists of its own and unpacked below
# BUILD/arm: the system's are neither looked at nor changed, and nobody needs to be root. Skipped, with the reason, where
# they cannot be had. Speeds under qemu say nothing of a processor.
#
# Without programs named, the logits of the reference models come beside those of this machine's build (BUILD/sluice and
# BUILD/tests/test_goldens, made if need be), byte by byte, from NEON and from plain C; and rings, readers and a run once more
# on systems with pages of 16 and 64 KiB, as qemu shows them.
set -euo pipefail
build=${1:?usage: tests/arm.sh BUILD [--short | PROGRAM...]}
shift
short= all=
[ "${1:-}" != --short ] || { short=yes; shift; }
programs=("$@")
some=(llama-bias-f16-sharded mistral-window mixtral qwen3-next gpt-oss-mxfp4 mamba2 deepseek-v3-fp8 glm-moe-dsa gemma3n kimi-linear qwen3-awq)
if [ -n "$short" ]; then
    programs=(test_ring test_ring_stress test_unit test_sandbox_calls test_pool test_goldens)
elif [ $# -eq 0 ]; then
    all=yes
    programs=(test_kernels test_kernels_attention test_kernels_index test_kernels_packed test_kernels_rows test_kernels_scan
        test_blocks test_forms test_unit test_pool test_ring test_ring_stress test_sandbox_calls test_engine test_reader
        test_reader_rows test_transfer test_tokenizer test_tokenizer_damage test_doctor_arm test_goldens)
fi
mkdir -p "$build/arm"
home=$(realpath "$build/arm")
skip() { echo "test-arm: skipped, $*"; [ -n "$short" ] || echo "0 passed, 0 failed, 1 skipped"; exit 0; }
[ "$(uname -m)" = x86_64 ] || skip "this machine is no PC: on ARM, make test is this test"
[ -z "$short" ] || [ -e "$home/version" ] || skip "no compiler for ARM has been fetched: make test-arm does"
command -v apt-get >/dev/null && command -v dpkg >/dev/null || skip "there is no apt-get to fetch packages with"

# ---- packages ----

libraries="libc6-dev liburing-dev libzmq3-dev libjansson-dev libmicrohttpd-dev libpcre2-dev libsentencepiece-dev libssl-dev
    libutf8proc-dev libedit-dev libcmocka-dev"
# The private lists know both architectures; nothing counts as installed, so that all that a library needs is fetched.
apt() { # of ARCHITECTURE, apt-get's words
    local arch=$1
    shift
    "${apt_program:-apt-get}" -qq -o APT::Architecture="$arch" -o APT::Architectures="$arch" -o APT::Get::List-Cleanup=false -o APT::Install-Recommends=0 \
        -o Acquire::Languages=none -o APT::Sandbox::User=root -o Debug::NoLocking=1 -o Dir::State="$home/apt" \
        -o Dir::State::status="$home/apt/status" -o Dir::Cache="$home/apt/cache" "$@" </dev/null
}
fetch() {
    local version msgpack
    rm -rf "$home/apt" "$home/root" "$home/tools"
    mkdir -p "$home"/apt/lists/partial "$home"/apt/cache/archives/partial "$home"/apt/tools "$home/root" "$home/tools"
    : >"$home/apt/status"
    apt arm64 update || return 1
    apt amd64 update || return 1
    version=$(apt_program=apt-cache apt amd64 show gcc-aarch64-linux-gnu | sed -n 's/.*Depends:.* gcc-\([0-9]*\)-aarch64-linux-gnu.*/\1/p' | head -1)
    [ -n "$version" ] || return 1
    for msgpack in libmsgpack-c-dev libmsgpack-dev; do
        if apt_program=apt-cache apt arm64 show "$msgpack" >/dev/null 2>&1; then break; fi
    done
    apt arm64 -y --download-only install $libraries "$msgpack" "libstdc++-$version-dev" || return 1
    (cd "$home/apt/tools" && apt amd64 download binutils-aarch64-linux-gnu {cpp,gcc,g++}-"$version"-aarch64-linux-gnu \
        libc6-arm64-cross libgcc-s1-arm64-cross "lib"{gcc,stdc++}"-$version-dev-arm64-cross" qemu-user-static) || return 1
    for p in "$home"/apt/cache/archives/*.deb; do dpkg -x "$p" "$home/root"; done
    for p in "$home"/apt/tools/*.deb; do
        case $p in
        */qemu-user-static_*)
            dpkg --fsys-tarfile "$p" | tar -C "$home/tools" -x ./usr/bin/qemu-aarch64-static ./usr/bin/qemu-x86_64-static
            ;;
        *) dpkg -x "$p" "$home/tools" ;;
        esac
    done
    # links to places of the system's own
    find "$home/root" -type l -lname '/*' -printf '%p %l\n' | while read -r p to; do ln -sfnr "$home/root$to" "$p"; done
    rm -rf "$home/apt"
    echo "$version" >"$home/version"
}
[ -e "$home/version" ] || fetch || skip "the packages for ARM cannot be fetched (apt-get)"
version=$(cat "$home/version")
tool=$home/tools/usr/bin/aarch64-linux-gnu
cross() { # make's words
    LD_LIBRARY_PATH=$home/tools/usr/lib/x86_64-linux-gnu MAKEFLAGS= make -s -j"${JOBS:-$(nproc)}" CUDA=no WERROR=1 \
        CC="${CCACHE:-} $tool-gcc-$version --sysroot=$home/root" CXX="${CCACHE:-} $tool-g++-$version --sysroot=$home/root" "$@"
}
LD_LIBRARY_PATH=$home/tools/usr/lib/x86_64-linux-gnu "$tool-gcc-$version" --version >/dev/null || skip "the cross compiler does not run here"

# ---- build ----

# To a program its folder is where its own file lies, and the stages that it starts are looked for there: that folder, run/,
# has a program NAME.arm and a script NAME for each that hands it to qemu. plain/ is the same with kernels of plain C.
out=$home/out run=$home/run
cross B="$out" all "${programs[@]/#/$out/tests/}"
wrap() { # PROGRAM, FOLDER, NAME below it
    mkdir -p "$(dirname "$2/$3")"
    ln -f "$1" "$2/$3.arm"
    printf '#!/bin/sh\nexec %q -L %q %q "$@"\n' "$home/tools/usr/bin/qemu-aarch64-static" "$home/root" "$2/$3.arm" >"$2/$3.new"
    chmod +x "$2/$3.new"
    mv "$2/$3.new" "$2/$3"
}
wrap_all() { # FOLDER
    for p in "$out"/sluice "$out"/sluice-*; do
        [ -f "$p" ] && [ -x "$p" ] || continue
        wrap "$p" "$1" "${p##*/}"
        [ "${p##*/}" = sluice ] || { mkdir -p "$1/tests" && ln -sfn "../${p##*/}" "$1/tests/${p##*/}"; }
    done
    for p in "${programs[@]}"; do wrap "$out/tests/$p" "$1" "tests/$p"; done
}
wrap_all "$run"

# ---- run ----

story() { # PROGRAM...
    "$@" run tests/data/demo-model --prompt 'Once upon a time' --temperature 0
    "$@" run tests/data/demo-model --chat --prompt 'Please tell me about Karl and the bell.' --temperature 0
}
here() { # make's words, for this machine
    MAKEFLAGS= make -s -j"${JOBS:-$(nproc)}" CUDA=no B="$build" CC="${CCACHE:-} gcc" "$@"
}
fail() { echo "test-arm: $*" >&2; exit 1; }
beside() { # NAME of the build there, FOLDER: its logits are those of this machine's
    SLUICE_BUILD=$2 "$2/tests/test_goldens" --digests "${some[@]}" 2>"$home/digests.err" | grep -E ' [0-9a-f]{16}$' >"$home/digests.$1" ||
        { cat "$home/digests.err" >&2; fail "the reference models do not run with $1"; }
    cmp "$home/digests.here" "$home/digests.$1" || fail "logits of $1 are not those of this machine"
    echo "ok     logits of $(wc -l <"$home/digests.$1") models with $1: at every setting the bytes of this machine's"
}
if [ -n "$short$all" ]; then
    here all "$build/tests/test_goldens"
    story "$build/sluice" >"$home/story.here"
    story "$run/sluice" >"$home/story.arm"
    cmp "$home/story.here" "$home/story.arm" || fail "the demo model answers otherwise than on this machine"
    echo "ok     the demo model tells the same story and gives the same answer"
    [ -n "$short" ] || some=()
    SLUICE_BUILD=$(realpath "$build") "$build/tests/test_goldens" --digests "${some[@]}" 2>/dev/null | grep -E ' [0-9a-f]{16}$' >"$home/digests.here" ||
        fail "the reference models do not run on this machine"
    beside NEON "$run"
fi
if [ -n "$all" ]; then
    cross B="$home/plainout" EXTRA_CPPFLAGS=-DCPU_MOST=CPU_PLAIN "$home/plainout/sluice-compute-cpu"
    wrap_all "$home/plain"
    wrap "$home/plainout/sluice-compute-cpu" "$home/plain" sluice-compute-cpu
    beside 'plain C' "$home/plain"
    for page in 16384 65536; do
        export QEMU_PAGESIZE=$page
        story "$run/sluice" | cmp - "$home/story.here" || fail "another story with pages of $page bytes"
        TEST_SECONDS=${TEST_SECONDS:-1200} bash tests/run.sh "$run" "$run"/tests/test_{ring,ring_stress,pool} ||
            fail "with pages of $page bytes"
        unset QEMU_PAGESIZE
    done
fi
[ -z "$short" ] || programs=("${programs[@]:0:${#programs[@]}-1}") # the models were all of test_goldens
TEST_SECONDS=${TEST_SECONDS:-1200} bash tests/run.sh "$run" "${programs[@]/#/$run/tests/}"
