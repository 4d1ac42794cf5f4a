/* Rooflines, and device files that hold operators. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hwmodels/belief.h"
#include "hwmodels/explain.h"
#include "hwmodels/layout.h"
#include "hwmodels/steps.h"
#include "sim/base/io.h"
#include "tests/scratch.h"
#include "tests/replaced.h"
#include "tests/unit.h"

#define PHONES 3
static const char *const phone[PHONES] = {"hwmodels/devices/redmi-k60-pro.yaml",
                                          "hwmodels/devices/redmi-k70-pro.yaml",
                                          "hwmodels/devices/oneplus-13.yaml"};

/* 1 us launch, 1 TFLOPS, 10 GB/s: a product of [m, 1000] x [1000, 2000] has 4 m MFLOP = 4 m us and,
 * in W8, 2 MB = 200 us. */
static struct roof_kernel plain(void)
{
    struct roof_kernel k = {.op = ROOF_MATMUL, .rows_from = 1, .rows_to = 4096, .tile = 1};
    k.overlap = true;
    k.path = -1;
    k.launch_ns = (struct ranged){1000, 1000, 1000, "launch"};
    k.flops_per_s = (struct ranged){1000000000000, 1, 1, "peak"};
    k.bytes_per_s = (struct ranged){10000000000, 1, 1, "bandwidth"};
    k.copy_bytes_per_s = k.order_permille = RANGED_UNKNOWN;
    return k;
}

static struct op product(int64_t m, int64_t n, int64_t k)
{
    return (struct op){.name = "x",
                       .kind = OP_MATMUL,
                       .m = m,
                       .n = n,
                       .k = k,
                       .flops = 2 * m * n * k,
                       .weight_bytes = n * k,
                       .input_bytes = m * k,
                       .output_bytes = m * n};
}

static struct roof_time ask(const struct roof_kernel *k, struct op op, int64_t cap)
{
    struct ranged path = {cap, cap, cap, "path"};
    struct roof_time t;
    roof_kernel_time(k, &op, &path, &t);
    return t;
}

/* The ridge is at 50 rows: 49 are bound by memory, 51 by compute. */
static void the_larger_of_the_two_roofs_binds(void)
{
    struct roof_kernel k = plain();
    struct roof_time t = ask(&k, product(49, 2000, 1000), -1);
    CHECK(t.known && !t.extrapolated);
    CHECK_EQ(t.ns, 201000);
    CHECK_EQ(t.limit, ROOF_MEMORY);
    CHECK_EQ(t.n_sources, 2);
    CHECK_STR(t.source[1], "bandwidth");
    t = ask(&k, product(51, 2000, 1000), -1);
    CHECK_EQ(t.ns, 205000);
    CHECK_EQ(t.limit, ROOF_COMPUTE);
    CHECK_STR(t.source[1], "peak");
    k.overlap = false;
    t = ask(&k, product(51, 2000, 1000), -1);
    CHECK_EQ(t.ns, 1000 + 204000 + 200000);
    CHECK_EQ(t.n_sources, 3);
    k.launch_ns.value = 500000;
    CHECK_EQ(ask(&k, product(1, 2000, 1000), -1).limit, ROOF_LAUNCH);
}

/* 204 us of work hide a launch of 203 and not one of 205. */
static void work_hides_a_launch_that_is_shorter(void)
{
    struct roof_kernel k = plain();
    k.hidden = true;
    k.launch_ns.value = 203000;
    struct roof_time t = ask(&k, product(51, 2000, 1000), -1);
    CHECK_EQ(t.ns, 204000);
    CHECK_EQ(t.limit, ROOF_COMPUTE);
    CHECK_EQ(t.n_sources, 1);
    CHECK_STR(t.source[0], "peak");
    k.launch_ns.value = 205000;
    k.copy_bytes_per_s = (struct ranged){1000000000, 1, 1, "copy"};
    t = ask(&k, product(51, 2000, 1000), -1);
    CHECK_EQ(t.ns, 205000 + 51 * 3000);
    CHECK_EQ(t.limit, ROOF_LAUNCH);
    CHECK_EQ(t.n_sources, 2);
    CHECK_STR(t.source[0], "launch");
    CHECK_STR(t.source[1], "copy");
}

static void a_path_caps_the_bandwidth(void)
{
    struct roof_kernel k = plain();
    CHECK_EQ(ask(&k, product(1, 2000, 1000), 5000000000).ns, 401000);
    CHECK_STR(ask(&k, product(1, 2000, 1000), 5000000000).source[1], "path");
    CHECK_EQ(ask(&k, product(1, 2000, 1000), 20000000000).ns, 201000);
    CHECK_STR(ask(&k, product(1, 2000, 1000), 20000000000).source[1], "bandwidth");
    k.bytes_per_s = RANGED_UNKNOWN; /* then the cap alone */
    CHECK_EQ(ask(&k, product(1, 2000, 1000), 5000000000).ns, 401000);
    CHECK(!ask(&k, product(1, 2000, 1000), -1).known);
}

