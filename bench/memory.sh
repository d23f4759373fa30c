#!/usr/bin/env bash
# Peak memory of quantize on a checkpoint of any size: the largest RssAnon seen from outside, what the library counted,
# and a run inside a memory cgroup (version 1 or 2, needs root) that page cache counts against, too.
# usage: bench/memory.sh LATHE_BIN_DIR MODEL_DIR [LIMIT_MIB]     (default limit: 64)
set -euo pipefail
lathe=$1 model=$2 limit=${3:-64}
work=$(mktemp -d "${TMPDIR:-/tmp}/lathe-memory.XXXXXX")
group=
finish() {
    rm -rf "$work"
    [ -z "$group" ] || rmdir "$group" 2>/dev/null || true
}
trap finish EXIT

"$lathe/quantize" "$model" -o "$work/out.gguf" --format q4_0 --force --json="$work/report.json" -q &
pid=$!
peak=0
while kill -0 $pid 2>/dev/null; do
    now=$(awk '/^RssAnon/ { print $2 }' /proc/$pid/status 2>/dev/null || true)
    if [ "${now:-0}" -gt $peak ]; then peak=$now; fi
    sleep 0.02
done
wait $pid
echo "checkpoint: $(du -shL "$model" | cut -f1), output: $(du -sh "$work/out.gguf" | cut -f1)"
echo "largest RssAnon seen: $((peak / 1024)) MiB"
sed -n 's/.*"peak_memory_bytes": \([0-9]*\).*/\1/p' "$work/report.json" |
    awk '{ printf "counted by the library: %.1f MiB\n", $1 / 1048576 }'

bytes=$((limit * 1048576))
if mkdir /sys/fs/cgroup/memory/lathe-$$ 2>/dev/null; then
    group=/sys/fs/cgroup/memory/lathe-$$
    echo $bytes >$group/memory.limit_in_bytes
    most=memory.max_usage_in_bytes
elif mkdir /sys/fs/cgroup/lathe-$$ 2>/dev/null && [ -f /sys/fs/cgroup/lathe-$$/memory.max ]; then
    group=/sys/fs/cgroup/lathe-$$
    echo $bytes >$group/memory.max
    most=memory.peak
else
    echo "no memory cgroup can be made here"
    exit 0
fi
(
    echo $BASHPID >$group/cgroup.procs
    exec "$lathe/quantize" "$model" -o "$work/again.gguf" --format q4_0 --force -q
)
cmp "$work/out.gguf" "$work/again.gguf"
echo "completes in a cgroup of $limit MiB ($(($(cat $group/$most 2>/dev/null || echo 0) / 1048576)) MiB used at most, page cache included), same bytes"
