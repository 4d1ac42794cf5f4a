#include "tests/runs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/exec/shims.h"
#include "tests/scratch.h"
#include "tests/unit.h"
#include "tests/world.h"

/* ---- a shim that watches an executor ------------------------------------------------------- */

enum { MAX_JOBS = 1 << 14 };

struct seen {
    uint8_t kind, role, n_wait, status;
    bool submitted, delivered;
    int64_t wait[EXEC_MAX_WAIT];
    int64_t end_ns;
    int32_t n_choice, max_nodes;
};

struct law {
    struct exec exec; /* must be first */
    struct exec *inner;
    struct exec_caps caps;
    int32_t n_vocab;
    int64_t last_ns, last[EXEC_MAX_ROLES], free_ns[EXEC_MAX_ROLES];
    int64_t n_done, n_broken;
    struct seen job[MAX_JOBS];
};

static void broken(struct law *l, int64_t id, const char *law)
{
    if (!l->n_broken++)
        printf("job %" PRId64 ": %s\n", id, law);
}

#define LAW(condition, id)                                                                         \
    do {                                                                                           \
        if (!(condition))                                                                          \
            broken(l, (id), #condition);                                                           \
    } while (0)

static void law_caps(const struct exec *x, struct exec_caps *out)
{
    const struct law *l = (const struct law *)x;
    l->inner->ops->caps(l->inner, out);
}

static void check_outputs(struct law *l, const struct seen *s, const struct done *d)
{
    LAW(d->n_choice == (d->status == DONE_OK ? s->n_choice : 0), d->id);
    LAW((d->choice != NULL) == (d->n_choice > 0), d->id);
    for (int32_t i = 0; i < d->n_choice; i++)
        LAW(d->choice[i] >= -1 && d->choice[i] < l->n_vocab, d->id);
    LAW(d->tree.n >= 0 && d->tree.n <= s->max_nodes, d->id);
    for (int32_t i = 0; i < d->tree.n; i++)
        LAW(d->tree.parent[i] >= -1 && d->tree.parent[i] < i && d->tree.token[i] >= 0 &&
                d->tree.token[i] < l->n_vocab,
            d->id);
    LAW((d->why && *d->why) == (d->status == DONE_FAILED || d->status == DONE_NO_MEMORY), d->id);
}

/* Jobs of a role first in, first out, each once what it waits for has ended well. */
static void check_order(struct law *l, const struct seen *s, const struct done *d)
{
    LAW(d->start_ns >= 0 && d->start_ns <= d->end_ns, d->id);
    if (d->status == DONE_CANCELLED)
        LAW(d->start_ns == d->end_ns, d->id);
    if (d->status != DONE_OK)
        return;
    LAW(d->id > l->last[s->role] && d->start_ns >= l->free_ns[s->role], d->id);
    l->last[s->role] = d->id;
    l->free_ns[s->role] = d->end_ns;
    for (uint8_t k = 0; k < s->n_wait; k++) {
        const struct seen *w = &l->job[s->wait[k]];
        LAW(!w->submitted || (w->delivered && w->end_ns <= d->start_ns), d->id);
    }
}

static int law_next(struct exec *x, const struct event *due, struct event *out, struct err *e)
{
    struct law *l = (struct law *)x;
    int rc = l->inner->ops->next(l->inner, due, out, e);
    if (rc)
        return rc;
    LAW(out->time_ns >= l->last_ns, 0);
    l->last_ns = out->time_ns;
    if (out->kind != EV_DONE) {
        LAW(out->kind == due->kind && out->request == due->request, 0);
        LAW(out->time_ns >= due->time_ns, 0);
        return ERR_OK;
    }
    const struct done *d = &out->done;
    struct seen *s = &l->job[d->id > 0 && d->id < MAX_JOBS ? d->id : 0];
    LAW(s->submitted && !s->delivered && d->job_kind == s->kind, d->id);
    LAW(d->end_ns <= out->time_ns, d->id);
    check_order(l, s, d);
    check_outputs(l, s, d);
    s->delivered = true;
    s->status = d->status;
    s->end_ns = d->end_ns;
    l->n_done++;
    return ERR_OK;
}

static int law_act(struct exec *x, const struct action *a, struct err *e)
{
    struct law *l = (struct law *)x;
    const struct job *j = &a->job;
    if (a->kind == ACT_SUBMIT && j->id > 0 && j->id < MAX_JOBS) {
        struct seen *s = &l->job[j->id];
        *s =
            (struct seen){.kind = j->kind, .role = j->role, .n_wait = j->n_wait, .submitted = true};
        memcpy(s->wait, j->wait, sizeof s->wait);
        const struct job_forward *f = &j->forward;
        bool ends = j->kind == JOB_HEAD ||
                    (j->kind == JOB_FORWARD && f->b1 == l->caps.blocks && f->slot_out < 0);
        s->n_choice = ends && f->want != WANT_NONE ? f->n - f->want_from : 0;
        s->max_nodes = j->kind == JOB_DRAFT ? j->draft.max_nodes : 0;
    }
    return l->inner->ops->act(l->inner, a, e);
}

static int64_t law_host(struct exec *x, const struct host_work *work)
{
    struct law *l = (struct law *)x;
    int64_t ns = l->inner->ops->host(l->inner, work);
    LAW(ns >= 0, 0);
    return ns;
}

static void law_destroy(struct exec *x)
{
    (void)x;
}

static const struct exec_ops law_ops = {"law", law_caps, law_next, law_act, law_host, law_destroy};

/* ---- runs ----------------------------------------------------------------------------------- */

static const struct {
    const char *policy, *drafter;
} cases[] = {
    {"autoregressive:chunk=20", ""},
    {"speculative:max_draft=3", "lookup"},
    {"speculative:max_draft=7", "suffix"},
    {"speculative:width=8 max_draft=7", "lookup:branches=3"},
    {"speculative:max_draft=7 calibrate=1 reuse=1", "aligned"},
    {"switching:k=2", ""},
};

enum { BARE, RECORDED, FAULTLESS, REPLAYED, WAYS };

static const char *const way_name[] = {"bare", "recorded", "without faults", "replayed"};

struct go {
    struct arena arena;
    struct run_result result;
};

static int open_way(const struct runs *r, const struct run_setup *setup, int way, const char *log,
                    struct exec **x, struct err *e)
{
    static const struct fault_plan none = {.seed = 1};
    if (way == REPLAYED)
        return replay_create(log, setup, x, e);
    int rc = r->make(setup, x, e);
    if (!rc && way == RECORDED)
        rc = record_create(*x, setup, log, x, e);
    if (!rc && way == FAULTLESS)
        rc = fault_create(*x, &none, x, e);
    return rc;
}

static int go(const struct runs *r, const struct run_setup *setup, int way, const char *log,
              struct go *g, struct err *e)
{
    struct exec *x;
    arena_init(&g->arena);
    int rc = open_way(r, setup, way, log, &x, e);
    if (rc)
        return rc;
    struct law *l = calloc(1, sizeof *l);
    l->exec.ops = &law_ops;
    l->inner = x;
    l->n_vocab = setup->n_vocab;
    x->ops->caps(x, &l->caps);
    rc = driver_run(setup, &l->exec, r->request, r->n, &g->arena, &g->result, e);
    if (!rc && way == RECORDED)
        rc = record_finish(x, e);
    if (!rc && way == REPLAYED)
        rc = replay_finish(x, e);
    if (!rc && (l->n_broken || !l->n_done))
        rc = err_set(e, ERR_DEVICE, "%" PRId64 " of %" PRId64 " events break a law", l->n_broken,
                     l->n_done);
    x->ops->destroy(x);
    if (way != REPLAYED && r->unmake)
        r->unmake();
    free(l);
    return rc;
}

static bool same_texts(const struct runs *r, const struct run_result *a, const struct run_result *b)
{
    bool same = a->n_requests == r->n && b->n_requests == r->n;
    for (int32_t i = 0; same && i < r->n; i++)
        same = a->request[i].n_output > 0 && a->request[i].n_output == b->request[i].n_output &&
               !memcmp(a->request[i].output, b->request[i].output,
                       (size_t)a->request[i].n_output * sizeof(int32_t));
    return same;
}

void runs_are_lawful(const struct runs *r)
{
    char log[256];
    int32_t n_ran = 0;
    scratch_path(log, sizeof log, "runs.log");
    struct go first = {0};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        uint64_t recorded = 0;
        for (int way = 0; way < WAYS; way++) {
            struct run_setup setup;
            struct err e = {0};
            struct go again = {0}, *g = n_ran ? &again : &first;
            CHECK(world_setup(&setup, cases[c].policy, cases[c].drafter));
            setup.n_vocab = r->n_vocab;
            setup.n_eos = r->n_eos;
            memcpy(setup.eos, r->eos, sizeof setup.eos);
            int rc = go(r, &setup, way, log, g, &e);
            if (rc == ERR_UNSUPPORTED && way == BARE) { /* what this executor cannot do */
                arena_fini(&g->arena);
                break;
            }
            if (!CHECK_EQ(rc, ERR_OK))
                printf("%s, %s %s, %s: %s\n", r->name, cases[c].policy, cases[c].drafter,
                       way_name[way], e.msg);
            else
                CHECK(same_texts(r, &first.result, &g->result));
            if (way == RECORDED)
                recorded = g->result.actions_hash;
            CHECK(way != REPLAYED || g->result.actions_hash == recorded);
            n_ran++;
            if (g == &again)
                arena_fini(&again.arena);
        }
        remove(log);
    }
    CHECK(n_ran >= 5 * WAYS); /* graphs alone may be what it has not */
    arena_fini(&first.arena);
}
