/* What is said of a policy over its runs; the metrics themselves are sim/exec/metrics.h's. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/run.h"
#include "sim/exec/metrics.h"

struct sums {
    double *ttft, *tpot, *e2e; /* of each request that has one */
    int32_t n_ttft, n_tpot, n_e2e;
    int64_t after_first, verify, drafted, accepted, end_ns;
    struct energy energy;
};

static void add_request(struct run_summary *s, struct sums *t, const struct request_result *r)
{
    struct metrics m;
    metrics_of(r, &m);
    s->n_requests++;
    s->n_output += r->n_output;
    s->n_unknown += r->n_unknown;
    s->n_degenerate += m.distinct_4grams < METRICS_DEGENERATE;
    if (m.ttft_ns >= 0)
        t->ttft[t->n_ttft++] = (double)m.ttft_ns;
    if (m.e2e_ns >= 0) {
        t->e2e[t->n_e2e++] = (double)m.e2e_ns;
        s->e2e_ns_sum += m.e2e_ns;
    }
    if (!isnan(m.tpot_ns))
        t->tpot[t->n_tpot++] = m.tpot_ns;
    t->after_first += r->n_output > 0 ? r->n_output - 1 : 0;
    t->verify += r->n_verify;
    t->drafted += r->n_drafted;
    t->accepted += r->n_accepted;
}

static void add_run(struct run_summary *s, struct sums *t, const struct run_outcome *o)
{
    for (int32_t i = 0; i < o->result.n_requests; i++)
        add_request(s, t, &o->result.request[i]);
    t->energy = s->n_runs ? energy_add(t->energy, o->energy) : o->energy;
    t->end_ns += o->result.end_ns;
    s->n_jobs = o->n_jobs < 0 ? -1 : s->n_jobs + o->n_jobs;
    s->n_extrapolated = o->n_extrapolated < 0 ? -1 : s->n_extrapolated + o->n_extrapolated;
    s->heat_known = o->heat_known && (!s->n_runs || s->heat_known);
    s->peak_mc = o->peak_mc > s->peak_mc ? o->peak_mc : s->peak_mc;
    s->slow_share += (double)o->slow_ns;
    s->n_busy = o->n_busy;
    for (int32_t i = 0; i < o->n_busy; i++) {
        s->busy[i].name = o->busy[i].name;
        s->busy[i].share += (double)o->busy[i].busy_ns;
        s->busy[i].work =
            s->n_runs ? energy_add(s->busy[i].work, o->busy[i].work) : o->busy[i].work;
    }
    s->n_runs++;
}

static double median(double *x, int32_t n)
{
    return n ? metrics_quantile(x, n, 0.5) : NAN;
}

static double pj_per_token(struct energy e, int64_t tokens)
{
    return e.known && tokens > 0 ? ((double)e.mj * 1e9 + (double)e.pj) / (double)tokens : NAN;
}

static void finish(struct run_summary *s, struct sums *t)
{
    s->ttft_ns_median = median(t->ttft, t->n_ttft);
    s->tpot_ns_median = median(t->tpot, t->n_tpot);
    s->e2e_ns_median = median(t->e2e, t->n_e2e);
    s->tokens_per_verify = t->verify ? (double)t->after_first / (double)t->verify : NAN;
    s->draft_efficiency = t->drafted ? (double)t->accepted / (double)t->drafted : NAN;
    s->slow_share = t->end_ns ? s->slow_share / (double)t->end_ns : NAN;
    for (int32_t i = 0; i < s->n_busy; i++) {
        s->busy[i].share = t->end_ns ? s->busy[i].share / (double)t->end_ns : NAN;
        s->busy[i].work_pj_per_token = pj_per_token(s->busy[i].work, s->n_output);
    }
    s->energy_known = t->energy.known && s->n_output > 0;
    s->energy_pj_per_token = pj_per_token(t->energy, s->n_output);
}

