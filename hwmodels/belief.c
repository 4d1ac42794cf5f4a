#include "hwmodels/belief.h"

#include <inttypes.h>
#include <string.h>

#include "sim/base/hash.h"
#include "sim/base/yaml.h"

/* ---- from a device -------------------------------------------------------------------------- */

static bool listed(const int32_t *list, int32_t n, int32_t v)
{
    for (int32_t i = 0; i < n; i++)
        if (list[i] == v)
            return true;
    return false;
}

static int take_widths(const struct device_table *t, const struct device_options *opt,
                       const struct table_grid *g, struct belief *out, struct err *e)
{
    for (int32_t i = 0; i < t->n_cells; i++) {
        int32_t w = t->cell[i].width;
        if (listed(opt->mask_width, opt->n_mask_widths, w) || w < g->w_min || w > g->w_max ||
            listed(out->width, out->n_widths, w))
            continue;
        if (out->n_widths == BELIEF_MAX_WIDTHS)
            return err_set(e, ERR_LIMIT, "more than %d widths for a belief: mask some",
                           BELIEF_MAX_WIDTHS);
        out->width[out->n_widths++] = w;
    }
    return ERR_OK;
}

/* Buckets of a belief; returns their number, or -1. */
static int32_t take_buckets(const struct table_grid *g, int32_t *bucket)
{
    int32_t first = g->bucket[0], last = g->bucket[g->n_buckets - 1];
    if (last - first < BELIEF_MAX_CONTEXTS) {
        for (int32_t b = first; b <= last; b++)
            bucket[b - first] = b;
        return last - first + 1;
    }
    if (g->n_buckets > BELIEF_MAX_CONTEXTS)
        return -1;
    memcpy(bucket, g->bucket, (size_t)g->n_buckets * sizeof *bucket);
    return g->n_buckets;
}

int device_belief(const struct device *d, int32_t processor, const struct device_options *opt,
                  const struct belief_options *how, struct arena *arena, struct belief *out,
                  struct err *e)
{
    const struct device_table *t = &device_costs_of(d, processor)->step;
    int32_t bucket[BELIEF_MAX_CONTEXTS];
    struct table_grid g;
    memset(out, 0, sizeof *out);
    if (!(how->scale >= 0 && how->scale <= 1e6) || !(how->noise_pct >= 0 && how->noise_pct <= 100))
        return err_set(e, ERR_RANGE,
                       "belief scale %g, noise_pct %g: expected 0 to 1000000 and "
                       "0 to 100",
                       how->scale, how->noise_pct);
    if (!t->n_cells)
        return err_set(e, ERR_SCHEMA, "device '%s' has no step table: profile it", d->name);
    int code = table_grid_build(t, opt, true, "step table for the belief", arena, &g, e);
    if (!code)
        code = take_widths(t, opt, &g, out, e);
    if (code)
        return code;
    out->n_contexts = take_buckets(&g, bucket);
    if (out->n_contexts < 0)
        return err_set(e, ERR_LIMIT, "more than %d contexts for a belief: mask some buckets",
                       BELIEF_MAX_CONTEXTS);
    double scale = how->scale > 0 ? how->scale : 1;
    for (int32_t c = 0; c < out->n_contexts; c++) {
        int64_t end = (int64_t)bucket[c] * g.pad;
        out->context[c] = end > INT32_MAX ? INT32_MAX : (int32_t)end;
        for (int32_t w = 0; w < out->n_widths; w++) {
            uint64_t key = (uint64_t)out->width[w] << 32 | (uint32_t)bucket[c];
            double u = 2 * rng_unit(rng_u64(how->seed, RNG_BELIEF, 0, key)) - 1;
            bool beyond = false;
            double ns = table_grid_ns(&g, out->width[w], bucket[c], DEVICE_SAME_SHAPE, &beyond);
            ns = ns * scale * (1 + how->noise_pct / 100 * u);
            out->step_ns[w][c] = ns < 4e18 ? (int64_t)(ns + 0.5) : INT64_MAX / 2;
        }
    }
    return ERR_OK;
}

/* ---- files ---------------------------------------------------------------------------------- */

static const char *const unit_words[] = {"ns", "us", NULL};

