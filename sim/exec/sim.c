#include "sim/exec/sim.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "sim/core/clock.h"
#include "sim/core/evq.h"
#include "sim/core/fluid.h"
#include "sim/exec/drafting.h"
#include "sim/exec/pool.h"
#include "sim/exec/sim_text.h"

/* Internal events, in their order at equal times: work ends before work starts. What ended is
 * delivered last. */
enum { SIM_END, SIM_START };

enum { MAX_BLOCKS = BELIEF_MAX_BLOCKS };

enum block_state { BLOCK_ABSENT, BLOCK_LOADING, BLOCK_LOADED, BLOCK_FREEING };

/* A job of more than eleven days is a mistake in a device file. */
#define SIM_MAX_JOB_NS INT64_C(1000000000000000)

struct sim {
    struct exec exec; /* must be first */
    const struct run_setup *setup;
    const struct cost_model *cost;
    struct exec_caps caps;
    struct cost_host host;
    struct arena arena;
    struct pool pool;
    struct drafting *drafting;
    struct sim_text text;
    struct vclock clock;
    struct evq queue;
    struct fluid bus;
    bool has_bus;
    int64_t bus_seen_ns, bus_seen_bytes; /* when the bus was last looked at, moved by then */
    int64_t host_free_ns;                /* the host handles the next event no earlier */
    struct engine_state state[EXEC_MAX_ROLES];
    struct job_record *starting[EXEC_MAX_ROLES]; /* handed over, not begun */
    int64_t role_end_ns[EXEC_MAX_ROLES];         /* of the role's last job */
    int32_t processor[EXEC_MAX_ROLES];
    int32_t n_roles, n_processors;
    const struct cost_processor *processor_info;
    struct power power[SIM_MAX_PROCESSORS];
    struct energy drawn;           /* by all processors: the integral of the sum of their powers */
    struct energy bus_energy;      /* of the bytes of jobs */
    int64_t bus_pj;                /* per byte */
    double bus_mw[EXEC_MAX_ROLES]; /* of what the role's job moves */
    struct cost_heat heat;
    int32_t clock_permille;
    double peak_mc;
    int64_t heat_ns, slow_ns; /* when it was last looked at; time spent slowed */
    bool busy[SIM_MAX_PROCESSORS];
    int64_t ran_ns[SIM_MAX_PROCESSORS]; /* by jobs that ended */
    bool may_start; /* since start_jobs looked a job may have become one that can start */
    struct job_record **ended; /* [caps.max_jobs] not delivered yet, in the order of their ends */
    int32_t n_ended, n_ready;  /* the first n_ready of them are known on the host's side */
    int64_t ready_ns;          /* when the next one is */
    struct job_record *delivered;               /* given out by next; released by the next call */
    uint8_t block[EXEC_MAX_GRAPHS][MAX_BLOCKS]; /* enum block_state */
    struct cost_resident resident;              /* those that are not absent */
    int64_t resident_bytes, peak_resident_bytes;
    int64_t n_jobs, n_extrapolated;
    struct err error; /* of a job's cost, reported by next */
};

static struct sim *of(struct exec *x)
{
    return (struct sim *)x;
}

/* ---- starting and ending jobs --------------------------------------------------------------- */

static void end_job(struct sim *s, struct job_record *r);

/* Without a bus, or bytes, a job is a timer. */
static void run_for(struct sim *s, struct job_record *r, const struct cost *c)
{
    int64_t now_ns = s->clock.now_ns;
    uint64_t index = (uint64_t)(r - s->pool.record);
    r->mark = 0;
    if (s->has_bus && c->bytes > 0 && c->alone_ns > 0)
        r->mark = fluid_start(&s->bus, now_ns, c->bytes, c->alone_ns, 1, index);
    else
        evq_push(&s->queue, clock_after(now_ns, c->alone_ns), SIM_END, index);
}

/* A static graph's blocks run only when they are resident. */
static bool runs_loaded(const struct sim *s, struct job_record *r)
{
    const struct job_forward *f = &r->job.forward;
    if (f->graph == 0)
        return true;
    int32_t width = s->caps.graph_width[f->graph - 1];
    if (f->width != width) {
        pool_fail(r, DONE_FAILED, "graph %d is %d wide, the step %d", f->graph, width, f->width);
        return false;
    }
    for (int32_t b = f->b0; b < f->b1; b++)
        if (s->block[f->graph - 1][b] != BLOCK_LOADED) {
            pool_fail(r, DONE_FAILED, "block %d of graph %d is not loaded", b, f->graph);
            return false;
        }
    return true;
}

