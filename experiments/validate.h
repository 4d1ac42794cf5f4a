/* validate: run for real, simulate the same, print the error between them.
 *
 *   validate_measure   calibration rounds and real runs, interleaved; each is one transaction in
 *                      the store, so that a killed run loses at most itself
 *   validate_change    interventions: another thread count, a longer context
 *   validate_own       what the target said in a run, as the request's own trace
 *   validate_blind     the same runs foretold from the calibration split's texts
 *   validate_bound     the same texts with an oracle's drafts, simulated
 *   validate_time      times of runs, measured and simulated, in pieces that compare
 *   validate_compare   readings of the prediction error, controls, floors, order, regret
 *   validate_print     the table or the JSON object
 */
#ifndef TANDEM_EXPERIMENTS_VALIDATE_H
#define TANDEM_EXPERIMENTS_VALIDATE_H

#include <stdio.h>

#include "analysis/interval.h"
#include "experiments/profile.h"
#include "sim/exec/cost.h"
#include "sim/exec/metrics.h"
#include "traces/trace.h"
#include "traces/workload.h"

enum {
    VAL_MAX_POLICIES = 16,
    VAL_MAX_PROMPTS = 512,
    VAL_MAX_REPS = 32,
    VAL_CONTROLS = 4,
    VAL_MAX_WORKLOADS = 16
};

/* An intervention runs one prompt as it is and changed, by turns. Their runs are those of three
 * more prompts, behind the last: VAL_MAX_PROMPTS + setting. Behind those are the requests of the
 * calibration split. */
enum val_setting { VAL_UNCHANGED, VAL_THREADS, VAL_CONTEXT, VAL_SETTINGS };
enum {
    VAL_MAX_BLIND = 64,
    VAL_BLIND = VAL_MAX_PROMPTS + VAL_SETTINGS,
    VAL_PLACES = VAL_BLIND + VAL_MAX_BLIND
};

struct val_options {
    const char *model;                       /* path of a GGUF; NULL: the toy engine */
    const char *store;                       /* SQLite file of this validation */
    const char *device_in;                   /* the frozen device; NULL: profiled first and saved */
    const char *device_out;                  /* where it is saved */
    const char *workload[VAL_MAX_WORKLOADS]; /* held-out prompts come from these files */
    int32_t n_workloads;
    bool all_held_out; /* --workload: the whole files are held out */
    struct role_map roles;
    double budget_s;
    int32_t repetitions, max_prompts;
    int32_t rounds; /* over all contexts, of calibration, at least */
    int32_t max_ctx;
    bool quick; /* the shortest held-out prompts, few tokens each */
    bool resume;
    uint64_t seed;
};

struct val_policy {
    char label[24];
    struct run_setup setup;
    bool lossless;
};

struct val_prompt {
    const char *id, *task;
    int32_t n, max_tokens;
    const int32_t *token;
    bool degenerate; /* the target's own text repeats itself */
};

/* One real run of one prompt by one policy. */
struct val_run {
    bool done;
    int32_t n_steps, n_output, n_seen;
    struct step *step;
    int32_t *output;
    int32_t *seen; /* of repetition 0: validate_own.c's words */
    int64_t arrive_ns, first_ns, last_ns, n_verify;
    int64_t part_ns[PARTS];
    uint64_t actions_hash;
};

/* The interventions: what is run, where, and the micro-benchmarks of what is new. */
struct val_change {
    const char *why_not[VAL_SETTINGS]; /* NULL: is made */
    int32_t repetitions, n_policies;
    int32_t policy[3]; /* places in validation.policy */
    int32_t threads;
    struct session session; /* with that number of threads */
    struct measure_plan plan;
    struct samples samples;
    int32_t want_rounds, n_rounds;
    int32_t beside[8]; /* [n_rounds]: the unchanged device's round just before */
};

struct val_round {
    int32_t after; /* runs of a prompt by all policies that were finished before it */
};

struct validation {
    const struct val_options *o;
    struct session session;
    struct arena arena;
    struct workload workload;
    int32_t n_policies, n_prompts;
    int32_t n_rounds, n_frozen_rounds; /* each of one context, by turns */
    struct val_policy policy[VAL_MAX_POLICIES];
    struct val_prompt prompt[VAL_PLACES]; /* in the order in which they run */
    int32_t n_done; /* prompts that are run; when measuring is over, all of their runs are there */
    int32_t n_sets; /* runs of a prompt by all policies so far, one repetition each */
    int32_t n_blind, blind_policy; /* requests of the calibration split, and who runs them */
    struct val_run *run;           /* [VAL_PLACES][n_policies][repetitions] */
    struct val_round round[4096];
    double round_s; /* of one, the latest counting most */
    struct measure_plan plan;
    struct samples samples;
    struct val_change change;
    struct device frozen; /* what a user has: saved before the runs */
    struct trace *own;    /* of every run's repetition 0, while comparing */
    int32_t *own_index;   /* [VAL_PLACES][n_policies] */
    int64_t started_ns;
    struct sqlite3 *db;
    int lock; /* the file that keeps others out of the store, when `locked` */
    bool locked;
};