/* Whole numbers of `key` (or of the node itself), rising where asked; at most `most`. */
static int32_t read_ints(struct yaml *y, struct yaml_node *at, const char *key, int64_t min,
                         int64_t max, int32_t most, bool rising, int64_t *v)
{
    int32_t n;
    struct yaml_node *node = key ? yaml_list(y, at, key) : at;
    const int64_t *list = yaml_ints(y, node, NULL, min, max, &n);
    if (!y->code && (!n || n > most))
        yaml_fail(y, node, ERR_LIMIT, "expected 1 to %" PRId32 " values", most);
    for (int32_t i = 0; i < n && !y->code; i++) {
        if (rising && i && list[i] <= list[i - 1])
            yaml_fail(y, node, ERR_SCHEMA, "expected rising numbers");
        v[i] = list[i];
    }
    return y->code ? 0 : n;
}

static int32_t read_axis(struct yaml *y, const char *key, int32_t most, int64_t min, int64_t max,
                         int32_t *out)
{
    int64_t v[BELIEF_MAX_WIDTHS];
    int32_t n = read_ints(y, y->root, key, min, max, most, true, v);
    for (int32_t i = 0; i < n; i++)
        out[i] = (int32_t)v[i];
    return n;
}

/* A row of exactly n times. */
static void read_row(struct yaml *y, struct yaml_node *at, int64_t scale, int32_t n, int64_t *out)
{
    int64_t v[BELIEF_MAX_BLOCKS];
    int32_t has =
        read_ints(y, at, NULL, 0, DEVICE_MAX_SAMPLE_NS / scale, BELIEF_MAX_BLOCKS, false, v);
    if (!y->code && has != n)
        yaml_fail(y, at, ERR_SCHEMA, "expected %" PRId32 " times", n);
    for (int32_t i = 0; i < has && !y->code; i++)
        out[i] = v[i] * scale;
}

static void read_blocks(struct yaml *y, int64_t scale, struct belief *b)
{
    struct yaml_node *load = yaml_list_or(y, y->root, "load");
    struct yaml_node *blocks = yaml_list_or(y, y->root, "blocks");
    b->n_blocks = load ? load->n : blocks && blocks->first ? blocks->first->n : 0;
    if (b->n_blocks > BELIEF_MAX_BLOCKS)
        yaml_fail(y, load ? load : blocks, ERR_LIMIT, "expected at most %d blocks",
                  BELIEF_MAX_BLOCKS);
    if (blocks && blocks->n > EXEC_MAX_GRAPHS)
        yaml_fail(y, blocks, ERR_LIMIT, "expected at most %d graphs", EXEC_MAX_GRAPHS);
    if (load && !y->code)
        read_row(y, load, scale, b->n_blocks, b->load_ns);
    for (struct yaml_node *c = blocks ? blocks->first : NULL; c && !y->code; c = c->next)
        read_row(y, c, scale, b->n_blocks, b->block_ns[c->index]);
}

static int read_belief(struct yaml *y, struct belief *b)
{
    static const int64_t scales[] = {1, 1000};
    memset(b, 0, sizeof *b);
    y->need_source = true;
    const char *schema = yaml_str(y, y->root, "schema");
    if (!y->code && strcmp(schema, BELIEF_SCHEMA))
        yaml_fail(y, yaml_get(y, y->root, "schema"), ERR_SCHEMA, "expected '" BELIEF_SCHEMA "'");
    int64_t scale = scales[yaml_enum(y, y->root, "unit", unit_words)];
    b->n_widths = read_axis(y, "widths", BELIEF_MAX_WIDTHS, 1, DEVICE_MAX_WIDTH, b->width);
    b->n_contexts = read_axis(y, "contexts", BELIEF_MAX_CONTEXTS, 0, 1 << 24, b->context);
    struct yaml_node *step = yaml_list(y, y->root, "step");
    if (!y->code && step->n != b->n_widths)
        yaml_fail(y, step, ERR_SCHEMA, "expected a list of times for each of %" PRId32 " widths",
                  b->n_widths);
    for (struct yaml_node *c = step->first; c && !y->code; c = c->next)
        read_row(y, c, scale, b->n_contexts, b->step_ns[c->index]);
    read_blocks(y, scale, b);
    return yaml_done(y);
}

int belief_parse(const char *name, const void *bytes, size_t n, struct arena *arena,
                 struct belief *out, struct err *e)
{
    struct yaml y;
    yaml_parse(&y, name, bytes, n, arena, e);
    return read_belief(&y, out);
}

int belief_load(const char *path, struct arena *arena, struct belief *out, struct err *e)
{
    struct yaml y;
    yaml_load(&y, path, arena, e);
    return read_belief(&y, out);
}
