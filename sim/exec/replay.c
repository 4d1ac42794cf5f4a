/* A log as an executor. Actions are compared as bytes: one action has one encoding (log_code.h), so
 * equal bytes mean that every field and every array is equal. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/exec/drafting.h"
#include "sim/exec/jobs.h"
#include "sim/exec/log_code.h"
#include "sim/exec/shims.h"

struct flight {
    struct job job;
    void *arrays; /* of DRAFT and CALIBRATE */
};

struct replay {
    struct exec base;
    const struct run_setup *setup;
    struct log_reader *log;
    struct exec_caps caps;
    struct drafting *drafting;
    struct draft_tree tree; /* [caps.max_rows] */
    struct log_record at;   /* the next record, when `have` */
    bool have;
    int64_t base_ns;        /* of the event before */
    struct log_bytes bytes; /* what the policy did, encoded */
    int32_t *pool;          /* arrays of the event that was delivered */
    size_t cap_pool;
    struct flight *flight;
    int32_t n_flight, cap_flight;
    int code; /* of a difference that host() found */
    struct err why;
};

/* ---- differences ---------------------------------------------------------------------------- */

/* Both sides from a little before where they part. */
static int differ(struct replay *r, const char *who, const char *ours, const char *logged,
                  struct err *e)
{
    enum { BEFORE = 60, SHOWN = 230 };
    size_t same = 0;
    while (ours[same] && ours[same] == logged[same])
        same++;
    size_t from = same > SHOWN - BEFORE ? same - BEFORE : 0;
    const char *cut = from ? ".." : "";
    return err_set(e, ERR_REPLAY,
                   "record %" PRId64 " at byte %zu, time %" PRId64
                   " ns: %s: \"%s%.*s\", in the log: \"%s%.*s\"",
                   r->at.number, r->at.offset, r->at.time_ns, who, cut, SHOWN, ours + from, cut,
                   SHOWN, logged + from);
}

/* What is printed by one of log_print's functions as a string of the caller's, NULL without
 * memory. */
struct text {
    char *s;
    size_t n;
    FILE *f;
};

static FILE *text_open(struct text *t)
{
    t->s = NULL;
    return t->f = open_memstream(&t->s, &t->n);
}

static const char *text_close(struct text *t)
{
    if (!t->f || fclose(t->f))
        return "(out of memory)";
    return t->s;
}

static void print_logged(FILE *f, const struct log_record *r)
{
    if (r->type == LOG_EVENT) {
        log_print_event(f, &r->event, INT32_MAX);
        if (r->event.kind != EV_DONE)
            fprintf(f, " due_ns=%" PRId64, r->due_ns);
    } else if (r->type == LOG_ACTION) {
        log_print_action(f, &r->action, INT32_MAX);
    } else {
        log_print(f, r, INT32_MAX);
    }
}

static int differs_action(struct replay *r, const struct action *a, struct err *e)
{
    struct text ours, logged;
    if (text_open(&ours))
        log_print_action(ours.f, a, INT32_MAX);
    if (text_open(&logged))
        print_logged(logged.f, &r->at);
    int rc = differ(r, "the policy's action", text_close(&ours), text_close(&logged), e);
    free(ours.s);
    free(logged.s);
    return rc;
}

static int differs_event(struct replay *r, const struct event *due, struct err *e)
{
    struct text ours, logged;
    if (text_open(&ours) && due->kind) {
        log_print_event(ours.f, due, INT32_MAX);
        fprintf(ours.f, " due_ns=%" PRId64, due->time_ns);
    } else if (ours.f) {
        fputs("nothing", ours.f);
    }
    if (text_open(&logged))
        print_logged(logged.f, &r->at);
    const char *who = r->at.type == LOG_ACTION    ? "the policy did no more, due is"
                      : r->at.type == LOG_TRAILER ? "the run goes on, due is"
                                                  : "due is";
    int rc = differ(r, who, text_close(&ours), text_close(&logged), e);
    free(ours.s);
    free(logged.s);
    return rc;
}

