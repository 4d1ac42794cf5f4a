#include <stdio.h>

#include "experiments/bench_real.h"

/* LATER: of a program and class that answer a further prompt, of PROMPTS at most. */
enum { MAX_CHOICES = 64, LATER = 3, PROMPTS = 4 };

static const int32_t draft_lengths[] = {1, 2, 3, 5, 7, 11, 15};
enum { N_LENGTHS = sizeof draft_lengths / sizeof *draft_lengths, FIRST_LENGTH = 2 };

struct choice {
    struct comparator c;
    double ns; /* summed over the prompts it answered */
    int32_t n;
};

struct search {
    struct bench_real *b;
    struct bench_model *m;
    const struct bench_prompt *prompt;
    double until_s;
    int32_t n;
    struct choice choice[MAX_CHOICES];
};

static bool same(const struct comparator *a, const struct comparator *b)
{
    return a->tool == b->tool && a->build == b->build && a->flash == b->flash &&
           a->max_draft == b->max_draft;
}

static struct choice *find(struct search *s, const struct comparator *c)
{
    for (int32_t i = 0; i < s->n; i++)
        if (same(&s->choice[i].c, c))
            return &s->choice[i];
    return NULL;
}

static int try(struct search *s, const struct comparator *c, struct err *e)
{
    struct choice *x = find(s, c);
    struct bench_run run;
    char what[100];
    if (!x && s->n == MAX_CHOICES)
        return ERR_OK;
    if (!x) {
        x = &s->choice[s->n++];
        *x = (struct choice){.c = *c};
    }
    snprintf(what, sizeof what, "choosing: %s %s, draft %d", comparator_builds[c->build],
             comparator_tools[c->tool], c->max_draft);
    bench_progress(s->b, s->m, what);
    int rc = bench_run_comparator(s->b, s->m, c, s->prompt, &run, e);
    if (rc)
        return rc;
    x->ns += run.ns;
    x->n++;
    return ERR_OK;
}

static bool late(const struct search *s)
{
    return bench_seconds(s->b) >= s->until_s;
}

/* The choices of a program and a class of builds, the fastest first, of those that answered every
 * prompt so far; at most `most`. */
static int32_t rank(struct search *s, int32_t tool, bool products, int32_t most,
                    struct choice **out)
{
    int32_t n = 0, prompts = 0;
    for (int32_t i = 0; i < s->n; i++)
        if ((int32_t)s->choice[i].c.tool == tool &&
            (s->choice[i].c.build == BUILD_PRODUCTS) == products && s->choice[i].n > prompts)
            prompts = s->choice[i].n;
    for (int32_t i = 0; i < s->n; i++) {
        struct choice *x = &s->choice[i];
        int32_t at = n;
        if ((int32_t)x->c.tool != tool || (x->c.build == BUILD_PRODUCTS) != products ||
            x->n < prompts)
            continue;
        for (; at > 0 && out[at - 1]->ns > x->ns; at--)
            if (at < most)
                out[at] = out[at - 1];
        if (at < most)
            out[at] = x;
        n += n < most;
    }
    return n;
}

/* A second program with our products competes with the first one alone: where it is slower, it can
 * be nobody's denominator. */
static bool hopeless(struct search *s, int32_t tool, bool products)
{
    struct choice *own, *first;
    return tool != COMPARATOR_LOOKUP && products && rank(s, tool, true, 1, &own) &&
           rank(s, COMPARATOR_LOOKUP, true, 1, &first) && own->ns * first->n > first->ns * own->n;
}

/* From the fastest draft length to its neighbours, until both are slower. */
static int climb(struct search *s, int32_t tool, bool products, struct err *e)
{
    struct choice *best;
    int rc = ERR_OK;
    while (!rc && !late(s) && !hopeless(s, tool, products) && rank(s, tool, products, 1, &best)) {
        struct comparator below = best->c, above = best->c;
        int32_t i = 0;
        while (draft_lengths[i] != best->c.max_draft)
            i++;
        below.max_draft = draft_lengths[i > 0 ? i - 1 : i];
        above.max_draft = draft_lengths[i + 1 < N_LENGTHS ? i + 1 : i];
        if (!find(s, &below))
            rc = try(s, &below, e);
        else if (!find(s, &above))
            rc = try(s, &above, e);
        else
            break;
    }
    return rc;
}

