#include <math.h>
#include <string.h>

#include "base/json.h"
#include "kern/kern.h"
#include "report/render.h"

const char *opt_verdict_name(opt_verdict verdict) {
    switch (verdict) {
    case OPT_VERDICT_PASS: return "pass";
    case OPT_VERDICT_FAIL: return "fail";
    case OPT_VERDICT_INCONCLUSIVE: return "inconclusive";
    }
    return "fail";
}

double opt_report_ratio(double a, double b) { return b > 0 ? a / b : 0; }

static void put_base_name(opt_jsonw *w, const char *path) {
    size_t n;
    const char *name = opt_text_base_name(path, &n);
    opt_jsonw_strn(w, name, n);
}

static void put_mean(opt_jsonw *w, const char *key, const opt_mean *m) {
    opt_jsonw_key(w, key);
    opt_jsonw_begin_object(w);
    opt_jsonw_put_f64(w, "mean", m->mean);
    opt_jsonw_put_f64(w, "stderr", m->stderr_);
    opt_jsonw_end_object(w);
}

static void put_tensor(opt_jsonw *w, const opt_tensor_result *t) {
    opt_jsonw_begin_object(w);
    opt_jsonw_put_str(w, "name", t->name);
    opt_jsonw_put_str(w, "role", t->role);
    opt_jsonw_put_str(w, "action", t->action);
    opt_jsonw_put_str(w, "source_format", t->source_format);
    opt_jsonw_put_str(w, "format", t->format);
    opt_jsonw_put_i64(w, "rows", t->n_rows);
    opt_jsonw_put_i64(w, "columns", t->n_cols);
    opt_jsonw_put_u64(w, "source_bytes", t->source_bytes);
    opt_jsonw_put_u64(w, "bytes", t->bytes);
    opt_jsonw_put_f64(w, "rmse", t->rmse);
    opt_jsonw_put_f64(w, "relative_error", t->rel_error);
    if (t->method[0] != 0) {
        opt_jsonw_put_str(w, "method", t->method);
    }
    if (t->n_calib_tokens > 0) {
        opt_jsonw_put_i64(w, "calibration_tokens", t->n_calib_tokens);
        opt_jsonw_put_i64(w, "dead_columns", t->n_dead);
        opt_jsonw_put_f64(w, "damping", t->damping);
        opt_jsonw_put_f64(w, "condition", t->condition);
        opt_jsonw_put_f64(w, "output_error", t->output_error);
        opt_jsonw_put_f64(w, "output_error_nearest", t->output_error_nearest);
    }
    if (!isnan(t->block_error)) {
        opt_jsonw_put_f64(w, "block_error_before", t->block_error_before);
        opt_jsonw_put_f64(w, "block_error", t->block_error);
    }
    opt_jsonw_put_str(w, "note", t->note);
    opt_jsonw_end_object(w);
}

static void put_transforms(opt_jsonw *w, const opt_quantize_result *q) {
    if (q->n_transforms == 0) {
        return;
    }
    opt_jsonw_key(w, "transforms");
    opt_jsonw_begin_array(w);
    for (int64_t i = 0; i < q->n_transforms; i++) {
        const opt_transform_result *t = &q->transforms[i];
        opt_jsonw_begin_object(w);
        opt_jsonw_put_str(w, "transform", t->transform);
        opt_jsonw_put_str(w, "group", t->group);
        opt_jsonw_put_f64(w, "value", t->value);
        opt_jsonw_put_f64(w, "error_before", t->before);
        opt_jsonw_put_f64(w, "error_after", t->after);
        opt_jsonw_end_object(w);
    }
    opt_jsonw_end_array(w);
}

static void put_budget(opt_jsonw *w, const opt_budget_result *b) {
    opt_jsonw_key(w, "budget");
    opt_jsonw_begin_object(w);
    opt_jsonw_put_str(w, "target", b->target);
    opt_jsonw_put_f64(w, "target_value", b->target_value);
    opt_jsonw_put_bool(w, "guessed", b->guessed);
    opt_jsonw_put_f64(w, "predicted_kld", b->predicted_kld);
    opt_jsonw_put_f64(w, "bound_kld", b->bound_kld);
    opt_jsonw_put_f64(w, "measured_kld", b->measured_kld);
    opt_jsonw_put_f64(w, "measured_kld_stderr", b->measured_stderr);
    opt_jsonw_put_i64(w, "measured_tokens", b->n_measured_tokens);
    opt_jsonw_key(w, "curve");
    opt_jsonw_begin_array(w);
    for (int64_t i = 0; i < b->n_points; i++) {
        opt_jsonw_begin_object(w);
        opt_jsonw_put_u64(w, "bytes", b->points[i].bytes);
        opt_jsonw_put_f64(w, "kld", b->points[i].kld);
        opt_jsonw_put_str(w, "formats", b->points[i].formats);
        opt_jsonw_end_object(w);
    }
    opt_jsonw_end_array(w);
    opt_jsonw_end_object(w);
}

