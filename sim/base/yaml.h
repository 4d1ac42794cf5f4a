/* YAML files that people write: a tree with positions, and a reader that checks as it goes.
 *
 * Reading a file is: yaml_load, then one getter per key, then yaml_done. A getter states the key's
 * whole schema: its type, range or unit, and whether it may be absent. The first error is sticky:
 * later getters return harmless values (0, "", an empty mapping or list), so a reader needs no
 * check per call, only `if (y->code)` before it uses a count or an index. yaml_done then refuses
 * what no getter asked for. Every error names file:line:column, the value, what was expected and
 * the remedy.
 *
 * The language is YAML 1.1 as libyaml reads it, less what a configuration does not need and an
 * attacker does: anchors, aliases, tags, several documents and complex keys are errors. A plain
 * `null`, `~` or nothing is null, which stands for "not known"; quoted text is always text. Numbers
 * are decimal: no nan, inf, hexadecimal, octal, underscores or leading plus.
 *
 * A tree is not thread-safe. */
#ifndef TANDEM_BASE_YAML_H
#define TANDEM_BASE_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/base/arena.h"
#include "sim/base/err.h"
#include "sim/base/param.h"
#include "sim/base/units.h"

/* Limits of one file; beyond them: ERR_LIMIT. */
enum {
    YAML_MAX_BYTES = 16 << 20,
    YAML_MAX_DEPTH = 32,
    YAML_MAX_NODES = 1 << 18,
    YAML_MAX_KEYS = 1024 /* of one mapping */
};

enum yaml_type { YAML_NULL, YAML_TEXT, YAML_LIST, YAML_MAP };

struct yaml_asked;

struct yaml_node {
    uint8_t type;     /* enum yaml_type */
    bool quoted;      /* TEXT: it stood in quotes */
    bool used;        /* a getter asked for it */
    bool set;         /* it comes from yaml_set */
    int line, col;    /* 1-based; 0 in what yaml_set gave */
    const char *file; /* for messages */
    const char *key;  /* of a mapping's child, else NULL */
    int key_line, key_col;
    const char *text; /* TEXT, UTF-8 */
    int32_t n;        /* LIST, MAP: children */
    int32_t index;    /* among its parent's children */
    struct yaml_node *first, *last, *next, *parent;
    struct yaml_asked *asked; /* MAP: absent keys that were asked for */
};

struct yaml {
    struct arena *arena;    /* holds the tree and every string */
    struct err *e;          /* may be NULL */
    int code;               /* the first error, sticky */
    bool need_source;       /* see yaml_source */
    struct yaml_node *root; /* a mapping, also after an error */
    struct yaml_node none_map, none_list;
};

/* Parses `n` bytes; `name` is the file's name in messages. The root must be a mapping. What the
 * tree points to lives in `arena`; after an error getters give nodes of *y, which is not to be
 * copied. ERR_PARSE, ERR_SCHEMA, ERR_LIMIT, ERR_NOMEM. Returns y->code. */
int yaml_parse(struct yaml *y, const char *name, const void *bytes, size_t n, struct arena *arena,
               struct err *e);

/* The same from a file: ERR_IO besides. */
int yaml_load(struct yaml *y, const char *path, struct arena *arena, struct err *e);

/* Puts a value in the place of another: "bus.dram=80 GB/s". The path is keys joined by dots; an
 * item of a list is named by its index or by its `name`. The value is YAML. The last key may be one
 * that is not there: if no getter asks for it, yaml_done refuses it like any other unknown key.
 * `prefix` ("device", or NULL) must come first in the text and is not part of the path. Call
 * between parsing and the first getter. Returns y->code. */
int yaml_set(struct yaml *y, const char *prefix, const char *text);

/* ---- getters ---------------------------------------------------------------------------------
 *
 * `at` is a mapping and `key` one of its keys; or `key` is NULL and `at` is the node itself, an
 * item of a list. A plain getter refuses a key that is absent or null; a getter in _or gives `def`
 * then. Ranges are inclusive. Strings and arrays live in the arena. */

