/* A model as static graphs: a wide one for the prompt, a narrow one for decoding, each made of
 * blocks that can be loaded and freed one by one; how and when the one gives way to the other.
 *
 * Schemes. Graphs 1 and 2 are the wide and the narrow one; `both-resident-shared` takes the first
 * two graphs that share their weights.
 *   no-switch             the wide graph for everything
 *   sync-switch           all blocks after the prompt, from the first on
 *   async-last-chunk      each block once the last chunk has passed it
 *   progressive           from the last block on, one at a time, beside computation of other
 *                         blocks that is believed to hide it: of the blocks P_i, P_i+1, ... that
 *                         come next, the smallest k >= 1 with
 *                             load(P_j) <= sum of compute(P_i+l on its graph), l = 0 .. k-1,
 *                         (the paper's equations 1 and 2), P_j being the last block not switched;
 *                         those k run while P_j is switched
 *   both-resident-copied  both graphs loaded at the start, each with weights of its own
 *   both-resident-shared  the same, the weights resident once
 *   narrow-only           the narrow graph for everything
 * The prompt runs in chunks of the wide graph's width; a chunk on a block that has switched runs as
 * ceil(chunk / narrow width) sub-chunks, the last padded.
 *
 * No two switches overlap, no two computations do, and no block is switched while it computes. A
 * block that is being switched stops the computation that needs it.
 *
 * The rule does not say when it begins: with the first chunk (begin=first), or, since the narrow
 * graph may be slower on the prompt, with the fewest last chunks that take as long as all switches
 * (begin=late).
 *
 * Where no k satisfies the rule (the window would need P_j itself, or ends) `unhidden` decides:
 * start at once and stall, or wait and try again after the next block. A block that the prompt does
 * not need any more is switched at once in either case, since nothing can stall; so a prompt too
 * short for all switches leaves the rest of them to its end. Decoding starts when all blocks are
 * on the narrow graph.
 *
 * Decoding: on the graph in place, every step as wide as it is; or with decode=dynamic whole steps
 * of the dynamic graph by the role "decode", as wide as their rows. With a drafter, its first
 * tokens up to that width are verified in one step. `overflow`, `tree` and `reuse` are as in the
 * policy speculative. With calibrate=1 the LM head runs on every row of the prompt and a CALIBRATE
 * job takes each pass's topk likely tokens to the drafter, beside the passes after it; the first
 * draft waits for all. */
#include <assert.h>
#include <string.h>

#include "sim/policy/serve.h"

enum {
    SCHEME,
    BACK,
    FREE,
    BEGIN,
    WINDOW,
    UNHIDDEN,
    STALL,
    K,
    MAX_DRAFT,
    TREE,
    CALIBRATE,
    TOPK,
    REUSE,
    DECODE,
    OVERFLOW
};
enum { NO_SWITCH, SYNC_SWITCH, ASYNC_LAST, PROGRESSIVE, BOTH_COPIED, BOTH_SHARED, NARROW_ONLY };
enum { BACK_SYNC, BACK_IDLE, BACK_KEEP };
enum { FREE_BEFORE, FREE_AFTER };
enum { BEGIN_FIRST, BEGIN_LATE };
enum { WINDOW_CHUNK, WINDOW_NEXT };
enum { UNHIDDEN_START, UNHIDDEN_WAIT };
enum { STALL_BLOCK, STALL_WINDOW };
enum { TREE_RECOMPUTE, TREE_PLAIN };
enum { DECODE_GRAPH, DECODE_DYNAMIC };
enum { OVERFLOW_CUT, OVERFLOW_PASSES };
enum { ROLE_TARGET, ROLE_LOAD, ROLE_DRAFT, ROLE_DECODE };
enum { WIDE, NARROW };
enum { MAX_ROWS = 512, ALL_CELLS = INT32_MAX };

static const char *const scheme_words[] = {"no-switch",
                                           "sync-switch",
                                           "async-last-chunk",
                                           "progressive",
                                           "both-resident-copied",
                                           "both-resident-shared",
                                           "narrow-only",
                                           NULL};
static const char *const back_words[] = {"reload-sync", "reload-in-idle", "keep-resident", NULL};
static const char *const free_words[] = {"before", "after", NULL};
static const char *const begin_words[] = {"first", "late", NULL};
static const char *const window_words[] = {"chunk", "next", NULL};
static const char *const unhidden_words[] = {"start", "wait", NULL};
static const char *const stall_words[] = {"block", "window", NULL};
static const char *const decode_words[] = {"graph", "dynamic", NULL};
static const char *const overflow_words[] = {"cut", "passes", NULL};
static const char *const tree_words[] = {"recompute", "plain", NULL};

