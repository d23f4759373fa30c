#!/bin/sh
# Checks what the compiler does not: layer order of includes, places of third-party headers, banned
# functions, file length, header guards. Prints "file:line: message"; exit status 1 on a finding.
# usage: scripts/check_layers.sh [ROOT]     (another ROOT is for testing the checker)
set -eu
cd "${1:-$(dirname "$0")/..}"

dirs=
for d in include libopt tools tests; do
    if [ -d "$d" ]; then dirs="$dirs $d"; fi
done
# shellcheck disable=SC2086
files=$(find $dirs -type f \( -name '*.c' -o -name '*.h' -o -name '*.def' -o -name '*.cu' \) |
    LC_ALL=C sort)
if [ -z "$files" ]; then
    echo "no source files below $(pwd)" >&2
    exit 1
fi

# shellcheck disable=SC2086
LC_ALL=C awk '
BEGIN {
    # A file includes its own folder and lower ranks; equal ranks are siblings and never do.
    n = split("base kern tensor io text,model,recipe,report exec calib,eval solve " \
              "quant,prune,train,pack,runtime flow", order, " ")
    for (i = 1; i <= n; i++) {
        m = split(order[i], names, ",")
        for (j = 1; j <= m; j++) rank[names[j]] = i
    }
    # The only place of each third-party header (a prefix of the path).
    place["jansson.h"] = "libopt/base/json_read.c"
    place["xxhash.h"] = "libopt/base/hash.c"
    place["openssl/evp.h"] = "libopt/base/hash.c"
    place["cpuid.h"] = "libopt/base/cpu.c"
    place["immintrin.h"] = "libopt/kern/x86/"
    place["arm_neon.h"] = "libopt/kern/arm/"
    place["cuda_runtime.h"] = "libopt/kern/cuda/"
    place["cblas.h"] = "libopt/kern/"
    place["pcre2.h"] = "libopt/text/"
    place["utf8proc.h"] = "libopt/text/"
    place["zlib.h"] = "libopt/io/"
    place["hdf5.h"] = "libopt/io/"
    place["yaml.h"] = "libopt/recipe/"
    place["cmocka.h"] = "tests/"
    # Headers of C17, POSIX and Linux: anything else between < > must stand in the table above.
    n = split("assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp " \
              "signal stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn " \
              "string time uchar wchar wctype dirent dlfcn fcntl fnmatch ftw getopt glob libgen " \
              "poll pthread regex sched semaphore spawn strings termios unistd wordexp malloc " \
              "langinfo", names, " ")
    for (i = 1; i <= n; i++) system_header[names[i] ".h"] = 1
    # In libopt and the tools; the second list in libopt only, which neither prints nor exits.
    n = split("strcpy strcat stpcpy sprintf vsprintf strtok gets atoi atol atof gmtime localtime " \
              "rand srand alloca", names, " ")
    for (i = 1; i <= n; i++) banned[names[i]] = 1
    n = split("exit _exit quick_exit abort printf vprintf puts putchar perror stderr stdout",
              names, " ")
    for (i = 1; i <= n; i++) banned_in_library[names[i]] = 1
}

function report(text) {
    print FILENAME ":" FNR ": " text
    bad++
}

# The line without comments and literals; `in_comment` carries over lines.
function strip(s,    out, i, c, two, quote) {
    out = ""
    for (i = 1; i <= length(s); i++) {
        c = substr(s, i, 1)
        two = substr(s, i, 2)
        if (in_comment) {
            if (two == "*/") { in_comment = 0; i++ }
        } else if (two == "/*") {
            in_comment = 1
            i++
        } else if (two == "//") {
            break
        } else if (c == "\"" || c == "\047") {
            quote = c
            for (i++; i <= length(s) && substr(s, i, 1) != quote; i++)
                if (substr(s, i, 1) == "\\") i++
            out = out quote quote
        } else {
            out = out c
        }
    }
    return out
}

function check_quoted(header,    folder, own) {
    folder = header
    sub(/\/.*/, "", folder)
    if (folder == "opt") return
    if (area == "tools") {
        own = layer
        sub(/\.c$/, "", own)
        if (folder != "common" && folder != own)
            report("tools include only \"opt/...\", \"common/...\" and their own folder: " header)
    } else if (area == "include") {
        report("public headers include only \"opt/...\": " header)
    } else if (area == "libopt") {
        own = layer
        if (header !~ /\//) report("write the path from libopt/: \"" header "\"")
        else if (!(folder in rank)) report("unknown layer: \"" header "\"")
        else if (folder != own && rank[folder] >= rank[own])
            report("layer " own " must not include " folder ": \"" header "\"")
    }
}

function check_angled(header) {
    if (header in place) {
        if (index(FILENAME, place[header]) != 1)
            report("<" header "> belongs in " place[header] " only")
    } else if (!(header in system_header) && header !~ /^(sys|linux|netinet|arpa)\//) {
        report("third-party header without a place in scripts/check_layers.sh: <" header ">")
    }
}

FNR == 1 {
    in_comment = 0
    split(FILENAME, part, "/")
    area = part[1]
    layer = part[2]
    if (area == "libopt" && !(layer in rank)) report("unknown layer " layer)
    guard = ""
}

FNR == 801 && FILENAME !~ /(_table|_tables|_data)\.[ch]$/ { report("more than 800 lines") }

FILENAME ~ /\.h$/ && /^#ifndef / && guard == "" {
    guard = $2
    if (guard !~ /^OPTK?_[A-Z0-9_]+_H$/) report("header guard " guard " is not OPT_<MODULE>_<FILE>_H")
}

/^[ \t]*#[ \t]*include[ \t]*"/ { split($0, q, "\""); check_quoted(q[2]) }
/^[ \t]*#[ \t]*include[ \t]*</ { split($0, q, /[<>]/); check_angled(q[2]) }

{
    code = strip($0)
    if (area != "libopt" && area != "tools" && area != "include") next
    while (match(code, /[A-Za-z_][A-Za-z0-9_]*/)) {
        word = substr(code, RSTART, RLENGTH)
        code = substr(code, RSTART + RLENGTH)
        if (word in banned && code ~ /^[ \t]*\(/) report("banned function " word)
        else if (area == "libopt" && word in banned_in_library &&
                 (word ~ /^std/ || code ~ /^[ \t]*\(/))
            report("the library neither prints nor exits: " word)
    }
}

END { exit bad > 0 }
' $files
