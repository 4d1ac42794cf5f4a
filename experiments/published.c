#include "experiments/published.h"

#include <string.h>

/* No published number that a reader takes is beyond these. */
#define SMALLEST 1e-9
#define LARGEST  1e15

int published_open(struct yaml *y, const char *path, const char *target, struct arena *arena,
                   struct err *e)
{
    if (yaml_load(y, path, arena, e))
        return y->code;
    y->need_source = true;
    const char *schema = yaml_str(y, y->root, "schema");
    if (!y->code && strcmp(schema, PUBLISHED_SCHEMA))
        yaml_fail(y, yaml_get(y, y->root, "schema"), ERR_SCHEMA, "expected " PUBLISHED_SCHEMA);
    const char *about = yaml_str(y, y->root, "target");
    if (!y->code && strcmp(about, target))
        yaml_fail(y, yaml_get(y, y->root, "target"), ERR_SCHEMA,
                  "expected '%s', which this file is read for", target);
    yaml_str(y, y->root, "about");
    yaml_str_or(y, y->root, "note", NULL);
    return y->code;
}

/* The value's mapping, its unit checked. */
static struct yaml_node *leaf(struct yaml *y, struct yaml_node *at, const char *key,
                              const char *unit)
{
    struct yaml_node *map = yaml_map(y, at, key);
    const char *given = yaml_str(y, map, "unit");
    if (!y->code && strcmp(given, unit))
        yaml_fail(y, yaml_get(y, map, "unit"), ERR_SCHEMA, "expected the unit '%s'", unit);
    yaml_str_or(y, map, "note", NULL);
    return map;
}

double published_value(struct yaml *y, struct yaml_node *at, const char *key, const char *unit)
{
    return yaml_double(y, leaf(y, at, key, unit), "value", SMALLEST, LARGEST);
}

struct published_range published_range(struct yaml *y, struct yaml_node *at, const char *key,
                                       const char *unit)
{
    struct yaml_node *map = leaf(y, at, key, unit);
    struct published_range r = {.low = yaml_double(y, map, "low", SMALLEST, LARGEST),
                                .high = yaml_double(y, map, "high", SMALLEST, LARGEST)};
    if (!y->code && r.low > r.high)
        yaml_fail(y, yaml_get(y, map, "low"), ERR_RANGE, "expected at most its `high`, %g", r.high);
    return r;
}

/* The group that holds the value, and the value's own name: what follows the last dot. */
static struct yaml_node *group_of(struct yaml *y, const char *path, const char **name)
{
    struct yaml_node *at = y->root;
    for (const char *dot; (dot = strchr(path, '.')) != NULL; path = dot + 1) {
        char key[64];
        size_t n = (size_t)(dot - path);
        n = n < sizeof key ? n : sizeof key - 1;
        memcpy(key, path, n);
        key[n] = 0;
        char *kept = arena_strdup(y->arena, key); /* messages may point to it */
        at = yaml_map(y, at, kept ? kept : "");
    }
    *name = path;
    return at;
}

int published_read(const char *path, const char *target, const struct published_field *fields,
                   void *out, struct arena *arena, struct err *e)
{
    struct yaml y;
    published_open(&y, path, target, arena, e);
    for (const struct published_field *f = fields; f->path && !y.code; f++) {
        const char *name;
        struct yaml_node *at = group_of(&y, f->path, &name);
        char *slot = (char *)out + f->offset;
        if (f->range) {
            struct published_range r = published_range(&y, at, name, f->unit);
            memcpy(slot, &r, sizeof r);
        } else {
            double v = published_value(&y, at, name, f->unit);
            memcpy(slot, &v, sizeof v);
        }
    }
    return yaml_done(&y);
}
