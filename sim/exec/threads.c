#include "sim/exec/threads.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim/exec/drafting.h"
#include "sim/exec/jobs.h"
#include "sim/exec/pin.h"

enum { NIL = -1 };

/* A job in the pool. It stays ENDED until `next` delivers it, and DELIVERED, because its arrays are
 * the driver's to read, until the `next` after that. */
enum flight_state { FLIGHT_FREE, FLIGHT_QUEUED, FLIGHT_RUNNING, FLIGHT_ENDED, FLIGHT_DELIVERED };

struct flight {
    struct job job; /* its arrays are in words and floats */
    uint8_t state;
    bool doomed;               /* a job that it waits for did not end well */
    int32_t n_pending;         /* jobs that it still waits for ... */
    int32_t on[EXEC_MAX_WAIT]; /* ... and where they are; NIL: ended */
    int32_t next;              /* in its role's queue, the completions or the free ones */
    int64_t start_ns, end_ns;
    struct engine_out out;
    struct draft_tree tree;
    struct draft_work work;
    int32_t *words;
    float *floats;
};

struct threads;

struct role {
    struct threads *x;
    const char *name;
    int32_t cpu;
    bool created;
    int up; /* 0: starting; 1: serving; -1: could not be pinned */
    int pin_errno;
    int32_t head, tail, running; /* NIL: none */
    pthread_t thread;
    pthread_cond_t ready; /* its head may have become ready */
};

struct threads {
    struct exec exec; /* must be first */
    struct exec_ops ops;
    struct engine *engine;
    struct exec_caps caps;
    struct threads_options options;
    struct drafting *drafting;
    int32_t n_roles, n_drafters;
    struct role role[EXEC_MAX_ROLES];
    struct timespec t0;
    /* The driver's thread alone. */
    bool started;
    int32_t delivered; /* whose arrays the driver may be reading; NIL: none */
    int64_t returned_ns, last_id;
    char failure[320];
    /* Under the lock, except that a RUNNING flight's times and outputs are its worker's. */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool lock_made, ended_made, quit;
    int32_t n_flight;            /* submitted and not delivered ... */
    int32_t n_open;              /* ... of these, not ended */
    int32_t n_pool, high, empty; /* flights; those used so far; the first free one */
    int32_t first_done;
    int64_t progress_ns; /* the last job's end, or the first submission when none was open */
    struct flight *flight;
    int32_t *words, *choice, *top, *node;
    float *floats, *logit;
};

/* ---- time -------------------------------------------------------------------------------------
 */

static int64_t clock_ns(const struct threads *x)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)(t.tv_sec - x->t0.tv_sec) * 1000000000 + (t.tv_nsec - x->t0.tv_nsec);
}

/* The run starts with the driver's first call. */
static void start(struct threads *x)
{
    if (x->started)
        return;
    x->started = true;
    clock_gettime(CLOCK_MONOTONIC, &x->t0);
}

static int64_t add_ns(int64_t a, int64_t b)
{
    return b > EXEC_NEVER - a ? EXEC_NEVER : a + b;
}

static void wait_until(struct threads *x, int64_t at_ns)
{
    if (at_ns == EXEC_NEVER) {
        pthread_cond_wait(&x->ended, &x->lock);
        return;
    }
    int64_t ns = x->t0.tv_nsec + at_ns % 1000000000;
    struct timespec t = {.tv_sec = x->t0.tv_sec + (time_t)(at_ns / 1000000000 + ns / 1000000000),
                         .tv_nsec = (long)(ns % 1000000000)};
    pthread_cond_timedwait(&x->ended, &x->lock, &t);
}

/* ---- queues, all under the lock --------------------------------------------------------------
 */

static bool ready(const struct threads *x, const struct role *r)
{
    return r->head != NIL && x->flight[r->head].n_pending == 0;
}

static void wake_roles(struct threads *x)
{
    for (int32_t i = 0; i < x->n_roles; i++)
        if (x->role[i].running == NIL && ready(x, &x->role[i]))
            pthread_cond_signal(&x->role[i].ready);
}

static void unlink_flight(struct threads *x, int32_t i)
{
    struct role *r = &x->role[x->flight[i].job.role];
    int32_t before = NIL;
    for (int32_t at = r->head; at != i; at = x->flight[at].next)
        before = at;
    if (before == NIL)
        r->head = x->flight[i].next;
    else
        x->flight[before].next = x->flight[i].next;
    if (r->tail == i)
        r->tail = before;
}

