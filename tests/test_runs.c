/* The laws of runs on the executors that need no model; tests/test_real.c has the real one. */
#include "sim/exec/sim.h"
#include "sim/exec/threads.h"
#include "sim/exec/toy.h"
#include "tests/runs.h"
#include "tests/unit.h"
#include "tests/world.h"

enum { REQUESTS = 3, TOKENS = 40, VOCAB = 48 };

static struct engine *toy;
static struct world_cost cost;
static struct world_truth truth;

static int make_toy(const struct run_setup *setup, struct exec **out, struct err *e)
{
    struct toy_options o;
    struct threads_options t = {.name = "toy", .stall_ns = 60000000000};
    toy_defaults(&o);
    o.n_vocab = VOCAB;
    o.max_ctx = 1024;
    o.graph_width[0] = 16;
    o.graph_width[1] = 8;
    o.block_ns = o.row_ns = o.load_ns = 0;
    for (int i = 0; i < EXEC_MAX_ROLES; i++)
        t.cpu[i] = -1;
    int rc = toy_create(&o, &toy, e);
    return rc ? rc : threads_create(toy, setup, &t, out, e);
}

static void unmake_toy(void)
{
    toy->ops->destroy(toy);
}

static int make_sim(const struct run_setup *setup, struct exec **out, struct err *e)
{
    world_cost_init(&cost);
    world_truth_init(&truth, world_language, NULL, world_requests(REQUESTS, TOKENS), REQUESTS, NULL,
                     0);
    return sim_create(&cost.model, &truth.truth, setup, out, e);
}

static void on_the_toy(void)
{
    const struct runs r = {.name = "toy",
                           .make = make_toy,
                           .unmake = unmake_toy,
                           .n_vocab = VOCAB,
                           .request = world_requests(REQUESTS, TOKENS),
                           .n = REQUESTS};
    runs_are_lawful(&r);
}

static void in_simulation(void)
{
    const struct runs r = {.name = "sim",
                           .make = make_sim,
                           .n_vocab = VOCAB,
                           .request = world_requests(REQUESTS, TOKENS),
                           .n = REQUESTS};
    runs_are_lawful(&r);
}

static const struct unit_test tests[] = {
    {"on_the_toy", on_the_toy},
    {"in_simulation", in_simulation},
    {NULL, NULL},
};

UNIT_MAIN("runs", tests)
