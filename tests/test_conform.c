/* One suite over every executor: what exec.h promises and threads.h makes precise. A new executor
 * is one line in `rows`. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/base/hash.h"
#include "sim/exec/shims.h"
#include "sim/exec/sim.h"
#include "sim/exec/threads.h"
#include "tests/gate.h"
#include "tests/policies/policies.h"
#include "tests/scratch.h"
#include "tests/unit.h"
#include "tests/world.h"

/* ---- the executors -------------------------------------------------------------------------- */

enum { ROLE_TARGET, ROLE_DRAFT, ROLE_LOAD, ROLE_AUX, ROLES };

static const char *const roles[] = {"target", "draft", "load", "aux", NULL};
static const struct policy_type nobody = {.name = "nobody", .role = roles};

struct fixture {
    struct run_setup setup;
    struct toy_options o;
    int64_t stall_ns;
    struct gate gate;
    struct world_cost cost;
    struct world_truth truth;
    struct exec *x;
    struct err e;
    int64_t id; /* of the last job */
    char path[256];
};

struct row {
    const char *name;
    int (*make)(struct fixture *f);
    bool threads; /* jobs run while the test does, on a gate */
    bool checks;  /* refuses bad jobs itself; else the driver does */
};

static int make_toy(struct fixture *f)
{
    struct threads_options t = {.name = "toy", .stall_ns = f->stall_ns};
    for (int i = 0; i < EXEC_MAX_ROLES; i++)
        t.cpu[i] = -1;
    pthread_mutex_init(&f->gate.lock, NULL);
    pthread_cond_init(&f->gate.moved, NULL);
    f->gate.engine.ops = &gate_ops;
    int rc = toy_create(&f->o, &f->gate.toy, &f->e);
    return rc ? rc : threads_create(&f->gate.engine, &f->setup, &t, &f->x, &f->e);
}

static int make_recorded_toy(struct fixture *f)
{
    scratch_path(f->path, sizeof f->path, "conform.log");
    int rc = make_toy(f);
    return rc ? rc : record_create(f->x, &f->setup, f->path, &f->x, &f->e);
}

static int make_faultless_toy(struct fixture *f)
{
    static const struct fault_plan none = {.seed = 1};
    int rc = make_toy(f);
    return rc ? rc : fault_create(f->x, &none, &f->x, &f->e);
}

static int make_sim(struct fixture *f)
{
    world_cost_init(&f->cost);
    world_truth_init(&f->truth, world_language, NULL, world_requests(3, 10), 3, NULL, 0);
    return sim_create(&f->cost.model, &f->truth.truth, &f->setup, &f->x, &f->e);
}

static const struct row rows[] = {
    {"toy", make_toy, true, true},
    {"record(toy)", make_recorded_toy, true, false},
    {"fault(toy)", make_faultless_toy, true, false},
    {"sim", make_sim, false, false},
};

static const struct row *row; /* whose turn it is */

static struct fixture *prepare(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    toy_defaults(&f->o);
    f->o.n_vocab = 48;
    f->o.max_ctx = 1024;
    f->o.max_rows = 16;
    f->o.max_topk = 4;
    f->o.graph_width[0] = 16;
    f->o.graph_width[1] = 8;
    f->o.block_ns = f->o.row_ns = f->o.load_ns = 0;
    f->stall_ns = 60000000000;
    f->setup = (struct run_setup){.policy = &nobody,
                                  .n_drafters = 1,
                                  .drafter = {{.type = &drafter_count}},
                                  .n_vocab = 48,
                                  .max_requests = 2};
    return f;
}

static bool made(struct fixture *f)
{
    int rc = row->make(f);
    if (!CHECK_EQ(rc, ERR_OK))
        printf("%s\n", f->e.msg);
    return rc == ERR_OK;
}

static struct fixture *begin(void)
{
    struct fixture *f = prepare();
    if (made(f))
        return f;
    exit(1);
}

static void end(struct fixture *f)
{
    f->x->ops->destroy(f->x);
    if (f->gate.toy) {
        CHECK(!f->gate.disordered);
        f->gate.toy->ops->destroy(f->gate.toy);
        pthread_mutex_destroy(&f->gate.lock);
        pthread_cond_destroy(&f->gate.moved);
    }
    if (f->path[0])
        remove(f->path); /* kept when the run was whole */
    free(f);
}

/* ---- words of the tests --------------------------------------------------------------------- */

static void hold(struct fixture *f, int64_t id)
{
    pthread_mutex_lock(&f->gate.lock);
    f->gate.hold = id;
    f->gate.inside = f->gate.open = false;
    pthread_mutex_unlock(&f->gate.lock);
}

/* Returns when the held job is running. */
static void await(struct fixture *f)
{
    pthread_mutex_lock(&f->gate.lock);
    while (!f->gate.inside)
        pthread_cond_wait(&f->gate.moved, &f->gate.lock);
    pthread_mutex_unlock(&f->gate.lock);
}

static void let_go(struct fixture *f)
{
    pthread_mutex_lock(&f->gate.lock);
    f->gate.open = true;
    pthread_cond_broadcast(&f->gate.moved);
    pthread_mutex_unlock(&f->gate.lock);
}

static int act(struct fixture *f, const struct job *job)
{
    struct action a = {.kind = ACT_SUBMIT, .job = *job};
    return f->x->ops->act(f->x, &a, &f->e);
}

