/* Weights, cache and activations on huge pages, where Linux gives them to who asks. */
#ifndef TANDEM_HWMODELS_REAL_HUGE_PAGES_H
#define TANDEM_HWMODELS_REAL_HUGE_PAGES_H

#include <stdbool.h>
#include <stdint.h>

/* Whether llama.cpp's large allocations from here on ask for them; it is so at first. No effect
 * where the library cannot be linked into. */
void huge_pages_ask(bool ask);

/* Whether this process has at least so many bytes on huge pages; false where Linux does not say. */
bool huge_pages_hold(int64_t bytes);

#endif
