/* Switching graphs, simulated on blocks whose times are round numbers: schedules by hand, what
 * every schedule keeps to, what each parameter changes, and that nothing beats the optimum. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hwmodels/blocks.h"
#include "sim/base/hash.h"
#include "sim/exec/shims.h"
#include "sim/exec/sim.h"
#include "sim/exec/spans.h"
#include "sim/policy/optimal.h"
#include "tests/policies/policies.h"
#include "tests/policies/spy.h"
#include "tests/unit.h"
#include "tests/world.h"

enum { WIDE_ROWS = 64, NARROW_ROWS = 8, MAX_SPANS = 8000, MS = 1000000 };

/* One run, and what came of it. */
struct play {
    struct blocks_spec spec;
    const struct blocks_error *wrong; /* of the belief; NULL: it is the truth */
    bool no_belief;
    const struct drafter_type *own; /* instead of the one that is named */
    struct spy *spy;                /* NULL: none looks on */
    struct request request[3];
    int32_t n;
    struct arena arena;
    struct run_result result;
    struct sim_stats stats;
    struct spans spans;
    struct span span[MAX_SPANS];
    struct spans_times times[3];
    struct err e;
};

static struct world_truth truth;

/* n equal blocks: a cell takes 8 ms on the wide graph, a sub-chunk 1 ms on the narrow one. Graphs 3
 * and 4 are the same with shared weights. */
static struct blocks_spec equal_blocks(int32_t n, int64_t load_ns)
{
    struct blocks_spec s = {.name = "equal",
                            .n = n,
                            .n_graphs = 4,
                            .base_bytes = 10000000,
                            .max_ctx = 1024,
                            .max_topk = 4,
                            .trees = true,
                            .n_processors = 3,
                            .processor = {{"npu", 1, 1}, {"io", 1, 1}, {"cpu", 1, 1}},
                            .role = {0, 1, 2},
                            .dynamic = {.n_widths = 2,
                                        .width = {1, 64},
                                        .context = 1024,
                                        .ns = {{5 * MS, 5 * MS}, {9 * MS, 9 * MS}}}};
    for (int32_t g = 0; g < 4; g++) {
        s.graph[g].width = g % 2 ? NARROW_ROWS : WIDE_ROWS;
        s.graph[g].weights = g / 2;
        for (int32_t b = 0; b < n; b++) {
            s.graph[g].compute_ns[b] = g % 2 ? MS : 8 * MS;
            s.graph[g].load_ns[b] = load_ns;
            s.graph[g].own_bytes[b] = g % 2 ? 1000000 : 3000000;
        }
    }
    blocks_spread(s.weight_bytes, n, n * INT64_C(100000000));
    return s;
}

/* Requests of the given prompt lengths; tokens of the world's language. */
static struct play *play_create(struct blocks_spec spec, int32_t n, const int32_t *prompt,
                                int32_t max_tokens)
{
    struct play *p = calloc(1, sizeof *p);
    if (!p)
        exit(1);
    p->spec = spec;
    p->n = n;
    memcpy(p->request, world_requests(5, max_tokens) + 4, sizeof *p->request);
    p->request[2] = p->request[1] = p->request[0];
    for (int32_t i = 0; i < n; i++)
        p->request[i].n = prompt[i];
    arena_init(&p->arena);
    return p;
}

static void play_destroy(struct play *p)
{
    arena_fini(&p->arena);
    free(p);
}

static int play(struct play *p, const char *policy, const char *drafter)
{
    struct run_setup setup;
    const struct cost_model *model;
    struct arena *arena = &p->arena, models;
    struct exec *x;
    arena_reset(arena);
    arena_init(&models);
    p->e = (struct err){0};
    if (!CHECK(world_setup(&setup, policy, drafter)))
        return ERR_USAGE;
    if (p->own)
        setup.drafter[0].type = p->own;
    if (!p->no_belief)
        blocks_belief(&p->spec, 1, 2, p->wrong, &setup.belief);
    world_truth_init(&truth, world_language, NULL, p->request, p->n, NULL, 0);
    int rc = blocks_cost_create(&p->spec, &models, &model, &p->e);
    if (!rc)
        rc = sim_create(model, &truth.truth, &setup, &x, &p->e);
    if (!rc) {
        if (p->spy)
            spy_init(p->spy, x);
        spans_init(&p->spans, p->spy ? &p->spy->exec : x, p->span, MAX_SPANS);
        rc = driver_run(&setup, &p->spans.exec, p->request, p->n, arena, &p->result, &p->e);
        sim_stats(x, &p->stats);
        x->ops->destroy(x);
    }
    for (int32_t i = 0; !rc && i < p->n; i++)
        spans_times(&p->spans, i, &p->times[i]);
    arena_fini(&models);
    return rc;
}

/* Plays, and holds what every schedule keeps to. */
static bool played(struct play *p, const char *policy, const char *drafter)
{
    int rc = play(p, policy, drafter);
    if (!rc)
        rc = spans_check(&p->spans, &p->e);
    if (!CHECK_EQ(rc, ERR_OK))
        printf("  %s: %s\n", policy, p->e.msg);
    return rc == ERR_OK;
}

/* LOADs beside the request's prompt: the blocks that it switched. */
static int32_t switches_of(const struct play *p, int32_t request)
{
    int32_t n = 0;
    for (int32_t i = 0; i < p->spans.n; i++) {
        const struct span *s = &p->span[i];
        n += s->kind == JOB_LOAD && s->phase == PHASE_PREFILL && s->request == request &&
             s->end_ns >= 0 && s->status == DONE_OK;
    }
    return n;
}

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* max(prefill end, switch end) from the first computation on: the paper's objective. */
static int64_t objective(const struct play *p, int32_t request)
{
    const struct spans_times *t = &p->times[request];
    return max64(t->prefill_ns, t->switch_ns) - t->begin_ns;
}

