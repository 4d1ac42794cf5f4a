/* Device files: text to struct device. hwmodels/README.md describes the layout. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hwmodels/device_file.h"

static const char *const sample_units[] = {"ns", "us", NULL};
static const int64_t sample_ns[] = {1, 1000};

static int no_memory(struct yaml *y)
{
    if (!y->code)
        y->code = ERR_NOMEM;
    return err_set(y->e, ERR_NOMEM, "out of memory while reading a device file");
}

/* ---- tables --------------------------------------------------------------------------------- */

struct cell_key {
    int64_t axes; /* all three in one number */
    const struct yaml_node *node;
};

static int by_key(const void *a, const void *b)
{
    const struct cell_key *x = a, *y = b;
    if (x->axes != y->axes)
        return x->axes < y->axes ? -1 : 1;
    return (x->node->index > y->node->index) - (x->node->index < y->node->index);
}

static void check_cells_differ(struct yaml *y, const struct yaml_node *list,
                               const struct device_table *t)
{
    struct cell_key *key = malloc((size_t)list->n * sizeof *key);
    if (!key) {
        no_memory(y);
        return;
    }
    const struct yaml_node *node = list->first;
    for (int32_t i = 0; i < list->n; i++, node = node->next) {
        const struct device_cell *c = &t->cell[i];
        key[i].axes =
            ((int64_t)c->width * (DEVICE_MAX_BUCKET + 1) + c->bucket) * DEVICE_CHANGES + c->changed;
        key[i].node = node;
    }
    qsort(key, (size_t)list->n, sizeof *key, by_key);
    for (int32_t i = 1; i < list->n && !y->code; i++)
        if (key[i].axes == key[i - 1].axes)
            yaml_fail(y, key[i].node, ERR_SCHEMA,
                      "the same width, bucket and changed as cell %d: put the samples together",
                      key[i - 1].node->index);
    free(key);
}

static void read_cell(struct yaml *y, struct yaml_node *at, int64_t scale, int32_t few,
                      struct device_cell *c)
{
    c->width = (int32_t)yaml_int(y, at, "width", 1, DEVICE_MAX_WIDTH);
    c->bucket = (int32_t)yaml_int(y, at, "bucket", 1, DEVICE_MAX_BUCKET);
    c->changed = (enum device_change)yaml_int_or(y, at, "changed", 0, DEVICE_CHANGES - 1, 0);
    if (!y->code && c->changed == DEVICE_OTHER_KIND && !few)
        yaml_fail(y, yaml_get(y, at, "changed"), ERR_SCHEMA,
                  "after a step of the other kind, but there is one kind only: add axes.few, the "
                  "most rows of the first kind, or put 1");
    int64_t *v = yaml_ints(y, at, "samples", 1, DEVICE_MAX_SAMPLE_NS / scale, &c->n);
    if (!y->code && !c->n)
        yaml_fail(y, yaml_get(y, at, "samples"), ERR_SCHEMA,
                  "expected at least one sample; leave the cell out where there is none");
    for (int32_t i = 0; i < c->n; i++)
        v[i] *= scale;
    c->sample_ns = v;
    c->source = yaml_own_source(y, at);
}

static void read_table(struct yaml *y, struct yaml_node *at, struct device_table *t)
{
    struct yaml_node *axes = yaml_map(y, at, "axes");
    t->pad = (int32_t)yaml_int(y, axes, "pad", 1, 65536);
    t->period = (int32_t)yaml_int(y, axes, "period", 1, 256);
    t->few = (int32_t)yaml_int_or(y, axes, "few", 0, DEVICE_MAX_WIDTH, 0);
    t->change_ns = yaml_quantity_or(y, at, "change", UNIT_NS, -1);
    struct yaml_node *bytes = yaml_map_or(y, at, "bytes");
    if (bytes) {
        t->fixed_bytes = yaml_quantity(y, bytes, "fixed", UNIT_BYTES);
        t->per_token_bytes = yaml_quantity(y, bytes, "per_token", UNIT_BYTES);
        if (t->fixed_bytes > INT64_MAX / 4 || t->per_token_bytes > INT64_MAX / 4 / INT32_MAX)
            yaml_fail(y, bytes, ERR_RANGE, "expected sizes below 1 GB per token");
        t->bytes_source = yaml_own_source(y, bytes);
    }
    t->source = yaml_own_source(y, at);
    int64_t scale = sample_ns[yaml_enum(y, at, "unit", sample_units)];
    struct yaml_node *cells = yaml_list(y, at, "cells");
    if (!y->code && (!cells->n || cells->n > DEVICE_MAX_CELLS))
        yaml_fail(y, cells, ERR_SCHEMA, "expected 1 to %d cells", DEVICE_MAX_CELLS);
    if (y->code)
        return;
    t->cell = arena_alloc(y->arena, (size_t)cells->n, sizeof *t->cell);
    if (!t->cell) {
        no_memory(y);
        return;
    }
    for (struct yaml_node *c = cells->first; c && !y->code; c = c->next)
        read_cell(y, c, scale, t->few, &t->cell[t->n_cells++]);
    t->cap_cells = t->n_cells;
    if (!y->code)
        check_cells_differ(y, cells, t);
}