static bool same_text(const struct request_result *a, const struct request_result *b)
{
    return a->n_output == b->n_output &&
           (!a->n_output || !memcmp(a->output, b->output, (size_t)a->n_output * sizeof *a->output));
}

/* The first run of a lossless policy says what the target says alone. On the toy a seed is a
 * language. */
static int32_t count_different(const struct run_report *r, int32_t policy)
{
    int32_t n = 0, first = 0;
    while (first < r->n && !r->run[first].policy->type->lossless(r->run[first].policy->param))
        first++;
    if (first == r->n)
        return -1;
    for (int32_t k = 0; k < r->n; k++) {
        const struct run_outcome *a = &r->run[first], *b = &r->run[k];
        if (b->policy_index != policy || (r->kind == WORLD_TOY && a->seed != b->seed))
            continue;
        for (int32_t i = 0; i < r->n_requests; i++)
            n += !same_text(&a->result.request[i], &b->result.request[i]);
    }
    return n;
}

int run_summarise(const struct run_report *r, struct run_summary *summary, struct err *e)
{
    size_t most = (size_t)r->n * (size_t)r->n_requests + 1;
    double *x = malloc(3 * most * sizeof *x);
    if (!x)
        return err_set(e, ERR_NOMEM, "out of memory for a summary");
    for (int32_t p = 0; p < r->x->n_policies; p++) {
        const struct experiment_policy *policy = &r->x->policy[p];
        struct run_summary *s = &summary[p];
        struct sums t = {.ttft = x, .tpot = x + most, .e2e = x + 2 * most};
        *s = (struct run_summary){.policy = policy,
                                  .needs_truth = policy->type->flags & POLICY_NEEDS_TRUTH,
                                  .lossless = policy->type->lossless(policy->param)};
        for (int32_t i = 0; i < policy->n_drafters; i++) {
            uint32_t flags = policy->drafter[i].type->flags;
            s->needs_truth = s->needs_truth || (flags & DRAFTER_NEEDS_TRUTH);
            s->parametric = s->parametric || (flags & DRAFTER_PARAMETRIC);
        }
        for (int32_t i = 0; i < r->n; i++)
            if (r->run[i].policy_index == p)
                add_run(s, &t, &r->run[i]);
        finish(s, &t);
        s->n_differ = count_different(r, p);
        s->speedup = s->e2e_ns_sum > 0 && summary[0].n_requests == s->n_requests
                         ? (double)summary[0].e2e_ns_sum / (double)s->e2e_ns_sum
                         : NAN;
    }
    free(x);
    return ERR_OK;
}

int32_t run_degenerate(const struct run_report *r)
{
    int32_t n = 0;
    for (int32_t i = 0; i < r->n_requests; i++) {
        bool any = false;
        for (int32_t k = 0; k < r->n && !any; k++) {
            const struct request_result *q = &r->run[k].result.request[i];
            any = metrics_distinct_4grams(q->output, q->n_output) < METRICS_DEGENERATE;
        }
        n += any;
    }
    return n;
}

double run_tokens_equal(const struct run_report *r)
{
    int32_t equal = 0, total = 0;
    for (int32_t i = 0; i < r->n_requests; i++) {
        bool all = true, compared = false;
        for (int32_t a = 0; a < r->n; a++) {
            const struct run_outcome *x = &r->run[a];
            if (!x->policy->type->lossless(x->policy->param))
                continue;
            for (int32_t b = 0; b < a; b++) {
                const struct run_outcome *y = &r->run[b];
                bool toy_differs = r->kind == WORLD_TOY && x->seed != y->seed;
                if (toy_differs || !y->policy->type->lossless(y->policy->param))
                    continue;
                compared = true;
                all = all && same_text(&x->result.request[i], &y->result.request[i]);
            }
        }
        equal += compared && all;
        total += compared;
    }
    return total ? (double)equal / total : NAN;
}
