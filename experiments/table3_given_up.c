/* What of Table 3, or of the ranges, must be given up for a fit: one constraint at a time. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "experiments/table3_search.h"
#include "sim/base/hash.h"

/* Whether a coordinate may leave its range: it is used, and something lies beside it. */
static bool may_leave(const struct table3 *t, struct t3_hypothesis h, int32_t d)
{
    int32_t u = d < T3_SHARED ? d : (d - T3_SHARED) % T3_OWN;
    const struct t3_unknown *k = d < T3_SHARED ? &t->shared[u] : &t->own[u];
    if (k->n_choices)
        return false;
    return d < T3_SHARED ? t3_uses_shared(h, (enum t3_shared)u)
                         : t3_uses_own(h, (enum t3_own)u, (d - T3_SHARED) / T3_OWN);
}

static struct t3_relaxed *add(struct t3_given_up *g, struct t3_hypothesis h, const char *format,
                              ...) __attribute__((format(printf, 3, 4)));

static struct t3_relaxed *add(struct t3_given_up *g, struct t3_hypothesis h, const char *format,
                              ...)
{
    struct t3_relaxed *x = &g->relaxed[g->n++];
    va_list args;
    *x = (struct t3_relaxed){.h = h, .aim = t3_aim_at(T3_AIM_ALL)};
    va_start(args, format);
    vsnprintf(x->what, sizeof x->what, format, args);
    va_end(args);
    return x;
}

void t3_given_up_list(const struct table3 *t, struct t3_hypothesis h, struct t3_given_up *g)
{
    g->n = 0;
    struct t3_hypothesis ideal = h;
    ideal.ideal = true;
    add(g, ideal, "loads hidden behind less than they take");
    for (int32_t m = 0; m < T3_MODELS; m++)
        for (int32_t c = 0; c < T3_CELLS; c++)
            add(g, h, "without %s of %s", t3_cell_name[c], t->model[m].name)->aim.cell[m][c] =
                false;
    for (int32_t d = 0; d < T3_DIMENSIONS; d++) {
        int32_t own = d - T3_SHARED;
        if (!may_leave(t, h, d))
            continue;
        struct t3_relaxed *x = own < 0
                                   ? add(g, h, "beyond the range of %s", t3_shared_name[d])
                                   : add(g, h, "beyond the range of %s of %s",
                                         t3_own_name[own % T3_OWN], t->model[own / T3_OWN].name);
        x->aim.beyond[d] = true;
    }
}

int t3_give_up(const struct t3_search *s, const double *all, uint64_t seed, struct t3_relaxed *x)
{
    struct t3_found f;
    double from[T3_DIMENSIONS];
    int rc = t3_search_aim(s, x->h, &x->aim, hash_mix(seed), &f);
    if (rc)
        return rc;
    memcpy(x->x, f.best_x, sizeof x->x);
    memcpy(from, all, sizeof from);
    x->worst = t3_polish(s->t, x->h, &x->aim, seed, x->x);
    double other = t3_polish(s->t, x->h, &x->aim, seed, from);
    if (other < x->worst) {
        x->worst = other;
        memcpy(x->x, from, sizeof x->x);
    }
    return ERR_OK;
}
