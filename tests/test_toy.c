#include "sim/base/hash.h"
#include "sim/exec/threads.h"
#include "sim/exec/toy.h"
#include "tests/policies/policies.h"
#include "tests/policies/spy.h"
#include "tests/unit.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 512, VOCAB = 61 };

/* 6 blocks as in the worked example; graphs 16 and 4 wide; fast. */
static struct toy_options small(void)
{
    struct toy_options o;
    toy_defaults(&o);
    o.n_vocab = VOCAB;
    o.max_ctx = 384;
    o.max_rows = 16;
    o.max_topk = 5;
    o.graph_width[0] = 16;
    o.graph_width[1] = 4;
    o.block_ns = 2000;
    o.row_ns = 100;
    o.load_ns = 5000;
    o.eos_per_mille = 0;
    return o;
}

/* ---- the language --------------------------------------------------------------------------- */

static void defaults_are_valid_and_bad_options_are_named(void)
{
    struct toy_options o;
    toy_defaults(&o);
    struct engine *g = NULL;
    struct err e = {0};
    CHECK_EQ(toy_create(&o, &g, &e), ERR_OK);
    g->ops->destroy(g);
    const struct {
        int32_t *field;
        int32_t value;
        const char *says;
    } bad[] = {
        {&o.blocks, 0, "blocks is 0"},       {&o.n_vocab, 1, "n_vocab is 1"},
        {&o.order, 9, "order is 9"},         {&o.eos_per_mille, 1001, "1001, expected 0"},
        {&o.max_topk, 65, "max_topk is 65"}, {&o.n_graphs, 9, "n_graphs is 9"},
        {&o.max_ctx, -7, "max_ctx is -7"},   {&o.graph_width[1], 257, "graph 2 is 257 wide"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        toy_defaults(&o);
        *bad[i].field = bad[i].value;
        e = (struct err){0};
        CHECK_EQ(toy_create(&o, &g, &e), ERR_RANGE);
        CHECK_HAS(e.msg, bad[i].says);
    }
}

static void next_token_depends_on_the_last_few_only(void)
{
    struct toy_options o = small();
    int32_t a[7] = {3, 1, 4, 1, 5, 9, 2}, b[7] = {60, 59, 58, 57, 5, 9, 2};
    int64_t differ = 0;
    CHECK_EQ(toy_next(&o, a, 7), toy_next(&o, b, 7));
    for (int32_t t = 0; t < VOCAB; t++) {
        a[6] = b[6] = t;
        CHECK_EQ(toy_next(&o, a, 7), toy_next(&o, b, 7));
        a[4] = 4; /* another remainder modulo 3 */
        differ += toy_next(&o, a, 7) != toy_next(&o, b, 7);
        a[4] = 5;
        CHECK(toy_next(&o, a, 7) >= 1 && toy_next(&o, a, 7) < VOCAB);
    }
    CHECK(differ > VOCAB / 2);
    CHECK(toy_next(&o, a, 2) != toy_next(&o, a + 1, 1) || toy_next(&o, a, 1) != 0);
    o.eos_per_mille = 1000;
    CHECK_EQ(toy_next(&o, a, 7), 0);
}

static void texts_end_as_often_as_asked(void)
{
    struct toy_options o = small();
    o.eos_per_mille = 100;
    o.order = 8;
    int32_t text[8], zeros = 0;
    for (int32_t i = 0; i < 4000; i++) {
        for (int32_t k = 0; k < 8; k++)
            text[k] = (int32_t)(rng_u64(5, RNG_TEST, (uint64_t)i, (uint64_t)k) % VOCAB);
        zeros += toy_next(&o, text, 8) == 0;
    }
    CHECK_NEAR(zeros, 400, 3.3 * 19);
}

/* ---- the engine, called as a worker calls it ------------------------------------------------ */

struct bench {
    struct toy_options o;
    struct engine *g;
    struct engine_out out;
    int64_t id;
    int32_t choice[16], top[16 * 5];
    float logit[16 * 5];
};

static void bench_init(struct bench *b)
{
    *b = (struct bench){.o = small()};
    b->o.block_ns = b->o.row_ns = b->o.load_ns = 0;
    struct err e = {0};
    CHECK_EQ(toy_create(&b->o, &b->g, &e), ERR_OK);
}

static void bench_fini(struct bench *b)
{
    b->g->ops->destroy(b->g);
}

static uint8_t run(struct bench *b, struct job *job)
{
    job->id = ++b->id;
    b->out = (struct engine_out){.choice = b->choice, .top = b->top, .logit = b->logit};
    b->g->ops->run(b->g, job, &b->out);
    return b->out.status;
}

static struct job whole_step(int32_t pos, const int32_t *token, int32_t n)
{
    struct job j = {.kind = JOB_FORWARD};
    j.forward = (struct job_forward){.b1 = 6,
                                     .width = n,
                                     .pos = pos,
                                     .n = n,
                                     .token = token,
                                     .slot_in = -1,
                                     .slot_out = -1,
                                     .want = WANT_ARGMAX};
    return j;
}

static struct job part(int32_t b0, int32_t b1, int32_t pos, const int32_t *token, int32_t n,
                       int32_t slot_in, int32_t slot_out)
{
    struct job j = whole_step(pos, token, n);
    j.forward.b0 = b0;
    j.forward.b1 = b1;
    j.forward.slot_in = slot_in;
    j.forward.slot_out = slot_out;
    j.forward.want = slot_out < 0 && b1 == 6 ? WANT_ARGMAX : WANT_NONE;
    return j;
}

static struct job commit(int32_t seq, int32_t pos, int32_t n, const int32_t *row)
{
    return (struct job){.kind = JOB_COMMIT, .commit = {seq, pos, n, row}};
}

static struct job graph(uint8_t kind, int32_t g, int32_t block)
{
    return (struct job){.kind = kind, .graph = {g, block}};
}

static const int32_t text[24] = {7,  7, 13, 60, 1, 0,  44, 2,  9, 33, 5, 58,
                                 21, 3, 3,  3,  8, 30, 17, 52, 6, 49, 1, 12};

/* How many of the last job's choices are what toy_next says after text[0, from + i + 1). */
static int32_t right(const struct bench *b, int32_t from)
{
    int32_t n = 0;
    for (int32_t i = 0; i < b->out.n_choice; i++)
        n += b->choice[i] == toy_next(&b->o, text, from + i + 1);
    return n;
}

static void every_row_says_what_its_text_says(void)
{
    struct bench b;
    bench_init(&b);
    struct job j = whole_step(0, text, 16);
    CHECK_EQ(run(&b, &j), DONE_OK);
    CHECK_EQ(b.out.n_choice, 16);
    CHECK_EQ(right(&b, 0), 16);
    CHECK_EQ(b.out.resident_bytes, 6 * 16 * 1024);
    j = whole_step(16, text + 16, 3);
    j.forward.width = 11; /* padding */
    j.forward.want_from = 1;
    CHECK_EQ(run(&b, &j), DONE_OK);
    CHECK_EQ(b.out.n_choice, 2);
    CHECK_EQ(right(&b, 17), 2);
    CHECK_EQ(b.out.resident_bytes, 6 * 19 * 1024); /* and padding is gone */
    j = whole_step(19, text + 19, 1);
    CHECK_EQ(run(&b, &j), DONE_OK);
    CHECK_EQ(right(&b, 19), 1);
    j.forward.want = WANT_NONE;
    j.forward.pos = 20;
    CHECK_EQ(run(&b, &j), DONE_OK);
    CHECK_EQ(b.out.n_choice, 0);
    bench_fini(&b);
}

static void top_k_starts_with_the_choice_and_decreases(void)
{
    struct bench b;
    bench_init(&b);
    struct job j = whole_step(0, text, 13);
    j.forward.want = WANT_TOPK;
    j.forward.want_k = 5;
    CHECK_EQ(run(&b, &j), DONE_OK);
    CHECK_EQ(b.out.k, 5);
    CHECK_EQ(right(&b, 0), 13);
    for (int32_t i = 0; i < 13; i++) {
        CHECK_EQ(b.top[i * 5], b.choice[i]);
        for (int32_t k = 1; k < 5; k++) {
            CHECK(b.logit[i * 5 + k] < b.logit[i * 5 + k - 1]);
            CHECK(b.top[i * 5 + k] >= 0 && b.top[i * 5 + k] < VOCAB);
            for (int32_t m = 0; m < k; m++)
                CHECK(b.top[i * 5 + k] != b.top[i * 5 + m]);
        }
    }
    bench_fini(&b);
}

static void blocks_in_parts_through_slots_say_the_same(void)
{
    struct bench b;
    bench_init(&b);
    struct job j = part(0, 2, 0, text, 13, -1, 0);
    CHECK_EQ(run(&b, &j), DONE_OK);
    CHECK_EQ(b.out.n_choice, 0);
    /* in sub-chunks, the second slot filled piece by piece */
    for (int32_t at = 0; at < 13; at += 4) {
        j = part(2, 5, at, text + at, at + 4 > 13 ? 1 : 4, 0, 1);
        CHECK_EQ(run(&b, &j), DONE_OK);
    }
    j = part(5, 6, 0, text, 13, 1, 2);
    CHECK_EQ(run(&b, &j), DONE_OK);
    j = part(0, 6, 0, text, 13, 2, -1);
    j.kind = JOB_HEAD;
    CHECK_EQ(run(&b, &j), DONE_OK);
    CHECK_EQ(b.out.n_choice, 13);
    CHECK_EQ(right(&b, 0), 13);
    /* a part of the rows, a second time */
    j.forward.pos = 5;
    j.forward.n = 4;
    CHECK_EQ(run(&b, &j), DONE_OK);
    CHECK_EQ(right(&b, 5), 4);
    bench_fini(&b);
}

/* Each wrong order of blocks that a scheduler could submit and the shapes do not forbid. */
static void wrong_blocks_give_wrong_tokens(void)
{
    static const int32_t order[3][3][2] = {
        {{0, 2}, {3, 6}, {-1, 0}}, /* one left out */
        {{0, 3}, {4, 6}, {-1, 0}},
        {{0, 1}, {3, 5}, {5, 6}}, /* two left out */
    };
    for (int32_t o = 0; o < 3; o++) {
        struct bench b;
        bench_init(&b);
        for (int32_t s = 0; s < 3 && order[o][s][0] >= 0; s++) {
            int32_t b0 = order[o][s][0], b1 = order[o][s][1];
            struct job j = part(b0, b1, 0, text, 15, b0 ? 0 : -1, b1 == 6 ? -1 : 0);
            CHECK_EQ(run(&b, &j), DONE_OK);
        }
        CHECK_EQ(b.out.n_choice, 15);
        CHECK_EQ(right(&b, 0), 0);
        bench_fini(&b);
    }
    struct bench b;
    bench_init(&b);
    /* middle blocks swapped */
    const int32_t swapped[4][2] = {{0, 1}, {3, 4}, {1, 3}, {4, 6}};
    for (int32_t s = 0; s < 4; s++) {
        struct job j = part(swapped[s][0], swapped[s][1], 0, text, 15, s ? 0 : -1, s == 3 ? -1 : 0);
        CHECK_EQ(run(&b, &j), DONE_OK);
    }
    CHECK_EQ(right(&b, 0), 0);
    /* and what was cached wrongly makes every later row wrong */
    struct job j = whole_step(15, text + 15, 4);
    CHECK_EQ(run(&b, &j), DONE_OK);
    CHECK_EQ(right(&b, 15), 0);
    bench_fini(&b);
}

static void wrong_rows_give_wrong_tokens(void)
{
    struct bench b;
    bench_init(&b);
    /* the second half of the blocks is told another token */
    int32_t other[8];
    memcpy(other, text, sizeof other);
    other[3] = 59;
    struct job j = part(0, 3, 0, text, 8, -1, 0);
    CHECK_EQ(run(&b, &j), DONE_OK);
    j = part(3, 6, 0, other, 8, 0, -1);
    CHECK_EQ(run(&b, &j), DONE_OK);
    CHECK_EQ(right(&b, 0), 3);
    j = commit(0, 0, 0, NULL);
    CHECK_EQ(run(&b, &j), DONE_OK);
    /* another sequence's rows: same shape, other text */
    j = whole_step(0, text, 8);
    CHECK_EQ(run(&b, &j), DONE_OK);
    j.forward.seq = 1;
    j.forward.token = other;
    CHECK_EQ(run(&b, &j), DONE_OK);
    struct job one = part(0, 3, 8, text + 8, 1, -1, 0), two = part(0, 3, 8, text + 8, 1, -1, 0);
    two.forward.seq = 1;
    CHECK_EQ(run(&b, &one), DONE_OK);
    CHECK_EQ(run(&b, &two), DONE_OK);
    one = part(3, 6, 8, text + 8, 1, 0, -1);
    CHECK_EQ(run(&b, &one), DONE_FAILED); /* the slot has the other's row by now */
    CHECK_HAS(b.out.message, "slot 0 holds rows 8 to 9 of sequence 1");
    bench_fini(&b);
}

static void a_tree_without_its_commit_gives_wrong_tokens(void)
{
    struct bench b;
    bench_init(&b);
    static const int32_t parent[5] = {-1, 0, 0, 2, 2};
    /* text[8] -> {wrong, text[9] -> {text[10], wrong}} */
    const int32_t tree[5] = {text[8], 20, text[9], text[10], 20};
    for (int32_t committed = 0; committed < 2; committed++) {
        struct job j = whole_step(0, text, 8);
        CHECK_EQ(run(&b, &j), DONE_OK);
        j = whole_step(8, tree, 5);
        j.forward.parent = parent;
        CHECK_EQ(run(&b, &j), DONE_OK);
        int32_t branch[12];
        memcpy(branch, text, 9 * sizeof *branch);
        CHECK_EQ(b.choice[0], toy_next(&b.o, text, 9));
        CHECK_EQ(b.choice[2], toy_next(&b.o, text, 10));
        CHECK_EQ(b.choice[3], toy_next(&b.o, text, 11));
        branch[9] = 20; /* under rejected rows too */
        CHECK_EQ(b.choice[1], toy_next(&b.o, branch, 10));
        branch[9] = text[9];
        branch[10] = 20;
        CHECK_EQ(b.choice[4], toy_next(&b.o, branch, 11));
        static const int32_t path[3] = {0, 2, 3};
        j = commit(0, 8, 3, path);
        if (committed)
            CHECK_EQ(run(&b, &j), DONE_OK);
        int32_t pos = committed ? 11 : 13;
        j = whole_step(pos, text + 11, 4);
        CHECK_EQ(run(&b, &j), DONE_OK);
        CHECK_EQ(right(&b, 11), committed ? 4 : 0);
        j = commit(0, 0, 0, NULL);
        CHECK_EQ(run(&b, &j), DONE_OK);
        CHECK_EQ(b.out.resident_bytes, 0);
    }
    bench_fini(&b);
}

static void commits_are_checked(void)
{
    struct bench b;
    bench_init(&b);
    static const int32_t parent[5] = {-1, 0, 0, 2, 2};
    struct job j = whole_step(0, text, 5);
    j.forward.parent = parent;
    CHECK_EQ(run(&b, &j), DONE_OK);
    static const int32_t no_path[3] = {0, 1, 3}, no_root[2] = {2, 3}, outside[2] = {0, 5};
    const struct {
        struct job job;
        const char *says;
    } bad[] = {{commit(0, 0, 3, no_path), "row 3 does not follow row 1"},
               {commit(0, 0, 2, no_root), "row 2 does not follow row -1"},
               {commit(0, 0, 2, outside), "row 5 of the step at 0 of sequence 0 does not exist"},
               {commit(0, 0, 5, NULL), "no path"},
               {commit(0, 6, 0, NULL), "at position 6 of sequence 0, which has 5 tokens"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        j = bad[i].job;
        CHECK_EQ(run(&b, &j), DONE_FAILED);
        CHECK_HAS(b.out.message, bad[i].says);
    }
    j = commit(0, 3, 0, NULL); /* rolls back */
    CHECK_EQ(run(&b, &j), DONE_OK);
    CHECK_EQ(b.out.resident_bytes, 6 * 3 * 1024);
    j = part(0, 3, 3, text, 2, -1, 0);
    CHECK_EQ(run(&b, &j), DONE_OK);
    j = commit(0, 3, 0, NULL);
    CHECK_EQ(run(&b, &j), DONE_FAILED);
    CHECK_HAS(b.out.message, "block 0 has cached 5 tokens, block 3 3");
    bench_fini(&b);
}

static void positions_graphs_and_memory_are_checked(void)
{
    struct bench b;
    bench_init(&b);
    struct job j = whole_step(1, text, 5);
    CHECK_EQ(run(&b, &j), DONE_FAILED);
    CHECK_HAS(b.out.message, "at position 1, but block 0 has cached 0 tokens of sequence 0");
    j = part(2, 6, 0, text, 5, 3, -1);
    CHECK_EQ(run(&b, &j), DONE_FAILED);
    CHECK_HAS(b.out.message, "slot 3 holds rows 0 to 0 of sequence -1");
    j = part(0, 5, 0, text, 4, -1, 0);
    CHECK_EQ(run(&b, &j), DONE_OK);
    j = part(0, 6, 0, text, 4, 0, -1);
    j.kind = JOB_HEAD;
    CHECK_EQ(run(&b, &j), DONE_FAILED);
    CHECK_HAS(b.out.message, "slot 0 has only passed 5 of 6 blocks");
    for (int32_t block = 0; block < 6; block++) {
        j = part(block, block + 1, 0, text, 4, block ? 1 : -1, 1);
        j.forward.graph = 2;
        j.forward.seq = 1;
        CHECK_EQ(run(&b, &j), DONE_FAILED);
        CHECK_HAS(b.out.message, block ? "slot 1 holds" : "block 0 of graph 2 is not loaded");
        struct job l = graph(JOB_LOAD, 2, block);
        CHECK_EQ(run(&b, &l), DONE_OK);
        CHECK_EQ(b.out.resident_bytes, (block + 1) * (1 << 20) + 5 * 4 * 1024);
    }
    j = whole_step(0, text, 4);
    j.forward.graph = 2;
    j.forward.seq = 1;
    CHECK_EQ(run(&b, &j), DONE_OK);
    CHECK_EQ(right(&b, 0), 4);
    j.forward.width = 5;
    CHECK_EQ(run(&b, &j), DONE_FAILED);
    CHECK_HAS(b.out.message, "graph 2 is 4 wide, the step 5");
    j = graph(JOB_LOAD, 2, 3);
    CHECK_EQ(run(&b, &j), DONE_FAILED);
    CHECK_HAS(b.out.message, "block 3 of graph 2 is loaded already");
    j = graph(JOB_FREE, 2, 3);
    CHECK_EQ(run(&b, &j), DONE_OK);
    CHECK_EQ(run(&b, &j), DONE_FAILED);
    j = whole_step(4, text + 4, 4);
    j.forward.graph = 2;
    j.forward.seq = 1;
    CHECK_EQ(run(&b, &j), DONE_FAILED);
    CHECK_HAS(b.out.message, "block 3 of graph 2 is not loaded");
    for (int32_t pos = 0; pos < 384; pos += 16) {
        j = whole_step(pos, text, 16);
        j.forward.seq = 2;
        CHECK_EQ(run(&b, &j), DONE_OK);
    }
    j = whole_step(384, text, 1);
    j.forward.seq = 2;
    CHECK_EQ(run(&b, &j), DONE_NO_MEMORY);
    CHECK_HAS(b.out.message, "sequence 2 has 384 tokens, 1 more exceed the context of 384");
    j = (struct job){.kind = JOB_DRAFT};
    CHECK_EQ(run(&b, &j), DONE_FAILED);
    bench_fini(&b);
}

static void copies_share_a_prefix(void)
{
    struct bench b;
    bench_init(&b);
    struct job j = whole_step(0, text, 16);
    CHECK_EQ(run(&b, &j), DONE_OK);
    j = (struct job){.kind = JOB_COPY, .copy = {0, 3, 11}};
    CHECK_EQ(run(&b, &j), DONE_OK);
    CHECK_EQ(b.out.resident_bytes, 6 * (16 + 11) * 1024);
    j = whole_step(11, text + 11, 9);
    j.forward.seq = 3;
    CHECK_EQ(run(&b, &j), DONE_OK);
    CHECK_EQ(right(&b, 11), 9);
    j = (struct job){.kind = JOB_COPY, .copy = {3, 1, 21}};
    CHECK_EQ(run(&b, &j), DONE_FAILED);
    CHECK_HAS(b.out.message, "a COPY of 21 tokens of sequence 3, which has 20");
    bench_fini(&b);
}

/* ---- whole runs ----------------------------------------------------------------------------- */

/* An engine in which a LOAD of graph 2 and the first prefill step beside it end only when both have
 * begun: a run comes to its end only if they can overlap. */
struct meeting {
    struct engine engine; /* must be first */
    struct engine *inner;
    pthread_mutex_t lock;
    pthread_cond_t came;
    int32_t n_came;
};

static void meeting_caps(const struct engine *g, struct exec_caps *out)
{
    const struct meeting *m = (const struct meeting *)g;
    m->inner->ops->caps(m->inner, out);
}

static void meeting_run(struct engine *g, const struct job *j, struct engine_out *out)
{
    struct meeting *m = (struct meeting *)g;
    bool loads = j->kind == JOB_LOAD && j->graph.graph == 2;
    bool first = j->kind == JOB_FORWARD && j->phase == PHASE_PREFILL && j->forward.pos % 16 == 0;
    pthread_mutex_lock(&m->lock);
    if (loads || first) {
        int32_t both = (m->n_came++ | 1) + 1;
        pthread_cond_broadcast(&m->came);
        while (m->n_came < both)
            pthread_cond_wait(&m->came, &m->lock);
    }
    pthread_mutex_unlock(&m->lock);
    m->inner->ops->run(m->inner, j, out);
}

static void meeting_destroy(struct engine *g)
{
    (void)g;
}

static const struct engine_ops meeting_ops = {"meeting", meeting_caps, meeting_run,
                                              meeting_destroy};

struct world {
    struct toy_options o;
    struct run_setup setup;
    bool meets;
    struct meeting meeting;
    struct engine *g;
    struct exec *x;
    struct spy spy;
    struct arena arena;
    struct run_result result;
    struct err e;
};

static struct world *world_create(const struct policy_type *policy, int32_t max_requests)
{
    struct world *w = calloc(1, sizeof *w);
    w->o = small();
    w->setup = (struct run_setup){
        .policy = policy, .n_vocab = VOCAB, .n_eos = 1, .max_requests = max_requests};
    param_defaults(policy->params, w->setup.policy_param);
    arena_init(&w->arena);
    w->meeting.engine.ops = &meeting_ops;
    pthread_mutex_init(&w->meeting.lock, NULL);
    pthread_cond_init(&w->meeting.came, NULL);
    return w;
}

static int world_run(struct world *w, const struct request *request, int32_t n)
{
    struct threads_options t = {.name = "toy", .stall_ns = 20000000000};
    for (int32_t i = 0; i < EXEC_MAX_ROLES; i++)
        t.cpu[i] = -1;
    int rc = toy_create(&w->o, &w->g, &w->e);
    if (rc)
        return rc;
    w->meeting.inner = w->g;
    rc = threads_create(w->meets ? &w->meeting.engine : w->g, &w->setup, &t, &w->x, &w->e);
    if (rc)
        return rc;
    spy_init(&w->spy, w->x);
    return driver_run(&w->setup, &w->spy.exec, request, n, &w->arena, &w->result, &w->e);
}

static void world_destroy(struct world *w)
{
    if (w->x)
        w->x->ops->destroy(w->x);
    if (w->g)
        w->g->ops->destroy(w->g);
    arena_fini(&w->arena);
    pthread_mutex_destroy(&w->meeting.lock);
    pthread_cond_destroy(&w->meeting.came);
    free(w);
}

/* Whether a request's output is what the toy says after its prompt, up to end or length. */
static bool right_text(const struct world *w, const struct request *q,
                       const struct request_result *r)
{
    int32_t t[MAX_TEXT], n = q->n;
    memcpy(t, q->token, (size_t)n * sizeof *t);
    for (int32_t i = 0; i < q->max_tokens; i++) {
        t[n] = toy_next(&w->o, t, n);
        if (i >= r->n_output || r->output[i] != t[n])
            return false;
        if (t[n++] == 0 && w->setup.n_eos)
            return r->n_output == i + 1;
    }
    return r->n_output == q->max_tokens;
}

static bool ran(struct world *w, const struct request *request, int32_t n)
{
    int rc = world_run(w, request, n);
    if (!CHECK_EQ(rc, ERR_OK)) {
        printf("%s\n", w->e.msg);
        return false;
    }
    for (int32_t i = 0; i < w->spy.n; i++)
        CHECK_EQ(w->spy.job[i].n_done, 1);
    return true;
}

static struct request ask(int32_t from, int32_t n, int32_t max_tokens)
{
    return (struct request){
        .n = n, .token = text + from, .max_tokens = max_tokens, .cancel_ns = EXEC_NEVER};
}

static void autoregressive_gives_the_toys_text(void)
{
    struct world *w = world_create(policy_find("autoregressive"), 1);
    w->o.eos_per_mille = 30;
    struct request q[3] = {ask(0, 24, 40), ask(5, 1, 33), ask(3, 17, 1)};
    q[1].arrival_ns = q[2].arrival_ns = REQUEST_AFTER_PREVIOUS;
    if (ran(w, q, 3))
        for (int32_t i = 0; i < 3; i++)
            CHECK(right_text(w, &q[i], &w->result.request[i]));
    world_destroy(w);
}

static void speculative_gives_the_toys_text(void)
{
    struct world *w = world_create(policy_find("speculative"), 1);
    w->setup.n_drafters = 1;
    w->setup.drafter[0].type = &drafter_count;
    w->o.n_vocab = w->setup.n_vocab = w->o.max_topk = 3; /* guesses come true now and then */
    int32_t prompt[9] = {1, 2, 0, 1, 1, 2, 2, 0, 1};
    struct request q = {.n = 9, .token = prompt, .max_tokens = 120, .cancel_ns = EXEC_NEVER};
    w->setup.n_eos = 0;
    w->o.eos_per_mille = 330;
    if (ran(w, &q, 1)) {
        CHECK(right_text(w, &q, &w->result.request[0]));
        CHECK(w->result.request[0].n_accepted > 0);
        CHECK(w->result.request[0].n_drafted > w->result.request[0].n_accepted);
    }
    world_destroy(w);
}

/* Progressive, k = 2; stall=window makes the order of jobs that of the rule alone. */
static struct world *switching_world(void)
{
    struct world *w = world_create(&policy_switching, 1);
    int64_t *value = w->setup.policy_param;
    CHECK_EQ(param_set(policy_switching.params, "k", "2", value, NULL), ERR_OK);
    CHECK_EQ(param_set(policy_switching.params, "stall", "window", value, NULL), ERR_OK);
    return w;
}

/* Two prefill chunks of 16 and 8 tokens, N = 6, k = 2. A bar: not the same event's answer. */
static void progressive_switching_follows_the_worked_example(void)
{
    static const char *const want[] = {
        "LOAD g1 b0",
        "LOAD g1 b1",
        "LOAD g1 b2",
        "LOAD g1 b3",
        "LOAD g1 b4",
        "LOAD g1 b5",
        "|",
        "FREE g1 b5",
        "LOAD g2 b5",
        "FORWARD g1 b0-2 w16 n16 pos0 slot-1>1 seq0",
        "|",
        "FREE g1 b4",
        "LOAD g2 b4",
        "FORWARD g1 b2-4 w16 n16 pos0 slot1>0 seq0",
        "|",
        "FREE g1 b3",
        "LOAD g2 b3",
        "FORWARD g2 b4-6 w4 n4 pos0 slot0>-1 seq0",
        "FORWARD g2 b4-6 w4 n4 pos4 slot0>-1 seq0",
        "FORWARD g2 b4-6 w4 n4 pos8 slot0>-1 seq0",
        "FORWARD g2 b4-6 w4 n4 pos12 slot0>-1 seq0",
        "|",
        "FREE g1 b2",
        "LOAD g2 b2",
        "FORWARD g1 b0-2 w16 n8 pos16 slot-1>0 seq0",
        "|",
        "FREE g1 b1",
        "LOAD g2 b1",
        "FORWARD g2 b2-4 w4 n4 pos16 slot0>1 seq0",
        "FORWARD g2 b2-4 w4 n4 pos20 slot0>1 seq0",
        "|",
        "FREE g1 b0",
        "LOAD g2 b0",
        "FORWARD g2 b4-6 w4 n4 pos16 slot1>-1 seq0",
        "FORWARD g2 b4-6 w4 n4 pos20 slot1>0 seq0",
        "HEAD n4 pos20 slot0 seq0",
        "|",
        "FORWARD g2 b0-6 w4 n1 pos24 slot-1>-1 seq0",
        "|",
        "FORWARD g2 b0-6 w4 n1 pos25 slot-1>-1 seq0",
        "|",
    };
    struct world *w = switching_world();
    w->o.seed = 3;
    struct request q = ask(0, 24, 9);
    if (!ran(w, &q, 1)) {
        world_destroy(w);
        return;
    }
    CHECK(right_text(w, &q, &w->result.request[0]));
    const struct spy *s = &w->spy;
    int32_t at = 0;
    char buf[96];
    for (size_t i = 0; i < sizeof want / sizeof *want && at < s->n; i++)
        if (!strcmp(want[i], "|"))
            CHECK(at < s->n && s->job[at].submitted_at > s->job[at - 1].submitted_at);
        else
            CHECK_STR(spy_text(s, at++, buf, sizeof buf), want[i]);
    CHECK_EQ(at, 30 + 2);
    world_destroy(w);
}

/* The constraints of the paper's appendix, from the times that the run measured. */
static void switches_do_not_overlap_and_each_block_switches_once(void)
{
    struct world *w = switching_world();
    w->meets = true;
    struct request q = ask(0, 24, 3);
    int32_t switched[6] = {0}, beside = 0;
    if (!ran(w, &q, 1)) {
        world_destroy(w);
        return;
    }
    const struct spy *s = &w->spy;
    for (int32_t i = 0; i < s->n; i++) {
        const struct spied *a = &s->job[i];
        if (a->job.kind != JOB_LOAD || a->job.graph.graph != 2)
            continue;
        switched[a->job.graph.block]++;
        for (int32_t k = 0; k < s->n; k++) {
            const struct spied *b = &s->job[k];
            bool overlap = k != i && a->start_ns < b->end_ns && b->start_ns < a->end_ns;
            if (!overlap || b->job.kind == JOB_HEAD)
                continue;
            CHECK_EQ(b->job.kind, JOB_FORWARD);
            CHECK(b->job.forward.b0 > a->job.graph.block ||
                  b->job.forward.b1 <= a->job.graph.block);
            beside++;
        }
    }
    for (int32_t b = 0; b < 6; b++)
        CHECK_EQ(switched[b], 1);
    CHECK(beside >= 6);
    int64_t last = 0, resident = -1;
    for (int32_t i = 0; i < s->n; i++)
        if (s->job[i].end_ns >= last) {
            last = s->job[i].end_ns;
            resident = s->job[i].resident_bytes;
        }
    CHECK_EQ(resident, 6 * (1 << 20)); /* the narrow graph, and no cache */
    world_destroy(w);
}

static void progressive_switching_copes_with_any_prompt(void)
{
    for (int32_t n = 1; n <= 24; n += 5) /* too short to hide the switches, too */
        for (int32_t k = 1; k <= 6; k += 2) {
            struct world *w = switching_world();
            char text_k[16];
            snprintf(text_k, sizeof text_k, "%d", k);
            CHECK_EQ(param_set(policy_switching.params, "k", text_k, w->setup.policy_param, NULL),
                     ERR_OK);
            if (n % 2)
                param_set(policy_switching.params, "stall", "block", w->setup.policy_param, NULL);
            w->o.block_ns = w->o.row_ns = w->o.load_ns = 0;
            struct request q[2] = {ask(24 - n, n, 7), ask(0, 24, 5)};
            q[1].arrival_ns = REQUEST_AFTER_PREVIOUS;
            if (ran(w, q, 2)) {
                CHECK(right_text(w, &q[0], &w->result.request[0]));
                CHECK(right_text(w, &q[1], &w->result.request[1]));
            }
            world_destroy(w);
        }
}

static void a_tree_keeps_its_second_branch(void)
{
    struct world *w = world_create(&policy_tree, 1);
    struct request q[2] = {ask(2, 15, 100), ask(1, 16, 2)};
    q[1].arrival_ns = REQUEST_AFTER_PREVIOUS;
    policy_tree_toy = &w->o;
    if (ran(w, q, 2)) {
        CHECK(right_text(w, &q[0], &w->result.request[0]));
        CHECK(right_text(w, &q[1], &w->result.request[1]));
        /* after the prefill's one, three tokens a step: two accepted of six drafted */
        CHECK_EQ(w->result.request[0].n_verify, 33);
        CHECK_EQ(w->result.request[0].n_drafted, 33 * 6);
        CHECK_EQ(w->result.request[0].n_accepted, 33 * 2);
    }
    world_destroy(w);
}

static void two_requests_take_turns(void)
{
    struct world *w = world_create(&policy_interleave, 2);
    w->setup.n_drafters = 1;
    w->setup.drafter[0].type = &drafter_count;
    struct request q[5] = {ask(0, 16, 40), ask(4, 11, 40), ask(9, 3, 7), ask(1, 1, 21),
                           ask(8, 16, 30)};
    if (ran(w, q, 5))
        for (int32_t i = 0; i < 5; i++)
            CHECK(right_text(w, &q[i], &w->result.request[i]));
    /* while the first two are open, their steps alternate */
    int32_t seq = 1, steps = 0;
    for (int32_t i = 0; i < w->spy.n && steps < 80; i++)
        if (w->spy.job[i].job.kind == JOB_FORWARD) {
            CHECK(w->spy.job[i].job.forward.seq != seq);
            seq = w->spy.job[i].job.forward.seq;
            steps++;
        }
    CHECK_EQ(steps, 80);
    world_destroy(w);
}

static void cancelling_leaves_a_clean_executor(void)
{
    struct world *w = world_create(&policy_cancel, 1);
    w->o.block_ns = 200000;
    struct request q[3] = {ask(0, 24, 4), ask(0, 24, 4), ask(3, 19, 1)};
    q[1].arrival_ns = q[2].arrival_ns = REQUEST_AFTER_PREVIOUS;
    q[0].cancel_ns = q[1].cancel_ns = 0;
    int32_t cancelled = 0;
    if (ran(w, q, 3)) {
        for (int32_t i = 0; i < w->spy.n; i++)
            cancelled += w->spy.job[i].status == DONE_CANCELLED;
        CHECK(w->result.request[0].cancelled && w->result.request[1].cancelled);
        CHECK(cancelled >= 2 * 5); /* of six chunks the first may have begun */
        CHECK_EQ(w->result.request[0].n_output, 0);
        CHECK(right_text(w, &q[2], &w->result.request[2]));
    }
    world_destroy(w);
}

static void a_failure_has_a_reason(void)
{
    struct world *w = world_create(&policy_interleave, 1);
    w->o.max_ctx = 24;
    struct request q = ask(0, 16, 60);
    CHECK_EQ(world_run(w, &q, 1), ERR_DEVICE);
    CHECK_HAS(w->e.msg,
              "job 10 (FORWARD) ran out of memory: sequence 0 has 24 tokens, 1 more exceed "
              "the context of 24");
    world_destroy(w);
}

static void workers_can_be_pinned(void)
{
    struct run_setup setup = {.policy = &policy_interleave, .max_requests = 1, .n_vocab = VOCAB};
    struct toy_options o = small();
    struct threads_options t = {.name = "toy", .stall_ns = EXEC_NEVER};
    struct engine *g;
    struct exec *x;
    struct err e = {0};
    CHECK_EQ(toy_create(&o, &g, &e), ERR_OK);
    CHECK_EQ(threads_create(g, &setup, &t, &x, &e), ERR_OK); /* core 0 */
    x->ops->destroy(x);
    t.cpu[1] = 1000000;
    CHECK_EQ(threads_create(g, &setup, &t, &x, &e), ERR_DEVICE);
    CHECK_HAS(e.msg, "role draft cannot be pinned to core 1000000");
    g->ops->destroy(g);
}

static const struct unit_test tests[] = {
    {"defaults_are_valid_and_bad_options_are_named", defaults_are_valid_and_bad_options_are_named},
    {"next_token_depends_on_the_last_few_only", next_token_depends_on_the_last_few_only},
    {"texts_end_as_often_as_asked", texts_end_as_often_as_asked},
    {"every_row_says_what_its_text_says", every_row_says_what_its_text_says},
    {"top_k_starts_with_the_choice_and_decreases", top_k_starts_with_the_choice_and_decreases},
    {"blocks_in_parts_through_slots_say_the_same", blocks_in_parts_through_slots_say_the_same},
    {"wrong_blocks_give_wrong_tokens", wrong_blocks_give_wrong_tokens},
    {"wrong_rows_give_wrong_tokens", wrong_rows_give_wrong_tokens},
    {"a_tree_without_its_commit_gives_wrong_tokens", a_tree_without_its_commit_gives_wrong_tokens},
    {"commits_are_checked", commits_are_checked},
    {"positions_graphs_and_memory_are_checked", positions_graphs_and_memory_are_checked},
    {"copies_share_a_prefix", copies_share_a_prefix},
    {"autoregressive_gives_the_toys_text", autoregressive_gives_the_toys_text},
    {"speculative_gives_the_toys_text", speculative_gives_the_toys_text},
    {"progressive_switching_follows_the_worked_example",
     progressive_switching_follows_the_worked_example},
    {"switches_do_not_overlap_and_each_block_switches_once",
     switches_do_not_overlap_and_each_block_switches_once},
    {"progressive_switching_copes_with_any_prompt", progressive_switching_copes_with_any_prompt},
    {"a_tree_keeps_its_second_branch", a_tree_keeps_its_second_branch},
    {"two_requests_take_turns", two_requests_take_turns},
    {"cancelling_leaves_a_clean_executor", cancelling_leaves_a_clean_executor},
    {"a_failure_has_a_reason", a_failure_has_a_reason},
    {"workers_can_be_pinned", workers_can_be_pinned},
    {NULL, NULL},
};

UNIT_MAIN("toy", tests)