/* The objective of one prompt. */
static int64_t objective_of(struct blocks_spec spec, int32_t prompt, const char *policy)
{
    struct play *p = play_create(spec, 1, &prompt, 3);
    int64_t ns = played(p, policy, "") ? objective(p, 0) : -1;
    CHECK_EQ(switches_of(p, 0), strstr(policy, "resident") || strstr(policy, "only") ? 0 : spec.n);
    CHECK_EQ(p->times[0].decode_ns - p->times[0].begin_ns, ns);
    play_destroy(p);
    return ns;
}

/* ---- texts and invariants ------------------------------------------------------------------- */

static bool right_texts(const struct play *p)
{
    bool right = true;
    for (int32_t i = 0; i < p->n; i++) {
        const struct request_result *q = &p->result.request[i];
        right = right && q->n_output == p->request[i].max_tokens &&
                !memcmp(q->output, truth.request[i].text + truth.request[i].n,
                        (size_t)q->n_output * sizeof *q->output);
    }
    return right;
}

static uint64_t draw(uint64_t round, uint64_t what, uint64_t below)
{
    return rng_u64(9, RNG_TEST, round, what) % below;
}

/* Blocks of all sizes, free times, a head, host times, some with a bus. */
static struct blocks_spec random_blocks(uint64_t round)
{
    static const int32_t sizes[] = {1, 2, 3, 6, 12};
    struct blocks_spec s = equal_blocks(sizes[draw(round, 0, 5)], 0);
    for (int32_t g = 0; g < 4; g++)
        for (int32_t b = 0; b < s.n; b++) {
            uint64_t key = 1000 * (uint64_t)(g + 1) + (uint64_t)b;
            s.graph[g].compute_ns[b] = 1 + (int64_t)draw(round, key, g % 2 ? 2 * MS : 16 * MS);
            s.graph[g].load_ns[b] = (int64_t)draw(round, key + 100, 40 * MS);
            s.graph[g].free_ns[b] = (int64_t)draw(round, key + 200, 3 * MS);
            s.graph[g].load_bytes[b] = 1 + (int64_t)draw(round, key + 300, 900000);
            s.graph[g].compute_bytes[b] = 1 + (int64_t)draw(round, key + 400, 900000);
        }
    s.head_ns = (int64_t)draw(round, 1, 5 * MS);
    if (draw(round, 2, 2))
        s.host = (struct cost_host){3000, 500, 20000, 7000};
    if (draw(round, 3, 3) == 0)
        s.dram_bytes_per_s = 100000000;
    return s;
}

/* Every combination of parameters, over blocks and prompts of all kinds: the text is the target's,
 * and the schedule keeps to its rules. */
static void every_schedule_keeps_to_its_rules(void)
{
    static const char *const scheme[] = {
        "no-switch",   "sync-switch",          "async-last-chunk",
        "progressive", "both-resident-copied", "both-resident-shared",
        "narrow-only"};
    static const char *const back[] = {"reload-sync", "reload-in-idle", "keep-resident"};
    static const char *const k[] = {"auto", "auto", "1", "3"};
    static const char *const overlap[] = {"serial", "chunks", "draft"};
    static const char *const drafter[] = {"", "suffix", "lookup:branches=3 min_ngram=1",
                                          "aligned:history=2"};
    uint64_t round = 0;
    for (int s = 0; s < 7; s++)
        for (int i = 0; i < 3 * 16; i++, round++) {
            char policy[200];
            const int32_t prompt[3] = {(int32_t)draw(round, 10, 489) + 1,
                                       (int32_t)draw(round, 11, 20) + 1,
                                       64 * ((int32_t)draw(round, 12, 7) + 1)};
            snprintf(policy, sizeof policy,
                     "switching:scheme=%s back=%s free=%s window=%s unhidden=%s stall=%s k=%s "
                     "begin=%s overlap=%s%s",
                     scheme[s], back[i / 16], i & 1 ? "after" : "before", i & 2 ? "next" : "chunk",
                     i & 4 ? "wait" : "start", i & 8 ? "window" : "block", k[draw(round, 13, 4)],
                     draw(round, 15, 2) ? "late" : "first", overlap[draw(round, 16, 3)],
                     draw(round, 14, 4) == 3 ? " calibrate=1 reuse=1" : "");
            struct play *p = play_create(random_blocks(round), 3, prompt, 25);
            p->request[0].arrival_ns = 0;
            p->request[1].arrival_ns = 700 * MS;
            p->request[2].arrival_ns = REQUEST_AFTER_PREVIOUS;
            if (played(p, policy, drafter[draw(round, 14, 4)])) {
                CHECK(right_texts(p));
                bool once = s > 0 && s < 4;
                CHECK_EQ(switches_of(p, 0), once ? p->spec.n : 0);
                CHECK_EQ(switches_of(p, 2), once && i / 16 != 2 ? p->spec.n : 0);
                for (int32_t r = 0; r < 3; r++)
                    CHECK(p->times[r].stall_ns >= 0 &&
                          p->times[r].decode_ns >= p->times[r].switch_ns);
            }
            play_destroy(p);
        }
}

static void a_cancelled_request_leaves_a_state_to_go_on_from(void)
{
    static const char *const back[] = {"reload-sync", "reload-in-idle", "keep-resident"};
    for (uint64_t round = 0; round < 60; round++) {
        char policy[120];
        const int32_t prompt[3] = {300, 200, 130};
        struct play *p = play_create(random_blocks(round), 3, prompt, 12);
        p->request[0].cancel_ns = (int64_t)draw(round, 20, 600) * MS;
        p->request[1].cancel_ns = round % 2 ? EXEC_NEVER : (int64_t)draw(round, 21, 900) * MS;
        snprintf(policy, sizeof policy, "switching:back=%s free=%s stall=%s", back[round % 3],
                 round & 4 ? "after" : "before", round & 8 ? "window" : "block");
        if (CHECK_EQ(play(p, policy, "suffix"), ERR_OK)) {
            const struct request_result *q = &p->result.request[2];
            CHECK_EQ(q->n_output, 12);
            CHECK(!memcmp(q->output, truth.request[2].text + 130, 12 * sizeof(int32_t)));
        } else {
            printf("  %s: %s\n", policy, p->e.msg);
        }
        play_destroy(p);
    }
}

