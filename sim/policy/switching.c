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
 * of the dynamic graph by the role "decode", `width` wide. With a drafter in rounds (rounds.h).
 * With calibrate=1 the LM head runs on every row of the prompt. */
#include <assert.h>

#include "sim/policy/rounds.h"

enum { SCHEME, BACK, FREE, BEGIN, WINDOW, UNHIDDEN, STALL, K, MAX_DRAFT, DECODE, WIDTH, ROUNDS };
enum { NO_SWITCH, SYNC_SWITCH, ASYNC_LAST, PROGRESSIVE, BOTH_COPIED, BOTH_SHARED, NARROW_ONLY };
enum { BACK_SYNC, BACK_IDLE, BACK_KEEP };
enum { FREE_BEFORE, FREE_AFTER };
enum { BEGIN_FIRST, BEGIN_LATE };
enum { WINDOW_CHUNK, WINDOW_NEXT };
enum { UNHIDDEN_START, UNHIDDEN_WAIT };
enum { STALL_BLOCK, STALL_WINDOW };
enum { DECODE_GRAPH, DECODE_DYNAMIC };
enum { ROLE_TARGET, ROLE_LOAD, ROLE_DRAFT, ROLE_DECODE };
enum { WIDE, NARROW };
enum { ALL_CELLS = INT32_MAX };

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
    {"max_draft", "drafted tokens per step at most, where there is a drafter", ROUNDS_MAX_ROWS - 1,
     1, ROUNDS_MAX_ROWS - 1, NULL, 0},
    {"decode", "steps run on the graph in place, or on the dynamic one by the role decode",
     DECODE_GRAPH, 0, 0, decode_words, 0},
    {"width",
     "decode=dynamic: rows of a step; 0: as many as are used; auto: the belief's step curve "
     "decides",
     0, 0, ROUNDS_MAX_ROWS, NULL, 1},
    ROUNDS_PARAMS,
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
    struct rounds rounds;
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
    int32_t n_heads; /* in flight */
};

static bool lossless(const int64_t *param)
{
    return rounds_lossless(param + ROUNDS);
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

/* How steps run once the prompt is through. */
static int init_rounds(struct switching *p, struct err *e)
{
    const int64_t *param = p->param;
    bool dynamic = param[DECODE] == DECODE_DYNAMIC;
    uint8_t side = switches(p) ? NARROW : WIDE;
    if (!dynamic && param[WIDTH])
        return err_set(e, ERR_UNSUPPORTED,
                       "width is of steps on the dynamic graph, and with decode=graph a step is as "
                       "wide as the graph: leave it out, or set decode=dynamic");
    struct rounds_options opt = {.target_role = dynamic ? ROLE_DECODE : ROLE_TARGET,
                                 .draft_role = ROLE_DRAFT,
                                 .graph = dynamic ? 0 : p->graph[side],
                                 .width = dynamic ? param[WIDTH] : p->width[side],
                                 .max_draft = param[MAX_DRAFT]};
    rounds_read(param + ROUNDS, &opt);
    return rounds_init(&p->rounds, &p->serve, &opt, e);
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
    int rc = choose_graphs(p, &env->caps, e);
    return rc ? rc : init_rounds(p, e);
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
    int32_t top_k = p->rounds.opt.top_k;
    struct job job = {.kind = JOB_HEAD, .phase = PHASE_PREFILL, .role = ROLE_TARGET};
    job.n_wait = 1;
    job.wait[0] = after;
    job.forward = *f;
    job.forward.slot_in = f->slot_out;
    job.forward.slot_out = -1;
    job.forward.want = top_k ? WANT_TOPK : WANT_ARGMAX;
    job.forward.want_from = top_k ? 0 : f->n - 1;
    job.forward.want_k = top_k;
    int64_t id = serve_submit(&p->serve, &job, out);
    p->n_heads++;
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
    bool ends = last || (p->to == p->blocks && p->rounds.opt.top_k);
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

/* The prompt waits for calibration after every pass, and for the pass. */
static bool held(const struct switching *p)
{
    const struct rounds_options *opt = &p->rounds.opt;
    return opt->top_k && opt->overlap == ROUNDS_SERIAL && (p->n_heads || rounds_waits(&p->rounds));
}

/* Submits what may be submitted, as far as there is room in flight. */
static void compute(struct switching *p, struct actions *out)
{
    int32_t room = min32(p->serve.env->caps.max_jobs, SERVE_MAX_FLIGHT) - 5;
    while (p->n && p->left && p->serve.n_flight < room && !held(p)) {
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
        rounds_start(&p->rounds, out);
    }
}

static void begin(struct switching *p, struct actions *out)
{
    p->prefilling = p->decoding = p->begun = false;
    p->pos = p->block = p->left = p->to = p->at = p->slot = p->n_heads = 0;
    p->n = chunk_at(p, 0);
    p->head_id = -1; /* the prompt's end has not been submitted */
    rounds_open(&p->rounds, out);
    advance(p, out);
}

/* ---- events --------------------------------------------------------------------------------- */

/* Outputs of a pass of the prompt. */
static int headed(struct switching *p, const struct done *done, struct actions *out)
{
    bool last = done->id == p->head_id;
    p->n_heads--;
    if (last)
        p->serve.pos = p->serve.n_prompt;
    return rounds_prompt(&p->rounds, done, last, out);
}

static int handle(struct switching *p, const struct done *done, struct actions *out)
{
    bool mine = false, head = done->job_kind == JOB_HEAD;
    int rc = head ? headed(p, done, out) : rounds_done(&p->rounds, done, out, &mine);
    if (rc || mine)
        return rc;
    if (p->serve.n_output)
        p->head_id = 0;
    advance(p, out);
    if (head)
        rounds_prompted(&p->rounds, done, out);
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
