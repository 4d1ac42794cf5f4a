/* A phone as what a run needs: roles, dynamic steps, drafting by the target's layer, powers. */
#include <stdlib.h>
#include <string.h>

#include "hwmodels/explain.h"
#include "hwmodels/phone.h"
#include "tests/unit.h"

static struct arena arena;
static struct device d, host;
static struct model_desc m;
static struct blocks_spec spec;

static const char *const roles[] = {"target", "load", "draft", "decode", NULL};

static void open_all(const char *const *set, int32_t n)
{
    struct err e = {0};
    arena_init(&arena);
    CHECK_EQ(device_load("hwmodels/devices/oneplus-13.yaml", set, n, &arena, &d, &e), ERR_OK);
    const char *path = "hwmodels/devices/example-2core.yaml";
    CHECK_EQ(device_load(path, NULL, 0, &arena, &host, &e), ERR_OK);
    CHECK_EQ(model_load("hwmodels/models/qwen2.5-1.5b.yaml", &m, &e), ERR_OK);
    CHECK_STR(e.msg, "");
}

static int make(const char *map, const char *drafter, enum layout layout, struct err *e)
{
    struct phone_graphs g = {.wide = 256,
                             .narrow = 32,
                             .blocks = 2,
                             .context = 1024,
                             .layout = layout,
                             .sleeping = true,
                             .attention = "cpu",
                             .backend = "qnn",
                             .load_bytes_per_s = 1000000000,
                             .load_mw = -1,
                             .base_bytes = 7};
    struct phone_run run = {.role = roles, .map = map, .n_drafters = drafter ? 1 : 0};
    if (drafter)
        run.drafter[0] = draft_find(drafter);
    return phone_spec(&d, &host, &m, &g, &run, &arena, &spec, e);
}

/* A layer's attention on the CPU between the products of the target's unit. */
static int64_t attention_ns(int32_t rows, int32_t context)
{
    const struct roof_unit *u = device_unit(&d.processor[0], "qnn", NULL);
    struct explain_step x;
    struct err e = {0};
    struct ops_step s = {.b1 = m.layers,
                         .rows = rows,
                         .context = context,
                         .weights = u->weights,
                         .head = u->weights,
                         .activation_bytes = u->activation_bytes,
                         .kv_bytes = u->kv_bytes};
    CHECK_EQ(explain_step(&d, u, explain_attention(&d, 2, u), &m, &s, &arena, &x, &e), ERR_OK);
    for (int32_t i = 0; i < x.n; i++)
        if (x.row[i].op.kind == OP_ATTENTION)
            return x.row[i].time.ns;
    return -1;
}

/* Layers [b0, all) and the head at head_rows, by a processor's unit: what explain says. */
static int64_t explained(int32_t processor, const char *backend, int32_t b0, int32_t rows,
                         int32_t context, int32_t head_rows)
{
    const struct roof_unit *u = device_unit(&d.processor[processor], backend, NULL);
    struct explain_step x;
    struct err e = {0};
    struct ops_step s = {.b0 = b0,
                         .b1 = m.layers,
                         .rows = rows,
                         .context = context,
                         .head_rows = head_rows,
                         .weights = u->weights,
                         .head = u->weights,
                         .activation_bytes = u->activation_bytes,
                         .kv_bytes = u->kv_bytes};
    CHECK_EQ(explain_step(&d, u, NULL, &m, &s, &arena, &x, &e), ERR_OK);
    return x.ns;
}

