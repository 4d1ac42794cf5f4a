#include "sim/exec/driver.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sim/base/hash.h"
#include "sim/exec/cost.h"
#include "sim/exec/jobs.h"

struct flight {
    int64_t id, submit_ns;
    int32_t request;
    uint8_t kind, phase, role;
    int32_t width, n, pos;
    bool ends_step; /* a FORWARD or HEAD that ends a step */
};

/* When a job ran: of several that may not overlap, the last. */
struct ran {
    int64_t id, start_ns, end_ns;
};

struct driver {
    const struct run_setup *setup;
    struct exec *x;
    struct exec_caps caps;
    const struct request *request;
    struct run_result *out;
    struct err *e;
    struct actions actions;
    void *policy;
    struct flight *flight; /* [caps.max_jobs], in order of submission */
    int32_t n_flight, n_roles;
    int64_t last_id, now_ns, wake_ns;
    int32_t n_arrived, n_open, n_finished;
    int32_t *open;     /* [n_open] of n_requests, in order of arrival */
    bool *cancel_sent; /* [n_requests] */
    int64_t *n_chosen; /* [n_requests] tokens that the target chose, output or not */
    /* Steps. An open request has room for all that it may take; when the next one takes that over,
     * what was recorded moves to where the run's steps lie close together. */
    struct step *step; /* the end of those */
    struct step *room; /* not given to any request yet */
    int32_t most_steps, n_left;
    int32_t *left; /* [n_left] of n_requests: finished, still in their room */
    struct ran ran[EXEC_MAX_ROLES], switched;
};

static void *take(struct arena *a, int64_t count, size_t size, bool *whole)
{
    void *p = arena_alloc(a, (size_t)(count > 0 ? count : 1), size);
    *whole = *whole && p;
    return p;
}

/* Of any content: arrays that hold far more than most runs write. */
static void *take_room(struct arena *a, int64_t count, size_t size, bool *whole)
{
    void *p = arena_room(a, (size_t)(count > 0 ? count : 1), size);
    *whole = *whole && p;
    return p;
}

static int allocate(struct driver *d, struct arena *arena)
{
    bool whole = true;
    struct run_result *r = d->out;
    r->request = take(arena, r->n_requests, sizeof *r->request, &whole);
    d->open = take(arena, r->n_requests, sizeof *d->open, &whole);
    d->cancel_sent = take(arena, r->n_requests, sizeof *d->cancel_sent, &whole);
    d->n_chosen = take(arena, r->n_requests, sizeof *d->n_chosen, &whole);
    d->left = take_room(arena, r->n_requests, sizeof *d->left, &whole);
    int64_t steps = 0;
    for (int32_t i = 0; whole && i < r->n_requests; i++) {
        d->n_chosen[i] = 0;
        struct request_result *q = &r->request[i];
        *q = (struct request_result){
            .arrive_ns = -1, .first_ns = -1, .last_ns = -1, .finish_ns = -1};
        q->output = take_room(arena, d->request[i].max_tokens, sizeof *q->output, &whole);
        q->cap_steps = 2 * d->request[i].max_tokens + d->request[i].n + 64;
        steps += q->cap_steps;
        d->most_steps = q->cap_steps > d->most_steps ? q->cap_steps : d->most_steps;
    }
    int64_t rooms = r->n_requests < d->setup->max_requests ? r->n_requests : d->setup->max_requests;
    d->step = take_room(arena, steps, sizeof *d->step, &whole);
    d->room = take_room(arena, rooms * d->most_steps, sizeof *d->room, &whole);
    struct actions *a = &d->actions;
    a->cap = d->caps.max_jobs + 64;
    a->item = take_room(arena, a->cap, sizeof *a->item, &whole);
    a->pool_cap = 4 * d->caps.max_ctx + 8 * d->caps.max_rows + 1024 +
                  2 * d->caps.max_rows * d->caps.max_topk; /* a CALIBRATE's */
    a->pool = take_room(arena, a->pool_cap, sizeof *a->pool, &whole);
    d->flight = take_room(arena, d->caps.max_jobs, sizeof *d->flight, &whole);
    return whole
               ? ERR_OK
               : err_set(d->e, ERR_NOMEM, "out of memory for a run of %d requests", r->n_requests);
}

