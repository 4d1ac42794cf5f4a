/* Device files: operators, bus paths, storage, memory, synchronisation, heat. */
#include <limits.h>
#include <string.h>

#include "hwmodels/device_file.h"

static void *take(struct yaml *y, int32_t n, size_t size)
{
    void *p = arena_alloc(y->arena, (size_t)n + 1, size);
    if (!p && !y->code)
        y->code = err_set(y->e, ERR_NOMEM, "out of memory while reading a device file");
    return p;
}

struct ranged device_read_ranged(struct yaml *y, struct yaml_node *at, const char *key,
                                 enum unit unit)
{
    struct ranged r = RANGED_UNKNOWN;
    struct yaml_node *node = yaml_get(y, at, key);
    if (!node || node->type != YAML_MAP) {
        r.value = r.low = r.high = yaml_quantity_or(y, at, key, unit, -1);
        return r;
    }
    r.value = yaml_quantity_or(y, node, "value", unit, -1);
    r.low = yaml_quantity_or(y, node, "low", unit, r.value);
    r.high = yaml_quantity_or(y, node, "high", unit, r.value);
    r.source = yaml_own_source(y, node);
    bool ordered = r.value < 0 ? r.low < 0 || r.high < 0 || r.low <= r.high
                               : r.low <= r.value && r.value <= r.high;
    if (!ordered)
        yaml_fail(y, node, ERR_RANGE, "expected low <= value <= high");
    return r;
}

/* ---- what processors share ------------------------------------------------------------------ */

static void read_paths(struct yaml *y, struct yaml_node *list, struct platform *p)
{
    if (list->n > PLATFORM_MAX_PATHS)
        yaml_fail(y, list, ERR_LIMIT, "expected at most %d paths", PLATFORM_MAX_PATHS);
    p->bus.path = take(y, list->n, sizeof *p->bus.path);
    for (struct yaml_node *c = list->first; c && !y->code; c = c->next) {
        struct platform_path path = {.name = yaml_str(y, c, "name")};
        path.bytes_per_s = device_read_ranged(y, c, "cap", UNIT_BYTES_PER_S);
        path.priority = (int32_t)yaml_int_or(y, c, "priority", 0, 7, 0);
        path.source = yaml_own_source(y, c);
        if (!y->code && platform_path(p, path.name) >= 0)
            yaml_fail(y, c, ERR_SCHEMA, "two paths are called '%s'", path.name);
        if (!y->code && path.bytes_per_s.value == 0)
            yaml_fail(y, c, ERR_RANGE, "expected a cap above 0, or null");
        p->bus.path[p->bus.n_paths++] = path;
    }
}

static void read_bus(struct yaml *y, struct yaml_node *at, struct platform_bus *bus)
{
    bus->dram_bytes_per_s = device_read_ranged(y, at, "dram", UNIT_BYTES_PER_S);
    bus->shared_bytes_per_s = device_read_ranged(y, at, "shared", UNIT_BYTES_PER_S);
    bus->pj_per_byte = device_read_ranged(y, at, "energy", UNIT_PJ_PER_BYTE);
    bus->source = yaml_own_source(y, at);
    if (!y->code && !bus->shared_bytes_per_s.value)
        yaml_fail(y, yaml_get(y, at, "shared"), ERR_RANGE, "expected more than 0, or null");
}

static void read_storage(struct yaml *y, struct yaml_node *at, struct platform_storage *s)
{
    struct yaml_node *list = yaml_list(y, at, "read");
    s->source = yaml_own_source(y, at);
    if (list->n > PLATFORM_MAX_BLOCKS)
        yaml_fail(y, list, ERR_LIMIT, "expected at most %d sizes of blocks", PLATFORM_MAX_BLOCKS);
    s->block = take(y, list->n, sizeof *s->block);
    for (struct yaml_node *c = list->first; c && !y->code; c = c->next) {
        struct platform_block b = {.block_bytes = yaml_quantity(y, c, "block", UNIT_BYTES)};
        b.bytes_per_s = device_read_ranged(y, c, "bandwidth", UNIT_BYTES_PER_S);
        if (!y->code && s->n_blocks && b.block_bytes <= s->block[s->n_blocks - 1].block_bytes)
            yaml_fail(y, c, ERR_SCHEMA, "expected sizes of blocks in rising order");
        if (!y->code && (b.block_bytes < 1 || !b.bytes_per_s.value))
            yaml_fail(y, c, ERR_RANGE, "expected a size and a bandwidth above 0");
        s->block[s->n_blocks++] = b;
    }
}

