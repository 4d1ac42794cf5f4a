#include "experiments/points.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "experiments/command.h"
#include "sim/base/yaml.h"

#define POINTS_SCHEMA "tandem-points-1"

enum { MAX_IN_GROUP = 64, MAX_TIME_S = 1000 };

const char *const points_operator_name[] = {"matmul", "step", "layer", NULL};

static void *take(struct yaml *y, int32_t n, size_t size)
{
    void *p = arena_alloc(y->arena, (size_t)n + 1, size);
    if (!p && !y->code)
        y->code = err_set(y->e, ERR_NOMEM, "out of memory while reading points");
    return p;
}

/* A time, or tokens per second for so many rows. */
static double read_time(struct yaml *y, struct yaml_node *at, int64_t rows)
{
    double per_s = yaml_double_or(y, at, "per_s", 1e-3, 1e9, 0);
    if (per_s > 0)
        return (double)rows / per_s * 1e9;
    int64_t ns = yaml_quantity(y, at, "time", UNIT_NS);
    if (!y->code && (ns < 1 || ns > MAX_TIME_S * INT64_C(1000000000)))
        yaml_fail(y, at, ERR_RANGE, "expected a time from 1 ns to %d s", MAX_TIME_S);
    return (double)ns;
}

/* ---- operators ------------------------------------------------------------------------------ */

static void one_product(struct yaml *y, const struct points_group *g, struct point *p)
{
    struct op *op = take(y, 1, sizeof *op);
    if (!op)
        return;
    *op = (struct op){.name = "product", .kind = OP_MATMUL, .m = p->m, .n = p->n, .k = p->k};
    op->flops = 2 * p->m * p->n * p->k;
    op->weight_bytes = p->n * model_type_bytes(&g->weights, p->k);
    op->input_bytes = p->m * p->k * g->activation_bytes;
    op->output_bytes = p->m * p->n * g->activation_bytes;
    p->op = op;
    p->n_ops = 1;
}

/* Of a layer nothing is said but its rows: work in proportion to them. */
static void one_layer(struct yaml *y, const struct points_group *g, struct point *p)
{
    struct points_group without = *g;
    without.weights = (struct model_type){"", 1, 0};
    p->m = p->rows;
    p->n = p->k = g->tile;
    one_product(y, &without, p);
}

static int32_t add_chunk(struct yaml *y, const struct points_group *g, const struct model_desc *m,
                         const struct point *p, int32_t from, struct op *room)
{
    struct ops ops = {0};
    int32_t left = p->rows - from, rows = g->chunk && g->chunk < left ? g->chunk : left;
    bool last = rows == left;
    struct ops_step s = {.b1 = m->layers,
                         .rows = rows,
                         .context = p->context + from,
                         .attended = p->attended,
                         .head_rows = last ? g->head_rows : 0,
                         .weights = g->weights,
                         .head = g->weights,
                         .activation_bytes = g->activation_bytes,
                         .kv_bytes = 2};
    if (ops_build(m, &s, y->arena, &ops, y->e)) {
        y->code = ERR_RANGE;
        return 0;
    }
    int32_t n = 0;
    for (int32_t i = 0; i < ops.n; i++)
        if (ops.op[i].kind == OP_MATMUL || ops.op[i].kind == OP_ATTENTION)
            room[n++] = ops.op[i];
    return n;
}

static void one_step(struct yaml *y, struct yaml_node *at, const struct points_group *g,
                     struct point *p)
{
    char relative[256], path[4096];
    struct model_desc m;
    if (y->code)
        return;
    snprintf(relative, sizeof relative, "hwmodels/models/%.100s.yaml", p->model);
    if (!command_shipped(relative, path, sizeof path)) {
        yaml_fail(y, at, ERR_SCHEMA, "no model of this name comes with Tandem");
        return;
    }
    if (model_load(path, &m, y->e)) {
        y->code = ERR_SCHEMA;
        return;
    }
    int32_t chunks = g->chunk ? (p->rows + g->chunk - 1) / g->chunk : 1;
    int32_t most = chunks * (m.layers * 8 + 1);
    struct op *op = take(y, most, sizeof *op);
    for (int32_t i = 0; i < chunks && !y->code; i++)
        p->n_ops += add_chunk(y, g, &m, p, i * g->chunk, op + p->n_ops);
    p->op = op;
}

/* ---- the file ------------------------------------------------------------------------------- */

static void read_point(struct yaml *y, struct yaml_node *at, const struct points_group *g,
                       struct point *p)
{
    if (g->op == POINTS_MATMUL) {
        p->m = yaml_int(y, at, "m", 1, 1 << 20);
        p->n = yaml_int(y, at, "n", 1, 1 << 20);
        p->k = yaml_int(y, at, "k", 1, 1 << 20);
        p->rows = (int32_t)p->m;
        p->per_call = (int32_t)yaml_int_or(y, at, "per_call", 1, 1000, 1);
        int at_most = snprintf(p->label, sizeof p->label, "%" PRId64 "x%" PRId64 "x%" PRId64, p->m,
                               p->n, p->k);
        if (p->per_call > 1)
            snprintf(p->label + at_most, sizeof p->label - (size_t)at_most, ", %" PRId32 " a call",
                     p->per_call);
    } else {
        p->rows = (int32_t)yaml_int(y, at, "rows", 1, 1 << 20);
        snprintf(p->label, sizeof p->label, "%" PRId32 " rows", p->rows);
    }
    if (g->op == POINTS_STEP) {
        p->model = yaml_str(y, at, "model");
        p->context = (int32_t)yaml_int(y, at, "context", 0, 1 << 20);
        p->attended = (int32_t)yaml_int(y, at, "attended", 0, 1 << 20);
        snprintf(p->label, sizeof p->label, "%.40s, %" PRId32 " rows, %" PRId32 " cached",
                 p->model ? p->model : "", p->rows, p->context);
    }
    p->ns = read_time(y, at, p->rows);
    if (y->code)
        return;
    if (g->op == POINTS_MATMUL)
        one_product(y, g, p);
    else if (g->op == POINTS_LAYER)
        one_layer(y, g, p);
    else
        one_step(y, at, g, p);
}

