#include "traces/export.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/base/json.h"

static int written(FILE *f, int rc, struct err *e)
{
    if (!rc && (fflush(f) || ferror(f)))
        return err_set(e, ERR_IO, "cannot write: %s", err_system(errno));
    return rc;
}

/* ---- text ----------------------------------------------------------------------------------- */

int export_text(struct log_reader *r, FILE *f, int32_t max_items, struct err *e)
{
    size_t n;
    const char *header = log_header_text(r, &n);
    fwrite(header, 1, n, f);
    fputc('\n', f);
    struct log_record at = {0};
    int rc = ERR_OK;
    while (!rc && at.type != LOG_TRAILER) {
        rc = log_next(r, &at, e);
        if (rc)
            break;
        log_print(f, &at, max_items);
        fputc('\n', f);
    }
    return written(f, rc, e);
}

/* ---- jobs ----------------------------------------------------------------------------------- */

/* What is kept of a job: its own numbers, no arrays. */
struct kept {
    struct job job;
    bool ended;
    uint8_t status;
    bool extrapolated;
    int32_t proposed;
    int64_t start_ns, end_ns, sample_ns, bytes;
};

/* All jobs of a log, by id, which increases. */
struct jobs {
    struct kept *at;
    size_t n, cap;
};

static int grow(void **at, size_t *cap, size_t n, size_t size, struct err *e)
{
    if (n < *cap)
        return ERR_OK;
    size_t more = *cap ? 2 * *cap : 64;
    void *p = realloc(*at, more * size);
    if (!p)
        return err_set(e, ERR_NOMEM, "out of memory to export a log");
    *at = p;
    *cap = more;
    return ERR_OK;
}

static int submitted(struct jobs *j, const struct log_record *at, struct err *e)
{
    const struct job *job = &at->action.job;
    if (j->n && job->id <= j->at[j->n - 1].job.id)
        return err_set(e, ERR_CORRUPT,
                       "record %" PRId64 " at byte %zu: job id %" PRId64 " does not increase",
                       at->number, at->offset, job->id);
    void *p = j->at;
    int rc = grow(&p, &j->cap, j->n, sizeof *j->at, e);
    j->at = p;
    if (!rc)
        j->at[j->n++] = (struct kept){.job = *job};
    return rc;
}

static int ended(struct jobs *j, const struct log_record *at, const struct job **out, struct err *e)
{
    const struct done *d = &at->event.done;
    size_t from = 0, to = j->n;
    int64_t id = d->id;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (j->at[mid].job.id < id)
            from = mid + 1;
        else
            to = mid;
    }
    if (from == j->n || j->at[from].job.id != id || j->at[from].ended ||
        j->at[from].job.kind != d->job_kind)
        return err_set(e, ERR_CORRUPT,
                       "record %" PRId64 " at byte %zu: job %" PRId64
                       " ends, which is not in flight as a %s",
                       at->number, at->offset, id, log_job_name(d->job_kind));
    struct kept *k = &j->at[from];
    k->ended = true;
    k->status = d->status;
    k->extrapolated = d->extrapolated;
    k->proposed = d->tree.n;
    k->start_ns = d->start_ns;
    k->end_ns = d->end_ns;
    k->sample_ns = d->sample_ns;
    k->bytes = d->bytes;
    *out = &k->job;
    return ERR_OK;
}

/* The next record; *done is the job that it ends, or NULL. */
static int next(struct log_reader *r, struct jobs *j, struct log_record *at,
                const struct job **done, struct err *e)
{
    *done = NULL;
    int rc = log_next(r, at, e);
    if (!rc && at->type == LOG_ACTION && at->action.kind == ACT_SUBMIT)
        rc = submitted(j, at, e);
    if (!rc && at->type == LOG_EVENT && at->event.kind == EV_DONE)
        rc = ended(j, at, done, e);
    return rc;
}

/* ---- CSV ------------------------------------------------------------------------------------ */

