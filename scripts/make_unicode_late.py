#!/usr/bin/env python3
"""Write libopt/text/unicode_late.c: the characters whose normalization Hugging Face's tokenizers does not know, but utf8proc 2.8 does.

    apt-get install libutf8proc2; pip install tokenizers==0.23.3
    python3 scripts/make_unicode_late.py > libopt/text/unicode_late.c

tokenizers normalizes with tables of Unicode 9, utf8proc with those of Unicode 15. Later characters neither decompose nor move
there; a model was trained on what tokenizers gave it.
"""
import ctypes
import unicodedata

from tokenizers import normalizers

STABLE, COMPAT, DECOMPOSE = 2, 4, 16
proc = ctypes.CDLL("libutf8proc.so.2")
proc.utf8proc_map.argtypes = [ctypes.c_char_p, ctypes.c_ssize_t, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int]
libc = ctypes.CDLL(None)
libc.free.argtypes = [ctypes.c_void_p]
nfd, nfkd = normalizers.NFD(), normalizers.NFKD()


def by_proc(text, options):
    data, out = text.encode(), ctypes.c_void_p()
    n = proc.utf8proc_map(data, len(data), ctypes.byref(out), options)
    result = ctypes.string_at(out.value, n).decode()
    libc.free(out)
    return result


def differs(char):
    if by_proc(char, STABLE | DECOMPOSE) != nfd.normalize_str(char):
        return True
    if by_proc(char, STABLE | DECOMPOSE | COMPAT) != nfkd.normalize_str(char):
        return True
    if unicodedata.category(char)[0] != "M" and unicodedata.category(char) != "Cn":
        return False
    # Marks of low and high classes on either side show whether the character's own class is known.
    texts = [f"a{m}{char}" for m in "\u0345\u0301\u0315"] + [f"a{char}{m}" for m in "\u0316\u3099\u0334"]
    return any(by_proc(t, STABLE | DECOMPOSE) != nfd.normalize_str(t) for t in texts)


ranges = []
for c in range(0x110000):
    if 0xD800 <= c <= 0xDFFF or not differs(chr(c)):
        continue
    if ranges and ranges[-1][1] == c - 1:
        ranges[-1][1] = c
    else:
        ranges.append([c, c])
print("/* Written by scripts/make_unicode_late.py. */")
print('#include "text/unicode_late.h"\n')
print("/* clang-format off */")
print("const opt_unicode_late_range opt_unicode_late[] = {")
line = "   "
for first, last in ranges:
    item = f" {{0x{first:X}, 0x{last:X}}},"
    if len(line) + len(item) > 100:
        print(line)
        line = "   "
    line += item
print(line)
print("};")
print("/* clang-format on */\n")
print("const size_t opt_unicode_late_n = sizeof opt_unicode_late / sizeof *opt_unicode_late;")
