/** Reference encoders of plain formats: round to nearest even; what half precision cannot hold
 * becomes an infinity. */
#include "kern/half.h"
#include "kern/rows.h"

void optk_encode_f32__ref(const opt_kspec *s, const float *w, const float *importance, void *dst,
                          int64_t n) {
    (void)s;
    (void)importance;
    memcpy(dst, w, (size_t)n * sizeof *w);
}

void optk_encode_f16__ref(const opt_kspec *s, const float *w, const float *importance, void *dst,
                          int64_t n) {
    (void)s;
    (void)importance;
    uint8_t *out = dst;
    for (int64_t i = 0; i < n; i++) {
        optk_st_f16(out + 2 * i, w[i]);
    }
}

void optk_encode_bf16__ref(const opt_kspec *s, const float *w, const float *importance, void *dst,
                           int64_t n) {
    (void)s;
    (void)importance;
    uint8_t *out = dst;
    for (int64_t i = 0; i < n; i++) {
        opt_wr_u16le(out + 2 * i, optk_f32_to_bf16(w[i]));
    }
}
