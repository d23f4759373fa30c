#!/usr/bin/env python3
"""Compare two quantized GGUF files of one model, tensor by tensor, by their distance from the float weights.

    pip install numpy gguf
    python3 bench/quantizer_rmse.py FLOAT OURS.gguf PEER.gguf [--same-type] [--imatrix FILE] [--tolerance T] [--json FILE]

FLOAT is a float GGUF or a Hugging Face directory (Llama, Mistral, Qwen2 and Qwen3 names; the rows of Q and K are
re-ordered where the GGUF architecture is llama). For every tensor that at least one file quantizes it prints the root mean
square error of each file, ours / peer, and the types. The last line is the verdict.

    --same-type     judge only tensors that have the same type in both files; the others are listed
    --imatrix FILE  weigh each column's squared error by the mean squared activation that llama-imatrix recorded
                    (a tensor without an entry counts unweighted)
    --tolerance T   a ratio up to 1 + T passes (default 0)

Exit code: 0 if no judged ratio is above 1 + T, 1 if one is, 2 for wrong usage, 3 if the files do not belong together.
Decoding is gguf-py's, so a tensor in one of our own layouts (stored as I8) is refused: compare files that hold ggml types.
"""
import argparse, json, math, os, struct, sys

import numpy as np
from gguf import GGUFReader
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

FLOATS = {T.F32, T.F16, T.BF16}
LAYER_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
TOP_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


class Mismatch(Exception):
    pass


def to_f32(raw, dtype):
    """Little-endian bytes of a safetensors dtype as float32."""
    if dtype == "BF16":
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    if dtype not in ("F16", "F32", "F64"):
        raise Mismatch(f"weights of type {dtype} are no float weights")
    return raw.view({"F16": "<f2", "F32": "<f4", "F64": "<f8"}[dtype]).astype(np.float32)


class GgufFile:
    def __init__(self, path):
        self.path, reader = path, GGUFReader(path)
        self.tensors = {t.name: t for t in reader.tensors}
        field = reader.fields.get("general.architecture")
        self.arch = field.contents() if field else ""

    def kind(self, name):
        return self.tensors[name].tensor_type

    def n_bytes(self, name):
        return self.tensors[name].n_bytes

    def get(self, name):
        t = self.tensors[name]
        shape = tuple(int(d) for d in reversed(t.shape))
        if t.tensor_type == T.I8 or t.tensor_type not in GGML_QUANT_SIZES:
            raise Mismatch(f"{self.path}: {name}: cannot decode {t.tensor_type.name}; only ggml's types are compared here")
        return np.asarray(dequantize(t.data, t.tensor_type), dtype=np.float32).reshape(shape)


