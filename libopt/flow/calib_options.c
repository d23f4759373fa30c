/* Options of calibration: what the text is and how it is used. */
#include <math.h>
#include <stdlib.h>

#include "flow/calibrate.h"

enum { DEFAULT_WINDOWS = 128, DEFAULT_CTX = 512 };

/* "2,1,0.5": one positive number for every file. */
static opt_status read_mix(opt_ctx *ctx, const char *text, opt_calibration_options *out) {
    opt_status st = OPT_OK;
    const char *at = text;
    for (size_t i = 0; i < out->text.n_paths; i++) {
        char *end = NULL;
        const double weight = strtod(at, &end);
        const bool last = i + 1 == out->text.n_paths;
        OPT_REQUIRE(end != at && isfinite(weight) && weight > 0.0 && *end == (last ? 0 : ','), ctx,
                    OPT_ERR_USAGE, "--mix",
                    "'%s' is not one positive number for each of the %zu calibration files, "
                    "separated by commas",
                    text, out->text.n_paths);
        out->weights[i] = weight;
        at = end + 1;
    }
    out->text.weights = out->weights;
done:
    return st;
}

opt_status opt_calibration_read_options(opt_ctx *ctx, const opt_quantize_options *o,
                                        opt_calibration_options *out) {
    opt_status st = OPT_OK;
    *out = (opt_calibration_options){
        .text = {.paths = o->calib,
                 .n_paths = o->n_calib,
                 .n_windows = o->calib_samples > 0 ? o->calib_samples : DEFAULT_WINDOWS,
                 .n_ctx = o->calib_ctx > 0 ? o->calib_ctx : DEFAULT_CTX,
                 .seed = o->seed},
        .compute = o->calib_compute == OPT_CALIB_F32    ? OPT_COMPUTE_EXACT
                   : o->calib_compute == OPT_CALIB_BF16 ? OPT_COMPUTE_BF16
                                                        : OPT_COMPUTE_I16,
        .one_pass = o->one_pass,
        .saves_statistics = o->save_imatrix != NULL,
        .block_steps = o->block_steps,
        .block_batch = o->block_batch > 0 ? o->block_batch : OPT_CALIBRATION_BLOCK_BATCH,
    };
    OPT_REQUIRE(o->n_calib <= OPT_CALIBRATION_MAX_FILES, ctx, OPT_ERR_USAGE, "--calib",
                "%zu files; at most %d can be mixed", o->n_calib, OPT_CALIBRATION_MAX_FILES);
    OPT_REQUIRE(o->n_calib > 0 || (o->calib_mix == NULL && !o->one_pass), ctx, OPT_ERR_USAGE,
                o->one_pass ? "--one-pass" : "--mix", "there is no calibration text: --calib FILE");
    OPT_REQUIRE(o->n_calib > 0 || o->save_imatrix == NULL, ctx, OPT_ERR_USAGE, "--save-imatrix",
                "there is no calibration text: --calib FILE");
    OPT_REQUIRE(o->block_steps == 0 || o->n_calib > 0, ctx, OPT_ERR_USAGE, "--round-steps",
                "rounding whole blocks needs calibration text: --calib FILE");
    OPT_REQUIRE(o->block_steps == 0 || !o->one_pass, ctx, OPT_ERR_USAGE, "--round-steps",
                "a block is rounded for the inputs that the blocks before it give, which "
                "--one-pass leaves out");
    if (o->calib_mix != NULL) {
        OPT_TRY(read_mix(ctx, o->calib_mix, out));
    }
done:
    return st;
}