/* Completions are delivered by their end; equal ends in the order in which they came here. */
static void add_completion(struct threads *x, int32_t i)
{
    int32_t *at = &x->first_done;
    while (*at != NIL && x->flight[*at].end_ns <= x->flight[i].end_ns)
        at = &x->flight[*at].next;
    x->flight[i].next = *at;
    *at = i;
}

static void end_one(struct threads *x, int32_t i)
{
    struct flight *f = &x->flight[i];
    f->state = FLIGHT_ENDED;
    x->n_open--;
    add_completion(x, i);
    if (f->end_ns > x->progress_ns)
        x->progress_ns = f->end_ns;
    for (int32_t j = 0; j < x->high; j++) {
        struct flight *g = &x->flight[j];
        for (int32_t k = 0; g->state == FLIGHT_QUEUED && k < g->job.n_wait; k++)
            if (g->on[k] == i) {
                g->on[k] = NIL;
                g->n_pending--;
                g->doomed = g->doomed || f->out.status != DONE_OK;
            }
    }
}

static void end_unstarted(struct threads *x, int32_t i, int64_t at_ns)
{
    struct flight *f = &x->flight[i];
    unlink_flight(x, i);
    f->start_ns = f->end_ns = at_ns;
    f->out.status = DONE_CANCELLED;
    end_one(x, i);
}

static int32_t first_doomed(const struct threads *x)
{
    int32_t best = NIL;
    for (int32_t i = 0; i < x->high; i++)
        if (x->flight[i].state == FLIGHT_QUEUED && x->flight[i].doomed &&
            (best == NIL || x->flight[i].job.id < x->flight[best].job.id))
            best = i;
    return best;
}

/* After a flight ended: those that cannot run any more end too, then everybody concerned wakes. */
static void settle(struct threads *x, int64_t at_ns)
{
    for (int32_t i; (i = first_doomed(x)) != NIL;)
        end_unstarted(x, i, at_ns);
    wake_roles(x);
    pthread_cond_signal(&x->ended);
}

/* The flight of a job that is submitted and not delivered, or NIL. */
static int32_t find(const struct threads *x, int64_t id)
{
    for (int32_t i = 0; i < x->high; i++) {
        uint8_t state = x->flight[i].state;
        if (x->flight[i].job.id == id && state != FLIGHT_FREE && state != FLIGHT_DELIVERED)
            return i;
    }
    return NIL;
}

/* ---- workers ----------------------------------------------------------------------------------
 */

static int32_t drafter_of(const struct job *j)
{
    return j->kind == JOB_DRAFT ? j->draft.drafter : j->calibrate.drafter;
}

static bool drafts(const struct job *j)
{
    return j->kind == JOB_DRAFT || j->kind == JOB_CALIBRATE;
}

/* A running job that uses the same drafter of the same request: two at once would be a race inside
 * the drafter, and a policy that should have let one wait for the other. */
static int32_t rival(const struct threads *x, const struct flight *f)
{
    for (int32_t r = 0; drafts(&f->job) && r < x->n_roles; r++) {
        int32_t i = x->role[r].running;
        if (i == NIL || &x->flight[i] == f)
            continue;
        const struct job *j = &x->flight[i].job;
        if (drafts(j) && j->request == f->job.request && drafter_of(j) == drafter_of(&f->job))
            return i;
    }
    return NIL;
}

static void run_drafter(struct threads *x, struct flight *f)
{
    int rc = drafting_run(x->drafting, &f->job, &f->tree, &f->work);
    if (rc) {
        f->out.status = DONE_FAILED;
        snprintf(f->out.message, sizeof f->out.message, "the drafter refused it: %s", err_text(rc));
    }
}

