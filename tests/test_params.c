/* Every parameter of every policy and drafter changes some run: one that changes none is not wired
 * up, or nobody needs it. A new one is walked without a word here, but for a setting in which it
 * has a say where none of those below gives it one. */
#include <stdio.h>
#include <string.h>

#include "sim/exec/sim.h"
#include "tests/unit.h"
#include "tests/world.h"

enum { REQUESTS = 4, TOKENS = 70, MAX_VALUES = 64 };

static struct world_cost cost;
static struct world_truth truth;
static struct belief belief;

struct outcome {
    int code;
    uint64_t actions_hash;
    int64_t end_ns, work;
};

/* A narrow graph that is slow to load, step times of a staircase, loads that are hard to hide. */
static void start(void)
{
    world_cost_init(&cost);
    cost.caps.graph_weights[0] = cost.caps.graph_weights[1] = 1;
    cost.other_ns = 900000;
    world_truth_init(&truth, world_language, NULL, world_requests(REQUESTS, TOKENS), REQUESTS, NULL,
                     0);
    belief = (struct belief){.n_widths = 5, .n_contexts = 1, .n_blocks = 6};
    for (int32_t i = 0; i < 5; i++) {
        static const int32_t width[5] = {1, 4, 8, 16, 64};
        belief.width[i] = width[i];
        belief.step_ns[i][0] = 1000000 + 40000 * width[i];
    }
    belief.context[0] = 512;
    for (int32_t b = 0; b < 6; b++) {
        belief.load_ns[b] = 500000;
        for (int g = 0; g < 3; g++)
            belief.block_ns[g][b] = 300000;
    }
}

static struct outcome run(const struct run_setup *setup)
{
    struct run_result result = {0};
    struct arena arena;
    struct exec *x;
    struct err e = {0};
    struct outcome out = {0};
    arena_init(&arena);
    out.code = sim_create(&cost.model, &truth.truth, setup, &x, &e);
    if (!out.code) {
        const struct request *request = world_requests(REQUESTS, TOKENS);
        out.code = driver_run(setup, x, request, REQUESTS, &arena, &result, &e);
        out.actions_hash = result.actions_hash;
        out.end_ns = result.end_ns;
        for (int32_t r = 0; r < REQUESTS && !out.code; r++)
            out.work += result.request[r].work.probes + 7 * result.request[r].work.nodes;
        x->ops->destroy(x);
    }
    arena_fini(&arena);
    return out;
}

static bool differs(const struct outcome *a, const struct outcome *b)
{
    return !a->code && !b->code &&
           (a->actions_hash != b->actions_hash || a->end_ns != b->end_ns || a->work != b->work);
}

/* Values worth trying: every choice; else both ends and some between; and auto. */
static int32_t values_of(const struct param *p, int64_t *value)
{
    static const int64_t some[] = {1, 2, 3, 4, 6, 8, 10, 16, 20, 33, 50, 64, 300, 500, 950, 2500};
    int32_t n = 0;
    for (int64_t c = 0; p->choice && p->choice[c]; c++)
        value[n++] = c;
    for (size_t i = 0; !p->choice && i < sizeof some / sizeof *some; i++)
        if (some[i] > p->min && some[i] < p->max)
            value[n++] = some[i];
    if (!p->choice) {
        value[n++] = p->min;
        value[n++] = p->max;
    }
    if (p->allow_auto & PARAM_TAKES_AUTO)
        value[n++] = PARAM_AUTO;
    return n;
}

struct setting {
    const char *policy, *drafter;
};

static const struct setting settings[] = {
    {"autoregressive", ""},
    {"speculative", "lookup:branches=3"},
    {"speculative:max_draft=31", "lookup:min_ngram=2 ngram=4"},
    {"speculative:width=8 max_draft=15", "suffix"},
    {"speculative:width=8 max_draft=15 overflow=passes", "suffix:history=2 occurrence=first"},
    {"speculative:max_draft=31", "sam-author"},
    {"speculative:max_draft=31", "sam-author:history=2 max_predicts=12"},
    {"speculative:max_draft=15 calibrate=1 reuse=1 chunk=50", "aligned"},
    {"speculative:max_draft=31 calibrate=1 reuse=1 tree=plain", "aligned:reuse=root flights=2"},
    {"speculative:width=auto fill=1 max_draft=31 calibrate=1 reuse=1", "aligned:history=2"},
    {"speculative:max_draft=7", "parametric"},
    {"speculative:max_draft=7", "parametric:law=geometric"},
    {"switching:scheme=progressive", "suffix"},
    {"switching:calibrate=1 reuse=1", "aligned"},
    {"switching:decode=dynamic calibrate=1 reuse=1", "aligned"},
    {"switching:scheme=progressive k=3 window=next", "aligned"},
    {"switching:scheme=progressive begin=late unhidden=wait", "aligned"},
    {"switching:scheme=progressive stall=window", ""},
};

/* Whether some value of parameter `index` changes a run in some setting that has the type. */
static bool has_a_say(bool drafter, const char *name, const struct param *spec, int32_t index)
{
    for (size_t s = 0; s < sizeof settings / sizeof *settings; s++) {
        const char *of = drafter ? settings[s].drafter : settings[s].policy;
        struct run_setup setup;
        int64_t value[MAX_VALUES];
        size_t length = strcspn(of, ":");
        if (strlen(name) != length || strncmp(of, name, length))
            continue;
        CHECK(world_setup(&setup, settings[s].policy, settings[s].drafter));
        setup.belief = belief;
        setup.seed = 3;
        struct outcome before = run(&setup);
        CHECK_EQ(before.code, ERR_OK);
        int32_t n = values_of(&spec[index], value);
        for (int32_t i = 0; i < n; i++) {
            int64_t *param = drafter ? setup.drafter[0].param : setup.policy_param;
            param[index] = value[i];
            struct outcome after = run(&setup);
            if (differs(&before, &after))
                return true;
        }
    }
    return false;
}

static void walk(bool drafter, const char *name, const struct param *spec)
{
    for (int32_t i = 0; i < param_count(spec); i++)
        if (!CHECK(has_a_say(drafter, name, spec, i)))
            printf("%s of %s changes no run\n", spec[i].name, name);
}

static void every_parameter_of_a_policy_changes_some_run(void)
{
    start();
    for (int i = 0; policy_registry[i]; i++)
        walk(false, policy_registry[i]->name, policy_registry[i]->params);
}

static void every_parameter_of_a_drafter_changes_some_run(void)
{
    start();
    for (int i = 0; draft_registry[i]; i++)
        walk(true, draft_registry[i]->name, draft_registry[i]->params);
}

static const struct unit_test tests[] = {
    {"every_parameter_of_a_policy_changes_some_run", every_parameter_of_a_policy_changes_some_run},
    {"every_parameter_of_a_drafter_changes_some_run",
     every_parameter_of_a_drafter_changes_some_run},
    {NULL, NULL},
};

UNIT_MAIN("params", tests)
