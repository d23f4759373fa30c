#include "common/option.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "opt/text.h"

#define MAX_OPTIONS 64

/** State of one parse. */
typedef struct parser {
    const cli_option *const *tables;
    unsigned char *settings;
    const char **list_storage;
    size_t list_capacity; /* of one list */
    cli_parsed *out;
} parser;

bool cli_is_end(const cli_option *o) { return o->name == NULL && o->help == NULL; }

static bool wrong(cli_parsed *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool wrong(cli_parsed *out, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(out->error, sizeof out->error, fmt, args);
    va_end(args);
    return false;
}

static const cli_option *find_name(const parser *p, const char *name, size_t n) {
    for (size_t t = 0; p->tables[t] != NULL; t++) {
        for (const cli_option *o = p->tables[t]; !cli_is_end(o); o++) {
            if (o->name != NULL && strlen(o->name) == n && memcmp(o->name, name, n) == 0) {
                return o;
            }
        }
    }
    return NULL;
}

static const cli_option *find_letter(const parser *p, char letter) {
    for (size_t t = 0; p->tables[t] != NULL; t++) {
        for (const cli_option *o = p->tables[t]; !cli_is_end(o); o++) {
            if (o->name != NULL && o->letter == letter) {
                return o;
            }
        }
    }
    return NULL;
}

static bool unknown_name(const parser *p, const char *name, size_t n) {
    const char *names[MAX_OPTIONS];
    size_t n_names = 0;
    for (size_t t = 0; p->tables[t] != NULL; t++) {
        for (const cli_option *o = p->tables[t]; !cli_is_end(o) && n_names < MAX_OPTIONS; o++) {
            if (o->name != NULL) {
                names[n_names++] = o->name;
            }
        }
    }
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)(n < 63 ? n : 63), name);
    const char *near = opt_text_nearest(word, names, n_names);
    if (near != NULL) {
        return wrong(p->out, "unknown option --%s; did you mean --%s?", word, near);
    }
    return wrong(p->out, "unknown option --%s; --help lists the options", word);
}

bool cli_parse_bytes(const char *text, uint64_t *out) {
    char *end;
    errno = 0;
    const double v = strtod(text, &end);
    if (end == text || errno != 0 || !(v >= 0) || text[0] == ' ') {
        return false;
    }
    double unit = 1;
    if (*end != 0) {
        static const char letters[] = "KMGT";
        const char *at = strchr(letters, *end >= 'a' ? *end - 'a' + 'A' : *end);
        if (at == NULL) {
            return false;
        }
        unit = ldexp(1, 10 * (int)(at - letters + 1));
        end++;
        if (strcmp(end, "iB") == 0 || strcmp(end, "B") == 0) {
            end += strlen(end);
        }
    }
    if (*end != 0 || v * unit >= 1.8e19) {
        return false;
    }
    *out = (uint64_t)(v * unit);
    return true;
}

/** Index of text[n] among "a|b|c", or -1. */
static int choice_index(const char *choices, const char *text, size_t n) {
    int index = 0;
    for (const char *c = choices;; index++) {
        const size_t len = strcspn(c, "|");
        if (len == n && memcmp(c, text, n) == 0) {
            return index;
        }
        if (c[len] == 0) {
            return -1;
        }
        c += len + 1;
    }
}

static bool set_bits(const parser *p, const cli_option *o, const char *value) {
    unsigned bits = 0;
    for (const char *c = value;;) {
        const size_t len = strcspn(c, ",");
        const int index = choice_index(o->choices, c, len);
        if (index < 0) {
            return wrong(p->out, "--%s: '%.*s' is none of %s", o->name, (int)len, c, o->choices);
        }
        if (index > 0) { /* the first choice stands for the empty set */
            bits |= 1U << (index - 1);
        }
        if (c[len] == 0) {
            break;
        }
        c += len + 1;
    }
    memcpy(p->settings + o->off, &bits, sizeof bits);
    return true;
}

/** A whole number from `text` to its end, which must be `stop` or the end of the text. */
static bool read_int(const parser *p, const cli_option *o, const char *text, char stop,
                     const char **end, int64_t *out) {
    char *behind;
    errno = 0;
    const long long v = strtoll(text, &behind, 10);
    if (behind == text || (*behind != 0 && *behind != stop) || errno != 0) {
        return wrong(p->out, "--%s: '%s' is not a whole number", o->name, text);
    }
    if (o->max > 0 ? ((double)v < o->min || (double)v > o->max) : v < 0) {
        return o->max > 0
                   ? wrong(p->out, "--%s: %lld is outside %.0f to %.0f", o->name, v, o->min, o->max)
                   : wrong(p->out, "--%s: %lld is below 0", o->name, v);
    }
    *out = v;
    *end = behind;
    return true;
}

