/* The cost model of static graphs made of blocks: each cost by hand, memory, beliefs. */
#include "hwmodels/blocks.h"

#include <stdio.h>
#include <string.h>

#include "sim/exec/sim.h"
#include "tests/unit.h"
#include "tests/world.h"

enum { N = 5 };

/* Every number its own, so that none can stand in for another. */
static struct blocks_spec example(void)
{
    struct blocks_spec s = {.name = "example",
                            .n = N,
                            .n_graphs = 4,
                            .base_bytes = 400000000,
                            .head_ns = 70000,
                            .head_row_ns = 3000,
                            .head_bytes = 900,
                            .commit_chain_ns = 11,
                            .commit_tree_ns = 12,
                            .draft = {{1300, 20000, 3000000, 500000000}},
                            .host = {1, 2, 3, 4},
                            .dram_bytes_per_s = 60000000000,
                            .max_ctx = 1024,
                            .max_topk = 4,
                            .trees = true,
                            .n_processors = 2,
                            .processor = {{"npu", 4000, 100}, {"cpu", -1, -1}},
                            .role = {0, 1, 1}};
    static const int32_t width[] = {64, 8, 64, 8}, weights[] = {0, 0, 2, 2};
    for (int32_t g = 0; g < 4; g++) {
        s.graph[g].width = width[g];
        s.graph[g].weights = weights[g];
        for (int32_t b = 0; b < N; b++) {
            s.graph[g].compute_ns[b] = 1000000 * (g + 1) + 1000 * b;
            s.graph[g].compute_bytes[b] = 100 * (g + 1) + b;
            s.graph[g].load_ns[b] = 50000 * (g + 1) + 10 * b;
            s.graph[g].load_bytes[b] = 7000 * (g + 1) + b;
            s.graph[g].attach_ns[b] = 600 * (g + 1) + b;
            s.graph[g].attach_bytes[b] = 20 * (g + 1) + b;
            s.graph[g].free_ns[b] = 90 * (g + 1) + b;
            s.graph[g].own_bytes[b] = 1000000 * (g + 1);
        }
    }
    for (int32_t b = 0; b < N; b++)
        s.weight_bytes[b] = 200000000 + 10000000 * b;
    return s;
}

static const struct cost_model *model(const struct blocks_spec *s, struct arena *arena)
{
    const struct cost_model *m = NULL;
    struct err e = {0};
    arena_init(arena);
    if (!CHECK_EQ(blocks_cost_create(s, arena, &m, &e), ERR_OK))
        printf("%s\n", e.msg);
    return m;
}

static struct cost cost_of(const struct cost_model *m, const struct job *job,
                           const struct cost_resident *resident)
{
    struct cost c;
    struct draft_work work = {.tokens = 2, .probes = 3, .nodes = 5};
    struct engine_state state = {.resident = resident};
    CHECK_EQ(m->ops->job(m, job, &state, &work, &c, NULL), ERR_OK);
    return c;
}

static struct job step(int32_t graph, int32_t b0, int32_t b1)
{
    struct job j = {.id = 1, .kind = JOB_FORWARD};
    j.forward = (struct job_forward){.graph = graph,
                                     .b0 = b0,
                                     .b1 = b1,
                                     .width = 8,
                                     .n = 6,
                                     .slot_in = -1,
                                     .slot_out = -1,
                                     .want = WANT_ARGMAX,
                                     .want_from = 2};
    return j;
}

static void a_pass_is_the_sum_of_its_blocks_and_its_head(void)
{
    struct arena a;
    struct blocks_spec s = example();
    const struct cost_model *m = model(&s, &a);
    struct job j = step(2, 1, 4);
    CHECK_EQ(cost_of(m, &j, NULL).alone_ns, 3 * 2000000 + 1000 * (1 + 2 + 3));
    CHECK_EQ(cost_of(m, &j, NULL).bytes, 3 * 200 + 1 + 2 + 3);
    j = step(2, 3, 5); /* ends the step: four rows through the head */
    CHECK_EQ(cost_of(m, &j, NULL).alone_ns, 2 * 2000000 + 7000 + 70000 + 4 * 3000);
    CHECK_EQ(cost_of(m, &j, NULL).bytes, 2 * 200 + 7 + 900);
    j.forward.slot_out = 0; /* a HEAD follows */
    CHECK_EQ(cost_of(m, &j, NULL).alone_ns, 2 * 2000000 + 7000);
    j.forward.slot_out = -1;
    j.forward.want = WANT_NONE;
    CHECK_EQ(cost_of(m, &j, NULL).alone_ns, 2 * 2000000 + 7000);
    j.kind = JOB_HEAD;
    j.forward.want = WANT_TOPK;
    CHECK_EQ(cost_of(m, &j, NULL).alone_ns, 70000 + 4 * 3000);
    CHECK_EQ(cost_of(m, &j, NULL).bytes, 900);
    arena_fini(&a);
}

