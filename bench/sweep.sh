#!/usr/bin/env bash
# Speed over threads, depths and batch sizes: medians of `infer-run bench` and the range over its repeats.
#
#   bench/sweep.sh --lathe build [--threads "1 2"] [--depths "0 512 2048"] [--batches "2 4 8 16"] [--prompt 512] [--gen 32]
#                  [--repeat 3] FILE.gguf
#
# Run it at real-time priority where other work goes on: chrt -f 5 bench/sweep.sh ...
set -euo pipefail
lathe=../build threads="1 2" depths="0 512 2048" batches="2 4 8 16" prompt=512 gen=32 repeat=3 file=''
here=$(dirname "$(realpath "$0")")
while [ $# -gt 0 ]; do
    case $1 in
    --lathe) lathe=$2 ;; --threads) threads=$2 ;; --depths) depths=$2 ;; --batches) batches=$2 ;; --prompt) prompt=$2 ;;
    --gen) gen=$2 ;; --repeat) repeat=$2 ;;
    -*) sed -n '2,7p' "$0"; exit 2 ;;
    *) file=$1; shift; continue ;;
    esac
    shift 2
done
# shellcheck source=common.sh
source "$here/common.sh"
need "$lathe/infer-run" "$file"
work=$(mktemp -d "${TMPDIR:-/tmp}/lathe-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
value() { awk -F'[:,]' -v key="$1" '$1 ~ "\"" key "\"" { print $2 + 0; exit }' "$work/json"; }
# row NAME KEY OPTION...: one run, one line
row() {
    local name=$1 key=$2
    shift 2
    "$lathe/infer-run" bench "$file" --repeat "$repeat" "$@" --json -q >"$work/json"
    printf '%-44s %10.1f (%.1f to %.1f) tokens/s\n' "$name" "$(value "${key}_per_second")" "$(value "${key}_per_second_min")" \
        "$(value "${key}_per_second_max")"
}
echo "machine: $(lscpu | awk -F: '/Model name/ { gsub(/^ +/, "", $2); print $2 }'), $(nproc) cores; $("$lathe/infer-run" --version | head -1)"
echo "$(basename "$file"), $(stat -Lc %s "$file") bytes"
for j in $threads; do
    row "read $prompt, $j threads" prompt_tokens --prompt "$prompt" --gen 0 -j "$j"
    for depth in $depths; do
        row "write $gen behind $depth, $j threads" generated_tokens --prompt 0 --gen "$gen" --depth "$depth" -j "$j"
    done
    for n in $batches; do
        row "write $gen in $n texts at once, $j threads" batch_tokens --prompt 0 --gen "$gen" --batch "$n" -j "$j"
    done
done
