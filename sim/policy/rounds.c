#include "sim/policy/rounds.h"

#include <assert.h>
#include <string.h>

const char *const rounds_tree_words[] = {"recompute", "plain", NULL};
const char *const rounds_overflow_words[] = {"cut", "passes", NULL};
const char *const rounds_overlap_words[] = {"serial", "chunks", "draft", NULL};

enum { RECOMPUTE, PLAIN };
enum { CUT, PASSES };
enum { TREE, CALIBRATE, TOPK, OVERLAP, REUSE, FILL, OVERFLOW }; /* of ROUNDS_PARAMS */

static int32_t min32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

bool rounds_lossless(const int64_t *param)
{
    return param[TREE] == RECOMPUTE;
}

void rounds_read(const int64_t *param, struct rounds_options *opt)
{
    opt->recompute = rounds_lossless(param);
    opt->top_k = param[CALIBRATE] ? (int32_t)param[TOPK] : 0;
    opt->overlap = (uint8_t)param[OVERLAP];
    opt->reuse = param[REUSE] != 0;
    opt->fill = param[FILL] != 0;
    opt->passes = param[OVERFLOW] == PASSES;
}

/* What is asked of the drafter that it cannot do, or that the executor cannot verify. */
static int check_drafter(const struct policy_env *env, const struct rounds_options *opt,
                         struct err *e)
{
    const struct drafter_type *d = env->drafter[0];
    int32_t at = param_find(d->params, DRAFT_BRANCHES), most = env->caps.max_branches;
    int64_t paths = at < 0 ? 1 : env->drafter_param[0][at];
    if (!(env->caps.features & EXEC_TREES))
        most = 1;
    if (opt->top_k && !d->calibrate)
        return err_set(
            e, ERR_UNSUPPORTED,
            "calibrate=1, and drafter %s makes no use of likely tokens: set calibrate=0, "
            "or take one that does, as aligned",
            d->name);
    if (opt->reuse && !d->rejected)
        return err_set(e, ERR_UNSUPPORTED,
                       "reuse=1, and drafter %s makes no use of rejected tokens: set reuse=0, or "
                       "take one that does, as aligned",
                       d->name);
    if (opt->fill && !(d->flags & DRAFTER_ESTIMATES))
        return err_set(e, ERR_UNSUPPORTED,
                       "fill=1 needs a drafter that says how likely its tokens are, and %s does "
                       "not: set fill=0, or take one that does, as aligned",
                       d->name);
    paths = paths < opt->max_draft ? paths : opt->max_draft;
    if ((d->flags & DRAFTER_BRANCHES) && most && paths > most)
        return err_set(e, ERR_UNSUPPORTED,
                       "a draft of %s may have %d paths, this executor verifies at most %d: set "
                       "the drafter's branches to at most %d",
                       d->name, (int)paths, most, most);
    return ERR_OK;
}

int rounds_init(struct rounds *r, struct serve *s, const struct rounds_options *opt, struct err *e)
{
    const struct policy_env *env = s->env;
    if ((opt->top_k || opt->reuse || opt->fill) && !env->n_drafters)
        return err_set(e, ERR_UNSUPPORTED,
                       "calibrate=1, reuse=1 and fill=1 need a drafter, and there is none: name "
                       "one, or set them to 0");
    if (opt->width == PARAM_AUTO && !env->belief->n_widths)
        return err_set(e, ERR_UNSUPPORTED,
                       "width=auto needs a belief about step times, and there is none: give a "
                       "belief or a device with a step table, or a number of rows");
    if (opt->width != PARAM_AUTO && opt->width > env->caps.max_rows)
        return err_set(e, ERR_UNSUPPORTED,
                       "width is %d, this executor's steps have at most %d rows: set width to at "
                       "most %d",
                       (int)opt->width, env->caps.max_rows, env->caps.max_rows);
    if (opt->fill && opt->width <= 0 && !env->belief->n_widths)
        return err_set(e, ERR_UNSUPPORTED,
                       "fill=1 needs a belief about step times, and there is none: give a belief "
                       "or a device with a step table, or set fill=0");
    if (opt->top_k && !(env->caps.features & EXEC_CALIBRATES))
        return err_set(e, ERR_UNSUPPORTED,
                       "calibrate=1 needs the likely tokens of prompt rows, which this executor "
                       "does not give: set calibrate=0");
    if (opt->top_k > env->caps.max_topk)
        return err_set(e, ERR_UNSUPPORTED,
                       "topk is %d, this executor gives at most %d likely tokens: set topk to at "
                       "most %d",
                       opt->top_k, env->caps.max_topk, env->caps.max_topk);
    r->serve = s;
    r->opt = *opt;
    return env->n_drafters ? check_drafter(env, opt, e) : ERR_OK;
}

