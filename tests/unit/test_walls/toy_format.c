#include <math.h>

#include "unit/test_walls/toy.h"

static void decode(const opt_format *f, const opt_kern *k, const void *src, float *dst, int64_t n) {
    const uint8_t *codes = src;
    (void)f;
    (void)k;
    for (int64_t i = 0; i < n; i++) {
        dst[i] = (float)(codes[i] - 100) / 8.0F;
    }
}

static void encode(const opt_format *f, const opt_kern *k, const float *w, const float *importance,
                   void *dst, int64_t n) {
    uint8_t *codes = dst;
    (void)f;
    (void)k;
    (void)importance;
    for (int64_t i = 0; i < n; i++) {
        codes[i] = (uint8_t)lrintf(w[i] * 8.0F + 100.0F);
    }
}

const opt_format opt_format_toy = {
    .name = "toy",
    .help = "one byte an element, a fixed grid",
    .kfmt = OPT_KFMT_NONE,
    .ggml_type = -1,
    .st_dtype = "TOY",
    .block_elems = 1,
    .block_bytes = 1,
    .flags = OPT_FORMAT_QUANT | OPT_FORMAT_OWN | OPT_FORMAT_ENCODES,
    .bits = 8,
    .decode = decode,
    .encode = encode,
    .max_abs = 12.0F,
};
