#include "experiments/bench_pages.h"

#ifdef TANDEM_REAL
#include <assert.h>
#include <time.h>
#include <unistd.h>

#include "hwmodels/real/direct.h"
#include "hwmodels/real/llama_engine.h"
#include "sim/exec/metrics.h"
#include "sim/exec/pin.h"

enum { CONTEXT = 512, CHUNK = 128, MAX_ROWS = 8 };

static const int32_t rows[PAGES_BENCH_ROWS] = {1, 2, 4, MAX_ROWS};

struct bench {
    struct direct to[2]; /* huge, small */
    int32_t token[CONTEXT + MAX_ROWS];
    double ns[2][PAGES_BENCH_ROWS][PAGES_BENCH_MOST];
};

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static bool fill(struct direct *to, const int32_t *token)
{
    bool good = true;
    for (int32_t at = 0; at < CONTEXT && good; at += CHUNK)
        good = direct_forward(to, at, CHUNK, token + at, NULL, CHUNK);
    return good;
}

/* Twice, the second timed: the first comes after the other engine's. */
static bool step(struct direct *to, const int32_t *token, int32_t n, double *ns)
{
    bool good = true;
    for (int32_t i = 0; i < 2 && good; i++) {
        double from = now_ns();
        good = direct_forward(to, CONTEXT, n, token + CONTEXT, NULL, n);
        *ns = now_ns() - from;
        good = good && direct_commit(to, CONTEXT, 0, NULL);
    }
    return good;
}

static int measure(struct bench *b, int32_t repetitions, struct err *e)
{
    bool good = fill(&b->to[0], b->token) && fill(&b->to[1], b->token);
    for (int32_t r = 0; r < repetitions && good; r++)
        for (int32_t k = 0; k < PAGES_BENCH_ROWS && good; k++)
            for (int32_t i = 0; i < 2 && good; i++) {
                int32_t which = (i + r) % 2;
                good = step(&b->to[which], b->token, rows[k], &b->ns[which][k][r]);
            }
    return good ? ERR_OK
                : err_set(e, ERR_DEVICE, "a step failed: %s%s", b->to[0].out.message,
                          b->to[1].out.message);
}

static struct bench_stat stat_of(double *x, int32_t n)
{
    double median = metrics_quantile(x, n, 0.5); /* sorts */
    return (struct bench_stat){median, x[0], x[n - 1]};
}

static int open_both(struct bench *b, const char *model, bool *huge, struct err *e)
{
    struct llama_options o;
    llama_defaults(&o);
    o.model = model;
    o.max_ctx = CONTEXT + MAX_ROWS;
    o.small_pages = true;
    int rc = llama_engine_create(&o, &b->to[1].engine, e);
    o.small_pages = false;
    if (!rc)
        rc = llama_engine_create(&o, &b->to[0].engine, e);
    if (rc)
        return rc;
    struct llama_facts f, g;
    llama_engine_facts(b->to[0].engine, &f);
    llama_engine_facts(b->to[1].engine, &g);
    *huge = f.huge_pages && !g.huge_pages;
    if (f.n_vocab < 1)
        return err_at(e, ERR_UNSUPPORTED, model, 0, 0, "has no vocabulary: name another model");
    for (int32_t i = 0; i < CONTEXT + MAX_ROWS; i++)
        b->token[i] = (int32_t)((int64_t)i * 7919 % f.n_vocab);
    return ERR_OK;
}

int pages_bench_run(const char *model, int32_t repetitions, struct pages_bench *out, struct err *e)
{
    static struct bench b;
    int32_t n = repetitions;
    assert(n >= 1 && n <= PAGES_BENCH_MOST);
    b = (struct bench){0};
    *out = (struct pages_bench){0};
    pin_thread((int32_t)sysconf(_SC_NPROCESSORS_ONLN) - 1); /* as well as the machine can */
    int rc = open_both(&b, model, &out->huge, e);
    if (!rc)
        rc = measure(&b, n, e);
    for (int32_t k = 0; k < PAGES_BENCH_ROWS && !rc; k++)
        out->row[k] =
            (struct pages_bench_row){rows[k], stat_of(b.ns[0][k], n), stat_of(b.ns[1][k], n)};
    for (int32_t i = 0; i < 2; i++)
        if (b.to[i].engine)
            b.to[i].engine->ops->destroy(b.to[i].engine);
    return rc;
}
#else
int pages_bench_run(const char *model, int32_t repetitions, struct pages_bench *out, struct err *e)
{
    (void)repetitions;
    *out = (struct pages_bench){0};
    return err_at(e, ERR_UNSUPPORTED, model, 0, 0,
                  "this build has no engine for models: configure with the preset release");
}
#endif
