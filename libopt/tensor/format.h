/**
 * Formats: how the numbers of a tensor are stored. One const row describes a format; the rows are
 * listed in tensor/formats.def, and adding a format is one new file and one line there.
 *
 * A tensor is stored row by row. A row of n_cols elements is cut into ceil(n_cols / block_elems)
 * blocks; only formats with OPT_FORMAT_PARTIAL accept an n_cols that is no multiple of block_elems
 * (the last block is stored at full size, its unused codes are zero).
 */
#ifndef OPT_TENSOR_FORMAT_H
#define OPT_TENSOR_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kern/kern.h"

typedef struct opt_format opt_format;

/** Capability flags of a format. */
enum {
    OPT_FORMAT_FLOAT =
        1 << 0, /**< plain floating point, one element a block (f64 f32 f16 bf16 f8...) */
    OPT_FORMAT_INT = 1 << 1, /**< plain integers or bool (i8 ... i64, u8 ...): data, not weights */
    OPT_FORMAT_QUANT = 1 << 2,      /**< blocks of codes with scales */
    OPT_FORMAT_ENCODES = 1 << 3,    /**< has `encode` (and a grid if it is QUANT) */
    OPT_FORMAT_PARTIAL = 1 << 4,    /**< the last block of a row may be partial */
    OPT_FORMAT_ZERO_POINT = 1 << 5, /**< blocks have an offset as well as a scale */
    OPT_FORMAT_TWO_LEVEL = 1 << 6,  /**< block scales are themselves quantized */
    OPT_FORMAT_OWN = 1 << 7 /**< not a ggml type: stored in GGUF as I8 with lathe.* metadata */
};

/**
 * The grid interface, through which every solver works on every format. A solver calls fit once for
 * a block, then round for each `dim` consecutive elements in any order it likes (with weights that
 * it has changed meanwhile), then emit. `params` is caller-owned storage of params_bytes, aligned
 * to 16.
 *
 * The elements of a block that share one scale are a part (opt_format_part_elems). A block of most
 * formats is one part; where scales are themselves quantized (OPT_FORMAT_TWO_LEVEL) it is several,
 * whose grids move one by one in steps of the block's scale, or all together with that scale.
 */
typedef struct opt_grid {
    int dim; /**< consecutive elements rounded together: 1 for scalar grids, 4 or 8 for code vectors
              */
    size_t params_bytes; /**< size of the parameters of one block, at most OPT_GRID_PARAMS_MAX */
    /**
     * Chooses the block's parameters for w[n] (n <= block_elems) minimising sum importance[i] (w[i]
     * - w'[i])^2; importance [n] or NULL for all ones.
     */
    void (*fit)(const opt_format *f, const float *w, const float *importance, int64_t n,
                void *params);
    /**
     * Nearest grid points of w[dim], which are elements i .. i+dim-1 of the block: codes[dim] and
     * values[dim].
     */
    void (*round)(const opt_format *f, const void *params, int64_t i, const float *w,
                  int32_t *codes, float *values);
    /** Writes the block: codes [n], the rest of a partial block is zero codes. */
    void (*emit)(const opt_format *f, const void *params, const int32_t *codes, int64_t n,
                 void *block);
    /**
     * Moves the grid of one part: writes to *moved the storable parameters of the block under which
     * a value v of the part becomes about scale * v + shift (a format without an offset leaves the
     * shift out); values of other parts stay as they are. For OPT_GRID_ALL_PARTS every value of the
     * block becomes about scale * v, and the shift is left out unless the block is one part. What a
     * code decodes to then, round says. NULL: the format cannot; solvers keep what fit has chosen.
     */
    void (*move)(const opt_format *f, const void *params, int64_t part, float scale, float shift,
                 void *moved);
    /**
     * The same as round for w [n], only faster; opt_grid_round_many says of which elements. NULL:
     * there is nothing faster.
     */
    void (*round_many)(const opt_format *f, const opt_kern *k, const void *params, size_t stride,
                       int64_t i, int64_t n, const float *w, int32_t *codes, float *values);
    /**
     * Reads the parameters of a stored block: after encode, those that fit would have chosen. NULL:
     * there is no encode faster than fit.
     */
    void (*load)(const opt_format *f, const void *block, void *params);
} opt_grid;