static const struct param params[] = {
    {"scheme", "how blocks pass from the wide graph to the narrow one", PROGRESSIVE, 0, 0,
     scheme_words, 0},
    {"back", "for the next request: reload the wide graph then, or when idle, or never free it",
     BACK_SYNC, 0, 0, back_words, 0},
    {"free", "a block's old graph is freed before or after the new one is loaded", FREE_BEFORE, 0,
     0, free_words, 0},
    {"begin",
     "progressive: from the first chunk on, or as late as the chunks left can hide all switches",
     BEGIN_FIRST, 0, 0, begin_words, 0},
    {"window", "progressive: what hides a switch ends with the chunk, or runs into the next",
     WINDOW_CHUNK, 0, 0, window_words, 0},
    {"unhidden", "progressive: a switch that nothing hides starts and stalls, or waits",
     UNHIDDEN_START, 0, 0, unhidden_words, 0},
    {"stall", "progressive: what waits for a late switch: its block, or the next window",
     STALL_BLOCK, 0, 0, stall_words, 0},
    {"k", "progressive: blocks that hide a switch; auto: as many as the belief says", PARAM_AUTO, 1,
     BELIEF_MAX_BLOCKS, NULL, 1},
    {"max_draft", "drafted tokens per step at most, where there is a drafter", MAX_ROWS - 1, 1,
     MAX_ROWS - 1, NULL, 0},
    {"tree", "how a path that is not first in the batch is kept", TREE_RECOMPUTE, 0, 0, tree_words,
     0},
    {"calibrate", "1: the drafter is told the likely tokens at every prompt position", 0, 0, 1,
     NULL, 0},
    {"topk", "likely tokens of a position, with calibrate=1", 4, 1, 64, NULL, 0},
    {"reuse", "1: the drafter is shown the verified rows and the target's choices", 0, 0, 1, NULL,
     0},
    {"decode", "steps run on the graph in place, or on the dynamic one by the role decode",
     DECODE_GRAPH, 0, 0, decode_words, 0},
    {"overflow", "what becomes of a chain longer than the graph", OVERFLOW_CUT, 0, 0,
     overflow_words, 0},
    {.name = NULL}};

static const char *const roles[] = {"target", "load", "draft", "decode", NULL};

/* A job in flight that runs on blocks, loads one or frees one. */
struct flight {
    int64_t id;
    uint8_t kind, side;
    int32_t b0, b1;
};

struct switching {
    struct serve serve;
    const int64_t *param;
    int32_t blocks;
    int32_t graph[2], width[2]; /* WIDE, NARROW */
    bool keep;                  /* the wide graph stays when the narrow one comes */
    bool resident[2][BELIEF_MAX_BLOCKS];
    int32_t n_flight, n_compute; /* all of them; FORWARDs of the prompt */
    struct flight flight[SERVE_MAX_FLIGHT];
    /* the prompt: cells are (chunk, block), in the order of computation */
    bool prefilling, decoding;
    bool begun;            /* its first switch has been planned */
    int32_t pos, n, block; /* the next cell's chunk and block; n == 0: through */
    int32_t left;          /* cells that may still be submitted */
    int32_t to, at;        /* a segment on the narrow graph: its end, its next row */
    int32_t slot;          /* that holds the chunk's rows between blocks */
    int64_t head_id;
    /* decoding */
    int64_t draft_id, verify_id;         /* of a step's last pass */
    int64_t first_pass;                  /* of its first */
    int32_t n_choices, choice[MAX_ROWS]; /* of the passes that are done */
    int32_t n_fresh;                     /* emitted, not yet appended to the drafter */
    int32_t fresh[MAX_ROWS];
    int32_t n_rows; /* of the step being verified */
    bool chain;
    int32_t token[MAX_ROWS], parent[MAX_ROWS];
    int32_t n_calibrated; /* prompt positions handed on */
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
    return sizeof(struct switching) + serve_mem_bytes(env);
}

static int32_t min32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* ---- the graphs ----------------------------------------------------------------------------- */

/* Whether the scheme has two graphs. */
static bool switches(const struct switching *p)
{
    return p->param[SCHEME] != NO_SWITCH && p->param[SCHEME] != NARROW_ONLY;
}

