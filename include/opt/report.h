/** Results as JSON (schema "lathe.report/1", see docs/REPORT.md) and as text for people; and
 * quality gates. */
#ifndef OPT_REPORT_H
#define OPT_REPORT_H

#include "opt/infer.h"
#include "opt/quantize.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum opt_verdict {
    OPT_VERDICT_PASS,        /**< the limit holds with 95 % confidence */
    OPT_VERDICT_FAIL,        /**< the limit is broken with 95 % confidence */
    OPT_VERDICT_INCONCLUSIVE /**< the interval contains the limit: measure more tokens */
} opt_verdict;

/** A limit on a measurement with a confidence interval. */
typedef struct opt_gate {
    const char *name; /**< the option that set it, such as "max-kld" */
    double limit;
    bool at_least; /**< the value must not be below the limit; otherwise not above */
    double value, low, high;
    opt_verdict verdict;
} opt_gate;

/** Scored tokens that a gate needs: below, an interval from their standard error says little. */
#define OPT_GATE_MIN_TOKENS 100

/** Fills `gate` for a value with 95 % interval [low, high]. */
void opt_gate_set(opt_gate *gate, const char *name, double limit, bool at_least, double value,
                  double low, double high);

/** One turn of a conversation. */
typedef struct opt_chat_turn {
    const char *user, *answer; /**< [user_bytes], [answer_bytes] */
    size_t user_bytes, answer_bytes;
    opt_generate_result result; /**< without ids */
} opt_chat_turn;

/** What a tool has to say at its end: a view, everything borrowed. Zero-initialise; absent results
 * are NULL. */
typedef struct opt_report {
    const char *tool, *command; /**< command: NULL for tools of one command */
    const char *const *inputs;  /**< paths; only their base names are shown */
    size_t n_inputs;
    const char *output;
    bool dry_run;

    const opt_quantize_result *quantize; /**< of quantize and pack */
    const opt_generate_result *generate;
    const char *prompt_text; /**< [prompt_bytes] */
    size_t prompt_bytes;
    const char *generated_text; /**< [generated_bytes], without the prompt */
    size_t generated_bytes;
    const char *chat_template; /**< of a conversation, with its turns [n_turns] */
    const opt_chat_turn *turns;
    size_t n_turns;
    const opt_batch_result *batch;
    const opt_prefix_counts *prefix; /**< of the prefix cache, if one was used */
    const opt_ppl_result *perplexity;
    const opt_compare_result *compare;
    const opt_bench_result *bench;
    const opt_profile_result *profile;
    const char *inspect; /**< the document of opt_inspect_json */

    const opt_gate *gates;
    size_t n_gates;

    opt_status status; /**< how the tool ends; with error_* unset the message is the context's */
    const char *error_object, *error_message;
} opt_report;

/** Level of the strongest kernels in use: it can be below opt_ctx_isa where none was written for
 * that. */
const char *opt_instruction_set(opt_ctx *ctx);

/** The report as one JSON document with a newline at its end. Free with opt_text_free. */
OPT_MUST_USE opt_status opt_report_json(opt_ctx *ctx, const opt_report *report, char **out);

/**
 * The results as text for a terminal of 80 columns or more; foreign strings are escaped. Warnings
 * and errors are not part of it. `verbosity` > 0 lists every tensor. Free with opt_text_free.
 */
OPT_MUST_USE opt_status opt_report_text(opt_ctx *ctx, const opt_report *report, int verbosity,
                                        char **out);

#ifdef __cplusplus
}
#endif
#endif
