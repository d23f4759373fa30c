# Shared by the bench scripts: paired timing and small arithmetic. Source it; needs bash and awk.

# median FILE: median of a column of numbers
median() { sort -g "$1" | awk '{ x[NR] = $1 } END { print NR % 2 ? x[(NR + 1) / 2] : (x[NR / 2] + x[NR / 2 + 1]) / 2 }'; }

# spread FILE: "min..max"
spread() { sort -g "$1" | awk 'NR == 1 { a = $1 } { b = $1 } END { print a ".." b }'; }

# seconds COMMAND...: wall time of a quiet run; a failing command ends the bench
seconds() {
    local begin end
    begin=$(date +%s%N)
    "$@" >"$work/out" 2>"$work/err" </dev/null || { echo "failed: $*" >&2; tail -5 "$work/err" >&2; exit 1; }
    end=$(date +%s%N)
    awk -v a="$begin" -v b="$end" 'BEGIN { printf "%.4f\n", (b - a) / 1e9 }'
}

# paired NAME RUNS A_FUNCTION B_FUNCTION: runs A and B in turn (after one warm-up of each) and prints the medians of both
# and of the ratios A/B pair by pair; each function prints one number
paired() {
    local name=$1 runs=$2 a=$3 b=$4 i
    "$a" >/dev/null; "$b" >/dev/null
    : >"$work/a"; : >"$work/b"; : >"$work/ratio"
    for ((i = 0; i < runs; i++)); do
        "$a" >>"$work/a"; "$b" >>"$work/b"
        paste "$work/a" "$work/b" | tail -1 | awk '{ print $1 / $2 }' >>"$work/ratio"
    done
    printf '%-44s lathe %10.4g  peer %10.4g  ratio %.3f (%s over %d pairs)\n' "$name" "$(median "$work/a")" \
        "$(median "$work/b")" "$(median "$work/ratio")" "$(spread "$work/ratio")" "$runs"
}

# need FILE...: ends with a clear message when something is missing
need() { local f; for f in "$@"; do [ -e "$f" ] || { echo "missing: $f" >&2; exit 2; }; done; }
