#!/usr/bin/env bash
# From a fresh machine to a quantized model that runs: installs the Debian packages that are missing, builds into build/,
# then quantizes, packs, runs and measures the small model in testdata/. At most 5 minutes on 2 cores the first time.
# usage: scripts/quickstart.sh [--no-install]
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in
'') scripts/install_deps.sh build ;;
--no-install) ;;
*)
    sed -n '2,4s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac

step() { printf '\n== %s\n' "$*"; }
run() {
    printf '$ %s\n' "$*"
    "$@"
}

step "Build"
first=()
[ -f build/CMakeCache.txt ] || first=(-DBUILD_TESTING=OFF) # tests are for scripts/test.sh
cmake -S . -B build -G Ninja "${first[@]}" >build.log 2>&1 &&
    cmake --build build >>build.log 2>&1 || {
    cat build.log
    exit 1
}
mv build.log build/quickstart-build.log
PATH=$PWD/build:$PATH
infer-run --version

float=testdata/stories260K
text=testdata/text/tinystories.txt
out=build/quickstart
mkdir -p $out

step "Quantize: a float checkpoint becomes a small GGUF file"
run quantize $float -o $out/stories-q8_0.gguf --force
run quantize $float -o $out/stories-int4.gguf --format int4_g32 --force

step "Pack: the file that is deployed"
for name in q8_0 int4; do
    run pack $out/stories-$name.gguf -o $out/$name.gguf --force -q
done

step "Run: the packed model writes a story"
run infer-run generate $out/int4.gguf -p "Once upon a time" --max-tokens 120 --temp 0.6 --seed 1 --echo

step "Measure: how much worse is it, how much smaller, how much faster?"
# field FILE TEXT N: field N of the line that begins with TEXT
field() { awk -v text="$2" -v n="$3" 'index($0, text) == 1 { print $n; exit }' "$1"; }
measure=(--text $text --ctx 256 --windows 16)
infer-run perplexity $float "${measure[@]}" >$out/float.ppl
infer-run bench $float >$out/float.bench
for name in q8_0 int4; do
    infer-run perplexity $out/$name.gguf "${measure[@]}" >$out/$name.ppl
    infer-run compare $float $out/$name.gguf "${measure[@]}" >$out/$name.compare
    infer-run bench $out/$name.gguf >$out/$name.bench
done
cat $out/int4.compare

row() { printf '%-26s %12s %12s %12s\n' "$@"; }
bytes() { stat -c %s "$1"; }
printf '\n'
row "" "float" "q8_0" "int4_g32"
row "bytes" "$(bytes $float/model.safetensors)" "$(bytes $out/q8_0.gguf)" "$(bytes $out/int4.gguf)"
row "perplexity" "$(field $out/float.ppl perplexity 2)" "$(field $out/q8_0.ppl perplexity 2)" \
    "$(field $out/int4.ppl perplexity 2)"
row "KL divergence, nats/token" 0 "$(field $out/q8_0.compare '  mean' 2)" "$(field $out/int4.compare '  mean' 2)"
row "same top-1, %" 100 "$(field $out/q8_0.compare same 3)" "$(field $out/int4.compare same 3)"
row "reading, tokens/s" "$(field $out/float.bench read 6)" "$(field $out/q8_0.bench read 6)" \
    "$(field $out/int4.bench read 6)"
row "writing, tokens/s" "$(field $out/float.bench write 6)" "$(field $out/q8_0.bench write 6)" \
    "$(field $out/int4.bench write 6)"
printf '\nThe files are in %s. README.md goes on from here.\n' $out
