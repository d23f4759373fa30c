/**
 * What a byte budget is decided by: for every tensor that may be quantized and every format that it
 * may have, the divergence that it adds to the model's predictions. Measured once
 * (flow/measure.h), kept as JSON, and used for any number of budgets.
 */
#ifndef OPT_FLOW_MEASUREMENTS_H
#define OPT_FLOW_MEASUREMENTS_H

#include "model/graph.h"

/** One format of one tensor. */
typedef struct opt_format_cost {
    const opt_format *format;
    double error; /* mean square error of the outputs (sum over rows), or of the weights where there
                     is no Gram matrix; per token */
    double kld;   /* divergence that this adds, nats a token */
} opt_format_cost;

typedef struct opt_tensor_costs {
    const char *name; /* canonical */
    int64_t n_rows, n_cols;
    double probe_error, probe_kld; /* what was measured with the probe; 0: every format itself */
    int n;
    opt_format_cost *formats; /* [n], order of the format table */
} opt_tensor_costs;

/** Strings and arrays live in the arena. */
typedef struct opt_measurements {
    opt_arena *arena;
    uint64_t model_hash;   /* opt_measurements_hash of the weights */
    uint64_t text_hash;    /* of the calibration tokens */
    const char *method;    /* that the errors are of */
    int64_t sweeps;        /* its rounds of refinement */
    int64_t n_tokens;      /* of calibration text behind the errors */
    int64_t n_held_tokens; /* scored for the divergences */
    int n;
    opt_tensor_costs *tensors; /* [n], order of the file */
} opt_measurements;

/** Frees the arena; a zero-initialised struct is allowed. */
void opt_measurements_free(opt_measurements *m);

/** The costs of a tensor, or NULL. */
const opt_tensor_costs *opt_measurements_find(const opt_measurements *m, const char *name);
/** The cost of a format of a tensor, or NULL. */
const opt_format_cost *opt_measurements_format(const opt_tensor_costs *t, const opt_format *f);

/** A fingerprint of a model's weights: names, formats and bytes. Errors: MEMORY. */
OPT_MUST_USE opt_status opt_measurements_hash(opt_ctx *ctx, const opt_model *m, uint64_t *out);

/**
 * Writes / reads the JSON document of docs/FORMAT.md: numbers come back bit for bit. The file
 * appears when it is complete. Reading checks everything against ranges, knows every format, and
 * names what is wrong (INPUT).
 */
OPT_MUST_USE opt_status opt_measurements_write(opt_ctx *ctx, const opt_measurements *m,
                                               const char *path, bool force);
OPT_MUST_USE opt_status opt_measurements_read(opt_ctx *ctx, const char *path,
                                              opt_measurements *out);
/** The same from memory; `name` stands for the file in messages. */
OPT_MUST_USE opt_status opt_measurements_parse(opt_ctx *ctx, const char *name, const char *text,
                                               size_t bytes, opt_measurements *out);

#endif