static void roles_have_processors(void)
{
    struct err e = {0};
    open_all(NULL, 0);
    CHECK_EQ(make(NULL, NULL, LAYOUT_ONE, &e), ERR_OK);
    CHECK_STR(spec.processor[spec.role[0]].name, "npu");
    CHECK_STR(spec.processor[spec.role[1]].name, "storage");
    CHECK_STR(spec.processor[spec.role[2]].name, "cpu");
    CHECK_EQ(spec.role[3], spec.role[0]); /* decode is the target's */
    CHECK_EQ(spec.dynamic.n_widths, 0);   /* an NPU has static graphs only */
    int64_t base = spec.base_bytes;
    CHECK_EQ(base, 7 + m.kv_f16_bytes * 1024);
    CHECK_EQ(make("decode=cpu draft=npu", NULL, LAYOUT_ONE, &e), ERR_OK);
    CHECK_STR(spec.processor[spec.role[3]].name, "cpu");
    CHECK_EQ(spec.role[2], spec.role[0]);
    CHECK(spec.dynamic.n_widths > 10);
    CHECK(spec.base_bytes > base + m.weight_bytes / 4); /* a second copy of the weights */
    CHECK_EQ(make("decode=tpu", NULL, LAYOUT_ONE, &e), ERR_SCHEMA);
    arena_fini(&arena);
}

/* One row and 32, empty and full: the sum of the operators. */
static void dynamic_steps_are_what_explain_says(void)
{
    static const int32_t rows[] = {1, 8, 32, 48}, contexts[] = {0, 1024, 512};
    const struct cost_model *model;
    struct err e = {0};
    open_all(NULL, 0);
    CHECK_EQ(make("decode=cpu", NULL, LAYOUT_ONE, &e), ERR_OK);
    CHECK_EQ(blocks_cost_create(&spec, &arena, &model, &e), ERR_OK);
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 3; k++) {
            struct job job = {.id = 1, .kind = JOB_FORWARD, .role = 3};
            struct engine_state state = {0};
            struct cost cost;
            job.forward = (struct job_forward){.b1 = 2,
                                               .width = rows[i],
                                               .n = rows[i],
                                               .pos = contexts[k],
                                               .slot_in = -1,
                                               .slot_out = -1,
                                               .want = WANT_ARGMAX};
            CHECK_EQ(model->ops->job(model, &job, &state, NULL, &cost, &e), ERR_OK);
            int64_t want = explained(2, NULL, 0, rows[i], contexts[k], rows[i]);
            CHECK(llabs(cost.alone_ns - want) <= 3); /* rounded in parts */
            state.clock_permille = 500;
            struct cost slow;
            CHECK_EQ(model->ops->job(model, &job, &state, NULL, &slow, &e), ERR_OK);
            CHECK_EQ(slow.alone_ns, 2 * cost.alone_ns);
        }
    arena_fini(&arena);
}

static void eagle_is_a_layer_and_the_head(void)
{
    struct err e = {0};
    open_all(NULL, 0);
    CHECK_EQ(make(NULL, "suffix", LAYOUT_ONE, &e), ERR_OK);
    int64_t base = spec.base_bytes;
    CHECK_EQ(spec.draft[0].knode_ns, 5000); /* the host's device file */
    CHECK_EQ(make(NULL, "parametric", LAYOUT_ONE, &e), ERR_OK);
    CHECK_EQ(spec.draft[0].knode_ns, 1000 * explained(2, NULL, m.layers - 1, 1, 1024, 1));
    CHECK(spec.base_bytes > base + 100000000); /* the head's weights */
    CHECK_EQ(make("draft=npu", "parametric", LAYOUT_ONE, &e), ERR_OK);
    CHECK_EQ(spec.draft[0].knode_ns, 1000 * explained(0, "qnn", m.layers - 1, 1, 1024, 1));
    arena_fini(&arena);
}

static void powers_go_by_phase(void)
{
    static const char *const set[] = {
        "device.processors.npu.power={active: 9 W, idle: 1 W, prefill: 5 W, decode: 4 W}"};
    struct err e = {0};
    open_all(set, 1);
    CHECK_EQ(make("decode=cpu", NULL, LAYOUT_ONE, &e), ERR_OK);
    for (int g = 0; g < 4; g++)
        CHECK_EQ(spec.graph[g].active_mw, g % 2 ? 4000 : 5000);
    CHECK_EQ(spec.processor[spec.role[0]].idle_mw, 1000);
    CHECK_EQ(spec.dynamic.active_mw, -1); /* the CPU's are null */
    CHECK_EQ(spec.processor[spec.role[1]].active_mw, -1);
    arena_fini(&arena);
}

