#include "hwmodels/roofline.h"

#include <assert.h>
#include <string.h>

const char *const roof_op_name[ROOF_OPS + 1] = {"matmul", "attention", "elementwise", NULL};
const char *const roof_limit_name[ROOF_LIMITS] = {
    "unknown", "measured", "included", "launch", "compute", "memory", "copy", "bus", "dram"};

static enum roof_op class_of(const struct op *op)
{
    return op->kind == OP_MATMUL      ? ROOF_MATMUL
           : op->kind == OP_ATTENTION ? ROOF_ATTENTION
                                      : ROOF_ELEMENTWISE;
}

const struct roof_kernel *roof_kernel_of(const struct roof_unit *u, const struct op *op)
{
    for (int32_t i = 0; i < u->n_kernels; i++) {
        const struct roof_kernel *k = &u->kernel[i];
        if (k->op == class_of(op) && op->m >= k->rows_from && op->m <= k->rows_to)
            return k;
    }
    return NULL;
}

static double rounded_up(int64_t n, int32_t tile)
{
    return (double)((n + tile - 1) / tile * tile);
}

void roof_work_of(const struct roof_kernel *k, const struct op *op, struct roof_work *out)
{
    out->launches = 1;
    out->flops = (double)op->flops;
    out->bytes = (double)(op->weight_bytes + op->kv_read_bytes + op->kv_write_bytes);
    out->copy_bytes = (double)(op->input_bytes + op->output_bytes);
    out->thin = false;
    if (op->kind != OP_MATMUL)
        return;
    out->flops =
        2 * rounded_up(op->m, k->tile) * rounded_up(op->n, k->tile) * rounded_up(op->k, k->tile);
    out->thin = op->n < op->k;
}

/* ---- measured points ------------------------------------------------------------------------ */

static double ratio(int64_t a, int64_t b)
{
    double r = (double)a / (double)b;
    return r < 1 ? 1 / r : r;
}

/* The point below and the one above along an axis, the other two being equal. */
static bool between(const struct roof_kernel *k, const struct op *op, int axis, double *ns,
                    const char **source)
{
    const int64_t want[3] = {op->m, op->n, op->k};
    const struct roof_point *low = NULL, *high = NULL;
    int64_t at_low = 0, at_high = 0;
    for (int32_t i = 0; i < k->n_points; i++) {
        const struct roof_point *p = &k->point[i];
        const int64_t has[3] = {p->m, p->n, p->k};
        if (has[(axis + 1) % 3] != want[(axis + 1) % 3] ||
            has[(axis + 2) % 3] != want[(axis + 2) % 3])
            continue;
        if (has[axis] <= want[axis] && (!low || has[axis] > at_low)) {
            low = p;
            at_low = has[axis];
        }
        if (has[axis] >= want[axis] && (!high || has[axis] < at_high)) {
            high = p;
            at_high = has[axis];
        }
    }
    if (!low || !high)
        return false;
    *source = low->source;
    *ns = (double)low->ns;
    if (at_high > at_low)
        *ns += (double)(high->ns - low->ns) * (double)(want[axis] - at_low) /
               (double)(at_high - at_low);
    return true;
}

static void from_points(const struct roof_kernel *k, const struct op *op, struct roof_time *out)
{
    double ns = 0, best = 0;
    const struct roof_point *near = NULL;
    const char *source = NULL;
    for (int axis = 0; axis < 3; axis++)
        if (between(k, op, axis, &ns, &source)) {
            out->ns = (int64_t)(ns + 0.5);
            out->known = true;
            out->source[out->n_sources++] = source;
            return;
        }
    for (int32_t i = 0; i < k->n_points; i++) {
        const struct roof_point *p = &k->point[i];
        double far = ratio(p->m, op->m) * ratio(p->n, op->n) * ratio(p->k, op->k);
        if (!near || far < best) {
            near = p;
            best = far;
        }
    }
    double there =
        rounded_up(near->m, k->tile) * rounded_up(near->n, k->tile) * rounded_up(near->k, k->tile);
    double here =
        rounded_up(op->m, k->tile) * rounded_up(op->n, k->tile) * rounded_up(op->k, k->tile);
    ns = (double)near->ns * here / there;
    if (!(ns <= ROOF_MAX_NS))
        return;
    out->ns = (int64_t)(ns + 0.5);
    out->known = out->extrapolated = true;
    out->source[out->n_sources++] = near->source;
}

