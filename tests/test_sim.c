/* The simulated executor and the shipped policies, on a world with round numbers. */
#include "sim/exec/sim.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sim/base/hash.h"
#include "sim/exec/log_code.h"
#include "sim/exec/metrics.h"
#include "sim/exec/shims.h"
#include "sim/exec/sim_text.h"
#include "tests/scratch.h"
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
                                         "speculative:calibrate=1 reuse=1 chunk=64 max_draft=15",
                                         "speculative:calibrate=1 overlap=serial topk=2 reuse=1",
                                         "speculative:calibrate=1 overlap=draft tree=plain",
                                         "switching:k=2",
                                         "switching:k=2 calibrate=1 reuse=1 free=after",
                                         "switching:scheme=no-switch max_draft=9",
                                         "switching:scheme=async-last-chunk back=keep-resident",
                                         "switching:k=2 overflow=passes max_draft=30",
                                         "switching:scheme=no-switch decode=dynamic max_draft=9",
                                         "switching:k=2 decode=dynamic tree=plain",
                                         NULL};
    static const char *const drafter[] = {"lookup",
                                          "lookup:branches=3 min_ngram=1",
                                          "suffix",
                                          "suffix:history=2",
                                          "sam-author:history=5",
                                          "aligned",
                                          "aligned:history=3 reuse=offset flights=2",
                                          "aligned:reuse=end",
                                          "oracle",
                                          "parametric",
                                          "parametric:law=geometric chance=500",
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
            if (strstr(policy[p], "calibrate") && !setup.drafter[0].type->calibrate)
                continue;
            if (!CHECK_EQ(run(&setup, request, 5, &arena, &result, NULL, &e), ERR_OK))
                printf("%s %s: %s\n", policy[p], drafter[d], e.msg);
            for (int32_t r = 0; r < 5 && !e.code; r++) {
                const struct request_result *q = &result.request[r];
                CHECK_EQ(q->n_output, 90);
                CHECK(
                    !memcmp(q->output, truth.request[r].text + request[r].n, 90 * sizeof(int32_t)));
                CHECK(q->finished);
                bool passes = strstr(policy[p], "passes");  /* each of which is a step */
                CHECK(p < 2 || passes || q->n_verify < 89); /* the language is so small */
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
    struct err e = {0};
    start(request, 1);
    CHECK(world_setup(&setup, "speculative", "lookup"));
    cost.bus_bytes_per_s = 1000000000;
    cost.step_bytes = 0;
    CHECK_EQ(run(&setup, request, 1, &arena, &alone, NULL, &e), ERR_OK);
    CHECK(alone.request[0].step[0].end_ns - alone.request[0].step[0].start_ns == 1370000);
    arena_fini(&arena);
    cost.step_bytes = 4 * (1000000 + 370000); /* wants four times the bus in its time alone */
    CHECK_EQ(run(&setup, request, 1, &arena, &shared, NULL, &e), ERR_OK);
    const struct request_result *q = &shared.request[0];
    CHECK(q->n_steps > 1);
    for (int32_t i = 0; i < q->n_steps; i++) /* a byte a nanosecond, each step's own */
        CHECK_EQ(q->step[i].end_ns - q->step[i].start_ns, cost.step_bytes);
    arena_fini(&arena);
}

/* ---- what a policy may not do, and what it is told ------------------------------------------ */

enum rude {
    RUDE_CANCEL_NEVER,
    RUDE_CANCEL_ZERO,
    RUDE_EMIT_NOTHING,
    RUDE_EMIT_UNCHOSEN,
    RUDE_LOAD_TWO,
    RUDE_STEP_AHEAD
};

static enum rude rude;

static size_t rude_bytes(const int64_t *param, const struct policy_env *env)
{
    (void)param;
    (void)env;
    return 1;
}

static int rude_init(void *mem, const int64_t *param, const struct policy_env *env, struct err *e)
{
    (void)mem;
    (void)param;
    (void)env;
    (void)e;
    return ERR_OK;
}

static int rude_event(void *self, const struct event *ev, struct actions *out)
{
    (void)self;
    struct job job = {.id = 1, .kind = JOB_FORWARD, .request = ev->request};
    job.forward = (struct job_forward){.b1 = 6, .width = 1, .n = 1, .slot_in = -1, .slot_out = -1};
    if (ev->kind != EV_ARRIVE)
        return rude == RUDE_LOAD_TWO ? ERR_OK : ERR_DEVICE;
    job.forward.token = ev->arrive.token;
    switch (rude) {
    case RUDE_LOAD_TWO:
        for (; job.id <= 2; job.id++) {
            job.kind = JOB_LOAD;
            job.role = (uint8_t)(job.id - 1);
            job.graph = (struct job_graph){1, (int32_t)job.id};
            act_submit(out, &job);
        }
        break;
    case RUDE_EMIT_UNCHOSEN:
        act_emit(out, ev->request, ev->arrive.token, 1);
        break;
    case RUDE_STEP_AHEAD:
        job.forward.pos = 3;
        act_submit(out, &job);
        break;
    case RUDE_EMIT_NOTHING:
        act_emit(out, ev->request, NULL, 1);
        break;
    default:
        act_submit(out, &job);
        act_cancel(out, 1); /* as it may */
        act_cancel(out, rude == RUDE_CANCEL_NEVER ? 2 : 0);
        break;
    }
    return ERR_OK;
}

static const char *const rude_roles[] = {"target", "load", NULL};
static const struct policy_type policy_rude = {.abi = POLICY_ABI,
                                               .size = sizeof(struct policy_type),
                                               .name = "rude",
                                               .role = rude_roles,
                                               .mem_bytes = rude_bytes,
                                               .init = rude_init,
                                               .on_event = rude_event};

static void what_no_policy_may_do_is_named(void)
{
    static const struct {
        enum rude rude;
        int code;
        const char *says;
    } rows[] = {
        {RUDE_CANCEL_NEVER, ERR_POLICY,
         "policy rude cancelled a job that it never submitted: job 2"},
        {RUDE_CANCEL_ZERO, ERR_POLICY,
         "policy rude cancelled a job that it never submitted: job 0"},
        {RUDE_EMIT_NOTHING, ERR_POLICY, "emitted tokens that it did not give, for request 0"},
        {RUDE_EMIT_UNCHOSEN, ERR_POLICY,
         "policy rude emitted more tokens than the target chose, for request 0"},
        {RUDE_LOAD_TWO, ERR_POLICY,
         "policy rude: two switches overlap, jobs 1 and 2: 0 to 50000 ns and 0 to 50000 ns"},
        {RUDE_STEP_AHEAD, ERR_DEVICE, "job 1 (FORWARD) failed: the step is not at the cache's end"},
    };
    const struct request *request = world_requests(1, 10);
    start(request, 1);
    struct run_setup setup = {.policy = &policy_rude, .n_vocab = 48, .max_requests = 1};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena arena;
        struct run_result result;
        struct err e = {0};
        rude = rows[i].rude;
        CHECK_EQ(run(&setup, request, 1, &arena, &result, NULL, &e), rows[i].code);
        CHECK_HAS(e.msg, rows[i].says);
        arena_fini(&arena);
    }
}

