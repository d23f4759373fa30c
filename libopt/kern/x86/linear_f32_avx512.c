/*
 * f32 linear layers, references optk_linear_f32__ref and decode + linear_f32.
 *
 * Each output element has one accumulator of 16 lanes: lane l sums w[i] x[i] for i = l (mod 16) in
 * increasing order with fused multiply-adds (missing elements of the last step count as zero), then
 * the lanes are added in the order of reduce4. So any tiling over rows and tokens, and any way of
 * reading the weights, gives the same bits.
 */
#include "base/num.h"
#include "kern/rows.h"
#include "kern/x86/vec_avx512.h"

/* How weights are stored; constant after inlining. */
typedef enum source { SOURCE_F32, SOURCE_F16, SOURCE_BF16, SOURCE_Q8_0, SOURCE_Q4_0 } source;

/** Elements i .. i + 15 of a row as floats. */
static inline OPT_ALWAYS_INLINE __m512 load16(source kind, const uint8_t *row, int64_t i) {
    switch (kind) {
    case SOURCE_F16: return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(row + 2 * i)));
    case SOURCE_BF16: {
        const __m256i half = _mm256_loadu_si256((const void *)(row + 2 * i));
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
    }
    case SOURCE_Q8_0: {
        const uint8_t *block = row + i / 32 * 34;
        const __m512 d = _mm512_cvtph_ps(_mm256_set1_epi16((int16_t)opt_rd_u16le(block)));
        const __m128i q = _mm_loadu_si128((const void *)(block + 2 + i % 32));
        return _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q)));
    }
    case SOURCE_Q4_0: {
        const uint8_t *block = row + i / 32 * 18;
        const __m512 d = _mm512_cvtph_ps(_mm256_set1_epi16((int16_t)opt_rd_u16le(block)));
        const __m512i pairs = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(block + 2)));
        const __m512i q = i % 32 == 0 ? _mm512_and_si512(pairs, _mm512_set1_epi32(15))
                                      : _mm512_srli_epi32(pairs, 4);
        return _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_sub_epi32(q, _mm512_set1_epi32(8))));
    }
    case SOURCE_F32:
    default: return _mm512_loadu_ps((const void *)(row + 4 * i));
    }
}

/** The first lanes of load16, the others zero; formats of whole blocks never have a tail. */
static inline OPT_ALWAYS_INLINE __m512 load_tail(source kind, const uint8_t *row, int64_t i,
                                                 __mmask16 mask) {
    switch (kind) {
    case SOURCE_F16: return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, row + 2 * i));
    case SOURCE_BF16: {
        const __m256i half = _mm256_maskz_loadu_epi16(mask, row + 2 * i);
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
    }
    case SOURCE_F32: return _mm512_maskz_loadu_ps(mask, row + 4 * i);
    case SOURCE_Q8_0:
    case SOURCE_Q4_0:
    default: return _mm512_setzero_ps();
    }
}

/** Bytes of 16 elements, rounded up. */
static inline OPT_ALWAYS_INLINE size_t step_bytes(source kind) {
    return kind == SOURCE_F32 ? 64 : kind == SOURCE_Q8_0 ? 17 : kind == SOURCE_Q4_0 ? 9 : 32;
}

/*
 * With one token the weights come from memory, and rows side by side are not an order in which the
 * hardware prefetches well: ask for the following rows in the order in which they lie. The address
 * may lie behind the weights, which a prefetch does not mind.
 */
