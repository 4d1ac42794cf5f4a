#include "sim/exec/toy.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim/base/hash.h"

/* How a wrong schedule becomes a wrong token.
 *
 * A text has a hash, extended token by token. A row carries the hash of its own text, made by block
 * 0, and a state, which every block changes to a value that is known beforehand when all is right:
 * state_after(b, hash). Block b extends the hash that *its* cache holds for the row's parent by the
 * row's token and position; what that differs from the row's own hash goes into the state. A
 * block's cache keeps the hash, with what the arriving state differs from the value that it should
 * have, so that one wrong row makes every row after it wrong, as in a transformer. The head knows
 * the right state from the hash and changes its token when the row's is another one. */

enum { MAX_ORDER = 8, N_SLOTS = 4, MAX_JOBS = 256, BLOCK_BYTES = 1 << 20, ROW_BYTES = 1 << 10 };

struct cached {
    uint64_t hash;
    int32_t token, position;
    int32_t parent; /* index in the cache; -1: none */
};

/* A row between two blocks. */
struct row {
    uint64_t hash, state;
    int32_t position;
    int32_t n_tail; /* the last tokens of its text, the newest first */
    int32_t tail[MAX_ORDER];
};

struct slot {
    int32_t seq;   /* -1: empty */
    int32_t block; /* that its rows go to next */
    int32_t pos, n;
    struct row *row; /* [max_rows] */
};

/* One block's cache of one sequence. */
struct cache {
    int64_t user; /* id of the job that works on it; 0: none */
    int32_t n;
    struct cached *entry; /* [max_ctx] */
};

enum block_state { BLOCK_ABSENT, BLOCK_LOADING, BLOCK_LOADED };

struct block {
    uint8_t state;
    int32_t users; /* FORWARD jobs that run it now */
};

struct toy {
    struct engine engine; /* must be first */
    struct toy_options o;
    pthread_mutex_t lock; /* of all below; never held while time is spent */
    int64_t resident_bytes;
    struct cache *cache; /* [max_seqs * blocks] */
    struct block *block; /* [n_graphs * blocks] */
    struct slot slot[N_SLOTS];
    struct cached *entries; /* [max_seqs * blocks * max_ctx] */
    struct row *rows;       /* [N_SLOTS * max_rows] */
    struct row *scratch;    /* [EXEC_MAX_ROLES * max_rows], a worker's own */
};

/* ---- the language --------------------------------------------------------------------------- */

/* The last token counts whole, those before it modulo 3: few enough contexts for texts that repeat
 * themselves. tail[0] is the newest. */
static uint64_t context_hash(const struct toy_options *o, const int32_t *tail, int32_t n)
{
    uint64_t h = hash_mix(o->seed);
    for (int32_t i = 0; i < o->order; i++)
        h = hash_step(h, i >= n ? UINT64_MAX : (uint64_t)(i ? tail[i] % 3 : tail[i]));
    return h;
}

static int32_t next_token(const struct toy_options *o, const int32_t *tail, int32_t n)
{
    uint64_t h = context_hash(o, tail, n);
    if ((int32_t)(h % 1000) < o->eos_per_mille)
        return 0;
    return 1 + (int32_t)((h >> 20) % (uint64_t)(o->n_vocab - 1));
}

int32_t toy_next(const struct toy_options *o, const int32_t *text, int32_t n)
{
    int32_t tail[MAX_ORDER], k = 0;
    while (k < o->order && k < n) {
        tail[k] = text[n - 1 - k];
        k++;
    }
    return next_token(o, tail, k);
}

/* ---- rows ----------------------------------------------------------------------------------- */

static uint64_t first_state(uint64_t hash)
{
    return hash_mix(hash);
}

static uint64_t step_state(uint64_t state, int32_t block, uint64_t difference)
{
    return hash_step(state + difference, (uint64_t)block + 1);
}

