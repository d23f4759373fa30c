#!/usr/bin/env python3
"""Train small tokenizers of every kind that Lathe reads, and write what Hugging Face's tokenizers makes of difficult texts.

    pip install tokenizers==0.23.3
    python3 scripts/make_tokenizer_goldens.py testdata/text/tinystories.txt testdata/tokenizers

Each OUT/<name>/ gets tokenizer.json, for some tokenizer_config.json, and golden.json: a list of cases
  text (or hex: bytes that are no UTF-8)
  ids                   encode(text)
  decoded               decode(ids)
  decoded_with_special  decode(ids, skip_special_tokens=False)
  ids_plain             encode(text, add_special_tokens=False) with special tokens taken as plain text
"""
import itertools
import json
import os
import random
import sys

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

GOLDEN = [
    "", " ", "  ", "\n", "a", "Hello, world!", "Once upon a time", "I'll we're don't THEY'RE",
    "tabs\tand\nnew\r\nlines", "   leading and trailing   ", "1234567890 3.14159 1e-7",
    "na\u00efve caf\u00e9 \u00fcber \u00c5ngstr\u00f6m", "e\u0301 vs \u00e9", "\u4f60\u597d\uff0c\u4e16\u754c",
    "\u0645\u0631\u062d\u0628\u0627", "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "<|im_start|>user\nhi<|im_end|>", "<s> </s> <unk>", "for (int i = 0; i < n; ++i) { a[i] += b[i]; }",
    "\u00a0\u2003\u200b", "a" * 40, "\ufffd\u0000x", "AAA" + " " * 17 + "B",
]
HARD = [
    "\u00c5 \u212b A\u030a \u1e9b\u0323 \ufb01 \u2460 \u00bd \uff21",  # forms that normalization changes
    "a\u0316\u0301\u0327 a\u0301\u0316 \u1100\u1161\u11a8 \uac01",  # order of marks, Hangul
    "\u0958 \u2126 \U0001d15e \U0002f800",  # compositions that are excluded
    "\U0001f3f3\ufe0f\u200d\U0001f308 \U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd",  # emoji sequences
    "\u1c89\u1c8a \U000105c0 \U00010d40\U00010d41 \u0897\u0cf3 \U0001fae8\U0001fadf",  # newer than Unicode 14
    "\U00031350\U0002ebf0\u4e00 x\U00011f00y",  # newer Han, newer marks
    "\r\n\r\n  \r\n\tx\r\ry\n\n\n z", "x  \n  y", " \n \n ", "\t\t\tif x:\n\t\t\t\treturn", "a \u2028b\u2029c\u0085d\u000be\u000cf",
    "0\u0001\u0002\u001b[31m\u007f\u0080\u009f", "\ufeffbom", "\u202eabc\u202c", "x" * 300, " " * 300, "\n" * 70,
    "ab" * 150, "the " * 60, "1" * 61, "12 1,234 123,456.789 \u00b2\u00b3 \u2163 \u0663\u0664 \u0967 \u3007",
    "don't DON'T I'M i'll L'\u00c9T\u00c9 'S '\u017f 're'll''", "snake_case camelCase HTTPServer x86_64 v2.0-rc1",
    "https://example.org/a?b=c&d=%20#e", "$100 + \u20ac5 = ~\u00a390 (10%) <<a>>", "\u00bfQu\u00e9? \u00a1No! \u201cquoted\u201d \u2026 \u2014",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u0928\u092e\u0938\u094d\u0924\u0947 \u05e9\u05c1\u05dc\u05d5\u05dd \u1019\u103c\u1014\u103a\u1019\u102c",
    "\u3053\u3093\u306b\u3061\u306f\u30ab\u30bf\u30ab\u30ca\uff76\uff9e \ud55c\uad6d\uc5b4", "\u01c5 \u0130I\u0131i \u1e9e\u00df \u03a3\u03c3\u03c2",
    "\u2581lower\u2581one \u2581 \u2581\u2581", "Once upon a time, there was a little girl named Lily. She loved to play outside in the park.",
    "Tom said, \"Can I have it?\" \u00abYes\u00bb", "\u180e\u2060\u00ad\u034f", "\ue001\U000f0000\uffff\U0010ffff",
    "<s>a</s>b<unk><s>", " <s> a </s> ", "<|endoftext|><|endoftext|> x<|eot_id|>\n\n<|im_end|>",
    "{\"a\": [1, 2.5e-3, null]}\n", "a\u0300\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308", "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 3,
]
BROKEN = ["ff", "61ff62", "c3", "e2829e82", "f0908f", "eda080", "c0af", "f4908080 20 c3a9", "e28082e282", "616263f09f98"]
SPECIAL = ["<unk>", "<s>", "</s>"]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
            "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
            "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]


