/* Experiment files, what they are wired to, and the runner. */
#include "experiments/experiment.h"
#include "experiments/faults.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "experiments/command.h"
#include "experiments/output.h"
#include "experiments/run.h"
#include "sim/base/io.h"
#include "tests/scratch.h"
#include "tests/unit.h"
#include "traces/workload.h"

static const char head[] = "schema: tandem-experiment-1\nname: x\n";
static const char plain[] = "policies: [{policy: autoregressive}]\n";

static int parse(const char *text, const char *const *set, int n_set, struct arena *a,
                 struct experiment *x, struct err *e)
{
    *e = (struct err){0};
    return experiment_parse("dir/x.yaml", text, strlen(text), set, n_set, a, x, e);
}

/* ---- reading -------------------------------------------------------------------------------- */

static const char everything[] =
    "schema: tandem-experiment-1\n"
    "name: all of it\n"
    "device: d.yaml\n"
    "model: /models/m.gguf\n"
    "trace: t.trace\n"
    "workload: [a.jsonl, b.jsonl]\n"
    "split: calibration\n"
    "limit: 7\n"
    "max_tokens: 33\n"
    "max_ctx: 777\n"
    "roles: {target: 'cpu:0', draft: 'cpu:1'}\n"
    "real_roles: target=cpu:1 draft=cpu:0\n"
    "policies:\n"
    "  - {policy: autoregressive, chunk: 64}\n"
    "  - {policy: speculative, name: mine, drafter: {lookup: {ngram: 2}}, width: auto}\n"
    "  - {policy: speculative, drafter: [suffix, lookup], tree: plain, max_draft: null}\n"
    "arrivals: [0 ms, 1.5 ms, 1.5 ms]\n"
    "repetitions: 4\n"
    "seed: [3, 1]\n"
    "estimator: {expected_minimum: 5}\n"
    "belief: {file: b.yaml, scale: 1.25, noise_pct: 10}\n"
    "mix_numerics: true\n"
    "device_set: [device.bus.dram=70 GB/s, 'device.memory.ram=4 GB']\n"
    "faults: {delay: 5, delay_ns: 1000000, seed: 7}\n";

static void check_paths_and_numbers(const struct experiment *x)
{
    CHECK_STR(x->name, "all of it");
    CHECK_STR(x->device.path, "dir/d.yaml");
    CHECK_STR(x->device.given, "d.yaml");
    CHECK_STR(x->model.path, "/models/m.gguf");
    CHECK_STR(x->belief.path, "dir/b.yaml");
    CHECK_EQ(x->n_workloads, 2);
    CHECK_STR(x->workload[1].path, "dir/b.jsonl");
    CHECK_EQ(x->split, EXPERIMENT_CALIBRATION);
    CHECK_EQ(x->limit, 7);
    CHECK_EQ(x->max_tokens, 33);
    CHECK_EQ(x->max_ctx, 777);
    CHECK_STR(x->roles, "target=cpu:0 draft=cpu:1");
    CHECK_STR(x->real_roles, "target=cpu:1 draft=cpu:0");
    CHECK_EQ(x->arrivals, ARRIVE_LIST);
    CHECK_EQ(x->n_arrivals, 3);
    CHECK_EQ(x->arrival_ns[2], 1500000);
    CHECK_EQ(x->repetitions, 4);
    CHECK_EQ(x->n_seeds, 2);
    CHECK_EQ(x->seed[0], 3);
    CHECK_EQ(x->estimator, DEVICE_EXPECTED_MINIMUM);
    CHECK_EQ(x->estimator_n, 5);
    CHECK_NEAR(x->belief_scale, 1.25, 0);
    CHECK_NEAR(x->belief_noise_pct, 10, 0);
    CHECK(x->mix_numerics);
    CHECK_EQ(x->n_device_sets, 2);
    CHECK_STR(x->device_set[1], "device.memory.ram=4 GB");
    CHECK(x->has_faults);
    CHECK(!x->faults.fail && x->faults.delay == 5 && x->faults.delay_ns == 1000000);
    CHECK_EQ(x->faults.seed, 7);
}

static void check_policies(const struct experiment *x)
{
    char text[200];
    CHECK_EQ(x->n_policies, 3);
    CHECK_STR(x->policy[0].label, "autoregressive chunk=64");
    CHECK_STR(x->policy[1].label, "mine");
    CHECK_STR(x->policy[2].label, "speculative suffix lookup tree=plain");
    CHECK_STR(experiment_drafters(&x->policy[1], text, sizeof text),
              "lookup ngram=2 min_ngram=1 branches=1");
    CHECK_HAS(param_format(x->policy[1].type->params, x->policy[1].param, text, sizeof text),
              "width=auto max_draft=7");
    CHECK_EQ(x->policy[2].n_drafters, 2);
}

