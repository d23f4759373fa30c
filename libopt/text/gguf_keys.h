/** Keys of tokenizers in GGUF files. The lathe.* keys say what the others cannot; docs/FORMAT.md
 * describes them. */
#ifndef OPT_TEXT_GGUF_KEYS_H
#define OPT_TEXT_GGUF_KEYS_H

#define OPT_KEY_MODEL "tokenizer.ggml.model"
#define OPT_KEY_PRE "tokenizer.ggml.pre"
#define OPT_KEY_TOKENS "tokenizer.ggml.tokens"
#define OPT_KEY_TYPES "tokenizer.ggml.token_type"
#define OPT_KEY_SCORES "tokenizer.ggml.scores"
#define OPT_KEY_MERGES "tokenizer.ggml.merges"
#define OPT_KEY_BOS "tokenizer.ggml.bos_token_id"
#define OPT_KEY_EOS "tokenizer.ggml.eos_token_id"
#define OPT_KEY_UNK "tokenizer.ggml.unknown_token_id"
#define OPT_KEY_PAD "tokenizer.ggml.padding_token_id"
#define OPT_KEY_EOT "tokenizer.ggml.eot_token_id"
#define OPT_KEY_EOM "tokenizer.ggml.eom_token_id"
#define OPT_KEY_ADD_BOS "tokenizer.ggml.add_bos_token"
#define OPT_KEY_ADD_EOS "tokenizer.ggml.add_eos_token"
#define OPT_KEY_ADD_PREFIX "tokenizer.ggml.add_space_prefix"
#define OPT_KEY_TEMPLATE "tokenizer.chat_template"

/** string: the tokenizer.json without the members vocab and merges of its model */
#define OPT_KEY_PIPELINE "lathe.tokenizer.pipeline"
/** i32 [2 n]: ids of the left and the right part of each merge, in order of rank (where there are
 * scores, not merges) */
#define OPT_KEY_MERGE_IDS "lathe.tokenizer.merges"
/** i32 [n]: tokens that end generation */
#define OPT_KEY_EOG "lathe.tokenizer.eog_token_ids"

#endif
