/* The seam: one policy, several executors.
 *
 * A policy is a deterministic state machine from an event to actions (sim/policy/policy.h). An
 * executor carries the actions out and lets time pass: `sim` moves a virtual clock, `real` and
 * `toy` run jobs on worker threads, `replay` reads a log; `record` and `fault` wrap another one.
 * The driver (driver.h) is the only code that holds both.
 *
 * Words. A *job* is work on one *role*: "target", "draft", "load" are names that a policy chooses;
 * the role map says which device plays each. A *sequence* is one KV cache. A *graph* is a static
 * shape; it is made of *blocks* of layers, each of which runs only when it is loaded; graph 0 is
 * the dynamic shape, always there. An activation *slot* holds the rows between two blocks.
 *
 * Order. Events are delivered by (time, kind, sequence), in the order of enum event_kind. Jobs of
 * one role run first in, first out, each once the jobs that it waits for are done.
 *
 * Slots. A FORWARD or HEAD reads the rows [pos, pos + n), which may be a part of what the slot
 * holds. Rows written where the slot's end, for the same block, are added to it as far as
 * caps.max_rows go; others replace what it held.
 *
 * Time is int64_t nanoseconds since the run's start; bytes are int64_t. */
#ifndef TANDEM_EXEC_EXEC_H
#define TANDEM_EXEC_EXEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/base/err.h"
#include "sim/draft/draft.h"

enum {
    EXEC_ABI = 2, /* bumped by what older code would not get along with */
    EXEC_MAX_WAIT = 4,
    EXEC_MAX_ROLES = 8,
    EXEC_MAX_GRAPHS = 8,
    EXEC_MAX_DRAFTERS = 4,
    EXEC_MAX_EOS = 16,
    EXEC_MAX_WHY = 160 /* bytes of a reason, its NUL included */
};

#define EXEC_NEVER INT64_MAX

/* ---- jobs ----------------------------------------------------------------------------------- */

/* The numbers are part of the log format. */
enum job_kind {
    JOB_FORWARD = 1, /* rows through blocks [b0, b1) */
    JOB_HEAD,        /* rows of an activation slot through the LM head */
    JOB_DRAFT,       /* append tokens to a drafter and ask it for a proposal */
    JOB_CALIBRATE,   /* give a drafter the target's likely tokens at prompt positions */
    JOB_COMMIT,      /* keep one path of a verified tree in the cache, drop the rest */
    JOB_LOAD,        /* make a graph's block resident */
    JOB_FREE,        /* drop a graph's block */
    JOB_COPY         /* copy a sequence's first tokens to another sequence */
};

/* A label for metrics; no executor's behaviour depends on it. */
enum job_phase { PHASE_NONE, PHASE_PREFILL, PHASE_DECODE, PHASE_VERIFY, PHASE_DRAFT };

enum job_want {
    WANT_NONE,   /* no outputs: the rows only fill the cache */
    WANT_ARGMAX, /* the target's choice at each wanted row */
    WANT_TOPK    /* that, and the want_k most likely tokens with their logits */
};

/* FORWARD and HEAD. `n` rows hold tokens; rows n .. width are padding, computed, never seen by the
 * others and gone from the cache when the job ends. Row i sees the sequence's `pos` cached tokens,
 * its ancestors and itself; its position is `pos` plus its depth. The other rows stay in the cache,
 * in row order, until a COMMIT. `pos` must be what the blocks have cached: a step is never put in
 * the middle. */
struct job_forward {
    int32_t graph;         /* 0: dynamic */
    int32_t b0, b1;        /* blocks [b0, b1); the whole step is [0, caps.blocks) */
    int32_t width;         /* rows computed, >= n */
    int32_t seq;           /* in [0, caps.max_seqs) */
    int32_t pos;           /* cached tokens before row 0's */
    int32_t n;             /* rows with a token, >= 1 */
    const int32_t *token;  /* [n] */
    const int32_t *parent; /* [n], parent[i] < i, -1: the cached end; NULL: a chain */
    int32_t slot_in;       /* activation slot read when b0 > 0 and by HEAD; else -1 */
    int32_t slot_out;      /* written when b1 < caps.blocks, or a HEAD job follows; -1: the step's
                              own head runs */
    uint8_t want;          /* enum job_want */
    int32_t want_from;     /* outputs are wanted for rows [want_from, n) */
    int32_t want_k;        /* WANT_TOPK only: 1 .. caps.max_topk */
};

/* The input is a snapshot: all that the drafter learns is in the job. */
struct job_draft {
    int32_t drafter;      /* index into the run's drafters */
    int32_t n;            /* tokens to append, may be 0 */
    const int32_t *token; /* [n] */
    int32_t max_nodes;    /* size of the proposal; 0: only append */
    /* The verified step that those tokens come from, for drafters that learn from what was
     * rejected: its rows and the target's choice after each, -1 where it is not known. */
    int32_t n_rows;            /* 0: not given */
    const int32_t *row_token;  /* [n_rows] */
    const int32_t *row_parent; /* [n_rows], as in FORWARD; NULL: a chain */
    const int32_t *row_choice; /* [n_rows] */
};

