#!/usr/bin/env python3
"""Makes tests/data/gguf-blocks.bin: what the `gguf` Python package dequantizes blocks of every type to, for
tests/test_blocks.c. Needs gguf and numpy; the bytes are the same on every machine.

    python3 tests/make_blocks.py [TYPE...] > tests/data/gguf-blocks.bin      all types, or these

Little-endian. For each type: name (16 bytes, zeros behind), u32 type number, elements and bytes of a block, how many
blocks are shown, how many are drawn, CRC-32 of what the drawn ones are dequantized to (float32); then those shown, each
with its elements. Drawn blocks are the numbers of splitmix64 from the type's number on, eight bytes each; those shown are
the first of them. Scales that would be no finite numbers lose the highest bit of the mask that says so."""
import struct
import sys
import zlib

import gguf
import numpy as np

HALF = 0x7C00
# type: (offset, bytes, mask) of every code that can be no finite number, as proto/form.h has them
CODES = {
    "Q4_0": [(0, 2, HALF)], "Q4_1": [(0, 2, HALF), (2, 2, HALF)], "Q5_0": [(0, 2, HALF)],
    "Q5_1": [(0, 2, HALF), (2, 2, HALF)], "Q8_0": [(0, 2, HALF)],
    "Q2_K": [(80, 2, HALF), (82, 2, HALF)], "Q3_K": [(108, 2, HALF)], "Q4_K": [(0, 2, HALF), (2, 2, HALF)],
    "Q5_K": [(0, 2, HALF), (2, 2, HALF)], "Q6_K": [(208, 2, HALF)],
    "IQ4_NL": [(0, 2, HALF)], "IQ4_XS": [(0, 2, HALF)], "MXFP4": [(0, 1, 0xFF)], "NVFP4": [],
    "IQ2_XXS": [(0, 2, HALF)], "IQ2_XS": [(0, 2, HALF)], "IQ2_S": [(0, 2, HALF)], "IQ3_XXS": [(0, 2, HALF)],
    "IQ3_S": [(0, 2, HALF)], "IQ1_S": [(0, 2, HALF)], "IQ1_M": [(48, 8, 0x7000C00000000000)],
    "TQ1_0": [(52, 2, HALF)], "TQ2_0": [(64, 2, HALF)],
}


def draw(seed, count):
    """count bytes."""
    words = (count + 7) // 8
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, words + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return z.astype("<u8").view(np.uint8)[:count]


def finite(blocks, codes):
    for at, width, mask in codes:
        code = np.zeros(len(blocks), np.uint64)
        for i in range(width):
            code |= blocks[:, at + i].astype(np.uint64) << np.uint64(8 * i)
        bad = (code & np.uint64(mask)) == np.uint64(mask)
        top = mask.bit_length() - 1
        blocks[bad, at + top // 8] &= np.uint8(~(1 << top % 8) & 0xFF)


def main():
    for name in sys.argv[1:] or CODES:
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        shown, drawn = (2, 2048) if elements == 256 else (4, 4096)
        blocks = draw(int(kind), drawn * size).reshape(drawn, size).copy()
        finite(blocks, CODES[name])
        with np.errstate(over="ignore"):
            values = gguf.dequantize(blocks, kind).astype("<f4").reshape(drawn, elements)
        sys.stdout.buffer.write(struct.pack("<16s6I", name.encode(), int(kind), elements, size, shown, drawn,
                                            zlib.crc32(values.tobytes())))
        for i in range(shown):
            sys.stdout.buffer.write(blocks[i].tobytes() + values[i].tobytes())


main()
