/* Named integer parameters of policies and drafters: what may be set, to what, and what it means.
 *
 * A specification is a static array that ends with a NULL name. Values are an int64_t array in the
 * specification's order. One parser serves experiment files, --set and `tandem list`, so that a
 * parameter that exists is documented, checked and settable everywhere. */
#ifndef TANDEM_BASE_PARAM_H
#define TANDEM_BASE_PARAM_H

#include <stddef.h>
#include <stdint.h>

#include "sim/base/err.h"

enum { PARAM_MAX = 24 };

/* The value "auto", where a parameter allows it. */
#define PARAM_AUTO INT64_MIN

/* Words that a parameter takes besides. */
enum { PARAM_TAKES_AUTO = 1, PARAM_TAKES_NONE = 2 /* which is 0 */ };

struct param {
    const char *name;
    const char *help;          /* one line; the unit in it where there is one */
    int64_t def;               /* the default; may be PARAM_AUTO */
    int64_t min, max;          /* inclusive; ignored when `choice` is given */
    const char *const *choice; /* NULL, or a NULL-terminated list: the value is the index */
    int allow_auto;            /* PARAM_TAKES_*, added up */
};

/* Number of parameters of a specification; NULL has none. At most PARAM_MAX. */
int32_t param_count(const struct param *spec);

void param_defaults(const struct param *spec, int64_t *value);

/* Index of `name`, or -1. */
int32_t param_find(const struct param *spec, const char *name);

/* Sets the parameter `name` from text. ERR_SCHEMA for an unknown name (the message lists the known
 * ones), ERR_RANGE for a bad value (the message says what was expected). */
int param_set(const struct param *spec, const char *name, const char *text, int64_t *value,
              struct err *e);

/* What `p` takes, for messages: "one of: plain, recompute", "a whole number from 1 to 64, or auto".
 * Returns buf. */
const char *param_expected(const struct param *p, char *buf, size_t size);

/* Writes "width=auto max_draft=3" in the specification's order; returns buf. */
const char *param_format(const struct param *spec, const int64_t *value, char *buf, size_t size);

#endif
