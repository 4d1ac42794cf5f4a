/* Device files: operators, bus paths, storage, memory, synchronisation, heat, to text. */
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "hwmodels/device_file.h"

static void put_number(FILE *f, int64_t v, const enum unit *unit)
{
    char buf[40];
    if (v < 0)
        fputs("null", f);
    else if (unit)
        fputs(unit_format(v, *unit, buf, sizeof buf), f);
    else
        fprintf(f, "%" PRId64, v);
}

static void put_source(FILE *f, const char *before, const char *source)
{
    if (!source)
        return;
    fprintf(f, "%ssource: ", before);
    device_put_quoted(f, source);
}

static void put(FILE *f, const char *before, const char *key, const struct ranged *r,
                const enum unit *unit, bool always)
{
    bool plain = r->low == r->value && r->high == r->value && !r->source;
    if (plain && r->value < 0 && !always)
        return;
    fprintf(f, "%s%s: ", before, key);
    if (plain) {
        put_number(f, r->value, unit);
        return;
    }
    fputs("{value: ", f);
    put_number(f, r->value, unit);
    if (r->low != r->value) {
        fputs(", low: ", f);
        put_number(f, r->low, unit);
    }
    if (r->high != r->value) {
        fputs(", high: ", f);
        put_number(f, r->high, unit);
    }
    put_source(f, ", ", r->source);
    fputc('}', f);
}

void device_put_ranged(FILE *f, const char *before, const char *key, const struct ranged *r,
                       enum unit unit, bool always)
{
    put(f, before, key, r, &unit, always);
}

static void put_name(FILE *f, const char *before, const char *name)
{
    fprintf(f, "%sname: ", before);
    device_put_quoted(f, name);
}

static void put_bus(FILE *f, const struct platform_bus *bus)
{
    fputs("\nbus:", f);
    put_source(f, "\n  ", bus->source);
    device_put_ranged(f, "\n  ", "dram", &bus->dram_bytes_per_s, UNIT_BYTES_PER_S, true);
    device_put_ranged(f, "\n  ", "shared", &bus->shared_bytes_per_s, UNIT_BYTES_PER_S, false);
    device_put_ranged(f, "\n  ", "energy", &bus->pj_per_byte, UNIT_PJ_PER_BYTE, false);
    fputs(bus->n_paths ? "\n  paths:\n" : "\n", f);
    for (int32_t i = 0; i < bus->n_paths; i++) {
        const struct platform_path *p = &bus->path[i];
        put_name(f, "    - ", p->name);
        device_put_ranged(f, "\n      ", "cap", &p->bytes_per_s, UNIT_BYTES_PER_S, true);
        fprintf(f, "\n      priority: %" PRId32, p->priority);
        put_source(f, "\n      ", p->source);
        fputc('\n', f);
    }
}

static void put_storage(FILE *f, const struct platform_storage *s)
{
    char buf[40];
    if (!s->n_blocks)
        return;
    fputs("\nstorage:", f);
    put_source(f, "\n  ", s->source);
    fputs("\n  read:\n", f);
    for (int32_t i = 0; i < s->n_blocks; i++) {
        const struct platform_block *b = &s->block[i];
        fprintf(f, "    - block: %s", unit_format(b->block_bytes, UNIT_BYTES, buf, sizeof buf));
        device_put_ranged(f, "\n      ", "bandwidth", &b->bytes_per_s, UNIT_BYTES_PER_S, true);
        fputc('\n', f);
    }
}

static void put_thermal(FILE *f, const struct platform_thermal *t)
{
    fputs("\nthermal:", f);
    put_source(f, "\n  ", t->source);
    device_put_ranged(f, "\n  ", "resistance", &t->mc_per_w, UNIT_MC_PER_W, true);
    device_put_ranged(f, "\n  ", "capacity", &t->mj_per_c, UNIT_MJ_PER_C, true);
    device_put_ranged(f, "\n  ", "ambient", &t->ambient_mc, UNIT_MC, true);
    device_put_ranged(f, "\n  ", "hot", &t->hot_mc, UNIT_MC, true);
    device_put_ranged(f, "\n  ", "cool", &t->cool_mc, UNIT_MC, true);
    put(f, "\n  ", "slow_permille", &t->slow_permille, NULL, true);
    fputc('\n', f);
}