static int choose_graphs(struct switching *p, const struct exec_caps *caps, struct err *e)
{
    const int32_t *weights = caps->graph_weights;
    int64_t scheme = p->param[SCHEME];
    p->graph[WIDE] = scheme == NARROW_ONLY ? 2 : 1;
    p->graph[NARROW] = 2;
    bool shared = weights[0] && weights[0] == weights[1];
    for (int32_t g = 1; scheme == BOTH_SHARED && !shared && g < caps->n_graphs; g++)
        for (int32_t w = 0; w < g && !shared; w++) {
            shared = weights[g] && weights[w] == weights[g];
            p->graph[WIDE] = w + 1;
            p->graph[NARROW] = g + 1;
        }
    if (scheme == BOTH_SHARED && !shared)
        return err_set(e, ERR_UNSUPPORTED,
                       "scheme both-resident-shared needs two graphs that share their weights, and "
                       "this executor has none: take both-resident-copied");
    if (scheme == BOTH_COPIED && shared)
        return err_set(e, ERR_UNSUPPORTED,
                       "scheme both-resident-copied needs graphs with weights of their own, and "
                       "graphs 1 and 2 share theirs: take both-resident-shared");
    for (int i = 0; i < 2; i++)
        p->width[i] = caps->graph_width[p->graph[i] - 1];
    if (p->width[NARROW] > p->width[WIDE])
        return err_set(e, ERR_UNSUPPORTED,
                       "graph %d is to be the wide one and is %d wide, graph %d is %d wide: the "
                       "wide one comes first",
                       p->graph[WIDE], p->width[WIDE], p->graph[NARROW], p->width[NARROW]);
    return ERR_OK;
}

static int check_drafting(const int64_t *param, const struct policy_env *env, struct err *e)
{
    bool calibrates = param[CALIBRATE] != 0;
    if ((calibrates || param[REUSE]) && !env->n_drafters)
        return err_set(e, ERR_UNSUPPORTED,
                       "calibrate=1 and reuse=1 teach a drafter, and there is none: name one, or "
                       "set them to 0");
    if (calibrates && !(env->caps.features & EXEC_CALIBRATES))
        return err_set(e, ERR_UNSUPPORTED,
                       "calibrate=1 needs the likely tokens of prompt rows, which this executor "
                       "does not give: set calibrate=0");
    if (calibrates && param[TOPK] > env->caps.max_topk)
        return err_set(e, ERR_UNSUPPORTED,
                       "topk is %d, this executor gives at most %d likely tokens", (int)param[TOPK],
                       env->caps.max_topk);
    return ERR_OK;
}

static int init(void *mem, const int64_t *param, const struct policy_env *env, struct err *e)
{
    struct switching *p = mem;
    p->param = param;
    p->blocks = env->caps.blocks;
    if (p->blocks > BELIEF_MAX_BLOCKS)
        return err_set(e, ERR_UNSUPPORTED, "policy switching knows %d blocks, this model has %d",
                       BELIEF_MAX_BLOCKS, p->blocks);
    if (param[SCHEME] == PROGRESSIVE && param[K] == PARAM_AUTO &&
        env->belief->n_blocks != p->blocks)
        return err_set(e, ERR_UNSUPPORTED,
                       "k=auto needs a belief about the times of %d blocks and their loads, and "
                       "there is one about %d: give a belief, or a number of blocks",
                       p->blocks, env->belief->n_blocks);
    p->keep = param[BACK] == BACK_KEEP || param[SCHEME] == BOTH_COPIED ||
              param[SCHEME] == BOTH_SHARED || !switches(p);
    serve_init(&p->serve, p + 1, env, 0, ROLE_TARGET);
    int rc = check_drafting(param, env, e);
    return rc ? rc : choose_graphs(p, &env->caps, e);
}

/* Whether block b has still to be switched. */
static bool lacks(const struct switching *p, int32_t b)
{
    return switches(p) && !p->resident[NARROW][b];
}

static int64_t submit(struct switching *p, struct job *job, uint8_t side, struct actions *out)
{
    int64_t id = serve_submit(&p->serve, job, out);
    bool graph = job->kind == JOB_LOAD || job->kind == JOB_FREE;
    if (!id || p->n_flight == SERVE_MAX_FLIGHT)
        return id;
    p->flight[p->n_flight++] =
        (struct flight){.id = id,
                        .kind = job->kind,
                        .side = side,
                        .b0 = graph ? job->graph.block : job->forward.b0,
                        .b1 = graph ? job->graph.block + 1 : job->forward.b1};
    p->n_compute += job->kind == JOB_FORWARD;
    return id;
}

static void graph_job(struct switching *p, uint8_t kind, uint8_t side, int32_t b,
                      struct actions *out)
{
    struct job job = {.kind = kind, .role = ROLE_LOAD};
    job.phase = p->prefilling ? PHASE_PREFILL : PHASE_NONE; /* a switch, or what restores */
    job.graph = (struct job_graph){p->graph[side], b};
    submit(p, &job, side, out);
}

