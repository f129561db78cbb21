#!/usr/bin/env bash
# Qwen3-30B-A3B's shape, three layers: bytes follow the experts used, hits grow with the budget
. bench/common.sh
. bench/experts.sh
build
model qwen3-moe-3 --shape qwen3-moe --layers 3 --vocab 32000
header
bytes_rows 700MiB 1 2 4 8 16
hit_rows 700MiB 1500MiB 2500MiB 3500MiB 4500MiB
chosen 128 3 2500MiB
