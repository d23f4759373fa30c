/** Status codes of libopt. The value of a status is the exit code that the tools end with. */
#ifndef OPT_STATUS_H
#define OPT_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) || defined(__clang__)
#define OPT_MUST_USE __attribute__((warn_unused_result))
#else
#define OPT_MUST_USE
#endif

/** Outcome of every fallible function. A closed set: a new failure takes the nearest of these. */
typedef enum opt_status {
    OPT_OK = 0,
    OPT_ERR_GATE = 1,          /**< a quality, size or speed gate was not met */
    OPT_ERR_USAGE = 2,         /**< a command line or a recipe is wrong */
    OPT_ERR_INPUT = 3,         /**< an input file is damaged or not what it claims to be */
    OPT_ERR_IO = 4,            /**< the operating system refused a read or a write */
    OPT_ERR_MEMORY = 5,        /**< out of memory, or over the limit that the user set */
    OPT_ERR_NUMERIC = 6,       /**< NaN, infinity, a factorisation that failed */
    OPT_ERR_UNSUPPORTED = 7,   /**< valid, but not something that this version can do */
    OPT_ERR_BUG = 70,          /**< an internal error of Lathe */
    OPT_ERR_INTERRUPTED = 130, /**< SIGINT */
    OPT_ERR_TERMINATED = 143   /**< SIGTERM */
} opt_status;

/** Short lower-case name of a status, such as "input" (static storage). */
const char *opt_status_name(opt_status status);

#ifdef __cplusplus
}
#endif
#endif
