#include "common/term.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A signal handler has no other way to find its context. Set while a job runs. */
static opt_ctx *volatile signal_ctx;

static void on_signal(int number) {
    opt_ctx *ctx = signal_ctx;
    if (ctx != NULL) {
        opt_ctx_cancel(ctx, number);
    }
}

/** Sets what a signal does, unless whoever started us had it ignored (nohup, a shell's background).
 */
static void set_action(int number, const struct sigaction *action) {
    struct sigaction before;
    if (sigaction(number, NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
        sigaction(number, action, NULL);
    }
}

void term_catch_signals(opt_ctx *ctx) {
    signal_ctx = ctx;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = ctx != NULL ? on_signal : SIG_DFL;
    action.sa_flags = (int)SA_RESETHAND; /* the second signal has its usual effect */
    set_action(SIGINT, &action);
    set_action(SIGTERM, &action);
    action.sa_handler = SIG_IGN;
    action.sa_flags = 0;
    sigaction(SIGPIPE, &action, NULL);
}

static double now_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void term_init(term_state *t, const char *tool, int quiet, int verbose) {
    memset(t, 0, sizeof *t);
    t->tool = tool;
    t->level = quiet > 0 ? -1 : verbose;
    t->progress = quiet == 0 && isatty(STDERR_FILENO) == 1;
}

size_t term_escape(char *dst, const char *text, size_t n) {
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)text[i];
        const unsigned char next = i + 1 < n ? (unsigned char)text[i + 1] : 0;
        const bool c1 = c == 0xc2 && next >= 0x80 && next < 0xa0;
        if (c1 || c == 0x7f || (c < 0x20 && c != '\n' && c != '\t')) {
            len += (size_t)snprintf(dst + len, 5, "\\x%02x", c1 ? next : c);
            i += c1;
        } else {
            dst[len++] = (char)c;
        }
    }
    dst[len] = 0;
    return len;
}

/** Prints one message line; foreign strings inside it lose their control bytes. */
static void print_line(term_state *t, const char *kind, const char *object, const char *message) {
    term_clear_progress(t);
    char plain[2048];
    const int n =
        snprintf(plain, sizeof plain, "%s%s%s", object != NULL ? object : "",
                 object != NULL && object[0] != 0 && message[0] != 0 ? ": " : "", message);
    const size_t len = n < 0 ? 0 : (size_t)n < sizeof plain ? (size_t)n : sizeof plain - 1;
    char safe[4 * sizeof plain + 1];
    term_escape(safe, plain, len);
    fprintf(stderr, "%s: %s%s\n", t->tool, kind, safe);
}

void term_error(term_state *t, const char *object, const char *message) {
    print_line(t, "error: ", object, message);
}

void term_log(void *user, opt_log_level level, const char *message) {
    term_state *t = user;
    if ((int)level <= t->level) {
        print_line(t, level == OPT_LOG_WARNING ? "warning: " : "", NULL, message);
    }
}

void term_clear_progress(term_state *t) {
    if (t->line_open) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        t->line_open = false;
    }
}

void term_progress(void *user, const char *step, double done, double total) {
    term_state *t = user;
    if (!t->progress) {
        return;
    }
    const double now = now_seconds();
    if (strncmp(step, t->step, sizeof t->step - 1) != 0) {
        snprintf(t->step, sizeof t->step, "%s", step);
        t->step_start = now;
        t->last_shown = 0;
    }
    if (!(total > 0) || done >= total) {
        term_clear_progress(t);
        t->step[0] = 0; /* the next report of the same name is a new step */
        return;
    }
    const double spent = now - t->step_start;
    if (spent < 2 || now - t->last_shown < 0.2 || done <= 0) { /* short steps need no noise */
        return;
    }
    t->last_shown = now;
    const double left = ceil(spent * (total - done) / done);
    fprintf(stderr, "\r\033[K%s: %s %3.0f %%, %.0f:%02.0f left", t->tool, step, 100 * done / total,
            floor(left / 60), fmod(left, 60));
    fflush(stderr);
    t->line_open = true;
}

term_write term_out(const char *text, size_t n) {
    while (n > 0) {
        const ssize_t written = write(STDOUT_FILENO, text, n);
        if (written < 0) {
            if (errno == EINTR) {
                continue;
            }
            return errno == EPIPE ? TERM_CLOSED : TERM_FAILED;
        }
        text += written;
        n -= (size_t)written;
    }
    return TERM_OK;
}
