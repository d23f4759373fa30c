#!/usr/bin/env bash
# Failures at every step of writing and of allocating, and being killed at any step: the old output or the new one is
# there, never a part, and nothing is left behind. The steps are counted by OPT_FAULT_WRITE, OPT_FAULT_KILL and
# OPT_FAULT_ALLOC (base/ctx.h). STRIDE=n tries every n-th allocation only.
. "$(dirname "$0")/lib.sh"
stride=${STRIDE:-1}
quantize stories260K -o new.gguf -q --format q4_0 || exit 1
echo old >old

# intact: x.gguf is the old output or the complete new one
intact() { cmp -s x.gguf old || cmp -s x.gguf new.gguf; }

# run_quantize VARIABLE N: the exit code in $code
run_quantize() {
    code=0 # the inner shell keeps the outer one from reporting the signal
    env "$1=$2" bash -c 'quantize stories260K -o x.gguf -q --format q4_0 --force -j 2 >out 2>err; exit $?' \
        2>/dev/null || code=$?
}

n=1
while [ $n -lt 10000 ]; do
    cp old x.gguf
    run_quantize OPT_FAULT_WRITE $n
    [ $code -ne 0 ] || break
    check "write step $n fails with exit code 4 ($code)" test $code -eq 4
    check "write step $n: the old output is there, or the complete new one" intact
    check "write step $n: one line on standard error" test "$(wc -l <err)" -eq 1
    check "write step $n: nothing left behind" test -z "$(leftovers)"
    n=$((n + 1))
done
check "writing takes several steps ($n)" test $n -gt 4

n=1
while [ $n -lt 10000 ]; do
    cp old x.gguf
    run_quantize OPT_FAULT_KILL $n
    [ $code -ne 0 ] || break
    check "killed at step $n ($code)" test $code -gt 128
    check "killed at step $n: old or new, never a part" intact
    rm -f .x.gguf.tmp.*
    n=$((n + 1))
done
check "there are several steps to be killed at ($n)" test $n -gt 4

rm -f x.gguf
n=1
bad=0
while [ $n -lt 100000 ]; do
    run_quantize OPT_FAULT_ALLOC $n
    [ $code -ne 0 ] || break
    if [ $code -ne 5 ] || [ -e x.gguf ] || [ -n "$(leftovers)" ] || [ "$(wc -l <err)" -ne 1 ]; then
        bad=$((bad + 1))
        echo "allocation $n: exit code $code" >&2
        cat err >&2
        rm -f x.gguf .x.gguf.tmp.*
    fi
    n=$((n + stride))
done
check "every failed allocation gives exit code 5 and no output ($bad of $n do not)" test $bad -eq 0
check "there are many allocations ($n)" test $n -gt 100
echo "allocations: $n"

for command in "generate stories260K -p Once --max-tokens 3" \
    "perplexity stories260K --text tinystories.txt --ctx 16 --windows 2" \
    "compare stories260K new.gguf --text tinystories.txt --ctx 16 --windows 2" \
    "inspect new.gguf" "bench new.gguf --prompt 4 --gen 2 --repeat 1"; do
    n=1
    bad=0
    while [ $n -lt 100000 ]; do
        code=0
        # shellcheck disable=SC2086
        OPT_FAULT_ALLOC=$n infer-run $command -q --json >out 2>err || code=$?
        [ $code -ne 0 ] || break
        if [ $code -ne 5 ]; then
            bad=$((bad + 1))
            echo "infer-run $command, allocation $n: exit code $code" >&2
            cat err >&2
        fi
        n=$((n + 7 * stride))
    done
    check "infer-run ${command%% *}: failed allocations give exit code 5" test $bad -eq 0
done

# A full disk, for real: a small file system where this is allowed.
mkdir disk
if mount -t tmpfs -o size=128k tmpfs disk 2>/dev/null; then
    expect 4 quantize stories260K -o disk/x.gguf --format q8_0
    check "full disk: said so" grep -q "x.gguf" err
    check "full disk: nothing left behind" test -z "$(ls -A disk)"
    umount disk
fi
expect 4 bash -c 'infer-run inspect new.gguf >/dev/full'
expect 4 bash -c 'infer-run generate new.gguf -p Once --max-tokens 3 >/dev/full'
expect 0 infer-run generate new.gguf -p 'Once upon a time' --stop ,
check "nothing but a newline is written" test "$(od -An -c <out | tr -d ' ')" = '\n'
expect 4 bash -c 'infer-run generate new.gguf -p "Once upon a time" --stop , >/dev/full'
check "full disk: said so" grep -q "standard output: No space left" err
expect 4 bash -c 'quantize --help >/dev/full'
expect 4 infer-run inspect new.gguf --json=nowhere/report.json
expect 5 quantize stories260K -o y.gguf --max-memory 100K
check "over the limit: no output" test ! -e y.gguf
check "over the limit: said so" grep -q max-memory err
finish
