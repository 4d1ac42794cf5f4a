/* tandem reproduce table4: tokens per verification of the same drafters on the models at hand,
 * beside what was published of others. */
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "experiments/published.h"
#include "experiments/replayed.h"
#include "experiments/reproduce.h"
#include "sim/exec/metrics.h"
#include "traces/workload.h"

enum { SUMMARY, RAG, UI, TWEET, TASKS };
enum { PLD, SAM, METHODS };
enum { Q15, Q7, L1, MODELS };

static const char *const task_name[TASKS] = {"summary", "rag", "ui", "tweet"};
static const char *const own_task[TASKS] = {"summary", "rag", "ui", "reply"}; /* the corpus' name */
static const char *const method_name[METHODS] = {"PLD", "SAM"};
static const char *const model_name[MODELS] = {"Qwen2.5-1.5B", "Qwen2.5-7B", "LLaMA3.2-1B"};

/* Alone, and with Ours: both drafters' sources in one tree, PLD's without earlier responses. */
#define OURS "speculative:max_draft=31,tree=plain,calibrate=1,topk=4,reuse=1+aligned"
static const char *const spec[METHODS][2] = {
    {"speculative:max_draft=10+lookup:ngram=3", OURS},
    {"speculative:max_draft=39+suffix:history=16", OURS ":history=16"}};

/* The upper bound of them all. */
#define ORACLE "speculative:max_draft=39+oracle"

struct table4 {
    double alone[TASKS][METHODS][MODELS], ours[TASKS][METHODS][MODELS];
    struct published_range over_pld, over_sam;
};

#define CELL(task, t, method, d, model, m)                                                         \
    {task "." method "." model, "tokens/verification", offsetof(struct table4, alone[t][d][m]),    \
     false},                                                                                       \
    {                                                                                              \
        task "." method "." model "_ours", "tokens/verification",                                  \
            offsetof(struct table4, ours[t][d][m]), false                                          \
    }
#define METHOD(task, t, method, d)                                                                 \
    CELL(task, t, method, d, "q15", Q15), CELL(task, t, method, d, "q7", Q7),                      \
        CELL(task, t, method, d, "l1", L1)
#define TASK(task, t) METHOD(task, t, "pld", PLD), METHOD(task, t, "sam", SAM)

static const struct published_field fields[] = {
    TASK("summary", SUMMARY),
    TASK("rag", RAG),
    TASK("ui", UI),
    TASK("tweet", TWEET),
    {"gain.over_pld", "x", offsetof(struct table4, over_pld), true},
    {"gain.over_sam", "x", offsetof(struct table4, over_sam), true},
    {.path = NULL}};

/* Of one task's held-out requests, in the trace's order: what a history is made of. */
static int accepted(const struct trace *t, const char *what, const struct replayed_tasks *all,
                    const char *task, double *value, int32_t *n, struct err *e)
{
    struct replayed_sum sum = {0};
    int rc = ERR_OK;
    for (int32_t i = 0; i < all->n; i++)
        if (!strcmp(all->of[i].task, task))
            rc = replay_sum(t, what, all->of[i].map, all->of[i].n, all->out, &sum, e);
    *value = replayed_rate(&sum);
    *n = sum.n;
    return rc;
}

static void put_cells(struct reproduce_context *c, const struct table4 *t, const char *here,
                      int32_t task, int32_t method, bool ours, double got)
{
    for (int32_t m = 0; m < MODELS; m++) {
        char cell[160];
        snprintf(cell, sizeof cell, "%s %s%s of %s, here %s", task_name[task], method_name[method],
                 ours ? " + Ours" : "", model_name[m], here);
        reproduce_cell(c, "table4", cell, (ours ? t->ours : t->alone)[task][method][m], got,
                       "shown", "zero-fit", NAN, NAN);
    }
}