static uint64_t state_before(int32_t block, uint64_t hash)
{
    uint64_t s = first_state(hash);
    for (int32_t b = 0; b < block; b++)
        s = step_state(s, b, 0);
    return s;
}

static uint64_t extend(uint64_t hash, int32_t token, int32_t position)
{
    return hash_step(hash_step(hash, (uint64_t)(uint32_t)token), (uint64_t)position);
}

/* The last tokens of the text that ends in entry `at`. */
static void read_tail(const struct toy *t, const struct cached *entry, int32_t at, struct row *r)
{
    r->n_tail = 0;
    for (; at >= 0 && r->n_tail < t->o.order; at = entry[at].parent)
        r->tail[r->n_tail++] = entry[at].token;
}

/* Runs block b on rows [0, n) of a job; the cache holds f->pos entries and gets n more. */
static void run_rows(const struct toy *t, const struct job_forward *f, int32_t b, struct row *row,
                     struct cache *c)
{
    for (int32_t i = 0; i < f->n; i++) {
        int32_t above = f->parent ? f->parent[i] : i - 1;
        struct cached *x = &c->entry[f->pos + i];
        x->parent = f->pos + (above < 0 ? -1 : above);
        const struct cached *p = x->parent < 0 ? NULL : &c->entry[x->parent];
        x->token = f->token[i];
        x->position = above < 0 ? f->pos : p->position + 1;
        x->hash = extend(p ? p->hash : hash_mix(t->o.seed), x->token, x->position);
        if (b == 0) {
            row[i].hash = x->hash;
            row[i].state = first_state(x->hash);
            row[i].position = x->position;
            read_tail(t, c->entry, f->pos + i, &row[i]);
        }
        /* Rows after an uncommitted tree find a parent at another position than their own. */
        uint64_t gap = (uint64_t)(x->position - (p ? p->position + 1 : 0));
        uint64_t difference = x->hash - row[i].hash + hash_mix(gap) - hash_mix(0);
        x->hash += row[i].state - state_before(b, row[i].hash);
        row[i].state = step_state(row[i].state, b, difference);
    }
    c->n = f->pos + f->n;
}

/* The token after a row: toy_next of its text, or another one when its state is not what the blocks
 * make of that text. */
static int32_t choose(const struct toy *t, const struct row *r)
{
    int32_t token = next_token(&t->o, r->tail, r->n_tail);
    uint64_t difference = r->state - state_before(t->o.blocks, r->hash);
    if (!difference)
        return token;
    uint64_t shift = 1 + hash_mix(difference) % (uint64_t)(t->o.n_vocab - 1);
    return (int32_t)(((uint64_t)token + shift) % (uint64_t)t->o.n_vocab);
}

static void head(const struct toy *t, const struct job_forward *f, const struct row *row,
                 struct engine_out *out)
{
    if (f->want == WANT_NONE)
        return;
    out->k = f->want == WANT_TOPK ? f->want_k : 0;
    for (int32_t i = f->want_from; i < f->n; i++) {
        int32_t at = out->n_choice++, token = choose(t, &row[i]);
        out->choice[at] = token;
        uint64_t h = context_hash(&t->o, row[i].tail, row[i].n_tail);
        float logit = 16;
        for (int32_t j = 0; j < out->k; j++) {
            /* The choice, then neighbours of it from a start that the text decides. */
            uint64_t others = (uint64_t)(t->o.n_vocab - 1);
            uint64_t shift = j ? 1 + (h % others + (uint64_t)j) % others : 0;
            uint64_t other = ((uint64_t)token + shift) % (uint64_t)t->o.n_vocab;
            out->top[at * out->k + j] = (int32_t)other;
            out->logit[at * out->k + j] = logit;
            logit -= 0.25F + (float)((h >> (j % 32)) & 15) / 16;
        }
    }
}

