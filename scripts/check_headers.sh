#!/bin/sh
# Compiles every header alone, so that none depends on what was included before it; the public ones
# as C++ too where a C++ compiler is there. Environment: CC, CXX.
set -eu
cd "$(dirname "$0")/.."
cc=${CC:-cc}
cxx=${CXX:-c++}
bad=0
n=0
for h in $(find include libopt tools -name '*.h' 2>/dev/null | LC_ALL=C sort); do
    n=$((n + 1))
    case $h in
    include/*) name=${h#include/} ;;
    libopt/*) name=${h#libopt/} ;;
    tools/*) name=${h#tools/} ;;
    esac
    case $h in # as in cmake/libopt.cmake
    *_avx2.h) isa="-mavx2 -mfma -mf16c -mbmi2" ;;
    *_avx512.h)
        isa="-mavx2 -mfma -mf16c -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni"
        ;;
    *_amx.h | */amx_*.h)
        isa="-mavx2 -mfma -mf16c -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mamx-tile -mamx-int8"
        ;;
    *) isa= ;;
    esac
    # shellcheck disable=SC2086
    printf '#include "%s"\ntypedef int not_empty;\n' "$name" |
        $cc -x c -std=c17 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Werror -fsyntax-only $isa \
            -Iinclude -Ilibopt -Itools - || { echo "$h: does not compile alone"; bad=1; }
    case $h in
    include/*)
        if command -v "$cxx" >/dev/null; then
            printf '#include "%s"\n' "$name" |
                $cxx -x c++ -std=c++17 -Wall -Wextra -Werror -fsyntax-only -Iinclude - ||
                { echo "$h: does not compile as C++"; bad=1; }
        fi
        ;;
    esac
done
echo "$n headers"
[ "$n" -gt 0 ] && [ "$bad" -eq 0 ]