/* ---- the width of a step -------------------------------------------------------------------- */

static int32_t max_nodes(const struct rounds *r)
{
    const struct serve *s = r->serve;
    int32_t n = min32(ROUNDS_MAX_ROWS, s->env->caps.max_rows);
    if (r->opt.width > 0) {
        int32_t passes = r->opt.passes ? min32(s->env->caps.max_jobs, SERVE_MAX_FLIGHT) / 2 : 1;
        n = min32(n, passes * (int32_t)r->opt.width);
    }
    n = min32((int32_t)r->opt.max_draft, n - 1);
    n = min32(n, serve_room(s) - 1);
    return min32(n, serve_left(s) - 1);
}

/* The i-th width that a step may have, and its time: of a fixed width in passes, else as the belief
 * says. False: there are no more. */
static bool a_width(const struct rounds *r, int32_t i, int32_t *rows, double *time)
{
    const struct belief *b = r->serve->env->belief;
    int32_t most = min32(ROUNDS_MAX_ROWS, r->serve->env->caps.max_rows);
    if (r->opt.width > 0) {
        *rows = (i + 1) * (int32_t)r->opt.width;
        *time = i + 1;
        return !i || (r->opt.passes && *rows <= most);
    }
    if (i >= b->n_widths || b->width[i] > most)
        return false;
    *rows = b->width[i];
    *time = (double)belief_step_ns(b, *rows, r->serve->pos);
    return true;
}

/* width=auto. A drafted token follows an accepted one with probability a, estimated from this
 * request with one success and one failure beforehand (Laplace); the token that was drafted after
 * those verified counts too where all of them were accepted, since the target has then said what
 * comes there: a request that drafts for nothing learns when it would pay again. On the calibration
 * traces a token so takes 7 % less time (SmolLM2, median), and the same (TinyLlama). n drafted
 * tokens then yield 1 + a + ... + a^n. Takes the n (up to what was drafted) and the believed width
 * >= n + 1 with the most tokens per believed time, so that a dear width below a cheap one is never
 * chosen. */