static void *work(void *arg)
{
    struct role *r = arg;
    struct threads *x = r->x;
    int rc = r->cpu >= 0 ? pin_thread(r->cpu) : 0;
    pthread_mutex_lock(&x->lock);
    r->pin_errno = rc;
    r->up = rc ? -1 : 1;
    pthread_cond_signal(&x->ended);
    while (!x->quit) {
        if (!ready(x, r)) {
            pthread_cond_wait(&r->ready, &x->lock);
            continue;
        }
        int32_t i = r->head;
        struct flight *f = &x->flight[i];
        unlink_flight(x, i);
        f->state = FLIGHT_RUNNING;
        r->running = i;
        int32_t other = rival(x, f);
        int64_t other_id = other == NIL ? 0 : x->flight[other].job.id;
        pthread_mutex_unlock(&x->lock);
        f->start_ns = clock_ns(x);
        if (other_id) {
            f->out.status = DONE_FAILED;
            snprintf(f->out.message, sizeof f->out.message,
                     "job %" PRId64 " uses the same drafter of the same request at the same time: "
                     "let one wait for the other",
                     other_id);
        } else if (drafts(&f->job)) {
            run_drafter(x, f);
        } else {
            x->engine->ops->run(x->engine, &f->job, &f->out);
        }
        f->end_ns = clock_ns(x);
        pthread_mutex_lock(&x->lock);
        r->running = NIL;
        end_one(x, i);
        settle(x, f->end_ns);
    }
    pthread_mutex_unlock(&x->lock);
    return NULL;
}

/* ---- what stands still ------------------------------------------------------------------------
 */

__attribute__((format(printf, 3, 4))) static void append(char *buf, size_t size, const char *fmt,
                                                         ...)
{
    size_t used = strlen(buf);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf + used, size - used, fmt, ap);
    va_end(ap);
}

static void describe(const struct threads *x, const struct flight *f, char *buf, size_t size)
{
    const struct role *r = &x->role[f->job.role];
    append(buf, size, "; job %" PRId64 " (%s on %s)", f->job.id, job_kind_name(f->job.kind),
           r->name);
    if (f->state == FLIGHT_RUNNING) {
        append(buf, size, " is running");
        return;
    }
    const char *join = " waits for";
    for (int32_t k = 0; k < f->job.n_wait; k++)
        if (f->on[k] != NIL) {
            const struct job *on = &x->flight[f->on[k]].job;
            append(buf, size, "%s job %" PRId64 " (%s on %s)", join, on->id,
                   job_kind_name(on->kind), x->role[on->role].name);
            join = " and";
        }
    if (r->running != NIL)
        append(buf, size, "%s job %" PRId64 " before it", join, x->flight[r->running].job.id);
    else if (&x->flight[r->head] != f)
        append(buf, size, "%s job %" PRId64 " before it", join, x->flight[r->head].job.id);
}

/* Under the lock. Flights by increasing id. */
static int stalled(const struct threads *x, int64_t now_ns, struct err *e)
{
    char who[640] = "";
    int64_t last = 0;
    for (;;) {
        const struct flight *next = NULL;
        for (int32_t i = 0; i < x->high; i++) {
            const struct flight *f = &x->flight[i];
            bool waits = f->state == FLIGHT_QUEUED || f->state == FLIGHT_RUNNING;
            if (waits && f->job.id > last && (!next || f->job.id < next->job.id))
                next = f;
        }
        if (!next)
            break;
        describe(x, next, who, sizeof who);
        last = next->job.id;
    }
    return err_set(e, ERR_STALLED, "%s: no job ended for %" PRId64 " ns with %d open%s%s%s",
                   x->ops.name, now_ns - x->progress_ns, x->n_open, who,
                   x->failure[0] ? "; the last failure: " : "", x->failure);
}

/* ---- the executor -----------------------------------------------------------------------------
 */

static void threads_caps(const struct exec *exec, struct exec_caps *out)
{
    *out = ((const struct threads *)exec)->caps;
}

static void deliver(struct threads *x, int64_t now_ns, struct event *out)
{
    int32_t i = x->first_done;
    struct flight *f = &x->flight[i];
    x->first_done = f->next;
    x->n_flight--;
    f->state = FLIGHT_DELIVERED;
    x->delivered = i;
    *out = (struct event){.time_ns = now_ns, .kind = EV_DONE, .request = f->job.request};
    struct done *d = &out->done;
    d->id = f->job.id;
    d->job_kind = f->job.kind;
    d->status = f->out.status;
    d->start_ns = f->start_ns;
    d->end_ns = f->end_ns;
    d->resident_bytes = f->out.resident_bytes;
    if (d->status == DONE_OK) {
        d->sample_ns = f->out.sample_ns;
        d->bytes = f->out.bytes;
        d->n_choice = f->out.n_choice;
        d->choice = f->out.choice;
        d->k = f->out.k;
        d->top = f->out.k ? f->out.top : NULL;
        d->logit = f->out.k ? f->out.logit : NULL;
        d->tree = f->tree;
        d->work = f->work;
    } else if (d->status != DONE_CANCELLED) {
        snprintf(x->failure, sizeof x->failure, "job %" PRId64 " (%s on %s): %s", d->id,
                 job_kind_name(d->job_kind), x->role[f->job.role].name,
                 f->out.message[0] ? f->out.message : "the engine gave no reason");
    }
}

