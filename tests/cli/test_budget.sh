#!/usr/bin/env bash
# Formats chosen by a target: never more bytes than asked for, less divergence for more bytes, the same bytes from kept
# measurements and at any number of threads, and what is refused.
. "$(dirname "$0")/lib.sh"

head -c 60000 tinystories.txt >a.txt
q() { quantize stories260K --samples 16 --ctx 64 --calib a.txt "$@"; }
size() { stat -c %s "$1"; }
number() { json_check - "result.$2" <"$1"; }
at_most() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a <= b) }'; }

# One measurement, then several sizes from it: each within its target and better than the one before.
expect 0 q -o b0.gguf --target-bytes 260000 --save-measurements m.json --json=r0.json -q -j 2
check "measurements are kept" grep -q '"schema": "lathe.measurements/1"' m.json
check "the target is kept" at_most "$(size b0.gguf)" 260000
check "the report knows the size" test "$(number r0.json file_bytes)" = "$(size b0.gguf)"
check "little is left over" at_most 258000 "$(size b0.gguf)"
predicted=$(number r0.json budget.predicted_kld)
measured=$(number r0.json budget.measured_kld)
check "prediction ($predicted) and measurement ($measured) agree" \
    awk "BEGIN { exit !($measured > 0.5 * $predicted && $measured < 2 * $predicted) }"
before=$predicted
for bytes in 261000 270001 285000 300000 345678 400000 600000; do
    expect 0 q -o b.gguf --target-bytes $bytes --measurements m.json --json=r.json -q --force
    check "$bytes: the target is kept" at_most "$(size b.gguf)" $bytes
    check "$bytes: the report knows the size" test "$(number r.json file_bytes)" = "$(size b.gguf)"
    now=$(number r.json budget.predicted_kld)
    check "$bytes: more bytes, less divergence ($now, $before before)" at_most "$now" "$before"
    before=$now
done
kld() { sed -n 's/^ *"kld": \([0-9.e-]*\),*$/\1/p' r0.json; }
check "the curve falls" test "$(kld)" = "$(kld | sort -gr)"
check "the curve has points" at_most 20 "$(kld | wc -l)"

# The same bytes: measured again, from the file, at other numbers of threads, and after an interruption.
for threads in 1 3 7; do
    expect 0 q -o t.gguf --target-bytes 260000 --save-measurements t.json -q --force -j $threads
    check "$threads threads: the same measurements" cmp -s m.json t.json
    check "$threads threads: the same file" cmp -s b0.gguf t.gguf
done
expect 0 q -o t.gguf --target-bytes 260000 --measurements m.json -q --force -j 1
expect 0 q -o a.gguf --target-bytes 260000 --measurements m.json -m gptq -q
check "gptq uses the measurements of gptaq, to other codes" test "$(cmp -s a.gguf t.gguf; echo $?)" -eq 1
expect 0 q -o o.gguf --target-bytes 260000 --measurements m.json --one-pass -q
check "in one pass the default is gptq" grep -q '"lathe.quantize.method": "gptq"' <(infer-run inspect o.gguf --json)
check "kept measurements: the same file" cmp -s b0.gguf t.gguf
# Half of the tensors are known, the others are measured again; and a format more than there was.
expect 0 q -o t.gguf --target-bytes 300000 --formats q4_0,q8_0,f32,bf16 --save-measurements half.json -q --force
check "fewer formats" test "$(grep -c q5_0 half.json)" = 0
expect 0 q -o t.gguf --target-bytes 260000 --measurements half.json --save-measurements t.json -q --force
check "what was missing is measured" cmp -s m.json t.json
check "and gives the same file" cmp -s b0.gguf t.gguf