static void what_is_not_known_makes_the_time_unknown(void)
{
    struct roof_kernel k = plain();
    k.launch_ns = RANGED_UNKNOWN;
    struct roof_time t = ask(&k, product(1, 2000, 1000), -1);
    CHECK(!t.known);
    CHECK_EQ(t.ns, -1);
    CHECK_EQ(t.limit, ROOF_UNKNOWN);
    k = plain();
    k.flops_per_s = RANGED_UNKNOWN;
    CHECK(!ask(&k, product(1, 2000, 1000), -1).known);
}

/* A dimension below the tile costs as the tile; one above is rounded up. */
static void dimensions_are_rounded_up_to_the_tile(void)
{
    struct roof_kernel k = plain();
    k.tile = 32;
    int64_t full = ask(&k, product(32, 4096, 4096), -1).ns;
    CHECK_EQ(ask(&k, product(1, 4096, 4096), -1).compute_ns,
             ask(&k, product(32, 4096, 4096), -1).compute_ns);
    CHECK_EQ(ask(&k, product(31, 4096, 4096), -1).ns, full);
    CHECK(ask(&k, product(33, 4096, 4096), -1).compute_ns >
          1.9 * ask(&k, product(32, 4096, 4096), -1).compute_ns);
    CHECK_NEAR(ask(&k, product(64, 1, 4096), -1).compute_ns,
               ask(&k, product(64, 32, 4096), -1).compute_ns, 0);
    CHECK_NEAR(ask(&k, product(64, 4096, 5), -1).compute_ns,
               ask(&k, product(64, 4096, 32), -1).compute_ns, 0);
    /* memory is not rounded */
    CHECK_NEAR(ask(&k, product(64, 1, 4096), -1).memory_ns, 409.6, 1e-9);
}

static void a_small_stationary_operand_costs_the_order(void)
{
    struct roof_kernel k = plain();
    k.order_permille = (struct ranged){6000, 6000, 6000, "order"};
    CHECK_STR(ask(&k, product(100, 1000, 2000), -1).source[2], "order");
    CHECK_EQ(ask(&k, product(100, 2000, 1000), -1).n_sources, 2);
    CHECK_EQ(ask(&k, product(100, 1000, 2000), -1).ns, 1000 + 6 * 400000);
    CHECK_EQ(ask(&k, product(100, 2000, 1000), -1).ns, 1000 + 400000);
    CHECK_EQ(ask(&k, product(100, 1000, 1000), -1).ns, 1000 + 200000);
}

static void copies_cost_their_bytes(void)
{
    struct roof_kernel k = plain();
    k.copy_bytes_per_s = (struct ranged){1000000000, 1, 1, "copy"};
    struct roof_time t = ask(&k, product(50, 2000, 1000), -1);
    CHECK_EQ(t.ns, 1000 + 200000 + 150000);
    CHECK_STR(t.source[t.n_sources - 1], "copy");
    k.copy_bytes_per_s.value = 100000000;
    CHECK_EQ(ask(&k, product(50, 2000, 1000), -1).limit, ROOF_COPY);
}

static void measured_points_come_first(void)
{
    static const struct roof_point point[] = {
        {64, 2048, 2048, 900, "a"}, {64, 4096, 2048, 1700, "b"}, {32, 4096, 4096, 2500, NULL}};
    struct roof_kernel k = plain();
    k.point = point;
    k.n_points = 3;
    struct roof_time t = ask(&k, product(64, 2048, 2048), -1);
    CHECK_EQ(t.ns, 900);
    CHECK_EQ(t.limit, ROOF_MEASURED);
    CHECK_STR(t.source[0], "a");
    CHECK_EQ(ask(&k, product(64, 3072, 2048), -1).limit, ROOF_COMPUTE); /* the roofline's */
    k.launch_ns = RANGED_UNKNOWN; /* no roofline: linear along one axis */
    t = ask(&k, product(64, 3072, 2048), -1);
    CHECK_EQ(t.ns, 1300);
    CHECK(t.known && !t.extrapolated);
    t = ask(&k, product(128, 4096, 2048), -1); /* the nearest, utilisation held */
    CHECK_EQ(t.ns, 3400);
    CHECK(t.extrapolated);
    k.tile = 32;
    CHECK_EQ(ask(&k, product(2, 4096, 4096), -1).ns, 2500);
}

