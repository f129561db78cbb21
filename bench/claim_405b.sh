#!/usr/bin/env bash
# Llama 3.1 405B's shape (sparse files): one token, peak memory of all processes together
. bench/common.sh
. bench/shape.sh
shape_claim llama-405b 2 --shape llama --hidden 16384 --layers 126 --inter 53248 --heads 128 --kv-heads 8 --vocab 128256