/* An executor whose second DONE says that its job began earlier than it did. */
struct liar {
    struct exec exec; /* must be first */
    struct exec *inner;
    int32_t n_done;
    int64_t start_ns;
};

static void liar_caps(const struct exec *x, struct exec_caps *out)
{
    const struct liar *l = (const struct liar *)x;
    l->inner->ops->caps(l->inner, out);
}

static int liar_next(struct exec *x, const struct event *due, struct event *out, struct err *e)
{
    struct liar *l = (struct liar *)x;
    int rc = l->inner->ops->next(l->inner, due, out, e);
    if (!rc && out->kind == EV_DONE && ++l->n_done == 2)
        out->done.start_ns = l->start_ns;
    return rc;
}

static int liar_act(struct exec *x, const struct action *a, struct err *e)
{
    struct liar *l = (struct liar *)x;
    return l->inner->ops->act(l->inner, a, e);
}

static int64_t liar_host(struct exec *x, const struct host_work *work)
{
    struct liar *l = (struct liar *)x;
    return l->inner->ops->host(l->inner, work);
}

static void liar_destroy(struct exec *x)
{
    struct liar *l = (struct liar *)x;
    l->inner->ops->destroy(l->inner);
}

/* Two chunks of a prompt, submitted at 0: 0 to 1,200,000 and on to 2,370,000 ns. */
static void times_that_cannot_be_are_named(void)
{
    static const struct exec_ops liar_ops = {"liar",   liar_caps, liar_next,
                                             liar_act, liar_host, liar_destroy};
    static const struct {
        int64_t start_ns;
        int code;
        const char *says;
    } rows[] = {
        {1200000, ERR_OK, ""},
        {1199999, ERR_DEVICE,
         "executor liar: jobs 1 and 2 of role target overlap: 0 to 1200000 ns and 1199999 to "
         "2370000 ns"},
        {-1, ERR_DEVICE, "executor liar: job 2 began at -1 ns, before it was submitted at 0 ns"},
    };
    const struct request *request = world_requests(1, 10);
    start(request, 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct run_setup setup;
        struct arena arena;
        struct run_result result;
        struct err e = {0};
        struct liar liar = {.exec.ops = &liar_ops, .start_ns = rows[i].start_ns};
        CHECK(world_setup(&setup, "autoregressive:chunk=20", NULL));
        CHECK_EQ(sim_create(&cost.model, &truth.truth, &setup, &liar.inner, &e), ERR_OK);
        arena_init(&arena);
        CHECK_EQ(driver_run(&setup, &liar.exec, request, 1, &arena, &result, &e), rows[i].code);
        CHECK_HAS(e.msg, rows[i].says);
        liar_destroy(&liar.exec);
        arena_fini(&arena);
    }
}

