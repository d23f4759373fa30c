#include "flow/preset.h"

#include <string.h>

#include "flow/budget.h"
#include "opt/text.h"

enum { MAX_NAMES = 64 };

#define END                                                                                        \
    { NULL, OPT_BLOCKS_ALL, false, NULL }

static const opt_preset_rule no_rules[] = {END};

static const opt_preset_rule q2_k_rules[] = {
    {"attn_v", OPT_BLOCKS_ALL, true, "q4_k"},
    {"attn_v", OPT_BLOCKS_ALL, false, "q3_k"},
    {"ffn_down", OPT_BLOCKS_ALL, false, "q3_k"},
    {"attn_output", OPT_BLOCKS_ALL, false, "q3_k"},
    END,
};

static const opt_preset_rule q3_k_m_rules[] = {
    {"attn_v", OPT_BLOCKS_TWO, false, "q5_k"},         {"attn_v", OPT_BLOCKS_ALL, false, "q4_k"},
    {"ffn_down", OPT_BLOCKS_SIXTEENTH, false, "q5_k"}, {"ffn_down", OPT_BLOCKS_ALL, false, "q4_k"},
    {"attn_output", OPT_BLOCKS_ALL, false, "q4_k"},    END,
};

static const opt_preset_rule q3_k_l_rules[] = {
    {"attn_v", OPT_BLOCKS_ALL, false, "q5_k"},
    {"ffn_down", OPT_BLOCKS_ALL, false, "q5_k"},
    {"attn_output", OPT_BLOCKS_ALL, false, "q5_k"},
    END,
};

static const opt_preset_rule q4_k_s_rules[] = {
    {"attn_v", OPT_BLOCKS_FOUR, false, "q5_k"},
    {"ffn_down", OPT_BLOCKS_EIGHTH, false, "q5_k"},
    END,
};

/* of q4_k_m and q5_k_m */
static const opt_preset_rule medium_rules[] = {
    {"attn_v", OPT_BLOCKS_MORE, false, "q6_k"},
    {"ffn_down", OPT_BLOCKS_MORE, false, "q6_k"},
    END,
};

static const opt_preset_rule iq4_rules[] = {
    {"attn_v", OPT_BLOCKS_ALL, true, "q5_k"},
    END,
};

static const char *const smoothquant = "smoothquant";

#define SIZE(name, text, bits)                                                                     \
    { name, text, bits, NULL, NULL, NULL, NULL }
#define MIXTURE(name, format, rules)                                                               \
    { name, NULL, 0, format, rules, "q6_k", NULL }

static const opt_preset rows[] = {
    SIZE("tiny", "about 3 bits per weight", 3.0),
    SIZE("small", "about 4", 4.0),
    SIZE("balanced", "about 4.9", 4.9),
    SIZE("high", "about 6.6", 6.6),
    SIZE("lossless", "as it is", 0),
    /* Dettmers et al. 2022 and Xiao et al. 2022: every product in 8-bit integers. Activations get a
     * scale for every token and group of 32 columns when they are computed (exec). */
    {"w8a8", "and 8-bit activations", 0, "q8_0", no_rules, "q8_0", &smoothquant},
    MIXTURE("q2_k", "q2_k", q2_k_rules),
    MIXTURE("q3_k_s", "q3_k", no_rules),
    MIXTURE("q3_k_m", "q3_k", q3_k_m_rules),
    MIXTURE("q3_k_l", "q3_k", q3_k_l_rules),
    MIXTURE("q4_k_s", "q4_k", q4_k_s_rules),
    MIXTURE("q4_k_m", "q4_k", medium_rules),
    MIXTURE("q5_k_s", "q5_k", no_rules),
    MIXTURE("q5_k_m", "q5_k", medium_rules),
    MIXTURE("q6_k", "q6_k", no_rules),
    MIXTURE("iq4_nl", "iq4_nl", iq4_rules),
    MIXTURE("iq4_xs", "iq4_xs", iq4_rules),
};

const opt_preset *const opt_presets[] = {
    &rows[0], &rows[1],  &rows[2],  &rows[3],  &rows[4],  &rows[5],  &rows[6],  &rows[7],  &rows[8],
    &rows[9], &rows[10], &rows[11], &rows[12], &rows[13], &rows[14], &rows[15], &rows[16], NULL,
};

const opt_preset *opt_preset_by_name(const char *name) {
    for (int i = 0; opt_presets[i] != NULL; i++) {
        if (strcmp(opt_presets[i]->name, name) == 0) {
            return opt_presets[i];
        }
    }
    return NULL;
}

bool opt_quantize_preset(int i, const char **name, const char **help, double *bits_per_weight) {
    for (int k = 0; opt_presets[k] != NULL; k++) {
        if (k == i) {
            *name = opt_presets[k]->name;
            *help = opt_presets[k]->help;
            *bits_per_weight = opt_presets[k]->target_bpw;
            return true;
        }
    }
    return false;
}

