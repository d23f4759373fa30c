#!/usr/bin/env bash
# Peak memory of quantize on a checkpoint of any size: the largest RssAnon seen from outside, what the library counted and
# what --dry-run had promised, and a run with --max-memory inside a memory cgroup of that limit (version 1 or 2, needs
# root) that page cache counts against, too.
#
#   bench/memory.sh LATHE_BIN_DIR MODEL_DIR [LIMIT_MIB [OPTION...]]        (default: 64 --format q4_0)
#
# OPTIONs are those of quantize, such as: 700 -f int4_g64 -m gptq --calib wiki.txt
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,8p' "$0"; exit 2; }
lathe=$1 model=$2 limit=${3:-64}
shift $(($# < 3 ? $# : 3))
[ $# -gt 0 ] || set -- --format q4_0
work=$(mktemp -d "${TMPDIR:-/tmp}/lathe-memory.XXXXXX")
group=
finish() {
    rm -rf "$work"
    [ -z "$group" ] || rmdir "$group" 2>/dev/null || true
}
trap finish EXIT
counted() { sed -n 's/.*"peak_memory_bytes": \([0-9]*\).*/\1/p' "$1" | awk '{ printf "%.1f MiB\n", $1 / 1048576 }'; }

"$lathe/quantize" "$model" -o "$work/out.gguf" "$@" -q --dry-run >"$work/plan"
"$lathe/quantize" "$model" -o "$work/out.gguf" "$@" --json="$work/report.json" -q &
pid=$!
peak=0
while kill -0 $pid 2>/dev/null; do
    now=$(awk '/^RssAnon/ { print $2 }' /proc/$pid/status 2>/dev/null || true)
    if [ "${now:-0}" -gt $peak ]; then peak=$now; fi
    sleep 0.02
done
wait $pid
echo "checkpoint: $(du -shL "$model" | cut -f1), output: $(du -sh "$work/out.gguf" | cut -f1)"
grep -i memory "$work/plan" | sed 's/^/planned: /' || true
echo "largest RssAnon seen: $((peak / 1024)) MiB"
echo "counted by the library: $(counted "$work/report.json")"

bytes=$((limit * 1048576))
if mkdir /sys/fs/cgroup/memory/lathe-$$ 2>/dev/null; then
    group=/sys/fs/cgroup/memory/lathe-$$
    echo $bytes >$group/memory.limit_in_bytes
    most=memory.max_usage_in_bytes
elif mkdir /sys/fs/cgroup/lathe-$$ 2>/dev/null && [ -f /sys/fs/cgroup/lathe-$$/memory.max ]; then
    group=/sys/fs/cgroup/lathe-$$
    echo $bytes >$group/memory.max
    [ ! -e $group/memory.swap.max ] || echo 0 >$group/memory.swap.max
    most=memory.peak
else
    echo "no memory cgroup can be made here"
    exit 0
fi
(
    echo $BASHPID >$group/cgroup.procs
    exec "$lathe/quantize" "$model" -o "$work/again.gguf" "$@" --max-memory "${limit}M" --json="$work/again.json" -q
)
cmp "$work/out.gguf" "$work/again.gguf"
echo "completes with --max-memory ${limit}M in a cgroup of $limit MiB ($(($(cat $group/$most 2>/dev/null || echo 0) / 1048576)) MiB used at most, page cache included; $(counted "$work/again.json") counted), same bytes"
