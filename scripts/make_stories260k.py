#!/usr/bin/env python3
"""Turn llama2.c's stories260K (MIT) into an ordinary Hugging Face Llama directory (float32).

    pip install numpy
    python3 scripts/make_stories260k.py SOURCE_DIR OUT_DIR

SOURCE_DIR holds stories260K.bin (llama2.c's legacy format) and tok512.bin, as published in
huggingface.co/karpathy/tinyllamas under stories260K/.
The result is committed as testdata/stories260K, so that nobody needs Python to use it.
"""
import json, os, struct, sys

import numpy as np

src, out = sys.argv[1:3]
os.makedirs(out, exist_ok=True)
raw = open(os.path.join(src, "stories260K.bin"), "rb").read()
dim, hidden, n_layer, n_head, n_kv, vocab, seq = struct.unpack("<7i", raw[:28])
tied, vocab = vocab > 0, abs(vocab)
head = dim // n_head
data, at = np.frombuffer(raw, "<f4", offset=28), 0


def take(*shape):
    global at
    n = int(np.prod(shape))
    at += n
    return data[at - n:at].reshape(shape)


def unpermute(w, heads):
    """llama2.c rotates neighbouring pairs; Hugging Face rotates halves."""
    return w.reshape(heads, head // 2, 2, dim).swapaxes(1, 2).reshape(heads * head, dim)


emb = take(vocab, dim)
norm1, wq, wk, wv, wo = (take(n_layer, *s) for s in [(dim,), (n_head * head, dim), (n_kv * head, dim), (n_kv * head, dim), (dim, n_head * head)])
norm2, w1, w2, w3, norm = take(n_layer, dim), take(n_layer, hidden, dim), take(n_layer, dim, hidden), take(n_layer, hidden, dim), take(dim)
take(seq, head // 2), take(seq, head // 2)
assert tied and at == data.size, (at, data.size)

tensors = [("model.embed_tokens.weight", emb)]
for i in range(n_layer):
    p = f"model.layers.{i}."
    tensors += [(p + "input_layernorm.weight", norm1[i]), (p + "mlp.down_proj.weight", w2[i]),
                (p + "mlp.gate_proj.weight", w1[i]), (p + "mlp.up_proj.weight", w3[i]),
                (p + "post_attention_layernorm.weight", norm2[i]),
                (p + "self_attn.k_proj.weight", unpermute(wk[i], n_kv)), (p + "self_attn.o_proj.weight", wo[i]),
                (p + "self_attn.q_proj.weight", unpermute(wq[i], n_head)), (p + "self_attn.v_proj.weight", wv[i])]
tensors.append(("model.norm.weight", norm))
header, pos = {"__metadata__": {"format": "pt"}}, 0
for name, w in tensors:
    header[name] = {"dtype": "F32", "shape": list(w.shape), "data_offsets": [pos, pos + 4 * w.size]}
    pos += 4 * w.size
blob = json.dumps(header, separators=(",", ":")).encode()
blob += b" " * (-len(blob) % 8)
with open(os.path.join(out, "model.safetensors"), "wb") as f:
    f.write(struct.pack("<Q", len(blob)) + blob)
    for _, w in tensors:
        f.write(np.ascontiguousarray(w, "<f4").tobytes())

tok = open(os.path.join(src, "tok512.bin"), "rb").read()
pieces, at = [], 4
while at < len(tok):
    score, n = struct.unpack_from("<fi", tok, at)
    text = tok[at + 8:at + 8 + n].decode()
    at += 8 + n
    pieces.append((text, score))
assert len(pieces) == vocab
names = []
for i, (text, _) in enumerate(pieces):
    if i < 3:
        names.append(["<unk>", "<s>", "</s>"][i])
    elif 3 <= i < 259:
        names.append(f"<0x{i - 3:02X}>")
    else:
        names.append(text.replace(" ", "\u2581"))
ids = {t: i for i, t in enumerate(names)}
assert len(ids) == vocab
merges = []
for i in range(259, vocab):
    t = names[i]
    for cut in range(1, len(t)):
        if t[:cut] in ids and t[cut:] in ids:
            merges.append((-pieces[i][1], ids[t[:cut]], ids[t[cut:]], t[:cut], t[cut:]))
merges.sort(key=lambda m: m[:3])

special = [{"id": i, "content": names[i], "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": True} for i in range(3)]
tokenizer = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
    "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
    "pre_tokenizer": None,
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": "<s>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
    "decoder": {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
        {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
              "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
              "vocab": ids, "merges": [[a, b] for _, _, _, a, b in merges]},
}
config = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": dim,
    "intermediate_size": hidden, "num_hidden_layers": n_layer, "num_attention_heads": n_head,
    "num_key_value_heads": n_kv, "head_dim": head, "max_position_embeddings": seq, "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0, "rope_scaling": None, "attention_bias": False, "mlp_bias": False,
    "tie_word_embeddings": True, "vocab_size": vocab, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32"}
for name, content in {
        "config.json": config, "generation_config.json": {"bos_token_id": 1, "eos_token_id": 2}, "tokenizer.json": tokenizer,
        "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False,
                                  "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "legacy": False,
                                  "clean_up_tokenization_spaces": False, "model_max_length": seq}}.items():
    with open(os.path.join(out, name), "w", encoding="utf-8") as f:
        json.dump(content, f, ensure_ascii=False, indent=1)
