#include "gguf_build.h"

#include "base/num.h"
#include "io/parse.h"

#define I OPT_ERR_INPUT
#define U OPT_ERR_UNSUPPORTED

/* ---- one builder a rule: a file that is right but for one thing ---- */

static void empty(bytes *b) { (void)b; }
static void magic(bytes *b) { add_text(b, "GGUX\3\0\0\0"); }
static void magic_cut(bytes *b) { add_text(b, "GGU"); }
static void version_cut(bytes *b) { add_text(b, "GGUF\3"); }

static void version(bytes *b, uint32_t v) {
    add_head(b, 0, 0);
    opt_wr_u32le(b->data + 4, v);
}
static void version_0(bytes *b) { version(b, 0); }
static void version_1(bytes *b) { version(b, 1); }
static void version_4(bytes *b) { version(b, 4); }
static void big_endian(bytes *b) { version(b, 0x03000000); }

static void counts_cut(bytes *b) {
    add_text(b, "GGUF");
    add_u32(b, 3);
    add_u64(b, 0);
}
static void many_tensors(bytes *b) { add_head(b, 1ull << 60, 0); }
static void one_tensor_too_many(bytes *b) {
    add_head(b, 2, 0);
    add_info(b, "t", 4, T_F32, 0); /* 41 bytes: room for one record */
}
static void many_keys(bytes *b) { add_head(b, 0, UINT64_MAX); }

/* ---- keys and values ---- */

static void key_length(bytes *b) {
    add_head(b, 0, 1);
    add_u64(b, UINT64_MAX);
    add_zeros(b, 32);
}
static void key_empty(bytes *b) {
    add_head(b, 0, 1);
    add_kv_u32(b, "", 1);
    add_zeros(b, 8);
}
static void key_long(bytes *b) {
    char *const key = calloc(65537, 1);
    assert_non_null(key);
    memset(key, 'k', 65536);
    add_head(b, 0, 1);
    add_kv_u32(b, key, 1);
    free(key);
}
static void key_nul(bytes *b) {
    add_head(b, 0, 1);
    add_u64(b, 3);
    add(b, "a\0b", 3);
    add_u32(b, OPT_KV_U8);
    add_u8(b, 1);
}
static void key_unicode(bytes *b) {
    add_head(b, 0, 1);
    add_kv_u32(b, "k\xc3\xa9", 1);
}
static void key_double(bytes *b) {
    add_head(b, 0, 2);
    add_kv_u32(b, "a.b", 1);
    add_kv_str(b, "a.b", "x");
}
static void value_type(bytes *b) {
    add_head(b, 0, 1);
    add_key(b, "a", (opt_kv_type)13);
    add_zeros(b, 8);
}
static void value_type_negative(bytes *b) {
    add_head(b, 0, 1);
    add_str(b, "a");
    add_u32(b, 0xffffffff);
    add_zeros(b, 8);
}
static void value_cut(bytes *b) {
    add_head(b, 0, 1);
    add_key(b, "a", OPT_KV_U64);
    add_zeros(b, 7);
}
static void bool_2(bytes *b) {
    add_head(b, 0, 1);
    add_key(b, "a", OPT_KV_BOOL);
    add_u8(b, 2);
}
static void bool_array_255(bytes *b) {
    add_head(b, 0, 1);
    add_kv_array(b, "a", OPT_KV_BOOL, 2);
    add_u8(b, 1);
    add_u8(b, 255);
}
static void string_length(bytes *b) {
    add_head(b, 0, 1);
    add_key(b, "a", OPT_KV_STRING);
    add_u64(b, 9);
    add_zeros(b, 8);
}
static void array_type(bytes *b) {
    add_head(b, 0, 1);
    add_kv_array(b, "a", 77, 0);
}
static void array_nested(bytes *b) {
    add_head(b, 0, 1);
    add_kv_array(b, "a", OPT_KV_ARRAY, 1);
    add_u32(b, OPT_KV_U8);
    add_u64(b, 0);
}
static void array_count(bytes *b) {
    add_head(b, 0, 1);
    add_kv_array(b, "a", OPT_KV_U32, (1ull << 62) + 1);
    add_zeros(b, 4);
}
static void array_short(bytes *b) {
    add_head(b, 0, 1);
    add_kv_array(b, "a", OPT_KV_F64, 2);
    add_zeros(b, 15);
}
static void strings_count(bytes *b) {
    add_head(b, 0, 1);
    add_kv_array(b, "a", OPT_KV_STRING, 1ull << 63);
    add_zeros(b, 16);
}
static void strings_length(bytes *b) {
    add_head(b, 0, 1);
    add_kv_array(b, "a", OPT_KV_STRING, 1);
    add_u64(b, 1ull << 40);
    add_zeros(b, 8);
}

