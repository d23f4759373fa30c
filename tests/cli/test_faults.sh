#!/usr/bin/env bash
# Failures at every step of writing and of allocating, and being killed at any step: the old output or the new one is
# there, never a part, and nothing is left behind. The steps are counted by OPT_FAULT_WRITE, OPT_FAULT_KILL and
# OPT_FAULT_ALLOC (base/ctx.h). STRIDE=n tries every n-th allocation only.
. "$(dirname "$0")/lib.sh"
stride=${STRIDE:-1}
quantize stories260K -o new.gguf -q --format q4_0 || exit 1
echo old >old

# intact NEW: x.gguf is the old output or the complete new one
intact() { cmp -s x.gguf old || cmp -s x.gguf "$1"; }

# run VARIABLE N COMMAND: writes x.gguf with the fault; the exit code in $code
run() {
    code=0 # the inner shell keeps the outer one from reporting the signal
    env "$1=$2" bash -c "$3 -o x.gguf -q --force -j 2 >out 2>err; exit \$?" 2>/dev/null || code=$?
}

# steps NEW COMMAND: every write step of a command fails once, and the process is killed at each once
steps() {
    local new=$1 command=$2 n=1
    while [ $n -lt 10000 ]; do
        cp old x.gguf
        run OPT_FAULT_WRITE $n "$command"
        [ $code -ne 0 ] || break
        check "$command: write step $n fails with exit code 4 ($code)" test $code -eq 4
        check "$command: write step $n: the old output is there, or the complete new one" intact "$new"
        check "$command: write step $n: one line on standard error" test "$(wc -l <err)" -eq 1
        check "$command: write step $n: nothing left behind" test -z "$(leftovers)"
        n=$((n + 1))
    done
    check "$command: writing takes several steps ($n)" test $n -gt 4
    check "$command: without a fault the output is the new one" cmp -s x.gguf "$new"
    n=1
    while [ $n -lt 10000 ]; do
        cp old x.gguf
        run OPT_FAULT_KILL $n "$command"
        [ $code -ne 0 ] || break
        check "$command: killed at step $n ($code)" test $code -gt 128
        check "$command: killed at step $n: old or new, never a part" intact "$new"
        rm -f .x.gguf.tmp.*
        n=$((n + 1))
    done
    check "$command: there are several steps to be killed at ($n)" test $n -gt 4
    rm -f x.gguf
}

# allocations STRIDE COMMAND: every STRIDE-th allocation fails once
allocations() {
    local stride=$1 command=$2 n=1 bad=0
    while [ $n -lt 100000 ]; do
        run OPT_FAULT_ALLOC $n "$command"
        [ $code -ne 0 ] || break
        if [ $code -ne 5 ] || [ -e x.gguf ] || [ -n "$(leftovers)" ] || [ "$(wc -l <err)" -ne 1 ]; then
            bad=$((bad + 1))
            echo "$command: allocation $n: exit code $code" >&2
            cat err >&2
            rm -f x.gguf .x.gguf.tmp.*
        fi
        n=$((n + stride))
    done
    check "$command: failed allocations give exit code 5 and no output ($bad of $n do not)" test $bad -eq 0
    check "$command: there are many allocations ($n)" test $n -gt 100
    echo "$command: allocations: $n"
    rm -f x.gguf
}

pack new.gguf -o packed.gguf -q || exit 1
pack new.gguf -o expanded.gguf -q --to gguf-f16 || exit 1
steps new.gguf "quantize stories260K --format q4_0"
steps packed.gguf "pack new.gguf"
steps expanded.gguf "pack new.gguf --to gguf-f16"
allocations "$stride" "quantize stories260K --format q4_0"
allocations "$((7 * stride))" "pack new.gguf"
allocations "$((7 * stride))" "pack stories260K --to gguf-f32"

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
