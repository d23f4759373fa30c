#!/usr/bin/env python3
"""Golden gradients of the checkpoints in testdata/families, by torch's autograd in float64.

    pip install torch transformers safetensors
    python3 scripts/make_gradient_goldens.py testdata/goldens/gradients.json

The loss is the mean negative log likelihood of ids[1:] of each family's golden.json, given everything before. For every
parameter, under its name in the checkpoint: the L2 norm of the gradient and its products with two vectors u_k of numbers
in [-1, 1): u_k[i] = ((i * 2654435761 + k * 40503) mod 2^32) / 2^31 - 1, i counting elements row by row.
"""
import json, os, sys

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import torch
from transformers import AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
FAMILIES = os.path.join(HERE, os.pardir, "testdata", "families")


def vector(k, n):
    i = np.arange(n, dtype=np.uint64)
    return (i * np.uint64(2654435761) + np.uint64(k * 40503)) % np.uint64(1 << 32) / float(1 << 31) - 1.0


def gradients(path):
    with open(os.path.join(path, "golden.json"), encoding="utf-8") as f:
        ids = json.load(f)["ids"]
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64, attn_implementation="eager").eval()
    logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    loss = torch.nn.functional.cross_entropy(logits[:-1].double(), torch.tensor(ids[1:]))
    loss.backward()
    out = {}
    for name, p in model.named_parameters():           # a tied head is listed once, as the embedding
        g = p.grad.double().numpy().ravel()
        out[name] = [float(f"{v:.9g}") for v in (np.linalg.norm(g), g @ vector(0, g.size), g @ vector(1, g.size))]
    return {"loss": float(f"{loss.item():.9g}"), "gradients": out}


def main():
    torch.set_num_threads(1)
    doc = {name: gradients(os.path.join(FAMILIES, name)) for name in sorted(os.listdir(FAMILIES))}
    with open(sys.argv[1], "w", encoding="utf-8") as f:
        f.write("{\n" + ",\n".join(json.dumps(k) + ": " + json.dumps(v, separators=(",", ":")) for k, v in doc.items()) + "\n}\n")
    print({k: v["loss"] for k, v in doc.items()})


if __name__ == "__main__":
    main()