/* ---- alignment ---- */

static void alignment(bytes *b, uint32_t v) {
    add_head(b, 0, 1);
    add_kv_u32(b, "general.alignment", v);
}
static void alignment_0(bytes *b) { alignment(b, 0); }
static void alignment_4(bytes *b) { alignment(b, 4); }
static void alignment_48(bytes *b) { alignment(b, 48); }
static void alignment_huge(bytes *b) { alignment(b, 1u << 31); }
static void alignment_u64(bytes *b) {
    add_head(b, 0, 1);
    add_key(b, "general.alignment", OPT_KV_U64);
    add_u64(b, 32);
}
static void alignment_array(bytes *b) {
    add_head(b, 0, 1);
    add_kv_array(b, "general.alignment", OPT_KV_U32, 0);
}
/* offsets made for 64, but the key says 128 */
static void alignment_other(bytes *b) {
    add_head(b, 2, 1);
    add_kv_u32(b, "general.alignment", 128);
    add_info(b, "a", 4, T_F32, 0);
    add_info(b, "b", 4, T_F32, 64);
    add_body(b, 512);
}

/* ---- tensors ---- */

static void name_empty(bytes *b) {
    add_head(b, 1, 0);
    add_info(b, "", 4, T_F32, 0);
    add_body(b, 64);
}
static void name_long(bytes *b) {
    add_head(b, 1, 0);
    add_info(b, "0123456789012345678901234567890123456789012345678901234567890123", 4, T_F32, 0);
    add_body(b, 64);
}
static void name_length(bytes *b) {
    add_head(b, 1, 0);
    add_u64(b, UINT64_MAX - 7);
    add_zeros(b, 64);
}
static void name_nul(bytes *b) {
    add_head(b, 1, 0);
    add_u64(b, 2);
    add(b, "a\0", 2);
    add_zeros(b, 64);
}
static void name_double(bytes *b) {
    add_head(b, 2, 0);
    add_info(b, "t", 8, T_F32, 0);
    add_info(b, "t", 8, T_F32, 32);
    add_body(b, 64);
}
static void rank_5(bytes *b) {
    static const uint64_t ne[] = {1, 1, 1, 1, 1};
    add_head(b, 1, 0);
    add_info_dims(b, "t", 5, ne, T_F32, 0);
    add_body(b, 32);
}
static void rank_huge(bytes *b) {
    add_head(b, 1, 0);
    add_str(b, "t");
    add_u32(b, 0xffffffff);
    add_zeros(b, 64);
}
static void dim_negative(bytes *b) {
    add_head(b, 1, 0);
    add_info(b, "t", 1ull << 63, T_F32, 0);
    add_body(b, 32);
}
static void elements_overflow(bytes *b) {
    static const uint64_t ne[] = {1ull << 32, 1ull << 32};
    add_head(b, 1, 0);
    add_info_dims(b, "t", 2, ne, T_I8, 0);
    add_body(b, 32);
}
static void overflow_behind_0(bytes *b) {
    static const uint64_t ne[] = {0, 1ull << 32, 1ull << 32};
    add_head(b, 1, 0);
    add_info_dims(b, "t", 3, ne, T_I8, 0);
    add_body(b, 32);
}
static void bytes_overflow(bytes *b) {
    add_head(b, 1, 0);
    add_info(b, "t", 1ull << 62, T_F32, 0);
    add_body(b, 32);
}
static void block(bytes *b) {
    add_head(b, 1, 0);
    add_info(b, "t", 33, T_Q4_0, 0);
    add_body(b, 64);
}
static void type(bytes *b, uint32_t v) {
    add_head(b, 1, 0);
    add_info(b, "t", 256, v, 0);
    add_body(b, 1024);
}
static void type_removed(bytes *b) { type(b, 4); }
static void type_repacked(bytes *b) { type(b, 33); }
static void type_future(bytes *b) { type(b, 43); }
static void type_negative(bytes *b) { type(b, 0x80000000); }
static void offset_first(bytes *b) {
    add_head(b, 1, 0);
    add_info(b, "t", 8, T_F32, 32);
    add_body(b, 64);
}
static void offset_unaligned(bytes *b) {
    add_head(b, 2, 0);
    add_info(b, "a", 1, T_F32, 0);
    add_info(b, "b", 1, T_F32, 4);
    add_body(b, 64);
}
static void offset_overlap(bytes *b) {
    add_head(b, 2, 0);
    add_info(b, "a", 8, T_F32, 0);
    add_info(b, "b", 8, T_F32, 0);
    add_body(b, 64);
}
static void offset_hole(bytes *b) {
    add_head(b, 2, 0);
    add_info(b, "a", 8, T_F32, 0);
    add_info(b, "b", 8, T_F32, 64);
    add_body(b, 96);
}
static void sum_overflow(bytes *b) {
    add_head(b, 3, 0);
    add_info(b, "a", (1ull << 63) - 32, T_I8, 0);
    add_info(b, "b", (1ull << 63) - 32, T_I8, (1ull << 63) - 32);
    add_info(b, "c", 64, T_I8, UINT64_MAX - 63);
    add_body(b, 32);
}
static void padding_overflow(bytes *b) {
    add_head(b, 3, 0);
    add_info(b, "a", (1ull << 63) - 32, T_I8, 0);
    add_info(b, "b", (1ull << 63) - 32, T_I8, (1ull << 63) - 32);
    add_info(b, "c", 63, T_I8, UINT64_MAX - 63);
    add_info(b, "d", 1, T_I8, 0);
    opt_wr_u64le(b->data + 8, 4);
    add_body(b, 32);
}
static void exabytes(bytes *b) {
    add_head(b, 1, 0);
    add_info(b, "t", 1ull << 60, T_F32, 0);
    add_body(b, 32);
}
static void data_short(bytes *b) {
    add_head(b, 1, 0);
    add_info(b, "t", 8, T_F32, 0);
    add_body(b, 31);
}
static void data_missing(bytes *b) {
    add_head(b, 1, 0);
    add_info(b, "t", 8, T_F32, 0);
}
static void record_cut(bytes *b) {
    add_head(b, 1, 0);
    add_str(b, "t");
    add_u32(b, 1);
    add_u64(b, 8);
    add_u32(b, T_F32);
    add_zeros(b, 7);
}