/* Block b passes to the graph `side`; with `keep` the other one stays. */
static void move_block(struct switching *p, uint8_t side, int32_t b, bool keep, struct actions *out)
{
    uint8_t other = side == WIDE ? NARROW : WIDE;
    bool frees = !keep && p->resident[other][b];
    if (frees && p->param[FREE] == FREE_BEFORE)
        graph_job(p, JOB_FREE, other, b, out);
    if (!p->resident[side][b])
        graph_job(p, JOB_LOAD, side, b, out);
    if (frees && p->param[FREE] == FREE_AFTER)
        graph_job(p, JOB_FREE, other, b, out);
}

/* A job of the load role is in flight. */
static bool loading(const struct switching *p)
{
    return p->n_flight > p->n_compute;
}

/* A computation on block b is in flight. */
static bool computes(const struct switching *p, int32_t b)
{
    for (int32_t i = 0; i < p->n_flight; i++) {
        const struct flight *f = &p->flight[i];
        if (f->kind == JOB_FORWARD && f->b0 <= b && b < f->b1)
            return true;
    }
    return false;
}

/* A block's new graph is on its way: the next switch cannot begin. An old one that is only leaving
 * is not in its way. */
static bool fetching(const struct switching *p)
{
    for (int32_t i = 0; i < p->n_flight; i++)
        if (p->flight[i].kind == JOB_LOAD)
            return true;
    return false;
}

/* Block b's new graph is on its way. */
static bool arriving(const struct switching *p, int32_t b)
{
    for (int32_t i = 0; i < p->n_flight; i++)
        if (p->flight[i].kind == JOB_LOAD && p->flight[i].b0 == b)
            return true;
    return false;
}

static void take_done(struct switching *p, const struct done *done)
{
    for (int32_t i = 0; i < p->n_flight; i++) {
        struct flight f = p->flight[i];
        if (f.id != done->id)
            continue;
        p->flight[i] = p->flight[--p->n_flight];
        p->n_compute -= f.kind == JOB_FORWARD;
        if (done->status == DONE_OK && f.kind != JOB_FORWARD)
            p->resident[f.side][f.b0] = f.kind == JOB_LOAD;
        return;
    }
}

/* Brings the graphs into the order that a prompt starts from; true when they are. */
static bool restore(struct switching *p, struct actions *out)
{
    bool both = p->param[SCHEME] == BOTH_COPIED || p->param[SCHEME] == BOTH_SHARED;
    if (loading(p))
        return false;
    for (int32_t b = 0; b < p->blocks; b++) {
        bool wide = p->resident[WIDE][b], narrow = p->resident[NARROW][b];
        if (!wide || (narrow && !p->keep))
            move_block(p, WIDE, b, p->keep, out);
        else if (both && !narrow)
            move_block(p, NARROW, b, true, out);
        else
            continue;
        return false;
    }
    return true;
}

/* ---- the prompt ----------------------------------------------------------------------------- */

static uint8_t side_of(const struct switching *p, int32_t b)
{
    return p->resident[NARROW][b] && !p->keep ? NARROW : WIDE;
}

static int32_t chunk_at(const struct switching *p, int32_t pos)
{
    return min32(p->width[WIDE], p->serve.n_prompt - pos);
}

static int32_t subchunks(const struct switching *p, int32_t n)
{
    return (n + p->width[NARROW] - 1) / p->width[NARROW];
}

/* The prompt still computes on block b, in cells that are not submitted yet. */
static bool needed(const struct switching *p, int32_t b)
{
    return p->n && (p->pos + p->n < p->serve.n_prompt || b >= p->block);
}

/* Believed time of a cell; with a fixed k, one for each. */
static int64_t cell_ns(const struct switching *p, int32_t b, int32_t n)
{
    const struct belief *belief = p->serve.env->belief;
    uint8_t side = side_of(p, b);
    if (p->param[K] != PARAM_AUTO)
        return 1;
    int64_t ns = belief->block_ns[p->graph[side] - 1][b];
    return side == NARROW ? ns * subchunks(p, n) : ns;
}

/* What has to be hidden: the believed time of block b's switch; with a fixed k, that many cells. */
static int64_t need_ns(const struct switching *p, int32_t b)
{
    return p->param[K] == PARAM_AUTO ? p->serve.env->belief->load_ns[b] : p->param[K];
}

