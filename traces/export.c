#include "traces/export.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/base/json.h"

static int written(FILE *f, int rc, struct err *e)
{
    if (!rc && (fflush(f) || ferror(f)))
        return err_set(e, ERR_IO, "cannot write: %s", strerror(errno));
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
    size_t from = 0, to = j->n;
    int64_t id = at->event.done.id;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (j->at[mid].job.id < id)
            from = mid + 1;
        else
            to = mid;
    }
    if (from == j->n || j->at[from].job.id != id || j->at[from].ended ||
        j->at[from].job.kind != at->event.done.job_kind)
        return err_set(e, ERR_CORRUPT,
                       "record %" PRId64 " at byte %zu: job %" PRId64
                       " ends, which is not in flight as a %s",
                       at->number, at->offset, id, log_job_name(at->event.done.job_kind));
    j->at[from].ended = true;
    *out = &j->at[from].job;
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
    fputs("request,job,phase,role,graph,b0,b1,width,n,pos,start_ns,end_ns,sample_ns,status,bytes\n",
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
                ",%" PRId32 ",%" PRId32 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%s,%" PRId64 "\n",
                job->request, job->id, log_phase_name(job->phase), job->role, s->graph, s->b0,
                s->b1, s->width, s->n, s->pos, d->start_ns, d->end_ns, d->sample_ns,
                log_status_name(d->status), d->bytes);
    }
    free(jobs.at);
    return written(f, rc, e);
}

/* ---- Perfetto ------------------------------------------------------------------------------- */

enum { PID_ROLES = 1, PID_REQUESTS, PID_BUS };

/* A change of the bus's rate. */
struct rate {
    int64_t time_ns;
    double mb_per_s;
    size_t order; /* for a total order */
};

struct life {
    int64_t arrive_ns, first_ns, n_output;
    int32_t request, n_prompt;
};

