#!/usr/bin/env bash
# What transforms are worth: divergence of a model whose linear layers are quantized from the float model, as stock
# llama-perplexity sees it, for every format, method and list of transforms. Embedding and head stay bf16; files are
# expanded to f32, so that activations are f32 on both sides. Calibrates on the first --head bytes of --text and measures
# on the rest of it.
#
#   bench/transforms.sh --lathe build --peer PEER_BIN_DIR --model HF_DIR --text FILE [--head 1650000] [--samples 16]
#                       [--windows 8] [--ctx 512] [--formats "int4_g64 int3_g64"] [--methods "rtn gptq"] [--threads 2]
#                       [--transforms "none awq ..."] [--keep DIR]
#
# --keep DIR remembers the float model's logits and finished lines, so that a list can be continued.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/common.sh"

lathe=$here/../build peer='' model='' text='' head=1650000 samples=16 windows=8 ctx=512 threads=2 keep=''
formats='int4_g64 int3_g64' methods='rtn gptq'
transforms='none awq smoothquant clip rotate-heads rotate:untie=1 bias-correction awq,clip rotate-heads,awq awq,bias-correction'
while [ $# -gt 0 ]; do
    case $1 in
    --lathe) lathe=$2 ;; --peer) peer=$2 ;; --model) model=$2 ;; --text) text=$2 ;; --head) head=$2 ;;
    --samples) samples=$2 ;; --windows) windows=$2 ;; --ctx) ctx=$2 ;; --formats) formats=$2 ;; --methods) methods=$2 ;;
    --threads) threads=$2 ;; --transforms) transforms=$2 ;; --keep) keep=$2 ;;
    *) sed -n '2,14p' "$0"; exit 2 ;;
    esac
    shift 2
done
need "$lathe/quantize" "$lathe/pack" "$peer/llama-perplexity" "$model/config.json" "$text"
work=$(mktemp -d "${TMPDIR:-/tmp}/lathe-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
keep=${keep:-$work}
mkdir -p "$keep"
head -c "$head" "$text" >"$work/calib.txt"
tail -c +"$((head + 1))" "$text" >"$work/held.txt"
perplexity() { "$peer/llama-perplexity" -f "$work/held.txt" -c "$ctx" --chunks "$windows" -t "$threads" "$@" 2>&1; }
if [ ! -e "$keep/base.kld" ]; then
    "$lathe/pack" "$model" -o "$work/base.gguf" --to gguf-f32 -q
    perplexity -m "$work/base.gguf" --kl-divergence-base "$work/base.kld" >"$work/log"
    mv "$work/base.kld" "$keep/base.kld"
fi
touch "$keep/lines"
printf '%-10s %-6s %-28s %9s %9s %9s %12s\n' format method transforms 'mean KLD' '99 %' 'same top' bytes
for format in $formats; do
    for method in $methods; do
        for list in $transforms; do
            if grep -q "^$format *$method *$list " "$keep/lines"; then
                grep "^$format *$method *$list " "$keep/lines"
                continue
            fi
            args=(--set token_embd:format=bf16)
            [ "$list" = none ] || args+=(--transform "$list")
            case $list in *rotate:untie*) args+=(--set output:format=bf16) ;; esac
            "$lathe/quantize" "$model" -o "$work/q.gguf" -f "$format" -m "$method" --calib "$work/calib.txt" --samples "$samples" \
                --ctx "$ctx" -j "$threads" -q --force "${args[@]}"
            "$lathe/pack" "$work/q.gguf" -o "$work/f.gguf" --to gguf-f32 -q --force
            perplexity -m "$work/f.gguf" --kl-divergence --kl-divergence-base "$keep/base.kld" >"$work/log"
            value() { awk -v key="$1" 'index($0, key) == 1 { sub(/^[^:]*: */, ""); print $1; exit }' "$work/log"; }
            printf '%-10s %-6s %-28s %9.5f %9.4f %9.2f %12d\n' "$format" "$method" "$list" "$(value 'Mean    KLD')" \
                "$(value '99.0%   KLD')" "$(value 'Same top p')" "$(stat -c %s "$work/q.gguf")" | tee -a "$keep/lines"
        done
    done
done
