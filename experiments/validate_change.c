#include "experiments/validate_change.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TIMES = 4, NEAR_TOKENS = 256, MARGIN = 16, QUICK_REPETITIONS = 2 };

static struct val_prompt *prompt_of(struct validation *v, int32_t setting)
{
    return &v->prompt[VAL_MAX_PROMPTS + setting];
}

/* ---- planning ------------------------------------------------------------------------------- */

static bool fits(const struct validation *v, int32_t n, int32_t max_tokens)
{
    return n + max_tokens + MARGIN <= v->o->max_ctx;
}

/* The prompt nearest to NEAR_TOKENS, of those of which a fourfold fits the engine's context; the
 * shortest of them when time is short. */
static int32_t choose_prompt(const struct validation *v)
{
    int32_t best = -1, near = v->o->quick ? 0 : NEAR_TOKENS;
    for (int32_t i = 0; i < v->n_prompts; i++) {
        const struct val_prompt *p = &v->prompt[i];
        if (fits(v, TIMES * p->n, p->max_tokens) &&
            (best < 0 || abs(p->n - near) < abs(v->prompt[best].n - near)))
            best = i;
    }
    return best;
}

/* `n` tokens of the workload's prompts from `from` on, around its end, before the prompt's own. */
static int32_t *lengthen(struct validation *v, int32_t from, int32_t n)
{
    const struct val_prompt *own = &v->prompt[from];
    int32_t *token = arena_alloc(&v->arena, (size_t)(n + own->n), sizeof *token);
    int32_t other = from, at = 0;
    for (int32_t i = 0; token && i < n; i++, at++) {
        while (at == v->prompt[other].n || (other == from && v->n_prompts > 1)) {
            other = (other + 1) % v->n_prompts;
            at = 0;
        }
        token[i] = v->prompt[other].token[at];
    }
    if (token)
        memcpy(token + n, own->token, (size_t)own->n * sizeof *token);
    return token;
}

static const char *format_id(struct validation *v, const char *id, const char *what)
{
    char text[400];
    snprintf(text, sizeof text, "%.360s %s", id, what);
    return arena_strdup(&v->arena, text);
}

/* The device of the target with another number of threads; NULL when there is none. */
static const char *other_threads(const struct validation *v, int32_t *threads, const char **why_not)
{
    const char *target = role_map_find(&v->o->roles, "target");
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int32_t now = role_map_threads(target);
    *threads = 2 * now <= cores ? 2 * now : now / 2;
    *why_not = NULL;
    if (!v->o->model)
        *why_not = "the toy engine has no threads";
    else if (strncmp(target, "cpu", 3))
        *why_not = "the target is no CPU";
    else if (*threads < 1)
        *why_not = "there is one core";
    return *why_not;
}

static void plan_rounds(struct validation *v)
{
    static const int32_t width[] = {1, 2, 3, 4, 12};
    struct val_change *c = &v->change;
    const struct val_prompt *p = prompt_of(v, VAL_UNCHANGED);
    c->plan = v->plan;
    c->plan.by_context = false;
    c->plan.prefill_to = p->n;
    c->plan.n_all = 0; /* none of these policies calibrates */
    c->plan.n_widths = c->n_policies == 3 ? 5 : 4;
    memcpy(c->plan.width, width, sizeof width);
    while (c->plan.n_contexts > 1 &&
           c->plan.context[c->plan.n_contexts - 2] >= p->n + p->max_tokens)
        c->plan.n_contexts--;
    c->want_rounds = v->o->quick ? 2 : 4;
    c->want_rounds = c->want_rounds < v->o->rounds ? c->want_rounds : v->o->rounds;
    c->want_rounds = c->want_rounds < c->repetitions ? c->want_rounds : c->repetitions;
}

