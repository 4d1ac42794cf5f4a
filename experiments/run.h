/* The runner: an experiment's policies, one run after another, on one executor. */
#ifndef TANDEM_EXPERIMENTS_RUN_H
#define TANDEM_EXPERIMENTS_RUN_H

#include "experiments/world.h"
#include "hwmodels/status.h"
#include "sim/exec/shims.h"

/* ---- what comes of it ----------------------------------------------------------------------- */

struct run_busy {
    const char *name; /* of the processor in simulation, of the role otherwise */
    int64_t busy_ns;
    struct energy work; /* drawn meanwhile; in simulation */
};

/* One run: one policy, one seed, one repetition, all requests. */
struct run_outcome {
    const struct experiment_policy *policy;
    int32_t policy_index, repetition;
    uint64_t seed;
    const char *executor; /* "sim", "real", "toy" */
    const char *log;      /* path; NULL: not recorded */
    struct run_result result;
    int32_t n_busy;
    struct run_busy busy[SIM_MAX_PROCESSORS];
    int64_t n_jobs, n_extrapolated; /* -1 where the executor measures and does not model */
    int64_t peak_resident_bytes;    /* -1: not known */
    struct energy energy;           /* of all processors, and of the bus where that is apart */
    bool heat_known;                /* of a device whose heat is modelled, all powers known */
    int64_t peak_mc, slow_ns;       /* its highest temperature; time that it was slowed for */
    int code;                       /* of a run that failed: it has no result */
    char why[768];
};

/* Everything lives in the arena of the report. */
struct run_report {
    struct arena arena;
    const struct experiment *x;
    enum world_kind kind;
    char device[160], model[128], numerics[64], device_numerics[64], version[128], roles[256];
    char faults[160]; /* the plan, as --faults takes it; "": none */
    bool mixed;
    int32_t n_requests;
    int32_t n_status; /* of a simulated device's mechanisms that runs can exercise */
    struct status status[STATUS_MECHANISMS];
    struct world_name *name; /* [n_requests] */
    int32_t *n_prompt;       /* [n_requests] */
    int32_t n, cap;
    struct run_outcome *run; /* [n], policies vary slowest, then seeds, then repetitions */
};

void run_report_fini(struct run_report *r);

/* ---- running -------------------------------------------------------------------------------- */

/* Who wants to hear of runs; each call may fail, which ends the experiment. */
struct run_sink {
    void *self;
    /* Before the first run; the report names no run yet. */
    int (*begin)(void *self, const struct run_report *report, struct err *e);
    /* After each run, also after one that failed. */
    int (*add)(void *self, const struct run_outcome *run, struct err *e);
    void (*close)(void *self);
};

struct run_options {
    enum world_kind kind;
    const char *log_dir;   /* made when it is not there; NULL: no logs */
    struct run_sink *sink; /* NULL: none */
    /* Called when the first event of all is delivered; NULL. */
    void (*first_event)(void);
};

/* Runs everything. On an executor that computes its times there is one repetition, and with no
 * random component (a noisy belief, faults, the toy's language) several seeds are ERR_USAGE;
 * faults for real are ERR_UNSUPPORTED. Stops at the first run that fails, with its error.
 * run_report_fini is right after success and failure. */
int run_experiment(const struct experiment *x, const struct run_options *o, struct run_report *out,
                   struct err *e);

/* ---- replaying ------------------------------------------------------------------------------ */

struct run_replayed {
    int64_t n_actions, n_events, end_ns;
    uint64_t actions_hash;
    int32_t n_requests;
    char executor[32], policy[64], model[128]; /* as the log says */
};

/* Feeds the log to a fresh policy and compares every action; the log's own policy and parameters,
 * unless `policy` is given. ERR_REPLAY with the first difference. */
int run_replay(const char *log, const struct experiment_policy *policy, struct run_replayed *out,
               struct err *e);

/* ---- summaries ------------------------------------------------------------------------------ */

/* One policy over its runs and requests. NAN: no such value. */
struct run_summary {
    const struct experiment_policy *policy;
    int32_t n_runs, n_requests;
    int64_t n_output;
    double ttft_ns_median, tpot_ns_median, e2e_ns_median; /* over requests that have one */
    int64_t e2e_ns_sum;
    double tokens_per_verify; /* tokens after each request's first / decode and verify steps */
    double draft_efficiency;  /* accepted / drafted */
    double speedup;           /* the first policy's sum of E2E over this one's */
    bool energy_known;
    double energy_pj_per_token;
    int32_t n_busy;
    struct {
        const char *name;
        double share; /* of the runs' time */
        struct energy work;
        double work_pj_per_token; /* NAN: not known */
    } busy[SIM_MAX_PROCESSORS];
    int64_t n_jobs, n_extrapolated; /* -1 as above */
    bool heat_known;
    int64_t peak_mc;
    double slow_share;    /* of the runs' time, slowed by heat */
    int64_t n_unknown;    /* choices that the trace did not hold */
    int32_t n_degenerate; /* of n_requests, those whose text repeats itself */
    int32_t n_differ; /* of n_requests, those whose text is not the first lossless policy's; -1 */
    bool needs_truth, parametric, lossless;
};

/* summary[x->n_policies] */
int run_summarise(const struct run_report *r, struct run_summary *summary, struct err *e);

/* Requests of which some run's text repeats itself. */
int32_t run_degenerate(const struct run_report *r);

/* Share of requests where all runs of lossless policies gave the same text; NAN without two such
 * runs. */
double run_tokens_equal(const struct run_report *r);

#endif