static void an_injected_fault_is_named_as_the_reason(void)
{
    static const struct fault_plan all = {.seed = 1, .fail = 1000};
    const struct request *request = world_requests(1, 10);
    struct run_setup setup;
    struct run_result result;
    struct arena arena;
    struct exec *x;
    struct err e = {0};
    start(request, 1);
    CHECK(world_setup(&setup, "autoregressive", NULL));
    CHECK_EQ(sim_create(&cost.model, &truth.truth, &setup, &x, &e), ERR_OK);
    CHECK_EQ(fault_create(x, &all, &x, &e), ERR_OK);
    arena_init(&arena);
    CHECK_EQ(driver_run(&setup, x, request, 1, &arena, &result, &e), ERR_DEVICE);
    CHECK_HAS(e.msg, "job 1 (FORWARD) failed: an injected fault");
    x->ops->destroy(x);
    arena_fini(&arena);
}

static void a_log_carries_the_reason(void)
{
    static const struct {
        const char *why, *read;
        uint8_t status;
    } rows[] = {
        {"block 3 of graph 1 is not loaded", "block 3 of graph 1 is not loaded", DONE_FAILED},
        {"two\nlines", "two?lines", DONE_NO_MEMORY},
        {NULL, "", DONE_FAILED},
        {"of no matter", "", DONE_CANCELLED},
        {"", "", DONE_OK},
    };
    enum { ROWS = sizeof rows / sizeof *rows };
    struct run_setup setup;
    char path[256], text[600] = "", longest[2 * EXEC_MAX_WHY];
    struct log_writer *w;
    struct log_reader *r;
    struct log_record at;
    struct err e = {0};
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    start(world_requests(1, 1), 1);
    CHECK(world_setup(&setup, "autoregressive", NULL));
    scratch_path(path, sizeof path, "why.log");
    CHECK_EQ(log_create(path, "sim", &setup, &cost.caps, &w, &e), ERR_OK);
    struct event ev = {.kind = EV_DONE, .request = 0};
    for (int i = 0; i <= ROWS; i++) {
        ev.done = (struct done){.id = i + 1, .job_kind = JOB_FREE};
        ev.done.status = i < ROWS ? rows[i].status : DONE_FAILED;
        ev.done.why = i < ROWS ? rows[i].why : longest;
        CHECK_EQ(log_event(w, &ev, 0), ERR_OK);
    }
    CHECK_EQ(log_close(w, true, &e), ERR_OK);
    CHECK_EQ(log_open(path, &r, &e), ERR_OK);
    for (int i = 0; i <= ROWS; i++) {
        CHECK_EQ(log_next(r, &at, &e), ERR_OK);
        CHECK_EQ(at.event.done.id, i + 1);
        if (i < ROWS)
            CHECK_STR(at.event.done.why, rows[i].read);
        else
            CHECK_EQ(strlen(at.event.done.why), EXEC_MAX_WHY - 1);
        FILE *f = fmemopen(text, sizeof text, "w");
        log_print(f, &at, 4);
        fclose(f);
        CHECK_EQ(strstr(text, " why=\"") != NULL, i < 2 || i == ROWS);
        if (!i)
            CHECK_HAS(text, "FREE failed why=\"block 3 of graph 1 is not loaded\" start_ns=0");
    }
    CHECK_EQ(log_next(r, &at, &e), ERR_OK);
    CHECK_EQ(at.type, LOG_TRAILER);
    log_close_reader(r);
    remove(path);
}

