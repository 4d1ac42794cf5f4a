/* Records to bytes and back. Every count that is read is checked against the bytes that are left
 * before anything is done with it. */
#include "sim/exec/log_code.h"

#include <stdlib.h>
#include <string.h>

/* ---- encoding ------------------------------------------------------------------------------- */

void log_bytes_fini(struct log_bytes *b)
{
    free(b->at);
    *b = (struct log_bytes){0};
}

static unsigned char *room(struct log_bytes *b, size_t n)
{
    if (b->code)
        return NULL;
    if (n > b->cap - b->n) {
        size_t cap = b->cap ? b->cap : 4096;
        while (cap - b->n < n)
            cap *= 2;
        unsigned char *at = realloc(b->at, cap);
        if (!at) {
            b->code = ERR_NOMEM;
            return NULL;
        }
        b->at = at;
        b->cap = cap;
    }
    return b->at + b->n;
}

void log_put_u(struct log_bytes *b, uint64_t v)
{
    unsigned char *p = room(b, 10);
    if (!p)
        return;
    size_t n = 0;
    for (; v >= 128; v >>= 7)
        p[n++] = (unsigned char)(v | 128);
    p[n++] = (unsigned char)v;
    b->n += n;
}

void log_put_s(struct log_bytes *b, int64_t v)
{
    uint64_t u = (uint64_t)v << 1;
    log_put_u(b, v < 0 ? ~u : u);
}

/* A difference of times; it wraps, so that every pair of times has one. */
static void put_since(struct log_bytes *b, int64_t t_ns, int64_t base_ns)
{
    uint64_t d = (uint64_t)t_ns - (uint64_t)base_ns;
    log_put_u(b, d >> 63 ? ~(d << 1) : d << 1);
}

static void put_le(struct log_bytes *b, uint64_t v, size_t n)
{
    unsigned char *p = room(b, n);
    if (!p)
        return;
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(v >> (8 * i));
    b->n += n;
}

void log_put_u64(struct log_bytes *b, uint64_t v)
{
    put_le(b, v, 8);
}

static void put_words(struct log_bytes *b, const int32_t *word, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        log_put_s(b, word[i]);
}

static void put_floats(struct log_bytes *b, const float *f, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t w;
        memcpy(&w, &f[i], sizeof w);
        put_le(b, w, 4);
    }
}

/* A count, and whether the array is there: an even number when it is not. */
static bool put_count(struct log_bytes *b, int32_t n, const void *array)
{
    bool there = array && n > 0;
    log_put_s(b, n);
    log_put_u(b, there);
    return there;
}

static void put_array(struct log_bytes *b, int32_t n, const int32_t *array)
{
    if (put_count(b, n, array))
        put_words(b, array, n);
}

void log_put_belief(struct log_bytes *b, const struct belief *belief)
{
    const struct belief *f = belief;
    log_put_s(b, f->n_widths);
    log_put_s(b, f->n_contexts);
    log_put_s(b, f->n_blocks);
    put_words(b, f->width, f->n_widths);
    put_words(b, f->context, f->n_contexts);
    for (int32_t w = 0; w < f->n_widths; w++)
        for (int32_t c = 0; c < f->n_contexts; c++)
            log_put_s(b, f->step_ns[w][c]);
    for (int32_t i = 0; i < f->n_blocks; i++) {
        log_put_s(b, f->load_ns[i]);
        for (int32_t g = 0; g < EXEC_MAX_GRAPHS; g++)
            log_put_s(b, f->block_ns[g][i]);
    }
}

/* Added to a status in the file: the job's cost is extrapolated. */
enum { EXTRAPOLATED = DONE_NO_MEMORY + 1 };

static bool has_reason(uint8_t done_status)
{
    return done_status == DONE_FAILED || done_status == DONE_NO_MEMORY;
}

/* A line of text: bytes that would break one are made '?'. */
static void put_text(struct log_bytes *b, const char *text)
{
    size_t n = 0;
    while (text && n < EXEC_MAX_WHY - 1 && text[n])
        n++;
    log_put_u(b, n);
    unsigned char *p = room(b, n);
    for (size_t i = 0; p && i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        p[i] = c < ' ' || c == 127 ? '?' : c;
    }
    if (p)
        b->n += n;
}