# Other targets.
expect 0 q -o t.gguf --target-bpw 8.25 --measurements m.json --json=r.json -q --force
check "bits per weight" at_most "$(number r.json bits_per_weight)" 8.25
check "nearly all of them" at_most 8.15 "$(number r.json bits_per_weight)"
expect 0 q -o t.gguf --target-kld 0.004 --measurements m.json --json=r.json -q --force
check "divergence" at_most "$(number r.json budget.predicted_kld)" 0.004
bytes=$(size t.gguf)
expect 0 q -o u.gguf --target-bytes $bytes --measurements m.json --json=r.json -q --force
check "and not a byte too many" awk "BEGIN { exit !($(number r.json budget.predicted_kld) > 0.0039) }"
expect 0 q -o own.gguf --target-bytes 128K --formats int3_g64,int4_g32,int8_g64 -q
check "own formats where they are named" at_most "$(size own.gguf)" 131072
expect 0 q -o set.gguf --target-bytes 300000 --set 'ffn_gate:format=q8_0' --measurements m.json --json=r.json -q
check "rules go first" test "$(grep -A4 ffn_gate r.json | grep -c '"format": "q8_0"')" = 5
expect 0 q -o rtn.gguf --target-bytes 300000 -m rtn -q

# A plan: exact with measurements, an upper bound without.
expect 0 q -n --target-bytes 260000 --measurements m.json --json=r.json -q
check "an exact plan" test "$(number r.json file_bytes)" = "$(size b0.gguf)"
expect 0 quantize stories260K -n --target-bytes 260000 --json=r.json
check "a bound without measurements" test "$(number r.json file_bytes)" = 260000
check "that says so" grep -q 'upper bound' out
expect 0 quantize stories260K -n --target-kld 0.01 --json=r.json
check "a bound of divergence" at_most "$(size b0.gguf)" "$(number r.json file_bytes)"

# What is refused.
expect 2 quantize stories260K -o x.gguf --target-bytes 300000
check "text is needed" grep -q 'needs calibration text' err
expect 2 q -o x.gguf --target-bytes 200000 --measurements m.json
check "too small: what would be possible" grep -q 'the smallest file of these formats has 2[0-9]* bytes' err
smallest=$(grep -o 'formats has [0-9]*' err | tr -dc 0-9)
expect 0 q -o least.gguf --target-bytes "$smallest" --measurements m.json -q
check "and it is possible" test "$(size least.gguf)" -le "$smallest"
expect 2 q -o x.gguf --target-kld 1e-9 --measurements m.json --formats q4_0,q8_0,bf16
check "divergence too small" grep -q 'the least divergence of these formats is' err
expect 2 q -o x.gguf --target-bpw 2 --measurements m.json
check "bits too few" grep -q 'bits per weight at least' err
expect 2 q -o x.gguf --target-bytes 300000 --target-kld 0.1
check "two targets" grep -q '2 targets are given' err
expect 2 q -o x.gguf --target-bytes 300000 -f q4_0
check "a format beside a target" grep -q 'a target chooses the formats itself' err
expect 2 q -o x.gguf -f q4_0 --formats q8_0
check "formats without a target" grep -q 'go with a target' err
expect 2 q -o x.gguf --target-bytes 300000 --formats q4_0,q9_9
check "an unknown format" grep -q "unknown format 'q9_9'" err
expect 2 q -o x.gguf --target-bytes 300000 --formats q4_0,q4_0
check "a format twice" grep -q 'q4_0 is named twice' err
expect 2 q -o x.gguf --target-bytes 300000 --measurements m.json -m rtn
check "another method" grep -q 'was measured with the method gptq, this run uses rtn' err
expect 2 q -o b0.gguf --target-bytes 300000
check "an output that exists is noticed before the work" grep -q 'use --force' err
expect 2 q -o x.gguf --target-bytes 300000 --save-measurements m.json
check "and so are measurements" grep -q 'm.json.*use --force' err
sed 's/"model": "./"model": "0/' m.json >other.json
expect 2 q -o x.gguf --target-bytes 300000 --measurements other.json
check "another model" grep -q 'was measured on another model' err
head -c 2000 m.json >cut.json
expect 3 q -o x.gguf --target-bytes 300000 --measurements cut.json
check "a damaged file is named" grep -q 'cut.json' err
expect 5 q -o x.gguf --target-bytes 300000 --max-memory 2M
check "the limit is looked at before the work" grep -q 'bytes are needed' err
check "nothing is left behind" test ! -e x.gguf
check "no temporary files" test -z "$(leftovers)"
finish
