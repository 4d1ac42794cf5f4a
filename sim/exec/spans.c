#include "sim/exec/spans.h"

#include <inttypes.h>

#include "sim/exec/jobs.h"

static bool loads(const struct span *s)
{
    return s->kind == JOB_LOAD || s->kind == JOB_FREE;
}

static bool ended_well(const struct span *s)
{
    return s->end_ns >= 0 && s->status == DONE_OK;
}

/* ---- the shim ------------------------------------------------------------------------------- */

static void caps(const struct exec *x, struct exec_caps *out)
{
    const struct spans *s = (const struct spans *)x;
    s->inner->ops->caps(s->inner, out);
}

static void take_done(struct spans *s, const struct done *done)
{
    for (int32_t i = s->n_over; i < s->n; i++)
        if (s->span[i].id == done->id) {
            s->span[i].start_ns = done->start_ns;
            s->span[i].end_ns = done->end_ns;
            s->span[i].status = done->status;
        }
    while (s->n_over < s->n && s->span[s->n_over].end_ns >= 0)
        s->n_over++;
}

static int next(struct exec *x, const struct event *due, struct event *out, struct err *e)
{
    struct spans *s = (struct spans *)x;
    int rc = s->inner->ops->next(s->inner, due, out, e);
    if (!rc && out->kind == EV_DONE)
        take_done(s, &out->done);
    return rc;
}

static int act(struct exec *x, const struct action *a, struct err *e)
{
    struct spans *s = (struct spans *)x;
    const struct job *j = &a->job;
    const struct job_forward *f = &j->forward;
    struct span v = {.end_ns = -1, .request = j->request, .kind = j->kind, .phase = j->phase};
    if (a->kind == ACT_SUBMIT) {
        v.id = j->id;
        switch (j->kind) {
        case JOB_FORWARD:
            v.graph = f->graph;
            v.b0 = f->b0;
            v.b1 = f->b1;
            break;
        case JOB_LOAD:
        case JOB_FREE:
            v.graph = j->graph.graph;
            v.b0 = j->graph.block;
            v.b1 = j->graph.block + 1;
            break;
        case JOB_HEAD:
            break;
        default:
            v.id = 0;
            break;
        }
        if (v.id && s->n == s->cap)
            return err_set(e, ERR_LIMIT, "more than %" PRId32 " computations and loads in a run",
                           s->cap);
        if (v.id)
            s->span[s->n++] = v;
    }
    return s->inner->ops->act(s->inner, a, e);
}

static int64_t host(struct exec *x, const struct host_work *work)
{
    struct spans *s = (struct spans *)x;
    return s->inner->ops->host(s->inner, work);
}

static void destroy(struct exec *x)
{
    (void)x;
}

void spans_init(struct spans *s, struct exec *inner, struct span *span, int32_t cap)
{
    static const struct exec_ops ops = {"spans", caps, next, act, host, destroy};
    *s = (struct spans){.exec.ops = &ops, .inner = inner, .cap = cap, .span = span};
}

/* ---- what is said about them ---------------------------------------------------------------- */

static bool overlap(const struct span *a, const struct span *b)
{
    return a->start_ns < b->end_ns && b->start_ns < a->end_ns;
}

/* A block's LOAD is in the way of its computation on any graph, its FREE on that graph alone. */
static bool collide(const struct span *a, const struct span *b)
{
    bool frees = a->kind == JOB_FREE || b->kind == JOB_FREE;
    return a->b0 < b->b1 && b->b0 < a->b1 && (!frees || a->graph == b->graph);
}

static int broken(const struct span *a, const struct span *b, const char *rule, struct err *e)
{
    return err_set(e, ERR_POLICY,
                   "job %" PRId64 " (%s of graph %" PRId32 ", blocks %" PRId32 " to %" PRId32
                   ", %" PRId64 " to %" PRId64 " ns) and job %" PRId64 " (%s of graph %" PRId32
                   ", blocks %" PRId32 " to %" PRId32 ", %" PRId64 " to %" PRId64 " ns): %s",
                   a->id, job_kind_name(a->kind), a->graph, a->b0, a->b1 - 1, a->start_ns,
                   a->end_ns, b->id, job_kind_name(b->kind), b->graph, b->b0, b->b1 - 1,
                   b->start_ns, b->end_ns, rule);
}

static int check_pair(const struct span *a, const struct span *b, struct err *e)
{
    if (loads(a) && a->kind == JOB_LOAD && b->kind == JOB_LOAD && a->request == b->request &&
        a->request >= 0 && a->graph == b->graph && a->b0 == b->b0)
        return broken(a, b, "a request loads a block of a graph once", e);
    if (!overlap(a, b))
        return ERR_OK;
    if (loads(a) && loads(b))
        return broken(a, b, "two switches overlap", e);
    if (!loads(a) && !loads(b))
        return broken(a, b, "two computations overlap", e);
    return collide(a, b) ? broken(a, b, "a block is switched while it computes", e) : ERR_OK;
}

int spans_check(const struct spans *s, struct err *e)
{
    for (int32_t i = 0; i < s->n; i++)
        for (int32_t k = 0; k < i && ended_well(&s->span[i]); k++) {
            const struct span *a = &s->span[k], *b = &s->span[i];
            int rc = ended_well(a) ? check_pair(a, b, e) : ERR_OK;
            if (rc)
                return rc;
        }
    return ERR_OK;
}

void spans_times(const struct spans *s, int32_t request, struct spans_times *out)
{
    int64_t busy_ns = 0, last_ns = -1;
    *out = (struct spans_times){-1, -1, -1, -1, 0};
    for (int32_t i = 0; i < s->n; i++) {
        const struct span *v = &s->span[i];
        if (v->request != request || !ended_well(v))
            continue;
        if (v->phase != PHASE_PREFILL) {
            if (!loads(v) && out->decode_ns < 0)
                out->decode_ns = v->start_ns;
            continue;
        }
        if (out->begin_ns < 0 || v->start_ns < out->begin_ns)
            out->begin_ns = v->start_ns;
        if (v->kind == JOB_FORWARD) {
            out->prefill_ns = v->end_ns;
            busy_ns += v->end_ns - v->start_ns;
        } else if (loads(v)) {
            last_ns = v->end_ns > last_ns ? v->end_ns : last_ns;
        }
    }
    out->switch_ns = last_ns < 0 ? out->prefill_ns : last_ns;
    if (out->prefill_ns >= 0)
        out->stall_ns = out->prefill_ns - out->begin_ns - busy_ns;
}
