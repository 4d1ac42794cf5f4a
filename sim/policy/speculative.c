/* Speculative decoding: draft up to max_draft tokens, verify them in one step of the target, accept
 * the longest correct path plus the target's own token, repeat.
 *
 * One round, from the DONE of a verify step:
 *   1. accept; EMIT; COMMIT drops the rejected rows from the cache;
 *   2. DRAFT appends what was emitted and proposes; it overlaps with the COMMIT. With reuse=1 it
 *      also shows the drafter the rows that were verified and the target's choice after each;
 *   3. the verify step is made of the root (the last sure token) and the proposal.
 * The prompt is appended to the drafter while prefill runs.
 *
 * Calibration. With calibrate=1 prefill wants the topk likely tokens at every prompt position, and
 * a CALIBRATE job takes each chunk's to the drafter. `overlap`: `serial`, prefill waits for it
 * after every chunk, the last included: it is a part of prefill; `chunks`, it runs beside the next
 * chunk, and the first draft waits for all of it; `draft`, nor does the first draft wait for the
 * last chunk's.
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
 * Width. With width=0 or auto the belief's step curve may decide how much of a proposal is
 * verified: see auto_width and fill_width. */
#include <assert.h>
#include <string.h>

#include "sim/policy/serve.h"

enum { WIDTH, MAX_DRAFT, TREE, CHUNK, CALIBRATE, TOPK, OVERLAP, REUSE, FILL, OVERFLOW };
enum { TREE_RECOMPUTE, TREE_PLAIN };
enum { OVERFLOW_CUT, OVERFLOW_PASSES };
enum { OVERLAP_SERIAL, OVERLAP_CHUNKS, OVERLAP_DRAFT };
enum { ROLE_TARGET, ROLE_DRAFT };
enum { MAX_ROWS = 512 };

static const char *const tree_modes[] = {"recompute", "plain", NULL};
static const char *const overflows[] = {"cut", "passes", NULL};
static const char *const overlaps[] = {"serial", "chunks", "draft", NULL};

static const struct param params[] = {
    {"width",
     "rows of a verify step; 0: as many as are used; auto: the belief's step curve decides", 0, 0,
     MAX_ROWS, NULL, 1},
    {"max_draft", "drafted tokens per step at most", 7, 1, MAX_ROWS - 1, NULL, 0},
    {"tree", "how a path that is not first in the batch is kept", TREE_RECOMPUTE, 0, 0, tree_modes,
     0},
    SERVE_PARAM_CHUNK,
    {"calibrate", "1: the drafter is told the likely tokens at every prompt position", 0, 0, 1,
     NULL, 0},
    {"topk", "likely tokens of a position, with calibrate=1", 4, 1, 64, NULL, 0},
    {"overlap", "what calibration runs beside", OVERLAP_CHUNKS, 0, 0, overlaps, 0},
    {"reuse", "1: the drafter is shown the verified rows and the target's choices", 0, 0, 1, NULL,
     0},
    {"fill", "1: with width=0 or auto, the rows are those with the most expected tokens per time",
     0, 0, 1, NULL, 0},
    {"overflow", "what becomes of a chain longer than a fixed width", OVERFLOW_CUT, 0, 0, overflows,
     0},
    {.name = NULL}};

static const char *const roles[] = {"target", "draft", NULL};

