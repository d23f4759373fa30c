/** The terminal side of a tool: messages, progress with ETA, signals, careful standard output. */
#ifndef OPT_TOOLS_TERM_H
#define OPT_TOOLS_TERM_H

#include <stdbool.h>
#include <stddef.h>

#include "opt/ctx.h"

/** What the log and progress callbacks need. */
typedef struct term_state {
    const char *tool;
    int level;      /* highest opt_log_level that is shown; -1: none */
    bool progress;  /* standard error is a terminal and not -q */
    bool line_open; /* a progress line stands on the terminal */
    char step[64];
    double step_start, last_shown;
} term_state;

void term_init(term_state *t, const char *tool, int quiet, int verbose);

/** Callbacks for opt_ctx_options; `user` is a term_state. */
void term_log(void *user, opt_log_level level, const char *message);
void term_progress(void *user, const char *step, double done, double total);

/** Removes a progress line that is still there. */
void term_clear_progress(term_state *t);

/** Prints "tool: error: object: message" to standard error, control bytes escaped; object may be
 * NULL. */
void term_error(term_state *t, const char *object, const char *message);

/** From here on SIGINT and SIGTERM cancel `ctx` once; a second one ends the process. A signal that
 * was ignored when the process started stays so. SIGPIPE is ignored. NULL: stop. */
void term_catch_signals(opt_ctx *ctx);

/** Outcome of writing to standard output. */
typedef enum term_write { TERM_OK, TERM_CLOSED, TERM_FAILED } term_write;

/** Writes to standard output at once. CLOSED: the reader is gone (a pipe). FAILED: errno says why.
 */
term_write term_out(const char *text, size_t n);

/** Copies text[n] to dst [4 * n + 1] with the control bytes that steer terminals escaped as \xNN;
   newline and tab stay. Returns the length. */
size_t term_escape(char *dst, const char *text, size_t n);

#endif
