/* An executor that wraps another one and remembers the jobs that passed: what a test asserts a
 * submitted sequence on. */
#ifndef TANDEM_TESTS_SPY_H
#define TANDEM_TESTS_SPY_H

#include "sim/exec/exec.h"

enum { SPY_MAX = 4096 };

struct spied {
    struct job job;                /* its arrays are gone: NULL */
    int32_t submitted_at, done_at; /* number of the event whose answer it was, and of its DONE */
    int32_t n_done;
    uint8_t status;
    int64_t start_ns, end_ns, resident_bytes;
};

struct spy {
    struct exec exec; /* must be first */
    struct exec *inner;
    int32_t n, n_events;
    struct spied job[SPY_MAX]; /* in order of submission */
};

/* The caller's memory; `inner` is the caller's too. */
void spy_init(struct spy *s, struct exec *inner);

/* "FORWARD g1 b0-2 w16 n16 pos0 slot-1>0 seq0", "LOAD g2 b5", "COMMIT seq0 pos0 n0", ...: what job
 * i was, without its role. Returns buf. */
const char *spy_text(const struct spy *s, int32_t i, char *buf, size_t size);

#endif
