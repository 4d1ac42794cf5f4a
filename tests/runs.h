/* Whole runs of several policies, held to the laws of exec.h and threads.h, on an executor bare,
 * recorded, behind a fault plan without faults, and replayed from its own log. */
#ifndef TANDEM_TESTS_RUNS_H
#define TANDEM_TESTS_RUNS_H

#include "sim/exec/driver.h"

struct runs {
    const char *name; /* of the executor */
    int (*make)(const struct run_setup *setup, struct exec **out, struct err *e);
    void (*unmake)(void); /* after the executor was destroyed; may be NULL */
    int32_t n_vocab, n_eos;
    int32_t eos[EXEC_MAX_EOS];
    const struct request *request;
    int32_t n; /* requests */
};

/* Checks, as a test does. */
void runs_are_lawful(const struct runs *r);

#endif
