/* Rounds of drafting and verifying, as every policy of one stream does them. A policy runs the
 * prompt, emits the first token and starts a round whenever it likes; from then on rounds go on by
 * themselves until the request closes.
 *
 * A round, from the DONE of a step:
 *   1. accept the longest correct path and the target's own token; EMIT; COMMIT drops the rejected
 *      rows from the cache;
 *   2. DRAFT appends what was emitted and proposes; it overlaps with the COMMIT. With `reuse` it
 *      also shows the drafter the rows that were verified and the target's choice after each;
 *   3. the step is made of the root (the last sure token) and the proposal.
 *
 * Trees. A draft that is no chain may be accepted along a path that is not first in the batch; its
 * cached values then differ in the last bits from what decoding alone would have left there. With
 * tree=recompute such a path is dropped and run again as a chain, whose outputs count: lossless, at
 * the cost of a step. With tree=plain it is kept.
 *
 * Overflow. A chain may be longer than a fixed width: `cut` leaves out what does not fit, `passes`
 * verifies it in as many steps of that width as it takes, one after another, whatever the first of
 * them says.
 *
 * Calibration. With top_k > 0 a prompt's passes bring the likely tokens at their rows, and a
 * CALIBRATE job takes each pass's to the drafter. `overlap` says what it runs beside: `serial`,
 * nothing: the prompt waits for it after every pass, the last included, and only then has its first
 * token; `chunks`, the passes after it, and the first draft waits for all of it; `draft`, nor does
 * a first draft that begins with the first token wait for the last pass's. */
#ifndef TANDEM_POLICY_ROUNDS_H
#define TANDEM_POLICY_ROUNDS_H

#include "sim/policy/serve.h"

enum { ROUNDS_MAX_ROWS = 512 };
enum { ROUNDS_SERIAL, ROUNDS_CHUNKS, ROUNDS_DRAFT }; /* overlap */

extern const char *const rounds_tree_words[];
extern const char *const rounds_overlap_words[];
extern const char *const rounds_overflow_words[];

/* Parameters of every such policy: a part of its specification, which rounds_read reads. */
#define ROUNDS_PARAMS                                                                              \
    {.name = "tree",                                                                               \
     .help = "how a path that is not first in the batch is kept",                                  \
     .choice = rounds_tree_words},                                                                 \
        {.name = "calibrate",                                                                      \
         .help = "1: the drafter is told the likely tokens at every prompt position",              \
         .max = 1},                                                                                \
        {.name = "topk",                                                                           \
         .help = "likely tokens of a position, with calibrate=1",                                  \
         .def = 4,                                                                                 \
         .min = 1,                                                                                 \
         .max = 64},                                                                               \
        {.name = "overlap",                                                                        \
         .help = "what calibration runs beside",                                                   \
         .def = ROUNDS_CHUNKS,                                                                     \
         .choice = rounds_overlap_words},                                                          \
        {.name = "reuse",                                                                          \
         .help = "1: the drafter is shown the verified rows and the target's choices",             \
         .max = 1},                                                                                \
        {.name = "fill",                                                                           \
         .help = "1: the rows are those with the most expected tokens per believed time",          \
         .max = 1},                                                                                \
    {                                                                                              \
        .name = "overflow", .help = "what becomes of a chain longer than a fixed width",           \
        .choice = rounds_overflow_words                                                            \
    }

struct rounds_options {
    uint8_t target_role, draft_role; /* of steps and COMMITs; of DRAFT and CALIBRATE */
    int32_t graph;                   /* of steps; 0: the dynamic one */
    int64_t width;     /* rows of a step: the graph's; of the dynamic one also 0, as many as are
                          used, and PARAM_AUTO: the belief decides */
    int64_t max_draft; /* drafted tokens of a step at most */
    int32_t top_k;     /* of a prompt position, for CALIBRATE; 0: the drafter is not calibrated */
    uint8_t overlap;
    bool recompute, passes, reuse, fill;
};

struct rounds {
    struct serve *serve;
    struct rounds_options opt;
    int64_t draft_id, verify_id; /* in flight; 0: none; the second of a step's last pass */
    int64_t first_pass;          /* of a step's first */
    int64_t calibrate_id;        /* that the prompt waits for; 0: none */
    int32_t first_token;         /* and then has; -1: it has further passes */
    int32_t n_fresh;             /* emitted, not yet appended to the drafter */
    int32_t fresh[ROUNDS_MAX_ROWS];
    int32_t n; /* rows of the step being verified */
    bool chain;
    int32_t token[ROUNDS_MAX_ROWS], parent[ROUNDS_MAX_ROWS];
    int64_t chances; /* of the rows, all together; counted with fill alone */
    int32_t n_choices, choice[ROUNDS_MAX_ROWS]; /* of the passes that are done */
    int64_t agreed, refused; /* drafted tokens on the path, and ends of paths before the draft's */
    int32_t untried;         /* drafted after the last of the rows, not verified; -1: none */
    int64_t expected;        /* of the drafted tokens, by their chances, in 1 / DRAFT_SURE */
    int32_t n_calibrated;    /* prompt positions handed on */
    /* the step that the next DRAFT shows with reuse; without it n_shown alone is set */
    int32_t n_shown;
    bool shown_chain;
    int32_t shown_token[ROUNDS_MAX_ROWS], shown_parent[ROUNDS_MAX_ROWS];
    int32_t shown_choice[ROUNDS_MAX_ROWS];
};

/* What the values of ROUNDS_PARAMS say; leaves the other options alone. */
void rounds_read(const int64_t *param, struct rounds_options *opt);

/* Whether a policy with these values is lossless. */
bool rounds_lossless(const int64_t *param);

/* ERR_UNSUPPORTED when the options do not fit the executor, the belief or the lack of a drafter. */
int rounds_init(struct rounds *r, struct serve *s, const struct rounds_options *opt, struct err *e);

/* A request was opened: appends the prompt to the drafter, where there is one. */
void rounds_open(struct rounds *r, struct actions *out);

/* Takes the DONE of a pass of the prompt that brings outputs. The last choice of the `last` one is
 * the first token: it is emitted, unless the prompt waits for calibration (rounds_waits). Then the
 * policy does what follows, as to start a round, and calls rounds_prompted. ERR_POLICY. */
int rounds_prompt(struct rounds *r, const struct done *done, bool last, struct actions *out);
void rounds_prompted(struct rounds *r, const struct done *done, struct actions *out);

/* The prompt may not go on, and has no first token, before a CALIBRATE is done: the DONE for which
 * rounds_done says *mine false and this is false again. */
bool rounds_waits(const struct rounds *r);

/* Emits tokens, as serve_emit does, and keeps them for the next DRAFT. */
void rounds_emit(struct rounds *r, const int32_t *token, int32_t n, struct actions *out);

/* Starts a round, unless the request is closing. */
void rounds_start(struct rounds *r, struct actions *out);

/* Takes the DONE of a round's jobs; *mine is false for another's. ERR_POLICY. */
int rounds_done(struct rounds *r, const struct done *done, struct actions *out, bool *mine);

#endif