/* ---- lathe.* keys ---- */

/* A tensor of 40 columns in int4_g32 beside one in f32, with all keys; `skip` leaves one out. */
typedef struct own {
    const char *skip;
    const char *formats[2];
    uint64_t columns[2];
    uint32_t version;
    uint64_t row_bytes;
    uint32_t type;
} own;

static const own own_good = {NULL, {"int4_g32", "f32"}, {40, 8}, 1, 0, T_I8};

static bool kept(const own *o, const char *key) {
    return o->skip == NULL || strcmp(o->skip, key) != 0;
}

static void add_own(bytes *b, const own *o) {
    size_t row_bytes = 0;
    assert_true(opt_format_row_bytes(opt_format_by_name("int4_g32"), 40, &row_bytes));
    const uint64_t ne[] = {o->row_bytes != 0 ? o->row_bytes : row_bytes, 3};
    add_head(b, 2, o->skip == NULL ? 5 : 4);
    if (kept(o, "version")) {
        add_kv_u32(b, "lathe.format_version", o->version);
    }
    if (kept(o, "format")) {
        add_kv_array(b, "lathe.tensor.format", OPT_KV_STRING, 2);
        add_str(b, o->formats[0]);
        add_str(b, o->formats[1]);
    }
    if (kept(o, "columns")) {
        add_kv_array(b, "lathe.tensor.columns", OPT_KV_U64, 2);
        add(b, o->columns, sizeof o->columns);
    }
    if (kept(o, "xxh3")) {
        add_kv_array(b, "lathe.tensor.xxh3", OPT_KV_U64, 2);
        add_zeros(b, 16);
    }
    if (kept(o, "header")) {
        add_key(b, "lathe.header.xxh3", OPT_KV_U64);
        add_u64(b, 0);
    }
    const size_t size = o->type == T_F32 ? 4 * ne[0] * ne[1] : ne[0] * ne[1];
    const size_t padded = (size + 31) / 32 * 32;
    add_info_dims(b, "q", 2, ne, o->type, 0);
    add_info(b, "f", 8, T_F32, padded);
    add_body(b, padded + 32);
}

#define OWN(name, ...)                                                                             \
    static void name(bytes *b) {                                                                   \
        own o = own_good;                                                                          \
        __VA_ARGS__;                                                                               \
        add_own(b, &o);                                                                            \
    }
