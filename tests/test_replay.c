/* Replay equality, what replay notices, and what injected faults end in: on the simulated executor
 * and on the toy's threads, with shipped policies and with those that only tests use. */
#include "sim/exec/log.h"
#include "sim/exec/shims.h"
#include "sim/exec/sim.h"
#include "sim/exec/threads.h"
#include "sim/exec/toy.h"
#include "tests/policies/policies.h"
#include "tests/scratch.h"
#include "tests/unit.h"
#include "tests/world.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct policy_type *const policies[] = {&policy_switching, &policy_tree,
                                                     &policy_interleave, &policy_cancel, NULL};
static const struct drafter_type *const drafters[] = {&drafter_count, NULL};
static const struct log_types types = {policies, drafters};

static struct world_cost cost;
static struct world_truth truth;
static struct toy_options toy;

/* One run: what it is made of, and what came of it. */
struct play {
    struct run_setup setup;
    struct request request[WORLD_MAX_REQUESTS];
    int32_t n;
    bool on_toy;
    struct fault_plan plan; /* all zero: none */
    struct arena arena;
    struct run_result result;
    struct err e;
};

static char path[300];

static struct play *play_create(const char *policy, const char *drafter, int32_t n,
                                int32_t max_tokens)
{
    struct play *p = calloc(1, sizeof *p);
    if (!p || !CHECK(world_setup(&p->setup, policy, drafter)))
        exit(1);
    p->n = n;
    memcpy(p->request, world_requests(n, max_tokens), (size_t)n * sizeof *p->request);
    arena_init(&p->arena);
    world_cost_init(&cost);
    cost.host = (struct cost_host){1000, 300, 2000, 700};
    return p;
}

static struct play *toy_create_play(const struct policy_type *policy, int32_t n)
{
    struct play *p = play_create("autoregressive", "", n, 12);
    toy_defaults(&toy);
    toy.n_vocab = 48;
    toy.max_ctx = 700;
    toy.max_rows = 512;
    toy.graph_width[0] = 64;
    toy.graph_width[1] = 4;
    toy.block_ns = 2000;
    toy.row_ns = 100;
    toy.load_ns = 5000;
    toy.eos_per_mille = 0;
    policy_tree_toy = &toy;
    p->on_toy = true;
    for (int32_t i = 0; i < n; i++) /* policy_cancel queues 32 steps of 4 tokens at most */
        p->request[i].n = p->request[i].n < 90 ? p->request[i].n : 90;
    p->setup.policy = policy;
    memset(p->setup.policy_param, 0, sizeof p->setup.policy_param);
    param_defaults(policy->params, p->setup.policy_param);
    if (policy == &policy_switching)
        param_set(policy->params, "k", "2", p->setup.policy_param, NULL);
    return p;
}

static void play_destroy(struct play *p)
{
    arena_fini(&p->arena);
    free(p);
    remove(path);
}

/* Runs it, recorded to `path` when `log`; the first error. */
static int play(struct play *p, bool log)
{
    struct engine *g = NULL;
    struct exec *x = NULL;
    struct threads_options t = {.name = "toy", .stall_ns = 20000000000};
    for (int i = 0; i < EXEC_MAX_ROLES; i++)
        t.cpu[i] = -1;
    scratch_path(path, sizeof path, "replay.log");
    p->e = (struct err){0};
    arena_reset(&p->arena);
    int rc = ERR_OK;
    if (p->on_toy) {
        rc = toy_create(&toy, &g, &p->e);
        if (!rc)
            rc = threads_create(g, &p->setup, &t, &x, &p->e);
    } else {
        world_truth_init(&truth, world_language, NULL, p->request, p->n, NULL, 0);
        rc = sim_create(&cost.model, &truth.truth, &p->setup, &x, &p->e);
    }
    const struct fault_plan none = {0};
    if (!rc && memcmp(&p->plan, &none, sizeof none))
        rc = fault_create(x, &p->plan, &x, &p->e);
    if (!rc && log)
        rc = record_create(x, &p->setup, path, &x, &p->e);
    if (!rc) {
        rc = driver_run(&p->setup, x, p->request, p->n, &p->arena, &p->result, &p->e);
        if (!rc && log)
            rc = record_finish(x, &p->e);
        x->ops->destroy(x);
    }
    if (g)
        g->ops->destroy(g);
    return rc;
}

/* Replays `path` by `setup`, the log's own when NULL; the first error. */
static int replay(const struct run_setup *setup, struct arena *arena, struct run_result *out,
                  struct err *e)
{
    struct log_reader *r;
    struct run_setup logged;
    struct exec_caps caps;
    struct request *request;
    int32_t n;
    *e = (struct err){0};
    int rc = log_open(path, &r, e);
    if (rc)
        return rc;
    rc = log_setup(r, &types, &logged, &caps, e);
    log_close_reader(r);
    if (!rc)
        rc = replay_requests(path, arena, &request, &n, e);
    if (rc)
        return rc;
    struct exec *x;
    setup = setup ? setup : &logged;
    rc = replay_create(path, setup, &x, e);
    if (rc)
        return rc;
    rc = driver_run(setup, x, request, n, arena, out, e);
    if (!rc)
        rc = replay_finish(x, e);
    x->ops->destroy(x);
    return rc;
}

