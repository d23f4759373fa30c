#include "recipe/rules.h"

#include <string.h>

#include "opt/text.h"

typedef struct rule {
    const char *text;    /* as written, for messages */
    const char *pattern; /* glob, or the name of a role */
    bool by_role;
    const char *values[OPT_RULE_MAX_KEYS];
    int64_t n_matched;
} rule;

struct opt_rules {
    opt_ctx *ctx;
    opt_arena *arena;
    const opt_rule_key *keys;
    size_t n_keys;
    rule *rules;
    size_t n;
};

/** Matches one character against "[...]" at *p and moves *p behind it; false as well if there is no
 * ']'. */
static bool match_set(const char **p, char c, bool *closed) {
    const char *s = *p + 1;
    const bool negate = *s == '!' || *s == '^';
    bool found = false;
    s += negate;
    const char *first = s;
    while (*s != 0 && (*s != ']' || s == first)) {
        if (s[1] == '-' && s[2] != 0 && s[2] != ']') {
            found = found || (s[0] <= c && c <= s[2]);
            s += 3;
        } else {
            found = found || *s == c;
            s++;
        }
    }
    *closed = *s == ']';
    if (*closed) {
        *p = s + 1;
    }
    return found != negate;
}

/** Matches one character against the element at *p (no '*') and moves *p behind it. */
static bool match_one(const char **p, char c) {
    if (**p == '[') {
        bool closed = false;
        const bool found = match_set(p, c, &closed);
        if (closed) {
            return found;
        }
    }
    const char want = *(*p)++;
    return want == '?' || want == c;
}