OWN(own_no_version, o.skip = "version")
OWN(own_no_format, o.skip = "format")
OWN(own_no_columns, o.skip = "columns")
OWN(own_no_sums, o.skip = "xxh3")
OWN(own_no_header, o.skip = "header")
OWN(own_version_0, o.version = 0)
OWN(own_version_2, o.version = 2)
OWN(own_unknown, o.formats[0] = "int5_g32")
OWN(own_wrong_size, o.columns[0] = 72)
OWN(own_columns_overflow, o.columns[0] = UINT64_MAX)
OWN(own_row_bytes, o.row_bytes = 41)
OWN(own_not_i8, o.type = T_F32)
OWN(own_other_type, o.formats[1] = "f16")
OWN(own_run_rows, o.formats[0] = "q4_0_r16", o.columns[0] = 64, o.row_bytes = 36)
OWN(own_run_stored, o.formats[1] = "q4_0_r16")
OWN(own_run_bytes, o.formats[0] = "q8_0_r16", o.columns[0] = 64, o.row_bytes = 36)
OWN(own_run_super, o.formats[0] = "q2_k_r16", o.columns[0] = 256, o.row_bytes = 83)
OWN(own_run_partial, o.formats[0] = "q4_k_r16", o.columns[0] = 64, o.row_bytes = 144)
OWN(own_run_columns, o.formats[0] = "int4_g64_r16", o.columns[0] = 72, o.row_bytes = 68)
OWN(own_run_unknown, o.formats[0] = "nf4_r16")
OWN(own_other_columns, o.columns[1] = 16)

static void own_header_type(bytes *b) {
    add_head(b, 0, 2);
    add_kv_u32(b, "lathe.format_version", 1);
    add_kv_u32(b, "lathe.header.xxh3", 1);
}
static void own_count(bytes *b) {
    add_head(b, 0, 5);
    add_key(b, "lathe.header.xxh3", OPT_KV_U64);
    add_u64(b, 0);
    add_kv_u32(b, "lathe.format_version", 1);
    add_kv_array(b, "lathe.tensor.format", OPT_KV_STRING, 1);
    add_str(b, "f32");
    add_kv_array(b, "lathe.tensor.columns", OPT_KV_U64, 0);
    add_kv_array(b, "lathe.tensor.xxh3", OPT_KV_U64, 0);
}
static void own_element_type(bytes *b) {
    add_head(b, 0, 5);
    add_key(b, "lathe.header.xxh3", OPT_KV_U64);
    add_u64(b, 0);
    add_kv_u32(b, "lathe.format_version", 1);
    add_kv_array(b, "lathe.tensor.format", OPT_KV_STRING, 0);
    add_kv_array(b, "lathe.tensor.columns", OPT_KV_U32, 0);
    add_kv_array(b, "lathe.tensor.xxh3", OPT_KV_U64, 0);
}