/* Clears a sequence: a job that every executor runs at any time. Waits for w0 and w1 (0: none). */
static struct job clear(struct fixture *f, uint8_t role, int64_t w0, int64_t w1)
{
    struct job j = {.id = ++f->id, .request = -1, .kind = JOB_COMMIT, .role = role};
    j.commit.seq = role;
    if (w0)
        j.wait[j.n_wait++] = w0;
    if (w1)
        j.wait[j.n_wait++] = w1;
    return j;
}

static int64_t put(struct fixture *f, uint8_t role, int64_t w0, int64_t w1)
{
    struct job j = clear(f, role, w0, w1);
    CHECK_EQ(act(f, &j), ERR_OK);
    return j.id;
}

static int cancel(struct fixture *f, int64_t id)
{
    struct action a = {.kind = ACT_CANCEL, .id = id};
    return f->x->ops->act(f->x, &a, &f->e);
}

static struct event next(struct fixture *f, const struct event *due)
{
    static const struct event none = {.request = -1};
    struct event ev = {.request = -1};
    if (!CHECK_EQ(f->x->ops->next(f->x, due ? due : &none, &ev, &f->e), ERR_OK))
        printf("%s\n", f->e.msg);
    CHECK(f->x->ops->host(f->x, &(struct host_work){0, 0}) >= 0);
    return ev;
}

static struct event next_done(struct fixture *f, int64_t id, uint8_t status)
{
    struct event ev = next(f, NULL);
    CHECK_EQ(ev.kind, EV_DONE);
    CHECK_EQ(ev.done.id, id);
    CHECK_EQ(ev.done.status, status);
    CHECK(ev.done.start_ns >= 0 && ev.done.start_ns <= ev.done.end_ns);
    CHECK(ev.done.end_ns <= ev.time_ns);
    CHECK_EQ(ev.done.choice != NULL, ev.done.n_choice > 0);
    CHECK_EQ(ev.done.top != NULL, ev.done.k > 0);
    CHECK_EQ(ev.done.logit != NULL, ev.done.k > 0);
    CHECK_EQ(*ev.done.why != 0, status == DONE_FAILED || status == DONE_NO_MEMORY);
    return ev;
}

static void next_stalls(struct fixture *f, const char *says)
{
    struct event ev, none = {.request = -1};
    CHECK_EQ(f->x->ops->next(f->x, &none, &ev, &f->e), ERR_STALLED);
    CHECK_HAS(f->e.msg, says);
    f->e = (struct err){0};
}

static void open_request(struct fixture *f, int32_t request)
{
    const struct request *q = world_requests(3, 10);
    struct event due = {.kind = EV_ARRIVE, .request = request};
    due.arrive.n = q[request].n;
    due.arrive.token = q[request].token;
    due.arrive.max_tokens = 10;
    struct event ev = next(f, &due);
    CHECK_EQ(ev.kind, EV_ARRIVE);
    CHECK_EQ(ev.request, request);
    CHECK_EQ(ev.arrive.n, due.arrive.n);
}

static int finish(struct fixture *f, int32_t request)
{
    struct action a = {.kind = ACT_FINISH, .request = request};
    return f->x->ops->act(f->x, &a, &f->e);
}

static struct job draft(struct fixture *f, int32_t request, const int32_t *token, int32_t n,
                        int32_t nodes)
{
    struct job j = {.id = ++f->id, .request = request, .kind = JOB_DRAFT, .role = ROLE_DRAFT};
    j.draft = (struct job_draft){.n = n, .token = token, .max_nodes = nodes};
    return j;
}

static struct job step(struct fixture *f, uint8_t role, int32_t seq, const int32_t *token,
                       int32_t n)
{
    struct exec_caps caps;
    f->x->ops->caps(f->x, &caps);
    struct job j = {.id = ++f->id, .request = 0, .kind = JOB_FORWARD, .role = role};
    j.forward = (struct job_forward){.b1 = caps.blocks,
                                     .width = n,
                                     .seq = seq,
                                     .n = n,
                                     .token = token,
                                     .slot_in = -1,
                                     .slot_out = -1,
                                     .want = WANT_ARGMAX};
    return j;
}

/* ---- order ---------------------------------------------------------------------------------- */

static void a_role_runs_first_in_first_out(void)
{
    struct fixture *f = begin();
    for (int i = 0; i < 9; i++)
        put(f, ROLE_LOAD, 0, 0);
    int64_t last_ns = 0;
    for (int64_t id = 1; id <= 9; id++) {
        struct event ev = next_done(f, id, DONE_OK);
        CHECK(ev.done.start_ns >= last_ns);
        CHECK_EQ(ev.done.job_kind, JOB_COMMIT);
        CHECK_EQ(ev.request, -1);
        last_ns = ev.done.end_ns;
    }
    next_stalls(f, "nothing can happen any more");
    end(f);
}

static void jobs_wait_across_roles(void)
{
    struct fixture *f = begin();
    hold(f, 1);
    int64_t a = put(f, ROLE_TARGET, 0, 0), b = put(f, ROLE_DRAFT, a, 0);
    int64_t c = put(f, ROLE_LOAD, a, b), d = put(f, ROLE_DRAFT, 0, 0);
    int64_t other = put(f, ROLE_AUX, 0, 0), later = put(f, ROLE_TARGET, c, c);
    if (row->threads) {
        next_done(f, other, DONE_OK);
        let_go(f);
    }
    int64_t end_ns[8] = {0}, start_ns[8] = {0};
    for (int i = 0; i < (row->threads ? 5 : 6); i++) {
        struct event ev = next(f, NULL);
        CHECK_EQ(ev.done.status, DONE_OK);
        CHECK_EQ(end_ns[ev.done.id], 0); /* once */
        start_ns[ev.done.id] = ev.done.start_ns;
        end_ns[ev.done.id] = ev.done.end_ns;
    }
    CHECK(start_ns[b] >= end_ns[a] && end_ns[a] > 0);
    CHECK(start_ns[c] >= end_ns[b] && end_ns[b] > 0);
    CHECK(start_ns[d] >= end_ns[b]); /* it does not overtake */
    CHECK(start_ns[later] >= end_ns[c] && end_ns[c] > 0);
    /* waits for what is over, or never was, are met */
    int64_t again = put(f, ROLE_AUX, a, c);
    f->id += 5;
    int64_t gap = put(f, ROLE_AUX, again + 2, again);
    next_done(f, again, DONE_OK);
    next_done(f, gap, DONE_OK);
    end(f);
}

