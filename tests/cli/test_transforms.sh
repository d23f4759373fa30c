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

# An interrupted run is continued to the same bytes and the same report, whatever the transforms did to norms and biases.
# continued LIST SAVED "STEPS" OPTIONS: killed at the first of the steps of writing behind which SAVED stages are there
continued() {
    local list=$1 saved=$2 steps=$3 n
    shift 3
    expect 0 q -o whole.gguf -t "$list" "$@" -q --force --json=whole.json
    for n in $steps; do
        rm -rf k.gguf k.gguf.work
        OPT_FAULT_KILL=$n bash -c 'quantize stories260K --calib a.txt --samples 160 --ctx 64 -o k.gguf "$@" -q; exit $?' - \
            -t "$list" "$@" 2>/dev/null
        [ "$(find k.gguf.work -name 'stage*' 2>/dev/null | wc -l)" -ge "$saved" ] && break
    done
    check "$list: it was interrupted behind some blocks" test ! -e k.gguf
    check "$list: finished blocks were saved" test \
        "$(find k.gguf.work -name 'stage*' 2>/dev/null | wc -l)" -ge "$saved"
    expect 0 q -o k.gguf -t "$list" "$@" -q --json=k.json
    check "$list: the same bytes" cmp -s whole.gguf k.gguf
    check "$list: the same report of what transforms did" test \
        "$(json_check - result.transforms <whole.json)" = "$(json_check - result.transforms <k.json)"
}
continued awq 3 "70 90 110" -f int4_g32 -m gptq
continued awq,clip,bias-correction 3 "70 90 110" -f int3_g32 -m rtn
continued fold-norms,rotate:untie=1,smoothquant 3 "70 90 110" -f int4_g64 -m gptq
continued awq 0 30 -f int4_g32 -m gptq --one-pass # begins anew, to the same bytes
check "no temporary files" test -z "$(leftovers)"
finish
