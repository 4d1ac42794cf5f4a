#include "sim/exec/threads.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim/exec/drafting.h"
#include "sim/exec/jobs.h"
#include "sim/exec/pin.h"
#include "sim/exec/pool.h"

struct threads;

struct role {
    struct threads *x;
    const char *name;
    int32_t cpu;
    bool created;
    int up; /* 0: starting; 1: serving; -1: could not be pinned */
    int pin_errno;
    bool busy;
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
    const char *const *role_name; /* NULL-terminated */
    struct timespec t0;
    /* The driver's thread alone. */
    bool started;
    struct job_record *delivered; /* whose arrays the driver may be reading; NULL: none */
    int64_t returned_ns, last_id;
    char failure[EXEC_MAX_WHY + 128];
    struct arena arena;
    /* Under the lock, except that a RUNNING record's times and outputs are its worker's. */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool lock_made, ended_made, quit;
    struct pool pool;
    int32_t n_open;                /* of the jobs in flight, not ended */
    struct job_record *first_done; /* linked by their ends */
    int64_t progress_ns; /* the last job's end, or the first submission when none was open */
};

/* ---- time ----------------------------------------------------------------------------------- */

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

/* ---- queues, all under the lock ------------------------------------------------------------- */

static void wake_roles(struct threads *x)
{
    for (int32_t i = 0; i < x->n_roles; i++)
        if (!x->role[i].busy && pool_ready(&x->pool, i))
            pthread_cond_signal(&x->role[i].ready);
}

/* Completions are delivered by their end; equal ends in the order in which they came here. */
static void end_one(struct threads *x, struct job_record *r)
{
    pool_end(&x->pool, r);
    x->n_open--;
    if (r->end_ns > x->progress_ns)
        x->progress_ns = r->end_ns;
    struct job_record **at = &x->first_done;
    while (*at && (*at)->end_ns <= r->end_ns)
        at = &(*at)->next;
    r->next = *at;
    *at = r;
}

static void end_unstarted(struct threads *x, struct job_record *r, int64_t at_ns)
{
    pool_withdraw(&x->pool, r);
    r->start_ns = r->end_ns = at_ns;
    r->done.status = DONE_CANCELLED;
    end_one(x, r);
}

static struct job_record *first_doomed(const struct threads *x)
{
    for (int32_t i = 0; i < x->pool.n_flight; i++)
        if (x->pool.flight[i]->state == JOB_WAITING && x->pool.flight[i]->doomed)
            return x->pool.flight[i];
    return NULL;
}

/* After a job ended: those that cannot run any more end too, then everybody concerned wakes. */
static void settle(struct threads *x, int64_t at_ns)
{
    for (struct job_record *r; (r = first_doomed(x));)
        end_unstarted(x, r, at_ns);
    wake_roles(x);
    pthread_cond_signal(&x->ended);
}

/* ---- workers -------------------------------------------------------------------------------- */

static void run_job(struct threads *x, struct job_record *r)
{
    struct done *d = &r->done;
    if (pool_drafts(&r->job)) {
        int rc = drafting_run(x->drafting, &r->job, &d->tree, &d->work);
        if (rc)
            pool_fail(r, DONE_FAILED, "the drafter refused it: %s", err_text(rc));
        return;
    }
    struct engine_out out = {.choice = r->choice, .top = r->top, .logit = r->logit};
    x->engine->ops->run(x->engine, &r->job, &out);
    d->sample_ns = out.sample_ns;
    d->bytes = out.bytes;
    d->resident_bytes = out.resident_bytes;
    d->n_choice = out.n_choice;
    d->k = out.k;
    if (out.status != DONE_OK)
        pool_fail(r, (enum done_status)out.status, "%s",
                  out.message[0] ? out.message : "the engine gave no reason");
}

static void *work(void *arg)
{
    struct role *role = arg;
    struct threads *x = role->x;
    int index = (int)(role - x->role);
    int rc = role->cpu >= 0 ? pin_thread(role->cpu) : 0;
    pthread_mutex_lock(&x->lock);
    role->pin_errno = rc;
    role->up = rc ? -1 : 1;
    pthread_cond_signal(&x->ended);
    while (!x->quit) {
        struct job_record *r = pool_ready(&x->pool, index);
        if (!r) {
            pthread_cond_wait(&role->ready, &x->lock);
            continue;
        }
        pool_start(&x->pool, r);
        role->busy = true;
        bool refused = pool_rival(&x->pool, r);
        pthread_mutex_unlock(&x->lock);
        r->start_ns = clock_ns(x);
        if (!refused)
            run_job(x, r);
        r->end_ns = clock_ns(x);
        pthread_mutex_lock(&x->lock);
        role->busy = false;
        end_one(x, r);
        settle(x, r->end_ns);
    }
    pthread_mutex_unlock(&x->lock);
    return NULL;
}

