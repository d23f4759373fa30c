#!/usr/bin/env bash
# infer-run generate and chat: sampling options, speculation, conversations.
. "$(dirname "$0")/lib.sh"
quantize stories260K -o q.gguf -q || exit 1

# The same text with and without guesses
for sampling in "" "--temp 0.8 --seed 5" "--repeat-penalty 1.3 --frequency-penalty 0.2"; do
    # shellcheck disable=SC2086
    expect 0 infer-run generate q.gguf -p "Once upon a time" --max-tokens 120 $sampling
    cp out plain
    for guess in --lookup "--draft stories260K" "--draft q.gguf"; do
        # shellcheck disable=SC2086
        expect 0 infer-run generate q.gguf -p "Once upon a time" --max-tokens 120 $sampling $guess -v
        check "same text: $sampling $guess" cmp plain out
    done
done
expect 0 infer-run generate q.gguf -p "Once upon a time" --max-tokens 120 --draft q.gguf --json
check "all guesses of the model itself are right" test "$(json_check out result.acceptance_rate)" = 1
check "fewer passes than tokens" test "$(json_check out result.passes)" -lt 40
expect 2 infer-run generate q.gguf -p Once --lookup --draft q.gguf
check "two ways to guess" grep -q 'two ways to guess; choose one' err
expect 2 infer-run generate q.gguf -p Once --draft "$source/testdata/families/qwen3"
check "another vocabulary" grep -q 'qwen3: has a vocabulary of 320 tokens' err

# The end of the context: an error behind the text, or half of it is left out
expect 2 infer-run generate q.gguf -p "Once upon a time" --max-tokens 100 --ctx 40 --json=end.json
check "a full context is named" grep -q 'the context is full after 36 new tokens, .*--ctx-shift goes on' err
cp out end
check "the text and the report are there all the same" test "$(json_check end.json result.stop_reason) $(wc -w <end)" = "context $(json_check end.json result.text | wc -w)"
expect 0 infer-run generate q.gguf -p "Once upon a time" --max-tokens 100 --ctx 40 --ctx-shift --json=shift.json -v
check "shifted: all tokens are there" test "$(json_check shift.json result.generated_tokens) $(json_check shift.json result.stop_reason)" = "100 length"
check "shifted: how often" test "$(json_check shift.json result.context_shifts)" = 4
check "shifted: -v says so" grep -q 'the context was full 4 times' err
cp out plain
check "shifted: it begins the same" cmp -n $(($(wc -c <end) - 1)) end plain
for how in --lookup "--draft q.gguf" "-j 3" "--prefix-cache shifted" "--prefix-cache shifted"; do
    # shellcheck disable=SC2086
    expect 0 infer-run generate q.gguf -p "Once upon a time" --max-tokens 100 --ctx 40 --ctx-shift $how
    check "shifted: the same text, $how" cmp plain out
done
expect 2 infer-run generate q.gguf -p Once --ctx 40 --ctx-shift --ctx-keep 40
check "too much to keep" grep -q 'ctx-keep: 40 tokens to keep leave no room in a context of 40 positions' err
expect 2 infer-run generate q.gguf -p Once --ctx-keep 4
check "to keep without a shift" grep -q 'ctx-keep is of --ctx-shift' err
expect 2 infer-run generate q.gguf -p "$(printf 'word %.0s' $(seq 100))" --ctx 40 --ctx-shift
check "a prompt longer than the context is an error in any case" grep -q 'only 40 positions are allowed' err
expect 0 infer-run chat q.gguf --chat-template chatml --system "Be brief." -p "Once upon a time" --max-tokens 100 --ctx 96 --json
check "chat: a cut answer is named" grep -q 'the answer is cut short: the context of 96 positions is full' err
expect 0 infer-run chat q.gguf --chat-template chatml --system "Be brief." -p "Once upon a time" --max-tokens 100 --ctx 96 --ctx-shift --json
check "chat: the whole answer" test "$(json_check out result.turns.0.generated_tokens)" = 100

