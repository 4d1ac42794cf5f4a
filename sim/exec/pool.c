#include "sim/exec/pool.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "sim/exec/jobs.h"

int pool_init(struct pool *p, struct arena *arena, const struct exec_caps *caps, struct err *e)
{
    *p = (struct pool){.cap = caps->max_jobs};
    size_t rows = (size_t)caps->max_rows;
    size_t tops = rows * (size_t)(caps->max_topk > 1 ? caps->max_topk : 1);
    /* One more than may be in flight: a delivered job keeps its arrays while the next is submitted.
     */
    int32_t records = p->cap + 1;
    size_t words = 4 * rows + job_words(caps) + tops, floats = tops + job_floats(caps);
    int32_t *word = arena_room(arena, (size_t)records * words, sizeof *word);
    float *number = arena_room(arena, (size_t)records * floats, sizeof *number);
    p->record = arena_alloc(arena, (size_t)records, sizeof *p->record);
    p->flight = arena_room(arena, (size_t)p->cap, sizeof *p->flight);
    bool whole = word && number && p->record && p->flight &&
                 !watch_init(&p->watch, arena, (uint32_t)p->cap * 2);
    for (int32_t i = 0; whole && i < records; i++, word += words, number += floats) {
        struct job_record *r = &p->record[i];
        r->choice = word;
        r->token = r->choice + rows;
        r->parent = r->token + rows;
        r->chance = r->parent + rows;
        r->words = r->chance + rows;
        r->top = r->words + job_words(caps);
        r->logit = number;
        r->floats = number + tops;
        r->done.choice = r->choice;
        r->done.top = r->top;
        r->done.logit = r->logit;
        r->done.tree = (struct draft_tree){0, r->token, r->parent, r->chance};
        r->next = p->free;
        p->free = r;
    }
    return whole ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for %d jobs in flight", p->cap);
}

/* Nothing has come of the job yet. The arrays stay. */
static void blank(struct done *d, const struct job *job)
{
    d->id = job->id;
    d->job_kind = job->kind;
    d->status = DONE_OK;
    d->extrapolated = false;
    d->why = "";
    d->sample_ns = d->bytes = d->resident_bytes = 0;
    d->n_choice = d->k = d->tree.n = 0;
    d->work = (struct draft_work){0};
}

int pool_submit(struct pool *p, const struct job *job, struct job_record **out)
{
    struct job_record *r = p->free;
    if (p->n_flight == p->cap || !r || job->role >= EXEC_MAX_ROLES)
        return ERR_LIMIT;
    job_copy(&r->job, job, r->words, r->floats);
    p->free = r->next;
    r->next = NULL;
    r->state = JOB_WAITING;
    r->doomed = false;
    r->blocked = 0;
    r->start_ns = r->end_ns = 0;
    r->mark = 0;
    blank(&r->done, job);
    for (int i = 0; i < job->n_wait; i++) {
        const struct job_record *w = pool_find(p, job->wait[i]);
        if (w && w->state != JOB_ENDED)
            r->blocked++;
        else if (w && w->done.status != DONE_OK)
            r->doomed = true;
    }
    p->flight[p->n_flight++] = r;
    p->n_waiting++;
    if (p->role[job->role].tail)
        p->role[job->role].tail->next = r;
    else
        p->role[job->role].head = r;
    p->role[job->role].tail = r;
    *out = r;
    return ERR_OK;
}

/* ---- order ---------------------------------------------------------------------------------- */

bool pool_withdraw(struct pool *p, struct job_record *r)
{
    int role = r->job.role;
    struct job_record **link = &p->role[role].head, *last = NULL;
    while (*link && *link != r) {
        last = *link;
        link = &last->next;
    }
    if (!*link || r->state != JOB_WAITING)
        return false;
    *link = r->next;
    if (p->role[role].tail == r)
        p->role[role].tail = last;
    r->next = NULL;
    p->n_waiting--;
    return true;
}

void pool_start(struct pool *p, struct job_record *r)
{
    int role = r->job.role;
    assert(p->role[role].head == r && !r->blocked && "jobs of one role start in order");
    p->role[role].head = r->next;
    if (!r->next)
        p->role[role].tail = NULL;
    r->next = NULL;
    p->n_waiting--;
    r->state = JOB_RUNNING;
}

static int32_t drafter_of(const struct job *job)
{
    return job->kind == JOB_DRAFT ? job->draft.drafter : job->calibrate.drafter;
}

