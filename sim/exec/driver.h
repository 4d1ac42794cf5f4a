/* The driver: the one loop that holds a policy and an executor, and what a run is made of. */
#ifndef TANDEM_EXEC_DRIVER_H
#define TANDEM_EXEC_DRIVER_H

#include "sim/base/arena.h"
#include "sim/draft/draft.h"
#include "sim/exec/exec.h"
#include "sim/policy/policy.h"

/* ---- what is run ---------------------------------------------------------------------------- */

struct run_drafter {
    const struct drafter_type *type;
    int64_t param[PARAM_MAX];
};

/* A run but for its executor and its requests. A log carries all of it. */
struct run_setup {
    const struct policy_type *policy;
    int64_t policy_param[PARAM_MAX];
    int32_t n_drafters;
    struct run_drafter drafter[EXEC_MAX_DRAFTERS];
    struct belief belief;
    int32_t n_vocab, n_eos;
    int32_t eos[EXEC_MAX_EOS];
    int32_t max_requests; /* open at once */
    uint64_t seed;
    /* For readers of the log; "" where there is none. */
    char model[128];   /* what was run */
    char device[128];  /* on what */
    char roles[256];   /* "target=cpu:1 draft=cpu:0" */
    char numerics[64]; /* numerics_id */
    char version[128]; /* of Tandem and the engine */
};

/* arrival_ns of a request that arrives when the one before it finishes (closed loop). */
#define REQUEST_AFTER_PREVIOUS (-1)

struct request {
    int32_t n;            /* prompt tokens, >= 1 */
    const int32_t *token; /* the caller's, kept until the run's end */
    int32_t max_tokens;   /* >= 1 */
    int64_t arrival_ns;   /* not decreasing, or REQUEST_AFTER_PREVIOUS */
    int64_t cancel_ns;    /* EXEC_NEVER: not cancelled */
};

/* ---- what came of it ------------------------------------------------------------------------ */

/* One FORWARD of a request, for metrics and for comparing runs step by step. */
struct step {
    uint8_t phase;
    int32_t width, n, pos;
    int32_t emitted; /* output tokens that its DONE made visible */
    int64_t start_ns, end_ns, sample_ns;
};

struct request_result {
    int64_t arrive_ns, first_ns, last_ns, finish_ns; /* first and last EMIT; -1: there was none */
    int32_t n_output;
    int32_t *output; /* [max_tokens], the tokens in order */
    int32_t n_steps, cap_steps;
    struct step *step;
    int64_t n_drafted, n_accepted; /* draft nodes verified, and kept */
    int64_t n_verify;              /* FORWARD jobs of phase VERIFY or DECODE */
    int64_t part_ns[6];            /* by enum cost_part, from DONE times; host from host() */
    struct draft_work work;
    int64_t n_unknown; /* choices under rejected tokens that the truth did not hold */
    bool finished, cancelled;
};

struct run_result {
    int64_t end_ns;
    int64_t n_events, n_actions;
    uint64_t actions_hash; /* over every action with its arrays: equal runs have equal ones */
    int32_t n_requests;
    struct request_result *request; /* [n_requests] */
};

/* What driver_run would refuse before the first event, without running: capabilities, a drafter
 * that is missing, parameters that do not fit the executor. */
int driver_check(const struct run_setup *setup, struct exec *x, struct err *e);

/* Runs `policy` on `x` until every request finished. The result and its arrays live in `arena`,
 * which is sealed while the run lasts. Checks in every run, each an ERR_POLICY
 * with a message that names the job: ids increase, roles and drafters exist, waits and CANCELs name
 * ids up to the last one submitted, no token is emitted after FINISH, emitted tokens are there,
 * <= max_tokens and no more than the target chose, no two LOADs or FREEs overlap, a request's jobs
 * are done when it finishes. An executor that ends a job twice, lets time run back, or says that a
 * job began before it was submitted or beside another of its role, is ERR_DEVICE. When a policy
 * could not handle the end of a job that was not DONE_OK, the message names the job, its kind and
 * the reason (struct done). When nothing can happen any more, ERR_STALLED, the executor says what
 * it knows and each open request what it waits for: a job, by kind and role, or the policy. */
int driver_run(const struct run_setup *setup, struct exec *x, const struct request *request,
               int32_t n_requests, struct arena *arena, struct run_result *out, struct err *e);

#endif
