/* Requests of a trace run through a policy on no device: every job takes a microsecond. What is
 * accepted does not depend on times, so that drafters can be compared from traces alone. */
#ifndef TANDEM_EXPERIMENTS_REPLAYED_H
#define TANDEM_EXPERIMENTS_REPLAYED_H

#include <stdbool.h>

#include "hwmodels/device.h"
#include "sim/base/arena.h"
#include "sim/base/err.h"
#include "traces/trace.h"

/* The committed traces: a model is a line. Ends with a NULL file. */
struct shipped_trace {
    const char *file, *model;
};

extern const struct shipped_trace shipped_traces[];

/* ERR_IO when it is not there; then as trace_open. */
int shipped_trace_open(const struct shipped_trace *s, struct trace **out, struct err *e);

struct replayed {
    int64_t tokens;           /* after the first */
    int64_t steps;            /* decode and verify steps */
    int64_t drafted, unknown; /* tokens verified; choices that the trace does not hold */
    int64_t ttft_ns;          /* of jobs that take a microsecond each, or of the device */
    double distinct_4grams;
};

/* Runs the requests map[0, n) one after another, which is a sequence where drafters have a history.
 * `spec` is as in `tandem observe --drafts`: POLICY:PARAM=VALUE,...+DRAFTER:PARAM=VALUE,... `out`
 * has room for n. The errors of spec_parse and driver_run. */
int replay_trace(const struct trace *t, const char *spec, const int32_t *map, int32_t n,
                 struct replayed *out, struct err *e);

/* The same on a device with its own roles, whose times count. */
int replay_on_device(const struct trace *t, const struct device *d, const char *spec,
                     const int32_t *map, int32_t n, struct replayed *out, struct err *e);

/* A trace's requests of one split by task, each task's in the trace's order. */
enum { REPLAYED_MAX_TASKS = 16 };

struct replayed_tasks {
    int32_t n;
    struct {
        const char *task;
        int32_t n, *map;
    } of[REPLAYED_MAX_TASKS];
    struct replayed *out; /* room for all of them */
};

/* Lives in `arena`, also when the trace is closed. ERR_LIMIT, ERR_NOMEM. */
int replayed_tasks(const struct trace *t, int32_t split, struct arena *arena,
                   struct replayed_tasks *out, struct err *e);

/* Whether a request is counted: its text does not repeat itself, and took steps. */
bool replayed_counts(const struct replayed *r);

struct replayed_sum {
    int64_t tokens, steps; /* of requests that are counted */
    int32_t n;             /* of these */
};

/* replay_trace, summed up; `out` has room for n. */
int replay_sum(const struct trace *t, const char *spec, const int32_t *map, int32_t n,
               struct replayed *out, struct replayed_sum *sum, struct err *e);

/* Tokens per verification; NAN where no request is counted. */
double replayed_rate(const struct replayed_sum *sum);

#endif
