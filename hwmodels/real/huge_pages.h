/* Weights, cache and activations on huge pages, where Linux gives them to who asks. */
#ifndef TANDEM_HWMODELS_REAL_HUGE_PAGES_H
#define TANDEM_HWMODELS_REAL_HUGE_PAGES_H

#include <stdbool.h>
#include <stdint.h>

/* Whether llama.cpp's large allocations from here on ask for them, as at first, or refuse them. No
 * effect where the library cannot be linked into. */
void huge_pages_ask(bool ask);

/* What this process has on them; -1 where Linux does not say. */
int64_t huge_pages_bytes(void);

#endif
