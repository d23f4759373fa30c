#!/usr/bin/env bash
# The commands of README.md work: every fenced block that is marked as shell is run, in order, from a copy of what it uses.
. "$(dirname "$0")/lib.sh"
mkdir repo repo/testdata
cp -r "$source/testdata/stories260K" "$source/testdata/text" repo/testdata/
ln -s "$build" repo/build
cd repo || exit 1
sed -n '/^```sh$/,/^```$/p' "$source/README.md" | grep -v '^```' >../commands
check "README.md has commands" test "$(wc -l <../commands)" -gt 10
while IFS= read -r line; do
    case $line in
    export*) continue ;; # lib.sh has set the path
    esac
    code=0
    bash -c "$line" >../out 2>../err </dev/null || code=$?
    check "README.md: $line (exit code $code: $(head -1 ../err))" test $code -eq 0
done <../commands
for file in $(grep -oE '`(docs/)?[A-Z]+\.md`' "$source/README.md" | tr -d '`'); do
    check "README.md names $file, which is there" test -f "$source/$file"
done
for script in $(grep -oE 'scripts/[a-z_]+\.sh' "$source/README.md" | sort -u); do
    check "README.md names $script, which can be run" test -x "$source/$script"
done
finish