def training_text(path):
    """Stories, the hard strings, and words of many scripts."""
    lines = open(path, encoding="utf-8").read().split("\n")[:400]
    return lines + [s for s in GOLDEN + HARD if "\0" not in s and len(s) < 120] * 2


def train(tok, text, size, special, alphabet):
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=alphabet,
                                  limit_alphabet=len(alphabet) or 90, show_progress=False, max_token_length=12)
    tok.train_from_iterator(text, trainer)
    return tok


def byte_level(text, size, special, pre, **kw):
    tok = Tokenizer(models.BPE(**kw))
    tok.pre_tokenizer = pre
    tok.decoder = decoders.ByteLevel()
    return train(tok, text, size, special, sorted(pre_tokenizers.ByteLevel.alphabet()))


def splits(patterns):
    parts = [pre_tokenizers.Split(Regex(p), "isolated") for p in patterns]
    return pre_tokenizers.Sequence(parts + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def sentencepiece(text, size, byte_fallback, all_merges):
    """A vocabulary trained on U+2581 text; with byte tokens behind the special ones, as SentencePiece has them."""
    tok = Tokenizer(models.BPE(unk_token="<unk>"))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tok.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    train(tok, text, size, SPECIAL, [])
    doc = json.loads(tok.to_str())
    model = doc["model"]
    names = SPECIAL + ([f"<0x{b:02X}>" for b in range(256)] if byte_fallback else [])
    names += [t for t in sorted(model["vocab"], key=model["vocab"].get) if t not in names]
    model["vocab"] = {t: i for i, t in enumerate(names)}
    if all_merges:  # every way to put a token together, as converted SentencePiece models list them
        merges = []
        for t in names[len(names) - len(model["merges"]):]:
            merges += [[t[:c], t[c:]] for c in range(1, len(t)) if t[:c] in model["vocab"] and t[c:] in model["vocab"]]
        model["merges"] = merges
    model["byte_fallback"] = byte_fallback
    model["fuse_unk"] = True
    doc["pre_tokenizer"] = None
    return doc


def llama_decoder(strip=True):
    steps = [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
    return {"type": "Sequence", "decoders": steps + ([{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if strip else [])}


def template(bos, bos_id, eos=None, eos_id=None):
    return processors.TemplateProcessing(single=f"{bos} $A" + (f" {eos}" if eos else ""),
                                         special_tokens=[(bos, bos_id)] + ([(eos, eos_id)] if eos else []))


def metaspace(scheme, split):
    return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": split}


def flag_tokens():
    """An added token for every combination of flags, and some that are prefixes of each other."""
    tokens = []
    for flags in itertools.product([False, True], repeat=5):
        name = "".join("SLRNX"[i] if f else "-" for i, f in enumerate(flags))
        tokens.append(AddedToken(f"[{name}]", single_word=flags[0], lstrip=flags[1], rstrip=flags[2], normalized=flags[3],
                                 special=flags[4]))
        word = "tok" + "".join("abcde"[i] for i, f in enumerate(flags) if f) + "Q"
        tokens.append(AddedToken(word, single_word=flags[0], lstrip=flags[1], rstrip=flags[2], normalized=flags[3],
                                 special=flags[4]))
    tokens += [AddedToken(t, normalized=False) for t in ["<x", "<x>", "<x><y>", "\u00c9T\u00c9", "  ", "<\u4f60>"]]
    return tokens


def flag_texts():
    rng = random.Random(7)
    names = [t.content for t in flag_tokens()]
    texts = ["a" + n + "b" for n in names] + [f" x  {n} \t y" for n in names] + [n + " " + n + n for n in names]
    glue = ["", " ", "  ", "\n", "x", ".", "_", "\u00e9", "\u3000", "the"]
    for _ in range(60):
        texts.append("".join(rng.choice(names) + rng.choice(glue) for _ in range(5)))
    return texts + ["TOKABQ tokabq ToKabQ", "[slrnx] [SLRNX]", "<x><y><x><x", "\u00e9t\u00e9 \u00c9T\u00c9 E\u0301TE\u0301", "   <x>   <x   "]


def cases(tok, texts):
    out = []
    for text in texts + [bytes.fromhex(h) for h in BROKEN]:
        case = {"hex": text.hex()} if isinstance(text, bytes) else {"text": text}
        text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        tok.encode_special_tokens = False
        case["ids"] = tok.encode(text).ids
        case["decoded"] = tok.decode(case["ids"])
        full = tok.decode(case["ids"], skip_special_tokens=False)
        if full != case["decoded"]:
            case["decoded_with_special"] = full
        if "\ufffd" in case["decoded"]:
            case["broken"] = True  # bad bytes may be replaced otherwise when they come one by one
        tok.encode_special_tokens = True
        plain = tok.encode(text, add_special_tokens=False).ids
        if plain != case["ids"]:
            case["ids_plain"] = plain
        out.append(case)
    return out


def write(out, name, doc, texts, config=None):
    path = os.path.join(out, name)
    os.makedirs(path, exist_ok=True)
    doc = doc if isinstance(doc, dict) else json.loads(doc.to_str())
    dump = dict(ensure_ascii=False, separators=(",", ":"))
    with open(os.path.join(path, "tokenizer.json"), "w", encoding="utf-8", newline="") as f:
        f.write(json.dumps(doc, **dump) + "\n")
    if config:
        with open(os.path.join(path, "tokenizer_config.json"), "w", encoding="utf-8") as f:
            f.write(json.dumps(config, **dump) + "\n")
    tok = Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
    with open(os.path.join(path, "golden.json"), "w", encoding="utf-8") as f:
        rows = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases(tok, texts))
        f.write('{"cases":[\n' + rows + "\n]}\n")


def make_byte_level(text, out):
    texts = GOLDEN + HARD
    gpt2 = byte_level(text, 400, ["<|endoftext|>"], pre_tokenizers.ByteLevel(add_prefix_space=False))
    gpt2.post_processor = processors.ByteLevel(trim_offsets=False)
    write(out, "gpt2", gpt2, texts)
    gpt2.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    write(out, "gpt2-prefix", gpt2, texts)
    smollm = byte_level(text, 400, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]))
    write(out, "smollm", smollm, texts)
    llama3 = json.loads(byte_level(text, 420, ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"], splits([LLAMA3])).to_str())
    llama3["model"]["ignore_merges"] = True
    for word in [" elephant", "Lily", "\u4f60\u597d", "1234", "\r\n\r\n"]:  # words that no merge makes
        piece = "".join(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(word)[0][0])
        llama3["model"]["vocab"].setdefault(piece, len(llama3["model"]["vocab"]))
    llama3["post_processor"] = {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
         "pair": [], "special_tokens": {"<|begin_of_text|>": {"id": "<|begin_of_text|>", "ids": [0], "tokens": ["<|begin_of_text|>"]}}}]}
    write(out, "llama3", llama3, texts + ["an elephant, elephants; Lily 1234 12345\r\n\r\n"],
          {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "clean_up_tokenization_spaces": True})
    qwen2 = byte_level(text, 400, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], splits([QWEN2]))
    qwen2.normalizer = normalizers.NFC()
    qwen2 = json.loads(qwen2.to_str())
    qwen2["model"]["merges"] = [" ".join(m) for m in qwen2["model"]["merges"]]  # as older files have them
    write(out, "qwen2", qwen2, texts, {"add_bos_token": False, "bos_token": None, "eos_token": "<|im_end|>", "unk_token": None})
    gpt4o = byte_level(text, 400, ["<|endoftext|>"], pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(GPT4O), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]))
    write(out, "gpt4o", gpt4o, texts)
    write(out, "deepseek", byte_level(text, 400, ["<|endoftext|>"], splits(DEEPSEEK)), texts)