static void a_staircase_is_kernels_by_rows(void)
{
    struct roof_kernel k[2] = {plain(), plain()};
    k[0].rows_to = 4;
    k[1].rows_from = 5;
    struct roof_unit u = {.n_kernels = 2, .kernel = k};
    struct op at = product(4, 1, 1), above = product(5, 1, 1), far = product(5000, 1, 1);
    CHECK(roof_kernel_of(&u, &at) == &k[0]);
    CHECK(roof_kernel_of(&u, &above) == &k[1]);
    CHECK(roof_kernel_of(&u, &far) == NULL);
    struct op other = {.kind = OP_ATTENTION, .m = 1};
    CHECK(roof_kernel_of(&u, &other) == NULL);
}

/* ---- device files --------------------------------------------------------------------------- */

static const char made_up[] =
    "schema: tandem-device-1\n"
    "name: made-up\n"
    "source: made up\n"
    "limits: {rows: 64, context: 1000}\n"
    "bus:\n"
    "  dram: {value: 60 GB/s, low: 58 GB/s, high: 68 GB/s, source: dram's}\n"
    "  shared: 55 GB/s\n"
    "  energy: 60 pJ/B\n"
    "  paths:\n"
    "    - {name: dma, cap: 40 GB/s, priority: 1}\n"
    "    - {name: cpu, cap: {value: null, low: 20 GB/s}}\n"
    "storage: {read: [{block: 4 kB, bandwidth: 1 GB/s}, {block: 12 kB, bandwidth: 3 GB/s}]}\n"
    "memory: {dram: 2 GB, npu_space: 1 GB}\n"
    "sync: [{name: cpu-npu, polling: 5 us, sleeping: 300 us}]\n"
    "thermal: {resistance: 5 C/W, capacity: 20 J/C, ambient: 25 C, hot: 42 C, cool: 40 C,\n"
    "  slow_permille: {value: 500, low: 400}}\n"
    "roles: {target: npu}\n"
    "processors:\n"
    "  - name: npu\n"
    "    kind: npu\n"
    "    threads: 1\n"
    "    power: {active: null, idle: null, prefill: 4 W, decode: {value: 3 W, high: 5 W}}\n"
    "    operators:\n"
    "      - backend: b\n"
    "        datatype: w8\n"
    "        weights: W8\n"
    "        activation_bytes: 1\n"
    "        kernels:\n"
    "          - {operator: matmul, to: 4, launch: 1 us, peak: 1 TFLOPS, path: dma}\n"
    "          - operator: matmul\n"
    "            from: 5\n"
    "            tile: 32\n"
    "            overlap: false\n"
    "            hidden_launch: true\n"
    "            order_permille: {value: 2000, high: 6000, source: order's}\n"
    "            launch: 2 us\n"
    "            peak: {value: 2 TFLOPS, low: 1 TFLOPS, source: peak's}\n"
    "            bandwidth: 10 GB/s\n"
    "            copy: 3 GB/s\n"
    "            points: [{m: 8, n: 2, k: 3, time: 7 us, source: point's}]\n"
    "          - {operator: elementwise, included: true}\n"
    "      - {backend: b, datatype: w4, weights: W4, activation_bytes: 2, kv_bytes: 1,\n"
    "         kernels: [{operator: attention, launch: 3 us, peak: 5 GFLOPS, bandwidth: 1 GB/s}]}\n";

static int parse(const char *text, struct arena *a, struct device *d, struct err *e)
{
    memset(e, 0, sizeof *e);
    return device_parse("d.yaml", text, strlen(text), NULL, 0, a, d, e);
}

