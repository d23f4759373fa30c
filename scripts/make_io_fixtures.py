#!/usr/bin/env python3
"""Writes testdata/io/ and the seeds of the fuzz targets of io, with the reference writers of the formats.

  testdata/io/dtypes.safetensors   a tensor [2, 3] of every dtype, a scalar, an empty tensor, metadata (package safetensors)
  testdata/io/kv_types.gguf        every key-value type, alone and as an array, and a tensor of every plain type, one of
                                   q8_0; alignment 64 (package gguf)
  testdata/io/split-*.gguf         the same tensors in three parts, as llama-gguf-split names and describes them
  tests/fuzz/corpus/safetensors/, index/, gguf/

tests/format/test_io_fixtures.c knows the values. usage: scripts/make_io_fixtures.py
"""
import json
import pathlib
import struct

import gguf
import numpy as np
import safetensors.torch
import torch
from gguf import GGUFValueType as V

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "testdata/io"
CORPUS = ROOT / "tests/fuzz/corpus"

FLOATS = np.array([[0, 1, -2], [0.5, 96, -0.25]], np.float64)  # exact in every float type
SIGNED = np.array([[0, -1, 2], [-3, 100, -128]])
UNSIGNED = np.array([[0, 1, 2], [3, 100, 255]])
BOOLS = np.array([[0, 1, 1], [0, 1, 0]])


