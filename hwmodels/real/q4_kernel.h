/* Whether the products of q4_kernel.c stand for llama.cpp's own. */
#ifndef TANDEM_HWMODELS_REAL_Q4_KERNEL_H
#define TANDEM_HWMODELS_REAL_Q4_KERNEL_H

#include <stdbool.h>

enum q4_kernel { Q4_ABSENT, Q4_DIFFERS, Q4_EQUAL };

/* Compares all that this CPU has the instructions for with the library's on a made-up matrix, bit
 * by bit: Q4_DIFFERS where one does. Q4_ABSENT: on another CPU, or with a library that ours cannot
 * be linked into. After ggml's CPU back end has started. */
enum q4_kernel q4_kernel_compare(void);

/* The same, once; from then on products take the fastest of those that are equal, and it returns
 * true. The first product does it, too: called earlier, it takes no time of a step. */
bool q4_kernel_start(void);

#endif