int export_csv(struct log_reader *r, FILE *f, struct err *e)
{
    struct jobs jobs = {0};
    struct log_record at = {0};
    int rc = ERR_OK;
    fputs("request,job,phase,role,graph,b0,b1,width,n,pos,start_ns,end_ns,sample_ns,status,bytes,"
          "extrapolated\n",
          f);
    while (!rc && at.type != LOG_TRAILER) {
        const struct job *job;
        rc = next(r, &jobs, &at, &job, e);
        if (rc || !job || (job->kind != JOB_FORWARD && job->kind != JOB_HEAD))
            continue;
        const struct job_forward *s = &job->forward;
        const struct done *d = &at.event.done;
        fprintf(f,
                "%" PRId32 ",%" PRId64 ",%s,%d,%" PRId32 ",%" PRId32 ",%" PRId32 ",%" PRId32
                ",%" PRId32 ",%" PRId32 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%s,%" PRId64 ",%d\n",
                job->request, job->id, log_phase_name(job->phase), job->role, s->graph, s->b0,
                s->b1, s->width, s->n, s->pos, d->start_ns, d->end_ns, d->sample_ns,
                log_status_name(d->status), d->bytes, d->extrapolated);
    }
    free(jobs.at);
    return written(f, rc, e);
}

/* ---- Perfetto ------------------------------------------------------------------------------- */

enum { PID_PROCESSORS = 1, PID_REQUESTS, PID_BUS };

/* A processor that runs several jobs at once has a track for each of them, its lanes. */
enum { MAX_LANES = 8, ROLES = 256 };

static const char unstarted[] = "cancelled unstarted";

/* A change of the bus's rate. */
struct rate {
    int64_t time_ns;
    double mb_per_s;
    size_t order; /* for a total order */
};

/* Tokens that became visible. */
struct beat {
    int64_t time_ns;
    int32_t n;
    uint8_t phase; /* of the request's last step before it */
    size_t next;   /* beat of the same request; SIZE_MAX: none */
};

struct life {
    int64_t arrive_ns, start_ns, n_output; /* start: of the first job; EXEC_NEVER: none ended */
    size_t first, last;                    /* beats */
    int32_t request, n_prompt;
    uint8_t phase;
    bool cancelled;
};

struct processor {
    char name[128];
    int n_lanes;
    int64_t free_ns[MAX_LANES];
};

struct perfetto {
    struct json_writer w;
    struct jobs jobs;
    const struct kept **order; /* [jobs.n] by their starts */
    struct rate *rate;
    size_t n_rates, cap_rates;
    struct life *open;
    size_t n_open, cap_open;
    struct beat *beat;
    size_t n_beats, cap_beats;
    char role[ROLES][32];
    int processor_of[ROLES];
    struct processor processor[ROLES];
    int n_processors;
    int64_t last_ns;
};

/* A time in microseconds: a double holds ns of the first 104 days exactly, and prints shortest. */
static double us(int64_t t_ns)
{
    return (double)t_ns / 1000;
}

/* end - start for times that a hostile file chose; never below 0. */
static double span_us(int64_t start_ns, int64_t end_ns)
{
    if (end_ns <= start_ns)
        return 0;
    return (double)((uint64_t)end_ns - (uint64_t)start_ns) / 1000;
}

static void begin(struct perfetto *p, const char *ph, const char *name, int pid, int64_t tid)
{
    json_object(&p->w, NULL);
    json_string(&p->w, "ph", ph);
    json_string(&p->w, "name", name);
    json_int(&p->w, "pid", pid);
    json_int(&p->w, "tid", tid);
}

/* Up to its arguments, which the caller adds; two json_close end it. */
static void begin_slice(struct perfetto *p, const char *name, int pid, int64_t tid,
                        int64_t start_ns, int64_t end_ns)
{
    begin(p, "X", name, pid, tid);
    json_double(&p->w, "ts", us(start_ns));
    json_double(&p->w, "dur", span_us(start_ns, end_ns));
    json_object(&p->w, "args");
}

static void begin_mark(struct perfetto *p, const char *name, int pid, int64_t tid, int64_t at_ns)
{
    begin(p, "i", name, pid, tid);
    json_string(&p->w, "s", "t");
    json_double(&p->w, "ts", us(at_ns));
    json_object(&p->w, "args");
}