static void events_come_by_time_and_done_comes_first(void)
{
    struct fixture *f = begin();
    if (row->threads) {
        /* 1 is over when 2, which waits for it, is inside */
        hold(f, 2);
        put(f, ROLE_TARGET, 0, 0);
        put(f, ROLE_DRAFT, 1, 0);
        await(f);
        struct event due = {.kind = EV_WAKE, .request = -1, .time_ns = 0}, ev;
        ev = next(f, &due); /* it was due before 1 was over */
        CHECK_EQ(ev.kind, EV_WAKE);
        CHECK(ev.time_ns > 0);
        due.time_ns = ev.time_ns;
        ev = next(f, &due); /* 1 was over before this is due */
        CHECK_EQ(ev.kind, EV_DONE);
        CHECK_EQ(ev.done.id, 1);
        due.time_ns = ev.time_ns + 1000;
        ev = next(f, &due);
        CHECK_EQ(ev.kind, EV_WAKE);
        CHECK(ev.time_ns >= due.time_ns);
        let_go(f);
        next_done(f, 2, DONE_OK);
        end(f);
        return;
    }
    put(f, ROLE_TARGET, 0, 0);
    int64_t took_ns = next_done(f, 1, DONE_OK).time_ns;
    end(f);
    for (int64_t early_ns = 0; early_ns < 2; early_ns++) {
        f = begin();
        put(f, ROLE_TARGET, 0, 0);
        struct event due = {.kind = EV_WAKE, .request = -1, .time_ns = took_ns - early_ns};
        CHECK_EQ(next(f, &due).kind, early_ns ? EV_WAKE : EV_DONE);
        CHECK_EQ(next(f, early_ns ? NULL : &due).kind, early_ns ? EV_DONE : EV_WAKE);
        end(f);
    }
}

static void time_passes_to_a_due_event_without_jobs(void)
{
    struct fixture *f = begin();
    struct event due = {.kind = EV_WAKE, .request = -1, .time_ns = 700001};
    struct event ev = next(f, &due);
    CHECK_EQ(ev.kind, EV_WAKE);
    CHECK(ev.time_ns >= 700001);
    due.kind = EV_CANCEL_REQUEST;
    due.request = 5;
    due.time_ns = ev.time_ns;
    CHECK_EQ(next(f, &due).request, 5);
    next_stalls(f, "nothing can happen any more");
    end(f);
}

/* ---- cancelling ----------------------------------------------------------------------------- */

static void what_has_not_started_is_cancelled_at_once(void)
{
    struct fixture *f = begin();
    hold(f, 1);
    put(f, ROLE_TARGET, 0, 0);
    if (row->threads)
        await(f);
    put(f, ROLE_TARGET, 0, 0);
    put(f, ROLE_TARGET, 0, 0);
    CHECK_EQ(cancel(f, 2), ERR_OK);
    CHECK_EQ(cancel(f, 2), ERR_OK);
    struct event ev = next_done(f, 2, DONE_CANCELLED);
    CHECK_EQ(ev.done.start_ns, ev.done.end_ns);
    CHECK_EQ(ev.done.n_choice, 0);
    CHECK_EQ(cancel(f, 2), ERR_OK);
    let_go(f);
    next_done(f, 1, DONE_OK);
    next_done(f, 3, DONE_OK);
    next_stalls(f, "nothing can happen any more");
    end(f);
}

static void what_has_started_ends_as_it_would(void)
{
    struct fixture *f = begin();
    hold(f, 2);
    put(f, ROLE_DRAFT, 0, 0);
    next_done(f, 1, DONE_OK);
    put(f, ROLE_TARGET, 0, 0);
    if (row->threads) {
        await(f);
    } else {
        struct event due = {.kind = EV_WAKE, .request = -1, .time_ns = 50001};
        CHECK_EQ(next(f, &due).kind, EV_WAKE);
    }
    CHECK_EQ(cancel(f, 2), ERR_OK);
    CHECK_EQ(cancel(f, 1), ERR_OK); /* over and delivered */
    let_go(f);
    next_done(f, 2, DONE_OK);
    end(f);
}

static void who_waits_for_the_cancelled_is_cancelled_too(void)
{
    struct fixture *f = begin();
    hold(f, 1);
    put(f, ROLE_TARGET, 0, 0);
    if (row->threads)
        await(f);
    int64_t b = put(f, ROLE_TARGET, 0, 0), c = put(f, ROLE_DRAFT, b, 0);
    int64_t d = put(f, ROLE_LOAD, 1, 0), e = put(f, ROLE_LOAD, d, c);
    int64_t free_one = put(f, ROLE_LOAD, d, 0);
    CHECK_EQ(cancel(f, b), ERR_OK);
    int64_t late = put(f, ROLE_AUX, b, 0); /* its DONE is not delivered yet */
    int64_t at_ns = next_done(f, b, DONE_CANCELLED).done.end_ns;
    CHECK_EQ(next_done(f, c, DONE_CANCELLED).done.end_ns, at_ns);
    CHECK_EQ(next_done(f, e, DONE_CANCELLED).done.start_ns, at_ns);
    next_done(f, late, DONE_CANCELLED);
    let_go(f);
    next_done(f, 1, DONE_OK);
    next_done(f, d, DONE_OK);
    next_done(f, free_one, DONE_OK);
    next_done(f, put(f, ROLE_AUX, b, e), DONE_OK); /* those are history */
    end(f);
}

