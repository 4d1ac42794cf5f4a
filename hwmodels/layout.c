#include "hwmodels/layout.h"

#include <assert.h>
#include <string.h>

static bool is_before_attention(const char *name)
{
    static const char *const before[] = {"attn_norm", "attn_q",  "attn_k",
                                         "attn_v",    "qk_norm", "rope"};
    for (size_t i = 0; i < sizeof before / sizeof *before; i++)
        if (!strcmp(before[i], name))
            return true;
    return false;
}

void layout_of_step(const struct explain_step *x, int32_t layers, struct layout_times *out)
{
    int64_t before = 0, after = 0, embed = 0, head = 0;
    bool known = true;
    *out = (struct layout_times){.layers = layers, .attention_ns = -1, .edge_ns = -1};
    for (int32_t i = 0; i < x->n; i++) {
        const struct explain_row *row = &x->row[i];
        if (row->op.kind == OP_ATTENTION) {
            out->attention_ns = row->time.ns;
            continue;
        }
        known = known && row->time.known;
        if (row->op.layer < 0)
            *(row->op.kind == OP_EMBED ? &embed : &head) += row->time.ns;
        else if (is_before_attention(row->op.name))
            before += row->time.ns;
        else
            after += row->time.ns;
    }
    out->first_ns = known ? embed + before : -1;
    out->between_ns = known ? after + before : -1;
    out->last_ns = known ? after + head : -1;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Stage i of 2 L + 1: even ones on the NPU, odd ones on the CPU. */
static int64_t stage_ns(const struct layout_times *t, int32_t i)
{
    if (i % 2)
        return t->attention_ns;
    return i == 0 ? t->first_ns : i == 2 * t->layers ? t->last_ns : t->between_ns;
}

/* Two chunks: a list schedule, each stage in turn given to the chunk whose start is earlier. */
static int64_t pair_ns(const struct layout_times *t)
{
    int32_t n = 2 * t->layers + 1, at[2] = {0, 0};
    int64_t ready[2] = {0, 0}, idle[2] = {0, 0}, end = 0;
    while (at[0] < n || at[1] < n) {
        int64_t start[2];
        for (int c = 0; c < 2; c++)
            start[c] = at[c] < n ? larger(ready[c], idle[at[c] % 2]) : INT64_MAX;
        int32_t need = at[1] + LAYOUT_LAG;
        bool held = at[0] < n && at[0] < need;
        int c = held || start[0] <= start[1] ? 0 : 1;
        idle[at[c] % 2] = start[c] + stage_ns(t, at[c]);
        ready[c] = idle[at[c] % 2] + t->edge_ns;
        end = larger(end, idle[at[c] % 2]);
        at[c]++;
    }
    return end;
}

void layout_run(const struct layout_times *t, enum layout how, struct layout_result *out)
{
    assert(t->layers >= 1 && how != LAYOUT_ONE);
    *out = (struct layout_result){.graphs = t->layers + 1, .edges = 2 * t->layers, .ns = -1};
    if (t->first_ns < 0 || t->between_ns < 0 || t->last_ns < 0 || t->attention_ns < 0 ||
        t->edge_ns < 0)
        return;
    if (how == LAYOUT_PAIRS) {
        out->graphs *= 2;
        out->edges *= 2;
        out->ns = pair_ns(t);
        return;
    }
    out->ns = t->edge_ns * out->edges;
    for (int32_t i = 0; i <= 2 * t->layers; i++)
        out->ns += stage_ns(t, i);
}
