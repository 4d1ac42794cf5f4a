/* A device of operators as what a run needs: a model's static graphs and, on a processor that needs
 * none, its dynamic steps, for roles that a policy names.
 *
 * Graphs. 1 and 2 are the wide and the narrow one with weights of their own, 3 and 4 the same with
 * shared weights. The processor of "target" computes them; where that is no NPU, and a role asks
 * for whole steps, it also has the dynamic graph.
 *
 * Roles. "load" is played by the storage, a processor of its own. "decode" is where a policy sends
 * steps of the dynamic graph; without a mapping it is the target's. The dynamic graph is that of
 * "decode", or of "target" where the policy has no such role, unless an NPU plays it. Energy is
 * that of the processors that play a role, the storage while it loads.
 *
 * Steps of other processors than the target's are costed with their first unit that has whole ones.
 *
 * Costs of drafting, of COMMIT and of the host are another device's, which was measured (`host`):
 * no source has a phone's. A parametric drafter that the host does not know is a drafter as EAGLE
 * is: each node is one layer and the head of the target, one row, on the processor of "draft"; its
 * weights are resident.
 *
 * A decode pass draws the processor's decode power, a pass of the wide graph its prefill power,
 * whatever else the active one. */
#ifndef TANDEM_HWMODELS_PHONE_H
#define TANDEM_HWMODELS_PHONE_H

#include "hwmodels/graphs.h"

/* How a model is put on a device. */
struct phone_graphs {
    int32_t wide, narrow, blocks;
    int32_t context; /* tokens in the cache that a pass is costed with, and the most there are */
    enum layout layout;
    bool sleeping;                  /* processors wait for one another asleep, and do not poll */
    const char *attention;          /* the processor of attention in other layouts than ONE */
    const char *backend, *datatype; /* of the target's unit; NULL: its first that fits */
    int64_t wide_ns, narrow_ns;     /* of a whole pass, as published; 0: by the unit's operators */
    int64_t load_ns;          /* of the whole narrow graph, which tells the bandwidth; or 0: */
    int64_t load_bytes_per_s; /* of loading; -1: the storage's at reads of read_bytes */
    int64_t read_bytes;
    int64_t unload_ns;                /* of freeing all blocks of a graph */
    int64_t load_mw;                  /* of the storage while it loads; -1: not known */
    int64_t base_bytes;               /* resident beside graphs, weights and KV cache */
    int64_t wide_bytes, narrow_bytes; /* resident with a graph beside its weights, all blocks */
};

/* Who runs on it. */
struct phone_run {
    const char *const *role; /* NULL-terminated */
    const char *map;         /* as device_roles takes it; NULL */
    int32_t n_drafters;
    const struct drafter_type *drafter[EXEC_MAX_DRAFTERS];
    int32_t max_topk; /* that the target's outputs are known to */
};

/* `host` NULL: host, commits and drafting cost nothing known; a DRAFT is refused when it comes.
 * Fills *out, whose names are the device's. ERR_UNSUPPORTED and ERR_SCHEMA name what is missing. */
int phone_spec(const struct device *d, const struct device *host, const struct model_desc *m,
               const struct phone_graphs *g, const struct phone_run *run, struct arena *arena,
               struct blocks_spec *out, struct err *e);

#endif