/* ---- jobs and their arrays ------------------------------------------------------------------ */

static void a_failed_job_takes_its_dependants_along(void)
{
    struct fixture *f = begin();
    int32_t token[3] = {5, 6, 7};
    struct job j = step(f, ROLE_TARGET, 0, token, 3);
    j.forward.pos = 4;
    j.request = -1;
    hold(f, 1);
    CHECK_EQ(act(f, &j), ERR_OK);
    put(f, ROLE_DRAFT, 1, 0);
    put(f, ROLE_AUX, 0, 0);
    next_done(f, 3, DONE_OK);
    let_go(f);
    struct event ev = next_done(f, 1, DONE_FAILED);
    int64_t at_ns = ev.done.end_ns;
    CHECK_HAS(ev.done.why, row->threads ? "a step at position 4" : "not at the cache's end");
    CHECK_EQ(next_done(f, 2, DONE_CANCELLED).done.end_ns, at_ns);
    next_done(f, put(f, ROLE_DRAFT, 1, 0), DONE_OK);
    next_stalls(f, row->threads ? "job 1 (FORWARD on target): a step at position 4" : "");
    end(f);
}

/* What only runs when a graph's block is resident, at the graph's width. */
static void a_graph_that_cannot_run_says_why(void)
{
    struct fixture *f = begin();
    struct exec_caps c;
    f->x->ops->caps(f->x, &c);
    int32_t token[64] = {0};
    struct job j = step(f, ROLE_TARGET, 0, token, 1);
    j.request = -1;
    j.forward.want = WANT_NONE;
    j.forward.graph = 2;
    j.forward.width = c.graph_width[1];
    CHECK_EQ(act(f, &j), ERR_OK);
    CHECK_HAS(next_done(f, j.id, DONE_FAILED).done.why, "block 0 of graph 2 is not loaded");
    j.id = ++f->id;
    j.forward.width--;
    CHECK_EQ(act(f, &j), ERR_OK);
    CHECK_HAS(next_done(f, j.id, DONE_FAILED).done.why, "graph 2 is 8 wide, the step 7");
    end(f);
}

static void arrays_are_copied_in_and_stay_until_the_next_event(void)
{
    struct fixture *f = begin();
    open_request(f, 0);
    int32_t token[3] = {5, 6, 7}, parent[3] = {-1, 0, 0}, kept[3];
    struct job first = step(f, ROLE_TARGET, 0, token, 3);
    first.forward.parent = parent;
    CHECK_EQ(act(f, &first), ERR_OK);
    memset(token, 0x55, sizeof token); /* the executor has its own */
    memset(parent, 0x55, sizeof parent);
    struct event ev = next_done(f, 1, DONE_OK);
    CHECK_EQ(ev.done.n_choice, 3);
    CHECK_EQ(ev.done.k, 0);
    memcpy(kept, ev.done.choice, sizeof kept);
    if (row->threads) {
        const int32_t a[2] = {5, 6}, b[2] = {5, 7};
        CHECK_EQ(kept[0], toy_next(&f->o, a, 1));
        CHECK_EQ(kept[1], toy_next(&f->o, a, 2));
        CHECK_EQ(kept[2], toy_next(&f->o, b, 2));
    }
    /* as many jobs as fit run while the driver may still look at the arrays */
    int32_t others[16];
    struct exec_caps caps;
    f->x->ops->caps(f->x, &caps);
    for (int i = 0; i < 16; i++)
        others[i] = i + 9;
    for (int32_t i = 0; i < caps.max_jobs - 1; i++) {
        struct job j = i % 2 ? step(f, ROLE_LOAD, 1, others, 11) : clear(f, ROLE_LOAD, 0, 0);
        j.commit.seq = i % 2 ? j.commit.seq : 1;
        j.request = 0;
        CHECK_EQ(act(f, &j), ERR_OK);
    }
    hold(f, f->id + 1);
    put(f, ROLE_AUX, f->id, 0);
    if (row->threads)
        await(f);
    CHECK(!memcmp(kept, ev.done.choice, sizeof kept));
    let_go(f);
    for (int32_t i = 0; i < caps.max_jobs; i++)
        CHECK_EQ(next(f, NULL).done.status, DONE_OK);
    end(f);
}

