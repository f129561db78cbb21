#!/usr/bin/env bash
# Kimi K2's shape, 1T (sparse files): one token, peak memory of all processes together
. bench/common.sh
. bench/shape.sh
shape_claim kimi-k2 4 --shape kimi-k2
