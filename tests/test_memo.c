/* Proposals from a memo: the same run, byte for byte, with it and without. */
#include "sim/exec/memo.h"
#include "sim/exec/sim.h"
#include "tests/unit.h"
#include "tests/world.h"

#include <stdio.h>
#include <string.h>

enum { REQUESTS = 4, TOKENS = 120 };

static struct world_cost cost;
static struct world_truth truth;

struct outcome {
    uint64_t actions_hash;
    int64_t end_ns, probes, nodes, tokens;
};

/* The first `n` requests, under a set-up that asks for likely tokens of the prompt. */
static struct outcome run(const char *policy, const char *drafter, int32_t n,
                          struct draft_memo *memo)
{
    struct run_setup setup;
    struct run_result result;
    struct arena arena;
    struct exec *x;
    struct err e = {0};
    struct outcome out = {0};
    arena_init(&arena);
    CHECK(world_setup(&setup, policy, drafter));
    CHECK_EQ(sim_create(&cost.model, &truth.truth, &setup, &x, &e), ERR_OK);
    if (memo)
        CHECK_EQ(sim_use_memo(x, memo, &e), ERR_OK);
    const struct request *request = world_requests(REQUESTS, TOKENS);
    if (!CHECK_EQ(driver_run(&setup, x, request, n, &arena, &result, &e), ERR_OK))
        printf("%s %s: %s\n", policy, drafter, e.msg);
    out.actions_hash = result.actions_hash;
    out.end_ns = result.end_ns;
    for (int32_t r = 0; r < n && !e.code; r++) {
        out.probes += result.request[r].work.probes;
        out.nodes += result.request[r].work.nodes;
        out.tokens += result.request[r].work.tokens;
    }
    x->ops->destroy(x);
    arena_fini(&arena);
    return out;
}

static void check_same(const struct outcome *a, const struct outcome *b, const char *drafter)
{
    bool same = CHECK_EQ((int64_t)a->actions_hash, (int64_t)b->actions_hash);
    same = CHECK_EQ(a->end_ns, b->end_ns) && same;
    same = CHECK_EQ(a->probes, b->probes) && same;
    same = CHECK_EQ(a->nodes, b->nodes) && same;
    if (!(CHECK_EQ(a->tokens, b->tokens) && same))
        printf("%s\n", drafter);
}

static void start(void)
{
    world_cost_init(&cost);
    world_truth_init(&truth, world_language, NULL, world_requests(REQUESTS, TOKENS), REQUESTS, NULL,
                     0);
}

static const struct {
    const char *policy, *drafter;
} each[] = {
    {"speculative", "lookup"},
    {"speculative", "suffix"},
    {"speculative", "suffix:history=2"},
    {"speculative:tree=plain max_draft=15", "sam-author:history=3"},
    {"speculative:calibrate=1 reuse=1 chunk=50 max_draft=15", "aligned:history=2"},
    {"speculative:calibrate=1 reuse=1 tree=plain", "aligned:reuse=root"},
};

static void with_it_and_without_is_the_same(void)
{
    start();
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        struct draft_memo *memo;
        CHECK_EQ(draft_memo_create(4096, 16, &memo, NULL), ERR_OK);
        struct outcome plain = run(each[i].policy, each[i].drafter, REQUESTS, NULL);
        struct outcome fills = run(each[i].policy, each[i].drafter, REQUESTS, memo);
        struct draft_memo_stats before = draft_memo_stats(memo);
        struct outcome found = run(each[i].policy, each[i].drafter, REQUESTS, memo);
        struct draft_memo_stats after = draft_memo_stats(memo);
        check_same(&fills, &plain, each[i].drafter);
        check_same(&found, &plain, each[i].drafter);
        CHECK_EQ(after.found - before.found, after.asked - before.asked);
        CHECK(after.found > 8 * REQUESTS);
        draft_memo_destroy(memo);
    }
}

/* What was not kept is drafted by a drafter that has seen nothing so far. */
static void a_drafter_catches_up(void)
{
    start();
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        struct outcome plain = run(each[i].policy, each[i].drafter, REQUESTS, NULL);
        for (int32_t answers = 1; answers < 300; answers = 3 * answers + 1) {
            struct draft_memo *memo;
            CHECK_EQ(draft_memo_create(answers, 16, &memo, NULL), ERR_OK);
            run(each[i].policy, each[i].drafter, REQUESTS, memo);
            struct draft_memo_stats first = draft_memo_stats(memo);
            struct outcome again = run(each[i].policy, each[i].drafter, REQUESTS, memo);
            struct draft_memo_stats stats = draft_memo_stats(memo);
            CHECK_EQ(stats.kept, first.kept);
            CHECK(first.kept <= 2 * answers && stats.found >= first.kept);
            check_same(&again, &plain, each[i].drafter);
            draft_memo_destroy(memo);
        }
    }
}

/* One memo serves several drafters, parameters and histories, and mixes none of them up. */
static void keys_tell_drafters_apart(void)
{
    struct draft_memo *memo;
    start();
    CHECK_EQ(draft_memo_create(1 << 14, 32, &memo, NULL), ERR_OK);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < sizeof each / sizeof *each; i++)
            for (int32_t n = 1; n <= REQUESTS; n += 3) {
                struct outcome plain = run(each[i].policy, each[i].drafter, n, NULL);
                struct outcome with = run(each[i].policy, each[i].drafter, n, memo);
                check_same(&with, &plain, each[i].drafter);
            }
    draft_memo_destroy(memo);
}

static void who_knows_the_truth_is_always_run(void)
{
    struct draft_memo *memo;
    start();
    CHECK_EQ(draft_memo_create(64, 8, &memo, NULL), ERR_OK);
    run("speculative", "parametric", REQUESTS, memo);
    CHECK_EQ(draft_memo_stats(memo).asked, 0);
    draft_memo_destroy(memo);
}

static const struct unit_test tests[] = {
    {"with_it_and_without_is_the_same", with_it_and_without_is_the_same},
    {"a_drafter_catches_up", a_drafter_catches_up},
    {"keys_tell_drafters_apart", keys_tell_drafters_apart},
    {"who_knows_the_truth_is_always_run", who_knows_the_truth_is_always_run},
    {NULL, NULL},
};

UNIT_MAIN("memo", tests)