struct yaml_node *yaml_map(struct yaml *y, struct yaml_node *at, const char *key);
struct yaml_node *yaml_map_or(struct yaml *y, struct yaml_node *at, const char *key); /* NULL */
struct yaml_node *yaml_list(struct yaml *y, struct yaml_node *at, const char *key);
struct yaml_node *yaml_list_or(struct yaml *y, struct yaml_node *at, const char *key); /* NULL */

int64_t yaml_int(struct yaml *y, struct yaml_node *at, const char *key, int64_t min, int64_t max);
int64_t yaml_int_or(struct yaml *y, struct yaml_node *at, const char *key, int64_t min, int64_t max,
                    int64_t def);
double yaml_double(struct yaml *y, struct yaml_node *at, const char *key, double min, double max);
double yaml_double_or(struct yaml *y, struct yaml_node *at, const char *key, double min, double max,
                      double def);

/* true or false, nothing else. */
bool yaml_bool(struct yaml *y, struct yaml_node *at, const char *key);
bool yaml_bool_or(struct yaml *y, struct yaml_node *at, const char *key, bool def);

const char *yaml_str(struct yaml *y, struct yaml_node *at, const char *key); /* not empty */
const char *yaml_str_or(struct yaml *y, struct yaml_node *at, const char *key, const char *def);

/* Index in a NULL-terminated list of words. */
int yaml_enum(struct yaml *y, struct yaml_node *at, const char *key, const char *const *word);
int yaml_enum_or(struct yaml *y, struct yaml_node *at, const char *key, const char *const *word,
                 int def);

/* "8.5 GB/s" in the unit's base, >= 0 but for temperatures. */
int64_t yaml_quantity(struct yaml *y, struct yaml_node *at, const char *key, enum unit unit);
int64_t yaml_quantity_or(struct yaml *y, struct yaml_node *at, const char *key, enum unit unit,
                         int64_t def);

/* A list of whole numbers; *n is its length. NULL and 0 when empty. */
int64_t *yaml_ints(struct yaml *y, struct yaml_node *at, const char *key, int64_t min, int64_t max,
                   int32_t *n);

/* The mapping `key` (may be absent) into parameters: defaults first, then param_set with the
 * position of what was wrong. A null value means the default. */
void yaml_params(struct yaml *y, struct yaml_node *at, const char *key, const struct param *spec,
                 int64_t *value);

/* A mapping's child as the parameter of its key's name. `others` follows the names that there are
 * where it is none of them: ", or policy, name". */
void yaml_param(struct yaml *y, struct yaml_node *at, const struct param *spec, int64_t *value,
                const char *others);

/* ---- for what getters cannot say ------------------------------------------------------------ */

/* The child of a mapping, or NULL, also of what is no mapping; marks it as used. Says no error. */
struct yaml_node *yaml_get(struct yaml *y, struct yaml_node *map, const char *key);

/* Marks a node and all beneath as used: for mappings whose keys are free. */
void yaml_use(struct yaml_node *at);

/* The nearest `source:` of a value, its own mapping's or one further up; NULL if there is none. In
 * a tree with `need_source` the getters of numbers and quantities demand one, except of what
 * yaml_set gave, and every mapping may have that key. */
const char *yaml_source(const struct yaml_node *at);

/* The `source:` of this very mapping; NULL if it has none. */
const char *yaml_own_source(struct yaml *y, struct yaml_node *map);

/* Records an error at the node: "PATH is 'VALUE': " and the message. Returns y->code. */
int yaml_fail(struct yaml *y, const struct yaml_node *at, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The end of reading: ERR_SCHEMA when a key was never asked for. Returns y->code. */
int yaml_done(struct yaml *y);

/* "bus.dram", "processors.cpu:0.step.cells.3"; returns buf. */
const char *yaml_path(const struct yaml_node *at, char *buf, size_t size);

/* Writes `text` as a double-quoted scalar that reads back the same (bytes that are not UTF-8 become
 * '?'); returns buf. Four bytes per byte and 3 more are always enough; what does not fit is cut. */
const char *yaml_quote(const char *text, char *buf, size_t size);

#endif
