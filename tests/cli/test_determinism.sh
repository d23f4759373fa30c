#!/usr/bin/env bash
# Same bytes from quantize and pack at 1, 2, 3 and 7 threads, for every format and layout; packing is idempotent.
. "$(dirname "$0")/lib.sh"

formats=$(quantize --help | sed -n '/^Formats/,/^$/p' | grep '^  ' | grep -v 'int{' | grep -oE '[a-z][a-z_]*[0-9][a-z0-9_]*')
check "quantize lists its formats" test "$(echo "$formats" | wc -w)" -ge 22
# ggml's types of 256 elements fit no row of this model, so that others would stand for them
for format in $(echo "$formats" | grep -vE '_k$|^iq4_xs$|^tq2_0$') int{8,4,3,2}_g{32,64,128}{,_zp}; do
    for threads in 1 2 3 7; do
        expect 0 quantize stories260K -o "q$threads.gguf" --format "$format" -j $threads -q --force
        expect 0 pack "q$threads.gguf" -o "p$threads.gguf" -j $threads -q --force
        expect 0 pack "q$threads.gguf" -o "f$threads.gguf" --to gguf-f32 -j $threads -q --force
    done
    check "$format: quantize at any number of threads" same_bytes q1.gguf q2.gguf q3.gguf q7.gguf
    check "$format: pack at any number of threads" same_bytes p1.gguf p2.gguf p3.gguf p7.gguf
    check "$format: pack --to gguf-f32 at any number of threads" same_bytes f1.gguf f2.gguf f3.gguf f7.gguf
    expect 0 pack p1.gguf -o again.gguf -q --force
    check "$format: packing a packed file gives the same bytes" same_bytes p1.gguf again.gguf
    size=$(quantize stories260K --format "$format" --dry-run --json -q | json_check - result.file_bytes)
    check "$format: the planned size is the size" test "$size" = "$(stat -c %s q1.gguf)"
done
for to in native gguf gguf-f16 gguf-bf16; do
    for threads in 1 2 3 7; do
        expect 0 pack q1.gguf -o "p$threads.gguf" --to $to -j $threads -q --force
    done
    check "pack --to $to at any number of threads" same_bytes p1.gguf p2.gguf p3.gguf p7.gguf
done
mkdir elsewhere
cp -rL stories260K elsewhere/stories260K
expect 0 quantize stories260K -o a.gguf -q
expect 0 quantize "$scratch/elsewhere/stories260K/" -o elsewhere/b.gguf -q
check "neither place nor time is in the file" same_bytes a.gguf elsewhere/b.gguf
finish
