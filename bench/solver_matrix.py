#!/usr/bin/env python3
"""Every solver on every format: output errors of all matrices under the Gram matrix of their inputs, and which solver won.

    pip install numpy safetensors
    python3 bench/solver_matrix.py [--lathe build] [--formats "q4_0 int4_g64"] [--text FILE] [--samples 16] [--details]

Two models: testdata/stories260K, and a generated one whose matrices are 256 and 512 wide, with columns of very different
size that depend on each other. All solvers see the same statistics (--one-pass). The error of a matrix is the mean
(w - v) H (w - v)^T over its rows, H undamped. Solvers: rtn (scales weighted by the diagonal of H), hqq, gptq without
refinement, and gptq refined (3 rounds). A cell is the median over matrices of the error over that of rtn; behind it in how
many matrices the solver had the least error. --details prints every matrix.

Exit code 1 if refined GPTQ is worse than rtn or plain GPTQ on any matrix, or above 0.9 of rtn on the median one.
"""
import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
STORIES = ROOT / "testdata/stories260K"
SOLVERS = {"rtn": ["-m", "rtn"], "hqq": ["-m", "hqq"], "gptq": ["-m", "gptq", "--refine", "0"], "refined": ["-m", "gptq"]}
GROUPS = [f"int{bits}_g{group}{zero}" for bits in (8, 4, 3, 2) for group in (32, 64, 128) for zero in ("", "_zp")]
FORMATS = ("q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs tq2_0 mxfp4 nvfp4 nf4 fp8_g128 ternary_g64 "
           "ternary_g128").split() + GROUPS
SLACK = 1 + 1e-5  # of the float arithmetic in which errors are judged


def generate(folder, rng):
    """A Llama of width 256 with feed-forward width 512, and the tokenizer of stories260K."""
    width, hidden, heads, layers, vocab = 256, 512, 4, 2, 512
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(STORIES / name, folder / name)
    config = json.loads((STORIES / "config.json").read_text())
    config.update(hidden_size=width, intermediate_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
                  num_key_value_heads=heads, head_dim=width // heads)
    (folder / "config.json").write_text(json.dumps(config))

    def matrix(rows, cols):
        tails = rng.standard_t(5, (rows, cols)) * np.exp(0.3 * rng.standard_normal((1, cols)))
        return (tails / np.sqrt(cols)).astype(np.float32)

    def norm():
        return np.exp(0.7 * rng.standard_normal(width)).astype(np.float32)

    mix = rng.standard_normal((32, width))
    embedding = rng.standard_normal((vocab, 32)) @ mix / 6 + 0.5 * rng.standard_normal((vocab, width))
    tensors = {"model.embed_tokens.weight": embedding.astype(np.float32), "model.norm.weight": norm()}
    for i in range(layers):
        block = f"model.layers.{i}."
        for name in "qkvo":
            tensors[f"{block}self_attn.{name}_proj.weight"] = matrix(width, width)
        tensors[block + "mlp.gate_proj.weight"] = matrix(hidden, width)
        tensors[block + "mlp.up_proj.weight"] = matrix(hidden, width)
        tensors[block + "mlp.down_proj.weight"] = matrix(width, hidden)
        tensors[block + "input_layernorm.weight"] = norm()
        tensors[block + "post_attention_layernorm.weight"] = norm()
    save_file(tensors, folder / "model.safetensors")


def errors(args, model, fmt, solver, work):
    """Errors by tensor, or a sentence that says why there are none."""
    command = [f"{args.lathe}/quantize", str(model), "-o", f"{work}/q.gguf", "--force", "--fresh", "-q", "--json", "-f", fmt, *SOLVERS[solver],
               "--set", "token_embd:format=f32", "--calib", args.text, "--samples", str(args.samples), "--ctx", "128", "--one-pass"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    if done.returncode == 7:  # a solver that does not know the format
        return report["errors"][0]["message"]
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    found = {t["name"]: t["output_error"] for t in report["result"]["tensors"] if t["format"] == fmt and "output_error" in t}
    return found or "the format fits none of the widths"


def compare(args, model, work):
    failed = []
    print(f"\n{model.name}, {args.samples} windows of 128 tokens\n{'format':14}{'matrices':>9}" + "".join(f"{s:>16}" for s in SOLVERS))
    for fmt in args.formats.split():
        by_solver = {s: errors(args, model, fmt, s, work) for s in SOLVERS}
        if not isinstance(by_solver["rtn"], dict):
            print(f"{fmt:14}{'':>9}  {by_solver['rtn']}")
            continue
        known = [s for s in SOLVERS if isinstance(by_solver[s], dict)]
        names = list(by_solver["rtn"])
        winners = [min(reversed(known), key=lambda s, n=name: by_solver[s][n]) for name in names]
        line = f"{fmt:14}{len(names):9}"
        for s in SOLVERS:
            if s not in known:
                line += f"{'-':>16}"
                continue
            ratios = [by_solver[s][n] / by_solver["rtn"][n] for n in names]
            line += f"{statistics.median(ratios):11.3f} ({winners.count(s):2})"
            if s == "refined" and statistics.median(ratios) > 0.9:
                failed.append(f"{model.name} {fmt}: {statistics.median(ratios):.3f} of rtn on the median matrix")
        print(line, flush=True)
        for n in names:
            if args.details:
                print(f"    {n:28}" + "".join(f"{by_solver[s][n]:12.4g}" for s in known), min(known, key=lambda s, n=n: by_solver[s][n]))
            best = min(by_solver["rtn"][n], by_solver["gptq"][n])
            if by_solver["refined"][n] > best * SLACK:
                failed.append(f"{model.name} {fmt} {n}: refined {by_solver['refined'][n]:.6g}, before {best:.6g}")
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lathe", default=str(ROOT / "build"))
    parser.add_argument("--formats", default=" ".join(FORMATS))
    parser.add_argument("--text", default=str(ROOT / "testdata/text/tinystories.txt"))
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--details", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        generated = pathlib.Path(work) / "generated-256-512"
        generated.mkdir()
        generate(generated, np.random.default_rng(1))
        failed = compare(args, STORIES, work) + compare(args, generated, work)
    print("\nrefined GPTQ is never worse than rtn or plain GPTQ, and at most 0.9 of rtn on the median matrix" if not failed else
          "\nfalls short:\n  " + "\n  ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