/* ---- processors ----------------------------------------------------------------------------- */

static void read_drafts(struct yaml *y, struct yaml_node *map, struct device_processor *p)
{
    p->draft = arena_alloc(y->arena, (size_t)map->n, sizeof *p->draft);
    if (!p->draft) {
        no_memory(y);
        return;
    }
    for (struct yaml_node *c = map->first; c && !y->code; c = c->next) {
        if (!strcmp(c->key, "source"))
            continue;
        struct device_draft *d = &p->draft[p->n_drafts++];
        d->name = c->key;
        d->fixed_ns = yaml_quantity(y, yaml_map(y, c, NULL), "fixed", UNIT_NS);
        d->kprobe_ns = yaml_quantity(y, c, "per_1000_probes", UNIT_NS);
        d->knode_ns = yaml_quantity(y, c, "per_1000_nodes", UNIT_NS);
        d->ktoken_ns = yaml_quantity(y, c, "per_1000_tokens", UNIT_NS);
        d->source = y->code ? NULL : yaml_own_source(y, c);
        if (!d->source)
            d->source = yaml_own_source(y, map);
    }
}

/* Operators in the place of tables. */
static void read_operators(struct yaml *y, struct yaml_node *list, struct device *d,
                           struct device_processor *p)
{
    if (yaml_get(y, list->parent, "step") || yaml_get(y, list->parent, "prefill"))
        yaml_fail(
            y, list, ERR_SCHEMA,
            "expected either 'operators' or tables of whole steps, 'step' and 'prefill', never "
            "both");
    if (!y->code)
        device_read_units(y, list, &d->platform, p);
}

static void read_costs(struct yaml *y, struct yaml_node *at, struct device_processor *p)
{
    read_table(y, yaml_map(y, at, "step"), &p->step);
    struct yaml_node *prefill = yaml_map_or(y, at, "prefill");
    if (prefill)
        read_table(y, prefill, &p->prefill);
    struct yaml_node *all = yaml_map_or(y, at, "prefill_all");
    if (all)
        read_table(y, all, &p->prefill_all);
    struct yaml_node *sample = yaml_map(y, at, "sample");
    p->sample_fixed_ns = yaml_quantity(y, sample, "fixed", UNIT_NS);
    p->sample_row_ns = yaml_quantity(y, sample, "per_row", UNIT_NS);
    p->sample_top_ns = yaml_quantity_or(y, sample, "per_top_row", UNIT_NS, -1);
    p->sample_source = yaml_own_source(y, sample);
    struct yaml_node *commit = yaml_map(y, at, "commit");
    p->commit_chain_ns = yaml_quantity(y, commit, "chain", UNIT_NS);
    p->commit_tree_ns = yaml_quantity_or(y, commit, "tree", UNIT_NS, -1);
    p->copy_ns = yaml_quantity_or(y, commit, "copy", UNIT_NS, -1);
    p->commit_source = yaml_own_source(y, commit);
    struct yaml_node *draft = yaml_map_or(y, at, "draft");
    if (draft)
        read_drafts(y, draft, p);
}

static void read_processor(struct yaml *y, struct yaml_node *at, struct device *d)
{
    const char *name = yaml_str(y, at, "name");
    if (y->code)
        return;
    if (strpbrk(name, " ,=.\t\n"))
        yaml_fail(y, yaml_get(y, at, "name"), ERR_SCHEMA,
                  "expected a name without space, comma, '=' or '.', as in 'cpu:0'");
    else if (device_find(d, name) >= 0)
        yaml_fail(y, yaml_get(y, at, "name"), ERR_SCHEMA, "two processors have this name");
    struct device_processor *p = device_add_processor(d, name);
    if (!p) {
        no_memory(y);
        return;
    }
    p->source = yaml_own_source(y, at);
    p->kind = yaml_enum(y, at, "kind", device_kinds);
    p->threads = (int32_t)yaml_int(y, at, "threads", 1, 4096);
    struct yaml_node *power = yaml_map_or(y, at, "power");
    if (power) {
        p->active_mw = yaml_quantity_or(y, power, "active", UNIT_MW, -1);
        p->idle_mw = yaml_quantity_or(y, power, "idle", UNIT_MW, -1);
        if (d->operators) {
            p->prefill_mw = device_read_ranged(y, power, "prefill", UNIT_MW);
            p->decode_mw = device_read_ranged(y, power, "decode", UNIT_MW);
        }
    }
    struct yaml_node *operators = yaml_list_or(y, at, "operators");
    if (!y->code && d->operators && !operators)
        yaml_fail(y, at, ERR_SCHEMA,
                  "expected operators for every processor of a file, or for none");
    if (operators) {
        read_operators(y, operators, d, p);
        return;
    }
    const char *same = yaml_str_or(y, at, "same_as", NULL);
    if (!same) {
        read_costs(y, at, p);
        return;
    }
    int32_t other = device_find(d, same);
    if (other < 0 || &d->processor[other] == p || d->processor[other].same_as >= 0)
        yaml_fail(y, yaml_get(y, at, "same_as"), ERR_SCHEMA,
                  "expected the name of a processor above this one that has costs of its own");
    p->same_as = other;
}

