/* The simulated target: which rows stand on the target's own text, and what it says after each.
 * Part of the simulated executor, apart from its clock. */
#ifndef TANDEM_EXEC_SIM_TEXT_H
#define TANDEM_EXEC_SIM_TEXT_H

#include "sim/base/arena.h"
#include "sim/exec/driver.h"
#include "sim/exec/truth.h"

/* Rows of a step, as in struct job_forward. */
struct sim_rows {
    int32_t pos, n;
    bool chain;
    int32_t *token, *above; /* [max_rows] */
    const int32_t *parent;  /* [n]: above, or those of any chain */
};

/* A row, or the text before all of them: where it ends, how far it is the target's own, and what
 * the target says next as long as that is all of it; -1 where it is not known, or in the prompt. */
struct sim_stand {
    int32_t end, own, says;
};

struct sim_text {
    struct truth *truth;
    int32_t max_ctx, max_rows, max_requests, n_seqs;
    struct sim_prompt {
        int32_t request, n; /* request -1: free */
        const int32_t *token;
        int32_t n_own; /* of the target's continuation, as far as the truth gives it whole */
        const int32_t *own;
    } * prompt; /* [max_requests] */
    struct sim_seq {
        int32_t n;             /* sure tokens */
        int32_t *token;        /* [max_ctx] */
        struct sim_rows last;  /* the step made at n; n == 0: none */
        int32_t request, same; /* the request's prompt and own continuation go so far in it */
    } * seq;                   /* [n_seqs] */
    struct sim_rows step;    /* the job's own rows, when they are not a sequence's last; scratch */
    int32_t *chain;          /* [max_rows]: -1, 0, 1, ...: the parents of a chain */
    int32_t *wrong;          /* [max_ctx + max_rows], scratch */
    struct sim_stand *stand; /* [1 + max_rows], scratch: before the rows, and after each */
    struct truth_path *path; /* [max_rows], scratch: of rows that are wrong */
};

/* Memory is the arena's; the truth is kept. ERR_NOMEM. */
int sim_text_init(struct sim_text *t, struct arena *arena, struct truth *truth,
                  const struct exec_caps *caps, int32_t max_requests);

/* On ARRIVE and FINISH. */
void sim_text_open(struct sim_text *t, int32_t request, int32_t n, const int32_t *prompt);
void sim_text_close(struct sim_text *t, int32_t request);

/* Carries out what FORWARD, HEAD, COMMIT and COPY do to caches and slots and fills the outputs of
 * FORWARD and HEAD. Returns why the job failed, or NULL: a step that is not at the cache's end, a
 * COMMIT that keeps no path. */
const char *sim_text_run(struct sim_text *t, const struct job *job, bool last_block,
                         struct done *done, int32_t *choice, int32_t *top, float *logit);

#endif
