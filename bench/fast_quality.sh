#!/usr/bin/env bash
# What fast computation costs in quality: the divergence of a file as it is deployed from the same file computed in f32,
# Lathe's and the peer's beside each other.
#
#   bench/fast_quality.sh --lathe build --peer PEER_BIN_DIR --text FILE [--windows 8] [--ctx 512] [--threads 2]
#                         [--kv-type TYPE] [--bases DIR] FILE.gguf...
#
# Ours: `infer-run compare` of the file with itself, exact (f32 activations and cache) as the reference, fast as the model.
# The peer's: llama-perplexity of the file against the logits of its F32 expansion (`pack --to gguf-f32`; f32 cache, no
# flash attention), with the peer's defaults (int8 activations, f16 cache). Both on the first windows of the text, of which
# the second half is scored (the peer's convention). Its logits are stored in 16 bits over a range of 16 nats, which adds
# nothing that shows. --bases DIR keeps the expansion's logits (49,152 tokens and 8 windows: 200 MB) for the next time.
set -euo pipefail
lathe=../build peer='' text='' windows=8 ctx=512 threads=2 kv=auto bases=''
files=()
here=$(dirname "$(realpath "$0")")
while [ $# -gt 0 ]; do
    case $1 in
    --lathe) lathe=$2 ;; --peer) peer=$2 ;; --text) text=$2 ;; --windows) windows=$2 ;; --ctx) ctx=$2 ;;
    --threads) threads=$2 ;; --kv-type) kv=$2 ;; --bases) bases=$2 ;;
    -*) sed -n '2,14p' "$0"; exit 2 ;;
    *) files+=("$1"); shift; continue ;;
    esac
    shift 2
done
# shellcheck source=common.sh
source "$here/common.sh"
need "$lathe/infer-run" "$peer/llama-perplexity" "$text" "${files[@]}"
work=$(mktemp -d "${TMPDIR:-/tmp}/lathe-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
[ -n "$bases" ] || bases=$work
mkdir -p "$bases"
echo "machine: $(lscpu | awk -F: '/Model name/ { gsub(/^ +/, "", $2); print $2 }'); $("$lathe/infer-run" --version | head -1); $windows windows of $ctx, second halves"

# quiet NAME COMMAND...: output to NAME.log; a failing command ends the bench
quiet() {
    local log=$work/$1.log
    shift
    "$@" >"$log" 2>&1 </dev/null || { echo "failed: $*" >&2; tail -5 "$log" >&2; exit 1; }
}

# member NAME: mean and stderr of a member of the JSON report
member() { awk -F'[:,]' -v key="\"$1\"" '$1 ~ key { on = 1 } on && $1 ~ /"mean"/ { m = $2 } on && $1 ~ /"stderr"/ { print m + 0, $2 + 0; exit }' "$2"; }
number() { awk -F'[:,]' -v key="\"$1\"" '$1 ~ key { print $2 + 0; exit }' "$2"; }

printf '%-28s %24s %24s %10s %10s\n' file "Lathe, KLD" "peer, KLD" "p99" "peer p99"
for file in "${files[@]}"; do
    name=$(basename "$file" .gguf)
    base=$bases/$name.$windows.$ctx.base
    if [ ! -e "$base" ]; then
        quiet pack "$lathe/pack" "$file" --to gguf-f32 -o "$work/f32.gguf" -q
        quiet base "$peer/llama-perplexity" -m "$work/f32.gguf" -f "$text" -c "$ctx" -b "$ctx" --chunks "$windows" -t "$threads" \
            -fa off -ctk f32 -ctv f32 --kl-divergence-base "$base"
        rm -f "$work/f32.gguf"
    fi
    quiet peer "$peer/llama-perplexity" -m "$file" -f "$text" -c "$ctx" -b "$ctx" --chunks "$windows" -t "$threads" \
        --kl-divergence-base "$base" --kl-divergence
    quiet ours "$lathe/infer-run" compare "$file" "$file" --reference-compute exact --kv-type "$kv" --text "$text" --ctx "$ctx" \
        --windows "$windows" --convention llama.cpp -j "$threads" --json="$work/ours.json" -q
    read -r mean err <<<"$(member kld "$work/ours.json")"
    read -r peer_mean peer_err <<<"$(awk '/^Mean    KLD/ { print $3, $5 }' "$work/peer.log")"
    peer_p99=$(awk '/^99.0%   KLD/ { print $3 }' "$work/peer.log")
    printf '%-28s %11.6f +- %8.6f %13.6f +- %8.6f %10.5f %10.5f\n' "$name" "$mean" "$err" "$peer_mean" "$peer_err" \
        "$(number kld_p99 "$work/ours.json")" "$peer_p99"
done