static bool runs_now(const struct sim *s, const struct job_graph *g)
{
    for (int32_t i = 0; i < s->pool.n_flight; i++) {
        const struct job_record *r = s->pool.flight[i];
        const struct job_forward *f = &r->job.forward;
        if (r->job.kind == JOB_FORWARD && r->state == JOB_RUNNING && f->graph == g->graph &&
            f->b0 <= g->block && g->block < f->b1)
            return true;
    }
    return false;
}

/* Counts the resident blocks; without a memory model the jobs' own deltas count. */
static bool count_memory(struct sim *s, struct cost_memory *out)
{
    *out = (struct cost_memory){0};
    if (!s->cost->ops->memory)
        return true;
    s->cost->ops->memory(s->cost, &s->resident, out);
    return (!out->limit_bytes || out->used_bytes <= out->limit_bytes) &&
           (!out->address_bytes || out->mapped_bytes <= out->address_bytes);
}

/* "729 of 700 MB of memory; resident: ..."; returns buf. */
static const char *exceeded(const struct sim *s, const struct cost_memory *m, char *buf,
                            size_t size)
{
    char text[EXEC_MAX_WHY];
    bool space = m->limit_bytes && m->used_bytes > m->limit_bytes;
    snprintf(buf, size, "%" PRId64 " of %" PRId64 " MB of %s; resident: %s",
             (space ? m->used_bytes : m->mapped_bytes) / 1000000,
             (space ? m->limit_bytes : m->address_bytes) / 1000000,
             space ? "memory" : "address space",
             s->cost->ops->memory_text(s->cost, &s->resident, text, sizeof text));
    return buf;
}

static void use_memory(struct sim *s, int64_t bytes)
{
    s->resident_bytes = bytes;
    if (bytes > s->peak_resident_bytes)
        s->peak_resident_bytes = bytes;
}

/* A block's LOAD begins: it takes its memory, or fails. */
static void load_block(struct sim *s, struct job_record *r)
{
    const struct job_graph *g = &r->job.graph;
    uint8_t *state = &s->block[g->graph - 1][g->block];
    bool *resident = &s->resident.block[g->graph - 1][g->block];
    struct cost_memory m;
    char text[EXEC_MAX_WHY];
    if (*state != BLOCK_ABSENT) {
        pool_fail(r, DONE_FAILED, "block %d of graph %d is %s already", g->block, g->graph,
                  *state == BLOCK_LOADED    ? "loaded"
                  : *state == BLOCK_LOADING ? "loading"
                                            : "resident, and leaving,");
        return;
    }
    *resident = true;
    if (count_memory(s, &m)) {
        *state = BLOCK_LOADING;
        if (s->cost->ops->memory)
            use_memory(s, m.used_bytes);
        return;
    }
    *resident = false;
    pool_fail(r, DONE_NO_MEMORY, "%s", exceeded(s, &m, text, sizeof text));
}

static void free_block(struct sim *s, struct job_record *r)
{
    const struct job_graph *g = &r->job.graph;
    uint8_t *state = &s->block[g->graph - 1][g->block];
    if (*state != BLOCK_LOADED)
        pool_fail(r, DONE_FAILED, "block %d of graph %d is not loaded", g->block, g->graph);
    else if (runs_now(s, g))
        pool_fail(r, DONE_FAILED, "block %d of graph %d is running: let the FREE wait for it",
                  g->block, g->graph);
    else
        *state = BLOCK_FREEING;
}

static void do_work(struct sim *s, struct job_record *r)
{
    struct done *done = &r->done;
    const struct job *job = &r->job;
    if (pool_drafts(job)) {
        if (pool_rival(&s->pool, r))
            return;
        int rc = drafting_run(s->drafting, job, &done->tree, &done->work);
        if (rc)
            pool_fail(r, DONE_FAILED, "the drafter refused it: %s", err_text(rc));
        return;
    }
    if (job->kind == JOB_LOAD) {
        load_block(s, r);
        return;
    }
    if (job->kind == JOB_FREE) {
        free_block(s, r);
        return;
    }
    if (job->kind == JOB_FORWARD && !runs_loaded(s, r))
        return;
    bool last = job->kind == JOB_FORWARD && job->forward.b1 == s->caps.blocks;
    const char *why = sim_text_run(&s->text, job, last, done, r->choice, r->top, r->logit);
    if (why)
        pool_fail(r, DONE_FAILED, "%s", why);
}

