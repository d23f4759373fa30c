#include "unit/test_walls/toy.h"

static const opt_tensor_name names[] = {
    {"token_embd", "words"}, {"twist", "twist"}, {"output", "head"}, {NULL, NULL}};

static const toy_twist twist = {.offset = 0.5F};

static opt_status config_hf(opt_ctx *ctx, opt_arena *arena, const char *file, const opt_json *json,
                            opt_hparams *hp) {
    opt_status st = OPT_OK;
    (void)arena;
    OPT_TRY(opt_json_need_i64(ctx, file, json, "words", true, 1, 1000, &hp->n_vocab));
    OPT_TRY(opt_json_need_i64(ctx, file, json, "width", true, 1, 1000, &hp->n_embd));
    hp->n_ctx_train = 16;
done:
    return st;
}

static int build(opt_builder *b, const opt_hparams *hp) {
    const opt_weight_decl words = {
        "token_embd", "weight", -1, OPT_ROLE_EMBEDDING, 2, {hp->n_vocab, hp->n_embd}, 0};
    const opt_weight_decl factors = {"twist", "weight", -1, OPT_ROLE_OTHER, 1, {hp->n_embd}, 0};
    const opt_weight_decl head = {
        "output", "weight", -1, OPT_ROLE_HEAD, 2, {hp->n_vocab, hp->n_embd}, 0};
    const int w[] = {opt_build_weight(b, &words), opt_build_weight(b, &factors),
                     opt_build_weight(b, &head)};
    const opt_node_params none = {.custom = NULL}, offset = {.custom = &twist};
    const int tokens = OPT_NODE_TOKENS;
    int x = opt_build_node(b, &opt_op_embed, -1, "token_embd", &tokens, 1, &w[0], 1, none);
    x = opt_build_node(b, &opt_op_twist, -1, "twist", &x, 1, &w[1], 1, offset);
    return opt_build_node(b, &opt_op_linear, -1, "output", &x, 1, &w[2], 1, none);
}

static opt_status to_kv(opt_ctx *ctx, const opt_model *m, opt_kv *kv) {
    (void)ctx;
    return opt_kv_set_u32(kv, "toy.width", (uint32_t)m->hp.n_embd);
}

const opt_arch opt_arch_toy = {
    .name = "toy",
    .help = "words, a twist and a head",
    .model_type = "toy",
    .hf_class = "ToyModel",
    .gguf_name = "toy",
    .names = names,
    .config_hf = config_hf,
    .build = build,
    .to_kv = to_kv,
};
