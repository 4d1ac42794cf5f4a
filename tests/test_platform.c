/* What processors share: the bus against published pairs and against the fluid model, storage,
 * static graphs, heat. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hwmodels/bus.h"
#include "hwmodels/explain.h"
#include "hwmodels/graphs.h"
#include "hwmodels/thermal.h"
#include "sim/core/fluid.h"
#include "tests/unit.h"

#define GBPS 1e9

static void load(const char *path, const char *set, struct arena *a, struct device *d)
{
    struct err e = {0};
    CHECK_EQ(device_load(path, &set, set ? 1 : 0, a, d, &e), ERR_OK);
    CHECK_STR(e.msg, "");
}

static double pct(double got, double want)
{
    return 100 * fabs(got / want - 1);
}

/* ---- bus ------------------------------------------------------------------------------------ */

/* Alone and together, 8 Gen 3: HeteroInfer (2501.14794) 3.3 and 5.4, PowerInfer-2 (2406.06282). The
 * device file's shared total is HeteroInfer's; PowerInfer-2's pair is not in it. */
static void published_pairs_come_out(void)
{
    static const struct {
        const char *one, *two;
        double alone_one, alone_two, together, tolerance_pct;
    } pair[] = {
        {"gpu", "npu-qnn", 43.3, 42.5, 59.75, 1}, /* 59.5-60 */
        {"cpu", "npu-dma", 43.9, 56.0, 59.6, 1},  /* PowerInfer-2 */
    };
    struct arena a;
    struct device d;
    arena_init(&a);
    load("hwmodels/devices/redmi-k70-pro.yaml", NULL, &a, &d);
    for (size_t i = 0; i < sizeof pair / sizeof *pair; i++) {
        struct bus_flow f[2] = {{platform_path(&d.platform, pair[i].one), -1, 0},
                                {platform_path(&d.platform, pair[i].two), -1, 0}};
        if (!CHECK(f[0].path >= 0 && f[1].path >= 0))
            return;
        bus_rates(&d.platform.bus, f, 2);
        double sum = f[0].bytes_per_s + f[1].bytes_per_s;
        CHECK(pct(sum, pair[i].together * GBPS) < pair[i].tolerance_pct);
        bus_rates(&d.platform.bus, &f[0], 1);
        CHECK(pct(f[0].bytes_per_s, pair[i].alone_one * GBPS) < 0.01);
        bus_rates(&d.platform.bus, &f[1], 1);
        CHECK(pct(f[1].bytes_per_s, pair[i].alone_two * GBPS) < 6); /* DMA: 56, 59 and 60 */
        /* two together are 1.36-1.4 of one (1.35 for the pair with DMA: its one is larger) */
        CHECK(sum / (pair[i].alone_one * GBPS) > 1.35 && sum / (pair[i].alone_one * GBPS) < 1.4);
    }
    arena_fini(&a);
}

/* Sereno (OSDI'26): the NPU keeps its speed, what runs beside it does not. */
static void a_path_of_higher_priority_is_served_first(void)
{
    struct arena a;
    struct device d;
    arena_init(&a);
    load("hwmodels/devices/redmi-k70-pro.yaml", "device.bus.paths.npu-qnn.priority=1", &a, &d);
    struct bus_flow f[2] = {{platform_path(&d.platform, "gpu"), -1, 0},
                            {platform_path(&d.platform, "npu-qnn"), -1, 0}};
    bus_rates(&d.platform.bus, f, 2);
    CHECK_NEAR(f[1].bytes_per_s, 42.5 * GBPS, 1);
    CHECK_NEAR(f[0].bytes_per_s, 17.0 * GBPS, 1);
    d.platform.bus.path[f[1].path].priority = 0;
    bus_rates(&d.platform.bus, f, 2);
    CHECK_NEAR(f[0].bytes_per_s, 29.75 * GBPS, 1);
    arena_fini(&a);
}

