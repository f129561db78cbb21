#!/usr/bin/env python3
"""A copy of a model folder whose weights are rounded to a few bits of mantissa: it stands for a smaller model of the same kind.

    round_mantissa.py MODEL OUT BITS

Needs torch and safetensors. Weights stay BF16; nothing else changes."""
import os
import shutil
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file


def rounded(x, bits):
    """Of BF16's 7 bits of mantissa the first `bits`, to the nearest, halves away from zero; norms and biases stay."""
    if x.dtype != torch.bfloat16 or x.dim() < 2:
        return x
    drop = 7 - bits
    words = x.view(torch.int16).to(torch.int32) & 0xFFFF
    words = ((words + (1 << (drop - 1))) >> drop) << drop
    return (words & 0xFFFF).to(torch.int16).view(torch.bfloat16)


def main():
    if len(sys.argv) != 4 or not 0 <= int(sys.argv[3]) < 7:
        sys.exit(__doc__)
    model, out, bits = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.makedirs(out, exist_ok=True)
    for name in sorted(os.listdir(model)):
        path = os.path.join(model, name)
        if name.endswith(".safetensors"):
            with safe_open(path, "pt") as f:
                tensors = {k: rounded(f.get_tensor(k), bits) for k in f.keys()}
            save_file(tensors, os.path.join(out, name), metadata={"format": "pt"})
        elif os.path.isfile(path):
            shutil.copy(path, out)


main()
