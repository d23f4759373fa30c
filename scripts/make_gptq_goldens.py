#!/usr/bin/env python3
"""Golden codes of GPTQ (Frantar et al. 2022, algorithm 1), computed as published, in float64.

    pip install numpy
    python3 scripts/make_gptq_goldens.py testdata/gptq/symmetric.bin

One matrix on a symmetric 4-bit grid with groups of 32 and scales of 2 absmax / 15: inverse of the
damped Hessian, its upper Cholesky factor, blocks of 128 columns with a lazy update of the rest,
columns by decreasing diagonal with the groups' scales fixed before (static groups).

The file, little-endian: int32 n_rows, n_cols, group, n_tokens; float32 weights [n_rows, n_cols];
int8 inputs [n_tokens, n_cols] (small integers, so that their Gram matrix is exact in float32);
int8 codes [n_rows, n_cols] of GPTQ, int8 codes of rounding to nearest; float64 of each row: the
error (w - w') H (w - w')^T with H the mean of x x^T, of GPTQ and of rounding to nearest.
"""
import struct, sys

import numpy as np

N_ROWS, N_COLS, GROUP, N_TOKENS, BLOCK, DAMPING = 6, 160, 32, 240, 128, 0.01
rng = np.random.default_rng(20261121)

# Correlated inputs of very different strength, as in language models.
mix = rng.standard_normal((12, N_COLS)) * np.exp(0.5 * rng.standard_normal(N_COLS))
X = rng.standard_normal((N_TOKENS, 12)) @ mix + 0.7 * rng.standard_normal((N_TOKENS, N_COLS))
X = np.clip(np.rint(4 * X), -100, 100).astype(np.int8)
W = (rng.standard_normal((N_ROWS, N_COLS)) * 0.05).astype(np.float32)

H = X.astype(np.float64).T @ X.astype(np.float64) / N_TOKENS
scales = np.empty((N_ROWS, N_COLS))
for g in range(0, N_COLS, GROUP):  # as float32, which is how the program's grid holds them
    peak = np.abs(W[:, g:g + GROUP]).max(1)
    scales[:, g:g + GROUP] = (np.float32(2) * peak / np.float32(15)).astype(np.float32)[:, None]


def quantize(w, s):
    return np.clip(np.rint(w / s), -8, 7)


perm = np.argsort(-np.diag(H), kind="stable")
w, s, h = W.astype(np.float64)[:, perm], scales[:, perm], H[np.ix_(perm, perm)].copy()
h[np.diag_indices(N_COLS)] += DAMPING * np.diag(H).mean()
U = np.linalg.cholesky(np.linalg.inv(h)).T  # upper factor of the inverse
codes = np.zeros((N_ROWS, N_COLS))
for i1 in range(0, N_COLS, BLOCK):
    i2 = min(i1 + BLOCK, N_COLS)
    E = np.zeros((N_ROWS, i2 - i1))
    for j in range(i1, i2):
        codes[:, j] = quantize(w[:, j], s[:, j])
        E[:, j - i1] = (w[:, j] - codes[:, j] * s[:, j]) / U[j, j]
        w[:, j:i2] -= np.outer(E[:, j - i1], U[j, j:i2])
    w[:, i2:] -= E @ U[i1:i2, i2:]
gptq = np.empty_like(codes)
gptq[:, perm] = codes
nearest = quantize(W, scales)


def errors(q):
    d = W - q * scales
    return np.einsum("ri,ij,rj->r", d, H, d)


print("GPTQ / nearest:", errors(gptq) / errors(nearest))
with open(sys.argv[1], "wb") as f:
    f.write(struct.pack("<4i", N_ROWS, N_COLS, GROUP, N_TOKENS))
    f.write(W.astype("<f4").tobytes())
    f.write(X.tobytes())
    f.write(gptq.astype(np.int8).tobytes() + nearest.astype(np.int8).tobytes())
    f.write(errors(gptq).astype("<f8").tobytes() + errors(nearest).astype("<f8").tobytes())
