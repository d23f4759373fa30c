#!/usr/bin/env bash
# The prefix cache of generate, chat and batch: the same text, two processes, damaged entries, a full disk.
. "$(dirname "$0")/lib.sh"
quantize stories260K -o q.gguf -q || exit 1
story=$(printf 'Once upon a time there was a little girl named Lily. %.0s' $(seq 8))
field() { json_check "$1" "run.prefix_cache.$2"; }

# generate: the same text, computed once
expect 0 infer-run generate q.gguf -p "$story She" --max-tokens 30
cp out plain
expect 0 infer-run generate q.gguf -p "$story She" --max-tokens 30 --prefix-cache pc --json=1.json
check "the same text: first run" cmp plain out
check "nothing was there" test "$(field 1.json loaded_tokens)" = 0
expect 0 infer-run generate q.gguf -p "$story She" --max-tokens 30 --prefix-cache pc --json=2.json -j 3
check "the same text: second run" cmp plain out
check "all but the last token were there" test "$(field 2.json loaded_tokens)" = $(($(json_check 2.json result.prompt_tokens) - 1))
check "nothing to write" test "$(field 2.json saved_entries)" = 0
expect 0 infer-run generate q.gguf -p "$story The dog" --max-tokens 30
cp out dog
expect 0 infer-run generate q.gguf -p "$story The dog" --max-tokens 30 --prefix-cache pc --json=3.json --lookup
check "another end, with guesses" cmp dog out
check "the beginning was there" test "$(field 3.json loaded_tokens)" -gt 100
expect 0 infer-run generate q.gguf -p "$story The dog" --max-tokens 30 --prefix-cache pc --json=4.json --compute exact
check "exact has entries of its own" test "$(field 4.json loaded_tokens)" = 0
expect 0 infer-run generate q.gguf -p "$story The dog" --max-tokens 30 --prefix-cache pc -v
check "-v says what was there" grep -q 'prefix cache: [1-9][0-9]* tokens were there' err
OPT_ISA=portable expect 0 infer-run generate q.gguf -p "$story The dog" --max-tokens 3 --prefix-cache pc --json=5.json
check "another instruction set has entries of its own" test "$(field 5.json loaded_tokens)" = 0

