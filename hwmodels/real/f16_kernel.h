/* Whether the products of f16_kernel.c stand for llama.cpp's own: queries with keys, weights with
 * values, where attention is not "flash". */
#ifndef TANDEM_HWMODELS_REAL_F16_KERNEL_H
#define TANDEM_HWMODELS_REAL_F16_KERNEL_H

#include <stdbool.h>

enum f16_kernel { F16_ABSENT, F16_DIFFERS, F16_EQUAL };

/* Compares both on made-up tensors, bit by bit. F16_ABSENT: on another CPU, with a library that
 * ours cannot be linked into, or no memory. After ggml's CPU back end has started. */
enum f16_kernel f16_kernel_compare(void);

/* The same, once; from then on such products take ours where they are equal, and it returns true.
 * The first one does it, too: called earlier, it takes no time of a step. */
bool f16_kernel_start(void);

struct ggml_compute_params;
struct ggml_tensor;

/* This thread's part of an operation, if it is one of ours; false, and nothing is done, if not. */
bool f16_kernel_compute(const struct ggml_compute_params *params, struct ggml_tensor *op);

#endif
