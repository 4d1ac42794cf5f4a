/* The simulated executor and the shipped policies, on a world with round numbers. */
#include "sim/exec/sim.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sim/exec/metrics.h"
#include "tests/unit.h"
#include "tests/world.h"

static struct world_cost cost;
static struct world_truth truth;

/* Runs `n` requests; the result lives in `arena`. */
static int run(const struct run_setup *setup, const struct request *request, int32_t n,
               struct arena *arena, struct run_result *out, struct sim_stats *stats, struct err *e)
{
    struct exec *x;
    arena_init(arena);
    int rc = sim_create(&cost.model, &truth.truth, setup, &x, e);
    if (rc)
        return rc;
    rc = driver_run(setup, x, request, n, arena, out, e);
    if (stats)
        sim_stats(x, stats);
    x->ops->destroy(x);
    return rc;
}

static void start(const struct request *request, int32_t n)
{
    world_cost_init(&cost);
    world_truth_init(&truth, world_language, NULL, request, n, NULL, 0);
}

static void every_policy_says_what_the_target_says(void)
{
    static const char *const policy[] = {"autoregressive",
                                         "autoregressive:chunk=64",
                                         "speculative",
                                         "speculative:width=4 max_draft=3",
                                         "speculative:width=8 max_draft=15",
                                         "speculative:max_draft=31",
                                         "speculative:tree=plain",
                                         NULL};
    static const char *const drafter[] = {"lookup", "lookup:branches=3 min_ngram=1", "suffix",
                                          NULL};
    const struct request *request = world_requests(5, 90);
    start(request, 5);
    for (int p = 0; policy[p]; p++) {
        for (int d = 0; drafter[d]; d++) {
            struct run_setup setup;
            struct arena arena;
            struct run_result result;
            struct err e = {0};
            if (!CHECK(world_setup(&setup, policy[p], p < 2 ? "" : drafter[d])))
                continue;
            if (!CHECK_EQ(run(&setup, request, 5, &arena, &result, NULL, &e), ERR_OK))
                printf("%s %s: %s\n", policy[p], drafter[d], e.msg);
            for (int32_t r = 0; r < 5 && !e.code; r++) {
                const struct request_result *q = &result.request[r];
                CHECK_EQ(q->n_output, 90);
                CHECK(
                    !memcmp(q->output, truth.request[r].text + request[r].n, 90 * sizeof(int32_t)));
                CHECK(q->finished);
                CHECK(p < 2 || q->n_verify < 89); /* drafts save steps in a language so small */
            }
            arena_fini(&arena);
        }
    }
}

static void autoregressive_time_is_the_sum_of_its_jobs(void)
{
    const struct request *request = world_requests(1, 10); /* 37 tokens of prompt */
    struct run_setup setup;
    struct arena arena;
    struct run_result result;
    struct sim_stats stats;
    struct err e = {0};
    start(request, 1);
    cost.host = (struct cost_host){
        .event_ns = 3000, .action_ns = 500, .dispatch_ns = 20000, .notify_ns = 7000};
    CHECK(world_setup(&setup, "autoregressive:chunk=20", NULL));
    CHECK_EQ(run(&setup, request, 1, &arena, &result, &stats, &e), ERR_OK);
    const struct request_result *q = &result.request[0];
    /* Arrival: one event with two submits; chunks of 20 and 17 rows, back to back. */
    int64_t first = (3000 + 2 * 500) + 20000 + (1000000 + 200000) + (1000000 + 170000) + 7000 +
                    (3000 + 2 * 500);
    /* Each token: the hand-over, a step of one row, the delivery, an event with two actions. */
    int64_t token = 20000 + 1010000 + 7000 + 3000 + 2 * 500;
    CHECK_EQ(q->first_ns, first);
    CHECK_EQ(q->last_ns, first + 9 * token);
    CHECK_EQ(q->part_ns[PART_STEP], 9 * 1010000);
    CHECK_EQ(q->part_ns[PART_PREFILL], 1200000 + 1170000);
    CHECK_EQ(q->n_steps, 2 + 9);
    CHECK_EQ(stats.processor[0].busy_ns, 1200000 + 1170000 + 9 * 1010000 + 50000);
    struct metrics m;
    metrics_of(q, &m);
    CHECK_EQ(m.ttft_ns, first);
    CHECK_NEAR(m.tpot_ns, (double)token, 1e-6);
    CHECK_NEAR(m.tokens_per_verify, 1, 0);
    int64_t pj;
    CHECK(energy_pj(stats.processor[0].energy, &pj));
    CHECK_EQ(pj,
             stats.processor[0].busy_ns * 3000 + (stats.now_ns - stats.processor[0].busy_ns) * 100);
    CHECK(!stats.processor[2].energy.known);
    arena_fini(&arena);
}