static const struct row {
    const char *name;
    void (*build)(bytes *b);
    opt_status status;
    const char *message;
} corrupt[] = {
    {"empty", empty, I, "the magic number at offset 0 needs 4 bytes but the file ends after 0"},
    {"magic cut", magic_cut, I, "the magic number at offset 0 needs 4 bytes but the file ends"},
    {"magic", magic, I, "the file starts with 47 47 55 58; expected 'GGUF'"},
    {"version cut", version_cut, I, "the version at offset 4 needs 4 bytes"},
    {"version 0", version_0, I, "GGUF version 0 does not exist"},
    {"version 1", version_1, U, "GGUF version 1; versions 2 and 3 can be read"},
    {"version 4", version_4, U, "GGUF version 4; versions 2 and 3 can be read"},
    {"big-endian", big_endian, U, "a big-endian GGUF file (version field 03000000)"},
    {"counts cut", counts_cut, I, "the number of metadata keys at offset 16 needs 8 bytes"},
    {"2^60 tensors", many_tensors, I, "claims 1152921504606846976 tensors but only 0 bytes"},
    {"2 tensors, 1 record", one_tensor_too_many, I, "claims 2 tensors but only 33 bytes follow"},
    {"2^64-1 keys", many_keys, I, "claims 18446744073709551615 metadata keys but only 0 bytes"},
    {"key length", key_length, I, "a metadata key at offset 32 needs 18446744073709551615 bytes"},
    {"key empty", key_empty, I, "metadata key 0 is empty"},
    {"key of 65536", key_long, I, "metadata key 0 has 65536 bytes; at most 65535"},
    {"key with 0", key_nul, I, "metadata key 0 holds byte 0x00; keys are printable ASCII"},
    {"key not ASCII", key_unicode, I, "metadata key 0 holds byte 0xc3"},
    {"key twice", key_double, I, "the metadata key a.b is there twice"},
    {"value type 13", value_type, I, "the metadata key a has type 13, which does not exist"},
    {"value type -1", value_type_negative, I, "has type 4294967295, which does not exist"},
    {"value cut", value_cut, I,
     "the value of metadata key 'a' at offset 37 needs 8 bytes but the file ends after 7"},
    {"bool 2", bool_2, I, "the metadata key a holds 2 as a bool; expected 0 or 1"},
    {"bool 255 in an array", bool_array_255, I, "the metadata key a holds 255 as a bool"},
    {"string length", string_length, I,
     "the value of metadata key 'a' at offset 45 needs 9 bytes but the file ends after 8"},
    {"array type", array_type, I, "the metadata key a is an array of type 77, which does not"},
    {"array of arrays", array_nested, U, "the metadata key a is an array of arrays"},
    {"array count wraps", array_count, I, "claims 4611686018427387905 elements but the file ends"},
    {"array short", array_short, I, "the metadata key a claims 2 elements but the file ends after"},
    {"strings count", strings_count, I, "claims 9223372036854775808 elements but the file ends"},
    {"strings length", strings_length, I,
     "the value of metadata key 'a' at offset 57 needs 1099511627776 bytes"},
    {"alignment 0", alignment_0, I, "general.alignment is 0; expected a power of two"},
    {"alignment 4", alignment_4, I, "general.alignment is 4; expected a power of two from 8"},
    {"alignment 48", alignment_48, I, "general.alignment is 48; expected a power of two"},
    {"alignment 2^31", alignment_huge, I, "general.alignment is 2147483648; expected a power"},
    {"alignment u64", alignment_u64, I, "general.alignment has type u64; expected u32"},
    {"alignment array", alignment_array, I, "general.alignment has type array; expected u32"},
    {"alignment other", alignment_other, I,
     "tensor 'b' has offset 64; the sizes before it give 128"},
    {"name empty", name_empty, I, "the name of tensor 0 has 0 bytes; expected 1 to 63"},
    {"name of 64", name_long, I, "the name of tensor 0 has 64 bytes; expected 1 to 63"},
    {"name length", name_length, I, "a tensor name at offset 32 needs 18446744073709551608 bytes"},
    {"name with 0", name_nul, I, "the name of tensor 0 has a 0 byte in it"},
    {"name twice", name_double, I, "tensor 't' is there twice"},
    {"rank 5", rank_5, I, "tensor 't' has 5 dimensions; at most 4"},
    {"rank 2^32-1", rank_huge, I, "tensor 't' has 4294967295 dimensions; at most 4"},
    {"negative dimension", dim_negative, I, "tensor 't' has a negative dimension"},
    {"elements overflow", elements_overflow, I, "tensor 't': its shape overflows"},
    {"overflow behind a 0", overflow_behind_0, I, "tensor 't': its shape overflows"},
    {"bytes overflow", bytes_overflow, I, "tensor 't': its shape overflows"},
    {"partial block", block, I, "has rows of 33 elements; type q4_0 needs a multiple of 32"},
    {"type 4", type_removed, U, "tensor 't' has type 4 (Q4_2), which ggml has removed"},
    {"type 33", type_repacked, U, "tensor 't' has type 33 (Q4_0_8_8), which ggml has removed"},
    {"type 43", type_future, U, "tensor 't' has type number 43, which this version does not know"},
    {"type -2^31", type_negative, I, "tensor 't' has the negative type number -2147483648"},
    {"first offset", offset_first, I, "tensor 't' has offset 32; the sizes before it give 0"},
    {"offset unaligned", offset_unaligned, I,
     "tensor 'b' has offset 4; the sizes before it give 32"},
    {"overlap", offset_overlap, I, "tensor 'b' has offset 0; the sizes before it give 32"},
    {"hole", offset_hole, I, "tensor 'b' has offset 64; the sizes before it give 32"},
    {"sum overflow", sum_overflow, I, "tensor 'c': the sum of all sizes overflows"},
    {"padding overflow", padding_overflow, I, "tensor 'd': the sizes before it overflow"},
    {"exabytes", exabytes, I, "tensor 't' needs 4611686018427387904 bytes at offset 64 but the"},
    {"data short", data_short, I, "tensor 't' needs 32 bytes at offset 64 but the file has 95"},
    {"no data", data_missing, I, "tensor 't' needs 32 bytes at offset 64 but the file has"},
    {"record cut", record_cut, I,
     "the record of tensor 't' at offset 49 needs 8 bytes but the file ends after 7"},
    {"no version", own_no_version, I, "the metadata key lathe.format_version is missing"},
    {"no formats", own_no_format, I, "the metadata key lathe.tensor.format is missing"},
    {"no columns", own_no_columns, I, "the metadata key lathe.tensor.columns is missing"},
    {"no checksums", own_no_sums, I, "the metadata key lathe.tensor.xxh3 is missing"},
    {"no header sum", own_no_header, I, "the metadata key lathe.header.xxh3 is missing"},
    {"type of header sum", own_header_type, I, "lathe.header.xxh3 has type u32; expected u64"},
    {"our version 0", own_version_0, I, "lathe.format_version is 0; expected 1 to"},
    {"our version 2", own_version_2, U,
     "the file has format version 2; this version reads up to 1"},
    {"unknown format", own_unknown, U, "tensor 'q' has format 'int5_g32', which this version"},
    {"wrong columns", own_wrong_size, I, "72 columns in format int4_g32 need"},
    {"columns overflow", own_columns_overflow, I,
     "rows of 18446744073709551615 columns cannot have format int4_g32"},
    {"wrong row bytes", own_row_bytes, I, "tensor 'q' has rows of 41 bytes; 40 columns in format"},
    {"own format not in i8", own_not_i8, I, "stored as f32; its format int4_g32 needs i8"},
    {"another type", own_other_type, I, "stored as f32 but lathe.tensor.format says f16: another"},
    {"rows together that are no 16", own_run_rows, I,
     "tensor 'q' has 3 rows; with rows 16 together their number must be a multiple of that"},
    {"rows together not in i8", own_run_stored, I, "tensor 'f' is stored as f32; its format q4_0"},
    {"row bytes of rows together", own_run_bytes, I, "64 columns in format q8_0 need 68"},
    {"row bytes of superblocks together", own_run_super, I, "256 columns in format q2_k need 84"},
    {"rows together of half a superblock", own_run_partial, I,
     "rows of 64 columns cannot have format q4_k"},
    {"rows together of columns that are no whole blocks", own_run_columns, I,
     "tensor 'q' has 72 columns; with rows 16 together their number must be a multiple of 64"},
    {"rows together of a format that has none", own_run_unknown, U, "has format 'nf4_r16', which"},
    {"other columns", own_other_columns, I, "has 8 columns but lathe.tensor.columns says 16"},
    {"count of formats", own_count, I, "lathe.tensor.format describes 1 tensors; the file has 0"},
    {"type of columns", own_element_type, I, "lathe.tensor.columns is not an array of u64"},
};