/* Every key, and the resolved text, which reads back to itself. */
static void whole(void)
{
    static struct experiment x, again;
    struct arena a;
    struct err e;
    arena_init(&a);
    if (CHECK_EQ(parse(everything, NULL, 0, &a, &x, &e), ERR_OK)) {
        check_paths_and_numbers(&x);
        check_policies(&x);
        const char *text = experiment_text(&x, &a);
        CHECK_EQ(parse(text, NULL, 0, &a, &again, &e), ERR_OK);
        CHECK_STR(e.msg, "");
        check_paths_and_numbers(&again);
        CHECK_STR(experiment_text(&again, &a), text);
    }
    arena_fini(&a);
}

static void defaults(void)
{
    static struct experiment x;
    char text[300];
    struct arena a;
    struct err e;
    arena_init(&a);
    snprintf(text, sizeof text, "%s%s", head, plain);
    CHECK_EQ(parse(text, NULL, 0, &a, &x, &e), ERR_OK);
    CHECK(!x.device.path && !x.trace.path && !x.belief.path && !x.roles && !x.n_workloads);
    CHECK_EQ(x.split, EXPERIMENT_HELD_OUT);
    CHECK_EQ(x.repetitions, 1);
    CHECK_EQ(x.n_seeds, 1);
    CHECK_EQ(x.seed[0], 1);
    CHECK_EQ(x.arrivals, ARRIVE_AFTER_PREVIOUS);
    CHECK_EQ(x.estimator, DEVICE_MINIMUM);
    CHECK_NEAR(x.belief_scale, 1, 0);
    snprintf(text, sizeof text, "%s%sarrivals: {period: 2 ms}\nestimator: median\nroles: {}\n",
             head, plain);
    CHECK_EQ(parse(text, NULL, 0, &a, &x, &e), ERR_OK);
    CHECK_EQ(x.arrivals, ARRIVE_PERIOD);
    CHECK_EQ(x.period_ns, 2000000);
    CHECK_EQ(x.estimator, DEVICE_MEDIAN);
    CHECK_STR(x.roles, "");
    arena_fini(&a);
}

static void sets(void)
{
    static struct experiment x;
    static const char *const set[] = {"policies.mine.drafter.lookup.ngram=4", "seed=9",
                                      "device.bus.dram=80 GB/s", "device=other.yaml", "limit=3"};
    struct arena a;
    struct err e;
    char text[200];
    arena_init(&a);
    CHECK_EQ(parse(everything, set, 5, &a, &x, &e), ERR_OK);
    CHECK_STR(experiment_drafters(&x.policy[1], text, sizeof text),
              "lookup ngram=4 min_ngram=1 branches=1");
    CHECK_EQ(x.n_seeds, 1);
    CHECK_EQ(x.seed[0], 9);
    CHECK_EQ(x.limit, 3);
    CHECK_EQ(x.n_device_sets, 2);
    CHECK_STR(x.device_set[0], "device.memory.ram=4 GB");
    CHECK_STR(x.device_set[1], "device.bus.dram=80 GB/s"); /* not the file's */
    CHECK_STR(x.device.path, "dir/other.yaml");
    static const char *const bad[] = {"policies.mine.max_drafts=3"};
    CHECK_EQ(parse(everything, bad, 1, &a, &x, &e), ERR_SCHEMA);
    CHECK_HAS(e.msg, "max_drafts");
    static const char *const twice[] = {"seed=9", "seeds=1", "seed=10"};
    CHECK_EQ(parse(everything, twice, 3, &a, &x, &e), ERR_USAGE);
    CHECK_STR(e.msg, "--set seed=9 and --set seed=10 are of the same value: remove one of them");
    arena_fini(&a);
}

/* However long: a --set may be a whole table. */
static void a_long_set_is_kept_whole(void)
{
    static struct experiment x, again;
    static char set[8000];
    const char *const sets[] = {set};
    char text[300];
    struct arena a;
    struct err e;
    int n = snprintf(set, sizeof set, "device.bus.table=[\"");
    memset(set + n, 'x', sizeof set - (size_t)n - 3);
    memcpy(set + sizeof set - 3, "\"]", 3);
    arena_init(&a);
    snprintf(text, sizeof text, "%s%s", head, plain);
    CHECK_EQ(parse(text, sets, 1, &a, &x, &e), ERR_OK);
    CHECK_EQ(parse(experiment_text(&x, &a), NULL, 0, &a, &again, &e), ERR_OK);
    CHECK_EQ(again.n_device_sets, 1);
    CHECK_STR(again.device_set[0], set);
    arena_fini(&a);
}

