#include "kern/kern.h"

#include <stdlib.h>
#include <string.h>

#include "kern/rows.h"

/* Its address is the key under which the table hangs on the context. */
static const char table_key = 0;

/** Whether a machine of level `isa` with `features` runs a row of `level` that needs some bits. */
static bool runs(opt_isa isa, unsigned features, opt_isa level, unsigned needs) {
    return isa >= level && (features & needs) == needs;
}

static void raise_to(opt_isa *to, opt_isa level) { *to = level > *to ? level : *to; }

// NOLINTNEXTLINE(readability-function-size): one statement a row of kernels.def
void opt_kern_fill(opt_kern *out, opt_isa isa, unsigned features) {
    memset(out, 0, sizeof *out);
    out->isa = isa;
    out->features = features;
    out->rows_isa = OPT_ISA_REF;
    /* Rows are listed weakest first, so the last one that the machine can run stays. */
#define OPT_KERN(slot, suffix, level, needs)                                                       \
    if (runs(isa, features, OPT_ISA_##level, needs)) {                                             \
        out->slot = optk_##slot##__##suffix;                                                       \
        raise_to(&out->rows_isa, OPT_ISA_##level);                                                 \
    }
#define OPT_KERN_FMT(slot, kfmt, name, suffix, level, needs)                                       \
    if (runs(isa, features, OPT_ISA_##level, needs)) {                                             \
        out->slot[OPT_KFMT_##kfmt] = optk_##slot##_##name##__##suffix;                             \
        raise_to(&out->rows_isa, OPT_ISA_##level);                                                 \
    }
#include "kern/kernels.def"
}

const opt_kern *opt_kern_get(opt_ctx *ctx) {
    opt_kern *table = opt_ctx_attached(ctx, &table_key);
    if (table != NULL) {
        return table;
    }
    opt_cpu cpu;
    if (!opt_cpu_detect(&cpu)) {
        cpu.features = 0; /* the context has refused a bad OPT_ISA already; its level decides */
    }
    table = malloc(sizeof *table);
    if (table == NULL) {
        const opt_status st = opt_fail(ctx, OPT_ERR_MEMORY, "kernel table", "out of memory");
        (void)st;
        return NULL;
    }
    const opt_isa isa = opt_ctx_isa_level(ctx);
    opt_kern_fill(table, isa, cpu.features);
    if (table->rows_isa >= OPT_ISA_AMX && !opt_kern_tiles_work(table)) {
        opt_kern_fill(table, OPT_ISA_AVX512, cpu.features);
    }
    return opt_ctx_attach(ctx, &table_key, table, free);
}