# Damaged and foreign files
rm -r pc
expect 0 infer-run generate q.gguf -p "$story She" --max-tokens 30 --prefix-cache pc
first=$(ls pc/*-0000000000000000-*.kv)
printf 'x' | dd of="$first" bs=1 seek=5000 conv=notrunc status=none
echo "not ours" >pc/notes.txt
expect 0 infer-run generate q.gguf -p "$story She" --max-tokens 30 --prefix-cache pc --json=6.json
check "a damaged entry: the same text" cmp plain out
check "a damaged entry is named" grep -qF "$first: is damaged (its checksum does not fit); computed again" err
check "and counted" test "$(field 6.json damaged_entries) $(field 6.json saved_entries)" = "1 1"
printf 'x' | dd of="$first" bs=1 seek=5000 conv=notrunc status=none
expect 3 infer-run generate q.gguf -p "$story She" --max-tokens 30 --prefix-cache pc --prefix-strict
check "strict: an error" grep -qF "$first: is damaged: its checksum does not fit" err
expect 0 infer-run generate q.gguf -p "$story She" --max-tokens 30 --prefix-cache pc
check "other files stay" test "$(cat pc/notes.txt)" = "not ours"
truncate -s 100 "$first"
expect 0 infer-run generate q.gguf -p "$story She" --max-tokens 30 --prefix-cache pc
check "a cut entry is named" grep -qF "$first: is damaged (bytes: found 100" err
check "a cut entry: the same text" cmp plain out

# A full disk
for n in 1 2 3 4; do
    rm -rf full
    OPT_FAULT_WRITE=$n expect 0 infer-run generate q.gguf -p "$story She" --max-tokens 30 --prefix-cache full
    check "full disk at step $n: the same text" cmp plain out
    check "full disk at step $n is named" grep -q 'warning: full: the prefix is not kept: ' err
    check "full disk at step $n: nothing half-written" test -z "$(find full -name '.*.tmp.*')"
done
OPT_FAULT_WRITE=2 expect 4 infer-run generate q.gguf -p "$story She" --max-tokens 30 --prefix-cache full2 --prefix-strict
check "full disk, strict: the text is there all the same" cmp -n "$(($(wc -c <plain) - 1))" plain out
touch file
expect 4 infer-run generate q.gguf -p Once --prefix-cache file
check "no directory" grep -q 'file: cannot be opened as a directory' err
expect 4 infer-run generate q.gguf -p Once --prefix-cache no/such/place
check "no place for a directory" grep -q 'no/such/place: cannot be made' err
expect 0 infer-run generate q.gguf -p "$story She" --max-tokens 30 --prefix-cache small --prefix-cache-size 100K --json=7.json
check "the size is kept" test "$(du -b --exclude=lock small | tail -1 | cut -f1)" -le $((102400 + 4096))
expect 0 infer-run generate q.gguf -p "$story She" --max-tokens 30 --prefix-cache small --prefix-cache-size 100K --json=7.json
check "what fitted is of use" test "$(field 7.json loaded_tokens)" = 114

# Several processes with one directory
for round in 1 2 3; do
    rm -rf shared
    for i in 1 2 3; do
        infer-run generate q.gguf -p "$story She" --max-tokens 30 -j 1 --prefix-cache shared --prefix-cache-size 150K >"out.$i" 2>"err.$i" &
        infer-run generate q.gguf -p "$story The dog" --max-tokens 30 -j 1 --prefix-cache shared --prefix-cache-size 150K >"dog.$i" 2>>"err.$i" &
    done
    wait
    for i in 1 2 3; do
        check "round $round, process $i: the same text" cmp plain "out.$i"
        check "round $round, process $i: the same text of the other" cmp dog "dog.$i"
        check "round $round, process $i: no complaint" test ! -s "err.$i"
    done
done

# chat and batch
chat() { printf 'Tell me a story about a cat and a dog\nAnd more\n' | infer-run chat q.gguf --chat-template chatml --system "$story" --max-tokens 20 "$@"; }
expect 0 chat
cp out plain
expect 0 chat --prefix-cache pc --json=8.json
check "chat: the same answers" cmp plain out
expect 0 chat --prefix-cache pc --json=9.json
check "chat: the same answers again" cmp plain out
check "chat: nearly all was there" test "$(json_check 9.json result.turns.0.computed_prompt_tokens)" = 1
for i in 1 2 3 4 5 6; do echo "{\"prompt\": \"$story Number $i\"}"; done >r.jsonl
expect 0 infer-run batch q.gguf r.jsonl --max-tokens 20 --prefix-memory 0
cp out plain
expect 0 infer-run batch q.gguf r.jsonl --max-tokens 20 --json=10.json -o rows.jsonl
check "batch: the same rows" cmp plain rows.jsonl
check "batch: the common beginning is computed once" test "$(field 10.json loaded_tokens)" = $((5 * 64))
expect 0 infer-run batch q.gguf r.jsonl --max-tokens 20 --parallel 3 --prefix-cache pb --json=11.json -o rows2.jsonl
expect 0 infer-run batch q.gguf r.jsonl --max-tokens 20 --parallel 2 --prefix-cache pb --json=12.json -o rows3.jsonl
check "batch: the same rows with a directory" cmp plain rows3.jsonl
check "batch: all found it" test "$(field 12.json loaded_tokens)" = $((6 * 64))

# Everything at once: bad lines, a prompt longer than the context, a damaged entry, a full disk, another process
long=$(printf 'word %.0s' $(seq 400))
{
    head -2 r.jsonl
    echo 'not json'
    echo "{\"prompt\": \"$long\"}"
    tail -4 r.jsonl
} >bad.jsonl
expect 3 infer-run batch q.gguf bad.jsonl --max-tokens 20 --ctx 200 --prefix-memory 0 -o plain.jsonl
check "bad lines are counted" grep -q '2 of 8 requests could not be run' err
check "and named" grep -q 'line 4: the prompt has .* tokens, but the context only 200 positions' plain.jsonl
for n in 1 2 3 4; do
    rm -rf pb
    expect 0 infer-run generate q.gguf -p "$story Number 1" --max-tokens 1 --prefix-cache pb
    first=$(ls pb/*-0000000000000000-*.kv)
    printf 'x' | dd of="$first" bs=1 seek=5000 conv=notrunc status=none
    infer-run batch q.gguf bad.jsonl --max-tokens 20 --ctx 200 --prefix-memory 0 -j 1 --prefix-cache pb >beside 2>/dev/null &
    OPT_FAULT_WRITE=$n expect 3 infer-run batch q.gguf bad.jsonl --max-tokens 20 --ctx 200 --prefix-memory 0 --prefix-cache pb --force -o rows.jsonl
    wait
    check "all at once, step $n: the same rows" cmp plain.jsonl rows.jsonl
    check "all at once, step $n: the same rows in the other process" cmp plain.jsonl beside
done

# Memory: what the library holds beside the file
expect 0 infer-run generate q.gguf -p "$story" --max-tokens 300 --ignore-eos --json
held=$(($(json_check out run.peak_memory_bytes) - $(json_check out result.cache_bytes)))
check "generate holds no more than keys, values and 64 MiB" test "$held" -le $((64 << 20))
expect 0 infer-run perplexity q.gguf --text tinystories.txt --ctx 512 --json
check "perplexity holds no more than 64 MiB with keys and values" test "$(json_check out run.peak_memory_bytes)" -le $((64 << 20))
finish
