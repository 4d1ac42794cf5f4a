/* A cost model (sim/exec/cost.h) from a device's whole-step tables.
 *
 * FORWARD, whole steps only (blocks [0, 1), graph 0), with the table of the role's processor:
 * - one row, or all rows' outputs wanted: step(width, bucket, changed);
 * - one output or none: prefill(width, bucket, changed); a device without a prefill table takes the
 *   step table, extrapolated;
 * - in between: from prefill to step in proportion to the outputs wanted, extrapolated;
 * and sampling: fixed + per row wanted. `changed`: the role's FORWARD before had another width or
 * another bucket. Bytes are fixed + per token attended where the table knows them, else 0.
 * DRAFT, CALIBRATE: fixed + probes, nodes and tokens at the drafter's costs per 1000. COMMIT: chain
 * or tree. COPY: a fixed time. HEAD, LOAD, FREE and parts of the blocks: ERR_UNSUPPORTED. */
#ifndef TANDEM_HWMODELS_STEPS_H
#define TANDEM_HWMODELS_STEPS_H

#include "hwmodels/table.h"

/* role_processor[role] is a processor's index (device_roles). Everything lives in `arena`; the
 * device is kept. Not destroyed: the arena's end is its end. ERR_RANGE, ERR_SCHEMA, ERR_LIMIT as in
 * table.h, ERR_NOMEM. */
int device_cost_create(const struct device *d, const int32_t *role_processor, int32_t n_roles,
                       const struct device_options *opt, struct arena *arena,
                       const struct cost_model **out, struct err *e);

#endif
