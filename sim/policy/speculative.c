/* Speculative decoding: draft up to max_draft tokens, verify them in one step of the target, accept
 * the longest correct path plus the target's own token, repeat.
 *
 * One round, from the DONE of a verify step:
 *   1. accept; EMIT; COMMIT drops the rejected rows from the cache;
 *   2. DRAFT appends what was emitted and proposes; it overlaps with the COMMIT;
 *   3. the verify step is made of the root (the last sure token) and the proposal.
 * The prompt is appended to the drafter while prefill runs.
 *
 * Trees. A draft that is no chain may be accepted along a path that is not first in the batch; its
 * cached values then differ in the last bits from what decoding alone would have left there. With
 * tree=recompute such a path is dropped and run again as a chain, whose outputs count: lossless, at
 * the cost of a step. With tree=plain it is kept. */
#include <string.h>

#include "sim/policy/serve.h"

enum { WIDTH, MAX_DRAFT, TREE, CHUNK };
enum { TREE_RECOMPUTE, TREE_PLAIN };
enum { ROLE_TARGET, ROLE_DRAFT };
enum { MAX_ROWS = 512 };

static const char *const tree_modes[] = {"recompute", "plain", NULL};

static const struct param params[] = {
    {"width",
     "rows of a verify step; 0: as many as are used; auto: the belief's step curve decides", 0, 0,
     MAX_ROWS, NULL, 1},
    {"max_draft", "drafted tokens per step at most", 7, 1, MAX_ROWS - 1, NULL, 0},
    {"tree", "how a path that is not first in the batch is kept", TREE_RECOMPUTE, 0, 0, tree_modes,
     0},
    SERVE_PARAM_CHUNK,
    {.name = NULL}};

static const char *const roles[] = {"target", "draft", NULL};

struct speculative {
    struct serve serve;
    const int64_t *param;
    int64_t draft_id, verify_id; /* in flight; 0: none */
    int32_t n_fresh;             /* emitted, not yet appended to the drafter */
    int32_t fresh[MAX_ROWS];
    int32_t n; /* rows of the step being verified */
    bool chain;
    int32_t token[MAX_ROWS], parent[MAX_ROWS];
    int64_t agreed, refused; /* drafted tokens on the path, and ends of paths before the draft's */
};

static bool lossless(const int64_t *param)
{
    return param[TREE] == TREE_RECOMPUTE;
}

static size_t mem_bytes(const int64_t *param, const struct policy_env *env)
{
    (void)param;
    return sizeof(struct speculative) + serve_mem_bytes(env);
}

static int init(void *mem, const int64_t *param, const struct policy_env *env, struct err *e)
{
    struct speculative *p = mem;
    int64_t width = param[WIDTH];
    if (width == PARAM_AUTO && !env->belief->n_widths)
        return err_set(e, ERR_UNSUPPORTED,
                       "width=auto needs a belief about step times, and there is none: give a "
                       "belief or a device with a step table, or a number of rows");
    if (width != PARAM_AUTO && width > env->caps.max_rows)
        return err_set(e, ERR_UNSUPPORTED,
                       "width is %d, this executor's steps have at most %d rows", (int)width,
                       env->caps.max_rows);
    p->param = param;
    serve_init(&p->serve, p + 1, env, (int32_t)param[CHUNK], ROLE_TARGET);
    return ERR_OK;
}

/* ---- the width of a step -------------------------------------------------------------------- */

static int32_t min32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t max_nodes(const struct speculative *p)
{
    int32_t n = (int32_t)p->param[MAX_DRAFT];
    if (p->param[WIDTH] > 0)
        n = min32(n, (int32_t)p->param[WIDTH] - 1);
    n = min32(n, min32(MAX_ROWS, p->serve.env->caps.max_rows) - 1);
    n = min32(n, serve_room(&p->serve) - 1);
    return min32(n, serve_left(&p->serve) - 1);
}

/* width=auto. A drafted token follows an accepted one with probability a, estimated from this
 * request with one success and one failure beforehand (Laplace); n drafted tokens then yield
 * 1 + a + ... + a^n. Takes the n (up to what was drafted) and the believed width >= n + 1 with the
 * most tokens per believed time, so that a dear width below a cheap one is never chosen. */
static void auto_width(const struct speculative *p, int32_t drafted, int32_t *n, int32_t *width)
{
    const struct belief *b = p->serve.env->belief;
    int32_t max_rows = p->serve.env->caps.max_rows, pos = p->serve.pos;
    double a = (double)(p->agreed + 1) / (double)(p->agreed + p->refused + 2);
    double best = 0;
    *n = 0;
    *width = 1;
    for (int32_t i = 0; i < b->n_widths && b->width[i] <= max_rows; i++) {
        int32_t use = min32(drafted, b->width[i] - 1);
        double tokens = 1, power = 1;
        for (int32_t k = 0; k < use; k++) {
            power *= a;
            tokens += power;
        }
        double rate = tokens / (double)belief_step_ns(b, b->width[i], pos);
        if (rate > best) {
            best = rate;
            *n = use;
            *width = b->width[i];
        }
    }
}

/* ---- a round -------------------------------------------------------------------------------- */