def make_sentencepiece(text, out):
    texts = GOLDEN + HARD
    config = {"add_bos_token": True, "add_eos_token": False, "bos_token": "<s>", "eos_token": {"content": "</s>"}}
    legacy = sentencepiece(text, 330, True, True)
    legacy["decoder"] = llama_decoder()
    legacy["post_processor"] = json.loads(template("<s>", 1).__getstate__())
    write(out, "sentencepiece", legacy, texts, config)
    first = dict(legacy, normalizer=None, pre_tokenizer=metaspace("first", False))
    write(out, "metaspace-first", first, texts, config)
    always = sentencepiece(text, 330, False, False)
    always.update(normalizer=None, pre_tokenizer=metaspace("always", True), decoder=metaspace("always", True))
    always["post_processor"] = json.loads(template("<s>", 1, "</s>", 2).__getstate__())
    write(out, "metaspace-always", always, texts, dict(config, add_eos_token=True))
    never = sentencepiece(text, 330, True, False)
    never.update(normalizer=None, pre_tokenizer=metaspace("never", True), decoder=llama_decoder(False))
    never["model"]["fuse_unk"] = False
    for b in range(0x80, 0x100):  # some bytes have no token: those characters are unknown
        if b % 3 == 0:
            del never["model"]["vocab"][f"<0x{b:02X}>"]
    write(out, "metaspace-never", never, texts)


