/* The getters: each checks a value and says what was expected of it. */
#include "sim/base/yaml.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct yaml_asked {
    const char *key; /* the getter's own text */
    struct yaml_asked *next;
};

/* What a getter accepts. */
struct want {
    enum {
        WANT_MAP,
        WANT_LIST,
        WANT_INT,
        WANT_DOUBLE,
        WANT_BOOL,
        WANT_STR,
        WANT_WORD,
        WANT_UNIT
    } type;
    int64_t min, max;
    double dmin, dmax;
    const char *const *word;
    enum unit unit;
};

static const char *describe(const struct want *w, char *buf, size_t size)
{
    size_t at = 0;
    switch (w->type) {
    case WANT_MAP:
        snprintf(buf, size, "a mapping, 'key: value' lines");
        break;
    case WANT_LIST:
        snprintf(buf, size, "a list, as in [a, b]");
        break;
    case WANT_INT:
        snprintf(buf, size, "a whole number from %" PRId64 " to %" PRId64, w->min, w->max);
        break;
    case WANT_DOUBLE:
        snprintf(buf, size, "a number from %.9g to %.9g", w->dmin, w->dmax);
        break;
    case WANT_BOOL:
        snprintf(buf, size, "true or false");
        break;
    case WANT_STR:
        snprintf(buf, size, "a text");
        break;
    case WANT_WORD:
        for (int i = 0; w->word[i] && at < size; i++)
            at += (size_t)snprintf(buf + at, size - at, "%s%s", i ? ", " : "one of ", w->word[i]);
        break;
    case WANT_UNIT:
        unit_expected(w->unit, buf, size);
        break;
    }
    return buf;
}

/* ---- errors --------------------------------------------------------------------------------- */

static const char *show(const struct yaml_node *at, char *buf, size_t size)
{
    switch (at->type) {
    case YAML_NULL:
        snprintf(buf, size, "null");
        break;
    case YAML_TEXT:
        snprintf(buf, size, at->quoted ? "the text \"%.60s\"" : "'%.60s'", at->text);
        break;
    case YAML_LIST:
        snprintf(buf, size, "a list of %d", at->n);
        break;
    default:
        snprintf(buf, size, "a mapping of %d key%s", at->n, at->n == 1 ? "" : "s");
        break;
    }
    return buf;
}

/* Records `m` at a position of the node's file. */
static int fail_at(struct yaml *y, const struct yaml_node *at, int line, int col, int code,
                   const char *m)
{
    if (!y->code)
        y->code = code;
    return err_at(y->e, code, at->file, line, col, "%s", m);
}

int yaml_fail(struct yaml *y, const struct yaml_node *at, int code, const char *fmt, ...)
{
    if (y->code)
        return y->code;
    char m[640], path[200], value[100];
    int n = 0;
    if (at->parent)
        n = snprintf(m, sizeof m, "%s is %s: ", yaml_path(at, path, sizeof path),
                     show(at, value, sizeof value));
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(m + n, sizeof m - (size_t)n, fmt, ap);
    va_end(ap);
    return fail_at(y, at, at->line, at->col, code, m);
}

static void wrong(struct yaml *y, const struct yaml_node *at, const struct want *w, int code)
{
    char want[400];
    const char *hint = at->type == YAML_TEXT && at->quoted && w->type != WANT_STR
                           ? "; if it is none, remove the quotes"
                           : "";
    yaml_fail(y, at, code, "expected %s%s", describe(w, want, sizeof want), hint);
}

/* Edit distance of two keys, bounded; large for long ones. */
static int distance(const char *a, const char *b)
{
    enum { LONGEST = 40 };
    size_t na = strlen(a), nb = strlen(b);
    int row[LONGEST + 1];
    if (na > LONGEST || nb > LONGEST)
        return LONGEST;
    for (size_t j = 0; j <= nb; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = best < row[j] + 1 ? best : row[j] + 1;
            row[j] = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
        }
    }
    return row[nb];
}

static bool similar(const char *a, const char *b)
{
    size_t n = strlen(a) < strlen(b) ? strlen(a) : strlen(b);
    return n >= 2 && distance(a, b) <= (n < 4 ? 1 : (int)(n + 2) / 3);
}

