/* What the policy `speculative` does with calibration, reuse and filling: seen by a drafter that
 * writes down what it is told, and in hand-computed times. */
#include "sim/exec/sim.h"
#include "tests/unit.h"
#include "tests/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct world_cost cost;
static struct world_truth truth;

/* ---- a drafter that listens ----------------------------------------------------------------- */

/* What the instances were told, all together: one request at a time. */
static struct {
    int32_t n_text, text[2048];
    int32_t calibrated, wrong_tops, proposals, before_first; /* positions before the first one */
    int32_t shown, wrong_choices, agreed, branchy;
    int32_t k;
} heard;

static size_t bytes(const int64_t *param, const struct draft_limits *limits)
{
    (void)param;
    (void)limits;
    return 1;
}

static void init(void *mem, const int64_t *param, const struct draft_limits *limits)
{
    (void)mem;
    (void)param;
    (void)limits;
    memset(&heard, 0, sizeof heard);
}

static void append(void *self, const int32_t *token, int32_t n, struct draft_work *work)
{
    (void)self;
    memcpy(heard.text + heard.n_text, token, (size_t)n * sizeof *token);
    heard.n_text += n;
    work->tokens += n;
}

/* A root with two children: the wrong token first, then the right one with a wrong and a right
 * child; chances so that the right path is believed in. */
static void propose(void *self, int32_t max_nodes, struct draft_tree *out, struct draft_work *work)
{
    (void)self;
    int32_t text[2048], n = heard.n_text;
    memcpy(text, heard.text, (size_t)n * sizeof *text);
    text[n] = world_language(NULL, text, n);
    int32_t next = world_language(NULL, text, n + 1);
    const int32_t token[] = {(text[n] + 1) % 48, (text[n] + 2) % 48, text[n], (next + 1) % 48,
                             next};
    static const int32_t parent[] = {-1, 0, -1, 2, 2};
    static const int32_t chance[] = {DRAFT_SURE / 2, DRAFT_SURE / 4, DRAFT_SURE / 2, DRAFT_SURE / 8,
                                     DRAFT_SURE / 3};
    if (!heard.proposals++)
        heard.before_first = heard.calibrated;
    out->n = max_nodes < 5 ? max_nodes : 5;
    for (int32_t i = 0; i < out->n; i++) {
        out->token[i] = token[i];
        out->parent[i] = parent[i];
        out->chance[i] = chance[i];
    }
    work->nodes += out->n;
}

static void calibrate(void *self, int32_t pos, int32_t n, int32_t k, const int32_t *top,
                      const float *logit, struct draft_work *work)
{
    (void)self;
    (void)work;
    const int32_t *text = truth.request[0].text;
    heard.k = k;
    for (int32_t i = 0; i < n; i++)
        for (int32_t j = 0; j < k; j++)
            heard.wrong_tops +=
                top[i * k + j] != (world_language(NULL, text, pos + i + 1) + j) % 48 ||
                logit[i * k + j] != (float)(10 - j);
    heard.wrong_tops += pos != heard.calibrated; /* each position once, in order */
    heard.calibrated += n;
}

static void rejected(void *self, int32_t n, const int32_t *token, const int32_t *parent,
                     const int32_t *choice, struct draft_work *work)
{
    (void)self;
    (void)work;
    int32_t text[2048];
    heard.shown++;
    heard.branchy += parent != NULL;
    heard.wrong_choices += token[0] != heard.text[heard.n_text - 1];
    for (int32_t i = 0; i < n; i++) {
        int32_t path[64], depth = 0, at = heard.n_text - 1;
        for (int32_t r = i; r >= 0; r = parent ? parent[r] : r - 1)
            path[depth++] = token[r];
        memcpy(text, heard.text, (size_t)at * sizeof *text);
        while (depth)
            text[at++] = path[--depth];
        heard.wrong_choices += choice[i] != world_language(NULL, text, at);
    }
}

static const struct drafter_type listener = {.abi = DRAFT_ABI,
                                             .size = sizeof(struct drafter_type),
                                             .name = "listener",
                                             .summary = "listens",
                                             .flags = DRAFTER_BRANCHES | DRAFTER_ESTIMATES,
                                             .mem_bytes = bytes,
                                             .init = init,
                                             .append = append,
                                             .propose = propose,
                                             .calibrate = calibrate,
                                             .rejected = rejected};

static const struct drafter_type *drafter_of_run = &listener;
static bool knows_likely = true; /* the truth, of prompt positions */

/* ---- runs ----------------------------------------------------------------------------------- */

struct outcome {
    struct arena arena;
    struct run_result result;
    struct err e;
    int rc;
};

