#!/usr/bin/env python3
"""Writes a random Llama checkpoint in shards, of any size, for measurements of time and memory: no sense in it.

usage: make_synthetic.py DIR [--layers 10] [--width 2048] [--ff 8192] [--vocab 32000] [--kv-heads 0]
                         [--shard-bytes 500000000] [--tokenizer]

Heads have 64 elements; --kv-heads 0 means as many as there are heads. --tokenizer adds a byte-level tokenizer whose
words beyond the 256 bytes are fillers, which is enough for programs that insist on one. The shape of a 1.1B Llama:
--layers 22 --width 2048 --ff 5632 --vocab 32000 --kv-heads 4 --tokenizer
"""
import argparse
import json
import os
import struct

import numpy as np


def bf16(shape, rng, scale):
    """Random numbers as the upper halves of float32, row blocks at a time so that memory stays small."""
    rows = shape[0]
    step = max(1, (1 << 22) // max(1, int(np.prod(shape[1:], dtype=np.int64))))
    for start in range(0, rows, step):
        n = min(step, rows - start)
        x = rng.standard_normal((n,) + tuple(shape[1:]), dtype=np.float32) * scale
        if len(shape) == 1:
            x += 1
        yield (x.view(np.uint32) >> 16).astype(np.uint16).tobytes()


def tensors(a):
    yield "model.embed_tokens.weight", (a.vocab, a.width)
    for i in range(a.layers):
        p = f"model.layers.{i}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield p + name + ".weight", (a.width,)
        for name in ("q", "k", "v", "o"):
            yield p + f"self_attn.{name}_proj.weight", (64 * a.kv_heads if name in "kv" else a.width, a.width)
        yield p + "mlp.gate_proj.weight", (a.ff, a.width)
        yield p + "mlp.up_proj.weight", (a.ff, a.width)
        yield p + "mlp.down_proj.weight", (a.width, a.ff)
    yield "model.norm.weight", (a.width,)
    yield "lm_head.weight", (a.vocab, a.width)


def write_shard(path, items, rng):
    header, offset = {}, 0
    for name, shape in items:
        size = 2 * int(np.prod(shape, dtype=np.int64))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, shape in items:
            for block in bf16(shape, rng, 0.02):
                f.write(block)
    return offset


def byte_characters():
    """The visible character that stands for each byte in byte-level vocabularies (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(others)) for b in range(256)]


def write_tokenizer(folder, n_vocab):
    letters = byte_characters()
    words = ["<unk>", "<s>", "</s>"] + letters + [letters[ord("t")] + letters[ord("h")]]
    words += [f"filler{i}" for i in range(n_vocab - len(words))]
    special = [{"id": i, "content": words[i], "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True} for i in range(3)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    with open(os.path.join(folder, "tokenizer.json"), "w") as f:
        json.dump({"version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
                   "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                       {"type": "Digits", "individual_digits": True}, level]},
                   "post_processor": None, "decoder": level,
                   "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                             "ignore_merges": False, "vocab": {w: i for i, w in enumerate(words[:n_vocab])},
                             "merges": ["t h"]}}, f)
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, "bos_token": "<s>",
                   "eos_token": "</s>", "unk_token": "<unk>", "model_max_length": 2048}, f)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dir")
    for name, default in (("layers", 10), ("width", 2048), ("ff", 8192), ("vocab", 32000), ("kv-heads", 0),
                          ("shard-bytes", 500000000)):
        p.add_argument("--" + name, type=int, default=default)
    p.add_argument("--tokenizer", action="store_true")
    a = p.parse_args()
    a.kv_heads = a.kv_heads or a.width // 64
    os.makedirs(a.dir, exist_ok=True)
    shards, size = [[]], 0
    for name, shape in tensors(a):
        bytes_ = 2 * int(np.prod(shape, dtype=np.int64))
        if shards[-1] and size + bytes_ > a.shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append((name, shape))
        size += bytes_
    weight_map, total = {}, 0
    rng = np.random.default_rng(1)
    for i, items in enumerate(shards):
        file = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        total += write_shard(os.path.join(a.dir, file), items, rng)
        weight_map.update({name: file for name, _ in items})
    with open(os.path.join(a.dir, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, f)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": a.width,
              "intermediate_size": a.ff, "num_hidden_layers": a.layers, "num_attention_heads": a.width // 64,
              "num_key_value_heads": a.kv_heads, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
              "rope_theta": 10000.0, "tie_word_embeddings": False, "vocab_size": a.vocab, "torch_dtype": "bfloat16"}
    with open(os.path.join(a.dir, "config.json"), "w") as f:
        json.dump(config, f)
    if a.tokenizer:
        write_tokenizer(a.dir, a.vocab)
    print(f"{total} bytes in {len(shards)} shards, the largest tensor has {4 * max(a.vocab * a.width, a.ff * a.width)} "
          "bytes as f32")


if __name__ == "__main__":
    main()
