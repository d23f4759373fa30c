/** The frame of every tool: commands, common options, context, signals, messages, report, exit
 * code. */
#ifndef OPT_TOOLS_CLI_H
#define OPT_TOOLS_CLI_H

#include "common/option.h"
#include "opt/report.h"

/** Options of every tool; the first member of each command's settings. */
typedef struct cli_common {
    int64_t threads;
    uint64_t max_memory;
    const char *json; /* NULL: no JSON; "" or "-": standard output; otherwise a file */
    int quiet, verbose;
} cli_common;

typedef struct cli_command cli_command;
typedef struct cli_tool cli_tool;

/** One run of a command. */
typedef struct cli_job {
    const cli_tool *tool;
    const cli_command *command;
    const cli_common *common;
    opt_ctx *ctx;
    const char *const *args;
    size_t n_args;
    opt_report report;   /* filled by the command; what it points to lives until `cleanup` */
    char error[512];     /* of cli_usage */
    bool json_on_stdout; /* standard output belongs to the JSON document */
    bool json_refused;   /* the file for the JSON document holds something else */
    bool text_done;      /* the command has printed its results itself */
} cli_job;

/** A command of a tool. All members are constant tables. */
struct cli_command {
    const char *name;      /* NULL: the tool has this command only */
    const char *summary;   /* one line */
    const char *examples;  /* "$ ..." lines */
    const char *synopsis;  /* behind the tool's name: "MODEL -o FILE [options]" */
    const char *args_help; /* lines that explain the arguments */
    void (*notes)(void);   /* prints what stands behind the options in --help; may be NULL */
    size_t min_args, max_args;
    const cli_option *options; /* its own rows */
    size_t settings_bytes;
    size_t n_lists; /* CLI_LIST rows among the options */
    void (*defaults)(void *settings);
    opt_status (*run)(cli_job *job, void *settings);
    void (*cleanup)(
        cli_job *job,
        void *settings);   /* frees what `run` left in settings; called always after run */
    bool quiet_hides_text; /* -q leaves the text report out */
};

struct cli_tool {
    const char *name, *summary;
    const cli_command *commands;
    size_t n_commands;
};

/** The whole of main(). Returns the exit code. */
int cli_main(const cli_tool *tool, int argc, char **argv);

/** Records a usage error of this job: OPT_ERR_USAGE with a message. */
opt_status cli_usage(cli_job *job, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** Rows shared by all commands, and those of commands that write a file (members of cli_output). */
extern const cli_option cli_common_options[];

/** Options of commands that write a file; the second member of their settings. */
typedef struct cli_output {
    const char *path;
    bool force, dry_run;
} cli_output;

#define CLI_OUTPUT_ROWS(type, member)                                                              \
    {"output",                                                                                     \
     'o',                                                                                          \
     CLI_PATH,                                                                                     \
     "FILE",                                                                                       \
     "file to write; it appears when complete and verified",                                       \
     offsetof(type, member) + offsetof(cli_output, path),                                          \
     NULL,                                                                                         \
     0,                                                                                            \
     0},                                                                                           \
        {"dry-run",                                                                                \
         'n',                                                                                      \
         CLI_FLAG,                                                                                 \
         NULL,                                                                                     \
         "print the plan with exact sizes; write nothing",                                         \
         offsetof(type, member) + offsetof(cli_output, dry_run),                                   \
         NULL,                                                                                     \
         0,                                                                                        \
         0},                                                                                       \
    {                                                                                              \
        "force", 0, CLI_FLAG, NULL, "replace an existing output",                                  \
            offsetof(type, member) + offsetof(cli_output, force), NULL, 0, 0                       \
    }

/** Whether `output` names a file, or none is needed (a dry run); else a usage error of this job. */
bool cli_has_output(cli_job *job, const cli_output *output);

#define CLI_END                                                                                    \
    { NULL, 0, CLI_FLAG, NULL, NULL, 0, NULL, 0, 0 }

#endif