struct speculative {
    struct serve serve;
    const int64_t *param;
    int64_t draft_id, verify_id; /* in flight; 0: none */
    int32_t n_fresh;             /* emitted, not yet appended to the drafter */
    int32_t fresh[MAX_ROWS];
    int32_t n;                           /* rows of the step being verified */
    int64_t first_pass;                  /* the id of its first pass; verify_id is the last's */
    int32_t n_choices, choice[MAX_ROWS]; /* of the passes that are done */
    bool chain;
    int32_t token[MAX_ROWS], parent[MAX_ROWS];
    int64_t agreed, refused; /* drafted tokens on the path, and ends of paths before the draft's */
    int64_t expected;        /* of the drafted tokens, by their chances, in 1 / DRAFT_SURE */
    int32_t chance[MAX_ROWS];
    /* calibration: positions handed on so far, and the token that waits for the last of them */
    int64_t calibrate_id;
    int32_t n_calibrated, first_token;
    /* reuse: the step that the next DRAFT shows */
    int32_t n_shown;
    bool shown_chain;
    int32_t shown_token[MAX_ROWS], shown_parent[MAX_ROWS], shown_choice[MAX_ROWS];
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
    if (param[FILL] && !env->belief->n_widths)
        return err_set(e, ERR_UNSUPPORTED,
                       "fill=1 needs a belief about step times, and there is none: give a belief "
                       "or a device with a step table, or set fill=0");
    if (param[CALIBRATE] && !(env->caps.features & EXEC_CALIBRATES))
        return err_set(e, ERR_UNSUPPORTED,
                       "calibrate=1 needs the likely tokens of prompt rows, which this executor "
                       "does not give: set calibrate=0");
    if (param[CALIBRATE] && param[TOPK] > env->caps.max_topk)
        return err_set(e, ERR_UNSUPPORTED,
                       "topk is %d, this executor gives at most %d likely tokens", (int)param[TOPK],
                       env->caps.max_topk);
    p->param = param;
    serve_init(&p->serve, p + 1, env, (int32_t)param[CHUNK], ROLE_TARGET);
    if (param[CALIBRATE]) {
        p->serve.top_k = (int32_t)param[TOPK];
        p->serve.stepwise = param[OVERLAP] == OVERLAP_SERIAL;
    }
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
    if (p->param[WIDTH] > 0 && p->param[OVERFLOW] == OVERFLOW_CUT)
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

/* Node numbers of a proposal, the likeliest first; a parent is before its child. */
static void by_chance(const struct draft_tree *tree, int32_t n, int32_t *node)
{
    for (int32_t i = 0; i < n; i++) {
        int32_t at = i;
        for (; at > 0 && tree->chance[node[at - 1]] < tree->chance[i]; at--)
            node[at] = node[at - 1];
        node[at] = i;
    }
}

/* fill=1. The drafter's chances, scaled by how they have come true in this request (with one token
 * expected and accepted beforehand), give the tokens that a choice of nodes yields. The n likeliest
 * are the best n, and a tree: takes the n and the believed width >= n + 1 with the most tokens per
 * believed time, so that reused runs, branches and deeper guesses fill a step as long as they pay.
 * Puts the numbers of those n first in node[], in the proposal's order. */
static void fill_width(const struct speculative *p, const struct draft_tree *tree, int32_t *n,
                       int32_t *width, int32_t *node)
{
    const struct belief *b = p->serve.env->belief;
    double scale = (double)(p->agreed + 1) * DRAFT_SURE / (double)(p->expected + DRAFT_SURE);
    double best = 0, sum = 0;
    int32_t drafted = tree->n, used = 0;
    by_chance(tree, drafted, node);
    *n = 0;
    *width = 1;
    for (int32_t i = 0; i < b->n_widths && b->width[i] <= p->serve.env->caps.max_rows; i++) {
        for (; used < min32(drafted, b->width[i] - 1); used++)
            sum += scale * (double)tree->chance[node[used]] / DRAFT_SURE;
        double rate = (1 + sum) / (double)belief_step_ns(b, b->width[i], p->serve.pos);
        if (rate > best) {
            best = rate;
            *n = used;
            *width = b->width[i];
        }
    }
    for (int32_t i = 1; i < *n; i++) {
        int32_t x = node[i], at = i;
        for (; at > 0 && node[at - 1] > x; at--)
            node[at] = node[at - 1];
        node[at] = x;
    }
}

/* ---- a round -------------------------------------------------------------------------------- */

/* In one pass, or a chain that is too long for it in several. */
static void submit_step(struct speculative *p, int32_t width, struct actions *out)
{
    struct serve *s = &p->serve;
    p->n_choices = 0;
    p->first_pass = s->next_id;
    for (int32_t at = 0; at < p->n; at += width) {
        struct job job = {.kind = JOB_FORWARD, .role = ROLE_TARGET};
        job.phase = p->n > 1 ? PHASE_VERIFY : PHASE_DECODE;
        job.forward = (struct job_forward){.b1 = s->env->caps.blocks,
                                           .width = width,
                                           .pos = s->pos + at,
                                           .n = min32(width, p->n - at),
                                           .token = p->token + at,
                                           .parent = p->chain ? NULL : p->parent,
                                           .slot_in = -1,
                                           .slot_out = -1,
                                           .want = WANT_ARGMAX};
        p->verify_id = serve_submit(s, &job, out);
    }
}

static bool has_chances(const struct draft_tree *tree)
{
    return tree->n > 0 && tree->chance && tree->chance[0] > 0;
}

/* How many nodes are verified, at what width, and which: node[0, n). */
static int32_t choose(const struct speculative *p, const struct draft_tree *tree, int32_t *width,
                      int32_t *node)
{
    int32_t n = tree ? tree->n : 0;
    int64_t asked = p->param[WIDTH];
    bool fill = p->param[FILL] && asked <= 0 && n && has_chances(tree);
    if (fill)
        fill_width(p, tree, &n, width, node);
    else if (asked == PARAM_AUTO)
        auto_width(p, n, &n, width);
    for (int32_t i = 0; !fill && i < n; i++)
        node[i] = i;
    if (asked != PARAM_AUTO)
        *width = asked ? (int32_t)asked : n + 1;
    bool chain = true;
    for (int32_t i = 0; i < n; i++)
        chain = chain && tree->parent[i] == i - 1;
    return chain ? n : min32(n, *width - 1);
}

/* The root and the chosen nodes of the proposal become the step's rows. A tree's first nodes are a
 * tree, because parents come first; so are its likeliest. */
static void verify(struct speculative *p, const struct draft_tree *tree, struct actions *out)
{
    int32_t node[MAX_ROWS], row_of[MAX_ROWS], width = 1;
    int32_t n = choose(p, tree, &width, node);
    p->n = n + 1;
    p->token[0] = p->serve.root;
    p->parent[0] = -1;
    p->chain = true;
    for (int32_t i = 0; i < n; i++) {
        int32_t above = tree->parent[node[i]];
        row_of[node[i]] = i + 1;
        p->token[i + 1] = tree->token[node[i]];
        p->parent[i + 1] = above < 0 ? 0 : row_of[above];
        p->chain = p->chain && p->parent[i + 1] == i;
        p->chance[i + 1] = tree->chance ? tree->chance[node[i]] : 0;
    }
    p->n_shown = 0;
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
    if (p->param[REUSE] && p->n_shown > 1) {
        job.draft.n_rows = p->n_shown;
        job.draft.row_token = p->shown_token;
        job.draft.row_parent = p->shown_chain ? NULL : p->shown_parent;
        job.draft.row_choice = p->shown_choice;
    }
    p->draft_id = serve_submit(&p->serve, &job, out);
    p->n_fresh = 0;
}

static void emit(struct speculative *p, const int32_t *token, int32_t n, struct actions *out)
{
    int32_t k = serve_emit(&p->serve, token, n, out);
    if (p->serve.closing)
        return;
    /* Once there is no room for a draft, in the width, the context or what is asked for, there is
     * none for the rest of the request: the drafter need not learn more. */
    if (max_nodes(p) < 1)
        k = 0;
    assert(p->n_fresh + k <= MAX_ROWS);
    memcpy(p->fresh + p->n_fresh, token, (size_t)k * sizeof *token);
    p->n_fresh += k;
    draft(p, out);
}

static void commit(struct speculative *p, int32_t pos, const int32_t *row, int32_t n,
                   struct actions *out)
{
    struct job job = {.kind = JOB_COMMIT, .role = ROLE_TARGET};
    job.commit = (struct job_commit){.pos = pos, .n = n, .row = row};
    serve_submit(&p->serve, &job, out);
}

/* Keeps a step as it was verified, before a path of it is run again. */
static void show(struct speculative *p, const int32_t *choice)
{
    if (p->n_shown)
        return;
    size_t bytes = (size_t)p->n * sizeof *choice;
    p->n_shown = p->n;
    p->shown_chain = p->chain;
    memcpy(p->shown_token, p->token, bytes);
    memcpy(p->shown_parent, p->parent, bytes);
    memcpy(p->shown_choice, choice, bytes);
    for (int32_t i = 1; i < p->n; i++)
        p->expected += p->chance[i];
}

/* A step's choices are all there. */
static void verified(struct speculative *p, struct actions *out)
{
    int32_t row[MAX_ROWS], fresh[MAX_ROWS], pos = p->serve.pos;
    const int32_t *parent = p->chain ? NULL : p->parent;
    int32_t kept = exec_accept(p->n, p->token, parent, p->choice, row);
    bool first = true, passes = p->verify_id > p->first_pass;
    show(p, p->choice);
    for (int32_t i = 0; i < kept; i++)
        first = first && row[i] == i;
    if (!first && p->param[TREE] == TREE_RECOMPUTE) {
        commit(p, pos, NULL, 0, out);
        for (int32_t i = 0; i < kept; i++)
            p->token[i] = p->token[row[i]];
        p->n = kept;
        p->chain = true;
        submit_step(p, kept, out);
        return;
    }
    p->agreed += kept - 1;
    p->refused += kept < p->n;
    if (kept < p->n && passes)
        commit(p, pos + kept, NULL, 0, out); /* a COMMIT's rows are one step's */
    else if (kept < p->n)
        commit(p, pos, first ? NULL : row, kept, out);
    for (int32_t i = 0; i < kept; i++)
        fresh[i] = p->choice[row[i]];
    p->serve.pos += kept;
    emit(p, fresh, kept, out);
}

static int passed(struct speculative *p, const struct done *done, struct actions *out)
{
    bool last = done->id == p->verify_id;
    int32_t left = p->n - p->n_choices;
    if (last ? done->n_choice != left : done->n_choice >= left)
        return ERR_POLICY;
    memcpy(p->choice + p->n_choices, done->choice, (size_t)done->n_choice * sizeof *p->choice);
    p->n_choices += done->n_choice;
    if (last)
        verified(p, out);
    return ERR_OK;
}

static void append_prompt(struct speculative *p, struct actions *out)
{
    struct serve *s = &p->serve;
    p->n_fresh = p->n_calibrated = p->n_shown = 0;
    p->agreed = p->refused = p->expected = 0;
    p->draft_id = p->verify_id = p->calibrate_id = 0;
    struct job job = {.kind = JOB_DRAFT, .phase = PHASE_DRAFT, .role = ROLE_DRAFT};
    job.draft = (struct job_draft){.n = s->n_prompt, .token = s->prompt};
    serve_submit(s, &job, out);
}

/* Hands on what a chunk's rows told. */
static void calibrate(struct speculative *p, const struct done *done, struct actions *out)
{
    struct job job = {.kind = JOB_CALIBRATE, .phase = PHASE_DRAFT, .role = ROLE_DRAFT};
    job.calibrate = (struct job_calibrate){.pos = p->n_calibrated,
                                           .n = done->n_choice,
                                           .k = done->k,
                                           .top = done->top,
                                           .logit = done->logit};
    p->n_calibrated += done->n_choice;
    p->calibrate_id = serve_submit(&p->serve, &job, out);
}

/* A chunk of the prompt is done; the last one brings the first token. */
static int prefilled(struct speculative *p, const struct done *done, struct actions *out)
{
    bool last = done->id == p->serve.prefill_id && p->serve.pos == p->serve.n_prompt;
    bool tops = p->param[CALIBRATE] != 0;
    if ((last || tops) && done->n_choice < 1)
        return ERR_POLICY;
    if (tops && done->k < 1)
        return ERR_POLICY;
    int32_t token = last ? done->choice[done->n_choice - 1] : -1;
    if (tops && p->param[OVERLAP] != OVERLAP_DRAFT)
        calibrate(p, done, out);
    p->first_token = token;
    if (last && !p->serve.stepwise)
        emit(p, &token, 1, out);
    if (tops && p->param[OVERLAP] == OVERLAP_DRAFT && !p->serve.closing)
        calibrate(p, done, out);
    return ERR_OK;
}

/* overlap=serial: the next chunk, or the first token, comes after calibration. */
static void calibrated(struct speculative *p, struct actions *out)
{
    int32_t token = p->first_token;
    if (p->serve.pos == p->serve.n_prompt)
        emit(p, &token, 1, out);
    else
        serve_prefill(&p->serve, out);
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
    if (ev->done.id == p->draft_id)
        verify(p, &ev->done.tree, out);
    else if (p->verify_id && ev->done.id >= p->first_pass && ev->done.id <= p->verify_id)
        return passed(p, &ev->done, out);
    else if (ev->done.job_kind == JOB_FORWARD)
        return prefilled(p, &ev->done, out);
    else if (ev->done.id == p->calibrate_id && p->serve.stepwise)
        calibrated(p, out);
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