static void drafts_run_with_the_requests_that_are_open(void)
{
    struct fixture *f = begin();
    int32_t token[4] = {1, 2, 3, 40};
    open_request(f, 0);
    open_request(f, 1);
    struct job a = draft(f, 1, token, 4, 3), b = draft(f, 0, token, 2, 0);
    struct job c = draft(f, 0, NULL, 0, 5);
    CHECK_EQ(act(f, &a), ERR_OK);
    CHECK_EQ(act(f, &b), ERR_OK);
    CHECK_EQ(act(f, &c), ERR_OK);
    memset(token, 0x55, sizeof token);
    struct event ev = next_done(f, 1, DONE_OK);
    CHECK_EQ(ev.request, 1);
    CHECK_EQ(ev.done.tree.n, 3);
    CHECK_EQ(ev.done.tree.token[0], 41);
    CHECK_EQ(ev.done.tree.token[2], 43);
    CHECK_EQ(ev.done.tree.parent[2], 1);
    CHECK_EQ(ev.done.work.tokens, 4);
    CHECK_EQ(ev.done.work.nodes, 3);
    ev = next_done(f, 2, DONE_OK);
    CHECK_EQ(ev.done.tree.n, 0);
    CHECK_EQ(ev.done.work.tokens, 2);
    ev = next_done(f, 3, DONE_OK);
    CHECK_EQ(ev.done.tree.n, 5);
    CHECK_EQ(ev.done.tree.token[0], 3);
    /* opened again, a request's drafter is new; the other's goes on */
    CHECK_EQ(finish(f, 0), ERR_OK);
    open_request(f, 2);
    c.id = ++f->id;
    c.request = 2;
    CHECK_EQ(act(f, &c), ERR_OK);
    CHECK_EQ(next_done(f, 4, DONE_OK).done.tree.token[0], 1);
    c.id = ++f->id;
    c.request = 1;
    CHECK_EQ(act(f, &c), ERR_OK);
    CHECK_EQ(next_done(f, 5, DONE_OK).done.tree.token[0], 41);
    CHECK_EQ(finish(f, 1), ERR_OK);
    CHECK_EQ(finish(f, 2), ERR_OK);
    end(f);
}

static void a_drafter_has_one_job_at_a_time(void)
{
    struct drafter_type held = drafter_count;
    held.append = held_append;
    struct fixture *f = prepare();
    if (row->threads) {
        f->setup.drafter[0].type = &held;
        drafter_gate = &f->gate;
    }
    if (!made(f))
        return;
    int32_t token[2] = {1, 2};
    open_request(f, 0);
    open_request(f, 1);
    hold(f, -1);
    struct job a = draft(f, 0, token, 2, 3), b = draft(f, 0, NULL, 0, 3);
    struct job c = draft(f, 1, NULL, 0, 3), d = draft(f, 0, NULL, 0, 3);
    b.role = ROLE_AUX;
    c.role = ROLE_LOAD;
    d.wait[d.n_wait++] = a.id;
    CHECK_EQ(act(f, &a), ERR_OK);
    if (row->threads)
        await(f);
    CHECK_EQ(act(f, &b), ERR_OK);
    struct event ev;
    if (row->threads) {
        ev = next_done(f, b.id, DONE_FAILED);
        CHECK_HAS(ev.done.why, "job 1 uses the same drafter of the same request at the same time");
    }
    CHECK_EQ(act(f, &c), ERR_OK); /* another request's is another drafter */
    CHECK_EQ(act(f, &d), ERR_OK);
    if (row->threads)
        next_done(f, c.id, DONE_OK);
    let_go(f);
    CHECK_EQ(next_done(f, a.id, DONE_OK).done.tree.n, 3);
    if (!row->threads) {
        ev = next_done(f, b.id, DONE_FAILED);
        CHECK_HAS(ev.done.why, "job 1 uses the same drafter of the same request at the same time");
        CHECK_EQ(ev.done.tree.n, 0);
        next_done(f, c.id, DONE_OK);
    }
    CHECK_EQ(next_done(f, d.id, DONE_OK).done.tree.token[0], 3);
    end(f);
}

/* One request drafts while others come and go: for ThreadSanitizer. */
static void requests_open_and_close_beside_drafts(void)
{
    struct fixture *f = begin();
    int32_t token[1] = {3};
    open_request(f, 0);
    open_request(f, 1);
    for (int i = 0; i < 100; i++) {
        struct job j = draft(f, 1, token, 1, 8);
        CHECK_EQ(act(f, &j), ERR_OK);
        CHECK_EQ(finish(f, 0), ERR_OK);
        next_done(f, j.id, DONE_OK);
        j = draft(f, 1, token, 1, 8);
        CHECK_EQ(act(f, &j), ERR_OK);
        /* due at once, so before the draft that was begun later, or after it */
        struct event due = {.kind = EV_ARRIVE, .request = 0}, ev;
        due.arrive.n = 1;
        due.arrive.token = token;
        due.arrive.max_tokens = 1;
        ev = next(f, &due);
        if (ev.kind == EV_DONE)
            ev = next(f, &due);
        else
            next_done(f, j.id, DONE_OK);
        CHECK(ev.kind == EV_ARRIVE);
    }
    CHECK_EQ(finish(f, 0), ERR_OK);
    CHECK_EQ(finish(f, 1), ERR_OK);
    end(f);
}

/* ---- limits --------------------------------------------------------------------------------- */

