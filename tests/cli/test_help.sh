#!/usr/bin/env bash
# Every example in a --help text works as it stands, and --help fits a screen of 80 columns.
. "$(dirname "$0")/lib.sh"
mkdir models
ln -s "$source/testdata/stories260K" models/SmolLM2
head -c 6000 tinystories.txt >wiki.txt
echo 'Once upon a time' >prompt.txt
echo '{"id": 1, "prompt": "Once upon a time"}' >requests.jsonl
quantize models/SmolLM2 -o smol-q4_0.gguf --format q4_0 -q || exit 1
quantize models/SmolLM2 -o smol-int4.gguf --format int4_g64 -q || exit 1
cp smol-q4_0.gguf smol.gguf

examples() { sed -n '/^Examples:/,/^$/p' | grep '^  ' | sed 's/^  //'; }

for tool in quantize pack "infer-run" "infer-run generate" "infer-run chat" "infer-run batch" "infer-run perplexity" "infer-run compare" \
    "infer-run inspect" "infer-run bench" "infer-run profile"; do
    # shellcheck disable=SC2086
    expect 0 $tool --help
    cp out help
    check "$tool --help: nothing on standard error" test ! -s err
    check "$tool --help: at most 78 lines" test "$(wc -l <help)" -le 78
    check "$tool --help: at most 80 columns" test "$(wc -L <help)" -le 80
    check "$tool --help has examples" test "$(examples <help | wc -l)" -ge 2
    check "$tool --help names the exit codes" grep -q 'Exit codes: 0 ok, 1 a gate failed' help
    while IFS= read -r line; do
        case $line in
        quantize* | pack*) line="$line --force" ;;
        *bench* | *profile*) line="$line --prompt 8 --gen 4 --max-memory 64M" ;;
        esac
        case $line in
        *--windows*) line=$(printf '%s\n' "$line" | sed 's/--windows [0-9]*/--windows 2/') ;;
        esac
        code=0
        bash -c "$line" >out 2>err </dev/null || code=$?
        # a gate may fail on this model; everything else must work
        check "example: $line (exit code $code)" test $code -eq 0 -o $code -eq 1
    done < <(examples <help)
    # -h is the same; an option behind it does not matter
    # shellcheck disable=SC2086
    expect 0 $tool -h
    check "$tool -h is --help" cmp help out
done
finish