static void put_tree(struct log_bytes *b, const struct draft_tree *t)
{
    put_array(b, t->n, t->token);
    if (t->n > 0)
        put_words(b, t->parent, t->n);
    put_array(b, t->n, t->chance);
}

static void put_done(struct log_bytes *b, const struct done *d, int64_t time_ns)
{
    log_put_s(b, d->id);
    log_put_u(b, d->job_kind);
    log_put_u(b, (uint64_t)d->status + (d->extrapolated ? EXTRAPOLATED : 0));
    if (has_reason(d->status))
        put_text(b, d->why);
    put_since(b, d->start_ns, time_ns);
    put_since(b, d->end_ns, d->start_ns);
    log_put_s(b, d->sample_ns);
    log_put_s(b, d->bytes);
    log_put_s(b, d->resident_bytes);
    put_array(b, d->n_choice, d->choice);
    log_put_s(b, d->k);
    if (d->k > 0 && d->n_choice > 0) {
        put_words(b, d->top, (int64_t)d->n_choice * d->k);
        put_floats(b, d->logit, (int64_t)d->n_choice * d->k);
    }
    put_tree(b, &d->tree);
    log_put_s(b, d->work.tokens);
    log_put_s(b, d->work.probes);
    log_put_s(b, d->work.nodes);
}

void log_put_event(struct log_bytes *b, const struct event *ev, int64_t due_ns, int64_t base_ns)
{
    log_put_u(b, ev->kind);
    put_since(b, ev->time_ns, base_ns);
    put_since(b, due_ns, ev->time_ns);
    log_put_s(b, ev->request);
    if (ev->kind == EV_DONE)
        put_done(b, &ev->done, ev->time_ns);
    if (ev->kind == EV_ARRIVE) {
        put_array(b, ev->arrive.n, ev->arrive.token);
        log_put_s(b, ev->arrive.max_tokens);
        log_put_s(b, ev->arrive.arrival_ns);
    }
}

static void put_forward(struct log_bytes *b, const struct job_forward *f)
{
    const int32_t number[] = {f->graph,   f->b0,       f->b1,        f->width,  f->seq, f->pos,
                              f->slot_in, f->slot_out, f->want_from, f->want_k, f->want};
    put_words(b, number, (int64_t)(sizeof number / sizeof *number));
    put_array(b, f->n, f->token);
    put_array(b, f->n, f->parent);
}

static void put_job(struct log_bytes *b, const struct job *j)
{
    log_put_s(b, j->id);
    log_put_s(b, j->request);
    log_put_u(b, j->kind);
    log_put_u(b, j->phase);
    log_put_u(b, j->role);
    log_put_u(b, j->n_wait);
    for (int i = 0; i < j->n_wait && i < EXEC_MAX_WAIT; i++)
        log_put_s(b, j->wait[i]);
    switch (j->kind) {
    case JOB_FORWARD:
    case JOB_HEAD:
        put_forward(b, &j->forward);
        break;
    case JOB_DRAFT:
        log_put_s(b, j->draft.drafter);
        log_put_s(b, j->draft.max_nodes);
        put_array(b, j->draft.n, j->draft.token);
        put_array(b, j->draft.n_rows, j->draft.row_token);
        put_array(b, j->draft.n_rows, j->draft.row_parent);
        put_array(b, j->draft.n_rows, j->draft.row_choice);
        break;
    case JOB_CALIBRATE:
        log_put_s(b, j->calibrate.drafter);
        log_put_s(b, j->calibrate.pos);
        log_put_s(b, j->calibrate.k);
        if (put_count(b, j->calibrate.n, j->calibrate.k > 0 ? j->calibrate.top : NULL)) {
            int64_t cells = (int64_t)j->calibrate.n * j->calibrate.k;
            put_words(b, j->calibrate.top, cells);
            put_floats(b, j->calibrate.logit, cells);
        }
        break;
    case JOB_COMMIT:
        log_put_s(b, j->commit.seq);
        log_put_s(b, j->commit.pos);
        put_array(b, j->commit.n, j->commit.row);
        break;
    case JOB_LOAD:
    case JOB_FREE:
        log_put_s(b, j->graph.graph);
        log_put_s(b, j->graph.block);
        break;
    case JOB_COPY:
        log_put_s(b, j->copy.seq_from);
        log_put_s(b, j->copy.seq_to);
        log_put_s(b, j->copy.n);
        break;
    default:
        b->code = ERR_POLICY;
    }
}

