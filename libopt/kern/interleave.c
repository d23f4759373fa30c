#include "kern/interleave.h"

#include <stddef.h>
#include <string.h>

#include "kern/blocks.h"

/* Part of a block whose units of the 16 rows lie side by side. */
typedef struct field {
    size_t at, bytes; /* in the block */
    size_t unit;      /* 1, 2 or 4; 0 ends the list */
    bool bits;        /* units are 32 elements of one bit, which byte_bits orders */
} field;

enum { MAX_FIELDS = 5 }; /* of a block */

/* Fields in the order of the run. */
typedef struct run_layout {
    opt_kfmt kfmt;
    field fields[MAX_FIELDS + 1];
} run_layout;

#define FIELD(block, name, unit)                                                                   \
    { offsetof(block, name), sizeof(((block *)0)->name), unit, false }

#define BITS(block, name)                                                                          \
    { offsetof(block, name), sizeof(((block *)0)->name), 4, true }

static const run_layout layouts[] = {
    {OPT_KFMT_Q8_0, {FIELD(optk_q8_0, d, 2), FIELD(optk_q8_0, qs, 4)}},
    {OPT_KFMT_Q4_0, {FIELD(optk_q4_0, d, 2), FIELD(optk_q4_0, qs, 4)}},
    {OPT_KFMT_Q4_1, {FIELD(optk_q4_1, d, 2), FIELD(optk_q4_1, m, 2), FIELD(optk_q4_1, qs, 4)}},
    {OPT_KFMT_Q5_0, {FIELD(optk_q5_0, d, 2), BITS(optk_q5_0, qh), FIELD(optk_q5_0, qs, 4)}},
    {OPT_KFMT_Q5_1,
     {FIELD(optk_q5_1, d, 2), FIELD(optk_q5_1, m, 2), BITS(optk_q5_1, qh),
      FIELD(optk_q5_1, qs, 4)}},
    {OPT_KFMT_IQ4_NL, {FIELD(optk_iq4_nl, d, 2), FIELD(optk_iq4_nl, qs, 4)}},
    {OPT_KFMT_IQ4_XS,
     {FIELD(optk_iq4_xs, d, 2), FIELD(optk_iq4_xs, scales_h, 2), FIELD(optk_iq4_xs, scales_l, 4),
      FIELD(optk_iq4_xs, qs, 4)}},
    {OPT_KFMT_Q2_K,
     {FIELD(optk_q2_k, d, 2), FIELD(optk_q2_k, dmin, 2), FIELD(optk_q2_k, scales, 1),
      FIELD(optk_q2_k, qs, 4)}},
    {OPT_KFMT_Q3_K,
     {FIELD(optk_q3_k, d, 2), FIELD(optk_q3_k, scales, 1), FIELD(optk_q3_k, hmask, 4),
      FIELD(optk_q3_k, qs, 4)}},
    {OPT_KFMT_Q4_K,
     {FIELD(optk_q4_k, d, 2), FIELD(optk_q4_k, dmin, 2), FIELD(optk_q4_k, scales, 1),
      FIELD(optk_q4_k, qs, 4)}},
    {OPT_KFMT_Q5_K,
     {FIELD(optk_q5_k, d, 2), FIELD(optk_q5_k, dmin, 2), FIELD(optk_q5_k, scales, 1),
      FIELD(optk_q5_k, qh, 4), FIELD(optk_q5_k, qs, 4)}},
    {OPT_KFMT_Q6_K,
     {FIELD(optk_q6_k, d, 2), FIELD(optk_q6_k, scales, 1), FIELD(optk_q6_k, qh, 4),
      FIELD(optk_q6_k, ql, 4)}},
};

