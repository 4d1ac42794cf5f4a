/* A step's time, operator by operator: which limit binds, and where each number is from. */
#ifndef TANDEM_HWMODELS_EXPLAIN_H
#define TANDEM_HWMODELS_EXPLAIN_H

#include "hwmodels/device.h"

struct explain_row {
    struct op op;     /* of one layer */
    int32_t layers;   /* how many have it */
    const char *unit; /* whose kernel: "npu" ... the processor's name */
    struct roof_time time;
    const struct roof_unit *by;
};

struct explain_step {
    int32_t n;
    struct explain_row *row; /* in the order of execution, equal operators of layers as one */
    bool known, extrapolated;
    int64_t ns;       /* of all; -1: not known */
    int64_t least_ns; /* of those that are known */
    int64_t bytes;    /* over the bus */
    struct op total;
};

/* The step by the unit's kernels, attention by another unit's where `attention` is not NULL: what
 * that unit's own products include then has the time that its numbers give, unknown without any.
 * Fills *out, its memory the arena's. The errors of ops_build. */
int explain_step(const struct device *d, const struct roof_unit *u,
                 const struct roof_unit *attention, const struct model_desc *m,
                 const struct ops_step *s, struct arena *arena, struct explain_step *out,
                 struct err *e);

/* Whose attention a processor brings to `products`: theirs on their own processor, elsewhere its
 * first unit with a kernel for attention, or its first; NULL: it has no units. */
const struct roof_unit *explain_attention(const struct device *d, int32_t processor,
                                          const struct roof_unit *products);

/* The processor that a unit belongs to. */
const struct device_processor *explain_owner(const struct device *d, const struct roof_unit *u);

enum explain_phase { EXPLAIN_PREFILL, EXPLAIN_DECODE };

/* Energy of `ns` of a phase on a processor that moves `bytes`, in picojoules: the phase's power
 * (the active one where the phase has none) times the time, and the bus's energy per byte where
 * that is known; where it is not, the power is that of processor and DRAM together. -1: the power
 * or the time (ns < 0) is not known. */
int64_t explain_energy_pj(const struct device *d, const struct device_processor *p,
                          enum explain_phase phase, int64_t ns, int64_t bytes);

/* Where a time's i-th number is from: its own source, the kernel's, or the nearest one further up.
 */
const char *explain_source(const struct device *d, const struct explain_row *row, int32_t i);

#endif
