#!/usr/bin/env python3
"""Writes testdata/blocks/: what the PyPI package `gguf` decodes from blocks of pseudo-random bytes.

  <format>.bin  a few blocks, then their values as float32: to debug with
  sums.txt      format, number of blocks, SHA-256 of the float32 values of that many blocks

tests/unit/test_format_decode.c makes the same blocks: bytes of SplitMix64 seeded with the FNV-1a hash of the name, with
one bit cleared in the high byte of every scale so that all scales are finite. Types that gguf does not decode (8-bit
activations, q1_0, q2_0, own types, plain types) are decoded here with numpy, written from docs/FORMAT.md.
"""
import hashlib
import pathlib
import statistics

import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES

OUT = pathlib.Path(__file__).resolve().parent.parent / "testdata/blocks"
N_EXPLICIT = 2
N_HASHED = 1024

# Offsets of the high bytes of half- (or single-) precision scales.
SCALES = {
    "q4_0": [1], "q4_1": [1, 3], "q5_0": [1], "q5_1": [1, 3], "q8_0": [1], "q8_1": [1, 3],
    "q2_k": [81, 83], "q3_k": [109], "q4_k": [1, 3], "q5_k": [1, 3], "q6_k": [209], "q8_k": [3],
    "iq1_s": [1], "iq1_m": [55], "iq2_xxs": [1], "iq2_xs": [1], "iq2_s": [1], "iq3_xxs": [1], "iq3_s": [1],
    "iq4_nl": [1], "iq4_xs": [1], "tq1_0": [53], "tq2_0": [65], "q1_0": [1], "q2_0": [1], "mxfp4": [], "nvfp4": [],
}  # fmt: skip
MASK = (1 << 64) - 1