/* Request 2 of the world's: 263 tokens of prompt. */
static struct outcome *run(const char *policy, const struct belief *belief, int32_t max_tokens)
{
    static struct request request;
    struct outcome *o = calloc(1, sizeof *o);
    struct run_setup setup;
    struct exec *x;
    request = world_requests(3, max_tokens)[2];
    world_truth_init(&truth, world_language, NULL, &request, 1, NULL, 0);
    struct truth_ops ops = *truth.truth.ops;
    if (!knows_likely)
        ops.top = NULL;
    truth.truth.ops = &ops;
    CHECK(world_setup(&setup, policy, "suffix"));
    setup.drafter[0] = (struct run_drafter){.type = drafter_of_run};
    if (belief)
        setup.belief = *belief;
    arena_init(&o->arena);
    o->rc = sim_create(&cost.model, &truth.truth, &setup, &x, &o->e);
    if (!o->rc)
        o->rc = driver_run(&setup, x, &request, 1, &o->arena, &o->result, &o->e);
    x->ops->destroy(x);
    for (int32_t i = 0; !o->rc && i < max_tokens; i++)
        CHECK_EQ(o->result.request[0].output[i], truth.request[0].text[request.n + i]);
    return o;
}

static void done(struct outcome *o)
{
    arena_fini(&o->arena);
    free(o);
}

static void calibration_brings_every_position_once(void)
{
    static const char *const overlap[] = {"serial", "chunks", "draft"};
    world_cost_init(&cost);
    int64_t first_ns[3];
    for (int i = 0; i < 3; i++) {
        char policy[100];
        snprintf(policy, sizeof policy, "speculative:calibrate=1 topk=3 chunk=100 overlap=%s",
                 overlap[i]);
        struct outcome *o = run(policy, NULL, 20);
        if (!CHECK_EQ(o->rc, ERR_OK))
            printf("%s\n", o->e.msg);
        CHECK_EQ(heard.calibrated, 263);
        CHECK_EQ(heard.wrong_tops, 0);
        CHECK_EQ(heard.k, 3);
        CHECK_EQ(heard.before_first, i == 2 ? 200 : 263);
        first_ns[i] = o->result.request[0].first_ns;
        done(o);
    }
    /* three chunks of 1 ms and 10 us a row; in series, three CALIBRATE jobs of 50 us */
    CHECK_EQ(first_ns[1], 3 * 1000000 + 263 * 10000);
    CHECK_EQ(first_ns[2], first_ns[1]);
    CHECK_EQ(first_ns[0], first_ns[1] + 3 * 50000);
}

/* A truth need not know what is likely: the positions come all the same, with nothing said of
 * them. */
static void a_truth_may_know_no_likely_tokens(void)
{
    world_cost_init(&cost);
    knows_likely = false;
    struct outcome *o = run("speculative:calibrate=1 topk=3 chunk=100", NULL, 20);
    knows_likely = true;
    CHECK_EQ(o->rc, ERR_OK);
    CHECK_EQ(heard.calibrated, 263);
    CHECK_EQ(heard.wrong_tops, 3 * 263);
    done(o);
}

static void without_it_nothing_is_calibrated(void)
{
    world_cost_init(&cost);
    struct outcome *o = run("speculative:chunk=100", NULL, 20);
    CHECK_EQ(heard.calibrated + heard.shown, 0);
    done(o);
    o = run("speculative:calibrate=1 topk=5", NULL, 20);
    CHECK_EQ(o->rc, ERR_UNSUPPORTED);
    CHECK_HAS(o->e.msg, "topk is 5, this executor gives at most 4");
    done(o);
    cost.caps.features &= ~(uint32_t)EXEC_CALIBRATES;
    o = run("speculative:calibrate=1", NULL, 20);
    CHECK_EQ(o->rc, ERR_UNSUPPORTED);
    CHECK_HAS(o->e.msg, "set calibrate=0");
    done(o);
    world_cost_init(&cost);
    o = run("speculative:fill=1", NULL, 20);
    CHECK_EQ(o->rc, ERR_UNSUPPORTED);
    CHECK_HAS(o->e.msg, "set fill=0");
    done(o);
}

static void more_paths_than_can_be_verified_are_refused(void)
{
    static const struct {
        int32_t most, max_draft, branches;
        bool trees, good;
    } each[] = {{4, 7, 4, true, true},     {4, 7, 5, true, false},  {4, 4, 5, true, true},
                {0, 300, 500, true, true}, {0, 7, 2, false, false}, {0, 7, 1, false, true}};
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        struct run_setup setup;
        struct exec_caps caps;
        struct err e = {0};
        struct exec *x;
        char policy[60], drafter[60];
        world_cost_init(&cost);
        cost.caps.max_branches = each[i].most;
        if (!each[i].trees)
            cost.caps.features &= ~(uint32_t)EXEC_TREES;
        snprintf(policy, sizeof policy, "speculative:max_draft=%d", (int)each[i].max_draft);
        snprintf(drafter, sizeof drafter, "aligned:branches=%d", (int)each[i].branches);
        CHECK(world_setup(&setup, policy, drafter));
        if (!CHECK_EQ(sim_create(&cost.model, &truth.truth, &setup, &x, &e), ERR_OK))
            continue;
        x->ops->caps(x, &caps);
        CHECK_EQ(caps.max_branches, each[i].most);
        CHECK_EQ(driver_check(&setup, x, &e), each[i].good ? ERR_OK : ERR_UNSUPPORTED);
        if (!each[i].good)
            CHECK_HAS(e.msg, "branches to at most");
        x->ops->destroy(x);
    }
    world_cost_init(&cost);
}

