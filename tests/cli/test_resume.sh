#!/usr/bin/env bash
# A calibrated run that is killed at any step of writing is continued to the same bytes; what is continued is what was
# begun, or it is refused.
. "$(dirname "$0")/lib.sh"

head -c 20000 tinystories.txt >a.txt
q() { quantize stories260K --samples 4 --ctx 64 --calib a.txt -m gptq -f q4_0 --set token_embd:format=q4_0 -q "$@"; }

# killed VARIANT N: one run that is killed at its n-th step of writing; its exit code in $code
killed() {
    code=0 # the inner shell keeps the outer one from reporting the signal
    OPT_FAULT_KILL=$2 bash -c 'quantize stories260K --samples 4 --ctx 64 --calib a.txt -m gptq -f q4_0 \
        --set token_embd:format=q4_0 -q -o x.gguf '"$1"'; exit $?' >out 2>err || code=$?
}

stride=1 # every step of the first variant, some of the others
for variant in "-j 2" "-j 2 --one-pass" "-j 2 --round-steps 3" "-j 2 -m gptaq --round-steps 3" \
    "-j 2 --transform awq,clip,bias-correction"; do
    # shellcheck disable=SC2086
    expect 0 q $variant -o ref.gguf --force
    check "$variant: a finished run leaves nothing" test ! -e ref.gguf.work
    n=1 saved=0
    while [ $n -lt 1000 ]; do
        rm -rf x.gguf x.gguf.work .x.gguf.tmp.*
        killed "$variant" $n
        [ $code -ne 0 ] || break
        check "$variant: killed at step $n ($code)" test $code -gt 128
        before=$(find x.gguf.work -name 'stage*' 2>/dev/null | wc -l)
        [ "$before" -gt $saved ] && saved=$before
        # shellcheck disable=SC2086
        [ -e x.gguf ] || expect 0 q $variant -o x.gguf
        check "$variant: killed at step $n: the same bytes" cmp -s x.gguf ref.gguf
        n=$((n + stride))
    done
    check "$variant: there are many steps ($n)" test $n -gt 30
    stride=7
    check "$variant: every stage was saved ($saved)" test $saved -ge 5
done

# Killed twice, and with other threads in between.
rm -rf x.gguf x.gguf.work .x.gguf.tmp.*
killed "-j 1" 14
killed "-j 3" 20
expect 0 q -o x.gguf -j 2
check "killed twice: the same bytes" test "$(q -o y.gguf && cmp x.gguf y.gguf && echo same)" = same
check "the work directory is gone" test ! -e x.gguf.work

# Half a run, for all that follows.
n=1
while [ ! -e x.gguf.work/stage+002 ] && [ $n -lt 200 ]; do
    rm -rf x.gguf x.gguf.work .x.gguf.tmp.*
    killed "-j 2" $n
    n=$((n + 1))
done
check "half a run is there" test -e x.gguf.work/stage+000
refused() { # refused WHAT COMMAND...
    local what=$1
    shift
    expect 2 "$@"
    check "another $what is refused" grep -q "with another $what; run it with the same again, or begin anew with --fresh" err
    check "another $what: the work stays" test -e x.gguf.work/stage+000
}
refused "calibration text" q -o x.gguf --seed 1
refused options q -o x.gguf --refine 1
refused options q -o x.gguf --one-pass
refused plan q -o x.gguf --set ffn_down:method=rtn
refused "instruction set" env OPT_ISA=portable "$build/quantize" stories260K --samples 4 --ctx 64 --calib a.txt -m gptq -f q4_0 \
    --set token_embd:format=q4_0 -q -o x.gguf
mkdir copy && cp stories260K/* copy/ && touch copy/model.safetensors
refused source "$build/quantize" copy --samples 4 --ctx 64 --calib a.txt -m gptq -f q4_0 --set token_embd:format=q4_0 -q -o x.gguf
flock x.gguf.work/lock sleep 5 &
sleep 0.5
expect 2 q -o x.gguf
check "two runs at once" grep -q 'another process works there' err
wait

# Damaged files.
cp -r x.gguf.work saved
size=$(stat -c %s saved/stage+000)
for off in 0 8 16 24 32 40 112 $((size / 2)) $((size - 1)); do
    rm -rf x.gguf.work && cp -r saved x.gguf.work
    printf '\125' | dd of=x.gguf.work/stage+000 bs=1 seek=$off conv=notrunc status=none
    expect 3 q -o x.gguf
    check "a byte changed at $off" grep -q 'stage+000: is damaged: its checksum does not fit; --fresh begins anew' err
done
for bytes in 0 7 24 $((size - 1)) $((size + 1)); do
    rm -rf x.gguf.work && cp -r saved x.gguf.work
    truncate -s "$bytes" x.gguf.work/stage+000
    expect 3 q -o x.gguf
    check "$bytes bytes" grep -q "stage+000: is damaged: it has $bytes bytes, expected $size" err
done
rm -rf x.gguf.work && cp -r saved x.gguf.work
echo x >x.gguf.work/journal
expect 2 q -o x.gguf
check "a journal of something else" grep -q 'with another version' err
rm -rf x.gguf.work && mkdir x.gguf.work && echo precious >x.gguf.work/mine
expect 2 q -o x.gguf --fresh
check "a directory of something else" grep -q 'x.gguf.work: is in the way' err
check "it stays" test "$(cat x.gguf.work/mine)" = precious
rm -rf x.gguf.work && echo precious >x.gguf.work
expect 4 q -o x.gguf
check "a file in the way" grep -q 'cannot make the directory for intermediate results' err

# Anew.
rm -rf x.gguf.work && cp -r saved x.gguf.work
expect 0 q -o x.gguf --seed 1 --fresh
expect 0 q -o y.gguf --seed 1 --force
check "--fresh begins anew" cmp -s x.gguf y.gguf
check "nothing is left" test -z "$(find . -name '*.work')"

# Without calibration nothing is kept.
expect 0 quantize stories260K -o z.gguf -q
check "no work directory without calibration" test ! -e z.gguf.work
finish