static void flows_share_paths_and_demands_limit(void)
{
    struct platform_path path[2] = {{"a", {30, 30, 30, NULL}, 0, NULL},
                                    {"b", {100, 100, 100, NULL}, 0, NULL}};
    struct platform_bus bus = {.dram_bytes_per_s = {90, 90, 90, NULL},
                               .shared_bytes_per_s = {80, 80, 80, NULL},
                               .n_paths = 2,
                               .path = path};
    struct bus_flow f[4] = {{0, -1, 0}, {0, -1, 0}, {1, -1, 0}, {-1, 5, 0}};
    bus_rates(&bus, f, 4);
    CHECK_NEAR(f[0].bytes_per_s, 15, 1e-9);
    CHECK_NEAR(f[1].bytes_per_s, 15, 1e-9);
    CHECK_NEAR(f[2].bytes_per_s, 45, 1e-9);
    CHECK_NEAR(f[3].bytes_per_s, 5, 1e-9);
    bus_rates(&bus, &f[2], 1);
    CHECK_NEAR(f[2].bytes_per_s, 90, 1e-9); /* alone: the larger total */
    f[2].demand_bytes_per_s = 0;
    bus_rates(&bus, f, 4);
    CHECK_NEAR(f[2].bytes_per_s, 0, 0);
    CHECK_NEAR(f[0].bytes_per_s, 15, 1e-9);
    CHECK_EQ(bus_total(&bus, 1), 90);
    CHECK_EQ(bus_total(&bus, 2), 80);
}

static void an_unknown_total_is_unknown_for_several(void)
{
    struct platform_path path[1] = {{"a", {30, 30, 30, NULL}, 0, NULL}};
    struct platform_bus bus = {.dram_bytes_per_s = RANGED_UNKNOWN,
                               .shared_bytes_per_s = RANGED_UNKNOWN,
                               .n_paths = 1,
                               .path = path};
    struct bus_flow f[2] = {{0, -1, 0}, {-1, 5, 0}};
    bus_rates(&bus, f, 2);
    CHECK_NEAR(f[0].bytes_per_s, -1, 0);
    CHECK_NEAR(f[1].bytes_per_s, -1, 0);
    bus_rates(&bus, f, 1);
    CHECK_NEAR(f[0].bytes_per_s, 30, 0);
    f[0].demand_bytes_per_s = 7;
    bus_rates(&bus, f, 1);
    CHECK_NEAR(f[0].bytes_per_s, 7, 0);
}

/* Without priorities and shared paths the rates are the event simulator's. */
static void rates_are_those_of_the_fluid_bus(void)
{
    static const int64_t cap[5] = {7, 31, 11, 2, 19}; /* GB/s */
    struct platform_path path[5];
    struct arena a;
    for (int64_t total = 5; total < 80; total += 13) {
        struct platform_bus bus = {.dram_bytes_per_s = {total * 1000000000, 0, 0, NULL},
                                   .shared_bytes_per_s = RANGED_UNKNOWN,
                                   .n_paths = 5,
                                   .path = path};
        struct bus_flow f[5];
        struct fluid fluid;
        uint64_t id[5];
        arena_init(&a);
        CHECK_EQ(fluid_init(&fluid, &a, 5, total * 1000000000), ERR_OK);
        for (int32_t i = 0; i < 5; i++) {
            path[i] = (struct platform_path){"x", {cap[i] * 1000000000, 0, 0, NULL}, 0, NULL};
            f[i] = (struct bus_flow){i, -1, 0};
            id[i] = fluid_start(&fluid, 0, cap[i] * 1000000, 1000000, 1, 0);
        }
        bus_rates(&bus, f, 5);
        for (int i = 0; i < 5; i++)
            CHECK_NEAR(f[i].bytes_per_s, fluid_rate(&fluid, id[i]), 1);
        arena_fini(&a);
    }
}

/* ---- storage and static graphs -------------------------------------------------------------- */

static void storage_between_two_sizes_is_linear(void)
{
    struct platform_block block[2] = {{4000, {1000, 0, 0, NULL}}, {12000, {3000, 0, 0, NULL}}};
    struct platform_storage s = {.n_blocks = 2, .block = block};
    bool guess = false;
    CHECK_EQ(platform_storage_rate(&s, 4000, &guess), 1000);
    CHECK_EQ(platform_storage_rate(&s, 6000, &guess), 1500);
    CHECK_EQ(platform_storage_rate(&s, 12000, &guess), 3000);
    CHECK(!guess);
    CHECK_EQ(platform_storage_rate(&s, 12001, &guess), 3000);
    CHECK(guess);
    guess = false;
    CHECK_EQ(platform_storage_rate(&s, 2000, &guess), 1000);
    CHECK(guess);
    block[1].bytes_per_s.value = -1;
    CHECK_EQ(platform_storage_rate(&s, 6000, &guess), -1);
    s.n_blocks = 0;
    CHECK_EQ(platform_storage_rate(&s, 6000, &guess), -1);
}