static void operators_are_read(void)
{
    struct arena a;
    struct device d;
    struct err e;
    arena_init(&a);
    if (!CHECK_EQ(parse(made_up, &a, &d, &e), ERR_OK)) {
        CHECK_STR(e.msg, "");
        return;
    }
    CHECK(d.operators);
    CHECK_EQ(d.dram_bytes_per_s, 60000000000);
    CHECK_EQ(d.platform.bus.dram_bytes_per_s.high, 68000000000);
    CHECK_STR(d.platform.bus.dram_bytes_per_s.source, "dram's");
    CHECK_EQ(d.platform.bus.pj_per_byte.value, 60);
    CHECK_EQ(d.platform.bus.path[0].priority, 1);
    CHECK_EQ(d.platform.bus.path[1].bytes_per_s.value, -1);
    CHECK_EQ(d.platform.bus.path[1].bytes_per_s.low, 20000000000);
    CHECK_EQ(d.platform.memory.npu_space_bytes.value, 1000000000);
    CHECK_EQ(d.platform.edge[0].sleeping_ns.value, 300000);
    CHECK_EQ(d.platform.thermal.slow_permille.low, 400);
    const struct device_processor *p = &d.processor[0];
    CHECK_EQ(p->decode_mw.high, 5000);
    CHECK_EQ(p->prefill_mw.value, 4000);
    const struct roof_unit *u = device_unit(p, "b", "w4");
    CHECK(u == &p->unit[1]);
    CHECK_EQ(u->kv_bytes, 1);
    CHECK(device_unit(p, NULL, NULL) == &p->unit[0]);
    CHECK(device_unit(p, "c", NULL) == NULL);
    const struct roof_kernel *k = &p->unit[0].kernel[1];
    CHECK_EQ(k->order_permille.high, 6000);
    CHECK(!k->overlap && k->hidden);
    CHECK_EQ(k->point[0].ns, 7000);
    CHECK_STR(k->point[0].source, "point's");
    CHECK_EQ(d.host.event_ns, -1);
    /* whole steps are not made of them */
    const struct cost_model *m;
    CHECK_EQ(device_cost_create(&d, &(int32_t){0}, 1, &(struct device_options){0}, &a, &m, &e),
             ERR_UNSUPPORTED);
    CHECK_HAS(e.msg, "tandem explain");
    arena_fini(&a);
}

static void operators_are_saved_as_they_were_read(void)
{
    char path[300];
    struct arena a;
    struct device d;
    struct err e;
    scratch_path(path, sizeof path, "device.yaml");
    for (int i = -1; i < PHONES; i++) {
        char *first, *second;
        size_t n;
        arena_init(&a);
        e = (struct err){0};
        int code = i < 0 ? parse(made_up, &a, &d, &e) : device_load(phone[i], NULL, 0, &a, &d, &e);
        CHECK_EQ(code, ERR_OK);
        CHECK_STR(e.msg, "");
        if (code)
            return;
        CHECK_EQ(device_save(&d, path, &e), ERR_OK);
        CHECK_EQ(io_read_file(path, 1 << 20, &first, &n, &e), ERR_OK);
        CHECK_EQ(device_load(path, NULL, 0, &a, &d, &e), ERR_OK);
        CHECK_STR(e.msg, "");
        CHECK_EQ(device_save(&d, path, &e), ERR_OK);
        CHECK_EQ(io_read_file(path, 1 << 20, &second, &n, &e), ERR_OK);
        CHECK(!strcmp(first, second));
        if (i < 0) {
            CHECK_HAS(first, "order's");
            CHECK_HAS(first, "overlap: false");
            CHECK_HAS(first, "hidden_launch: true");
            CHECK_HAS(first, "path: \"dma\"");
        }
        free(first);
        free(second);
        arena_fini(&a);
    }
    unlink(path);
}

static void files_with_operators_that_are_wrong_are_refused(void)
{
    static const struct {
        const char *from, *to, *says;
    } t[] = {
        {"low: 58 GB/s", "low: 61 GB/s", "low <= value <= high"},
        {"{value: null, low: 20 GB/s}", "{value: null, low: 20 GB/s, high: 10 GB/s}", "low <="},
        {"shared: 55 GB/s", "shared: 0 GB/s", "more than 0"},
        {"name: cpu, cap", "name: dma, cap", "two paths"},
        {"    - {name: dma, cap: 40 GB/s, priority: 1}\n", "    - dma\n",
         "bus.paths.0 is 'dma': expected a mapping"},
        {"cap: 40 GB/s", "cap: 0 GB/s", "above 0"},
        {"priority: 1", "priority: 8", "priority"},
        {"block: 12 kB", "block: 4 kB", "rising"},
        {"bandwidth: 1 GB/s}, {b", "bandwidth: 0 GB/s}, {b", "above 0"},
        {"sync: [{name: cpu-npu", "sync: [{name: cpu-npu}, {name: cpu-npu", "two edges"},
        {"cool: 40 C", "cool: 42 C", "hysteresis"},
        {"ambient: 25 C", "ambient: -25 C", "0 C or more"},
        {"value: 500, low: 400", "value: 500, low: 600", "low <= value"},
        {"slow_permille: {value: 500", "slow_permille: {value: 1001", "1001"},
        {"path: dma", "path: dna", "bus.paths"},
        {"to: 4", "from: 5, to: 4", "'from' up to 'to'"},
        {"elementwise, included: true", "elementwise, included: true, launch: 1 us",
         "numbers of its own"},
        {"operator: attention,", "operator: attention, points: [{m: 1, n: 1, k: 1, time: 1 us}],",
         "points are those of products"},
        {"peak: 1 TFLOPS", "peak: 0 TFLOPS", "above 0"},
        {"time: 7 us", "time: 0 us", "1 ns"},
        {"points: [", "points: [{m: 8, n: 2, k: 3, time: 6 us}, ", "same shape"},
        {"weights: W8", "weights: W9", "W9"},
        {"datatype: w4", "datatype: w8", "same backend"},
        {"activation_bytes: 1", "activation_bytes: 0", "activation_bytes"},
        {"tile: 32", "tile: 0", "tile"},
        {"    operators:\n", "    step: {}\n    operators:\n", "never both"},
        {"operator: matmul, to", "operator: matmull, to", "matmull"},
        {"energy: 60 pJ/B", "energy: 60 GB/s", "pJ/B"},
        {"memory: {", "memory: {cache: 1 MB, ", "cache"},
    };
    struct arena a;
    struct device d;
    struct err e;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        char *text = replaced(made_up, t[i].from, t[i].to);
        arena_init(&a);
        CHECK(parse(text, &a, &d, &e) != ERR_OK);
        CHECK_HAS(e.msg, t[i].says);
        CHECK(e.line > 0);
        arena_fini(&a);
        free(text);
    }
}

