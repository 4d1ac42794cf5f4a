/* The simulated executor: a virtual clock, a cost model for what jobs cost (cost.h) and a truth for
 * what the target says (truth.h). Drafters are run for real; their work counters are charged.
 *
 * A job runs for cost.alone_ns; one that moves bytes is a flow on the DRAM bus and takes longer
 * when others compete. Jobs of roles on one processor exclude each other. The host is a processor
 * too: it handles one event at a time and its time delays what follows (cost.h, struct cost_host).
 *
 * Powers add up to a heat, where the cost model has one. It is looked at when a job begins or ends;
 * the speed that it leaves holds for a job from its beginning to its end. */
#ifndef TANDEM_EXEC_SIM_H
#define TANDEM_EXEC_SIM_H

#include "sim/core/power.h"
#include "sim/exec/cost.h"
#include "sim/exec/driver.h"
#include "sim/exec/memo.h"
#include "sim/exec/truth.h"

enum { SIM_MAX_PROCESSORS = 8 };

/* Neither is owned; both, and `setup`, must outlive the executor. ERR_LIMIT when what is resident
 * from the start exceeds the device's memory; ERR_NOMEM. */
int sim_create(const struct cost_model *cost, struct truth *truth, const struct run_setup *setup,
               struct exec **out, struct err *e);

/* Before the first event: proposals are looked up in `memo`, which outlives x, before a drafter is
 * run (memo.h). ERR_NOMEM. */
int sim_use_memo(struct exec *x, struct draft_memo *memo, struct err *e);

struct sim_stats {
    int64_t now_ns;
    int32_t n_processors;
    struct {
        const char *name;
        int64_t busy_ns;
        struct energy energy; /* unknown where a power is */
        struct energy work;   /* of that while it had a job */
    } processor[SIM_MAX_PROCESSORS];
    struct energy bus_energy; /* of the jobs' bytes; zero where the processors' powers hold it */
    /* Heat, where the device has a model of it and every power is known. */
    bool heat_known;
    int64_t peak_mc; /* thousandths of a degree Celsius */
    int64_t slow_ns; /* spent slowed by the governor */
    int64_t peak_resident_bytes;
    int64_t n_jobs, n_extrapolated; /* jobs, and those whose cost lies outside what was measured */
};

/* x was made by sim_create. */
void sim_stats(const struct exec *x, struct sim_stats *out);

#endif