static void test_gguf__corrupt_files_are_refused(void **state) {
    scratch s;
    (void)state;
    scratch_new(&s);
    for (size_t i = 0; i < sizeof corrupt / sizeof corrupt[0]; i++) {
        bytes b = {0};
        corrupt[i].build(&b);
        write_file(scratch_path(&s, "model.gguf"), b.data, b.n);
        expect_open(corrupt[i].name, s.path, corrupt[i].status, corrupt[i].message);
        free(b.data);
    }
    scratch_remove(&s);
}

/* ---- what is right ---- */

static void add_good(bytes *b) {
    static const uint64_t ne[] = {4, 3};
    add_head(b, 2, 3);
    add_kv_str(b, "general.architecture", "llama");
    add_kv_u32(b, "general.alignment", 64);
    add_kv_array(b, "list", OPT_KV_I16, 3);
    add_u16(b, 1);
    add_u16(b, 2);
    add_u16(b, 0xffff);
    add_info_dims(b, "b", 2, ne, T_F32, 0);
    add_info(b, "a", 32, T_Q8_0, 64);
    add_padding(b, 64);
    for (int i = 0; i < 64 + 34; i++) {
        add_u8(b, (uint8_t)i);
    }
}

static void test_gguf__tensors_are_sorted_and_outermost_first(void **state) {
    scratch s;
    bytes b = {0};
    opt_source *source = NULL;
    opt_ctx *const ctx = new_ctx(1);
    (void)state;
    scratch_new(&s);
    add_good(&b);
    write_file(scratch_path(&s, "model.gguf"), b.data, b.n);
    assert_int_equal(opt_source_open(ctx, s.path, &source), OPT_OK);
    assert_int_equal(opt_source_kind_of(source), OPT_SOURCE_GGUF);
    assert_int_equal(opt_source_n_tensors(source), 2);
    const opt_tensor *const t = opt_source_tensor(source, 1);
    assert_string_equal(t->name, "b");
    assert_ptr_equal(t->format, &opt_format_f32);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->dims[0], 3);
    assert_int_equal(t->dims[1], 4);
    assert_int_equal(t->bytes, 48);
    assert_int_equal(t->data[5], 5);
    const opt_tensor *const q = opt_source_find(source, "a");
    assert_string_equal(q->format->name, "q8_0");
    assert_int_equal(q->bytes, 34);
    assert_int_equal(q->data[0], 64);
    assert_int_equal(opt_kv_elem_i64(opt_kv_find(opt_source_kv(source), "list"), 2), -1);
    assert_string_equal(opt_kv_origin(opt_source_kv(source)), s.path);
    opt_source_close(source);
    free(b.data);
    opt_ctx_free(ctx);
    scratch_remove(&s);
}