static int threads_next(struct exec *exec, const struct event *due, struct event *out,
                        struct err *e)
{
    struct threads *x = (struct threads *)exec;
    start(x);
    int64_t due_ns = due && due->kind ? due->time_ns : EXEC_NEVER;
    int64_t now_ns;
    int rc = ERR_OK;
    pthread_mutex_lock(&x->lock);
    if (x->delivered != NIL) {
        struct flight *f = &x->flight[x->delivered];
        f->state = FLIGHT_FREE;
        f->next = x->empty;
        x->empty = x->delivered;
        x->delivered = NIL;
    }
    for (;;) {
        now_ns = clock_ns(x);
        if (x->first_done != NIL && x->flight[x->first_done].end_ns <= due_ns) {
            deliver(x, now_ns, out);
            break;
        }
        if (now_ns >= due_ns) {
            *out = *due;
            out->time_ns = now_ns;
            break;
        }
        int64_t limit_ns = x->n_open ? add_ns(x->progress_ns, x->options.stall_ns) : EXEC_NEVER;
        if (now_ns >= limit_ns) {
            rc = stalled(x, now_ns, e);
            break;
        }
        if (!x->n_flight && due_ns == EXEC_NEVER) {
            rc = err_set(e, ERR_STALLED,
                         "%s: nothing can happen any more: no job is in flight, no event is due, "
                         "and the policy waits%s%s",
                         x->ops.name, x->failure[0] ? "; the last failure: " : "", x->failure);
            break;
        }
        wait_until(x, due_ns < limit_ns ? due_ns : limit_ns);
    }
    pthread_mutex_unlock(&x->lock);
    x->returned_ns = now_ns;
    if (!rc && out->kind == EV_ARRIVE)
        rc = drafting_open(x->drafting, out->request, e);
    return rc;
}

static int submit(struct threads *x, const struct job *job, struct err *e)
{
    int rc = job_check(&x->caps, x->n_roles, x->n_drafters, job, e);
    if (rc)
        return rc;
    if (job->id <= x->last_id)
        return err_set(e, ERR_POLICY, "job %" PRId64 " (%s): ids increase, the last was %" PRId64,
                       job->id, job_kind_name(job->kind), x->last_id);
    pthread_mutex_lock(&x->lock);
    if (x->n_flight == x->caps.max_jobs) {
        pthread_mutex_unlock(&x->lock);
        return err_set(e, ERR_LIMIT,
                       "job %" PRId64 " (%s): %d jobs are in flight, the most that %s "
                       "takes: wait for one to end",
                       job->id, job_kind_name(job->kind), x->caps.max_jobs, x->ops.name);
    }
    x->last_id = job->id;
    x->n_flight++;
    if (!x->n_open++)
        x->progress_ns = clock_ns(x);
    int32_t i = x->empty;
    struct flight *f = &x->flight[i];
    x->empty = f->next;
    if (i >= x->high)
        x->high = i + 1;
    job_copy(&f->job, job, f->words, f->floats);
    struct engine_out *o = &f->out;
    *o = (struct engine_out){.choice = o->choice, .top = o->top, .logit = o->logit};
    f->tree.n = 0;
    f->work = (struct draft_work){0};
    f->doomed = false;
    f->n_pending = 0;
    for (int32_t k = 0; k < job->n_wait; k++) {
        int32_t on = find(x, job->wait[k]);
        bool over = on != NIL && x->flight[on].state == FLIGHT_ENDED;
        f->doomed = f->doomed || (over && x->flight[on].out.status != DONE_OK);
        f->on[k] = over ? NIL : on;
        f->n_pending += f->on[k] != NIL;
    }
    f->state = FLIGHT_QUEUED;
    f->next = NIL;
    struct role *r = &x->role[job->role];
    if (r->head == NIL)
        r->head = i;
    else
        x->flight[r->tail].next = i;
    r->tail = i;
    if (f->doomed)
        settle(x, clock_ns(x));
    else
        wake_roles(x);
    pthread_mutex_unlock(&x->lock);
    return ERR_OK;
}