def random_bytes(name, n):
    state = 0xCBF29CE484222325
    for c in name.encode():
        state = (state ^ c) * 0x100000001B3 & MASK
    i = np.arange(1, (n + 7) // 8 + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = np.uint64(state) + i * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return z.astype("<u8").view(np.uint8)[:n].copy()


def blocks_of(name, block_bytes, scales):
    blocks = random_bytes(name, N_HASHED * block_bytes).reshape(N_HASHED, block_bytes)
    for offset in scales:
        blocks[:, offset] &= 0xBF
    return blocks


def halves(b):
    return np.ascontiguousarray(b).view(np.float16).astype(np.float32)


def decode_here(name, b):
    if name == "q8_1":
        return halves(b[:, :2]) * b[:, 4:].view(np.int8).astype(np.float32)
    if name == "q8_k":
        return np.ascontiguousarray(b[:, :4]).view(np.float32) * b[:, 4:260].view(np.int8).astype(np.float32)
    if name == "q1_0":
        return halves(b[:, :2]) * (np.unpackbits(b[:, 2:], axis=1, bitorder="little").astype(np.float32) * 2 - 1)
    if name == "q2_0":
        q = (b[:, 2:, None] >> np.array([0, 2, 4, 6], np.uint8)) & 3
        return halves(b[:, :2]) * (q.reshape(len(b), -1).astype(np.float32) - 1)
    raise KeyError(name)


def decode_int(b, bits, group, zero_point):
    head = 3 if zero_point else 2
    codes = b[:, head:]
    if bits == 4:
        q = np.concatenate([codes & 15, codes >> 4], axis=1)
    elif bits == 8:
        q = codes
    else:
        low = codes[:, : group // 4]
        q = np.concatenate([low >> s & 3 for s in (0, 2, 4, 6)], axis=1)
        if bits == 3:
            q = q | np.unpackbits(codes[:, group // 4 :], axis=1, bitorder="little") << 2
    zero = b[:, 2:3].astype(np.float32) if zero_point else np.float32(128)
    return halves(b[:, :2]) * (q.astype(np.float32) - zero * np.float32(2.0 ** (bits - 8)))


def normal_float():
    """The 16 levels of NF4 as published (Dettmers et al. 2023, appendix E), checked against their definition: quantiles of
    the normal distribution, 7 below zero and 8 above, over the largest."""
    published = [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
        -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]  # fmt: skip
    quantile, end = statistics.NormalDist().inv_cdf, 0.9677083
    above = [quantile(end + (0.5 - end) * i / 8) for i in range(8)]
    below = [-quantile(end + (0.5 - end) * i / 7) for i in range(7)]
    defined = np.array(sorted(above + [0.0] + below)) / above[0]
    assert np.abs(defined - published).max() < 1e-6
    return np.array(published, np.float32)


def decode_own(name, b):
    d, codes = halves(b[:, :2]), b[:, 2:]
    if name == "nf4":
        levels = normal_float()
        return d * levels[np.concatenate([codes & 15, codes >> 4], axis=1)]
    if name == "fp8_g128":
        return d * torch.from_numpy(np.ascontiguousarray(codes)).view(torch.float8_e4m3fn).to(torch.float32).numpy()
    fraction = np.concatenate([(codes.astype(np.int64) * 3**k) % 256 for k in range(5)], axis=1)
    digits = fraction[:, : int(name.split("_g")[1])] * 3 // 256
    return d * (digits.astype(np.float32) - 1)


def decode_plain(name, raw):
    if name.startswith("f8"):
        kind = torch.float8_e4m3fn if name == "f8_e4m3" else torch.float8_e5m2
        return torch.from_numpy(raw).view(kind).to(torch.float32).numpy()
    if name == "bf16":
        return quants.dequantize(raw.reshape(1, -1), T.BF16)
    kind = {"f": "<f", "i": "<i", "u": "<u"}[name[0]] + str(int(name[1:]) // 8)
    with np.errstate(over="ignore", invalid="ignore"):
        return raw.view(kind).astype(np.float32)


def canonical(values):
    """float32, with one kind of NaN: the standard leaves its payload open."""
    values = np.ascontiguousarray(values, dtype="<f4").reshape(-1)
    values[np.isnan(values)] = np.nan
    return values


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    sums = []

    def write(name, blocks, values):
        values = canonical(values)
        n_elems = len(values) // len(blocks)
        n = N_EXPLICIT if n_elems > 1 else 64
        (OUT / f"{name}.bin").write_bytes(blocks[:n].tobytes() + values[: n * n_elems].tobytes())
        sums.append(f"{name} {len(blocks)} {hashlib.sha256(values.tobytes()).hexdigest()}\n")

    for name in "f64 f32 f16 bf16 f8_e4m3 f8_e5m2 i8 i16 i32 i64 u8 u16 u32 u64".split():
        size = 1 if name.startswith("f8") else 2 if name == "bf16" else int(name[1:]) // 8
        blocks = random_bytes(name, 65536 * size).reshape(65536, size)
        write(name, blocks, decode_plain(name, blocks.reshape(-1)))
    for name, scales in SCALES.items():
        kind = getattr(T, name.upper(), None)
        # gguf has no q2_0 yet, and q8_1 with two floats, as it was before 2023
        size = {"q2_0": (64, 18), "q8_1": (32, 36)}.get(name) or GGML_QUANT_SIZES[kind]
        blocks = blocks_of(name, size[1], scales)
        with np.errstate(over="ignore"):
            known = kind is not None and kind in quants._type_traits
            write(name, blocks, quants.dequantize(blocks, kind) if known else decode_here(name, blocks))
    for bits in (8, 4, 3, 2):
        for group in (32, 64, 128):
            for zero_point in (False, True):
                name = f"int{bits}_g{group}" + ("_zp" if zero_point else "")
                blocks = blocks_of(name, 2 + zero_point + bits * group // 8, [1])
                write(name, blocks, decode_int(blocks, bits, group, zero_point))
    for name, size in {"nf4": 34, "fp8_g128": 130, "ternary_g64": 15, "ternary_g128": 28}.items():
        blocks = blocks_of(name, size, [1])
        write(name, blocks, decode_own(name, blocks))
    (OUT / "sums.txt").write_text("".join(sums))


if __name__ == "__main__":
    main()
