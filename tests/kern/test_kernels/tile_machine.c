#include "kern/test_kernels/tile_machine.h"

#if defined(__x86_64__)

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kern/half.h"

typedef struct tile {
    int rows, bytes;
    int32_t at[16][16];
} tile;

/* Only one thread runs tests. */
static struct {
    bool configured;
    int64_t n_done;
    tile tiles[8];
    struct sigaction before;
} machine;

/* A VEX instruction of three bytes of prefix. */
typedef struct instruction {
    int prefix; /* 0, 0x66, 0xf3, 0xf2 */
    int map, w, l, vvvv, opcode;
    int mod, reg, rm;
    uint64_t base, index; /* of the operand in memory, index times scale */
    size_t length;
} instruction;

static void fail(const char *what, const uint8_t *code) {
    (void)fprintf(stderr, "tile machine: %s:", what);
    for (int i = 0; i < 10; i++) {
        (void)fprintf(stderr, " %02x", code[i]);
    }
    (void)fprintf(stderr, "\n");
    abort();
}

static uint64_t reg_of(const ucontext_t *u, int n) {
    static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                  REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                  REG_R12, REG_R13, REG_R14, REG_R15};
    return (uint64_t)u->uc_mcontext.gregs[order[n]];
}

/** The operand in memory; `at` is behind the byte of mod, reg and rm. */
static void decode_memory(const ucontext_t *u, const uint8_t *code, bool x, bool b, size_t at,
                          instruction *i) {
    int32_t far = 0;
    int base = i->rm | b << 3;
    bool has_base = true;
    if (i->rm == 4) {
        const uint8_t sib = code[at++];
        const int index = (sib >> 3 & 7) | x << 3;
        base = (sib & 7) | b << 3;
        i->index = index == 4 ? 0 : reg_of(u, index) << (sib >> 6);
        has_base = !(i->mod == 0 && (sib & 7) == 5);
    } else if (i->mod == 0 && i->rm == 5) {
        fail("address relative to the instruction", code);
    }
    if (i->mod == 1) {
        far = (int8_t)code[at++];
    } else if (i->mod == 2 || !has_base) {
        memcpy(&far, code + at, sizeof far);
        at += sizeof far;
    }
    i->base = (has_base ? reg_of(u, base) : 0) + (uint64_t)(int64_t)far;
    i->length = at;
}

static instruction decode(const ucontext_t *u, const uint8_t *code) {
    static const int prefixes[4] = {0, 0x66, 0xf3, 0xf2};
    if (code[0] != 0xc4) {
        fail("no VEX instruction", code);
    }
    instruction i = {.map = code[1] & 31,
                     .w = code[2] >> 7,
                     .vvvv = ~code[2] >> 3 & 15,
                     .l = code[2] >> 2 & 1,
                     .prefix = prefixes[code[2] & 3],
                     .opcode = code[3],
                     .mod = code[4] >> 6,
                     .reg = code[4] >> 3 & 7,
                     .rm = code[4] & 7,
                     .length = 5};
    if (i.map != 2 || i.w != 0 || i.l != 0) {
        fail("another instruction", code);
    }
    if (i.mod != 3) {
        decode_memory(u, code, (code[1] & 0x40) == 0, (code[1] & 0x20) == 0, 5, &i);
    }
    return i;
}

static void configure(const uint8_t *from, const uint8_t *code) {
    static const uint8_t zeros[14];
    bool good = from[0] == 1 && memcmp(from + 1, zeros, 14) == 0;
    for (int t = 0; t < 16; t++) {
        const int bytes = from[16 + 2 * t] | from[17 + 2 * t] << 8, rows = from[48 + t];
        good = good && (t < 8 ? bytes <= 64 && bytes % 4 == 0 && rows <= 16 && bytes > 0 && rows > 0
                              : bytes == 0 && rows == 0);
        if (good && t < 8) {
            machine.tiles[t] = (tile){.rows = rows, .bytes = bytes};
        }
    }
    if (!good) {
        fail("a configuration that the processor refuses", code);
    }
    machine.configured = true;
}

/** Product of two bytes of x and y, with their signs or without. */
static uint32_t byte_product(int32_t x, int32_t y, int i, bool x_sign, bool y_sign) {
    const uint32_t a = (uint32_t)x >> (8 * i) & 255u, b = (uint32_t)y >> (8 * i) & 255u;
    const int32_t p = x_sign ? (int8_t)(uint8_t)a : (int32_t)a;
    return (uint32_t)(p * (y_sign ? (int8_t)(uint8_t)b : (int32_t)b));
}

