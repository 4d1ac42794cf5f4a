/* Micro-benchmarks of the event core, for `tandem bench core`. The only file of sim/core that reads
 * the machine's clock. */
#ifndef TANDEM_CORE_BENCH_H
#define TANDEM_CORE_BENCH_H

enum { CORE_BENCH_QUEUES = 4 };

/* Over the repetitions. */
struct bench_stat {
    double median, min, max;
};

struct core_bench {
    /* Pop an event, end a flow or a timer on its processor, account power, start the next, push:
     * 16 jobs pending on 4 processors, half of them flows on a contended bus. */
    struct bench_stat events_per_s;
    /* 8 flows on a contended total: finish one, start another. */
    struct bench_stat shared_completions_per_s;
    /* Pop and push at a constant number pending, uniformly drawn delays. */
    struct {
        int pending;
        struct bench_stat ns_per_event;
    } queue[CORE_BENCH_QUEUES]; /* 4, 16, 64, 1,024 */
    int repetitions;
};

/* Each measurement is repeated `repetitions` times (at least 1) for about `ms` milliseconds, after
 * one unmeasured repetition. ERR_OK, ERR_NOMEM, or ERR_IO when the machine has no clock. */
int core_bench_run(struct core_bench *out, int repetitions, int ms);

#endif
