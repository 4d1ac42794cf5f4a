/* Records as text: one line each, for `tandem log` and for what replay says. */
#include <inttypes.h>

#include "sim/exec/jobs.h"
#include "sim/exec/log.h"

#define NAME_OF(list, i) ((size_t)(i) < sizeof(list) / sizeof *(list) ? (list)[i] : "?")

const char *log_job_name(uint8_t job_kind)
{
    return job_kind_name(job_kind);
}

const char *log_phase_name(uint8_t phase)
{
    static const char *const name[] = {"none", "prefill", "decode", "verify", "draft"};
    return NAME_OF(name, phase);
}

const char *log_event_name(uint8_t event_kind)
{
    static const char *const name[] = {"?", "DONE", "ARRIVE", "CANCEL_REQUEST", "WAKE"};
    return NAME_OF(name, event_kind);
}

const char *log_action_name(uint8_t action_kind)
{
    static const char *const name[] = {"?", "SUBMIT", "CANCEL", "WAKE", "EMIT", "FINISH"};
    return NAME_OF(name, action_kind);
}

const char *log_status_name(uint8_t done_status)
{
    static const char *const name[] = {"ok", "cancelled", "failed", "no-memory"};
    return NAME_OF(name, done_status);
}

static void field(FILE *f, const char *name, int64_t v)
{
    fprintf(f, " %s=%" PRId64, name, v);
}

/* " name[n]=1,2,3,..", and " name[n]=-" for an array that is absent. */
static void words(FILE *f, const char *name, const int32_t *word, int64_t n, int32_t max_items)
{
    fprintf(f, " %s[%" PRId64 "]=", name, n);
    if (!word)
        fputc('-', f);
    for (int64_t i = 0; word && i < n && i < max_items; i++)
        fprintf(f, "%s%" PRId32, i ? "," : "", word[i]);
    if (word && n > max_items)
        fputs(",..", f);
}

static void floats(FILE *f, const char *name, const float *v, int64_t n, int32_t max_items)
{
    fprintf(f, " %s[%" PRId64 "]=", name, n);
    if (!v)
        fputc('-', f);
    for (int64_t i = 0; v && i < n && i < max_items; i++)
        fprintf(f, "%s%.9g", i ? "," : "", (double)v[i]);
    if (v && n > max_items)
        fputs(",..", f);
}

static void print_forward(FILE *f, const struct job_forward *x, int32_t max_items)
{
    static const char *const want[] = {"none", "argmax", "topk"};
    field(f, "graph", x->graph);
    fprintf(f, " blocks=%" PRId32 "..%" PRId32, x->b0, x->b1);
    field(f, "width", x->width);
    field(f, "seq", x->seq);
    field(f, "pos", x->pos);
    field(f, "n", x->n);
    if (x->slot_in >= 0)
        field(f, "slot_in", x->slot_in);
    if (x->slot_out >= 0)
        field(f, "slot_out", x->slot_out);
    fprintf(f, " want=%s", NAME_OF(want, x->want));
    field(f, "from", x->want_from);
    if (x->want_k)
        field(f, "k", x->want_k);
    words(f, "token", x->token, x->n, max_items);
    if (x->parent)
        words(f, "parent", x->parent, x->n, max_items);
}

static void print_job(FILE *f, const struct job *j, int32_t max_items)
{
    fprintf(f, " job=%" PRId64 " %s", j->id, job_kind_name(j->kind));
    if (j->phase != PHASE_NONE)
        fprintf(f, " %s", log_phase_name(j->phase));
    field(f, "request", j->request);
    field(f, "role", j->role);
    for (int i = 0; i < j->n_wait; i++)
        field(f, "wait", j->wait[i]);
    switch (j->kind) {
    case JOB_FORWARD:
    case JOB_HEAD:
        print_forward(f, &j->forward, max_items);
        break;
    case JOB_DRAFT:
        field(f, "drafter", j->draft.drafter);
        field(f, "max_nodes", j->draft.max_nodes);
        words(f, "token", j->draft.token, j->draft.n, max_items);
        if (j->draft.n_rows) {
            words(f, "row_token", j->draft.row_token, j->draft.n_rows, max_items);
            words(f, "row_parent", j->draft.row_parent, j->draft.n_rows, max_items);
            words(f, "row_choice", j->draft.row_choice, j->draft.n_rows, max_items);
        }
        break;
    case JOB_CALIBRATE: {
        const struct job_calibrate *c = &j->calibrate;
        field(f, "drafter", c->drafter);
        field(f, "pos", c->pos);
        field(f, "n", c->n);
        field(f, "k", c->k);
        words(f, "top", c->top, (int64_t)c->n * c->k, max_items);
        floats(f, "logit", c->logit, (int64_t)c->n * c->k, max_items);
        break;
    }
    case JOB_COMMIT:
        field(f, "seq", j->commit.seq);
        field(f, "pos", j->commit.pos);
        words(f, "row", j->commit.row, j->commit.n, max_items);
        break;
    case JOB_LOAD:
    case JOB_FREE:
        field(f, "graph", j->graph.graph);
        field(f, "block", j->graph.block);
        break;
    default:
        field(f, "from", j->copy.seq_from);
        field(f, "to", j->copy.seq_to);
        field(f, "n", j->copy.n);
        break;
    }
}