struct perfetto {
    struct json_writer w;
    struct jobs jobs;
    struct rate *rate;
    size_t n_rates, cap_rates;
    struct life *open;
    size_t n_open, cap_open;
    bool seen_role[256];
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

static void name_of(struct perfetto *p, const char *what, int pid, int64_t tid, const char *name)
{
    begin(p, "M", what, pid, tid);
    json_object(&p->w, "args");
    json_string(&p->w, "name", name);
    json_close(&p->w);
    json_close(&p->w);
}

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

static int put_job(struct perfetto *p, const struct job *job, const struct done *d, struct err *e)
{
    char name[64];
    p->seen_role[job->role] = true;
    snprintf(name, sizeof name, "%s%s%s", log_job_name(job->kind), job->phase ? " " : "",
             job->phase ? log_phase_name(job->phase) : "");
    begin(p, "X", name, PID_ROLES, job->role);
    json_double(&p->w, "ts", us(d->start_ns));
    json_double(&p->w, "dur", span_us(d->start_ns, d->end_ns));
    json_object(&p->w, "args");
    json_int(&p->w, "job", job->id);
    json_int(&p->w, "request", job->request);
    json_string(&p->w, "status", log_status_name(d->status));
    if (job->kind == JOB_FORWARD || job->kind == JOB_HEAD) {
        json_int(&p->w, "graph", job->forward.graph);
        json_int(&p->w, "b0", job->forward.b0);
        json_int(&p->w, "b1", job->forward.b1);
        json_int(&p->w, "width", job->forward.width);
        json_int(&p->w, "n", job->forward.n);
        json_int(&p->w, "pos", job->forward.pos);
        json_int(&p->w, "sample_ns", d->sample_ns);
    } else if (job->kind == JOB_DRAFT) {
        json_int(&p->w, "proposed", d->tree.n);
    }
    if (d->bytes > 0)
        json_int(&p->w, "bytes", d->bytes);
    json_close(&p->w);
    json_close(&p->w);
    if (d->bytes <= 0 || d->end_ns <= d->start_ns)
        return ERR_OK;
    double mb_per_s = (double)d->bytes / span_us(d->start_ns, d->end_ns);
    int rc = add_rate(p, d->start_ns, mb_per_s, e);
    return rc ? rc : add_rate(p, d->end_ns, -mb_per_s, e);
}

/* ---- requests ------------------------------------------------------------------------------- */

static struct life *find_life(struct perfetto *p, int32_t request)
{
    for (size_t i = 0; i < p->n_open; i++)
        if (p->open[i].request == request)
            return &p->open[i];
    return NULL;
}

static int arrived(struct perfetto *p, const struct event *ev, struct err *e)
{
    void *at = p->open;
    int rc = grow(&at, &p->cap_open, p->n_open, sizeof *p->open, e);
    p->open = at;
    if (!rc)
        p->open[p->n_open++] = (struct life){
            .arrive_ns = ev->time_ns, .request = ev->request, .n_prompt = ev->arrive.n};
    return rc;
}

static void emitted(struct perfetto *p, const struct log_record *at)
{
    struct life *l = find_life(p, at->action.emit.request);
    if (!l)
        return;
    if (!l->n_output)
        l->first_ns = at->time_ns;
    l->n_output += at->action.emit.n;
}

static void finished(struct perfetto *p, const struct log_record *at)
{
    char name[32];
    struct life *l = find_life(p, at->action.request);
    if (!l)
        return;
    snprintf(name, sizeof name, "request %" PRId32, l->request);
    name_of(p, "thread_name", PID_REQUESTS, l->request, name);
    begin(p, "X", name, PID_REQUESTS, l->request);
    json_double(&p->w, "ts", us(l->arrive_ns));
    json_double(&p->w, "dur", span_us(l->arrive_ns, at->time_ns));
    json_object(&p->w, "args");
    json_int(&p->w, "prompt_tokens", l->n_prompt);
    json_int(&p->w, "output_tokens", l->n_output);
    json_close(&p->w);
    json_close(&p->w);
    if (l->n_output) {
        begin(p, "i", "first token", PID_REQUESTS, l->request);
        json_string(&p->w, "s", "t");
        json_double(&p->w, "ts", us(l->first_ns));
        json_close(&p->w);
    }
    *l = p->open[--p->n_open];
}

/* ---- tracks --------------------------------------------------------------------------------- */

/* "target=cpu:1 draft=cpu:0" names the roles in their order. */
static void name_roles(struct perfetto *p, const char *roles)
{
    name_of(p, "process_name", PID_ROLES, 0, "roles");
    name_of(p, "process_name", PID_REQUESTS, 0, "requests");
    if (p->n_rates)
        name_of(p, "process_name", PID_BUS, 0, "bus");
    for (int i = 0; i < 256; i++) {
        char name[300];
        size_t n = strcspn(roles, " ");
        snprintf(name, sizeof name, "role %d", i);
        if (n)
            snprintf(name, sizeof name, "%.*s", (int)n, roles);
        roles += n + (roles[n] != 0);
        if (p->seen_role[i])
            name_of(p, "thread_name", PID_ROLES, i, name);
    }
}

static int by_time(const void *a, const void *b)
{
    const struct rate *x = a, *y = b;
    if (x->time_ns != y->time_ns)
        return x->time_ns < y->time_ns ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static void put_bus(struct perfetto *p)
{
    double sum = 0;
    size_t running = 0;
    if (p->n_rates)
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
        json_close(&p->w);
        json_close(&p->w);
    }
}

static int put_records(struct perfetto *p, struct log_reader *r, struct err *e)
{
    struct log_record at = {0};
    int rc = ERR_OK;
    while (!rc && at.type != LOG_TRAILER) {
        const struct job *job;
        rc = next(r, &p->jobs, &at, &job, e);
        if (rc)
            break;
        if (job)
            rc = put_job(p, job, &at.event.done, e);
        else if (at.type == LOG_EVENT && at.event.kind == EV_ARRIVE)
            rc = arrived(p, &at.event, e);
        else if (at.type == LOG_ACTION && at.action.kind == ACT_EMIT)
            emitted(p, &at);
        else if (at.type == LOG_ACTION && at.action.kind == ACT_FINISH)
            finished(p, &at);
    }
    return rc;
}

int export_perfetto(struct log_reader *r, FILE *f, struct err *e)
{
    static const char *const keys[] = {"executor", "version",  "model", "device",
                                       "policy",   "drafter0", NULL};
    struct perfetto p = {0};
    json_writer_init(&p.w, f, 0);
    json_object(&p.w, NULL);
    json_string(&p.w, "displayTimeUnit", "ns");
    json_object(&p.w, "otherData");
    for (int i = 0; keys[i]; i++)
        if (log_header(r, keys[i]))
            json_string(&p.w, keys[i], log_header(r, keys[i]));
    json_close(&p.w);
    json_array(&p.w, "traceEvents");
    int rc = put_records(&p, r, e);
    name_roles(&p, log_header(r, "roles"));
    put_bus(&p);
    json_close(&p.w);
    json_close(&p.w);
    int wrote = json_line(&p.w);
    if (!rc && wrote)
        rc = err_set(e, wrote, "cannot write: %s", err_text(wrote));
    json_writer_fini(&p.w);
    free(p.jobs.at);
    free(p.rate);
    free(p.open);
    return written(f, rc, e);
}
