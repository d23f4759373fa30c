#!/usr/bin/env bash
# pack --to native: rows 16 together compute the same bits as rows in their own order, and pack --to gguf gives those back.
. "$(dirname "$0")/lib.sh"
head -c 6000 tinystories.txt >text
ppl() { infer-run perplexity "$1" --text text --ctx 128 --windows 4 --json -q "${@:2}" | json_check - result.perplexity; }
for format in q4_0 q4_1 q5_0 q5_1 q8_0 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs int4_g64 int3_g32 int3_g64_zp int2_g64_zp; do
    case $format in
    *_k | iq4_xs | int*) expect 0 quantize stories260K -o q.gguf -f "$format" --width pad,next -q --force ;; # rows of 172 become 256
    *) expect 0 quantize stories260K -o q.gguf -f "$format" --set "role=embedding:format=$format" -q --force ;;
    esac
    expect 0 pack q.gguf -o plain.gguf --to gguf -q --force
    expect 0 pack q.gguf -o native.gguf -q --force
    expect 0 infer-run inspect native.gguf --verify
    check "$format: rows lie together" grep -q "${format}_r16" out
    case $format in
    *_k | iq4_xs) check "$format: every matrix of that format lies so" test "$(grep -c "^$format " out)" = 0 ;;
    *) check "$format: matrices with a number of rows that 16 does not divide stay as they were" grep -q "^$format " out ;;
    esac
    expect 0 infer-run inspect native.gguf --json
    check "$format: tensors begin with a page" grep -q '"general.alignment": 4096' out
    check "$format: ... and end with one" test $(($(wc -c <native.gguf) % 4096)) = 0
    for options in "--compute fast" "--compute exact" "--compute fast -j 3"; do
        # shellcheck disable=SC2086
        check "$format: the same perplexity, $options" test "$(ppl plain.gguf $options)" = "$(ppl native.gguf $options)"
    done
    for levels in portable avx2 avx512; do
        OPT_ISA=$levels infer-run generate plain.gguf -p "Once upon a time" --max-tokens 40 >a 2>/dev/null || continue
        expect 0 env OPT_ISA=$levels infer-run generate native.gguf -p "Once upon a time" --max-tokens 40
        check "$format: the same text, $levels" cmp a out
    done
    expect 0 pack native.gguf -o back.gguf --to gguf -q --force
    check "$format: and back, bit for bit" same_bytes plain.gguf back.gguf
    expect 0 infer-run inspect back.gguf --json
    check "$format: ... in GGUF's own alignment" test "$(grep -c general.alignment out)" = 0
    expect 0 pack native.gguf -o again.gguf -q --force
    check "$format: native stays native" same_bytes native.gguf again.gguf
    expect 0 pack plain.gguf -o f1.gguf --to gguf-f32 -q --force
    expect 0 pack native.gguf -o f2.gguf --to gguf-f32 -q --force
    check "$format: the same floats" same_bytes f1.gguf f2.gguf
    expect 0 infer-run compare plain.gguf native.gguf --text text --ctx 128 --windows 2 --json=c.json
    check "$format: no divergence" test "$(json_check c.json result.kld.mean)" = 0
done
finish
