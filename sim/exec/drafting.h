/* Drafter instances of a run: one per open request and drafter. Every executor runs DRAFT and
 * CALIBRATE jobs through this, so that the drafting code and its work counters are the same in all
 * of them. */
#ifndef TANDEM_EXEC_DRAFTING_H
#define TANDEM_EXEC_DRAFTING_H

#include "sim/exec/driver.h"
#include "sim/exec/memo.h"

struct drafting;

/* Allocates everything it will ever need: setup->max_requests instances of each drafter, for
 * max_ctx tokens and max_nodes nodes, and the history: the responses that finished last, at most as
 * many as some drafter's parameter DRAFT_HISTORY asks for and at most max_ctx tokens all together.
 * The oldest are dropped. */
int drafting_create(const struct run_setup *setup, int32_t max_ctx, int32_t max_nodes,
                    struct drafting **out, struct err *e);
void drafting_destroy(struct drafting *d);

/* On ARRIVE and FINISH, by the thread that owns the executor, with no job of the request in
 * flight. ERR_LIMIT when more requests are open than the set-up allows. */
int drafting_open(struct drafting *d, int32_t request, int32_t n_prompt, struct err *e);

/* Gives drafters that need it the truth: simulated executors alone, before the first request. */
void drafting_tell_truth(struct drafting *d, struct truth *truth);

/* Before the first request: jobs are answered from the memo where it can, and kept there else.
 * Results are the same with it and without. Drafters that need the truth are always run. The memo
 * outlives `d` and serves one thread. ERR_NOMEM. */
int drafting_use_memo(struct drafting *d, struct draft_memo *memo);

void drafting_close(struct drafting *d, int32_t request);

/* On EMIT, by the same thread. A request's drafters are given the history as it was when it was
 * opened, in its first job: what that costs is a part of the job's work. */
void drafting_emit(struct drafting *d, int32_t request, const int32_t *token, int32_t n);

/* Runs a DRAFT or CALIBRATE job. tree's arrays hold the job's max_nodes. Different requests' jobs
 * may run on different threads; one request's jobs of one drafter must not overlap. ERR_UNSUPPORTED
 * when the drafter cannot be calibrated, ERR_LIMIT when the text outgrows max_ctx or the shown step
 * max_nodes. */
int drafting_run(struct drafting *d, const struct job *job, struct draft_tree *tree,
                 struct draft_work *work);

/* Hash of a proposal: what replay compares. */
uint64_t drafting_hash(const struct draft_tree *tree);

#endif