static void reuse_shows_every_verified_step(void)
{
    static const char *const tree[] = {"plain", "recompute"};
    world_cost_init(&cost);
    for (int i = 0; i < 2; i++) {
        char policy[100];
        snprintf(policy, sizeof policy, "speculative:reuse=1 tree=%s", tree[i]);
        struct outcome *o = run(policy, NULL, 40);
        CHECK_EQ(o->rc, ERR_OK);
        CHECK(heard.shown >= 12);
        CHECK_EQ(heard.shown, heard.proposals - 1);
        CHECK(heard.branchy >= heard.shown - 1); /* near the end there is room for one node */
        CHECK_EQ(heard.wrong_choices, 0);
        done(o);
    }
    struct outcome *o = run("speculative:reuse=1 max_draft=2", NULL, 40);
    CHECK_EQ(heard.branchy, 0); /* the first two nodes are a chain */
    CHECK_EQ(heard.wrong_choices, 0);
    CHECK(heard.shown > 30);
    done(o);
}

static int32_t steps_of_width(const struct outcome *o, int32_t width, int32_t *n)
{
    int32_t found = 0;
    *n = 0;
    for (int32_t i = 0; i < o->result.request[0].n_steps; i++) {
        const struct step *s = &o->result.request[0].step[i];
        if (s->phase != PHASE_VERIFY || s->width != width)
            continue;
        found++;
        *n = s->n;
    }
    return found;
}

static void filling_takes_what_pays(void)
{
    struct belief b = {.n_widths = 4,
                       .n_contexts = 1,
                       .width = {1, 2, 4, 6},
                       .context = {0},
                       .step_ns = {{100}, {130}, {150}, {10000}}};
    int32_t n;
    world_cost_init(&cost);
    /* four rows: the root and the likeliest three, 0, 2 and 4, of which 2 and 4 are right */
    struct outcome *o = run("speculative:width=auto fill=1 tree=plain max_draft=5", &b, 41);
    CHECK_EQ(o->rc, ERR_OK);
    CHECK(steps_of_width(o, 4, &n) >= 12);
    CHECK_EQ(n, 4);
    CHECK_EQ(o->result.request[0].n_verify, 15);
    done(o);
    /* as many rows as are used, at the same choice */
    o = run("speculative:width=0 fill=1 tree=plain max_draft=5", &b, 41);
    CHECK(steps_of_width(o, 4, &n) >= 12);
    CHECK_EQ(o->result.request[0].n_verify, 15);
    done(o);
    /* the first three in the proposal's order have one wrong path and half of a right one */
    o = run("speculative:width=4 max_draft=3 tree=plain", &b, 41);
    CHECK_EQ(o->result.request[0].n_verify, 21);
    done(o);
    b.step_ns[3][0] = 151; /* two more rows for next to nothing */
    o = run("speculative:width=auto fill=1 tree=plain max_draft=5", &b, 41);
    CHECK(steps_of_width(o, 6, &n) >= 12);
    CHECK_EQ(n, 6);
    done(o);
    b.step_ns[1][0] = b.step_ns[2][0] = b.step_ns[3][0] = 1000; /* nothing pays */
    o = run("speculative:width=auto fill=1 tree=plain max_draft=5", &b, 41);
    CHECK_EQ(o->result.request[0].n_verify, 40);
    done(o);
}

/* A path that is run again has to be worth that too: 2.33 tokens in 150 + 130 / 2 of four rows with
 * branches, 1.75 in 150 of the two nodes that lead. They are wrong, and at last nothing pays. */
static void filling_counts_what_is_run_again(void)
{
    struct belief b = {.n_widths = 3,
                       .n_contexts = 1,
                       .width = {1, 2, 4},
                       .context = {0},
                       .step_ns = {{90}, {130}, {150}}};
    int32_t n;
    world_cost_init(&cost);
    struct outcome *o = run("speculative:width=auto fill=1 max_draft=5", &b, 41);
    CHECK_EQ(o->rc, ERR_OK);
    CHECK(steps_of_width(o, 4, &n) >= 1);
    CHECK_EQ(n, 3);
    CHECK_EQ(o->result.request[0].n_verify, 40);
    done(o);
    o = run("speculative:width=auto fill=1 max_draft=5 tree=plain", &b, 41);
    CHECK(steps_of_width(o, 4, &n) >= 12);
    CHECK_EQ(n, 4);
    done(o);
}

