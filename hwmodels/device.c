/* Devices as plain data: building, statistics of cells, roles. */
#include "hwmodels/device.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const device_kinds[] = {"cpu", "gpu", "npu", NULL};

int device_init(struct device *d, struct arena *arena)
{
    memset(d, 0, sizeof *d);
    d->arena = arena;
    d->name = d->model = d->numerics_id = d->altered = "";
    d->dram_bytes_per_s = -1;
    d->max_rows = d->max_ctx = d->max_seqs = 1;
    platform_init(&d->platform);
    d->processor = arena_alloc(arena, DEVICE_MAX_PROCESSORS, sizeof *d->processor);
    d->role = arena_alloc(arena, EXEC_MAX_ROLES, sizeof *d->role);
    return d->processor && d->role ? ERR_OK : ERR_NOMEM;
}

static void init_table(struct device_table *t)
{
    t->pad = 256;
    t->period = 1;
    t->change_ns = t->fixed_bytes = t->per_token_bytes = -1;
}

struct device_processor *device_add_processor(struct device *d, const char *name)
{
    if (d->n_processors == DEVICE_MAX_PROCESSORS)
        return NULL;
    struct device_processor *p = &d->processor[d->n_processors];
    memset(p, 0, sizeof *p);
    p->name = arena_strdup(d->arena, name);
    if (!p->name)
        return NULL;
    p->threads = 1;
    p->active_mw = p->idle_mw = p->same_as = -1;
    p->commit_chain_ns = p->commit_tree_ns = p->copy_ns = -1;
    p->prefill_mw = p->decode_mw = RANGED_UNKNOWN;
    init_table(&p->step);
    init_table(&p->prefill);
    init_table(&p->prefill_all);
    p->sample_top_ns = -1;
    d->n_processors++;
    return p;
}

static struct device_cell *put_cell(struct arena *arena, struct device_table *t, int32_t width,
                                    int32_t bucket, enum device_change changed)
{
    for (int32_t i = 0; i < t->n_cells; i++) {
        struct device_cell *c = &t->cell[i];
        if (c->width == width && c->bucket == bucket && c->changed == changed)
            return c;
    }
    if (t->n_cells == t->cap_cells) {
        int32_t cap = t->cap_cells ? 2 * t->cap_cells : 64;
        struct device_cell *more = arena_alloc(arena, (size_t)cap, sizeof *more);
        if (!more)
            return NULL;
        if (t->n_cells)
            memcpy(more, t->cell, (size_t)t->n_cells * sizeof *more);
        t->cell = more;
        t->cap_cells = cap;
    }
    struct device_cell *c = &t->cell[t->n_cells++];
    *c = (struct device_cell){.width = width, .bucket = bucket, .changed = changed};
    return c;
}

int device_table_put(struct arena *arena, struct device_table *t, int32_t width, int32_t bucket,
                     enum device_change changed, const int64_t *sample_ns, int32_t n)
{
    assert(n >= 1 && width >= 1 && width <= DEVICE_MAX_WIDTH && bucket >= 1);
    int64_t *copy = arena_alloc(arena, (size_t)n, sizeof *copy);
    if (!copy)
        return ERR_NOMEM;
    if (t->n_cells == DEVICE_MAX_CELLS && !device_cell(t, width, bucket, changed))
        return ERR_LIMIT;
    struct device_cell *c = put_cell(arena, t, width, bucket, changed);
    if (!c)
        return ERR_NOMEM;
    memcpy(copy, sample_ns, (size_t)n * sizeof *copy);
    c->n = n;
    c->sample_ns = copy;
    c->sorted_ns = NULL;
    return ERR_OK;
}

/* ---- statistics ----------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int by_axes(const void *a, const void *b)
{
    const struct device_cell *x = a, *y = b;
    if (x->width != y->width)
        return x->width < y->width ? -1 : 1;
    if (x->bucket != y->bucket)
        return x->bucket < y->bucket ? -1 : 1;
    return (int)x->changed - (int)y->changed;
}

static int64_t median(const int64_t *sorted, int32_t n)
{
    int64_t low = sorted[(n - 1) / 2], high = sorted[n / 2];
    return low + (high - low) / 2;
}

/* r1 = sum (x_i - m)(x_{i+1} - m) / sum (x_i - m)^2 */
static double serial(const int64_t *x, int32_t n)
{
    double mean = 0, top = 0, bottom = 0;
    for (int32_t i = 0; i < n; i++)
        mean += (double)x[i];
    mean /= n;
    for (int32_t i = 0; i < n; i++) {
        double d = (double)x[i] - mean;
        bottom += d * d;
        if (i + 1 < n)
            top += d * ((double)x[i + 1] - mean);
    }
    return n < 3 || bottom <= 0 ? 0 : top / bottom;
}

static int finish_cell(struct arena *arena, struct device_cell *c)
{
    int64_t *sorted = arena_alloc(arena, (size_t)c->n, sizeof *sorted);
    if (!sorted)
        return ERR_NOMEM;
    memcpy(sorted, c->sample_ns, (size_t)c->n * sizeof *sorted);
    qsort(sorted, (size_t)c->n, sizeof *sorted, by_value);
    c->sorted_ns = sorted;
    c->stats = (struct device_stats){
        .n = c->n,
        .min_ns = sorted[0],
        .median_ns = median(sorted, c->n),
        .p90_ns = sorted[(int32_t)(((int64_t)c->n * 9 + 9) / 10) - 1],
        .serial = serial(c->sample_ns, c->n),
    };
    return ERR_OK;
}

