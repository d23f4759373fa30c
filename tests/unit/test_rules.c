/* Per-tensor rules: patterns, keys, precedence, and what is said about mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "recipe/rules.h"

static opt_status check_format(opt_ctx *ctx, const char *rule, const char *value) {
    return value[0] == 'q' ? OPT_OK : opt_fail(ctx, OPT_ERR_USAGE, rule, "no format '%s'", value);
}

static opt_status check_any(opt_ctx *ctx, const char *rule, const char *value) {
    (void)ctx;
    (void)rule;
    (void)value;
    return OPT_OK;
}

static const opt_rule_key keys[] = {
    {"format", "", check_format}, {"width", "", check_any}, {NULL, NULL, NULL}};
static const char *const roles[] = {"linear", "embedding", "norm", NULL};

static opt_ctx *make_ctx(void) {
    opt_ctx *ctx = NULL;
    assert_int_equal(opt_ctx_new(NULL, &ctx), OPT_OK);
    return ctx;
}

static void test_rules__glob(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool match;
    } rows[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "anything.at.all", true},
        {"blk.*.ffn_down", "blk.12.ffn_down", true},
        {"blk.*.ffn_down", "blk.12.ffn_down.weight", false},
        {"*down*", "blk.12.ffn_down.weight", true},
        {"blk.?.*", "blk.3.attn_q", true},
        {"blk.?.*", "blk.13.attn_q", false},
        {"blk.[0-3].*", "blk.2.attn_q", true},
        {"blk.[0-3].*", "blk.4.attn_q", false},
        {"blk.[!0-3].*", "blk.4.attn_q", true},
        {"blk.[!0-3].*", "blk.1.attn_q", false},
        {"a[]]b", "a]b", true},
        {"a[b", "a[b", true},
        {"a[b", "ab", false},
        {"*a*b*c*", "xxaxxbxxcxx", true},
        {"*a*b*c*", "xxaxxcxxbxx", false},
        {"attn_*", "attn_", true},
        {"token_embd", "token_embd.weight", false},
        {"a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (opt_rules_glob(rows[i].pattern, rows[i].text) != rows[i].match) {
            fail_msg("'%s' against '%s'", rows[i].pattern, rows[i].text);
        }
    }
}

static void test_rules__mistakes_are_named(void **state) {
    (void)state;
    static const struct {
        const char *rule, *message;
    } rows[] = {
        {"", "PATTERN:key=value"},
        {"ffn_down", "PATTERN:key=value"},
        {":format=q8_0", "PATTERN:key=value"},
        {"ffn_down:", "'' is not key=value"},
        {"ffn_down:format", "'format' is not key=value"},
        {"ffn_down:=q8_0", "'=q8_0' is not key=value"},
        {"ffn_down:format=", "'format=' is not key=value"},
        {"ffn_down:fromat=q8_0", "unknown key 'fromat'; did you mean 'format'?"},
        {"ffn_down:colour=red", "unknown key 'colour'"},
        {"ffn_down:format=x8", "no format 'x8'"},
        {"ffn_down:format=q8_0,format=q4_0", "key 'format' is given twice"},
        {"ffn_down:format=q8_0,", "'' is not key=value"},
        {"role=nrom:format=q8_0", "unknown role 'nrom'; did you mean 'norm'?"},
        {"role=zebra:format=q8_0", "unknown role 'zebra'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        opt_ctx *ctx = make_ctx();
        opt_rules *rules = NULL;
        const char *text = rows[i].rule;
        assert_int_equal(opt_rules_parse(ctx, &text, 1, keys, roles, &rules), OPT_ERR_USAGE);
        assert_null(rules);
        assert_string_equal(opt_ctx_error_object(ctx), rows[i].rule);
        if (strstr(opt_ctx_error_message(ctx), rows[i].message) == NULL) {
            fail_msg("'%s': %s", rows[i].rule, opt_ctx_error_message(ctx));
        }
        opt_ctx_free(ctx);
    }
}

static void test_rules__later_rules_win_key_by_key(void **state) {
    (void)state;
    opt_ctx *ctx = make_ctx();
    opt_rules *rules = NULL;
    const char *texts[] = {"*:format=q4_0,width=own", "ffn_down:format=q8_0",
                           "role=embedding:format=q5_0", "model.layers.0.*:width=next"};
    assert_int_equal(opt_rules_parse(ctx, texts, 4, keys, roles, &rules), OPT_OK);
    const char *values[OPT_RULE_MAX_KEYS];
    const opt_rule_target down = {{"blk.0.ffn_down.weight", "blk.0.ffn_down", "ffn_down",
                                   "model.layers.0.mlp.down_proj.weight"},
                                  "linear"};
    opt_rules_resolve(rules, &down, values);
    assert_string_equal(values[0], "q8_0");
    assert_string_equal(values[1], "next");
    assert_int_equal(opt_rules_check_used(rules, NULL, 0),
                     OPT_ERR_USAGE); /* role=embedding has matched nothing yet */
    assert_string_equal(opt_ctx_error_object(ctx), "role=embedding:format=q5_0");
    opt_ctx_clear_error(ctx);
    const opt_rule_target embd = {{"token_embd.weight", "token_embd", "token_embd", NULL},
                                  "embedding"};
    opt_rules_resolve(rules, &embd, values);
    assert_string_equal(values[0], "q5_0");
    assert_string_equal(values[1], "own");
    assert_int_equal(opt_rules_check_used(rules, NULL, 0), OPT_OK);
    opt_rules_free(rules);
    opt_ctx_free(ctx);
}

static void test_rules__none_leave_everything_open(void **state) {
    (void)state;
    opt_ctx *ctx = make_ctx();
    opt_rules *rules = NULL;
    assert_int_equal(opt_rules_parse(ctx, NULL, 0, keys, roles, &rules), OPT_OK);
    const char *values[OPT_RULE_MAX_KEYS] = {"x", "y"};
    const opt_rule_target t = {{"a", NULL, NULL, NULL}, "linear"};
    opt_rules_resolve(rules, &t, values);
    assert_null(values[0]);
    assert_null(values[1]);
    assert_int_equal(opt_rules_check_used(rules, NULL, 0), OPT_OK);
    opt_rules_free(rules);
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules__glob),
        cmocka_unit_test(test_rules__mistakes_are_named),
        cmocka_unit_test(test_rules__later_rules_win_key_by_key),
        cmocka_unit_test(test_rules__none_leave_everything_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