/* ---- time and failures ---------------------------------------------------------------------- */

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Sleeps while there is long to go, for sleeping is coarse, and spins through the rest. */
static void spend(int64_t ns)
{
    if (ns <= 0)
        return;
    const int64_t coarse_ns = 200000;
    int64_t end_ns = now_ns() + ns, left_ns;
    while ((left_ns = end_ns - now_ns()) > 0)
        if (left_ns > coarse_ns) {
            int64_t s = left_ns - coarse_ns / 2;
            nanosleep(&(struct timespec){(time_t)(s / 1000000000), (long)(s % 1000000000)}, NULL);
        }
}

/* Returns false, so that `return fail(...)` is the idiom. */
__attribute__((format(printf, 3, 4))) static bool fail(struct engine_out *out, uint8_t status,
                                                       const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out->message, sizeof out->message, fmt, ap);
    va_end(ap);
    out->status = status;
    out->n_choice = out->k = 0;
    return false;
}

/* ---- shared state, each under the lock ------------------------------------------------------ */

static struct cache *cache_of(struct toy *t, int32_t seq, int32_t block)
{
    return &t->cache[seq * t->o.blocks + block];
}

static struct block *block_of(struct toy *t, int32_t graph, int32_t block)
{
    return &t->block[(graph - 1) * t->o.blocks + block];
}

static bool claim(struct cache *c, const struct job *j, int32_t seq, struct engine_out *out)
{
    if (c->user && c->user != j->id)
        return fail(out, DONE_FAILED,
                    "sequence %d is in use by job %" PRId64 ": let one wait for the other", seq,
                    c->user);
    c->user = j->id;
    return true;
}

static void release(struct cache *c, const struct job *j)
{
    if (c->user == j->id)
        c->user = 0;
}

static void release_caches(struct toy *t, const struct job *j, int32_t seq)
{
    for (int32_t b = 0; b < t->o.blocks; b++)
        release(cache_of(t, seq, b), j);
}

/* All blocks of a sequence, which must have cached the same. */
static bool claim_caches(struct toy *t, const struct job *j, int32_t seq, struct engine_out *out)
{
    int32_t n = cache_of(t, seq, 0)->n;
    for (int32_t b = 0; b < t->o.blocks; b++) {
        struct cache *c = cache_of(t, seq, b);
        if (!claim(c, j, seq, out))
            return false;
        if (c->n != n)
            return fail(out, DONE_FAILED,
                        "sequence %d is in the middle of a step: block 0 has cached %d tokens, "
                        "block %d %d",
                        seq, n, b, c->n);
    }
    return true;
}

static void set_length(struct toy *t, struct cache *c, int32_t n)
{
    t->resident_bytes += (int64_t)(n - c->n) * ROW_BYTES;
    c->n = n;
}

/* ---- FORWARD and HEAD ----------------------------------------------------------------------- */

/* Takes the job's rows out of a slot. */
static bool read_slot(struct toy *t, const struct job *j, struct row *row, struct engine_out *out)
{
    const struct job_forward *f = &j->forward;
    struct slot *s = &t->slot[f->slot_in];
    if (s->seq != f->seq || f->pos < s->pos || f->pos + f->n > s->pos + s->n)
        return fail(out, DONE_FAILED,
                    "slot %d holds rows %d to %d of sequence %d, not rows %d to %d of sequence %d",
                    f->slot_in, s->pos, s->pos + s->n, s->seq, f->pos, f->pos + f->n, f->seq);
    if (j->kind == JOB_HEAD && s->block != t->o.blocks)
        return fail(out, DONE_FAILED, "slot %d has only passed %d of %d blocks", f->slot_in,
                    s->block, t->o.blocks);
    memcpy(row, s->row + (f->pos - s->pos), (size_t)f->n * sizeof *row);
    return true;
}

/* Rows that go on where the slot's end, for the same block, are added to it; others replace them.
 */