static int finish_table(struct arena *arena, struct device_table *t)
{
    if (t->n_cells)
        qsort(t->cell, (size_t)t->n_cells, sizeof *t->cell, by_axes);
    for (int32_t i = 0; i < t->n_cells; i++) {
        int code = t->cell[i].sorted_ns ? ERR_OK : finish_cell(arena, &t->cell[i]);
        if (code)
            return code;
    }
    return ERR_OK;
}

int device_finish(struct device *d)
{
    for (int32_t i = 0; i < d->n_processors; i++) {
        int code = finish_table(d->arena, &d->processor[i].step);
        if (!code)
            code = finish_table(d->arena, &d->processor[i].prefill);
        if (!code)
            code = finish_table(d->arena, &d->processor[i].prefill_all);
        if (code)
            return code;
    }
    return ERR_OK;
}

/* ---- looking up ----------------------------------------------------------------------------- */

const struct device_cell *device_cell(const struct device_table *t, int32_t width, int32_t bucket,
                                      enum device_change changed)
{
    for (int32_t i = 0; i < t->n_cells; i++) {
        const struct device_cell *c = &t->cell[i];
        if (c->width == width && c->bucket == bucket && c->changed == changed)
            return c;
    }
    return NULL;
}

int32_t device_bucket(int32_t context, int32_t width, int32_t pad)
{
    int64_t n = (int64_t)context + width + pad - 1;
    return n >= 0 && n <= INT32_MAX ? (int32_t)n / pad : (int32_t)(n / pad);
}

enum device_change device_change(const struct engine_state *before, int32_t width, int32_t pos,
                                 int32_t pad, int32_t few)
{
    if (before->width && few && (before->width <= few) != (width <= few))
        return DEVICE_OTHER_KIND;
    bool same = before->width == width &&
                device_bucket(before->pos, width, pad) == device_bucket(pos, width, pad);
    return same ? DEVICE_SAME_SHAPE : DEVICE_OTHER_SHAPE;
}

int32_t device_find(const struct device *d, const char *processor)
{
    for (int32_t i = 0; i < d->n_processors; i++)
        if (!strcmp(d->processor[i].name, processor))
            return i;
    return -1;
}

const struct device_processor *device_costs_of(const struct device *d, int32_t i)
{
    const struct device_processor *p = &d->processor[i];
    return p->same_as >= 0 ? &d->processor[p->same_as] : p;
}

const struct device_fact *device_fact(const struct device_fact *list, int32_t n, const char *key)
{
    for (int32_t i = 0; i < n; i++)
        if (!strcmp(list[i].key, key))
            return &list[i];
    return NULL;
}

/* ---- roles ---------------------------------------------------------------------------------- */

static int no_processor(const struct device *d, const char *role, const char *name, size_t n,
                        struct err *e)
{
    char known[300] = "";
    for (int32_t i = 0; i < d->n_processors; i++)
        err_list(known, sizeof known, d->processor[i].name);
    if (!name)
        return err_set(e, ERR_SCHEMA,
                       "role '%s' has no processor on device '%s': map it, as in '%s=%s' (has: %s)",
                       role, d->name, role, d->n_processors ? d->processor[0].name : "cpu:0",
                       known);
    return err_set(e, ERR_SCHEMA, "'%.*s' in the role map: expected ROLE=PROCESSOR, one of %s",
                   (int)(n > 80 ? 80 : n), name, known);
}

/* The processor of "ROLE=PROCESSOR", -1. */
static int32_t map_item(const struct device *d, const char *item, size_t n, const char **equals)
{
    *equals = memchr(item, '=', n);
    if (!*equals || *equals == item)
        return -1;
    size_t skip = (size_t)(*equals - item) + 1;
    for (int32_t i = 0; i < d->n_processors; i++)
        if (strlen(d->processor[i].name) == n - skip &&
            !memcmp(d->processor[i].name, item + skip, n - skip))
            return i;
    return -1;
}

int device_roles(const struct device *d, const char *const *role, const char *map,
                 int32_t *processor, struct err *e)
{
    int32_t n_roles = 0;
    for (; role[n_roles]; n_roles++) {
        processor[n_roles] = -1;
        for (int32_t i = 0; i < d->n_roles; i++)
            if (!strcmp(d->role[i].name, role[n_roles]))
                processor[n_roles] = d->role[i].processor;
    }
    for (const char *p = map ? map + strspn(map, " ,") : ""; *p;) {
        size_t n = strcspn(p, " ,");
        const char *equals;
        int32_t found = map_item(d, p, n, &equals);
        if (found < 0)
            return no_processor(d, "", p, n, e);
        for (int32_t r = 0; r < n_roles; r++)
            if (strlen(role[r]) == (size_t)(equals - p) &&
                !memcmp(role[r], p, (size_t)(equals - p)))
                processor[r] = found;
        p += n;
        p += strspn(p, " ,");
    }
    for (int32_t r = 0; r < n_roles; r++)
        if (processor[r] < 0)
            return no_processor(d, role[r], NULL, 0, e);
    return ERR_OK;
}

const struct platform_edge *device_crossing(const struct device *d, int32_t a, int32_t b,
                                            char name[16])
{
    snprintf(name, 16, "%s-%s", device_kinds[a < b ? a : b], device_kinds[a < b ? b : a]);
    int32_t edge = platform_edge(&d->platform, name);
    return edge < 0 ? NULL : &d->platform.edge[edge];
}

const struct roof_unit *device_unit(const struct device_processor *p, const char *backend,
                                    const char *datatype)
{
    for (int32_t i = 0; i < p->n_units; i++)
        if ((!backend || !strcmp(p->unit[i].backend, backend)) &&
            (!datatype || !strcmp(p->unit[i].datatype, datatype)))
            return &p->unit[i];
    return NULL;
}