static bool set_int(const parser *p, const cli_option *o, const char *value) {
    int64_t result = 0;
    if (!read_int(p, o, value, 0, &value, &result)) {
        return false;
    }
    memcpy(p->settings + o->off, &result, sizeof result);
    return true;
}

static bool set_ints(const parser *p, const cli_option *o, const char *value) {
    cli_ints result = {.n = 0};
    const char *at = value;
    for (;;) {
        if (result.n == CLI_MAX_INTS) {
            return wrong(p->out, "--%s: '%s' has more than %d values", o->name, value,
                         CLI_MAX_INTS);
        }
        if (!read_int(p, o, at, ',', &at, &result.v[result.n])) {
            return false;
        }
        result.n++;
        if (*at == 0) {
            break;
        }
        at++;
    }
    memcpy(p->settings + o->off, &result, sizeof result);
    return true;
}

static bool set_real(const parser *p, const cli_option *o, const char *value) {
    char *end;
    errno = 0;
    const double v = strtod(value, &end);
    if (end == value || *end != 0 || errno != 0 || !isfinite(v)) {
        return wrong(p->out, "--%s: '%s' is not a number", o->name, value);
    }
    if (v < o->min || v > o->max) {
        return wrong(p->out, "--%s: %g is outside %g to %g", o->name, v, o->min, o->max);
    }
    memcpy(p->settings + o->off, &v, sizeof v);
    return true;
}

static bool set_list(parser *p, const cli_option *o, const char *value) {
    cli_list list;
    memcpy(&list, p->settings + o->off, sizeof list);
    if (list.items == NULL) {
        list.items = p->list_storage;
        p->list_storage += p->list_capacity;
    }
    list.items[list.n++] = value;
    memcpy(p->settings + o->off, &list, sizeof list);
    return true;
}

static bool set_value(parser *p, const cli_option *o, const char *value) {
    if ((o->kind == CLI_PATH || o->kind == CLI_LIST) && value[0] == 0) {
        return wrong(p->out, "--%s: the value is empty, expected %s", o->name, o->arg);
    }
    switch (o->kind) {
    case CLI_TEXT:
    case CLI_PATH:
    case CLI_OPTIONAL: memcpy(p->settings + o->off, &value, sizeof value); return true;
    case CLI_LIST: return set_list(p, o, value);
    case CLI_INT: return set_int(p, o, value);
    case CLI_INTS: return set_ints(p, o, value);
    case CLI_REAL: return set_real(p, o, value);
    case CLI_SET: return set_bits(p, o, value);
    case CLI_BYTES: {
        uint64_t bytes;
        if (!cli_parse_bytes(value, &bytes)) {
            return wrong(p->out, "--%s: '%s' is not a size such as 512M or 4G", o->name, value);
        }
        memcpy(p->settings + o->off, &bytes, sizeof bytes);
        return true;
    }
    case CLI_CHOICE: {
        const int index = choice_index(o->choices, value, strlen(value));
        if (index < 0) {
            return wrong(p->out, "--%s: '%s' is none of %s", o->name, value, o->choices);
        }
        memcpy(p->settings + o->off, &index, sizeof index);
        return true;
    }
    case CLI_FLAG:
    case CLI_COUNT:
    case CLI_HELP:
    case CLI_VERSION: break;
    }
    return wrong(p->out, "--%s takes no value", o->name);
}

/** Sets an option that takes no value. */
static void set_flag(const parser *p, const cli_option *o) {
    if (o->kind == CLI_FLAG) {
        const bool yes = true;
        memcpy(p->settings + o->off, &yes, sizeof yes);
    } else if (o->kind == CLI_COUNT) {
        int count;
        memcpy(&count, p->settings + o->off, sizeof count);
        count++;
        memcpy(p->settings + o->off, &count, sizeof count);
    } else if (o->kind == CLI_OPTIONAL) {
        const char *empty = "";
        memcpy(p->settings + o->off, &empty, sizeof empty);
    } else if (o->kind == CLI_HELP) {
        p->out->help = true;
    } else {
        p->out->version = true;
    }
}

