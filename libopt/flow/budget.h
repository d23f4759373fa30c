/**
 * Formats chosen by a budget: which weights take part, what each of their formats costs in bytes
 * and in divergence, and the choice that costs least within a size, or is smallest within a
 * divergence.
 */
#ifndef OPT_FLOW_BUDGET_H
#define OPT_FLOW_BUDGET_H

#include "flow/calibrate.h"
#include "flow/measurements.h"
#include "opt/quantize.h"
#include "quant/method.h"

typedef struct opt_budget opt_budget;

/** Whether the options ask for a budget: by a target. */
bool opt_budget_wanted(const opt_quantize_options *o);
/** Refuses (USAGE) options that go with a target only, or not with one. */
OPT_MUST_USE opt_status opt_budget_check_options(opt_ctx *ctx, const opt_quantize_options *o);
/** Whether quantize can write a format. */
bool opt_format_writable(const opt_format *f);

/**
 * Reads the options: one target, the formats that may be chosen. `options` is borrowed. Errors:
 * USAGE; and what reading the measurements brings.
 */
OPT_MUST_USE opt_status opt_budget_new(opt_ctx *ctx, const opt_model *model,
                                       const opt_quantize_options *options, opt_budget **out);
void opt_budget_free(opt_budget *b);

/** A weight whose format is open; in the order of the file. Errors: USAGE if no format fits. */
OPT_MUST_USE opt_status opt_budget_add(opt_budget *b, int weight, const opt_quant_method *method);

/** Whether divergences must be measured first: they were not read from a file. */
bool opt_budget_measures(const opt_budget *b);
/** Bytes that measuring takes at most. */
uint64_t opt_budget_measure_bytes(const opt_budget *b, const opt_calibration_options *calib);
/** Takes the divergences from the file, measures them, or (a dry run) guesses them; saves them if
 * that was asked for. */
OPT_MUST_USE opt_status opt_budget_prepare(opt_budget *b, const opt_tokenizer *tokenizer,
                                           const opt_calibration_options *calib);
/** Whether the divergences are a guess, so that the choice stands for its size only. */
bool opt_budget_guessed(const opt_budget *b);

/**
 * Chooses: `plan` is complete (opt_plan_finish) and holds some choice for every open weight; what
 * it takes beyond them is taken as given. The header may be longer with the new choice: unless
 * opt_budget_keeps its plan, call again with that. Errors: USAGE if nothing fits.
 */
OPT_MUST_USE opt_status opt_budget_choose(opt_budget *b, const opt_plan *plan);
/** The format of a weight: the chosen one, or the smallest before a choice; NULL if the weight is
 * not open. */
const opt_format *opt_budget_format(const opt_budget *b, int weight);
/** Whether a plan keeps the target. */
bool opt_budget_keeps(const opt_budget *b, const opt_plan *plan);

/** Compares the written file with the source on text that nothing was calibrated with. */
OPT_MUST_USE opt_status opt_budget_check(opt_budget *b, const char *path);

/** Puts target, prediction and curve into a result of opt_plan_result. */
OPT_MUST_USE opt_status opt_budget_report(const opt_budget *b, const opt_plan *plan,
                                          opt_quantize_result *result);
/** Adds what opt_budget_check has found; cannot fail. */
void opt_budget_complete_report(const opt_budget *b, opt_quantize_result *result);

#endif
