#!/usr/bin/env bash
# Presets: what they set, what follows from the model's widths, and what is refused.
. "$(dirname "$0")/lib.sh"

head -c 60000 tinystories.txt >a.txt
q() { quantize stories260K "$@"; }
text() { q --samples 16 --ctx 64 --calib a.txt "$@"; }
number() { json_check - "result.$2" <"$1"; }
# format_of REPORT TENSOR
format_of() { grep -A6 "\"name\": \"$2\"" "$1" | sed -n 's/^ *"format": "\(.*\)",/\1/p' | head -1; }

# Sizes. Widths of 64 and 172 leave nothing below 7 bits to choose: said, not silent.
expect 0 text -o tiny.gguf --preset tiny --save-measurements m.json --json=tiny.json
check "a size out of reach is said" grep -q 'tiny: its size cannot be reached' err
check "it is calibrated" grep -q '"method": "gptaq"' tiny.json
expect 0 text -o high.gguf --preset high --measurements m.json --json=high.json -q
check "the same smallest file" cmp -s <(tail -c 100000 tiny.gguf) <(tail -c 100000 high.gguf)
expect 0 text -o part.gguf --preset high --set 'ffn_down:format=int8_g64' --measurements m.json --json=r.json -q
check "rules go first" test "$(format_of r.json blk.1.ffn_down.weight)" = int8_g64
check "and then the size is kept" awk "BEGIN { exit !($(number r.json bits_per_weight) <= 6.6) }"
expect 0 q -n --preset balanced
check "a plan without measurements is a bound" grep -q 'upper bound' out

# Nothing is lost.
expect 0 q -o lossless.gguf --preset lossless --json=r.json -q
check "no tensor is changed" test "$(grep -c '"action": "copied"' r.json)" = "$(grep -c '"action"' r.json)"

# Mixtures, with llama.cpp's replacements for widths that are no multiples of 256.
expect 0 q -n --preset q4_k_m --json=r.json
check "q4_k becomes q5_0" test "$(format_of r.json blk.0.attn_q.weight)" = q5_0
check "q6_k becomes q8_0" test "$(format_of r.json token_embd.weight)" = q8_0
check "more bits for some blocks" test "$(format_of r.json blk.4.attn_v.weight)" = q8_0
check "and not for others" test "$(format_of r.json blk.1.attn_v.weight)" = q5_0
check "nothing of 32 fits 172" test "$(format_of r.json blk.0.ffn_down.weight)" = f16
check "and that is said" grep -q 'q4_k stores blocks of 256, rows have 64 elements: stored as q5_0' out
expect 0 q -n --preset q3_k_m --json=r.json
check "q5_k becomes q5_1" test "$(format_of r.json blk.1.attn_v.weight)" = q5_1
check "q4_k in later blocks" test "$(format_of r.json blk.2.attn_v.weight)" = q5_0
check "q3_k becomes q4_0" test "$(format_of r.json blk.2.attn_k.weight)" = q4_0
expect 0 q -o plain.gguf --preset q4_k_m --json=plain.json -q
check "rounded to nearest without text" grep -q '"method": "rtn"' plain.json
expect 0 text -o calibrated.gguf --preset q4_k_m --json=calibrated.json -q
check "solved with text" grep -q '"method": "gptaq"' calibrated.json
check "in the same formats" test "$(number plain.json bits_per_weight)" = "$(number calibrated.json bits_per_weight)"
check "the file says so" test "$(infer-run inspect calibrated.gguf | grep -c 'lathe.quantize.format *q4_k_m')" = 1

# Eight bits for weights and activations.
expect 0 text -o w8a8.gguf --preset w8a8 --json=r.json
check "one format" test "$(format_of r.json blk.0.attn_q.weight) $(format_of r.json token_embd.weight)" = "q8_0 q8_0"
check "smoothed" grep -q '"transform": "smoothquant"' r.json
check "and solved" grep -q '"method": "gptq"' r.json
expect 0 text -o other.gguf --preset w8a8 -t awq --json=r.json -q
check "or what is asked for" test "$(grep -c '"transform": "smoothquant"' r.json) $(grep -c '"transform": "awq"' r.json)" = "0 20"
expect 2 q -o x.gguf --preset w8a8
check "it needs text" grep -q 'w8a8 needs calibration text' err

# What is refused.
expect 2 q -o x.gguf --preset q4_k_n
check "an unknown preset" grep -q "unknown preset 'q4_k_n'; did you mean 'q4_k_" err
expect 2 q -o x.gguf --preset small
check "sizes need text" grep -q 'small needs calibration text' err
expect 2 q -o x.gguf --preset small --target-bytes 1M
check "a target beside a preset" grep -q 'goes without --format and without a target' err
expect 2 q -o x.gguf --preset q4_k_m -f q4_0
check "a format beside a preset" grep -q 'goes without --format and without a target' err
check "nothing is left behind" test ! -e x.gguf
check "no temporary files" test -z "$(leftovers)"
finish