/* All of a workload is chosen from evenly over tasks, as each split is. */
static void chosen_evenly(void)
{
    static const char text[] = "{\"id\":\"a1\",\"task\":\"a\",\"prompt\":\"x\",\"max_tokens\":1}\n"
                               "{\"id\":\"a2\",\"task\":\"a\",\"prompt\":\"x\",\"max_tokens\":1}\n"
                               "{\"id\":\"a3\",\"task\":\"a\",\"prompt\":\"x\",\"max_tokens\":1}\n"
                               "{\"id\":\"b1\",\"task\":\"b\",\"prompt\":\"x\",\"max_tokens\":1}\n"
                               "{\"id\":\"b2\",\"task\":\"b\",\"prompt\":\"x\",\"max_tokens\":1}\n";
    static const int32_t want[] = {0, 3, 1, 4, 2};
    struct workload w;
    struct err e = {0};
    int32_t index[6];
    CHECK_EQ(workload_load_bytes("w", text, sizeof text - 1, SPLIT_ALTERNATE, &w, &e), ERR_OK);
    for (int32_t max = 1; max <= 6; max++) {
        int32_t n = world_choose(&w, EXPERIMENT_ALL, max, index);
        CHECK_EQ(n, max < 5 ? max : 5);
        for (int32_t i = 0; i < n; i++)
            CHECK_EQ(index[i], want[i]);
    }
    CHECK_EQ(world_choose(&w, EXPERIMENT_HELD_OUT, 6, index), 2);
    CHECK_EQ(index[0], 1);
    CHECK_EQ(index[1], 4);
    CHECK_EQ(w.item[0].split, SPLIT_CALIBRATION);
    workload_fini(&w);
}

/* However many policies and repetitions gave a text that repeats, it is one request's. */
static void repeating_texts_are_counted_once(void)
{
    static int32_t same[8], differs[] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct request_result q[2][3] = {{{.n_output = 8, .output = same},
                                      {.n_output = 8, .output = differs},
                                      {.n_output = 8, .output = differs}},
                                     {{.n_output = 8, .output = same},
                                      {.n_output = 8, .output = differs},
                                      {.n_output = 8, .output = same}}};
    struct run_outcome run[2] = {{.result = {.n_requests = 3, .request = q[0]}},
                                 {.result = {.n_requests = 3, .request = q[1]}}};
    struct run_report r = {.n = 2, .run = run, .n_requests = 3};
    CHECK_EQ(run_degenerate(&r), 2);
}

/* Found in the working directory, then above the program; the folder above tests/ is the build's.
 */
static void shipped_files(void)
{
    static const struct command *const none[] = {NULL};
    static const struct program p = {.name = "x", .licence = "-", .commands = none};
    char name[] = "x", version[] = "--version", *argv[] = {name, version, NULL};
    char path[4096], small[8], *here = getcwd(NULL, 0);
    CHECK_EQ(program_main(&p, 2, argv), EXIT_OK);
    CHECK(command_shipped("experiments/quickstart.yaml", path, sizeof path));
    CHECK_STR(path, "experiments/quickstart.yaml");
    CHECK(command_shipped("CMakeCache.txt", path, sizeof path));
    CHECK_HAS(path, "/tests/../CMakeCache.txt");
    CHECK(!command_shipped("CMakeCache.txt", small, sizeof small));
    CHECK_EQ(chdir("/"), 0);
    CHECK(command_shipped("CMakeCache.txt", path, sizeof path));
    CHECK(!command_shipped("no/such.file", path, sizeof path));
    CHECK_STR(path, "no/such.file");
    CHECK_EQ(chdir(here), 0);
    free(here);
}