static void put_quantize(opt_jsonw *w, const opt_quantize_result *q) {
    opt_jsonw_put_u64(w, "source_bytes", q->source_bytes);
    opt_jsonw_put_u64(w, "file_bytes", q->file_bytes);
    opt_jsonw_put_f64(w, "bits_per_weight", q->bits_per_weight);
    if (q->budget != NULL) {
        put_budget(w, q->budget);
    }
    opt_jsonw_key(w, "tensors");
    opt_jsonw_begin_array(w);
    for (int64_t i = 0; i < q->n_tensors; i++) {
        put_tensor(w, &q->tensors[i]);
    }
    opt_jsonw_end_array(w);
    put_transforms(w, q);
}

/** What speculation guessed, where it was asked for. */
static void put_speculation(opt_jsonw *w, const opt_generate_result *g) {
    opt_jsonw_put_i64(w, "passes", g->n_passes);
    opt_jsonw_put_i64(w, "guessed_tokens", g->n_guessed);
    opt_jsonw_put_i64(w, "right_guesses", g->n_right);
    opt_jsonw_put_f64(w, "acceptance_rate",
                      opt_report_ratio((double)g->n_right, (double)g->n_guessed));
}

static void put_generate(opt_jsonw *w, const opt_report *r) {
    const opt_generate_result *g = r->generate;
    opt_jsonw_key(w, "prompt");
    opt_jsonw_strn(w, r->prompt_text != NULL ? r->prompt_text : "", r->prompt_bytes);
    opt_jsonw_key(w, "text");
    opt_jsonw_strn(w, r->generated_text, r->generated_bytes);
    opt_jsonw_put_i64(w, "prompt_tokens", g->n_prompt);
    opt_jsonw_put_i64(w, "generated_tokens", g->n_generated);
    opt_jsonw_put_str(w, "stop_reason", g->stop_reason);
    opt_jsonw_put_str(w, "cache_type", g->cache_type);
    opt_jsonw_put_u64(w, "cache_bytes", g->cache_bytes);
    opt_jsonw_put_i64(w, "context_shifts", g->n_shifts);
    put_speculation(w, g);
    opt_jsonw_key(w, "ids");
    opt_jsonw_begin_array(w);
    for (int64_t i = 0; i < g->n_prompt + g->n_generated; i++) {
        opt_jsonw_i64(w, g->ids[i]);
    }
    opt_jsonw_end_array(w);
}

static void put_chat(opt_jsonw *w, const opt_report *r) {
    opt_jsonw_put_str(w, "chat_template", r->chat_template);
    opt_jsonw_key(w, "turns");
    opt_jsonw_begin_array(w);
    for (size_t i = 0; i < r->n_turns; i++) {
        const opt_chat_turn *t = &r->turns[i];
        opt_jsonw_begin_object(w);
        opt_jsonw_key(w, "user");
        opt_jsonw_strn(w, t->user, t->user_bytes);
        opt_jsonw_key(w, "answer");
        opt_jsonw_strn(w, t->answer, t->answer_bytes);
        opt_jsonw_put_i64(w, "prompt_tokens", t->result.n_prompt);
        opt_jsonw_put_i64(w, "computed_prompt_tokens", t->result.n_read);
        opt_jsonw_put_i64(w, "generated_tokens", t->result.n_generated);
        opt_jsonw_put_str(w, "stop_reason", t->result.stop_reason);
        put_speculation(w, &t->result);
        opt_jsonw_end_object(w);
    }
    opt_jsonw_end_array(w);
}

