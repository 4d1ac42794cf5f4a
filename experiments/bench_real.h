/* tandem bench real: Tandem on llama.cpp against llama.cpp's own speculative programs.
 *
 * By model: the device is profiled (step curve, belief), the best builds, attention and draft
 * lengths of the comparators are found on calibration prompts, and then all contenders answer the
 * same held-out prompts by turns, in rotating order: one thread each on the same core, greedy, the
 * same number of output tokens, timed from the prompt to the last of them (comparator.h says by
 * which clock). Rounds add a prompt of every task while the time holds, then repeat them; a
 * contender's time of a prompt is the median of its repetitions.
 *
 *   bench_real          prompts, profile, runs
 *   bench_real_choose   which comparators compete
 *   bench_real_bound    what the oracle would take
 *   bench_real_ratio    what comes of the times: geometric means over model x task, intervals
 *   bench_real_print    the table or the JSON object
 */
#ifndef TANDEM_EXPERIMENTS_BENCH_REAL_H
#define TANDEM_EXPERIMENTS_BENCH_REAL_H

#include <stdio.h>

#include "analysis/interval.h"
#include "experiments/comparator.h"
#include "experiments/profile.h"
#include "experiments/session.h"
#include "sim/base/arena.h"
#include "traces/workload.h"

enum {
    BENCH_MAX_MODELS = 4,
    BENCH_MAX_TASKS = 8,
    BENCH_MAX_PROMPTS = 64,
    BENCH_MAX_REPS = 16,
    BENCH_MAX_CONTENDERS = 16,
    BENCH_MAX_DRAFT = 15,
    BENCH_AUTOREGRESSIVE = 0, /* contenders of Tandem's own */
    BENCH_SPECULATIVE = 1
};

struct bench_options {
    const char *model[BENCH_MAX_MODELS]; /* GGUF; none: those that the set-up installs */
    int32_t n_models;
    int32_t prompts;     /* of each task at most; as many as the budget holds, at least one */
    int32_t max_tokens;  /* of output */
    int32_t repetitions; /* at most, once all prompts were run */
    double budget_s;     /* of all models together, shared by their bytes */
    uint64_t seed;
};

/* Of all of a task's runs: tokens, those that were drafted, those of them that were accepted. */
struct bench_counts {
    int64_t output, drafted, accepted;
};

struct bench_contender {
    char label[80];
    bool own; /* Tandem's; else `comparator` */
    struct comparator comparator;
    struct bench_counts counts[BENCH_MAX_TASKS];
};

/* From the prompt to the first token and to the last one. */
struct bench_run {
    double first_ns, ns;
    struct bench_counts counts;
};

struct bench_prompt {
    const char *id, *text;
    int32_t task; /* index into the model's tasks */
    int32_t n, n_output;
    const int32_t *token, *output; /* the target's own text */
    double distinct_4grams;
    int32_t n_reps;
    double first_ns[BENCH_MAX_CONTENDERS][BENCH_MAX_REPS];
    double ns[BENCH_MAX_CONTENDERS][BENCH_MAX_REPS];
    /* On the step table, from the first token to the last: the upper bound, autoregressive. */
    double oracle_ns, simulated_ns;
};

/* Verify steps with a k-th drafted token, and those of them that accepted it; k from 1. */
struct bench_positions {
    int64_t drafted[BENCH_MAX_DRAFT + 1], accepted[BENCH_MAX_DRAFT + 1], steps, tokens;
};

struct bench_model {
    const char *path, *draft; /* draft NULL: none has this model's token ids */
    char name[128];
    bool has_build[COMPARATOR_BUILDS];
    struct session session;
    double attention_ns[2]; /* of an answer to a calibration prompt: plain, flash */
    bool flash;             /* the faster one: the session's */
    struct measure_plan plan;
    struct samples samples;
    int32_t n_rounds;
    struct device device;
    struct belief belief;                   /* of its step table */
    int32_t n_tasks, n_prompts, n_left_out; /* left out: they repeat themselves */
    int32_t n_candidates;
    struct bench_prompt *candidate; /* held-out prompts, tasks by turns */
    const char *task[BENCH_MAX_TASKS];
    struct bench_prompt prompt[BENCH_MAX_PROMPTS];
    int32_t n_contenders;
    struct bench_contender contender[BENCH_MAX_CONTENDERS];
    struct bench_positions positions[BENCH_MAX_TASKS];
};