/* The smallest number of cells from the next one on that hide the switch of block j; 0: there is
 * none. *room is the number of those that could run beside it. */
static int32_t hiding(const struct switching *p, int32_t j, int32_t *room)
{
    int64_t need = need_ns(p, j), sum = 0;
    int32_t pos = p->pos, n = p->n, b = p->block, k = 0;
    while (n && b != j) {
        sum += cell_ns(p, b, n);
        k++;
        if (sum >= need)
            break;
        if (++b < p->blocks)
            continue;
        if (p->param[WINDOW] == WINDOW_CHUNK)
            break;
        b = 0;
        pos += n;
        n = chunk_at(p, pos);
    }
    *room = k;
    return sum >= need ? k : 0;
}

/* The LM head behind a pass: on the prompt's last row, or on every row for calibration. */
static void head(struct switching *p, int64_t after, const struct job_forward *f, bool last,
                 struct actions *out)
{
    bool tops = p->param[CALIBRATE] != 0;
    struct job job = {.kind = JOB_HEAD, .phase = PHASE_PREFILL, .role = ROLE_TARGET};
    job.n_wait = 1;
    job.wait[0] = after;
    job.forward = *f;
    job.forward.slot_in = f->slot_out;
    job.forward.slot_out = -1;
    job.forward.want = tops ? WANT_TOPK : WANT_ARGMAX;
    job.forward.want_from = tops ? 0 : f->n - 1;
    job.forward.want_k = tops ? (int32_t)p->param[TOPK] : 0;
    int64_t id = serve_submit(&p->serve, &job, out);
    if (last)
        p->head_id = id;
}

/* One FORWARD: the chunk's rows from p->at on through blocks [p->block, p->to) of their graph. */
static void forward(struct switching *p, struct actions *out)
{
    uint8_t side = side_of(p, p->block);
    int32_t n = min32(p->width[side], p->n - p->at);
    for (int32_t b = p->block; b < p->to; b++)
        assert(!arriving(p, b));
    bool last = p->to == p->blocks && p->pos + p->at + n == p->serve.n_prompt;
    bool ends = last || (p->to == p->blocks && p->param[CALIBRATE]);
    struct job job = {.kind = JOB_FORWARD, .phase = PHASE_PREFILL, .role = ROLE_TARGET};
    job.forward = (struct job_forward){.graph = p->graph[side],
                                       .b0 = p->block,
                                       .b1 = p->to,
                                       .width = p->width[side],
                                       .pos = p->pos + p->at,
                                       .n = n,
                                       .token = p->serve.prompt + p->pos + p->at,
                                       .slot_in = p->block ? p->slot : -1,
                                       .slot_out = ends || p->to < p->blocks ? 1 - p->slot : -1};
    int64_t id = submit(p, &job, side, out);
    p->at += n;
    if (ends)
        head(p, id, &job.forward, last, out);
}

/* The segment's end: cells of one chunk and one graph. */
static void open_segment(struct switching *p)
{
    uint8_t side = side_of(p, p->block);
    int32_t most = p->left < p->blocks - p->block ? p->block + p->left : p->blocks;
    p->to = p->block;
    p->at = 0;
    while (p->to < most && side_of(p, p->to) == side)
        p->to++;
}

static void close_segment(struct switching *p)
{
    if (p->left != ALL_CELLS)
        p->left -= p->to - p->block;
    p->slot = 1 - p->slot;
    p->block = p->to;
    p->to = p->at = 0;
    if (p->block < p->blocks)
        return;
    p->pos += p->n;
    p->n = chunk_at(p, p->pos);
    p->block = 0;
}

/* Submits what may be submitted, as far as there is room in flight. */
static void compute(struct switching *p, struct actions *out)
{
    int32_t room = min32(p->serve.env->caps.max_jobs, SERVE_MAX_FLIGHT) - 5;
    while (p->n && p->left && p->serve.n_flight < room) {
        if (!p->at)
            open_segment(p);
        forward(p, out);
        if (p->at == p->n)
            close_segment(p);
    }
}

/* ---- switching ------------------------------------------------------------------------------ */

/* Whether a switch may start now that stalls nothing. A progressive one with stall=window starts
 * with a window, or after the last. */
static bool may_switch_behind(const struct switching *p)
{
    if (fetching(p))
        return false;
    switch (p->param[SCHEME]) {
    case SYNC_SWITCH:
        return !p->head_id;
    case PROGRESSIVE:
        return p->param[STALL] == STALL_BLOCK ? p->n_compute || !p->n : !p->n_compute && !p->n;
    default:
        return true;
    }
}