static void put_batch(opt_jsonw *w, const opt_batch_result *b) {
    opt_jsonw_put_i64(w, "requests", b->n_requests);
    opt_jsonw_put_i64(w, "failed", b->n_failed);
    opt_jsonw_put_i64(w, "resumed", b->n_resumed);
    opt_jsonw_put_i64(w, "same", b->n_same);
    opt_jsonw_put_i64(w, "prompt_tokens", b->n_prompt_tokens);
    opt_jsonw_put_i64(w, "generated_tokens", b->n_generated);
    opt_jsonw_put_i64(w, "passes", b->n_steps);
}

static void put_perplexity(opt_jsonw *w, const opt_ppl_result *p) {
    opt_jsonw_put_str(w, "convention", p->convention == OPT_PPL_FULL ? "full" : "llama.cpp");
    opt_jsonw_put_i64(w, "context", p->ctx);
    opt_jsonw_put_i64(w, "text_tokens", p->n_text_tokens);
    opt_jsonw_put_i64(w, "windows", p->n_windows);
    opt_jsonw_put_i64(w, "scored_tokens", p->n_scored);
    opt_jsonw_put_f64(w, "nll", p->nll);
    opt_jsonw_put_f64(w, "nll_stderr", p->nll_stderr);
    opt_jsonw_put_f64(w, "perplexity", p->ppl);
    opt_jsonw_put_f64(w, "perplexity_low", p->ppl_low);
    opt_jsonw_put_f64(w, "perplexity_high", p->ppl_high);
}

static void put_compare(opt_jsonw *w, const opt_compare_result *c) {
    opt_jsonw_put_str(w, "convention", c->convention == OPT_PPL_FULL ? "full" : "llama.cpp");
    opt_jsonw_put_i64(w, "context", c->ctx);
    opt_jsonw_put_i64(w, "windows", c->n_windows);
    opt_jsonw_put_i64(w, "scored_tokens", c->n_scored);
    put_mean(w, "kld", &c->kld);
    opt_jsonw_put_f64(w, "kld_median", c->kld_median);
    opt_jsonw_put_f64(w, "kld_p90", c->kld_p90);
    opt_jsonw_put_f64(w, "kld_p95", c->kld_p95);
    opt_jsonw_put_f64(w, "kld_p99", c->kld_p99);
    opt_jsonw_put_f64(w, "kld_p999", c->kld_p999);
    opt_jsonw_put_f64(w, "kld_max", c->kld_max);
    put_mean(w, "same_top1", &c->same_top1);
    opt_jsonw_put_f64(w, "same_top1_low", c->same_top1_low);
    opt_jsonw_put_f64(w, "same_top1_high", c->same_top1_high);
    put_mean(w, "delta_p", &c->delta_p);
    opt_jsonw_put_f64(w, "delta_p_rms", c->delta_p_rms);
    opt_jsonw_put_f64(w, "perplexity_reference", c->ppl_reference);
    opt_jsonw_put_f64(w, "perplexity_model", c->ppl_model);
    opt_jsonw_put_f64(w, "perplexity_ratio", exp(c->ln_ppl_ratio.mean));
    put_mean(w, "ln_perplexity_ratio", &c->ln_ppl_ratio);
}

static void put_bench(opt_jsonw *w, const opt_bench_result *b) {
    opt_jsonw_put_i64(w, "prompt_tokens", b->n_prompt);
    opt_jsonw_put_i64(w, "generated_tokens", b->n_gen);
    opt_jsonw_put_i64(w, "repeats", b->n_repeats);
    opt_jsonw_put_f64(w, "bytes_per_generated_token", b->gen_bytes_per_token);
    opt_jsonw_put_f64(w, "operations_per_token", b->prompt_ops_per_token);
    opt_jsonw_put_i64(w, "depth", b->depth);
    opt_jsonw_put_i64(w, "batch", b->n_batch);
}

static void put_profile_rows(opt_jsonw *w, const char *key, const opt_profile_row *rows, int n) {
    opt_jsonw_key(w, key);
    opt_jsonw_begin_array(w);
    for (int i = 0; i < n; i++) {
        opt_jsonw_begin_object(w);
        opt_jsonw_put_str(w, "name", rows[i].name);
        opt_jsonw_put_i64(w, "calls", rows[i].calls);
        opt_jsonw_put_f64(w, "seconds", rows[i].seconds);
        opt_jsonw_put_f64(w, "bytes", rows[i].bytes);
        opt_jsonw_put_f64(w, "stored_bytes", rows[i].stored);
        opt_jsonw_put_f64(w, "operations", rows[i].ops);
        opt_jsonw_put_str(w, "bound", rows[i].bound);
        opt_jsonw_put_f64(w, "of_bound", rows[i].of_bound);
        opt_jsonw_end_object(w);
    }
    opt_jsonw_end_array(w);
}