/* ---- equality ------------------------------------------------------------------------------- */

static bool same_result(const struct run_result *a, const struct run_result *b)
{
    bool same = a->actions_hash == b->actions_hash && a->end_ns == b->end_ns &&
                a->n_events == b->n_events && a->n_actions == b->n_actions &&
                a->n_requests == b->n_requests;
    for (int32_t i = 0; same && i < a->n_requests; i++) {
        const struct request_result *q = &a->request[i], *s = &b->request[i];
        same = q->arrive_ns == s->arrive_ns && q->first_ns == s->first_ns &&
               q->last_ns == s->last_ns && q->finish_ns == s->finish_ns &&
               q->n_output == s->n_output && q->n_steps == s->n_steps &&
               q->n_drafted == s->n_drafted && q->n_accepted == s->n_accepted &&
               q->n_verify == s->n_verify && q->cancelled == s->cancelled &&
               !memcmp(q->part_ns, s->part_ns, sizeof q->part_ns) &&
               !memcmp(&q->work, &s->work, sizeof q->work) &&
               !memcmp(q->output, s->output, (size_t)q->n_output * sizeof *q->output);
    }
    return same;
}

/* Records a run and replays it; both must be equal in every metric. */
static void plays_back(struct play *p, const char *what)
{
    struct arena arena;
    struct run_result again;
    struct err e = {0};
    arena_init(&arena);
    if (!CHECK_EQ(play(p, true), ERR_OK) || !CHECK_EQ(replay(NULL, &arena, &again, &e), ERR_OK) ||
        !CHECK(same_result(&p->result, &again)))
        printf("  %s: %s%s\n", what, p->e.msg, e.msg);
    arena_fini(&arena);
}

static void simulated_runs_play_back(void)
{
    static const char *const policy[] = {"autoregressive",
                                         "speculative:width=4 max_draft=3",
                                         "speculative:max_draft=31",
                                         "speculative:tree=plain",
                                         "switching:k=2 back=reload-in-idle",
                                         "switching:scheme=both-resident-shared",
                                         "speculative:calibrate=1 reuse=1 chunk=50 max_draft=15",
                                         "speculative:calibrate=1 overlap=serial tree=plain"};
    static const char *const drafter[] = {"lookup", "lookup:branches=3 min_ngram=1", "suffix",
                                          "aligned:history=2", "oracle"};
    for (int a = 0; a < 8; a++)
        for (int d = 0; d < 5; d++)
            for (int arrivals = 0; arrivals < 4; arrivals++) {
                if (a > 5 && d != 3) /* the others are not calibrated */
                    continue;
                struct play *p = play_create(policy[a], a ? drafter[d] : "", 4, 30);
                p->setup.max_requests = arrivals == 2 ? 2 : 4;
                cost.caps.graph_weights[0] = cost.caps.graph_weights[1] = 1;
                if (arrivals == 3) /* DONEs, arrivals and timers at equal times */
                    cost.host = (struct cost_host){0};
                for (int32_t i = 0; arrivals && i < p->n; i++)
                    p->request[i].arrival_ns = i == 2 ? REQUEST_AFTER_PREVIOUS : 3000000 * i;
                if (arrivals == 1)
                    p->request[1].cancel_ns = 9000000;
                plays_back(p, policy[a]);
                play_destroy(p);
            }
}

static void runs_on_threads_play_back(void)
{
    static const struct policy_type *const policy[] = {&policy_switching, &policy_tree,
                                                       &policy_interleave, &policy_cancel};
    for (int a = 0; a < 4; a++)
        for (int cancel = 0; cancel < 2; cancel++) {
            struct play *p = toy_create_play(policy[a], 3);
            p->setup.max_requests = policy[a] == &policy_interleave ? 2 : 1;
            if (policy[a] == &policy_interleave) {
                p->setup.n_drafters = 1;
                p->setup.drafter[0] = (struct run_drafter){.type = &drafter_count};
                for (int32_t i = 0; i < p->n; i++)
                    p->request[i].arrival_ns = 200000 * i;
            }
            if (policy[a] == &policy_cancel && cancel)
                p->request[1].cancel_ns = 1;
            plays_back(p, policy[a]->name);
            play_destroy(p);
        }
}

