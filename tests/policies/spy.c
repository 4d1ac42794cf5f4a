#include "tests/policies/spy.h"

#include <assert.h>
#include <stdio.h>

#include "sim/exec/jobs.h"

static void caps(const struct exec *x, struct exec_caps *out)
{
    const struct spy *s = (const struct spy *)x;
    s->inner->ops->caps(s->inner, out);
}

static int next(struct exec *x, const struct event *due, struct event *out, struct err *e)
{
    struct spy *s = (struct spy *)x;
    int rc = s->inner->ops->next(s->inner, due, out, e);
    if (rc)
        return rc;
    s->n_events++;
    for (int32_t i = 0; out->kind == EV_DONE && i < s->n; i++)
        if (s->job[i].job.id == out->done.id) {
            struct spied *j = &s->job[i];
            j->n_done++;
            j->done_at = s->n_events;
            j->status = out->done.status;
            j->start_ns = out->done.start_ns;
            j->end_ns = out->done.end_ns;
            j->resident_bytes = out->done.resident_bytes;
        }
    return ERR_OK;
}

static int act(struct exec *x, const struct action *a, struct err *e)
{
    struct spy *s = (struct spy *)x;
    if (a->kind == ACT_SUBMIT) {
        assert(s->n < SPY_MAX);
        struct spied *j = &s->job[s->n++];
        *j = (struct spied){.job = a->job, .submitted_at = s->n_events};
        if (a->job.kind == JOB_FORWARD || a->job.kind == JOB_HEAD)
            j->job.forward.token = j->job.forward.parent = NULL;
        else if (a->job.kind == JOB_DRAFT)
            j->job.draft.token = NULL;
        else if (a->job.kind == JOB_COMMIT)
            j->job.commit.row = NULL;
    }
    return s->inner->ops->act(s->inner, a, e);
}

static int64_t host(struct exec *x, const struct host_work *work)
{
    struct spy *s = (struct spy *)x;
    return s->inner->ops->host(s->inner, work);
}

static void destroy(struct exec *x)
{
    (void)x;
}

void spy_init(struct spy *s, struct exec *inner)
{
    static const struct exec_ops ops = {"spy", caps, next, act, host, destroy};
    s->exec.ops = &ops;
    s->inner = inner;
    s->n = s->n_events = 0;
}

const char *spy_text(const struct spy *s, int32_t i, char *buf, size_t size)
{
    const struct job *j = &s->job[i].job;
    const char *kind = job_kind_name(j->kind);
    const struct job_forward *f = &j->forward;
    switch (j->kind) {
    case JOB_FORWARD:
        snprintf(buf, size, "%s g%d b%d-%d w%d n%d pos%d slot%d>%d seq%d", kind, f->graph, f->b0,
                 f->b1, f->width, f->n, f->pos, f->slot_in, f->slot_out, f->seq);
        break;
    case JOB_HEAD:
        snprintf(buf, size, "%s n%d pos%d slot%d seq%d", kind, f->n, f->pos, f->slot_in, f->seq);
        break;
    case JOB_LOAD:
    case JOB_FREE:
        snprintf(buf, size, "%s g%d b%d", kind, j->graph.graph, j->graph.block);
        break;
    case JOB_COMMIT:
        snprintf(buf, size, "%s seq%d pos%d n%d", kind, j->commit.seq, j->commit.pos, j->commit.n);
        break;
    default:
        snprintf(buf, size, "%s", kind);
        break;
    }
    return buf;
}