static void it_runs_what_its_capabilities_say(void)
{
    struct fixture *f = begin();
    struct exec_caps c;
    f->x->ops->caps(f->x, &c);
    CHECK(c.blocks >= 1 && c.max_rows >= 1 && c.max_ctx >= c.max_rows && c.max_seqs >= 1);
    CHECK(c.max_jobs >= 1 && c.n_graphs <= EXEC_MAX_GRAPHS);
    open_request(f, 0);
    int32_t *token = calloc((size_t)c.max_rows, sizeof *token);
    struct job j = step(f, ROLE_TARGET, c.max_seqs - 1, token, c.max_rows);
    CHECK_EQ(act(f, &j), ERR_OK);
    CHECK_EQ(next_done(f, j.id, DONE_OK).done.n_choice, c.max_rows);
    if (c.max_topk) {
        struct job k = {.id = ++f->id, .kind = JOB_COMMIT, .commit.seq = c.max_seqs - 1};
        CHECK_EQ(act(f, &k), ERR_OK);
        next_done(f, k.id, DONE_OK);
        j.id = ++f->id;
        j.forward.want = WANT_TOPK;
        j.forward.want_k = c.max_topk;
        CHECK_EQ(act(f, &j), ERR_OK);
        struct event ev = next_done(f, j.id, DONE_OK);
        CHECK(ev.done.k <= c.max_topk);
        CHECK(!row->threads || ev.done.k == c.max_topk);
    }
    if (c.features & EXEC_GRAPHS) {
        struct job load = {.id = ++f->id, .request = -1, .kind = JOB_LOAD, .role = ROLE_LOAD};
        load.graph = (struct job_graph){c.n_graphs, c.blocks - 1};
        CHECK_EQ(act(f, &load), ERR_OK);
        next_done(f, load.id, DONE_OK);
        load.kind = JOB_FREE;
        load.id = ++f->id;
        CHECK_EQ(act(f, &load), ERR_OK);
        next_done(f, load.id, DONE_OK);
    }
    if (c.features & EXEC_COPIES && c.max_seqs > 1) {
        struct job copy = {.id = ++f->id, .kind = JOB_COPY};
        copy.copy = (struct job_copy){c.max_seqs - 1, 0, c.max_rows - 1};
        CHECK_EQ(act(f, &copy), ERR_OK);
        next_done(f, copy.id, DONE_OK);
    }
    free(token);
    end(f);
}

static void bad_jobs_are_refused(void)
{
    if (!row->checks)
        return;
    struct fixture *f = begin();
    struct exec_caps c;
    f->x->ops->caps(f->x, &c);
    int32_t token[16] = {0}, cycle[2] = {-1, 1};
    f->id = 41;
    CHECK_EQ(put(f, ROLE_TARGET, 0, 0), 42);
    next_done(f, 42, DONE_OK);
    struct job good = step(f, ROLE_TARGET, 0, token, 2);
#define WITH(field, value, code, says)                                                             \
    do {                                                                                           \
        struct job j = good;                                                                       \
        j.field = value;                                                                           \
        CHECK_EQ(act(f, &j), code);                                                                \
        CHECK_HAS(f->e.msg, says);                                                                 \
        f->e = (struct err){0};                                                                    \
    } while (0)
    WITH(id, 42, ERR_POLICY, "ids increase, the last was 42");
    WITH(id, 0, ERR_POLICY, "id is 0");
    WITH(role, ROLES, ERR_POLICY, "role is 4, expected 0 to 3");
    WITH(kind, 9, ERR_POLICY, "kind is 9");
    WITH(n_wait, 5, ERR_POLICY, "n_wait is 5, expected 0 to 4");
    WITH(n_wait, 1, ERR_POLICY, "an id that it waits for is 0, expected 1 to 42");
    good.wait[0] = 43;
    WITH(n_wait, 1, ERR_POLICY, "an id that it waits for is 43, expected 1 to 42");
    WITH(forward.width, c.max_rows + 1, ERR_LIMIT, "width is 17, expected 1 to 16");
    WITH(forward.width, 1, ERR_POLICY, "n is 2, expected 1 to 1");
    WITH(forward.seq, c.max_seqs, ERR_POLICY, "seq is 4");
    WITH(forward.pos, c.max_ctx + 1, ERR_LIMIT, "pos is 1025");
    WITH(forward.b1, c.blocks + 1, ERR_POLICY, "b1 is 7");
    WITH(forward.b0, c.blocks, ERR_POLICY, "b0 is 6");
    WITH(forward.graph, c.n_graphs + 1, ERR_POLICY, "graph is 3");
    WITH(forward.slot_in, 0, ERR_POLICY, "slot_in is 0, expected -1 to -1");
    WITH(forward.slot_out, c.n_slots, ERR_POLICY, "slot_out is 4, expected -1 to 3");
    WITH(forward.slot_out, 0, ERR_POLICY, "want is 1, expected 0");
    WITH(forward.token, NULL, ERR_POLICY, "token is 0, expected an array");
    WITH(forward.parent, cycle, ERR_POLICY, "a row's parent is 1, expected -1 to 0");
    WITH(forward.want, 3, ERR_POLICY, "want is 3");
    WITH(forward.want_from, 2, ERR_POLICY, "want_from is 2, expected 0 to 1");
    good.forward.want = WANT_TOPK;
    WITH(forward.want_k, c.max_topk + 1, ERR_LIMIT, "want_k is 5");
    good.kind = JOB_HEAD;
    good.forward.want = WANT_ARGMAX;
    WITH(forward.slot_in, -1, ERR_POLICY, "slot_in is -1, expected 0 to 3");
    good = clear(f, ROLE_TARGET, 0, 0);
    WITH(commit.pos, -1, ERR_POLICY, "pos is -1");
    WITH(commit.n, c.max_rows + 1, ERR_LIMIT, "n is 17");
    const int32_t down[2] = {1, 0};
    good.commit.n = 2;
    WITH(commit.row, down, ERR_POLICY, "a row is 0, expected 2 to 15");
    good = draft(f, 0, token, 1, 1);
    WITH(draft.drafter, 1, ERR_POLICY, "drafter is 1, expected 0 to 0");
    WITH(draft.max_nodes, c.max_rows + 1, ERR_LIMIT, "max_nodes is 17");
    WITH(request, -1, ERR_POLICY, "request is -1");
    good.kind = JOB_LOAD;
    WITH(graph.graph, 0, ERR_POLICY, "graph is 0, expected 1 to 2");
    good.kind = JOB_COPY;
    good.copy = (struct job_copy){1, 2, 3};
    WITH(copy.seq_to, 1, ERR_POLICY, "seq_to is 1, expected another sequence");
    CHECK_EQ(cancel(f, 999), ERR_POLICY);
    f->e = (struct err){0};
    next_stalls(f, "nothing can happen any more"); /* none of them got in */
    end(f);
}

