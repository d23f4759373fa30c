"""Cuts a text to as many windows as a run shall see, and compares the Gram matrices of gram_bench with those of PyTorch.

  gram_check.py cut MODEL TEXT SAMPLES CTX OUT     OUT: the beginning of TEXT, SAMPLES windows of CTX tokens and half a window
  gram_check.py compare MODEL DIR CTX              DIR as gram_bench -w wrote it; the largest difference of all blocks
"""
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

KINDS = {"attn_q": "self_attn.q_proj", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_down": "mlp.down_proj"}


def cut(model, text, samples, ctx, out):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    whole = open(text, encoding="utf-8", errors="ignore").read()
    want = samples * ctx + ctx // 2
    n = want * 8  # characters; a token is a few of them
    spans = tokenizer(whole[:n], return_offsets_mapping=True)["offset_mapping"]
    if len(spans) <= want:
        sys.exit(f"{text}: {len(spans)} tokens, {want} are needed")
    with open(out, "w", encoding="utf-8") as f:
        f.write(whole[: spans[want][0]])


def compare(model, folder, ctx):
    import numpy
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_grad_enabled(False)
    m = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    tokens = numpy.fromfile(f"{folder}/tokens.i32", dtype=numpy.int32).reshape(-1, ctx)
    sums = {}

    def hook(name):
        def add(_, inputs, __):
            x = inputs[0].reshape(-1, inputs[0].shape[-1])
            sums[name] = sums.get(name, 0) + (x.T @ x).double()

        return add

    for i, layer in enumerate(m.model.layers):
        for kind, path in KINDS.items():
            layer.get_submodule(path).register_forward_hook(hook(f"blk.{i}.{kind}"))
    for row in tokens:
        m.model(torch.tensor(row[None], dtype=torch.long))
    found = []
    for name, total in sums.items():
        n = total.shape[0]
        theirs = (total / tokens.size).numpy()
        ours = numpy.fromfile(f"{folder}/{name}.f32", dtype=numpy.float32).reshape(n, n).astype(numpy.float64)
        frobenius = numpy.linalg.norm(ours - theirs) / numpy.linalg.norm(theirs)
        d = numpy.sqrt(numpy.maximum(theirs.diagonal(), 1e-30))
        element = numpy.abs((ours - theirs) / d[:, None] / d[None, :]).max()
        found.append((frobenius, element, name))
    found.sort()
    first = [f for f in found if f[2].startswith("blk.0.")]
    print(f"{len(found)} Gram matrices, {tokens.size} tokens, relative difference (Frobenius): median {found[len(found) // 2][0]:.1e}, "
          f"{sum(f[0] <= 1e-3 for f in found)} within 1e-3, largest {found[-1][0]:.1e} ({found[-1][2]}), in the first block {max(first)[0]:.1e}; "
          f"elements over the root of their diagonals: median of the largest {sorted(f[1] for f in found)[len(found) // 2]:.1e}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["cut"] and len(sys.argv) == 7:
        cut(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
    elif sys.argv[1:2] == ["compare"] and len(sys.argv) == 5:
        compare(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        sys.exit(__doc__)