/* Own groups, whose size varies: to `out`. */
static const field *int_fields(const opt_kspec *s, field out[MAX_FIELDS + 1]) {
    const size_t head = OPTK_INT_HEAD(s->symmetric);
    const size_t third = s->bits == 3 ? (size_t)s->group / 8 : 0;
    const size_t codes = s->block_bytes - head - third;
    int n = 0;
    out[n++] = (field){0, 2, 2, false};
    if (!s->symmetric) {
        out[n++] = (field){2, 1, 1, false};
    }
    out[n++] = (field){head, codes, 4, false};
    if (third != 0) {
        out[n++] = (field){head + codes, third, 4, true};
    }
    out[n] = (field){0, 0, 0, false};
    return out;
}

static const field *fields_of(opt_kfmt kfmt) {
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        if (layouts[i].kfmt == kfmt) {
            return layouts[i].fields;
        }
    }
    return NULL;
}

bool opt_run_has(opt_kfmt kfmt) { return kfmt == OPT_KFMT_INT || fields_of(kfmt) != NULL; }

/* Bit 4 i + k of a word to bit i of its byte k, so that elements 4 i .. 4 i + 3 lie in one place of
 * the four bytes; and back. */
static void byte_bits(const uint8_t from[4], uint8_t to[4]) {
    for (int k = 0; k < 4; k++) {
        to[k] = 0;
        for (int i = 0; i < 8; i++) {
            to[k] |= (uint8_t)((from[i / 2] >> (i % 2 * 4 + k) & 1) << i);
        }
    }
}
static void bits_of_bytes(const uint8_t from[4], uint8_t to[4]) {
    for (int j = 0; j < 4; j++) {
        to[j] = 0;
        for (int b = 0; b < 8; b++) { /* bit 8 j + b of the word: quad 2 j + b / 4 */
            to[j] |= (uint8_t)((from[b % 4] >> (2 * j + b / 4) & 1) << b);
        }
    }
}

/* Units of one row, which lie side by side in its block, to or from every 16th place of a run. */
static void put_units(const field *f, const uint8_t *units, uint8_t *run) {
    for (size_t i = 0; i < f->bytes / f->unit; i++) {
        uint8_t *to = run + i * f->unit * OPT_RUN_ROWS;
        switch (f->bits ? 0 : f->unit) {
        case 0: byte_bits(units + i * 4, to); break;
        case 4: memcpy(to, units + i * 4, 4); break;
        case 2: memcpy(to, units + i * 2, 2); break;
        default: *to = units[i]; break;
        }
    }
}

static void take_units(const field *f, const uint8_t *run, uint8_t *units) {
    for (size_t i = 0; i < f->bytes / f->unit; i++) {
        const uint8_t *from = run + i * f->unit * OPT_RUN_ROWS;
        switch (f->bits ? 0 : f->unit) {
        case 0: bits_of_bytes(from, units + i * 4); break;
        case 4: memcpy(units + i * 4, from, 4); break;
        case 2: memcpy(units + i * 2, from, 2); break;
        default: units[i] = *from; break;
        }
    }
}

void opt_run_put(const opt_kspec *s, const uint8_t *blocks, int row, int64_t n, uint8_t *run) {
    field own[MAX_FIELDS + 1];
    const field *fields = s->kfmt == OPT_KFMT_INT ? int_fields(s, own) : fields_of(s->kfmt);
    for (int64_t b = 0; b < n; b++, blocks += s->block_bytes) {
        for (const field *f = fields; f->unit != 0; f++) {
            put_units(f, blocks + f->at, run + f->unit * (size_t)row);
            run += f->bytes * OPT_RUN_ROWS;
        }
    }
}

void opt_run_take(const opt_kspec *s, const uint8_t *run, int row, int64_t first, int64_t n,
                  uint8_t *blocks) {
    field own[MAX_FIELDS + 1];
    const field *fields = s->kfmt == OPT_KFMT_INT ? int_fields(s, own) : fields_of(s->kfmt);
    run += (size_t)first * OPT_RUN_ROWS * s->block_bytes;
    for (int64_t b = 0; b < n; b++, blocks += s->block_bytes) {
        for (const field *f = fields; f->unit != 0; f++) {
            take_units(f, run + f->unit * (size_t)row, blocks + f->at);
            run += f->bytes * OPT_RUN_ROWS;
        }
    }
}
