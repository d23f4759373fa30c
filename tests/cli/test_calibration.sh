#!/usr/bin/env bash
# Calibrated quantization: the same bytes at any number of threads, what is recorded, and what is refused.
. "$(dirname "$0")/lib.sh"

head -c 30000 tinystories.txt >a.txt
tail -c 20000 tinystories.txt >b.txt
q() { quantize stories260K --samples 12 --ctx 64 --calib a.txt --calib b.txt "$@"; }
for variant in "rtn q4_0" "gptq q4_0" "gptq q4_1" "gptq int3_g64" "gptq int4_g64_zp"; do
    method=${variant% *} format=${variant#* }
    for threads in 1 2 3 7; do
        expect 0 q -o $threads.gguf -m "$method" -f "$format" -j $threads -q --force
    done
    check "$variant: same bytes at any number of threads" same_bytes 1.gguf 2.gguf 3.gguf 7.gguf
    expect 0 quantize stories260K -o plain.gguf -f "$format" -q --force
    check "$variant: calibration changes the codes" test "$(cmp -s 1.gguf plain.gguf; echo $?)" -eq 1
    check "$variant: the size is that of the format" \
        test "$(q -m "$method" -f "$format" -n --json -q | json_check - result.file_bytes)" = "$(stat -c %s 1.gguf)"
done

# The report: errors of outputs, measured from the bytes.
expect 0 q -o r.gguf -m gptq -f q4_0 --refine 0 --json=plain.json -q --force
expect 0 q -o r.gguf -m gptq -f q4_0 --json=refined.json -q --force
for member in output_error output_error_nearest damping dead_columns calibration_tokens; do
    check "the report has $member" grep -q "\"$member\":" refined.json
done
check "768 tokens are counted" grep -q '"calibration_tokens": *768' refined.json
sum() { grep -o '"output_error": *[0-9.e-]*' "$1" | sed 's/.*: *//' | awk '{s += $1} END {print s}'; }
check "refinement lowers the errors" awk "BEGIN {exit !($(sum refined.json) < $(sum plain.json))}"

# What is outside of the blocks: the tied embedding, and a head of its own.
for threads in 1 3; do
    expect 0 q -o e$threads.gguf -m gptq -f q4_0 --set token_embd:format=q4_0 -j $threads --json=e.json -q
done
check "tied embedding: same bytes at any number of threads" cmp -s e1.gguf e3.gguf
tensor() { tr -d '\n ' <"$1" | grep -o "{\"name\":\"$2\"[^}]*}"; }
value() { sed 's/.*"'"$1"'"://; s/[,}].*//'; }
better() { awk "BEGIN {exit !($(tensor "$1" "$2" | value output_error) < 0.8 * $(tensor "$1" "$2" | value output_error_nearest))}"; }
check "the tied embedding is solved as the head" better e.json token_embd.weight
expect 0 quantize "$source/testdata/families/llama-untied-bias" -o u.gguf -m gptq -f q4_0 --set output:format=q4_0 --samples 12 --ctx 32 \
    --calib a.txt --json=u.json -q
check "a head of its own is calibrated" better u.json output.weight
check "an embedding without a head is rounded" test -z "$(tensor u.json token_embd.weight | grep '"method":"gptq"')"

# Shares of the files; statistics of the float model.
expect 0 quantize stories260K --samples 12 --ctx 64 --calib a.txt -o ma.gguf -m gptq -f q4_0 -q
expect 0 q -o mb.gguf -m gptq -f q4_0 --mix 1,1e-9 -q
check "a file with a share of almost nothing gives no window" cmp -s ma.gguf mb.gguf
expect 0 q -o mc.gguf -m gptq -f q4_0 --mix 3,1 -q
check "shares change the windows" test "$(cmp -s mc.gguf r.gguf; echo $?)" -eq 1
for bad in 1 1,2,3 1,-1 1,x 1,0 ,1 1,nan; do
    expect 2 q -o x.gguf -m gptq -f q4_0 --mix "$bad"
    check "--mix $bad is answered" grep -q 'is not one positive number for each of the 2 calibration files' err
done
expect 2 quantize stories260K -o x.gguf -m rtn --mix 1
check "--mix without text" grep -q 'there is no calibration text' err
for threads in 1 3; do expect 0 q -o o$threads.gguf -m gptq -f q4_0 --one-pass -j $threads --json=o.json -q; done
check "one pass: same bytes at any number of threads" cmp -s o1.gguf o3.gguf
check "one pass: later blocks do not see what was solved before" test "$(cmp -s o1.gguf r.gguf; echo $?)" -eq 1
block() { tensor "$1" "$2" | value output_error; }
expect 0 q -o o.gguf -m gptq -f q4_0 --set token_embd:format=f32 --one-pass --json=o.json -q --force
expect 0 q -o o.gguf -m gptq -f q4_0 --set token_embd:format=f32 --json=p.json -q --force
check "one pass: a block behind floats is solved alike" test "$(block o.json blk.0.attn_q.weight)" = "$(block p.json blk.0.attn_q.weight)"
check "one pass: the next block is not" test "$(block o.json blk.1.attn_q.weight)" != "$(block p.json blk.1.attn_q.weight)"
check "the report has the condition" grep -q '"condition": *[1-9]' o.json

# How the text runs: in 16-bit integers, or in f32.
expect 0 q -o f.gguf -m gptq -f q4_0 --calib-compute f32 --json=f.json -q --force
expect 0 q -o i.gguf -m gptq -f q4_0 --calib-compute i16 -q --force
check "16-bit integers are the default" cmp -s i.gguf r.gguf
check "f32 gives other bytes" test "$(cmp -s f.gguf r.gguf; echo $?)" -eq 1
check "and the same errors within 2 %" awk "BEGIN {x = $(sum f.json) / $(sum refined.json); exit !(x > 0.98 && x < 1.02)}"
expect 0 q -o f1.gguf -m gptq -f q4_0 --calib-compute bf16 -j 1 -q --force
expect 0 q -o f3.gguf -m gptq -f q4_0 --calib-compute bf16 -j 3 --json=f.json -q --force
check "bf16: same bytes at any number of threads" cmp -s f1.gguf f3.gguf
check "bf16: the same errors within 5 %" awk "BEGIN {x = $(sum f.json) / $(sum refined.json); exit !(x > 0.95 && x < 1.05)}"
expect 2 q -o x.gguf -m gptq -f q4_0 --calib-compute fp8
check "--calib-compute fp8 is answered" grep -q "calib-compute: 'fp8' is none of i16|f32|bf16" err

# The choice of windows: by seed, and the same from JSON lines.
expect 0 q -o s1.gguf -m gptq -f q4_0 --seed 1 -q
check "another seed takes other windows" test "$(cmp -s s1.gguf r.gguf; echo $?)" -eq 1
printf '{"text": "Once upon a time there was a cat."}\n\n{"text": "%s"}\n' "$(head -c 9000 a.txt | tr '\n"\\' '   ')" >c.jsonl
expect 0 quantize stories260K -o j.gguf -m gptq -f q4_0 --samples 8 --ctx 64 --calib c.jsonl -q

# Whole blocks by gradient steps: the same bytes at any number of threads, nearer to the float model, and never
# accepted where the error of a block's outputs grows.
for variant in "rtn q4_0" "gptq int4_g64" "gptq int3_g32_zp" "gptaq int3_g64"; do
    method=${variant% *} format=${variant#* }
    for threads in 1 2 7; do
        expect 0 q -o $threads.gguf -m "$method" -f "$format" --round-steps 5 --round-batch 3 -j $threads -q --force
    done
    check "$variant, whole blocks: same bytes at any number of threads" same_bytes 1.gguf 2.gguf 7.gguf
    expect 0 q -o plain.gguf -m "$method" -f "$format" -q --force
    check "$variant, whole blocks: other codes" test "$(cmp -s 1.gguf plain.gguf; echo $?)" -eq 1
    check "$variant, whole blocks: the size is that of the plan" \
        test "$(q -m "$method" -f "$format" --round-steps 5 -n --json -q | json_check - result.file_bytes)" = "$(stat -c %s 1.gguf)"
done
kld() { infer-run compare stories260K "$1" --text b.txt --ctx 64 --windows 20 --compute exact --json -q | json_check - result.kld.mean; }
expect 0 q -o plain.gguf -m gptq -f int3_g64 -q --force
expect 0 q -o blocks.gguf -m gptq -f int3_g64 --round-steps 60 --round-batch 4 -v --force
check "five blocks are reported" test "$(grep -c 'block [0-4]: error of its outputs' err)" -eq 5
check "no block gets worse" test -z "$(sed -n 's/.*outputs \(.*\) of their mean square, now \([^:]*\)$/\1 \2/p' err | awk '$2 >= $1')"
expect 0 q -o reported.gguf -m gptq -f int3_g64 --round-steps 4 --json=u.json -q --force
rounded=$(tensor u.json blk.2.ffn_up.weight)
check "errors of a block are in the report" awk "BEGIN {a = $(value block_error_before <<<"$rounded"); b = $(value block_error <<<"$rounded"); exit !(a > 0 && b > 0 && b <= a)}"
check "and not of what was not rounded with one" test -z "$(tensor u.json token_embd.weight | grep block_error)"
check "whole blocks: nearer to the float model" awk "BEGIN {exit !($(kld blocks.gguf) < 0.9 * $(kld plain.gguf))}"
expect 2 quantize stories260K -o x.gguf -f q4_0 --round-steps 5
check "whole blocks need text" grep -q 'round-steps: rounding whole blocks needs calibration text: --calib FILE' err
expect 2 q -o x.gguf -f q4_0 --round-steps 5 --one-pass
check "whole blocks need what was solved before" grep -q 'which --one-pass leaves out' err

# Few tokens: a warning that names the tensor; it still works.
expect 0 quantize stories260K -o few.gguf -m gptq -f q4_0 --samples 1 --ctx 8 --calib a.txt
check "few tokens are warned of" grep -q 'blk.0.attn_q.weight: 8 calibration tokens for 64 columns' err

peak() { json_check - run.peak_memory_bytes; }
# GPTAQ: towards what the float model gives on its own inputs, so that later blocks make up for earlier ones.
for threads in 1 2 3 7; do
    expect 0 q -o ga$threads.gguf -m gptaq -f int3_g64 -j $threads --json=ga.json -q
done
check "gptaq: same bytes at any number of threads" same_bytes ga1.gguf ga2.gguf ga3.gguf ga7.gguf
check "gptaq: the embedding is named" grep -q 'outside blocks gptaq is gptq' ga.json
for n in 40 70 90; do
    OPT_FAULT_KILL=$n bash -c 'quantize stories260K --samples 12 --ctx 64 --calib a.txt --calib b.txt -o gk.gguf -m gptaq -f int3_g64 -q; exit $?' \
        2>killed || true
    check "gptaq: killed at step $n, blocks are saved" test -e gk.gguf.work/stage+000
    expect 0 q -o gk.gguf -m gptaq -f int3_g64 -q
    check "gptaq: killed at step $n, the same bytes" cmp -s gk.gguf ga1.gguf
    rm gk.gguf
done
many() { quantize stories260K --samples 200 --ctx 64 --calib tinystories.txt -m gptaq -f int3_g64 --json -q "$@" | peak; }
for limit in 1G 13M; do
    predicted=$(many -n -o x.gguf --max-memory $limit)
    seen=$(many -o ga$limit.gguf --max-memory $limit)
    check "gptaq: memory under $limit: $predicted predicted, $seen seen" awk "BEGIN {exit !($predicted > 0.9 * $seen && $predicted < 1.1 * $seen)}"
done
check "gptaq: a limit changes no byte" cmp -s ga1G.gguf ga13M.gguf
check "gptaq: a limit is kept ($seen)" test "$seen" -le $((13 * 1024 * 1024))
for method in gptaq gptq; do
    expect 0 q -o f.gguf -m $method -f int3_g64 --set token_embd:format=f32 --json=f-$method.json -q --force
done
check "gptaq: a block behind floats alone is solved as by gptq" \
    test "$(tensor f-gptaq.json blk.0.attn_q.weight | value output_error)" = "$(tensor f-gptq.json blk.0.attn_q.weight | value output_error)"
check "gptaq: the next block is not" \
    test "$(tensor f-gptaq.json blk.1.attn_q.weight | value output_error)" != "$(tensor f-gptq.json blk.1.attn_q.weight | value output_error)"
tail -c 20000 tinystories.txt >held.txt
head -c 45000 tinystories.txt >fit.txt
for method in gptq gptaq; do
    expect 0 quantize stories260K -o g.gguf -m $method -f int3_g64 --calib fit.txt --samples 64 --ctx 128 --force -q
    infer-run compare stories260K g.gguf --text held.txt --ctx 128 --windows 16 --json -q >$method.json
done
kld() { json_check - result.kld.mean <"$1"; }
check "gptaq: nearer to the float model on held-out text ($(kld gptaq.json), gptq $(kld gptq.json))" \
    awk "BEGIN {exit !($(kld gptaq.json) < 0.9 * $(kld gptq.json))}"
for limit in 1G 16M; do
    predicted=$(many -n -o x.gguf --round-steps 2 --max-memory $limit)
    seen=$(many -o gb$limit.gguf --round-steps 2 --max-memory $limit)
    check "gptaq, whole blocks: memory under $limit: $predicted predicted, $seen seen" awk "BEGIN {exit !($predicted > 0.9 * $seen && $predicted < 1.1 * $seen)}"
done
check "gptaq, whole blocks: a limit changes no byte" cmp -s gb1G.gguf gb16M.gguf
expect 0 quantize stories260K -o g.gguf -m gptaq -f int3_g64 --round-steps 60 --calib fit.txt --samples 64 --ctx 128 --force -q
infer-run compare stories260K g.gguf --text held.txt --ctx 128 --windows 16 --json -q >both.json
check "gptaq, whole blocks: nearer still ($(kld both.json))" awk "BEGIN {exit !($(kld both.json) < 0.95 * $(kld gptaq.json))}"
expect 0 q -o mixed.gguf -m gptaq -f int3_g64 --set blk.1.attn_q:format=int8_g64 --set 'blk.2.*:format=int8_g64' --round-steps 5 -v
check "whole blocks: a matrix of many bits is not improved, its block is" test "$(grep -c 'error of its outputs' err)" -eq 4
for other in --one-pass "--transform awq"; do
    # shellcheck disable=SC2086
    expect 7 q -o x.gguf -m gptaq -f int3_g64 $other
    check "gptaq does not go with $other" grep -q 'blocks have to run matrix by matrix' err
done

# Memory: predicted, and kept below a limit with activations in a file, to the same bytes.
long() { quantize stories260K --samples 200 --ctx 64 --calib tinystories.txt -m gptq -f q4_0 "$@"; }
for variant in "" "--one-pass" "--max-memory 12M"; do
    # shellcheck disable=SC2086
    predicted=$(long $variant -o x.gguf -n --json -q | peak)
    # shellcheck disable=SC2086
    seen=$(long $variant -o m.gguf --force --json -q | peak)
    check "memory $variant: $predicted predicted, $seen seen" \
        awk "BEGIN {exit !($predicted > 0.9 * $seen && $predicted < 1.1 * $seen)}"
    [ "$variant" = "" ] && unlimited=$seen && cp m.gguf unlimited.gguf
done
expect 0 long -o l.gguf --max-memory "$predicted" -q
check "what is predicted suffices" cmp -s l.gguf m.gguf
check "a limit changes no byte" cmp -s m.gguf unlimited.gguf
check "a limit is kept ($seen of $unlimited)" test "$seen" -le $((12 * 1024 * 1024)) -a "$unlimited" -gt $((12 * 1024 * 1024))

# Importance matrices of llama.cpp: what is written serves as well as the calibration that it came from.
expect 0 q -o i1.gguf -m rtn -f q4_0 --one-pass --set token_embd:format=f32 --save-imatrix im.gguf -q
check "an importance matrix is written" test "$(infer-run inspect im.gguf >/dev/null 2>&1; head -c 4 im.gguf)" = GGUF
expect 0 quantize stories260K -o i2.gguf -f q4_0 --set token_embd:format=f32 --imatrix im.gguf -q
expect 0 quantize stories260K -o i3.gguf -f q4_0 --set token_embd:format=f32 -q
differ() { # of the last bytes: heads are of different length
    tail -c 200000 "$1" >tail1
    tail -c 200000 "$2" | cmp -l tail1 - | wc -l
}
check "read back it gives nearly the same bytes ($(differ i1.gguf i2.gguf) differ)" test "$(differ i1.gguf i2.gguf)" -lt 1000
check "without it many differ ($(differ i1.gguf i3.gguf))" test "$(differ i1.gguf i3.gguf)" -gt 10000
expect 2 quantize stories260K -o x.gguf --save-imatrix x.im
check "nothing to save without text" grep -q 'save-imatrix: there is no calibration text' err
expect 2 q -o x.gguf --save-imatrix im.gguf
check "an importance matrix is not overwritten" grep -q 'im.gguf: exists already' err
expect 3 quantize stories260K -o x.gguf --imatrix i1.gguf
check "a model is no importance matrix" grep -q 'expected "imatrix"' err

# Padded widths: appended columns are dead, and what later blocks see has the width of the model.
biased=$source/testdata/families/llama-untied-bias
for threads in 1 3; do
    expect 0 quantize "$biased" -o p$threads.gguf -m gptq -f q4_0 --width pad --calib a.txt --samples 24 --ctx 64 -j $threads \
        --json=p.json -q
done
check "padded: same bytes at any number of threads" cmp -s p1.gguf p3.gguf
check "padded: the second block is solved, too" better p.json blk.1.ffn_down.weight
check "padded: appended columns are not called dead" test "$(tensor p.json blk.1.ffn_down.weight | value dead_columns)" = 0
n=1
while [ ! -e pk.gguf.work/stage+000 ] && [ $n -lt 100 ]; do
    rm -rf pk.gguf.work pk.gguf .pk.gguf.tmp.*
    OPT_FAULT_KILL=$n bash -c 'quantize "$0" -o pk.gguf -m gptq -f q4_0 --width pad --calib a.txt --samples 24 --ctx 64 -q; exit $?' \
        "$biased" 2>/dev/null
    n=$((n + 1))
done
check "padded: killed behind the first block ($n)" test -e pk.gguf.work/stage+000 -a ! -e pk.gguf
expect 0 quantize "$biased" -o pk.gguf -m gptq -f q4_0 --width pad --calib a.txt --samples 24 --ctx 64 -q
check "padded: continued to the same bytes" cmp -s p1.gguf pk.gguf

# What is refused.
expect 2 quantize stories260K -o x.gguf -m gptq -f q4_0
check "gptq without text" grep -q 'needs calibration text: --calib FILE' err
expect 2 q -o x.gguf -m gptk -f q4_0
check "an unknown method" grep -q "unknown method 'gptk'" err
expect 2 q -o x.gguf -m gptq -f q4_0 --ctx 100000
check "windows longer than the context" grep -q "longer than the model's context of 512" err
expect 4 quantize stories260K -o x.gguf -m gptq -f q4_0 --calib nowhere.txt
expect 4 quantize stories260K -m gptq -f q4_0 --calib nowhere.txt --dry-run
check "a plan looks for its text" grep -q 'nowhere.txt: cannot open' err
check "a plan that fails is not printed" test ! -s out
expect 4 quantize stories260K -f q4_0 --calib . --dry-run
echo hello >short.txt
expect 3 quantize stories260K -o x.gguf -m gptq -f q4_0 --calib short.txt
check "too little text" grep -q 'gives no window of 512 tokens' err
printf '{"text": "one"}\n{"txt": "two"}\n' >bad.jsonl
expect 3 quantize stories260K -o x.gguf -m gptq -f q4_0 --calib bad.jsonl
check "a bad line is named" grep -q 'bad.jsonl:2.*expected an object with a string "text"' err
printf '{"text": "one"}\n{"text": "two"\n' >bad.jsonl
expect 3 quantize stories260K -o x.gguf -m gptq -f q4_0 --calib bad.jsonl
check "a broken line is named" grep -q 'bad.jsonl:2' err
expect 5 q -o x.gguf -m gptq -f q4_0 --max-memory 2M
check "the limit is looked at before the work" grep -q 'bytes are needed' err
check "nothing is left behind" test ! -e x.gguf
check "no temporary files" test -z "$(leftovers)"
finish