static const struct {
    const char *body; /* after the two lines of `head` */
    int code, line, col;
    const char *says;
} wrong[] = {
    {"", ERR_SCHEMA, 0, 0, "policies"},
    {"policies: []\n", ERR_SCHEMA, 3, 11, "expected 1 to"},
    {"policies: [{}]\n", ERR_SCHEMA, 0, 0, "policy"},
    {"policies: [{policy: autoregresive}]\n", ERR_SCHEMA, 3, 21, "expected one of autoregressive"},
    {"policies: [{policy: autoregressive, chunk: 0}]\n", ERR_RANGE, 3, 44, "from 1 to 4096"},
    {"policies: [{policy: autoregressive, chunks: 4}]\n", ERR_SCHEMA, 3, 0, "unknown parameter"},
    {"policies: [{policy: autoregressive, chunk: [4]}]\n", ERR_RANGE, 3, 0, "from 1 to 4096"},
    {"policies: [{policy: autoregressive, drafter: lookup}]\n", ERR_SCHEMA, 3, 46, "no drafter"},
    {"policies: [{policy: speculative}]\n", ERR_SCHEMA, 3, 12, "needs a drafter"},
    {"policies: [{policy: speculative, drafter: loookup}]\n", ERR_SCHEMA, 3, 43,
     "expected one of lookup"},
    {"policies: [{policy: speculative, drafter: {lookup: {ngram: 99}}}]\n", ERR_RANGE, 3, 60,
     "from 1 to 8"},
    {"policies: [{policy: speculative, drafter: {lookup: {}, suffix: {}}}]\n", ERR_SCHEMA, 3, 43,
     "expected one drafter"},
    {"policies: [{policy: speculative, drafter: []}]\n", ERR_SCHEMA, 3, 43, "at least one"},
    {"policies: [{policy: speculative, drafter: [lookup, lookup, lookup, lookup, lookup]}]\n",
     ERR_LIMIT, 3, 0, "more than 4 drafters"},
    {"policies: [{policy: autoregressive}, {policy: autoregressive}]\n", ERR_SCHEMA, 3, 38,
     "two policies are named 'autoregressive'"},
    {"policies: [{policy: autoregressive, name: \"a\\nb\"}]\n", ERR_SCHEMA, 3, 43, "one line"},
    {"policies: [{policy: autoregressive}]\npolicy: 3\n", ERR_SCHEMA, 4, 1, "unknown key"},
    {"policies: [{policy: autoregressive}]\ndevice_set: [bus.dram=1]\n", ERR_SCHEMA, 4, 14,
     "expected what --set takes"},
    {"policies: [{policy: autoregressive}]\ndevice_set: [device.a=1, device.a=2]\n", ERR_SCHEMA, 4,
     26, "comes twice"},
    {"policies: [{policy: autoregressive}]\nfaults: {fail: 1001}\n", ERR_RANGE, 4, 16,
     "from 0 to 1000"},
    {"policies: [{policy: autoregressive}]\nfaults: {delay: 3}\n", ERR_SCHEMA, 4, 9, "add it"},
    {"policies: [{policy: autoregressive}]\nfaults: {fail: 600, drop: 401}\n", ERR_SCHEMA, 4, 9,
     "more than 1000"},
    {"policies: [{policy: autoregressive}]\nfaults: {}\n", ERR_SCHEMA, 4, 9, "or null"},
    {"policies: [{policy: autoregressive}]\nseed: [1, 2, 1]\n", ERR_SCHEMA, 4, 14, "twice"},
    {"policies: [{policy: autoregressive}]\nseed: []\n", ERR_SCHEMA, 4, 7, "1 to 256 seeds"},
    {"policies: [{policy: autoregressive}]\nseed: -1\n", ERR_RANGE, 4, 7, "-1"},
    {"policies: [{policy: autoregressive}]\nsplit: heldout\n", ERR_SCHEMA, 4, 8, "held-out"},
    {"policies: [{policy: autoregressive}]\nlimit: 0\n", ERR_RANGE, 4, 8, "0"},
    {"policies: [{policy: autoregressive}]\narrivals: sometimes\n", ERR_SCHEMA, 4, 11,
     "after-previous"},
    {"policies: [{policy: autoregressive}]\narrivals: [2 ms, 1 ms]\n", ERR_SCHEMA, 4, 18,
     "sort them"},
    {"policies: [{policy: autoregressive}]\narrivals: []\n", ERR_SCHEMA, 4, 11, "each request"},
    {"policies: [{policy: autoregressive}]\narrivals: [4000000000 s]\n", ERR_RANGE, 4, 12,
     "73 years"},
    {"policies: [{policy: autoregressive}]\narrivals: {period: 2}\n", ERR_SCHEMA, 4, 20, "a time"},
    {"policies: [{policy: autoregressive}]\narrivals: {period: 1001 s}\n", ERR_RANGE, 4, 20,
     "at most 1000 s"},
    {"policies: [{policy: autoregressive}]\nestimator: mean\n", ERR_SCHEMA, 4, 12,
     "estimator is 'mean': expected minimum, median or {expected_minimum: N}"},
    {"policies: [{policy: autoregressive}]\nestimator: {expected_minimum: 0}\n", ERR_RANGE, 4, 31,
     "0"},
    {"policies: [{policy: autoregressive}]\nbelief: {noise_pct: 101}\n", ERR_RANGE, 4, 21, "101"},
    {"policies: [{policy: autoregressive}]\nbelief: {scale: 0}\n", ERR_RANGE, 4, 17, "0"},
    {"policies: [{policy: autoregressive}]\nroles: {target: 'a b'}\n", ERR_SCHEMA, 4, 17,
     "role: processor"},
    {"policies: [{policy: autoregressive}]\nreal_roles: target\n", ERR_SCHEMA, 4, 13,
     "role=device"},
    {"policies: [{policy: autoregressive}]\nname: y\n", ERR_SCHEMA, 4, 1, "duplicate key"},
    {"policies: [{policy: autoregressive}]\nworkload: [1, [2]]\n", ERR_SCHEMA, 4, 15, ""},
    {"policies: [{policy: autoregressive}]\nmix_numerics: yes\n", ERR_SCHEMA, 4, 15, "true"},
};

static void errors(void)
{
    static struct experiment x;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[600];
        struct arena a;
        struct err e;
        arena_init(&a);
        snprintf(text, sizeof text, "%s%s", head, wrong[i].body);
        bool ok = CHECK_EQ(parse(text, NULL, 0, &a, &x, &e), wrong[i].code);
        ok = CHECK_STR(e.file, "dir/x.yaml") && ok;
        if (wrong[i].line)
            ok = CHECK_EQ(e.line, wrong[i].line) && ok;
        if (wrong[i].col)
            ok = CHECK_EQ(e.col, wrong[i].col) && ok;
        ok = CHECK_HAS(e.msg, wrong[i].says) && ok;
        if (!ok)
            printf("  of: %s  said: %d:%d: %s\n", wrong[i].body, e.line, e.col, e.msg);
        arena_fini(&a);
    }
    struct arena a;
    struct err e;
    arena_init(&a);
    CHECK_EQ(parse("schema: tandem-device-1\n", NULL, 0, &a, &x, &e), ERR_SCHEMA);
    CHECK_HAS(e.msg, EXPERIMENT_SCHEMA);
    e = (struct err){0};
    CHECK_EQ(experiment_load("no such file", NULL, 0, &a, &x, &e), ERR_IO);
    arena_fini(&a);
}

