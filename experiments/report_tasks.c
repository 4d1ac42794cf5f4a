#include "experiments/report_tasks.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/interval.h"
#include "experiments/output.h"
#include "sim/exec/metrics.h"

/* A request under one policy, all its runs together; of a sequence the requests of one task. */
struct sums {
    int64_t tokens, steps, e2e_ns; /* tokens after the first */
};

struct tasks {
    const struct run_report *r;
    int32_t n_policies, n_tasks, n_strata;
    int32_t n_units, n_kept;  /* requests, or sequences; requests that are counted */
    const char **name;        /* [n_tasks] */
    int32_t *left_out, *kept; /* [n_tasks], requests */
    int32_t *task;            /* [n_kept], of a request */
    int32_t *request;         /* [n_kept], of the report */
    int32_t *stratum;         /* [n_units], the task; of sequences 0 */
    struct sums *unit;        /* [n_units][n_tasks][n_policies] */
    bool with_history;        /* of some drafter: units are whole sequences, one of a seed */
};

static struct sums *sums_of(const struct tasks *t, int32_t unit, int32_t task)
{
    return &t->unit[((size_t)unit * (size_t)t->n_tasks + (size_t)task) * (size_t)t->n_policies];
}

/* What is asked of a resample. */
struct question {
    const struct tasks *t;
    int32_t policy, task; /* task -1: the geometric mean over all */
    bool speedup;         /* else tokens per verification */
};

static double of_task(const struct question *q, int32_t task, const int32_t *count)
{
    const struct tasks *t = q->t;
    double over = 0, under = 0;
    for (int32_t i = 0; i < t->n_units; i++) {
        const struct sums *first = sums_of(t, i, task), *own = first + q->policy;
        over += (double)count[i] * (double)(q->speedup ? first->e2e_ns : own->tokens);
        under += (double)count[i] * (double)(q->speedup ? own->e2e_ns : own->steps);
    }
    return over / under;
}

static double answer(const void *self, const int32_t *count)
{
    const struct question *q = self;
    if (q->task >= 0)
        return of_task(q, q->task, count);
    double product = 1;
    for (int32_t i = 0; i < q->t->n_tasks; i++)
        product *= of_task(q, i, count);
    return pow(product, 1.0 / q->t->n_tasks);
}

/* Value, low and high. */
static int put_answer(struct output *o, const struct question *q, uint64_t seed, struct err *e)
{
    const struct tasks *t = q->t;
    struct interval in = {NAN, NAN};
    int32_t *once = malloc((size_t)t->n_units * sizeof *once);
    int rc = once ? ERR_OK : ERR_NOMEM;
    for (int32_t i = 0; i < t->n_units && !rc; i++)
        once[i] = 1;
    double value = rc ? NAN : answer(q, once);
    if (!rc && (!t->with_history || t->n_units > 1) && isfinite(value))
        rc = interval_statistic(t->stratum, t->n_units, t->n_strata, answer, q, seed, &in);
    free(once);
    output_number(o, "%.3f", value, "-");
    output_number(o, "%.3f", in.low, "-");
    output_number(o, "%.3f", in.high, "-");
    return rc ? err_set(e, rc, "out of memory for intervals") : ERR_OK;
}

/* ---- from the report ------------------------------------------------------------------------ */

/* Whether a request was finished in every run, and its text repeats itself in none. */
static bool counts(const struct run_report *r, int32_t request)
{
    bool good = true;
    for (int32_t k = 0; k < r->n && good; k++) {
        const struct request_result *q = &r->run[k].result.request[request];
        struct metrics m;
        metrics_of(q, &m);
        good = m.distinct_4grams >= METRICS_DEGENERATE && q->finished && !q->cancelled &&
               m.e2e_ns > 0 && q->n_verify > 0;
    }
    return good;
}

static int32_t task_of(struct tasks *t, const char *name)
{
    int32_t i = 0;
    while (i < t->n_tasks && strcmp(t->name[i], name))
        i++;
    t->name[i] = name;
    t->n_tasks += i == t->n_tasks;
    return i;
}

/* Tasks of which nothing is left are dropped. */
static void drop_empty(struct tasks *t)
{
    for (int32_t task = t->n_tasks - 1; task >= 0; task--) {
        if (t->kept[task])
            continue;
        t->n_tasks--;
        for (int32_t k = task; k < t->n_tasks; k++) {
            t->name[k] = t->name[k + 1];
            t->left_out[k] = t->left_out[k + 1];
            t->kept[k] = t->kept[k + 1];
        }
        for (int32_t i = 0; i < t->n_kept; i++)
            t->task[i] -= t->task[i] > task;
    }
}

static void find_history(struct tasks *t)
{
    for (int32_t k = 0; k < t->n_policies; k++) {
        const struct experiment_policy *x = &t->r->x->policy[k];
        for (int32_t d = 0; d < x->n_drafters; d++) {
            int32_t at = param_find(x->drafter[d].type->params, DRAFT_HISTORY);
            t->with_history = t->with_history || (at >= 0 && x->drafter[d].param[at] > 0);
        }
    }
}

static int32_t seed_of(const struct experiment *x, uint64_t seed)
{
    int32_t i = 0;
    while (x->seed[i] != seed)
        i++;
    return i;
}

static void add_all(struct tasks *t)
{
    for (int32_t k = 0; k < t->r->n; k++)
        for (int32_t i = 0; i < t->n_kept; i++) {
            const struct run_outcome *run = &t->r->run[k];
            const struct request_result *q = &run->result.request[t->request[i]];
            int32_t unit = t->with_history ? seed_of(t->r->x, run->seed) : i;
            struct sums *s = sums_of(t, unit, t->task[i]) + run->policy_index;
            struct metrics m;
            metrics_of(q, &m);
            t->stratum[unit] = t->with_history ? 0 : t->task[i];
            s->tokens += q->n_output - 1;
            s->steps += q->n_verify;
            s->e2e_ns += m.e2e_ns;
        }
}