/* A file has operators for all its processors, or tables and nothing of what only operators use. */
static void tables_and_operators_are_not_mixed(void)
{
    static const char *const more[] = {"storage: {read: []}\n", "memory: {dram: 1 GB}\n",
                                       "sync: []\n", "thermal: {resistance: null}\n"};
    struct arena a;
    struct device d;
    struct err e;
    char *text, *data;
    size_t n;
    arena_init(&a);
    text = replaced(made_up, "processors:\n",
                    "processors:\n  - {name: cpu, kind: cpu, threads: 1, power: null,\n"
                    "     step: {axes: {pad: 1, period: 1}, unit: ns,\n"
                    "       cells: [{width: 1, bucket: 1, samples: [1]}]},\n"
                    "     sample: {fixed: 1 ns, per_row: 1 ns}, commit: {chain: 1 ns}}\n");
    CHECK(parse(text, &a, &d, &e) != ERR_OK);
    CHECK_HAS(e.msg, "operators for every processor");
    free(text);
    e = (struct err){0};
    CHECK_EQ(io_read_file("hwmodels/devices/example-2core.yaml", 1 << 20, &data, &n, &e), ERR_OK);
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        text = malloc(n + 100);
        sprintf(text, "%s%s", data, more[i]);
        CHECK(parse(text, &a, &d, &e) != ERR_OK);
        CHECK_HAS(e.msg, "unknown key");
        free(text);
    }
    text = replaced(data, "dram: null", "dram: null\n  energy: 3 pJ/B");
    CHECK(parse(text, &a, &d, &e) != ERR_OK);
    CHECK_HAS(e.msg, "unknown key 'energy'");
    free(text);
    free(data);
    arena_fini(&a);
}

/* ---- steps ---------------------------------------------------------------------------------- */

static const struct roof_unit *unit_of(const struct device *d, const char *processor,
                                       const char *backend)
{
    return device_unit(&d->processor[device_find(d, processor)], backend, NULL);
}