# Keys and values in other types
expect 0 infer-run generate q.gguf -p Once --max-tokens 20 --kv-type f16 --json
half=$(json_check out result.cache_bytes)
cp out f16.json
expect 0 infer-run generate q.gguf -p Once --max-tokens 20 --json
check "f16 is the default" test "$(json_check out result.cache_type) $(json_check out result.text)" = "f16 $(json_check f16.json result.text)"
expect 0 infer-run generate q.gguf -p Once --max-tokens 20 --kv-type f32 --json
check "f32 takes twice as much" test "$(json_check out result.cache_bytes)" = $((2 * half))
expect 0 infer-run generate q.gguf -p Once --max-tokens 20 --kv-type int8 --json
check "int8 takes less" test "$(json_check out result.cache_bytes)" -lt "$half"
cp out int8.json
expect 0 infer-run generate q.gguf -p Once --max-tokens 20 --kv-type int8 --json -j 3 --lookup
check "int8: the same text with threads and guesses" test "$(json_check out result.text)" = "$(json_check int8.json result.text)"
expect 0 infer-run compare q.gguf q.gguf --kv-type int8 --text tinystories.txt --ctx 128 --windows 4 --max-kld 0.02
expect 0 infer-run compare q.gguf q.gguf --reference-compute exact --text tinystories.txt --ctx 128 --windows 4 --json=x.json -q
check "int8 activations cost little, but not nothing" awk '/"kld": / { on = 1 } on && /"mean"/ { exit !($2 > 0 && $2 < 0.002) }' x.json
expect 0 infer-run compare q.gguf q.gguf --text tinystories.txt --ctx 128 --windows 2 --json
check "the same type: no divergence" test "$(json_check out result.kld.mean)" = 0
expect 2 infer-run generate q.gguf -p Once --kv-type int4

# Logit bias
expect 0 infer-run generate q.gguf -p Once --max-tokens 4 --logit-bias 42=1e30 --json
check "a large bias wins" test "$(json_check out result.ids.4)" = 42
for bad in x 1 1= =1 1=x 1=inf 1=nan -1=2 512=1; do
    expect 2 infer-run generate q.gguf -p Once --logit-bias="$bad"
    check "--logit-bias $bad is named" grep -q 'logit-bias' err
done

# Conversations
expect 2 infer-run chat q.gguf -p Hello
check "no template: how to choose one" grep -q 'choose one with --chat-template: chatml' err
expect 2 infer-run chat q.gguf -p Hello --chat-template chatmel
check "unknown template" grep -q "'chatmel' is unknown; there are chatml" err
expect 2 infer-run chat q.gguf -p Hello --chat-template gemma --system Brief
check "no place for a system message" grep -q 'gemma: this chat template has no place for a system message' err
expect 0 bash -c 'printf "Hello\n\nOnce\nMore" | infer-run chat q.gguf --chat-template chatml --max-tokens 12 --json=chat.json'
cp out whole
check "three turns: empty lines are none" test "$(json_check chat.json result.turns.2.user)" = More
check "the cache is kept" test "$(json_check chat.json result.turns.2.computed_prompt_tokens)" -lt \
    "$(json_check chat.json result.turns.2.prompt_tokens)"
expect 0 bash -c 'printf "Hello\nOnce\nMore\n" | infer-run chat q.gguf --chat-template chatml --max-tokens 12 --lookup -j 3'
check "the same conversation with guesses" cmp whole out
expect 0 bash -c 'for i in 1 2 3 4 5 6 7 8; do echo "Tell me a long story $i"; done |
    infer-run chat q.gguf --chat-template zephyr --max-tokens 20 --ctx 160'
