"""Writes src/quant/grids.c: the codebooks of the IQ1, IQ2 and IQ3 formats, as the gguf package has them.

    build/venv/bin/python tests/tools/make_grids.py > src/quant/grids.c

An entry is a number of 8 digits of 2 bits (IQ1, IQ2) or of 4 digits of 3 bits (IQ3), the first
value's digit lowest. test_quant_formats.py holds the file to what this prints.
"""

import gguf.quants
import numpy as np

GRIDS = ["IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"]  # IQ1_M has the one of IQ1_S
PER_LINE = 12

HEADER = """\
/*
 * grids.c - see grids.h: the codebooks of the IQ1, IQ2 and IQ3 formats.
 *
 * Made by tests/tools/make_grids.py; not for editing. Entries ascend.
 */
#include "quant/grids.h"

/* clang-format off */"""


def entries(name):
    """The codebook as one number an entry."""
    kind = getattr(gguf.quants, name)
    kind.init_grid()
    grid = kind.grid.reshape(kind.grid_shape).astype(int)
    digits = np.searchsorted(np.array(kind.grid_map), grid)
    assert (np.array(kind.grid_map)[digits] == grid).all()
    bits = 2 if grid.shape[1] == 8 else 3
    return (digits << (bits * np.arange(grid.shape[1]))).sum(axis=1)


def source():
    """The whole file."""
    lines = [HEADER]
    for name in GRIDS:
        numbers = entries(name)
        lines.append(f"const uint16_t grid_{name.lower()}[{len(numbers)}] = {{")
        for start in range(0, len(numbers), PER_LINE):
            lines.append("    " + " ".join(f"0x{n:04x}," for n in numbers[start : start + PER_LINE]))
        lines.append("};")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(source(), end="")