static int peek(struct replay *r, struct err *e)
{
    if (r->code)
        return err_set(e, r->code, "%s", r->why.msg);
    int rc = r->have ? ERR_OK : log_next(r->log, &r->at, e);
    r->have = !rc;
    return rc;
}

/* ---- jobs ----------------------------------------------------------------------------------- */

static int add_flight(struct replay *r, const struct job *job, struct err *e)
{
    if (r->n_flight == r->cap_flight) {
        int32_t cap = r->cap_flight ? 2 * r->cap_flight : 32;
        struct flight *more = realloc(r->flight, (size_t)cap * sizeof *more);
        if (!more)
            return err_set(e, ERR_NOMEM, "out of memory to replay");
        r->flight = more;
        r->cap_flight = cap;
    }
    struct flight *f = &r->flight[r->n_flight];
    *f = (struct flight){.job = *job};
    size_t n = 0, n_floats = 0;
    if (job->kind == JOB_DRAFT)
        n = (size_t)job->draft.n + 3 * (size_t)job->draft.n_rows;
    else if (job->kind == JOB_CALIBRATE)
        n = n_floats = (size_t)job->calibrate.n * (size_t)job->calibrate.k;
    if (n) {
        int32_t *words = malloc(n * sizeof *words + n_floats * sizeof(float));
        if (!words)
            return err_set(e, ERR_NOMEM, "out of memory to replay");
        f->arrays = words;
        job_copy(&f->job, job, words, (float *)(void *)(words + n));
    }
    r->n_flight++;
    return ERR_OK;
}

static void drop_flight(struct replay *r, struct flight *f)
{
    free(f->arrays);
    r->n_flight--;
    memmove(f, f + 1, (size_t)(r->flight + r->n_flight - f) * sizeof *f);
}

/* Runs a drafter's job again and compares. */
static int redraft(struct replay *r, const struct job *job, const struct done *d, struct err *e)
{
    int32_t index = job->kind == JOB_DRAFT ? job->draft.drafter : job->calibrate.drafter;
    bool known = index >= 0 && index < r->setup->n_drafters;
    if (known && (r->setup->drafter[index].type->flags & DRAFTER_NEEDS_TRUTH))
        return ERR_OK;
    struct draft_work work = {0};
    int rc = drafting_run(r->drafting, job, &r->tree, &work);
    if (rc)
        return err_set(
            e, rc, "record %" PRId64 " at byte %zu: job %" PRId64 " (%s) cannot be run again: %s",
            r->at.number, r->at.offset, job->id, job_kind_name(job->kind), err_text(rc));
    if (drafting_hash(&r->tree) == drafting_hash(&d->tree) && work.tokens == d->work.tokens &&
        work.probes == d->work.probes && work.nodes == d->work.nodes)
        return ERR_OK;
    struct event ours = {.kind = EV_DONE, .request = r->at.event.request, .done = *d};
    ours.done.tree = r->tree;
    ours.done.work = work;
    struct text a, b;
    if (text_open(&a))
        log_print_event(a.f, &ours, INT32_MAX);
    if (text_open(&b))
        log_print_event(b.f, &r->at.event, INT32_MAX);
    char who[128];
    snprintf(who, sizeof who, "drafter %" PRId32 " (%.60s) gives", index,
             r->setup->drafter[index].type->name);
    rc = differ(r, who, text_close(&a), text_close(&b), e);
    free(a.s);
    free(b.s);
    return rc;
}

static bool all_in(const int32_t *v, int64_t n, int32_t min, int32_t max)
{
    for (int64_t i = 0; i < n; i++)
        if (v[i] < min || v[i] > max)
            return false;
    return true;
}

static bool is_tree(const struct draft_tree *t, int32_t max_nodes, int32_t last)
{
    if (t->n > max_nodes || !all_in(t->token, t->n, 0, last) ||
        (t->chance && !all_in(t->chance, t->n, 0, DRAFT_SURE)))
        return false;
    for (int32_t i = 0; i < t->n; i++)
        if (t->parent[i] < -1 || t->parent[i] >= i)
            return false;
    return true;
}