bool opt_rules_glob(const char *pattern, const char *text) {
    const char *retry_pattern = NULL,
               *retry_text = NULL; /* behind the last '*', and what it has taken up to */
    while (*text != 0) {
        if (*pattern == '*') {
            retry_pattern = ++pattern;
            retry_text = text;
            continue;
        }
        const char *p = pattern;
        if (*p != 0 && match_one(&p, *text)) {
            pattern = p;
            text++;
            continue;
        }
        if (retry_pattern == NULL) {
            return false;
        }
        pattern = retry_pattern;
        text = ++retry_text;
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == 0;
}

static size_t list_length(const char *const *list) {
    size_t n = 0;
    while (list[n] != NULL) {
        n++;
    }
    return n;
}

static opt_status unknown_key(const opt_rules *rs, const char *text, const char *key) {
    const char *names[OPT_RULE_MAX_KEYS];
    for (size_t k = 0; k < rs->n_keys; k++) {
        names[k] = rs->keys[k].name;
    }
    const char *near = opt_text_nearest(key, names, rs->n_keys);
    if (near != NULL) {
        return opt_fail(rs->ctx, OPT_ERR_USAGE, text, "unknown key '%s'; did you mean '%s'?", key,
                        near);
    }
    return opt_fail(rs->ctx, OPT_ERR_USAGE, text, "unknown key '%s'; the first known one is '%s'",
                    key, rs->keys[0].name);
}

/** Parses "key=value" of n bytes into the rule. */
static opt_status parse_pair(opt_rules *rs, rule *r, const char *pair, size_t n) {
    opt_status st = OPT_OK;
    const char *eq = memchr(pair, '=', n);
    OPT_REQUIRE(eq != NULL && eq > pair && eq + 1 < pair + n, rs->ctx, OPT_ERR_USAGE, r->text,
                "'%.*s' is not key=value", (int)n, pair);
    const char *key = opt_arena_strndup(rs->arena, pair, (size_t)(eq - pair));
    const char *value = opt_arena_strndup(rs->arena, eq + 1, n - (size_t)(eq + 1 - pair));
    OPT_TRY_PTR(key);
    OPT_TRY_PTR(value);
    size_t k = 0;
    while (k < rs->n_keys && strcmp(rs->keys[k].name, key) != 0) {
        k++;
    }
    if (k == rs->n_keys) {
        OPT_TRY(unknown_key(rs, r->text, key));
    }
    OPT_REQUIRE(r->values[k] == NULL, rs->ctx, OPT_ERR_USAGE, r->text, "key '%s' is given twice",
                key);
    OPT_TRY(rs->keys[k].check(rs->ctx, r->text, value));
    r->values[k] = value;
done:
    return st;
}

static opt_status parse_pattern(opt_rules *rs, rule *r, const char *pattern, size_t n,
                                const char *const *roles) {
    opt_status st = OPT_OK;
    r->by_role = n > 5 && memcmp(pattern, "role=", 5) == 0;
    if (r->by_role) {
        pattern += 5;
        n -= 5;
    }
    r->pattern = opt_arena_strndup(rs->arena, pattern, n);
    OPT_TRY_PTR(r->pattern);
    if (r->by_role) {
        bool known = false;
        for (size_t i = 0; roles[i] != NULL; i++) {
            known = known || strcmp(roles[i], r->pattern) == 0;
        }
        const char *near = opt_text_nearest(r->pattern, roles, list_length(roles));
        OPT_REQUIRE(known, rs->ctx, OPT_ERR_USAGE, r->text, "unknown role '%s'%s%s%s", r->pattern,
                    near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                    near != NULL ? "'?" : "");
    }
done:
    return st;
}

static opt_status parse_rule(opt_rules *rs, rule *r, const char *text, const char *const *roles) {
    opt_status st = OPT_OK;
    r->text = opt_arena_strdup(rs->arena, text);
    OPT_TRY_PTR(r->text);
    const char *colon = strrchr(text, ':'); /* values hold no colon, names may */
    OPT_REQUIRE(colon != NULL && colon > text, rs->ctx, OPT_ERR_USAGE, r->text,
                "a rule has the form PATTERN:key=value, such as 'ffn_down:format=q8_0'");
    OPT_TRY(parse_pattern(rs, r, text, (size_t)(colon - text), roles));
    for (const char *pair = colon + 1;;) {
        const size_t n = strcspn(pair, ",");
        OPT_TRY(parse_pair(rs, r, pair, n));
        if (pair[n] == 0) {
            break;
        }
        pair += n + 1;
    }
done:
    return st;
}

opt_status opt_rules_parse(opt_ctx *ctx, const char *const *texts, size_t n,
                           const opt_rule_key *keys, const char *const *roles, opt_rules **out) {
    opt_status st = OPT_OK;
    opt_arena *arena = NULL;
    OPT_TRY(opt_arena_new(ctx, &arena));
    opt_rules *rs = opt_arena_alloc(arena, sizeof *rs);
    OPT_TRY_PTR(rs);
    rs->ctx = ctx;
    rs->arena = arena;
    rs->keys = keys;
    while (keys[rs->n_keys].name != NULL) {
        rs->n_keys++;
    }
    OPT_REQUIRE(rs->n_keys <= OPT_RULE_MAX_KEYS, ctx, OPT_ERR_BUG, NULL, "too many rule keys");
    rs->n = n;
    rs->rules = opt_arena_array(arena, n, sizeof *rs->rules);
    OPT_TRY_PTR(rs->rules);
    for (size_t i = 0; i < n; i++) {
        OPT_TRY(parse_rule(rs, &rs->rules[i], texts[i], roles));
    }
    *out = rs;
    arena = NULL;
done:
    opt_arena_free(arena);
    return st;
}

void opt_rules_free(opt_rules *rules) {
    if (rules != NULL) {
        opt_arena_free(rules->arena);
    }
}

static bool rule_matches(const rule *r, const opt_rule_target *target) {
    if (r->by_role) {
        return strcmp(r->pattern, target->role) == 0;
    }
    for (int i = 0; i < OPT_RULE_MAX_NAMES; i++) {
        if (target->names[i] != NULL && opt_rules_glob(r->pattern, target->names[i])) {
            return true;
        }
    }
    return false;
}

void opt_rules_resolve(opt_rules *rules, const opt_rule_target *target, const char **values) {
    for (size_t k = 0; k < rules->n_keys; k++) {
        values[k] = NULL;
    }
    for (size_t i = 0; i < rules->n; i++) {
        rule *r = &rules->rules[i];
        if (!rule_matches(r, target)) {
            continue;
        }
        r->n_matched++;
        for (size_t k = 0; k < rules->n_keys; k++) {
            if (r->values[k] != NULL) {
                values[k] = r->values[k];
            }
        }
    }
}

opt_status opt_rules_check_used(const opt_rules *rules, const char *const *names, size_t n) {
    for (size_t i = 0; i < rules->n; i++) {
        const rule *r = &rules->rules[i];
        if (r->n_matched > 0) {
            continue;
        }
        const char *near = r->by_role ? NULL : opt_text_nearest(r->pattern, names, n);
        return opt_fail(rules->ctx, OPT_ERR_USAGE, r->text,
                        "the pattern '%s%s' matches no tensor of the model%s%s%s",
                        r->by_role ? "role=" : "", r->pattern,
                        near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                        near != NULL ? "'?" : "");
    }
    return OPT_OK;
}
