#!/usr/bin/env bash
# Rounding of whole blocks beside AutoRound and GPTQ in PyTorch: divergence of a model whose linear layers are rounded to
# symmetric integers in groups, as stock llama-perplexity sees the F32 expansions. Embedding and head stay as they are on all
# sides; all calibrate on the same text, Lathe and AutoRound on the same windows, token for token.
#
#   bench/rounding.sh --lathe build --peer PEER_BIN_DIR --model HF_DIR --calib FILE --text FILE --keep DIR [--bits "4 3 2"]
#                     [--group 64] [--samples 128] [--ctx 512] [--windows 40] [--judge-ctx 512] [--steps 200] [--round-batch 4]
#                     [--iters 200] [--batch 8] [--python python3] [--gptq gptq_torch.py] [--threads 2]
#                     [--sides "rtn gptq gptaq rounded autoround torch"]
#
# --keep DIR remembers the float model's logits, the files and finished lines, so that a table can be continued.
set -euo pipefail
cd "$(dirname "$0")"
source ./common.sh

lathe=../build peer='' model='' calib='' text='' keep='' bits='4 3 2' group=64 samples=128 ctx=512 windows=40 judge_ctx=512
steps=200 round_batch=4 iters=200 batch=8 python=python3 gptq='' threads=2
sides='rtn gptq gptaq rounded autoround torch'
while [ $# -gt 0 ]; do
    case $1 in
    --lathe) lathe=$2 ;; --peer) peer=$2 ;; --model) model=$2 ;; --calib) calib=$2 ;; --text) text=$2 ;; --keep) keep=$2 ;;
    --bits) bits=$2 ;; --group) group=$2 ;; --samples) samples=$2 ;; --ctx) ctx=$2 ;; --windows) windows=$2 ;;
    --judge-ctx) judge_ctx=$2 ;; --steps) steps=$2 ;; --round-batch) round_batch=$2 ;; --iters) iters=$2 ;;
    --batch) batch=$2 ;; --python) python=$2 ;; --gptq) gptq=$2 ;; --threads) threads=$2 ;; --sides) sides=$2 ;;
    *) sed -n '2,14p' "$0"; exit 2 ;;
    esac
    shift 2
done
need "$lathe/quantize" "$lathe/pack" "$peer/llama-perplexity" "$model/config.json" "$calib" "$text"
[ -n "$keep" ] || { echo "--keep DIR is needed" >&2; exit 2; }
mkdir -p "$keep"
touch "$keep/lines"
perplexity() { "$peer/llama-perplexity" -f "$text" -c "$judge_ctx" --chunks "$windows" -t "$threads" "$@" 2>&1; }
if [ ! -e "$keep/base.kld" ]; then
    "$lathe/pack" "$model" -o "$keep/base.gguf" --to gguf-f32 -q --force
    perplexity -m "$keep/base.gguf" --kl-divergence-base "$keep/base.part" >"$keep/log"
    mv "$keep/base.part" "$keep/base.kld"
fi

# make SIDE BITS: the model of one side in $keep/SIDE-wBITS[.gguf]
make_file() {
    local out=$keep/$1-w$2
    local -a own=("$lathe/quantize" "$model" -o "$out.gguf" -f "int$2_g$group" --set token_embd:format=bf16 -j "$threads" -q --force)
    local -a text=(--calib "$calib" --samples "$samples" --ctx "$ctx")
    case $1 in
    rtn) "${own[@]}" ;;
    gptq | gptaq) "${own[@]}" -m "$1" "${text[@]}" ;;
    rounded) "${own[@]}" -m gptaq "${text[@]}" --round-steps "$steps" --round-batch "$round_batch" ;;
    autoround) "$python" ./autoround_peer.py "$model" "$out" --text "$calib" --bits "$2" --group "$group" --samples "$samples" \
        --ctx "$ctx" --iters "$iters" --batch "$batch" --threads "$threads" ;;
    torch)
        [ -n "$gptq" ] || return 1
        "$python" "$gptq" "$model" "$out" --text "$calib" --bits "$2" --group "$group" --samples "$samples" --ctx "$ctx" ;;
    esac
}
settings() {
    case $1 in
    rounded) echo "$samples windows, $steps x $round_batch" ;;
    autoround) echo "$samples windows, $iters x $batch" ;;
    rtn) echo none ;;
    *) echo "$samples windows" ;;
    esac
}
value() { awk -v key="$1" 'index($0, key) == 1 { sub(/^[^:]*: */, ""); print $1; exit }' "$keep/log"; }

printf '%-4s %-10s %-24s %9s %9s %9s %9s %8s\n' bits side settings 'mean KLD' '99 %' 'same top' ppl seconds
for b in $bits; do
    for side in $sides; do
        name="$side-w$b"
        if grep -q "^$b *$side " "$keep/lines"; then
            grep "^$b *$side " "$keep/lines"
            continue
        fi
        took=-
        if [ ! -e "$keep/$name.gguf" ] && [ ! -e "$keep/$name/config.json" ]; then
            begin=$(date +%s)
            make_file "$side" "$b" >"$keep/$name.log" 2>&1 || { tail -3 "$keep/$name.log" >&2; continue; }
            took=$(($(date +%s) - begin))
        fi
        input=$keep/$name.gguf
        [ -e "$input" ] || input=$keep/$name
        "$lathe/pack" "$input" -o "$keep/judged.gguf" --to gguf-f32 -q --force
        perplexity -m "$keep/judged.gguf" --kl-divergence --kl-divergence-base "$keep/base.kld" >"$keep/log"
        rm "$keep/judged.gguf"
        [ -n "$(value 'Mean    KLD')" ] || { echo "no figures in $keep/log: are there $windows windows in $text?" >&2; exit 1; }
        printf '%-4s %-10s %-24s %9.5f %9.4f %9.2f %9.3f %8s\n' "$b" "$side" "$(settings "$side")" "$(value 'Mean    KLD')" \
            "$(value '99.0%   KLD')" "$(value 'Same top p')" "$(value 'Mean PPL(Q) ')" "$took" | tee -a "$keep/lines"
    done
done