static void write_slot(struct toy *t, const struct job *j, const struct row *row)
{
    const struct job_forward *f = &j->forward;
    struct slot *s = &t->slot[f->slot_out];
    bool adds = s->seq == f->seq && s->block == f->b1 && s->pos + s->n == f->pos &&
                s->n + f->n <= t->o.max_rows;
    if (!adds) {
        s->seq = f->seq;
        s->block = f->b1;
        s->pos = f->pos;
        s->n = 0;
    }
    memcpy(s->row + s->n, row, (size_t)f->n * sizeof *row);
    s->n += f->n;
}

static bool may_enter(struct toy *t, const struct job_forward *f, int32_t b, const struct cache *c,
                      struct engine_out *out)
{
    if (f->graph && block_of(t, f->graph, b)->state != BLOCK_LOADED)
        return fail(out, DONE_FAILED, "block %d of graph %d is not loaded", b, f->graph);
    if (c->n != f->pos)
        return fail(out, DONE_FAILED,
                    "a step at position %d, but block %d has cached %d tokens of sequence %d",
                    f->pos, b, c->n, f->seq);
    if (f->pos + f->n > t->o.max_ctx)
        return fail(out, DONE_NO_MEMORY,
                    "sequence %d has %d tokens, %d more exceed the context of %d", f->seq, f->pos,
                    f->n, t->o.max_ctx);
    return true;
}

static bool enter_block(struct toy *t, const struct job *j, int32_t b, struct engine_out *out)
{
    const struct job_forward *f = &j->forward;
    struct cache *c = cache_of(t, f->seq, b);
    if (!claim(c, j, f->seq, out))
        return false;
    if (!may_enter(t, f, b, c, out)) {
        release(c, j);
        return false;
    }
    if (f->graph)
        block_of(t, f->graph, b)->users++;
    return true;
}

static void leave_block(struct toy *t, const struct job *j, int32_t b, struct row *row)
{
    const struct job_forward *f = &j->forward;
    struct cache *c = cache_of(t, f->seq, b);
    run_rows(t, f, b, row, c);
    t->resident_bytes += (int64_t)f->n * ROW_BYTES;
    release(c, j);
    if (f->graph)
        block_of(t, f->graph, b)->users--;
}

/* The head's time. */
static void sample(struct toy *t, const struct job *j, const struct row *row,
                   struct engine_out *out)
{
    if (j->forward.want == WANT_NONE)
        return;
    int64_t start_ns = now_ns();
    spend((j->forward.n - j->forward.want_from) * t->o.row_ns);
    head(t, &j->forward, row, out);
    out->sample_ns = now_ns() - start_ns;
}

static void forward(struct toy *t, const struct job *j, struct engine_out *out)
{
    const struct job_forward *f = &j->forward;
    struct row *row = t->scratch + (size_t)j->role * (size_t)t->o.max_rows;
    if (f->graph && f->width != t->o.graph_width[f->graph - 1]) {
        fail(out, DONE_FAILED, "graph %d is %d wide, the step %d", f->graph,
             t->o.graph_width[f->graph - 1], f->width);
        return;
    }
    pthread_mutex_lock(&t->lock);
    bool ok = f->b0 == 0 || read_slot(t, j, row, out);
    for (int32_t b = f->b0; ok && b < f->b1; b++) {
        ok = enter_block(t, j, b, out);
        if (!ok)
            break;
        /* Padding takes its time here and leaves nothing behind. The rows are computed afterwards,
         * from what the caches hold then. */
        pthread_mutex_unlock(&t->lock);
        spend(t->o.block_ns + f->width * t->o.row_ns);
        pthread_mutex_lock(&t->lock);
        leave_block(t, j, b, row);
        out->bytes += BLOCK_BYTES + (int64_t)(f->pos + f->n) * ROW_BYTES;
    }
    if (ok && f->slot_out >= 0)
        write_slot(t, j, row);
    out->resident_bytes = t->resident_bytes;
    pthread_mutex_unlock(&t->lock);
    if (ok && f->slot_out < 0)
        sample(t, j, row, out);
}

