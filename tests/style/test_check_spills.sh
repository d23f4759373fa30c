#!/usr/bin/env bash
# The check of registers finds a tile that does not fit, and accepts one that does.
# usage: test_check_spills.sh SOURCE_DIR
set -eu
check=$1/scripts/check_spills.sh
scratch=$(mktemp -d "${TMPDIR:-/tmp}/lathe-style.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

# tile FILE ROWS: a product with 4 ROWS accumulators
tile() {
    cat >"$1_avx2.c" <<END
#include <immintrin.h>
void tile(const float *a, const float *b, float *y, long n);
void tile(const float *a, const float *b, float *y, long n) {
    __m256 sum[$2][4] = {{_mm256_setzero_ps()}};
    for (long i = 0; i < n; i++) {
        for (int r = 0; r < $2; r++) {
            for (int c = 0; c < 4; c++) {
                sum[r][c] = _mm256_fmadd_ps(_mm256_set1_ps(a[i * $2 + r]), _mm256_loadu_ps(b + (4 * i + c) * 8), sum[r][c]);
            }
        }
    }
    for (int r = 0; r < $2; r++) {
        for (int c = 0; c < 4; c++) {
            _mm256_storeu_ps(y + (4 * r + c) * 8, sum[r][c]);
        }
    }
}
END
    "${CC:-cc}" -O3 -funroll-loops -mavx2 -mfma -c "$1_avx2.c" -o "$1_avx2.c.o"
    ar rc "$1.a" "$1_avx2.c.o"
}
tile small 2
tile large 9
"$check" small.a
if "$check" large.a >out; then
    echo "36 accumulators in 16 registers were accepted"
    exit 1
fi
grep -q 'large_avx2.c.o: tile: .* saves on the stack' out