static void the_same_run_twice_is_the_same(void)
{
    const struct request *request = world_requests(4, 60);
    struct run_setup setup;
    struct run_result result[2];
    struct arena arena[2];
    struct err e = {0};
    start(request, 4);
    CHECK(world_setup(&setup, "speculative:max_draft=7", "suffix"));
    for (int i = 0; i < 2; i++)
        CHECK_EQ(run(&setup, request, 4, &arena[i], &result[i], NULL, &e), ERR_OK);
    CHECK(result[0].actions_hash == result[1].actions_hash);
    CHECK_EQ(result[0].end_ns, result[1].end_ns);
    CHECK(result[0].n_events > 100);
    CHECK(world_setup(&setup, "speculative:max_draft=6", "suffix"));
    arena_fini(&arena[1]);
    CHECK_EQ(run(&setup, request, 4, &arena[1], &result[1], NULL, &e), ERR_OK);
    CHECK(result[0].actions_hash != result[1].actions_hash);
    arena_fini(&arena[0]);
    arena_fini(&arena[1]);
}

static void requests_queue_and_are_cancelled(void)
{
    struct request request[3];
    memcpy(request, world_requests(3, 40), sizeof request);
    request[0].arrival_ns = request[1].arrival_ns = request[2].arrival_ns = 5;
    request[0].cancel_ns = 5 * 1000000; /* while it decodes */
    request[1].cancel_ns = 4 * 1000000; /* while it waits */
    struct run_setup setup;
    struct arena arena;
    struct run_result result;
    struct err e = {0};
    start(request, 3);
    CHECK(world_setup(&setup, "speculative", "lookup"));
    CHECK_EQ(run(&setup, request, 3, &arena, &result, NULL, &e), ERR_OK);
    CHECK(result.request[0].cancelled && result.request[0].n_output < 40);
    CHECK(result.request[0].n_output > 0);
    CHECK(result.request[1].cancelled);
    CHECK_EQ(result.request[1].n_output, 0);
    CHECK_EQ(result.request[1].finish_ns, 4 * 1000000);
    CHECK_EQ(result.request[2].n_output, 40);
    CHECK_EQ(result.request[2].arrive_ns, 5);
    arena_fini(&arena);
}

static void auto_width_follows_the_belief(void)
{
    const struct request *request = world_requests(1, 80);
    struct run_setup setup;
    struct arena arena;
    struct run_result result;
    struct err e = {0};
    start(request, 1);
    CHECK(world_setup(&setup, "speculative:width=auto max_draft=15", "suffix"));
    CHECK_EQ(run(&setup, request, 1, &arena, &result, NULL, &e), ERR_UNSUPPORTED);
    CHECK_HAS(e.msg, "belief");
    arena_fini(&arena);
    /* A staircase: 4 is as dear as 2, 3 dearer than 4, 16 far dearer. */
    struct belief *b = &setup.belief;
    *b = (struct belief){.n_widths = 5,
                         .n_contexts = 1,
                         .width = {1, 2, 3, 4, 16},
                         .context = {0},
                         .step_ns = {{100}, {120}, {190}, {120}, {5000}}};
    e = (struct err){0};
    CHECK_EQ(run(&setup, request, 1, &arena, &result, NULL, &e), ERR_OK);
    int32_t used[17] = {0};
    for (int32_t i = 0; i < result.request[0].n_steps; i++)
        if (result.request[0].step[i].phase != PHASE_PREFILL)
            used[result.request[0].step[i].width]++;
    CHECK_EQ(used[3] + used[16], 0);
    CHECK(used[4] > 10);
    arena_fini(&arena);
}