check "old turns are forgotten" grep -q 'longer than the context of 160 positions: its oldest' err
expect 2 infer-run chat q.gguf --chat-template chatml --ctx 8 -p "Hello there"
check "a message longer than the context" grep -q 'only 8 positions are there' err
sed 's/.*/{"bos_token": "<s>", "eos_token": "<\/s>", "chat_template": "{{ messages }}"}/;q' stories260K/config.json >strange
cp -r stories260K/ strange_model
cp strange strange_model/tokenizer_config.json
expect 7 infer-run chat strange_model -p Hello
check "strange template" grep -q 'none of those that are known; choose the nearest with --chat-template' err
expect 0 infer-run chat strange_model -p Hello --chat-template llama-2 --max-tokens 5

# Profile and bench: every op and layer is there, with the same work whatever the threads
expect 0 infer-run profile q.gguf --prompt 16 --gen 4 --depth 8 --max-memory 64M -j 1 --json
cp out one.json
expect 0 infer-run profile q.gguf --prompt 16 --gen 4 --depth 8 --max-memory 64M -j 3 --json
for member in run.phases.0.ops.1.name run.phases.0.ops.2.stored_bytes run.phases.1.ops.2.operations \
    run.phases.1.ops.4.stored_bytes run.phases.1.layers.0.bytes run.phases.1.layers.5.name; do
    check "$member is the same" test "$(json_check out $member)" = "$(json_check one.json $member)"
done
check "a matrix: 64 x 172 in q4_0 twice, and 2 operations an element" test \
    "$(json_check out run.phases.1.ops.7.name) $(json_check out run.phases.1.ops.7.operations)" = "linear ffn_gate 880640"
check "calls: 5 layers, 4 tokens" test "$(json_check out run.phases.1.ops.7.calls)" = 20
expect 0 infer-run profile q.gguf --prompt 16 --gen 4 --max-memory 64M -v
check "layers with -v" grep -q '^blk.4 ' out
expect 5 infer-run profile q.gguf --prompt 16 --gen 4 --max-memory 4M
expect 0 infer-run bench q.gguf --prompt 8 --gen 4 --repeat 1 --batch 3 --depth 20 --max-memory 64M --json
check "batch is measured" test "$(json_check out run.batch_tokens_per_second | cut -c1)" != 0
expect 0 infer-run bench q.gguf --prompt 8 --gen 4 --repeat 1 --batch 2,5 --depth 0,20 --threads-list 1,3 --max-memory 64M --json
for row in "0 read 1 8 0 1" "1 write 1 4 0 1" "2 write 1 4 20 1" "3 batch 1 4 0 2" "4 batch 1 4 0 5" "5 read 3 8 0 1" "9 batch 3 4 0 5"; do
    # shellcheck disable=SC2086
    set -- $row
    found=$(for member in kind threads tokens depth texts; do json_check out "run.rows.$1.$member"; done | xargs)
    check "sweep: row $row" test "$1 $found" = "$row"
    check "sweep: row $1 has a speed" test "$(json_check out "run.rows.$1.tokens_per_second" | cut -c1)" != 0
done
check "sweep: the machine is measured with each number of threads" test "$(json_check out run.rows.0.int8_peak_gop_per_second)" != \
    "$(json_check out run.rows.5.int8_peak_gop_per_second)"
expect 0 infer-run bench q.gguf --prompt 8 --gen 4 --repeat 1 --depth 0,20 --max-memory 64M
check "sweep: a line each" test "$(grep -c '^write 4 behind' out)" = 2
expect 2 infer-run bench q.gguf --batch 2,,3
check "sweep: an empty value" grep -q -- "--batch: ',3' is not a whole number" err
expect 2 infer-run bench q.gguf --batch 2,65
check "sweep: a value beyond the limit" grep -q -- '--batch: 65 is outside 0 to 64' err
expect 2 infer-run bench q.gguf --depth 1,2,3,4,5,6,7,8,9
check "sweep: too many values" grep -q -- "--depth: '1,2,3,4,5,6,7,8,9' has more than 8 values" err
finish