static void loads_frees_commits_and_drafts_cost_what_is_said(void)
{
    struct arena a;
    struct blocks_spec s = example();
    const struct cost_model *m = model(&s, &a);
    struct cost_resident r = {0};
    struct job j = {.kind = JOB_LOAD, .graph = {3, 4}};
    CHECK_EQ(cost_of(m, &j, &r).alone_ns, 150040);
    CHECK_EQ(cost_of(m, &j, &r).bytes, 21004);
    CHECK_EQ(cost_of(m, &j, NULL).alone_ns, 150040);
    r.block[2][4] = true; /* its own: nobody else's weights */
    CHECK_EQ(cost_of(m, &j, &r).alone_ns, 150040);
    r.block[3][3] = r.block[0][4] = true; /* another block's, another copy */
    CHECK_EQ(cost_of(m, &j, &r).alone_ns, 150040);
    r.block[3][4] = true;
    CHECK_EQ(cost_of(m, &j, &r).alone_ns, 1804);
    CHECK_EQ(cost_of(m, &j, &r).bytes, 64);
    j.graph.graph = 1;
    CHECK_EQ(cost_of(m, &j, &r).alone_ns, 50040);
    j.kind = JOB_FREE;
    CHECK_EQ(cost_of(m, &j, &r).alone_ns, 94);
    CHECK_EQ(cost_of(m, &j, &r).bytes, 0);
    static const int32_t first[] = {0, 1}, second[] = {0, 2};
    j = (struct job){.kind = JOB_COMMIT, .commit = {0, 0, 2, first}};
    CHECK_EQ(cost_of(m, &j, &r).alone_ns, 11);
    j.commit.row = second;
    CHECK_EQ(cost_of(m, &j, &r).alone_ns, 12);
    j.commit.row = NULL;
    CHECK_EQ(cost_of(m, &j, &r).alone_ns, 11);
    j = (struct job){.kind = JOB_DRAFT};
    CHECK_EQ(cost_of(m, &j, &r).alone_ns, 1300 + 60 + 15000 + 1000000);
    j.kind = JOB_CALIBRATE;
    CHECK_EQ(cost_of(m, &j, &r).alone_ns, 1300 + 60 + 15000 + 1000000);
    arena_fini(&a);
}

static void what_it_cannot_run_is_refused(void)
{
    struct arena a;
    struct blocks_spec s = example();
    const struct cost_model *m = model(&s, &a);
    struct cost c;
    struct engine_state state = {0};
    struct err e = {0};
    struct job j = step(0, 0, 5);
    CHECK_EQ(m->ops->job(m, &j, &state, NULL, &c, &e), ERR_UNSUPPORTED);
    CHECK_HAS(e.msg, "'example' runs static graphs only: job 1 is for graph 0");
    e = (struct err){0};
    j = (struct job){.kind = JOB_COPY};
    CHECK_EQ(m->ops->job(m, &j, &state, NULL, &c, &e), ERR_UNSUPPORTED);
    CHECK_HAS(e.msg, "copies no sequences");
    arena_fini(&a);
}

