/**
 * Presets: named recipes for people who do not want to choose. Size classes are a target and leave
 * the formats to the budget (flow/budget.h); w8a8 is one format with a transform; mixtures give
 * every kind of matrix the format that llama.cpp's file type of that name gives it.
 */
#ifndef OPT_FLOW_PRESET_H
#define OPT_FLOW_PRESET_H

#include "model/graph.h"
#include "opt/quantize.h"

/** Blocks that a rule of a mixture is for: i of n, counted from 0. */
typedef enum opt_preset_blocks {
    OPT_BLOCKS_ALL,
    OPT_BLOCKS_MORE,      /**< i < n/8, i >= 7n/8, or (i - n/8) mod 3 = 2 */
    OPT_BLOCKS_EIGHTH,    /**< i < n/8 */
    OPT_BLOCKS_SIXTEENTH, /**< i < n/16 */
    OPT_BLOCKS_TWO,       /**< i < 2 */
    OPT_BLOCKS_FOUR       /**< i < 4 */
} opt_preset_blocks;

/** One exception of a mixture; the first that applies wins. */
typedef struct opt_preset_rule {
    const char *kind; /* "attn_v"; a table ends with NULL */
    opt_preset_blocks blocks;
    bool shared; /* only where at least four heads share a key head */
    const char *format;
} opt_preset_rule;

/** One row. */
typedef struct opt_preset {
    const char *name, *help;
    double target_bpw;             /* a size class; 0: not */
    const char *format;            /* a mixture: of most matrices; NULL: every tensor is copied */
    const opt_preset_rule *rules;  /* [..] of a mixture */
    const char *head;              /* of a mixture: format of the head, or of a tied embedding */
    const char *const *transforms; /* [1], unless the caller names others; NULL: none */
} opt_preset;

/** The rows, terminated by NULL. */
extern const opt_preset *const opt_presets[];

/** Row by name, or NULL. */
const opt_preset *opt_preset_by_name(const char *name);

/** Looks o->preset up (NULL: *out is NULL) and puts its target into the options. Errors: USAGE for
 * an unknown name, beside a format or a target, and without the calibration text
 * that it needs. */
OPT_MUST_USE opt_status opt_preset_read(opt_ctx *ctx, opt_quantize_options *o,
                                        const opt_preset **out);

/**
 * The format that a mixture, or `lossless`, gives to a weight: NULL for a size class, and where the
 * default holds (norms, biases). *wanted: the format before the width was looked at. Errors:
 * UNSUPPORTED if it cannot be written yet.
 */
OPT_MUST_USE opt_status opt_preset_format(opt_ctx *ctx, const opt_preset *preset,
                                          const opt_model *m, const opt_weight *w,
                                          const opt_format **format, const opt_format **wanted);

#endif
