/** AVX2 encoder of grids of parts: 8 blocks at once. Reference: ref/encode_parts.c, same bytes. */
#include "kern/x86/lanes_avx2.h"

#include "kern/parts.inc"

ENCODE_PARTS(avx2)