static void read_roles(struct yaml *y, struct yaml_node *map, struct device *d)
{
    if (map->n > EXEC_MAX_ROLES)
        yaml_fail(y, map, ERR_LIMIT, "expected at most %d roles", EXEC_MAX_ROLES);
    for (struct yaml_node *c = map->first; c && !y->code; c = c->next) {
        const char *name = yaml_str(y, c, NULL);
        int32_t p = y->code ? 0 : device_find(d, name);
        if (p < 0)
            yaml_fail(y, c, ERR_SCHEMA, "expected the name of a processor of this file");
        d->role[d->n_roles++] = (struct device_role){c->key, p};
    }
}

/* ---- the rest ------------------------------------------------------------------------------- */

static void read_fact(struct yaml *y, struct yaml_node *at, struct device_fact *f)
{
    f->key = at->key;
    f->list = at->type == YAML_LIST;
    f->n = f->list ? at->n : at->type != YAML_NULL;
    const char **text = arena_alloc(y->arena, (size_t)f->n + 1, sizeof *text);
    if (!text) {
        no_memory(y);
        return;
    }
    const struct yaml_node *c = f->list ? at->first : at;
    for (int32_t i = 0; i < f->n && !y->code; i++, c = c->next) {
        if (c->type != YAML_TEXT)
            yaml_fail(y, c, ERR_SCHEMA, "expected a text, a number or a list of these");
        text[i] = c->text;
    }
    f->text = text;
}

static struct device_fact *read_facts(struct yaml *y, const char *key, int32_t *n)
{
    struct yaml_node *map = yaml_map_or(y, y->root, key);
    if (!map || !map->n)
        return NULL;
    struct device_fact *f = arena_alloc(y->arena, (size_t)map->n, sizeof *f);
    if (!f) {
        no_memory(y);
        return NULL;
    }
    yaml_use(map);
    for (struct yaml_node *c = map->first; c && !y->code; c = c->next)
        read_fact(y, c, &f[(*n)++]);
    return f;
}

static void read_limits(struct yaml *y, struct yaml_node *at, struct device *d)
{
    d->max_rows = (int32_t)yaml_int(y, at, "rows", 1, DEVICE_MAX_WIDTH);
    d->max_ctx = (int32_t)yaml_int(y, at, "context", 1, 1 << 24);
    d->max_seqs = (int32_t)yaml_int_or(y, at, "sequences", 1, 1024, 1);
    d->max_topk = (int32_t)yaml_int_or(y, at, "topk", 0, 1024, 0);
    d->features |= yaml_bool_or(y, at, "trees", false) ? EXEC_TREES : 0;
    d->features |= yaml_bool_or(y, at, "copies", false) ? EXEC_COPIES : 0;
    d->features |= d->max_topk > 0 ? EXEC_CALIBRATES : 0;
    d->limits_source = yaml_own_source(y, at);
}

/* A hand-over of more than a second is a mistake, and would add up to more than a run may last. */
static int64_t host_time(struct yaml *y, struct yaml_node *at, const char *key)
{
    int64_t ns = yaml_quantity(y, at, key, UNIT_NS);
    if (ns < 0 || ns > INT64_C(1000000000))
        yaml_fail(y, yaml_get(y, at, key), ERR_RANGE, "expected a time from 0 to 1 s");
    return ns;
}

static void read_host(struct yaml *y, struct yaml_node *at, struct device *d)
{
    d->host.event_ns = host_time(y, at, "event");
    d->host.action_ns = host_time(y, at, "action");
    d->host.dispatch_ns = host_time(y, at, "dispatch");
    d->host.notify_ns = host_time(y, at, "notify");
    d->host_source = yaml_own_source(y, at);
}