static void a_reason_that_is_none_is_refused(void)
{
    static const struct {
        int at; /* from the reason's length on */
        unsigned char byte;
        const char *why;
    } rows[] = {{1, 'b', NULL},
                {1, '\n', "a reason is no line of text"},
                {2, 127, "a reason is no line of text"},
                {0, 100, "a reason is too long"}};
    struct event ev = {.kind = EV_DONE, .request = 0}, out;
    ev.done = (struct done){.id = 1, .job_kind = JOB_FREE, .status = DONE_FAILED, .why = "QZ"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct log_bytes b = {0};
        int32_t pool[128];
        int64_t due_ns;
        log_put_event(&b, &ev, 0, 0);
        CHECK(b.n < 128);
        unsigned char *q = memchr(b.at, 'Q', b.n);
        if (CHECK(q && q[-1] == 2)) {
            q[rows[i].at - 1] = rows[i].byte;
            struct log_cursor c = {.at = b.at, .end = b.at + b.n, .pool = pool};
            log_get_event(&c, 0, &out, &due_ns);
            CHECK_STR(c.why ? c.why : "", rows[i].why ? rows[i].why : "");
            CHECK_STR(out.done.why, rows[i].why ? "" : "bZ");
        }
        log_bytes_fini(&b);
    }
}

/* ---- what the simulated target says --------------------------------------------------------- */

enum { TEXT_ROWS = 12 };

struct text_fixture {
    struct arena arena;
    struct sim_text t;
    struct done done;
    int32_t choice[TEXT_ROWS], text[WORLD_MAX_TEXT], n;
};

static struct text_fixture *text_begin(const struct request *request)
{
    static struct text_fixture f;
    struct exec_caps caps;
    start(request, 1);
    caps = cost.caps;
    caps.max_rows = TEXT_ROWS;
    f = (struct text_fixture){0};
    arena_init(&f.arena);
    CHECK_EQ(sim_text_init(&f.t, &f.arena, &truth.truth, &caps, 2), ERR_OK);
    sim_text_open(&f.t, 0, request->n, request->token);
    return &f;
}

static const char *text_run(struct text_fixture *f, const struct job *job)
{
    f->done = (struct done){0};
    return sim_text_run(&f->t, job, true, &f->done, f->choice, NULL, NULL);
}

static struct job text_step(const struct text_fixture *f, int32_t n, const int32_t *token)
{
    struct job job = {.id = 1, .kind = JOB_FORWARD};
    job.forward = (struct job_forward){.b1 = 6, .width = n, .n = n, .pos = f->n, .token = token};
    job.forward.slot_in = job.forward.slot_out = -1;
    job.forward.want = WANT_ARGMAX;
    return job;
}