static int start_policy(struct driver *d, struct arena *arena, struct policy_env *env)
{
    const struct run_setup *s = d->setup;
    const struct policy_type *type = s->policy;
    assert(type->abi == POLICY_ABI && type->size == sizeof *type);
    int rc = exec_caps_check(&d->caps, &type->needs, type->name, d->e);
    if (rc)
        return rc;
    if ((type->flags & POLICY_NEEDS_DRAFTER) && !s->n_drafters)
        return err_set(d->e, ERR_USAGE,
                       "policy %s needs a drafter: name one, as in drafter: lookup", type->name);
    *env = (struct policy_env){.caps = d->caps,
                               .belief = &s->belief,
                               .n_vocab = s->n_vocab,
                               .n_eos = s->n_eos,
                               .n_drafters = s->n_drafters,
                               .max_requests = s->max_requests};
    memcpy(env->eos, s->eos, sizeof env->eos);
    for (int32_t i = 0; i < s->n_drafters; i++) {
        env->drafter[i] = s->drafter[i].type;
        env->drafter_param[i] = s->drafter[i].param;
    }
    d->policy = arena_alloc(arena, 1, type->mem_bytes(s->policy_param, env));
    if (!d->policy)
        return err_set(d->e, ERR_NOMEM, "out of memory for policy %s", type->name);
    return type->init(d->policy, s->policy_param, env, d->e);
}

int driver_check(const struct run_setup *setup, struct exec *x, struct err *e)
{
    struct driver d = {.setup = setup, .x = x, .e = e};
    struct policy_env env;
    struct arena arena;
    arena_init(&arena);
    x->ops->caps(x, &d.caps);
    int rc = start_policy(&d, &arena, &env);
    arena_fini(&arena);
    return rc;
}

/* ---- the driver's own events ---------------------------------------------------------------- */

/* Whether `a` is due before `b` in the total order; a kind of 0 is no event. */
static bool before(const struct event *a, const struct event *b)
{
    if (!b->kind)
        return true;
    if (a->time_ns != b->time_ns)
        return a->time_ns < b->time_ns;
    return a->kind < b->kind; /* at most one of each kind is compared: sequence is by request */
}

static void consider(struct event *due, const struct event *candidate)
{
    if (before(candidate, due))
        *due = *candidate;
}

static void next_due(const struct driver *d, struct event *due)
{
    due->time_ns = 0;
    due->kind = 0;
    due->request = -1;
    int32_t i = d->n_arrived;
    if (i < d->out->n_requests && d->n_open < d->setup->max_requests) {
        const struct request *q = &d->request[i];
        bool closed = q->arrival_ns == REQUEST_AFTER_PREVIOUS;
        if (!closed || d->n_open == 0) {
            struct event ev = {.kind = EV_ARRIVE, .request = i};
            ev.time_ns = closed || q->arrival_ns < d->now_ns ? d->now_ns : q->arrival_ns;
            ev.arrive.n = q->n;
            ev.arrive.token = q->token;
            ev.arrive.max_tokens = q->max_tokens;
            ev.arrive.arrival_ns = q->arrival_ns;
            consider(due, &ev);
        }
    }
    for (int32_t k = 0; k < d->n_open; k++) {
        int32_t r = d->open[k];
        int64_t t = d->request[r].cancel_ns;
        if (t == EXEC_NEVER || d->cancel_sent[r])
            continue;
        struct event ev = {.kind = EV_CANCEL_REQUEST, .request = r};
        ev.time_ns = t < d->now_ns ? d->now_ns : t;
        consider(due, &ev);
    }
    if (d->wake_ns != EXEC_NEVER) {
        struct event ev = {.kind = EV_WAKE, .request = -1};
        ev.time_ns = d->wake_ns < d->now_ns ? d->now_ns : d->wake_ns;
        consider(due, &ev);
    }
}

/* ---- bookkeeping of events ------------------------------------------------------------------ */

static struct flight *find_flight(struct driver *d, int64_t id)
{
    for (int32_t i = 0; i < d->n_flight; i++)
        if (d->flight[i].id == id)
            return &d->flight[i];
    return NULL;
}