static void add_heat(struct sim *s, int64_t ns)
{
    int64_t mw = 0;
    double bus_mw = 0;
    s->heat_ns = s->clock.now_ns;
    for (int32_t i = 0; i < s->n_processors; i++) {
        int64_t one = power_now_mw(&s->power[i]);
        mw = mw < 0 || one < 0 ? POWER_UNKNOWN : mw + one;
    }
    if (mw < 0) { /* from here on neither energy nor heat is known */
        s->drawn.known = s->heat.known = false;
        s->clock_permille = 1000;
        return;
    }
    s->drawn = energy_add(s->drawn, energy_product(mw, ns));
    if (!s->heat.known)
        return;
    for (int r = 0; r < s->n_roles; r++)
        bus_mw += s->bus_mw[r];
    s->slow_ns += s->heat.slow ? ns : 0;
    s->clock_permille = s->cost->ops->heat(s->cost, &s->heat, mw + (int64_t)(bus_mw + 0.5), ns);
    s->peak_mc = s->heat.mc > s->peak_mc ? s->heat.mc : s->peak_mc;
}

/* What all draw until now, since the last time that it was asked: before any power changes. */
static inline void look_at_heat(struct sim *s)
{
    int64_t ns = s->clock.now_ns - s->heat_ns;
    if (s->drawn.known && ns)
        add_heat(s, ns);
}

/* A job begins to draw its power and to move its bytes. */
static void draw(struct sim *s, int role, const struct cost *c)
{
    struct power *p = &s->power[s->processor[role]];
    power_begin_at(p, c->active_mw ? c->active_mw : p->active_mw, s->clock.now_ns);
    if (s->bus_pj <= 0 || !c->bytes)
        return;
    s->bus_energy = energy_add(s->bus_energy, energy_product(s->bus_pj, c->bytes));
    s->bus_mw[role] = c->alone_ns ? (double)s->bus_pj * (double)c->bytes / (double)c->alone_ns : 0;
}

/* Functions that the loop of what happens next calls, and not every time: inlined there, each would
 * have it save all the registers that it needs at every turn. */
#define APART __attribute__((noinline))

APART static void begin_job(struct sim *s, struct job_record *r)
{
    int role = r->job.role;
    pool_start(&s->pool, r);
    r->start_ns = s->clock.now_ns;
    s->starting[role] = NULL;
    s->busy[s->processor[role]] = true;
    look_at_heat(s);
    s->state[role].resident = &s->resident;
    s->state[role].clock_permille = s->clock_permille;
    do_work(s, r);
    struct cost c = {0};
    const struct draft_work *work = pool_drafts(&r->job) ? &r->done.work : NULL;
    int rc = s->cost->ops->job(s->cost, &r->job, &s->state[role], work, &c, &s->error);
    bool sane = c.alone_ns >= 0 && c.alone_ns <= SIM_MAX_JOB_NS && c.bytes <= FLUID_MAX_BYTES;
    if (!rc && !sane)
        rc = err_set(&s->error, ERR_RANGE,
                     "job %" PRId64 " would take %" PRId64 " ns and move %" PRId64
                     " bytes: the device file is wrong",
                     r->job.id, c.alone_ns, c.bytes);
    bool refused =
        r->done.status != DONE_OK && (r->job.kind == JOB_LOAD || r->job.kind == JOB_FREE);
    if (rc)
        s->error.code = rc;
    if (rc || refused)
        c = (struct cost){0};
    r->done.sample_ns = c.sample_ns;
    r->done.bytes = c.bytes;
    r->done.extrapolated = c.extrapolated;
    if (!s->cost->ops->memory)
        use_memory(s, s->resident_bytes + c.resident_delta_bytes);
    r->done.resident_bytes = s->resident_bytes;
    draw(s, role, &c);
    s->n_jobs++;
    s->n_extrapolated += c.extrapolated;
    if (r->job.kind == JOB_FORWARD) {
        const struct job_forward *f = &r->job.forward;
        s->state[role] = (struct engine_state){.width = f->width, .pos = f->pos};
    }
    run_for(s, r, &c);
}