static void shipped_policies_on_threads_play_back(void)
{
    static const char *const drafter[] = {"lookup", "suffix", "aligned:history=2", NULL};
    static const char *const policy[] = {"speculative:width=8 max_draft=7",
                                         "speculative:width=8 max_draft=7",
                                         "speculative:calibrate=1 reuse=1 max_draft=9"};
    for (int d = 0; drafter[d]; d++) {
        struct play *p = toy_create_play(policies[0], 3), *q;
        q = play_create(policy[d], drafter[d], 3, 25);
        p->setup = q->setup;
        play_destroy(q);
        plays_back(p, drafter[d]);
        CHECK(p->result.request[0].n_drafted > 0);
        play_destroy(p);
    }
}

static void the_trailer_has_the_run_s_hash(void)
{
    struct play *p = play_create("speculative", "suffix", 2, 20);
    struct log_reader *r;
    struct log_record at = {0};
    if (CHECK_EQ(play(p, true), ERR_OK) && CHECK_EQ(log_open(path, &r, NULL), ERR_OK)) {
        CHECK_STR(log_header(r, "executor"), "sim");
        while (at.type != LOG_TRAILER && CHECK_EQ(log_next(r, &at, NULL), ERR_OK))
            ;
        CHECK_EQ(at.trailer.actions_hash, p->result.actions_hash);
        CHECK_EQ(at.time_ns, p->result.end_ns);
        log_close_reader(r);
    }
    play_destroy(p);
}

/* A log's bytes depend on nothing but the run. */
static void the_same_run_twice_gives_the_same_bytes(void)
{
    static char first[1 << 20], second[1 << 20];
    size_t n[2];
    for (int i = 0; i < 2; i++) {
        struct play *p = play_create("speculative", "lookup", 3, 30);
        CHECK_EQ(play(p, true), ERR_OK);
        FILE *f = fopen(path, "rb");
        n[i] = f ? fread(i ? second : first, 1, sizeof first, f) : 0;
        if (f)
            fclose(f);
        play_destroy(p);
    }
    CHECK(n[0] > 1000 && n[0] == n[1] && !memcmp(first, second, n[0]));
}

/* ---- differences ---------------------------------------------------------------------------- */

/* The log in `path` with `change` applied to every record; a false answer leaves the record out. */
static void rewrite(bool (*change)(struct log_record *at))
{
    struct log_reader *r;
    struct log_record at = {0};
    struct run_setup s;
    struct exec_caps c;
    struct log_writer *w;
    struct err e = {0};
    if (!CHECK_EQ(log_open(path, &r, &e), ERR_OK) ||
        !CHECK_EQ(log_setup(r, &types, &s, &c, &e), ERR_OK) ||
        !CHECK_EQ(log_create(path, "sim", &s, &c, &w, &e), ERR_OK))
        return;
    while (CHECK_EQ(log_next(r, &at, &e), ERR_OK) && at.type != LOG_TRAILER) {
        if (!change(&at))
            continue;
        if (at.type == LOG_EVENT)
            CHECK_EQ(log_event(w, &at.event, at.due_ns), ERR_OK);
        else if (at.type == LOG_HOST)
            CHECK_EQ(log_host(w, at.host.host_ns, &at.host.work), ERR_OK);
        else
            CHECK_EQ(log_action(w, &at.action), ERR_OK);
    }
    log_close_reader(r);
    CHECK_EQ(log_close(w, true, &e), ERR_OK);
}

static int seen; /* so that each change is made once */

static int32_t *mutable_words(const int32_t *p)
{
    int32_t *q;
    memcpy(&q, &p, sizeof q);
    return q;
}

static bool is_done(const struct log_record *at, uint8_t kind)
{
    return at->type == LOG_EVENT && at->event.kind == EV_DONE && at->event.done.job_kind == kind;
}

static bool is_submit(const struct log_record *at, uint8_t kind)
{
    return at->type == LOG_ACTION && at->action.kind == ACT_SUBMIT && at->action.job.kind == kind;
}

static bool last_token_of_a_step(struct log_record *at)
{
    if (is_submit(at, JOB_FORWARD) && !seen++) {
        int32_t *t = mutable_words(at->action.job.forward.token);
        t[at->action.job.forward.n - 1] ^= 1;
    }
    return true;
}

static bool a_wait(struct log_record *at)
{
    if (at->type == LOG_ACTION && at->action.kind == ACT_SUBMIT && at->action.job.id == 9)
        at->action.job.role ^= 1;
    return true;
}

static bool a_proposal(struct log_record *at)
{
    if (is_done(at, JOB_DRAFT) && at->event.done.tree.n > 1 && !seen++)
        mutable_words(at->event.done.tree.token)[1] ^= 1;
    return true;
}

static bool a_parent(struct log_record *at)
{
    if (is_done(at, JOB_DRAFT) && at->event.done.tree.n > 1 && !seen++)
        mutable_words(at->event.done.tree.parent)[1] = -1;
    return true;
}

static bool a_counter(struct log_record *at)
{
    if (is_done(at, JOB_DRAFT) && !seen++)
        at->event.done.work.probes++;
    return true;
}

