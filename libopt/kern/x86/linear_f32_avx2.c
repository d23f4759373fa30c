/*
 * f32 linear layers with AVX2 and FMA, references optk_linear_f32__ref and decode + linear_f32. As
 * in linear_f32_avx512.c, but with one accumulator of 8 lanes for each output element.
 */
#include "base/num.h"
#include "kern/rows.h"
#include "kern/x86/vec_avx2.h"

/* How weights are stored; constant after inlining. */
typedef enum source { SOURCE_F32, SOURCE_F16, SOURCE_BF16, SOURCE_Q8_0, SOURCE_Q4_0 } source;

static inline __m256 from_bf16(__m128i half) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

static inline __m256 block_scale(const uint8_t *d) {
    return _mm256_cvtph_ps(_mm_set1_epi16((int16_t)opt_rd_u16le(d)));
}

/** The first min(n, 8) of elements i .. i + 7 of a row as floats, the others zero. */
static inline OPT_ALWAYS_INLINE __m256 load(source kind, const uint8_t *row, int64_t i, int64_t n) {
    switch (kind) {
    case SOURCE_F16: return load8_half(row + 2 * i, n);
    case SOURCE_BF16: return from_bf16(load8_u16(row + 2 * i, n));
    case SOURCE_Q8_0: {
        const uint8_t *block = row + i / 32 * 34;
        const __m128i q = _mm_loadl_epi64((const void *)(block + 2 + i % 32));
        return _mm256_mul_ps(block_scale(block), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)));
    }
    case SOURCE_Q4_0: {
        const uint8_t *block = row + i / 32 * 18;
        const __m128i bytes = _mm_loadl_epi64((const void *)(block + 2 + i % 16));
        const __m256i pairs = _mm256_cvtepu8_epi32(bytes);
        const __m256i q = i % 32 < 16 ? _mm256_and_si256(pairs, _mm256_set1_epi32(15))
                                      : _mm256_srli_epi32(pairs, 4);
        return _mm256_mul_ps(block_scale(block),
                             _mm256_cvtepi32_ps(_mm256_sub_epi32(q, _mm256_set1_epi32(8))));
    }
    case SOURCE_F32:
    default: return load8((const void *)(row + 4 * i), n);
    }
}

/** One call: matrices and strides, w in bytes. */
typedef struct job {
    const uint8_t *w; /* [n_rows] rows of row_bytes */
    size_t row_bytes;
    const float *x; /* [n_tokens, k], stride ldx */
    int64_t ldx;
    float *y; /* [n_tokens, n_rows], stride ldy */
    int64_t ldy;
    int64_t k;
} job;

/** acc += products of elements i .. i + n - 1 (n <= 8) of all rows and tokens. */
static inline OPT_ALWAYS_INLINE void step(source kind, int n_r, int n_t, const job *j,
                                          const uint8_t *w, const float *x, int64_t i, int64_t n,
                                          __m256 *acc) {
    __m256 wi[8];
    for (int a = 0; a < n_r; a++) {
        wi[a] = load(kind, w + (size_t)a * j->row_bytes, i, n);
    }
    for (int b = 0; b < n_t; b++) {
        const __m256 xi = load8(x + b * j->ldx + i, n);
        for (int a = 0; a < n_r; a++) {
            acc[b * n_r + a] = _mm256_fmadd_ps(wi[a], xi, acc[b * n_r + a]);
        }
    }
}

/** Outputs of n_r rows (1 or a multiple of 4) from r and n_t tokens from t. */
static inline OPT_ALWAYS_INLINE void tile(source kind, int n_r, int n_t, const job *j, int64_t r,
                                          int64_t t) {
    const uint8_t *w = j->w + (size_t)r * j->row_bytes;
    const float *x = j->x + t * j->ldx;
    __m256 acc[8];
    for (int i = 0; i < n_r * n_t; i++) {
        acc[i] = _mm256_setzero_ps();
    }
    int64_t i = 0;
    for (; i + 8 <= j->k; i += 8) {
        step(kind, n_r, n_t, j, w, x, i, 8, acc);
    }
    if (i < j->k) {
        step(kind, n_r, n_t, j, w, x, i, j->k - i, acc);
    }
    for (int b = 0; b < n_t; b++) {
        float *y = j->y + (t + b) * j->ldy + r;
        if (n_r == 1) {
            y[0] = reduce1(acc[b]);
            continue;
        }
        for (int a = 0; a < n_r; a += 4) {
            const __m256 *s = acc + b * n_r + a;
            _mm_storeu_ps(y + a, reduce4(s[0], s[1], s[2], s[3]));
        }
    }
}

/** All rows [r0, r1) for n_t tokens from t. */
static inline OPT_ALWAYS_INLINE void rows(source kind, int n_r, int n_t, const job *j, int64_t r0,
                                          int64_t r1, int64_t t) {
    int64_t r = r0;
    for (; r + n_r <= r1; r += n_r) {
        tile(kind, n_r, n_t, j, r, t);
    }
    for (; r < r1; r++) {
        tile(kind, 1, n_t, j, r, t);
    }
}

/** Rows are cut so that a cut of f32 weights stays in the L2 cache while the tokens pass over it.
 */
static int64_t rows_per_cut(int64_t k) {
    const int64_t n = (128 * 1024 / 4) / opt_max_i64(k, 1);
    return opt_max_i64(8, n / 8 * 8);
}

static inline OPT_ALWAYS_INLINE void linear(source kind, const job *j, int64_t n_rows,
                                            int64_t n_tokens) {
    const int64_t cut = rows_per_cut(j->k);
    for (int64_t r0 = 0; r0 < n_rows; r0 += cut) {
        const int64_t r1 = opt_min_i64(n_rows, r0 + cut);
        int64_t t = 0;
        for (; t + 2 <= n_tokens; t += 2) {
            rows(kind, 4, 2, j, r0, r1, t);
        }
        for (; t < n_tokens; t++) {
            rows(kind, 8, 1, j, r0, r1, t);
        }
    }
}

void optk_linear_f32__avx2(const float *w, int64_t ldw, const float *x, int64_t ldx, float *y,
                           int64_t ldy, int64_t n_rows, int64_t n_tokens, int64_t k) {
    const job j = {(const uint8_t *)w, (size_t)ldw * sizeof *w, x, ldx, y, ldy, k};
    linear(SOURCE_F32, &j, n_rows, n_tokens);
}

#define LINEAR_DIRECT(name, kind)                                                                  \
    void optk_linear_direct_##name##__avx2(const opt_kspec *s, const void *w, size_t row_bytes,    \
                                           const float *x, int64_t ldx, float *y, int64_t ldy,     \
                                           int64_t n_rows, int64_t n_tokens, int64_t k) {          \
        (void)s;                                                                                   \
        const job j = {w, row_bytes, x, ldx, y, ldy, k};                                           \
        linear(kind, &j, n_rows, n_tokens);                                                        \
    }

LINEAR_DIRECT(f32, SOURCE_F32)
LINEAR_DIRECT(f16, SOURCE_F16)
LINEAR_DIRECT(bf16, SOURCE_BF16)
LINEAR_DIRECT(q8_0, SOURCE_Q8_0)
LINEAR_DIRECT(q4_0, SOURCE_Q4_0)