class HfDirectory:
    """Float weights under GGUF names."""

    def __init__(self, path, arch):
        with open(os.path.join(path, "config.json"), encoding="utf-8") as f:
            c = json.load(f)
        self.path, self.permute = path, arch == "llama"
        self.heads = {"attn_q": c["num_attention_heads"], "attn_k": c.get("num_key_value_heads") or c["num_attention_heads"]}
        self.tensors = {}
        for file in sorted(f for f in os.listdir(path) if f.endswith(".safetensors")):
            with open(os.path.join(path, file), "rb") as f:
                n = struct.unpack("<Q", f.read(8))[0]
                header = json.loads(f.read(n))
            data = np.memmap(os.path.join(path, file), np.uint8, "r", offset=8 + n)
            for name, info in header.items():
                if name != "__metadata__":
                    self.tensors[self.rename(name)] = (data, info)

    @staticmethod
    def rename(name):
        stem, dot, last = name.rpartition(".")
        if stem in TOP_NAMES:
            return TOP_NAMES[stem] + dot + last
        part = stem.split(".", 3)
        if part[:2] == ["model", "layers"] and len(part) == 4 and part[3] in LAYER_NAMES:
            return f"blk.{part[2]}.{LAYER_NAMES[part[3]]}.{last}"
        return name

    def get(self, name):
        data, info = self.tensors[name]
        begin, end = info["data_offsets"]
        w = to_f32(np.ascontiguousarray(data[begin:end]), info["dtype"]).reshape(info["shape"])
        heads = self.heads.get(name.split(".")[-2])
        if self.permute and heads:                     # rotary halves to neighbouring pairs
            w = w.reshape(heads, 2, w.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(w.shape)
        return w


def column_weights(imatrix, name, n_cols):
    """Mean squared activation of each input column, or None."""
    if imatrix is None or name + ".in_sum2" not in imatrix.tensors:
        return None
    total = imatrix.get(name + ".in_sum2").reshape(-1)
    count = imatrix.get(name + ".counts").reshape(-1)
    if total.size != n_cols or count.size != 1 or count[0] <= 0:
        return None
    return total.astype(np.float64) / float(count[0])


def rmse(w, x, weights):
    error = np.square(x.astype(np.float64) - w)
    if weights is None:
        return math.sqrt(error.mean())
    return math.sqrt((error.reshape(-1, weights.size) * weights).sum() / (error.size / weights.size * weights.sum()))


def compare(source, ours, peer, imatrix, same_type):
    if set(ours.tensors) != set(peer.tensors):
        raise Mismatch("the two files do not hold the same tensors: " + ", ".join(sorted(set(ours.tensors) ^ set(peer.tensors))[:8]))
    for name in ours.tensors:
        kinds = ours.kind(name), peer.kind(name)
        if all(k in FLOATS for k in kinds):
            continue
        origin = name
        if name == "output.weight" and name not in source.tensors:
            origin = "token_embd.weight"               # tied, but stored twice
        if origin not in source.tensors:
            raise Mismatch(f"{source.path}: no tensor for {name}")
        w, a, b = source.get(origin), ours.get(name), peer.get(name)
        if not w.shape == a.shape == b.shape:
            raise Mismatch(f"{name}: shapes {w.shape}, {a.shape} and {b.shape} differ")
        weights = column_weights(imatrix, name, w.shape[-1])
        e = [rmse(w, x, weights) for x in (a, b)]
        ratio = e[0] / e[1] if e[1] > 0 else (1.0 if e[0] == 0 else math.inf)
        if math.isnan(ratio):
            ratio = math.inf
        yield {"name": name, "elements": int(w.size), "types": [k.name for k in kinds], "bytes": [int(f.n_bytes(name)) for f in (ours, peer)],
               "rmse": e, "relative": [x / math.sqrt(float(np.square(w.astype(np.float64)).mean()) or 1.0) for x in e],
               "ratio": ratio, "weighted": weights is not None, "judged": kinds[0] == kinds[1] or not same_type}


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("source", metavar="FLOAT"), ap.add_argument("ours"), ap.add_argument("peer")
    ap.add_argument("--same-type", action="store_true"), ap.add_argument("--imatrix")
    ap.add_argument("--tolerance", type=float, default=0.0), ap.add_argument("--json")
    a = ap.parse_args()
    rows = []
    try:
        ours, peer = GgufFile(a.ours), GgufFile(a.peer)
        source = HfDirectory(a.source, peer.arch) if os.path.isdir(a.source) else GgufFile(a.source)
        imatrix = GgufFile(a.imatrix) if a.imatrix else None
        print(f"{'tensor':32s} {'ours':>8s} {'peer':>8s} {'RMSE ours':>12s} {'RMSE peer':>12s} {'ratio':>9s}")
        for r in compare(source, ours, peer, imatrix, a.same_type):
            rows.append(r)
            note = "" if r["judged"] else "  not judged"
            if r["judged"] and r["ratio"] > 1 + a.tolerance:
                note = "  WORSE"
            print(f"{r['name']:32s} {r['types'][0]:>8s} {r['types'][1]:>8s} {r['rmse'][0]:12.5e} {r['rmse'][1]:12.5e} {r['ratio']:9.6f}{note}", flush=True)
    except (Mismatch, OSError, ValueError, KeyError, NotImplementedError) as e:
        print(f"quantizer_rmse: {type(e).__name__}: {e}", file=sys.stderr)
        return 3
    judged = [r for r in rows if r["judged"]]
    if not judged:
        print("quantizer_rmse: no tensor to judge", file=sys.stderr)
        return 3
    worst = max(judged, key=lambda r: r["ratio"])
    total = [math.sqrt(sum(r["rmse"][i] ** 2 * r["elements"] for r in judged) / sum(r["elements"] for r in judged)) for i in (0, 1)]
    n_worse = sum(r["ratio"] > 1 + a.tolerance for r in judged)
    passed = n_worse == 0
    if a.json:
        with open(a.json, "w", encoding="utf-8") as f:
            json.dump({"tensors": rows, "rmse": total, "max_ratio": worst["ratio"], "worse": n_worse, "passed": passed}, f, indent=1)
    print(f"all judged tensors: RMSE {total[0]:.5e} ours, {total[1]:.5e} peer; bytes {sum(r['bytes'][0] for r in judged)} ours, {sum(r['bytes'][1] for r in judged)} peer")
    print(f"{'PASS' if passed else 'FAIL'}: max ratio {worst['ratio']:.6f} ({worst['name']}), {n_worse} of {len(judged)} tensors worse than the peer")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
