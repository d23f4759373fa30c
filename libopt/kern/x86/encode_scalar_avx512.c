/** AVX-512 encoder of scalar grids: 16 blocks at once. Reference: ref/encode_scalar.c, same bytes.
 */
#include "kern/x86/lanes_avx512.h"

#include "kern/x86/encode_lanes.inc"

ENCODE_ALL(avx512)
ROUND_ALL(avx512)