/* ---- worlds and runs ------------------------------------------------------------------------ */

enum { VOCAB = 40, OUTPUT = 12 };

/* Requests of 30, 130, 230, ... prompt tokens in tasks p q q p q q; odd ones are held out. */
static void write_trace(const char *path, const char *numerics, int32_t n)
{
    const int32_t eos[] = {0};
    struct trace_builder *b;
    struct err e = {0};
    CHECK_EQ(trace_builder_create("test model", numerics, VOCAB, eos, 1, 0, &b, &e), ERR_OK);
    for (int32_t i = 0; i < n; i++) {
        int32_t text[600], prompt = 30 + 100 * i, index;
        char id[16];
        snprintf(id, sizeof id, "r%d", (int)i);
        for (int32_t k = 0; k < prompt + OUTPUT; k++)
            text[k] = 1 + (k * 7 + i + k / 11) % (VOCAB - 1);
        CHECK_EQ(trace_add_request(b, id, i % 3 ? "q" : "p",
                                   i % 2 ? SPLIT_HELD_OUT : SPLIT_CALIBRATION, OUTPUT, text, prompt,
                                   &index, &e),
                 ERR_OK);
        CHECK_EQ(trace_add_output(b, index, text + prompt, OUTPUT, &e), ERR_OK);
    }
    CHECK_EQ(trace_write(b, path, &e), ERR_OK);
    trace_builder_destroy(b);
}

struct fix {
    char trace[256];
    char text[2048];
    struct arena arena;
    struct experiment x;
    struct err e;
    struct run_report report;
};

/* An experiment on the example device with `more` keys. */
static void fix_init(struct fix *f, const char *numerics, const char *more)
{
    *f = (struct fix){0};
    scratch_path(f->trace, sizeof f->trace, "experiment.trace");
    write_trace(f->trace, numerics, 5);
    snprintf(f->text, sizeof f->text,
             "schema: tandem-experiment-1\nname: test\n"
             "device: hwmodels/devices/example-2core.yaml\ntrace: %s\n%s",
             f->trace, more);
    arena_init(&f->arena);
    CHECK_EQ(experiment_parse("x.yaml", f->text, strlen(f->text), NULL, 0, &f->arena, &f->x, &f->e),
             ERR_OK);
    CHECK_STR(f->e.msg, "");
}

static void fix_fini(struct fix *f)
{
    unlink(f->trace);
    arena_fini(&f->arena);
}

static int run(struct fix *f, struct run_options o)
{
    int rc = run_experiment(&f->x, &o, &f->report, &f->e);
    return rc;
}

static const char three[] = "policies:\n"
                            "  - policy: autoregressive\n"
                            "  - {policy: speculative, name: chain, drafter: lookup}\n"
                            "  - {policy: speculative, name: auto, drafter: suffix, width: auto}\n";

static void simulated(void)
{
    static struct fix f;
    struct run_summary s[3];
    char more[600];
    snprintf(more, sizeof more, "%ssplit: all\nrepetitions: 3\n", three);
    fix_init(&f, "example-2core", more);
    if (CHECK_EQ(run(&f, (struct run_options){.kind = WORLD_SIM}), ERR_OK)) {
        CHECK_EQ(f.report.n, 3); /* one repetition: it computes its times */
        CHECK_EQ(f.report.n_requests, 5);
        CHECK_STR(f.report.model, "test model");
        CHECK_STR(f.report.device, "example-2core");
        CHECK_NEAR(run_tokens_equal(&f.report), 1, 0);
        CHECK_EQ(run_summarise(&f.report, s, &f.e), ERR_OK);
        CHECK_EQ(s[0].n_output, 5 * OUTPUT);
        CHECK_EQ(s[0].n_requests, 5);
        CHECK_NEAR(s[0].speedup, 1, 0);
        CHECK_NEAR(s[1].speedup, (double)s[0].e2e_ns_sum / (double)s[1].e2e_ns_sum, 1e-12);
        CHECK_NEAR(s[0].tokens_per_verify, 1, 0);
        CHECK(isnan(s[0].draft_efficiency));
        CHECK(s[1].draft_efficiency > 0 && s[1].draft_efficiency <= 1);
        CHECK(!s[0].energy_known && isnan(s[0].energy_pj_per_token));
        CHECK_EQ(s[0].n_busy, 2);
        CHECK_STR(s[0].busy[0].name, "cpu:0");
        CHECK(s[0].busy[0].share > 0.9 && s[0].busy[0].share <= 1);
        CHECK_NEAR(s[0].busy[1].share, 0, 0);
        CHECK(s[1].busy[1].share > 0);
        /* tasks take turns: p r0, q r1, p r3, q r2, q r4 */
        CHECK_STR(f.report.name[0].id, "r0");
        CHECK_STR(f.report.name[1].id, "r1");
        CHECK_STR(f.report.name[2].id, "r3");
        CHECK_STR(f.report.name[3].id, "r2");
    }
    run_report_fini(&f.report);
    fix_fini(&f);
}

