/* What the world may do to jobs, between any executor and the driver. A DONE that is held is kept
 * as the bytes that a log would hold. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/base/hash.h"
#include "sim/exec/jobs.h"
#include "sim/exec/log_code.h"
#include "sim/exec/shims.h"

enum state { RUNNING, HELD, DROPPED };

/* A job that the driver believes in flight. */
struct watched {
    int64_t id;
    int32_t request;
    uint8_t kind, role, n_wait;
    enum state state;
    int64_t wait[EXEC_MAX_WAIT];
    int64_t release_ns; /* HELD: delivered then; EXEC_NEVER: after another DONE */
    bool ready;         /* HELD: now */
    struct log_bytes bytes;
};

struct fault {
    struct exec base;
    struct exec *inner;
    struct fault_plan plan;
    struct watched *job; /* those that are held in the order of their ends, running ones anywhere */
    int32_t n, cap;
    int32_t n_running;
    int64_t now_ns;
    int32_t *pool; /* arrays of the last DONE that was held */
};

static struct watched *find(struct fault *f, int64_t id)
{
    for (int32_t i = 0; i < f->n; i++)
        if (f->job[i].id == id)
            return &f->job[i];
    return NULL;
}

static void forget(struct fault *f, struct watched *w)
{
    log_bytes_fini(&w->bytes);
    f->n--;
    memmove(w, w + 1, (size_t)(f->job + f->n - w) * sizeof *w);
}

/* ---- the draw ------------------------------------------------------------------------------- */

enum fate { FINE, FAIL, DROP, DELAY, REORDER };

static enum fate draw(const struct fault *f, const struct watched *w)
{
    const struct fault_plan *p = &f->plan;
    uint64_t u = rng_u64(p->seed, RNG_FAULT, (uint64_t)w->request, (uint64_t)w->id);
    int32_t at = (int32_t)(rng_unit(u) * 1000);
    const int32_t share[] = {p->fail, p->drop, p->delay, p->reorder};
    for (int i = 0; i < 4; i++) {
        if (at < share[i])
            return (enum fate)(FAIL + i);
        at -= share[i];
    }
    return FINE;
}

/* ---- holding -------------------------------------------------------------------------------- */

/* Whether w comes after one that is held back: of its role, or one it waited for. No executor ends
 * these in another order, and policies may rely on that. */
static bool comes_after(const struct watched *w, const struct watched *held)
{
    bool after = held->role == w->role;
    for (int j = 0; j < w->n_wait; j++)
        after = after || w->wait[j] == held->id;
    return held->state == HELD && after;
}

/* Until when those that it comes after are held back in time. */
static int64_t behind_ns(const struct fault *f, const struct watched *w)
{
    int64_t release_ns = INT64_MIN;
    for (int32_t i = 0; i < f->n; i++) {
        const struct watched *h = &f->job[i];
        if (h->release_ns != EXEC_NEVER && comes_after(w, h) && h->release_ns > release_ns)
            release_ns = h->release_ns;
    }
    return release_ns;
}

/* Whether a DONE is held back until another passes it; with w, whether one that w comes after is.
 */
static bool any_passed(const struct fault *f, const struct watched *w)
{
    for (int32_t i = 0; i < f->n; i++) {
        const struct watched *h = &f->job[i];
        if (h->state == HELD && h->release_ns == EXEC_NEVER && (!w || comes_after(w, h)))
            return true;
    }
    return false;
}

static void make_ready(struct fault *f)
{
    for (int32_t i = 0; i < f->n; i++)
        if (f->job[i].state == HELD && f->job[i].release_ns == EXEC_NEVER)
            f->job[i].ready = true;
}

static int hold(struct fault *f, struct watched *w, const struct event *ev, int64_t release_ns,
                struct err *e)
{
    log_put_event(&w->bytes, ev, ev->time_ns, 0);
    if (w->bytes.code)
        return err_set(e, w->bytes.code, "out of memory for an injected fault");
    w->state = HELD;
    w->release_ns = release_ns;
    /* Behind all others: the order of the array is the order of ends. */
    struct watched last = *w;
    memmove(w, w + 1, (size_t)(f->job + f->n - w - 1) * sizeof *w);
    f->job[f->n - 1] = last;
    return ERR_OK;
}

