#include <math.h>
#include <string.h>

#include "experiments/bench_real.h"
#include "experiments/output.h"
#include "sim/base/json.h"

/* A model's task: sums over its prompts. */
struct line {
    const struct bench_model *m;
    int32_t task, prompts, reps, tokens, best, best_all; /* contenders */
    double ms[BENCH_MAX_CONTENDERS], first_ms[BENCH_MAX_CONTENDERS], oracle_ms;
};

static struct line line_of(const struct bench_model *m, int32_t task)
{
    struct line l = {.m = m, .task = task, .reps = BENCH_MAX_REPS};
    for (int32_t i = 0; i < m->n_prompts; i++) {
        const struct bench_prompt *p = &m->prompt[i];
        if (p->task != task)
            continue;
        l.prompts++;
        l.reps = p->n_reps < l.reps ? p->n_reps : l.reps;
        l.tokens += p->n_output;
        for (int32_t k = 0; k < m->n_contenders; k++) {
            l.ms[k] += bench_ns(p, k) / 1e6;
            l.first_ms[k] += bench_first_ns(p, k) / 1e6;
        }
        l.oracle_ms += bench_oracle_ns(p) / 1e6;
    }
    l.best = bench_best(m, task, BENCH_SET_PUBLIC);
    l.best_all = bench_best(m, task, BENCH_SET_ALL);
    return l;
}

static double share(const struct bench_positions *c, int32_t k)
{
    return c->drafted[k] ? (double)c->accepted[k] / (double)c->drafted[k] : NAN;
}

static double per_step(const struct bench_positions *c)
{
    return c->steps ? (double)c->tokens / (double)c->steps : NAN;
}

/* Of a contender: every verification gives one token more than it accepts. */
static double tokens_per_step(const struct bench_counts *c)
{
    return (double)c->output / (double)(c->output - c->accepted);
}

/* ---- bars ----------------------------------------------------------------------------------- */

enum { MAX_LINES = 16, LINE = 300 };

struct lines {
    int32_t n;
    char text[MAX_LINES][LINE];
};

#define ADD(l, ...) snprintf((l)->text[(l)->n++], LINE, __VA_ARGS__)

/* Bars that are missed. */
static void find_missed(const struct bench_ratio *r, struct lines *l)
{
    l->n = 0;
    if (!(r->value >= 1.3))
        ADD(l, "vs_fastest %.3f is below the goal of 1.3", r->value);
    if (isnan(r->interval.low))
        ADD(l, "no interval: a model has a single prompt");
    else if (!(r->interval.low > 1))
        ADD(l, "the interval's lower end %.3f is not above 1", r->interval.low);
    if (!(r->ceiling > 1))
        ADD(l, "the oracle's %.3f is not above 1: there is no gap", r->ceiling);
    else if (!(r->gap_closed >= 0.4))
        ADD(l, "gap_closed %.3f is below 0.4", r->gap_closed);
}

