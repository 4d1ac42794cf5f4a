/* tandem reproduce fig13: what decoding takes of a request, and how much of it is saved, in the set
 * that fits Table 3. */
#include <math.h>
#include <stddef.h>

#include "experiments/published.h"
#include "experiments/reproduce.h"
#include "experiments/table3_search.h"

struct fig13 {
    struct published_range share_pct, reduction;
};

static const struct published_field fields[] = {
    {"decode.share", "percent", offsetof(struct fig13, share_pct), true},
    {"decode.reduction", "x", offsetof(struct fig13, reduction), true},
    {.path = NULL}};

static int run(struct reproduce_context *c, struct err *e)
{
    char path[512], cell[96];
    struct fig13 f;
    const struct t3_fit *fit = NULL;
    int rc = reproduce_file("fig13", path, sizeof path, e);
    if (!rc)
        rc = published_read(path, "fig13", fields, &f, c->arena, e);
    if (!rc)
        rc = t3_fit_run(c, &fit, e);
    if (rc || !fit->set)
        return rc;
    reproduce_note(c,
                   "published of another phone (OnePlus 13), here in the set that fits Table 3 "
                   "(K60 Pro):\n%s\n",
                   fit->what);
    for (int32_t m = 0; m < T3_MODELS; m++) {
        const struct t3_spread *share = &fit->set->derived[m][T3_SHARE];
        const struct t3_spread *reduction = &fit->set->derived[m][T3_REDUCTION];
        snprintf(cell, sizeof cell, "decode's share of NPU vanilla, %s, percent",
                 fit->table.model[m].name);
        reproduce_cell(c, "fig13", cell, (f.share_pct.low + f.share_pct.high) / 2,
                       100 * share->median, "shown", "all", 100 * share->min, 100 * share->max);
        snprintf(cell, sizeof cell, "decode time, NPU vanilla over Ours, %s",
                 fit->table.model[m].name);
        reproduce_cell(c, "fig13", cell, (f.reduction.low + f.reduction.high) / 2,
                       reduction->median, "shown", "all", reduction->min, reduction->max);
    }
    return ERR_OK;
}

const struct reproduction reproduce_fig13 = {
    .name = "fig13",
    .source = "arXiv 2510.15312v3, Fig 13: decode time, summary, OnePlus 13",
    .summary = "decode's share and reduction in the set that fits Table 3",
    .files_only = true,
    .run = run};
