#include "kern/interleave.h"

#include <stddef.h>
#include <string.h>

#include "kern/blocks.h"

/* Part of a block whose units of the 16 rows lie side by side. */
typedef struct field {
    size_t at, bytes; /* in the block */
    size_t unit;      /* 1, 2 or 4; 0 ends the list */
} field;

enum { MAX_FIELDS = 5 };

/* Fields in the order of the run. */
typedef struct run_layout {
    opt_kfmt kfmt;
    field fields[MAX_FIELDS + 1];
} run_layout;

#define FIELD(block, name, unit)                                                                   \
    { offsetof(block, name), sizeof(((block *)0)->name), unit }

static const run_layout layouts[] = {
    {OPT_KFMT_Q8_0, {FIELD(optk_q8_0, d, 2), FIELD(optk_q8_0, qs, 4)}},
    {OPT_KFMT_Q4_0, {FIELD(optk_q4_0, d, 2), FIELD(optk_q4_0, qs, 4)}},
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

static const field *fields_of(opt_kfmt kfmt) {
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        if (layouts[i].kfmt == kfmt) {
            return layouts[i].fields;
        }
    }
    return NULL;
}

bool opt_run_has(opt_kfmt kfmt) { return fields_of(kfmt) != NULL; }

/* Units of one row, which lie side by side in its block, to or from every 16th place of a run. */
static void put_units(const uint8_t *units, size_t n, size_t unit, uint8_t *run) {
    for (size_t i = 0; i < n; i++) {
        uint8_t *to = run + i * unit * OPT_RUN_ROWS;
        switch (unit) {
        case 4: memcpy(to, units + i * 4, 4); break;
        case 2: memcpy(to, units + i * 2, 2); break;
        default: *to = units[i]; break;
        }
    }
}

static void take_units(const uint8_t *run, size_t n, size_t unit, uint8_t *units) {
    for (size_t i = 0; i < n; i++) {
        const uint8_t *from = run + i * unit * OPT_RUN_ROWS;
        switch (unit) {
        case 4: memcpy(units + i * 4, from, 4); break;
        case 2: memcpy(units + i * 2, from, 2); break;
        default: units[i] = *from; break;
        }
    }
}

void opt_run_put(const opt_kspec *s, const uint8_t *blocks, int row, int64_t n, uint8_t *run) {
    const field *fields = fields_of(s->kfmt);
    for (int64_t b = 0; b < n; b++, blocks += s->block_bytes) {
        for (const field *f = fields; f->unit != 0; f++) {
            put_units(blocks + f->at, f->bytes / f->unit, f->unit, run + f->unit * (size_t)row);
            run += f->bytes * OPT_RUN_ROWS;
        }
    }
}

void opt_run_take(const opt_kspec *s, const uint8_t *run, int row, int64_t first, int64_t n,
                  uint8_t *blocks) {
    const field *fields = fields_of(s->kfmt);
    run += (size_t)first * OPT_RUN_ROWS * s->block_bytes;
    for (int64_t b = 0; b < n; b++, blocks += s->block_bytes) {
        for (const field *f = fields; f->unit != 0; f++) {
            take_units(run + f->unit * (size_t)row, f->bytes / f->unit, f->unit, blocks + f->at);
            run += f->bytes * OPT_RUN_ROWS;
        }
    }
}
