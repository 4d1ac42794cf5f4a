/* Policies: schedulers of drafting, verifying, loading. Pure state machines from an event to
 * actions: no clock, no randomness, no allocation, no I/O (tests/check_purity.sh).
 *
 * Adding one: a file here with its `struct policy_type`, a line in policy_registry (registry.c), a
 * line in CMakeLists.txt, a golden run. */
#ifndef TANDEM_POLICY_POLICY_H
#define TANDEM_POLICY_POLICY_H

#include "sim/exec/exec.h"

enum { POLICY_ABI = 1 };

enum policy_flags {
    POLICY_NEEDS_TRUTH = 1,   /* simulation only; every table marks it */
    POLICY_NEEDS_DRAFTER = 2, /* drafter 0 must be given */
    POLICY_TAKES_DRAFTER = 4  /* it may be */
};

/* Everything that a policy may know at its start. Valid for the whole run. */
struct policy_env {
    struct exec_caps caps; /* of the executor that runs it */
    const struct belief *belief;
    int32_t n_vocab;
    int32_t n_eos;
    int32_t eos[EXEC_MAX_EOS];
    int32_t n_drafters;
    const struct drafter_type *drafter[EXEC_MAX_DRAFTERS];
    const int64_t *drafter_param[EXEC_MAX_DRAFTERS];
    int32_t max_requests; /* that may be open at once */
};

struct policy_type {
    uint32_t abi;  /* POLICY_ABI */
    uint32_t size; /* sizeof(struct policy_type) */
    const char *name;
    const char *summary;     /* one line */
    uint32_t flags;          /* enum policy_flags */
    const char *const *role; /* NULL-terminated names; job.role indexes them */
    const struct param *params;
    struct exec_caps needs;

    /* Whether greedy output is the target's own whatever the drafter says, on an executor whose
     * chains are exact. */
    bool (*lossless)(const int64_t *param);

    size_t (*mem_bytes)(const int64_t *param, const struct policy_env *env);

    /* Makes a policy in `mem`: mem_bytes() of zeroes, aligned for any type. ERR_UNSUPPORTED when
     * the parameters and the environment do not fit; the message says why. */
    int (*init)(void *mem, const int64_t *param, const struct policy_env *env, struct err *e);

    /* Handles one event. ERR_POLICY for an event that no correct executor sends. */
    int (*on_event)(void *self, const struct event *event, struct actions *out);
};

/* NULL-terminated. */
extern const struct policy_type *const policy_registry[];

/* NULL when there is none of that name. */
const struct policy_type *policy_find(const char *name);

#endif