static void auto_width(const struct rounds *r, int32_t drafted, int32_t *n, int32_t *width)
{
    double a = (double)(r->agreed + 1) / (double)(r->agreed + r->refused + 2);
    double best = 0, time;
    *n = 0;
    *width = 1;
    for (int32_t i = 0, rows; a_width(r, i, &rows, &time); i++) {
        int32_t use = min32(drafted, rows - 1);
        double tokens = 1, power = 1;
        for (int32_t k = 0; k < use; k++) {
            power *= a;
            tokens += power;
        }
        if (tokens / time > best) {
            best = tokens / time;
            *n = use;
            *width = rows;
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

static void sort(int32_t *v, int32_t n)
{
    for (int32_t i = 1; i < n; i++) {
        int32_t x = v[i], at = i;
        for (; at > 0 && v[at - 1] > x; at--)
            v[at] = v[at - 1];
        v[at] = x;
    }
}

/* The nodes of the proposal that lead it as a chain. */
static int32_t leading(const struct draft_tree *tree)
{
    int32_t n = 0;
    while (n < tree->n && tree->parent[n] == n - 1)
        n++;
    return n;
}

enum { BEFOREHAND = 8, SURE_BEFOREHAND = BEFOREHAND * DRAFT_SURE };

/* fill=1. The drafter's chances, scaled by how they have come true in this request (with
 * BEFOREHAND tokens expected and accepted at its start: 8 against 1 decode 1.6 % faster on the
 * calibration traces of SmolLM2, 0.5 % slower on TinyLlama's), give the tokens that a choice of
 * nodes yields. The n likeliest are the best n, and a tree; where a path that is not the first is
 * run again, that step's time counts by the chance that such a path is accepted, and the first n of
 * the chain that leads the proposal compete: they never are. Of all believed widths >= n + 1, and
 * their times, the choice has the most tokens per time, so that reused runs, branches and deeper
 * guesses fill a step as long as they pay. Puts the numbers of those n first in node[], in the
 * proposal's order. */
static void fill_width(const struct rounds *r, const struct draft_tree *tree, int32_t *n,
                       int32_t *width, int32_t *node)
{
    const struct belief *b = r->serve->env->belief;
    double scale = (double)(r->agreed + BEFOREHAND) / (double)(r->expected + SURE_BEFOREHAND);
    double best = 0, time, sum = 0, off = 0, along = 0;
    int32_t used = 0, first = 0, chain = leading(tree), pass = (int32_t)r->opt.width;
    bool branches = true;
    by_chance(tree, tree->n, node);
    *n = 0;
    *width = 1;
    for (int32_t i = 0, rows; a_width(r, i, &rows, &time); i++) {
        for (; used < min32(tree->n, rows - 1); used++) {
            int32_t x = node[used];
            sum += scale * (double)tree->chance[x];
            if (r->opt.recompute && x >= chain && tree->parent[x] < chain)
                off += scale * (double)tree->chance[x];
        }
        for (; first < min32(chain, rows - 1); first++)
            along += scale * (double)tree->chance[first];
        double again = pass > 0 ? 1 : (double)belief_step_ns(b, (int32_t)sum + 1, r->serve->pos);
        double rate = (1 + sum) / (time + off * again);
        if (rate > best && (pass <= 0 || used < pass || chain == tree->n)) {
            best = rate;
            branches = true;
            *n = used;
            *width = rows;
        }
        if ((1 + along) / time > best) {
            best = (1 + along) / time;
            branches = false;
            *n = first;
            *width = rows;
        }
    }
    for (int32_t i = 0; i < *n && !branches; i++)
        node[i] = i;
    sort(node, *n);
}

static bool has_chances(const struct draft_tree *tree)
{
    return tree->n > 0 && tree->chance && tree->chance[0] > 0;
}

/* How many nodes are verified, at what width, and which: node[0, n), or the first ones where that
 * is NULL. Only a chain may be longer than the width. */
static int32_t choose(const struct rounds *r, const struct draft_tree *tree, int32_t *width,
                      int32_t *node)
{
    int32_t n = tree ? tree->n : 0;
    int64_t asked = r->opt.width;
    if (node)
        fill_width(r, tree, &n, width, node);
    else if (asked == PARAM_AUTO)
        auto_width(r, n, &n, width);
    if (asked != PARAM_AUTO)
        *width = asked ? (int32_t)asked : n + 1;
    for (int32_t i = 0; n >= *width && i < n; i++) {
        int32_t before = i && node ? node[i - 1] : i - 1;
        if (tree->parent[node ? node[i] : i] != before)
            n = *width - 1;
    }
    return n;
}

/* ---- a round -------------------------------------------------------------------------------- */

/* In one pass, or a chain that is too long for it in several. */
static void submit_step(struct rounds *r, int32_t width, struct actions *out)
{
    struct serve *s = r->serve;
    r->n_choices = 0;
    r->first_pass = s->next_id;
    for (int32_t at = 0; at < r->n; at += width) {
        struct job job = {.kind = JOB_FORWARD, .role = r->opt.target_role};
        job.phase = r->n > 1 ? PHASE_VERIFY : PHASE_DECODE;
        job.forward = (struct job_forward){.graph = r->opt.graph,
                                           .b1 = s->env->caps.blocks,
                                           .width = width,
                                           .pos = s->pos + at,
                                           .n = min32(width, r->n - at),
                                           .token = r->token + at,
                                           .parent = r->chain ? NULL : r->parent,
                                           .slot_in = -1,
                                           .slot_out = -1,
                                           .want = WANT_ARGMAX};
        r->verify_id = serve_submit(s, &job, out);
    }
}

/* The first n nodes of the proposal become rows behind the root: a tree, because parents come
 * first. */
static void take_first(struct rounds *r, const struct draft_tree *tree, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        int32_t above = tree->parent[i] + 1;
        r->token[i + 1] = tree->token[i];
        r->parent[i + 1] = above;
        r->chain &= above == i;
    }
}

/* The same with the n nodes of node[], which are its likeliest. */
static void take_likely(struct rounds *r, const struct draft_tree *tree, const int32_t *node,
                        int32_t n)
{
    int32_t row_of[ROUNDS_MAX_ROWS];
    for (int32_t i = 0; i < n; i++) {
        int32_t above = tree->parent[node[i]];
        row_of[node[i]] = i + 1;
        r->token[i + 1] = tree->token[node[i]];
        r->parent[i + 1] = above < 0 ? 0 : row_of[above];
        r->chain = r->chain && r->parent[i + 1] == i;
        r->chances += tree->chance[node[i]];
    }
}

/* The root and the chosen nodes of the proposal become the step's rows. */
static void verify(struct rounds *r, const struct draft_tree *tree, struct actions *out)
{
    int32_t node[ROUNDS_MAX_ROWS], width = 1;
    bool likely = r->opt.fill && tree && has_chances(tree);
    int32_t n = choose(r, tree, &width, likely ? node : NULL);
    bool more = r->opt.width == PARAM_AUTO && !r->opt.fill && tree && n < tree->n;
    r->untried = more && tree->parent[n] == n - 1 ? tree->token[n] : -1;
    r->n = n + 1;
    r->token[0] = r->serve->root;
    r->parent[0] = -1;
    r->chain = true;
    r->chances = 0;
    if (likely)
        take_likely(r, tree, node, n);
    else
        take_first(r, tree, n);
    r->n_shown = 0;
    submit_step(r, width, out);
}

void rounds_start(struct rounds *r, struct actions *out)
{
    struct serve *s = r->serve;
    if (s->closing)
        return;
    int32_t nodes = s->env->n_drafters ? max_nodes(r) : 0;
    if (nodes < 1) {
        verify(r, NULL, out);
        return;
    }
    struct job job = {.kind = JOB_DRAFT, .phase = PHASE_DRAFT, .role = r->opt.draft_role};
    job.draft = (struct job_draft){.n = r->n_fresh, .token = r->fresh, .max_nodes = nodes};
    if (r->opt.reuse && r->n_shown > 1) {
        job.draft.n_rows = r->n_shown;
        job.draft.row_token = r->shown_token;
        job.draft.row_parent = r->shown_chain ? NULL : r->shown_parent;
        job.draft.row_choice = r->shown_choice;
    }
    r->draft_id = serve_submit(s, &job, out);
    r->n_fresh = 0;
}

void rounds_emit(struct rounds *r, const int32_t *token, int32_t n, struct actions *out)
{
    int32_t k = serve_emit(r->serve, token, n, out);
    if (r->serve->closing)
        return;
    /* Once there is no room for a draft, in the width, the context or what is asked for, there is
     * none for the rest of the request: the drafter need not learn more. */
    if (!r->serve->env->n_drafters || max_nodes(r) < 1)
        k = 0;
    assert(r->n_fresh + k <= ROUNDS_MAX_ROWS);
    memcpy(r->fresh + r->n_fresh, token, (size_t)k * sizeof *token);
    r->n_fresh += k;
}

static void commit(struct rounds *r, int32_t pos, const int32_t *row, int32_t n,
                   struct actions *out)
{
    struct job job = {.kind = JOB_COMMIT, .role = r->opt.target_role};
    job.commit = (struct job_commit){.pos = pos, .n = n, .row = row};
    serve_submit(r->serve, &job, out);
}

/* Counts what a step was expected to bring and, for `reuse`, keeps it as it was verified: once,
 * before a path of it is run again. */
static void show(struct rounds *r)
{
    if (r->n_shown)
        return;
    r->n_shown = r->n;
    r->expected += r->chances;
    if (!r->opt.reuse)
        return;
    size_t bytes = (size_t)r->n * sizeof *r->choice;
    r->shown_chain = r->chain;
    memcpy(r->shown_token, r->token, bytes);
    memcpy(r->shown_parent, r->parent, bytes);
    memcpy(r->shown_choice, r->choice, bytes);
}

/* A step's choices are all there. */
static void verified(struct rounds *r, struct actions *out)
{
    int32_t row[ROUNDS_MAX_ROWS], fresh[ROUNDS_MAX_ROWS], pos = r->serve->pos;
    const int32_t *parent = r->chain ? NULL : r->parent;
    int32_t kept = exec_accept(r->n, r->token, parent, r->choice, row);
    bool first = true, passes = r->verify_id > r->first_pass;
    r->verify_id = 0;
    show(r);
    for (int32_t i = 0; i < kept; i++)
        first = first && row[i] == i;
    if (!first && r->opt.recompute) {
        commit(r, pos, NULL, 0, out);
        for (int32_t i = 0; i < kept; i++)
            r->token[i] = r->token[row[i]];
        r->n = kept;
        r->chain = true;
        r->untried = -1;
        submit_step(r, r->opt.graph ? (int32_t)r->opt.width : kept, out);
        return;
    }
    r->agreed += kept - 1;
    r->refused += kept < r->n;
    if (kept == r->n && r->untried >= 0) {
        bool right = r->choice[row[kept - 1]] == r->untried;
        r->agreed += right;
        r->refused += !right;
    }
    if (kept < r->n && passes)
        commit(r, pos + kept, NULL, 0, out); /* a COMMIT's rows are one step's */
    else if (kept < r->n)
        commit(r, pos, first ? NULL : row, kept, out);
    for (int32_t i = 0; i < kept; i++)
        fresh[i] = r->choice[row[i]];
    r->serve->pos += kept;
    rounds_emit(r, fresh, kept, out);
    rounds_start(r, out);
}

static int passed(struct rounds *r, const struct done *done, struct actions *out)
{
    bool last = done->id == r->verify_id;
    int32_t left = r->n - r->n_choices;
    if (last ? done->n_choice != left : done->n_choice >= left)
        return ERR_POLICY;
    memcpy(r->choice + r->n_choices, done->choice, (size_t)done->n_choice * sizeof *r->choice);
    r->n_choices += done->n_choice;
    if (last)
        verified(r, out);
    return ERR_OK;
}

/* ---- what the policy calls ------------------------------------------------------------------ */

void rounds_open(struct rounds *r, struct actions *out)
{
    struct serve *s = r->serve;
    r->n_fresh = r->n_calibrated = r->n_shown = 0;
    r->agreed = r->refused = r->expected = 0;
    r->draft_id = r->verify_id = r->calibrate_id = 0;
    r->first_token = -1;
    if (!s->env->n_drafters)
        return;
    struct job job = {.kind = JOB_DRAFT, .phase = PHASE_DRAFT, .role = r->opt.draft_role};
    job.draft = (struct job_draft){.n = s->n_prompt, .token = s->prompt};
    serve_submit(s, &job, out);
}

/* Hands on the likely tokens that a pass's rows brought. */
static void calibrate(struct rounds *r, const struct done *done, struct actions *out)
{
    struct job job = {.kind = JOB_CALIBRATE, .phase = PHASE_DRAFT, .role = r->opt.draft_role};
    job.calibrate = (struct job_calibrate){.pos = r->n_calibrated,
                                           .n = done->n_choice,
                                           .k = done->k,
                                           .top = done->top,
                                           .logit = done->logit};
    r->n_calibrated += done->n_choice;
    int64_t id = serve_submit(r->serve, &job, out);
    if (r->opt.overlap == ROUNDS_SERIAL)
        r->calibrate_id = id;
}

int rounds_prompt(struct rounds *r, const struct done *done, bool last, struct actions *out)
{
    bool tops = r->opt.top_k > 0;
    if (done->n_choice < 1 || (tops && done->k < 1))
        return ERR_POLICY;
    r->first_token = last ? done->choice[done->n_choice - 1] : -1;
    if (tops && r->opt.overlap != ROUNDS_DRAFT)
        calibrate(r, done, out);
    if (last && !rounds_waits(r))
        rounds_emit(r, &r->first_token, 1, out);
    return ERR_OK;
}

void rounds_prompted(struct rounds *r, const struct done *done, struct actions *out)
{
    if (r->opt.top_k && r->opt.overlap == ROUNDS_DRAFT && !r->serve->closing)
        calibrate(r, done, out);
}

bool rounds_waits(const struct rounds *r)
{
    return r->calibrate_id != 0;
}

int rounds_done(struct rounds *r, const struct done *done, struct actions *out, bool *mine)
{
    *mine = true;
    if (r->draft_id && done->id == r->draft_id) {
        r->draft_id = 0;
        verify(r, &done->tree, out);
    } else if (r->verify_id && done->id >= r->first_pass && done->id <= r->verify_id) {
        return passed(r, done, out);
    } else {
        *mine = false;
        if (!rounds_waits(r) || done->id != r->calibrate_id)
            return ERR_OK;
        r->calibrate_id = 0;
        if (r->first_token >= 0)
            rounds_emit(r, &r->first_token, 1, out);
    }
    return ERR_OK;
}