static int cancel(struct threads *x, int64_t id, struct err *e)
{
    if (id < 1 || id > x->last_id)
        return err_set(e, ERR_POLICY,
                       "CANCEL of job %" PRId64
                       ", which was never submitted: the last was %" PRId64,
                       id, x->last_id);
    pthread_mutex_lock(&x->lock);
    int32_t i = find(x, id);
    if (i != NIL && x->flight[i].state == FLIGHT_QUEUED) {
        int64_t now_ns = clock_ns(x);
        end_unstarted(x, i, now_ns);
        settle(x, now_ns);
    }
    pthread_mutex_unlock(&x->lock);
    return ERR_OK;
}

static int finish(struct threads *x, int32_t request, struct err *e)
{
    int64_t id = 0;
    pthread_mutex_lock(&x->lock);
    for (int32_t i = 0; i < x->high; i++) {
        const struct flight *f = &x->flight[i];
        bool in_flight = f->state != FLIGHT_FREE && f->state != FLIGHT_DELIVERED;
        if (in_flight && f->job.request == request)
            id = f->job.id;
    }
    pthread_mutex_unlock(&x->lock);
    if (id)
        return err_set(e, ERR_POLICY,
                       "request %d was finished while its job %" PRId64 " is in flight", request,
                       id);
    drafting_close(x->drafting, request);
    return ERR_OK;
}

static int threads_act(struct exec *exec, const struct action *a, struct err *e)
{
    struct threads *x = (struct threads *)exec;
    start(x);
    switch (a->kind) {
    case ACT_SUBMIT:
        return submit(x, &a->job, e);
    case ACT_CANCEL:
        return cancel(x, a->id, e);
    case ACT_FINISH:
        return finish(x, a->request, e);
    default:
        return ERR_OK; /* WAKE and EMIT are the driver's */
    }
}

static int64_t threads_host(struct exec *exec, const struct host_work *host)
{
    struct threads *x = (struct threads *)exec;
    (void)host;
    start(x);
    return clock_ns(x) - x->returned_ns;
}

static void threads_destroy(struct exec *exec)
{
    struct threads *x = (struct threads *)exec;
    if (x->lock_made) {
        pthread_mutex_lock(&x->lock);
        x->quit = true;
        for (int32_t i = 0; i < x->n_roles; i++)
            if (x->role[i].created)
                pthread_cond_signal(&x->role[i].ready);
        pthread_mutex_unlock(&x->lock);
    }
    for (int32_t i = 0; i < x->n_roles; i++)
        if (x->role[i].created)
            pthread_join(x->role[i].thread, NULL);
    /* Only now: a worker that ends its last job still signals the others. */
    for (int32_t i = 0; i < x->n_roles; i++)
        if (x->role[i].created)
            pthread_cond_destroy(&x->role[i].ready);
    if (x->ended_made)
        pthread_cond_destroy(&x->ended);
    if (x->lock_made)
        pthread_mutex_destroy(&x->lock);
    drafting_destroy(x->drafting);
    free(x->flight);
    free(x->words);
    free(x->choice);
    free(x->top);
    free(x->node);
    free(x->floats);
    free(x->logit);
    free(x);
}

/* ---- creation ---------------------------------------------------------------------------------
 */

static void *table(size_t n, size_t each, size_t size, bool *whole)
{
    size_t count = n * each;
    void *p = calloc(count ? count : 1, size);
    *whole = *whole && p;
    return p;
}

/* One flight more than may be in flight: the delivered one keeps its arrays while its successor is
 * submitted. */