/* Spans that break each rule, one at a time. */
static void broken_rules_are_found(void)
{
    static const struct span good[4] = {
        {1, 0, 10, 0, 1, 0, 2, JOB_FORWARD, PHASE_PREFILL, DONE_OK},
        {2, 0, 10, 0, 2, 2, 3, JOB_LOAD, 0, DONE_OK},
        {3, 10, 20, 0, 2, 2, 3, JOB_FORWARD, PHASE_PREFILL, DONE_OK},
        {4, 10, 15, 0, 1, 1, 2, JOB_FREE, 0, DONE_OK}};
    struct span span[4];
    struct spans s = {.n = 4, .span = span};
    struct err e = {0};
    memcpy(span, good, sizeof span);
    CHECK_EQ(spans_check(&s, &e), ERR_OK);
    span[3].start_ns = 9;
    CHECK_EQ(spans_check(&s, &e), ERR_POLICY);
    CHECK_HAS(e.msg, "job 1 (FORWARD of graph 1, blocks 0 to 1, 0 to 10 ns) and job 4 (FREE of "
                     "graph 1, blocks 1 to 1, 9 to 15 ns): a block is switched while it computes");
    e = (struct err){0};
    span[3].graph = 2; /* the old graph may go while the new one runs, but not come */
    CHECK_EQ(spans_check(&s, &e), ERR_POLICY);
    CHECK_HAS(e.msg, "two switches overlap");
    e = (struct err){0};
    span[1].start_ns = span[1].end_ns = 0;
    CHECK_EQ(spans_check(&s, &e), ERR_OK);
    span[3].kind = JOB_LOAD;
    CHECK_EQ(spans_check(&s, &e), ERR_POLICY);
    CHECK_HAS(e.msg, "a block is switched while it computes");
    e = (struct err){0};
    memcpy(span, good, sizeof span);
    span[3].start_ns = 9;
    span[3].b0 = 3; /* another block's: then only the two switches collide */
    span[3].b1 = 4;
    CHECK_EQ(spans_check(&s, &e), ERR_POLICY);
    CHECK_HAS(e.msg, "two switches overlap");
    e = (struct err){0};
    memcpy(span, good, sizeof span);
    span[2].start_ns = 9;
    span[2].b0 = 3;
    span[2].b1 = 4;
    CHECK_EQ(spans_check(&s, &e), ERR_POLICY);
    CHECK_HAS(e.msg, "two computations overlap");
    span[2].status = DONE_FAILED;
    CHECK_EQ(spans_check(&s, NULL), ERR_OK);
    e = (struct err){0};
    memcpy(span, good, sizeof span);
    span[3] = (struct span){5, 30, 31, 0, 2, 2, 3, JOB_LOAD, 0, DONE_OK};
    CHECK_EQ(spans_check(&s, &e), ERR_POLICY);
    CHECK_HAS(e.msg, "a request loads a block of a graph once");
    span[3].request = 1;
    CHECK_EQ(spans_check(&s, NULL), ERR_OK);
}

/* ---- schedules by hand ---------------------------------------------------------------------- */

static const char *span_text(const struct span *s, char *buf, size_t size)
{
    const char *kind = s->kind == JOB_LOAD   ? "load"
                       : s->kind == JOB_FREE ? "free"
                       : s->kind == JOB_HEAD ? "head"
                                             : "run";
    snprintf(buf, size, "%s g%d b%d-%d %d..%d", kind, s->graph, s->b0, s->b1,
             (int)(s->start_ns / MS), (int)(s->end_ns / MS));
    return buf;
}

/* N = 6, two chunks, k = 2, all from the belief: a cell takes 8 ms on either graph, a load 16. */
static void the_worked_example_step_by_step(void)
{
    static const char *const want[] = {
        "load g2 b5-6 0..16",  "run g1 b0-2 0..16",   "load g2 b4-5 16..32", "run g1 b2-4 16..32",
        "load g2 b3-4 32..48", "run g2 b4-6 32..34",  "run g2 b4-6 34..36",  "run g2 b4-6 36..38",
        "run g2 b4-6 38..40",  "run g2 b4-6 40..42",  "run g2 b4-6 42..44",  "run g2 b4-6 44..46",
        "run g2 b4-6 46..48",  "load g2 b2-3 48..64", "run g1 b0-2 48..64",  "load g2 b1-2 64..80",
        "run g2 b2-4 64..66",  "run g2 b2-4 66..68",  "run g2 b2-4 68..70",  "run g2 b2-4 70..72",
        "run g2 b2-4 72..74",  "run g2 b2-4 74..76",  "run g2 b2-4 76..78",  "run g2 b2-4 78..80",
        "load g2 b0-1 80..96", "run g2 b4-6 80..82",  "run g2 b4-6 82..84",  "run g2 b4-6 84..86",
        "run g2 b4-6 86..88",  "run g2 b4-6 88..90",  "run g2 b4-6 90..92",  "run g2 b4-6 92..94",
        "run g2 b4-6 94..96",  "head g0 b0-0 96..96", "run g2 b0-6 96..102"};
    const int32_t prompt = 128;
    struct play *p = play_create(equal_blocks(6, 16 * MS), 1, &prompt, 2);
    char buf[80];
    int32_t at = 0;
    if (played(p, "switching:stall=window", "")) {
        int64_t begin_ns = p->times[0].begin_ns;
        CHECK_EQ(begin_ns, 6 * 16 * MS); /* the wide graph came first */
        for (int32_t i = 6; i < p->spans.n; i++) {
            p->span[i].start_ns -= begin_ns;
            p->span[i].end_ns -= begin_ns;
            if (p->span[i].kind != JOB_FREE && CHECK(at < 35))
                CHECK_STR(span_text(&p->span[i], buf, sizeof buf), want[at++]);
        }
        CHECK_EQ(at, 35);
        CHECK_EQ(p->times[0].stall_ns, 0);
    }
    play_destroy(p);
    CHECK_EQ(objective_of(equal_blocks(6, 16 * MS), 128, "switching"), 96 * MS);
}

