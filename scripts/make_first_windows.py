#!/usr/bin/env python3
"""Write the token ids of the windows that the goldens' logits_first_window and nll_first_window were computed on.

    pip install tokenizers
    python3 scripts/make_first_windows.py OUT.json NAME=MODEL_DIR=TEXT ...

The committed testdata/goldens/first_windows.json is made with

    stories260K=testdata/stories260K=testdata/text/tinystories.txt SmolLM2-135M=SMOLLM2_DIR=WIKITEXT2/test.txt

(see make_goldens.py for the directories). Tests of the executor read it, so that they need no tokenizer.
"""
import json, os, sys

from tokenizers import Tokenizer

doc = {}
for arg in sys.argv[2:]:
    name, model, text = arg.split("=")
    tok = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
    doc[name] = tok.encode(open(text, encoding="utf-8").read(), add_special_tokens=False).ids[:512]
with open(sys.argv[1], "w", encoding="utf-8") as f:
    f.write("{\n" + ",\n".join(json.dumps(k) + ": " + json.dumps(v, separators=(",", ":")) for k, v in doc.items()) + "\n}\n")