static void read_group(struct yaml *y, struct yaml_node *at, struct points_group *g)
{
    struct err why = {0};
    g->name = yaml_str(y, at, "name");
    g->soc = yaml_str(y, at, "soc");
    g->backend = yaml_str(y, at, "backend");
    g->datatype = yaml_str(y, at, "datatype");
    g->op = yaml_enum(y, at, "operator", points_operator_name);
    const char *weights = yaml_str(y, at, "weights");
    if (!y->code && model_type_find(weights, &g->weights, &why))
        yaml_fail(y, yaml_get(y, at, "weights"), ERR_SCHEMA, "%s", why.msg);
    g->activation_bytes = (int32_t)yaml_int(y, at, "activation_bytes", 1, 8);
    g->tile = (int32_t)yaml_int_or(y, at, "tile", 1, 4096, 1);
    g->kernel_from = (int32_t)yaml_int_or(y, at, "kernel_from", 2, 1 << 20, 0);
    g->chunk = (int32_t)yaml_int_or(y, at, "chunk", 1, 1 << 20, 0);
    g->head_rows = (int32_t)yaml_int_or(y, at, "head_rows", 1, 1, 1);
    g->source = yaml_str(y, at, "source");
    yaml_str_or(y, at, "note", NULL);
    struct yaml_node *list = yaml_list(y, at, "points");
    if (!y->code && (!list->n || list->n > MAX_IN_GROUP))
        yaml_fail(y, list, ERR_LIMIT, "expected 1 to %d points", MAX_IN_GROUP);
    g->point = take(y, list->n, sizeof *g->point);
    for (struct yaml_node *c = list->first; c && !y->code; c = c->next)
        read_point(y, c, g, &g->point[g->n++]);
}

static void read_floor(struct yaml *y, struct yaml_node *at, const struct points *p,
                       struct points_floor *f)
{
    f->quantity = yaml_str(y, at, "quantity");
    struct yaml_node *groups = yaml_list_or(y, at, "groups");
    if (groups && groups->n > 4)
        yaml_fail(y, groups, ERR_LIMIT, "expected at most 4 groups");
    for (struct yaml_node *c = groups ? groups->first : NULL; c && !y->code; c = c->next) {
        const char *name = f->group[f->n_groups++] = yaml_str(y, c, NULL);
        int32_t i = 0;
        while (!y->code && i < p->n_groups && strcmp(p->group[i].name, name))
            i++;
        if (!y->code && i == p->n_groups)
            yaml_fail(y, c, ERR_SCHEMA, "no group has this name");
    }
    struct yaml_node *list = yaml_list(y, at, "values");
    if (!y->code && (list->n < 2 || list->n > 4))
        yaml_fail(y, list, ERR_LIMIT, "expected the values of 2 to 4 sources");
    for (struct yaml_node *c = list->first; c && !y->code; c = c->next) {
        f->value[f->n] = yaml_double(y, c, "value", 1e-9, 1e12);
        f->source[f->n++] = yaml_str(y, c, "source");
    }
}

static void read_points(struct yaml *y, struct points *out)
{
    const char *schema = yaml_str(y, y->root, "schema");
    if (!y->code && strcmp(schema, POINTS_SCHEMA))
        yaml_fail(y, yaml_get(y, y->root, "schema"), ERR_SCHEMA, "expected '" POINTS_SCHEMA "'");
    struct yaml_node *groups = yaml_list(y, y->root, "groups");
    struct yaml_node *excluded = yaml_list(y, y->root, "excluded");
    struct yaml_node *floors = yaml_list(y, y->root, "floors");
    out->group = take(y, groups->n, sizeof *out->group);
    out->excluded = take(y, excluded->n, sizeof *out->excluded);
    out->floor = take(y, floors->n, sizeof *out->floor);
    for (struct yaml_node *c = groups->first; c && !y->code; c = c->next)
        read_group(y, c, &out->group[out->n_groups++]);
    for (struct yaml_node *c = excluded->first; c && !y->code; c = c->next) {
        struct points_excluded *x = &out->excluded[out->n_excluded++];
        x->what = yaml_str(y, c, "what");
        x->why = yaml_str(y, c, "why");
    }
    for (struct yaml_node *c = floors->first; c && !y->code; c = c->next)
        read_floor(y, c, out, &out->floor[out->n_floors++]);
    yaml_done(y);
}

int points_load(const char *path, struct arena *arena, struct points *out, struct err *e)
{
    struct yaml y;
    memset(out, 0, sizeof *out);
    if (!yaml_load(&y, path, arena, e))
        read_points(&y, out);
    return y.code;
}

double points_disagreement_pct(const struct points_floor *f)
{
    double low = f->value[0], high = f->value[0];
    for (int32_t i = 1; i < f->n; i++) {
        low = fmin(low, f->value[i]);
        high = fmax(high, f->value[i]);
    }
    return 100 * (high / low - 1);
}