static void head_job(struct toy *t, const struct job *j, struct engine_out *out)
{
    struct row *row = t->scratch + (size_t)j->role * (size_t)t->o.max_rows;
    pthread_mutex_lock(&t->lock);
    bool ok = read_slot(t, j, row, out);
    out->resident_bytes = t->resident_bytes;
    pthread_mutex_unlock(&t->lock);
    if (ok)
        sample(t, j, row, out);
}

/* ---- the other jobs, under the lock --------------------------------------------------------- */

static bool check_path(const struct cache *c, const struct job_commit *m, struct engine_out *out)
{
    if (m->pos > c->n)
        return fail(out, DONE_FAILED, "a COMMIT at position %d of sequence %d, which has %d tokens",
                    m->pos, m->seq, c->n);
    for (int32_t i = 0; i < m->n; i++) {
        int32_t row = m->row ? m->row[i] : i;
        int32_t above = i == 0 ? -1 : m->row ? m->row[i - 1] : i - 1;
        if (m->pos + row >= c->n)
            return fail(out, DONE_FAILED, "row %d of the step at %d of sequence %d does not exist",
                        row, m->pos, m->seq);
        if ((i == 0 && row != 0) || c->entry[m->pos + row].parent != m->pos + above)
            return fail(out, DONE_FAILED,
                        "the rows of a COMMIT at %d of sequence %d are no path: "
                        "row %d does not follow row %d",
                        m->pos, m->seq, row, above);
    }
    return true;
}

static void commit(struct toy *t, const struct job *j, struct engine_out *out)
{
    const struct job_commit *m = &j->commit;
    bool ok = claim_caches(t, j, m->seq, out) && check_path(cache_of(t, m->seq, 0), m, out);
    for (int32_t b = 0; ok && b < t->o.blocks; b++) {
        struct cache *c = cache_of(t, m->seq, b);
        for (int32_t i = 0; i < m->n; i++) {
            c->entry[m->pos + i] = c->entry[m->pos + (m->row ? m->row[i] : i)];
            c->entry[m->pos + i].parent = m->pos + i - 1;
        }
        set_length(t, c, m->pos + m->n);
    }
    release_caches(t, j, m->seq);
}

static void copy(struct toy *t, const struct job *j, struct engine_out *out)
{
    const struct job_copy *m = &j->copy;
    bool ok = claim_caches(t, j, m->seq_from, out) && claim_caches(t, j, m->seq_to, out);
    if (ok && m->n > cache_of(t, m->seq_from, 0)->n)
        ok = fail(out, DONE_FAILED, "a COPY of %d tokens of sequence %d, which has %d", m->n,
                  m->seq_from, cache_of(t, m->seq_from, 0)->n);
    for (int32_t b = 0; ok && b < t->o.blocks; b++) {
        struct cache *to = cache_of(t, m->seq_to, b);
        memcpy(to->entry, cache_of(t, m->seq_from, b)->entry, (size_t)m->n * sizeof *to->entry);
        set_length(t, to, m->n);
        out->bytes += 2 * (int64_t)m->n * ROW_BYTES;
    }
    release_caches(t, j, m->seq_from);
    release_caches(t, j, m->seq_to);
}

/* Whether the block's weights are there through another graph. */
static bool sharer(struct toy *t, const struct job_graph *g)
{
    int32_t weights = t->o.graph_weights[g->graph - 1];
    for (int32_t i = 1; weights && i <= t->o.n_graphs; i++)
        if (i != g->graph && t->o.graph_weights[i - 1] == weights &&
            block_of(t, i, g->block)->state == BLOCK_LOADED)
            return true;
    return false;
}