static void a_step_is_the_sum_of_its_operators(void)
{
    struct arena a;
    struct device d;
    struct model_desc m;
    struct ops_step s;
    struct explain_step x;
    struct err e = {0};
    arena_init(&a);
    CHECK_EQ(device_load(phone[2], NULL, 0, &a, &d, &e), ERR_OK);
    CHECK_EQ(model_load("hwmodels/models/llama-3.2-3b.yaml", &m, &e), ERR_OK);
    const struct roof_unit *u = unit_of(&d, "npu", "qnn");
    ops_whole(&m, 1, 0, &s, &e);
    s.weights = s.head = u->weights;
    CHECK_EQ(explain_step(&d, u, NULL, &m, &s, &a, &x, &e), ERR_OK);
    CHECK(x.known);
    int64_t sum = 0;
    for (int32_t i = 0; i < x.n; i++)
        sum += x.row[i].layers * x.row[i].time.ns;
    CHECK_EQ(x.ns, sum);
    CHECK_EQ(x.ns, x.least_ns);
    /* its rate was derived from this model's 23.47 tokens/s */
    CHECK_NEAR(1e9 / (double)x.ns, 23.47, 0.15);
    CHECK_HAS(explain_source(&d, &x.row[1], 0), "AI Hub");
    /* attention elsewhere: 4 m n k + 5 m n heads by the CPU's rate, which its own rates do not hold
     */
    u = unit_of(&d, "npu", "qnn");
    const struct roof_unit *cpu = unit_of(&d, "cpu", "mnn");
    int64_t before = 0;
    CHECK(explain_attention(&d, 2, u) == cpu);
    CHECK(explain_attention(&d, 0, unit_of(&d, "npu", "mnn")) == unit_of(&d, "npu", "mnn"));
    for (s.context = 0; s.context <= 4000; s.context += 1000) {
        CHECK_EQ(explain_step(&d, u, cpu, &m, &s, &a, &x, &e), ERR_OK);
        CHECK(x.known && x.ns > sum);
        const struct explain_row *row = &x.row[6];
        CHECK_STR(row->op.name, "attention");
        CHECK_STR(row->unit, "cpu");
        int64_t n = s.context + 1;
        double us = (double)(4 * n * 3072 + 5 * n * 24) / 296e3;
        double bus_us = (double)row->time.bytes / 25.5e3;
        CHECK_NEAR((double)row->time.ns / 1e3, us > bus_us ? us : bus_us, 0.001);
        CHECK(row->time.ns > before);
        before = row->time.ns;
        CHECK_HAS(explain_source(&d, row, 0), bus_us > us ? "nntrainer" : "assumed");
    }
    s.context = 0;
    CHECK_EQ(explain_step(&d, u, unit_of(&d, "gpu", "mnn"), &m, &s, &a, &x, &e), ERR_OK);
    CHECK(!x.known); /* a GPU that has no numbers for it alone */
    CHECK_EQ(explain_step(&d, u, unit_of(&d, "npu", "mnn"), &m, &s, &a, &x, &e), ERR_OK);
    CHECK(!x.known); /* nor are one backend's rates another's */
    /* a unit that has nothing for attention */
    CHECK_EQ(device_load(phone[1], NULL, 0, &a, &d, &e), ERR_OK);
    u = unit_of(&d, "npu", "qnn");
    CHECK_EQ(explain_step(&d, u, unit_of(&d, "cpu", "mllm"), &m, &s, &a, &x, &e), ERR_OK);
    CHECK(!x.known && x.ns == -1 && x.least_ns > 0);
    s.rows = 0;
    CHECK_EQ(explain_step(&d, u, NULL, &m, &s, &a, &x, &e), ERR_RANGE);
    arena_fini(&a);
}

/* A rate was derived from a speed: the speed must come out of it, or its FLOPs and bytes were
 * counted otherwise than here. Rows of a prompt in 256 have one through the head, but QNN's chunks
 * all. */