static void init_graphs(struct model_desc *m, bool shared, struct graphs *g)
{
    static const int32_t width[2] = {256, 32};
    struct model_type w8;
    struct err e = {0};
    CHECK_EQ(model_load("hwmodels/models/qwen2.5-1.5b.yaml", m, &e), ERR_OK);
    CHECK_EQ(model_type_find("W8", &w8, &e), ERR_OK);
    CHECK_EQ(graphs_init(m, &w8, 3, width, 2, shared, g, &e), ERR_OK);
    CHECK_STR(e.msg, "");
    g->own_bytes[0] = 1000;
    g->own_bytes[1] = 10;
}

static void blocks_hold_all_weights_once(void)
{
    struct model_desc m;
    struct graphs g;
    struct model_type w8;
    init_graphs(&m, false, &g);
    model_type_find("W8", &w8, NULL);
    CHECK_EQ(g.first_layer[1], 10);
    CHECK_EQ(g.first_layer[2], 19);
    CHECK_EQ(g.first_layer[3], 28);
    int64_t all = m.layers * model_layer_bytes(&m, &w8) + model_outer_bytes(&m, &w8);
    CHECK_EQ(g.weight_bytes[0] + g.weight_bytes[1] + g.weight_bytes[2], all);
    CHECK_EQ(g.weight_bytes[0],
             10 * model_layer_bytes(&m, &w8)); /* tied: the table is the head's */
    CHECK_EQ(model_load("hwmodels/models/tinyllama-1.1b.yaml", &m, NULL), ERR_OK);
    CHECK_EQ(graphs_init(&m, &w8, 2, &(int32_t){9}, 1, false, &g, NULL), ERR_OK);
    CHECK_EQ(g.weight_bytes[0], 11 * model_layer_bytes(&m, &w8) + 32000 * 2048); /* a table each */
    CHECK_EQ(g.weight_bytes[1] - g.weight_bytes[0], 2048 * 4);
}

static void loads_and_passes_have_times(void)
{
    struct arena a;
    struct device d;
    struct model_desc m;
    struct graphs g;
    struct err e = {0};
    arena_init(&a);
    init_graphs(&m, false, &g);
    load("hwmodels/devices/redmi-k70-pro.yaml", NULL, &a, &d);
    graphs_load(&d.platform, 512000, 0, &g);
    CHECK(!g.extrapolated);
    CHECK_EQ(g.load_ns[1][1], (g.weight_bytes[1] + 10 + 2) / 4); /* 4 GB/s: 4 bytes per ns */
    CHECK_EQ(g.attach_ns[0][1], 250);
    graphs_load(&d.platform, 4000, 0, &g);
    CHECK_EQ(g.load_ns[1][1], (int64_t)((double)(g.weight_bytes[1] + 10) / 0.45 + 0.5));
    d.platform.bus.dram_bytes_per_s.value = 100000000; /* the bus is the slower one */
    graphs_load(&d.platform, 4000, 0, &g);
    CHECK_EQ(g.load_ns[0][1], (g.weight_bytes[1] + 1000) * 10);
    const struct roof_unit *u = device_unit(&d.processor[0], "qnn", NULL);
    CHECK_EQ(graphs_compute(&d, u, NULL, &m, 512, &a, &g, &e), ERR_OK);
    CHECK_NEAR((double)g.compute_ns[1][0], 10.0 * (double)g.compute_bytes[1][0], 100);
    d.platform.bus.dram_bytes_per_s.value = 61900000000; /* as the file has it */
    CHECK_EQ(graphs_compute(&d, u, NULL, &m, 512, &a, &g, &e), ERR_OK);
    CHECK(g.compute_ns[0][0] > g.compute_ns[1][0] && g.compute_ns[1][0] > 0);
    CHECK_EQ(g.compute_ns[0][0] * 9, g.compute_ns[0][1] * 10); /* 10 layers and 9, no head */
    CHECK_EQ(g.compute_ns[0][2], g.compute_ns[0][1]);
    /* blocks and head are the whole step, at one row of the head */
    struct ops_step s;
    struct explain_step x;
    ops_whole(&m, 32, 512, &s, &e);
    s.weights = s.head = u->weights;
    s.head_rows = 1;
    CHECK_EQ(explain_step(&d, u, NULL, &m, &s, &a, &x, &e), ERR_OK);
    int64_t sum = g.head_ns + g.head_row_ns;
    for (int b = 0; b < 3; b++)
        sum += g.compute_ns[1][b];
    CHECK_NEAR((double)sum, (double)x.ns, 2);
    /* attention on a processor that nothing is known of */
    CHECK_EQ(graphs_compute(&d, u, device_unit(&d.processor[2], NULL, NULL), &m, 512, &a, &g, &e),
             ERR_OK);
    CHECK_EQ(g.compute_ns[0][0], -1);
    load("hwmodels/devices/oneplus-13.yaml", NULL, &a, &d);
    graphs_load(&d.platform, 512000, 0, &g);
    CHECK_EQ(g.load_ns[0][0], -1);
    arena_fini(&a);
}