static void count_parts(struct request_result *q, const struct flight *f, const struct done *done)
{
    int64_t took_ns = done->end_ns - done->start_ns;
    switch (f->kind) {
    case JOB_FORWARD:
    case JOB_HEAD:
        q->part_ns[f->phase == PHASE_PREFILL ? PART_PREFILL : PART_STEP] +=
            took_ns - done->sample_ns;
        q->part_ns[PART_SAMPLE] += done->sample_ns;
        break;
    case JOB_DRAFT:
    case JOB_CALIBRATE:
        q->part_ns[PART_DRAFT] += took_ns;
        q->work.tokens += done->work.tokens;
        q->work.probes += done->work.probes;
        q->work.nodes += done->work.nodes;
        break;
    default:
        q->part_ns[PART_OTHER] += took_ns;
        break;
    }
    for (int32_t i = 0; i < done->n_choice; i++)
        q->n_unknown += done->choice[i] < 0;
}

/* Whether a job overlaps the last of those that it may not overlap; if not it is the last from now
 * on. A shim may deliver two DONEs in the wrong order: then the later of the two stays. */
static bool overlaps(struct ran *last, const struct done *done)
{
    if (last->id && done->start_ns < last->end_ns && last->start_ns < done->end_ns)
        return true;
    if (!last->id || done->end_ns >= last->end_ns)
        *last = (struct ran){done->id, done->start_ns, done->end_ns};
    return false;
}

/* What holds of the times of every job that ended well, whoever ran it. */
static int check_times(struct driver *d, const struct flight *f, const struct done *done)
{
    const char *executor = d->x->ops->name;
    if (done->start_ns < f->submit_ns)
        return err_set(d->e, ERR_DEVICE,
                       "executor %s: job %" PRId64 " began at %" PRId64
                       " ns, before it was submitted at %" PRId64 " ns",
                       executor, f->id, done->start_ns, f->submit_ns);
    const struct ran *role = &d->ran[f->role], *switched = &d->switched;
    if (overlaps(&d->ran[f->role], done))
        return err_set(d->e, ERR_DEVICE,
                       "executor %s: jobs %" PRId64 " and %" PRId64 " of role %s overlap: %" PRId64
                       " to %" PRId64 " ns and %" PRId64 " to %" PRId64 " ns",
                       executor, role->id, f->id, d->setup->policy->role[f->role], role->start_ns,
                       role->end_ns, done->start_ns, done->end_ns);
    if ((f->kind == JOB_LOAD || f->kind == JOB_FREE) && overlaps(&d->switched, done))
        return err_set(d->e, ERR_POLICY,
                       "policy %s: two switches overlap, jobs %" PRId64 " and %" PRId64 ": %" PRId64
                       " to %" PRId64 " ns and %" PRId64 " to %" PRId64 " ns",
                       d->setup->policy->name, switched->id, f->id, switched->start_ns,
                       switched->end_ns, done->start_ns, done->end_ns);
    return ERR_OK;
}

static void open_steps(struct driver *d, struct request_result *q)
{
    if (!d->n_left) {
        q->step = d->room;
        d->room += d->most_steps;
        return;
    }
    struct request_result *was = &d->out->request[d->left[--d->n_left]];
    q->step = was->step;
    was->step = memcpy(d->step, was->step, (size_t)was->n_steps * sizeof *was->step);
    d->step += was->n_steps;
}

