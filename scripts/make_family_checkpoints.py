#!/usr/bin/env python3
"""Write tiny random checkpoints of each supported model family, with golden numbers, into testdata/families/.

    pip install torch transformers tokenizers safetensors numpy
    python3 scripts/make_family_checkpoints.py [--out testdata/families] [NAME ...]

The committed files were made with torch 2.15, transformers 5.23 and tokenizers 0.23. Weights and token ids come
from a generator defined here (splitmix64), so the checkpoints are the same bytes everywhere; the golden numbers
may differ in the last digits with another torch.

Each directory holds what a published checkpoint holds (config.json, generation_config.json, weights,
tokenizer.json, tokenizer_config.json) and golden.json, computed by transformers in float32 with eager attention:

    ids                   48 input tokens
    positions             where logits and norms were taken
    logits                at those positions, [position][vocab], 6 decimals
    hidden_l2             L2 norm of the hidden state at those positions: after the embedding, after each decoder
                          layer, and after the final norm
    nll                   of ids[1:], given everything before, natural log
    greedy                prompt = ids[:12], the 16 tokens that follow, and the smallest gap between the best and the
                          second logit on the way (a result this far from another one is no accident of rounding)
    switches              what the family's special feature changes: the largest logit difference when it is off
    tokenizer             difficult strings and their ids, without special tokens added, then as the tokenizer adds them

The configs are spelled as checkpoints on the hub spell them (rope_theta and rope_scaling at the top level,
torch_dtype), not as transformers 5 saves them; llama-rope-parameters has the new spelling.
"""
import argparse, copy, hashlib, json, os, shutil, tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
TESTDATA = os.path.join(HERE, os.pardir, "testdata")
N_IDS, N_PROMPT, N_GREEDY, POSITIONS = 48, 12, 16, (0, 11, 31, 47)
STRINGS = [
    "", " ", "a", "Hello, world!", "Once upon a time", "I'll we're don't THEY'RE he'Sd", "tabs\tand\nnew\r\n\r\nlines \n x",
    "   leading and trailing   ", "1234567 3.14 1e-7 \u0663\u0664\u0665", "na\u00efve caf\u00e9 e\u0301", "\u4f60\u597d\uff0c\u4e16\u754c",
    "\U0001f600\U0001f469\u200d\U0001f467", "a_b += c[i];  // ok!?\n\n", "\u00a0\u2003x\u3000y", "<|im_start|>user<|im_end|> <s> </s> <|end_of_text|>",
]


# ---- random numbers --------------------------------------------------------------------------------------------------

def splitmix64(x):
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def bits(key, n):
    seed = np.uint64(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little"))
    return splitmix64(np.arange(n, dtype=np.uint64) ^ seed)


def noise(key, shape, std):
    """Uniform numbers of the given standard deviation, a function of the key and the index only."""
    u = (bits(key, int(np.prod(shape))) >> np.uint64(40)).astype(np.float64) / (1 << 24) - 0.5
    return torch.from_numpy((u * (std * 12 ** 0.5)).astype(np.float32).reshape(shape))


# ---- tokenizers ------------------------------------------------------------------------------------------------------

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPLIT = (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3_SPLIT, QWEN2_SPLIT = SPLIT % r"\p{N}{1,3}", SPLIT % r"\p{N}"


SNIPPET = ("12 345 1234 2024 1999\n\n  x\n   y += 1;  // I'll we're THEY'RE don't\tand (a_b)\r\n  {\n    c[i] = \"!?\";\n  }\n\n"
           "na\u00efve caf\u00e9 \u4f60\u597d \U0001f600 1234567 he'S 3.14\n")


def training_text():
    """Stories, and enough numbers, code and odd spaces that some merges depend on how text is split."""
    with open(os.path.join(TESTDATA, "text", "tinystories.txt"), encoding="utf-8") as f:
        return f.read()[:12000] + SNIPPET * 40


def byte_level_bpe(n_vocab, special, pre, first_special, normalizer=None, ignore_merges=False):
    """A byte-level BPE of n_vocab tokens; the special ones stand at the end unless first_special.

    The merges are learned without any split, so that many of them cross the family's boundaries and a wrong pattern shows.
    """
    tok = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tok.normalizer, tok.decoder = normalizer, decoders.ByteLevel()
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=n_vocab - (0 if first_special else len(special)), show_progress=False, max_token_length=6,
        special_tokens=special if first_special else [],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    text = training_text()
    tok.train_from_iterator([text[i:i + 400] for i in range(0, len(text), 400)], trainer)
    tok.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in special])
    assert tok.get_vocab_size() == n_vocab
    strings, wanted = STRINGS, [tok.encode(s).ids for s in STRINGS]
    tok.pre_tokenizer = pre
    wanted, seen = [tok.encode(s).ids for s in STRINGS], {}
    for name, other in PRE_TOKENIZERS.items():
        tok.pre_tokenizer = other()
        seen[name] = sum(tok.encode(s).ids != w for s, w in zip(STRINGS, wanted))
    print(seen)
    tok.pre_tokenizer = pre
    return tok