static void capabilities_are_those_of_the_graphs(void)
{
    struct arena a;
    struct blocks_spec s = example();
    const struct cost_model *m = model(&s, &a);
    struct exec_caps c;
    struct cost_host h;
    const struct cost_processor *p;
    m->ops->caps(m, &c);
    CHECK_EQ(c.blocks, N);
    CHECK_EQ(c.max_rows, 64);
    CHECK_EQ(c.max_ctx, 1024);
    CHECK_EQ(c.n_graphs, 4);
    CHECK_EQ(c.graph_width[1], 8);
    CHECK_EQ(c.graph_weights[1], 0);
    CHECK_EQ(c.graph_weights[3], 2);
    CHECK_EQ(c.features, EXEC_BLOCKS | EXEC_GRAPHS | EXEC_TREES | EXEC_CALIBRATES);
    m->ops->host(m, &h);
    CHECK_EQ(h.notify_ns, 4);
    CHECK_EQ(m->ops->processors(m, &p), 2);
    CHECK_STR(p[0].name, "npu");
    CHECK_EQ(m->ops->processor_of(m, 2), 1);
    CHECK_EQ(m->ops->bus_bytes_per_s(m), 60000000000);
    arena_fini(&a);
    s.trees = false;
    s.max_topk = 0;
    m = model(&s, &a);
    m->ops->caps(m, &c);
    CHECK_EQ(c.features, EXEC_BLOCKS | EXEC_GRAPHS);
    arena_fini(&a);
}

static void memory_counts_shared_weights_once(void)
{
    struct arena a;
    struct blocks_spec s = example();
    s.memory_bytes = 5000000000;
    s.address_bytes = 4294967296;
    const struct cost_model *m = model(&s, &a);
    struct cost_resident r = {0};
    struct cost_memory out;
    char text[160], tiny[20];
    const int64_t all = 5 * 200000000 + 10000000 * 10;
    m->ops->memory(m, &r, &out);
    CHECK_EQ(out.used_bytes, 400000000);
    CHECK_EQ(out.mapped_bytes, 0);
    CHECK_EQ(out.limit_bytes, 5000000000);
    CHECK_EQ(out.address_bytes, 4294967296);
    CHECK_STR(m->ops->memory_text(m, &r, text, sizeof text), "base 400 MB");
    for (int32_t b = 0; b < N; b++)
        r.block[0][b] = r.block[1][b] = true;
    m->ops->memory(m, &r, &out);
    CHECK_EQ(out.mapped_bytes, 2 * all + 5 * 1000000 + 5 * 2000000);
    memset(&r, 0, sizeof r);
    for (int32_t b = 0; b < N; b++)
        r.block[2][b] = r.block[3][b] = b != 1;
    m->ops->memory(m, &r, &out);
    CHECK_EQ(out.mapped_bytes, all - 210000000 + 4 * 3000000 + 4 * 4000000);
    CHECK_EQ(out.used_bytes, 400000000 + out.mapped_bytes);
    CHECK_STR(m->ops->memory_text(m, &r, text, sizeof text),
              "base 400 MB, graph 3 blocks 0,2-4 902 MB, graph 4 blocks 0,2-4 16 MB");
    CHECK_STR(m->ops->memory_text(m, &r, tiny, sizeof tiny), "base 400 MB, graph ");
    r.block[2][3] = false; /* then the other graph holds the block's weights */
    m->ops->memory(m, &r, &out);
    CHECK_EQ(out.mapped_bytes, all - 210000000 + 3 * 3000000 + 4 * 4000000);
    arena_fini(&a);
}

/* ---- in the simulated executor -------------------------------------------------------------- */

static struct world_truth truth;
static const char *const role_names[] = {"target", "load", "draft", NULL};
static const struct policy_type nobody = {.name = "nobody", .role = role_names};

struct bench {
    struct arena arena;
    struct run_setup setup;
    struct exec *x;
    int64_t id;
};

static bool bench_init(struct bench *b, const struct blocks_spec *s, struct err *e)
{
    *b = (struct bench){
        .setup = {.policy = &nobody, .n_vocab = 48, .max_requests = 1, .n_drafters = 0}};
    const struct cost_model *m = model(s, &b->arena);
    world_truth_init(&truth, world_language, NULL, world_requests(1, 5), 1, NULL, 0);
    return sim_create(m, &truth.truth, &b->setup, &b->x, e) == ERR_OK;
}

static void bench_fini(struct bench *b)
{
    b->x->ops->destroy(b->x);
    arena_fini(&b->arena);
}

static void put(struct bench *b, struct job job)
{
    job.id = ++b->id;
    job.request = -1;
    struct action act = {.kind = ACT_SUBMIT, .job = job};
    CHECK_EQ(b->x->ops->act(b->x, &act, NULL), ERR_OK);
}