/* A seed is an order, the same for every policy; results come back to their requests. */
static void shuffled(void)
{
    static struct fix f;
    static const char text[] = "policies:\n"
                               "  - policy: autoregressive\n"
                               "  - {policy: speculative, drafter: {suffix: {history: 9}}}\n"
                               "split: all\norder: shuffled\nseed: [1, 2, 3]\n";
    fix_init(&f, "example-2core", text);
    if (CHECK_EQ(run(&f, (struct run_options){.kind = WORLD_SIM}), ERR_OK) &&
        CHECK_EQ(f.report.n, 6)) {
        int32_t orders = 0;
        for (int32_t k = 0; k < 6; k++) {
            const struct run_outcome *o = &f.report.run[k];
            CHECK_EQ(o->policy_index, k % 2); /* policies take turns */
            CHECK_EQ(o->seed, 1 + k / 2);
            for (int32_t i = 0; i < 5; i++) {
                const struct request_result *own = &o->result.request[i];
                for (int32_t j = 0; j < i; j++) {
                    const struct request_result *q = &o->result.request[j], *other;
                    other = &f.report.run[k - k % 2].result.request[j];
                    CHECK((q->arrive_ns < own->arrive_ns) ==
                          (other->arrive_ns < f.report.run[k - k % 2].result.request[i].arrive_ns));
                }
                orders += own->arrive_ns < o->result.request[(i + 1) % 5].arrive_ns;
            }
        }
        CHECK(orders != 6 * 4); /* not as they are */
        CHECK_NEAR(run_tokens_equal(&f.report), 1, 0);
    }
    run_report_fini(&f.report);
    fix_fini(&f);
}

/* What an executor refuses is said before anything runs, and where. */
static void refused_before_the_first_run(void)
{
    static struct fix f;
    static const char text[] = "policies:\n"
                               "  - policy: autoregressive\n"
                               "  - {policy: speculative, name: late, drafter: suffix, reuse: 1}\n";
    fix_init(&f, "example-2core", text);
    CHECK_EQ(run(&f, (struct run_options){.kind = WORLD_SIM}), ERR_UNSUPPORTED);
    CHECK_EQ(f.report.n, 0);
    CHECK(f.e.line > 0 && f.e.col > 0);
    CHECK_HAS(f.e.msg, "policy 'late': reuse=1");
    run_report_fini(&f.report);
    fix_fini(&f);
}

/* The same bytes twice, in each format. */
static void same_bytes(void)
{
    static struct fix f;
    fix_init(&f, "example-2core", three);
    for (enum output_format format = OUTPUT_TABLE; format <= OUTPUT_JSON; format++) {
        char *text[2];
        size_t n[2];
        for (int i = 0; i < 2; i++) {
            FILE *out = open_memstream(&text[i], &n[i]);
            CHECK_EQ(run(&f, (struct run_options){.kind = WORLD_SIM}), ERR_OK);
            CHECK_EQ(output_report(&f.report, format, out, &f.e), ERR_OK);
            run_report_fini(&f.report);
            fclose(out);
        }
        CHECK(n[0] > 100);
        CHECK_STR(text[0], text[1]);
        free(text[0]);
        free(text[1]);
    }
    fix_fini(&f);
}

/* Logs of every run replay; another policy's parameters do not. */
static void logs_replay(void)
{
    static struct fix f;
    char dir[256];
    struct run_replayed r;
    fix_init(&f, "example-2core", three);
    scratch_path(dir, sizeof dir, "logs");
    if (CHECK_EQ(run(&f, (struct run_options){.kind = WORLD_SIM, .log_dir = dir}), ERR_OK)) {
        for (int32_t i = 0; i < f.report.n; i++) {
            CHECK_EQ(run_replay(f.report.run[i].log, NULL, &r, &f.e), ERR_OK);
            CHECK_EQ(r.actions_hash, f.report.run[i].result.actions_hash);
            CHECK_EQ(r.n_requests, f.report.n_requests);
            CHECK_STR(r.executor, "sim");
        }
        CHECK_STR(f.e.msg, "");
        f.x.policy[1].param[1] = 2; /* max_draft */
        CHECK_EQ(run_replay(f.report.run[1].log, &f.x.policy[1], &r, &f.e), ERR_REPLAY);
        CHECK_HAS(f.e.msg, "max_nodes=2");
        f.e = (struct err){0};
        CHECK_EQ(run_replay("no such log", NULL, &r, &f.e), ERR_IO);
    }
    for (int32_t i = 0; i < f.report.n; i++)
        unlink(f.report.run[i].log);
    rmdir(dir);
    run_report_fini(&f.report);
    fix_fini(&f);
}