static void end_slice(struct perfetto *p)
{
    json_close(&p->w);
    json_close(&p->w);
}

static void name_of(struct perfetto *p, const char *what, const char *key, int pid, int64_t tid,
                    const char *name)
{
    begin(p, "M", what, pid, tid);
    json_object(&p->w, "args");
    json_string(&p->w, key, name);
    end_slice(p);
}

/* ---- processors ----------------------------------------------------------------------------- */

/* The device of a role in "target=cpu:1 draft=cpu:0"; false when it is not there. */
static bool device_of(const char *roles, const char *role, char *buf, size_t size)
{
    size_t n = strlen(role);
    for (const char *at = roles; *at; at += strcspn(at, " ,"), at += strspn(at, " ,"))
        if (!strncmp(at, role, n) && at[n] == '=') {
            snprintf(buf, size, "%.*s", (int)strcspn(at + n + 1, " ,"), at + n + 1);
            return true;
        }
    return false;
}

/* The roles' names are the policy's; of a policy that this program does not have, those of the role
 * map in its order. A role without a device is a processor of its own. */
static void find_processors(struct perfetto *p, struct log_reader *r, struct run_setup *setup)
{
    struct exec_caps caps;
    log_setup(r, NULL, setup, &caps, NULL);
    const char *const *role = setup->policy ? setup->policy->role : NULL;
    const char *at = setup->roles;
    for (int i = 0; i < ROLES; i++) {
        struct processor *own = &p->processor[p->n_processors];
        snprintf(p->role[i], sizeof p->role[i], "role %d", i);
        if (role && *role)
            snprintf(p->role[i], sizeof p->role[i], "%s", *role++);
        else if (!setup->policy && *at && strcspn(at, "=") < strcspn(at, " ,"))
            snprintf(p->role[i], sizeof p->role[i], "%.*s", (int)strcspn(at, "="), at);
        at += strcspn(at, " ,");
        at += strspn(at, " ,");
        if (!device_of(setup->roles, p->role[i], own->name, sizeof own->name))
            memcpy(own->name, p->role[i], sizeof p->role[i]);
        int k = 0;
        while (strcmp(p->processor[k].name, own->name))
            k++;
        p->processor_of[i] = k;
        p->n_processors += k == p->n_processors;
    }
}

static int by_start(const void *a, const void *b)
{
    const struct kept *x = *(const struct kept *const *)a, *y = *(const struct kept *const *)b;
    if (x->start_ns != y->start_ns)
        return x->start_ns < y->start_ns ? -1 : 1;
    if (x->end_ns != y->end_ns)
        return x->end_ns < y->end_ns ? -1 : 1;
    return (x->job.id > y->job.id) - (x->job.id < y->job.id);
}

/* The first lane that is free at the job's start. */
static int64_t take_lane(struct perfetto *p, const struct kept *k)
{
    int index = p->processor_of[k->job.role], lane = 0;
    struct processor *c = &p->processor[index];
    while (lane + 1 < MAX_LANES && lane < c->n_lanes && c->free_ns[lane] > k->start_ns)
        lane++;
    if (lane == c->n_lanes)
        c->n_lanes++;
    if (k->end_ns > c->free_ns[lane])
        c->free_ns[lane] = k->end_ns;
    return (int64_t)index * MAX_LANES + lane;
}

