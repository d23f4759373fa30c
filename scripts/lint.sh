#!/bin/sh
# Formatting (clang-format) and static analysis (clang-tidy, with the compile commands of a build).
# usage: scripts/lint.sh [--fix] [--no-tidy] [BUILD_DIR [FILE...]]
#   --fix      rewrite the files instead of listing what is wrong (formatting only)
#   --no-tidy  formatting only
# BUILD_DIR is build-dev by default; it is configured when it does not exist.
set -eu
cd "$(dirname "$0")/.."
fix=0
tidy=1
while [ $# -gt 0 ]; do
    case $1 in
    --fix) fix=1 ;;
    --no-tidy) tidy=0 ;;
    -h | --help)
        sed -n '2,7s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    -*)
        echo "unknown option $1" >&2
        exit 2
        ;;
    *) break ;;
    esac
    shift
done
build=${1:-build-dev}
if [ $# -gt 0 ]; then shift; fi

# The version decides: another one formats differently.
format=$(command -v clang-format-14 || command -v clang-format)
dirs=
for d in include libopt tools tests bench; do
    if [ -d "$d" ]; then dirs="$dirs $d"; fi
done
# shellcheck disable=SC2086
sources=$(find $dirs -type f -name '*.[ch]' | LC_ALL=C sort)
if [ $# -gt 0 ]; then sources=$*; fi
if [ "$fix" -eq 1 ]; then
    # shellcheck disable=SC2086
    "$format" -i $sources
    exit 0
fi
bad=0
# shellcheck disable=SC2086
"$format" --dry-run -Werror $sources || bad=1
echo "clang-format: $(echo "$sources" | wc -w) files, $([ $bad -eq 0 ] && echo clean || echo findings)"

if [ "$tidy" -eq 1 ]; then
    if [ ! -f "$build/compile_commands.json" ]; then
        cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Debug >/dev/null
    fi
    units=$(echo "$sources" | tr ' ' '\n' | grep '\.c$' || true)
    # clang knows what gcc was asked for, except for a few flags that change no finding.
    # shellcheck disable=SC2086
    if printf '%s\n' $units | xargs -P "$(nproc)" -n 4 "$(command -v clang-tidy-14 || command -v clang-tidy)" \
        -p "$build" --quiet --warnings-as-errors='*'; then
        echo "clang-tidy: $(echo "$units" | wc -w) files, clean"
    else
        echo "clang-tidy: findings"
        bad=1
    fi
fi
exit $bad