static void features_that_are_missing_are_named(void)
{
    if (!row->checks)
        return;
    struct fixture *f = prepare();
    f->o.n_graphs = f->o.max_topk = 0;
    if (!made(f))
        return;
    int32_t token[2] = {0};
    struct job good = step(f, ROLE_TARGET, 0, token, 2);
    WITH(forward.graph, 1, ERR_UNSUPPORTED, "has no static graphs");
    WITH(forward.want, WANT_TOPK, ERR_UNSUPPORTED, "has no top-k");
    WITH(kind, JOB_LOAD, ERR_UNSUPPORTED, "has no static graphs");
    good.kind = JOB_CALIBRATE;
    WITH(calibrate.drafter, 0, ERR_UNSUPPORTED, "has no calibration");
    end(f);
}

static void it_takes_max_jobs_and_no_more(void)
{
    struct fixture *f = begin();
    struct exec_caps c;
    f->x->ops->caps(f->x, &c);
    hold(f, 1);
    for (int32_t i = 0; i < c.max_jobs; i++)
        put(f, (uint8_t)(i % ROLES), 0, 0);
    struct job j = clear(f, ROLE_AUX, 0, 0);
    CHECK_EQ(act(f, &j), ERR_LIMIT);
    f->e = (struct err){0};
    let_go(f);
    /* in the answer to a DONE there is room for one more */
    for (int32_t i = 0; i < 3 * c.max_jobs; i++) {
        CHECK_EQ(next(f, NULL).done.status, DONE_OK);
        put(f, (uint8_t)(i % ROLES), 0, 0);
    }
    j.id = ++f->id;
    CHECK_EQ(act(f, &j), ERR_LIMIT);
    f->e = (struct err){0};
    for (int32_t i = 0; i < c.max_jobs; i++)
        CHECK_EQ(next(f, NULL).done.status, DONE_OK);
    end(f);
}

static void a_stall_names_who_waits_for_whom(void)
{
    if (!row->threads)
        return;
    struct fixture *f = prepare();
    f->stall_ns = 20000000;
    if (!made(f))
        return;
    hold(f, 2);
    put(f, ROLE_AUX, 0, 0);
    next_done(f, 1, DONE_OK);
    struct job load = {.id = ++f->id, .request = -1, .kind = JOB_LOAD, .role = ROLE_LOAD};
    load.graph = (struct job_graph){1, 3};
    CHECK_EQ(act(f, &load), ERR_OK);
    put(f, ROLE_TARGET, 2, 0);
    put(f, ROLE_TARGET, 0, 0);
    put(f, ROLE_LOAD, 3, 0);
    await(f);
    struct event ev, none = {.request = -1};
    CHECK_EQ(f->x->ops->next(f->x, &none, &ev, &f->e), ERR_STALLED);
    CHECK_HAS(f->e.msg, "with 4 open");
    CHECK_HAS(f->e.msg, "job 2 (LOAD on load) is running");
    CHECK_HAS(f->e.msg, "job 3 (COMMIT on target) waits for job 2 (LOAD on load);");
    CHECK_HAS(f->e.msg, "job 4 (COMMIT on target) waits for job 3 (COMMIT on target);");
    CHECK_HAS(f->e.msg, "job 5 (COMMIT on load) waits for job 3 (COMMIT on target)");
    let_go(f);
    end(f);
}

static void it_is_destroyed_with_jobs_in_flight(void)
{
    for (int32_t n = 0; n < 40; n += 13) {
        struct fixture *f = begin();
        hold(f, 1);
        for (int32_t i = 0; i < n; i++)
            put(f, (uint8_t)(i % 3), i > 2 ? f->id - 2 : 0, 0);
        if (row->threads && n)
            await(f);
        let_go(f);
        end(f);
    }
}

/* ---- many jobs, against a model ------------------------------------------------------------- */

enum { MANY = 20000, RECENT = 40 };

struct model_job {
    uint8_t role, status, n_wait;
    bool delivered, asked;       /* asked: for its cancelling */
    int32_t wait[EXEC_MAX_WAIT]; /* that were not delivered when it was submitted */
    int64_t start_ns, end_ns;
};

static uint64_t draw(uint64_t a, uint64_t b, uint64_t below)
{
    return rng_u64(11, RNG_TEST, a, b) % below;
}

static void submit_random(struct fixture *f, struct model_job *m)
{
    struct job j = clear(f, 0, 0, 0);
    struct model_job *x = &m[j.id];
    uint64_t id = (uint64_t)j.id;
    x->role = j.role = (uint8_t)draw(id, 0, ROLES);
    j.commit.seq = j.role;
    /* Fewer than one wait a job, or one CANCEL would take nearly all along. */
    j.n_wait = draw(id, 8, 3) ? 0 : (uint8_t)draw(id, 1, EXEC_MAX_WAIT + 1);
    for (uint64_t k = 0; k < j.n_wait; k++) {
        int64_t on = j.id - 1 - (int64_t)draw(id, 2 + k, RECENT);
        j.wait[k] = on > 0 ? on : 1;
        if (j.id == 1)
            j.n_wait = 0;
        else if (!m[j.wait[k]].delivered)
            x->wait[x->n_wait++] = (int32_t)j.wait[k];
    }
    unit_true(act(f, &j) == ERR_OK, "SUBMIT", __FILE__, __LINE__);
    if (draw(id, 9, 100) < 3) {
        int64_t victim = j.id - (int64_t)draw(id, 10, 20);
        if (victim > 0) {
            m[victim].asked = m[victim].asked || !m[victim].delivered;
            CHECK_EQ(cancel(f, victim), ERR_OK);
        }
    }
}