struct job_calibrate {
    int32_t drafter;
    int32_t pos, n, k;
    const int32_t *top; /* [n * k] */
    const float *logit; /* [n * k] */
};

/* The cache of `seq` keeps its first `pos` tokens and, of the step that was made at `pos`, the rows
 * listed, which must form a path from row 0. row == NULL means rows 0 .. n-1. With n == 0 `pos` may
 * be any number of tokens that are cached: the sequence is cut there, and 0 clears it. */
struct job_commit {
    int32_t seq, pos, n;
    const int32_t *row; /* [n], increasing */
};

struct job_graph {
    int32_t graph, block;
};

struct job_copy {
    int32_t seq_from, seq_to, n;
};

struct job {
    int64_t id;      /* chosen by the policy, >= 1, increasing */
    int32_t request; /* for whom; -1: for none */
    uint8_t kind;    /* enum job_kind */
    uint8_t phase;   /* enum job_phase */
    uint8_t role;    /* index into the policy's roles */
    uint8_t n_wait;  /* ids of earlier jobs to wait for; ids that are done are fine */
    int64_t wait[EXEC_MAX_WAIT];
    union {
        struct job_forward forward; /* FORWARD, HEAD */
        struct job_draft draft;
        struct job_calibrate calibrate;
        struct job_commit commit;
        struct job_graph graph; /* LOAD, FREE */
        struct job_copy copy;
    };
};

/* ---- actions -------------------------------------------------------------------------------- */

enum action_kind {
    ACT_SUBMIT = 1,
    ACT_CANCEL, /* only a job that has not started is sure to stop; its DONE comes either way */
    ACT_WAKE,   /* one timer per policy, replaced; EXEC_NEVER clears it */
    ACT_EMIT,   /* output tokens become visible: TTFT and TPOT are computed from these */
    ACT_FINISH  /* the request is over; none of its jobs may be in flight */
};

struct action {
    uint8_t kind;
    union {
        struct job job;
        int64_t id;      /* CANCEL */
        int64_t wake_ns; /* WAKE */
        struct {
            int32_t request, n;
            const int32_t *token;
        } emit;
        int32_t request; /* FINISH */
    };
};

/* A policy's answer to one event. The driver owns the memory and empties it between calls. Each
 * act_ function copies what it is given, arrays included. When the capacity is exceeded `code`
 * becomes ERR_LIMIT and the run ends with that error. */
struct actions {
    int32_t n, cap;
    struct action *item;
    int32_t pool_used, pool_cap; /* int32 words of array storage */
    int32_t *pool;
    int code;
};

void act_submit(struct actions *a, const struct job *job);
void act_cancel(struct actions *a, int64_t id);
void act_wake(struct actions *a, int64_t wake_ns);
void act_emit(struct actions *a, int32_t request, const int32_t *token, int32_t n);
void act_finish(struct actions *a, int32_t request);

/* Continues the hash h with all of an action, its arrays included: equal runs have equal hashes. */
uint64_t action_hash(uint64_t h, const struct action *a);

/* ---- events --------------------------------------------------------------------------------- */

/* The order of kinds at equal times; the numbers are part of the log format. */
enum event_kind { EV_DONE = 1, EV_ARRIVE, EV_CANCEL_REQUEST, EV_WAKE };

enum done_status { DONE_OK, DONE_CANCELLED, DONE_FAILED, DONE_NO_MEMORY };

/* A job's end. Arrays and `why` are valid until the executor's next `next`. */
struct done {
    int64_t id;
    uint8_t job_kind;
    uint8_t status;
    bool extrapolated; /* a modelled cost outside what was measured; for logs, not for policies */
    const char *why; /* FAILED, NO_MEMORY: the reason, for people, under EXEC_MAX_WHY bytes; "" (or
                        NULL) otherwise. No policy's behaviour depends on it */
    int64_t start_ns, end_ns;
    int64_t sample_ns;      /* FORWARD, HEAD: the part of the job spent on choosing tokens */
    int64_t bytes;          /* moved over the memory bus; 0: not known */
    int64_t resident_bytes; /* on the role's device after the job; 0: not known */
    /* FORWARD, HEAD: the target's choice after each wanted row, also under rejected tokens. -1: a
     * simulated target whose trace does not hold it. */
    int32_t n_choice;
    const int32_t *choice; /* [n_choice]; NULL when that is 0, as are the next two */
    int32_t k;             /* > 0: top-k follows, most likely first */
    const int32_t *top;    /* [n_choice * k] */
    const float *logit;    /* [n_choice * k] */
    /* DRAFT */
    struct draft_tree tree;
    struct draft_work work; /* DRAFT, CALIBRATE */
};

struct event {
    int64_t time_ns; /* when it is delivered */
    uint8_t kind;
    int32_t request; /* -1: none */
    union {
        struct done done;
        struct {
            int32_t n;
            const int32_t *token; /* the prompt; valid until the request's FINISH */
            int32_t max_tokens;   /* output tokens at most, >= 1 */
            int64_t arrival_ns;   /* as its struct request says: it may have waited since then */
        } arrive;
    };
};

