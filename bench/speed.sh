#!/usr/bin/env bash
# Measures reading and writing speed beside llama.cpp on the same GGUF files: pairs of short runs in turn, the medians
# of both and of their ratios, and beside each figure what the machine gave in the same seconds.
#
#   bench/speed.sh --lathe build --peer PEER_BIN_DIR [--probe PROGRAM] [--threads 2] [--runs 5] [--gen 64]
#                  [--prompt 512] [--batch 8] [--native DIR] FILE.gguf...
#
# --peer   folder with llama-bench
# --native Lathe runs what `pack` makes of the file in this folder, the peer the file as it is
# --probe  prints another program's figure of the memory's bandwidth, to hold against that of `infer-run bench`
#
# Run it at real-time priority where other work goes on: chrt -f 5 bench/speed.sh ...
set -euo pipefail
cd "$(dirname "$0")"
source ./common.sh

lathe=../build peer= probe= threads=2 runs=5 gen=64 prompt=512 batch=8 native=
files=()
while [ $# -gt 0 ]; do
    case $1 in
    --lathe) lathe=$2 ;; --peer) peer=$2 ;; --probe) probe=$2 ;; --threads) threads=$2 ;; --runs) runs=$2 ;;
    --gen) gen=$2 ;; --prompt) prompt=$2 ;; --batch) batch=$2 ;; --native) native=$2 ;;
    -*) sed -n '2,13p' "$0"; exit 2 ;;
    *) files+=("$1"); shift; continue ;;
    esac
    shift 2
done
need "$lathe/infer-run" "$peer/llama-bench" "${files[@]}"
work=$(mktemp -d "${TMPDIR:-/tmp}/lathe-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "machine: $(lscpu | awk -F: '/Model name/ { gsub(/^ +/, "", $2); print $2 }'), $(nproc) cores; $("$lathe/infer-run" --version | head -1); load $(cut -d' ' -f1-3 /proc/loadavg)"
[ -z "$probe" ] || { echo "probe:"; $probe; }

value() { awk -F'[:,]' -v key="$1" '$1 ~ "\"" key "\"" { print $2 + 0; exit }' "$2"; }

# One run; what it says of the machine is kept in the files `bandwidth` and so on.
lathe_bench() {
    "$lathe/infer-run" bench "$ours" --prompt "$p" --gen "$g" --repeat 1 ${many:+--batch "$many"} -j "$threads" --json -q \
        >"$work/json"
    value bandwidth_gb_per_second "$work/json" >>"$work/bandwidth"
    value generated_of_bandwidth "$work/json" >>"$work/of_bandwidth"
    value prompt_of_peak "$work/json" >>"$work/of_peak"
    value "$key" "$work/json"
}
peer_bench() {
    local peer_p=$p peer_g=$g
    [ "$key" = prompt_tokens_per_second ] && peer_g=0 || peer_p=0
    "$peer/llama-bench" -m "$file" -p "$peer_p" -n "$peer_g" -r 1 -t "$threads" -o jsonl 2>/dev/null |
        sed -n 's/.*"avg_ts": *\([0-9.]*\).*/\1/p' | tail -1
}
fresh() { rm -f "$work/bandwidth" "$work/of_bandwidth" "$work/of_peak"; }

for file in "${files[@]}"; do
    echo "$(basename "$file"), $(stat -Lc %s "$file") bytes"
    ours=$file
    if [ -n "$native" ]; then
        ours=$native/native-$(basename "$file")
        [ -e "$ours" ] || "$lathe/pack" "$file" -o "$ours" -q
    fi
    many=
    fresh; p=16 g=$gen key=generated_tokens_per_second
    paired "  write $gen, tokens/s" "$runs" lathe_bench peer_bench
    echo "    $(median "$work/of_bandwidth") of the $(median "$work/bandwidth") GB/s that memory gave in the same runs ($(spread "$work/bandwidth"))"
    fresh; p=$prompt g=1 key=prompt_tokens_per_second
    paired "  read $prompt, tokens/s" "$runs" lathe_bench peer_bench
    echo "    $(median "$work/of_peak") of the int8 peak"
    many=$batch p=16 g=$gen key=batch_tokens_per_second
    : >"$work/a"
    for ((i = 0; i < 3; i++)); do
        b=$(lathe_bench)
        awk -v b="$b" -v one="$(value generated_tokens_per_second "$work/json")" 'BEGIN { print b / one }' >>"$work/a"
    done
    echo "  $batch texts at once, tokens of all: $(median "$work/a") of one alone ($(spread "$work/a"))"
done