/* Records the step that a DONE ends; *step is NULL when it ends none. */
static int take_done(struct driver *d, const struct event *ev, struct step **step)
{
    const struct done *done = &ev->done;
    struct flight *f = find_flight(d, done->id);
    *step = NULL;
    if (!f)
        return err_set(d->e, ERR_DEVICE,
                       "executor %s ended job %" PRId64 ", which is not in flight", d->x->ops->name,
                       done->id);
    if (done->end_ns < done->start_ns || done->end_ns > ev->time_ns)
        return err_set(d->e, ERR_DEVICE,
                       "executor %s: job %" PRId64 " ran from %" PRId64 " to %" PRId64
                       " ns but was delivered at %" PRId64 " ns",
                       d->x->ops->name, done->id, done->start_ns, done->end_ns, ev->time_ns);
    struct flight was = *f;
    d->n_flight--;
    /* Mostly it was the last: such calls for nothing were 6 % of parametric `bench sim`. */
    if (f < d->flight + d->n_flight)
        memmove(f, f + 1, (size_t)(d->flight + d->n_flight - f) * sizeof *f);
    int rc = done->status == DONE_OK ? check_times(d, &was, done) : ERR_OK;
    if (rc)
        return rc;
    if (was.request < 0)
        return ERR_OK;
    struct request_result *q = &d->out->request[was.request];
    count_parts(q, &was, done);
    d->n_chosen[was.request] += done->n_choice;
    if (!was.ends_step || done->status != DONE_OK)
        return ERR_OK;
    if (q->n_steps == q->cap_steps)
        return err_set(d->e, ERR_LIMIT, "request %d took more than %d steps", was.request,
                       q->cap_steps);
    *step = &q->step[q->n_steps++];
    **step = (struct step){.phase = was.phase,
                           .width = was.width,
                           .n = was.n,
                           .pos = was.pos,
                           .start_ns = done->start_ns,
                           .end_ns = done->end_ns,
                           .sample_ns = done->sample_ns};
    if (was.phase == PHASE_VERIFY || was.phase == PHASE_DECODE) {
        q->n_verify++;
        q->n_drafted += was.n - 1;
    }
    return ERR_OK;
}

static int take_event(struct driver *d, const struct event *ev, struct step **step)
{
    *step = NULL;
    if (ev->time_ns < d->now_ns)
        return err_set(d->e, ERR_DEVICE,
                       "executor %s: time ran back from %" PRId64 " to %" PRId64 " ns",
                       d->x->ops->name, d->now_ns, ev->time_ns);
    d->now_ns = ev->time_ns;
    switch (ev->kind) {
    case EV_DONE:
        return take_done(d, ev, step);
    case EV_ARRIVE: {
        const struct request *q = &d->request[ev->request];
        bool waited = q->arrival_ns != REQUEST_AFTER_PREVIOUS && q->arrival_ns < ev->time_ns;
        d->out->request[ev->request].arrive_ns = waited ? q->arrival_ns : ev->time_ns;
        open_steps(d, &d->out->request[ev->request]);
        d->n_arrived++;
        d->open[d->n_open++] = ev->request;
        return ERR_OK;
    }
    case EV_CANCEL_REQUEST:
        d->cancel_sent[ev->request] = true;
        d->out->request[ev->request].cancelled = true;
        return ERR_OK;
    default:
        d->wake_ns = EXEC_NEVER;
        return ERR_OK;
    }
}

/* ---- checking and carrying out actions ------------------------------------------------------ */

static int broke(struct driver *d, const char *what, int64_t number)
{
    return err_set(d->e, ERR_POLICY, "policy %s %s %" PRId64, d->setup->policy->name, what, number);
}

static bool open_request(const struct driver *d, int32_t r)
{
    return r >= 0 && r < d->n_arrived && !d->out->request[r].finished;
}

static bool known_tokens(const struct driver *d, const struct job_forward *f)
{
    uint32_t most = 0; /* a negative token is more than any other */
    for (int32_t i = 0; i < f->n; i++)
        most = most > (uint32_t)f->token[i] ? most : (uint32_t)f->token[i];
    return most < (uint32_t)d->setup->n_vocab;
}

