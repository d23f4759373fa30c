#!/usr/bin/env bash
# Spends the bytes of llama.cpp's best files with --target-bytes and compares the divergence, judged by stock llama-perplexity.
#
#   bench/budget_curve.sh --lathe build --peer PEER_BIN_DIR --model HF_DIR --peer-gguf FLOAT.gguf --text FILE --calib FILE
#                         [--calib FILE]... [--windows 40] [--samples 128] [--threads 2] [--work DIR] [--extra "BYTES..."]
#                         [--options "..."] [--only "TYPE:EMBEDDING..."] [--expand]
#
# --peer       folder with llama-quantize, llama-imatrix and llama-perplexity
# --peer-gguf  the same model as a float GGUF made by the peer: the reference of both
# --calib      calibration text of both sides; --text is only judged on
# --work       keeps the peer's files, reference logits and measurements for the next run (default: a folder that is removed)
# --extra      more sizes, without a file of the peer
# --options    for our quantize, such as "--transform awq"
# --expand     judges the F32 expansions of both sides, which own types need: --options "--formats q5_0,int3_g64,..." --expand
# --only       which of the peer's mixtures (default: all of "Q5_K_M:q5_0 Q4_K_M:q5_0 Q3_K_M:q5_0 IQ3_S:iq4_nl")
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/common.sh"

lathe=$here/../build peer= model= peer_gguf= text= windows=40 samples=128 threads=2 work= extra= options= expand=
mixtures="Q5_K_M:q5_0 Q4_K_M:q5_0 Q3_K_M:q5_0 IQ3_S:iq4_nl"
calib=()
while [ $# -gt 0 ]; do
    case $1 in
    --lathe) lathe=$2 ;; --peer) peer=$2 ;; --model) model=$2 ;; --peer-gguf) peer_gguf=$2 ;; --text) text=$2 ;;
    --calib) calib+=("$2") ;; --windows) windows=$2 ;; --samples) samples=$2 ;; --threads) threads=$2 ;; --work) work=$2 ;;
    --expand) expand=1; shift; continue ;;
    --extra) extra=$2 ;; --options) options=$2 ;; --only) mixtures=$2 ;;
    *) sed -n '2,17p' "$0"; exit 2 ;;
    esac
    shift 2
done
need "$lathe/quantize" "$peer/llama-quantize" "$peer/llama-imatrix" "$peer/llama-perplexity" "$model/config.json" \
    "$peer_gguf" "$text" "${calib[@]}"
if [ -z "$work" ]; then
    work=$(mktemp -d "${TMPDIR:-/tmp}/lathe-budget.XXXXXX")
    trap 'rm -rf "$work"' EXIT
fi
mkdir -p "$work"
quiet() { "$@" >"$work/log" 2>&1 </dev/null || { echo "failed: $*" >&2; tail -5 "$work/log" >&2; exit 1; }; }

# Reference logits, and the peer's importance matrix from the same text.
base="$work/base-$windows-$(cksum <"$text" | cut -d' ' -f1).kld"
[ -e "$base" ] || quiet "$peer/llama-perplexity" -m "$peer_gguf" -f "$text" -c 512 --chunks "$windows" -t "$threads" \
    --kl-divergence-base "$base"
if [ ! -e "$work/imatrix.gguf" ]; then
    cat "${calib[@]}" >"$work/calib.txt"
    quiet "$peer/llama-imatrix" -m "$peer_gguf" -f "$work/calib.txt" -c 512 --chunks "$samples" -t "$threads" -o "$work/imatrix.gguf"
fi

# judge FILE: "mean p99 same-top-1"
judge() {
    local file=$1
    if [ -n "$expand" ]; then
        file=$work/expanded.gguf
        quiet "$lathe/pack" "$1" -o "$file" --to gguf-f32 --force -q
    fi
    # The peer does not wait for its own log when it ends: on a busy machine lines may be missing.
    for _ in 1 2 3 4 5; do
        quiet "$peer/llama-perplexity" -m "$file" -c 512 --chunks "$windows" -t "$threads" --kl-divergence --kl-divergence-base "$base"
        sed -n -e 's/^.*Mean  *KLD: *\([0-9.]*\).*/mean \1/p' -e 's/^.*99\.0%  *KLD: *\([0-9.]*\).*/p99 \1/p' \
            -e 's/^.*Same top p: *\([0-9.]*\).*/same \1/p' "$work/log" |
            awk '{ x[$1] = $2 } END { if (x["mean"] !~ /[.]/ || x["p99"] !~ /[.]/ || x["same"] !~ /[.]/) exit 1
                print x["mean"], x["p99"], x["same"] }' && return 0
    done
    echo "no figures in $work/log" >&2
    return 1
}

# ours BYTES: our file of at most so many bytes, with what is known from sizes before
ours() {
    local known=(--save-measurements "$work/measured.json") text_options=() f
    [ -e "$work/measured.json" ] && known=(--measurements "$work/measured.json" --save-measurements "$work/measured.json")
    for f in "${calib[@]}"; do text_options+=(--calib "$f"); done
    # shellcheck disable=SC2086
    quiet "$lathe/quantize" "$model" -o "$work/ours-$1.gguf" --target-bytes "$1" "${text_options[@]}" --samples "$samples" \
        "${known[@]}" $options -j "$threads" --force --json="$work/ours-$1.json"
}

figures() { sed -n "s/^ *\"$2\": \([0-9.e-]*\),*\$/\1/p" "$work/ours-$1.json" | head -1; }

row() { printf '%-16s %11s %10s %10s %9s   %s\n' "$@"; }
echo "machine: $(lscpu | awk -F: '/Model name/ { gsub(/^ +/, "", $2); print $2 }'), $(nproc) cores; $windows windows of 512, $samples for calibration"
row file bytes "mean KLD" "p99 KLD" "top-1 %" "predicted, measured on held-out calibration text"
one() { # BYTES [PEER_KLD PEER_P99]
    ours "$1"
    seen=$(judge "$work/ours-$1.gguf")
    read -r mean p99 same <<<"$seen"
    row "lathe" "$(stat -Lc %s "$work/ours-$1.gguf")" "$mean" "$p99" "$same" "$(figures "$1" predicted_kld), $(figures "$1" measured_kld)"
    if [ $# -gt 1 ]; then
        awk -v a="$mean" -v b="$2" -v c="$p99" -v d="$3" 'BEGIN { printf "%-16s %11s %10.3f %10.3f\n", "  ratio", "", a / b, c / d }'
    fi
}
for mixture in $mixtures; do
    type=${mixture%:*} embedding=${mixture#*:}
    file="$work/peer-$type-$embedding.gguf"
    [ -e "$file" ] || quiet "$peer/llama-quantize" --imatrix "$work/imatrix.gguf" --token-embedding-type "$embedding" "$peer_gguf" "$file" \
        "$type" "$threads"
    seen=$(judge "$file") # a failure ends the script
    read -r mean p99 same <<<"$seen"
    row "$type, $embedding" "$(stat -Lc %s "$file")" "$mean" "$p99" "$same" ""
    one "$(stat -Lc %s "$file")" "$mean" "$p99"
done
for bytes in $extra; do one "$bytes"; done