static void put_job(struct perfetto *p, const struct kept *k)
{
    char name[128];
    const struct job *job = &k->job;
    const struct job_forward *f = &job->forward;
    bool rows = job->kind == JOB_FORWARD || job->kind == JOB_HEAD;
    int n = snprintf(name, sizeof name, "%s %s", p->role[job->role], log_job_name(job->kind));
    if (rows && job->phase != PHASE_NONE)
        n += snprintf(name + n, sizeof name - (size_t)n, " %s", log_phase_name(job->phase));
    if (rows)
        snprintf(name + n, sizeof name - (size_t)n, " w%" PRId32, f->width);
    if (k->status == DONE_CANCELLED && k->end_ns <= k->start_ns) {
        int64_t tid = (int64_t)p->processor_of[job->role] * MAX_LANES;
        begin_mark(p, unstarted, PID_PROCESSORS, tid, k->start_ns);
        json_string(&p->w, "name", name);
    } else {
        begin_slice(p, name, PID_PROCESSORS, take_lane(p, k), k->start_ns, k->end_ns);
    }
    json_int(&p->w, "job", job->id);
    json_int(&p->w, "request", job->request);
    json_string(&p->w, "role", p->role[job->role]);
    json_string(&p->w, "phase", log_phase_name(job->phase));
    json_string(&p->w, "status", log_status_name(k->status));
    if (k->extrapolated)
        json_bool(&p->w, "extrapolated", true);
    if (rows) {
        json_int(&p->w, "graph", f->graph);
        json_int(&p->w, "b0", f->b0);
        json_int(&p->w, "b1", f->b1);
        json_int(&p->w, "width", f->width);
        json_int(&p->w, "n", f->n);
        json_int(&p->w, "pos", f->pos);
        json_int(&p->w, "sample_ns", k->sample_ns);
    } else if (job->kind == JOB_DRAFT) {
        json_int(&p->w, "proposed", k->proposed);
    }
    if (k->bytes > 0)
        json_int(&p->w, "bytes", k->bytes);
    end_slice(p);
}

/* Processors' tracks are named when they have a job: lanes are known only then. */
static int put_jobs(struct perfetto *p, struct err *e)
{
    size_t n = 0;
    p->order = malloc((p->jobs.n + 1) * sizeof *p->order);
    if (!p->order)
        return err_set(e, ERR_NOMEM, "out of memory to export a log");
    for (size_t i = 0; i < p->jobs.n; i++)
        if (p->jobs.at[i].ended)
            p->order[n++] = &p->jobs.at[i];
    qsort(p->order, n, sizeof *p->order, by_start);
    for (int i = 0; i < p->n_processors; i++)
        for (int lane = 0; lane < MAX_LANES; lane++)
            p->processor[i].free_ns[lane] = INT64_MIN;
    for (size_t i = 0; i < n; i++)
        put_job(p, p->order[i]);
    name_of(p, "process_name", "name", PID_PROCESSORS, 0, "processors");
    for (int i = 0; i < p->n_processors; i++)
        for (int lane = 0; lane < p->processor[i].n_lanes; lane++) {
            char name[160];
            snprintf(name, sizeof name, "%s", p->processor[i].name);
            if (lane)
                snprintf(name, sizeof name, "%s, at the same time (%d)", p->processor[i].name,
                         lane + 1);
            name_of(p, "thread_name", "name", PID_PROCESSORS, i * MAX_LANES + lane, name);
        }
    return ERR_OK;
}

/* ---- requests ------------------------------------------------------------------------------- */

static struct life *find_life(struct perfetto *p, int32_t request)
{
    for (size_t i = 0; i < p->n_open; i++)
        if (p->open[i].request == request)
            return &p->open[i];
    return NULL;
}

/* From arrival as metrics count it: a request that waited for others has arrived before. */
static int arrived(struct perfetto *p, const struct event *ev, struct err *e)
{
    void *at = p->open;
    int rc = grow(&at, &p->cap_open, p->n_open, sizeof *p->open, e);
    p->open = at;
    int64_t own_ns = ev->arrive.arrival_ns;
    bool waited = own_ns != REQUEST_AFTER_PREVIOUS && own_ns < ev->time_ns;
    if (!rc)
        p->open[p->n_open++] = (struct life){.arrive_ns = waited ? own_ns : ev->time_ns,
                                             .start_ns = EXEC_NEVER,
                                             .first = SIZE_MAX,
                                             .last = SIZE_MAX,
                                             .request = ev->request,
                                             .n_prompt = ev->arrive.n};
    return rc;
}

static void worked(struct perfetto *p, const struct job *job, const struct done *d)
{
    struct life *l = find_life(p, job->request);
    if (!l)
        return;
    if (d->status == DONE_OK && d->start_ns < l->start_ns)
        l->start_ns = d->start_ns;
    if (job->kind == JOB_FORWARD || job->kind == JOB_HEAD)
        l->phase = job->phase;
}