static struct done next(struct bench *b)
{
    struct event ev = {0}, none = {.request = -1};
    CHECK_EQ(b->x->ops->next(b->x, &none, &ev, NULL), ERR_OK);
    return ev.done;
}

static struct job graph_job(uint8_t kind, int32_t graph, int32_t block)
{
    return (struct job){.kind = kind, .role = 1, .graph = {graph, block}};
}

static struct done graph_done(struct bench *b, uint8_t kind, int32_t graph, int32_t block)
{
    put(b, graph_job(kind, graph, block));
    return next(b);
}

static void memory_is_held_from_load_to_free(void)
{
    struct bench b;
    struct blocks_spec s = example();
    struct sim_stats stats;
    s.host = (struct cost_host){0};
    if (!CHECK(bench_init(&b, &s, NULL)))
        return;
    sim_stats(b.x, &stats);
    CHECK_EQ(stats.peak_resident_bytes, 400000000);
    struct done d = graph_done(&b, JOB_LOAD, 1, 2);
    CHECK_EQ(d.end_ns - d.start_ns, 50020);
    CHECK_EQ(d.resident_bytes, 400000000 + 220000000 + 1000000);
    CHECK_EQ(graph_done(&b, JOB_LOAD, 2, 2).resident_bytes, 400000000 + 440000000 + 3000000);
    CHECK_EQ(graph_done(&b, JOB_FREE, 1, 2).resident_bytes, 400000000 + 220000000 + 2000000);
    CHECK_EQ(graph_done(&b, JOB_FREE, 2, 2).resident_bytes, 400000000);
    CHECK_EQ(graph_done(&b, JOB_LOAD, 3, 0).bytes, 21000);
    d = graph_done(&b, JOB_LOAD, 4, 0);
    CHECK_EQ(d.end_ns - d.start_ns, 2400); /* its weights are there */
    CHECK_EQ(d.resident_bytes, 400000000 + 200000000 + 7000000);
    sim_stats(b.x, &stats);
    CHECK_EQ(stats.peak_resident_bytes, 400000000 + 440000000 + 3000000);
    bench_fini(&b);
}

static void a_load_that_does_not_fit_says_what_is_resident(void)
{
    struct bench b;
    struct blocks_spec s = example();
    s.memory_bytes = 400000000 + 201000000 + 211000000;
    if (!CHECK(bench_init(&b, &s, NULL)))
        return;
    CHECK_EQ(graph_done(&b, JOB_LOAD, 1, 0).status, DONE_OK);
    CHECK_EQ(graph_done(&b, JOB_LOAD, 1, 1).status, DONE_OK); /* to the last byte */
    struct done d = graph_done(&b, JOB_LOAD, 2, 0);
    CHECK_EQ(d.status, DONE_NO_MEMORY);
    CHECK_STR(d.why, "1014 of 812 MB of memory; resident: base 400 MB, graph 1 blocks 0-1 412 MB");
    CHECK_EQ(d.start_ns, d.end_ns);
    CHECK_EQ(graph_done(&b, JOB_FREE, 1, 1).status, DONE_OK);
    CHECK_EQ(graph_done(&b, JOB_LOAD, 2, 0).status, DONE_OK);
    bench_fini(&b);
    s.memory_bytes = 0;
    s.address_bytes = 211000000;
    CHECK(bench_init(&b, &s, NULL));
    CHECK_EQ(graph_done(&b, JOB_LOAD, 1, 1).status, DONE_OK);
    d = graph_done(&b, JOB_LOAD, 1, 0);
    CHECK_EQ(d.status, DONE_NO_MEMORY);
    CHECK_HAS(d.why, "412 of 211 MB of address space; resident: base 400 MB, graph 1 blocks 1");
    bench_fini(&b);
    s.memory_bytes = 399999999;
    struct err e = {0};
    CHECK(!bench_init(&b, &s, &e));
    CHECK_EQ(e.code, ERR_LIMIT);
    CHECK_HAS(e.msg, "before any LOAD: 400 of 399 MB of memory; resident: base 400 MB");
    arena_fini(&b.arena);
}

