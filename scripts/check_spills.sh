#!/bin/sh
# Register-heavy tiles must stay in registers: counts, in the innermost loops of kernels that multiply vectors, how often
# a vector register is saved on the stack, and refuses a loop that does it more often than its limit allows.
# usage: scripts/check_spills.sh [-v] libopt.a     (-v lists every loop)
set -eu
verbose=0
if [ "$1" = -v ]; then verbose=1 && shift; fi
objdump -d --no-show-raw-insn "$1" | awk -v verbose=$verbose '
# Saves that a loop may have. Tiles have none or few; rows that decode as they go put vectors together and use the stack as
# a table, and clang saves up to half as often as it multiplies in the widest panels of 8-bit products.
function limit(n_products) {
    if (name == "run_q5_k_4") return 5 + 0.55 * n_products # clang 14 has no registers left for the fifth bits; gcc keeps to the next line
    if (name ~ /^run_(q|i)/) return 5 + 0.3 * n_products # scales, and codes for second planes, are kept in memory on purpose
    if (object ~ /avx512/ && name ~ /linear_i(8|nt)/) return 4 + 0.7 * n_products # sums of second planes, which are rare
    if (object ~ /avx512/) return (name ~ /panel_run/ ? 0.7 : 0.2) * n_products
    if (name ~ /attend_(f16|i8)|panel_run|linear_int|linear_direct|encode_/) return 10 + 4 * n_products
    if (name ~ /linear_i8/) return 4 + 1.2 * n_products # rows that unpack as they go, for both planes
    return n_products < 6 ? 4 : 0.6 * n_products
}
function judge(i,   k, n_products, n_saves) {
    for (k = from[i]; k <= to[i]; k++) {
        if (text[k] ~ /vfn?m(add|sub)|vpdp|vdpbf16|vpmaddubsw|vpmaddwd|tdp/) n_products++
        if (text[k] ~ /vmov[a-z0-9]+ +%[yz]mm[0-9]+,-?(0x[0-9a-f]+)?\(%r[sb]p\)/) n_saves++
    }
    if (n_products == 0) return
    n_judged++
    if (verbose || n_saves > limit(n_products)) {
        printf "%s %s: %d products, %d saves on the stack, at most %d expected\n", object, name, n_products, n_saves, limit(n_products)
    }
    if (n_saves > limit(n_products)) bad = 1
}
function end_function(   i, j, inner) {
    for (i = 1; i <= n_loops; i++) {
        inner = 1
        for (j = 1; j <= n_loops; j++) {
            if (from[j] >= from[i] && to[j] <= to[i] && from[j] - to[j] != from[i] - to[i]) inner = 0
        }
        if (inner) judge(i)
    }
    n = n_loops = 0
    delete at
}
/file format/ { end_function(); object = $1; kernel = object ~ /_(avx2|avxvnni|avx512|amx)\.c/ }
!kernel { next }
/^[0-9a-f]+ <.*>:$/ { end_function(); name = $2; gsub(/[<>:]/, "", name) }
/^ *[0-9a-f]+:\t/ {
    address = $1
    sub(/:/, "", address)
    at[address] = ++n
    text[n] = $0
    if ($2 ~ /^j/ && $3 in at) {
        from[++n_loops] = at[$3]
        to[n_loops] = n
    }
}
END {
    end_function()
    printf "%d loops with products of vectors\n", n_judged
    exit bad || n_judged == 0
}'
