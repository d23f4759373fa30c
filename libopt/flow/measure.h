/**
 * Measuring what quantization costs, tensor by tensor: the divergence of the model's predictions
 * from those of the float model, in nats a token, on text that no tensor is calibrated with.
 *
 * To second order in the error d = w - w' of one matrix, the divergence is c tr(d H d^T), H the
 * Gram matrix of its inputs, and divergences of different matrices add up. So c is measured once
 * for each matrix, by running the float model with this one matrix coarsely rounded (the probe),
 * and the energy tr(d H d^T) of every format by solving a sample of the rows with the method that
 * will be used. Outside of the blocks, where one matrix is a large part of the model, every format
 * is run, rounded to nearest, and what the method gains over that comes from a sample, too.
 */
#ifndef OPT_FLOW_MEASURE_H
#define OPT_FLOW_MEASURE_H

#include "calib/corpus.h"
#include "flow/measurements.h"
#include "quant/method.h"

/** Whether a linear node reads with a weight: it has a Gram matrix then. */
bool opt_measure_reads(const opt_weight *w);

/** A weight and what it may become. */
typedef struct opt_measure_item {
    int weight;
    const opt_quant_method *method;
    const opt_format *const *formats; /* [n_formats], in the order of the table */
    int n_formats;
} opt_measure_item;

typedef struct opt_measure_options {
    const opt_corpus *text;        /* for the Gram matrices */
    const opt_corpus *held;        /* for the divergences */
    const opt_measure_item *items; /* [n_items], file order */
    int n_items;
    int sweeps;                    /* of methods that refine */
    const opt_measurements *known; /* NULL, or of the same model and method: not measured again */
    /* Called after every unit with what is complete so far. NULL: not. */
    opt_status (*save)(void *user, const opt_measurements *so_far);
    void *user;
} opt_measure_options;

/** Whether `known` (or NULL) lacks something that opt_measure would measure for these items. */
bool opt_measure_lacks(const opt_model *m, const opt_measure_item *items, int n_items,
                       const opt_measurements *known);

/** Measures. Errors: MEMORY, NUMERIC, UNSUPPORTED; cancellation. */
OPT_MUST_USE opt_status opt_measure(opt_ctx *ctx, const opt_model *m,
                                    const opt_measure_options *options, opt_measurements *out);

/** Bytes that opt_measure holds at most, beside the mapped weights and the tokens, with n_windows
 * windows of n_ctx tokens; of the options only the items are looked at. */
uint64_t opt_measure_bytes(opt_ctx *ctx, const opt_model *m, const opt_measure_options *options,
                           int64_t n_windows, int64_t n_ctx);

/** The part of it that depends on the model alone, for probes of n_probe tokens. */
uint64_t opt_measure_model_bytes(opt_ctx *ctx, const opt_model *m, int64_t n_probe, int64_t n_ctx);

/** The name that measurements with a method carry: theirs hold for every method that is the same on
 * the float model's own values. */
const char *opt_measure_method(const opt_quant_method *method);

#endif