static void dot_bytes(tile *sum, const tile *a, const tile *b, bool a_sign, bool b_sign) {
    for (int r = 0; r < sum->rows; r++) {
        for (int p = 0; p < b->rows; p++) {
            for (int c = 0; c < sum->bytes / 4; c++) {
                uint32_t total = (uint32_t)sum->at[r][c];
                for (int i = 0; i < 4; i++) {
                    total += byte_product(a->at[r][p], b->at[p][c], i, a_sign, b_sign);
                }
                sum->at[r][c] = (int32_t)total;
            }
        }
    }
}

/** Even and odd products apart, then both added. */
static void dot_bf16(tile *sum, const tile *a, const tile *b) {
    for (int r = 0; r < sum->rows; r++) {
        for (int c = 0; c < sum->bytes / 4; c++) {
            float even = 0.0F, odd = 0.0F, total;
            for (int p = 0; p < b->rows; p++) {
                const uint32_t x = (uint32_t)a->at[r][p], y = (uint32_t)b->at[p][c];
                even += optk_bits_f32(x << 16) * optk_bits_f32(y << 16);
                odd += optk_bits_f32(x & 0xffff0000u) * optk_bits_f32(y & 0xffff0000u);
            }
            memcpy(&total, &sum->at[r][c], sizeof total);
            total += even + odd;
            memcpy(&sum->at[r][c], &total, sizeof total);
        }
    }
}

static void multiply(const instruction *i, const uint8_t *code) {
    if (i->mod != 3 || i->vvvv > 7 || i->reg == i->rm || i->reg == i->vvvv || i->rm == i->vvvv) {
        fail("operands of a product", code);
    }
    tile *sum = &machine.tiles[i->reg];
    const tile *a = &machine.tiles[i->rm], *b = &machine.tiles[i->vvvv];
    if (a->bytes / 4 != b->rows || sum->rows != a->rows || sum->bytes != b->bytes) {
        fail("tiles that do not fit together", code);
    }
    if (i->opcode == 0x5c && i->prefix == 0xf3) {
        dot_bf16(sum, a, b);
    } else if (i->opcode == 0x5e) { /* f2: both signed, f3: a, 66: b, none: neither */
        dot_bytes(sum, a, b, i->prefix >= 0xf2, i->prefix == 0xf2 || i->prefix == 0x66);
    } else {
        fail("another product", code);
    }
}

static void move(const instruction *i, const uint8_t *code) {
    tile *t = &machine.tiles[i->reg];
    if (i->mod == 3 || i->rm != 4 || i->prefix == 0) {
        fail("operands of a load or store", code);
    }
    for (int r = 0; r < 16; r++) {
        /* The machine's addresses are pointers here. */
        char *row = (char *)(uintptr_t)(i->base + (uint64_t)r * i->index); // NOLINT
        if (i->prefix != 0xf3) {
            memset(t->at[r], 0, sizeof t->at[r]);
        }
        if (r < t->rows && i->prefix != 0xf3) {
            memcpy(t->at[r], row, (size_t)t->bytes);
        } else if (r < t->rows) {
            memcpy(row, t->at[r], (size_t)t->bytes);
        }
    }
}

static void on_refused(int signal_number, siginfo_t *info, void *context) {
    ucontext_t *u = context;
    const uint8_t *code = (const uint8_t *)info->si_addr;
    (void)signal_number;
    const instruction i = decode(u, code);
    const bool config = i.opcode == 0x49 && i.prefix == 0;
    if (config && i.mod != 3) {
        configure((const uint8_t *)(uintptr_t)i.base, code); // NOLINT
    } else if (config && code[4] == 0xc0) {
        machine.configured = false;
        memset(machine.tiles, 0x7f, sizeof machine.tiles); /* nothing survives */
    } else if (!machine.configured) {
        fail("no configuration", code);
    } else if (i.opcode == 0x49 && i.prefix == 0xf2 && i.mod == 3) {
        memset(machine.tiles[i.reg].at, 0, sizeof machine.tiles[i.reg].at);
    } else if (i.opcode == 0x4b) {
        move(&i, code);
    } else {
        multiply(&i, code);
    }
    machine.n_done++;
    u->uc_mcontext.gregs[REG_RIP] += (greg_t)i.length;
}

void tile_machine_start(void) {
    struct sigaction a = {.sa_flags = SA_SIGINFO};
    a.sa_sigaction = on_refused;
    machine.n_done = 0;
    if (sigaction(SIGILL, &a, &machine.before) != 0) {
        abort();
    }
}

int64_t tile_machine_stop(void) {
    if (sigaction(SIGILL, &machine.before, NULL) != 0) {
        abort();
    }
    if (machine.configured) {
        (void)fprintf(stderr, "tile machine: the tiles were not released\n");
        abort();
    }
    return machine.n_done;
}

#else

#include <stdlib.h>

void tile_machine_start(void) { abort(); }
int64_t tile_machine_stop(void) { return 0; }

#endif
