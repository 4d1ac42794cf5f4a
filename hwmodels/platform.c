#include "hwmodels/platform.h"

#include <string.h>

void platform_init(struct platform *p)
{
    memset(p, 0, sizeof *p);
    p->bus.dram_bytes_per_s = p->bus.shared_bytes_per_s = p->bus.pj_per_byte = RANGED_UNKNOWN;
    p->memory.dram_bytes = p->memory.npu_space_bytes = RANGED_UNKNOWN;
    struct platform_thermal *t = &p->thermal;
    t->mc_per_w = t->mj_per_c = t->ambient_mc = RANGED_UNKNOWN;
    t->hot_mc = t->cool_mc = t->slow_permille = RANGED_UNKNOWN;
}

int32_t platform_path(const struct platform *p, const char *name)
{
    for (int32_t i = 0; i < p->bus.n_paths; i++)
        if (!strcmp(p->bus.path[i].name, name))
            return i;
    return -1;
}

int32_t platform_edge(const struct platform *p, const char *name)
{
    for (int32_t i = 0; i < p->n_edges; i++)
        if (!strcmp(p->edge[i].name, name))
            return i;
    return -1;
}

int64_t platform_storage_rate(const struct platform_storage *s, int64_t block_bytes,
                              bool *extrapolated)
{
    if (!s->n_blocks)
        return -1;
    const struct platform_block *last = &s->block[s->n_blocks - 1];
    if (block_bytes < s->block[0].block_bytes || block_bytes > last->block_bytes)
        *extrapolated = true;
    if (block_bytes <= s->block[0].block_bytes)
        return s->block[0].bytes_per_s.value;
    if (block_bytes >= last->block_bytes)
        return last->bytes_per_s.value;
    int32_t i = 1;
    while (s->block[i].block_bytes < block_bytes)
        i++;
    const struct platform_block *a = &s->block[i - 1], *b = &s->block[i];
    if (a->bytes_per_s.value < 0 || b->bytes_per_s.value < 0)
        return -1;
    double part =
        (double)(block_bytes - a->block_bytes) / (double)(b->block_bytes - a->block_bytes);
    return a->bytes_per_s.value +
           (int64_t)(part * (double)(b->bytes_per_s.value - a->bytes_per_s.value));
}