static void load(struct toy *t, const struct job *j, struct engine_out *out)
{
    struct block *b = block_of(t, j->graph.graph, j->graph.block);
    if (b->state != BLOCK_ABSENT) {
        fail(out, DONE_FAILED, "block %d of graph %d is %s already", j->graph.block, j->graph.graph,
             b->state == BLOCK_LOADED ? "loaded" : "loading");
        return;
    }
    b->state = BLOCK_LOADING;
    pthread_mutex_unlock(&t->lock);
    spend(t->o.load_ns);
    pthread_mutex_lock(&t->lock);
    b->state = BLOCK_LOADED;
    if (!sharer(t, &j->graph)) {
        t->resident_bytes += BLOCK_BYTES;
        out->bytes = BLOCK_BYTES;
    }
}

static void unload(struct toy *t, const struct job *j, struct engine_out *out)
{
    struct block *b = block_of(t, j->graph.graph, j->graph.block);
    if (b->state != BLOCK_LOADED) {
        fail(out, DONE_FAILED, "block %d of graph %d is not loaded", j->graph.block,
             j->graph.graph);
    } else if (b->users) {
        fail(out, DONE_FAILED, "block %d of graph %d is running: let the FREE wait for it",
             j->graph.block, j->graph.graph);
    } else {
        b->state = BLOCK_ABSENT;
        t->resident_bytes -= sharer(t, &j->graph) ? 0 : BLOCK_BYTES;
    }
}

/* ---- the engine ----------------------------------------------------------------------------- */

static void toy_caps(const struct engine *g, struct exec_caps *out)
{
    const struct toy_options *o = &((const struct toy *)g)->o;
    *out = (struct exec_caps){
        .features = EXEC_TREES | EXEC_BLOCKS | EXEC_COPIES | (o->n_graphs ? EXEC_GRAPHS : 0u) |
                    (o->max_topk ? EXEC_CALIBRATES : 0u),
        .blocks = o->blocks,
        .max_rows = o->max_rows,
        .max_ctx = o->max_ctx,
        .max_seqs = o->max_seqs,
        .max_jobs = MAX_JOBS,
        .max_topk = o->max_topk,
        .n_slots = N_SLOTS,
        .n_graphs = o->n_graphs,
    };
    memcpy(out->graph_width, o->graph_width, sizeof out->graph_width);
    memcpy(out->graph_weights, o->graph_weights, sizeof out->graph_weights);
}

static void toy_run(struct engine *g, const struct job *j, struct engine_out *out)
{
    struct toy *t = (struct toy *)g;
    if (j->kind == JOB_FORWARD) {
        forward(t, j, out);
        return;
    }
    if (j->kind == JOB_HEAD) {
        head_job(t, j, out);
        return;
    }
    pthread_mutex_lock(&t->lock);
    switch (j->kind) {
    case JOB_COMMIT:
        commit(t, j, out);
        break;
    case JOB_COPY:
        copy(t, j, out);
        break;
    case JOB_LOAD:
        load(t, j, out);
        break;
    case JOB_FREE:
        unload(t, j, out);
        break;
    default:
        fail(out, DONE_FAILED, "a job of kind %d, which no engine runs", j->kind);
        break;
    }
    out->resident_bytes = t->resident_bytes;
    pthread_mutex_unlock(&t->lock);
}

static void toy_destroy(struct engine *g)
{
    struct toy *t = (struct toy *)g;
    pthread_mutex_destroy(&t->lock);
    free(t->cache);
    free(t->block);
    free(t->entries);
    free(t->rows);
    free(t->scratch);
    free(t);
}

static const struct engine_ops ops = {
    .name = "toy", .caps = toy_caps, .run = toy_run, .destroy = toy_destroy};

void toy_defaults(struct toy_options *o)
{
    *o = (struct toy_options){.blocks = 6,
                              .n_vocab = 64,
                              .eos_per_mille = 4,
                              .order = 3,
                              .max_ctx = 2048,
                              .max_seqs = 4,
                              .max_rows = 256,
                              .max_topk = 8,
                              .n_graphs = 2,
                              .graph_width = {256, 32},
                              .block_ns = 20000,
                              .row_ns = 100,
                              .load_ns = 60000,
                              .seed = 1};
}