static inline OPT_ALWAYS_INLINE void prefetch_rows(const uint8_t *rows, size_t off, size_t bytes) {
    for (size_t line = 0; line < bytes; line += 64) {
        _mm_prefetch((const char *)((uintptr_t)rows + off + line), _MM_HINT_T1);
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

/** Adds the lanes of the accumulators [n_t, n_r] and writes the outputs. */
static inline OPT_ALWAYS_INLINE void store_tile(int n_r, int n_t, const job *j, int64_t r,
                                                int64_t t, const __m512 *acc) {
    for (int b = 0; b < n_t; b++) {
        float *y = j->y + (t + b) * j->ldy + r;
        if (n_r == 1) {
            y[0] = reduce1(acc[b]);
            continue;
        }
        for (int a = 0; a < n_r; a += 4) {
            const __m512 *s = acc + b * n_r + a;
            _mm_storeu_ps(y + a, reduce4(s[0], s[1], s[2], s[3]));
        }
    }
}

/** Outputs of n_r rows (1 or a multiple of 4) from r and n_t tokens from t, all accumulators in
 * registers. */
static inline OPT_ALWAYS_INLINE void tile(source kind, int n_r, int n_t, const job *j, int64_t r,
                                          int64_t t) {
    const uint8_t *w = j->w + (size_t)r * j->row_bytes;
    const float *x = j->x + t * j->ldx;
    const size_t row_bytes = j->row_bytes;
    const int64_t ldx = j->ldx;
    const int64_t k = j->k;
    __m512 acc[24];
    for (int i = 0; i < n_r * n_t; i++) {
        acc[i] = _mm512_setzero_ps();
    }
    int64_t i = 0;
    for (; i + 16 <= k; i += 16) {
        if (n_t == 1) {
            const size_t bytes = (size_t)n_r * step_bytes(kind);
            prefetch_rows(w + (size_t)n_r * row_bytes, (size_t)i / 16 * bytes, bytes);
        }
        __m512 wi[8];
        for (int a = 0; a < n_r; a++) {
            wi[a] = load16(kind, w + (size_t)a * row_bytes, i);
        }
        for (int b = 0; b < n_t; b++) {
            const __m512 xi = _mm512_loadu_ps(x + b * ldx + i);
            for (int a = 0; a < n_r; a++) {
                acc[b * n_r + a] = _mm512_fmadd_ps(wi[a], xi, acc[b * n_r + a]);
            }
        }
    }
    if (i < k) {
        const __mmask16 mask = lanes16(k - i);
        for (int b = 0; b < n_t; b++) {
            const __m512 xi = _mm512_maskz_loadu_ps(mask, x + b * ldx + i);
            for (int a = 0; a < n_r; a++) {
                const __m512 wi = load_tail(kind, w + (size_t)a * row_bytes, i, mask);
                acc[b * n_r + a] = _mm512_fmadd_ps(wi, xi, acc[b * n_r + a]);
            }
        }
    }
    store_tile(n_r, n_t, j, r, t, acc);
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
    const int64_t n = (256 * 1024 / 4) / opt_max_i64(k, 1);
    return opt_max_i64(8, n / 8 * 8);
}

static inline OPT_ALWAYS_INLINE void linear(source kind, const job *j, int64_t n_rows,
                                            int64_t n_tokens) {
    const int64_t cut = rows_per_cut(j->k);
    for (int64_t r0 = 0; r0 < n_rows; r0 += cut) {
        const int64_t r1 = opt_min_i64(n_rows, r0 + cut);
        int64_t t = 0;
        for (; t + 6 <= n_tokens; t += 6) {
            rows(kind, 4, 6, j, r0, r1, t);
        }
        for (; t + 3 <= n_tokens; t += 3) {
            rows(kind, 4, 3, j, r0, r1, t);
        }
        for (; t < n_tokens; t++) {
            rows(kind, 8, 1, j, r0, r1, t);
        }
    }
}

void optk_linear_f32__avx512(const float *w, int64_t ldw, const float *x, int64_t ldx, float *y,
                             int64_t ldy, int64_t n_rows, int64_t n_tokens, int64_t k) {
    const job j = {(const uint8_t *)w, (size_t)ldw * sizeof *w, x, ldx, y, ldy, k};
    linear(SOURCE_F32, &j, n_rows, n_tokens);
}

#define LINEAR_DIRECT(name, kind)                                                                  \
    void optk_linear_direct_##name##__avx512(const opt_kspec *s, const void *w, size_t row_bytes,  \
                                             const float *x, int64_t ldx, float *y, int64_t ldy,   \
                                             int64_t n_rows, int64_t n_tokens, int64_t k) {        \
        (void)s;                                                                                   \
        const job j = {w, row_bytes, x, ldx, y, ldy, k};                                           \
        linear(kind, &j, n_rows, n_tokens);                                                        \
    }

LINEAR_DIRECT(f32, SOURCE_F32)
LINEAR_DIRECT(f16, SOURCE_F16)
LINEAR_DIRECT(bf16, SOURCE_BF16)
LINEAR_DIRECT(q8_0, SOURCE_Q8_0)
LINEAR_DIRECT(q4_0, SOURCE_Q4_0)
