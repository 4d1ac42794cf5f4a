/* What others published: experiments/published/NAME.yaml, schema tandem-published-1.
 *
 * A file is `schema`, `target`, `about` and groups of values. A value is a mapping,
 *
 *     npu: {value: 57.41, unit: ms/token}        or, of a range,
 *     latency: {low: 1.14, high: 3.81, unit: x}
 *
 * with a `source` of its own or of a group around it, and a `note` where one is needed. A reader's
 * table states every value with its unit: one that is absent, has another unit, or is not asked for
 * is an error that names file:line:column. */
#ifndef TANDEM_EXPERIMENTS_PUBLISHED_H
#define TANDEM_EXPERIMENTS_PUBLISHED_H

#include "sim/base/arena.h"
#include "sim/base/err.h"
#include "sim/base/yaml.h"

#define PUBLISHED_SCHEMA "tandem-published-1"

struct published_range {
    double low, high;
};

struct published_field {
    const char *path; /* groups and the value's name: "table3.q15.npu"; NULL ends the table */
    const char *unit;
    size_t offset; /* of a double in the reader's struct, or of a struct published_range */
    bool range;
};

/* Opens a file for the getters of yaml.h and reads its head; `target` must be what the file says.
 * Every number in it needs a source. Returns y->code. */
int published_open(struct yaml *y, const char *path, const char *target, struct arena *arena,
                   struct err *e);

/* One value, > 0 and finite, of the group `at`. */
double published_value(struct yaml *y, struct yaml_node *at, const char *key, const char *unit);

/* 0 < low <= high. */
struct published_range published_range(struct yaml *y, struct yaml_node *at, const char *key,
                                       const char *unit);

/* A whole file of nothing but the table's values, into `out`. ERR_IO, ERR_PARSE, ERR_SCHEMA,
 * ERR_RANGE. */
int published_read(const char *path, const char *target, const struct published_field *fields,
                   void *out, struct arena *arena, struct err *e);

#endif