/* The first LOAD runs beside `k` cells exactly when their time covers it. */
static void the_greedy_rule_is_tight(void)
{
    for (int32_t k = 1; k <= 4; k++)
        for (int64_t off = -1; off <= 1; off++) {
            const int32_t prompt = 128;
            struct play *p = play_create(equal_blocks(6, k * 8 * MS + off), 1, &prompt, 2);
            if (played(p, "switching", "")) {
                const struct span *run = &p->span[6];
                while (run->kind != JOB_FORWARD)
                    run++;
                CHECK_EQ(run->b0, 0);
                CHECK_EQ(run->b1, k + (off > 0));
            }
            play_destroy(p);
        }
}

static void schemes_take_what_they_should(void)
{
    const int64_t prefill_ns = 3 * 6 * 8 * MS; /* three chunks of 64 through six blocks */
    struct blocks_spec s = equal_blocks(6, 20 * MS);
    CHECK_EQ(objective_of(s, 192, "switching:scheme=both-resident-copied"), prefill_ns);
    CHECK_EQ(objective_of(s, 192, "switching:scheme=both-resident-shared"), prefill_ns);
    CHECK_EQ(objective_of(s, 192, "switching:scheme=sync-switch"), prefill_ns + 6 * 20 * MS);
    /* the last chunk has passed the first block at 104 ms: then six loads in a row */
    CHECK_EQ(objective_of(s, 192, "switching:scheme=async-last-chunk"),
             2 * 48 * MS + 8 * MS + 6 * 20 * MS);
    s.head_ns = 5 * MS; /* the first token, before sync-switch begins; beside the others */
    CHECK_EQ(objective_of(s, 192, "switching:scheme=sync-switch"), prefill_ns + 5 * MS + 120 * MS);
    CHECK_EQ(objective_of(s, 192, "switching:scheme=async-last-chunk"),
             2 * 48 * MS + 8 * MS + 6 * 20 * MS);
    s.head_ns = 0;
    /* shorter than a cell: the last block's is seen alone */
    CHECK_EQ(objective_of(equal_blocks(6, 5 * MS), 192, "switching:scheme=async-last-chunk"),
             prefill_ns + 5 * MS);
    /* k = 2 throughout hides all; k = 3 hides the first, meets P5 before it hides that, ... */
    CHECK_EQ(objective_of(equal_blocks(6, 16 * MS), 192, "switching"), prefill_ns);
    CHECK_EQ(objective_of(s, 192, "switching"), prefill_ns + 36 * MS);
    /* eight sub-chunks a chunk, three in the last */
    for (int32_t b = 0; b < 6; b++)
        s.graph[1].compute_ns[b] = 3 * MS;
    CHECK_EQ(objective_of(s, 150, "switching:scheme=narrow-only"), (2 * 8 + 3) * 6 * 3 * MS);
    /* that a block is freed later, and in no time, changes no time */
    CHECK_EQ(objective_of(equal_blocks(6, 20 * MS), 192, "switching:free=after"),
             objective_of(equal_blocks(6, 20 * MS), 192, "switching"));
    /* freeing takes its time too */
    for (int32_t b = 0; b < 6; b++)
        s.graph[0].free_ns[b] = 2 * MS;
    CHECK_EQ(objective_of(s, 192, "switching:scheme=sync-switch"), prefill_ns + 6 * 22 * MS);
    CHECK_EQ(objective_of(s, 192, "switching:scheme=sync-switch free=after"),
             prefill_ns + 6 * 22 * MS);
}

/* One chunk, six blocks: what cannot be hidden. */
static void a_prompt_too_short_has_a_schedule(void)
{
    struct blocks_spec s = equal_blocks(6, 16 * MS);
    /* b5 beside b0 and b1, b4 beside b2 and b3, then nothing needs b3 .. b0: b3 beside b4 and b5,
     * the others behind the prompt */
    CHECK_EQ(objective_of(s, 64, "switching"), 48 * MS + 3 * 16 * MS);
    CHECK_EQ(objective_of(s, 64, "switching:unhidden=wait"), 48 * MS + 3 * 16 * MS);
    /* a load as long as all: P6 starts and stalls after 40 ms; or waits for the chunk to pass it */
    s = equal_blocks(6, 100 * MS);
    CHECK_EQ(objective_of(s, 64, "switching"), 6 * 100 * MS);
    CHECK_EQ(objective_of(s, 64, "switching:unhidden=wait"), 48 * MS + 6 * 100 * MS);
    /* a prompt of one token pads */
    CHECK_EQ(objective_of(s, 1, "switching"), 6 * 100 * MS);
    CHECK_EQ(objective_of(s, 1, "switching:scheme=sync-switch"), 648 * MS);
    /* one block: nothing can hide its own load */
    s = equal_blocks(1, 20 * MS);
    CHECK_EQ(objective_of(s, 128, "switching:unhidden=wait"), 2 * 8 * MS + 20 * MS);
    CHECK_EQ(objective_of(s, 128, "switching"), 20 * MS + 2 * 8 * MS);
}

/* A narrow graph that is slower on the prompt: switching late keeps more of it on the wide one.
 * Four chunks of 48 ms; switches of 16 ms need two of them. */
