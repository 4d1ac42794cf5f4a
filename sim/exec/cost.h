/* What a job costs: the simulated executor's hardware. Implemented in hwmodels.
 *
 * A cost model keeps no clock and no state of its own: what its answer depends on besides the job
 * is an argument, owned by the executor. */
#ifndef TANDEM_EXEC_COST_H
#define TANDEM_EXEC_COST_H

#include "sim/exec/exec.h"

enum { COST_ABI = 4 };

/* Blocks of static graphs that are resident: from the start of their LOAD to the end of their FREE.
 */
struct cost_resident {
    bool block[EXEC_MAX_GRAPHS][BELIEF_MAX_BLOCKS]; /* [graph - 1][block] */
};

/* The state of a role's engine before a job. */
struct engine_state {
    int32_t width;                        /* of the last FORWARD; 0: none yet */
    int32_t pos;                          /* its cached tokens */
    const struct cost_resident *resident; /* of the whole device; NULL: nothing is */
    int32_t clock_permille;               /* of its full speed; 0: full */
};

/* The device's heat, which the executor keeps. All zero: nothing has been asked yet. */
struct cost_heat {
    bool known, slow; /* slow: the governor has slowed the device */
    double mc;        /* thousandths of a degree Celsius */
};

/* Where a job's time belongs when errors are told apart. */
enum cost_part { PART_PREFILL, PART_STEP, PART_SAMPLE, PART_DRAFT, PART_HOST, PART_OTHER, PARTS };

struct cost {
    int64_t alone_ns;  /* start to end with nothing else on the bus, sample_ns included */
    int64_t sample_ns; /* FORWARD, HEAD: choosing tokens */
    int64_t bytes;     /* over the bus, evenly during alone_ns; 0: none, or not known */
    int64_t resident_delta_bytes;
    int64_t active_mw; /* while it runs; 0: its processor's, -1: not known */
    bool extrapolated; /* outside what was measured */
};

/* Host and hand-over times, once per run. */
struct cost_host {
    int64_t event_ns;    /* driver and policy, per event */
    int64_t action_ns;   /* more, per action */
    int64_t dispatch_ns; /* submission to start on an idle worker */
    int64_t notify_ns;   /* end on the worker to delivery */
};

struct cost_processor {
    const char *name;
    int64_t active_mw, idle_mw; /* -1: not known; then the energy is unknown, never zero */
};

/* Memory with what is resident. */
struct cost_memory {
    int64_t used_bytes, limit_bytes;     /* limit 0: none */
    int64_t mapped_bytes, address_bytes; /* by an NPU's graphs, in its address space; 0: no limit */
};

struct cost_model {
    const struct cost_ops *ops; /* must be first in an implementation's struct */
};

struct cost_ops {
    uint32_t abi;  /* COST_ABI */
    uint32_t size; /* sizeof(struct cost_ops) */
    const char *name;

    /* What this device can run. */
    void (*caps)(const struct cost_model *m, struct exec_caps *out);

    /* `work` is given for DRAFT and CALIBRATE, else NULL. ERR_UNSUPPORTED when the device file has
     * nothing that answers. */
    int (*job)(const struct cost_model *m, const struct job *job, const struct engine_state *state,
               const struct draft_work *work, struct cost *out, struct err *e);

    void (*host)(const struct cost_model *m, struct cost_host *out);

    /* The number of processors, *out being the model's own array of them; and the index of the one
     * that plays `role`. Jobs of roles on one processor exclude each other. */
    int32_t (*processors)(const struct cost_model *m, const struct cost_processor **out);
    int32_t (*processor_of)(const struct cost_model *m, int32_t role);

    /* Bytes per second of the DRAM, all processors together; 0: not modelled. */
    int64_t (*bus_bytes_per_s)(const struct cost_model *m);

    /* Optional: energy of a byte over the bus, in pJ. 0, or none: the processors' powers hold it.
     */
    int64_t (*bus_pj_per_byte)(const struct cost_model *m);

    /* Optional: lets `ns` pass with `mw` drawn, and returns the speed in thousandths of full speed.
     * Sets *h up at its first call. Where `known` stays false there is no model, and the speed is
     * 1000. */
    int32_t (*heat)(const struct cost_model *m, struct cost_heat *h, int64_t mw, int64_t ns);

    /* Optional, both or none. Without them a job's resident_delta_bytes count, and nothing is
     * limited. A LOAD that would exceed a limit ends DONE_NO_MEMORY with the text as its reason. */
    void (*memory)(const struct cost_model *m, const struct cost_resident *r,
                   struct cost_memory *out);

    /* "base 400 MB, graph 1 blocks 0-4 1250 MB, graph 2 block 5 250 MB"; returns buf. */
    const char *(*memory_text)(const struct cost_model *m, const struct cost_resident *r, char *buf,
                               size_t size);
};

#endif