void log_put_action(struct log_bytes *b, const struct action *a)
{
    log_put_u(b, a->kind);
    switch (a->kind) {
    case ACT_SUBMIT:
        put_job(b, &a->job);
        break;
    case ACT_CANCEL:
        log_put_s(b, a->id);
        break;
    case ACT_WAKE:
        log_put_s(b, a->wake_ns);
        break;
    case ACT_EMIT:
        log_put_s(b, a->emit.request);
        put_array(b, a->emit.n, a->emit.token);
        break;
    case ACT_FINISH:
        log_put_s(b, a->request);
        break;
    default:
        b->code = ERR_POLICY;
    }
}

/* ---- decoding ------------------------------------------------------------------------------- */

static void bad(struct log_cursor *c, const char *why)
{
    if (!c->why)
        c->why = why;
    c->at = c->end;
}

static int64_t left(const struct log_cursor *c)
{
    return c->end - c->at;
}

uint64_t log_get_u(struct log_cursor *c)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (c->at == c->end) {
            bad(c, "the payload ends inside a number");
            return 0;
        }
        unsigned byte = *c->at++;
        if ((shift == 63 && byte > 1) || (shift && !byte)) {
            bad(c, "a number is not in its shortest form, or has more than 64 bits");
            return 0;
        }
        v |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return v;
    }
    return 0;
}

int64_t log_get_s(struct log_cursor *c)
{
    uint64_t u = log_get_u(c);
    /* The magnitude fits int64_t in both branches; -1 - m reaches INT64_MIN without overflow. */
    int64_t m = (int64_t)(u >> 1);
    return u & 1 ? -1 - m : m;
}

static int64_t get_since(struct log_cursor *c, int64_t base_ns)
{
    uint64_t t = (uint64_t)base_ns + (uint64_t)log_get_s(c);
    int64_t out;
    memcpy(&out, &t, sizeof out);
    return out;
}

static uint64_t get_le(struct log_cursor *c, size_t n)
{
    if (left(c) < (int64_t)n) {
        bad(c, "the payload ends inside a number");
        return 0;
    }
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)c->at[i] << (8 * i);
    c->at += n;
    return v;
}

uint64_t log_get_u64(struct log_cursor *c)
{
    return get_le(c, 8);
}

static int32_t get_i32(struct log_cursor *c)
{
    int64_t v = log_get_s(c);
    if (v < INT32_MIN || v > INT32_MAX) {
        bad(c, "a number has more than 32 bits");
        return 0;
    }
    return (int32_t)v;
}

/* A number in [from, to]. */
static uint8_t get_kind(struct log_cursor *c, unsigned from, unsigned to, const char *why)
{
    uint64_t v = log_get_u(c);
    if (v >= from && v <= to)
        return (uint8_t)v;
    bad(c, why);
    return 0;
}

/* Every item takes at least a byte, so that a count of more items than bytes is a lie. */
static bool fits(struct log_cursor *c, int64_t items)
{
    if (items >= 0 && items <= left(c))
        return true;
    bad(c, "an array is longer than the record that holds it");
    return false;
}

static int32_t *get_words(struct log_cursor *c, int64_t n)
{
    if (!fits(c, n) || !n)
        return NULL;
    int32_t *out = c->pool;
    c->pool += n;
    for (int64_t i = 0; i < n; i++)
        out[i] = get_i32(c);
    return out;
}

static const float *get_floats(struct log_cursor *c, int64_t n)
{
    if (!fits(c, n) || !n)
        return NULL;
    int32_t *word = c->pool;
    c->pool += n;
    for (int64_t i = 0; i < n; i++) {
        uint32_t w = (uint32_t)get_le(c, 4);
        memcpy(&word[i], &w, sizeof w);
    }
    /* A float lies in a word of the pool; it is read and written by memcpy on both sides. */
    return (const float *)(const void *)word;
}

/* The count of an array and whether it is there. */
static bool get_count(struct log_cursor *c, int32_t *n)
{
    *n = get_i32(c);
    bool there = get_kind(c, 0, 1, "a flag is neither 0 nor 1");
    if (there && *n < 1)
        bad(c, "an array has a count below 1");
    return there && !c->why;
}

static const int32_t *get_array(struct log_cursor *c, int32_t *n)
{
    return get_count(c, n) ? get_words(c, *n) : NULL;
}