static void put_probe(opt_jsonw *w, const opt_probe_result *p) {
    opt_jsonw_put_f64(w, "bandwidth_gb_per_second", p->bandwidth);
    opt_jsonw_put_f64(w, "int8_peak_gop_per_second", p->peak_i8);
}

/** Every measurement of a bench, under "run". */
static void put_bench_rows(opt_jsonw *w, const opt_bench_result *b) {
    static const char *const kinds[] = {"read", "write", "batch"};
    opt_jsonw_key(w, "rows");
    opt_jsonw_begin_array(w);
    for (int i = 0; i < b->n_rows; i++) {
        const opt_bench_row *row = &b->rows[i];
        opt_jsonw_begin_object(w);
        opt_jsonw_put_str(w, "kind", kinds[row->kind]);
        opt_jsonw_put_i64(w, "threads", row->n_threads);
        opt_jsonw_put_i64(w, "tokens", row->n_tokens);
        opt_jsonw_put_i64(w, "depth", row->depth);
        opt_jsonw_put_i64(w, "texts", row->n_seqs);
        opt_jsonw_put_f64(w, "tokens_per_second", row->tps);
        opt_jsonw_put_f64(w, "tokens_per_second_min", row->tps_min);
        opt_jsonw_put_f64(w, "tokens_per_second_max", row->tps_max);
        put_probe(w, &row->probe);
        opt_jsonw_put_f64(w, "of_peak", row->of_peak);
        opt_jsonw_put_f64(w, "of_bandwidth", row->of_bandwidth);
        opt_jsonw_end_object(w);
    }
    opt_jsonw_end_array(w);
}

/** All of it differs from run to run: it stands under "run". */
static void put_profile(opt_jsonw *w, const opt_profile_result *r) {
    put_probe(w, &r->probe);
    opt_jsonw_key(w, "phases");
    opt_jsonw_begin_array(w);
    for (int i = 0; i < r->n_phases; i++) {
        const opt_profile_phase *p = &r->phases[i];
        opt_jsonw_begin_object(w);
        opt_jsonw_put_str(w, "name", p->name);
        opt_jsonw_put_i64(w, "tokens", p->n_tokens);
        opt_jsonw_put_i64(w, "depth", p->depth);
        opt_jsonw_put_f64(w, "seconds", p->seconds);
        put_profile_rows(w, "ops", p->rows, p->n_rows);
        put_profile_rows(w, "layers", p->layers, p->n_layers);
        opt_jsonw_end_object(w);
    }
    opt_jsonw_end_array(w);
}

/** Copies a parsed JSON value. */
static void put_value(opt_jsonw *w, const opt_json *v) {
    int64_t i = 0;
    double d = 0;
    size_t len = 0;
    switch (opt_json_type_of(v)) {
    case OPT_JSON_NULL: opt_jsonw_null(w); break;
    case OPT_JSON_BOOL: opt_jsonw_bool(w, opt_json_bool(v, false)); break;
    case OPT_JSON_INT: (void)opt_json_i64(v, &i), opt_jsonw_i64(w, i); break;
    case OPT_JSON_REAL: (void)opt_json_f64(v, &d), opt_jsonw_f64(w, d); break;
    case OPT_JSON_STRING: {
        const char *s = opt_json_str(v, &len);
        opt_jsonw_strn(w, s, len);
        break;
    }
    case OPT_JSON_ARRAY:
        opt_jsonw_begin_array(w);
        for (size_t k = 0; k < opt_json_size(v); k++) {
            put_value(w, opt_json_at(v, k));
        }
        opt_jsonw_end_array(w);
        break;
    case OPT_JSON_OBJECT: {
        void *it = NULL;
        const char *key;
        const opt_json *value;
        opt_jsonw_begin_object(w);
        while (opt_json_next(v, &it, &key, &value)) {
            opt_jsonw_key(w, key);
            put_value(w, value);
        }
        opt_jsonw_end_object(w);
        break;
    }
    }
}

