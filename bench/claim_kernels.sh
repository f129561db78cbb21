#!/usr/bin/env bash
# The kernels alone: shares of the memory's read bandwidth and of the FMA peak, every stored form
. bench/common.sh
build kernel_bench
build/bench/kernel_bench --rounds "$((rounds * 3))" >"$scratch/k"
sed '1s/^/`kernel_bench`: /;1s/$/.\n/;2,$s/^/    /' "$scratch/k"