#define OPT_GRID_PARAMS_MAX 512
#define OPT_GRID_ALL_PARTS (-1)

/** One row of the format table. All rows are static const. */
struct opt_format {
    const char *name;     /**< what users type: "q4_0", "int4_g64", lower case */
    const char *help;     /**< one line for --help and the manual */
    opt_kfmt kfmt;        /**< the kernels that work on it, see kern/kern.h */
    int ggml_type;        /**< id in GGUF, or -1 */
    const char *st_dtype; /**< name in safetensors ("BF16"), or NULL */
    int64_t block_elems;
    int64_t part_elems; /**< TWO_LEVEL: elements that share one scale; 0: all of the block */
    size_t block_bytes;
    uint32_t flags;
    int bits;       /**< bits of a code; 0 for plain formats */
    bool symmetric; /**< own integer groups: no zero point */
    /**
     * Decodes n elements (any n if PARTIAL or one-element blocks, otherwise whole blocks) from the
     * start of a block. Integers decode to their value. Never NULL.
     */
    void (*decode)(const opt_format *f, const opt_kern *k, const void *src, float *dst, int64_t n);
    /**
     * Encodes one run of n elements that starts at a block boundary. importance [n] or NULL. NULL
     * unless ENCODES. All w must be finite. Same result as grid fit + round + emit in order, only
     * faster.
     */
    void (*encode)(const opt_format *f, const opt_kern *k, const float *w, const float *importance,
                   void *dst, int64_t n);
    const opt_grid *grid; /**< NULL for plain formats and for those that cannot encode yet */
    /**
     * Largest magnitude that encode takes; 0 if it cannot encode. Beyond it the block's scale
     * saturates (QUANT), so that the result is finite but wrong, or the result is infinite (f16,
     * bf16): callers look first (opt_format_find_bad).
     */
    float max_abs;
};

/** The table, terminated by NULL (tensor/formats.c from tensor/formats.def). */
extern const opt_format *const opt_formats[];

/** Row by name (case-insensitive), by ggml type id, by safetensors dtype; NULL if there is none. */
const opt_format *opt_format_by_name(const char *name);
const opt_format *opt_format_by_ggml(int64_t ggml_type);
const opt_format *opt_format_by_st_dtype(const char *dtype);

/** Whether a row of n_cols elements can be stored. */
bool opt_format_fits(const opt_format *f, int64_t n_cols);
/** Bytes of a row; false if it does not fit or overflows. */
bool opt_format_row_bytes(const opt_format *f, int64_t n_cols, size_t *out);
/** Bytes of n_rows rows; false if it does not fit or overflows. */
bool opt_format_bytes(const opt_format *f, int64_t n_rows, int64_t n_cols, size_t *out);
/** Bits per weight of full blocks. */
double opt_format_bpw(const opt_format *f);

/** Elements of a block that share one scale; a divisor of block_elems. */
int64_t opt_format_part_elems(const opt_format *f);

/**
 * Rounds w [n] on a scalar grid (dim 1): elements i .. i + n - 1 of the block of `params` if stride
 * is 0, otherwise element i of n blocks whose parameters lie `stride` bytes (a multiple of 16)
 * apart.
 */
void opt_grid_round_many(const opt_format *f, const opt_kern *k, const void *params, size_t stride,
                         int64_t i, int64_t n, const float *w, int32_t *codes, float *values);

/** What kernels need to know about the rows of `f`. */
opt_kspec opt_format_kspec(const opt_format *f);
/**
 * Encodes w [n_rows, n_cols], which must fit, to n_rows stored rows; importance [n_cols] (of all
 * rows) or NULL.
 */
void opt_format_encode_rows(const opt_format *f, const opt_kern *k, const float *w,
                            const float *importance, void *dst, int64_t n_rows, int64_t n_cols);

/**
 * Index of the first element of w [n] that encode must not be given, because it is a NaN, an
 * infinity or larger than f->max_abs; -1 if there is none.
 */
int64_t opt_format_find_bad(const opt_format *f, const float *w, int64_t n);

/** Often used rows. */
extern const opt_format opt_format_f32, opt_format_f16, opt_format_bf16, opt_format_i8,
    opt_format_q8_0, opt_format_q4_0;

#endif