/* A phone's rooflines as the cost model of static graphs. */
static void graphs_become_a_cost_model(void)
{
    struct arena a;
    struct device d;
    struct model_desc m;
    struct graphs g;
    struct blocks_spec spec = {.name = "k70", .n_processors = 1, .processor = {{"npu", -1, -1}}};
    const struct cost_model *model = NULL;
    struct err e = {0};
    arena_init(&a);
    init_graphs(&m, true, &g);
    load("hwmodels/devices/redmi-k70-pro.yaml", NULL, &a, &d);
    CHECK_EQ(graphs_spec(&d, &g, &spec, &e), ERR_UNSUPPORTED); /* not computed yet */
    CHECK_HAS(e.msg, "the head");
    const struct roof_unit *u = device_unit(&d.processor[0], "qnn", NULL);
    CHECK_EQ(graphs_compute(&d, u, NULL, &m, 0, &a, &g, &e), ERR_OK);
    e = (struct err){0};
    CHECK_EQ(graphs_spec(&d, &g, &spec, &e), ERR_UNSUPPORTED);
    CHECK_HAS(e.msg, "a load of block 0 at width 256");
    graphs_load(&d.platform, 512000, 0, &g);
    e = (struct err){0};
    CHECK_EQ(graphs_spec(&d, &g, &spec, &e), ERR_OK);
    CHECK_EQ(spec.graph[1].weights, 1);
    CHECK_EQ(spec.graph[1].attach_ns[2], 3); /* 10 bytes at 4 GB/s */
    CHECK_EQ(spec.graph[0].own_bytes[0], 1000);
    CHECK_EQ(spec.address_bytes, INT64_C(4) << 30);
    CHECK_EQ(spec.dram_bytes_per_s, 61900000000);
    CHECK_EQ(blocks_cost_create(&spec, &a, &model, &e), ERR_OK);
    CHECK_STR(e.msg, "");
    if (model) {
        struct job job = {.kind = JOB_LOAD};
        struct cost cost;
        job.graph = (struct job_graph){2, 1};
        struct engine_state state = {0};
        CHECK_EQ(model->ops->job(model, &job, &state, NULL, &cost, &e), ERR_OK);
        CHECK_EQ(cost.alone_ns, g.load_ns[1][1]);
        CHECK_EQ(cost.bytes, g.weight_bytes[1] + 10);
    }
    arena_fini(&a);
}

static void graphs_that_cannot_be_are_refused(void)
{
    static const struct {
        int32_t blocks, graphs, width;
        const char *says;
    } t[] = {{0, 1, 1, "0 blocks"},
             {29, 1, 1, "28 layers"},
             {2, 0, 1, "0 graphs"},
             {2, GRAPHS_MAX + 1, 1, "9 graphs"},
             {2, 1, 0, "width 0"}};
    struct model_desc m;
    struct graphs g;
    struct model_type w8;
    model_load("hwmodels/models/qwen2.5-1.5b.yaml", &m, NULL);
    model_type_find("W8", &w8, NULL);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct err e = {0};
        CHECK_EQ(graphs_init(&m, &w8, t[i].blocks, &t[i].width, t[i].graphs, false, &g, &e),
                 ERR_RANGE);
        CHECK_HAS(e.msg, t[i].says);
    }
}

/* ---- heat ----------------------------------------------------------------------------------- */

/* 5 C/W and 20 J/C: 100 s; 25 C; slowed above 42 C until below 40 C. */
static struct platform_thermal phone(void)
{
    return (struct platform_thermal){{5000, 0, 0, NULL},
                                     {20000, 0, 0, NULL},
                                     {25000, 0, 0, NULL},
                                     {42000, 0, 0, NULL},
                                     {40000, 0, 0, NULL},
                                     {500, 0, 0, NULL},
                                     NULL};
}