struct bench_real {
    const struct bench_options *o;
    struct arena arena;
    char comparators[4096];
    int32_t n_models;
    struct bench_model *model;
    int64_t started_ns;
};

/* Builds what is missing, measures everything. ERR_UNSUPPORTED in a build without llama.cpp.
 * bench_real_close is right after success and failure. */
int bench_real_measure(const struct bench_options *o, struct bench_real *out, struct err *e);
void bench_real_close(struct bench_real *b);

/* ---- between its files ---------------------------------------------------------------------- */

/* What Tandem's own contenders run. */
extern const char *const bench_specs[];

/* Since bench_real_measure began. */
double bench_seconds(const struct bench_real *b);
void bench_progress(const struct bench_real *b, const struct bench_model *m, const char *what);

/* What a run of `spec` on the model is made of. The errors of spec_parse. */
int bench_set_up(const struct bench_model *m, const char *spec, struct run_setup *setup,
                 struct err *e);
struct request bench_request(const struct bench_prompt *p, int32_t max_tokens);

/* Runs a contender of Tandem's own (run may be NULL), and keeps the text in the arena when the
 * prompt has none; ERR_MISMATCH where it has another. */
int bench_run_own(struct bench_real *b, struct bench_model *m, struct bench_prompt *p,
                  int32_t contender, struct bench_run *run, struct err *e);

/* Whether a prompt with its text is worth timing: neither degenerate nor at its end at once. */
bool bench_fits(const struct bench_prompt *p);

/* Runs a comparator for as many tokens as the prompt's text has. ERR_MISMATCH where it cut the
 * prompt into other tokens; the errors of comparator_run. */
int bench_run_comparator(struct bench_real *b, struct bench_model *m, const struct comparator *c,
                         const struct bench_prompt *p, struct bench_run *run, struct err *e);

/* Adds the comparators that compete, chosen on those of the prompts that fit, of the calibration
 * split: the two fastest ways of llama-lookup and the fastest of llama-speculative-simple, without
 * our products and with them (of the latter where it is faster than llama-lookup). Stops at
 * until_s, but never before every class has been tried. */
int bench_choose(struct bench_real *b, struct bench_model *m, struct bench_prompt *prompt,
                 int32_t n_prompts, double until_s, struct err *e);

/* Simulates the oracle at every measured width, of which the fastest counts, and decoding alone. */
int bench_bound(struct bench_model *m, struct err *e);

/* ---- ratios --------------------------------------------------------------------------------- */

/* Sets of contenders. PUBLIC: the comparators stock and with our flags; ALL: with our products,
 * too. */
enum bench_set {
    BENCH_SET_AUTOREGRESSIVE,
    BENCH_SET_LOOKUP,
    BENCH_SET_DRAFT_MODEL,
    BENCH_SET_PUBLIC,
    BENCH_SET_ALL,
    BENCH_SETS
};

/* The contender of the set with the least time over the task's prompts, or -1. */
int32_t bench_best(const struct bench_model *m, int32_t task, enum bench_set set);

/* The median of a contender's repetitions of a prompt, in ns: to the last token, to the first. */
double bench_ns(const struct bench_prompt *p, int32_t contender);
double bench_first_ns(const struct bench_prompt *p, int32_t contender);

/* What the oracle would have taken for a prompt in the place of BENCH_SPECULATIVE: the same time to
 * the first token; from there on what it takes on the step table, times how much longer than on the
 * table the machine took to decode alone. */
double bench_oracle_ns(const struct bench_prompt *p);

struct bench_ratio {
    double value; /* NAN: no model has such a contender */
    struct interval interval;
    double ceiling;    /* the same of the oracle in our place */
    double gap_closed; /* (value - 1) / (ceiling - 1); NAN where the ceiling is not above 1 */
};

/* Time of the set's best contender over that of BENCH_SPECULATIVE: sums over the prompts of a model
 * x task, geometric mean over those where the set has one; 95 % interval by resampling prompts
 * within them, the best contender kept. A model of which a task has a single prompt counts by
 * prompts and not by tasks, and its interval, the wider for it, draws among all of them; NAN where
 * that is one. ERR_NOMEM. */
int bench_ratio(const struct bench_real *b, enum bench_set set, struct bench_ratio *out,
                struct err *e);

/* Writes the table or the JSON object. ERR_NOMEM, ERR_IO. */
int bench_real_print(const struct bench_real *b, bool json, FILE *out, struct err *e);

#endif
