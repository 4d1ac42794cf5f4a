/* Micro-benchmarks of an executor: step, prefill, hand-over and drafting times from random tokens,
 * through the same seam, threads and cores that a policy's jobs take. They know no workload: what
 * profiles a device is never what judges the prediction. */
#ifndef TANDEM_EXPERIMENTS_MEASURE_H
#define TANDEM_EXPERIMENTS_MEASURE_H

#include "sim/exec/driver.h"

/* Nodes that a proposal is asked for, one or the other. */
enum { MEASURE_NARROW = 7, MEASURE_WIDE = 15 };

enum sample_kind {
    SAMPLE_STEP,     /* width rows, all with outputs, after pos cached tokens */
    SAMPLE_PREFILL,  /* width rows, with the last one's output, or none */
    SAMPLE_ALL,      /* prefill's width, outputs of every row */
    SAMPLE_SAMPLING, /* choosing `outputs` tokens, the `width` likeliest where it is not 0: part of
                        a step, not counted in it */
    SAMPLE_COMMIT,   /* a cut of the cache; changed: a tree's second branch was kept */
    SAMPLE_DRAFT,    /* drafter `width`: work in the counters; pos: nodes that were asked for */
    SAMPLE_DISPATCH, /* submission to start on the worker of role `width` */
    SAMPLE_NOTIFY,   /* end on it to delivery */
    SAMPLE_HOST      /* the loop's own time per event */
};

struct sample {
    uint8_t kind;    /* enum sample_kind */
    uint8_t changed; /* STEP, PREFILL, ALL: enum device_change; COMMIT: see above */
    int16_t outputs;
    int32_t round;
    int32_t width, pos;
    int64_t ns;
    struct draft_work work; /* DRAFT */
};

struct samples {
    struct sample *item; /* malloc'ed */
    int32_t n, cap;
};

void samples_free(struct samples *s);

/* Appends; ERR_NOMEM. */
int samples_add(struct samples *s, const struct sample *x);

/* What one round visits. */
struct measure_plan {
    int32_t n_widths, n_contexts, n_tails;
    int32_t width[64];      /* of steps */
    int32_t context[16];    /* increasing; cached tokens before a step */
    int32_t tail[64];       /* rows of a last prefill step */
    int32_t n_all, all[16]; /* rows of prefill steps of which every output is wanted */
    int32_t top_k;          /* and their likely tokens */
    int32_t prefill_to;     /* no last prefill steps at contexts from here on */
    int32_t chunk;          /* rows of a whole one */
    int32_t pad;            /* the context bucket's size: LLAMA_PAD */
    int32_t few;            /* rows of the widest step of the first kind (hwmodels/device.h) */
    int32_t steady[2];      /* steps after the first at each width: of few rows, of more */
    bool by_context;        /* a round visits one context, by turns, instead of all */
    uint64_t seed;
};

/* Of that many rows. */
int32_t measure_steady(const struct measure_plan *plan, int32_t width);

/* Runs one round on x, which serves `setup` (roles target and draft, any drafters) and has nothing
 * open, and leaves it so. The order of widths and tails is random by (seed, round). */
int measure_round(struct exec *x, const struct run_setup *setup, const struct measure_plan *plan,
                  int32_t round, struct samples *out, struct err *e);

#endif