/* Starts what can start. A worker that is idle needs dispatch_ns to take a job; one that just
 * ended its last takes the next at once. */
APART static void start_jobs(struct sim *s)
{
    s->may_start = false;
    for (int role = 0; role < s->n_roles; role++) {
        struct job_record *r = pool_ready(&s->pool, role);
        if (!r || s->starting[role] || s->busy[s->processor[role]])
            continue;
        bool follows = s->role_end_ns[role] == s->clock.now_ns && s->clock.now_ns > 0;
        int64_t wait_ns = follows ? 0 : s->host.dispatch_ns;
        s->starting[role] = r;
        s->busy[s->processor[role]] = true;
        uint64_t index = (uint64_t)(r - s->pool.record);
        evq_push(&s->queue, clock_after(s->clock.now_ns, wait_ns), SIM_START, index);
    }
}

static void cancel_record(struct sim *s, struct job_record *r)
{
    pool_withdraw(&s->pool, r);
    r->start_ns = s->clock.now_ns;
    r->done.status = DONE_CANCELLED;
    end_job(s, r);
}

/* A LOAD or FREE ends. */
static void settle_block(struct sim *s, struct job_record *r)
{
    const struct job_graph *g = &r->job.graph;
    struct cost_memory m;
    bool loads = r->job.kind == JOB_LOAD;
    s->block[g->graph - 1][g->block] = loads ? BLOCK_LOADED : BLOCK_ABSENT;
    s->resident.block[g->graph - 1][g->block] = loads;
    if (!loads && s->cost->ops->memory) {
        count_memory(s, &m);
        use_memory(s, m.used_bytes);
        r->done.resident_bytes = m.used_bytes;
    }
}

/* After a change of what ended, or of how much of it is known. */
static void find_ready(struct sim *s)
{
    s->ready_ns = s->n_ready < s->n_ended
                      ? clock_after(s->ended[s->n_ready]->end_ns, s->host.notify_ns)
                      : CLOCK_NEVER;
}

static void end_job(struct sim *s, struct job_record *r)
{
    s->may_start = s->pool.n_waiting > 0;
    r->end_ns = s->clock.now_ns;
    if (r->done.status == DONE_OK && (r->job.kind == JOB_LOAD || r->job.kind == JOB_FREE))
        settle_block(s, r);
    pool_end(&s->pool, r);
    s->ended[s->n_ended++] = r;
    find_ready(s);
    /* Those that wait for a job that failed end with it, by increasing id. */
    for (int32_t i = 0; r->done.status != DONE_OK && i < s->pool.n_flight; i++)
        if (s->pool.flight[i]->doomed && s->pool.flight[i]->state == JOB_WAITING)
            cancel_record(s, s->pool.flight[i]);
}

static void finish_running(struct sim *s, struct job_record *r)
{
    int role = r->job.role;
    s->busy[s->processor[role]] = false;
    s->role_end_ns[role] = s->clock.now_ns;
    s->ran_ns[s->processor[role]] += s->clock.now_ns - r->start_ns;
    look_at_heat(s);
    s->bus_mw[role] = 0;
    power_end(&s->power[s->processor[role]], s->clock.now_ns);
    end_job(s, r);
}

/* ---- time ----------------------------------------------------------------------------------- */

static inline int64_t next_internal_ns(struct sim *s)
{
    int64_t t = clock_min(evq_next_ns(&s->queue), s->ready_ns);
    return s->has_bus ? clock_min(t, fluid_next_ns(&s->bus)) : t;
}

/* The bus carries no more than its bandwidth, however it is shared. Bytes are counted rounded down
 * to whole ones, flow by flow. */
static void check_bus(struct sim *s)
{
    int64_t now_ns = s->clock.now_ns, moved = fluid_moved_bytes(&s->bus, now_ns);
    double most = s->bus.total * (double)(now_ns - s->bus_seen_ns) * 1e-9;
    assert((double)(moved - s->bus_seen_bytes) <= most * (1 + 1e-9) + s->bus.count + 1);
    (void)most;
    s->bus_seen_ns = now_ns;
    s->bus_seen_bytes = moved;
}

/* What moved its bytes by now ends. */
APART static void end_moved(struct sim *s)
{
    int64_t now_ns = s->clock.now_ns;
    uint64_t index;
    if (fluid_next_ns(&s->bus) == now_ns)
        check_bus(s);
    while (fluid_pop(&s->bus, now_ns, &index))
        finish_running(s, &s->pool.record[index]);
}