static void the_speeds_that_rates_rest_on_come_out(void)
{
    static const struct {
        int phone;
        const char *processor, *backend, *model;
        int32_t rows, head_rows;
        double per_s; /* tokens */
    } each[] = {
        {0, "npu", "qnn", "llama-2-7b", 1024, 1024, 1024 / 2.5785},
        {0, "npu", "qnn", "llama-2-7b", 1, 1, 1 / 0.1178},
        {0, "npu", "llama.cpp", "qwen3-1.7b", 256, 1, 459.9},
        {0, "npu", "llama.cpp", "qwen3-1.7b", 1, 1, 20.9},
        {0, "npu", "llama.rn", "qwen3-1.7b", 256, 1, 242.4},
        {0, "npu", "llama.rn", "qwen3-1.7b", 1, 1, 20.4},
        {0, "gpu", "llama.cpp", "qwen3-1.7b", 256, 1, 264.3},
        {0, "gpu", "llama.cpp", "qwen3-1.7b", 1, 1, 16.6},
        {0, "gpu", "mnn", "qwen2.5-1.5b", 256, 1, 232.3},
        {0, "gpu", "mnn", "qwen2.5-1.5b", 1, 1, 9.4},
        {0, "cpu", "llama.cpp", "qwen2.5-1.5b", 256, 1, 140.7},
        {0, "cpu", "llama.cpp", "qwen2.5-1.5b", 1, 1, 28.8},
        {0, "cpu", "mnn", "qwen2.5-1.5b", 256, 1, 147.1},
        {0, "cpu", "mnn", "qwen2.5-1.5b", 1, 1, 36.0},
        {0, "cpu", "llama.rn", "qwen3-1.7b", 256, 1, 103.9},
        {0, "cpu", "llama.rn", "qwen3-1.7b", 1, 1, 17.2},
        {1, "npu", "qnn", "llama-3-8b", 1024, 1024, 1024 / 1.3165},
        {1, "npu", "qnn", "llama-3-8b", 1, 1, 1 / 0.07286},
        {1, "cpu", "llama.cpp", "qwen1.5-1.8b", 512, 1, 65},
        {1, "cpu", "llama.cpp", "llama-3-8b", 1, 1, 14.01 / 2.53},
        {2, "npu", "qnn", "llama-3.2-3b", 128, 128, 128 / 0.0882},
        {2, "npu", "qnn", "llama-3.2-3b", 1, 1, 23.47},
        {2, "npu", "llama.cpp", "llama-3.2-1b", 128, 1, 169.4},
        {2, "npu", "llama.cpp", "llama-3.2-1b", 1, 1, 51.5},
        {2, "npu", "mnn", "qwen3-0.6b", 512, 1, 2667},
        {2, "npu", "mnn", "qwen3-0.6b", 1, 1, 68.5},
        {2, "gpu", "mnn", "qwen3-0.6b", 512, 1, 1491},
        {2, "gpu", "mnn", "qwen3-0.6b", 1, 1, 71.4},
        {2, "gpu", "llama.cpp", "qwen2.5-1.5b", 512, 1, 148.5},
        {2, "gpu", "llama.cpp", "qwen2.5-1.5b", 1, 1, 33.2},
        {2, "cpu", "mnn", "qwen3-0.6b", 512, 1, 336},
        {2, "cpu", "mnn", "qwen3-0.6b", 1, 1, 94.3},
    };
    struct arena a;
    struct device d[PHONES];
    arena_init(&a);
    for (int i = 0; i < PHONES; i++)
        CHECK_EQ(device_load(phone[i], NULL, 0, &a, &d[i], NULL), ERR_OK);
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        const struct device *of = &d[each[i].phone];
        const struct roof_unit *u = unit_of(of, each[i].processor, each[i].backend);
        char model[80];
        struct model_desc m;
        struct ops_step s;
        struct explain_step x;
        snprintf(model, sizeof model, "hwmodels/models/%s.yaml", each[i].model);
        CHECK_EQ(model_load(model, &m, NULL), ERR_OK);
        CHECK_EQ(ops_whole(&m, each[i].rows, 0, &s, NULL), ERR_OK);
        s.head_rows = each[i].head_rows;
        s.weights = s.head = u->weights;
        s.activation_bytes = u->activation_bytes;
        CHECK_EQ(explain_step(of, u, NULL, &m, &s, &a, &x, NULL), ERR_OK);
        double per_s = each[i].rows * 1e9 / (double)x.ns;
        if (!CHECK_NEAR(per_s, each[i].per_s, 0.02 * each[i].per_s))
            printf("%s, %s of %s, %s, %d rows: %.1f tokens/s, published %.1f\n", of->name,
                   each[i].backend, each[i].processor, each[i].model, (int)each[i].rows, per_s,
                   each[i].per_s);
    }
    arena_fini(&a);
}

/* A staircase of 32 rows in the compute of an NPU, and none on a CPU. */
static void an_npu_step_is_flat_within_a_tile(void)
{
    struct arena a;
    struct device d;
    struct model_desc m;
    struct err e = {0};
    int64_t ns[3];
    arena_init(&a);
    CHECK_EQ(device_load(phone[0], NULL, 0, &a, &d, &e), ERR_OK);
    CHECK_EQ(model_load("hwmodels/models/qwen2.5-1.5b.yaml", &m, &e), ERR_OK);
    for (int cpu = 0; cpu < 2; cpu++) {
        const struct roof_unit *u = unit_of(&d, cpu ? "cpu" : "npu", "llama.cpp");
        for (int i = 0; i < 3; i++) {
            struct ops_step s;
            struct explain_step x;
            ops_whole(&m, 130 + 20 * i, 0, &s, &e);
            s.weights = s.head = u->weights;
            CHECK_EQ(explain_step(&d, u, NULL, &m, &s, &a, &x, &e), ERR_OK);
            ns[i] = x.ns;
        }
        CHECK((ns[0] == ns[1]) == !cpu);
        CHECK(ns[1] < ns[2]);
    }
    arena_fini(&a);
}