/* On the first prompt: every build with and without flash attention at one draft length, whatever
 * it takes, then the fastest of each class at others. A second program takes its build and
 * attention from the first: what these cost is the model's doing, not the drafts'. */
static int first_prompt(struct search *s, int32_t tools, struct err *e)
{
    struct choice *best;
    int rc = ERR_OK;
    for (int32_t flash = 1; flash >= 0; flash--)
        for (int32_t build = 0; build < COMPARATOR_BUILDS && !rc; build++) {
            struct comparator c = {COMPARATOR_LOOKUP, (enum comparator_build)build, flash != 0,
                                   draft_lengths[FIRST_LENGTH]};
            if (s->m->has_build[build])
                rc = try(s, &c, e);
        }
    for (int32_t tool = 0; tool < tools && !rc; tool++)
        for (int32_t products = 0; products < 2 && !rc; products++) {
            if (!rank(s, COMPARATOR_LOOKUP, products != 0, 1, &best))
                continue;
            struct comparator c = best->c;
            c.tool = (enum comparator_tool)tool;
            c.max_draft = draft_lengths[FIRST_LENGTH];
            if (tool != COMPARATOR_LOOKUP)
                rc = try(s, &c, e);
            if (!rc)
                rc = climb(s, tool, products != 0, e);
        }
    return rc;
}

static int further_prompt(struct search *s, int32_t tools, struct err *e)
{
    int rc = ERR_OK;
    for (int32_t tool = 0; tool < tools; tool++)
        for (int32_t products = 0; products < 2; products++) {
            struct choice *best[LATER];
            int32_t n = rank(s, tool, products != 0, LATER, best);
            for (int32_t i = 0; i < n && !rc && !hopeless(s, tool, products != 0); i++)
                rc = try(s, &best[i]->c, e);
        }
    return rc;
}

static void add_contender(struct bench_model *m, const struct choice *x)
{
    if (m->n_contenders == BENCH_MAX_CONTENDERS)
        return;
    struct bench_contender *c = &m->contender[m->n_contenders++];
    c->comparator = x->c;
    snprintf(c->label, sizeof c->label, "%s %s, attention %s, draft %d",
             comparator_tools[x->c.tool], comparator_builds[x->c.build],
             x->c.flash ? "flash" : "plain", x->c.max_draft);
}

int bench_choose(struct bench_real *b, struct bench_model *m, struct bench_prompt *prompt,
                 int32_t n_prompts, double until_s, struct err *e)
{
    static struct search s;
    int32_t tools = m->draft ? COMPARATOR_TOOLS : 1, answered = 0;
    int rc = ERR_OK;
    double took_s = 0;
    s = (struct search){.b = b, .m = m, .until_s = until_s};
    for (int32_t i = 0; i < n_prompts && answered < PROMPTS && !rc; i++) {
        double from_s = bench_seconds(b);
        if (answered && (late(&s) || (answered > 1 && from_s + took_s > until_s)))
            break;
        bench_progress(b, m, prompt[i].id);
        rc = bench_run_own(b, m, &prompt[i], BENCH_AUTOREGRESSIVE, NULL, e);
        if (rc || !bench_fits(&prompt[i]))
            continue;
        s.prompt = &prompt[i];
        rc = answered++ ? further_prompt(&s, tools, e) : first_prompt(&s, tools, e);
        took_s = bench_seconds(b) - from_s;
    }
    if (!rc && !answered)
        rc = err_set(e, ERR_RANGE, "no prompt of the calibration split is fit to choose on");
    for (int32_t tool = 0; tool < tools && !rc; tool++)
        for (int32_t products = 0; products < 2; products++) {
            struct choice *best[2];
            int32_t n =
                rank(&s, tool, products != 0, tool == COMPARATOR_LOOKUP && !products ? 2 : 1, best);
            for (int32_t i = 0; i < n && !hopeless(&s, tool, products != 0); i++)
                add_contender(m, best[i]);
        }
    return rc;
}
