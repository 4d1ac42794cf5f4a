/* The parts of device files that hold operators and what processors share; device_read.c and
 * device_write.c hold the rest. */
#ifndef TANDEM_HWMODELS_DEVICE_FILE_H
#define TANDEM_HWMODELS_DEVICE_FILE_H

#include <stdio.h>

#include "hwmodels/device.h"
#include "sim/base/yaml.h"

/* Either a quantity, null, or {value, low, high, source}; absent: unknown. */
struct ranged device_read_ranged(struct yaml *y, struct yaml_node *at, const char *key,
                                 enum unit unit);

/* bus (beside dram, which device_read.c takes), storage, memory, sync, thermal. */
void device_read_platform(struct yaml *y, struct platform *p);

/* A processor's `operators`, a list. After device_read_platform: kernels name its paths. */
void device_read_units(struct yaml *y, struct yaml_node *list, const struct platform *bus,
                       struct device_processor *p);

/* "KEY: value" or a mapping, after `before`; nothing when nothing is known and `always` is false.
 */
void device_put_ranged(FILE *f, const char *before, const char *key, const struct ranged *r,
                       enum unit unit, bool always);

void device_put_platform(FILE *f, const struct platform *p);
void device_put_units(FILE *f, const struct platform *bus, const struct device_processor *p);

/* A text in quotes, of any length; a line of a key and such a text. */
void device_put_quoted(FILE *f, const char *text);
void device_put_text(FILE *f, const char *indent, const char *key, const char *text);

#endif