static int release(struct fault *f, struct watched *w, int64_t time_ns, struct event *out,
                   struct err *e)
{
    int32_t *pool = realloc(f->pool, (w->bytes.n + 1) * sizeof *pool);
    if (!pool)
        return err_set(e, ERR_NOMEM, "out of memory for an injected fault");
    f->pool = pool;
    struct log_cursor c = {.at = w->bytes.at, .end = w->bytes.at + w->bytes.n, .pool = pool};
    int64_t due_ns;
    log_get_event(&c, 0, out, &due_ns);
    if (out->time_ns < time_ns)
        out->time_ns = time_ns;
    forget(f, w);
    f->now_ns = out->time_ns;
    return ERR_OK;
}

/* One whose turn is now. When nothing runs, no other DONE can come before those that wait for it.
 */
static struct watched *find_ready(struct fault *f)
{
    for (int32_t i = 0; i < f->n; i++) {
        struct watched *w = &f->job[i];
        if (w->state == HELD && (w->ready || (w->release_ns == EXEC_NEVER && !f->n_running)))
            return w;
    }
    return NULL;
}

static struct watched *find_delayed(struct fault *f)
{
    struct watched *first = NULL;
    for (int32_t i = 0; i < f->n; i++) {
        struct watched *w = &f->job[i];
        if (w->state == HELD && w->release_ns != EXEC_NEVER &&
            (!first || w->release_ns < first->release_ns))
            first = w;
    }
    return first;
}

/* ---- the executor --------------------------------------------------------------------------- */

static void fault_caps(const struct exec *x, struct exec_caps *out)
{
    const struct fault *f = (const struct fault *)x;
    f->inner->ops->caps(f->inner, out);
}

static void spoil(struct event *ev)
{
    struct done *d = &ev->done;
    d->status = DONE_FAILED;
    d->why = "an injected fault";
    d->choice = d->top = NULL;
    d->logit = NULL;
    d->n_choice = d->k = d->tree.n = 0;
    d->work = (struct draft_work){0};
}

/* Decides about a DONE of the inner executor. *mine: it is not to be delivered now. */
static int take_done(struct fault *f, struct event *ev, bool *mine, struct err *e)
{
    struct watched *w = find(f, ev->done.id);
    *mine = false;
    if (!w) /* the driver knows what to say about it */
        return ERR_OK;
    f->n_running--;
    enum fate fate = draw(f, w);
    int64_t behind = behind_ns(f, w);
    if (fate == FAIL)
        spoil(ev);
    if (fate == DROP) {
        w->state = DROPPED;
        *mine = true;
        return ERR_OK;
    }
    int64_t at_ns = ev->time_ns;
    if (fate == DELAY)
        at_ns =
            at_ns > EXEC_NEVER - 1 - f->plan.delay_ns ? EXEC_NEVER - 1 : at_ns + f->plan.delay_ns;
    /* Also when that one's time has passed: a clock that runs on may bring this DONE first. */
    bool late = fate == DELAY || behind > INT64_MIN, after_one = any_passed(f, w);
    if (late) {
        *mine = true;
        if (after_one)
            make_ready(f);
        return hold(f, w, ev, behind > at_ns ? behind : at_ns, e);
    }
    if (after_one || (fate == REORDER && f->n_running && !any_passed(f, NULL))) {
        *mine = true;
        return hold(f, w, ev, EXEC_NEVER, e);
    }
    forget(f, w);
    make_ready(f);
    return ERR_OK;
}

/* Names the jobs whose DONE was dropped. What the inner executor says matters only when it has jobs
 * of its own that cannot end. */
static int stalled(const struct fault *f, const struct err *inner, struct err *e)
{
    char list[400] = "";
    size_t at = 0;
    int32_t n = 0;
    for (int32_t i = 0; i < f->n; i++) {
        const struct watched *w = &f->job[i];
        if (w->state != DROPPED || at + 64 > sizeof list)
            continue;
        at += (size_t)snprintf(list + at, sizeof list - at, "%s job %" PRId64 " (%s",
                               n++ ? "," : "", w->id, job_kind_name(w->kind));
        if (w->request >= 0)
            at += (size_t)snprintf(list + at, sizeof list - at, " of request %" PRId32, w->request);
        at += (size_t)snprintf(list + at, sizeof list - at, ")");
    }
    bool more = f->n_running && inner->msg[0];
    return err_set(e, ERR_STALLED,
                   "nothing can happen any more at %" PRId64 " ns: the end of%s was dropped by the "
                   "fault plan%s%.200s",
                   f->now_ns, list, more ? "; " : "", more ? inner->msg : "");
}

static bool any_dropped(const struct fault *f)
{
    for (int32_t i = 0; i < f->n; i++)
        if (f->job[i].state == DROPPED)
            return true;
    return false;
}

