#!/usr/bin/env bash
# Pipes and signals: SIGPIPE is quiet, - is standard input, JSON is one valid document, SIGINT and SIGTERM clean up.
. "$(dirname "$0")/lib.sh"
set -o pipefail
quantize stories260K -o q.gguf -q || exit 1

# A reader that goes away: no message, and no failure
for command in "inspect q.gguf -v" "inspect q.gguf --json" "--help" "generate q.gguf -p Once --max-tokens 300"; do
    # shellcheck disable=SC2086
    expect 0 bash -c "set -o pipefail; infer-run $command | head -c 10 >/dev/null"
    check "infer-run $command: quiet when the reader is gone" test ! -s err
done

# Standard input for texts
expect 0 infer-run perplexity q.gguf --text tinystories.txt --ctx 64 --windows 3 --json
json_check out result.perplexity >a
expect 0 bash -c 'cat tinystories.txt | infer-run perplexity q.gguf --text - --ctx 64 --windows 3 --json'
json_check out result.perplexity >b
check "text from a pipe is the same text" cmp a b
expect 0 bash -c 'printf "Once upon" | infer-run generate q.gguf -p - --max-tokens 5'
cp out a
expect 0 infer-run generate q.gguf -p "Once upon" --max-tokens 5
check "prompt from a pipe is the same prompt" cmp a out

# JSON: one valid document on standard output, whatever happens
json() { # json CODE COMMAND...
    expect "$@" --json
    check "valid JSON: ${*:2}" json_check out schema >/dev/null
    check "schema: ${*:2}" test "$(json_check out schema)" = lathe.report/1
    check "exit code in the report: ${*:2}" test "$(json_check out exit_code)" = "$1"
}
json 0 quantize stories260K -o j.gguf
json 0 quantize stories260K --dry-run
json 2 quantize stories260K -o j.gguf
json 2 quantize stories260K --frobnicate
json 2 quantize
json 4 quantize nowhere -o k.gguf
json 0 pack q.gguf -o p.gguf
json 0 infer-run inspect q.gguf --verify
json 0 infer-run inspect stories260K
json 0 infer-run generate q.gguf -p Once --max-tokens 5 -v
json 0 infer-run perplexity q.gguf --text tinystories.txt --ctx 32 --windows 2
json 0 infer-run compare stories260K q.gguf --text tinystories.txt --ctx 32 --windows 2
json 1 infer-run compare stories260K q.gguf --text tinystories.txt --ctx 32 --windows 4 --max-kld 0
json 2 infer-run compare stories260K q.gguf --text tinystories.txt --ctx 32 --windows 2 --max-kld 9
json 0 infer-run bench q.gguf --prompt 4 --gen 2 --repeat 2
json 2 infer-run frobnicate q.gguf
json 2 infer-run
json 2 env OPT_ISA=z80 infer-run inspect q.gguf
json 5 infer-run inspect q.gguf --max-memory 5
json 5 quantize stories260K -o k.gguf --max-memory 5
json 5 env OPT_FAULT_ALLOC=40 infer-run inspect q.gguf
# A place for the document that cannot be written is found before the work is done
for place in nowhere/report.json . stories260K/config.json/x; do
    expect 4 quantize stories260K -o k.gguf --json=$place
    check "--json=$place: nothing is done" test ! -e k.gguf
    check "--json=$place: said so" grep -q "error: --json: $place: " err
done
expect 2 infer-run frobnicate q.gguf --json=nowhere/x
expect 0 infer-run perplexity q.gguf --text tinystories.txt --ctx 32 --windows 2 --json=report.json
check "--json=FILE leaves the text on standard output" grep -q perplexity out
check "--json=FILE writes the report" json_check report.json result.perplexity >/dev/null
expect 0 infer-run generate q.gguf -p Once --max-tokens 5 --json
check "generated text is in the report" test -n "$(json_check out result.text)"
text=$(json_check out result.text)
expect 0 infer-run generate q.gguf -p Once --max-tokens 5 --json --echo
check "the prompt is no part of the text" test "$(json_check out result.text)" = "$text"
check "the prompt is in the report" test "$(json_check out result.prompt)" = '"Once"' -o "$(json_check out result.prompt)" = Once

# The instruction set is that of kernels which exist
expect 0 infer-run inspect q.gguf --json
level=$(json_check out run.instruction_set | tr -d '"')
check "the level of kernels ($level)" grep -q "[ _]*OPT_KERN.*, ${level^^}, " "$source/libopt/kern/kernels.def"
expect 0 quantize --version
check "--version names it, too" grep -q "^instruction set: $level" out

# The same report for the same job, but for what stands under "run"
expect 0 quantize stories260K -o j.gguf --force -j 1 --json
json_check out --without run >a
expect 0 quantize stories260K -o j.gguf --force -j 3 --json
json_check out --without run >b
check "reports agree but for the run" cmp a b

# Signals: the temporary file goes, the old output stays. timeout sends one signal to the tool alone; a background job of
# the shell would not do, since a signal before its exec runs the shell's own exit trap.
interrupted() { # interrupted SIGNAL CODE: tries until the signal arrives while the job runs
    local signal=$1 want=$2 code tries=0
    while [ $tries -lt 40 ]; do
        tries=$((tries + 1))
        code=0
        timeout --foreground --preserve-status -s "$signal" 0.0$((tries % 9 + 1)) \
            infer-run generate q.gguf -p Once --max-tokens 400 --ctx 500 --ignore-eos --compute exact -j 1 \
            >out 2>err || code=$?
        [ $code -ne "$want" ] || return 0
    done
    echo "last exit code $code" >&2
    return 1
}
check "SIGINT ends a run with 130" interrupted INT 130
check "SIGTERM ends a run with 143" interrupted TERM 143

# A signal that was ignored at the start stays so (nohup, jobs in the background of a script): the tool waits for its
# prompt while the signals come.
for signal in INT TERM; do
    rm -f fifo
    mkfifo fifo
    (trap '' INT TERM && exec infer-run generate q.gguf -p - --max-tokens 3 <fifo >out 2>err) &
    pid=$!
    exec 9>fifo
    for i in $(seq 1 100); do # until it has set up its signals and reads
        [ "$(cat /proc/$pid/comm)" = infer-run ] && grep -q '^SigIgn:.*[13579bdf]...$' /proc/$pid/status && break
        sleep 0.02
    done
    for i in 1 2 3; do
        sleep 0.05
        kill -s "$signal" $pid
    done
    echo Once >&9
    exec 9>&-
    code=0
    wait $pid || code=$?
    check "an ignored SIG$signal does not end a run ($code)" test $code -eq 0
done

# A signal at any moment of a conversion: the old output or the new one, and nothing else
quantize stories260K -o new.gguf -q --format q4_0
mkdir signal
for i in $(seq 1 40); do
    echo old >signal/s.gguf
    code=0
    timeout --foreground --preserve-status -s TERM 0.00$((i % 10))$((i % 7 + 1)) \
        quantize stories260K -o signal/s.gguf -q --format q4_0 --force >out 2>err || code=$?
    case $code in
    0) check "signal $i came late: the new output is there" cmp -s signal/s.gguf new.gguf ;;
    143) check "signal $i: old output or new" test "$(head -c 3 signal/s.gguf)" = old -o "$(head -c 4 signal/s.gguf)" = GGUF ;;
    *) check "signal $i: exit code $code is neither 0 nor 143" false ;;
    esac
    check "signal $i: nothing left behind" test "$(ls -A signal)" = s.gguf
done
check "a signal is named in one line" test "$(wc -l <err)" -le 1
finish