static void put_gates(opt_jsonw *w, const opt_report *r) {
    opt_jsonw_key(w, "gates");
    opt_jsonw_begin_array(w);
    for (size_t i = 0; i < r->n_gates; i++) {
        const opt_gate *g = &r->gates[i];
        opt_jsonw_begin_object(w);
        opt_jsonw_put_str(w, "name", g->name);
        opt_jsonw_put_f64(w, g->at_least ? "at_least" : "at_most", g->limit);
        opt_jsonw_put_f64(w, "value", g->value);
        opt_jsonw_put_f64(w, "low", g->low);
        opt_jsonw_put_f64(w, "high", g->high);
        opt_jsonw_put_str(w, "verdict", opt_verdict_name(g->verdict));
        opt_jsonw_end_object(w);
    }
    opt_jsonw_end_array(w);
}

static void put_errors(opt_jsonw *w, const opt_ctx *ctx, const opt_report *r) {
    const bool own = r->error_message != NULL;
    opt_jsonw_key(w, "errors");
    opt_jsonw_begin_array(w);
    if (r->status != OPT_OK && r->status != OPT_ERR_GATE) {
        opt_jsonw_begin_object(w);
        opt_jsonw_put_str(w, "status", opt_status_name(r->status));
        opt_jsonw_put_i64(w, "exit_code", (int64_t)r->status);
        opt_jsonw_put_str(w, "object", own ? r->error_object : opt_ctx_error_object(ctx));
        opt_jsonw_put_str(w, "message", own ? r->error_message : opt_ctx_error_message(ctx));
        opt_jsonw_end_object(w);
    }
    opt_jsonw_end_array(w);
}

const char *opt_instruction_set(opt_ctx *ctx) {
    const opt_kern *kern = opt_kern_get(ctx);
    return kern != NULL ? opt_isa_name(kern->rows_isa) : opt_ctx_isa(ctx);
}

static void put_prefix(opt_jsonw *w, const opt_prefix_counts *c) {
    opt_jsonw_key(w, "prefix_cache");
    opt_jsonw_begin_object(w);
    opt_jsonw_put_i64(w, "loaded_tokens", c->n_loaded);
    opt_jsonw_put_i64(w, "saved_entries", c->n_saved);
    opt_jsonw_put_i64(w, "removed_entries", c->n_removed);
    opt_jsonw_put_i64(w, "damaged_entries", c->n_bad);
    opt_jsonw_put_i64(w, "unsaved_entries", c->n_unsaved);
    opt_jsonw_put_f64(w, "load_seconds", c->load_seconds);
    opt_jsonw_put_f64(w, "save_seconds", c->save_seconds);
    opt_jsonw_end_object(w);
}

/** Everything that differs from run to run or from machine to machine stands here and nowhere else.
 */
static void put_run(opt_jsonw *w, opt_ctx *ctx, const opt_report *r) {
    opt_jsonw_key(w, "run");
    opt_jsonw_begin_object(w);
    opt_jsonw_put_str(w, "instruction_set", opt_instruction_set(ctx));
    opt_jsonw_put_str(w, "processor", opt_ctx_features(ctx));
    opt_jsonw_put_i64(w, "threads", opt_ctx_n_threads(ctx));
    opt_jsonw_put_u64(w, "peak_memory_bytes",
                      r->quantize != NULL ? r->quantize->peak_memory : opt_ctx_peak_memory(ctx));
    if (r->quantize != NULL) {
        opt_jsonw_put_f64(w, "seconds", r->quantize->seconds);
    } else if (r->perplexity != NULL) {
        opt_jsonw_put_f64(w, "seconds", r->perplexity->seconds);
    } else if (r->compare != NULL) {
        opt_jsonw_put_f64(w, "seconds", r->compare->seconds);
    } else if (r->generate != NULL) {
        opt_jsonw_put_f64(w, "prompt_seconds", r->generate->prompt_seconds);
        opt_jsonw_put_f64(w, "generate_seconds", r->generate->generate_seconds);
    } else if (r->bench != NULL) {
        const opt_bench_result *b = r->bench;
        opt_jsonw_put_f64(w, "prompt_tokens_per_second", b->prompt_tps);
        opt_jsonw_put_f64(w, "prompt_tokens_per_second_min", b->prompt_tps_min);
        opt_jsonw_put_f64(w, "prompt_tokens_per_second_max", b->prompt_tps_max);
        opt_jsonw_put_f64(w, "generated_tokens_per_second", b->gen_tps);
        opt_jsonw_put_f64(w, "generated_tokens_per_second_min", b->gen_tps_min);
        opt_jsonw_put_f64(w, "generated_tokens_per_second_max", b->gen_tps_max);
        opt_jsonw_put_f64(w, "batch_tokens_per_second", b->batch_tps);
        opt_jsonw_put_f64(w, "batch_tokens_per_second_min", b->batch_tps_min);
        opt_jsonw_put_f64(w, "batch_tokens_per_second_max", b->batch_tps_max);
        put_probe(w, &b->probe);
        opt_jsonw_put_f64(w, "prompt_of_peak", b->prompt_of_peak);
        opt_jsonw_put_f64(w, "generated_of_bandwidth", b->gen_of_bandwidth);
        put_bench_rows(w, b);
    } else if (r->profile != NULL) {
        put_profile(w, r->profile);
    }
    if (r->prefix != NULL) {
        put_prefix(w, r->prefix);
    }
    opt_jsonw_end_object(w);
}

