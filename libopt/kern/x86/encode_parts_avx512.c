/** AVX-512 encoder of grids of parts: 16 blocks at once. Reference: ref/encode_parts.c, same bytes.
 */
#include "kern/x86/lanes_avx512.h"

#include "kern/parts.inc"

ENCODE_PARTS(avx512)
ROUND_PARTS(avx512)