/* ---- what stands still ---------------------------------------------------------------------- */

/* Under the lock. */
static int stalled(struct threads *x, int64_t now_ns, struct err *e)
{
    char who[480];
    pool_describe(&x->pool, x->role_name, who, sizeof who);
    return err_set(e, ERR_STALLED, "%s: no job ended for %" PRId64 " ns with %d open; %s%s%s",
                   x->ops.name, now_ns - x->progress_ns, x->n_open, who,
                   x->failure[0] ? "; the last failure: " : "", x->failure);
}

/* ---- the executor --------------------------------------------------------------------------- */

static void threads_caps(const struct exec *exec, struct exec_caps *out)
{
    *out = ((const struct threads *)exec)->caps;
}

static void deliver(struct threads *x, int64_t now_ns, struct event *out)
{
    struct job_record *r = x->first_done;
    x->first_done = r->next;
    x->delivered = r;
    pool_deliver(&x->pool, r);
    *out = (struct event){.time_ns = now_ns, .kind = EV_DONE, .request = r->job.request};
    struct done *d = &out->done;
    pool_done(r, d);
    if (*d->why)
        snprintf(x->failure, sizeof x->failure, "job %" PRId64 " (%s on %s): %s", d->id,
                 job_kind_name(d->job_kind), x->role_name[r->job.role], d->why);
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
    if (x->delivered)
        pool_release(&x->pool, x->delivered);
    x->delivered = NULL;
    for (;;) {
        now_ns = clock_ns(x);
        if (x->first_done && x->first_done->end_ns <= due_ns) {
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
        if (!x->pool.n_flight && due_ns == EXEC_NEVER) {
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
        rc = drafting_open(x->drafting, out->request, out->arrive.n, e);
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
    struct job_record *r;
    rc = pool_submit(&x->pool, job, &r);
    if (!rc) {
        x->last_id = job->id;
        if (!x->n_open++)
            x->progress_ns = clock_ns(x);
        if (r->doomed)
            settle(x, clock_ns(x));
        else
            wake_roles(x);
    }
    pthread_mutex_unlock(&x->lock);
    if (rc)
        return err_set(e, rc,
                       "job %" PRId64 " (%s): %d jobs are in flight, the most that %s "
                       "takes: wait for one to end",
                       job->id, job_kind_name(job->kind), x->caps.max_jobs, x->ops.name);
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
    struct job_record *r = pool_find(&x->pool, id);
    if (r && r->state == JOB_WAITING) {
        int64_t now_ns = clock_ns(x);
        end_unstarted(x, r, now_ns);
        settle(x, now_ns);
    }
    pthread_mutex_unlock(&x->lock);
    return ERR_OK;
}

static int finish(struct threads *x, int32_t request, struct err *e)
{
    int64_t id = 0;
    pthread_mutex_lock(&x->lock);
    for (int32_t i = 0; i < x->pool.n_flight; i++)
        if (x->pool.flight[i]->job.request == request)
            id = x->pool.flight[i]->job.id;
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
    case ACT_EMIT:
        drafting_emit(x->drafting, a->emit.request, a->emit.token, a->emit.n);
        return ERR_OK;
    case ACT_FINISH:
        return finish(x, a->request, e);
    default:
        return ERR_OK; /* WAKE is the driver's */
    }
}

static int64_t threads_host(struct exec *exec, const struct host_work *host)
{
    struct threads *x = (struct threads *)exec;
    (void)host;
    start(x);
    int64_t from_ns = x->returned_ns;
    /* A shim may deliver an event of its own next: its time begins here. */
    x->returned_ns = clock_ns(x);
    return x->returned_ns - from_ns;
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
    arena_fini(&x->arena);
    free(x);
}

/* ---- creation ------------------------------------------------------------------------------- */

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
    x->role_name = name;
    int rc = pool_init(&x->pool, &x->arena, &x->caps, e);
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
    arena_init(&x->arena);
    engine->ops->caps(engine, &x->caps);
    int rc = set_up(x, setup, e);
    if (rc) {
        threads_destroy(&x->exec);
        return rc;
    }
    *out = &x->exec;
    return ERR_OK;
}