static bool a_choice(struct log_record *at)
{
    if (is_done(at, JOB_FORWARD) && at->event.done.n_choice > 1 && !seen++) {
        /* Not one of those that an accepted draft would have kept: the first decides. */
        mutable_words(at->event.done.choice)[0] ^= 1;
    }
    return true;
}

static bool fewer_choices(struct log_record *at)
{
    if (is_done(at, JOB_FORWARD) && at->event.done.n_choice > 1 && !seen++)
        at->event.done.n_choice--;
    return true;
}

static bool a_choice_beyond_the_vocabulary(struct log_record *at)
{
    if (is_done(at, JOB_FORWARD) && at->event.done.n_choice > 1 && !seen++)
        mutable_words(at->event.done.choice)[1] = 48;
    return true;
}

static bool another_job_ends(struct log_record *at)
{
    if (is_done(at, JOB_FORWARD) && !seen++)
        at->event.done.id += 1000;
    return true;
}

static bool a_longer_prompt(struct log_record *at)
{
    if (at->type == LOG_EVENT && at->event.kind == EV_ARRIVE && at->event.request == 1)
        at->event.arrive.n--;
    return true;
}

static bool later_due(struct log_record *at)
{
    if (at->type == LOG_EVENT && at->event.kind == EV_ARRIVE)
        at->due_ns--;
    return true;
}

static bool last_action_left_out(struct log_record *at)
{
    return !(at->type == LOG_ACTION && at->action.kind == ACT_FINISH && at->action.request == 1);
}

static bool an_action_more(struct log_record *at)
{
    if (at->type == LOG_ACTION && at->action.kind == ACT_EMIT && !seen++)
        return false;
    return true;
}

static bool a_host_left_out(struct log_record *at)
{
    return !(at->type == LOG_HOST && !seen++);
}

static bool an_early_end(struct log_record *at)
{
    seen += at->type == LOG_EVENT;
    return seen < 8;
}

static bool requests_swapped(struct log_record *at)
{
    if (at->type == LOG_EVENT && at->event.kind == EV_ARRIVE)
        at->event.request ^= 1;
    return true;
}

static void replay_notices_every_change(void)
{
    static const struct {
        const char *name;
        bool (*change)(struct log_record *at);
        int code;
        const char *says;
    } cases[] = {
        {"last_token_of_a_step", last_token_of_a_step, ERR_REPLAY, "the policy's action: \".."},
        {"a_wait", a_wait, ERR_REPLAY, "role="},
        {"a_proposal", a_proposal, ERR_REPLAY, "drafter 0 (lookup) gives"},
        {"a_parent", a_parent, ERR_REPLAY, "parent["},
        {"a_counter", a_counter, ERR_REPLAY, "probes="},
        {"a_choice", a_choice, ERR_REPLAY, "the policy's action"},
        {"fewer_choices", fewer_choices, ERR_CORRUPT, "not what it asked for"},
        {"a_choice_beyond", a_choice_beyond_the_vocabulary, ERR_CORRUPT, "not what it asked"},
        {"another_job_ends", another_job_ends, ERR_REPLAY, "is not in flight"},
        {"a_longer_prompt", a_longer_prompt, ERR_REPLAY, "the policy's action"},
        {"later_due", later_due, ERR_REPLAY, "due_ns="},
        {"last_action_left_out", last_action_left_out, ERR_REPLAY, "FINISH request=1"},
        {"an_action_more", an_action_more, ERR_REPLAY, "EMIT"},
        {"a_host_left_out", a_host_left_out, ERR_REPLAY, "SUBMIT"},
        {"an_early_end", an_early_end, ERR_REPLAY, "end records="},
        {"requests_swapped", requests_swapped, ERR_CORRUPT, "cannot be run"},
    };
    struct play *p = play_create("speculative:width=8 max_draft=7", "lookup", 2, 40);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena arena;
        struct run_result again;
        struct err e;
        arena_init(&arena);
        seen = 0;
        if (CHECK_EQ(play(p, true), ERR_OK)) {
            rewrite(cases[i].change);
            if (!CHECK_EQ(replay(NULL, &arena, &again, &e), cases[i].code) ||
                !CHECK_HAS(e.msg, cases[i].says) || !CHECK_HAS(e.msg, "at byte "))
                printf("  %s: %s\n", cases[i].name, e.msg);
        }
        arena_fini(&arena);
    }
    play_destroy(p);
}

/* A log that has more than the run: the run ends well and replay_finish says so. */
static void what_the_log_has_more_is_noticed(void)
{
    struct play *p = play_create("autoregressive", "", 1, 5);
    struct arena arena;
    struct request *request;
    int32_t n;
    struct run_result again;
    struct err e = {0};
    struct exec *x;
    arena_init(&arena);
    CHECK_EQ(play(p, true), ERR_OK);
    CHECK_EQ(replay_requests(path, &arena, &request, &n, &e), ERR_OK);
    CHECK_EQ(replay_create(path, &p->setup, &x, &e), ERR_OK);
    CHECK_EQ(driver_run(&p->setup, x, request, 0, &arena, &again, &e), ERR_OK);
    CHECK_EQ(replay_finish(x, &e), ERR_REPLAY);
    CHECK_HAS(e.msg, "the run: \"is over\", in the log: \"ARRIVE request=0");
    x->ops->destroy(x);
    arena_fini(&arena);
    play_destroy(p);
}