static int make_pool(struct threads *x, struct err *e)
{
    const struct exec_caps *c = &x->caps;
    size_t n = (size_t)c->max_jobs + 1, rows = (size_t)c->max_rows;
    size_t words = job_words(c), floats = job_floats(c);
    bool whole = true;
    x->n_pool = (int32_t)n;
    x->flight = table(n, 1, sizeof *x->flight, &whole);
    x->words = table(n, words, sizeof *x->words, &whole);
    x->floats = table(n, floats, sizeof *x->floats, &whole);
    x->choice = table(n, rows, sizeof *x->choice, &whole);
    x->node = table(n, 2 * rows, sizeof *x->node, &whole);
    x->top = table(n, floats, sizeof *x->top, &whole);
    x->logit = table(n, floats, sizeof *x->logit, &whole);
    if (!whole)
        return err_set(e, ERR_NOMEM, "out of memory for %d jobs of %d rows and %d tokens",
                       c->max_jobs, c->max_rows, c->max_ctx);
    for (size_t i = 0; i < n; i++) {
        struct flight *f = &x->flight[i];
        f->words = x->words + i * words;
        f->floats = x->floats + i * floats;
        f->out.choice = x->choice + i * rows;
        f->out.top = x->top + i * floats;
        f->out.logit = x->logit + i * floats;
        f->tree.token = x->node + i * 2 * rows;
        f->tree.parent = f->tree.token + rows;
        f->next = i + 1 < n ? (int32_t)i + 1 : NIL;
    }
    return ERR_OK;
}

static bool monotonic_cond(pthread_cond_t *c)
{
    pthread_condattr_t a;
    if (pthread_condattr_init(&a))
        return false;
    bool made = !pthread_condattr_setclock(&a, CLOCK_MONOTONIC) && !pthread_cond_init(c, &a);
    pthread_condattr_destroy(&a);
    return made;
}

static int start_worker(struct threads *x, struct role *r, struct err *e)
{
    if (pthread_cond_init(&r->ready, NULL))
        return err_set(e, ERR_NOMEM, "out of memory for the worker of role %s", r->name);
    int rc = pthread_create(&r->thread, NULL, work, r);
    if (rc) {
        pthread_cond_destroy(&r->ready);
        return err_set(e, ERR_DEVICE, "no thread for role %s: %s", r->name, strerror(rc));
    }
    r->created = true;
    pthread_mutex_lock(&x->lock);
    while (!r->up)
        pthread_cond_wait(&x->ended, &x->lock);
    rc = r->pin_errno;
    pthread_mutex_unlock(&x->lock);
    if (rc)
        return err_set(e, ERR_DEVICE,
                       "role %s cannot be pinned to core %d: %s; name another core, or none",
                       r->name, r->cpu, strerror(rc));
    return ERR_OK;
}

static int set_up(struct threads *x, const struct run_setup *setup, struct err *e)
{
    const char *const *name = setup->policy->role;
    int32_t n = 0;
    while (name[n])
        n++;
    if (n < 1 || n > EXEC_MAX_ROLES)
        return err_set(e, ERR_LIMIT, "policy %s has %d roles, expected 1 to %d",
                       setup->policy->name, n, EXEC_MAX_ROLES);
    x->n_roles = n;
    int rc = make_pool(x, e);
    if (!rc)
        rc = drafting_create(setup, x->caps.max_ctx, x->caps.max_rows, &x->drafting, e);
    if (rc)
        return rc;
    x->lock_made = !pthread_mutex_init(&x->lock, NULL);
    x->ended_made = x->lock_made && monotonic_cond(&x->ended);
    if (!x->ended_made)
        return err_set(e, ERR_NOMEM, "out of memory for the workers' lock");
    for (int32_t i = 0; i < x->n_roles && !rc; i++) {
        struct role *r = &x->role[i];
        *r = (struct role){.x = x, .name = name[i], .cpu = x->options.cpu[i]};
        r->head = r->tail = r->running = NIL;
        rc = start_worker(x, r, e);
    }
    return rc;
}

int threads_create(struct engine *engine, const struct run_setup *setup,
                   const struct threads_options *options, struct exec **out, struct err *e)
{
    struct threads *x = calloc(1, sizeof *x);
    if (!x)
        return err_set(e, ERR_NOMEM, "out of memory for executor %s", options->name);
    x->ops = (struct exec_ops){.name = options->name,
                               .caps = threads_caps,
                               .next = threads_next,
                               .act = threads_act,
                               .host = threads_host,
                               .destroy = threads_destroy};
    x->exec.ops = &x->ops;
    x->engine = engine;
    x->options = *options;
    x->n_drafters = setup->n_drafters;
    x->delivered = x->first_done = NIL;
    engine->ops->caps(engine, &x->caps);
    int rc = set_up(x, setup, e);
    if (rc) {
        threads_destroy(&x->exec);
        return rc;
    }
    *out = &x->exec;
    return ERR_OK;
}

const char *threads_failure(const struct exec *exec)
{
    return ((const struct threads *)exec)->failure;
}