static int check_options(const struct toy_options *o, struct err *e)
{
    const struct {
        const char *name;
        int64_t value, min, max;
    } field[] = {{"blocks", o->blocks, 1, BELIEF_MAX_BLOCKS},
                 {"n_vocab", o->n_vocab, 2, 1 << 24},
                 {"eos_per_mille", o->eos_per_mille, 0, 1000},
                 {"order", o->order, 1, MAX_ORDER},
                 {"max_ctx", o->max_ctx, 1, 1 << 20},
                 {"max_seqs", o->max_seqs, 1, 1024},
                 {"max_rows", o->max_rows, 1, 1 << 14},
                 {"max_topk", o->max_topk, 0, o->n_vocab < 64 ? o->n_vocab : 64},
                 {"n_graphs", o->n_graphs, 0, EXEC_MAX_GRAPHS},
                 {"block_ns", o->block_ns, 0, INT64_MAX / 4},
                 {"row_ns", o->row_ns, 0, INT32_MAX},
                 {"load_ns", o->load_ns, 0, INT64_MAX / 4}};
    for (size_t i = 0; i < sizeof field / sizeof *field; i++)
        if (field[i].value < field[i].min || field[i].value > field[i].max)
            return err_set(e, ERR_RANGE, "toy: %s is %" PRId64 ", expected %" PRId64 " to %" PRId64,
                           field[i].name, field[i].value, field[i].min, field[i].max);
    for (int32_t g = 0; g < o->n_graphs; g++) {
        if (o->graph_weights[g] < 0 || o->graph_weights[g] > EXEC_MAX_GRAPHS)
            return err_set(e, ERR_RANGE, "toy: the weights of graph %d are %d, expected 0 to %d",
                           g + 1, o->graph_weights[g], EXEC_MAX_GRAPHS);
        if (o->graph_width[g] < 1 || o->graph_width[g] > o->max_rows)
            return err_set(e, ERR_RANGE, "toy: graph %d is %d wide, expected 1 to %d", g + 1,
                           o->graph_width[g], o->max_rows);
    }
    return ERR_OK;
}

int toy_create(const struct toy_options *o, struct engine **out, struct err *e)
{
    int rc = check_options(o, e);
    if (rc)
        return rc;
    struct toy *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(e, ERR_NOMEM, "out of memory for the toy engine");
    if (pthread_mutex_init(&t->lock, NULL)) {
        free(t);
        return err_set(e, ERR_NOMEM, "out of memory for the toy engine's lock");
    }
    t->engine.ops = &ops;
    t->o = *o;
    size_t caches = (size_t)o->max_seqs * (size_t)o->blocks, rows = (size_t)o->max_rows;
    t->cache = calloc(caches, sizeof *t->cache);
    t->entries = calloc(caches * (size_t)o->max_ctx, sizeof *t->entries);
    t->block = calloc((size_t)o->n_graphs * (size_t)o->blocks + 1, sizeof *t->block);
    t->rows = calloc(N_SLOTS * rows, sizeof *t->rows);
    t->scratch = calloc(EXEC_MAX_ROLES * rows, sizeof *t->scratch);
    if (!t->cache || !t->entries || !t->block || !t->rows || !t->scratch) {
        toy_destroy(&t->engine);
        return err_set(e, ERR_NOMEM, "out of memory for a toy of %d sequences of %d tokens",
                       o->max_seqs, o->max_ctx);
    }
    for (size_t i = 0; i < caches; i++)
        t->cache[i].entry = t->entries + i * (size_t)o->max_ctx;
    for (int32_t s = 0; s < N_SLOTS; s++) {
        t->slot[s].seq = -1;
        t->slot[s].row = t->rows + (size_t)s * rows;
    }
    *out = &t->engine;
    return ERR_OK;
}
