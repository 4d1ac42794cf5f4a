/* An experiment file (schema: tandem-experiment-1): what is run, on what, how often. README.md of
 * this folder lists its keys. */
#ifndef TANDEM_EXPERIMENTS_EXPERIMENT_H
#define TANDEM_EXPERIMENTS_EXPERIMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "hwmodels/phone.h"
#include "hwmodels/table.h"
#include "sim/base/arena.h"
#include "sim/exec/driver.h"
#include "sim/exec/shims.h"

#define EXPERIMENT_SCHEMA "tandem-experiment-1"

enum {
    EXPERIMENT_MAX_POLICIES = 256,
    EXPERIMENT_MAX_SEEDS = 256,
    EXPERIMENT_MAX_SETS = 256,
    EXPERIMENT_MAX_WORKLOADS = 16,
    EXPERIMENT_MAX_REPETITIONS = 1000
};

enum arrivals { ARRIVE_AFTER_PREVIOUS, ARRIVE_LIST, ARRIVE_PERIOD };
enum experiment_order { ORDER_GIVEN, ORDER_SHUFFLED };
enum experiment_split { EXPERIMENT_HELD_OUT, EXPERIMENT_CALIBRATION, EXPERIMENT_ALL };

/* A file that an experiment names: as it stands there, and from where the program runs. */
struct experiment_path {
    const char *given, *path; /* NULL: none */
};

struct experiment_policy {
    const char *label; /* unique in the experiment */
    int32_t line, col; /* in its file */
    const struct policy_type *type;
    int64_t param[PARAM_MAX];
    const char *roles; /* that differ from the experiment's, in simulation; NULL */
    int32_t n_drafters;
    struct run_drafter drafter[EXEC_MAX_DRAFTERS];
};

/* Everything lives in the arena that it was loaded with. */
struct experiment {
    const char *file, *name;
    struct experiment_path device, model, trace, belief;
    int32_t n_workloads;
    struct experiment_path workload[EXPERIMENT_MAX_WORKLOADS];
    enum experiment_split split;
    int32_t limit;          /* requests at most; 0: all */
    int32_t max_tokens;     /* output tokens of a request at most; 0: as it asks */
    int32_t max_ctx;        /* 0: the executor's */
    const char *roles;      /* "target=cpu:0 draft=cpu:1", processors of the device file; NULL: its
                               defaults */
    const char *real_roles; /* role_map_parse takes it; NULL: the machine's default */
    int32_t n_policies;
    struct experiment_policy *policy;
    enum experiment_order order; /* SHUFFLED: by the seed, the same for every policy */
    enum arrivals arrivals;
    int32_t n_arrivals;
    int64_t *arrival_ns; /* LIST: [n_arrivals], not decreasing */
    int64_t period_ns;   /* PERIOD */
    int32_t repetitions; /* on executors whose times differ */
    int32_t n_seeds;
    uint64_t seed[EXPERIMENT_MAX_SEEDS];
    enum device_estimator estimator;
    int32_t estimator_n;
    double belief_scale, belief_noise_pct, belief_load_scale;
    bool has_graphs; /* how `model` is put on a device of operators */
    int32_t graphs_line, graphs_col;
    struct phone_graphs graphs;
    struct experiment_path graphs_host;
    bool mix_numerics;
    bool has_faults;
    struct fault_plan faults;
    int32_t n_device_sets; /* the file's, then those of --set, which come before the file's */
    const char *device_set[EXPERIMENT_MAX_SETS]; /* "device.bus.dram=80 GB/s" */
};

/* Reads a file with `set` (n_set texts, "policies.0.max_draft=5") put in; those that begin with
 * "device." are kept for the device file, in the place of the file's own of the same value. Errors
 * name file:line:column, the value, what was expected, the remedy; ERR_USAGE for two sets of one
 * value. */
int experiment_load(const char *path, const char *const *set, int32_t n_set, struct arena *arena,
                    struct experiment *out, struct err *e);

/* The same from n bytes; paths in it are relative to the folder of `name`. */
int experiment_parse(const char *name, const void *bytes, size_t n, const char *const *set,
                     int32_t n_set, struct arena *arena, struct experiment *out, struct err *e);

/* Takes out the policies that exist in simulation only, because they or their drafters need to know
 * the truth; returns how many those are. */
int32_t experiment_drop_truth(struct experiment *x);

/* The experiment with every default and every --set resolved, as the text of an experiment file, in
 * the arena; NULL without memory. In the folder of the experiment's own file it is that experiment
 * again, of which nothing is left to a command line. */
const char *experiment_text(const struct experiment *x, struct arena *arena);

/* "lookup ngram=3 branches=1" of each, joined by "; "; "" for none. Returns buf. */
const char *experiment_drafters(const struct experiment_policy *p, char *buf, size_t size);

#endif