static void a_late_begin_spares_the_narrow_graph(void)
{
    struct blocks_spec s = equal_blocks(6, 16 * MS);
    for (int32_t b = 0; b < 6; b++)
        s.graph[1].compute_ns[b] = 2 * MS;
    int64_t first_ns = objective_of(s, 256, "switching");
    int64_t late_ns = objective_of(s, 256, "switching:begin=late");
    CHECK_EQ(first_ns, objective_of(s, 128, "switching") + 2 * 6 * 16 * MS);
    CHECK_EQ(late_ns, objective_of(s, 128, "switching") + 2 * 6 * 8 * MS);
    CHECK_EQ(objective_of(s, 128, "switching:begin=late"), objective_of(s, 128, "switching"));
    CHECK(objective_of(s, 256, "switching:begin=late k=2") < objective_of(s, 256, "switching:k=2"));
}

/* Three blocks, loads of two cells: of the cells beside the second block, one is the next chunk's.
 */
static void a_window_runs_into_the_next_chunk(void)
{
    struct blocks_spec s = equal_blocks(3, 16 * MS);
    int64_t chunk_ns = objective_of(s, 320, "switching:unhidden=wait");
    int64_t next_ns = objective_of(s, 320, "switching:unhidden=wait window=next");
    CHECK(next_ns < chunk_ns);
}

static void a_late_switch_stops_its_block_or_the_window(void)
{
    struct blocks_error how = {.load_scale = 0.4};
    const int32_t prompt = 256;
    int64_t ns[2];
    for (int i = 0; i < 2; i++) {
        struct play *p = play_create(equal_blocks(6, 40 * MS), 1, &prompt, 2);
        p->wrong = &how;
        played(p, i ? "switching:stall=window" : "switching", "");
        ns[i] = objective(p, 0);
        play_destroy(p);
    }
    CHECK(ns[0] < ns[1]);
}

/* ---- memory --------------------------------------------------------------------------------- */

static int64_t peak_of(const char *policy)
{
    static struct spy spy;
    const int32_t prompt[2] = {192, 192};
    struct play *p = play_create(equal_blocks(6, 20 * MS), 2, prompt, 3);
    p->spy = &spy;
    int64_t bytes = played(p, policy, "") ? p->stats.peak_resident_bytes : -1, told = 0;
    for (int32_t i = 0; i < spy.n; i++)
        told = max64(told, spy.job[i].resident_bytes);
    CHECK_EQ(told, bytes);
    play_destroy(p);
    return bytes;
}

static void memory_peaks_where_it_should(void)
{
    const int64_t weights = 600000000, base = 10000000, wide = 6 * 3000000, narrow = 6 * 1000000;
    CHECK_EQ(peak_of("switching:scheme=no-switch"), base + weights + wide);
    CHECK_EQ(peak_of("switching:scheme=narrow-only"), base + weights + narrow);
    CHECK_EQ(peak_of("switching"), base + weights + wide);
    CHECK_EQ(peak_of("switching:scheme=sync-switch"), base + weights + wide);
    /* one block twice: the narrow one's own bytes and its weights, when all others are wide */
    CHECK_EQ(peak_of("switching:free=after"), base + weights + wide + 101000000);
    CHECK_EQ(peak_of("switching:back=keep-resident"), base + 2 * weights + wide + narrow);
    CHECK_EQ(peak_of("switching:scheme=both-resident-copied"), base + 2 * weights + wide + narrow);
    CHECK_EQ(peak_of("switching:scheme=both-resident-shared"), base + weights + wide + narrow);
}

static void what_does_not_fit_ends_with_what_was_resident(void)
{
    const int32_t prompt = 192;
    struct play *p = play_create(equal_blocks(6, 20 * MS), 1, &prompt, 3);
    p->spec.memory_bytes = 700000000;
    CHECK(played(p, "switching", ""));
    CHECK_EQ(play(p, "switching:free=after", ""), ERR_DEVICE);
    CHECK_HAS(p->e.msg, "(LOAD) ran out of memory: 729 of 700 MB of memory; resident: base 10 MB, "
                        "graph 1 blocks 0-5 618 MB");
    CHECK_EQ(play(p, "switching:scheme=both-resident-copied", ""), ERR_DEVICE);
    CHECK(played(p, "switching:scheme=both-resident-shared", ""));
    play_destroy(p);
}

/* ---- the way back --------------------------------------------------------------------------- */

static void the_way_back_costs_what_it_should(void)
{
    static const char *const back[] = {"switching:back=reload-sync",
                                       "switching:back=reload-in-idle",
                                       "switching:back=keep-resident"};
    static const int64_t gap_ns[] = {0, 50 * MS, 1000 * MS};
    /* for each way and gap: how long the second prompt waits; six loads of 20 ms */
    static const int64_t want_ns[3][3] = {
        {120 * MS, 120 * MS, 120 * MS}, {120 * MS, 70 * MS, 0}, {0, 0, 0}};
    for (int i = 0; i < 3; i++)
        for (int g = 0; g < 3; g++) {
            const int32_t prompt[2] = {192, 192};
            struct play *p = play_create(equal_blocks(6, 20 * MS), 2, prompt, 3);
            p->request[0].arrival_ns = 0;
            if (!CHECK_EQ(play(p, back[i], ""), ERR_OK))
                printf("  %s\n", p->e.msg);
            p->request[1].arrival_ns = p->result.request[0].finish_ns + gap_ns[g];
            if (played(p, back[i], "")) {
                int64_t arrive_ns = p->result.request[1].arrive_ns;
                CHECK_EQ(p->times[1].begin_ns - arrive_ns, want_ns[i][g]);
                CHECK(right_texts(p));
            }
            play_destroy(p);
        }
}

/* ---- decoding ------------------------------------------------------------------------------- */

