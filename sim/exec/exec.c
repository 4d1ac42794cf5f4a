/* What every executor and policy shares of the seam. Pure: no clock, allocation or I/O. */
#include "sim/exec/exec.h"

#include <assert.h>
#include <string.h>

#include "sim/base/hash.h"

/* ---- actions -------------------------------------------------------------------------------- */

static struct action *next_action(struct actions *a, uint8_t kind)
{
    if (a->n == a->cap) {
        a->code = ERR_LIMIT;
        return NULL;
    }
    struct action *x = &a->item[a->n++];
    x->kind = kind;
    return x;
}

static const int32_t *keep(struct actions *a, const void *words, int32_t n)
{
    if (!words || n <= 0)
        return NULL;
    if (n > a->pool_cap - a->pool_used) {
        a->code = ERR_LIMIT;
        return NULL;
    }
    int32_t *p = a->pool + a->pool_used;
    memcpy(p, words, (size_t)n * sizeof *p);
    a->pool_used += n;
    return p;
}

void act_submit(struct actions *a, const struct job *job)
{
    struct action *x = next_action(a, ACT_SUBMIT);
    if (!x)
        return;
    x->job = *job;
    struct job *j = &x->job;
    switch (j->kind) {
    case JOB_FORWARD:
    case JOB_HEAD:
        j->forward.token = keep(a, job->forward.token, job->forward.n);
        j->forward.parent = keep(a, job->forward.parent, job->forward.n);
        break;
    case JOB_DRAFT:
        j->draft.token = keep(a, job->draft.token, job->draft.n);
        j->draft.row_token = keep(a, job->draft.row_token, job->draft.n_rows);
        j->draft.row_parent = keep(a, job->draft.row_parent, job->draft.n_rows);
        j->draft.row_choice = keep(a, job->draft.row_choice, job->draft.n_rows);
        break;
    case JOB_CALIBRATE: {
        int32_t words = job->calibrate.n * job->calibrate.k;
        j->calibrate.top = keep(a, job->calibrate.top, words);
        /* A float is stored in the pool's 32-bit words; memcpy keeps the bits. */
        j->calibrate.logit = (const float *)(const void *)keep(a, job->calibrate.logit, words);
        break;
    }
    case JOB_COMMIT:
        j->commit.row = keep(a, job->commit.row, job->commit.n);
        break;
    default:
        break;
    }
}

void act_cancel(struct actions *a, int64_t id)
{
    struct action *x = next_action(a, ACT_CANCEL);
    if (x)
        x->id = id;
}

void act_wake(struct actions *a, int64_t wake_ns)
{
    struct action *x = next_action(a, ACT_WAKE);
    if (x)
        x->wake_ns = wake_ns;
}

void act_emit(struct actions *a, int32_t request, const int32_t *token, int32_t n)
{
    struct action *x = next_action(a, ACT_EMIT);
    if (!x)
        return;
    x->emit.request = request;
    x->emit.n = n;
    x->emit.token = keep(a, token, n);
}

void act_finish(struct actions *a, int32_t request)
{
    struct action *x = next_action(a, ACT_FINISH);
    if (x)
        x->request = request;
}

/* An action is hashed as the polynomial of its words in FACTOR, modulo 2^64, which is mixed into
 * the hash once: four words wait for one multiplication, where a mix for each would take most of
 * the time of an event's actions. Two actions that differ in one word never have the same
 * polynomial, and others no sooner than by chance. An array is preceded by its length, so that
 * words do not pass from one to the next unseen. */
#define FACTOR UINT64_C(0xd1342543de82ef95)

static inline uint64_t one(uint64_t h, int64_t a)
{
    return h * FACTOR + (uint64_t)a;
}

static inline uint64_t four(uint64_t h, int64_t a, int64_t b, int64_t c, int64_t d)
{
    const uint64_t square = FACTOR * FACTOR;
    return h * (square * square) + ((uint64_t)a * (square * FACTOR) + (uint64_t)b * square) +
           ((uint64_t)c * FACTOR + (uint64_t)d);
}

static uint64_t hash_array(uint64_t h, const char *words, int32_t n)
{
    uint32_t w[4];
    h = one(h, (int64_t)n + 1);
    for (; n >= 4; n -= 4, words += sizeof w) {
        memcpy(w, words, sizeof w); /* a float's bits too */
        h = four(h, w[0], w[1], w[2], w[3]);
    }
    for (; n > 0; n--, words += sizeof *w) {
        memcpy(w, words, sizeof *w);
        h = one(h, w[0]);
    }
    return h;
}

static inline uint64_t hash_words(uint64_t h, const void *words, int32_t n)
{
    return words ? hash_array(h, words, n) : one(h, 0);
}

static uint64_t hash_forward(uint64_t h, const struct job_forward *f)
{
    h = four(h, f->graph, f->b0, f->b1, f->width);
    h = four(h, f->seq, f->pos, f->n, f->slot_in);
    h = four(h, f->slot_out, f->want, f->want_from, f->want_k);
    return hash_words(hash_words(h, f->token, f->n), f->parent, f->n);
}

static uint64_t hash_draft(uint64_t h, const struct job_draft *d)
{
    h = one(one(one(h, d->drafter), d->max_nodes), d->n_rows);
    h = hash_words(hash_words(h, d->token, d->n), d->row_token, d->n_rows);
    return hash_words(hash_words(h, d->row_parent, d->n_rows), d->row_choice, d->n_rows);
}