def bf16(a):
    return (a.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()


def make_safetensors():
    tensors = {}
    floats = torch.from_numpy(FLOATS)
    for name, dtype in [
        ("f64", torch.float64), ("f32", torch.float32), ("f16", torch.float16), ("bf16", torch.bfloat16),
        ("f8_e4m3", torch.float8_e4m3fn), ("f8_e5m2", torch.float8_e5m2),
    ]:  # fmt: skip
        tensors[name] = floats.to(dtype)
        assert torch.equal(tensors[name].to(torch.float64), floats)
    for bits in (64, 32, 16, 8):
        tensors[f"i{bits}"] = torch.from_numpy(SIGNED).to(getattr(torch, f"int{bits}"))
        tensors[f"u{bits}"] = torch.from_numpy(UNSIGNED).to(getattr(torch, f"uint{bits}"))
    tensors["bool"] = torch.from_numpy(BOOLS).to(torch.bool)
    tensors["scalar"] = torch.tensor(1.5)
    tensors["empty"] = torch.zeros(0, 4)
    return safetensors.torch.save(tensors, {"format": "pt"})


SCALARS = [
    ("u8", V.UINT8, 200), ("i8", V.INT8, -100), ("u16", V.UINT16, 60000), ("i16", V.INT16, -30000),
    ("u32", V.UINT32, 4000000000), ("i32", V.INT32, -2000000000), ("f32", V.FLOAT32, 0.15625), ("bool", V.BOOL, True),
    ("string", V.STRING, "tekst: \u00e6\u00f8\u00e5"), ("u64", V.UINT64, 2**64 - 1), ("i64", V.INT64, -(2**63)),
    ("f64", V.FLOAT64, 1 / 3),
]  # fmt: skip


def add_kv(w):
    w.add_custom_alignment(64)
    for name, vtype, value in SCALARS:
        w.add_key_value(f"test.{name}", value, vtype)
        second = {"bool": False, "string": ""}.get(name, 7)
        w.add_key_value(f"test.array.{name}", [value, second, value], V.ARRAY, sub_type=vtype)


def gguf_tensors():
    yield "f32", FLOATS.astype(np.float32), None
    yield "f16", FLOATS.astype(np.float16), None
    yield "f64", FLOATS, None
    yield "bf16", np.frombuffer(bf16(FLOATS), np.uint8).reshape(2, 6), gguf.GGMLQuantizationType.BF16
    for bits in (64, 32, 16, 8):
        yield f"i{bits}", SIGNED.astype(f"<i{bits // 8}"), None
    w = (np.arange(3 * 64, dtype=np.float32).reshape(3, 64) - 64) / 8
    yield "q8_0", gguf.quants.quantize(w, gguf.GGMLQuantizationType.Q8_0), gguf.GGMLQuantizationType.Q8_0


def write_gguf(path, tensors, kv):
    w = gguf.GGUFWriter(path, "llama")
    kv(w)
    for name, data, dtype in tensors:
        w.add_tensor(name, data, raw_dtype=dtype)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def write_split():
    tensors = list(gguf_tensors())
    for no in range(3):

        def kv(w, no=no):
            if no == 0:
                w.add_string("general.name", "split")
            w.add_key_value("split.no", no, V.UINT16)
            w.add_key_value("split.count", 3, V.UINT16)
            w.add_key_value("split.tensors.count", len(tensors), V.INT32)

        write_gguf(OUT / f"split-{no + 1:05d}-of-00003.gguf", tensors[3 * no : 3 * no + 3], kv)


def st(header, n_data, padding=0):
    text = json.dumps(header).encode() + b" " * padding
    return struct.pack("<Q", len(text)) + text + bytes(n_data)


def write_seeds(whole_safetensors):
    def seed(folder, name, data):
        (CORPUS / folder).mkdir(parents=True, exist_ok=True)
        (CORPUS / folder / name).write_bytes(data)

    seed("safetensors", "dtypes", whole_safetensors)
    seed("safetensors", "empty", st({}, 0, 6))
    two = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "b": {"dtype": "U8", "shape": [], "data_offsets": [8, 9]}}
    seed("safetensors", "two", st({"__metadata__": {"format": "pt"}} | two, 9))
    seed("safetensors", "text_two", json.dumps(two).encode() + bytes(1 + 9))  # see fuzz_safetensors.c
    length = struct.unpack_from("<Q", whole_safetensors)[0]
    seed("safetensors", "text_dtypes", whole_safetensors[8 : 8 + length] + b"\0" + whole_safetensors[8 + length :])
    seed("safetensors", "zero", st({"z": {"dtype": "BF16", "shape": [0, 3], "data_offsets": [0, 0]}}, 0))

    shards = {f"model.layers.{i}.weight": f"model-{i % 2 + 1:05d}-of-00002.safetensors" for i in range(4)}
    seed("index", "two_shards", json.dumps({"metadata": {"total_size": 64}, "weight_map": shards}).encode())
    seed("index", "float_size", json.dumps({"metadata": {"total_size": 6.4e10}, "weight_map": {"a": "x"}}).encode())
    seed("index", "parent", json.dumps({"weight_map": {"a": "../x"}}).encode())

    seed("gguf", "kv_types", (OUT / "kv_types.gguf").read_bytes())
    seed("gguf", "split_1", (OUT / "split-00001-of-00003.gguf").read_bytes())
    seed("gguf", "nothing", b"GGUF" + struct.pack("<IQQ", 3, 0, 0))
    seed("gguf", "own", own_gguf())


def own_gguf():
    """A file with the lathe.* keys: rows of 40 columns in int4_g32 (2 groups of 18 bytes) and a norm."""

    def kv(w):
        w.add_key_value("lathe.format_version", 1, V.UINT32)
        w.add_key_value("lathe.tensor.format", ["int4_g32", "f32"], V.ARRAY, sub_type=V.STRING)
        w.add_key_value("lathe.tensor.columns", [40, 8], V.ARRAY, sub_type=V.UINT64)
        w.add_key_value("lathe.tensor.xxh3", [0, 0], V.ARRAY, sub_type=V.UINT64)
        w.add_key_value("lathe.header.xxh3", 0, V.UINT64)

    path = OUT / "own.tmp"
    write_gguf(path, [("blk.0.w", np.zeros((2, 36), np.int8), None), ("norm", np.zeros(8, np.float32), None)], kv)
    data = path.read_bytes()
    path.unlink()
    return data


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    whole = make_safetensors()
    (OUT / "dtypes.safetensors").write_bytes(whole)
    write_gguf(OUT / "kv_types.gguf", gguf_tensors(), add_kv)
    write_split()
    write_seeds(whole)


if __name__ == "__main__":
    main()