static void another_set_up_differs_readably(void)
{
    struct play *p = play_create("speculative:width=8 max_draft=7", "lookup", 2, 40);
    struct run_setup other;
    struct arena arena;
    struct run_result again;
    struct err e;
    arena_init(&arena);
    CHECK_EQ(play(p, true), ERR_OK);
    CHECK(world_setup(&other, "speculative:width=8 max_draft=5", "lookup"));
    CHECK_EQ(replay(&other, &arena, &again, &e), ERR_REPLAY);
    CHECK_HAS(e.msg, "max_nodes=5");
    CHECK_HAS(e.msg, "max_nodes=7");
    CHECK_HAS(e.msg, "record ");
    arena_reset(&arena);
    other = p->setup;
    other.n_vocab++;
    CHECK_EQ(replay(&other, &arena, &again, &e), ERR_MISMATCH);
    arena_fini(&arena);
    play_destroy(p);
}

static const struct drafter_type *real_lookup;

static void lying_propose(void *self, int32_t max_nodes, struct draft_tree *out,
                          struct draft_work *work)
{
    real_lookup->propose(self, max_nodes, out, work);
    if (out->n)
        out->token[out->n - 1] ^= 1;
}

static void a_drafter_that_answers_differently_is_caught(void)
{
    struct play *p = play_create("speculative:width=8 max_draft=7", "lookup", 2, 40);
    struct run_setup other = p->setup;
    real_lookup = draft_find("lookup");
    struct drafter_type liar = *real_lookup;
    struct arena arena;
    struct run_result again;
    struct err e;
    arena_init(&arena);
    liar.propose = lying_propose;
    other.drafter[0].type = &liar;
    CHECK_EQ(play(p, true), ERR_OK);
    CHECK_EQ(replay(&other, &arena, &again, &e), ERR_REPLAY);
    CHECK_HAS(e.msg, "drafter 0 (lookup) gives");
    CHECK_HAS(e.msg, "DONE");
    arena_fini(&arena);
    play_destroy(p);
}

/* ---- recording ------------------------------------------------------------------------------ */

static bool exists(const char *more)
{
    char all[400];
    struct stat st;
    snprintf(all, sizeof all, "%s%s", path, more);
    return !stat(all, &st);
}

static void only_whole_runs_are_kept(void)
{
    struct play *p = play_create("autoregressive", "", 2, 20);
    p->plan = (struct fault_plan){.seed = 1, .drop = 100};
    CHECK_EQ(play(p, true), ERR_STALLED);
    CHECK(!exists("") && !exists(".part"));

    struct exec *x;
    struct err e = {0};
    p->plan = (struct fault_plan){0};
    CHECK_EQ(sim_create(&cost.model, &truth.truth, &p->setup, &x, &e), ERR_OK);
    CHECK_EQ(record_create(x, &p->setup, path, &x, &e), ERR_OK);
    CHECK_EQ(record_finish(x, &e), ERR_CANCELLED);
    x->ops->destroy(x);
    CHECK(!exists("") && !exists(".part"));

    /* A request that is open, an event without an answer: by hand, as a driver that gave up. */
    const struct event due = {.kind = EV_ARRIVE,
                              .arrive = {p->request[0].n, p->request[0].token, 3, 0}};
    const struct action finish = {.kind = ACT_FINISH};
    const struct host_work work = {1, 0};
    const struct action job = {.kind = ACT_SUBMIT, .job = {.id = 1, .kind = JOB_COMMIT}};
    for (int answered = 0; answered < 4; answered++) {
        struct event ev;
        e = (struct err){0};
        CHECK_EQ(sim_create(&cost.model, &truth.truth, &p->setup, &x, &e), ERR_OK);
        CHECK_EQ(record_create(x, &p->setup, path, &x, &e), ERR_OK);
        CHECK_EQ(x->ops->next(x, &due, &ev, &e), ERR_OK);
        if (answered)
            x->ops->host(x, &work);
        if (answered == 3) /* a job in flight */
            CHECK_EQ(x->ops->act(x, &job, &e), ERR_OK);
        if (answered != 1)
            CHECK_EQ(x->ops->act(x, &finish, &e), ERR_OK);
        CHECK_EQ(record_finish(x, &e), answered == 2 ? ERR_OK : ERR_CANCELLED);
        CHECK_EQ(exists(""), answered == 2);
        x->ops->destroy(x);
        remove(path);
    }

    e = (struct err){0};
    CHECK_EQ(sim_create(&cost.model, &truth.truth, &p->setup, &x, &e), ERR_OK);
    CHECK_EQ(record_create(x, &p->setup, "no/such/folder/x.log", &x, &e), ERR_IO);
    play_destroy(p);
}