opt_status opt_preset_read(opt_ctx *ctx, opt_quantize_options *o, const opt_preset **out) {
    opt_status st = OPT_OK;
    const char *names[MAX_NAMES];
    size_t n = 0;
    *out = NULL;
    if (o->preset == NULL) {
        return OPT_OK;
    }
    while (opt_presets[n] != NULL && n < MAX_NAMES) {
        names[n] = opt_presets[n]->name;
        n++;
    }
    const char *near = opt_text_nearest(o->preset, names, n);
    const opt_preset *p = opt_preset_by_name(o->preset);
    OPT_REQUIRE(p != NULL, ctx, OPT_ERR_USAGE, "--preset",
                "unknown preset '%s'%s%s%s; quantize --help lists them", o->preset,
                near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                near != NULL ? "'?" : "");
    OPT_REQUIRE(o->format == NULL && !opt_budget_wanted(o), ctx, OPT_ERR_USAGE, "--preset",
                "goes without --format and without a target");
    o->target_bpw = p->target_bpw;
    if (p->transforms != NULL && o->n_transforms == 0) {
        o->transforms = p->transforms;
        o->n_transforms = 1;
    }
    OPT_REQUIRE((p->target_bpw == 0 && p->transforms == NULL) || o->n_calib > 0 ||
                    o->measurements != NULL || o->dry_run,
                ctx, OPT_ERR_USAGE, "--preset",
                "%s needs calibration text (--calib FILE); without text there are the mixtures, "
                "such as q4_k_m",
                p->name);
    *out = p;
done:
    return st;
}

static bool is_among(opt_preset_blocks blocks, int i, int n) {
    switch (blocks) {
    case OPT_BLOCKS_ALL: return true;
    case OPT_BLOCKS_MORE: return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    case OPT_BLOCKS_EIGHTH: return i < n / 8;
    case OPT_BLOCKS_SIXTEENTH: return i < n / 16;
    case OPT_BLOCKS_TWO: return i < 2;
    case OPT_BLOCKS_FOUR: return i < 4;
    }
    return false;
}

/** What llama.cpp takes where a type of 256 does not fit a width. */
static const char *replacement(const opt_format *f) {
    static const char *const names[][2] = {
        {"q2_k", "q4_0"}, {"q3_k", "q4_0"}, {"q4_k", "q5_0"},
        {"q5_k", "q5_1"}, {"q6_k", "q8_0"}, {"iq4_xs", "iq4_nl"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i][0], f->name) == 0) {
            return names[i][1];
        }
    }
    return "f16";
}

/** What the mixture wants, whatever the width. */
static const char *wanted_name(const opt_preset *preset, const opt_model *m, const opt_weight *w) {
    if (w->role == OPT_ROLE_HEAD || w->tied) {
        return preset->head;
    }
    const int64_t n_kv = m->hp.n_heads_kv > 0 ? m->hp.n_heads_kv : 1;
    const bool shared = m->hp.n_heads / n_kv >= 4;
    for (const opt_preset_rule *r = preset->rules; r->kind != NULL; r++) {
        if (strcmp(r->kind, w->kind) == 0 && (shared || !r->shared) &&
            is_among(r->blocks, w->unit, m->n_units)) {
            return r->format;
        }
    }
    return preset->format;
}

opt_status opt_preset_format(opt_ctx *ctx, const opt_preset *preset, const opt_model *m,
                             const opt_weight *w, const opt_format **format,
                             const opt_format **wanted) {
    opt_status st = OPT_OK;
    const opt_format *f = NULL;
    const bool is_matrix = w->n_dims >= 2 && w->role != OPT_ROLE_NORM && w->role != OPT_ROLE_BIAS &&
                           w->role != OPT_ROLE_OTHER;
    *format = *wanted = NULL;
    if (preset->target_bpw > 0 || (!is_matrix && preset->format != NULL)) {
        return OPT_OK;
    }
    if (preset->format == NULL) {
        f = w->tensor->format;
        *format = *wanted = opt_format_writable(f) ? f : &opt_format_f32;
        return OPT_OK;
    }
    f = opt_format_by_name(wanted_name(preset, m, w));
    OPT_REQUIRE(f != NULL, ctx, OPT_ERR_BUG, w->name, "the preset %s names no format",
                preset->name);
    *wanted = f;
    for (int i = 0; i < 2 && !opt_format_fits(f, w->dims[w->n_dims - 1]); i++) {
        f = opt_format_by_name(i == 0 ? replacement(f) : "f16");
        OPT_REQUIRE(f != NULL, ctx, OPT_ERR_BUG, w->name, "a replacement names no format");
    }
    OPT_REQUIRE(opt_format_writable(f), ctx, OPT_ERR_UNSUPPORTED, w->name,
                "the preset %s wants %s, which can be read but not written", preset->name, f->name);
    *format = f;
done:
    return st;
}