static void steps_are_as_wide_as_the_graph(void)
{
    const int32_t prompt = 376;
    static const struct {
        const char *policy;
        int32_t width, drafted;
    } rows[] = {{"switching", NARROW_ROWS, NARROW_ROWS - 1},
                {"switching:max_draft=3", NARROW_ROWS, 3},
                {"switching:scheme=no-switch", WIDE_ROWS, WIDE_ROWS - 1},
                {"switching:scheme=narrow-only", NARROW_ROWS, NARROW_ROWS - 1},
                {"switching:scheme=both-resident-shared", NARROW_ROWS, NARROW_ROWS - 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct play *p = play_create(equal_blocks(2, 20 * MS), 1, &prompt, 90);
        int32_t most = 0;
        if (played(p, rows[i].policy, "suffix")) {
            const struct request_result *q = &p->result.request[0];
            CHECK(right_texts(p));
            CHECK(q->n_verify < 60); /* in a language so small drafts save steps */
            for (int32_t k = 0; k < q->n_steps; k++) {
                if (q->step[k].phase == PHASE_PREFILL)
                    continue;
                CHECK_EQ(q->step[k].width, rows[i].width);
                most = q->step[k].n > most ? q->step[k].n : most;
            }
            CHECK_EQ(most, rows[i].drafted + 1);
        }
        play_destroy(p);
    }
}

static void trees_are_kept_or_run_again(void)
{
    const int32_t prompt = 376;
    int64_t steps[2];
    for (int i = 0; i < 2; i++) {
        struct play *p = play_create(equal_blocks(2, 20 * MS), 1, &prompt, 90);
        played(p, i ? "switching:tree=plain" : "switching", "lookup:branches=3 min_ngram=1");
        CHECK(right_texts(p));
        steps[i] = p->result.request[0].n_steps;
        play_destroy(p);
    }
    CHECK(steps[1] < steps[0]);
    CHECK(policy_find("switching")->lossless((const int64_t[PARAM_MAX]){0}));
}

/* Every prompt row goes through the head, on whichever graph, once, and to the drafter in order. */
static void calibration_covers_the_prompt(void)
{
    static const char *const scheme[] = {"progressive", "no-switch", "narrow-only"};
    const int32_t prompt = 300;
    for (int i = 0; i < 3; i++) {
        char policy[80];
        struct play *p = play_create(equal_blocks(2, 20 * MS), 1, &prompt, 30);
        p->spec.head_ns = 1000;
        p->spec.head_row_ns = 10;
        snprintf(policy, sizeof policy, "switching:scheme=%s", scheme[i]);
        CHECK(played(p, policy, "aligned"));
        int64_t plain_ns = p->result.request[0].part_ns[PART_PREFILL];
        int32_t heads = 0, passes = 0;
        snprintf(policy, sizeof policy, "switching:scheme=%s calibrate=1", scheme[i]);
        CHECK(played(p, policy, "aligned"));
        CHECK(right_texts(p));
        for (int32_t k = 0; k < p->spans.n; k++) {
            const struct span *v = &p->span[k];
            heads += v->kind == JOB_HEAD;
            passes += v->kind == JOB_FORWARD && v->phase == PHASE_PREFILL && v->b1 == 2;
        }
        CHECK_EQ(heads, passes);
        CHECK_EQ(p->result.request[0].part_ns[PART_PREFILL] - plain_ns,
                 (heads - 1) * 1000 + 299 * 10);
        play_destroy(p);
    }
}

/* Five passes of 16 ms; a drafter's call takes 3 ms, two loads 40 ms. */
static void calibration_runs_beside_what_overlap_says(void)
{
    static const struct {
        const char *scheme, *overlap;
        int32_t first_ms, decode_ms;
    } rows[] = {{"no-switch", "serial", 80 + 5 * 3, 80 + 5 * 3 + 3},
                {"no-switch", "chunks", 80, 80 + 3 + 3},
                {"no-switch", "draft", 80, 80 + 3},
                {"sync-switch", "serial", 80 + 5 * 3, 80 + 5 * 3 + 40 + 3},
                {"sync-switch", "chunks", 80, 80 + 40 + 3},
                {"sync-switch", "draft", 80, 80 + 40 + 3}};
    const int32_t prompt = 300;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char policy[80];
        struct play *p = play_create(equal_blocks(2, 20 * MS), 1, &prompt, 30);
        p->spec.draft[0].fixed_ns = 3 * MS;
        snprintf(policy, sizeof policy, "switching:scheme=%s calibrate=1 overlap=%s",
                 rows[i].scheme, rows[i].overlap);
        CHECK(played(p, policy, "aligned"));
        CHECK(right_texts(p));
        int64_t begin_ns = p->times[0].begin_ns;
        CHECK_EQ(p->result.request[0].first_ns - begin_ns, rows[i].first_ms * MS);
        CHECK_EQ(p->times[0].decode_ns - begin_ns, rows[i].decode_ms * MS);
        play_destroy(p);
    }
}

/* What a drafter is taught, held against the text. */
static struct {
    int32_t calibrated, shown, wrong, next; /* next: the token to be appended; -1: any */
} taught;

static void learn_tops(void *self, int32_t pos, int32_t n, int32_t k, const int32_t *top,
                       const float *logit, struct draft_work *work)
{
    (void)self;
    (void)work;
    taught.wrong += pos != taught.calibrated || k != 3;
    for (int32_t i = 0; i < n; i++) {
        int32_t want = world_language(NULL, truth.request[0].text, pos + i + 1);
        taught.wrong += top[i * k] != want || logit[i * k] < logit[i * k + 1];
    }
    taught.calibrated += n;
}

static void learn_rows(void *self, int32_t n, const int32_t *token, const int32_t *parent,
                       const int32_t *choice, struct draft_work *work)
{
    (void)self;
    (void)work;
    taught.shown++;
    taught.wrong += parent != NULL || n < 2 || token[1] != (token[0] + 1) % 48;
    taught.next = choice[0];
}