static void energy_is_power_times_time_and_bytes(void)
{
    struct arena a;
    struct device d;
    struct err e;
    arena_init(&a);
    CHECK_EQ(parse(made_up, &a, &d, &e), ERR_OK);
    struct device_processor *p = &d.processor[0];
    /* 4 W for 7 us, and 60 pJ for each of 1,000 bytes */
    CHECK_EQ(explain_energy_pj(&d, p, EXPLAIN_PREFILL, 7000, 1000), 4000 * 7000 + 60 * 1000);
    CHECK_EQ(explain_energy_pj(&d, p, EXPLAIN_DECODE, 7000, 0), 3000 * 7000);
    CHECK_EQ(explain_energy_pj(&d, p, EXPLAIN_DECODE, -1, 0), -1);
    d.platform.bus.pj_per_byte.value = -1;
    CHECK_EQ(explain_energy_pj(&d, p, EXPLAIN_PREFILL, 7000, 1000), 4000 * 7000);
    p->prefill_mw.value = -1;
    CHECK_EQ(explain_energy_pj(&d, p, EXPLAIN_PREFILL, 7000, 1000), -1);
    p->active_mw = 11;
    CHECK_EQ(explain_energy_pj(&d, p, EXPLAIN_PREFILL, 7000, 1000), 11 * 7000);
    arena_fini(&a);
}

static void layouts_by_hand(void)
{
    struct layout_times t = {.layers = 2,
                             .first_ns = 10,
                             .between_ns = 20,
                             .last_ns = 30,
                             .attention_ns = 7,
                             .edge_ns = 3};
    struct layout_result r;
    layout_run(&t, LAYOUT_ALTERNATING, &r);
    CHECK_EQ(r.graphs, 3);
    CHECK_EQ(r.edges, 4);
    CHECK_EQ(r.ns, 10 + 7 + 20 + 7 + 30 + 4 * 3);
    /* The second chunk's first stage waits for four of the first: NPU 0-10, 23-43, CPU 13-20,
     * 46-53; then the second has 43-53 and the first's last 56-86, the second's CPU 56-63, its NPU
     * 86-106, CPU 109-116, NPU 119-149. */
    layout_run(&t, LAYOUT_PAIRS, &r);
    CHECK_EQ(r.graphs, 6);
    CHECK_EQ(r.ns, 149);
    t.edge_ns = -1;
    layout_run(&t, LAYOUT_ALTERNATING, &r);
    CHECK_EQ(r.ns, -1);
}

static void a_layout_has_all_of_a_step(void)
{
    struct arena a;
    struct device d;
    struct model_desc m;
    struct ops_step s;
    struct explain_step x;
    struct layout_times t;
    struct layout_result r;
    struct err e = {0};
    arena_init(&a);
    device_load(phone[2], NULL, 0, &a, &d, &e);
    model_load("hwmodels/models/llama-3.2-1b.yaml", &m, &e);
    ops_whole(&m, 64, 0, &s, &e);
    CHECK_EQ(explain_step(&d, unit_of(&d, "npu", "mnn"), NULL, &m, &s, &a, &x, &e), ERR_OK);
    layout_of_step(&x, m.layers, &t);
    CHECK_EQ(t.attention_ns, 0);
    t.edge_ns = 0;
    layout_run(&t, LAYOUT_ALTERNATING, &r);
    CHECK_EQ(r.ns, x.ns);
    CHECK_EQ(r.graphs, 17);
    arena_fini(&a);
}

static const struct unit_test tests[] = {
    {"the_larger_of_the_two_roofs_binds", the_larger_of_the_two_roofs_binds},
    {"work_hides_a_launch_that_is_shorter", work_hides_a_launch_that_is_shorter},
    {"a_path_caps_the_bandwidth", a_path_caps_the_bandwidth},
    {"what_is_not_known_makes_the_time_unknown", what_is_not_known_makes_the_time_unknown},
    {"dimensions_are_rounded_up_to_the_tile", dimensions_are_rounded_up_to_the_tile},
    {"a_small_stationary_operand_costs_the_order", a_small_stationary_operand_costs_the_order},
    {"copies_cost_their_bytes", copies_cost_their_bytes},
    {"measured_points_come_first", measured_points_come_first},
    {"a_staircase_is_kernels_by_rows", a_staircase_is_kernels_by_rows},
    {"operators_are_read", operators_are_read},
    {"operators_are_saved_as_they_were_read", operators_are_saved_as_they_were_read},
    {"files_with_operators_that_are_wrong_are_refused",
     files_with_operators_that_are_wrong_are_refused},
    {"tables_and_operators_are_not_mixed", tables_and_operators_are_not_mixed},
    {"a_step_is_the_sum_of_its_operators", a_step_is_the_sum_of_its_operators},
    {"the_speeds_that_rates_rest_on_come_out", the_speeds_that_rates_rest_on_come_out},
    {"an_npu_step_is_flat_within_a_tile", an_npu_step_is_flat_within_a_tile},
    {"energy_is_power_times_time_and_bytes", energy_is_power_times_time_and_bytes},
    {"layouts_by_hand", layouts_by_hand},
    {"a_layout_has_all_of_a_step", a_layout_has_all_of_a_step},
    {NULL, NULL},
};

UNIT_MAIN("roofline", tests)
