#include "hwmodels/explain.h"

#include <assert.h>
#include <string.h>

const struct device_processor *explain_owner(const struct device *d, const struct roof_unit *u)
{
    for (int32_t p = 0; p < d->n_processors; p++)
        for (int32_t i = 0; i < d->processor[p].n_units; i++)
            if (&d->processor[p].unit[i] == u)
                return &d->processor[p];
    return NULL;
}

const char *explain_source(const struct device *d, const struct explain_row *row, int32_t i)
{
    assert(i >= 0 && i < row->time.n_sources);
    if (row->time.source[i])
        return row->time.source[i];
    const struct roof_kernel *k = roof_kernel_of(row->by, &row->op);
    if (k && k->source)
        return k->source;
    if (row->by->source)
        return row->by->source;
    const struct device_processor *p = explain_owner(d, row->by);
    return p && p->source ? p->source : d->source ? d->source : "";
}

static struct explain_row *find(struct explain_step *x, const struct op *op)
{
    for (int32_t i = 0; i < x->n; i++)
        if (!strcmp(x->row[i].op.name, op->name))
            return &x->row[i];
    return NULL;
}

static bool is_less(const struct ranged *a, const struct ranged *b)
{
    return a->value > 0 && (b->value <= 0 || a->value < b->value);
}

/* What a kernel's bytes get at most: its path's cap, or what the DRAM gives one job alone. */
static struct ranged cap_of(const struct platform_bus *bus, const struct roof_kernel *k,
                            enum roof_limit *limit)
{
    struct ranged cap = RANGED_UNKNOWN, dram = bus->dram_bytes_per_s;
    dram.source = dram.source ? dram.source : bus->source;
    *limit = ROOF_BUS;
    if (k->path >= 0) {
        const struct platform_path *path = &bus->path[k->path];
        cap = path->bytes_per_s;
        if (!cap.source)
            cap.source = path->source ? path->source : bus->source;
    }
    if (!is_less(&dram, &cap))
        return cap;
    *limit = ROOF_DRAM;
    return dram;
}

/* A measured time holds the bus that it was measured with; a DRAM that gives less makes it longer,
 * as it does in a run. */
static void slow_to_dram(const struct platform_bus *bus, struct roof_time *t)
{
    int64_t rate = bus->dram_bytes_per_s.value;
    double ns = rate > 0 ? (double)t->bytes * 1e9 / (double)rate : 0;
    if (!t->known || t->limit != ROOF_MEASURED || !(ns > (double)t->ns) || !(ns <= ROOF_MAX_NS))
        return;
    t->ns = (int64_t)(ns + 0.5);
    t->memory_ns = ns;
    t->limit = ROOF_DRAM;
    t->n_sources = 1;
    t->source[0] = bus->dram_bytes_per_s.source ? bus->dram_bytes_per_s.source : bus->source;
}

/* `apart`: another unit computes the products, so that no rate of theirs holds this one's time. */
static void ask(const struct device *d, const struct roof_unit *u, bool apart,
                struct explain_row *row)
{
    const struct roof_kernel *of = roof_kernel_of(u, &row->op);
    const struct device_processor *p = explain_owner(d, u);
    row->by = u;
    row->unit = p ? p->name : "";
    if (!of) {
        row->time = (struct roof_time){.ns = -1, .path = -1};
        return;
    }
    struct roof_kernel k = *of;
    enum roof_limit limit;
    struct ranged cap = cap_of(&d->platform.bus, &k, &limit);
    k.included = k.included && !apart;
    roof_kernel_time(&k, &row->op, &cap, &row->time);
    if (row->time.limit == ROOF_MEMORY && row->time.capped)
        row->time.limit = limit;
    slow_to_dram(&d->platform.bus, &row->time);
}

static bool has_attention(const struct roof_unit *u)
{
    for (int32_t i = 0; i < u->n_kernels; i++)
        if (u->kernel[i].op == ROOF_ATTENTION)
            return true;
    return false;
}

const struct roof_unit *explain_attention(const struct device *d, int32_t processor,
                                          const struct roof_unit *products)
{
    const struct device_processor *p = &d->processor[processor];
    if (explain_owner(d, products) == p)
        return products;
    for (int32_t i = 0; i < p->n_units; i++)
        if (has_attention(&p->unit[i]))
            return &p->unit[i];
    return p->n_units ? &p->unit[0] : NULL;
}

int explain_step(const struct device *d, const struct roof_unit *u,
                 const struct roof_unit *attention, const struct model_desc *m,
                 const struct ops_step *s, struct arena *arena, struct explain_step *out,
                 struct err *e)
{
    struct ops ops;
    memset(out, 0, sizeof *out);
    int code = ops_build(m, s, arena, &ops, e);
    if (code)
        return code;
    out->row = arena_alloc(arena, (size_t)ops.n, sizeof *out->row);
    if (!out->row)
        return err_set(e, ERR_NOMEM, "out of memory");
    for (int32_t i = 0; i < ops.n; i++) {
        struct explain_row *row = find(out, &ops.op[i]);
        if (row) {
            row->layers++;
            continue;
        }
        row = &out->row[out->n++];
        *row = (struct explain_row){.op = ops.op[i], .layers = 1};
        bool other = attention && attention != u && ops.op[i].kind == OP_ATTENTION;
        ask(d, other ? attention : u, other, row);
    }
    out->known = true;
    out->total = ops_total(&ops);
    for (int32_t i = 0; i < out->n; i++) {
        const struct explain_row *row = &out->row[i];
        out->known = out->known && row->time.known;
        out->extrapolated = out->extrapolated || row->time.extrapolated;
        out->bytes += row->layers * row->time.bytes;
        if (row->time.known)
            out->least_ns += row->layers * row->time.ns;
    }
    out->ns = out->known ? out->least_ns : -1;
    return ERR_OK;
}

int64_t explain_energy_pj(const struct device *d, const struct device_processor *p,
                          enum explain_phase phase, int64_t ns, int64_t bytes)
{
    const struct ranged *of_phase = phase == EXPLAIN_PREFILL ? &p->prefill_mw : &p->decode_mw;
    int64_t mw = of_phase->value >= 0 ? of_phase->value : p->active_mw;
    int64_t each = d->platform.bus.pj_per_byte.value;
    if (mw < 0 || ns < 0)
        return -1;
    double pj = (double)mw * (double)ns + (each > 0 ? (double)bytes * (double)each : 0);
    return pj < 9e18 ? (int64_t)pj : -1;
}