static void learn_text(void *self, const int32_t *token, int32_t n, struct draft_work *work)
{
    taught.wrong += taught.next >= 0 && n > 0 && token[0] != taught.next;
    taught.next = -1;
    drafter_count.append(self, token, n, work);
}

static void a_drafter_is_taught_the_truth(void)
{
    static const char *const overlap[] = {"serial", "chunks", "draft"};
    for (int i = 0; i < 3; i++) {
        struct drafter_type pupil = drafter_count;
        const int32_t prompt = 300;
        char policy[80];
        struct play *p = play_create(equal_blocks(2, 20 * MS), 1, &prompt, 30);
        pupil.append = learn_text;
        pupil.calibrate = learn_tops;
        pupil.rejected = learn_rows;
        p->own = &pupil;
        memset(&taught, 0, sizeof taught);
        taught.next = -1;
        snprintf(policy, sizeof policy, "switching:calibrate=1 topk=3 reuse=1 overlap=%s",
                 overlap[i]);
        CHECK(played(p, policy, "suffix"));
        CHECK_EQ(taught.calibrated, 300);
        CHECK(taught.shown > 10);
        CHECK_EQ(taught.wrong, 0);
        play_destroy(p);
    }
}

/* ---- parameters ----------------------------------------------------------------------------- */

static uint64_t outcome(struct play *p, const char *policy, const char *drafter)
{
    if (!played(p, policy, drafter))
        return 0;
    uint64_t h = hash_step(p->result.actions_hash, (uint64_t)p->result.end_ns);
    return hash_step(h, (uint64_t)p->stats.peak_resident_bytes);
}

static void every_parameter_changes_some_output(void)
{
    static const struct {
        const char *drafter, *a, *b;
    } rows[] = {{"", "scheme=no-switch", "scheme=sync-switch"},
                {"", "scheme=sync-switch", "scheme=async-last-chunk"},
                {"", "scheme=async-last-chunk", "scheme=progressive"},
                {"", "scheme=progressive", "scheme=both-resident-copied"},
                {"", "scheme=both-resident-copied", "scheme=both-resident-shared"},
                {"", "scheme=no-switch", "scheme=narrow-only"},
                {"", "back=reload-sync", "back=reload-in-idle"},
                {"", "back=reload-in-idle", "back=keep-resident"},
                {"", "free=before", "free=after"},
                {"", "begin=first", "begin=late"},
                {"", "window=chunk unhidden=wait", "window=next unhidden=wait"},
                {"", "unhidden=start", "unhidden=wait"},
                {"", "stall=block", "stall=window"},
                {"", "k=auto", "k=1"},
                {"suffix", "max_draft=2", "max_draft=5"},
                {"lookup:branches=3 min_ngram=1", "tree=recompute", "tree=plain"},
                {"aligned", "calibrate=0", "calibrate=1"},
                {"aligned", "topk=1 calibrate=1", "topk=3 calibrate=1"},
                {"aligned", "overlap=serial calibrate=1", "overlap=chunks calibrate=1"},
                {"aligned", "reuse=0", "reuse=1"},
                {"suffix", "decode=graph", "decode=dynamic"},
                {"suffix", "width=4 decode=dynamic", "width=8 decode=dynamic"},
                {"aligned", "fill=0", "fill=1"},
                {"suffix", "overflow=cut max_draft=60", "overflow=passes max_draft=60"}};
    const struct param *params = policy_find("switching")->params;
    for (int32_t i = 0; i < param_count(params); i++) {
        bool walked = false;
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
            walked = walked || !strncmp(rows[k].a, params[i].name, strlen(params[i].name));
        CHECK(walked);
    }
    struct blocks_error how = {.load_scale = 0.5};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const int32_t prompt[2] = {320, 250};
        char a[100], b[100];
        struct play *p = play_create(equal_blocks(3, 30 * MS), 2, prompt, 60);
        p->wrong = &how;
        p->request[0].arrival_ns = 0;
        p->request[1].arrival_ns = 4000 * INT64_C(1000000);
        snprintf(a, sizeof a, "switching:%s", rows[i].a);
        snprintf(b, sizeof b, "switching:%s", rows[i].b);
        if (!CHECK(outcome(p, a, rows[i].drafter) != outcome(p, b, rows[i].drafter)))
            printf("  %s and %s\n", a, b);
        play_destroy(p);
    }
}

static void a_belief_decides_and_its_errors_tell(void)
{
    const int32_t prompt = 320;
    struct blocks_error how = {.load_scale = 1};
    uint64_t first = 0;
    int32_t differ = 0;
    for (int i = 0; i < 4; i++) {
        struct play *p = play_create(equal_blocks(6, 20 * MS), 1, &prompt, 2);
        how.load_scale = i == 1 ? 0.5 : i == 2 ? 1.5 : 1;
        how.noise_pct = i == 3 ? 50 : 0;
        how.seed = 3;
        p->wrong = &how;
        uint64_t h = outcome(p, "switching", "");
        first = i ? first : h;
        differ += h != first;
        play_destroy(p);
    }
    CHECK_EQ(differ, 3);
}

/* ---- what it needs -------------------------------------------------------------------------- */

