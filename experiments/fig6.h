/* The straight line of Fig 6, which Fig 5 is computed with too. */
#ifndef TANDEM_EXPERIMENTS_FIG6_H
#define TANDEM_EXPERIMENTS_FIG6_H

#include "experiments/line.h"
#include "sim/base/arena.h"
#include "sim/base/err.h"

struct fig6 {
    double short_n, short_ms, long_n, long_ms; /* drafted tokens, ms per token */
    double usual_n, best_n, loss_pct;
};

/* experiments/published/fig6.yaml, found as reproduce_file finds it. */
int fig6_read(struct fig6 *out, struct arena *arena, struct err *e);

/* ms of a verification by the tokens in it, through both published points. */
struct line fig6_line(const struct fig6 *f);

#endif
