#!/usr/bin/env bash
# First token of a file that is not in memory: the whole process against a plain read of the same bytes without the page
# cache, the same when warm, and the peer beside it.
#
#   bench/cold.sh --lathe build [--peer PEER_BIN_DIR] [--runs 5] [--threads 2] FILE.gguf [PEER_FILE.gguf]
#
# --peer  folder with llama-completion, which runs PEER_FILE (default: FILE)
#
# Only the pages of these files are dropped (posix_fadvise, through dd), which needs no rights and disturbs nobody; that
# they are gone is checked with fincore where that is installed. What lies below, such as a host's cache, serves both sides.
# Run it at real-time priority where other work goes on: chrt -f 5 bench/cold.sh ...
set -euo pipefail
lathe=../build peer='' runs=5 threads=2
files=()
here=$(dirname "$(realpath "$0")")
while [ $# -gt 0 ]; do
    case $1 in
    --lathe) lathe=$2 ;; --peer) peer=$2 ;; --runs) runs=$2 ;; --threads) threads=$2 ;;
    -*) sed -n '2,12p' "$0"; exit 2 ;;
    *) files+=("$1"); shift; continue ;;
    esac
    shift 2
done
case ${#files[@]} in 1 | 2) ;; *) sed -n '2,12p' "$0"; exit 2 ;; esac
# shellcheck source=common.sh
source "$here/common.sh"
need "$lathe/infer-run" "${files[@]}"
[ -z "$peer" ] || need "$peer/llama-completion"
ours=${files[0]} theirs=${files[1]:-${files[0]}}
work=$(mktemp -d "${TMPDIR:-/tmp}/lathe-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT

drop() {
    dd of="$1" oflag=nocache conv=notrunc,fdatasync count=0 status=none
    if command -v fincore >/dev/null && [ "$(fincore -nb -o PAGES "$1")" -gt 0 ]; then
        echo "$1: still in memory (does another process use it?)" >&2
        exit 1
    fi
}
direct() { seconds dd if="$ours" iflag=direct bs=8M of=/dev/null; }
lathe_run() { seconds "$lathe/infer-run" generate "$ours" -p "Hello there" --max-tokens 1 -j "$threads" -q; }
peer_run() { seconds "$peer/llama-completion" -m "$theirs" -p "Hello there" -n 1 -t "$threads" -no-cnv --no-warmup; }

row() { printf '%-34s %8.1f ms (%s)\n' "$1" "$(median "$work/$2")" "$(spread "$work/$2")"; }

lathe_run >/dev/null
for ((i = 0; i < runs; i++)); do
    drop "$ours"; direct | awk '{ print 1000 * $1 }' >>"$work/direct"
    drop "$ours"; lathe_run | awk '{ print 1000 * $1 }' >>"$work/cold"
    lathe_run | awk '{ print 1000 * $1 }' >>"$work/warm"
    paste "$work/cold" "$work/direct" | tail -1 | awk '{ print $1 / $2 }' >>"$work/ratio"
    [ -n "$peer" ] || continue
    drop "$theirs"; peer_run | awk '{ print 1000 * $1 }' >>"$work/peer_cold"
    peer_run | awk '{ print 1000 * $1 }' >>"$work/peer_warm"
done
echo "machine: $(lscpu | awk -F: '/Model name/ { gsub(/^ +/, "", $2); print $2 }'), $(nproc) cores; $("$lathe/infer-run" --version | head -1)"
echo "$(basename "$ours"), $(stat -Lc %s "$ours") bytes, whole processes, medians of $runs"
row "plain direct read" direct
row "first token, cold" cold
printf '%-34s %8.2f of the direct read (%s)\n' "" "$(median "$work/ratio")" "$(spread "$work/ratio")"
row "first token, warm" warm
if [ -n "$peer" ]; then
    row "peer, cold" peer_cold
    row "peer, warm" peer_warm
fi