static int emitted(struct perfetto *p, const struct log_record *at, struct err *e)
{
    struct life *l = find_life(p, at->action.emit.request);
    if (!l)
        return ERR_OK;
    void *beat = p->beat;
    int rc = grow(&beat, &p->cap_beats, p->n_beats, sizeof *p->beat, e);
    p->beat = beat;
    if (rc)
        return rc;
    p->beat[p->n_beats] = (struct beat){at->time_ns, at->action.emit.n, l->phase, SIZE_MAX};
    if (l->first == SIZE_MAX)
        l->first = p->n_beats;
    else
        p->beat[l->last].next = p->n_beats;
    l->last = p->n_beats++;
    l->n_output += at->action.emit.n;
    return ERR_OK;
}

/* What the request waited for, one slice after another: its first job, its first token, and then
 * each emission. */
static void put_beats(struct perfetto *p, const struct life *l)
{
    int64_t from_ns = l->arrive_ns;
    const struct beat *b = &p->beat[l->first];
    int64_t start_ns = l->start_ns < b->time_ns ? l->start_ns : b->time_ns;
    if (start_ns > from_ns) {
        begin_slice(p, "wait", PID_REQUESTS, l->request, from_ns, start_ns);
        end_slice(p);
        from_ns = start_ns;
    }
    begin_slice(p, "prefill", PID_REQUESTS, l->request, from_ns, b->time_ns);
    json_int(&p->w, "tokens", b->n);
    end_slice(p);
    begin_mark(p, "first token", PID_REQUESTS, l->request, b->time_ns);
    json_double(&p->w, "ttft_us", span_us(l->arrive_ns, b->time_ns));
    end_slice(p);
    while (b->next != SIZE_MAX) {
        char name[48];
        from_ns = b->time_ns;
        b = &p->beat[b->next];
        snprintf(name, sizeof name, "%s +%" PRId32, log_phase_name(b->phase), b->n);
        begin_slice(p, name, PID_REQUESTS, l->request, from_ns, b->time_ns);
        json_int(&p->w, "tokens", b->n);
        end_slice(p);
    }
}

static void finished(struct perfetto *p, const struct log_record *at)
{
    char name[32];
    struct life *l = find_life(p, at->action.request);
    if (!l)
        return;
    snprintf(name, sizeof name, "request %" PRId32, l->request);
    name_of(p, "thread_name", "name", PID_REQUESTS, l->request, name);
    begin_slice(p, name, PID_REQUESTS, l->request, l->arrive_ns, at->time_ns);
    json_int(&p->w, "prompt_tokens", l->n_prompt);
    json_int(&p->w, "output_tokens", l->n_output);
    json_bool(&p->w, "cancelled", l->cancelled);
    end_slice(p);
    if (l->first != SIZE_MAX)
        put_beats(p, l);
    *l = p->open[--p->n_open];
}

/* ---- the bus -------------------------------------------------------------------------------- */

static int add_rate(struct perfetto *p, int64_t time_ns, double mb_per_s, struct err *e)
{
    void *at = p->rate;
    int rc = grow(&at, &p->cap_rates, p->n_rates, sizeof *p->rate, e);
    p->rate = at;
    if (!rc) {
        p->rate[p->n_rates] = (struct rate){time_ns, mb_per_s, p->n_rates};
        p->n_rates++;
    }
    return rc;
}

static int moved(struct perfetto *p, const struct done *d, struct err *e)
{
    if (d->end_ns > p->last_ns)
        p->last_ns = d->end_ns;
    if (d->bytes <= 0 || d->end_ns <= d->start_ns)
        return ERR_OK;
    double mb_per_s = (double)d->bytes / span_us(d->start_ns, d->end_ns);
    int rc = add_rate(p, d->start_ns, mb_per_s, e);
    return rc ? rc : add_rate(p, d->end_ns, -mb_per_s, e);
}