static int check_submit(struct driver *d, const struct job *j, int64_t now_ns)
{
    if (j->id <= d->last_id)
        return broke(d, "used a job id that does not increase:", j->id);
    int rc = job_check(&d->caps, d->n_roles, d->setup->n_drafters, j, d->e);
    if (rc)
        return rc;
    for (int i = 0; i < j->n_wait; i++)
        if (j->wait[i] < 1 || j->wait[i] > d->last_id)
            return broke(d, "waits for a job that it never submitted, in job", j->id);
    if (j->request != -1 && !open_request(d, j->request))
        return broke(d, "submitted for a request that is not open, in job", j->id);
    if (d->n_flight == d->caps.max_jobs)
        return err_set(d->e, ERR_LIMIT, "policy %s has more than %d jobs in flight",
                       d->setup->policy->name, d->caps.max_jobs);
    bool forward = j->kind == JOB_FORWARD || j->kind == JOB_HEAD;
    if (forward && !known_tokens(d, &j->forward))
        return broke(d, "used a token outside the vocabulary in job", j->id);
    d->last_id = j->id;
    struct flight *f = &d->flight[d->n_flight++];
    *f = (struct flight){.id = j->id,
                         .submit_ns = now_ns,
                         .request = j->request,
                         .kind = j->kind,
                         .phase = j->phase,
                         .role = j->role};
    if (forward) {
        f->width = j->forward.width;
        f->n = j->forward.n;
        f->pos = j->forward.pos;
        f->ends_step =
            j->kind == JOB_HEAD || (j->forward.b1 == d->caps.blocks && j->forward.slot_out < 0);
    }
    return ERR_OK;
}

static int check_emit(struct driver *d, const struct action *a, int64_t now_ns, struct step *step)
{
    int32_t r = a->emit.request, n = a->emit.n;
    if (!open_request(d, r) || n < 1)
        return broke(d, "emitted for a request that is not open:", r);
    if (!a->emit.token)
        return broke(d, "emitted tokens that it did not give, for request", r);
    struct request_result *q = &d->out->request[r];
    if (q->n_output + n > d->request[r].max_tokens)
        return broke(d, "emitted more tokens than were asked for, for request", r);
    if (q->n_output + n > d->n_chosen[r])
        return broke(d, "emitted more tokens than the target chose, for request", r);
    memcpy(q->output + q->n_output, a->emit.token, (size_t)n * sizeof *q->output);
    q->n_output += n;
    if (q->first_ns < 0)
        q->first_ns = now_ns;
    q->last_ns = now_ns;
    if (step) {
        step->emitted += n;
        if (step->phase == PHASE_VERIFY)
            q->n_accepted += n - 1;
    }
    return ERR_OK;
}

static int check_finish(struct driver *d, int32_t r, int64_t now_ns)
{
    if (!open_request(d, r))
        return broke(d, "finished a request that is not open:", r);
    for (int32_t i = 0; i < d->n_flight; i++)
        if (d->flight[i].request == r)
            return broke(d, "finished a request while its job is in flight: job", d->flight[i].id);
    d->out->request[r].finished = true;
    d->out->request[r].finish_ns = now_ns;
    int32_t k = 0;
    while (d->open[k] != r)
        k++;
    d->n_open--;
    d->left[d->n_left++] = r;
    memmove(d->open + k, d->open + k + 1, (size_t)(d->n_open - k) * sizeof *d->open);
    d->n_finished++;
    return ERR_OK;
}

static int carry_out(struct driver *d, const struct action *a, int64_t now_ns, struct step *step)
{
    int rc = ERR_OK;
    switch (a->kind) {
    case ACT_SUBMIT:
        rc = check_submit(d, &a->job, now_ns);
        break;
    case ACT_EMIT:
        rc = check_emit(d, a, now_ns, step);
        break;
    case ACT_FINISH:
        rc = check_finish(d, a->request, now_ns);
        break;
    case ACT_CANCEL:
        if (a->id < 1 || a->id > d->last_id)
            rc = broke(d, "cancelled a job that it never submitted: job", a->id);
        break;
    case ACT_WAKE:
        d->wake_ns = a->wake_ns;
        break;
    default:
        break;
    }
    if (rc)
        return rc;
    d->out->actions_hash = action_hash(d->out->actions_hash, a);
    d->out->n_actions++;
    return d->x->ops->act(d->x, a, d->e);
}

/* ---- the loop ------------------------------------------------------------------------------- */

/* A job that failed is why most policies give up: it is named, with what its executor said. */
static int gave_up(struct driver *d, const struct event *ev, int rc)
{
    const char *policy = d->setup->policy->name;
    const struct done *done = &ev->done;
    if (ev->kind != EV_DONE || done->status == DONE_OK)
        return err_set(d->e, rc, "policy %s could not handle an event at %" PRId64 " ns: %s",
                       policy, ev->time_ns, err_text(rc));
    static const char *const status[] = {
        [DONE_CANCELLED] = "was cancelled",
        [DONE_FAILED] = "failed",
        [DONE_NO_MEMORY] = "ran out of memory",
    };
    bool reason = done->why && *done->why;
    return err_set(d->e, rc,
                   "policy %s could not handle an event at %" PRId64 " ns: %s: job %" PRId64
                   " (%s) %s%s%s",
                   policy, ev->time_ns, err_text(rc), done->id, job_kind_name(done->job_kind),
                   status[done->status], reason ? ": " : "", reason ? done->why : "");
}