/* ---- acceptance ----------------------------------------------------------------------------- */

/* The longest path of a verified tree that greedy decoding would have produced. Row 0 is the last
 * token that was already sure; rows follow parent[] as in FORWARD (NULL: a chain); choice[i] is the
 * target's token after row i. Walks from row 0 to the child that holds the choice, as long as there
 * is one; of several such children the first counts. Writes the rows kept (row 0 first) to row[]
 * and returns their number, >= 1; the new tokens are choice[row[0]], ..., choice[row[r - 1]]: the
 * accepted ones and the target's own. This is the only acceptance rule of the project. */
int32_t exec_accept(int32_t n, const int32_t *token, const int32_t *parent, const int32_t *choice,
                    int32_t *row);

/* ---- capabilities --------------------------------------------------------------------------- */

enum exec_feature {
    EXEC_TREES = 1,      /* FORWARD with parents that are no chain */
    EXEC_BLOCKS = 2,     /* FORWARD of a part of the blocks, HEAD, slots */
    EXEC_GRAPHS = 4,     /* LOAD, FREE, static graphs */
    EXEC_COPIES = 8,     /* COPY */
    EXEC_CALIBRATES = 16 /* CALIBRATE: needs top-k rows of the prompt */
};

/* What an executor can do; the same struct says what a policy needs at the least (0: nothing). */
struct exec_caps {
    uint32_t features;
    int32_t blocks;   /* blocks of the model; 1 where a step is indivisible */
    int32_t max_rows; /* rows of one FORWARD */
    int32_t max_ctx;  /* tokens in a sequence */
    int32_t max_seqs;
    int32_t max_jobs;     /* in flight, all roles together */
    int32_t max_topk;     /* 0: no top-k */
    int32_t max_branches; /* paths of a FORWARD's tree; 0: as many as rows. Only what a policy is
                             refused for: no log has it */
    int32_t n_slots;
    int32_t n_graphs;
    int32_t graph_width[EXEC_MAX_GRAPHS]; /* graph g has width graph_width[g - 1] */
    /* Graphs of the same number > 0 share their weights, which are resident once; 0: a copy. */
    int32_t graph_weights[EXEC_MAX_GRAPHS];
};

/* ERR_UNSUPPORTED with a message that names the first thing missing, both values and `who`. */
int exec_caps_check(const struct exec_caps *has, const struct exec_caps *needs, const char *who,
                    struct err *e);

/* ---- belief --------------------------------------------------------------------------------- */

/* What a policy believes about costs. It is an input, byte-identical for every executor, and never
 * the hardware model that answers. Widths and contexts are increasing; 0 entries: no belief. */
enum { BELIEF_MAX_WIDTHS = 64, BELIEF_MAX_CONTEXTS = 16, BELIEF_MAX_BLOCKS = 64 };

struct belief {
    int32_t n_widths, n_contexts, n_blocks, reserved;
    int32_t width[BELIEF_MAX_WIDTHS];
    int32_t context[BELIEF_MAX_CONTEXTS]; /* tokens in the cache before the step */
    int64_t step_ns[BELIEF_MAX_WIDTHS][BELIEF_MAX_CONTEXTS];
    int64_t load_ns[BELIEF_MAX_BLOCKS]; /* a block of the narrow graph */
    int64_t block_ns[EXEC_MAX_GRAPHS][BELIEF_MAX_BLOCKS];
};

/* Believed time of a step: the smallest width >= `width` at the smallest context >= `context` (the
 * largest of each where there is none); -1 when there is no belief about steps. */
int64_t belief_step_ns(const struct belief *b, int32_t width, int32_t context);

uint64_t belief_hash(const struct belief *b);

/* ---- executors ------------------------------------------------------------------------------ */

/* What the host did to handle one event, for the executors that model its time. */
struct host_work {
    int64_t actions, submits;
};

struct exec {
    const struct exec_ops *ops; /* must be first in an implementation's struct */
};

struct exec_ops {
    const char *name;

    void (*caps)(const struct exec *x, struct exec_caps *out);

    /* The only call that lets time pass. Delivers one event: the next DONE, or *due (the driver's
     * own next event; due->kind is 0 when it has none) if no DONE comes before due->time_ns. A DONE
     * at the same time comes first. out->time_ns is the time of delivery. With neither a job in
     * flight nor a due event: ERR_STALLED, and *e names who waits for whom. */
    int (*next)(struct exec *x, const struct event *due, struct event *out, struct err *e);

    /* Carries out one action. SUBMIT copies the job. */
    int (*act)(struct exec *x, const struct action *action, struct err *e);

    /* Called once per event, after the policy answered and before its actions are carried out:
     * the time that the host took, modelled (sim) or measured (real). It delays the actions. */
    int64_t (*host)(struct exec *x, const struct host_work *work);

    /* Frees x. Jobs still in flight are cancelled and waited for. */
    void (*destroy)(struct exec *x);
};

#endif