/* Switches a block that the prompt does not need any more. */
static void switch_behind(struct switching *p, struct actions *out)
{
    if (!may_switch_behind(p))
        return;
    for (int32_t i = 0; i < p->blocks; i++) {
        int32_t b = p->param[SCHEME] == PROGRESSIVE ? p->blocks - 1 - i : i;
        if (lacks(p, b) && !needed(p, b) && !computes(p, b)) {
            move_block(p, NARROW, b, p->keep, out);
            return;
        }
    }
}

/* Cells that run before the first switch. With begin=late all but those of the fewest last chunks
 * that take as long on the wide graph as all switches. */
static int32_t cells_before(const struct switching *p)
{
    int64_t chunk_ns = 0, switch_ns = 0, chunks = 0;
    for (int32_t b = 0; b < p->blocks; b++) {
        chunk_ns += cell_ns(p, b, p->width[WIDE]);
        switch_ns += lacks(p, b) ? need_ns(p, b) : 0;
    }
    while (chunks * chunk_ns < switch_ns && chunks <= p->serve.n_prompt)
        chunks++;
    int32_t left = (p->serve.n_prompt - p->pos + p->width[WIDE] - 1) / p->width[WIDE];
    return chunks < left ? (left - (int32_t)chunks) * p->blocks : 0;
}

static void decide_progressive(struct switching *p, struct actions *out)
{
    int32_t j = p->blocks - 1, room;
    while (j >= 0 && !lacks(p, j))
        j--;
    if (j < 0) {
        p->left = ALL_CELLS;
        return;
    }
    if (p->param[BEGIN] == BEGIN_LATE && !p->begun) {
        p->begun = true;
        p->left = cells_before(p);
        if (p->left)
            return;
    }
    if (!needed(p, j) && p->param[STALL] == STALL_BLOCK) {
        p->left = ALL_CELLS; /* the rest cannot stall: see switch_behind */
        if (!fetching(p))
            move_block(p, NARROW, j, p->keep, out);
        return;
    }
    if (fetching(p)) {
        p->left = p->param[STALL] == STALL_BLOCK && !arriving(p, p->block);
        return;
    }
    int32_t k = hiding(p, j, &room);
    bool start = k || !needed(p, j) || p->param[UNHIDDEN] == UNHIDDEN_START;
    p->left = !start ? 1 : k ? k : room;
    if (start)
        move_block(p, NARROW, j, p->keep, out);
}

/* How many cells run before the next decision. */
static void decide(struct switching *p, struct actions *out)
{
    if (!p->n || p->left)
        return;
    if (p->param[SCHEME] == PROGRESSIVE) {
        if (!p->n_compute)
            decide_progressive(p, out);
        return;
    }
    if (p->param[SCHEME] != ASYNC_LAST) {
        p->left = ALL_CELLS;
        return;
    }
    int32_t chunks = (p->serve.n_prompt - p->pos - 1) / p->width[WIDE];
    p->left = chunks ? chunks * p->blocks - p->block : !p->n_compute;
}

static void decode_step(struct switching *p, struct actions *out);

/* All that can be done after any event, while a request is open and goes on. */
static void advance(struct switching *p, struct actions *out)
{
    if (p->decoding || p->serve.closing)
        return;
    if (!p->prefilling) {
        if (!restore(p, out))
            return;
        p->prefilling = true;
    }
    switch_behind(p, out);
    decide(p, out);
    compute(p, out);
    bool ready = !p->n && !p->head_id && !loading(p);
    for (int32_t b = 0; b < p->blocks; b++)
        ready = ready && !lacks(p, b);
    if (ready) {
        p->decoding = true;
        decode_step(p, out);
    }
}

static void begin(struct switching *p, struct actions *out)
{
    struct serve *s = &p->serve;
    p->prefilling = p->decoding = p->begun = false;
    p->pos = p->block = p->left = p->to = p->at = p->slot = 0;
    p->n = chunk_at(p, 0);
    p->head_id = -1; /* the prompt's end has not been submitted */
    p->n_fresh = p->n_calibrated = p->n_shown = 0;
    if (s->env->n_drafters) {
        struct job job = {.kind = JOB_DRAFT, .phase = PHASE_DRAFT, .role = ROLE_DRAFT};
        job.draft = (struct job_draft){.n = s->n_prompt, .token = s->prompt};
        serve_submit(s, &job, out);
    }
    advance(p, out);
}

/* ---- decoding ------------------------------------------------------------------------------- */

static uint8_t decode_side(const struct switching *p)
{
    return switches(p) ? NARROW : WIDE;
}