static uint64_t any(int32_t round, uint64_t what, uint64_t below)
{
    return rng_u64(7, RNG_TEST, (uint64_t)round, what) % below;
}

/* Steps of random trees, true and false tokens mixed, of which a random path is kept or a random
 * length of text cut: every row says what the language says after the row's whole text. */
static void every_row_says_what_its_whole_text_says(void)
{
    const struct request *request = world_requests(1, 900);
    struct text_fixture *f = text_begin(request);
    int32_t token[TEXT_ROWS], parent[TEXT_ROWS], path[TEXT_ROWS], wrong = 0, right = 0;
    for (int32_t round = 0; round < 4000; round++) {
        int32_t n = 1 + (int32_t)any(round, 0, TEXT_ROWS);
        struct job job = text_step(f, n, token);
        job.forward.parent = parent;
        job.forward.want_from = (int32_t)any(round, 1, (uint64_t)n);
        int32_t row_text[TEXT_ROWS][TEXT_ROWS + 1], depth[TEXT_ROWS];
        for (int32_t i = 0; i < n; i++) {
            parent[i] = i ? i - 1 - (int32_t)any(round, 100 + (uint64_t)i, 2) : -1;
            int32_t d = depth[i] = parent[i] < 0 ? 1 : depth[parent[i]] + 1;
            if (d > 1)
                memcpy(row_text[i], row_text[parent[i]], sizeof *row_text);
            memcpy(f->text + f->n, row_text[i], (size_t)(d - 1) * sizeof *token);
            int32_t at = f->n + d - 1;
            bool false_one = at >= request->n && any(round, 200 + (uint64_t)i, 12) == 0;
            token[i] = at < request->n ? request->token[at] : world_language(NULL, f->text, at);
            token[i] = false_one ? (token[i] + 1) % 48 : token[i];
            row_text[i][d - 1] = token[i];
        }
        if (!CHECK(!text_run(f, &job)))
            break;
        for (int32_t i = job.forward.want_from; i < n; i++) {
            int32_t end = f->n + depth[i];
            memcpy(f->text + f->n, row_text[i], (size_t)depth[i] * sizeof *token);
            int32_t says = end < request->n ? -1 : world_language(NULL, f->text, end);
            unit_true(f->choice[i - job.forward.want_from] == says, "choice", __FILE__, __LINE__);
            bool own = !memcmp(f->text + request->n, truth.request[0].text + request->n,
                               (size_t)(end > request->n ? end - request->n : 0) * sizeof *token);
            wrong += says >= 0 && !own;
            right += says >= 0 && own;
        }
        struct job keep = {.id = 1, .kind = JOB_COMMIT, .commit.pos = f->n};
        int32_t row = (int32_t)any(round, 2, (uint64_t)n), k = depth[row];
        memcpy(f->text + f->n, row_text[row], (size_t)k * sizeof *token);
        for (int32_t a = row, i = k; a >= 0; a = parent[a])
            path[--i] = a;
        keep.commit.n = k;
        keep.commit.row = path;
        CHECK(!text_run(f, &keep));
        f->n += k;
        if (any(round, 3, 8) == 0 || f->n > 800) {
            keep.commit.pos = f->n = f->n > 800 ? 0 : f->n - (int32_t)any(round, 4, (uint64_t)f->n);
            keep.commit.n = 0;
            CHECK(!text_run(f, &keep));
        }
    }
    CHECK(wrong > 1000 && right > 1000);
    arena_fini(&f->arena);
}

static int64_t n_asked;

static int32_t counted(struct truth *t, int32_t request, int32_t n_true, const int32_t *w,
                       int32_t n_wrong)
{
    n_asked += n_true < 0 ? 1000 : 1; /* the prompt is not the truth's to know */
    (void)w;
    const struct world_truth *x = (const struct world_truth *)t;
    return n_wrong ? -1 : x->request[request].text[x->request[request].n + n_true];
}

