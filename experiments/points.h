/* Published measurements that hardware models are judged by: experiments/published/points.yaml. */
#ifndef TANDEM_EXPERIMENTS_POINTS_H
#define TANDEM_EXPERIMENTS_POINTS_H

#include "sim/base/arena.h"
#include "sim/llm/ops.h"

enum points_operator { POINTS_MATMUL, POINTS_STEP, POINTS_LAYER };

extern const char *const points_operator_name[]; /* NULL-terminated */

struct point {
    int64_t m, n, k;                 /* MATMUL */
    int32_t per_call;                /* MATMUL: products that share a launch and copies */
    const char *model;               /* STEP: a shipped description; else NULL */
    int32_t rows, context, attended; /* STEP; LAYER has rows alone */
    double ns;
    int32_t n_ops; /* what the point is the time of, in the order of execution */
    const struct op *op;
    char label[96];
};

struct points_group {
    const char *name, *soc, *backend, *datatype, *source;
    int op; /* enum points_operator */
    struct model_type weights;
    int32_t activation_bytes, tile, kernel_from, chunk, head_rows;
    int32_t n;
    struct point *point;
};

struct points_excluded {
    const char *what, *why;
};

/* One quantity as several sources have it; 2 .. 4. `group`: whose points are such quantities. */
struct points_floor {
    const char *quantity;
    int32_t n, n_groups;
    const char *group[4];
    double value[4];
    const char *source[4];
};

struct points {
    int32_t n_groups, n_excluded, n_floors;
    struct points_group *group;
    struct points_excluded *excluded;
    struct points_floor *floor;
};

/* Reads the file, and of every step the model's description and its operators: matrix products and
 * attention, a prompt in chunks of the group's. Memory is the arena's. The errors of
 * sim/base/yaml.h and of model_load. */
int points_load(const char *path, struct arena *arena, struct points *out, struct err *e);

/* Largest over smallest value, less 1, in percent. */
double points_disagreement_pct(const struct points_floor *f);

#endif
