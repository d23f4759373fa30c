#!/usr/bin/env python3
"""Writes libopt/kern/ref/level_tables.c: unevenly spaced levels as the encoders look them up (optk_level_table in kern/parts.h).

The levels are those of the formats (docs/FORMAT.md). 32 bins of equal width cover them, so narrow that none holds two
rounding thresholds (middles between neighbours): a number's bin then says the two levels that it may round to."""
import pathlib

import numpy as np

OUT = pathlib.Path(__file__).resolve().parent.parent / "libopt/kern/ref/level_tables.c"
NF4 = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]  # fmt: skip
TABLES = {  # name: levels, stored codes, lower end of the first bin, bins per unit, what it is
    "iq4": ([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], range(16), -128, 0.125,
            "iq4_nl and iq4_xs"),
    "e2m1": ([-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12], [15, 14, 13, 12, 11, 10, 9, 0, 1, 2, 3, 4, 5, 6, 7],
             -16, 1, "mxfp4 and nvfp4: E2M1, doubled"),
    "nf4": (NF4, range(16), -1, 15.5, "nf4"),
}  # fmt: skip


def number(x):
    text = repr(float(x)) if np.float32(x) != x or x != int(x) else str(int(x)) + ".0"
    return text + "f"


def array(name, values):
    return f"    .{name} = {{{', '.join(number(v) for v in values)}}},\n"


def main():
    text = '/** Made by scripts/make_level_tables.py: unevenly spaced levels, see kern/parts.h. */\n#include "kern/parts.h"\n'
    text += f"\nconst float optk_nf4_levels[16] = {{{', '.join(number(x) for x in NF4)}}};\n"
    for name, (levels, stored, origin, bins, what) in TABLES.items():
        levels, stored = np.array(levels, np.float32), list(stored)
        middles = np.float32(0.5) * (levels[:-1] + levels[1:])
        below = []
        for b in range(32):
            low, high = origin + b / bins, origin + (b + 1) / bins
            assert ((low <= middles) & (middles < high)).sum() <= 1
            below.append(min(int((middles < low).sum()), len(levels) - 2))
        assert origin <= levels[0] and levels[-1] < origin + 32 / bins
        text += f"\n/** {what}. */\nconst optk_level_table optk_{name}_table = {{\n"
        text += f"    .origin = {number(origin)},\n    .bins = {number(bins)},\n"
        text += array("threshold", middles[below])
        text += array("below", levels[below])
        text += array("above", levels[[b + 1 for b in below]])
        text += array("stored_below", [stored[b] for b in below])
        text += array("stored_above", [stored[b + 1] for b in below])
        text += "};\n"
    OUT.write_text(text)


if __name__ == "__main__":
    main()
