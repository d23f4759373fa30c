/** Reference decoder of the own integer groups; the layout is in kern/blocks.h. */
#include "kern/rows.h"

#include "kern/blocks.h"
#include "kern/half.h"

/** Code of element j of a group. */
static int int_code(const opt_kspec *s, const uint8_t *codes, int j) {
    const int group = s->group;
    if (s->bits == 8) {
        return codes[j];
    }
    if (s->bits == 4) {
        return codes[j % (group / 2)] >> (j / (group / 2) * 4) & 15;
    }
    const int low = codes[j % (group / 4)] >> (j / (group / 4) * 2) & 3;
    if (s->bits == 2) {
        return low;
    }
    return low | (codes[group / 4 + j / 8] >> (j % 8) & 1) << 2;
}

void optk_decode_int__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    const int head = OPTK_INT_HEAD(s->symmetric);
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += s->group, block += s->block_bytes) {
        const float d = optk_ld_f16(block);
        /* Exact: at most 8 bits before and 6 behind the point. */
        const float zero = (float)(s->symmetric ? 128 : block[2]) * (float)(1 << s->bits) / 256.0f;
        for (int j = 0; j < s->group && i + j < n; j++) {
            dst[i + j] = d * ((float)int_code(s, block + head, j) - zero);
        }
    }
}
