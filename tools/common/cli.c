#include "common/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/term.h"

const cli_option cli_common_options[] = {
    {NULL, 0, CLI_FLAG, NULL, "Common options", 0, NULL, 0, 0},
    {"threads", 'j', CLI_INT, "N", "threads (default: all cores it may use)",
     offsetof(cli_common, threads), NULL, 1, 1024},
    {"max-memory", 0, CLI_BYTES, "SIZE", "memory it may allocate, such as 4G",
     offsetof(cli_common, max_memory), NULL, 0, 0},
    {"json", 0, CLI_OPTIONAL, "FILE", "JSON report, to FILE or in place of the text",
     offsetof(cli_common, json), NULL, 0, 0},
    {"quiet", 'q', CLI_COUNT, NULL, "no progress, no warnings", offsetof(cli_common, quiet), NULL,
     0, 0},
    {"verbose", 'v', CLI_COUNT, NULL, "more detail; -vv still more", offsetof(cli_common, verbose),
     NULL, 0, 0},
    {"help", 'h', CLI_HELP, NULL, "print this page", 0, NULL, 0, 0},
    {"version", 0, CLI_VERSION, NULL, "print version, instruction set and libraries", 0, NULL, 0,
     0},
    CLI_END,
};

static const char exit_codes[] =
    "\nExit codes: 0 ok, 1 a gate failed, 2 usage, 3 bad input file, 4 I/O, 5 memory,\n"
    "  6 numeric failure, 7 unsupported, 70 a bug of ours, 130 and 143 interrupted\n";

opt_status cli_usage(cli_job *job, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(job->error, sizeof job->error, fmt, args);
    va_end(args);
    return OPT_ERR_USAGE;
}

bool cli_has_output(cli_job *job, const cli_output *output) {
    if (output->path == NULL && !output->dry_run) {
        (void)cli_usage(job,
                        "-o FILE is needed: the file to write (or --dry-run for the plan only)");
        return false;
    }
    if (output->path != NULL && strcmp(output->path, "-") == 0) {
        (void)cli_usage(job, "-o -: the output must be a file, because it is read back for "
                             "verification; ./- names a file of this name");
        return false;
    }
    return true;
}

static void print_command_help(const cli_tool *tool, const cli_command *c) {
    const char *space = c->name != NULL ? " " : "";
    const char *name = c->name != NULL ? c->name : "";
    printf("%s%s%s - %s\n\nExamples:\n%s\n", tool->name, space, name, c->summary, c->examples);
    printf("Usage: %s%s%s %s\n%s", tool->name, space, name, c->synopsis, c->args_help);
    const cli_option *const tables[] = {c->options, cli_common_options, NULL};
    cli_print_options(tables);
    if (c->notes != NULL) {
        c->notes();
    }
    fputs(exit_codes, stdout);
}

static void print_tool_help(const cli_tool *tool) {
    printf("%s - %s\n\nExamples:\n", tool->name, tool->summary);
    for (size_t i = 0; i < tool->n_commands; i++) {
        const char *examples = tool->commands[i].examples;
        printf("%.*s\n", (int)strcspn(examples, "\n"), examples);
    }
    printf("\nUsage: %s COMMAND MODEL ... [options]\n\nCommands:\n", tool->name);
    for (size_t i = 0; i < tool->n_commands; i++) {
        printf("  %-12s %s\n", tool->commands[i].name, tool->commands[i].summary);
    }
    printf("\n'%s COMMAND --help' explains a command.\n", tool->name);
    fputs(exit_codes, stdout);
}

static int print_version(const cli_tool *tool) {
    opt_ctx *ctx = NULL;
    if (opt_ctx_new(NULL, &ctx) != OPT_OK) {
        printf("%s (Lathe) %s\n", tool->name, opt_version());
        return 0;
    }
    const char *features = opt_ctx_features(ctx);
    printf("%s (Lathe) %s\ninstruction set: %s%s%s%s\nlibraries: %s\n", tool->name, opt_version(),
           opt_instruction_set(ctx), features[0] != 0 ? " (processor: " : "", features,
           features[0] != 0 ? ")" : "", opt_libraries());
    opt_ctx_free(ctx);
    return 0;
}

/** Flushes what printf wrote; a reader that has gone away is no error. */
static int finish_stdout(const cli_tool *tool, int code) {
    if (fflush(stdout) != 0 && errno != EPIPE && code == 0) {
        fprintf(stderr, "%s: error: standard output: %s\n", tool->name, strerror(errno));
        return OPT_ERR_IO;
    }
    return code;
}

