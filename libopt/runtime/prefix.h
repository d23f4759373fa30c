/**
 * A prefix cache: keys and values of tokens that were read before, in memory and in a directory, so
 * that a text with the same beginning is not computed again. What comes back are the bytes that
 * were computed, so the logits have the same bits as without it. Entries are blocks of
 * OPT_PREFIX_BLOCK positions and a shorter one at the end of a text; each carries all tokens up to
 * its end, which are compared, and a checksum. The key of an entry is made of the model, of how
 * keys and values are computed and stored, and of the instruction set.
 */
#ifndef OPT_RUNTIME_PREFIX_H
#define OPT_RUNTIME_PREFIX_H

#include "exec/session.h"
#include "opt/infer.h"

typedef struct opt_prefix opt_prefix;

/**
 * `model`: another number for another model. The layout is that of `session`, as are the sessions
 * that the cache is used with. Errors: IO (the directory cannot be made), MEMORY.
 */
OPT_MUST_USE opt_status opt_prefix_new(opt_ctx *ctx, const opt_prefix_options *options,
                                       uint64_t model, const opt_session *session,
                                       opt_prefix **out);
void opt_prefix_free(opt_prefix *p);

/**
 * Brings back as many of ids [n] as the cache has into a sequence that holds fewer of them, or
 * none: *n_out positions stand in it afterwards. An entry that is damaged is named in a warning and
 * counted as missing; with `strict` it is an error (INPUT, IO).
 */
OPT_MUST_USE opt_status opt_prefix_load(opt_prefix *p, opt_session *s, int seq, const int32_t *ids,
                                        int64_t n, int64_t *n_out);
/**
 * Keeps the positions 0 .. n - 1 of a sequence, which are those of ids [n], as far as they are not
 * there yet and the sizes allow. Where layers with a window have forgotten the beginning, it has to
 * be there from an earlier call: opt_prefix_read sees to that. What cannot be written
 * is named in a warning; with `strict` it is an error (IO).
 */
OPT_MUST_USE opt_status opt_prefix_save(opt_prefix *p, opt_session *s, int seq, const int32_t *ids,
                                        int64_t n);
/**
 * Where layers with a window forget: reads all but the end of ids [n] into sequence 0 behind what
 * stands there, in pieces that are kept in time. Without windows it does nothing.
 */
OPT_MUST_USE opt_status opt_prefix_read(opt_prefix *p, opt_session *s, const int32_t *ids,
                                        int64_t n);
const opt_prefix_counts *opt_prefix_get_counts(const opt_prefix *p);

#endif
