#include <stdlib.h>
#include <string.h>

#include "sim/exec/log.h"
#include "sim/exec/shims.h"

struct record {
    struct exec base;
    struct exec *inner;
    struct log_writer *log; /* NULL: finished */
    int64_t n_arrived, n_finished, n_flight;
    bool answered; /* the policy answered the last event */
    bool failed;   /* the inner executor or the log did */
};

static void record_caps(const struct exec *x, struct exec_caps *out)
{
    const struct record *r = (const struct record *)x;
    r->inner->ops->caps(r->inner, out);
}

static int kept(struct record *r, int rc, struct err *e)
{
    r->failed = r->failed || rc;
    return rc ? log_error(r->log, e) : ERR_OK;
}

static int record_next(struct exec *x, const struct event *due, struct event *out, struct err *e)
{
    struct record *r = (struct record *)x;
    int rc = r->inner->ops->next(r->inner, due, out, e);
    if (rc) {
        r->failed = true;
        return rc;
    }
    r->answered = false;
    r->n_arrived += out->kind == EV_ARRIVE;
    r->n_flight -= out->kind == EV_DONE;
    return kept(r, log_event(r->log, out, out->kind == EV_DONE ? out->time_ns : due->time_ns), e);
}

static int record_act(struct exec *x, const struct action *action, struct err *e)
{
    struct record *r = (struct record *)x;
    r->n_finished += action->kind == ACT_FINISH;
    r->n_flight += action->kind == ACT_SUBMIT;
    int rc = kept(r, log_action(r->log, action), e);
    if (rc)
        return rc;
    rc = r->inner->ops->act(r->inner, action, e);
    r->failed = r->failed || rc;
    return rc;
}

static int64_t record_host(struct exec *x, const struct host_work *work)
{
    struct record *r = (struct record *)x;
    int64_t host_ns = r->inner->ops->host(r->inner, work);
    r->answered = true;
    /* The writer keeps its first error and returns it with the next record. */
    r->failed = log_host(r->log, host_ns, work) || r->failed;
    return host_ns;
}

int record_finish(struct exec *x, struct err *e)
{
    struct record *r = (struct record *)x;
    bool whole =
        !r->failed && r->answered && r->n_arrived && r->n_arrived == r->n_finished && !r->n_flight;
    int rc = log_close(r->log, whole, e);
    r->log = NULL;
    if (!rc && !whole)
        return err_set(e, ERR_CANCELLED, "the log was not kept: the run did not come to its end");
    return rc;
}

static void record_destroy(struct exec *x)
{
    struct record *r = (struct record *)x;
    if (r->log)
        record_finish(x, NULL);
    r->inner->ops->destroy(r->inner);
    free(r);
}

static const struct exec_ops record_ops = {
    .name = "record",
    .caps = record_caps,
    .next = record_next,
    .act = record_act,
    .host = record_host,
    .destroy = record_destroy,
};

int record_create(struct exec *inner, const struct run_setup *setup, const char *path,
                  struct exec **out, struct err *e)
{
    struct record *r = calloc(1, sizeof *r);
    struct exec_caps caps;
    inner->ops->caps(inner, &caps);
    int rc = r ? log_create(path, inner->ops->name, setup, &caps, &r->log, e)
               : err_set(e, ERR_NOMEM, "out of memory to record a run");
    if (rc) {
        inner->ops->destroy(inner);
        free(r);
        return rc;
    }
    r->base.ops = &record_ops;
    r->inner = inner;
    *out = &r->base;
    return ERR_OK;
}