struct val_run *val_run_at(const struct validation *v, int32_t prompt, int32_t policy,
                           int32_t repetition);

/* Opens model, store and workload, measures within the budget. The caller closes, also on error. */
int validate_measure(const struct val_options *o, struct validation *v, struct err *e);
void validate_close(struct validation *v);

/* For its own files: a prompt's tokens, ERR_LIMIT when the context does not hold it; one real run,
 * kept and stored, unless it is there; one calibration round of the device as it is or with changed
 * threads; a line of progress. */
int val_prompt_read(struct validation *v, const struct workload_item *item, struct val_prompt *out,
                    struct err *e);
int val_run_once(struct validation *v, int32_t prompt, int32_t policy, int32_t rep, struct err *e);
int val_calibrate(struct validation *v, enum val_setting setting, struct err *e);
void val_progress(const struct validation *v, const char *what);

/* ---- comparing ------------------------------------------------------------------------------ */

/* One way to compare, over all (prompt, policy) pairs. */
struct val_reading {
    struct error_pct e2e, ttft, tpot;
};

/* A task and policy: its requests' end-to-end times, each prompt's expected one. */
struct val_blind_row {
    const char *task;
    int32_t policy;
    double predicted_mean_ns, measured_mean_ns, predicted_p90_ns, measured_p90_ns;
};

/* Acceptance from the calibration split alone. */
struct val_blind_report {
    const char *why_not; /* NULL: it was made */
    int32_t requests;
    struct error_pct error, mean,
        p90; /* over tasks and policies; of both statistics, and of each */
    double tau, resolved_pairs, regret_pct;
    int32_t n_rows;
    struct val_blind_row *row;
};

/* Over all prompts: the target alone and with an oracle's drafts, both simulated. */
struct val_bound {
    double alone_ns, ns, tokens_per_verify;
};

struct val_report {
    int32_t prompts, policies, repetitions, degenerate;
    /* Noise floor: the expected minimum of as many samples on both sides. Raw: medians. Each with
     * the rounds beside the runs and with the frozen device. */
    struct val_reading noise, noise_frozen, raw, raw_frozen;
    struct interval noise_median;           /* 95 % of its median, prompts resampled */
    double floor_median_pct, floor_p90_pct; /* one repetition against the median of the others */
    double tau, resolved_pairs, regret_pct;
    struct val_blind_report blind;
    /* Noise floor by source, percent of the pair's end to end: median and 90 % quantile. */
    struct {
        double median, p90;
    } source[PARTS], source_sum;
    struct {
        const char *name;
        struct val_reading reading;
        double tau, regret_pct;
        bool missed;
    } control[VAL_CONTROLS];
    /* What an intervention does to a policy's time, foretold and found, percent of the unchanged
     * one; the error is of the changed time over the unchanged one. */
    struct val_change_report {
        const char *why_not; /* NULL: it was made */
        char what[96];
        int32_t n;
        struct {
            int32_t policy;
            double predicted_pct, measured_pct, error_pct;
        } by_policy[3];
        struct error_pct error;
        int64_t extrapolated, jobs;
    } change[VAL_SETTINGS];
    struct error_pct left_out_width,
        left_out_bucket; /* cells of the table, predicted without them */
    double tokens_equal; /* share of requests where every lossless policy gave the same text */
    double divergence;   /* share of runs of policies that are not lossless with another text */
    double margin_median, margin_max; /* of the target's choice where those texts split off */
    double actions_equal;             /* share of runs whose simulated actions are the real ones */
    bool replay_equal;
    int64_t extrapolated, jobs; /* simulated jobs outside what was measured, and all */
    struct profile_noise noise_of_machine;
    const char *verdict; /* passed, failed, inconclusive */
    char why[512];
    /* By policy: predicted and measured noise-floor end-to-end time, summed over prompts. */
    struct {
        double predicted_ns, measured_ns, tokens_per_verify, error_median_pct;
    } by_policy[VAL_MAX_POLICIES];
    struct val_bound oracle;
    /* Pairs, for the picture. */
    int32_t n_pairs;
    struct val_pair {
        int32_t prompt, policy;
        double predicted_ns, measured_ns;
    } * pair;
};

int validate_compare(struct validation *v, struct val_report *r, struct err *e);

enum val_format { VAL_TABLE, VAL_CSV, VAL_JSON };
int validate_print(const struct validation *v, const struct val_report *r, enum val_format format,
                   FILE *out);

#endif
