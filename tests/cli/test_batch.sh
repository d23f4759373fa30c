#!/usr/bin/env bash
# infer-run batch: rows in order, bad lines, results that depend on nothing else, interruption and continuing.
. "$(dirname "$0")/lib.sh"
quantize stories260K -o q.gguf -q || exit 1
long=$(printf 'word %.0s' $(seq 600))
cat >r.jsonl <<X
{"id": 1, "prompt": "Once upon a time"}
{"id": "two", "prompt": "Lily and Ben", "max_tokens": 40, "temperature": 0.8, "seed": 4}

{"prompt": 3}
{"prompt": "x", "colour": 1}
not json
["prompt"]
{"prompt": "x", "temperature": -1}
{"prompt": "x", "prompt": "y"}
{"prompt": "$long"}
{"prompt": ""}
{"prompt": "Once upon a time", "id": {}}
{"prompt": "Once upon a time"}
{"prompt": "The dog", "max_tokens": 60}
X
printf '{"prompt": "\xff"}\n{"prompt": "no line end"}' >>r.jsonl
expect 3 infer-run batch q.gguf r.jsonl --max-tokens 30 -o out.jsonl --ctx 256 --json=report.json
check "the failed ones are counted" grep -q '9 of 15 requests could not be run; their rows say why' err
check "a row for each request" test "$(wc -l <out.jsonl)" = 15
check "computed once" test "$(json_check report.json result.same)" = 1
n=0
while IFS= read -r row; do
    printf '%s\n' "$row" >row
    n=$((n + 1))
    check "row $n is JSON" json_check row line >/dev/null
done <out.jsonl
row() { sed -n "$1p" out.jsonl >row && json_check row "$2"; }
says() { check "row $1: $2" grep -qF -- "$2" <(row "$1" error.message); }
says 3 'line 4: "prompt" is an integer, expected a string'
says 4 "line 5: unknown member 'colour'"
says 5 'line 6: '
says 6 'line 7: found an array, expected an object with the member prompt'
says 7 'line 8: "temperature"'
says 8 'line 9: '
says 9 'line 10: the prompt has '
says 11 'line 12: id: found an object, expected a string or an integer'
says 14 'line 15: '
check "id" test "$(row 2 id)" = two

# The text of generate
expect 0 infer-run generate q.gguf -p "Lily and Ben" --max-tokens 40 --temp 0.8 --seed 4 --json
json_check out result.text >a
row 2 text >b
check "the text of generate" cmp a b

# The same rows whatever runs beside them
for how in "--parallel 1" "--parallel 3 -j 3" "--parallel 64"; do
    # shellcheck disable=SC2086
    expect 3 infer-run batch q.gguf r.jsonl --max-tokens 30 -o other.jsonl --ctx 256 --force $how
    check "the same rows: $how" cmp out.jsonl other.jsonl
done
expect 3 infer-run batch q.gguf r.jsonl --max-tokens 30 --ctx 256
check "the same rows on standard output" cmp out.jsonl out

# Continuing: complete rows stay, a torn one is written again
for bytes in 0 100 200 300 500 900 "$(wc -c <out.jsonl)"; do
    head -c "$bytes" out.jsonl >part.jsonl
    expect 3 infer-run batch q.gguf r.jsonl --max-tokens 30 -o part.jsonl --ctx 256 --json=report.json
    check "continued behind $bytes bytes" cmp out.jsonl part.jsonl
    check "$bytes bytes: rows that were there" test "$(json_check report.json result.resumed)" = \
        "$(head -c "$bytes" out.jsonl | wc -l)"
done
expect 2 infer-run batch q.gguf r.jsonl --max-tokens 31 -o part.jsonl --ctx 256
check "rows of another job" grep -q 'part.jsonl: holds other results behind 0 rows of this job; --force replaces it' err
check "they are left" cmp out.jsonl part.jsonl
expect 2 infer-run batch stories260K r.jsonl --max-tokens 30 -o part.jsonl --ctx 256
check "rows of another model" grep -q 'holds other results' err

# Interrupted at any moment: what is there are complete rows, and continuing gives the same file
for i in $(seq 200); do echo "{\"prompt\": \"Once upon a time, number $i\"}"; done >many.jsonl
expect 0 infer-run batch q.gguf many.jsonl --max-tokens 25 -o whole.jsonl -q
for delay in 0.02 0.05 0.1 0.2; do
    rm -f broken.jsonl
    timeout -s INT "$delay" infer-run batch q.gguf many.jsonl --max-tokens 25 -o broken.jsonl -q 2>err
    n=$(wc -l <broken.jsonl 2>/dev/null || echo 0)
    check "interrupted after $delay s: a beginning of the file" cmp <(head -n "$n" whole.jsonl) <(cat broken.jsonl 2>/dev/null)
    expect 0 infer-run batch q.gguf many.jsonl --max-tokens 25 -o broken.jsonl -q
    check "continued after $delay s" cmp whole.jsonl broken.jsonl
done

# Two processes, and a disk that is full
(
    flock 9
    infer-run batch q.gguf r.jsonl -o locked.jsonl 2>err
    echo $? >code
) 9>locked.jsonl
check "two processes: exit code" test "$(cat code)" = 2
check "two processes" grep -q 'locked.jsonl: another process writes into it' err
if [ -w /dev/full ]; then
    expect 4 bash -c 'infer-run batch q.gguf r.jsonl >/dev/full'
    check "full disk" grep -q 'No space left on device' err
fi
: >empty
expect 0 infer-run batch q.gguf empty -o e.jsonl
check "no requests, no rows" test ! -s e.jsonl
finish