static const struct {
    const char *numerics, *more;
    enum world_kind kind;
    int code;
    const char *says;
} refused[] = {
    {"other", "", WORLD_SIM, ERR_MISMATCH, "--mix-numerics"},
    {"other", "mix_numerics: true\n", WORLD_SIM, ERR_OK, ""},
    {"", "", WORLD_SIM, ERR_OK, ""},
    {"example-2core", "max_ctx: 342\n", WORLD_SIM, ERR_OK, ""},
    {"example-2core", "max_ctx: 341\n", WORLD_SIM, ERR_RANGE,
     "request 'r3' has 330 prompt tokens and asks for 12 more"},
    {"example-2core", "max_ctx: 442\nsplit: all\n", WORLD_SIM, ERR_OK, ""},
    {"example-2core", "max_ctx: 441\nsplit: all\nmax_tokens: 11\n", WORLD_SIM, ERR_OK, ""},
    {"example-2core", "seed: [1, 2]\n", WORLD_SIM, ERR_USAGE, "nothing here is random"},
    {"example-2core", "seed: [1, 2]\nbelief: {noise_pct: 5}\n", WORLD_SIM, ERR_OK, ""},
    {"example-2core", "arrivals: [0 ms, 1 ms, 2 ms]\n", WORLD_SIM, ERR_SCHEMA,
     "3 times and there are 2 requests"},
    {"example-2core", "arrivals: [0 ms, 1 ms]\n", WORLD_SIM, ERR_OK, ""},
    {"example-2core", "roles: {target: nobody}\n", WORLD_SIM, ERR_SCHEMA, "nobody"},
    {"example-2core", "belief: {file: nowhere.yaml}\n", WORLD_SIM, ERR_IO, ""},
    {"example-2core", "faults: {fail: 1}\n", WORLD_REAL, ERR_UNSUPPORTED, "--set faults=null"},
    {"example-2core", "", WORLD_TOY, ERR_SCHEMA, "needs the key 'workload': add a JSON"},
    {"example-2core", "workload: nowhere.jsonl\n", WORLD_TOY, ERR_IO, ""},
};

static void refusals(void)
{
    static struct fix f;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char more[600];
        snprintf(more, sizeof more, "%s%s", plain, refused[i].more);
        fix_init(&f, refused[i].numerics, more);
        struct run_options o = {.kind = refused[i].kind};
        bool ok = CHECK_EQ(run(&f, o), refused[i].code);
        ok = CHECK_HAS(f.e.msg, refused[i].says) && ok;
        if (!ok)
            printf("  of: %s  said: %s\n", refused[i].more, f.e.msg);
        run_report_fini(&f.report);
        fix_fini(&f);
    }
}

/* Noise of the belief depends on the seed and nothing else. */
static void noisy_belief(void)
{
    static struct fix f;
    char more[600];
    snprintf(more, sizeof more, "%sseed: [4, 9]\nbelief: {noise_pct: 40, scale: 2}\n", three);
    fix_init(&f, "example-2core", more);
    struct world w;
    struct run_setup *s = calloc(4, sizeof *s);
    CHECK_EQ(world_open(&f.x, WORLD_SIM, 0, &w, &f.e), ERR_OK);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(world_run_setup(&w, &f.x.policy[2], i == 2 ? 9 : 4, &s[i], &f.e), ERR_OK);
    f.x.belief_noise_pct = 0;
    f.x.belief_scale = 1;
    CHECK_EQ(world_run_setup(&w, &f.x.policy[2], 4, &s[3], &f.e), ERR_OK);
    CHECK_EQ(belief_hash(&s[0].belief), belief_hash(&s[1].belief));
    CHECK(belief_hash(&s[0].belief) != belief_hash(&s[2].belief));
    CHECK_EQ(s[3].belief.step_ns[0][0], 5400000);
    double ratio = (double)s[0].belief.step_ns[0][0] / 5400000;
    CHECK(ratio >= 1.2 && ratio <= 2.8 && fabs(ratio - 2) > 1e-6);
    world_close(&w);
    free(s);
    fix_fini(&f);
}

static void toy_runs(void)
{
    static struct fix f;
    char more[700];
    snprintf(more, sizeof more,
             "%sworkload: [traces/workloads/ui.jsonl, traces/workloads/reply.jsonl]\nlimit: 3\n"
             "max_tokens: 9\nrepetitions: 2\nseed: [5, 6]\n",
             three);
    fix_init(&f, "example-2core", more);
    if (CHECK_EQ(run(&f, (struct run_options){.kind = WORLD_TOY}), ERR_OK)) {
        CHECK_EQ(f.report.n, 3 * 2 * 2);
        CHECK_EQ(f.report.n_requests, 3);
        CHECK_NEAR(run_tokens_equal(&f.report), 1, 0);
        CHECK_EQ(f.report.run[0].n_extrapolated, -1);
        struct run_summary s[3];
        CHECK_EQ(run_summarise(&f.report, s, &f.e), ERR_OK);
        CHECK_EQ(s[2].n_runs, 4);
        CHECK_EQ(s[2].n_requests, 12);
        CHECK_STR(s[2].busy[0].name, "target");
    }
    CHECK_STR(f.e.msg, "");
    run_report_fini(&f.report);
    fix_fini(&f);
}

/* ---- faults --------------------------------------------------------------------------------- */