void device_put_platform(FILE *f, const struct platform *p)
{
    put_bus(f, &p->bus);
    put_storage(f, &p->storage);
    fputs("\nmemory:", f);
    put_source(f, "\n  ", p->memory.source);
    device_put_ranged(f, "\n  ", "dram", &p->memory.dram_bytes, UNIT_BYTES, true);
    device_put_ranged(f, "\n  ", "npu_space", &p->memory.npu_space_bytes, UNIT_BYTES, true);
    fputc('\n', f);
    put_thermal(f, &p->thermal);
    if (p->n_edges)
        fputs("\nsync:\n", f);
    for (int32_t i = 0; i < p->n_edges; i++) {
        put_name(f, "  - ", p->edge[i].name);
        put_source(f, "\n    ", p->edge[i].source);
        device_put_ranged(f, "\n    ", "polling", &p->edge[i].polling_ns, UNIT_NS, true);
        device_put_ranged(f, "\n    ", "sleeping", &p->edge[i].sleeping_ns, UNIT_NS, true);
        fputc('\n', f);
    }
}

static void put_points(FILE *f, const struct roof_kernel *k)
{
    if (!k->n_points)
        return;
    char time[40];
    fputs("\n            points:", f);
    for (int32_t i = 0; i < k->n_points; i++) {
        const struct roof_point *p = &k->point[i];
        fprintf(f,
                "\n              - m: %" PRId64 "\n                n: %" PRId64
                "\n                k: %" PRId64 "\n                time: %s",
                p->m, p->n, p->k, unit_format(p->ns, UNIT_NS, time, sizeof time));
        put_source(f, "\n                ", p->source);
    }
}

static void put_kernel(FILE *f, const struct platform *bus, const struct roof_kernel *k)
{
    static const char in[] = "\n            ";
    fprintf(f, "          - operator: %s", roof_op_name[k->op]);
    if (k->rows_from != 1)
        fprintf(f, "%sfrom: %" PRId32, in, k->rows_from);
    if (k->rows_to != INT32_MAX)
        fprintf(f, "%sto: %" PRId32, in, k->rows_to);
    fprintf(f, "%stile: %" PRId32, in, k->tile);
    fprintf(f, "%soverlap: %s%shidden_launch: %s%sincluded: %s", in, k->overlap ? "true" : "false",
            in, k->hidden ? "true" : "false", in, k->included ? "true" : "false");
    put_source(f, in, k->source);
    device_put_ranged(f, in, "launch", &k->launch_ns, UNIT_NS, false);
    device_put_ranged(f, in, "peak", &k->flops_per_s, UNIT_FLOP_PER_S, false);
    device_put_ranged(f, in, "bandwidth", &k->bytes_per_s, UNIT_BYTES_PER_S, false);
    device_put_ranged(f, in, "copy", &k->copy_bytes_per_s, UNIT_BYTES_PER_S, false);
    put(f, in, "order_permille", &k->order_permille, NULL, false);
    if (k->path >= 0) {
        fprintf(f, "%spath: ", in);
        device_put_quoted(f, bus->bus.path[k->path].name);
    }
    put_points(f, k);
    fputc('\n', f);
}

void device_put_units(FILE *f, const struct platform *bus, const struct device_processor *p)
{
    fputs("    operators:\n", f);
    for (int32_t i = 0; i < p->n_units; i++) {
        const struct roof_unit *u = &p->unit[i];
        device_put_text(f, "      - ", "backend", u->backend);
        device_put_text(f, "        ", "datatype", u->datatype);
        device_put_text(f, "        ", "weights", u->weights.name);
        fprintf(f, "        activation_bytes: %" PRId32 "\n        kv_bytes: %" PRId32,
                u->activation_bytes, u->kv_bytes);
        put_source(f, "\n        ", u->source);
        fputs("\n        kernels:\n", f);
        for (int32_t k = 0; k < u->n_kernels; k++)
            put_kernel(f, bus, &u->kernel[k]);
    }
}