static void layouts_cost_their_crossings_and_attention(void)
{
    struct err e = {0};
    open_all(NULL, 0);
    CHECK_EQ(make(NULL, NULL, LAYOUT_ONE, &e), ERR_OK);
    int64_t one = spec.graph[1].compute_ns[0] + spec.graph[1].compute_ns[1];
    int64_t wide = spec.graph[0].compute_ns[0];
    CHECK_EQ(make(NULL, NULL, LAYOUT_ALTERNATING, &e), ERR_OK);
    /* crossings of 212 us each, and attention, which no rate of the NPU's products holds */
    CHECK_EQ(spec.graph[1].compute_ns[0] + spec.graph[1].compute_ns[1] - one,
             m.layers * (2 * INT64_C(212000) + attention_ns(32, 1024)));
    int64_t alternating = spec.graph[0].compute_ns[0];
    CHECK(alternating > wide);
    CHECK_EQ(make(NULL, NULL, LAYOUT_PAIRS, &e), ERR_OK);
    CHECK(spec.graph[0].compute_ns[0] < alternating); /* the other chunk fills the waits */
    arena_fini(&arena);
}

static void attention_elsewhere_without_numbers_is_unknown(void)
{
    static const char *const set[] = {"device.processors.cpu.operators.0.kernels.1.peak=null"};
    struct err e = {0};
    open_all(set, 1);
    CHECK_EQ(attention_ns(32, 1024), -1);
    CHECK_EQ(make(NULL, NULL, LAYOUT_ALTERNATING, &e), ERR_UNSUPPORTED);
    CHECK_EQ(make("target=cpu", NULL, LAYOUT_ONE, &e), ERR_SCHEMA); /* of backend qnn */
    CHECK(explained(2, NULL, 0, 32, 1024, 32) > 0);                 /* its own steps hold it */
    arena_fini(&arena);
}

/* A nanosecond a byte, and nothing else takes as long: half of 28 layers, the products' weights at
 * half a byte (1536 wide, 256 of keys and of values, 8960 between) and the biases of queries, keys
 * and values at four. */
static void a_pass_alone_gets_what_the_dram_gives(void)
{
    static const char *const set[] = {"device.bus.dram=1 GB/s"};
    struct err e = {0};
    open_all(set, 1);
    CHECK_EQ(make(NULL, NULL, LAYOUT_ONE, &e), ERR_OK);
    CHECK_EQ(spec.dram_bytes_per_s, 1000000000);
    int64_t weights = INT64_C(1536) * (2 * 1536 + 2 * 256 + 3 * 8960);
    int64_t bytes = 14 * (weights / 2 + 4 * (1536 + 2 * 256));
    for (int g = 0; g < 2; g++)
        for (int b = 0; b < 2; b++) {
            CHECK_EQ(spec.graph[g].compute_bytes[b], bytes);
            CHECK_EQ(spec.graph[g].compute_ns[b], bytes);
        }
    arena_fini(&arena);
}

static const struct unit_test tests[] = {
    {"roles_have_processors", roles_have_processors},
    {"dynamic_steps_are_what_explain_says", dynamic_steps_are_what_explain_says},
    {"eagle_is_a_layer_and_the_head", eagle_is_a_layer_and_the_head},
    {"powers_go_by_phase", powers_go_by_phase},
    {"layouts_cost_their_crossings_and_attention", layouts_cost_their_crossings_and_attention},
    {"attention_elsewhere_without_numbers_is_unknown",
     attention_elsewhere_without_numbers_is_unknown},
    {"a_pass_alone_gets_what_the_dram_gives", a_pass_alone_gets_what_the_dram_gives},
    {NULL, NULL},
};

UNIT_MAIN("phone", tests)
