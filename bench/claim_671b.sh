#!/usr/bin/env bash
# DeepSeek V3's shape, 671B (sparse files): one token, peak memory of all processes together
. bench/common.sh
. bench/shape.sh
shape_claim deepseek-v3 3 --shape deepseek-v3