static void test_gguf__version_2_is_the_same(void **state) {
    scratch s;
    bytes b = {0};
    (void)state;
    scratch_new(&s);
    add_good(&b);
    opt_wr_u32le(b.data + 4, 2);
    write_file(scratch_path(&s, "model.gguf"), b.data, b.n);
    expect_open("version 2", s.path, OPT_OK, NULL);
    free(b.data);
    scratch_remove(&s);
}

static void test_gguf__content_decides_not_the_name(void **state) {
    scratch s;
    bytes b = {0};
    (void)state;
    scratch_new(&s);
    add_good(&b);
    write_file(scratch_path(&s, "model.bin"), b.data, b.n);
    expect_open("another name", s.path, OPT_OK, NULL);
    free(b.data);
    scratch_remove(&s);
}

/* Cut anywhere before the end of the last tensor: refused. What follows is padding, and may be
 * missing. */
static void test_gguf__every_truncation_is_refused(void **state) {
    bytes b = {0};
    opt_ctx *const ctx = new_ctx(1);
    (void)state;
    add_good(&b);
    const size_t end = b.n;
    add_padding(&b, 64);
    for (size_t n = 0; n <= b.n; n++) {
        opt_arena *arena = NULL;
        opt_gguf g = {0};
        uint8_t *const part = malloc(n > 0 ? n : 1);
        assert_non_null(part);
        memcpy(part, b.data, n);
        assert_int_equal(opt_arena_new(ctx, &arena), OPT_OK);
        const opt_status st = opt_gguf_parse(ctx, arena, "cut", part, n, &g);
        assert_int_equal(st, n < end ? OPT_ERR_INPUT : OPT_OK);
        opt_ctx_clear_error(ctx);
        opt_kv_free(g.kv);
        opt_arena_free(arena);
        free(part);
    }
    free(b.data);
    opt_ctx_free(ctx);
}

static void test_gguf__bytes_behind_the_last_tensor_warn(void **state) {
    scratch s;
    bytes b = {0};
    opt_source *source = NULL;
    opt_ctx *const ctx = new_ctx(1);
    (void)state;
    scratch_new(&s);
    add_good(&b);
    add_padding(&b, 64);
    add_text(&b, "PK");
    write_file(scratch_path(&s, "model.gguf"), b.data, b.n);
    assert_int_equal(opt_source_open(ctx, s.path, &source), OPT_OK);
    assert_int_equal(opt_ctx_n_warnings(ctx), 1);
    assert_non_null(strstr(opt_ctx_warning(ctx, 0), "2 bytes behind the last tensor"));
    opt_source_close(source);
    free(b.data);
    opt_ctx_free(ctx);
    scratch_remove(&s);
}

static void test_gguf__own_formats_get_their_logical_shape(void **state) {
    scratch s;
    bytes b = {0};
    opt_source *source = NULL;
    opt_ctx *const ctx = new_ctx(1);
    (void)state;
    scratch_new(&s);
    add_own(&b, &own_good);
    write_file(scratch_path(&s, "model.gguf"), b.data, b.n);
    assert_int_equal(opt_source_open(ctx, s.path, &source), OPT_OK);
    const opt_tensor *const t = opt_source_find(source, "q");
    assert_string_equal(t->format->name, "int4_g32");
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->dims[0], 3);
    assert_int_equal(t->dims[1], 40);
    opt_source_close(source);
    free(b.data);
    opt_ctx_free(ctx);
    scratch_remove(&s);
}

/* ---- split files ---- */