/* ---- faults --------------------------------------------------------------------------------- */

static bool same_texts(const struct run_result *a, const struct run_result *b)
{
    bool same = a->n_requests == b->n_requests;
    for (int32_t i = 0; same && i < a->n_requests; i++)
        same = a->request[i].n_output == b->request[i].n_output &&
               !memcmp(a->request[i].output, b->request[i].output,
                       (size_t)a->request[i].n_output * sizeof(int32_t));
    return same;
}

/* Each plan ends in its named error, or in the same texts as without it. */
static void faults_end_in_a_named_error_or_the_right_text(void)
{
    static const struct {
        struct fault_plan plan;
        int code;
        const char *says;
    } cases[] = {
        {{.seed = 1, .fail = 1000}, ERR_DEVICE, ""},
        {{.seed = 1, .fail = 50}, ERR_DEVICE, ""},
        {{.seed = 1, .drop = 1000},
         ERR_STALLED,
         " was dropped by the fault plan; request 0 waits for job 1 (FORWARD on target)"},
        {{.seed = 1, .drop = 1000}, ERR_STALLED, "the end of job 1 (FORWARD of request 0)"},
        {{.seed = 2, .drop = 30}, ERR_STALLED, "dropped by the fault plan; request "},
        {{.seed = 1, .delay = 1000, .delay_ns = 777777}, ERR_OK, ""},
        {{.seed = 1, .delay = 200, .delay_ns = 3}, ERR_OK, ""},
        {{.seed = 3, .delay = 500, .delay_ns = 5000000000}, ERR_OK, ""},
    };
    static const char *const policy[] = {"autoregressive", "speculative:width=8 max_draft=7"};
    for (int a = 0; a < 2; a++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct play *plain = play_create(policy[a], a ? "suffix" : "", 3, 40);
            struct play *p = play_create(policy[a], a ? "suffix" : "", 3, 40);
            p->plan = cases[i].plan;
            CHECK_EQ(play(plain, false), ERR_OK);
            if (!CHECK_EQ(play(p, false), cases[i].code) || !CHECK_HAS(p->e.msg, cases[i].says))
                printf("  %s, case %zu: %s\n", policy[a], i, p->e.msg);
            if (!cases[i].code) {
                CHECK(same_texts(&plain->result, &p->result));
                int64_t later_ns = p->result.end_ns - plain->result.end_ns;
                /* A few late DONEs may save time: host time is spent in another order. */
                if (!CHECK(later_ns > 0 || p->plan.delay < 1000))
                    printf("  %s, case %zu: later by %" PRId64 " ns\n", policy[a], i, later_ns);
            }
            play_destroy(plain);
            play_destroy(p);
        }
}

static int answer_nothing(void *self, const struct event *ev, struct actions *out)
{
    (void)self;
    (void)ev;
    (void)out;
    return ERR_OK;
}

/* Who waits for whom, when no job is to blame. */
static void a_policy_that_does_nothing_is_named(void)
{
    struct policy_type lazy = *policy_find("autoregressive");
    lazy.on_event = answer_nothing;
    for (int on_toy = 0; on_toy < 2; on_toy++) {
        struct play *p =
            on_toy ? toy_create_play(&lazy, 2) : play_create("autoregressive", "", 2, 9);
        p->setup.policy = &lazy;
        CHECK_EQ(play(p, false), ERR_STALLED);
        CHECK_HAS(p->e.msg, "no job is in flight, no event is due, and the policy waits; request 0 "
                            "has no job in flight and waits for policy autoregressive");
        play_destroy(p);
    }
}

/* A serial run, each of whose DONEs is late by d, is longer by d for each job in a row. */
static void delays_add_up(void)
{
    struct play *plain = play_create("autoregressive", "", 1, 9);
    struct play *p = play_create("autoregressive", "", 1, 9);
    p->plan = (struct fault_plan){.delay = 1000, .delay_ns = 1000003};
    CHECK_EQ(play(plain, false), ERR_OK);
    CHECK_EQ(play(p, false), ERR_OK);
    const struct request_result *a = &plain->result.request[0], *b = &p->result.request[0];
    int64_t steps = b->n_steps, longer = b->last_ns - a->last_ns;
    CHECK_EQ(steps, a->n_steps);
    /* Every step waits for the DONE of the one before; jobs of one role that run back to back are
     * late together. */
    CHECK(longer >= (steps - 1) * 1000003 - 1000000 && longer <= 2 * steps * 1000003);
    CHECK_EQ(b->step[3].end_ns - b->step[3].start_ns, a->step[3].end_ns - a->step[3].start_ns);
    play_destroy(plain);
    play_destroy(p);
}