def split_then_bytes(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated", invert=False),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)])


def gpt2_split():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)


PRE_TOKENIZERS = {
    "none": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    "gpt2": gpt2_split,
    "smollm": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2_split()]),   # each digit alone, then GPT-2's pattern
    "llama3": lambda: split_then_bytes(LLAMA3_SPLIT),
    "qwen2": lambda: split_then_bytes(QWEN2_SPLIT),
}


# Merges, best first. Many cross a boundary that some family's pattern draws, so that a wrong pattern shows.
MERGES = """th th|e _a _t in 12 34 12|34 __ __|__ $$ ~$ ~$|~$ 'r 's 'R 'R|E 'S _1 _+ += !? ?$ ?|$$ (i ^a _$ $l ,_ .1 ll '|ll ou er re an an|d s_ e_ 7_ _3
 ca // _|// [i ne ne|w He on k! _|th _th|e _w _x Up up 3. e1 me wo wo|r _d d, ro ld is"""


def merges():
    """MERGES as pairs of byte-level tokens: a|b joins two tokens, ab two characters; _ $ ~ ^ stand for space, \\n, \\r, \\t."""
    for m in MERGES.split():
        left, _, right = m.rpartition("|") if "|" in m else (m[0], "", m[1])
        yield tuple(t.replace("|", "").translate({ord("_"): "\u0120", ord("$"): "\u010a", ord("~"): "\u010d", ord("^"): "\u0109"}) for t in (left, right))