static bool dynamic(const struct switching *p)
{
    return p->param[DECODE] == DECODE_DYNAMIC;
}

/* Rows of one pass of a step, at most. */
static int32_t pass_rows(const struct switching *p)
{
    return dynamic(p) ? p->serve.env->caps.max_rows : p->width[decode_side(p)];
}

static int32_t max_nodes(const struct switching *p)
{
    int32_t passes = 1, rows = pass_rows(p);
    if (p->param[OVERFLOW] == OVERFLOW_PASSES)
        passes = min32(p->serve.env->caps.max_jobs, SERVE_MAX_FLIGHT) / 2;
    int32_t n = rows < MAX_ROWS / passes ? rows * passes : MAX_ROWS;
    n = min32((int32_t)p->param[MAX_DRAFT], n - 1);
    n = min32(n, serve_room(&p->serve) - 1);
    return min32(n, serve_left(&p->serve) - 1);
}

/* In one pass, or a chain that is too long for it in several. */
static void submit_step(struct switching *p, struct actions *out)
{
    int32_t rows = pass_rows(p);
    p->n_choices = 0;
    p->first_pass = p->serve.next_id;
    for (int32_t at = 0; at < p->n_rows; at += rows) {
        int32_t n = min32(rows, p->n_rows - at);
        struct job job = {.kind = JOB_FORWARD, .role = dynamic(p) ? ROLE_DECODE : ROLE_TARGET};
        job.phase = p->n_rows > 1 ? PHASE_VERIFY : PHASE_DECODE;
        job.forward = (struct job_forward){.graph = dynamic(p) ? 0 : p->graph[decode_side(p)],
                                           .b1 = p->blocks,
                                           .width = dynamic(p) ? n : rows,
                                           .pos = p->serve.pos + at,
                                           .n = n,
                                           .token = p->token + at,
                                           .parent = p->chain ? NULL : p->parent,
                                           .slot_in = -1,
                                           .slot_out = -1,
                                           .want = WANT_ARGMAX};
        p->verify_id = serve_submit(&p->serve, &job, out);
    }
}

static bool is_chain(const struct draft_tree *tree)
{
    bool chain = true;
    for (int32_t i = 0; tree && i < tree->n; i++)
        chain = chain && tree->parent[i] == i - 1;
    return chain;
}

/* The root and the first nodes of the proposal; a tree's first nodes are a tree. */
static void verify(struct switching *p, const struct draft_tree *tree, struct actions *out)
{
    int32_t n = !tree ? 0 : is_chain(tree) ? tree->n : min32(tree->n, pass_rows(p) - 1);
    p->n_shown = 0;
    p->n_rows = n + 1;
    p->token[0] = p->serve.root;
    p->parent[0] = -1;
    p->chain = true;
    for (int32_t i = 0; i < n; i++) {
        p->token[i + 1] = tree->token[i];
        p->parent[i + 1] = tree->parent[i] + 1;
        p->chain = p->chain && tree->parent[i] == i - 1;
    }
    submit_step(p, out);
}