static uint64_t hash_job(uint64_t h, const struct job *j)
{
    h = one(one(four(h, j->id, j->request, j->kind, j->phase), j->role), j->n_wait);
    for (int i = 0; i < j->n_wait; i++)
        h = one(h, j->wait[i]);
    switch (j->kind) {
    case JOB_FORWARD:
    case JOB_HEAD:
        return hash_forward(h, &j->forward);
    case JOB_DRAFT:
        return hash_draft(h, &j->draft);
    case JOB_CALIBRATE: {
        const struct job_calibrate *c = &j->calibrate;
        h = four(h, c->drafter, c->pos, c->n, c->k);
        return hash_words(hash_words(h, c->top, c->n * c->k), c->logit, c->n * c->k);
    }
    case JOB_COMMIT:
        h = one(one(one(h, j->commit.seq), j->commit.pos), j->commit.n);
        return hash_words(h, j->commit.row, j->commit.n);
    case JOB_LOAD:
    case JOB_FREE:
        return one(one(h, j->graph.graph), j->graph.block);
    default:
        return one(one(one(h, j->copy.seq_from), j->copy.seq_to), j->copy.n);
    }
}

static uint64_t hash_emit(uint64_t h, const struct action *a)
{
    return hash_words(one(h, a->emit.request), a->emit.token, a->emit.n);
}

uint64_t action_hash(uint64_t h, const struct action *a)
{
    switch (a->kind) {
    case ACT_SUBMIT:
        return hash_step(h, hash_job(a->kind, &a->job));
    case ACT_CANCEL:
        return hash_step(h, one(a->kind, a->id));
    case ACT_WAKE:
        return hash_step(h, one(a->kind, a->wake_ns));
    case ACT_EMIT:
        return hash_step(h, hash_emit(a->kind, a));
    default:
        return hash_step(h, one(a->kind, a->request));
    }
}

/* ---- acceptance ----------------------------------------------------------------------------- */

int32_t exec_accept(int32_t n, const int32_t *token, const int32_t *parent, const int32_t *choice,
                    int32_t *row)
{
    assert(n >= 1);
    int32_t kept = 0, at = 0;
    row[kept++] = 0;
    /* Children come after their parents, so one pass over the rows follows the whole path. */
    for (int32_t i = 1; i < n; i++) {
        int32_t p = parent ? parent[i] : i - 1;
        if (p == at && token[i] == choice[at]) {
            row[kept++] = i;
            at = i;
        }
    }
    return kept;
}

/* ---- capabilities --------------------------------------------------------------------------- */

int exec_caps_check(const struct exec_caps *has, const struct exec_caps *needs, const char *who,
                    struct err *e)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } feature[] = {{EXEC_TREES, "draft trees"},
                   {EXEC_BLOCKS, "blocks of layers"},
                   {EXEC_GRAPHS, "loading and freeing of graphs"},
                   {EXEC_COPIES, "copies of sequences"},
                   {EXEC_CALIBRATES, "calibration"}};
    for (size_t i = 0; i < sizeof feature / sizeof *feature; i++)
        if (needs->features & ~has->features & feature[i].bit)
            return err_set(e, ERR_UNSUPPORTED,
                           "%s needs %s, which this executor does not have: choose another policy "
                           "or another executor",
                           who, feature[i].name);
    const struct {
        const char *name;
        int32_t has, needs;
    } count[] = {{"blocks", has->blocks, needs->blocks},
                 {"rows in one step", has->max_rows, needs->max_rows},
                 {"tokens of context", has->max_ctx, needs->max_ctx},
                 {"sequences", has->max_seqs, needs->max_seqs},
                 {"jobs in flight", has->max_jobs, needs->max_jobs},
                 {"top-k tokens", has->max_topk, needs->max_topk},
                 {"activation slots", has->n_slots, needs->n_slots},
                 {"static graphs", has->n_graphs, needs->n_graphs}};
    for (size_t i = 0; i < sizeof count / sizeof *count; i++)
        if (count[i].has < count[i].needs)
            return err_set(e, ERR_UNSUPPORTED, "%s needs %d %s, this executor has %d", who,
                           count[i].needs, count[i].name, count[i].has);
    return ERR_OK;
}

/* ---- belief --------------------------------------------------------------------------------- */

int64_t belief_step_ns(const struct belief *b, int32_t width, int32_t context)
{
    if (!b->n_widths || !b->n_contexts)
        return -1;
    int32_t w = 0, c = 0;
    while (w < b->n_widths - 1 && b->width[w] < width)
        w++;
    while (c < b->n_contexts - 1 && b->context[c] < context)
        c++;
    return b->step_ns[w][c];
}

uint64_t belief_hash(const struct belief *b)
{
    /* Field by field, so that the hash is the same whatever the byte order. */
    uint64_t h = hash_mix((uint64_t)b->n_widths);
    h = hash_step(h, (uint64_t)b->n_contexts);
    h = hash_step(h, (uint64_t)b->n_blocks);
    for (int32_t w = 0; w < b->n_widths; w++) {
        h = hash_step(h, (uint64_t)b->width[w]);
        for (int32_t c = 0; c < b->n_contexts; c++)
            h = hash_step(h, (uint64_t)b->step_ns[w][c]);
    }
    for (int32_t c = 0; c < b->n_contexts; c++)
        h = hash_step(h, (uint64_t)b->context[c]);
    for (int32_t i = 0; i < b->n_blocks; i++) {
        h = hash_step(h, (uint64_t)b->load_ns[i]);
        for (int32_t g = 0; g < EXEC_MAX_GRAPHS; g++)
            h = hash_step(h, (uint64_t)b->block_ns[g][i]);
    }
    return h;
}
