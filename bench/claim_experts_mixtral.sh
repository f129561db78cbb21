#!/usr/bin/env bash
# Mixtral-8x7B's shape, two layers: bytes follow the experts used, hits grow with the budget
. bench/common.sh
. bench/experts.sh
build
model mixtral-2 --shape mixtral --layers 2 --vocab 32000
header
bytes_rows 700MiB 1 2 4 8
hit_rows 700MiB 2500MiB 4500MiB 6500MiB
