/**
 * Command-line options. One table row describes an option; the parser and --help are made from the
 * same rows. Options may stand anywhere; "--" ends them; "--name=value", "--name value", "-nvalue"
 * and "-n value" all work.
 */
#ifndef OPT_TOOLS_OPTION_H
#define OPT_TOOLS_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum cli_kind {
    CLI_FLAG,   /**< bool, set to true */
    CLI_COUNT,  /**< int, one more each time */
    CLI_TEXT,   /**< const char * */
    CLI_PATH,   /**< const char *, not empty */
    CLI_LIST,   /**< cli_list of texts that are not empty; may be repeated */
    CLI_INT,    /**< int64_t in [min, max] */
    CLI_INTS,   /**< cli_ints, comma-separated, each in [min, max] */
    CLI_REAL,   /**< double in [min, max] */
    CLI_BYTES,  /**< uint64_t with an optional suffix K, M, G or T (powers of 1024) */
    CLI_CHOICE, /**< int, index of one of `choices` */
    CLI_SET,    /**< unsigned, bits by index of comma-separated `choices` (a choice named refuse or
                   none gives no bit) */
    CLI_OPTIONAL, /**< const char *: "" without a value, which needs the form --name=value */
    CLI_HELP,     /**< ends parsing: help was asked for */
    CLI_VERSION   /**< ends parsing: the version was asked for */
} cli_kind;

/** Values of a repeatable option, in order; they point into argv. */
typedef struct cli_list {
    const char **items; /* [n], in storage of argc elements */
    size_t n;
} cli_list;

#define CLI_MAX_INTS 8

/** Values of a CLI_INTS option, in order. */
typedef struct cli_ints {
    int64_t v[CLI_MAX_INTS];
    int n;
} cli_ints;

typedef struct cli_option {
    const char *name; /* without dashes; NULL: `help` is a heading */
    char letter;      /* 0: none */
    cli_kind kind;
    const char *arg; /* what stands for the value in --help: "FILE"; NULL for flags */
    const char *help;
    size_t off;          /* of the member in the settings struct */
    const char *choices; /* "fast|exact" for CLI_CHOICE and CLI_SET */
    double min,
        max; /* CLI_INT, CLI_INTS, CLI_REAL; both 0: not limited below INT64_MAX, at least 0 */
} cli_option;

#define CLI_MAX_ARGS 2

/** What the parser found besides option values. */
typedef struct cli_parsed {
    const char *args[CLI_MAX_ARGS]; /* positional arguments */
    size_t n_args;
    bool help, version;
    char error[512]; /* "" or what is wrong with the command line */
} cli_parsed;

/**
 * Parses argv[1 ..]. `tables` is a NULL-terminated list of option tables, each ended by a row of
 * zeros; values go to `settings`. `list_storage` has room for argc pointers for every CLI_LIST
 * option: argc * n_lists. Returns false with parsed->error set when the command line is wrong.
 */
bool cli_parse(int argc, char **argv, const cli_option *const *tables, void *settings,
               const char **list_storage, cli_parsed *parsed);

/** True for the last row of a table. */
bool cli_is_end(const cli_option *o);

/** Prints the rows to standard output as the option section of --help. */
void cli_print_options(const cli_option *const *tables);

/** Prints `text` to standard output, wrapped at spaces before column 80; the cursor stands at
   `column`, and further lines start at column `indent`. */
void cli_print_wrapped(const char *text, int column, int indent);

/** Parses "4G", "1.5M", "1024": false unless the whole text is a size. */
bool cli_parse_bytes(const char *text, uint64_t *out);

#endif