static void what_it_lacks_is_named(void)
{
    const int32_t prompt = 100;
    struct play *p = play_create(equal_blocks(6, 20 * MS), 1, &prompt, 3);
    p->no_belief = true;
    CHECK_EQ(play(p, "switching", ""), ERR_UNSUPPORTED);
    CHECK_HAS(p->e.msg, "k=auto needs a belief about the times of 6 blocks");
    CHECK(played(p, "switching:k=2", ""));
    CHECK(played(p, "switching:scheme=sync-switch", ""));
    p->spec.graph[3].weights = 2;
    CHECK_EQ(play(p, "switching:scheme=both-resident-shared", ""), ERR_UNSUPPORTED);
    CHECK_HAS(p->e.msg, "needs two graphs that share their weights");
    p->spec.graph[0].weights = p->spec.graph[1].weights = 3;
    CHECK(played(p, "switching:scheme=both-resident-shared", ""));
    CHECK_EQ(play(p, "switching:scheme=both-resident-copied", ""), ERR_UNSUPPORTED);
    CHECK_HAS(p->e.msg, "graphs 1 and 2 share theirs");
    p->spec.graph[1].width = WIDE_ROWS + 1;
    CHECK_EQ(play(p, "switching:k=2", ""), ERR_UNSUPPORTED);
    CHECK_HAS(p->e.msg, "the wide one comes first");
    p->spec.graph[1].width = NARROW_ROWS;
    CHECK_EQ(play(p, "switching:k=2 calibrate=1", ""), ERR_UNSUPPORTED);
    CHECK_HAS(p->e.msg, "reuse=1 and fill=1 need a drafter, and there is none");
    CHECK_EQ(play(p, "switching:k=2 reuse=1", ""), ERR_UNSUPPORTED);
    CHECK_EQ(play(p, "switching:k=2 calibrate=1 topk=5", "aligned"), ERR_UNSUPPORTED);
    CHECK_HAS(p->e.msg, "topk is 5, this executor gives at most 4");
    p->spec.max_topk = 0;
    CHECK_EQ(play(p, "switching:k=2 calibrate=1", "aligned"), ERR_UNSUPPORTED);
    CHECK_HAS(p->e.msg, "which this executor does not give");
    p->spec.n_graphs = 1;
    CHECK_EQ(play(p, "switching:k=2", ""), ERR_UNSUPPORTED);
    CHECK_HAS(p->e.msg, "needs 2 static graphs, this executor has 1");
    play_destroy(p);
}

/* ---- against the optimum -------------------------------------------------------------------- */

static struct optimal_problem problem_of(const struct blocks_spec *s, int32_t prompt)
{
    struct optimal_problem p = {.n = s->n, .chunks = (prompt + WIDE_ROWS - 1) / WIDE_ROWS};
    for (int32_t b = 0; b < s->n; b++) {
        p.wide_ns[b] = s->graph[0].compute_ns[b];
        p.narrow_ns[b] = s->graph[1].compute_ns[b];
        p.load_ns[b] = s->graph[0].free_ns[b] + s->graph[1].load_ns[b];
    }
    for (int32_t c = 0; c < p.chunks; c++) {
        int32_t left = prompt - c * WIDE_ROWS, n = left < WIDE_ROWS ? left : WIDE_ROWS;
        p.sub[c] = (n + NARROW_ROWS - 1) / NARROW_ROWS;
    }
    return p;
}

/* No simulated schedule is better than the bound, and the objective is the executor's. */
static void nothing_beats_the_optimum(void)
{
    static const char *const policy[] = {"switching", "switching:unhidden=wait window=next",
                                         "switching:scheme=async-last-chunk",
                                         "switching:scheme=sync-switch"};
    int32_t reached = 0;
    for (uint64_t round = 0; round < 80; round++) {
        struct blocks_spec s = random_blocks(round);
        int32_t prompt = (int32_t)draw(round, 30, 256) + 1;
        struct arena arena;
        struct optimal_result r;
        s.head_ns = s.dram_bytes_per_s = 0;
        s.host = (struct cost_host){0};
        arena_init(&arena);
        struct optimal_problem problem = problem_of(&s, prompt);
        CHECK_EQ(optimal_solve(&problem, 500, &arena, &r, NULL), ERR_OK);
        for (int i = 0; i < 4; i++) {
            int64_t ns = objective_of(s, prompt, policy[i]);
            CHECK(ns >= r.bound_ns);
            reached += i == 0 && ns == r.best_ns;
        }
        arena_fini(&arena);
    }
    CHECK(reached > 2);
}

static const struct unit_test tests[] = {
    {"every_schedule_keeps_to_its_rules", every_schedule_keeps_to_its_rules},
    {"a_cancelled_request_leaves_a_state_to_go_on_from",
     a_cancelled_request_leaves_a_state_to_go_on_from},
    {"broken_rules_are_found", broken_rules_are_found},
    {"the_worked_example_step_by_step", the_worked_example_step_by_step},
    {"the_greedy_rule_is_tight", the_greedy_rule_is_tight},
    {"schemes_take_what_they_should", schemes_take_what_they_should},
    {"a_prompt_too_short_has_a_schedule", a_prompt_too_short_has_a_schedule},
    {"a_late_begin_spares_the_narrow_graph", a_late_begin_spares_the_narrow_graph},
    {"a_window_runs_into_the_next_chunk", a_window_runs_into_the_next_chunk},
    {"a_late_switch_stops_its_block_or_the_window", a_late_switch_stops_its_block_or_the_window},
    {"memory_peaks_where_it_should", memory_peaks_where_it_should},
    {"what_does_not_fit_ends_with_what_was_resident",
     what_does_not_fit_ends_with_what_was_resident},
    {"the_way_back_costs_what_it_should", the_way_back_costs_what_it_should},
    {"steps_are_as_wide_as_the_graph", steps_are_as_wide_as_the_graph},
    {"trees_are_kept_or_run_again", trees_are_kept_or_run_again},
    {"calibration_covers_the_prompt", calibration_covers_the_prompt},
    {"calibration_runs_beside_what_overlap_says", calibration_runs_beside_what_overlap_says},
    {"a_drafter_is_taught_the_truth", a_drafter_is_taught_the_truth},
    {"every_parameter_changes_some_output", every_parameter_changes_some_output},
    {"a_belief_decides_and_its_errors_tell", a_belief_decides_and_its_errors_tell},
    {"what_it_lacks_is_named", what_it_lacks_is_named},
    {"nothing_beats_the_optimum", nothing_beats_the_optimum},
    {NULL, NULL},
};

UNIT_MAIN("switching", tests)