static void put_result(opt_jsonw *w, const opt_report *r, const opt_json *inspect) {
    opt_jsonw_key(w, "result");
    if (r->inspect != NULL) {
        put_value(w, inspect);
        return;
    }
    if (r->quantize == NULL && r->generate == NULL && r->perplexity == NULL && r->compare == NULL &&
        r->bench == NULL && r->chat_template == NULL && r->batch == NULL) {
        opt_jsonw_null(w);
        return;
    }
    opt_jsonw_begin_object(w);
    if (r->quantize != NULL) {
        put_quantize(w, r->quantize);
    } else if (r->generate != NULL) {
        put_generate(w, r);
    } else if (r->chat_template != NULL) {
        put_chat(w, r);
    } else if (r->batch != NULL) {
        put_batch(w, r->batch);
    } else if (r->perplexity != NULL) {
        put_perplexity(w, r->perplexity);
    } else if (r->compare != NULL) {
        put_compare(w, r->compare);
    } else {
        put_bench(w, r->bench);
    }
    opt_jsonw_end_object(w);
}

static void put_head(opt_jsonw *w, const opt_report *r) {
    opt_jsonw_put_str(w, "schema", "lathe.report/1");
    opt_jsonw_put_str(w, "tool", r->tool);
    opt_jsonw_put_str(w, "command", r->command);
    opt_jsonw_put_str(w, "version", opt_version());
    opt_jsonw_key(w, "inputs");
    opt_jsonw_begin_array(w);
    for (size_t i = 0; i < r->n_inputs; i++) {
        put_base_name(w, r->inputs[i]);
    }
    opt_jsonw_end_array(w);
    opt_jsonw_key(w, "output");
    if (r->output != NULL) {
        put_base_name(w, r->output);
    } else {
        opt_jsonw_null(w);
    }
    opt_jsonw_put_bool(w, "dry_run", r->dry_run);
    opt_jsonw_put_str(w, "status", opt_status_name(r->status));
    opt_jsonw_put_i64(w, "exit_code", (int64_t)r->status);
}

opt_status opt_report_json(opt_ctx *ctx, const opt_report *report, char **out) {
    opt_status st = OPT_OK;
    opt_str text = {0};
    opt_json *inspect = NULL;
    opt_jsonw w;
    if (report->inspect != NULL) {
        OPT_TRY(opt_json_parse(ctx, "inspect", report->inspect, strlen(report->inspect), &inspect));
    }
    opt_jsonw_init(&w, ctx, &text, 1);
    opt_jsonw_begin_object(&w);
    put_head(&w, report);
    put_result(&w, report, inspect);
    put_gates(&w, report);
    opt_jsonw_key(&w, "warnings");
    opt_jsonw_begin_array(&w);
    for (int i = 0; i < opt_ctx_n_warnings(ctx); i++) {
        opt_jsonw_str(&w, opt_ctx_warning(ctx, i));
    }
    opt_jsonw_end_array(&w);
    put_errors(&w, ctx, report);
    put_run(&w, ctx, report);
    opt_jsonw_end_object(&w);
    OPT_TRY(opt_jsonw_finish(&w));
    OPT_TRY(opt_str_append(ctx, &text, "\n", 1));
    *out = text.data;
    text.data = NULL;
done:
    opt_json_free(inspect);
    if (text.data != NULL) {
        opt_str_free(ctx, &text);
    }
    return st;
}