def byte_alphabet():
    """The 256 characters that stand for bytes, in GPT-2's order: the printable ones first."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(256 - len(plain))]


def byte_level_bpe(n_vocab, special, split, first_special, normalizer=None, ignore_merges=False):
    """A byte-level BPE of n_vocab tokens; the special ones stand at the end unless first_special."""
    pairs = list(merges())[:n_vocab - 256 - len(special)]
    tokens = byte_alphabet() + [a + b for a, b in pairs]
    tokens = special + tokens if first_special else tokens + special
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=pairs, ignore_merges=ignore_merges))
    tok.normalizer, tok.decoder = normalizer, decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in special])
    assert len(tokens) == n_vocab == tok.get_vocab_size()
    for other in PRE_TOKENIZERS:                       # the strings tell this pattern from every other
        tok.pre_tokenizer = PRE_TOKENIZERS[other]()
        ids = [tok.encode(s).ids for s in STRINGS]
        tok.pre_tokenizer = PRE_TOKENIZERS[split]()
        assert (ids != [tok.encode(s).ids for s in STRINGS]) == (other != split), (split, other)
    return tok


def make_tokenizer(kind):
    """-> (Tokenizer, tokenizer_config.json, generation_config.json)"""
    if kind == "spm":                                               # SentencePiece-style BPE with byte fallback
        with open(os.path.join(TESTDATA, "stories260K", "tokenizer_config.json"), encoding="utf-8") as f:
            config = json.load(f)
        return Tokenizer.from_file(os.path.join(TESTDATA, "stories260K", "tokenizer.json")), config, {"bos_token_id": 1, "eos_token_id": 2}
    if kind == "llama3":
        special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
        tok = byte_level_bpe(320, special, "llama3", False, ignore_merges=True)
        bos = tok.token_to_id(special[0])
        tok.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(single=f"{special[0]} $A", pair=f"{special[0]} $A {special[0]}:1 $B:1", special_tokens=[(special[0], bos)])])
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": special[0], "eos_token": special[2]}
        return tok, config, {"bos_token_id": bos, "eos_token_id": [bos + 1, bos + 2]}
    if kind == "qwen2":                                             # 300 tokens: fewer than rows in the embedding
        special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        tok = byte_level_bpe(300, special, "qwen2", False, normalizer=normalizers.NFC())
        tok.post_processor = processors.ByteLevel(trim_offsets=False)
        config = {"tokenizer_class": "Qwen2Tokenizer", "add_prefix_space": False, "add_bos_token": False, "bos_token": None,
                  "eos_token": special[2], "pad_token": special[0], "unk_token": None,
                  "chat_template": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
                                   "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"}
        first = tok.token_to_id(special[0])
        return tok, config, {"bos_token_id": first, "eos_token_id": [first + 2, first], "pad_token_id": first}
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tok = byte_level_bpe(320, special, kind, True)
    if kind == "gpt2":
        tok.post_processor = processors.ByteLevel(trim_offsets=False)
    config = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, "bos_token": special[0], "eos_token": special[0], "unk_token": special[0]}
    return tok, config, {"bos_token_id": 0, "eos_token_id": 0}


def tokenizer_goldens(tok):
    return [{"text": s, "ids": tok.encode(s, add_special_tokens=False).ids, "ids_special": tok.encode(s).ids,
             "decoded": tok.decode(tok.encode(s, add_special_tokens=False).ids, skip_special_tokens=False)} for s in STRINGS]


# ---- the families ----------------------------------------------------------------------------------------------------

def config(arch, model_type, **kw):
    c = {"architectures": [arch], "attention_dropout": 0.0, "hidden_act": "silu", "initializer_range": 0.02,
         "max_position_embeddings": 512, "model_type": model_type, "rms_norm_eps": 1e-5, "use_cache": True, "vocab_size": 320}
    c.update(kw)
    return c


def llama(**kw):
    base = dict(attention_bias=False, mlp_bias=False, hidden_size=64, intermediate_size=112, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, rope_theta=10000.0, rope_scaling=None, tie_word_embeddings=True)
    base.update(kw)
    return config("LlamaForCausalLM", "llama", **base)


def qwen2(**kw):
    base = dict(hidden_size=64, intermediate_size=112, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=True, sliding_window=16, max_window_layers=2, use_sliding_window=False)
    base.update(kw)
    return config("Qwen2ForCausalLM", "qwen2", **base)


LLAMA3_ROPE = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64, "rope_type": "llama3"}


def without(**kw):
    """The configuration with a feature switched off; None removes a key."""
    def edit(c):
        c = copy.deepcopy(c)
        for k, v in kw.items():
            c[k] = v
        return c
    return edit


# name -> tokenizer, dtype of matrices, dtype of vectors, shards, seed of the ids, config, feature -> config without it
FAMILIES = {
    # grouped heads, 3 layers, tied embedding
    "llama": dict(tok="spm", dtype="F16", config=llama(vocab_size=512, num_hidden_layers=3, num_attention_heads=8, bos_token_id=1, eos_token_id=2)),
    # biases on every linear layer, output matrix of its own, biases and norms kept in F32 beside BF16 matrices
    "llama-untied-bias": dict(tok="gpt2", seed=1, dtype="BF16", vector_dtype="F32", config=llama(attention_bias=True, mlp_bias=True, tie_word_embeddings=False, num_key_value_heads=4)),
    # Llama-3.1's frequency-dependent scaling; explicit head_dim
    "llama3-scaling": dict(tok="llama3", dtype="BF16", config=llama(head_dim=16, rope_theta=500000.0, rope_scaling=LLAMA3_ROPE),
                           switches={"rope_scaling": without(rope_scaling=None)}),
    # linear scaling in its old spelling ("type"); width 48, head size 12: no multiple of 32
    "llama-linear-scaling": dict(tok="smollm", dtype="F32", config=llama(hidden_size=48, intermediate_size=80, rope_scaling={"type": "linear", "factor": 4.0}),
                                 switches={"rope_scaling": without(rope_scaling=None)}),
    # the spelling of transformers 5: rope_parameters, dtype
    "llama-rope-parameters": dict(tok="llama3", dtype="BF16", new_style=True,
                                  config={**{k: v for k, v in llama(head_dim=16).items() if k not in ("rope_theta", "rope_scaling")},
                                          "rope_parameters": {**LLAMA3_ROPE, "rope_theta": 500000.0}},
                                  switches={"rope_scaling": without(rope_parameters={"rope_type": "default", "rope_theta": 500000.0}),
                                            "rope_theta": without(rope_parameters={**LLAMA3_ROPE, "rope_theta": 10000.0})}),
    # every layer slides; attention wider than the hidden state
    "mistral": dict(tok="spm", dtype="BF16", config=config(
        "MistralForCausalLM", "mistral", vocab_size=512, hidden_size=56, head_dim=24, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, rope_theta=10000.0, sliding_window=16, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2),
        switches={"sliding_window": without(sliding_window=None)}),
    # biases on q, k and v; a sliding_window that use_sliding_window switches off; 300 tokens in 320 rows
    "qwen2": dict(tok="qwen2", dtype="F16", config=qwen2()),
    # layers from max_window_layers on slide
    "qwen2-sliding": dict(tok="qwen2", dtype="F32", config=qwen2(hidden_size=48, intermediate_size=72, num_hidden_layers=3, max_window_layers=1, use_sliding_window=True),
                          switches={"use_sliding_window": without(use_sliding_window=False), "max_window_layers": without(max_window_layers=0)}),
    # norms on q and k, attention wider than the hidden state, two shards
    "qwen3": dict(tok="qwen2", dtype="BF16", shards=2, config=config(
        "Qwen3ForCausalLM", "qwen3", attention_bias=False, hidden_size=64, head_dim=32, intermediate_size=112, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, rms_norm_eps=1e-6, rope_theta=1000000.0, rope_scaling=None, sliding_window=None, max_window_layers=2, use_sliding_window=False,
        tie_word_embeddings=False)),
}
DTYPES = {"F32": (torch.float32, "float32"), "F16": (torch.float16, "float16"), "BF16": (torch.bfloat16, "bfloat16")}


def random_weights(name, shapes):
    """Large enough that attention is far from uniform, that the layers matter and that logits spread over several units."""
    out = {}
    for key, shape in sorted(shapes.items()):
        where = f"{name}/{key}"
        if key.endswith("norm.weight"):
            out[key] = 1 + noise(where, shape, 0.2)
        elif key.endswith(".bias"):
            out[key] = noise(where, shape, 0.3)
        elif key in ("model.embed_tokens.weight", "lm_head.weight"):
            out[key] = noise(where, shape, 0.4)
        else:
            out[key] = noise(where, shape, 1.6 / shape[-1] ** 0.5)
    return out


def write_json(path, doc, indent=2):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(doc, f, ensure_ascii=False, indent=indent)
        f.write("\n")


def save(tensors, path):
    save_file(tensors, path, {"format": "pt"})
    os.chmod(path, 0o644)                              # safetensors makes it private


def write_weights(out, tensors, shards):
    if shards == 1:
        save(tensors, os.path.join(out, "model.safetensors"))
        return
    names, where = sorted(tensors), {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = names[len(names) * i // shards:len(names) * (i + 1) // shards]
        save({k: tensors[k] for k in part}, os.path.join(out, file))
        where.update({k: file for k in part})
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    write_json(os.path.join(out, "model.safetensors.index.json"), {"metadata": {"total_size": size}, "weight_map": where})


def load(path):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    assert all(p.dtype == torch.float32 for p in model.parameters())
    return model


def logits_without(path, edit, ids):
    """Logits of the same weights with an edited config."""
    with tempfile.TemporaryDirectory() as tmp:
        for f in os.listdir(path):
            if "safetensors" in f:
                shutil.copy(os.path.join(path, f), tmp)
        with open(os.path.join(path, "config.json"), encoding="utf-8") as f:
            write_json(os.path.join(tmp, "config.json"), edit(json.load(f)))
        return load(tmp)(torch.tensor([ids]), use_cache=False).logits[0]


def decimals(values, n):
    return [round(float(v), n) for v in values]


def golden(name, path, spec, tok):
    n_vocab = tok.get_vocab_size()
    ids = [int(b % np.uint64(n_vocab)) for b in bits(f"{name}/{spec.get('seed', 0)}/ids", N_IDS)]
    model, hidden = load(path), []
    hooks = [m.register_forward_hook(lambda _m, _i, o: hidden.append((o[0] if isinstance(o, tuple) else o)[0].double()))
             for m in [model.model.embed_tokens, *model.model.layers, model.model.norm]]
    logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    for h in hooks:
        h.remove()
    assert len(hidden) == len(model.model.layers) + 2 and all(h.shape[0] == N_IDS for h in hidden)
    nll = torch.nn.functional.cross_entropy(logits[:-1].double(), torch.tensor(ids[1:]), reduction="none")
    seq, gap = ids[:N_PROMPT], float("inf")
    for _ in range(N_GREEDY):
        best = torch.topk(model(torch.tensor([seq]), use_cache=False).logits[0, -1], 2)
        gap = min(gap, float(best.values[0] - best.values[1]))
        seq = seq + [int(best.indices[0])]
    cached = model.generate(torch.tensor([ids[:N_PROMPT]]), max_new_tokens=N_GREEDY, do_sample=False, eos_token_id=None, pad_token_id=0)[0].tolist()
    assert cached == seq, "generation with a cache differs"
    assert gap > 0.01, f"greedy choice too close: {gap}; give the family another seed"
    switches = {k: round(float((logits_without(path, e, ids) - logits).abs().max()), 3) for k, e in spec.get("switches", {}).items()}
    assert all(v > 0.1 for v in switches.values()), switches
    return {
        "made_by": "scripts/make_family_checkpoints.py: transformers, float32, eager attention",
        "ids": ids, "positions": list(POSITIONS), "logits": [decimals(logits[p], 6) for p in POSITIONS],
        "hidden_l2": {"embedding": decimals((hidden[0][p].norm() for p in POSITIONS), 6),
                      "layers": [decimals((h[p].norm() for p in POSITIONS), 6) for h in hidden[1:-1]],
                      "final_norm": decimals((hidden[-1][p].norm() for p in POSITIONS), 6)},
        "nll": decimals(nll, 6), "greedy": {"prompt": N_PROMPT, "ids": seq[N_PROMPT:], "smallest_gap": round(gap, 4)},
        "switches": switches, "tokenizer": tokenizer_goldens(tok)}


def make(name, spec, root):
    out = os.path.join(root, name)
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    tok, tok_config, generation = make_tokenizer(spec["tok"])
    cfg = dict(spec["config"])
    cfg["dtype" if spec.get("new_style") else "torch_dtype"] = DTYPES[spec["dtype"]][1]
    for k in ("bos_token_id", "eos_token_id"):
        cfg.setdefault(k, generation[k])
    write_json(os.path.join(out, "config.json"), dict(sorted(cfg.items())))
    write_json(os.path.join(out, "generation_config.json"), generation)
    tok.save(os.path.join(out, "tokenizer.json"), pretty=False)
    tok_config.update(clean_up_tokenization_spaces=False, model_max_length=cfg["max_position_embeddings"])
    write_json(os.path.join(out, "tokenizer_config.json"), tok_config)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(out))
    shapes = {k: tuple(v.shape) for k, v in model.state_dict().items() if not (cfg["tie_word_embeddings"] and k == "lm_head.weight")}
    weights = {k: w.to(DTYPES[spec["dtype"] if w.dim() > 1 else spec.get("vector_dtype", spec["dtype"])][0]) for k, w in random_weights(name, shapes).items()}
    write_weights(out, weights, spec.get("shards", 1))
    with torch.no_grad():
        doc = golden(name, out, spec, tok)
    with open(os.path.join(out, "golden.json"), "w", encoding="utf-8") as f:     # one line per member
        f.write("{\n" + ",\n".join(json.dumps(k) + ": " + json.dumps(v, separators=(",", ":")) for k, v in doc.items()) + "\n}\n")
    size = {f: os.path.getsize(os.path.join(out, f)) for f in os.listdir(out)}
    assert sum(size.values()) < 300_000 and size["golden.json"] < 60_000, size
    logit = np.array(doc["logits"])
    print(f"{name:22s} {sum(size.values()):7d} bytes, logits std {logit.std():.2f}, mean nll {np.mean(doc['nll']):.2f}, "
          f"greedy gap {doc['greedy']['smallest_gap']}, switches {doc['switches']}")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("names", nargs="*", metavar="NAME")
    ap.add_argument("--out", default=os.path.join(TESTDATA, "families"))
    a = ap.parse_args()
    torch.set_num_threads(1)
    for name in a.names or FAMILIES:
        make(name, FAMILIES[name], a.out)


if __name__ == "__main__":
    main()
