#!/usr/bin/env bash
# Opens every published config, tokenizer and chat template in tests/data (or in the folders given) with a built sluice, and
# says which it refuses.
#
#   tests/open_all.sh BUILD [DATA...]        default: tests/data; the last line: "N passed, N failed"
set -uo pipefail
build=${1:?usage: tests/open_all.sh BUILD [DATA...]}
shift
[ $# -gt 0 ] || set -- tests/data
passed=0 failed=0
try() { # what is opened, command...
    local what=$1 said
    shift
    if said=$("$@" 2>&1 >/dev/null </dev/null); then passed=$((passed + 1))
    else failed=$((failed + 1)) && echo "FAILED $what: $(tail -1 <<<"$said")"; fi
}
folders() { find "$@" -type f \( -name config.json -o -name 'tokenizer*.json' -o -name '*.model' -o -name '*.tiktoken' -o -name vocab.json -o -name tekken.json \) -printf '%h\n' | sort -u; }
while read -r folder; do
    [ ! -e "$folder/config.json" ] || try "$folder/config.json" "$build/sluice" plan "$folder"
    if compgen -G "$folder/tokenizer.json" >/dev/null || compgen -G "$folder/*.model" >/dev/null || compgen -G "$folder/*.tiktoken" >/dev/null ||
        [ -e "$folder/vocab.json" ] || [ -e "$folder/tekken.json" ]; then
        try "$folder: tokenizer" "$build/sluice" tokenize "$folder"
    fi
    if grep -qs '"chat_template"' "$folder/tokenizer_config.json" || [ -e "$folder/chat_template.jinja" ]; then
        try "$folder: chat template" bash -c 'echo "[{\"role\":\"user\",\"content\":\"hello\"}]" | "$0" template "$1" -f /dev/stdin' "$build/sluice" "$folder"
    fi
done < <(folders "$@")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
while read -r file; do
    cp "$file" "$scratch/chat_template.jinja"
    echo '{}' >"$scratch/tokenizer_config.json"
    try "$file" bash -c 'echo "[{\"role\":\"user\",\"content\":\"hello\"}]" | "$0" template "$1" -f /dev/stdin' "$build/sluice" "$scratch"
done < <(find "$@" -name '*.jinja' -not -name chat_template.jinja | sort)
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
