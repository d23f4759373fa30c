"""AutoRound (PyPI auto-round) on a Hugging Face directory, on the CPU: the peer of bench/rounding.sh.

  python3 autoround_peer.py MODEL OUT --text FILE [--bits 4] [--group 64] [--iters 200] [--batch 8] [--samples 128] [--ctx 512]
                            [--seed 0] [--dtype f32] [--threads 2]

Rounds the linear layers only (those whose widths are multiples of 32: AutoRound skips others), symmetric, and leaves
embedding and head as they are. Calibrates on the same windows, token for token, as `quantize --calib FILE --samples N --ctx N
--seed N` takes from one file. OUT becomes a checkpoint of the same shape whose weights are the dequantized values, for
`pack --to gguf-f32`. Needs auto-round, transformers and xxhash.
"""
import argparse
import os
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def philox_u64(key, i):
    """Value i of the stream of a key: Philox4x32-10 (Salmon et al., SC'11)."""
    c = [(i >> 1) & 0xFFFFFFFF, i >> 33, 0, 0]
    k = [key & 0xFFFFFFFF, key >> 32]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c[3] << 32 | c[2] if i & 1 else c[1] << 32 | c[0]


def choose_windows(n_windows, n_samples, seed):
    """The windows with the smallest random keys, in the order of the text (calib/corpus.c)."""
    import struct
    import xxhash
    hashed = [xxhash.xxh3_64_intdigest(s) for s in (b"file 0", b"calibration")]
    key = xxhash.xxh3_64_intdigest(struct.pack("<3Q", seed, *hashed))
    return sorted(sorted(range(n_windows), key=lambda w: (philox_u64(key, w), w))[:n_samples])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--text", required=True)
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--group", type=int, default=64)
    parser.add_argument("--iters", type=int, default=200)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8, help="windows of an iteration")
    parser.add_argument("--ctx", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0, help="which windows of the text are taken")
    parser.add_argument("--dtype", choices=["bf16", "f32"], default="f32", help="what AutoRound computes in")
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()

    import torch
    from auto_round import AutoRound
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(a.threads)
    tokenizer = AutoTokenizer.from_pretrained(a.model)
    dtype = torch.float32 if a.dtype == "f32" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=dtype).eval()
    ids = tokenizer(open(a.text, encoding="utf-8").read())["input_ids"]
    chosen = choose_windows(len(ids) // a.ctx, a.samples, a.seed)
    print(f"{len(ids)} tokens; windows {chosen[:8]} ...", flush=True)
    batches = [{"input_ids": torch.tensor([ids[w * a.ctx:(w + 1) * a.ctx]]),
                "attention_mask": torch.ones(1, a.ctx, dtype=torch.long)} for w in chosen]
    begin = time.time()
    rounder = AutoRound(model, tokenizer, bits=a.bits, group_size=a.group, sym=True, iters=a.iters, seqlen=a.ctx,
                        nsamples=a.samples, batch_size=a.batch, dataset=batches, device_map="cpu", amp=a.dtype == "bf16",
                        enable_torch_compile=False)
    rounder.quantize_and_save(a.out, format="fake")
    for folder in (entry.path for entry in os.scandir(a.out) if entry.is_dir()):  # it saves into OUT/NAME-wBITSgGROUP
        for file in os.listdir(folder):
            os.replace(os.path.join(folder, file), os.path.join(a.out, file))
        os.rmdir(folder)
    print(f"total {time.time() - begin:.1f} s", flush=True)


if __name__ == "__main__":
    main()
