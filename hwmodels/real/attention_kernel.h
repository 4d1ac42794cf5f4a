/* Whether the attention of attention_kernel.c stands for llama.cpp's own in narrow steps. */
#ifndef TANDEM_HWMODELS_REAL_ATTENTION_KERNEL_H
#define TANDEM_HWMODELS_REAL_ATTENTION_KERNEL_H

#include <stdbool.h>

enum attention_kernel { ATTENTION_ABSENT, ATTENTION_DIFFERS, ATTENTION_EQUAL };

/* Compares both on made-up tensors, bit by bit. ATTENTION_ABSENT: on another CPU, with a library
 * that ours cannot be linked into, or no memory. After ggml's CPU back end has started. */
enum attention_kernel attention_kernel_compare(void);

/* The same, once; from then on flash attention takes ours where it is equal, and it returns true.
 * The first one does it, too: called earlier, it takes no time of a step. */
bool attention_kernel_start(void);

#endif
