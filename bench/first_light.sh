#!/usr/bin/env bash
# Measures Lathe beside llama.cpp on a real checkpoint: time to quantize, error of the codes, decode and prefill speed,
# and whether both read the same numbers out of the same files. Prints one line a figure, with ratios.
#
#   bench/first_light.sh --lathe build --peer PEER_BIN_DIR --model HF_DIR --peer-gguf FLOAT.gguf --text FILE
#                        [--stock-dir DIR] [--threads 2] [--runs 5] [--only quantize|rmse|speed|perplexity|stock|memory]
#
# --lathe      folder with quantize, pack and infer-run        --peer-gguf  the same model as a float GGUF made by the peer
# --peer       folder with llama-quantize, llama-bench and llama-perplexity
# --stock-dir  quantized GGUF files written by the peer, for the "stock" part
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/common.sh"

lathe=$here/../build threads=2 runs=5 only= stock_dir= peer= model= peer_gguf= text=
while [ $# -gt 0 ]; do
    case $1 in
    --lathe) lathe=$2 ;; --peer) peer=$2 ;; --model) model=$2 ;; --peer-gguf) peer_gguf=$2 ;; --text) text=$2 ;;
    --stock-dir) stock_dir=$2 ;; --threads) threads=$2 ;; --runs) runs=$2 ;; --only) only=$2 ;;
    *) sed -n '2,11p' "$0"; exit 2 ;;
    esac
    shift 2
done
need "$lathe/quantize" "$peer/llama-quantize" "$model/config.json" "$peer_gguf" "$text"
work=$(mktemp -d "${TMPDIR:-/tmp}/lathe-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
part() { [ -z "$only" ] || [ "$only" = "$1" ]; }
echo "machine: $(lscpu | awk -F: '/Model name/ { gsub(/^ +/, "", $2); print $2 }'), $(nproc) cores; $("$lathe/infer-run" --version | head -1)"

peer_type() { tr a-z A-Z <<<"$1"; }

if part quantize; then
    lathe_quantize() { seconds "$lathe/quantize" "$model" -o "$work/l.gguf" --format q4_0 -j "$t" -q --force; }
    peer_quantize() { seconds "$peer/llama-quantize" "$peer_gguf" "$work/p.gguf" Q4_0 "$t"; }
    for t in $threads 1; do paired "quantize to q4_0, $t threads, seconds" "$runs" lathe_quantize peer_quantize; done
    one_thread() { seconds "$lathe/quantize" "$model" -o "$work/l.gguf" --format q4_0 -j 1 -q --force; }
    all_threads() { seconds "$lathe/quantize" "$model" -o "$work/l.gguf" --format q4_0 -j "$threads" -q --force; }
    echo "scaling (here 'lathe' is 1 thread and 'peer' is $threads threads of Lathe):"
    paired "quantize to q4_0, 1 thread against $threads" "$runs" one_thread all_threads
fi

if part rmse; then
    for f in q8_0 q4_0 q4_1 q5_0 q5_1; do
        "$lathe/quantize" "$model" -o "$work/l.gguf" --format "$f" --set "role=embedding:format=$f" -q --force
        "$peer/llama-quantize" --pure "$peer_gguf" "$work/p.gguf" "$(peer_type "$f")" >/dev/null 2>&1
        echo "rmse $f: $(python3 quantizer_rmse.py "$peer_gguf" "$work/l.gguf" "$work/p.gguf" | tail -1)"
    done
fi

if part speed; then
    for f in q8_0 q4_0; do
        "$peer/llama-quantize" "$peer_gguf" "$work/p.gguf" "$(peer_type "$f")" >/dev/null 2>&1
        lathe_bench() { "$lathe/infer-run" bench "$work/p.gguf" --prompt "$pp" --gen "$tg" --repeat 1 -j "$threads" --json -q |
            awk -v key="$key" -F'[:,]' '$1 ~ "\"" key "\"" { print $2 + 0; exit }'; }
        peer_bench() { "$peer/llama-bench" -m "$work/p.gguf" -p "$peer_pp" -n "$peer_tg" -r 1 -t "$threads" -o jsonl 2>/dev/null |
            sed -n 's/.*"avg_ts": *\([0-9.]*\).*/\1/p' | tail -1; }
        pp=16 tg=128 peer_pp=0 peer_tg=128 key=generated_tokens_per_second; paired "decode 128, $f, tokens/s" "$runs" lathe_bench peer_bench
        pp=512 tg=1 peer_pp=512 peer_tg=0 key=prompt_tokens_per_second; paired "prefill 512, $f, tokens/s" "$runs" lathe_bench peer_bench
    done
fi

# perplexity of a file by each side, windows of 512, llama.cpp's convention
lathe_ppl() { "$lathe/infer-run" perplexity "$1" --text "$text" --ctx 512 --windows 8 --convention llama.cpp --compute exact \
    -j "$threads" --json -q | awk -F'[:,]' '$1 ~ /"perplexity"/ { print $2 + 0; exit }'; }
peer_ppl() { "$peer/llama-perplexity" -m "$1" -f "$text" -c 512 --chunks 8 -t "$threads" -fa off -ctk f32 -ctv f32 2>&1 |
    sed -n 's/.*Final estimate: PPL = \([0-9.]*\).*/\1/p'; }
same_ppl() { # NAME FILE: ours on the file, the peer on its F32 expansion
    "$lathe/pack" "$2" -o "$work/f32.gguf" --to gguf-f32 -q --force
    local a b
    a=$(lathe_ppl "$2") b=$(peer_ppl "$work/f32.gguf")
    awk -v n="$1" -v a="$a" -v b="$b" 'BEGIN { printf "perplexity %-28s lathe exact %.4f  peer on the F32 expansion %.4f  difference %+.4f %%\n", n, a, b, (a / b - 1) * 100 }'
}

if part perplexity; then
    for f in f16 q8_0 q4_0 q4_1 q5_0 q5_1; do
        "$lathe/quantize" "$model" -o "$work/l.gguf" --format "$f" -q --force
        same_ppl "ours, $f" "$work/l.gguf"
    done
fi

if part stock && [ -n "$stock_dir" ]; then
    for f in "$stock_dir"/*.gguf; do same_ppl "stock, $(basename "$f" .gguf)" "$f"; done
fi

if part memory; then
    "$lathe/quantize" "$model" -o "$work/l.gguf" --format q4_0 -j "$threads" --force --json -q |
        awk -F'[:,]' '/"peak_memory_bytes"/ { printf "peak anonymous memory of the library while quantizing: %.1f MiB\n", $2 / 1048576; exit }'
fi
