#!/bin/sh
# Installs the Debian (or Ubuntu) packages that are missing. Never asks, touches nothing else.
# usage: scripts/install_deps.sh [build|test]
#   build  what building and running needs
#   test   also what scripts/test.sh needs: cmocka, clang with sanitizers and fuzzer (default)
set -eu
what=${1:-test}
build="gcc g++ libc6-dev make cmake ninja-build pkg-config libjansson-dev libpcre2-dev \
libutf8proc-dev libxxhash-dev libssl-dev"
test="libcmocka-dev clang clang-format clang-tidy llvm libclang-rt-dev binutils git ccache"
case $what in
build) packages=$build ;;
test) packages="$build $test" ;;
*)
    sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query >/dev/null; then
    echo "not a Debian system: please install the equivalents of: $packages" >&2
    exit 0 # the build says precisely what is missing
fi
missing=
for p in $packages; do
    state=$(dpkg-query -W -f '${db:Status-Status} ${Provides}' "$p" 2>/dev/null || true)
    case $state in
    installed*) ;;
    *) missing="$missing $p" ;;
    esac
done
if [ -z "$missing" ]; then
    echo "all packages are there"
    exit 0
fi

sudo=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "please install as root: apt-get install$missing" >&2
        exit 1
    fi
    sudo=sudo
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q
wanted=
for p in $missing; do # releases differ: libclang-rt-dev is part of clang in older ones
    if apt-cache show "$p" >/dev/null 2>&1; then wanted="$wanted $p"; else echo "no package $p"; fi
done
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $wanted