static void read_edges(struct yaml *y, struct yaml_node *list, struct platform *p)
{
    if (list->n > PLATFORM_MAX_EDGES)
        yaml_fail(y, list, ERR_LIMIT, "expected at most %d edges", PLATFORM_MAX_EDGES);
    p->edge = take(y, list->n, sizeof *p->edge);
    for (struct yaml_node *c = list->first; c && !y->code; c = c->next) {
        struct platform_edge edge = {.name = yaml_str(y, c, "name")};
        edge.polling_ns = device_read_ranged(y, c, "polling", UNIT_NS);
        edge.sleeping_ns = device_read_ranged(y, c, "sleeping", UNIT_NS);
        edge.source = yaml_own_source(y, c);
        if (!y->code && platform_edge(p, edge.name) >= 0)
            yaml_fail(y, c, ERR_SCHEMA, "two edges are called '%s'", edge.name);
        p->edge[p->n_edges++] = edge;
    }
}

static struct ranged read_permille(struct yaml *y, struct yaml_node *at, const char *key,
                                   int64_t max)
{
    struct ranged r = RANGED_UNKNOWN;
    struct yaml_node *node = yaml_get(y, at, key);
    if (!node || node->type != YAML_MAP) {
        r.value = r.low = r.high = yaml_int_or(y, at, key, 1, max, -1);
        return r;
    }
    r.value = yaml_int_or(y, node, "value", 1, max, -1);
    r.low = yaml_int_or(y, node, "low", 1, max, r.value);
    r.high = yaml_int_or(y, node, "high", 1, max, r.value);
    r.source = yaml_own_source(y, node);
    if (!y->code && (r.value < 0 ? r.low > r.high : r.low > r.value || r.value > r.high))
        yaml_fail(y, node, ERR_RANGE, "expected low <= value <= high");
    return r;
}

static void read_thermal(struct yaml *y, struct yaml_node *at, struct platform_thermal *t)
{
    t->mc_per_w = device_read_ranged(y, at, "resistance", UNIT_MC_PER_W);
    t->mj_per_c = device_read_ranged(y, at, "capacity", UNIT_MJ_PER_C);
    t->ambient_mc = device_read_ranged(y, at, "ambient", UNIT_MC);
    t->hot_mc = device_read_ranged(y, at, "hot", UNIT_MC);
    t->cool_mc = device_read_ranged(y, at, "cool", UNIT_MC);
    t->slow_permille = read_permille(y, at, "slow_permille", 1000);
    t->source = yaml_own_source(y, at);
    if (!y->code && (t->ambient_mc.value < -1 || t->hot_mc.value < -1 || t->cool_mc.value < -1))
        yaml_fail(y, at, ERR_RANGE, "expected temperatures of 0 C or more");
    if (!y->code && t->hot_mc.value >= 0 && t->cool_mc.value >= t->hot_mc.value)
        yaml_fail(y, at, ERR_RANGE, "expected 'cool' below 'hot': the governor's hysteresis");
}

void device_read_platform(struct yaml *y, struct platform *p)
{
    struct yaml_node *bus = yaml_map(y, y->root, "bus"), *node;
    platform_init(p);
    read_bus(y, bus, &p->bus);
    if ((node = yaml_list_or(y, bus, "paths")))
        read_paths(y, node, p);
    if ((node = yaml_map_or(y, y->root, "storage")))
        read_storage(y, node, &p->storage);
    if ((node = yaml_map_or(y, y->root, "memory"))) {
        p->memory.dram_bytes = device_read_ranged(y, node, "dram", UNIT_BYTES);
        p->memory.npu_space_bytes = device_read_ranged(y, node, "npu_space", UNIT_BYTES);
        p->memory.source = yaml_own_source(y, node);
    }
    if ((node = yaml_list_or(y, y->root, "sync")))
        read_edges(y, node, p);
    if ((node = yaml_map_or(y, y->root, "thermal")))
        read_thermal(y, node, &p->thermal);
}

/* ---- operators ------------------------------------------------------------------------------ */

static void read_points(struct yaml *y, struct yaml_node *list, struct roof_kernel *k)
{
    struct roof_point *point = take(y, list->n, sizeof *point);
    for (struct yaml_node *c = list->first; c && !y->code; c = c->next) {
        struct roof_point *p = &point[k->n_points++];
        p->m = yaml_int(y, c, "m", 1, 1 << 24);
        p->n = yaml_int(y, c, "n", 1, 1 << 24);
        p->k = yaml_int(y, c, "k", 1, 1 << 24);
        p->ns = yaml_quantity(y, c, "time", UNIT_NS);
        p->source = yaml_own_source(y, c);
        if (!p->source)
            p->source = yaml_source(c);
        if (!y->code && (p->ns < 1 || p->ns > DEVICE_MAX_SAMPLE_NS))
            yaml_fail(y, c, ERR_RANGE, "expected a time from 1 ns to 1000 s");
        for (int32_t i = 0; i < k->n_points - 1 && !y->code; i++)
            if (point[i].m == p->m && point[i].n == p->n && point[i].k == p->k)
                yaml_fail(y, c, ERR_SCHEMA, "the same shape as point %d", (int)i);
    }
    k->point = point;
}

