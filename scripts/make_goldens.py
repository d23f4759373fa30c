#!/usr/bin/env python3
"""Write golden numbers of a Hugging Face Llama directory, computed by transformers in float32.

    pip install torch transformers
    python3 scripts/make_goldens.py MODEL_DIR OUT.json [--text FILE --windows N --ctx N --bos ID]

The committed ones are made by

    make_goldens.py testdata/stories260K testdata/goldens/stories260K.json --text testdata/text/tinystories.txt --windows 32 --bos 1
    make_goldens.py SMOLLM2_DIR testdata/goldens/SmolLM2-135M.json --text WIKITEXT2/test.txt --windows 8

where SMOLLM2_DIR is what make_smollm2.py writes and test.txt is the tokenised WikiText-2 test set (1,256,449 bytes).
"""
import argparse, hashlib, json, math, os

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

STRINGS = [
    "", " ", "  ", "\n", "a", "Hello, world!", "Once upon a time", "I'll we're don't THEY'RE", "tabs\tand\nnew\r\nlines",
    "   leading and trailing   ", "1234567890 3.14159 1e-7", "na\u00efve caf\u00e9 \u00fcber \u00c5ngstr\u00f6m", "e\u0301 vs \u00e9",
    "\u4f60\u597d\uff0c\u4e16\u754c", "\u0645\u0631\u062d\u0628\u0627", "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "<|im_start|>user\nhi<|im_end|>", "<s> </s> <unk>", "for (int i = 0; i < n; ++i) { a[i] += b[i]; }", "\u00a0\u2003\u200b",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "\ufffd\u0000x", "A" * 3 + " " * 17 + "B",
]
PROMPT = "Once upon a time, there was a little"


def nll(logits, ids):
    return torch.nn.functional.cross_entropy(logits[:-1].double(), ids[1:], reduction="none")


def positions(logits, where):
    """Logits at some positions: all of them for a small vocabulary, else the 20 largest."""
    rows = []
    for i in where:
        v = logits[i]
        top = torch.topk(v, 20)
        row = {"position": i, "logsumexp": float(torch.logsumexp(v.double(), 0)),
               "top20": [[int(k), round(float(x), 5)] for x, k in zip(top.values, top.indices)]}
        if v.numel() <= 1024:
            row["all"] = [round(float(x), 5) for x in v]
        rows.append(row)
    return rows


ap = argparse.ArgumentParser()
ap.add_argument("model"), ap.add_argument("out")
ap.add_argument("--text"), ap.add_argument("--windows", type=int, default=8), ap.add_argument("--ctx", type=int, default=512)
ap.add_argument("--bos", type=int, help="also score with the first token of each window replaced by this id, as llama.cpp does for models that add BOS")
a = ap.parse_args()
tok = Tokenizer.from_file(os.path.join(a.model, "tokenizer.json"))
model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval()
weights = hashlib.sha256(open(os.path.join(a.model, "model.safetensors"), "rb").read()).hexdigest()
doc = {"made_by": f"transformers float32, torch {torch.__version__}", "weights_sha256": weights,
       "tokenizer": [{"text": s, "ids": tok.encode(s).ids, "decoded": tok.decode(tok.encode(s).ids)} for s in STRINGS]}
with torch.no_grad():
    ids = tok.encode(PROMPT).ids
    x = torch.tensor([ids])
    out = model(x, output_hidden_states=True)
    last = out.logits[0, -1]
    top = torch.topk(last, 20)
    doc["prompt"] = {"text": PROMPT, "ids": ids, "top20": [[int(i), round(float(v), 5)] for v, i in zip(top.values, top.indices)],
                     "logsumexp": float(torch.logsumexp(last.double(), 0)),
                     "hidden_l2_last_position": [float(h[0, -1].double().norm()) for h in out.hidden_states]}
    y = model.generate(x, max_new_tokens=64, do_sample=False, eos_token_id=None, pad_token_id=0)[0].tolist()
    doc["greedy"] = {"ids": y, "text": tok.decode(y)}
    if a.text:
        all_ids = tok.encode(open(a.text, encoding="utf-8").read(), add_special_tokens=False).ids
        full = half = half_bos = 0.0
        for w in range(a.windows):
            t = torch.tensor(all_ids[w * a.ctx:(w + 1) * a.ctx])
            n = nll(model(t[None]).logits[0], t)
            full += float(n.sum())
            half += float(n[a.ctx // 2 - 1 + 1:].sum())
            if w == 0:
                doc["nll_first_window"] = [round(float(v), 6) for v in n[:64]]
                doc["logits_first_window"] = positions(model(t[None]).logits[0], (0, 1, 7, 31, 64, 127, 255, a.ctx - 1))
            if a.bos is not None:
                t[0] = a.bos
                nb = nll(model(t[None]).logits[0], t)
                half_bos += float(nb[a.ctx // 2:].sum())
        doc["perplexity"] = {
            "text": os.path.basename(a.text), "tokens_in_text": len(all_ids), "ctx": a.ctx, "windows": a.windows, "bos": False,
            "full_window": {"scored_per_window": a.ctx - 1, "ppl": math.exp(full / (a.windows * (a.ctx - 1)))},
            "second_half": {"scored_per_window": a.ctx // 2 - 1, "ppl": math.exp(half / (a.windows * (a.ctx // 2 - 1))),
                            "note": "llama.cpp's convention: tokens ctx/2+1 .. ctx-1 of each window are scored"}}
if a.text and a.bos is not None:
    doc["perplexity"]["second_half_bos"] = {"scored_per_window": a.ctx // 2 - 1, "ppl": math.exp(half_bos / (a.windows * (a.ctx // 2 - 1))),
                                            "note": "as second_half, with the first token of every window replaced by BOS: what stock llama.cpp does here"}
json.dump(doc, open(a.out, "w", encoding="utf-8"), ensure_ascii=True, indent=1)
print(json.dumps({k: doc[k] for k in ("perplexity", "greedy") if k in doc}, indent=1))
