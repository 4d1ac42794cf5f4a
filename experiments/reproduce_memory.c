/* tandem reproduce memory: peak memory from the model's size alone. */
#include <math.h>
#include <stddef.h>

#include "experiments/published.h"
#include "experiments/reproduce.h"

struct memory {
    struct published_range npu_gb, eagle_gb, chunk;
    double ours_gb, cpu_gb, ours_more_gb;
    double parameters_e9, layer_e9, vocabulary, hidden;
    double weight_bytes, head_bytes, logit_bytes;
};

#define VALUE(path, unit, member)                                                                  \
    {                                                                                              \
        (path), (unit), offsetof(struct memory, member), false                                     \
    }
#define RANGE(path, unit, member)                                                                  \
    {                                                                                              \
        (path), (unit), offsetof(struct memory, member), true                                      \
    }

static const struct published_field fields[] = {RANGE("peak.npu", "GB", npu_gb),
                                                VALUE("peak.ours", "GB", ours_gb),
                                                VALUE("peak.cpu", "GB", cpu_gb),
                                                RANGE("peak.eagle_more", "GB", eagle_gb),
                                                VALUE("peak.ours_more", "GB", ours_more_gb),
                                                VALUE("model.parameters", "billion", parameters_e9),
                                                VALUE("model.layer", "billion", layer_e9),
                                                VALUE("model.vocabulary", "tokens", vocabulary),
                                                VALUE("model.hidden", "elements", hidden),
                                                VALUE("assumed.weight_bytes", "B", weight_bytes),
                                                VALUE("assumed.head_bytes", "B", head_bytes),
                                                VALUE("assumed.logit_bytes", "B", logit_bytes),
                                                RANGE("assumed.chunk", "tokens", chunk),
                                                {.path = NULL}};

static double logits_gb(const struct memory *m, double chunk)
{
    return chunk * m->vocabulary * m->logit_bytes / 1e9;
}

static int run(struct reproduce_context *c, struct err *e)
{
    char path[512];
    struct memory m;
    int rc = reproduce_file("memory", path, sizeof path, e);
    if (!rc)
        rc = published_read(path, "memory", fields, &m, c->arena, e);
    if (rc)
        return rc;
    double npu = m.parameters_e9 * m.weight_bytes;
    double middle = sqrt(m.chunk.low * m.chunk.high); /* 128 of 64 .. 256 */
    double head = m.vocabulary * m.hidden / 1e9;
    double eagle = m.layer_e9 * m.weight_bytes + head * m.head_bytes;
    reproduce_note(
        c,
        "NPU vanilla: %.4g billion parameters x %.0f B = %.3f GB; CPU vanilla twice that.\n"
        "Ours: one chunk's logits more, %.0f (%.0f..%.0f) x %.0f x %.0f B = %.3f GB.\n"
        "EAGLE: a layer x %.0f B and a head x %.0f B more. The bytes are assumed: they\n"
        "agree with what was published, which does not tell them from others that do\n",
        m.parameters_e9, m.weight_bytes, npu, middle, m.chunk.low, m.chunk.high, m.vocabulary,
        m.logit_bytes, logits_gb(&m, middle), m.weight_bytes, m.head_bytes);
    reproduce_cell(c, "memory", "NPU vanilla, GB", (m.npu_gb.low + m.npu_gb.high) / 2, npu, "shown",
                   "zero-fit", m.npu_gb.low, m.npu_gb.high);
    reproduce_cell(c, "memory", "Ours, GB", m.ours_gb, npu + logits_gb(&m, middle), "shown",
                   "zero-fit", npu + logits_gb(&m, m.chunk.low), npu + logits_gb(&m, m.chunk.high));
    reproduce_cell(c, "memory", "Ours over NPU vanilla at most, GB", m.ours_more_gb,
                   logits_gb(&m, m.chunk.high), "shown", "zero-fit", NAN, m.ours_more_gb);
    reproduce_cell(c, "memory", "CPU vanilla at least, GB", m.cpu_gb, 2 * npu, "shown", "zero-fit",
                   m.cpu_gb, NAN);
    reproduce_cell(c, "memory", "EAGLE over NPU vanilla, GB",
                   (m.eagle_gb.low + m.eagle_gb.high) / 2, eagle, "shown", "zero-fit",
                   m.eagle_gb.low, m.eagle_gb.high);
    return ERR_OK;
}

const struct reproduction reproduce_memory = {
    .name = "memory",
    .source = "arXiv 2510.15312v3, section 4.4: peak memory, Qwen2.5-1.5B",
    .summary = "peak memory from the model's size and assumed bytes",
    .files_only = true,
    .run = run};