def make_others(text, out):
    lower = byte_level(text, 330, ["<|endoftext|>"], pre_tokenizers.ByteLevel(add_prefix_space=False))
    lower.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip(True, False),
                                             normalizers.Replace(Regex(r"\s{2,}|\d(?=\d)"), "_"), normalizers.Replace("--", "\u2014")])
    lower.add_tokens(flag_tokens())
    write(out, "added", lower, flag_texts() + HARD[:6] + ["A--B  12 345", "  X\u00a0Y "])
    spm = sentencepiece(text, 330, True, True)
    spm["decoder"] = llama_decoder()
    tok = Tokenizer.from_str(json.dumps(spm))
    tok.add_tokens(flag_tokens())
    write(out, "added-sentencepiece", tok, flag_texts())
    odd = Tokenizer(models.BPE(unk_token="<unk>"))
    odd.normalizer = normalizers.NFD()
    odd.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split("-", "merged_with_previous"), pre_tokenizers.Split(Regex(r"[0-9]"), "contiguous"),
        pre_tokenizers.Split(Regex(r"\p{Lu}"), "merged_with_next"), pre_tokenizers.Split(Regex(r"[\w\u2581]+"), "isolated", invert=True),
        pre_tokenizers.Digits(False), pre_tokenizers.Punctuation("isolated"), pre_tokenizers.Split(Regex(r"\b"), "isolated"),
        pre_tokenizers.WhitespaceSplit()])
    train(odd, text, 300, ["<unk>"], [])
    texts = GOLDEN + HARD + ["a-b--c---d- -e", "AbCdEFg HTTPServer", "12ab34 5-6", "x!!y?.z", "\u00c9t\u00e9-\u00c9T\u00c9"]
    write(out, "splits", odd, texts)
    odd.pre_tokenizer = pre_tokenizers.Whitespace()
    odd.normalizer = normalizers.NFKD()
    write(out, "whitespace", odd, texts)


text = training_text(sys.argv[1])
make_byte_level(text, sys.argv[2])
make_sentencepiece(text, sys.argv[2])
make_others(text, sys.argv[2])