/* A policy trusts an executor with the shape of outputs; a file is not to be trusted. */
static bool has_outputs_of(const struct replay *r, const struct job *job, const struct done *d)
{
    int32_t last = r->setup->n_vocab - 1;
    if (d->job_kind != job->kind || !all_in(d->choice, d->n_choice, -1, last))
        return false;
    if (d->status != DONE_OK)
        return true;
    if (job->kind == JOB_DRAFT && !is_tree(&d->tree, job->draft.max_nodes, last))
        return false;
    if (job->kind != JOB_FORWARD && job->kind != JOB_HEAD)
        return !d->n_choice;
    const struct job_forward *f = &job->forward;
    bool ends = job->kind == JOB_HEAD || (f->b1 == r->caps.blocks && f->slot_out < 0);
    int32_t n = ends && f->want != WANT_NONE ? f->n - f->want_from : 0;
    int32_t k = n && f->want == WANT_TOPK ? f->want_k : 0;
    return d->n_choice == n && d->k == k && all_in(d->top, (int64_t)n * k, 0, last);
}

static int take_done(struct replay *r, struct err *e)
{
    const struct done *d = &r->at.event.done;
    int32_t i = 0;
    while (i < r->n_flight && r->flight[i].job.id != d->id)
        i++;
    if (i == r->n_flight)
        return err_set(e, ERR_REPLAY,
                       "record %" PRId64 " at byte %zu: job %" PRId64
                       " ends in the log and is not in flight",
                       r->at.number, r->at.offset, d->id);
    const struct job *job = &r->flight[i].job;
    if (!has_outputs_of(r, job, d))
        return err_set(e, ERR_CORRUPT,
                       "record %" PRId64 " at byte %zu: the outputs of job %" PRId64
                       " (%s) are not what it asked for",
                       r->at.number, r->at.offset, d->id, job_kind_name(job->kind));
    int rc = ERR_OK;
    if (d->status == DONE_OK && (job->kind == JOB_DRAFT || job->kind == JOB_CALIBRATE))
        rc = redraft(r, job, d, e);
    drop_flight(r, &r->flight[i]);
    return rc;
}

/* ---- the executor --------------------------------------------------------------------------- */

static void replay_caps(const struct exec *x, struct exec_caps *out)
{
    *out = ((const struct replay *)x)->caps;
}

/* The event again, with arrays that stay while the records after it are read. A prompt's lie in
 * the reader until it is closed. */
static int deliver(struct replay *r, struct event *out, struct err *e)
{
    const struct log_record *at = &r->at;
    *out = at->event;
    if (at->event.kind == EV_DONE) {
        if (at->n_payload > r->cap_pool) {
            free(r->pool);
            r->cap_pool = 2 * at->n_payload;
            r->pool = malloc(r->cap_pool * sizeof *r->pool);
            if (!r->pool) {
                r->cap_pool = 0;
                return err_set(e, ERR_NOMEM, "out of memory to replay");
            }
        }
        struct log_cursor c = {
            .at = at->payload, .end = at->payload + at->n_payload, .pool = r->pool};
        int64_t due_ns;
        log_get_event(&c, r->base_ns, out, &due_ns);
    }
    r->base_ns = at->time_ns;
    r->have = false;
    return ERR_OK;
}

/* The driver's own event must be the logged one, in all that it says and in when it was due. */
static int take_own(struct replay *r, const struct event *due, struct err *e)
{
    struct event ours = *due;
    ours.time_ns = r->at.event.time_ns;
    r->bytes.n = 0;
    if (due->kind)
        log_put_event(&r->bytes, &ours, due->time_ns, r->base_ns);
    if (r->bytes.code)
        return err_set(e, r->bytes.code, "out of memory to replay");
    if (r->bytes.n != r->at.n_payload || memcmp(r->bytes.at, r->at.payload, r->bytes.n))
        return differs_event(r, due, e);
    return due->kind == EV_ARRIVE ? drafting_open(r->drafting, due->request, due->arrive.n, e)
                                  : ERR_OK;
}