static bool takes_value(const cli_option *o) {
    return o->kind != CLI_FLAG && o->kind != CLI_COUNT && o->kind != CLI_OPTIONAL &&
           o->kind != CLI_HELP && o->kind != CLI_VERSION;
}

/** One "--..." argument; `next` is the following one or NULL. *used_next tells whether it was
 * taken. */
static bool parse_long(parser *p, const char *arg, const char *next, bool *used_next) {
    const char *name = arg + 2;
    const size_t n = strcspn(name, "=");
    const cli_option *o = find_name(p, name, n);
    if (o == NULL) {
        return unknown_name(p, name, n);
    }
    if (name[n] == '=') {
        return set_value(p, o, name + n + 1);
    }
    if (!takes_value(o)) {
        set_flag(p, o);
        return true;
    }
    if (next == NULL) {
        return wrong(p->out, "--%s needs a value: --%s %s", o->name, o->name, o->arg);
    }
    *used_next = true;
    return set_value(p, o, next);
}

/** One "-abc" argument. */
static bool parse_short(parser *p, const char *arg, const char *next, bool *used_next) {
    for (const char *c = arg + 1; *c != 0; c++) {
        const cli_option *o = find_letter(p, *c);
        if (o == NULL) {
            return (unsigned char)*c >= 0x20 && (unsigned char)*c < 0x7f
                       ? wrong(p->out, "unknown option -%c; --help lists the options", *c)
                       : wrong(p->out, "unknown option -\\x%02x; --help lists the options",
                               (unsigned char)*c);
        }
        if (!takes_value(o)) {
            set_flag(p, o);
            continue;
        }
        if (c[1] != 0) {
            return set_value(p, o, c + 1);
        }
        if (next == NULL) {
            return wrong(p->out, "-%c needs a value: -%c %s", *c, *c, o->arg);
        }
        *used_next = true;
        return set_value(p, o, next);
    }
    return true;
}

bool cli_parse(int argc, char **argv, const cli_option *const *tables, void *settings,
               const char **list_storage, cli_parsed *parsed) {
    memset(parsed, 0, sizeof *parsed);
    parser p = {tables, settings, list_storage, (size_t)argc, parsed};
    bool only_args = false;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (only_args || arg[0] != '-' || arg[1] == 0) {
            if (parsed->n_args == CLI_MAX_ARGS) {
                return wrong(parsed, "too many arguments: '%s' was not expected", arg);
            }
            parsed->args[parsed->n_args++] = arg;
            continue;
        }
        if (strcmp(arg, "--") == 0) {
            only_args = true;
            continue;
        }
        bool used_next = false;
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        if (!(arg[1] == '-' ? parse_long(&p, arg, next, &used_next)
                            : parse_short(&p, arg, next, &used_next))) {
            return false;
        }
        if (parsed->help || parsed->version) {
            return true;
        }
        i += used_next;
    }
    return true;
}

void cli_print_wrapped(const char *text, int column, int indent) {
    int at = column;
    for (const char *c = text; *c != 0;) {
        const int n = (int)strcspn(c, " ");
        if (at > indent && at + 1 + n > 79) {
            printf("\n%*s", indent, "");
            at = indent;
        } else if (c != text) {
            putchar(' ');
            at++;
        }
        printf("%.*s", n, c);
        at += n;
        c += n;
        c += strspn(c, " ");
    }
    putchar('\n');
}

void cli_print_options(const cli_option *const *tables) {
    const int indent = 26;
    for (size_t t = 0; tables[t] != NULL; t++) {
        for (const cli_option *o = tables[t]; !cli_is_end(o); o++) {
            if (o->name == NULL) {
                printf("\n%s:\n", o->help);
                continue;
            }
            char left[64];
            const bool optional = o->kind == CLI_OPTIONAL;
            snprintf(left, sizeof left, "%c%c%c --%s%s%s%s", o->letter ? '-' : ' ',
                     o->letter ? o->letter : ' ', o->letter ? ',' : ' ', o->name,
                     o->arg == NULL ? "" : (optional ? "[=" : " "), o->arg ? o->arg : "",
                     optional ? "]" : "");
            int column = printf("  %s", left);
            if (column >= indent) {
                putchar('\n');
                column = 0;
            }
            printf("%*s", indent - column, "");
            cli_print_wrapped(o->help, indent, indent);
        }
    }
}