/** Whether a file at `path` could be written, whether it is there or not; else errno says why. */
static bool can_write(const char *path) {
    struct stat info;
    if (stat(path, &info) == 0) {
        errno = S_ISDIR(info.st_mode) ? EISDIR : 0;
        return errno == 0 && access(path, W_OK) == 0;
    }
    const char *slash = strrchr(path, '/');
    char *dir = slash != NULL ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    const bool ok = dir != NULL && access(dir, W_OK | X_OK) == 0;
    const int err = errno;
    free(dir);
    errno = err;
    return ok;
}

/**
 * Refuses a file for the JSON document that cannot be written (IO), before any work is done, or
 * that holds anything but an earlier report (USAGE): it would be the model or the text as likely as
 * not. The message is in job->error then.
 */
static opt_status check_json_file(cli_job *job) {
    const char *path = job->common->json;
    struct stat info;
    if (path == NULL || job->json_on_stdout) {
        return OPT_OK;
    }
    if (!can_write(path)) {
        const char *reason = strerror(errno);
        job->json_refused = true;
        snprintf(job->error, sizeof job->error, "--json: %.400s: %s", path, reason);
        return OPT_ERR_IO;
    }
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size == 0) {
        return OPT_OK;
    }
    char head[64] = "";
    FILE *f = fopen(path, "r");
    if (f != NULL) {
        head[fread(head, 1, sizeof head - 1, f)] = 0;
        fclose(f);
    }
    if (strstr(head, "\"schema\": \"lathe.report/") != NULL) {
        return OPT_OK;
    }
    job->json_refused = true;
    return cli_usage(job, "--json: %.400s exists and holds no report; it is left as it is", path);
}

/** A context to write a report with where the job has none, or one without memory to spare. */
static opt_ctx *spare_context(void) {
    opt_ctx *ctx = NULL;
    unsetenv("OPT_ISA"); /* it may be what is wrong */
    return opt_ctx_new(NULL, &ctx) == OPT_OK ? ctx : NULL;
}

/** The document of a failure alone, with `message` about `object`; NULL: out of memory. */
static char *failure_json(const cli_job *job, opt_status st, const char *object,
                          const char *message) {
    opt_report r = {0};
    char *copy = NULL;
    char *text = NULL;
    opt_ctx *ctx = spare_context();
    r.tool = job->tool->name;
    r.command = job->command != NULL ? job->command->name : NULL;
    r.inputs = job->report.inputs;
    r.n_inputs = job->report.n_inputs;
    r.output = job->report.output;
    r.dry_run = job->report.dry_run;
    r.status = st;
    r.error_object = object;
    r.error_message = message;
    if (ctx != NULL && opt_report_json(ctx, &r, &text) == OPT_OK) {
        copy = strdup(text);
        opt_text_free(ctx, text);
    }
    opt_ctx_free(ctx);
    return copy;
}

/** Puts the JSON document into its file or on standard output. */
static opt_status put_json(cli_job *job, term_state *term, const char *text) {
    opt_status st = OPT_OK;
    if (job->json_on_stdout) {
        if (term_out(text, strlen(text)) == TERM_FAILED) {
            term_error(term, "standard output", strerror(errno));
            st = OPT_ERR_IO;
        }
    } else {
        FILE *f = fopen(job->common->json, "w");
        bool ok = f != NULL && fputs(text, f) >= 0;
        ok = f != NULL && fclose(f) == 0 && ok;
        if (!ok) {
            term_error(term, job->common->json, strerror(errno));
            st = OPT_ERR_IO;
        }
    }
    return st;
}

/** Writes the report, or why there is none, as JSON. */
static opt_status write_json(cli_job *job, term_state *term) {
    const opt_report *r = &job->report;
    char *text = NULL;
    const opt_status made = opt_report_json(job->ctx, r, &text);
    if (made == OPT_OK) {
        const opt_status st = put_json(job, term, text);
        opt_text_free(job->ctx, text);
        return st;
    }
    const bool own = r->error_message != NULL;
    const bool failed = r->status != OPT_OK && r->status != OPT_ERR_GATE;
    const opt_status st = failed ? r->status : made;
    const char *object = own ? r->error_object : opt_ctx_error_object(job->ctx);
    const char *message = own ? r->error_message : opt_ctx_error_message(job->ctx);
    if (!failed) {
        term_error(term, object, message);
    }
    text = failure_json(job, st, object, message);
    const opt_status put = text != NULL ? put_json(job, term, text) : OPT_OK;
    free(text);
    return put != OPT_OK ? put : st;
}