static void delayed_runs_play_back(void)
{
    struct play *p = play_create("speculative:width=8 max_draft=7", "suffix", 3, 40);
    p->plan = (struct fault_plan){.seed = 5, .delay = 300, .delay_ns = 400000};
    plays_back(p, "delayed");
    play_destroy(p);
}

/* Each of this policy's steps waits for the one before, on two roles in turn: late DONEs, and
 * those that others may pass, hold back those that come after them. */
static void late_jobs_keep_their_order(void)
{
    static const struct fault_plan plan[] = {{.seed = 7, .delay = 300, .delay_ns = 3000000},
                                             {.seed = 7, .reorder = 300},
                                             {.seed = 7, .reorder = 1000}};
    for (size_t i = 0; i < sizeof plan / sizeof *plan; i++) {
        struct play *p = toy_create_play(&policy_cancel, 1);
        struct log_reader *r;
        struct log_record at = {0};
        int64_t last = 0;
        p->plan = plan[i];
        if (!CHECK_EQ(play(p, true), ERR_OK) || !CHECK_EQ(log_open(path, &r, NULL), ERR_OK)) {
            printf("  plan %zu: %s\n", i, p->e.msg);
            play_destroy(p);
            continue;
        }
        while (at.type != LOG_TRAILER && CHECK_EQ(log_next(r, &at, NULL), ERR_OK)) {
            if (at.type != LOG_EVENT || at.event.kind != EV_DONE)
                continue;
            CHECK(at.event.done.id > last);
            last = at.event.done.id;
        }
        CHECK(last > 9);
        log_close_reader(r);
        play_destroy(p);
    }
}

/* An executor of two jobs whose clock runs on: it brings the second DONE after the time at which
 * the first one, held back, was due. */
struct slow {
    struct exec base;
    int32_t n;
};

static int slow_next(struct exec *x, const struct event *due, struct event *out, struct err *e)
{
    static const int64_t time_ns[] = {100, 5000};
    struct slow *s = (struct slow *)x;
    (void)e;
    *out = *due;
    if (s->n < 2) {
        *out = (struct event){.kind = EV_DONE, .request = -1, .time_ns = time_ns[s->n]};
        out->done.id = ++s->n;
    }
    return ERR_OK;
}

static int slow_act(struct exec *x, const struct action *a, struct err *e)
{
    (void)x, (void)a, (void)e;
    return ERR_OK;
}

static void slow_destroy(struct exec *x)
{
    (void)x;
}

static void overdue_jobs_keep_their_order(void)
{
    static const struct exec_ops ops = {
        .name = "slow", .next = slow_next, .act = slow_act, .destroy = slow_destroy};
    for (uint64_t seed = 1; seed <= 32; seed++) {
        struct slow slow = {.base = {&ops}};
        struct fault_plan plan = {.seed = seed, .delay = 500, .delay_ns = 1000};
        struct event due = {.request = -1}, out;
        struct err e = {0};
        struct exec *x;
        if (!CHECK_EQ(fault_create(&slow.base, &plan, &x, &e), ERR_OK))
            return;
        for (int64_t id = 1; id <= 2; id++) {
            struct action a = {.kind = ACT_SUBMIT, .job = {.kind = JOB_FREE, .id = id}};
            CHECK_EQ(x->ops->act(x, &a, &e), ERR_OK);
        }
        for (int64_t id = 1; id <= 2; id++) {
            CHECK_EQ(x->ops->next(x, &due, &out, &e), ERR_OK);
            CHECK_EQ(out.done.id, id);
        }
        x->ops->destroy(x);
    }
}

/* DONEs that came before one which ended earlier, in the log. */
static int inversions(void)
{
    struct log_reader *r;
    struct log_record at = {0};
    int n = 0;
    int64_t last_ns = 0;
    if (!CHECK_EQ(log_open(path, &r, NULL), ERR_OK))
        return -1;
    while (at.type != LOG_TRAILER && CHECK_EQ(log_next(r, &at, NULL), ERR_OK))
        if (at.type == LOG_EVENT && at.event.kind == EV_DONE) {
            n += at.event.done.end_ns < last_ns;
            last_ns = at.event.done.end_ns;
        }
    log_close_reader(r);
    return n;
}

static void reorder_reorders(void)
{
    for (int i = 0; i < 2; i++) {
        struct play *p = play_create("autoregressive", "", 2, 12);
        p->setup.policy = &policy_interleave;
        p->setup.n_drafters = 1;
        p->setup.drafter[0] = (struct run_drafter){.type = &drafter_count};
        p->setup.max_requests = 2;
        p->request[0].arrival_ns = p->request[1].arrival_ns = 0;
        p->request[1].n = 150;
        p->plan.reorder = i ? 1000 : 0;
        if (CHECK_EQ(play(p, true), ERR_OK))
            CHECK(i ? inversions() > 3 : inversions() == 0);
        else
            printf("  %s\n", p->e.msg);
        play_destroy(p);
    }
}