static int replay_next(struct exec *x, const struct event *due, struct event *out, struct err *e)
{
    struct replay *r = (struct replay *)x;
    int rc = peek(r, e);
    if (rc)
        return rc;
    if (r->at.type != LOG_EVENT)
        return differs_event(r, due, e);
    rc = r->at.event.kind == EV_DONE ? take_done(r, e) : take_own(r, due, e);
    return rc ? rc : deliver(r, out, e);
}

static int64_t replay_host(struct exec *x, const struct host_work *work)
{
    struct replay *r = (struct replay *)x;
    r->code = peek(r, &r->why);
    if (r->code)
        return 0;
    if (r->at.type == LOG_HOST && r->at.host.work.actions == work->actions &&
        r->at.host.work.submits == work->submits) {
        r->have = false;
        return r->at.host.host_ns;
    }
    /* The first action that differs says more than their number: it is reported when it comes. When
     * none comes, the next call of next reports that the log has more. */
    if (r->at.type == LOG_HOST && (work->actions || r->at.host.work.actions)) {
        r->have = false;
        return r->at.host.host_ns;
    }
    struct text ours, logged;
    if (text_open(&ours))
        fprintf(ours.f, "%" PRId64 " actions", work->actions);
    if (text_open(&logged))
        print_logged(logged.f, &r->at);
    r->code =
        differ(r, "the policy answered with", text_close(&ours), text_close(&logged), &r->why);
    free(ours.s);
    free(logged.s);
    return 0;
}

static int replay_act(struct exec *x, const struct action *action, struct err *e)
{
    struct replay *r = (struct replay *)x;
    int rc = peek(r, e);
    if (rc)
        return rc;
    r->bytes.n = 0;
    log_put_action(&r->bytes, action);
    if (r->bytes.code)
        return err_set(e, r->bytes.code, "an action cannot be compared: %s",
                       err_text(r->bytes.code));
    if (r->at.type != LOG_ACTION || r->bytes.n != r->at.n_payload ||
        memcmp(r->bytes.at, r->at.payload, r->bytes.n))
        return differs_action(r, action, e);
    r->have = false;
    if (action->kind == ACT_SUBMIT)
        return add_flight(r, &action->job, e);
    if (action->kind == ACT_EMIT)
        drafting_emit(r->drafting, action->emit.request, action->emit.token, action->emit.n);
    if (action->kind == ACT_FINISH)
        drafting_close(r->drafting, action->request);
    return ERR_OK;
}

int replay_finish(struct exec *x, struct err *e)
{
    struct replay *r = (struct replay *)x;
    int rc = peek(r, e);
    if (rc || r->at.type == LOG_TRAILER)
        return rc;
    struct text logged;
    if (text_open(&logged))
        print_logged(logged.f, &r->at);
    rc = differ(r, "the run", "is over", text_close(&logged), e);
    free(logged.s);
    return rc;
}

static void replay_destroy(struct exec *x)
{
    struct replay *r = (struct replay *)x;
    while (r->n_flight)
        drop_flight(r, &r->flight[r->n_flight - 1]);
    free(r->flight);
    free(r->pool);
    free(r->tree.token);
    free(r->tree.parent);
    free(r->tree.chance);
    log_bytes_fini(&r->bytes);
    drafting_destroy(r->drafting);
    log_close_reader(r->log);
    free(r);
}

static const struct exec_ops replay_ops = {
    .name = "replay",
    .caps = replay_caps,
    .next = replay_next,
    .act = replay_act,
    .host = replay_host,
    .destroy = replay_destroy,
};

static bool same_limits(const struct run_setup *a, const struct run_setup *b)
{
    return a->n_vocab == b->n_vocab && a->max_requests == b->max_requests && a->n_eos == b->n_eos &&
           !memcmp(a->eos, b->eos, (size_t)a->n_eos * sizeof *a->eos);
}