static int collect(struct tasks *t, struct arena *arena, struct err *e)
{
    const struct run_report *r = t->r;
    size_t n = (size_t)r->n_requests + (size_t)r->x->n_seeds;
    t->name = arena_alloc(arena, n, sizeof *t->name);
    t->left_out = arena_alloc(arena, n, sizeof *t->left_out);
    t->kept = arena_alloc(arena, n, sizeof *t->kept);
    t->task = arena_alloc(arena, n, sizeof *t->task);
    t->request = arena_alloc(arena, n, sizeof *t->request);
    t->stratum = arena_alloc(arena, n, sizeof *t->stratum);
    if (!t->name || !t->left_out || !t->kept || !t->task || !t->request || !t->stratum)
        return err_set(e, ERR_NOMEM, "out of memory for a report");
    for (int32_t i = 0; i < r->n_requests; i++) {
        int32_t task = task_of(t, r->name[i].task);
        bool kept = counts(r, i);
        t->kept[task] += kept;
        t->left_out[task] += !kept;
        t->task[t->n_kept] = task;
        t->request[t->n_kept] = i;
        t->n_kept += kept;
    }
    drop_empty(t);
    find_history(t);
    t->n_units = !t->n_kept ? 0 : t->with_history ? r->x->n_seeds : t->n_kept;
    t->n_strata = t->with_history ? 1 : t->n_tasks;
    t->unit =
        arena_alloc(arena, (size_t)t->n_units * (size_t)t->n_tasks * (size_t)t->n_policies + 1,
                    sizeof *t->unit);
    if (!t->unit)
        return err_set(e, ERR_NOMEM, "out of memory for a report");
    add_all(t);
    return ERR_OK;
}

/* ---- printing ------------------------------------------------------------------------------- */

static int put_row(struct output *o, const struct tasks *t, int32_t policy, int32_t task,
                   struct err *e)
{
    int32_t n = 0, left_out = 0;
    for (int32_t k = 0; k < t->n_tasks; k++) {
        n += task < 0 || k == task ? t->kept[k] : 0;
        left_out += task < 0 || k == task ? t->left_out[k] : 0;
    }
    output_text(o, t->r->x->policy[policy].label);
    output_text(o, task < 0 ? "all" : t->name[task]);
    output_int(o, n);
    output_int(o, left_out);
    struct question q = {t, policy, task, false};
    int rc = put_answer(o, &q, t->r->x->seed[0], e);
    q.speedup = true;
    if (!rc)
        rc = put_answer(o, &q, t->r->x->seed[0], e);
    output_end(o);
    return rc;
}

static const char *const columns[] = {
    "policy",     "task",        "requests", "left out",    "tokens per verify",
    "verify low", "verify high", "speedup",  "speedup low", "speedup high",
    NULL};

static int put_notes(const struct tasks *t, FILE *f, struct err *e)
{
    struct run_summary *s = calloc((size_t)t->n_policies, sizeof *s);
    int rc = s ? run_summarise(t->r, s, e) : err_set(e, ERR_NOMEM, "out of memory for a report");
    fputs("\nleft out: requests that were not finished or whose text repeats itself\n", f);
    if (t->with_history && t->n_units > 1)
        fprintf(f,
                "with a history requests depend on those before them: intervals are over %" PRId32
                " whole sequences\n",
                t->n_units);
    else if (t->with_history)
        fputs("with a history requests depend on those before them: no intervals of one sequence "
              "(order: shuffled and several seeds give more)\n",
              f);
    for (int32_t i = 0; i < t->n_policies && !rc; i++) {
        if (s[i].needs_truth)
            fprintf(f, "%s knows the target's text: the upper bound\n", s[i].policy->label);
        if (s[i].parametric)
            fprintf(f, "the acceptance of %s is a parameter\n", s[i].policy->label);
        if (!s[i].lossless && s[i].n_differ >= 0)
            fprintf(f,
                    "%s may give another text than the target alone, and did for %" PRId32
                    " of %" PRId32 " requests\n",
                    s[i].policy->label, s[i].n_differ, s[i].n_requests);
    }
    if (*t->r->faults)
        fprintf(f, "with injected faults: %s\n", t->r->faults);
    free(s);
    return rc;
}

int report_tasks(const struct run_report *r, int format, FILE *f, struct err *e)
{
    struct tasks t = {.r = r, .n_policies = r->x->n_policies};
    struct arena arena;
    struct output o;
    arena_init(&arena);
    output_init(&o, &arena, columns);
    int rc = collect(&t, &arena, e);
    for (int32_t p = 0; p < t.n_policies && !rc && t.n_units; p++)
        for (int32_t task = 0; task <= t.n_tasks && !rc; task++)
            rc = put_row(&o, &t, p, task < t.n_tasks ? task : -1, e);
    if (!rc && format == OUTPUT_TABLE)
        fprintf(f,
                "%s: %s on %s, model %s%s%s\n95 %% intervals; all: geometric mean over tasks; "
                "speedup: of the sum of E2E\n\n",
                r->x->name, world_kind_name(r->kind), r->device, r->model, *r->roles ? ", " : "",
                r->roles);
    if (!rc) {
        rc = output_print(&o, (enum output_format)format, f);
        if (rc)
            err_set(e, rc, "the report could not be written: %s", err_text(rc));
    }
    if (!rc && format == OUTPUT_TABLE)
        rc = put_notes(&t, f, e);
    arena_fini(&arena);
    return rc;
}
