/* One simulated run of the policy switching, for `tandem reproduce switching`. */
#ifndef TANDEM_EXPERIMENTS_SWITCHING_RUN_H
#define TANDEM_EXPERIMENTS_SWITCHING_RUN_H

#include "hwmodels/phone.h"
#include "sim/policy/optimal.h"

enum { SWITCHING_MAX_DEVICES = 4, SWITCHING_MAX_PROMPT = 4096, SWITCHING_MAX_OUTPUT = 256 };

struct switching_device {
    const char *name;
    int64_t wide_ns, narrow_ns; /* a pass through all layers */
};

/* What all cases share (experiments/published/switching.yaml). */
struct switching_model {
    struct model_desc desc;
    struct model_type weights;
    int32_t wide, narrow; /* widths */
    int64_t base_bytes;   /* the KV cache in it */
    int64_t address_bytes, wide_own_bytes, narrow_own_bytes;
    int64_t dram_bytes_per_s;
    int32_t n_devices;
    struct switching_device device[SWITCHING_MAX_DEVICES];
};

struct switching_case {
    const struct switching_device *device;
    int32_t blocks, prompt, output;   /* layers are spread over the blocks */
    int64_t load_ns;                  /* of all of the narrow graph */
    const char *policy;               /* as in spec_parse */
    const struct blocks_error *wrong; /* of the belief; NULL: it is the truth */
    int64_t idle_ns; /* between the first request and a second; -1: there is one request */
};

struct switching_outcome {
    int64_t objective_ns; /* of the first request: max(prefill end, switch end) from its first
                             computation on */
    int64_t decode_ns;    /* first decode step begins, from there on */
    int64_t peak_bytes;
    /* By request: from arrival to its first computation, to its first and to its last token. */
    int64_t wait_ns[2], first_ns[2], last_ns[2];
};

/* Runs it, and checks that the schedule keeps to the rules of spans.h. `arena` is reset. The errors
 * of spec_parse, driver_run and spans_check. */
int switching_run(const struct switching_model *m, const struct switching_case *c,
                  struct arena *arena, struct switching_outcome *out, struct err *e);

/* The same blocks and prompt as a problem for optimal_solve. `arena` is reset. */
int switching_problem(const struct switching_model *m, const struct switching_case *c,
                      struct arena *arena, struct optimal_problem *out, struct err *e);

/* The prompt's time on the wide graph alone: the objective of who switches nothing. */
int64_t switching_wide_ns(const struct switching_model *m, const struct switching_case *c);

#endif
