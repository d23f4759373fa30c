/**
 * The inside of opt_source, for the readers of containers. A reader adds files, then their tensors;
 * the core sorts them, refuses double names and serves them.
 */
#ifndef OPT_IO_CONTAINER_H
#define OPT_IO_CONTAINER_H

#include "io/parse.h"
#include "io/source.h"

/** A tensor of a source with what only the source needs to know. */
typedef struct opt_source_item {
    opt_tensor tensor;
    uint64_t checksum; /* XXH3 of the stored bytes, if has_checksum */
    size_t file;       /* index into files */
    bool has_checksum;
} opt_source_item;

/** An input file, mapped. */
typedef struct opt_source_file_ref {
    const char *path;
    opt_buf *buf;
    /* The bytes [0, header_bytes) have the XXH3 sum that stands at header_sum_off, itself counted
     * as 0. 0: no such sum. */
    size_t header_bytes;
    size_t header_sum_off;
} opt_source_file_ref;

struct opt_source {
    opt_ctx *ctx;
    opt_arena *arena;
    opt_source_kind kind;
    const char *path; /* as the user gave it */
    const char
        *dir; /* directory of the side files, without a slash at its end; NULL if there are none */
    opt_source_file_ref *files;
    size_t n_files;
    size_t files_cap;
    opt_source_item *items; /* sorted by name once the source is open */
    int64_t n_items;
    int64_t items_cap;
    opt_kv *kv;
};

/** Maps a file and adds it; *index gets its number. */
OPT_MUST_USE opt_status opt_source_add_file(opt_source *s, const char *path, size_t *index);
/** Adds the tensors of a file. checksums: packed little-endian u64 [list->n] or NULL. */
OPT_MUST_USE opt_status opt_source_add_tensors(opt_source *s, size_t file,
                                               const opt_tensor_list *list,
                                               const uint8_t *checksums);
/** Sorts the tensors by name; INPUT for a name that comes twice, in one file or in two. */
OPT_MUST_USE opt_status opt_source_finish(opt_source *s);
/** Like opt_source_find, with what only the source knows. */
opt_source_item *opt_source_find_item(opt_source *source, const char *name);
/** Directory part of a path in the source's arena ("." if there is none), or NULL when out of
 * memory. */
const char *opt_source_dir_of(opt_source *s, const char *path);

/** Whether a path exists (links are followed). */
bool opt_path_exists(const char *path);

/** A row of the table of containers. */
typedef struct opt_container {
    const char *name; /**< for messages: "GGUF" */
    /** Whether this reader takes the path; `head` are the first bytes of the file, n_head = 0 for a
     * directory. */
    bool (*probe)(const char *path, bool is_dir, const uint8_t *head, size_t n_head);
    /** Fills the source: s->path is set, nothing else. */
    opt_status (*open)(opt_source *s);
} opt_container;

extern const opt_container opt_container_gguf;        /* gguf_split.c */
extern const opt_container opt_container_safetensors; /* safetensors_read.c: one file */
extern const opt_container opt_container_hf_dir;      /* hf_index.c: a directory */

#endif