/* A key much like `key` that was not asked for so far: the place to look at. */
static const struct yaml_node *misspelt(const struct yaml_node *map, const char *key)
{
    for (const struct yaml_node *c = map->first; c; c = c->next)
        if (!c->used && similar(c->key, key))
            return c;
    return NULL;
}

static void missing(struct yaml *y, struct yaml_node *map, const char *key, const struct want *w)
{
    char m[640], path[200], want[400];
    describe(w, want, sizeof want);
    const struct yaml_node *c = misspelt(map, key);
    if (c) {
        snprintf(m, sizeof m, "'%s' is missing: is '%.80s' meant to be it (%s)?", key, c->key,
                 want);
        fail_at(y, c, c->key_line, c->key_col, ERR_SCHEMA, m);
        return;
    }
    yaml_path(map, path, sizeof path);
    snprintf(m, sizeof m, "%s%s'%s' is missing: add it, %s", path, *path ? ": " : "", key, want);
    fail_at(y, map, map->line, map->col, ERR_SCHEMA, m);
}

/* ---- finding -------------------------------------------------------------------------------- */

static void note_asked(struct yaml *y, struct yaml_node *map, const char *key)
{
    for (const struct yaml_asked *a = map->asked; a; a = a->next)
        if (!strcmp(a->key, key))
            return;
    struct yaml_asked *a = arena_alloc(y->arena, 1, sizeof *a);
    if (!a) {
        y->code = err_set(y->e, ERR_NOMEM, "out of memory while reading YAML");
        return;
    }
    a->key = key;
    a->next = map->asked;
    map->asked = a;
}

struct yaml_node *yaml_get(struct yaml *y, struct yaml_node *map, const char *key)
{
    if (map->type != YAML_MAP)
        return NULL;
    for (struct yaml_node *c = map->first; c; c = c->next)
        if (!strcmp(c->key, key)) {
            c->used = true;
            return c;
        }
    if (!y->code)
        note_asked(y, map, key);
    return NULL;
}

/* The node that a getter is about, with a value; NULL when it has none, or after an error. */
static struct yaml_node *find(struct yaml *y, struct yaml_node *at, const char *key, bool required,
                              const struct want *w)
{
    if (y->code)
        return NULL;
    if (key) {
        if (at->type != YAML_MAP) {
            wrong(y, at, &(struct want){.type = WANT_MAP}, ERR_SCHEMA);
            return NULL;
        }
        struct yaml_node *c = yaml_get(y, at, key);
        if (!c) {
            if (required && !y->code)
                missing(y, at, key, w);
            return NULL;
        }
        at = c;
    }
    at->used = true;
    if (at->type != YAML_NULL)
        return at;
    if (required)
        wrong(y, at, w, ERR_SCHEMA);
    return NULL;
}

static struct yaml_node *find_text(struct yaml *y, struct yaml_node *at, const char *key,
                                   bool required, const struct want *w)
{
    struct yaml_node *c = find(y, at, key, required, w);
    if (c && (c->type != YAML_TEXT || (c->quoted && w->type != WANT_STR))) {
        wrong(y, c, w, ERR_SCHEMA);
        return NULL;
    }
    return c;
}

void yaml_use(struct yaml_node *at)
{
    at->used = true;
    for (struct yaml_node *c = at->first; c; c = c->next)
        yaml_use(c);
}

const char *yaml_source(const struct yaml_node *at)
{
    for (; at; at = at->parent)
        for (const struct yaml_node *c = at->type == YAML_MAP ? at->first : NULL; c; c = c->next)
            if (!strcmp(c->key, "source") && c->type == YAML_TEXT && *c->text)
                return c->text;
    return NULL;
}

const char *yaml_own_source(struct yaml *y, struct yaml_node *map)
{
    return yaml_str_or(y, map, "source", NULL);
}