/* Of one model at hand, and what Ours adds over its tasks. */
static int put_model(struct reproduce_context *c, const struct table4 *t,
                     const struct shipped_trace *s, const struct trace *trace, struct err *e)
{
    double product[METHODS] = {1, 1};
    struct replayed_tasks all;
    int32_t tasks = 0;
    int rc = replayed_tasks(trace, SPLIT_HELD_OUT, c->arena, &all, e);
    for (int32_t task = 0; task < TASKS && !rc; task++) {
        double bound = NAN;
        int32_t n = 0;
        rc = accepted(trace, ORACLE, &all, own_task[task], &bound, &n, e);
        for (int32_t d = 0; d < METHODS && !rc; d++) {
            double got[2];
            for (int ours = 0; ours < 2 && !rc; ours++)
                rc = accepted(trace, spec[d][ours], &all, own_task[task], &got[ours], &n, e);
            if (rc || !n)
                continue;
            reproduce_note(
                c, "%-15s %-8s %s %.2f, with Ours %.2f, oracle %.2f (%" PRId32 " requests)\n",
                s->model, task_name[task], method_name[d], got[0], got[1], bound, n);
            for (int ours = 0; ours < 2; ours++)
                put_cells(c, t, s->model, task, d, ours, got[ours]);
            product[d] *= got[1] / got[0];
        }
        tasks += n > 0;
    }
    for (int32_t d = 0; d < METHODS && tasks && !rc; d++) {
        double published = 1;
        char cell[120];
        for (int32_t i = 0; i < TASKS * MODELS; i++)
            published *= t->ours[i / MODELS][d][i % MODELS] / t->alone[i / MODELS][d][i % MODELS];
        snprintf(cell, sizeof cell, "gain over %s, geometric mean, here %s", method_name[d],
                 s->model);
        const struct published_range *range = d == PLD ? &t->over_pld : &t->over_sam;
        reproduce_cell(c, "table4", cell, pow(published, 1.0 / (TASKS * MODELS)),
                       pow(product[d], 1.0 / tasks), "shown", "zero-fit", range->low, range->high);
    }
    return rc;
}

/* The published gains of Ours over each method, against the ranges stated in prose. */
static void put_gains(struct reproduce_context *c, const struct table4 *t)
{
    const struct published_range *range[METHODS] = {&t->over_pld, &t->over_sam};
    for (int32_t d = 0; d < METHODS; d++) {
        double low = INFINITY, high = 0;
        char cell[96];
        for (int32_t task = 0; task < TASKS; task++)
            for (int32_t m = 0; m < MODELS; m++) {
                double gain = t->ours[task][d][m] / t->alone[task][d][m];
                low = fmin(low, gain);
                high = fmax(high, gain);
            }
        snprintf(cell, sizeof cell, "least gain over %s in the table", method_name[d]);
        reproduce_cell(c, "table4", cell, range[d]->low, low, "shown", "zero-fit", range[d]->low,
                       range[d]->high);
        snprintf(cell, sizeof cell, "largest gain over %s in the table", method_name[d]);
        reproduce_cell(c, "table4", cell, range[d]->high, high, "shown", "zero-fit", range[d]->low,
                       range[d]->high);
    }
}

static int run(struct reproduce_context *c, struct err *e)
{
    char path[512];
    struct table4 t;
    int rc = reproduce_file("table4", path, sizeof path, e);
    if (!rc)
        rc = published_read(path, "table4", fields, &t, c->arena, e);
    if (!rc)
        reproduce_note(c, "published of other models, and of larger ones: shown beside each other, "
                          "not compared; held-out requests that do not degenerate\n");
    for (const struct shipped_trace *s = shipped_traces; s->file && !rc; s++) {
        struct trace *trace;
        rc = shipped_trace_open(s, &trace, e);
        if (rc)
            return rc;
        rc = put_model(c, &t, s, trace, e);
        trace_close(trace);
    }
    if (!rc)
        put_gains(c, &t);
    return rc;
}

const struct reproduction reproduce_table4 = {
    .name = "table4",
    .source = "arXiv 2510.15312v3, Table 4: tokens per verification",
    .summary = "the same drafters on the models at hand, and the gains that the table holds",
    .files_only = true,
    .run = run};
