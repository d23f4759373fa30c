#!/usr/bin/env bash
# Runs the transcripts of tests/cli/transcripts/*.txt and compares what is printed, to the letter.
#   $ command      one line, run by bash in a scratch directory with the tools in PATH
#   > text         a line of standard output
#   ! text         a line of standard error
#   ? number       the exit code, where it is not 0
# Every other line is a comment. Times, speeds and memory are replaced by N before the comparison.
# usage: test_transcripts.sh BUILD_DIR SOURCE_DIR [--update]     (--update rewrites the transcripts)
. "$(dirname "$0")/lib.sh"
export OPT_ISA=portable # the same digits on every machine
here=$source/tests/cli/transcripts

normalise() {
    sed -E -e 's/[0-9.]+ s$/N s/' -e 's/^(time +)[0-9.]+ s/\1N s/' -e 's/peak memory [0-9.]+ [A-Za-z]+/peak memory N/' \
        -e 's/^(libraries: ).*/\1N/' -e 's/\([0-9.]+\/s\)/(N\/s)/g' \
        -e 's/^(this machine: |reading: |writing: )[0-9].*/\1N/' -e 's/^((read|write) [0-9]+ +tokens at once|write [0-9]+ +one by one) .*/\1 N/' \
        -e 's/\([0-9.]+ GB\/s\)/(N GB\/s)/' -e 's/^( *"(seconds|prompt_seconds|generate_seconds|peak_memory_bytes)": ).*[0-9](,?)$/\1N\3/' \
        -e "s#$scratch#SCRATCH#g"
}

for transcript in "$here"/*.txt; do
    name=$(basename "$transcript" .txt)
    rm -rf "$scratch/work"
    mkdir "$scratch/work"
    cd "$scratch/work" || exit 1
    ln -s "$source/testdata/stories260K" stories260K
    ln -s "$source/testdata/text/tinystories.txt" tinystories.txt
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
        '$ '*)
            printf '%s\n' "$line"
            code=0
            bash -c "${line#\$ }" >"$scratch/out" 2>"$scratch/err" </dev/null || code=$?
            normalise <"$scratch/out" | sed -e 's/^/> /' -e 's/ *$//' -e '$a\'
            normalise <"$scratch/err" | sed -e 's/^/! /' -e 's/ *$//' -e '$a\'
            [ $code -eq 0 ] || printf '? %d\n' $code
            ;;
        '>'* | '!'* | '?'*) ;;
        *) printf '%s\n' "$line" ;;
        esac
    done <"$transcript" >"$scratch/$name.txt"
    cd "$scratch" || exit 1
    if [ "${3:-}" = --update ]; then
        cp "$scratch/$name.txt" "$transcript"
    fi
    check "transcript $name" diff -u "$transcript" "$scratch/$name.txt"
done
finish