/* A chain of max_nodes: right for the first `right` tokens. */
static int32_t chain_right;

static void propose_chain(void *self, int32_t max_nodes, struct draft_tree *out,
                          struct draft_work *work)
{
    (void)self;
    int32_t text[2048], n = heard.n_text;
    memcpy(text, heard.text, (size_t)n * sizeof *text);
    for (out->n = 0; out->n < max_nodes; out->n++, n++) {
        text[n] = world_language(NULL, text, n);
        text[n] = out->n < chain_right ? text[n] : (text[n] + 1) % 48;
        out->token[out->n] = text[n];
        out->parent[out->n] = out->n - 1;
    }
    work->nodes += out->n;
}

/* Wrong for 100 tokens, then right: width=auto gives up drafting, and takes it up again, since what
 * was drafted and not verified is held against what the target says. */
static void propose_late(void *self, int32_t max_nodes, struct draft_tree *out,
                         struct draft_work *work)
{
    chain_right = heard.n_text < 263 + 100 ? 0 : max_nodes;
    propose_chain(self, max_nodes, out, work);
}

static void drafting_is_taken_up_again(void)
{
    struct belief b = {
        .n_widths = 2, .n_contexts = 1, .width = {1, 8}, .context = {0}, .step_ns = {{100}, {200}}};
    struct drafter_type late = listener;
    int32_t alone = 0, tokens = 0, n;
    late.propose = propose_late;
    drafter_of_run = &late;
    world_cost_init(&cost);
    struct outcome *o = run("speculative:width=auto max_draft=7", &b, 401);
    CHECK_EQ(o->rc, ERR_OK);
    const struct request_result *q = &o->result.request[0];
    for (int32_t i = 0; i < q->n_steps; i++) {
        const struct step *s = &q->step[i];
        if (s->phase == PHASE_PREFILL)
            continue;
        tokens += s->emitted;
        alone += tokens <= 100 && s->width == 1;
    }
    CHECK(alone > 90);
    CHECK(steps_of_width(o, 8, &n) > 15);
    CHECK_EQ(n, 8);
    done(o);
    drafter_of_run = &listener;
}

static void a_chain_that_is_too_long_takes_more_passes(void)
{
    static const int32_t right[] = {30, 20, 8, 7, 6, 0};
    struct drafter_type chain = listener;
    chain.propose = propose_chain;
    drafter_of_run = &chain;
    world_cost_init(&cost);
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        chain_right = right[i];
        struct outcome *o =
            run("speculative:width=8 max_draft=20 overflow=passes reuse=1", NULL, 61);
        if (!CHECK_EQ(o->rc, ERR_OK))
            printf("%s\n", o->e.msg);
        const struct request_result *q = &o->result.request[0];
        int32_t emitting = 0, at = 0, most = (right[i] < 20 ? right[i] : 20) + 1;
        for (int32_t s = 0; s < q->n_steps; s++) {
            if (q->step[s].phase == PHASE_PREFILL)
                continue;
            emitting += q->step[s].emitted > 0;
            CHECK(q->step[s].n <= 8);
            at++;
        }
        CHECK_EQ(at, q->n_verify);
        CHECK(emitting < at);
        CHECK_EQ(heard.wrong_choices, 0);
        CHECK_EQ(emitting, (60 + most - 1) / most);
        done(o);
        o = run("speculative:width=8 max_draft=20", NULL, 61); /* cut */
        int32_t each = (right[i] < 7 ? right[i] : 7) + 1;
        CHECK_EQ(o->result.request[0].n_verify, (60 + each - 1) / each);
        done(o);
    }
    drafter_of_run = &listener;
}

static const struct unit_test tests[] = {
    {"a_chain_that_is_too_long_takes_more_passes", a_chain_that_is_too_long_takes_more_passes},
    {"drafting_is_taken_up_again", drafting_is_taken_up_again},
    {"calibration_brings_every_position_once", calibration_brings_every_position_once},
    {"a_truth_may_know_no_likely_tokens", a_truth_may_know_no_likely_tokens},
    {"without_it_nothing_is_calibrated", without_it_nothing_is_calibrated},
    {"more_paths_than_can_be_verified_are_refused", more_paths_than_can_be_verified_are_refused},
    {"reuse_shows_every_verified_step", reuse_shows_every_verified_step},
    {"filling_takes_what_pays", filling_takes_what_pays},
    {"filling_counts_what_is_run_again", filling_counts_what_is_run_again},
    {NULL, NULL},
};

UNIT_MAIN("speculative", tests)
