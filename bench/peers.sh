#!/usr/bin/env bash
# Fetches and builds what the claims are held against, outside of the repository: llama.cpp (it lies within the source
# package of llama-cpp-python), AirLLM with PyTorch, fio.
#
#   bench/peers.sh [--data DIR]      default ${XDG_CACHE_HOME:-~/.cache}/sluice-bench; 9 GB, some ten minutes on two cores
#
# What is there already is left alone. It needs python3 with venv, cmake and a C++ compiler.
set -euo pipefail
data=${XDG_CACHE_HOME:-$HOME/.cache}/sluice-bench
while [ $# -gt 0 ]; do
    case $1 in
    --data) data=${2:?--data DIR} && shift 2 ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0" && exit 2 ;;
    esac
done
llama_version=0.3.36 airllm_version=4.0.0 bitsandbytes_version=0.50.2
for tool in python3 cmake g++; do
    command -v $tool >/dev/null || { echo "peers: $tool is missing" >&2 && exit 1; }
done
mkdir -p "$data/peers"
cd "$data/peers"

# fio tells what the disk can do.
command -v fio >/dev/null || echo "peers: fio is missing (apt-get install fio); the claim reader needs it" >&2

# AirLLM, and what its compression= needs. PyTorch comes with its CUDA libraries, used or not: the index has no smaller one for this platform.
if ! [ -x air/bin/python ] || ! air/bin/python -c 'import airllm, bitsandbytes' >/dev/null 2>&1; then
    python3 -m venv air
    air/bin/pip install -q torch "airllm==$airllm_version" "bitsandbytes==$bitsandbytes_version"
fi

# llama.cpp, twice: as its makers build it for this very processor, and without bfloat16 arithmetic. The first rounds
# activations to bfloat16 where the processor multiplies those; the second computes in float32, as sluice does.
if ! [ -d llama_cpp_python ]; then
    python3 -m pip download -q --no-binary :all: --no-deps -d src "llama-cpp-python==$llama_version"
    tar xzf src/llama_cpp_python-$llama_version.tar.gz
    mv llama_cpp_python-$llama_version llama_cpp_python
fi
llama_build() {
    local folder=$1 && shift
    if [ -x "$folder/bin/llama-bench" ]; then return; fi
    cmake -S llama_cpp_python/vendor/llama.cpp -B "$folder" -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DGGML_CCACHE=OFF "$@" >"$folder.log"
    cmake --build "$folder" -j"$(nproc)" --target llama-bench >>"$folder.log"
}
float32=()
has() { grep -qw "$1" /proc/cpuinfo; }
if [ "$(uname -m)" = x86_64 ]; then
    float32=(-DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON)
    ! has avx512bw || float32+=(-DGGML_AVX512=ON)
    ! has avx512_vbmi || float32+=(-DGGML_AVX512_VBMI=ON)
    ! has avx512_vnni || float32+=(-DGGML_AVX512_VNNI=ON)
fi
llama_build llama-build -DGGML_NATIVE=ON
llama_build llama-build-f32 -DGGML_NATIVE=OFF -DGGML_AVX512_BF16=OFF "${float32[@]}"
echo "peers: in $data/peers"