static bool check_source(struct yaml *y, const struct yaml_node *at)
{
    if (!y->need_source)
        return true;
    for (const struct yaml_node *up = at; up; up = up->parent)
        if (up->set)
            return true;
    if (!yaml_source(at))
        yaml_fail(y, at, ERR_SCHEMA,
                  "it has no source: add 'source: where it is from' here or in a mapping above");
    return !y->code;
}

/* ---- getters -------------------------------------------------------------------------------- */

static struct yaml_node *get_map(struct yaml *y, struct yaml_node *at, const char *key, bool need)
{
    static const struct want w = {.type = WANT_MAP};
    struct yaml_node *c = find(y, at, key, need, &w);
    if (c && c->type != YAML_MAP) {
        wrong(y, c, &w, ERR_SCHEMA);
        return NULL;
    }
    return c;
}

struct yaml_node *yaml_map(struct yaml *y, struct yaml_node *at, const char *key)
{
    struct yaml_node *c = get_map(y, at, key, true);
    return c ? c : &y->none_map;
}

struct yaml_node *yaml_map_or(struct yaml *y, struct yaml_node *at, const char *key)
{
    return get_map(y, at, key, false);
}

static struct yaml_node *get_list(struct yaml *y, struct yaml_node *at, const char *key, bool need)
{
    static const struct want w = {.type = WANT_LIST};
    struct yaml_node *c = find(y, at, key, need, &w);
    if (c && c->type != YAML_LIST) {
        wrong(y, c, &w, ERR_SCHEMA);
        return NULL;
    }
    return c;
}

struct yaml_node *yaml_list(struct yaml *y, struct yaml_node *at, const char *key)
{
    struct yaml_node *c = get_list(y, at, key, true);
    return c ? c : &y->none_list;
}

struct yaml_node *yaml_list_or(struct yaml *y, struct yaml_node *at, const char *key)
{
    return get_list(y, at, key, false);
}

/* -?(0|[1-9][0-9]*) */
static bool is_whole(const char *s)
{
    s += *s == '-';
    if (*s == '0')
        return !s[1];
    const char *from = s;
    while (*s >= '0' && *s <= '9')
        s++;
    return s != from && !*s;
}

static int64_t parse_int(struct yaml *y, const struct yaml_node *c, const struct want *w)
{
    if (!is_whole(c->text)) {
        wrong(y, c, w, ERR_SCHEMA);
        return w->min;
    }
    errno = 0;
    long long v = strtoll(c->text, NULL, 10);
    if (errno || v < w->min || v > w->max) {
        wrong(y, c, w, ERR_RANGE);
        return w->min;
    }
    return v;
}

static int64_t get_int(struct yaml *y, struct yaml_node *at, const char *key, bool need,
                       const struct want *w, int64_t def)
{
    struct yaml_node *c = find_text(y, at, key, need, w);
    return c && check_source(y, c) ? parse_int(y, c, w) : def;
}

int64_t yaml_int(struct yaml *y, struct yaml_node *at, const char *key, int64_t min, int64_t max)
{
    return get_int(y, at, key, true, &(struct want){.type = WANT_INT, .min = min, .max = max}, min);
}

int64_t yaml_int_or(struct yaml *y, struct yaml_node *at, const char *key, int64_t min, int64_t max,
                    int64_t def)
{
    return get_int(y, at, key, false, &(struct want){.type = WANT_INT, .min = min, .max = max},
                   def);
}

/* -?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)? */
static bool is_decimal(const char *s)
{
    static const char digits[] = "0123456789";
    s += *s == '-';
    size_t n = strspn(s, digits);
    if (!n)
        return false;
    s += n;
    if (*s == '.') {
        n = strspn(++s, digits);
        if (!n)
            return false;
        s += n;
    }
    if (*s == 'e' || *s == 'E') {
        s++;
        s += *s == '+' || *s == '-';
        n = strspn(s, digits);
        if (!n)
            return false;
        s += n;
    }
    return !*s;
}

