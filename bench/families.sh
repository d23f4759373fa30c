#!/usr/bin/env bash
# The tiny checkpoint of each model family, written as GGUF by Lathe: perplexity in Lathe (exact) beside that of stock
# llama-perplexity on the same file (f32 cache, no flash attention), twice: windows no longer than a sliding window of
# 16, where both must agree, and windows of 128, where the peer ignores the sliding windows of Mistral and Qwen2.
# usage: bench/families.sh --lathe BUILD_DIR --peer PEER_BIN_DIR [--text FILE]
set -euo pipefail
cd "$(dirname "$0")/.."
lathe=build peer='' text=testdata/text/tinystories.txt
while [ $# -gt 0 ]; do
    case $1 in
    --lathe) lathe=$2 ;;
    --peer) peer=$2 ;;
    --text) text=$2 ;;
    *)
        sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
    esac
    shift 2
done
[ -x "$peer/llama-perplexity" ] || { echo "no llama-perplexity in '$peer'" >&2; exit 2; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
head -c 6000 "$text" >"$tmp/text.txt"

printf '%-22s %6s %12s %12s %12s\n' family window Lathe peer difference
for dir in testdata/families/*/; do
    name=$(basename "$dir")
    "$lathe/quantize" "$dir" -o "$tmp/$name.gguf" -f f32 -q >/dev/null
    for ctx in 16 128; do
        ours=$("$lathe/infer-run" perplexity "$tmp/$name.gguf" -t "$tmp/text.txt" --ctx $ctx --windows 8 \
            --convention llama.cpp --compute exact -q --json |
            sed -n 's/.*"perplexity": *\([0-9.e+]*\).*/\1/p' | head -1)
        theirs=$("$peer/llama-perplexity" -m "$tmp/$name.gguf" -f "$tmp/text.txt" -c $ctx -b $ctx --chunks 8 -t 1 \
            -fa off -ctk f32 -ctv f32 2>&1 >/dev/null | sed -n 's/.*Final estimate: PPL = \([0-9.]*\).*/\1/p')
        printf '%-22s %6s %12.4f %12s %+11.4f%%\n' "$name" $ctx "$ours" "${theirs:-failed}" \
            "$(echo "scale=9; 100 * ($ours / ${theirs:-1} - 1)" | bc)"
    done
done