int val_change_plan(struct validation *v, struct err *e)
{
    static const char *const label[] = {"autoregressive", "lookup-3", "suffix-11-of-12"};
    struct val_change *c = &v->change;
    int32_t prompt = choose_prompt(v), from = prompt < 0 ? 0 : prompt;
    other_threads(v, &c->threads, &c->why_not[VAL_THREADS]);
    if (prompt < 0)
        c->why_not[VAL_CONTEXT] = "no prompt fits the engine's context four times: raise --ctx";
    if (c->why_not[VAL_THREADS] && c->why_not[VAL_CONTEXT])
        c->why_not[VAL_UNCHANGED] = "nothing is changed";
    c->repetitions = v->o->quick && v->o->repetitions > QUICK_REPETITIONS ? QUICK_REPETITIONS
                                                                          : v->o->repetitions;
    for (int32_t k = 0; k < (v->o->quick ? 2 : 3); k++)
        for (int32_t i = 0; i < v->n_policies; i++)
            if (!strcmp(v->policy[i].label, label[k]))
                c->policy[c->n_policies++] = i;
    struct val_prompt own = v->prompt[from], *changed = prompt_of(v, VAL_CONTEXT);
    char what[32];
    *prompt_of(v, VAL_UNCHANGED) = *prompt_of(v, VAL_THREADS) = *changed = own;
    snprintf(what, sizeof what, "on %d threads", c->threads);
    prompt_of(v, VAL_UNCHANGED)->id = format_id(v, own.id, "unchanged");
    prompt_of(v, VAL_THREADS)->id = format_id(v, own.id, what);
    changed->id = format_id(v, own.id, "after others");
    if (prompt >= 0) {
        changed->token = lengthen(v, from, (TIMES - 1) * own.n);
        changed->n = TIMES * own.n;
    }
    plan_rounds(v);
    return prompt_of(v, VAL_UNCHANGED)->id && prompt_of(v, VAL_THREADS)->id && changed->id &&
                   changed->token
               ? ERR_OK
               : err_set(e, ERR_NOMEM, "out of memory for prompts");
}

/* ---- measuring ------------------------------------------------------------------------------ */

static int open_session(struct validation *v, struct err *e)
{
    struct role_map roles = v->session.roles;
    bool named = false;
    for (int32_t i = 0; i < roles.n; i++)
        if (!strcmp(roles.item[i].role, "target")) {
            snprintf(roles.item[i].device, sizeof roles.item[i].device, "cpu:x%d",
                     v->change.threads);
            named = true;
        }
    if (!named) {
        snprintf(roles.item[roles.n].role, sizeof roles.item[0].role, "target");
        snprintf(roles.item[roles.n++].device, sizeof roles.item[0].device, "cpu:x%d",
                 v->change.threads);
    }
    return session_open_model(v->o->model, &roles, v->o->max_ctx, &v->change.session, e);
}

double val_change_s(const struct validation *v, double run_s)
{
    const struct val_change *c = &v->change;
    double unchanged = run_s * c->n_policies * c->repetitions, sum = 0;
    sum += c->why_not[VAL_UNCHANGED] ? 0 : unchanged;
    sum += c->why_not[VAL_CONTEXT] ? 0 : TIMES * unchanged;
    sum += c->why_not[VAL_THREADS] ? 0 : unchanged + 2 * c->want_rounds * v->round_s;
    return sum;
}

static int run_changed(struct validation *v, int32_t rep, struct err *e)
{
    struct val_change *c = &v->change;
    char what[80];
    int rc = ERR_OK;
    for (int32_t k = 0; k < c->n_policies; k++)
        for (int32_t s = 0; s < VAL_SETTINGS && !rc; s++) {
            if (c->why_not[s])
                continue;
            snprintf(what, sizeof what, "%.60s %d", prompt_of(v, s)->id, rep + 1);
            val_progress(v, what);
            rc = val_run_once(v, VAL_MAX_PROMPTS + s, c->policy[k], rep, e);
        }
    return rc;
}

int val_change_measure(struct validation *v, int32_t rep, struct err *e)
{
    struct val_change *c = &v->change;
    bool threads = !c->why_not[VAL_THREADS];
    int rc = threads && !c->session.engine ? open_session(v, e) : ERR_OK;
    if (!rc && threads && c->n_rounds < c->want_rounds && c->n_rounds <= rep) {
        rc = val_calibrate(v, VAL_UNCHANGED, e);
        if (!rc)
            rc = val_calibrate(v, VAL_THREADS, e);
    }
    return !rc && rep < c->repetitions && !c->why_not[VAL_UNCHANGED] ? run_changed(v, rep, e) : rc;
}

/* ---- comparing ------------------------------------------------------------------------------ */

