#!/bin/sh
# The layer checker must find each kind of violation: one small bad tree per rule.
# usage: test_check_layers.sh SOURCE_DIR
set -eu
checker=$1/scripts/check_layers.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
n=0

# expect NAME PATH MESSAGE, content of PATH from standard input; MESSAGE "" means clean.
expect() {
    n=$((n + 1))
    rm -rf "$work/tree"
    mkdir -p "$work/tree/$(dirname "$2")"
    cat >"$work/tree/$2"
    status=0
    found=$("$checker" "$work/tree" 2>&1) || status=$?
    if [ -z "$3" ]; then
        if [ $status -ne 0 ]; then echo "$1: expected no finding, got: $found"; failed=1; fi
    elif [ $status -ne 1 ] || ! printf '%s' "$found" | grep -qF -- "$3"; then
        echo "$1: expected '$3', got status $status: $found"
        failed=1
    fi
}

expect lower_rank libopt/io/a.c '' <<'X'
#include "io/a.h"
#include "tensor/b.h"
#include "opt/ctx.h"
#include <stdint.h>
X
expect higher_rank libopt/base/a.c 'layer base must not include io' <<'X'
#include "io/a.h"
X
expect sibling libopt/text/a.c 'layer text must not include model' <<'X'
#include "model/a.h"
X
expect sibling_method libopt/quant/a.c 'layer quant must not include pack' <<'X'
#include "pack/a.h"
X
expect relative_path libopt/io/a.c 'write the path from libopt/' <<'X'
#include "a.h"
X
expect unknown_layer libopt/misc/a.c 'unknown layer misc' <<'X'
int x;
X
expect unknown_include libopt/io/a.c 'unknown layer: "misc/a.h"' <<'X'
#include "misc/a.h"
X
expect tool_own_folder tools/run/a.c '' <<'X'
#include "run/run.h"
#include "common/cli.h"
X
expect tool_main tools/run.c '' <<'X'
#include "run/run.h"
X
expect tool_other_folder tools/run/a.c 'tools include only "opt/...", "common/..." and their own folder: pack/a.h' <<'X'
#include "pack/a.h"
X
expect tool_inside tools/a.c 'tools include only "opt/...", "common/..." and their own folder: base/mem.h' <<'X'
#include "base/mem.h"
X
expect public_inside include/opt/a.h 'public headers include only "opt/..."' <<'X'
#include "base/mem.h"
X
expect third_party_place libopt/io/a.c '<jansson.h> belongs in libopt/base/json_read.c only' <<'X'
#include <jansson.h>
X
expect third_party_unknown libopt/io/a.c 'third-party header without a place' <<'X'
#include <curl/curl.h>
X
expect banned libopt/io/a.c 'libopt/io/a.c:2: banned function strcpy' <<'X'
void f(char *a, const char *b) {
    strcpy(a, b);
}
X
expect banned_in_tools tools/a.c 'banned function atoi' <<'X'
int f(const char *s) { return atoi (s); }
X
expect library_exits libopt/io/a.c 'neither prints nor exits: abort' <<'X'
void f(void) { abort(); }
X
expect library_prints libopt/io/a.c 'neither prints nor exits: stderr' <<'X'
void f(void) { fputs("x", stderr); }
X
expect comments_and_strings libopt/io/a.c '' <<'X'
/* strcpy(a, b) and
   printf("x") */
// abort()
static const char s[] = "exit(1) \" gets(x)";
static const char c = '"';
void snprintf_like(int my_exit) { (void)my_exit; }
X
expect header_guard libopt/io/a.h 'header guard A_H is not' <<'X'
#ifndef A_H
#define A_H
#endif
X
lines() { awk -v n="$1" 'BEGIN { for (i = 0; i < n; i++) print "" }' >"$work/lines"; }
lines 801
expect too_long libopt/io/a.c 'more than 800 lines' <"$work/lines"
expect table libopt/io/a_table.c '' <"$work/lines"
lines 800
expect just_fits libopt/io/a.c '' <"$work/lines"

echo "$n cases"
exit $failed