static void submit_step(struct speculative *p, int32_t width, struct actions *out)
{
    struct serve *s = &p->serve;
    struct job job = {.kind = JOB_FORWARD, .role = ROLE_TARGET};
    job.phase = p->n > 1 ? PHASE_VERIFY : PHASE_DECODE;
    job.forward = (struct job_forward){.b1 = s->env->caps.blocks,
                                       .width = width,
                                       .pos = s->pos,
                                       .n = p->n,
                                       .token = p->token,
                                       .parent = p->chain ? NULL : p->parent,
                                       .slot_in = -1,
                                       .slot_out = -1,
                                       .want = WANT_ARGMAX};
    p->verify_id = serve_submit(s, &job, out);
}

/* The root and the first n nodes of the proposal become the step's rows. A tree's first nodes are
 * a tree, because parents come first. */
static void verify(struct speculative *p, const struct draft_tree *tree, struct actions *out)
{
    int32_t n = tree ? tree->n : 0, width;
    if (p->param[WIDTH] == PARAM_AUTO)
        auto_width(p, n, &n, &width);
    else
        width = p->param[WIDTH] ? (int32_t)p->param[WIDTH] : n + 1;
    p->n = n + 1;
    p->token[0] = p->serve.root;
    p->parent[0] = -1;
    p->chain = true;
    for (int32_t i = 0; i < n; i++) {
        p->token[i + 1] = tree->token[i];
        p->parent[i + 1] = tree->parent[i] + 1;
        p->chain = p->chain && tree->parent[i] == i - 1;
    }
    submit_step(p, width, out);
}

static void draft(struct speculative *p, struct actions *out)
{
    int32_t nodes = max_nodes(p);
    if (nodes < 1) {
        verify(p, NULL, out);
        return;
    }
    struct job job = {.kind = JOB_DRAFT, .phase = PHASE_DRAFT, .role = ROLE_DRAFT};
    job.draft = (struct job_draft){.n = p->n_fresh, .token = p->fresh, .max_nodes = nodes};
    p->draft_id = serve_submit(&p->serve, &job, out);
    p->n_fresh = 0;
}

static void emit(struct speculative *p, const int32_t *token, int32_t n, struct actions *out)
{
    int32_t k = serve_emit(&p->serve, token, n, out);
    if (p->serve.closing)
        return;
    memcpy(p->fresh + p->n_fresh, token, (size_t)k * sizeof *token);
    p->n_fresh += k;
    draft(p, out);
}

static void commit(struct speculative *p, const int32_t *row, int32_t n, struct actions *out)
{
    struct job job = {.kind = JOB_COMMIT, .role = ROLE_TARGET};
    job.commit = (struct job_commit){.pos = p->serve.pos, .n = n, .row = row};
    serve_submit(&p->serve, &job, out);
}

static int verified(struct speculative *p, const struct done *done, struct actions *out)
{
    if (done->n_choice != p->n)
        return ERR_POLICY;
    int32_t row[MAX_ROWS], fresh[MAX_ROWS];
    const int32_t *parent = p->chain ? NULL : p->parent;
    int32_t kept = exec_accept(p->n, p->token, parent, done->choice, row);
    bool first = true;
    for (int32_t i = 0; i < kept; i++)
        first = first && row[i] == i;
    if (!first && p->param[TREE] == TREE_RECOMPUTE) {
        commit(p, NULL, 0, out);
        for (int32_t i = 0; i < kept; i++)
            p->token[i] = p->token[row[i]];
        p->n = kept;
        p->chain = true;
        submit_step(p, kept, out);
        return ERR_OK;
    }
    p->agreed += kept - 1;
    p->refused += kept < p->n;
    if (kept < p->n)
        commit(p, first ? NULL : row, kept, out);
    for (int32_t i = 0; i < kept; i++)
        fresh[i] = done->choice[row[i]];
    p->serve.pos += kept;
    emit(p, fresh, kept, out);
    return ERR_OK;
}

static void append_prompt(struct speculative *p, struct actions *out)
{
    struct serve *s = &p->serve;
    p->n_fresh = 0;
    p->agreed = p->refused = 0;
    struct job job = {.kind = JOB_DRAFT, .phase = PHASE_DRAFT, .role = ROLE_DRAFT};
    job.draft = (struct job_draft){.n = s->n_prompt, .token = s->prompt};
    serve_submit(s, &job, out);
}

static int on_event(void *self, const struct event *ev, struct actions *out)
{
    struct speculative *p = self;
    bool mine, started;
    int rc = serve_event(&p->serve, ev, out, &mine, &started);
    if (started)
        append_prompt(p, out);
    if (rc || !mine)
        return rc;
    if (ev->done.id == p->serve.prefill_id) {
        emit(p, ev->done.choice, 1, out);
    } else if (ev->done.id == p->draft_id) {
        verify(p, &ev->done.tree, out);
    } else if (ev->done.id == p->verify_id) {
        return verified(p, &ev->done, out);
    }
    return ERR_OK;
}

const struct policy_type policy_speculative = {
    .abi = POLICY_ABI,
    .size = sizeof(struct policy_type),
    .name = "speculative",
    .summary = "draft, verify in one step, accept the longest correct path",
    .flags = POLICY_NEEDS_DRAFTER,
    .role = roles,
    .params = params,
    .needs = {.max_rows = 2, .max_seqs = 1, .max_jobs = 8},
    .lossless = lossless,
    .mem_bytes = mem_bytes,
    .init = init,
    .on_event = on_event,
};
