/** Rows of ggml's codebook types. */
#include "tensor/rows.h"

#include "kern/blocks.h"
#include "kern/scalar.h"

#define TWO OPT_FORMAT_TWO_LEVEL

OPT_ROW_DECODED(iq1_s, IQ1_S, 19, 256, 1, TWO, "1.56 bits, ternary codebook of 8 elements")
OPT_ROW_DECODED(iq1_m, IQ1_M, 29, 256, 1, TWO, "1.75 bits, ternary codebook of 8 elements")
OPT_ROW_DECODED(iq2_xxs, IQ2_XXS, 16, 256, 2, TWO, "2.06 bits, codebook of 8 elements")
OPT_ROW_DECODED(iq2_xs, IQ2_XS, 17, 256, 2, TWO, "2.31 bits, codebook of 8 elements")
OPT_ROW_DECODED(iq2_s, IQ2_S, 22, 256, 2, TWO, "2.56 bits, codebook of 8 elements")
OPT_ROW_DECODED(iq3_xxs, IQ3_XXS, 18, 256, 3, TWO, "3.06 bits, codebook of 4 elements")
OPT_ROW_DECODED(iq3_s, IQ3_S, 21, 256, 3, TWO, "3.44 bits, codebook of 4 elements")
OPT_ROW_PARTS(iq4_nl, IQ4_NL, 20, 32, 32, 4, 0, 127 * OPTK_F16_MAX,
              "4 bits on 16 uneven levels, scale of 32 elements")
OPT_ROW_PARTS(iq4_xs, IQ4_XS, 23, 256, 32, 4, TWO, 32 * 127 * OPTK_F16_MAX,
              "4 bits on 16 uneven levels, scales of 32 elements in 6 bits")