static void decode_step(struct switching *p, struct actions *out)
{
    int32_t nodes = max_nodes(p);
    if (!p->serve.env->n_drafters || nodes < 1) {
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

static void emit(struct switching *p, const int32_t *token, int32_t n, struct actions *out)
{
    int32_t k = serve_emit(&p->serve, token, n, out);
    if (p->serve.closing)
        return;
    if (p->serve.env->n_drafters && max_nodes(p) > 0) { /* else nothing is drafted any more */
        memcpy(p->fresh + p->n_fresh, token, (size_t)k * sizeof *token);
        p->n_fresh += k;
    }
    if (p->decoding)
        decode_step(p, out);
    else
        advance(p, out);
}

static void commit(struct switching *p, int32_t pos, const int32_t *row, int32_t n,
                   struct actions *out)
{
    struct job job = {.kind = JOB_COMMIT, .role = dynamic(p) ? ROLE_DECODE : ROLE_TARGET};
    job.commit = (struct job_commit){.pos = pos, .n = n, .row = row};
    serve_submit(&p->serve, &job, out);
}

/* Keeps a step as it was verified, before a path of it is run again. */
static void show(struct switching *p, const int32_t *choice)
{
    size_t bytes = (size_t)p->n_rows * sizeof *choice;
    if (p->n_shown)
        return;
    p->n_shown = p->n_rows;
    p->shown_chain = p->chain;
    memcpy(p->shown_token, p->token, bytes);
    memcpy(p->shown_parent, p->parent, bytes);
    memcpy(p->shown_choice, choice, bytes);
}

/* A step's choices are all there. */
static void verified(struct switching *p, struct actions *out)
{
    int32_t row[MAX_ROWS], fresh[MAX_ROWS], pos = p->serve.pos;
    const int32_t *parent = p->chain ? NULL : p->parent;
    int32_t kept = exec_accept(p->n_rows, p->token, parent, p->choice, row);
    bool first = true, passes = p->verify_id > p->first_pass;
    p->verify_id = 0;
    show(p, p->choice);
    for (int32_t i = 0; i < kept; i++)
        first = first && row[i] == i;
    if (!first && p->param[TREE] == TREE_RECOMPUTE) {
        commit(p, pos, NULL, 0, out);
        for (int32_t i = 0; i < kept; i++)
            p->token[i] = p->token[row[i]];
        p->n_rows = kept;
        p->chain = true;
        submit_step(p, out);
        return;
    }
    if (kept < p->n_rows && passes)
        commit(p, pos + kept, NULL, 0, out); /* a COMMIT's rows are one step's */
    else if (kept < p->n_rows)
        commit(p, pos, first ? NULL : row, kept, out);
    for (int32_t i = 0; i < kept; i++)
        fresh[i] = p->choice[row[i]];
    p->serve.pos += kept;
    emit(p, fresh, kept, out);
}

static int passed(struct switching *p, const struct done *done, struct actions *out)
{
    bool last = done->id == p->verify_id;
    int32_t left = p->n_rows - p->n_choices;
    if (last ? done->n_choice != left : done->n_choice >= left)
        return ERR_POLICY;
    memcpy(p->choice + p->n_choices, done->choice, (size_t)done->n_choice * sizeof *p->choice);
    p->n_choices += done->n_choice;
    if (last)
        verified(p, out);
    return ERR_OK;
}

/* ---- events --------------------------------------------------------------------------------- */

/* A pass of the prompt has its outputs; the last one's bring the first token. */
static int headed(struct switching *p, const struct done *done, struct actions *out)
{
    bool tops = p->param[CALIBRATE] != 0;
    if (done->n_choice < 1 || (tops && done->k < 1))
        return ERR_POLICY;
    if (tops) {
        struct job job = {.kind = JOB_CALIBRATE, .phase = PHASE_DRAFT, .role = ROLE_DRAFT};
        job.calibrate = (struct job_calibrate){.pos = p->n_calibrated,
                                               .n = done->n_choice,
                                               .k = done->k,
                                               .top = done->top,
                                               .logit = done->logit};
        p->n_calibrated += done->n_choice;
        serve_submit(&p->serve, &job, out);
    }
    if (done->id != p->head_id) {
        advance(p, out);
        return ERR_OK;
    }
    p->head_id = 0;
    p->serve.pos = p->serve.n_prompt;
    emit(p, done->choice + done->n_choice - 1, 1, out);
    return ERR_OK;
}

static int handle(struct switching *p, const struct done *done, struct actions *out)
{
    if (done->job_kind == JOB_HEAD)
        return headed(p, done, out);
    if (done->id == p->draft_id) {
        p->draft_id = 0;
        verify(p, &done->tree, out);
    } else if (p->verify_id && done->id >= p->first_pass && done->id <= p->verify_id) {
        return passed(p, done, out);
    } else {
        advance(p, out);
    }
    return ERR_OK;
}

static int on_event(void *self, const struct event *ev, struct actions *out)
{
    struct switching *p = self;
    bool mine, started;
    if (ev->kind == EV_DONE)
        take_done(p, &ev->done);
    int rc = serve_event(&p->serve, ev, out, &mine, &started);
    if (rc)
        return rc;
    if (started)
        begin(p, out);
    else if (mine && p->serve.request >= 0)
        return handle(p, &ev->done, out);
    if (p->serve.request < 0 && p->param[BACK] == BACK_IDLE)
        restore(p, out);
    return ERR_OK;
}

const struct policy_type policy_switching = {
    .abi = POLICY_ABI,
    .size = sizeof(struct policy_type),
    .name = "switching",
    .summary = "a wide graph for the prompt, a narrow one to decode: how blocks pass over",
    .flags = POLICY_TAKES_DRAFTER,
    .role = roles,
    .params = params,
    .needs = {.features = EXEC_BLOCKS | EXEC_GRAPHS,
              .blocks = 1,
              .max_seqs = 1,
              .max_jobs = 8,
              .n_slots = 2,
              .n_graphs = 2},
    .lossless = lossless,
    .mem_bytes = mem_bytes,
    .init = init,
    .on_event = on_event,
};