static void a_shared_bus_slows_both_and_keeps_the_sum(void)
{
    /* Two roles whose jobs each want the whole bus: the load and the prefill take twice as long. */
    const struct request *request = world_requests(1, 3);
    struct run_setup setup;
    struct arena arena;
    struct run_result alone, shared;
    struct sim_stats stats;
    struct err e = {0};
    start(request, 1);
    CHECK(world_setup(&setup, "speculative", "lookup"));
    cost.bus_bytes_per_s = 1000000000;
    cost.step_bytes = 0;
    CHECK_EQ(run(&setup, request, 1, &arena, &alone, &stats, &e), ERR_OK);
    CHECK_EQ(stats.bus_bytes, 0);
    arena_fini(&arena);
    cost.step_bytes = 4 * (1000000 + 370000); /* wants four times the bus in its time alone */
    CHECK_EQ(run(&setup, request, 1, &arena, &shared, &stats, &e), ERR_OK);
    const struct step *s = &shared.request[0].step[0];
    CHECK_EQ(s->end_ns - s->start_ns, cost.step_bytes);
    CHECK_EQ(stats.bus_bytes, cost.step_bytes * shared.request[0].n_steps);
    arena_fini(&arena);
}

static void metrics_match_their_formulas(void)
{
    double x[] = {5, 1, 4, 2, 3};
    CHECK_NEAR(metrics_quantile(x, 5, 0.5), 3, 1e-12);
    CHECK_NEAR(metrics_quantile(x, 5, 0.9), 4.6, 1e-12);
    /* By enumeration of the 10 pairs of {1..5}: minima 1,1,1,1,2,2,2,3,3,4. */
    CHECK_NEAR(metrics_expected_min(x, 5, 2), 2.0, 1e-12);
    CHECK_NEAR(metrics_expected_min(x, 5, 5), 1.0, 1e-12);
    CHECK_NEAR(metrics_expected_min(x, 5, 9), 1.0, 1e-12);
    CHECK_NEAR(metrics_expected_min(x, 5, 1), 3.0, 1e-12);
    /* tau-b by hand: 5 concordant, 1 discordant of 6 pairs. */
    double a[] = {1, 2, 3, 4}, b[] = {1, 3, 2, 4};
    struct tau t = {0};
    metrics_tau_add(&t, a, b, 4, 0);
    CHECK_NEAR(metrics_tau_b(&t), 4.0 / 6, 1e-12);
    t = (struct tau){0};
    metrics_tau_add(&t, a, b, 4, 0.6); /* 2:3, the only discordant one, and 3:4 are too close */
    CHECK_NEAR(metrics_tau_b(&t), 1, 1e-12);
    CHECK_EQ(t.used, 4);
    CHECK_EQ(t.pairs, 6);
    double predicted[] = {102, 95, 110}, measured[] = {100, 100, 100};
    struct error_pct pct = metrics_error_pct(predicted, measured, 3);
    CHECK_NEAR(pct.median, 5, 1e-9);
    CHECK_NEAR(pct.p90, 9, 1e-9);
    CHECK_NEAR(pct.max, 10, 1e-9);
    CHECK_NEAR(pct.bias, 7.0 / 3, 1e-9);
    double rep[] = {10, 11, 12}, off[3];
    metrics_repetition_floor(rep, 3, off);
    CHECK_NEAR(off[0], 1 - 10 / 11.5, 1e-12);
    CHECK_NEAR(off[1], 0, 1e-12);
    /* Item 0 was lucky once; on the other repetitions it is 20 % slower than item 1. */
    double times[] = {5, 12, 12, 12, 10, 10, 10, 10};
    CHECK_NEAR(metrics_regret(times, 2, 4, 1), (1 / 1.2 - 1) / 2, 1e-12);
    CHECK_NEAR(metrics_regret(times, 2, 4, 0), 0.5 * (8.5 / 10 - 1), 1e-12);
    int32_t loop[12] = {1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3};
    CHECK_NEAR(metrics_distinct_4grams(loop, 12), 3.0 / 9, 1e-12);
}

static const struct unit_test tests[] = {
    {"every_policy_says_what_the_target_says", every_policy_says_what_the_target_says},
    {"autoregressive_time_is_the_sum_of_its_jobs", autoregressive_time_is_the_sum_of_its_jobs},
    {"the_same_run_twice_is_the_same", the_same_run_twice_is_the_same},
    {"requests_queue_and_are_cancelled", requests_queue_and_are_cancelled},
    {"auto_width_follows_the_belief", auto_width_follows_the_belief},
    {"a_shared_bus_slows_both_and_keeps_the_sum", a_shared_bus_slows_both_and_keeps_the_sum},
    {"metrics_match_their_formulas", metrics_match_their_formulas},
    {NULL, NULL},
};

UNIT_MAIN("sim", tests)
