/* Blocks of packed Q4_0 weights and of Q8_0 activations, and the products of both for one kind of
 * CPU. Private to q4_kernel.c, which says what they compute, and q4_kernel_*.c. */
#ifndef TANDEM_HWMODELS_REAL_Q4_KERNEL_BLOCKS_H
#define TANDEM_HWMODELS_REAL_Q4_KERNEL_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BLOCK = 32, MAX_BLOCKS = 512, TILE = 4 };

/* As ggml's repack.h has them: 8 columns' weights in turns of 8 bytes, the sign bit of a nibble
 * flipped; 4 rows' activations likewise; one row's. */
struct weights {
    uint16_t d[8];
    uint8_t q[128];
};
struct rows4 {
    uint16_t d[4];
    int8_t q[128];
};
struct row1 {
    uint16_t d;
    int8_t q[32];
};

/* Weights stream from memory: with 48 blocks' notice a step of one row takes a fifth less time. The
 * last blocks' addresses lie beyond the array, where no pointer may be formed: numbers may. */
static inline void fetch_ahead(const struct weights *w)
{
    enum { AHEAD = 48 };
    uintptr_t at = (uintptr_t)w + AHEAD * sizeof *w;
    __builtin_prefetch((const void *)at);
    __builtin_prefetch((const void *)(at + 64));
}

/* f with a constant for `rows`, 1 to 3, by which the compiler unrolls it. */
#define BY_ROWS(rows, f, ...)                                                                      \
    ((rows) == 1 ? f(1, __VA_ARGS__) : (rows) == 2 ? f(2, __VA_ARGS__) : f(3, __VA_ARGS__))

/* Products of `n` weights a column (whole blocks, at most MAX_BLOCKS) and nc columns (by eights);
 * rows of s are bs floats apart. */
struct q4_products {
    bool (*fits)(void); /* whether this CPU has the instructions */
    /* `rows` rows, 1 to 3, one after the other in y */
    void (*few)(int rows, int n, float *s, size_t bs, const struct weights *w, const struct row1 *y,
                int nc);
    /* nr rows, by fours */
    void (*gemm)(int n, float *s, size_t bs, const struct weights *w, const struct rows4 *y, int nr,
                 int nc);
};

extern const struct q4_products q4_avx512; /* where the compiler is for x86-64 */

#endif