/** Ends a run that has no context: the message, and the document where it was asked for. */
static int fail_early(cli_job *job, term_state *term, opt_status st, const char *message) {
    term_error(term, NULL, message);
    if (job->common->json == NULL) {
        return (int)st;
    }
    if (check_json_file(job) != OPT_OK) {
        term_error(term, NULL, job->error);
        return (int)st;
    }
    char *text = failure_json(job, st, NULL, message);
    if (text != NULL) {
        (void)put_json(job, term, text);
    }
    free(text);
    return (int)st;
}

static opt_status write_text(cli_job *job, term_state *term) {
    char *text = NULL;
    const opt_status made = opt_report_text(job->ctx, &job->report, job->common->verbose, &text);
    if (made != OPT_OK) {
        return made;
    }
    opt_status st = OPT_OK;
    if (term_out(text, strlen(text)) == TERM_FAILED) {
        term_error(term, "standard output", strerror(errno));
        st = OPT_ERR_IO;
    }
    opt_text_free(job->ctx, text);
    return st;
}

/** Prints error and report of a job that has ended with `st`; returns the exit code. */
static int finish(cli_job *job, term_state *term, opt_status st) {
    term_clear_progress(term);
    opt_report *r = &job->report;
    if (st == OPT_OK) {
        st = check_json_file(job); /* it may be a file that this run has written itself */
    }
    r->tool = job->tool->name;
    r->command = job->command->name;
    r->status = st;
    if (job->error[0] != 0) {
        r->error_message = job->error;
    }
    if (st != OPT_OK && st != OPT_ERR_GATE) {
        term_error(term,
                   r->error_message != NULL ? r->error_object : opt_ctx_error_object(job->ctx),
                   r->error_message != NULL ? r->error_message : opt_ctx_error_message(job->ctx));
    }
    opt_status out = OPT_OK;
    if (job->common->json != NULL && !job->json_refused) {
        out = write_json(job, term);
    }
    const bool silent = job->command->quiet_hides_text && job->common->quiet > 0 && !r->dry_run;
    const bool hide = job->text_done || silent;
    if (out == OPT_OK && !job->json_on_stdout && !hide && (st == OPT_OK || st == OPT_ERR_GATE)) {
        out = write_text(job, term);
    }
    return (int)(st != OPT_OK ? st : out);
}

/** Runs the command with parsed settings. */
static int run_job(cli_job *job, void *settings) {
    const cli_common *common = job->common;
    term_state term;
    term_init(&term, job->tool->name, common->quiet, common->verbose);
    opt_ctx_options options = {0};
    options.n_threads = (int)common->threads;
    options.max_memory = common->max_memory;
    options.log = term_log;
    options.log_user = &term;
    options.progress = term_progress;
    options.progress_user = &term;
    const opt_status made = opt_ctx_new(&options, &job->ctx);
    if (made != OPT_OK) {
        return fail_early(job, &term, made,
                          made == OPT_ERR_USAGE
                              ? "the environment variable OPT_ISA names no instruction set "
                                "(portable, ref, avx2, avx512, amx)"
                              : "out of memory");
    }
    opt_status st = OPT_ERR_USAGE;
    bool ran = false;
    size_t empty = 0;
    while (empty < job->n_args && job->args[empty][0] != 0) {
        empty++;
    }
    if (job->error[0] == 0 && job->n_args < job->command->min_args) {
        (void)cli_usage(job, "%s: %s%s%s %s; --help explains it",
                        job->n_args == 0 ? "a model is needed" : "an argument is missing",
                        job->tool->name, job->command->name ? " " : "",
                        job->command->name ? job->command->name : "", job->command->synopsis);
    } else if (job->error[0] == 0 && job->n_args > job->command->max_args) {
        (void)cli_usage(job, "too many arguments: '%s' was not expected",
                        job->args[job->command->max_args]);
    } else if (job->error[0] == 0 && empty < job->n_args) {
        (void)cli_usage(job, "argument %zu is empty, expected a path: %s", empty + 1,
                        job->command->synopsis);
    } else if (job->error[0] == 0) {
        st = check_json_file(job);
        if (st == OPT_OK) {
            term_catch_signals(job->ctx);
            st = job->command->run(job, settings);
            ran = true;
        }
    }
    job->report.inputs = job->args;
    job->report.n_inputs = job->n_args;
    const int code = finish(job, &term, st);
    if (ran && job->command->cleanup != NULL) {
        job->command->cleanup(job, settings);
    }
    term_catch_signals(NULL);
    opt_ctx_free(job->ctx);
    return code;
}