/* The noise floor's end-to-end time of a setting and policy. */
static int measured(struct validation *v, int32_t s, int32_t policy, double *ns, struct err *e)
{
    const struct val_run *run[VAL_MAX_REPS];
    struct val_timing t;
    for (int32_t r = 0; r < v->change.repetitions; r++) {
        run[r] = val_run_at(v, VAL_MAX_PROMPTS + s, policy, r);
        if (run[r]->actions_hash != run[0]->actions_hash)
            return err_set(e, ERR_MISMATCH,
                           "two repetitions of prompt %s by %s took different actions: the engine "
                           "is not deterministic, so that runs cannot be compared",
                           prompt_of(v, s)->id, v->policy[policy].label);
    }
    val_noise_floor(run, v->change.repetitions, &t);
    *ns = t.e2e;
    return ERR_OK;
}

static int predicted(struct validation *v, const struct device *d, const struct device_options *opt,
                     int32_t s, int32_t policy, double *ns, struct val_tally *tally, struct err *e)
{
    const struct run_setup *setup = &v->policy[policy].setup;
    const struct cost_model *cost;
    struct val_timing t = {0};
    struct arena arena;
    arena_init(&arena);
    int rc = val_cost(d, opt, setup, &arena, &cost, e);
    if (!rc)
        rc = val_simulate_own(v, cost, VAL_MAX_PROMPTS + s, policy, &t, tally, e);
    *ns = t.e2e;
    arena_fini(&arena);
    return rc;
}

/* How fast the unchanged device was beside the changed one's rounds, against all its rounds. */
static double level_beside(const struct validation *v)
{
    double sum = 0;
    for (int32_t k = 0; k < v->change.n_rounds; k++)
        sum += profile_level(&v->samples, &v->plan, v->change.beside[k]);
    return v->change.n_rounds ? sum / v->change.n_rounds : 1;
}

/* One intervention: `d` is the device with it, `level` the unchanged one's beside its rounds. */
static int compare(struct validation *v, const struct device *unchanged, const struct device *d,
                   const struct device_options *opt, int32_t s, double level,
                   struct val_change_report *out, struct err *e)
{
    struct val_tally tally = {0}, before = {0};
    double x[3], y[3];
    int rc = ERR_OK;
    for (int32_t k = 0; k < v->change.n_policies && !rc; k++) {
        int32_t policy = v->change.policy[k];
        double was, is, had, has;
        rc = measured(v, VAL_UNCHANGED, policy, &was, e);
        if (!rc)
            rc = measured(v, s, policy, &is, e);
        if (!rc)
            rc = predicted(v, unchanged, opt, VAL_UNCHANGED, policy, &had, &before, e);
        if (!rc)
            rc = predicted(v, d, opt, s, policy, &has, &tally, e);
        if (rc)
            break;
        x[k] = has / (had * level);
        y[k] = is / was;
        out->by_policy[k].policy = policy;
        out->by_policy[k].predicted_pct = 100 * (x[k] - 1);
        out->by_policy[k].measured_pct = 100 * (y[k] - 1);
        out->by_policy[k].error_pct = 100 * (x[k] / y[k] - 1);
        out->n++;
    }
    if (!rc)
        out->error = metrics_error_pct(x, y, out->n);
    out->extrapolated = tally.extrapolated;
    out->jobs = tally.jobs;
    return rc;
}

int val_change_compare(struct validation *v, const struct device *beside,
                       const struct device_options *opt, struct val_report *r, struct err *e)
{
    struct val_change *c = &v->change;
    struct device_options own = *opt;
    struct device other;
    int rc = ERR_OK;
    own.estimator_n = c->repetitions;
    for (int32_t s = 0; s < VAL_SETTINGS; s++)
        r->change[s].why_not = c->why_not[s];
    snprintf(r->change[VAL_THREADS].what, sizeof r->change[0].what, "threads %d to %d",
             role_map_threads(role_map_find(&v->o->roles, "target")), c->threads);
    snprintf(r->change[VAL_CONTEXT].what, sizeof r->change[0].what, "prompt %d to %d tokens",
             prompt_of(v, VAL_UNCHANGED)->n, prompt_of(v, VAL_CONTEXT)->n);
    if (!c->why_not[VAL_THREADS])
        rc =
            profile_device(&c->session, &c->plan, &c->samples, -1, "changed", &v->arena, &other, e);
    if (!rc && !c->why_not[VAL_THREADS])
        rc = compare(v, beside, &other, &own, VAL_THREADS, level_beside(v), &r->change[VAL_THREADS],
                     e);
    if (!rc && !c->why_not[VAL_CONTEXT])
        rc = compare(v, beside, beside, &own, VAL_CONTEXT, 1, &r->change[VAL_CONTEXT], e);
    return rc;
}
