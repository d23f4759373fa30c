#!/usr/bin/env python3
"""Write libopt/text/unicode_newer.c: the characters that Oniguruma (in the PyPI package tokenizers) knows and PCRE2 10.42 does not.

    pip install tokenizers        (and a Python whose unicodedata is Unicode 14, as Python 3.11's is)
    python3 scripts/make_unicode_newer.py > libopt/text/unicode_newer.c

PCRE2 10.42 has Unicode 14. Every newer range is given an older character of the same general category (and for Han of the
same script) and the same size in UTF-8, which is put in its place before a pattern runs.
"""
import unicodedata

from tokenizers import Regex, pre_tokenizers

assert unicodedata.unidata_version == "14.0.0"
CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Cf".split()
CHARS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def matching(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    out = set()
    for b in range(0, len(CHARS), 4096):
        block = CHARS[b:b + 4096]
        for _, (start, end) in split.pre_tokenize_str("".join(map(chr, block))):
            out.update(block[start:end])
    return out


def size(c):
    return len(chr(c).encode())


old = {c: unicodedata.category(chr(c)) for c in CHARS}
han = matching(r"\p{Han}")
first = {}
for c in CHARS:
    first.setdefault((old[c], size(c)), c)
    if unicodedata.name(chr(c), "").startswith("CJK UNIFIED"):
        first.setdefault((old[c], size(c), "Han"), c)
like = {}
for category in CATEGORIES:
    for c in matching(r"\p{%s}" % category):
        if old[c] != category:
            assert old[c] == "Cn" or size(c) > 2, hex(c)
            key = (category, size(c))
            like[c] = first[key + ("Han",)] if c in han and key + ("Han",) in first else first[key]
like[0x180E] = 0x200B  # PCRE2 counts the Mongolian vowel separator as a space
ranges = []
for c in sorted(like):
    if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == like[c]:
        ranges[-1][1] = c
    else:
        ranges.append([c, c, like[c]])
print("/* Written by scripts/make_unicode_newer.py. */")
print('#include "text/unicode_newer.h"\n')
print("/* clang-format off */")
print("const opt_unicode_range opt_unicode_newer[] = {")
line = "   "
for first, last, to in ranges:
    item = f" {{0x{first:X}, 0x{last:X}, 0x{to:X}}},"
    if len(line) + len(item) > 100:
        print(line)
        line = "   "
    line += item
print(line)
print("};")
print("/* clang-format on */\n")
print("const size_t opt_unicode_newer_n = sizeof opt_unicode_newer / sizeof *opt_unicode_newer;")
