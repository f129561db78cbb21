#!/usr/bin/env python3
"""Makes compute/grids.h: the grids of the GGUF types IQ1 to IQ3, which are data of the format, as the `gguf` Python
package has them. Needs gguf and numpy; the bytes are the same on every machine.

    python3 tests/make_grids.py > compute/grids.h"""
import gguf
import numpy as np
from gguf import quants

HEAD = """/* Grids of the GGUF types IQ1 to IQ3: data of the format, written by tests/make_grids.py, which takes them from the Python
 * package gguf (llama.cpp; MIT license).
 *
 *   GRID_NAME(X)        X(codes) for each entry: 8 codes of 2 bits, or 4 of 4 bits in IQ3, the first the lowest
 *   GRID_NAME_VALUE(c)  what a code stands for; of IQ1, eight times that
 *   GRID_NAME_BYTES(x)  an entry as a byte for each of its values, the first the lowest */
#pragma once

/* clang-format off */
#define GRID_EIGHT(value, x)                                                                                           \\
    ((uint64_t)((value((x) & 3) & 255) | (value((x) >> 2 & 3) & 255) << 8 | (value((x) >> 4 & 3) & 255) << 16) |       \\
     (uint64_t)(value((x) >> 6 & 3) & 255) << 24 | (uint64_t)(value((x) >> 8 & 3) & 255) << 32 |                       \\
     (uint64_t)(value((x) >> 10 & 3) & 255) << 40 | (uint64_t)(value((x) >> 12 & 3) & 255) << 48 |                     \\
     (uint64_t)(value((x) >> 14 & 3) & 255) << 56)
#define GRID_FOUR(value, x)                                                                                            \\
    ((uint32_t)value((x) & 7) | (uint32_t)value((x) >> 4 & 7) << 8 | (uint32_t)value((x) >> 8 & 7) << 16 |             \\
     (uint32_t)value((x) >> 12 & 7) << 24)

/* 8, 25, 43 */
#define GRID_IQ2_VALUE(c) (8 + 17 * (c) + (c) / 2)
#define GRID_IQ2_BYTES(x) GRID_EIGHT(GRID_IQ2_VALUE, x)
/* -1, 0, 1 */
#define GRID_IQ1_VALUE(c) (8 * ((c)-1))
#define GRID_IQ1_BYTES(x) GRID_EIGHT(GRID_IQ1_VALUE, x)
/* 4, 12, 20, 28, 36, 44, 52, 62 */
#define GRID_IQ3_XXS_VALUE(c) (4 + 8 * (c) + (c) / 7 * 2)
#define GRID_IQ3_XXS_BYTES(x) GRID_FOUR(GRID_IQ3_XXS_VALUE, x)
/* 1, 3, ... 15 */
#define GRID_IQ3_S_VALUE(c) (1 + 2 * (c))
#define GRID_IQ3_S_BYTES(x) GRID_FOUR(GRID_IQ3_S_VALUE, x)
"""


def entries(name):
    kind = getattr(quants, name)
    kind.init_grid()
    grid = kind.grid.reshape(kind.grid_shape)
    bits = 2 if kind.grid_shape[1] == 8 else 4
    codes = np.searchsorted(np.array(kind.grid_map, np.float32), grid)
    assert (np.array(kind.grid_map, np.float32)[codes] == grid).all()
    return [sum(int(c) << bits * i for i, c in enumerate(row)) for row in codes]


print(HEAD)
for name, macro in (("IQ1_S", "GRID_IQ1"), ("IQ2_XXS", "GRID_IQ2_XXS"), ("IQ2_XS", "GRID_IQ2_XS"),
                    ("IQ2_S", "GRID_IQ2_S"), ("IQ3_XXS", "GRID_IQ3_XXS"), ("IQ3_S", "GRID_IQ3_S")):
    rows = entries(name)
    lines = ["    " + " ".join("X(0x%04x)" % x for x in rows[i:i + 11]) for i in range(0, len(rows), 11)]
    print(f"#define {macro}_ENTRIES {len(rows)}")
    print(" \\\n".join([f"#define {macro}(X)"] + lines))
print("/* clang-format on */")
