/* Parametric acceptance against closed forms. */
#include "sim/exec/drafting.h"
#include "sim/exec/metrics.h"
#include "sim/exec/sim.h"
#include "tests/unit.h"
#include "tests/world.h"

#include <math.h>
#include <stdio.h>

enum { REQUESTS = 16, TOKENS = 500 };

static struct world_cost cost;
static struct world_truth truth;

/* Tokens of each verification that had room for all it might accept, over all requests. */
struct rounds {
    int64_t n, few, many;
    double sum, squares;
};

static struct rounds run(const char *drafter, int32_t drafted, uint64_t seed)
{
    const struct request *request = world_requests(REQUESTS, TOKENS);
    struct rounds out = {.few = INT64_MAX};
    struct run_setup setup;
    struct run_result result;
    struct arena arena;
    struct exec *x;
    struct err e = {0};
    char policy[64];
    snprintf(policy, sizeof policy, "speculative:max_draft=%d", (int)drafted);
    arena_init(&arena);
    CHECK(world_setup(&setup, policy, drafter));
    setup.seed = seed;
    CHECK_EQ(sim_create(&cost.model, &truth.truth, &setup, &x, &e), ERR_OK);
    CHECK_EQ(driver_run(&setup, x, request, REQUESTS, &arena, &result, &e), ERR_OK);
    for (int32_t r = 0; r < REQUESTS && !e.code; r++) {
        const struct request_result *q = &result.request[r];
        int32_t said = 0;
        for (int32_t i = 0; i < q->n_steps; said += q->step[i++].emitted) {
            const struct step *s = &q->step[i];
            if (s->phase != PHASE_VERIFY || said + drafted + 1 > TOKENS)
                continue;
            out.n++;
            out.sum += s->emitted;
            out.squares += (double)s->emitted * s->emitted;
            out.few = s->emitted < out.few ? s->emitted : out.few;
            out.many = s->emitted > out.many ? s->emitted : out.many;
        }
    }
    x->ops->destroy(x);
    arena_fini(&arena);
    return out;
}

/* Inside the 99.9 % interval of its own spread. */
static void check_mean(const struct rounds *r, double mean)
{
    double own = r->sum / (double)r->n;
    double variance = r->squares / (double)r->n - own * own;
    CHECK(r->n > 500);
    CHECK_NEAR(own, mean, 3.3 * sqrt(variance / (double)r->n) + 1e-12);
}

static void start(void)
{
    world_cost_init(&cost);
    world_truth_init(&truth, world_language, NULL, world_requests(REQUESTS, TOKENS), REQUESTS, NULL,
                     0);
}

/* (1 - a^(k+1)) / (1 - a) */
static void geometric_acceptance_yields_the_closed_form(void)
{
    static const struct {
        int32_t permille, drafted;
    } of[] = {{800, 7}, {800, 1}, {550, 5}, {930, 15}, {85, 3}};
    start();
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        char drafter[64];
        double a = of[i].permille / 1000.0;
        snprintf(drafter, sizeof drafter, "parametric:law=geometric chance=%d", of[i].permille);
        struct rounds r = run(drafter, of[i].drafted, 7 + i);
        check_mean(&r, (1 - pow(a, of[i].drafted + 1)) / (1 - a));
    }
}

static void certain_acceptance_needs_no_draw(void)
{
    start();
    struct rounds all = run("parametric:law=geometric chance=1000", 6, 1);
    CHECK_EQ(all.few, 7);
    CHECK_EQ(all.many, 7);
    struct rounds none = run("parametric:law=geometric chance=0", 6, 1);
    CHECK_EQ(none.few, 1);
    CHECK_EQ(none.many, 1);
    struct rounds whole = run("parametric:tokens=4000", 6, 1);
    CHECK_EQ(whole.few, 4);
    CHECK_EQ(whole.many, 4);
}

static void fixed_acceptance_is_as_steady_as_it_can_be(void)
{
    start();
    struct rounds r = run("parametric", 9, 3); /* 5.5 */
    CHECK_EQ(r.few, 5);
    CHECK_EQ(r.many, 6);
    check_mean(&r, 5.5);
    r = run("parametric:tokens=2085", 9, 4);
    CHECK_EQ(r.few, 2);
    CHECK_EQ(r.many, 3);
    check_mean(&r, 2.085);
}

/* Whether a token is right at its place does not depend on who drafts it from where. */
static void luck_is_a_function_of_the_place(void)
{
    enum { N = 24 };
    struct run_setup setup;
    struct drafting *d;
    bool right[N][N] = {{false}};
    int32_t token[N], parent[N], chance[N], both = 0;
    start();
    CHECK(world_setup(&setup, "speculative", "parametric:law=geometric chance=500"));
    setup.seed = 11;
    const struct request *q = world_requests(REQUESTS, TOKENS);
    const int32_t *text = truth.request[0].text;
    CHECK_EQ(drafting_create(&setup, 2000, N, &d, NULL), ERR_OK);
    drafting_tell_truth(d, &truth.truth);
    CHECK_EQ(drafting_open(d, 0, q[0].n, NULL), ERR_OK);
    for (int32_t said = 0; said < N; said++) {
        struct draft_tree tree = {0, token, parent, chance};
        struct draft_work work;
        struct job job = {.kind = JOB_DRAFT, .request = 0};
        job.draft = (struct job_draft){
            .n = said ? 1 : q[0].n, .token = text + (said ? q[0].n + said - 1 : 0), .max_nodes = N};
        CHECK_EQ(drafting_run(d, &job, &tree, &work), ERR_OK);
        CHECK_EQ(tree.n, N);
        for (int32_t i = 0; i < N; i++)
            right[said][i] = token[i] == text[q[0].n + said + i];
    }
    for (int32_t said = 1; said < N; said++)
        for (int32_t i = 0; i + said < N; i++) {
            CHECK_EQ(right[said][i], right[0][said + i]);
            both += right[said][i];
        }
    CHECK(both > 0 && both < N * (N - 1) / 2);
    drafting_destroy(d);
    struct rounds one = run("parametric", 9, 3), other = run("parametric", 9, 5);
    CHECK(one.sum * (double)other.n != other.sum * (double)one.n); /* the seed has a say */
}

static const struct unit_test tests[] = {
    {"geometric_acceptance_yields_the_closed_form", geometric_acceptance_yields_the_closed_form},
    {"certain_acceptance_needs_no_draw", certain_acceptance_needs_no_draw},
    {"fixed_acceptance_is_as_steady_as_it_can_be", fixed_acceptance_is_as_steady_as_it_can_be},
    {"luck_is_a_function_of_the_place", luck_is_a_function_of_the_place},
    {NULL, NULL},
};

UNIT_MAIN("parametric", tests)