static double get_double(struct yaml *y, struct yaml_node *at, const char *key, bool need,
                         const struct want *w, double def)
{
    struct yaml_node *c = find_text(y, at, key, need, w);
    if (!c || !check_source(y, c))
        return def;
    if (!is_decimal(c->text)) {
        wrong(y, c, w, ERR_SCHEMA);
        return def;
    }
    errno = 0;
    double v = strtod(c->text, NULL);
    if (errno || !(v >= w->dmin && v <= w->dmax)) {
        wrong(y, c, w, ERR_RANGE);
        return def;
    }
    return v;
}

double yaml_double(struct yaml *y, struct yaml_node *at, const char *key, double min, double max)
{
    return get_double(y, at, key, true,
                      &(struct want){.type = WANT_DOUBLE, .dmin = min, .dmax = max}, min);
}

double yaml_double_or(struct yaml *y, struct yaml_node *at, const char *key, double min, double max,
                      double def)
{
    return get_double(y, at, key, false,
                      &(struct want){.type = WANT_DOUBLE, .dmin = min, .dmax = max}, def);
}

static bool get_bool(struct yaml *y, struct yaml_node *at, const char *key, bool need, bool def)
{
    static const struct want w = {.type = WANT_BOOL};
    struct yaml_node *c = find_text(y, at, key, need, &w);
    if (!c)
        return def;
    bool yes = !strcmp(c->text, "true");
    if (!yes && strcmp(c->text, "false"))
        wrong(y, c, &w, ERR_SCHEMA);
    return yes;
}

bool yaml_bool(struct yaml *y, struct yaml_node *at, const char *key)
{
    return get_bool(y, at, key, true, false);
}

bool yaml_bool_or(struct yaml *y, struct yaml_node *at, const char *key, bool def)
{
    return get_bool(y, at, key, false, def);
}

static const char *get_str(struct yaml *y, struct yaml_node *at, const char *key, bool need,
                           const char *def)
{
    static const struct want w = {.type = WANT_STR};
    struct yaml_node *c = find_text(y, at, key, need, &w);
    if (c && need && !*c->text)
        yaml_fail(y, c, ERR_SCHEMA, "it is empty: expected a text");
    return c ? c->text : def;
}

const char *yaml_str(struct yaml *y, struct yaml_node *at, const char *key)
{
    return get_str(y, at, key, true, "");
}

const char *yaml_str_or(struct yaml *y, struct yaml_node *at, const char *key, const char *def)
{
    return get_str(y, at, key, false, def);
}

static int get_enum(struct yaml *y, struct yaml_node *at, const char *key, bool need,
                    const char *const *word, int def)
{
    const struct want w = {.type = WANT_WORD, .word = word};
    struct yaml_node *c = find_text(y, at, key, need, &w);
    if (!c)
        return def;
    for (int i = 0; word[i]; i++)
        if (!strcmp(word[i], c->text))
            return i;
    wrong(y, c, &w, ERR_SCHEMA);
    return def;
}

int yaml_enum(struct yaml *y, struct yaml_node *at, const char *key, const char *const *word)
{
    return get_enum(y, at, key, true, word, 0);
}

int yaml_enum_or(struct yaml *y, struct yaml_node *at, const char *key, const char *const *word,
                 int def)
{
    return get_enum(y, at, key, false, word, def);
}

static int64_t get_quantity(struct yaml *y, struct yaml_node *at, const char *key, bool need,
                            enum unit unit, int64_t def)
{
    const struct want w = {.type = WANT_UNIT, .unit = unit};
    struct yaml_node *c = find_text(y, at, key, need, &w);
    if (!c || !check_source(y, c))
        return def;
    struct err e = {0};
    int64_t v;
    if (unit_parse(c->text, unit, &v, &e)) {
        yaml_fail(y, c, e.code, "%s", e.msg);
        return def;
    }
    return v;
}

int64_t yaml_quantity(struct yaml *y, struct yaml_node *at, const char *key, enum unit unit)
{
    return get_quantity(y, at, key, true, unit, 0);
}

int64_t yaml_quantity_or(struct yaml *y, struct yaml_node *at, const char *key, enum unit unit,
                         int64_t def)
{
    return get_quantity(y, at, key, false, unit, def);
}