static int fault_next(struct exec *x, const struct event *due, struct event *out, struct err *e)
{
    struct fault *f = (struct fault *)x;
    for (;;) {
        struct watched *w = find_ready(f);
        if (w)
            return release(f, w, f->now_ns, out, e);
        /* At equal times a DONE comes first. */
        w = find_delayed(f);
        if (w && due->kind && due->time_ns < w->release_ns)
            w = NULL;
        struct event own = {.kind = EV_WAKE, .request = -1};
        own.time_ns = w && w->release_ns > f->now_ns ? w->release_ns : f->now_ns;
        struct err inner = {0};
        int64_t id = w ? w->id : 0;
        int rc = f->inner->ops->next(f->inner, w ? &own : due, out, &inner);
        if (rc == ERR_STALLED && any_dropped(f))
            return stalled(f, &inner, e);
        if (rc)
            return err_set(e, rc, "%s", inner.msg);
        f->now_ns = out->time_ns;
        if (out->kind != EV_DONE)
            return id ? release(f, find(f, id), out->time_ns, out, e) : ERR_OK;
        bool mine;
        rc = take_done(f, out, &mine, e);
        if (rc || !mine)
            return rc;
    }
}

static int64_t fault_host(struct exec *x, const struct host_work *work)
{
    struct fault *f = (struct fault *)x;
    int64_t host_ns = f->inner->ops->host(f->inner, work);
    f->now_ns += host_ns;
    return host_ns;
}

static int watch(struct fault *f, const struct job *job, struct err *e)
{
    if (f->n == f->cap) {
        int32_t cap = f->cap ? 2 * f->cap : 32;
        struct watched *more = realloc(f->job, (size_t)cap * sizeof *more);
        if (!more)
            return err_set(e, ERR_NOMEM, "out of memory for an injected fault");
        f->job = more;
        f->cap = cap;
    }
    struct watched *w = &f->job[f->n++];
    *w = (struct watched){.id = job->id,
                          .request = job->request,
                          .kind = job->kind,
                          .role = job->role,
                          .n_wait = job->n_wait};
    memcpy(w->wait, job->wait, sizeof w->wait);
    f->n_running++;
    return ERR_OK;
}

static int fault_act(struct exec *x, const struct action *action, struct err *e)
{
    struct fault *f = (struct fault *)x;
    if (action->kind == ACT_CANCEL) {
        /* The inner executor has forgotten a job whose DONE it gave. */
        const struct watched *w = find(f, action->id);
        if (!w || w->state != RUNNING)
            return ERR_OK;
    }
    int rc = action->kind == ACT_SUBMIT ? watch(f, &action->job, e) : ERR_OK;
    return rc ? rc : f->inner->ops->act(f->inner, action, e);
}

static void fault_destroy(struct exec *x)
{
    struct fault *f = (struct fault *)x;
    f->inner->ops->destroy(f->inner);
    while (f->n)
        forget(f, &f->job[f->n - 1]);
    free(f->job);
    free(f->pool);
    free(f);
}

static const struct exec_ops fault_ops = {
    .name = "fault",
    .caps = fault_caps,
    .next = fault_next,
    .act = fault_act,
    .host = fault_host,
    .destroy = fault_destroy,
};

int fault_create(struct exec *inner, const struct fault_plan *plan, struct exec **out,
                 struct err *e)
{
    const struct fault_plan *p = plan;
    int64_t sum = (int64_t)p->fail + p->drop + p->delay + p->reorder;
    struct fault *f = NULL;
    int rc = ERR_OK;
    if (p->fail < 0 || p->drop < 0 || p->delay < 0 || p->reorder < 0 || sum > 1000 ||
        p->delay_ns < 0)
        rc = err_set(e, ERR_RANGE,
                     "a fault plan of fail %" PRId32 ", drop %" PRId32 ", delay %" PRId32
                     " by %" PRId64 " ns, reorder %" PRId32
                     ": expected parts per thousand, at most 1000 together, and a delay of at "
                     "least 0",
                     p->fail, p->drop, p->delay, p->delay_ns, p->reorder);
    else if (!(f = calloc(1, sizeof *f)))
        rc = err_set(e, ERR_NOMEM, "out of memory for an injected fault");
    if (rc) {
        inner->ops->destroy(inner);
        return rc;
    }
    f->base.ops = &fault_ops;
    f->inner = inner;
    f->plan = *plan;
    *out = &f->base;
    return ERR_OK;
}
