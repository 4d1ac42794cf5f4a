/* tandem bench pages: what huge pages bring a step of the target (hwmodels/real/huge_pages.c).
 *
 * The same model twice in one process, asking for them and refusing them; steps of made-up tokens
 * by turns, one thread on the target's core. */
#ifndef TANDEM_EXPERIMENTS_BENCH_PAGES_H
#define TANDEM_EXPERIMENTS_BENCH_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/base/err.h"
#include "sim/core/bench.h"

enum { PAGES_BENCH_ROWS = 4, PAGES_BENCH_MOST = 1000 };

struct pages_bench_row {
    int32_t rows;
    struct bench_stat huge_ns, small_ns; /* of a step of so many, after 512 cached tokens */
};

struct pages_bench {
    struct pages_bench_row row[PAGES_BENCH_ROWS];
    bool huge; /* whether one had them and the other not */
};

/* `repetitions`, 1 to PAGES_BENCH_MOST, steps of each kind. The errors of llama_engine_create;
 * ERR_UNSUPPORTED in a build without llama.cpp. */
int pages_bench_run(const char *model, int32_t repetitions, struct pages_bench *out, struct err *e);

#endif
