#include "sim/core/bench.h"

#include "sim/base/arena.h"
#include "sim/base/err.h"
#include "sim/base/hash.h"
#include "sim/core/clock.h"
#include "sim/core/evq.h"
#include "sim/core/fluid.h"
#include "sim/core/power.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

enum { DRAWS = 4096, BATCH = 20000, PENDING = 16, FLOWS = 8, PROCESSORS = 4 };

/* Draws are made beforehand, so that what is timed is the core. */
struct job {
    int64_t bytes, alone_ns;
};

struct load {
    struct arena arena;
    struct job draws[DRAWS];
    uint32_t next_draw;
    struct evq queue;
    struct fluid bus;
    struct power power[PROCESSORS];
    int64_t now_ns;
};

static int64_t wall_ns(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t))
        return -1;
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static const struct job *draw(struct load *l)
{
    return &l->draws[l->next_draw++ % DRAWS];
}

/* Jobs of 50-1,050 us that ask for 1-9 GB/s of a bus of 20 GB/s. */
static int load_init(struct load *l, uint32_t pending, uint32_t flows)
{
    arena_init(&l->arena);
    l->next_draw = 0;
    l->now_ns = 0;
    for (uint32_t i = 0; i < DRAWS; i++) {
        double u = rng_unit(rng_u64(1, RNG_TEST, 0, i)), v = rng_unit(rng_u64(1, RNG_TEST, 1, i));
        l->draws[i].alone_ns = 50000 + (int64_t)(u * 1e6);
        l->draws[i].bytes = (int64_t)((double)l->draws[i].alone_ns * (1 + 8 * v));
    }
    for (int i = 0; i < PROCESSORS; i++)
        power_init(&l->power[i], 2400 + i, 130, 0);
    int rc = evq_init(&l->queue, &l->arena, pending);
    return rc ? rc : fluid_init(&l->bus, &l->arena, flows, 20000000000);
}

static void start_timer(struct load *l, uint64_t processor)
{
    power_begin(&l->power[processor], l->now_ns);
    evq_push(&l->queue, clock_after(l->now_ns, draw(l)->alone_ns), 1, processor);
}

static void start_flow(struct load *l, uint64_t processor)
{
    const struct job *j = draw(l);
    power_begin(&l->power[processor], l->now_ns);
    fluid_start(&l->bus, l->now_ns, j->bytes, j->alone_ns, 1, processor);
}

static void start_events(struct load *l)
{
    for (uint64_t i = 0; i < PENDING; i++)
        i % 2 ? start_timer(l, i % PROCESSORS) : start_flow(l, i % PROCESSORS);
}

static void step_events(struct load *l)
{
    struct evq_event e;
    uint64_t processor;
    l->now_ns = clock_min(evq_next_ns(&l->queue), fluid_next_ns(&l->bus));
    if (fluid_pop(&l->bus, l->now_ns, &processor)) {
        power_end(&l->power[processor], l->now_ns);
        start_flow(l, processor);
    } else if (evq_pop(&l->queue, &e)) {
        power_end(&l->power[e.data], l->now_ns);
        start_timer(l, e.data);
    }
}

static void start_flows(struct load *l)
{
    for (uint64_t i = 0; i < FLOWS; i++) {
        const struct job *j = draw(l);
        fluid_start(&l->bus, 0, j->bytes, j->alone_ns, 1, i);
    }
}

static void step_flows(struct load *l)
{
    uint64_t tag = 0;
    l->now_ns = fluid_next_ns(&l->bus);
    fluid_pop(&l->bus, l->now_ns, &tag);
    const struct job *j = draw(l);
    fluid_start(&l->bus, l->now_ns, j->bytes, j->alone_ns, 1, tag);
}

static void start_queue(struct load *l)
{
    while (evq_push(&l->queue, draw(l)->alone_ns, 1, 0))
        ;
}

static void step_queue(struct load *l)
{
    struct evq_event e;
    evq_pop(&l->queue, &e);
    evq_push(&l->queue, e.time_ns + draw(l)->alone_ns, 1, e.data);
}

struct measurement {
    void (*start)(struct load *);
    void (*batch)(struct load *); /* BATCH steps */
};

/* One function per step, so that a step is not an indirect call. */
static void batch_events(struct load *l)
{
    for (int i = 0; i < BATCH; i++)
        step_events(l);
}

static void batch_flows(struct load *l)
{
    for (int i = 0; i < BATCH; i++)
        step_flows(l);
}

static void batch_queue(struct load *l)
{
    for (int i = 0; i < BATCH; i++)
        step_queue(l);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* ns per step of each repetition, sorted, in ns[0 .. repetitions). */
static int measure(struct load *l, const struct measurement *m, double *ns, int repetitions, int ms)
{
    m->start(l);
    for (int r = -1; r < repetitions; r++) {
        int64_t begin = wall_ns(), end = begin, steps = 0;
        while (end >= 0 && end - begin < (int64_t)ms * 1000000) {
            m->batch(l);
            steps += BATCH;
            end = wall_ns();
        }
        if (begin < 0 || end < 0)
            return ERR_IO;
        if (r >= 0)
            ns[r] = (double)(end - begin) / (double)(steps ? steps : 1);
    }
    qsort(ns, (size_t)repetitions, sizeof *ns, by_value);
    return ERR_OK;
}

static struct bench_stat of_ns(const double *ns, int n)
{
    return (struct bench_stat){
        .median = (ns[(n - 1) / 2] + ns[n / 2]) / 2, .min = ns[0], .max = ns[n - 1]};
}

static struct bench_stat of_rate(const double *ns, int n)
{
    struct bench_stat s = of_ns(ns, n);
    return (struct bench_stat){.median = 1e9 / s.median, .min = 1e9 / s.max, .max = 1e9 / s.min};
}

static int run_one(struct load *l, const struct measurement *m, uint32_t pending, double *ns,
                   int repetitions, int ms)
{
    int rc = load_init(l, pending, FLOWS);
    if (!rc) {
        arena_seal(&l->arena);
        rc = measure(l, m, ns, repetitions, ms);
    }
    arena_fini(&l->arena);
    return rc;
}

int core_bench_run(struct core_bench *out, int repetitions, int ms)
{
    static const struct measurement events = {start_events, batch_events};
    static const struct measurement flows = {start_flows, batch_flows};
    static const struct measurement queue = {start_queue, batch_queue};
    static const int pending[CORE_BENCH_QUEUES] = {4, 16, 64, 1024};
    assert(repetitions > 0 && ms > 0);
    *out = (struct core_bench){.repetitions = repetitions};
    struct load *l = malloc(sizeof *l);
    double *ns = calloc((size_t)repetitions, sizeof *ns);
    int rc = l && ns ? ERR_OK : ERR_NOMEM;
    if (!rc)
        rc = run_one(l, &events, PENDING, ns, repetitions, ms);
    if (!rc)
        out->events_per_s = of_rate(ns, repetitions);
    if (!rc)
        rc = run_one(l, &flows, 1, ns, repetitions, ms);
    if (!rc)
        out->shared_completions_per_s = of_rate(ns, repetitions);
    for (int i = 0; !rc && i < CORE_BENCH_QUEUES; i++) {
        rc = run_one(l, &queue, (uint32_t)pending[i], ns, repetitions, ms);
        if (!rc) {
            out->queue[i].pending = pending[i];
            out->queue[i].ns_per_event = of_ns(ns, repetitions);
        }
    }
    free(ns);
    free(l);
    return rc;
}