/* A step asks the truth about its rows, not about all of the output before them. */
static void a_step_costs_its_rows(void)
{
    static const struct truth_ops ops = {.choice = counted};
    const struct request *request = world_requests(1, 600);
    struct text_fixture *f = text_begin(request);
    truth.truth.ops = &ops;
    for (f->n = 0; f->n < 400; f->n += 4) {
        struct job job = text_step(f, 4, truth.request[0].text + f->n);
        n_asked = 0;
        CHECK(!text_run(f, &job));
        CHECK(n_asked <= 3 * 4);
        CHECK(f->n < request->n || f->choice[3] == truth.request[0].text[f->n + 4]);
    }
    arena_fini(&f->arena);
}

static void rows_of_a_slot_are_the_jobs_own(void)
{
    const struct request *request = world_requests(1, 60);
    struct text_fixture *f = text_begin(request);
    const int32_t *text = truth.request[0].text;
    f->n = request->n;
    struct job first = text_step(f, 8, text + f->n), prompt = {.kind = JOB_FORWARD};
    for (int32_t at = 0; at < request->n; at += prompt.forward.n) {
        f->n = at;
        prompt = text_step(f, request->n - at < 9 ? request->n - at : 9, text + at);
        CHECK(!text_run(f, &prompt));
    }
    first.forward.b1 = 3;
    first.forward.slot_out = 0;
    CHECK(!text_run(f, &first));
    CHECK_EQ(f->done.n_choice, 0);
    /* the fifth and sixth row alone, then the head of the sixth */
    struct job part = first;
    part.forward.b0 = 3;
    part.forward.b1 = 6;
    part.forward.slot_in = 0;
    part.forward.slot_out = -1;
    part.forward.pos += 4;
    part.forward.token += 4;
    part.forward.n = 2;
    CHECK(!text_run(f, &part));
    CHECK_EQ(f->done.n_choice, 2);
    CHECK_EQ(f->choice[0], text[request->n + 5]);
    CHECK_EQ(f->choice[1], text[request->n + 6]);
    part.kind = JOB_HEAD;
    part.forward.pos++;
    part.forward.token++;
    part.forward.n = 1;
    CHECK(!text_run(f, &part));
    CHECK_EQ(f->done.n_choice, 1);
    CHECK_EQ(f->choice[0], text[request->n + 6]);
    part.forward.pos = first.forward.pos + 9;
    CHECK_STR(text_run(f, &part), "the rows' blocks before this one have not run");
    arena_fini(&f->arena);
}

static void metrics_match_their_formulas(void)
{
    double x[] = {5, 1, 4, 2, 3};
    CHECK_NEAR(metrics_quantile(x, 5, 0.5), 3, 1e-12);
    CHECK_NEAR(metrics_quantile(x, 5, 0.9), 4.6, 1e-12);
    double a[] = {1, 2, 3, 4}, b[] = {1, 3, 2, 4};
    struct tau t = {0};
    metrics_tau_add(&t, a, b, 4, 0);
    CHECK_NEAR(metrics_tau_b(&t), 4.0 / 6, 1e-12);
    t = (struct tau){0};
    for (t = (struct tau){0}; t.used < 200;) { /* pairs that all agree: exactly 1 */
        t.concordant = ++t.used;
        CHECK(metrics_tau_b(&t) == 1);
    }
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
    {"what_no_policy_may_do_is_named", what_no_policy_may_do_is_named},
    {"times_that_cannot_be_are_named", times_that_cannot_be_are_named},
    {"an_injected_fault_is_named_as_the_reason", an_injected_fault_is_named_as_the_reason},
    {"a_log_carries_the_reason", a_log_carries_the_reason},
    {"a_reason_that_is_none_is_refused", a_reason_that_is_none_is_refused},
    {"every_row_says_what_its_whole_text_says", every_row_says_what_its_whole_text_says},
    {"a_step_costs_its_rows", a_step_costs_its_rows},
    {"rows_of_a_slot_are_the_jobs_own", rows_of_a_slot_are_the_jobs_own},
    {"metrics_match_their_formulas", metrics_match_their_formulas},
    {NULL, NULL},
};

UNIT_MAIN("sim", tests)
