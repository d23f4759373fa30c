#!/usr/bin/env bash
# Rewrites of the weights: the same bytes for any number of threads, any limit of memory, and after an interruption.
. "$(dirname "$0")/lib.sh"

head -c 60000 tinystories.txt >a.txt
q() { quantize stories260K --calib a.txt --samples 160 --ctx 64 "$@"; }
peak() { json_check - run.peak_memory_bytes; }

check_list() { # list of transforms, options
    local list=$1
    shift
    for threads in 1 2 3 7; do
        expect 0 q -o $threads.gguf -t "$list" "$@" -j $threads -q --force
    done
    check "$list: same bytes at any number of threads" same_bytes 1.gguf 2.gguf 3.gguf 7.gguf
    local plan seen
    plan=$(q -o x.gguf -t "$list" "$@" -n --json -q | peak)
    seen=$(q -o m.gguf -t "$list" "$@" --force --json -q | peak)
    check "$list: memory, $plan predicted, $seen seen" awk "BEGIN {exit !($plan > 0.9 * $seen && $plan < 1.1 * $seen)}"
    local limit=$((seen - 1500000))
    expect 0 q -o l.gguf -t "$list" "$@" --max-memory $limit --json=l.json -q --force
    check "$list: a limit is kept" test "$(peak <l.json)" -le $limit
    check "$list: a limit changes no byte" cmp -s 1.gguf l.gguf
}
check_list awq -f int4_g32 -m gptq
check_list rotate-heads,smoothquant -f q4_0 -m gptq
check_list clip,bias-correction -f int3_g32 -m rtn
check_list fold-norms,rotate:untie=1 -f int4_g64 -m gptq

# An interrupted run begins anew, to the same bytes.
expect 0 q -o whole.gguf -f int4_g32 -m gptq -t awq -q
for n in 4 8 12; do
    OPT_FAULT_KILL=$n bash -c 'quantize stories260K --calib a.txt --samples 160 --ctx 64 -o k.gguf -f int4_g32 -m gptq -t awq -q; exit $?' 2>/dev/null
    [ -e k.gguf ] && break
done
check "it was interrupted" test ! -e k.gguf
expect 0 q -o k.gguf -f int4_g32 -m gptq -t awq -q
check "and begins anew, to the same bytes" cmp -s whole.gguf k.gguf
check "no temporary files" test -z "$(leftovers)"
finish
