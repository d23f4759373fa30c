#!/bin/sh
# Runs libFuzzer on one parser, starting from a copy of its seed corpus; what it finds stays in the
# build directory. usage: scripts/fuzz.sh PARSER [RUNS [LIBFUZZER_OPTION...]]
#   PARSER  the <parser> of tests/fuzz/fuzz_<parser>.c, or "all"
#   RUNS    number of inputs, 1000000 by default
set -eu
cd "$(dirname "$0")/.."
if [ $# -lt 1 ] || [ "$1" = -h ] || [ "$1" = --help ]; then
    sed -n '2,5s/^# \{0,1\}//p' "$0"
    exit 2
fi
parser=$1
runs=${2:-1000000}
if [ $# -ge 2 ]; then shift 2; else shift; fi
if [ "$parser" = all ]; then
    for f in tests/fuzz/fuzz_*.c; do
        name=${f##*/fuzz_}
        "$0" "${name%.c}" "$runs" "$@"
    done
    exit 0
fi
if [ ! -f "tests/fuzz/fuzz_$parser.c" ]; then
    echo "no fuzz target tests/fuzz/fuzz_$parser.c" >&2
    exit 2
fi
cmake --preset fuzz >/dev/null
cmake --build build-fuzz --target "fuzz_$parser"
corpus=build-fuzz/corpus/$parser
mkdir -p "$corpus" "build-fuzz/findings/$parser"
cp -r "tests/fuzz/corpus/$parser/." "$corpus/"
set -- "$@" -runs="$runs" -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 \
    -artifact_prefix="build-fuzz/findings/$parser/"
if [ -f "tests/fuzz/$parser.dict" ]; then set -- "$@" -dict="tests/fuzz/$parser.dict"; fi
echo "build-fuzz/fuzz_$parser $corpus $*"
ASAN_OPTIONS=${ASAN_OPTIONS:-allocator_may_return_null=1} "build-fuzz/fuzz_$parser" "$corpus" "$@"
