#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that sluice is built from, as far as they are missing. Says which, and why.
#
#   tests/deps.sh            says so too when nothing is missing
#   tests/deps.sh --quiet    does not
set -euo pipefail

# package, or alternatives of which the first that there is will do | why
packages=(
    "gcc|compiler"
    "make|builds the rest"
    "g++|compiler of the bridge to sentencepiece"
    "libc6-dev|headers of the C library"
    "liburing-dev|reader: many reads in flight"
    "libzmq3-dev|control messages between the processes"
    "libmsgpack-c-dev libmsgpack-dev|form of the control messages"
    "libjansson-dev|config.json, safetensors headers, tokenizer.json"
    "libmicrohttpd-dev|HTTP of sluice serve"
    "libpcre2-dev|patterns of tokenizers"
    "libsentencepiece-dev|tokenizer.model files"
    "libssl-dev|checksums of sluice verify and pack"
    "libutf8proc-dev|Unicode normal forms"
    "libedit-dev|line editing in the chat"
    "libopenmpi-dev libmpich-dev|sluice-link: a model over several machines"
    "openmpi-bin mpich|mpirun, which starts it on them"
    "libcmocka-dev|tests"
    "procps|ps, to look at the processes"
    "strace|tests count the system calls of the stages"
    "tmux|tests look at a real terminal"
)
say() { echo "deps: $*"; }
die() { say "$*" >&2; exit 1; }

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# The one of several alternatives that is installed; fails if none is. Tools may have come from elsewhere.
present() {
    local p
    for p in $1; do
        case $p in
        gcc | make | g++) if command -v "$p" >/dev/null; then return 0; fi ;;
        esac
        if installed "$p"; then return 0; fi
    done
    return 1
}

# Systems without dpkg: nothing is installed, but what is there already is good enough.
probe_headers() {
    command -v gcc >/dev/null && printf '#include <%s>\n' stdio.h liburing.h zmq.h msgpack.h jansson.h utf8proc.h histedit.h microhttpd.h openssl/evp.h \
        | gcc -fsyntax-only -xc - 2>/dev/null &&
        printf '#define PCRE2_CODE_UNIT_WIDTH 8\n#include <pcre2.h>\n' | gcc -fsyntax-only -xc - 2>/dev/null &&
        printf '#include <sentencepiece_processor.h>\n' | g++ -fsyntax-only -xc++ - 2>/dev/null
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    if probe_headers; then
        [ "${1:-}" = --quiet ] || say "nothing is missing"
        exit 0
    fi
    die "this is no Debian or Ubuntu; please install with their headers: gcc g++ make liburing libzmq msgpack-c jansson libmicrohttpd" \
        "pcre2 (8 bit) utf8proc sentencepiece libedit openssl cmocka"
fi

missing=()
for entry in "${packages[@]}"; do
    if ! present "${entry%%|*}"; then
        missing+=("${entry%%|*}")
        say "missing ${entry%%|*} (${entry#*|})"
    fi
done
if [ ${#missing[@]} -eq 0 ]; then
    [ "${1:-}" = --quiet ] || say "nothing is missing"
    exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "as root, please: apt-get install ${missing[*]%% *}"
    as_root=(sudo)
fi
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@"; }

# No pipe: under pipefail a reader that stops early would fail it.
candidate() { [[ $(LC_ALL=C apt-cache policy "$1" 2>/dev/null) =~ Candidate:\ [^\(] ]]; }

# The names to install; fails where the lists know none of the alternatives.
choose() {
    local entry p found
    chosen=()
    for entry in "${missing[@]}"; do
        found=
        for p in $entry; do
            if candidate "$p"; then found=$p && break; fi
        done
        [ -n "$found" ] || return 1
        chosen+=("$found")
    done
}

fresh=
if ! choose; then
    say "fetching the lists of packages"
    apt update || die "apt-get update failed"
    fresh=yes
    choose || die "no package called ${missing[*]} in the lists; are the main sections in /etc/apt/sources.list?"
fi
say "installing ${chosen[*]}"
if ! apt install -y --no-install-recommends "${chosen[@]}" >/dev/null; then
    [ -z "$fresh" ] || die "apt-get install failed"
    apt update || die "apt-get update failed" # the lists were too old
    apt install -y --no-install-recommends "${chosen[@]}" >/dev/null || die "apt-get install failed"
fi
say "done"