static void blocks_come_and_go_once(void)
{
    struct bench b;
    struct blocks_spec s = example();
    int32_t token[8] = {0};
    s.host = (struct cost_host){0};
    if (!CHECK(bench_init(&b, &s, NULL)))
        return;
    CHECK_HAS(graph_done(&b, JOB_FREE, 2, 0).why, "block 0 of graph 2 is not loaded");
    CHECK_EQ(graph_done(&b, JOB_LOAD, 2, 0).status, DONE_OK);
    CHECK_HAS(graph_done(&b, JOB_LOAD, 2, 0).why, "block 0 of graph 2 is loaded already");
    struct job j = step(2, 0, 1);
    j.forward.want = WANT_NONE;
    j.forward.slot_out = 0;
    j.forward.token = token;
    put(&b, j);
    put(&b, graph_job(JOB_FREE, 2, 0));
    CHECK_HAS(next(&b).why, "block 0 of graph 2 is running: let the FREE wait for it");
    CHECK_EQ(next(&b).status, DONE_OK);
    j.forward.pos = 6;
    static const uint8_t kinds[] = {JOB_FREE, JOB_LOAD}; /* while it leaves, while it comes */
    for (int i = 0; i < 2; i++) {
        put(&b, graph_job(kinds[i], 2, 0));
        put(&b, j);
        for (int k = 0; k < 2; k++) {
            struct done d = next(&b);
            CHECK_EQ(d.status, d.job_kind == JOB_FORWARD ? DONE_FAILED : DONE_OK);
            if (d.job_kind == JOB_FORWARD)
                CHECK_HAS(d.why, "block 0 of graph 2 is not loaded");
        }
    }
    bench_fini(&b);
}

/* A load and a computation that together want more than the bus slow each other. */
static void a_load_competes_on_the_bus(void)
{
    struct bench b;
    struct blocks_spec s = example();
    int32_t token[8] = {0};
    s.host = (struct cost_host){0};
    s.dram_bytes_per_s = 1000000000;
    s.graph[1].compute_ns[0] = s.graph[1].load_ns[1] = 1000000;
    s.graph[1].compute_bytes[0] = s.graph[1].load_bytes[1] = 1000000; /* the whole bus */
    if (!CHECK(bench_init(&b, &s, NULL)))
        return;
    CHECK_EQ(graph_done(&b, JOB_LOAD, 2, 0).status, DONE_OK);
    struct job j = step(2, 0, 1);
    j.forward.want = WANT_NONE;
    j.forward.slot_out = 0;
    j.forward.token = token;
    put(&b, j);
    put(&b, graph_job(JOB_LOAD, 2, 1));
    for (int i = 0; i < 2; i++) {
        struct done d = next(&b);
        CHECK_EQ(d.end_ns - d.start_ns, 2000000);
        CHECK_EQ(d.bytes, 1000000);
    }
    bench_fini(&b);
}

/* ---- beliefs and bad values ----------------------------------------------------------------- */

static void a_belief_is_the_truth_or_as_wrong_as_asked(void)
{
    struct blocks_spec s = example();
    struct belief b, again, wrong;
    blocks_belief(&s, 1, 2, NULL, &b);
    CHECK_EQ(b.n_blocks, N);
    CHECK_EQ(b.load_ns[3], 93 + 100030);
    CHECK_EQ(b.block_ns[0][4], 1004000);
    CHECK_EQ(b.block_ns[1][2], 2002000);
    CHECK_EQ(b.n_widths, 2);
    CHECK_EQ(b.width[0], 8);
    CHECK_EQ(b.width[1], 64);
    /* of two graphs as wide the faster one */
    CHECK_EQ(belief_step_ns(&b, 8, 700), 5 * 2000000 + 10000 + 73000);
    CHECK_EQ(belief_step_ns(&b, 9, 0), 5 * 1000000 + 10000 + 73000);
    struct blocks_error how = {.load_scale = 1};
    blocks_belief(&s, 1, 2, &how, &again);
    CHECK(belief_hash(&again) == belief_hash(&b));
    how.load_scale = 0.5;
    blocks_belief(&s, 1, 2, &how, &wrong);
    CHECK_EQ(wrong.load_ns[3], (93 + 100030 + 1) / 2);
    CHECK_EQ(wrong.block_ns[1][2], 2002000);
    how = (struct blocks_error){.load_scale = 1, .noise_pct = 25, .seed = 7};
    blocks_belief(&s, 1, 2, &how, &wrong);
    double least = 1e9, most = 0;
    for (int32_t g = 0; g < 4; g++)
        for (int32_t i = 0; i < N; i++) {
            double ratio = (double)wrong.block_ns[g][i] / (double)b.block_ns[g][i];
            CHECK(ratio >= 0.7499 && ratio <= 1.2501);
            least = ratio < least ? ratio : least;
            most = ratio > most ? ratio : most;
        }
    CHECK(least < 0.9 && most > 1.1);
    CHECK(wrong.load_ns[0] * b.load_ns[1] != wrong.load_ns[1] * b.load_ns[0]);
    how.seed = 8;
    blocks_belief(&s, 1, 2, &how, &again);
    CHECK(belief_hash(&again) != belief_hash(&wrong));
}

