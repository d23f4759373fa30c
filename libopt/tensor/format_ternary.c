/** Rows of types below two bits (and q2_0). */
#include "tensor/rows.h"

#include "kern/blocks.h"
#include "kern/scalar.h"

OPT_ROW_DECODED(tq1_0, TQ1_0, 34, 256, 2, 0, "ternary, 5 digits a byte, scale of 256 elements")
OPT_ROW_PARTS(tq2_0, TQ2_0, 35, 256, 256, 2, 0, OPTK_F16_MAX,
              "ternary in 2 bits, scale of 256 elements")
OPT_ROW_DECODED(q1_0, Q1_0, 41, 128, 1, 0, "signs, scale of 128 elements")
OPT_ROW_DECODED(q2_0, Q2_0, 42, 64, 2, 0, "levels -1 0 1 2, scale of 64 elements")