static int by_time(const void *a, const void *b)
{
    const struct rate *x = a, *y = b;
    if (x->time_ns != y->time_ns)
        return x->time_ns < y->time_ns ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

/* A log in which no job says what it moved has a bus nevertheless, which is not known and not idle.
 */
static void put_bus(struct perfetto *p)
{
    double sum = 0;
    size_t running = 0;
    name_of(p, "process_name", "name", PID_BUS, 0, "bus");
    if (!p->n_rates) {
        name_of(p, "thread_name", "name", PID_BUS, 0, "bus");
        begin_slice(p, "not known: no job says how many bytes it moved", PID_BUS, 0, 0, p->last_ns);
        end_slice(p);
        return;
    }
    qsort(p->rate, p->n_rates, sizeof *p->rate, by_time);
    for (size_t i = 0; i < p->n_rates; i++) {
        sum += p->rate[i].mb_per_s;
        if (p->rate[i].mb_per_s > 0)
            running++;
        else
            running--;
        if (i + 1 < p->n_rates && p->rate[i + 1].time_ns == p->rate[i].time_ns)
            continue;
        if (!running) /* rounding of the sum does not pile up, and an idle bus is at 0 */
            sum = 0;
        begin(p, "C", "bus", PID_BUS, 0);
        json_double(&p->w, "ts", us(p->rate[i].time_ns));
        json_object(&p->w, "args");
        json_double(&p->w, "MB/s", sum);
        end_slice(p);
    }
}

/* ---- the whole ------------------------------------------------------------------------------ */

static int put_record(struct perfetto *p, const struct log_record *at, const struct job *done,
                      struct err *e)
{
    if (done) {
        worked(p, done, &at->event.done);
        return moved(p, &at->event.done, e);
    }
    if (at->type == LOG_EVENT && at->event.kind == EV_ARRIVE)
        return arrived(p, &at->event, e);
    if (at->type == LOG_EVENT && at->event.kind == EV_CANCEL_REQUEST) {
        struct life *l = find_life(p, at->event.request);
        if (l)
            l->cancelled = true;
    }
    if (at->type == LOG_ACTION && at->action.kind == ACT_EMIT)
        return emitted(p, at, e);
    if (at->type == LOG_ACTION && at->action.kind == ACT_FINISH)
        finished(p, at);
    return ERR_OK;
}

static int put_records(struct perfetto *p, struct log_reader *r, struct err *e)
{
    struct log_record at = {0};
    int rc = ERR_OK;
    name_of(p, "process_name", "name", PID_REQUESTS, 0, "requests");
    while (!rc && at.type != LOG_TRAILER) {
        const struct job *job;
        rc = next(r, &p->jobs, &at, &job, e);
        if (!rc)
            rc = put_record(p, &at, job, e);
    }
    int put = put_jobs(p, rc ? NULL : e);
    put_bus(p);
    return rc ? rc : put;
}

static void put_head(struct perfetto *p, const struct log_reader *r)
{
    static const char *const keys[] = {"executor", "version", "model",    "device",
                                       "roles",    "policy",  "drafter0", NULL};
    json_object(&p->w, NULL);
    json_string(&p->w, "displayTimeUnit", "ns");
    json_object(&p->w, "otherData");
    for (int i = 0; keys[i]; i++)
        if (log_header(r, keys[i]))
            json_string(&p->w, keys[i], log_header(r, keys[i]));
    json_close(&p->w);
    json_array(&p->w, "traceEvents");
}

int export_perfetto(struct log_reader *r, FILE *f, struct err *e)
{
    struct perfetto *p = calloc(1, sizeof *p);
    struct run_setup *setup = calloc(1, sizeof *setup);
    if (!p || !setup) {
        free(p);
        free(setup);
        return err_set(e, ERR_NOMEM, "out of memory to export a log");
    }
    json_writer_init(&p->w, f, 0);
    find_processors(p, r, setup);
    put_head(p, r);
    int rc = put_records(p, r, e);
    json_close(&p->w);
    json_close(&p->w);
    int wrote = json_line(&p->w);
    if (!rc && wrote)
        rc = err_set(e, wrote, "cannot write: %s",
                     wrote == ERR_IO ? err_system(errno) : err_text(wrote));
    json_writer_fini(&p->w);
    free(p->jobs.at);
    free((void *)p->order);
    free(p->rate);
    free(p->open);
    free(p->beat);
    free(p);
    free(setup);
    return written(f, rc, e);
}