static void check_kernel(struct yaml *y, struct yaml_node *at, const struct roof_kernel *k)
{
    bool any = k->launch_ns.value >= 0 || k->flops_per_s.value >= 0 || k->bytes_per_s.value >= 0;
    if (y->code)
        return;
    if (k->rows_from > k->rows_to)
        yaml_fail(y, at, ERR_RANGE, "expected 'from' up to 'to' rows");
    if (k->included && (any || k->n_points) && k->op != ROOF_ATTENTION)
        yaml_fail(y, at, ERR_SCHEMA,
                  "what is included in other kernels has no numbers of its own: only attention can "
                  "be computed elsewhere");
    if (k->n_points && k->op != ROOF_MATMUL)
        yaml_fail(y, at, ERR_SCHEMA, "points are those of products: expected 'operator: matmul'");
    if (!k->flops_per_s.value || !k->bytes_per_s.value || !k->copy_bytes_per_s.value)
        yaml_fail(y, at, ERR_RANGE, "expected rates above 0, or null");
}

static void read_kernel(struct yaml *y, struct yaml_node *at, const struct platform *bus,
                        struct roof_kernel *k)
{
    k->op = (uint8_t)yaml_enum(y, at, "operator", roof_op_name);
    k->rows_from = (int32_t)yaml_int_or(y, at, "from", 1, INT32_MAX, 1);
    k->rows_to = (int32_t)yaml_int_or(y, at, "to", 1, INT32_MAX, INT32_MAX);
    k->tile = (int32_t)yaml_int_or(y, at, "tile", 1, 4096, 1);
    k->overlap = yaml_bool_or(y, at, "overlap", true);
    k->hidden = yaml_bool_or(y, at, "hidden_launch", false);
    k->included = yaml_bool_or(y, at, "included", false);
    k->launch_ns = device_read_ranged(y, at, "launch", UNIT_NS);
    k->flops_per_s = device_read_ranged(y, at, "peak", UNIT_FLOP_PER_S);
    k->bytes_per_s = device_read_ranged(y, at, "bandwidth", UNIT_BYTES_PER_S);
    k->copy_bytes_per_s = device_read_ranged(y, at, "copy", UNIT_BYTES_PER_S);
    k->order_permille = read_permille(y, at, "order_permille", 1000000);
    k->source = yaml_own_source(y, at);
    const char *path = yaml_str_or(y, at, "path", NULL);
    k->path = path && !y->code ? platform_path(bus, path) : -1;
    if (path && !y->code && k->path < 0)
        yaml_fail(y, yaml_get(y, at, "path"), ERR_SCHEMA, "expected the name of one of bus.paths");
    struct yaml_node *points = yaml_list_or(y, at, "points");
    if (points && !y->code)
        read_points(y, points, k);
    check_kernel(y, at, k);
}

static void read_unit(struct yaml *y, struct yaml_node *at, const struct platform *bus,
                      struct roof_unit *u)
{
    struct err why = {0};
    u->backend = yaml_str(y, at, "backend");
    u->datatype = yaml_str(y, at, "datatype");
    const char *weights = yaml_str(y, at, "weights");
    if (!y->code && model_type_find(weights, &u->weights, &why))
        yaml_fail(y, yaml_get(y, at, "weights"), ERR_SCHEMA, "%s", why.msg);
    u->activation_bytes = (int32_t)yaml_int(y, at, "activation_bytes", 1, 8);
    u->kv_bytes = (int32_t)yaml_int_or(y, at, "kv_bytes", 1, 8, 2);
    u->source = yaml_own_source(y, at);
    struct yaml_node *list = yaml_list(y, at, "kernels");
    struct roof_kernel *kernel = take(y, list->n, sizeof *kernel);
    for (struct yaml_node *c = list->first; c && !y->code; c = c->next)
        read_kernel(y, c, bus, &kernel[u->n_kernels++]);
    u->kernel = kernel;
}

void device_read_units(struct yaml *y, struct yaml_node *list, const struct platform *bus,
                       struct device_processor *p)
{
    if (!y->code && !list->n)
        yaml_fail(y, list, ERR_SCHEMA, "expected at least one backend");
    struct roof_unit *unit = take(y, list->n, sizeof *unit);
    for (struct yaml_node *c = list->first; c && !y->code; c = c->next) {
        struct roof_unit *u = &unit[p->n_units++];
        read_unit(y, c, bus, u);
        for (int32_t i = 0; i < p->n_units - 1 && !y->code; i++)
            if (!strcmp(unit[i].backend, u->backend) && !strcmp(unit[i].datatype, u->datatype))
                yaml_fail(y, c, ERR_SCHEMA, "the same backend and datatype as %d", (int)i);
    }
    p->unit = unit;
}
