#include "sim/draft/bench.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "sim/base/arena.h"
#include "sim/base/hash.h"

enum { TOP = 4 };

struct bench {
    const struct drafter_type *type;
    const int64_t *param;
    const struct draft_bench_config *config;
    struct arena arena;
    void *mem;
    unsigned char *evict;
    int32_t *text, n_text;
    struct draft_tree tree;
    int32_t *top; /* [n_text][TOP] */
    float *logit;
    double *step_us, *prompt_us, *calibrate_us; /* [rounds * steps], [rounds], [rounds] */
};

/* The sums of a pass over all rounds. */
struct pass {
    double median_us, spread_us, prompt_us, calibrate_us;
    struct draft_work work;
};

static int64_t now_ns(void)
{
    struct timespec t;
    return clock_gettime(CLOCK_MONOTONIC, &t) ? 0 : (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct draft_bench_config draft_bench_default(void)
{
    return (struct draft_bench_config){.context = 4096,
                                       .accepted = 3,
                                       .nodes = {32, 8},
                                       .steps = 32,
                                       .rounds = 5,
                                       .n_vocab = 49152,
                                       .evict_bytes = (int64_t)64 << 20,
                                       .seed = 1};
}

/* About 1 / rank without a logarithm: an octave, then a rank in it, both uniform. */
static int32_t zipf(uint64_t u, int32_t n_vocab)
{
    uint64_t octaves = 1;
    while ((int64_t)1 << octaves < n_vocab)
        octaves++;
    uint64_t low = (uint64_t)1 << u % octaves;
    uint64_t rank = low + (u >> 20) % low;
    return (int32_t)((rank - 1) % (uint64_t)n_vocab);
}

void draft_bench_text(uint64_t seed, int32_t n_vocab, int32_t n, int32_t *token)
{
    uint64_t draw = 0;
    for (int32_t i = 0; i < n;) {
        uint64_t u = rng_u64(seed, RNG_TEST, 0, draw++);
        int32_t run = 4 + (int32_t)((u >> 1) % 61);
        if (u & 1 && i > 0) {
            int32_t from = (int32_t)((u >> 10) % (uint64_t)i);
            for (; run > 0 && i < n; run--)
                token[i++] = token[from++];
        } else {
            for (; run > 0 && i < n; run--)
                token[i++] = zipf(rng_u64(seed, RNG_TEST, 1, draw++), n_vocab);
        }
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts. */
static double quantile(double *value, int32_t n, double q)
{
    qsort(value, (size_t)n, sizeof *value, by_value);
    return value[(int32_t)(q * (n - 1) + 0.5)];
}

/* Not memset: for so much it may write past the caches. */
static void evict_caches(unsigned char *buffer, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i += 64)
        buffer[i]++;
}

/* What the target finds likely: the token that does come, three more, ever less. */
static void make_likely(struct bench *b, uint64_t seed)
{
    int32_t n_vocab = b->config->n_vocab;
    for (int32_t i = 0; i < b->config->context; i++)
        for (int32_t j = 0; j < TOP; j++) {
            uint64_t u = rng_u64(seed, RNG_TEST, 2, (uint64_t)(i * TOP + j));
            b->top[i * TOP + j] = j || i + 1 == b->n_text ? zipf(u, n_vocab) : b->text[i + 1];
            b->logit[i * TOP + j] = (float)-j;
        }
}

static void run_round(struct bench *b, int32_t round, int32_t nodes, bool cold, double *step_us,
                      double *prompt_us, double *calibrate_us, struct draft_work *work)
{
    const struct draft_bench_config *c = b->config;
    struct draft_limits limits = {
        .max_tokens = b->n_text, .max_nodes = nodes, .n_vocab = c->n_vocab};
    struct draft_work ignored = {0};
    draft_bench_text(c->seed + (uint64_t)round, c->n_vocab, b->n_text, b->text);
    make_likely(b, c->seed + (uint64_t)round);
    b->type->init(b->mem, b->param, &limits);
    int64_t start = now_ns();
    b->type->append(b->mem, b->text, c->context, &ignored);
    *prompt_us = (double)(now_ns() - start) / 1e3;
    start = now_ns();
    if (b->type->calibrate)
        b->type->calibrate(b->mem, 0, c->context, TOP, b->top, b->logit, &ignored);
    *calibrate_us = (double)(now_ns() - start) / 1e3;
    for (int32_t i = 0; i < c->steps; i++) {
        if (cold)
            evict_caches(b->evict, c->evict_bytes);
        start = now_ns();
        b->type->append(b->mem, b->text + c->context + i * c->accepted, c->accepted, work);
        b->type->propose(b->mem, nodes, &b->tree, work);
        step_us[i] = (double)(now_ns() - start) / 1e3;
    }
}

static struct pass run_pass(struct bench *b, int32_t nodes, bool cold)
{
    const struct draft_bench_config *c = b->config;
    struct pass p = {0};
    struct draft_work ignored = {0};
    run_round(b, c->rounds, nodes, false, b->step_us, b->prompt_us, b->calibrate_us, &ignored);
    for (int32_t r = 0; r < c->rounds; r++)
        run_round(b, r, nodes, cold, b->step_us + r * c->steps, b->prompt_us + r,
                  b->calibrate_us + r, &p.work);
    int32_t n = c->rounds * c->steps;
    p.median_us = quantile(b->step_us, n, 0.5);
    p.spread_us = quantile(b->step_us, n, 0.9) - quantile(b->step_us, n, 0.1);
    p.prompt_us = quantile(b->prompt_us, c->rounds, 0.5);
    p.calibrate_us = b->type->calibrate ? quantile(b->calibrate_us, c->rounds, 0.5) : NAN;
    return p;
}

static int allocate(struct bench *b, size_t mem_bytes, int32_t max_nodes, struct err *e)
{
    const struct draft_bench_config *c = b->config;
    size_t rounds = (size_t)c->rounds, nodes = (size_t)max_nodes;
    b->mem = arena_alloc(&b->arena, 1, mem_bytes);
    b->evict = arena_alloc(&b->arena, 1, c->evict_bytes > 0 ? (size_t)c->evict_bytes : 1);
    b->text = arena_alloc(&b->arena, (size_t)b->n_text, sizeof *b->text);
    b->tree.token = arena_alloc(&b->arena, nodes, sizeof *b->tree.token);
    b->tree.parent = arena_alloc(&b->arena, nodes, sizeof *b->tree.parent);
    b->tree.chance = arena_alloc(&b->arena, nodes, sizeof *b->tree.chance);
    b->top = arena_alloc(&b->arena, TOP * (size_t)b->n_text, sizeof *b->top);
    b->logit = arena_alloc(&b->arena, TOP * (size_t)b->n_text, sizeof *b->logit);
    b->calibrate_us = arena_alloc(&b->arena, rounds, sizeof *b->calibrate_us);
    b->step_us = arena_alloc(&b->arena, rounds * (size_t)c->steps, sizeof *b->step_us);
    b->prompt_us = arena_alloc(&b->arena, rounds, sizeof *b->prompt_us);
    bool whole = b->mem && b->evict && b->text && b->tree.token && b->tree.parent &&
                 b->tree.chance && b->top && b->logit && b->calibrate_us && b->step_us &&
                 b->prompt_us;
    return whole
               ? ERR_OK
               : err_set(e, ERR_NOMEM, "out of memory for the bench of drafter %s", b->type->name);
}

static int bench_one(const struct drafter_type *type, const int64_t *param,
                     const struct draft_bench_config *config, struct draft_bench_row *row,
                     struct err *e)
{
    struct bench b = {.type = type, .param = param, .config = config};
    int32_t max_nodes = 1;
    for (int32_t i = 0; i < DRAFT_BENCH_NODES; i++)
        max_nodes = config->nodes[i] > max_nodes ? config->nodes[i] : max_nodes;
    b.n_text = config->context + config->steps * config->accepted;
    struct draft_limits limits = {
        .max_tokens = b.n_text, .max_nodes = max_nodes, .n_vocab = config->n_vocab};
    size_t mem_bytes = type->mem_bytes(param, &limits);
    arena_init(&b.arena);
    int rc = allocate(&b, mem_bytes, max_nodes, e);
    if (rc)
        goto out;
    limits.max_tokens = config->context;
    *row = (struct draft_bench_row){.drafter = type->name,
                                    .mem_bytes = (int64_t)type->mem_bytes(param, &limits)};
    struct pass p = run_pass(&b, config->nodes[0], true);
    double steps = (double)config->rounds * config->steps;
    row->us_per_step = p.median_us;
    row->spread_us = p.spread_us;
    row->us_per_step_nodes[0] = p.median_us;
    row->probes_per_step = (double)p.work.probes / steps;
    row->nodes_per_step = (double)p.work.nodes / steps;
    for (int32_t i = 1; i < DRAFT_BENCH_NODES; i++)
        row->us_per_step_nodes[i] = run_pass(&b, config->nodes[i], true).median_us;
    p = run_pass(&b, config->nodes[0], false);
    row->us_per_step_warm = p.median_us;
    row->us_per_token_prompt = p.prompt_us / config->context;
    row->us_per_token_calibration = p.calibrate_us / config->context;
out:
    arena_fini(&b.arena);
    return rc;
}

int draft_bench_all(const struct draft_bench_config *config, int32_t max,
                    struct draft_bench_row *row, int32_t *n, struct err *e)
{
    int64_t param[PARAM_MAX];
    *n = 0;
    for (size_t i = 0; draft_registry[i] && *n < max; i++) {
        const struct drafter_type *type = draft_registry[i];
        if (type->flags & DRAFTER_NEEDS_TRUTH)
            continue;
        param_defaults(type->params, param);
        int rc = bench_one(type, param, config, &row[*n], e);
        if (rc)
            return rc;
        ++*n;
    }
    return ERR_OK;
}