/** Whether JSON was asked for, also on a command line that cannot be parsed. */
static const char *find_json(int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            return "";
        }
        if (strncmp(argv[i], "--json=", 7) == 0) {
            return argv[i] + 7;
        }
    }
    return NULL;
}

/** Whether the JSON document goes to standard output. */
static bool is_stdout(const char *json) {
    return json != NULL && (json[0] == 0 || strcmp(json, "-") == 0);
}

static int run_command(const cli_tool *tool, const cli_command *command, int argc, char **argv) {
    const size_t n_pointers = ((size_t)argc + 1) * (command->n_lists + 1);
    void *settings = calloc(1, command->settings_bytes);
    const char **list_storage = calloc(n_pointers, sizeof *list_storage);
    if (settings == NULL || list_storage == NULL) {
        free(settings);
        free(list_storage);
        fprintf(stderr, "%s: error: out of memory\n", tool->name);
        return OPT_ERR_MEMORY;
    }
    if (command->defaults != NULL) {
        command->defaults(settings);
    }
    const cli_option *const tables[] = {command->options, cli_common_options, NULL};
    cli_parsed parsed;
    const bool ok = cli_parse(argc, argv, tables, settings, list_storage, &parsed);
    int code = 0;
    if (ok && parsed.help) {
        print_command_help(tool, command);
        code = finish_stdout(tool, 0);
    } else if (ok && parsed.version) {
        code = finish_stdout(tool, print_version(tool));
    } else {
        cli_common *common = settings;
        if (!ok) {
            common->json = find_json(argc, argv);
        }
        cli_job job = {0};
        job.tool = tool;
        job.command = command;
        job.common = common;
        job.args = parsed.args;
        job.n_args = parsed.n_args;
        job.json_on_stdout = is_stdout(common->json);
        snprintf(job.error, sizeof job.error, "%s", parsed.error);
        code = run_job(&job, settings);
    }
    free(settings);
    free(list_storage);
    return code;
}

static const cli_command *find_command(const cli_tool *tool, const char *name) {
    for (size_t i = 0; i < tool->n_commands; i++) {
        if (strcmp(tool->commands[i].name, name) == 0) {
            return &tool->commands[i];
        }
    }
    return NULL;
}

static int no_such_command(const cli_tool *tool, int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : NULL;
    const char *names[16];
    char all[256] = "";
    size_t n = 0;
    for (; n < tool->n_commands && n < 16; n++) {
        names[n] = tool->commands[n].name;
        const size_t len = strlen(all);
        snprintf(all + len, sizeof all - len, "%s%s", n > 0 ? ", " : "", names[n]);
    }
    term_state term;
    term_init(&term, tool->name, 0, 0);
    char message[512];
    const char *near = name != NULL ? opt_text_nearest(name, names, n) : NULL;
    if (name == NULL) {
        snprintf(message, sizeof message, "a command is needed: %s; --help explains them", all);
    } else if (near != NULL) {
        snprintf(message, sizeof message, "unknown command '%.64s'; did you mean %s?", name, near);
    } else {
        snprintf(message, sizeof message, "unknown command '%.64s'; there are %s", name, all);
    }
    const cli_common common = {.json = find_json(argc, argv)};
    cli_job job = {.tool = tool, .common = &common};
    job.json_on_stdout = is_stdout(common.json);
    return fail_early(&job, &term, OPT_ERR_USAGE, message);
}

/**
 * Fills standard streams that the caller closed: a file opened later would get their number, and
 * messages would end up in it. Opened the wrong way round, so that using them still fails.
 */
static void fill_closed_streams(void) {
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
            (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
        }
    }
}

int cli_main(const cli_tool *tool, int argc, char **argv) {
    fill_closed_streams();
    term_catch_signals(NULL); /* ignores SIGPIPE */
    if (tool->commands[0].name == NULL) {
        return run_command(tool, &tool->commands[0], argc, argv);
    }
    const char *name = argc > 1 ? argv[1] : NULL;
    if (name != NULL && (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)) {
        print_tool_help(tool);
        return finish_stdout(tool, 0);
    }
    if (name != NULL && strcmp(name, "--version") == 0) {
        return finish_stdout(tool, print_version(tool));
    }
    const cli_command *command = name != NULL ? find_command(tool, name) : NULL;
    if (command == NULL) {
        return no_such_command(tool, argc, argv);
    }
    return run_command(tool, command, argc - 1, argv + 1);
}
