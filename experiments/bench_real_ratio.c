#include <math.h>
#include <stdlib.h>

#include "experiments/bench_real.h"
#include "sim/exec/metrics.h"

static bool in_set(const struct bench_contender *c, int32_t k, enum bench_set set)
{
    if (c->own)
        return set == BENCH_SET_AUTOREGRESSIVE && k == BENCH_AUTOREGRESSIVE;
    bool products = c->comparator.build == BUILD_PRODUCTS;
    switch (set) {
    case BENCH_SET_LOOKUP:
        return !products && c->comparator.tool == COMPARATOR_LOOKUP;
    case BENCH_SET_DRAFT_MODEL:
        return !products && c->comparator.tool == COMPARATOR_SPECULATIVE;
    case BENCH_SET_PUBLIC:
        return !products;
    case BENCH_SET_ALL:
        return true;
    default:
        return false;
    }
}

static double median(const double *ns, int32_t n)
{
    double x[BENCH_MAX_REPS];
    for (int32_t i = 0; i < n; i++)
        x[i] = ns[i];
    return metrics_quantile(x, n, 0.5);
}

double bench_ns(const struct bench_prompt *p, int32_t contender)
{
    return median(p->ns[contender], p->n_reps);
}

double bench_first_ns(const struct bench_prompt *p, int32_t contender)
{
    return median(p->first_ns[contender], p->n_reps);
}

int32_t bench_best(const struct bench_model *m, int32_t task, enum bench_set set)
{
    int32_t best = -1;
    double least = INFINITY;
    for (int32_t k = 0; k < m->n_contenders; k++) {
        double sum = 0;
        if (!in_set(&m->contender[k], k, set))
            continue;
        for (int32_t i = 0; i < m->n_prompts; i++)
            if (m->prompt[i].task == task)
                sum += bench_ns(&m->prompt[i], k);
        if (sum < least) {
            least = sum;
            best = k;
        }
    }
    return best;
}

/* One for each prompt whose model x task has a contender of the set: its times. */
struct unit {
    double best, ours, oracle;
};

/* Prompts among which an interval draws: those of a model x task; of all tasks of a model of which
 * one has a single prompt. */
struct stratum {
    int32_t n, tasks; /* that it stands for; 0: one, of which times are summed */
};

struct question {
    int32_t n, n_strata;
    struct unit *unit;      /* [n], by stratum */
    int32_t *of;            /* [n] its stratum */
    struct stratum *strata; /* [n_strata] */
    bool oracle;            /* in our place */
};

/* Of a stratum of several tasks the mean of its prompts' logarithms stands for each task. */
static double geometric_mean(const void *self, const int32_t *count)
{
    const struct question *q = self;
    const struct unit *u = q->unit;
    double sum_log = 0;
    int32_t n_tasks = 0;
    for (int32_t s = 0; s < q->n_strata; s++) {
        const struct stratum *stratum = &q->strata[s];
        double best = 0, ours = 0, logs = 0;
        for (int32_t i = 0; i < stratum->n; i++, u++, count++) {
            double own = q->oracle ? u->oracle : u->ours;
            best += *count * u->best;
            ours += *count * own;
            logs += *count * log(u->best / own);
        }
        sum_log += stratum->tasks ? stratum->tasks * logs / stratum->n : log(best / ours);
        n_tasks += stratum->tasks ? stratum->tasks : 1;
    }
    return exp(sum_log / n_tasks);
}

double bench_oracle_ns(const struct bench_prompt *p)
{
    double alone_ns = bench_ns(p, BENCH_AUTOREGRESSIVE) - bench_first_ns(p, BENCH_AUTOREGRESSIVE);
    return bench_first_ns(p, BENCH_SPECULATIVE) + p->oracle_ns * alone_ns / p->simulated_ns;
}

static int32_t prompts_of(const struct bench_model *m, int32_t task)
{
    int32_t n = 0;
    for (int32_t i = 0; i < m->n_prompts; i++)
        n += m->prompt[i].task == task;
    return n;
}

static void add_task(struct question *q, const struct bench_model *m, int32_t task, int32_t best)
{
    for (int32_t i = 0; i < m->n_prompts; i++) {
        const struct bench_prompt *p = &m->prompt[i];
        if (p->task != task)
            continue;
        q->of[q->n] = q->n_strata;
        q->strata[q->n_strata].n++;
        q->unit[q->n++] =
            (struct unit){bench_ns(p, best), bench_ns(p, BENCH_SPECULATIVE), bench_oracle_ns(p)};
    }
}

static void add_model(struct question *q, const struct bench_model *m, enum bench_set set)
{
    bool apart = true;
    int32_t before = q->n;
    for (int32_t t = 0; t < m->n_tasks; t++)
        apart = apart && prompts_of(m, t) != 1;
    for (int32_t t = 0; t < m->n_tasks; t++) {
        int32_t best = bench_best(m, t, set);
        if (best < 0 || !prompts_of(m, t))
            continue;
        add_task(q, m, t, best);
        q->strata[q->n_strata].tasks += !apart;
        q->n_strata += apart;
    }
    q->n_strata += !apart && q->n > before;
}

static int answer(struct question *q, uint64_t seed, struct bench_ratio *out, struct err *e)
{
    int32_t *once = malloc((size_t)q->n * sizeof *once), least = q->n;
    int rc = once ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory");
    for (int32_t i = 0; i < q->n && once; i++)
        once[i] = 1;
    for (int32_t s = 0; s < q->n_strata; s++)
        least = q->strata[s].n < least ? q->strata[s].n : least;
    if (!rc) {
        out->value = geometric_mean(q, once);
        q->oracle = true;
        out->ceiling = geometric_mean(q, once);
        q->oracle = false;
        if (out->ceiling > 1)
            out->gap_closed = (out->value - 1) / (out->ceiling - 1);
    }
    if (!rc && least > 1) {
        rc = interval_statistic(q->of, q->n, q->n_strata, geometric_mean, q, seed, &out->interval);
        if (rc)
            err_set(e, rc, "out of memory");
    }
    free(once);
    return rc;
}

int bench_ratio(const struct bench_real *b, enum bench_set set, struct bench_ratio *out,
                struct err *e)
{
    size_t most = (size_t)b->n_models * BENCH_MAX_PROMPTS;
    struct question q = {.unit = calloc(most, sizeof *q.unit),
                         .of = calloc(most, sizeof *q.of),
                         .strata = calloc(most, sizeof *q.strata)};
    int rc = q.unit && q.of && q.strata ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory");
    *out = (struct bench_ratio){NAN, {NAN, NAN}, NAN, NAN};
    for (int32_t i = 0; i < b->n_models && !rc; i++)
        add_model(&q, &b->model[i], set);
    if (!rc && q.n)
        rc = answer(&q, b->o->seed, out, e);
    free(q.unit);
    free(q.of);
    free(q.strata);
    return rc;
}
