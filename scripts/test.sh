#!/usr/bin/env bash
# Installs what is missing, builds, and runs everything that CI runs:
#   lint      clang-format and clang-tidy
#   release   gcc, warnings are errors, all tests
#   clang     the same with clang: builds without a warning, all tests
#   asan      clang, address and undefined-behaviour sanitizers, all tests
#   tsan      clang, thread sanitizer, the tests with label "threads"
# The last line is "N passed, N failed" over all of them. Exit status 1 if anything failed.
# usage: scripts/test.sh [--no-install] [STAGE...]     (all stages by default)
set -uo pipefail
cd "$(dirname "$0")/.."

install=1
stages=()
for arg in "$@"; do
    case $arg in
    --no-install) install=0 ;;
    -h | --help)
        sed -n '2,9s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    lint | release | clang | asan | tsan) stages+=("$arg") ;;
    *)
        echo "unknown stage $arg" >&2
        exit 2
        ;;
    esac
done
if [ ${#stages[@]} -eq 0 ]; then stages=(lint release clang asan tsan); fi

passed=0
failed=0
summary=()
jobs=$(nproc)
launcher=()
if command -v ccache >/dev/null || [ $install -eq 1 ]; then
    launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache)
fi

# note STAGE SECONDS PASSED FAILED TEXT
note() {
    passed=$((passed + $3))
    failed=$((failed + $4))
    summary+=("$(printf '%-8s %5d s  %4d passed, %d failed  %s' "$1" "$2" "$3" "$4" "$5")")
}

# build_and_test STAGE COMPILER PRESET TARGET CTEST_ARGUMENT...
build_and_test() {
    local stage=$1 compiler=$2 preset=$3 target=$4 start=$SECONDS
    shift 4
    local dir=build-ci-$stage log=build-ci-$stage/ctest.log
    echo "=== $stage: $compiler, preset $preset"
    if ! cmake --preset "$preset" -B "$dir" -DCMAKE_C_COMPILER="$compiler" -DOPT_WERROR=ON \
        "${launcher[@]}" >"$dir.configure.log" 2>&1; then
        cat "$dir.configure.log"
        note "$stage" $((SECONDS - start)) 0 1 "configuration failed"
        return
    fi
    rm -f "$dir.configure.log"
    if ! cmake --build "$dir" -j "$jobs" --target "$target"; then
        note "$stage" $((SECONDS - start)) 0 1 "build failed"
        return
    fi
    ctest --test-dir "$dir" -j "$jobs" --output-on-failure --no-tests=error "$@" | tee "$log"
    # "97% tests passed, 1 tests failed out of 35"; skipped tests count as passed in that line
    local total n_failed n_skipped
    read -r n_failed total < <(sed -n 's/.* \([0-9]*\) tests failed out of \([0-9]*\)$/\1 \2/p' "$log")
    n_skipped=$(grep -c '\*\*\*Skipped' "$log")
    if [ -z "${total:-}" ]; then
        note "$stage" $((SECONDS - start)) 0 1 "no test ran"
        return
    fi
    note "$stage" $((SECONDS - start)) $((total - n_failed - n_skipped)) "$n_failed" \
        "$([ "$n_skipped" -gt 0 ] && echo "$n_skipped skipped")"
}

if [ $install -eq 1 ] && ! scripts/install_deps.sh test; then
    echo "the packages could not be installed"
    echo "0 passed, 1 failed"
    exit 1
fi
for stage in "${stages[@]}"; do
    case $stage in
    lint)
        start=$SECONDS
        echo "=== lint"
        if scripts/lint.sh build-ci-lint; then
            note lint $((SECONDS - start)) 1 0 ""
        else
            note lint $((SECONDS - start)) 0 1 "see above"
        fi
        ;;
    release) build_and_test release gcc release all ;;
    clang) build_and_test clang clang release all ;;
    asan) build_and_test asan clang asan all ;;
    tsan) build_and_test tsan clang tsan thread_tests -L threads ;;
    esac
done

echo "=== summary"
printf '%s\n' "${summary[@]}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