/* On threads: policies that keep several roles busy. */
static void faults_on_threads_end(void)
{
    static const struct policy_type *const policy[] = {&policy_switching, &policy_interleave,
                                                       &policy_cancel};
    static const struct {
        struct fault_plan plan;
        bool may_work;
        int code;
    } cases[] = {
        {{.seed = 1, .fail = 300}, false, 0},
        {{.seed = 1, .drop = 300}, false, ERR_STALLED},
        {{.seed = 1, .delay = 300, .delay_ns = 300000}, true, ERR_OK},
        {{.seed = 1, .reorder = 300}, true, 0},
        {{.seed = 1, .reorder = 1000}, true, 0},
        {{.seed = 2, .delay = 100, .delay_ns = 100000, .reorder = 100}, true, 0},
    };
    for (int a = 0; a < 3; a++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct play *plain = toy_create_play(policy[a], 2);
            struct play *p = toy_create_play(policy[a], 2);
            plain->setup.max_requests = p->setup.max_requests = 2;
            p->plan = cases[i].plan;
            CHECK_EQ(play(plain, false), ERR_OK);
            int rc = play(p, false);
            bool worked = !rc && same_texts(&plain->result, &p->result);
            bool named = rc && p->e.msg[0] && (!cases[i].code || rc == cases[i].code);
            if (cases[i].plan.drop)
                CHECK_HAS(p->e.msg, "dropped by the fault plan; request ");
            if (!CHECK(cases[i].may_work ? worked : named))
                printf("  %s, case %zu: %s %s\n", policy[a]->name, i, err_text(rc), p->e.msg);
            play_destroy(plain);
            play_destroy(p);
        }
}

/* Events that come out of order may break a policy, but time is not to blame. */
static void reorder_does_not_turn_time_back(void)
{
    static const char *const policy[] = {"autoregressive", "speculative:width=8 max_draft=7"};
    for (int i = 0; i < 40; i++) {
        struct play *p = toy_create_play(&policy_interleave, 2);
        struct run_setup *s = &p->setup;
        s->max_requests = 2;
        if (i % 4 >= 2 && !CHECK(world_setup(s, policy[i % 2], i % 2 ? "suffix" : "")))
            continue;
        s->n_vocab = toy.n_vocab;
        p->plan = (struct fault_plan){.seed = (uint64_t)i + 1, .reorder = i % 3 ? 300 : 1000};
        int rc = play(p, false);
        CHECK(rc != ERR_DEVICE || !strstr(p->e.msg, "time ran back"));
        if (rc)
            CHECK(p->e.msg[0] != 0);
        play_destroy(p);
    }
}

static void bad_plans_are_refused(void)
{
    static const struct fault_plan bad[] = {
        {.fail = 600, .drop = 401}, {.drop = -1}, {.delay = 1, .delay_ns = -1}, {.reorder = 1001}};
    struct play *p = play_create("autoregressive", "", 1, 3);
    for (int i = 0; i < 4; i++) {
        p->plan = bad[i];
        CHECK_EQ(play(p, false), ERR_RANGE);
        CHECK_HAS(p->e.msg, "at most 1000 together");
    }
    play_destroy(p);
}

static const struct unit_test tests[] = {
    {"simulated_runs_play_back", simulated_runs_play_back},
    {"runs_on_threads_play_back", runs_on_threads_play_back},
    {"shipped_policies_on_threads_play_back", shipped_policies_on_threads_play_back},
    {"the_trailer_has_the_run_s_hash", the_trailer_has_the_run_s_hash},
    {"the_same_run_twice_gives_the_same_bytes", the_same_run_twice_gives_the_same_bytes},
    {"replay_notices_every_change", replay_notices_every_change},
    {"what_the_log_has_more_is_noticed", what_the_log_has_more_is_noticed},
    {"another_set_up_differs_readably", another_set_up_differs_readably},
    {"a_drafter_that_answers_differently_is_caught", a_drafter_that_answers_differently_is_caught},
    {"only_whole_runs_are_kept", only_whole_runs_are_kept},
    {"faults_end_in_a_named_error_or_the_right_text",
     faults_end_in_a_named_error_or_the_right_text},
    {"a_policy_that_does_nothing_is_named", a_policy_that_does_nothing_is_named},
    {"delays_add_up", delays_add_up},
    {"delayed_runs_play_back", delayed_runs_play_back},
    {"late_jobs_keep_their_order", late_jobs_keep_their_order},
    {"overdue_jobs_keep_their_order", overdue_jobs_keep_their_order},
    {"reorder_reorders", reorder_reorders},
    {"faults_on_threads_end", faults_on_threads_end},
    {"reorder_does_not_turn_time_back", reorder_does_not_turn_time_back},
    {"bad_plans_are_refused", bad_plans_are_refused},
    {NULL, NULL},
};

UNIT_MAIN("replay", tests)