static void print_time(FILE *f, const char *name, int64_t t_ns)
{
    if (t_ns == EXEC_NEVER)
        fprintf(f, " %s=never", name);
    else
        field(f, name, t_ns);
}

void log_print_action(FILE *f, const struct action *a, int32_t max_items)
{
    fputs(log_action_name(a->kind), f);
    switch (a->kind) {
    case ACT_SUBMIT:
        print_job(f, &a->job, max_items);
        break;
    case ACT_CANCEL:
        field(f, "job", a->id);
        break;
    case ACT_WAKE:
        print_time(f, "wake_ns", a->wake_ns);
        break;
    case ACT_EMIT:
        field(f, "request", a->emit.request);
        words(f, "token", a->emit.token, a->emit.n, max_items);
        break;
    default:
        field(f, "request", a->request);
        break;
    }
}

static void print_done(FILE *f, const struct done *d, int32_t max_items)
{
    fprintf(f, " job=%" PRId64 " %s %s", d->id, job_kind_name(d->job_kind),
            log_status_name(d->status));
    if (d->extrapolated)
        fputs(" extrapolated", f);
    if (d->why && *d->why)
        fprintf(f, " why=\"%s\"", d->why);
    field(f, "start_ns", d->start_ns);
    field(f, "end_ns", d->end_ns);
    if (d->sample_ns)
        field(f, "sample_ns", d->sample_ns);
    if (d->bytes)
        field(f, "bytes", d->bytes);
    if (d->resident_bytes)
        field(f, "resident_bytes", d->resident_bytes);
    if (d->n_choice)
        words(f, "choice", d->choice, d->n_choice, max_items);
    if (d->k && d->n_choice) {
        words(f, "top", d->top, (int64_t)d->n_choice * d->k, max_items);
        floats(f, "logit", d->logit, (int64_t)d->n_choice * d->k, max_items);
    }
    if (d->job_kind != JOB_DRAFT && d->job_kind != JOB_CALIBRATE)
        return;
    words(f, "token", d->tree.token, d->tree.n, max_items);
    words(f, "parent", d->tree.parent, d->tree.n, max_items);
    words(f, "chance", d->tree.chance, d->tree.n, max_items);
    field(f, "tokens", d->work.tokens);
    field(f, "probes", d->work.probes);
    field(f, "nodes", d->work.nodes);
}

void log_print_event(FILE *f, const struct event *ev, int32_t max_items)
{
    fputs(log_event_name(ev->kind), f);
    if (ev->request >= 0)
        field(f, "request", ev->request);
    if (ev->kind == EV_DONE)
        print_done(f, &ev->done, max_items);
    if (ev->kind != EV_ARRIVE)
        return;
    if (ev->arrive.arrival_ns == REQUEST_AFTER_PREVIOUS)
        fputs(" arrival=after-previous", f);
    else
        field(f, "arrival_ns", ev->arrive.arrival_ns);
    field(f, "max_tokens", ev->arrive.max_tokens);
    words(f, "prompt", ev->arrive.token, ev->arrive.n, max_items);
}

void log_print(FILE *f, const struct log_record *r, int32_t max_items)
{
    fprintf(f, "%14" PRId64 " ", r->time_ns);
    switch (r->type) {
    case LOG_EVENT:
        log_print_event(f, &r->event, max_items);
        if (r->due_ns != r->time_ns)
            field(f, "due_ns", r->due_ns);
        break;
    case LOG_HOST:
        fputs("  host", f);
        field(f, "host_ns", r->host.host_ns);
        field(f, "actions", r->host.work.actions);
        field(f, "submits", r->host.work.submits);
        break;
    case LOG_ACTION:
        fputs("  ", f);
        log_print_action(f, &r->action, max_items);
        break;
    default:
        fprintf(f, "end records=%" PRId64 " actions_hash=%016" PRIx64, r->trailer.n_records,
                r->trailer.actions_hash);
        break;
    }
}