/* One part with a tensor of its own. */
static void write_part(scratch *s, const char *name, uint32_t no, uint32_t count,
                       uint32_t n_tensors, const char *tensor, const char *arch) {
    bytes b = {0};
    add_head(&b, 1, 4);
    add_key(&b, "split.no", OPT_KV_U16);
    add_u16(&b, (uint16_t)no);
    add_key(&b, "split.count", OPT_KV_U16);
    add_u16(&b, (uint16_t)count);
    add_key(&b, "split.tensors.count", OPT_KV_I32);
    add_u32(&b, n_tensors);
    add_kv_str(&b, "general.architecture", arch);
    add_info(&b, tensor, 8, T_F32, 0);
    add_body(&b, 32);
    write_file(scratch_path(s, name), b.data, b.n);
    free(b.data);
}

#define PART(no) "m-0000" no "-of-00003.gguf"

static void write_parts(scratch *s) {
    scratch_new(s);
    write_part(s, PART("1"), 0, 3, 3, "c", "llama");
    write_part(s, PART("2"), 1, 3, 3, "b", "llama");
    write_part(s, PART("3"), 2, 3, 3, "a", "llama");
}

static void test_gguf_split__the_first_part_opens_all(void **state) {
    scratch s;
    opt_source *source = NULL;
    opt_ctx *const ctx = new_ctx(1);
    (void)state;
    write_parts(&s);
    assert_int_equal(opt_source_open(ctx, scratch_path(&s, PART("1")), &source), OPT_OK);
    assert_int_equal(opt_source_n_tensors(source), 3);
    assert_string_equal(opt_source_tensor(source, 0)->name, "a");
    assert_int_equal(opt_source_n_files(source), 3);
    assert_string_equal(opt_source_file(source, 2), scratch_path(&s, PART("3")));
    opt_source_close(source);
    opt_ctx_free(ctx);
    scratch_remove(&s);
}

static void test_gguf_split__wrong_parts_are_refused(void **state) {
    scratch s;
    (void)state;
    write_parts(&s);
    expect_open("later part", scratch_path(&s, PART("2")), I,
                "this is part 2 of 3 of a split model; open the first: ");
    write_part(&s, PART("2"), 2, 3, 3, "b", "llama");
    expect_open("wrong number", scratch_path(&s, PART("1")), I,
                "the file says that it is part 3 of 3; expected 2 of 3");
    write_part(&s, PART("2"), 1, 2, 3, "b", "llama");
    expect_open("wrong count", scratch_path(&s, PART("1")), I, "part 2 of 2; expected 2 of 3");
    write_part(&s, PART("2"), 1, 3, 3, "c", "llama");
    expect_open("same tensor", scratch_path(&s, PART("1")), I, "tensor 'c' is also in ");
    write_part(&s, PART("2"), 1, 3, 4, "b", "llama");
    expect_open("another total", scratch_path(&s, PART("1")), I,
                "the metadata key split.tensors.count differs from the one in ");
    write_part(&s, PART("2"), 1, 3, 3, "b", "gpt2");
    expect_open("another model", scratch_path(&s, PART("1")), I,
                "the metadata key general.architecture differs from the one in ");
    assert_int_equal(unlink(scratch_path(&s, PART("2"))), 0);
    expect_open("part missing", scratch_path(&s, PART("1")), I, "part 2 of 3 is missing: ");
    write_part(&s, "m.gguf", 0, 3, 3, "a", "llama");
    expect_open("renamed", s.path, I, "its name must end in -00001-of-00003.gguf");
    write_part(&s, "m.gguf", 3, 3, 3, "a", "llama");
    expect_open("number too large", s.path, I, "the file says that it is part 4 of 3");
    write_part(&s, "m-00001-of-00002.gguf", 0, 2, 5, "a", "llama");
    write_part(&s, "m-00002-of-00002.gguf", 1, 2, 5, "b", "llama");
    expect_open("total", scratch_path(&s, "m-00001-of-00002.gguf"), I,
                "split.tensors.count is 5; the parts hold 2 tensors");
    scratch_remove(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf__corrupt_files_are_refused),
        cmocka_unit_test(test_gguf__tensors_are_sorted_and_outermost_first),
        cmocka_unit_test(test_gguf__version_2_is_the_same),
        cmocka_unit_test(test_gguf__content_decides_not_the_name),
        cmocka_unit_test(test_gguf__every_truncation_is_refused),
        cmocka_unit_test(test_gguf__bytes_behind_the_last_tensor_warn),
        cmocka_unit_test(test_gguf__own_formats_get_their_logical_shape),
        cmocka_unit_test(test_gguf_split__the_first_part_opens_all),
        cmocka_unit_test(test_gguf_split__wrong_parts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
