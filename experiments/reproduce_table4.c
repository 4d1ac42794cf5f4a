/* tandem reproduce table4: tokens per verification of the same drafters on the model at hand,
 * beside what was published of other models. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "experiments/command.h"
#include "experiments/published.h"
#include "experiments/reproduce.h"
#include "experiments/run.h"

enum { SUMMARY, RAG, UI, TWEET, TASKS };
enum { PLD, SAM, METHODS };
enum { Q15, Q7, L1, MODELS };

static const char *const task_name[TASKS] = {"summary", "rag", "ui", "tweet"};
static const char *const own_task[TASKS] = {"summary", "rag", "ui", "reply"}; /* the corpus' name */
static const char *const method_name[METHODS] = {"PLD", "SAM"};
static const char *const model_name[MODELS] = {"Qwen2.5-1.5B", "Qwen2.5-7B", "LLaMA3.2-1B"};

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

/* Tokens per verification of a run's requests of one task; NAN: it has none. */
static double accepted(const struct run_report *r, const struct run_outcome *run, const char *task,
                       int32_t *requests)
{
    int64_t tokens = 0, verifications = 0;
    *requests = 0;
    for (int32_t i = 0; i < r->n_requests; i++) {
        const struct request_result *q = &run->result.request[i];
        if (strcmp(r->name[i].task, task) || q->n_output < 1)
            continue;
        tokens += q->n_output - 1;
        verifications += q->n_verify;
        ++*requests;
    }
    return verifications ? (double)tokens / (double)verifications : NAN;
}

static void put_task(struct reproduce_context *c, const struct table4 *t,
                     const struct run_report *r, int32_t task)
{
    for (int32_t d = 0; d < METHODS; d++) {
        int32_t n;
        double got = accepted(r, &r->run[d], own_task[task], &n);
        if (isnan(got)) {
            reproduce_note(c, "%s: the trace has no request of it\n", task_name[task]);
            return;
        }
        reproduce_note(c, "%s, %s: %.2f tokens per verification of %s over %d requests\n",
                       task_name[task], method_name[d], got, r->model, (int)n);
        for (int32_t m = 0; m < MODELS; m++) {
            char cell[256];
            snprintf(cell, sizeof cell, "%s %s of %s, here %s", task_name[task], method_name[d],
                     model_name[m], r->model);
            reproduce_cell(c, "table4", cell, t->alone[task][d][m], got, "shown", "zero-fit", NAN,
                           NAN);
        }
    }
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
    static const char file[] = "experiments/published/table4-run.yaml";
    char path[512];
    struct table4 t;
    struct experiment x;
    struct run_report r;
    const struct run_options o = {.kind = WORLD_SIM};
    int rc = reproduce_file("table4", path, sizeof path, e);
    if (!rc)
        rc = published_read(path, "table4", fields, &t, c->arena, e);
    if (!rc && !command_shipped(file, path, sizeof path))
        rc = err_at(e, ERR_IO, file, 0, 0, "is not here nor beside the program");
    if (!rc)
        rc = experiment_load(path, NULL, 0, c->arena, &x, e);
    if (!rc && x.n_policies != METHODS)
        rc = err_at(e, ERR_SCHEMA, path, 0, 0, "has %d policies: expected pld and sam",
                    (int)x.n_policies);
    if (rc)
        return rc;
    rc = run_experiment(&x, &o, &r, e);
    if (!rc) {
        reproduce_note(c, "published of other models, and of larger ones: shown beside each other, "
                          "not compared\n");
        for (int32_t task = 0; task < TASKS; task++)
            put_task(c, &t, &r, task);
        put_gains(c, &t);
    }
    run_report_fini(&r);
    return rc;
}

const struct reproduction reproduce_table4 = {
    .name = "table4",
    .source = "arXiv 2510.15312v3, Table 4: tokens per verification",
    .summary = "the same drafters on the model at hand, and the gains that the table holds",
    .files_only = true,
    .run = run};