#define SECOND INT64_C(1000000000)

static void warming_is_exponential(void)
{
    struct platform_thermal t = phone();
    struct cost_heat s;
    t.hot_mc.value = 90000;
    thermal_init(&t, &s);
    thermal_advance(&t, &s, 4000, 100 * SECOND, NULL); /* towards 25 + 20 */
    CHECK_NEAR(s.mc, 25000 + 20000 * (1 - exp(-1)), 1e-3);
    thermal_advance(&t, &s, 0, 230 * SECOND, NULL);
    CHECK_NEAR(s.mc, 25000 + 20000 * (1 - exp(-1)) * exp(-2.3), 1e-3);
    /* in one piece or in many */
    struct cost_heat pieces;
    thermal_init(&t, &s);
    thermal_init(&t, &pieces);
    thermal_advance(&t, &s, 3000, 70 * SECOND, NULL);
    for (int i = 0; i < 70; i++)
        thermal_advance(&t, &pieces, 3000, SECOND, NULL);
    CHECK_NEAR(s.mc, pieces.mc, 1e-6);
    thermal_advance(&t, &s, 3000, 1000000 * SECOND, NULL);
    CHECK_NEAR(s.mc, 40000, 1e-6);
}

static void a_governor_has_hysteresis(void)
{
    struct platform_thermal t = phone();
    struct cost_heat s;
    int64_t slow_ns = 0;
    thermal_init(&t, &s);
    /* towards 45 C: 42 C after 100 ln(20 / 3) = 189.7 s */
    thermal_advance(&t, &s, 4000, 189 * SECOND, &slow_ns);
    CHECK(!s.slow && slow_ns == 0);
    CHECK_EQ(thermal_speed(&t, &s), 1000);
    thermal_advance(&t, &s, 4000, 2 * SECOND, &slow_ns);
    CHECK(s.slow);
    CHECK_EQ(thermal_speed(&t, &s), 500);
    /* towards 41 C: below hot, not below cool: as it was, for ever */
    thermal_advance(&t, &s, 3200, 100000 * SECOND, &slow_ns);
    CHECK(s.slow);
    CHECK(slow_ns > 100000 * SECOND && slow_ns < 100003 * SECOND);
    /* towards 35 C: 40 C after 100 ln(6 / 5) = 18.2 s */
    thermal_advance(&t, &s, 2000, 18 * SECOND, NULL);
    CHECK(s.slow);
    thermal_advance(&t, &s, 2000, SECOND, NULL);
    CHECK(!s.slow);
    thermal_advance(&t, &s, 3200, 100000 * SECOND, NULL); /* 41 C again, from below */
    CHECK(!s.slow);
}

static void without_a_number_there_is_no_heat(void)
{
    struct platform_thermal t = phone();
    CHECK(thermal_known(&t));
    struct ranged *each[] = {&t.mc_per_w, &t.mj_per_c, &t.ambient_mc,
                             &t.hot_mc,   &t.cool_mc,  &t.slow_permille};
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        int64_t was = each[i]->value;
        each[i]->value = -1;
        CHECK(!thermal_known(&t));
        each[i]->value = was;
    }
}

static const struct unit_test tests[] = {
    {"published_pairs_come_out", published_pairs_come_out},
    {"a_path_of_higher_priority_is_served_first", a_path_of_higher_priority_is_served_first},
    {"flows_share_paths_and_demands_limit", flows_share_paths_and_demands_limit},
    {"an_unknown_total_is_unknown_for_several", an_unknown_total_is_unknown_for_several},
    {"rates_are_those_of_the_fluid_bus", rates_are_those_of_the_fluid_bus},
    {"storage_between_two_sizes_is_linear", storage_between_two_sizes_is_linear},
    {"blocks_hold_all_weights_once", blocks_hold_all_weights_once},
    {"loads_and_passes_have_times", loads_and_passes_have_times},
    {"graphs_become_a_cost_model", graphs_become_a_cost_model},
    {"graphs_that_cannot_be_are_refused", graphs_that_cannot_be_are_refused},
    {"warming_is_exponential", warming_is_exponential},
    {"a_governor_has_hysteresis", a_governor_has_hysteresis},
    {"without_a_number_there_is_no_heat", without_a_number_there_is_no_heat},
    {NULL, NULL},
};

UNIT_MAIN("platform", tests)