/* A bus that no job uses would look like one that was modelled. */
static void read_bus(struct yaml *y, struct yaml_node *at, struct device *d)
{
    bool used = d->operators;
    d->dram_bytes_per_s = d->operators ? d->platform.bus.dram_bytes_per_s.value
                                       : yaml_quantity_or(y, at, "dram", UNIT_BYTES_PER_S, -1);
    if (!d->dram_bytes_per_s)
        yaml_fail(y, yaml_get(y, at, "dram"), ERR_RANGE, "expected more than 0, or null");
    for (int32_t i = 0; i < d->n_processors; i++)
        used = used || d->processor[i].step.fixed_bytes >= 0 ||
               d->processor[i].prefill.fixed_bytes >= 0;
    if (d->dram_bytes_per_s > 0 && !used)
        yaml_fail(y, yaml_get(y, at, "dram"), ERR_SCHEMA,
                  "no table says what a step moves, so nothing would share it: add 'bytes: {fixed: "
                  "76 MB, per_token: 23 kB}' to a processor's step, or make it null");
    d->bus_source = yaml_own_source(y, at);
}

static int check_schema(struct yaml *y)
{
    const char *schema = yaml_str(y, y->root, "schema");
    if (!y->code && strcmp(schema, DEVICE_SCHEMA))
        yaml_fail(y, yaml_get(y, y->root, "schema"), ERR_SCHEMA,
                  "expected '" DEVICE_SCHEMA "': this program reads no other version");
    return y->code;
}

/* Whether the file holds operators: a processor does. */
static bool has_operators(struct yaml *y, struct yaml_node *list)
{
    bool any = false;
    for (struct yaml_node *c = list->first; c && !y->code; c = c->next)
        any = any || yaml_get(y, c, "operators");
    return any;
}

static void read_device(struct yaml *y, struct device *d)
{
    struct yaml_node *root = y->root;
    if (check_schema(y))
        return;
    d->name = yaml_str(y, root, "name");
    struct yaml_node *list = yaml_list(y, root, "processors");
    d->operators = has_operators(y, list);
    if (!d->operators) { /* tables are one model's with one arithmetic; operators are any model's */
        d->model = yaml_str(y, root, "model");
        d->numerics_id = yaml_str(y, root, "numerics_id");
    } else {
        device_read_platform(y, &d->platform);
    }
    d->source = yaml_own_source(y, root);
    if (!y->code && (!list->n || list->n > DEVICE_MAX_PROCESSORS))
        yaml_fail(y, list, ERR_SCHEMA, "expected 1 to %d processors", DEVICE_MAX_PROCESSORS);
    for (struct yaml_node *c = list->first; c && !y->code; c = c->next)
        read_processor(y, c, d);
    read_roles(y, yaml_map(y, root, "roles"), d);
    read_bus(y, yaml_map(y, root, "bus"), d);
    struct yaml_node *host =
        d->operators ? yaml_map_or(y, root, "host") : yaml_map(y, root, "host");
    if (host)
        read_host(y, host, d);
    else
        d->host = (struct cost_host){-1, -1, -1, -1};
    read_limits(y, yaml_map(y, root, "limits"), d);
    d->exactness = read_facts(y, "exactness", &d->n_exactness);
    d->measured = read_facts(y, "measured", &d->n_measured);
    yaml_done(y);
}

static int apply_sets(struct yaml *y, const char *const *set, int32_t n_set, struct device *d)
{
    size_t size = 1;
    for (int32_t i = 0; i < n_set; i++)
        size += strlen(set[i]) + 2;
    char *altered = arena_alloc(y->arena, size, 1);
    if (!altered)
        return no_memory(y);
    for (int32_t i = 0; i < n_set; i++) {
        if (yaml_set(y, "device", set[i]))
            return y->code;
        size_t used = strlen(altered);
        snprintf(altered + used, size - used, "%s%s", i ? "; " : "", set[i]);
    }
    d->altered = altered;
    return ERR_OK;
}

static int finish(struct yaml *y, const char *const *set, int32_t n_set, struct device *out)
{
    y->need_source = true;
    if (!y->code && device_init(out, y->arena))
        no_memory(y);
    if (!y->code && !apply_sets(y, set, n_set, out))
        read_device(y, out);
    if (!y->code && device_finish(out))
        no_memory(y);
    return y->code;
}

int device_parse(const char *name, const void *bytes, size_t n, const char *const *set,
                 int32_t n_set, struct arena *arena, struct device *out, struct err *e)
{
    struct yaml y;
    yaml_parse(&y, name, bytes, n, arena, e);
    return finish(&y, set, n_set, out);
}

int device_load(const char *path, const char *const *set, int32_t n_set, struct arena *arena,
                struct device *out, struct err *e)
{
    struct yaml y;
    yaml_load(&y, path, arena, e);
    return finish(&y, set, n_set, out);
}