/* What the speed comes from, by model: what a row more costs, and what drafts bring. */
static void find_reasons(const struct bench_real *b, struct lines *l)
{
    l->n = 0;
    for (int32_t i = 0; i < b->n_models && l->n < MAX_LINES; i++) {
        const struct bench_model *m = &b->model[i];
        const struct belief *f = &m->belief;
        struct bench_positions sum = {{0}, {0}, 0, 0};
        double first = 0, all = 0, oracle = 0, one = (double)belief_step_ns(f, 1, 0);
        for (int32_t t = 0; t < m->n_tasks; t++) {
            struct line line = line_of(m, t);
            first += line.first_ms[BENCH_SPECULATIVE];
            all += line.ms[BENCH_SPECULATIVE];
            oracle += line.oracle_ms;
            sum.steps += m->positions[t].steps;
            sum.tokens += m->positions[t].tokens;
            sum.drafted[1] += m->positions[t].drafted[1];
            sum.accepted[1] += m->positions[t].accepted[1];
        }
        ADD(l,
            "%.40s: the prompt is %.0f %% of the time; steps of 2, 4 and 8 rows take %.2f, %.2f "
            "and "
            "%.2f of one row's; %.0f %% of steps draft, %.0f %% of first drafted tokens are right, "
            "%.2f tokens a step; the oracle would take %.0f %% of the time",
            m->name, 100 * first / all, (double)belief_step_ns(f, 2, 0) / one,
            (double)belief_step_ns(f, 4, 0) / one, (double)belief_step_ns(f, 8, 0) / one,
            100 * (double)sum.drafted[1] / (double)sum.steps, 100 * share(&sum, 1), per_step(&sum),
            100 * oracle / all);
    }
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static void json_contender(struct json_writer *w, const struct line *l, int32_t k)
{
    const struct bench_contender *c = &l->m->contender[k];
    json_object(w, NULL);
    json_string(w, "contender", c->label);
    json_double(w, "ms", l->ms[k]);
    json_double(w, "first_token_ms", l->first_ms[k]);
    json_double(w, "tokens_per_step", tokens_per_step(&c->counts[l->task]));
    json_int(w, "drafted", c->counts[l->task].drafted);
    json_int(w, "accepted", c->counts[l->task].accepted);
    if (!c->own) {
        json_string(w, "program", comparator_tools[c->comparator.tool]);
        json_string(w, "build", comparator_builds[c->comparator.build]);
        json_bool(w, "flash_attention", c->comparator.flash);
        json_int(w, "max_draft", c->comparator.max_draft);
    }
    json_close(w);
}

static void json_row(struct json_writer *w, const struct line *l)
{
    const struct bench_positions *c = &l->m->positions[l->task];
    json_object(w, NULL);
    json_string(w, "model", l->m->name);
    json_string(w, "task", l->m->task[l->task]);
    json_int(w, "prompts", l->prompts);
    json_int(w, "repetitions", l->reps);
    json_int(w, "output_tokens", l->tokens);
    json_double(w, "autoregressive_ms", l->ms[BENCH_AUTOREGRESSIVE]);
    json_double(w, "speculative_ms", l->ms[BENCH_SPECULATIVE]);
    json_double(w, "oracle_ms", l->oracle_ms);
    json_string(w, "best_comparator", l->m->contender[l->best].label);
    json_double(w, "best_comparator_ms", l->ms[l->best]);
    json_int(w, "best_max_draft", l->m->contender[l->best].comparator.max_draft);
    json_double(w, "ratio", l->ms[l->best] / l->ms[BENCH_SPECULATIVE]);
    json_string(w, "best_with_our_products", l->m->contender[l->best_all].label);
    json_double(w, "ratio_with_our_products", l->ms[l->best_all] / l->ms[BENCH_SPECULATIVE]);
    json_double(w, "tokens_per_verification", per_step(c));
    json_array(w, "acceptance_by_position");
    for (int32_t k = 1; k <= BENCH_MAX_DRAFT; k++)
        json_double(w, NULL, share(c, k));
    json_close(w);
    json_array(w, "drafted_by_position");
    for (int32_t k = 1; k <= BENCH_MAX_DRAFT; k++)
        json_int(w, NULL, c->drafted[k]);
    json_close(w);
    json_array(w, "contenders");
    for (int32_t k = 0; k < l->m->n_contenders; k++)
        json_contender(w, l, k);
    json_close(w);
    json_close(w);
}

static void json_curve(struct json_writer *w, const struct bench_model *m)
{
    const struct belief *f = &m->belief;
    json_object(w, NULL);
    json_string(w, "model", m->name);
    json_bool(w, "flash_attention", m->flash);
    json_double(w, "plain_ms", m->attention_ns[0] / 1e6);
    json_double(w, "flash_ms", m->attention_ns[1] / 1e6);
    json_int(w, "left_out_prompts", m->n_left_out);
    json_array(w, "step_curve");
    for (int32_t i = 0; i < f->n_widths; i++)
        for (int32_t k = 0; k < f->n_contexts; k++) {
            json_object(w, NULL);
            json_int(w, "width", f->width[i]);
            json_int(w, "context", f->context[k]);
            json_double(w, "ms", (double)f->step_ns[i][k] / 1e6);
            json_double(w, "of_width_1", (double)f->step_ns[i][k] / (double)f->step_ns[0][k]);
            json_close(w);
        }
    json_close(w);
    json_close(w);
}

static void json_set(struct json_writer *w, const struct bench_ratio *r)
{
    json_double(w, "vs_fastest", r->value);
    json_double(w, "low", r->interval.low);
    json_double(w, "high", r->interval.high);
    json_double(w, "oracle_ceiling", r->ceiling);
    json_double(w, "gap_closed", r->gap_closed);
}

static void json_lines(struct json_writer *w, const char *key, const struct lines *l)
{
    json_array(w, key);
    for (int32_t i = 0; i < l->n; i++)
        json_string(w, NULL, l->text[i]);
    json_close(w);
}

static int print_json(const struct bench_real *b, const struct bench_ratio *r, FILE *out)
{
    struct json_writer w;
    struct lines l;
    json_writer_init(&w, out, 1);
    json_object(&w, NULL);
    json_double(&w, "vs_autoregressive", r[BENCH_SET_AUTOREGRESSIVE].value);
    json_double(&w, "vs_llama_lookup", r[BENCH_SET_LOOKUP].value);
    json_double(&w, "vs_llama_speculative", r[BENCH_SET_DRAFT_MODEL].value);
    json_set(&w, &r[BENCH_SET_PUBLIC]);
    json_object(&w, "with_our_products");
    json_set(&w, &r[BENCH_SET_ALL]);
    json_close(&w);
    find_missed(&r[BENCH_SET_PUBLIC], &l);
    json_lines(&w, "missed", &l);
    find_reasons(b, &l);
    json_lines(&w, "why", &l);
    json_array(&w, "left_out");
    for (int32_t i = 0; i < b->n_models; i++)
        if (!b->model[i].draft) {
            json_object(&w, NULL);
            json_string(&w, "model", b->model[i].name);
            json_string(&w, "comparator", comparator_tools[COMPARATOR_SPECULATIVE]);
            json_string(&w, "why", "no draft model has its token ids");
            json_close(&w);
        }
    json_close(&w);
    json_array(&w, "models");
    for (int32_t i = 0; i < b->n_models; i++)
        json_curve(&w, &b->model[i]);
    json_close(&w);
    json_array(&w, "rows");
    for (int32_t i = 0; i < b->n_models; i++)
        for (int32_t t = 0; t < b->model[i].n_tasks; t++) {
            struct line row = line_of(&b->model[i], t);
            if (row.prompts && row.best >= 0)
                json_row(&w, &row);
        }
    json_close(&w);
    json_close(&w);
    int rc = json_line(&w);
    json_writer_fini(&w);
    return rc;
}

/* ---- table ---------------------------------------------------------------------------------- */

static int print_lines(const struct bench_real *b, FILE *f)
{
    static const char *const columns[] = {
        "model",   "task",      "prompts",   "tokens",   "alone ms",           "ours ms",
        "best ms", "oracle ms", "best/ours", "tokens/v", "fastest comparator", NULL};
    struct output o;
    struct arena arena;
    arena_init(&arena);
    output_init(&o, &arena, columns);
    for (int32_t i = 0; i < b->n_models; i++)
        for (int32_t t = 0; t < b->model[i].n_tasks; t++) {
            struct line l = line_of(&b->model[i], t);
            if (!l.prompts || l.best < 0)
                continue;
            output_cell(&o, "%.24s", l.m->name);
            output_text(&o, l.m->task[t]);
            output_cell(&o, "%dx%d", (int)l.prompts, (int)l.reps);
            output_int(&o, l.tokens);
            output_number(&o, "%.1f", l.ms[BENCH_AUTOREGRESSIVE], "-");
            output_number(&o, "%.1f", l.ms[BENCH_SPECULATIVE], "-");
            output_number(&o, "%.1f", l.ms[l.best], "-");
            output_number(&o, "%.1f", l.oracle_ms, "-");
            output_number(&o, "%.3f", l.ms[l.best] / l.ms[BENCH_SPECULATIVE], "-");
            output_number(&o, "%.2f", per_step(&l.m->positions[t]), "-");
            output_text(&o, l.m->contender[l.best].label);
            output_end(&o);
        }
    int rc = output_print(&o, OUTPUT_TABLE, f);
    arena_fini(&arena);
    return rc;
}

static void print_set(FILE *f, const char *what, const struct bench_ratio *r)
{
    fprintf(f, "  %-44s %.3f (%.3f .. %.3f), oracle %.3f, gap closed %.0f %%\n", what, r->value,
            r->interval.low, r->interval.high, r->ceiling, 100 * r->gap_closed);
}

static void print_curves(const struct bench_real *b, FILE *f)
{
    for (int32_t i = 0; i < b->n_models; i++) {
        const struct belief *g = &b->model[i].belief;
        fprintf(f, "\nstep curve of %s, %s attention: ms, and as multiples of one row\n  rows",
                b->model[i].name, b->model[i].flash ? "flash" : "plain");
        for (int32_t k = 0; k < g->n_contexts; k++)
            fprintf(f, "  context %-7d", (int)g->context[k]);
        for (int32_t n = 0; n < g->n_widths; n++) {
            fprintf(f, "\n  %4d", (int)g->width[n]);
            for (int32_t k = 0; k < g->n_contexts; k++)
                fprintf(f, "  %7.2f (%4.2f)", (double)g->step_ns[n][k] / 1e6,
                        (double)g->step_ns[n][k] / (double)g->step_ns[0][k]);
        }
        fprintf(f, "\n");
    }
}

static void print_positions(const struct bench_real *b, FILE *f)
{
    fprintf(f, "\nacceptance by position in the draft, percent (steps that drafted so far)\n");
    for (int32_t i = 0; i < b->n_models; i++)
        for (int32_t t = 0; t < b->model[i].n_tasks; t++) {
            const struct bench_positions *c = &b->model[i].positions[t];
            fprintf(f, "  %-24.24s %-8s", b->model[i].name, b->model[i].task[t]);
            for (int32_t k = 1; k <= BENCH_MAX_DRAFT && c->drafted[k]; k++)
                fprintf(f, " %.0f(%lld)", 100 * share(c, k), (long long)c->drafted[k]);
            fprintf(f, " of %lld steps\n", (long long)c->steps);
        }
}

static int print_table(const struct bench_real *b, const struct bench_ratio *r, FILE *f)
{
    struct lines l;
    int rc = print_lines(b, f);
    fprintf(f, "\nspeed-up, geometric mean over model and task (95 %% interval of prompts)\n");
    print_set(f, "over autoregressive, by Tandem", &r[BENCH_SET_AUTOREGRESSIVE]);
    print_set(f, "over llama-lookup", &r[BENCH_SET_LOOKUP]);
    if (isfinite(r[BENCH_SET_DRAFT_MODEL].value))
        print_set(f, "over llama-speculative-simple", &r[BENCH_SET_DRAFT_MODEL]);
    print_set(f, "over the fastest, stock or with our flags", &r[BENCH_SET_PUBLIC]);
    print_set(f, "over the fastest, also with our products", &r[BENCH_SET_ALL]);
    for (int32_t i = 0; i < b->n_models; i++) {
        if (!b->model[i].draft)
            fprintf(f, "left out: %s for %s: no draft model has its token ids\n",
                    comparator_tools[COMPARATOR_SPECULATIVE], b->model[i].name);
        fprintf(f, "%s: %d prompts left out whose text repeats itself or ends at once\n",
                b->model[i].name, (int)b->model[i].n_left_out);
    }
    find_missed(&r[BENCH_SET_PUBLIC], &l);
    for (int32_t i = 0; i < l.n; i++)
        fprintf(f, "missed: %s\n", l.text[i]);
    find_reasons(b, &l);
    for (int32_t i = 0; i < l.n; i++)
        fprintf(f, "%s\n", l.text[i]);
    print_curves(b, f);
    print_positions(b, f);
    fprintf(f, "\ncontenders: ms summed over prompts, to the first token, tokens a step\n");
    for (int32_t i = 0; i < b->n_models; i++)
        for (int32_t t = 0; t < b->model[i].n_tasks; t++) {
            struct line row = line_of(&b->model[i], t);
            for (int32_t k = 0; k < row.m->n_contenders && row.prompts; k++)
                fprintf(f, "  %-24.24s %-8s %9.1f %9.1f %5.2f  %s\n", row.m->name, row.m->task[t],
                        row.ms[k], row.first_ms[k], tokens_per_step(&row.m->contender[k].counts[t]),
                        row.m->contender[k].label);
        }
    return rc;
}

int bench_real_print(const struct bench_real *b, bool json, FILE *out, struct err *e)
{
    struct bench_ratio ratio[BENCH_SETS];
    int rc = ERR_OK;
    for (int32_t set = 0; set < BENCH_SETS && !rc; set++)
        rc = bench_ratio(b, (enum bench_set)set, &ratio[set], e);
    if (rc)
        return rc;
    return json ? print_json(b, ratio, out) : print_table(b, ratio, out);
}