static int open_log(struct replay *r, const char *path, struct err *e)
{
    int rc = log_open(path, &r->log, e);
    if (rc)
        return rc;
    struct run_setup logged;
    log_limits(r->log, &logged, &r->caps);
    if (!same_limits(&logged, r->setup))
        return err_at(e, ERR_MISMATCH, path, 0, 0,
                      "the set-up's n_vocab, eos or max_requests is not the log's: take the "
                      "set-up from the log");
    size_t rows = (size_t)r->caps.max_rows;
    r->tree.token = malloc(rows * sizeof *r->tree.token);
    r->tree.parent = malloc(rows * sizeof *r->tree.parent);
    r->tree.chance = malloc(rows * sizeof *r->tree.chance);
    if (!r->tree.token || !r->tree.parent || !r->tree.chance)
        return err_set(e, ERR_NOMEM, "out of memory to replay %s", path);
    return drafting_create(r->setup, r->caps.max_ctx, r->caps.max_rows, &r->drafting, e);
}

int replay_create(const char *path, const struct run_setup *setup, struct exec **out, struct err *e)
{
    struct replay *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(e, ERR_NOMEM, "out of memory to replay %s", path);
    r->base.ops = &replay_ops;
    r->setup = setup;
    int rc = open_log(r, path, e);
    if (rc)
        replay_destroy(&r->base);
    else
        *out = &r->base;
    return rc;
}

/* ---- requests ------------------------------------------------------------------------------- */

static int bad_request(const char *path, const struct log_record *at, struct err *e)
{
    return err_at(e, ERR_CORRUPT, path, 0, 0,
                  "record %" PRId64 " at byte %zu: request %" PRId32
                  " cannot be run: requests arrive in order, once, with a prompt of known tokens, "
                  "1 to %d tokens to give, and are cancelled after that",
                  at->number, at->offset, at->event.request, LOG_MAX_CTX);
}

/* One pass over the log. The first counts (request NULL), the second fills. */
static int read_requests(const char *path, struct arena *arena, struct request *request, int32_t *n,
                         struct err *e)
{
    struct log_reader *r;
    struct log_record at = {0};
    struct run_setup setup;
    struct exec_caps caps;
    int rc = log_open(path, &r, e);
    if (rc)
        return rc;
    log_limits(r, &setup, &caps);
    *n = 0;
    while (!rc && at.type != LOG_TRAILER && !(rc = log_next(r, &at, e))) {
        const struct event *ev = &at.event;
        if (at.type != LOG_EVENT || ev->kind == EV_DONE || ev->kind == EV_WAKE)
            continue;
        if (ev->kind == EV_CANCEL_REQUEST) {
            if (ev->request < 0 || ev->request >= *n)
                rc = bad_request(path, &at, e);
            else if (request)
                request[ev->request].cancel_ns = at.due_ns;
            continue;
        }
        if (ev->request != *n || ev->arrive.n < 1 || ev->arrive.max_tokens < 1 ||
            ev->arrive.max_tokens > LOG_MAX_CTX || ev->arrive.arrival_ns < REQUEST_AFTER_PREVIOUS ||
            !all_in(ev->arrive.token, ev->arrive.n, 0, setup.n_vocab - 1)) {
            rc = bad_request(path, &at, e);
            continue;
        }
        (*n)++;
        if (!request)
            continue;
        int32_t *token = arena_alloc(arena, (size_t)ev->arrive.n, sizeof *token);
        if (!token) {
            rc = err_set(e, ERR_NOMEM, "out of memory for the requests of %s", path);
            continue;
        }
        memcpy(token, ev->arrive.token, (size_t)ev->arrive.n * sizeof *token);
        request[ev->request] = (struct request){.n = ev->arrive.n,
                                                .token = token,
                                                .max_tokens = ev->arrive.max_tokens,
                                                .arrival_ns = ev->arrive.arrival_ns,
                                                .cancel_ns = EXEC_NEVER};
    }
    log_close_reader(r);
    return rc;
}

int replay_requests(const char *path, struct arena *arena, struct request **out, int32_t *n,
                    struct err *e)
{
    int rc = read_requests(path, arena, NULL, n, e);
    if (rc)
        return rc;
    *out = arena_alloc(arena, (size_t)*n + 1, sizeof **out);
    if (!*out)
        return err_set(e, ERR_NOMEM, "out of memory for the requests of %s", path);
    return read_requests(path, arena, *out, n, e);
}