static int handle(struct driver *d, const struct event *ev)
{
    struct step *step;
    int rc = take_event(d, ev, &step);
    if (rc)
        return rc;
    struct actions *a = &d->actions;
    a->n = a->pool_used = a->code = 0;
    rc = d->setup->policy->on_event(d->policy, ev, a);
    if (rc)
        return gave_up(d, ev, rc);
    if (a->code)
        return err_set(d->e, a->code, "policy %s answered one event with more than %d actions",
                       d->setup->policy->name, a->cap);
    struct host_work work = {.actions = a->n};
    for (int32_t i = 0; i < a->n; i++)
        work.submits += a->item[i].kind == ACT_SUBMIT;
    int64_t host_ns = d->x->ops->host(d->x, &work);
    if (ev->request >= 0)
        d->out->request[ev->request].part_ns[PART_HOST] += host_ns;
    d->now_ns = ev->time_ns + host_ns;
    d->out->n_events++;
    for (int32_t i = 0; i < a->n && !rc; i++)
        rc = carry_out(d, &a->item[i], d->now_ns, step);
    return rc;
}

/* " waits for job 5 (DRAFT on draft), job 7 (FORWARD on target)" */
static void append_waits(const struct driver *d, int32_t request, struct err *e)
{
    const struct policy_type *policy = d->setup->policy;
    int32_t found = 0;
    for (int32_t i = 0; i < d->n_flight; i++) {
        const struct flight *f = &d->flight[i];
        size_t n = strlen(e->msg);
        if (f->request == request)
            snprintf(e->msg + n, sizeof e->msg - n, "%s job %" PRId64 " (%s on %s)",
                     found++ ? "," : " waits for", f->id, job_kind_name(f->kind),
                     policy->role[f->role]);
    }
    size_t n = strlen(e->msg);
    if (!found)
        snprintf(e->msg + n, sizeof e->msg - n, " has no job in flight and waits for policy %s",
                 policy->name);
}

/* Adds to what the executor said who waits: its jobs are not all that can be missing. */
static int stalled(struct driver *d)
{
    for (int32_t r = 0; r < d->n_arrived && d->e; r++) {
        size_t n = strlen(d->e->msg);
        if (!open_request(d, r))
            continue;
        snprintf(d->e->msg + n, sizeof d->e->msg - n, "; request %" PRId32, r);
        append_waits(d, r, d->e);
    }
    return ERR_STALLED;
}

static int loop(struct driver *d)
{
    while (d->n_finished < d->out->n_requests || d->n_flight) {
        struct event due, ev;
        next_due(d, &due);
        int rc = d->x->ops->next(d->x, &due, &ev, d->e);
        if (rc == ERR_STALLED)
            return stalled(d);
        if (!rc)
            rc = handle(d, &ev);
        if (rc)
            return rc;
    }
    d->out->end_ns = d->now_ns;
    return ERR_OK;
}

int driver_run(const struct run_setup *setup, struct exec *x, const struct request *request,
               int32_t n_requests, struct arena *arena, struct run_result *out, struct err *e)
{
    struct driver d = {
        .setup = setup, .x = x, .request = request, .out = out, .e = e, .wake_ns = EXEC_NEVER};
    struct policy_env env;
    *out = (struct run_result){.n_requests = n_requests, .actions_hash = hash_mix(0)};
    x->ops->caps(x, &d.caps);
    while (setup->policy->role[d.n_roles])
        d.n_roles++;
    int rc = allocate(&d, arena);
    if (!rc)
        rc = start_policy(&d, arena, &env);
    if (rc)
        return rc;
    arena_seal(arena);
    rc = loop(&d);
    arena_unseal(arena);
    return rc;
}
