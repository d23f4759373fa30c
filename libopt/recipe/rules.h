/**
 * Per-tensor rules: "PATTERN:key=value[,key=value...]". Which keys exist and which values they take
 * is said by a table of the caller, so that a recipe file will use the same rows. Later rules win,
 * key by key.
 *
 * PATTERN is matched against every name that a tensor has (canonical "blk.0.ffn_down.weight", the
 * same without
 * ".weight", kind "ffn_down", name in the source file) with * (any text), ? (one character) and
 * [abc], [a-c], [!abc]; or it is "role=NAME".
 */
#ifndef OPT_RECIPE_RULES_H
#define OPT_RECIPE_RULES_H

#include <stdbool.h>

#include "base/mem.h"

#define OPT_RULE_MAX_KEYS 8
#define OPT_RULE_MAX_NAMES 4

/** A key that rules may set. Rows are static const; a table ends with a NULL name. */
typedef struct opt_rule_key {
    const char *name;
    const char *help;
    /** Checks a value; records USAGE (object: the rule's text) unless it is allowed. */
    opt_status (*check)(opt_ctx *ctx, const char *rule, const char *value);
} opt_rule_key;

/** What a rule may select a tensor by. */
typedef struct opt_rule_target {
    const char *names[OPT_RULE_MAX_NAMES]; /* unused ones NULL */
    const char *role;
} opt_rule_target;

typedef struct opt_rules opt_rules;

/**
 * Parses texts[n] in order. `keys` is borrowed and must outlive the result. Errors: USAGE naming
 * the rule, with the nearest known key or role where one was misspelt.
 */
OPT_MUST_USE opt_status opt_rules_parse(opt_ctx *ctx, const char *const *texts, size_t n,
                                        const opt_rule_key *keys, const char *const *roles,
                                        opt_rules **out);
void opt_rules_free(opt_rules *rules);

/** Fills values [number of keys] for a tensor, NULL where no rule says anything; counts the rules
 * that matched. */
void opt_rules_resolve(opt_rules *rules, const opt_rule_target *target, const char **values);

/** USAGE naming the first rule that has matched nothing so far, and the nearest of names[n]. */
OPT_MUST_USE opt_status opt_rules_check_used(const opt_rules *rules, const char *const *names,
                                             size_t n);

/** Whether `text` matches the glob `pattern`; in O(|pattern| |text|). An unclosed '[' stands for
 * itself. */
bool opt_rules_glob(const char *pattern, const char *text);

#endif
