/* Beliefs (sim/exec/exec.h): what a policy is told about costs, from a device or a file. */
#ifndef TANDEM_HWMODELS_BELIEF_H
#define TANDEM_HWMODELS_BELIEF_H

#include "hwmodels/table.h"

#define BELIEF_SCHEMA "tandem-belief-1"

/* How a belief may be wrong: every time is multiplied by scale and by
 * 1 + noise_pct / 100 * u, u uniform in [-1, 1), drawn per width and context from `seed`. */
struct belief_options {
    double scale;     /* 0: 1 */
    double noise_pct; /* 0 .. 100 */
    uint64_t seed;
};

/* Fills *out from the step table of a processor: its measured widths (less the masked ones), same
 * shape, and as contexts the ends of every bucket from the first to the last (of the measured ones
 * alone when those are more than BELIEF_MAX_CONTEXTS). ERR_LIMIT when there are more widths or
 * contexts than a belief holds; else as table_grid_build. */
int device_belief(const struct device *d, int32_t processor, const struct device_options *opt,
                  const struct belief_options *how, struct arena *arena, struct belief *out,
                  struct err *e);

/* Reads a belief file: `schema`, `source`, `unit` (ns or us), `widths`, `contexts`, `step` (a list
 * of times by context for each width), and optionally `load` (a time per block) and `blocks` (a
 * list of times by block for each graph). The arena is for reading only. ERR_LIMIT for more than a
 * belief holds; the errors of sim/base/yaml.h. */
int belief_load(const char *path, struct arena *arena, struct belief *out, struct err *e);

/* The same from n bytes; `name` stands for the file in messages. */
int belief_parse(const char *name, const void *bytes, size_t n, struct arena *arena,
                 struct belief *out, struct err *e);

#endif