static bool is_measured(const struct roof_kernel *k, const struct op *op, struct roof_time *out)
{
    for (int32_t i = 0; i < k->n_points; i++) {
        const struct roof_point *p = &k->point[i];
        if (p->m == op->m && p->n == op->n && p->k == op->k) {
            out->ns = p->ns;
            out->source[out->n_sources++] = p->source;
            return true;
        }
    }
    return false;
}

/* ---- the roofline --------------------------------------------------------------------------- */

static void add_source(struct roof_time *out, const char *source)
{
    for (int32_t i = 0; i < out->n_sources; i++)
        if (out->source[i] == source ||
            (source && out->source[i] && !strcmp(out->source[i], source)))
            return;
    assert(out->n_sources < ROOF_MAX_SOURCES);
    out->source[out->n_sources++] = source;
}

static double per_s(double amount, int64_t rate)
{
    return amount * 1e9 / (double)rate;
}

static void name_limit(struct roof_time *out)
{
    double most = out->launch_ns;
    out->limit = ROOF_LAUNCH;
    if (out->compute_ns > most) {
        most = out->compute_ns;
        out->limit = ROOF_COMPUTE;
    }
    if (out->memory_ns > most) {
        most = out->memory_ns;
        out->limit = ROOF_MEMORY;
    }
    if (out->copy_ns > most)
        out->limit = ROOF_COPY;
}

static void from_roofline(const struct roof_kernel *k, const struct op *op,
                          const struct ranged *cap, struct roof_time *out)
{
    struct roof_work w;
    roof_work_of(k, op, &w);
    const struct ranged *bandwidth = &k->bytes_per_s;
    out->capped = cap && cap->value > 0 && (bandwidth->value < 0 || bandwidth->value > cap->value);
    if (out->capped)
        bandwidth = cap;
    int64_t rate = bandwidth->value;
    if (k->launch_ns.value < 0 || k->flops_per_s.value <= 0 || rate <= 0)
        return;
    double order =
        w.thin && k->order_permille.value > 0 ? (double)k->order_permille.value / 1000 : 1;
    out->launch_ns = (double)k->launch_ns.value;
    out->compute_ns = order * per_s(w.flops, k->flops_per_s.value);
    out->memory_ns = order * per_s(w.bytes, rate);
    if (k->copy_bytes_per_s.value > 0)
        out->copy_ns = per_s(w.copy_bytes, k->copy_bytes_per_s.value);
    double work = out->compute_ns + out->memory_ns;
    if (k->overlap)
        work = out->compute_ns > out->memory_ns ? out->compute_ns : out->memory_ns;
    bool launch = !k->hidden || out->launch_ns > work, busy = !k->hidden || !launch;
    double ns = (launch ? out->launch_ns : 0) + (busy ? work : 0) + out->copy_ns;
    if (!(ns <= ROOF_MAX_NS))
        return;
    out->ns = (int64_t)(ns + 0.5);
    name_limit(out);
    out->known = true;
    if (launch && out->launch_ns > 0)
        add_source(out, k->launch_ns.source);
    if (busy && (!k->overlap || out->limit != ROOF_MEMORY))
        add_source(out, k->flops_per_s.source);
    if (busy && (!k->overlap || out->limit != ROOF_COMPUTE))
        add_source(out, bandwidth->source);
    if (busy && order > 1)
        add_source(out, k->order_permille.source);
    if (out->copy_ns > 0)
        add_source(out, k->copy_bytes_per_s.source);
}

void roof_kernel_time(const struct roof_kernel *k, const struct op *op,
                      const struct ranged *cap_bytes_per_s, struct roof_time *out)
{
    *out = (struct roof_time){.ns = -1, .path = k->path};
    out->bytes = op->weight_bytes + op->kv_read_bytes + op->kv_write_bytes;
    if (k->included) {
        *out = (struct roof_time){.known = true, .limit = ROOF_INCLUDED, .path = k->path};
        add_source(out, k->source);
        return;
    }
    if (op->kind == OP_MATMUL && is_measured(k, op, out)) {
        out->known = true;
        out->limit = ROOF_MEASURED;
        return;
    }
    from_roofline(k, op, cap_bytes_per_s, out);
    if (!out->known && op->kind == OP_MATMUL && k->n_points) {
        from_points(k, op, out);
        out->limit = out->known ? ROOF_MEASURED : ROOF_UNKNOWN;
    }
}