bool pool_rival(const struct pool *p, struct job_record *r)
{
    for (int32_t i = 0; pool_drafts(&r->job) && i < p->n_flight; i++) {
        const struct job_record *other = p->flight[i];
        const struct job *job = &other->job;
        if (other == r || other->state != JOB_RUNNING || !pool_drafts(job) ||
            job->request != r->job.request || drafter_of(job) != drafter_of(&r->job))
            continue;
        pool_fail(r, DONE_FAILED,
                  "job %" PRId64 " uses the same drafter of the same request at the same time: "
                  "let one wait for the other",
                  job->id);
        return true;
    }
    return false;
}

void pool_fail(struct job_record *r, enum done_status status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->why, sizeof r->why, fmt, ap);
    va_end(ap);
    r->done.status = (uint8_t)status;
    r->done.why = r->why;
}

void pool_done(const struct job_record *r, struct done *out)
{
    *out = r->done;
    out->start_ns = r->start_ns;
    out->end_ns = r->end_ns;
    if (out->status != DONE_OK) {
        out->n_choice = out->k = out->tree.n = 0;
        out->work = (struct draft_work){0};
    }
    if (!out->n_choice) {
        out->k = 0;
        out->choice = NULL;
    }
    if (!out->k) {
        out->top = NULL;
        out->logit = NULL;
    }
}

void pool_end(struct pool *p, struct job_record *r)
{
    assert(r->state != JOB_ENDED && "a job ends once");
    r->state = JOB_ENDED;
    for (int32_t i = 0; p->n_waiting && i < p->n_flight; i++) {
        struct job_record *w = p->flight[i];
        if (w->state != JOB_WAITING)
            continue;
        for (int k = 0; k < w->job.n_wait; k++)
            if (w->job.wait[k] == r->job.id) {
                w->blocked--;
                w->doomed = w->doomed || r->done.status != DONE_OK;
            }
    }
}

struct job_record *pool_find(const struct pool *p, int64_t id)
{
    for (int32_t i = 0; i < p->n_flight; i++)
        if (p->flight[i]->job.id == id)
            return p->flight[i];
    return NULL;
}

void pool_deliver(struct pool *p, struct job_record *r)
{
    assert(r->state == JOB_ENDED);
    int32_t i = 0;
    while (p->flight[i] != r)
        i++;
    p->n_flight--;
    /* Mostly it was the last: such calls for nothing were 6 % of parametric `bench sim`. */
    if (i < p->n_flight)
        memmove(&p->flight[i], &p->flight[i + 1], (size_t)(p->n_flight - i) * sizeof *p->flight);
}

void pool_release(struct pool *p, struct job_record *r)
{
    r->next = p->free;
    p->free = r;
}

/* ---- words ---------------------------------------------------------------------------------- */

static const char *name_of(const struct job_record *r, const char *const *role,
                           char name[WATCH_NAME])
{
    snprintf(name, WATCH_NAME, "job %" PRId64 " (%s on %s)", r->job.id, job_kind_name(r->job.kind),
             role[r->job.role]);
    return name;
}

const char *pool_describe(struct pool *p, const char *const *role, char *buf, size_t size)
{
    char name[WATCH_NAME], other[WATCH_NAME];
    int32_t n_waits = 0;
    size_t used = 0;
    watch_clear(&p->watch);
    for (int32_t i = 0; i < p->n_flight; i++) {
        const struct job_record *r = p->flight[i];
        name_of(r, role, name);
        if (r->state == JOB_RUNNING && used < size)
            used += (size_t)snprintf(buf + used, size - used, "%s is running; ", name);
        if (r->state != JOB_WAITING)
            continue;
        n_waits++;
        for (int k = 0; k < r->job.n_wait; k++) {
            const struct job_record *w = pool_find(p, r->job.wait[k]);
            if (w && w->state != JOB_ENDED)
                watch_add(&p->watch, name, name_of(w, role, other));
        }
        const struct job_record *head = p->role[r->job.role].head;
        if (head != r)
            watch_add(&p->watch, name, name_of(head, role, other));
        else if (!r->blocked)
            watch_add(&p->watch, name, "a worker");
    }
    if (used + 4 > size)
        return buf;
    if (used && !n_waits)
        buf[used - strlen("; ")] = 0;
    else
        watch_format(&p->watch, buf + used, size - used);
    return buf;
}