static void what_is_spread_adds_up(void)
{
    int64_t v[7];
    blocks_spread(v, 7, 100);
    CHECK_EQ(v[0] + v[1] + v[2] + v[3] + v[4] + v[5] + v[6], 100);
    CHECK_EQ(v[0], 15);
    CHECK_EQ(v[6], 14);
}

static void bad_values_are_named(void)
{
    struct blocks_spec s = example();
    const struct {
        int64_t *at;
        int64_t value;
        const char *says;
    } wide[] = {{&s.graph[1].load_ns[4], -1, "load_ns is -1"},
                {&s.graph[3].attach_bytes[0], -5, "attach_bytes is -5"},
                {&s.weight_bytes[2], -1, "weight_bytes is -1"},
                {&s.memory_bytes, -1, "memory_bytes is -1"},
                {&s.draft[0].kprobe_ns, INT64_MAX, "kprobe_ns is 9223372036854775807"}};
    const struct {
        int32_t *at;
        int32_t value;
        const char *says;
    } small[] = {{&s.n, 0, "n is 0, expected 1 to 64"},
                 {&s.n_graphs, 9, "n_graphs is 9"},
                 {&s.graph[2].width, 0, "a graph's width is 0"},
                 {&s.graph[2].weights, 9, "a graph's weights is 9"},
                 {&s.role[1], 2, "a role's processor is 2, expected 0 to 1"},
                 {&s.max_ctx, 0, "max_ctx is 0"}};
    struct arena a;
    const struct cost_model *m;
    arena_init(&a);
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) {
        struct err e = {0};
        s = example();
        *wide[i].at = wide[i].value;
        CHECK_EQ(blocks_cost_create(&s, &a, &m, &e), ERR_RANGE);
        CHECK_HAS(e.msg, wide[i].says);
    }
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
        struct err e = {0};
        s = example();
        *small[i].at = small[i].value;
        CHECK_EQ(blocks_cost_create(&s, &a, &m, &e), ERR_RANGE);
        CHECK_HAS(e.msg, small[i].says);
    }
    arena_fini(&a);
}

static const struct unit_test tests[] = {
    {"a_pass_is_the_sum_of_its_blocks_and_its_head", a_pass_is_the_sum_of_its_blocks_and_its_head},
    {"loads_frees_commits_and_drafts_cost_what_is_said",
     loads_frees_commits_and_drafts_cost_what_is_said},
    {"what_it_cannot_run_is_refused", what_it_cannot_run_is_refused},
    {"capabilities_are_those_of_the_graphs", capabilities_are_those_of_the_graphs},
    {"memory_counts_shared_weights_once", memory_counts_shared_weights_once},
    {"memory_is_held_from_load_to_free", memory_is_held_from_load_to_free},
    {"a_load_that_does_not_fit_says_what_is_resident",
     a_load_that_does_not_fit_says_what_is_resident},
    {"blocks_come_and_go_once", blocks_come_and_go_once},
    {"a_load_competes_on_the_bus", a_load_competes_on_the_bus},
    {"a_belief_is_the_truth_or_as_wrong_as_asked", a_belief_is_the_truth_or_as_wrong_as_asked},
    {"what_is_spread_adds_up", what_is_spread_adds_up},
    {"bad_values_are_named", bad_values_are_named},
    {NULL, NULL},
};

UNIT_MAIN("blocks", tests)
