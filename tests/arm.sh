#!/usr/bin/env bash
# Builds sluice for 64-bit ARM on a PC with Debian or Ubuntu, and runs its tests there under qemu.
#
#   tests/arm.sh BUILD [PROGRAM...]   PROGRAM: test programs by name; default: what the kernels, rings and models are tested with
#   CCACHE=ccache                     put before the compilers
#
# Compilers, libraries and qemu are Debian's packages, fetched by apt-get with lists of its own and unpacked below
# BUILD/arm: the system's are neither looked at nor changed, and nobody needs to be root. Skipped, with the reason, where
# they cannot be had. Speeds under qemu say nothing of a processor.
set -euo pipefail
build=${1:?usage: tests/arm.sh BUILD [PROGRAM...]}
shift
programs=("$@")
[ $# -gt 0 ] || programs=(test_kernels test_kernels_attention test_kernels_index test_kernels_packed test_kernels_rows
    test_kernels_scan test_blocks test_forms test_unit test_pool test_ring test_reader test_transfer test_tokenizer test_goldens)
mkdir -p "$build/arm"
home=$(realpath "$build/arm")
skip() { echo "test-arm: skipped, $*"; echo "0 passed, 0 failed, 1 skipped"; exit 0; }
[ "$(uname -m)" = x86_64 ] || skip "this machine is no PC: on ARM, make test is this test"
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
        */qemu-user-static_*) dpkg --fsys-tarfile "$p" | tar -C "$home/tools" -x ./usr/bin/qemu-aarch64-static ;;
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
export LD_LIBRARY_PATH=$home/tools/usr/lib/x86_64-linux-gnu
"$tool-gcc-$version" --version >/dev/null || skip "the cross compiler does not run here"

# ---- build ----

# To a program its folder is where its own file lies, and the stages that it starts are looked for there: that folder, run/,
# has a program NAME.arm and a script NAME for each that hands it to qemu.
out=$home/out run=$home/run
MAKEFLAGS= make -s -j"$(nproc)" B="$out" CUDA=no WERROR=1 CC="${CCACHE:-} $tool-gcc-$version --sysroot=$home/root" \
    CXX="${CCACHE:-} $tool-g++-$version --sysroot=$home/root" all "${programs[@]/#/$out/tests/}"
unset LD_LIBRARY_PATH
mkdir -p "$run/tests"
wrap() { # PROGRAM, NAME below run/
    ln -f "$1" "$run/$2.arm"
    printf '#!/bin/sh\nexec %q -L %q %q "$@"\n' "$home/tools/usr/bin/qemu-aarch64-static" "$home/root" "$run/$2.arm" >"$run/$2"
    chmod +x "$run/$2"
}
for p in "$out"/sluice "$out"/sluice-*; do
    [ -f "$p" ] && [ -x "$p" ] || continue
    wrap "$p" "${p##*/}"
    [ "${p##*/}" = sluice ] || ln -sfn "../${p##*/}" "$run/tests/${p##*/}"
done
for p in "${programs[@]}"; do wrap "$out/tests/$p" "tests/$p"; done

# ---- run ----

"$run/sluice" run tests/data/demo-model --prompt 'Once upon a time' --temperature 0 >"$home/demo.txt"
if [ -x "$build/sluice" ]; then
    "$build/sluice" run tests/data/demo-model --prompt 'Once upon a time' --temperature 0 | cmp - "$home/demo.txt" ||
        { echo "test-arm: the demo model answers otherwise than on this machine" >&2; exit 1; }
fi
TEST_SECONDS=${TEST_SECONDS:-1200} bash tests/run.sh "$run" "${programs[@]/#/$run/tests/}"
