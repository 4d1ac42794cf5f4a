/* How kernels that stand for the library's are tried: one operation both ways, the same bits? */
#ifndef TANDEM_HWMODELS_REAL_TRY_KERNEL_H
#define TANDEM_HWMODELS_REAL_TRY_KERNEL_H

#include <ggml-cpu.h>
#include <ggml.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* From -2 to 2. */
static inline float try_draw(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)(*state >> 8) / (float)(1 << 22) - 2;
}

/* An F32 or F16 tensor. */
static inline void try_fill(struct ggml_tensor *t, uint32_t *state)
{
    for (int64_t i = 0; i < ggml_nelements(t); i++) {
        float x = try_draw(state);
        if (t->type == GGML_TYPE_F32)
            ((float *)t->data)[i] = x;
        else
            ((ggml_fp16_t *)t->data)[i] = ggml_fp32_to_fp16(x);
    }
}

/* Computes x with *ours false and y, the same operation, with *ours true, on one thread. Frees c.
 * false: out of memory; otherwise *equal says whether the bits are the same. */
static inline bool try_both(struct ggml_context *c, struct ggml_tensor *x, struct ggml_tensor *y,
                            bool *ours, bool *equal)
{
    struct ggml_cgraph *first = ggml_new_graph(c), *second = ggml_new_graph(c);
    ggml_build_forward_expand(first, x);
    ggml_build_forward_expand(second, y);
    *ours = false;
    bool done = ggml_graph_compute_with_ctx(c, first, 1) == GGML_STATUS_SUCCESS;
    *ours = true;
    done = done && ggml_graph_compute_with_ctx(c, second, 1) == GGML_STATUS_SUCCESS;
    *equal = done && !memcmp(x->data, y->data, ggml_nbytes(x));
    ggml_free(c);
    return done;
}

#endif