/* What the contract lets job `id` have become. */
static bool lawful(const struct model_job *m, int64_t id, const int64_t *last,
                   const int64_t *free_ns)
{
    const struct model_job *x = &m[id];
    bool good = true;
    for (int k = 0; k < x->n_wait; k++) {
        const struct model_job *w = &m[x->wait[k]];
        good = good && !(w->delivered && w->status != DONE_OK);
        if (x->status == DONE_OK && (!w->delivered || x->start_ns < w->end_ns))
            return false; /* what it waited for ended before it, and its DONE comes before */
    }
    if (x->status == DONE_OK)
        return good && id > last[x->role] && x->start_ns >= free_ns[x->role];
    return x->status == DONE_CANCELLED && x->start_ns == x->end_ns && (x->asked || !good);
}

static void many_jobs_keep_to_the_model(void)
{
    struct fixture *f = begin();
    struct model_job *m = calloc(MANY + 1, sizeof *m);
    int64_t last[ROLES] = {0}, free_ns[ROLES] = {0}, broken = 0, cancelled = 0, last_ns = 0;
    int32_t n_done = 0, flight = 0;
    while (n_done < MANY) {
        int32_t burst = (int32_t)draw((uint64_t)n_done, 20, 9);
        while (f->id < MANY && flight < 50 && (flight == 0 || burst-- > 0)) {
            submit_random(f, m);
            flight++;
        }
        struct event ev = next(f, NULL);
        if (f->e.code)
            break;
        struct model_job *x = &m[ev.done.id];
        broken += x->delivered || ev.time_ns < last_ns;
        last_ns = ev.time_ns;
        x->status = ev.done.status;
        x->start_ns = ev.done.start_ns;
        x->end_ns = ev.done.end_ns;
        broken += !lawful(m, ev.done.id, last, free_ns);
        x->delivered = true;
        if (x->status == DONE_OK) {
            last[x->role] = ev.done.id;
            free_ns[x->role] = x->end_ns;
        }
        cancelled += x->status == DONE_CANCELLED;
        n_done++;
        flight--;
    }
    CHECK_EQ(n_done, MANY);
    CHECK_EQ(broken, 0);
    CHECK(cancelled < MANY / 2);
    CHECK(row->threads || cancelled > MANY / 100); /* threads may be too quick for a CANCEL */
    free(m);
    end(f);
}

/* A shim that delivers an event of its own asks for the host's time without a `next` between. */
static void host_time_is_counted_once(void)
{
    struct fixture *f = begin();
    const struct event due = {.kind = EV_WAKE, .request = -1};
    struct event first = next(f, &due);
    int64_t sum_ns = 0;
    for (int i = 0; i < 1000; i++)
        sum_ns += f->x->ops->host(f->x, &(struct host_work){1, 0});
    struct event second = next(f, &due);
    CHECK(second.time_ns >= first.time_ns + sum_ns);
    end(f);
}

static const struct unit_test tests[] = {
    {"a_role_runs_first_in_first_out", a_role_runs_first_in_first_out},
    {"jobs_wait_across_roles", jobs_wait_across_roles},
    {"events_come_by_time_and_done_comes_first", events_come_by_time_and_done_comes_first},
    {"time_passes_to_a_due_event_without_jobs", time_passes_to_a_due_event_without_jobs},
    {"what_has_not_started_is_cancelled_at_once", what_has_not_started_is_cancelled_at_once},
    {"what_has_started_ends_as_it_would", what_has_started_ends_as_it_would},
    {"who_waits_for_the_cancelled_is_cancelled_too", who_waits_for_the_cancelled_is_cancelled_too},
    {"a_failed_job_takes_its_dependants_along", a_failed_job_takes_its_dependants_along},
    {"a_graph_that_cannot_run_says_why", a_graph_that_cannot_run_says_why},
    {"arrays_are_copied_in_and_stay_until_the_next_event",
     arrays_are_copied_in_and_stay_until_the_next_event},
    {"drafts_run_with_the_requests_that_are_open", drafts_run_with_the_requests_that_are_open},
    {"a_drafter_has_one_job_at_a_time", a_drafter_has_one_job_at_a_time},
    {"requests_open_and_close_beside_drafts", requests_open_and_close_beside_drafts},
    {"it_runs_what_its_capabilities_say", it_runs_what_its_capabilities_say},
    {"bad_jobs_are_refused", bad_jobs_are_refused},
    {"features_that_are_missing_are_named", features_that_are_missing_are_named},
    {"it_takes_max_jobs_and_no_more", it_takes_max_jobs_and_no_more},
    {"a_stall_names_who_waits_for_whom", a_stall_names_who_waits_for_whom},
    {"it_is_destroyed_with_jobs_in_flight", it_is_destroyed_with_jobs_in_flight},
    {"host_time_is_counted_once", host_time_is_counted_once},
    {"many_jobs_keep_to_the_model", many_jobs_keep_to_the_model},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    int rc = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[64];
        row = &rows[i];
        snprintf(name, sizeof name, "conform %s", row->name);
        rc |= unit_main(argc, argv, name, tests);
    }
    return rc;
}