static void fault_plans(void)
{
    struct fault_plan p;
    struct err e = {0};
    CHECK_EQ(faults_parse("fail=1 drop=2,delay=3 delay_ns=4 reorder=5 seed=6", &p, &e), ERR_OK);
    CHECK(p.fail == 1 && p.drop == 2 && p.delay == 3 && p.delay_ns == 4 && p.reorder == 5 &&
          p.seed == 6);
    CHECK_EQ(faults_parse(" drop=2", &p, &e), ERR_OK);
    CHECK_EQ(p.fail, 0);
    CHECK_EQ(p.seed, 1);
    char text[160];
    CHECK_STR(faults_format(&p, text, sizeof text),
              "fail=0 drop=2 delay=0 delay_ns=0 reorder=0 seed=1");
    static const char *const bad[] = {
        "fail", "fail=",         "=1", "fail=1001", "fail=x", "fial=1", "fail=600 drop=401",
        " ",    "delay=5 drop=1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        e = (struct err){0};
        CHECK_EQ(faults_parse(bad[i], &p, &e), ERR_USAGE);
        CHECK_HAS(e.msg, bad[i]);
    }
}

static int count_failed(void *self, const struct run_outcome *o, struct err *e)
{
    (void)e;
    int *counts = self;
    counts[o->code != ERR_OK]++;
    if (o->code)
        CHECK_HAS(o->why, "dropped by the fault plan");
    return ERR_OK;
}

static int begin_nothing(void *self, const struct run_report *report, struct err *e)
{
    (void)self;
    (void)report;
    (void)e;
    return ERR_OK;
}

/* A run that fails ends the experiment with its error, and the sink hears of it. */
static void failing_run(void)
{
    static struct fix f;
    int counts[2] = {0};
    struct run_sink sink = {counts, begin_nothing, count_failed, NULL};
    fix_init(&f, "example-2core", three);
    f.x.has_faults = true;
    f.x.faults = (struct fault_plan){.drop = 60, .seed = 3};
    struct run_options o = {.kind = WORLD_SIM, .sink = &sink};
    CHECK_EQ(run(&f, o), ERR_STALLED);
    CHECK_HAS(f.e.msg, "dropped by the fault plan");
    CHECK_EQ(counts[1], 1);
    CHECK_EQ(counts[0], f.report.n);
    run_report_fini(&f.report);
    fix_fini(&f);
}

/* ---- output --------------------------------------------------------------------------------- */

static void cells(void)
{
    static const char *const columns[] = {"name", "n", "note", NULL};
    struct output o;
    struct arena a;
    char *text;
    size_t n;
    arena_init(&a);
    output_init(&o, &a, columns);
    output_text(&o, "a, \"b\"");
    output_int(&o, -12);
    output_number(&o, "%.1f", NAN, "-");
    output_end(&o);
    output_text(&o, "\xc3\xa9\xc3\xa9");
    output_number(&o, "%.1f", 3.25, "-");
    output_end(&o);
    FILE *f = open_memstream(&text, &n);
    CHECK_EQ(output_print(&o, OUTPUT_CSV, f), ERR_OK);
    fclose(f);
    CHECK_STR(text, "name,n,note\n\"a, \"\"b\"\"\",-12,-\n\xc3\xa9\xc3\xa9,3.2,\n");
    free(text);
    f = open_memstream(&text, &n);
    CHECK_EQ(output_print(&o, OUTPUT_TABLE, f), ERR_OK);
    fclose(f);
    CHECK_STR(text, "name      n  note\na, \"b\"  -12     -\n\xc3\xa9\xc3\xa9      3.2      \n");
    free(text);
    f = open_memstream(&text, &n);
    CHECK_EQ(output_print(&o, OUTPUT_JSON, f), ERR_OK);
    fclose(f);
    CHECK_STR(text,
              "[\n {\n  \"name\": \"a, \\\"b\\\"\",\n  \"n\": -12,\n  \"note\": null\n },\n"
              " {\n  \"name\": \"\xc3\xa9\xc3\xa9\",\n  \"n\": 3.2,\n  \"note\": \"\"\n }\n]\n");
    free(text);
    arena_fini(&a);
}

static const struct unit_test tests[] = {
    {"whole", whole},
    {"defaults", defaults},
    {"a_long_set_is_kept_whole", a_long_set_is_kept_whole},
    {"sets", sets},
    {"chosen_evenly", chosen_evenly},
    {"repeating_texts_are_counted_once", repeating_texts_are_counted_once},
    {"shipped_files", shipped_files},
    {"errors", errors},
    {"simulated", simulated},
    {"shuffled", shuffled},
    {"refused_before_the_first_run", refused_before_the_first_run},
    {"same_bytes", same_bytes},
    {"logs_replay", logs_replay},
    {"refusals", refusals},
    {"noisy_belief", noisy_belief},
    {"toy_runs", toy_runs},
    {"fault_plans", fault_plans},
    {"failing_run", failing_run},
    {"cells", cells},
    {NULL, NULL}};

UNIT_MAIN("experiment", tests)
