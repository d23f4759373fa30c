# Shared by the tests of this folder: bash test_x.sh BUILD_DIR SOURCE_DIR.
# Gives a scratch directory as the working directory, the tools in PATH, and a few checks. A script ends with `finish`.
set -u
export LC_ALL=C
build=$(cd "$1" && pwd)
source=$(cd "$2" && pwd)
PATH=$build:$PATH
scratch=$(mktemp -d "${TMPDIR:-/tmp}/lathe-cli.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
ln -s "$source/testdata/stories260K" stories260K
ln -s "$source/testdata/text/tinystories.txt" tinystories.txt
n_checks=0
n_failed=0

# check TEXT COMMAND...: the command must succeed
check() {
    local text=$1
    shift
    n_checks=$((n_checks + 1))
    if ! "$@"; then
        n_failed=$((n_failed + 1))
        echo "FAILED: $text" >&2
    fi
}

# expect CODE COMMAND...: runs it with its output in the files out and err, and checks the exit code
expect() {
    local want=$1 code=0
    shift
    "$@" >out 2>err || code=$?
    n_checks=$((n_checks + 1))
    if [ "$code" -ne "$want" ]; then
        n_failed=$((n_failed + 1))
        echo "FAILED: exit code $code, not $want: $*" >&2
        sed 's/^/    /' err >&2
    fi
}

# same_bytes FIRST OTHER...: all files have the same bytes
same_bytes() {
    local first=$1 other
    shift
    for other in "$@"; do cmp -s "$first" "$other" || return 1; done
}

# leftovers: temporary files that a run has left behind
leftovers() { find . -name '.*.tmp.*' | grep .; }

finish() {
    echo "$n_checks checks, $n_failed failed"
    [ "$n_checks" -gt 0 ] && [ "$n_failed" -eq 0 ]
    exit
}