/* As get_array, for an array that must be there when its count is not 0. */
static int32_t *get_whole(struct log_cursor *c, int32_t *n)
{
    bool there = get_count(c, n);
    if (!there && *n) {
        bad(c, "an array is missing");
        *n = 0;
    }
    return there ? get_words(c, *n) : NULL;
}

/* As get_array, for an array whose count was given before. */
static int32_t *get_again(struct log_cursor *c, int32_t n, const char *why)
{
    int32_t again;
    bool there = get_count(c, &again);
    if (again != n)
        bad(c, why);
    return there && !c->why ? get_words(c, n) : NULL;
}

void log_get_belief(struct log_cursor *c, struct belief *out)
{
    memset(out, 0, sizeof *out);
    int32_t widths = get_i32(c), contexts = get_i32(c), blocks = get_i32(c);
    if (widths < 0 || widths > BELIEF_MAX_WIDTHS || contexts < 0 ||
        contexts > BELIEF_MAX_CONTEXTS || blocks < 0 || blocks > BELIEF_MAX_BLOCKS) {
        bad(c, "the belief has more widths, contexts or blocks than there is room for");
        return;
    }
    out->n_widths = widths;
    out->n_contexts = contexts;
    out->n_blocks = blocks;
    for (int32_t w = 0; w < widths; w++)
        out->width[w] = get_i32(c);
    for (int32_t i = 0; i < contexts; i++)
        out->context[i] = get_i32(c);
    for (int32_t w = 0; w < widths; w++)
        for (int32_t i = 0; i < contexts; i++)
            out->step_ns[w][i] = log_get_s(c);
    for (int32_t i = 0; i < blocks; i++) {
        out->load_ns[i] = log_get_s(c);
        for (int32_t g = 0; g < EXEC_MAX_GRAPHS; g++)
            out->block_ns[g][i] = log_get_s(c);
    }
}

/* In the pool: its length's byte and its own need no more words than they are bytes. */
static const char *get_text(struct log_cursor *c)
{
    uint64_t n = log_get_u(c);
    if (n >= EXEC_MAX_WHY || (int64_t)n > left(c)) {
        bad(c, "a reason is too long");
        return "";
    }
    char *out = (char *)(void *)c->pool;
    c->pool += (n + sizeof *c->pool) / sizeof *c->pool;
    for (uint64_t i = 0; i < n; i++) {
        unsigned char byte = *c->at++;
        if (byte < ' ' || byte == 127) {
            bad(c, "a reason is no line of text");
            return "";
        }
        out[i] = (char)byte;
    }
    out[n] = 0;
    return out;
}

static void get_done(struct log_cursor *c, struct done *d, int64_t time_ns)
{
    d->id = log_get_s(c);
    d->job_kind = get_kind(c, JOB_FORWARD, JOB_COPY, "a job is of no known kind");
    d->status =
        get_kind(c, DONE_OK, DONE_NO_MEMORY + EXTRAPOLATED, "a job's end has no known status");
    d->extrapolated = d->status >= EXTRAPOLATED;
    d->status = (uint8_t)(d->status % EXTRAPOLATED);
    d->why = has_reason(d->status) ? get_text(c) : "";
    d->start_ns = get_since(c, time_ns);
    d->end_ns = get_since(c, d->start_ns);
    d->sample_ns = log_get_s(c);
    d->bytes = log_get_s(c);
    d->resident_bytes = log_get_s(c);
    d->choice = get_whole(c, &d->n_choice);
    d->k = get_i32(c);
    if (d->k < 0)
        bad(c, "a top-k has a k below 0");
    else if (d->k > 0 && d->n_choice > 0) {
        d->top = get_words(c, (int64_t)d->n_choice * d->k);
        d->logit = get_floats(c, (int64_t)d->n_choice * d->k);
    }
    d->tree.token = get_whole(c, &d->tree.n);
    d->tree.parent = get_words(c, d->tree.n);
    d->tree.chance = get_again(c, d->tree.n, "a tree has chances of another count");
    d->work.tokens = log_get_s(c);
    d->work.probes = log_get_s(c);
    d->work.nodes = log_get_s(c);
}

