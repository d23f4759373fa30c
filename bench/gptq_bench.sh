#!/usr/bin/env bash
# GPTQ of a whole model against the plain PyTorch one: wall and processor time, the same Gram matrices, errors of the outputs, divergence.
#
#   bench/gptq_bench.sh --lathe build --peer gptq_torch.py --model HF_DIR --text FILE [--samples 128] [--ctx 512] [--threads 2]
#                       [--python python3] [--held-out FILE] [--windows 16] [--gram-samples 8] [--options "..."] [--work DIR]
#
# --peer      script that is called as: PYTHON SCRIPT MODEL OUT --bits 4 --group 64 --samples N --ctx N --text FILE, and that prints
#             "total SECONDS s" (without loading and saving)
# --text      calibration text; both sides get the same beginning of it, cut to SAMPLES windows and a half
# --held-out  text on which the divergence from the float model is measured (default: none is)
# --gram-samples  windows for the comparison of Gram matrices with those of PyTorch
# --options   for our quantize, such as "--refine 0"
# --work      keeps what the runs wrote
set -euo pipefail
cd "$(dirname "$0")"
source ./common.sh

lathe=../build peer= model= text= samples=128 ctx=512 threads=2 python=python3 held= windows=16 gram_samples=8 options= work=
while [ $# -gt 0 ]; do
    case $1 in
    --lathe) lathe=$2 ;; --peer) peer=$2 ;; --model) model=$2 ;; --text) text=$2 ;; --samples) samples=$2 ;; --ctx) ctx=$2 ;;
    --threads) threads=$2 ;; --python) python=$2 ;; --held-out) held=$2 ;; --windows) windows=$2 ;; --gram-samples) gram_samples=$2 ;;
    --options) options=$2 ;; --work) work=$2 ;;
    *) sed -n '2,15p' "$0"; exit 2 ;;
    esac
    shift 2
done
need "$lathe/quantize" "$lathe/gram_bench" "$lathe/infer-run" "$peer" "$model/config.json" "$text"
if [ -z "$work" ]; then
    work=$(mktemp -d "${TMPDIR:-/tmp}/lathe-gptq.XXXXXX")
    trap 'rm -rf "$work"' EXIT
fi
mkdir -p "$work/grams"

# timed NAME COMMAND...: "wall user+sys" to $work/NAME.time
timed() {
    local name=$1
    shift
    TIMEFORMAT='%R %U %S'
    { time "$@" >"$work/$name.out" 2>"$work/$name.err" </dev/null; } 2>"$work/$name.time" ||
        { echo "failed: $*" >&2; tail -5 "$work/$name.err" >&2; exit 1; }
}
wall() { awk '{ print $1 }' "$work/$1.time"; }
cpu() { awk '{ print $2 + $3 }' "$work/$1.time"; }

echo "machine: $(lscpu | awk -F: '/Model name/ { gsub(/^ +/, "", $2); print $2 }'), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg); $samples windows of $ctx"
"$python" gram_check.py cut "$model" "$text" "$samples" "$ctx" "$work/text.txt"
"$python" gram_check.py cut "$model" "$text" "$gram_samples" "$ctx" "$work/few.txt"

"$lathe/gram_bench" "$model" "$work/few.txt" "$gram_samples" "$ctx" -w "$work/grams" >"$work/grams.out"
"$python" gram_check.py compare "$model" "$work/grams" "$ctx"
rm -r "$work/grams"

# shellcheck disable=SC2086
timed ours "$lathe/quantize" "$model" -o "$work/ours.gguf" -f int4_g64 --set token_embd:format=bf16 -m gptq --calib "$work/text.txt" \
    --samples "$samples" --ctx "$ctx" -j "$threads" --force -q $options
echo "lathe:  $(wall ours) s wall, $(cpu ours) s processor time (everything, from start to file)"
OMP_NUM_THREADS=$threads timed peer "$python" "$peer" "$model" "$work/peer" --bits 4 --group 64 --samples "$samples" --ctx "$ctx" \
    --text "$work/text.txt"
cp "$model"/tokenizer*.json "$work/peer/" # as saved by transformers it may cut a text a little differently
total=$(sed -n 's/^total \([0-9.]*\) s.*/\1/p' "$work/peer.out")
echo "peer:   $total s as it says (without loading and saving), $(wall peer) s wall, $(cpu peer) s processor time"
awk -v a="$total" -v b="$(wall ours)" -v c="$(cpu peer)" -v d="$(cpu ours)" \
    'BEGIN { printf "ratio:  %.2f of the wall times, %.2f of the processor times\n", a / b, c / d }'

echo "errors of outputs under the float model's Gram matrices (geometric means):"
"$lathe/gram_bench" "$model" "$work/text.txt" "$samples" "$ctx" "$work/ours.gguf" "$work/peer" | tail -2
if [ -n "$held" ]; then
    for q in "$work/ours.gguf" "$work/peer"; do
        echo "$q:"
        "$lathe/infer-run" compare "$model" "$q" --text "$held" --ctx "$ctx" --windows "$windows" -j "$threads" | grep -E '^ *(mean|same)'
    done
fi
