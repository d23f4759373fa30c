#!/usr/bin/env bash
# Peak memory of generate and perplexity against what they may take: the file, keys and values, and 64 MiB.
#
#   bench/run_memory.sh LATHE_BIN_DIR MODEL TEXT [CTX [OPTION...]]        (512)
#
# OPTIONs are those of both, such as --kv-type int8. Resident pages of the mapped file count. Exit code 1: more than that.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,6p' "$0"; exit 2; }
lathe=$1 model=$2 text=$3 ctx=${4:-512}
shift $(($# < 4 ? $# : 4))
work=$(mktemp -d "${TMPDIR:-/tmp}/lathe-memory.XXXXXX")
trap 'rm -rf "$work"' EXIT
file=$(stat -Lc %s "$model")
number() { sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" "$2" | head -1; }
failed=0

# row NAME CACHE_BYTES COMMAND...: the largest resident set of a run
row() {
    local name=$1 cache=$2 peak=0 now pid
    shift 2
    "$@" >/dev/null 2>&1 </dev/null &
    pid=$!
    while now=$(awk '/^VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null) && [ -n "$now" ]; do
        peak=$now
        sleep 0.01
    done
    wait $pid
    awk -v n="$name" -v p="$peak" -v f="$file" -v c="$cache" 'BEGIN {
        limit = f / 1048576 + c / 1048576 + 64
        printf "%-12s peak %8.1f MiB, file %.1f + cache %.1f + 64 = %.1f MiB: %s\n", n, p / 1024, f / 1048576, c / 1048576,
            limit, p / 1024 <= limit ? "within" : "ABOVE"
        exit p / 1024 > limit }' || failed=1
}

prompt=$(head -c $((2 * ctx)) "$text" | tr -d '\0')
"$lathe/infer-run" generate "$model" -p "$prompt" --max-tokens "$ctx" --ignore-eos --ctx "$ctx" --ctx-shift "$@" --json="$work/g.json" -q \
    >/dev/null </dev/null
cache=$(number cache_bytes "$work/g.json")
row generate "$cache" "$lathe/infer-run" generate "$model" -p "$prompt" --max-tokens "$ctx" --ignore-eos --ctx "$ctx" --ctx-shift "$@"
row perplexity "$cache" "$lathe/infer-run" perplexity "$model" --text "$text" --ctx "$ctx" --windows 2 "$@"
exit $failed
