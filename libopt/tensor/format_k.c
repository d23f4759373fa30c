/** Rows of ggml's K types: super-blocks of 256 with quantized group scales. */
#include "tensor/rows.h"

#include "kern/blocks.h"
#include "kern/scalar.h"

#define TWO OPT_FORMAT_TWO_LEVEL
#define TWO_ZERO OPT_FORMAT_TWO_LEVEL | OPT_FORMAT_ZERO_POINT

OPT_ROW_PARTS(q2_k, Q2_K, 10, 256, 16, 2, TWO_ZERO, 15 * OPTK_F16_MAX,
              "2 bits, scales and minima of 16 elements in 4 bits")
OPT_ROW_PARTS(q3_k, Q3_K, 11, 256, 16, 3, TWO, 32 * 4 * OPTK_F16_MAX,
              "3 bits, scales of 16 elements in 6 bits")
OPT_ROW_PARTS(q4_k, Q4_K, 12, 256, 32, 4, TWO_ZERO, 63 * OPTK_F16_MAX,
              "4 bits, scales and minima of 32 elements in 6 bits")
OPT_ROW_PARTS(q5_k, Q5_K, 13, 256, 32, 5, TWO_ZERO, 63 * OPTK_F16_MAX,
              "5 bits, scales and minima of 32 elements in 6 bits")
OPT_ROW_PARTS(q6_k, Q6_K, 14, 256, 16, 6, TWO, 128 * 32 * OPTK_F16_MAX,
              "6 bits, scales of 16 elements in 8 bits")
OPT_ROW_DECODED(q8_k, Q8_K, 15, 256, 8, 0, "8 bits, float scale of 256 elements (activations)")
