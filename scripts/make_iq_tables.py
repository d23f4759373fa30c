#!/usr/bin/env python3
"""Writes libopt/kern/ref/iq_tables.c: the codebooks of ggml's IQ types, as the PyPI package `gguf` knows them."""
import pathlib

import numpy as np
from gguf import quants

OUT = pathlib.Path(__file__).resolve().parent.parent / "libopt/kern/ref/iq_tables.c"


def packed(cls, bits):
    """Index of every grid value in its map, packed `bits` apart, first code lowest."""
    cls.init_grid()
    grid = cls.grid.reshape(cls.grid_shape)
    codes = np.searchsorted(np.array(cls.grid_map, dtype=np.float32), grid)
    assert np.array_equal(np.array(cls.grid_map, dtype=np.float32)[codes], grid)
    return [sum(int(c) << (bits * j) for j, c in enumerate(row)) for row in codes]


def main():
    tables = [
        ("iq2_xxs_grid", packed(quants.IQ2_XXS, 2)),
        ("iq2_xs_grid", packed(quants.IQ2_XS, 2)),
        ("iq2_s_grid", packed(quants.IQ2_S, 2)),
        ("iq3_xxs_grid", packed(quants.IQ3_XXS, 4)),
        ("iq3_s_grid", packed(quants.IQ3_S, 4)),
        ("iq1_grid", packed(quants.IQ1_S, 2)),
    ]
    signs = np.frombuffer(quants.IQ2_XXS.ksigns, dtype=np.uint8)
    assert all(s == i | (bin(i).count("1") & 1) << 7 for i, s in enumerate(signs))
    lines = [
        "/** Codebooks of ggml's IQ types. Made by scripts/make_iq_tables.py; do not edit. */",
        '#include "kern/ref/iq_tables.h"',
    ]
    for name, values in tables:
        lines += ["", "/* clang-format off */", f"const uint16_t optk_{name}[{len(values)}] = {{"]
        for i in range(0, len(values), 12):
            lines.append("    " + " ".join(f"0x{v:04x}," for v in values[i : i + 12]))
        lines += ["};", "/* clang-format on */"]
    levels = ", ".join(str(v) for v in quants.IQ4_NL.kvalues)
    lines += ["", "const int8_t optk_iq4_values[16] = {" + levels[: levels.index(" 1,")].rstrip(), ]
    lines[-1] += "\n" + " " * 40 + levels[levels.index(" 1,") :].strip() + "};"
    OUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
