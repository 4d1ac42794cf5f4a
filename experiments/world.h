/* What the policies of an experiment run on: its requests, and an executor for each run. A trace
 * and a device file make a simulated world; a workload and an engine a real one. */
#ifndef TANDEM_EXPERIMENTS_WORLD_H
#define TANDEM_EXPERIMENTS_WORLD_H

#include "experiments/experiment.h"
#include "experiments/session.h"
#include "hwmodels/device.h"
#include "sim/exec/sim.h"
#include "traces/trace.h"

/* ---- parts, for who wires them otherwise ---------------------------------------------------- */

/* A trace as the simulated target. Request i of the run is request map[i] of the trace; requests
 * and trace must outlive it. */
struct trace_truth {
    struct truth truth; /* must be first */
    const struct trace *trace;
    const int32_t *map;
    int32_t n;
};

void trace_truth_init(struct trace_truth *t, const struct trace *trace, const int32_t *map,
                      int32_t n);

/* Fills request i from request map[i] of the trace: after the one before, never cancelled. */
void trace_requests(const struct trace *trace, const int32_t *map, int32_t n,
                    struct request *request);

struct workload;

/* As workload_choose, also for EXPERIMENT_ALL: items of the split, at most `max`, evenly over tasks
 * by its fixed rule. -1 without memory. */
int32_t world_choose(const struct workload *w, enum experiment_split split, int32_t max,
                     int32_t *index);

/* A simulated executor of a device. `roles` is as in device_roles, NULL for the file's; the cost
 * model lives in `arena`. Device, truth and set-up must outlive the executor. */
int device_exec(const struct device *d, const char *roles, const struct device_options *opt,
                struct truth *truth, const struct run_setup *setup, struct arena *arena,
                struct exec **out, struct err *e);

/* ---- an experiment's ------------------------------------------------------------------------ */

enum world_kind { WORLD_SIM, WORLD_REAL, WORLD_TOY };

struct world_name {
    const char *id, *task;
};

struct world {
    enum world_kind kind;
    const struct experiment *x;
    struct arena arena;
    bool has_device, mixed; /* mixed: numerics ids differ, and that was allowed */
    struct device device;
    bool phone, has_host; /* a device of operators, and whose other costs stand for its own */
    struct device host;
    struct model_desc desc; /* what runs on it */
    struct trace *trace;
    struct trace_truth truth;
    struct session session;
    int32_t n_requests;
    struct request *request; /* [n_requests] */
    struct world_name *name; /* [n_requests] */
    int32_t *order;          /* [n_requests] which of them is run i-th; NULL: as they are */
    struct request *ordered; /* [n_requests] in that order */
    const int32_t *map;      /* requests of the trace, and in that order */
    int32_t *ordered_map;
    char model[128], numerics[64];
};

const char *world_kind_name(enum world_kind kind);

/* Opens the files that the experiment names and loads the engine. The seed is the toy's. Refuses
 * what cannot be run: ERR_SCHEMA where the experiment lacks what this kind needs; ERR_MISMATCH when
 * trace and device have different numerics ids and the experiment does not allow it;
 * ERR_RANGE for a request that does not fit the context, by its name. world_close is right after
 * success and after failure. */
int world_open(const struct experiment *x, enum world_kind kind, uint64_t seed, struct world *out,
               struct err *e);
void world_close(struct world *w);

/* The run of one policy, its belief included: from the belief file, else from the device, else
 * none. */
int world_run_setup(const struct world *w, const struct experiment_policy *policy, uint64_t seed,
                    struct run_setup *out, struct err *e);

/* Puts the requests in the order that the experiment and the seed say; returns them. Where the
 * results of a run belong is w->order. Until then they are in the file's order. */
const struct request *world_order(struct world *w, uint64_t seed);

/* An executor for one run of `setup`, which must live as long; what it needs besides is taken from
 * `arena`. */
int world_exec(struct world *w, const struct run_setup *setup, struct arena *arena,
               struct exec **out, struct err *e);

#endif