/* The queue's next event. */
static void begin_or_end(struct sim *s)
{
    const struct evq_event *ev = evq_peek(&s->queue);
    struct job_record *r = &s->pool.record[ev->data];
    bool ends = evq_kind(ev) == SIM_END;
    evq_drop(&s->queue);
    ends ? finish_running(s, r) : begin_job(s, r);
}

/* Lets what comes next, at t, happen, with all that it brings about at the same moment but starts
 * of jobs. */
APART static void happen(struct sim *s, int64_t t)
{
    vclock_advance(&s->clock, t);
    if (s->has_bus)
        end_moved(s);
    while (evq_next_ns(&s->queue) == t)
        begin_or_end(s);
    while (s->ready_ns == t) {
        s->n_ready++;
        find_ready(s);
    }
}

/* Whether something happened: what comes next did if that is by to_ns. */
static inline bool happened(struct sim *s, int64_t to_ns)
{
    if (s->may_start)
        start_jobs(s);
    int64_t t = next_internal_ns(s);
    if (t > to_ns)
        return false;
    happen(s, t);
    return true;
}

/* Lets everything happen that happens by to_ns. */
static void advance(struct sim *s, int64_t to_ns)
{
    while (happened(s, to_ns))
        ;
    if (to_ns > s->clock.now_ns)
        vclock_advance(&s->clock, to_ns);
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Until there is a job to be delivered, and that moment is over; false if there is none by to_ns.
 */
static bool await(struct sim *s, int64_t to_ns)
{
    bool waited = !s->n_ready;
    while (!s->n_ready)
        if (!happened(s, to_ns))
            return false;
    while (waited && happened(s, s->clock.now_ns))
        ;
    return true;
}

/* When the first of them can be delivered. */
static int64_t deliver_ns(const struct sim *s)
{
    return later(s->ended[0]->end_ns + s->host.notify_ns, s->host_free_ns);
}

static int deliver(struct sim *s, int64_t time_ns, struct event *out)
{
    struct job_record *r = s->ended[0];
    s->n_ready--;
    s->n_ended--;
    /* Mostly it was the last: such calls for nothing were 6 % of parametric `bench sim`. */
    if (s->n_ended)
        memmove(s->ended, s->ended + 1, (size_t)s->n_ended * sizeof *s->ended);
    out->time_ns = time_ns;
    out->kind = EV_DONE;
    out->request = r->job.request;
    pool_done(r, &out->done);
    pool_deliver(&s->pool, r);
    s->delivered = r;
    s->host_free_ns = time_ns;
    return ERR_OK;
}

static int deliver_due(struct sim *s, const struct event *due, struct event *out, struct err *e)
{
    *out = *due;
    out->time_ns = later(due->time_ns, s->host_free_ns);
    s->host_free_ns = out->time_ns;
    if (due->kind != EV_ARRIVE)
        return ERR_OK;
    int rc = drafting_open(s->drafting, due->request, due->arrive.n, e);
    if (!rc)
        sim_text_open(&s->text, due->request, due->arrive.n, due->arrive.token);
    return rc;
}

/* The clock may not run past the due event while looking for a DONE: what the policy submits at the
 * due event comes before what happens after it. */
static bool due_first(struct sim *s, const struct event *due)
{
    if (!due->kind)
        return false;
    int64_t due_ns = later(due->time_ns, s->host_free_ns);
    return !await(s, due_ns) || deliver_ns(s) > due_ns;
}

static int stalled(struct sim *s, struct err *e)
{
    char text[600] = "no job is in flight, no event is due, and the policy waits";
    if (s->pool.n_flight)
        pool_describe(&s->pool, s->setup->policy->role, text, sizeof text);
    return err_set(e, ERR_STALLED, "nothing can happen any more at %" PRId64 " ns: %s",
                   s->clock.now_ns, text);
}

static int sim_next(struct exec *x, const struct event *due, struct event *out, struct err *e)
{
    struct sim *s = of(x);
    if (s->delivered)
        pool_release(&s->pool, s->delivered);
    s->delivered = NULL;
    int rc;
    if (due_first(s, due))
        rc = deliver_due(s, due, out, e);
    else if (await(s, CLOCK_MAX_NS))
        rc = deliver(s, deliver_ns(s), out);
    else
        return stalled(s, e);
    if (s->error.code) {
        *e = s->error;
        return s->error.code;
    }
    return rc;
}

static int64_t sim_host(struct exec *x, const struct host_work *work)
{
    struct sim *s = of(x);
    int64_t ns = s->host.event_ns + work->actions * s->host.action_ns;
    s->host_free_ns += ns;
    return ns;
}

/* ---- actions -------------------------------------------------------------------------------- */

static void cancel(struct sim *s, int64_t id)
{
    struct job_record *r = pool_find(&s->pool, id);
    if (!r || r->state != JOB_WAITING)
        return;
    int role = r->job.role;
    if (s->starting[role] == r) {
        /* Handed over but not begun: the hand-over's event is withdrawn with it. */
        s->starting[role] = NULL;
        s->busy[s->processor[role]] = false;
        uint64_t index = (uint64_t)(r - s->pool.record);
        for (uint32_t i = 0; i < s->queue.count; i++)
            if (evq_kind(&s->queue.at[i]) == SIM_START && s->queue.at[i].data == index) {
                evq_cancel(&s->queue, s->queue.at[i].id);
                break;
            }
    }
    cancel_record(s, r);
}

static int sim_act(struct exec *x, const struct action *a, struct err *e)
{
    struct sim *s = of(x);
    advance(s, s->host_free_ns);
    struct job_record *r;
    switch (a->kind) {
    case ACT_SUBMIT:
        if (pool_submit(&s->pool, &a->job, &r))
            return err_set(e, ERR_LIMIT, "more than %d jobs in flight", s->caps.max_jobs);
        if (pool_ready(&s->pool, r->job.role) == r && !s->busy[s->processor[r->job.role]])
            s->may_start = true;
        if (r->doomed)
            cancel_record(s, r);
        break;
    case ACT_CANCEL:
        cancel(s, a->id);
        break;
    case ACT_EMIT:
        drafting_emit(s->drafting, a->emit.request, a->emit.token, a->emit.n);
        break;
    case ACT_FINISH:
        drafting_close(s->drafting, a->request);
        sim_text_close(&s->text, a->request);
        break;
    default:
        break;
    }
    return ERR_OK;
}

/* ---- life ----------------------------------------------------------------------------------- */

static void sim_caps(const struct exec *x, struct exec_caps *out)
{
    *out = ((const struct sim *)x)->caps;
}

/* Conservation: every byte that was asked for was moved or is still to move. A
 * processor, and so its energy, was active for the sum of its jobs' times, which never overlapped.
 * What each processor drew is the integral of what all did. */
static void check_sums(struct sim *s)
{
    int64_t now_ns = s->clock.now_ns, left = 0;
    for (int32_t i = 0; i < s->pool.n_flight; i++) {
        const struct job_record *r = s->pool.flight[i];
        if (s->has_bus)
            left += fluid_left_bytes(&s->bus, now_ns, r->mark);
        if (r->state == JOB_RUNNING)
            s->ran_ns[s->processor[r->job.role]] += now_ns - r->start_ns;
    }
    assert(!s->has_bus || fluid_moved_bytes(&s->bus, now_ns) + left == s->bus.asked_bytes);
    assert(!s->has_bus || s->bus.count || s->bus.served_bytes == s->bus.asked_bytes);
    for (int32_t i = 0; i < s->n_processors; i++)
        assert(power_active_ns(&s->power[i], now_ns) == s->ran_ns[i]);
    struct energy sum = {.known = true};
    look_at_heat(s);
    for (int32_t i = 0; i < s->n_processors; i++)
        sum = energy_add(sum, power_energy(&s->power[i], now_ns));
    assert(!sum.known || !s->drawn.known || (sum.mj == s->drawn.mj && sum.pj == s->drawn.pj));
    (void)left;
}

static void sim_destroy(struct exec *x)
{
    struct sim *s = of(x);
    check_sums(s);
    drafting_destroy(s->drafting);
    arena_fini(&s->arena);
    free(s);
}

static const struct exec_ops ops = {"sim", sim_caps, sim_next, sim_act, sim_host, sim_destroy};

static void map_roles(struct sim *s)
{
    int64_t now_ns = 0;
    while (s->setup->policy->role[s->n_roles]) {
        s->processor[s->n_roles] = s->cost->ops->processor_of(s->cost, s->n_roles);
        s->role_end_ns[s->n_roles] = -1;
        s->n_roles++;
    }
    s->n_processors = s->cost->ops->processors(s->cost, &s->processor_info);
    assert(s->n_processors <= SIM_MAX_PROCESSORS);
    for (int32_t i = 0; i < s->n_processors; i++)
        power_init(&s->power[i], s->processor_info[i].active_mw, s->processor_info[i].idle_mw,
                   now_ns);
    s->drawn.known = s->bus_energy.known = true;
    s->bus_pj = s->cost->ops->bus_pj_per_byte ? s->cost->ops->bus_pj_per_byte(s->cost) : 0;
    s->clock_permille = s->cost->ops->heat ? s->cost->ops->heat(s->cost, &s->heat, 0, 0) : 1000;
    s->peak_mc = s->heat.mc;
}

static int allocate(struct sim *s, struct truth *truth, struct err *e)
{
    int32_t jobs = s->caps.max_jobs;
    int64_t bus = s->cost->ops->bus_bytes_per_s(s->cost);
    s->has_bus = bus > 0;
    int rc = pool_init(&s->pool, &s->arena, &s->caps, e);
    if (!rc)
        rc = evq_init(&s->queue, &s->arena, (uint32_t)jobs);
    if (!rc && s->has_bus)
        rc = fluid_init(&s->bus, &s->arena, (uint32_t)jobs, bus);
    if (!rc)
        rc = sim_text_init(&s->text, &s->arena, truth, &s->caps, s->setup->max_requests);
    s->ended = arena_room(&s->arena, (size_t)jobs, sizeof *s->ended);
    if (!rc && !s->ended)
        rc = ERR_NOMEM;
    if (!rc)
        rc = drafting_create(s->setup, s->caps.max_ctx, s->caps.max_rows, &s->drafting, e);
    if (!rc) {
        drafting_tell_truth(s->drafting, truth);
        arena_seal(&s->arena);
    }
    return rc ? err_set(e, rc, "out of memory for a simulated run") : ERR_OK;
}

int sim_create(const struct cost_model *cost, struct truth *truth, const struct run_setup *setup,
               struct exec **out, struct err *e)
{
    assert(cost->ops->abi == COST_ABI && cost->ops->size == sizeof *cost->ops);
    struct sim *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(e, ERR_NOMEM, "out of memory for a simulated run");
    s->exec.ops = &ops;
    s->ready_ns = CLOCK_NEVER;
    s->setup = setup;
    s->cost = cost;
    cost->ops->caps(cost, &s->caps);
    cost->ops->host(cost, &s->host);
    arena_init(&s->arena);
    map_roles(s);
    int rc = allocate(s, truth, e);
    struct cost_memory m;
    if (!rc && !count_memory(s, &m)) {
        char text[EXEC_MAX_WHY];
        rc = err_set(e, ERR_LIMIT, "before any LOAD: %s", exceeded(s, &m, text, sizeof text));
    }
    if (rc) {
        sim_destroy(&s->exec);
        return rc;
    }
    use_memory(s, m.used_bytes);
    *out = &s->exec;
    return ERR_OK;
}

int sim_use_memo(struct exec *x, struct draft_memo *memo, struct err *e)
{
    int rc = drafting_use_memo(of(x)->drafting, memo);
    return rc ? err_set(e, rc, "out of memory for a simulated run") : ERR_OK;
}

void sim_stats(const struct exec *x, struct sim_stats *out)
{
    const struct sim *s = (const struct sim *)x;
    int64_t now_ns = s->clock.now_ns;
    *out = (struct sim_stats){.now_ns = now_ns,
                              .n_processors = s->n_processors,
                              .peak_resident_bytes = s->peak_resident_bytes,
                              .n_jobs = s->n_jobs,
                              .n_extrapolated = s->n_extrapolated};
    out->bus_energy = s->bus_energy;
    out->heat_known = s->heat.known;
    out->peak_mc = (int64_t)s->peak_mc;
    out->slow_ns = s->slow_ns;
    for (int32_t i = 0; i < s->n_processors; i++) {
        out->processor[i].name = s->processor_info[i].name;
        out->processor[i].busy_ns = power_active_ns(&s->power[i], now_ns);
        out->processor[i].energy = power_energy(&s->power[i], now_ns);
        out->processor[i].work = power_work(&s->power[i], now_ns);
    }
}