void log_get_event(struct log_cursor *c, int64_t base_ns, struct event *out, int64_t *due_ns)
{
    memset(out, 0, sizeof *out);
    out->kind = get_kind(c, EV_DONE, EV_WAKE, "an event is of no known kind");
    out->time_ns = get_since(c, base_ns);
    *due_ns = get_since(c, out->time_ns);
    out->request = get_i32(c);
    if (out->kind == EV_DONE)
        get_done(c, &out->done, out->time_ns);
    if (out->kind == EV_ARRIVE) {
        out->arrive.token = get_whole(c, &out->arrive.n);
        out->arrive.max_tokens = get_i32(c);
        out->arrive.arrival_ns = log_get_s(c);
    }
}

static void get_forward(struct log_cursor *c, struct job_forward *f)
{
    int32_t *const number[] = {&f->graph, &f->b0,      &f->b1,       &f->width,     &f->seq,
                               &f->pos,   &f->slot_in, &f->slot_out, &f->want_from, &f->want_k};
    for (size_t i = 0; i < sizeof number / sizeof *number; i++)
        *number[i] = get_i32(c);
    int32_t want = get_i32(c);
    if (want < 0 || want > UINT8_MAX)
        bad(c, "a step wants outputs of no known kind");
    f->want = (uint8_t)want;
    f->token = get_whole(c, &f->n);
    f->parent = get_again(c, f->n, "a step has tokens and parents of different counts");
}

static void get_draft(struct log_cursor *c, struct job_draft *d)
{
    static const char why[] = "a shown step has tokens, parents and choices of different counts";
    d->drafter = get_i32(c);
    d->max_nodes = get_i32(c);
    d->token = get_whole(c, &d->n);
    d->row_token = get_whole(c, &d->n_rows);
    d->row_parent = get_again(c, d->n_rows, why);
    d->row_choice = get_again(c, d->n_rows, why);
    if (d->n_rows > 0 && !d->row_choice)
        bad(c, "an array is missing");
}

static void get_job(struct log_cursor *c, struct job *j)
{
    j->id = log_get_s(c);
    j->request = get_i32(c);
    j->kind = get_kind(c, JOB_FORWARD, JOB_COPY, "a job is of no known kind");
    j->phase = get_kind(c, 0, UINT8_MAX, "a phase is above 255");
    j->role = get_kind(c, 0, UINT8_MAX, "a role is above 255");
    j->n_wait = get_kind(c, 0, EXEC_MAX_WAIT, "a job waits for too many others");
    for (int i = 0; i < j->n_wait; i++)
        j->wait[i] = log_get_s(c);
    switch (j->kind) {
    case JOB_FORWARD:
    case JOB_HEAD:
        get_forward(c, &j->forward);
        break;
    case JOB_DRAFT:
        get_draft(c, &j->draft);
        break;
    case JOB_CALIBRATE:
        j->calibrate.drafter = get_i32(c);
        j->calibrate.pos = get_i32(c);
        j->calibrate.k = get_i32(c);
        if (get_count(c, &j->calibrate.n)) {
            int64_t cells = (int64_t)j->calibrate.n * j->calibrate.k;
            j->calibrate.top = get_words(c, cells);
            j->calibrate.logit = get_floats(c, cells);
        } else if (j->calibrate.n < 0 || j->calibrate.k < 0 || (j->calibrate.n && j->calibrate.k)) {
            bad(c, "an array is missing");
        }
        break;
    case JOB_COMMIT:
        j->commit.seq = get_i32(c);
        j->commit.pos = get_i32(c);
        j->commit.row = get_array(c, &j->commit.n);
        break;
    case JOB_COPY:
        j->copy.seq_from = get_i32(c);
        j->copy.seq_to = get_i32(c);
        j->copy.n = get_i32(c);
        break;
    default: /* LOAD, FREE */
        j->graph.graph = get_i32(c);
        j->graph.block = get_i32(c);
        break;
    }
}

void log_get_action(struct log_cursor *c, struct action *out)
{
    memset(out, 0, sizeof *out);
    out->kind = get_kind(c, ACT_SUBMIT, ACT_FINISH, "an action is of no known kind");
    switch (out->kind) {
    case ACT_SUBMIT:
        get_job(c, &out->job);
        break;
    case ACT_CANCEL:
        out->id = log_get_s(c);
        break;
    case ACT_WAKE:
        out->wake_ns = log_get_s(c);
        break;
    case ACT_EMIT:
        out->emit.request = get_i32(c);
        out->emit.token = get_whole(c, &out->emit.n);
        break;
    default:
        out->request = get_i32(c);
        break;
    }
}
