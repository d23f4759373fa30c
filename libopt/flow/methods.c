#include "flow/methods.h"

#include <string.h>

const opt_quant_method *const opt_quant_methods[] = {
    &opt_quant_rtn, &opt_quant_gptq, &opt_quant_hqq, &opt_quant_gptaq, NULL,
};

const opt_transform *const opt_transform_rows[] = {
    &opt_transform_fold_norms,
    &opt_transform_rotate,
    &opt_transform_rotate_heads,
    &opt_transform_smoothquant,
    &opt_transform_awq,
    &opt_transform_clip,
    &opt_transform_bias_correction,
    NULL,
};

const opt_quant_method *opt_quant_method_by_name(const char *name) {
    for (int i = 0; opt_quant_methods[i] != NULL; i++) {
        if (strcmp(opt_quant_methods[i]->name, name) == 0) {
            return opt_quant_methods[i];
        }
    }
    return NULL;
}