int64_t *yaml_ints(struct yaml *y, struct yaml_node *at, const char *key, int64_t min, int64_t max,
                   int32_t *n)
{
    *n = 0;
    struct yaml_node *list = yaml_list(y, at, key);
    if (y->code || !list->n || !check_source(y, list))
        return NULL;
    int64_t *v = arena_alloc(y->arena, (size_t)list->n, sizeof *v);
    if (!v) {
        y->code = err_set(y->e, ERR_NOMEM, "out of memory while reading YAML");
        return NULL;
    }
    const struct want w = {.type = WANT_INT, .min = min, .max = max};
    for (struct yaml_node *c = list->first; c; c = c->next) {
        struct yaml_node *item = find_text(y, c, NULL, true, &w);
        if (item)
            v[c->index] = parse_int(y, item, &w);
    }
    *n = y->code ? 0 : list->n;
    return *n ? v : NULL;
}

void yaml_params(struct yaml *y, struct yaml_node *at, const char *key, const struct param *spec,
                 int64_t *value)
{
    param_defaults(spec, value);
    struct yaml_node *map = yaml_map_or(y, at, key);
    for (struct yaml_node *c = map ? map->first : NULL; c && !y->code; c = c->next)
        yaml_param(y, c, spec, value, "");
}

void yaml_param(struct yaml *y, struct yaml_node *at, const struct param *spec, int64_t *value,
                const char *others)
{
    int32_t i = param_find(spec, at->key);
    char m[700];
    struct err e = {0};
    at->used = true;
    if (i >= 0 && at->type == YAML_NULL)
        return;
    int code = param_set(spec, at->key, at->type == YAML_TEXT ? at->text : "", value, &e);
    if (code && i >= 0) {
        yaml_fail(y, at, code, "expected %s", param_expected(&spec[i], m, sizeof m));
    } else if (code) {
        snprintf(m, sizeof m, "%.600s%s", e.msg, others);
        fail_at(y, at, at->key_line, at->key_col, code, m);
    }
}

/* ---- the end -------------------------------------------------------------------------------- */

/* Adds a known key to the list in buf and keeps the one most like `key`. */
static void weigh(const char *known, const char *key, const char **best, char *buf, size_t size)
{
    err_list(buf, size, known);
    if (similar(known, key) && (!*best || distance(known, key) < distance(*best, key)))
        *best = known;
}

static void unknown(struct yaml *y, const struct yaml_node *map, const struct yaml_node *c)
{
    char m[760], known[300] = "", value[100], path[200], guess[80] = "";
    const char *best = NULL;
    bool source = y->need_source; /* known without being asked for */
    for (const struct yaml_node *k = map->first; k; k = k->next)
        if (k->used) {
            weigh(k->key, c->key, &best, known, sizeof known);
            source = source && strcmp(k->key, "source");
        }
    for (const struct yaml_asked *a = map->asked; a; a = a->next) {
        weigh(a->key, c->key, &best, known, sizeof known);
        source = source && strcmp(a->key, "source");
    }
    if (source)
        weigh("source", c->key, &best, known, sizeof known);
    if (best)
        snprintf(guess, sizeof guess, "; did you mean '%s'?", best);
    snprintf(m, sizeof m, "unknown key '%.80s' (%s) in %s: expected %s%s, correct or remove it%s",
             c->key, show(c, value, sizeof value),
             map->parent ? yaml_path(map, path, sizeof path) : "the file",
             known[0] ? "one of " : "no keys here", known, guess);
    fail_at(y, c, c->key_line, c->key_col, ERR_SCHEMA, m);
}

static void check_used(struct yaml *y, const struct yaml_node *at)
{
    for (const struct yaml_node *c = at->first; c && !y->code; c = c->next) {
        if (at->type == YAML_MAP && !c->used) {
            if (y->need_source && !strcmp(c->key, "source")) {
                if (c->type != YAML_TEXT || !*c->text)
                    yaml_fail(y, c, ERR_SCHEMA, "expected a text, where the values are from");
                continue;
            }
            unknown(y, at, c);
        }
        check_used(y, c);
    }
}

int yaml_done(struct yaml *y)
{
    if (!y->code)
        check_used(y, y->root);
    return y->code;
}
