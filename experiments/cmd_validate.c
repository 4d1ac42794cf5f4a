#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/figure.h"
#include "experiments/command.h"
#include "experiments/validate.h"
#include "experiments/validate_published.h"
#include "sim/base/io.h"

enum { QUICK_ROUNDS = 4, QUICK_REPETITIONS = 5, MAX_ROUNDS = 250 };

static const struct option options[] = {
    {"--engine", "llama|toy", "llama", "what runs for real", 0},
    {"--model", "FILE.gguf", NULL, "default: the one that the quickstart installed", 0},
    {"--roles", "MAP", NULL, "as target=cpu:1 draft=cpu:0; default: the last core and the first",
     0},
    {"--device", "FILE.yaml", NULL, "the frozen device; default: profiled first", 0},
    {"--workload", "FILE.jsonl", NULL, "held out as a whole; default: the shipped corpus's half",
     OPTION_REPEATS_TO(VAL_MAX_WORKLOADS)},
    {"--budget", "SECONDS", "1200", "time for measuring; prompts are dropped when it is short", 0},
    {"--quick", NULL, NULL, "a budget of 120 seconds: a few short prompts, 12 tokens each", 0},
    {"--repetitions", "N", "6", "of every prompt by every policy; 5 with --quick", 0},
    {"--prompts", "N", "512", "at most so many", 0},
    {"--rounds", "N", "5", "of calibration, at least; 4 with --quick", 0},
    {"--ctx", "TOKENS", "2048", "context of the engine", 0},
    {"--store", "FILE.sqlite", "out/validate.sqlite", "where every run goes when it ends", 0},
    {"--resume", NULL, NULL, "go on with the store's runs", 0},
    {"--save-device", "FILE.yaml", "out/device.yaml", "where the profiled device is saved", 0},
    {"--report", "FILE.json", "out/validate.json", "the JSON object, whatever --format", 0},
    {"--picture", "FILE.svg", "out/validate.svg", "predicted against measured", 0},
    {"--format", "table|csv|json", "table", "of standard output", 0},
    {"--published", NULL, NULL, "instead: leave-one-out errors on published measurements", 0},
    {"--check", NULL, NULL, "exit 1 unless the verdict is passed", 0},
    {"--seed", "N", "1", "of the micro-benchmarks' order and tokens, and of the toy's model", 0},
    {NULL, NULL, NULL, NULL, 0}};

static const char *const examples[] = {
    "validate --engine toy --budget 1 --prompts 4 --repetitions 2 --store out/example.sqlite "
    "--save-device out/example.yaml --report out/example.json --picture out/example.svg",
    "validate --published",
    "real: validate --quick --prompts 1 --repetitions 2 --rounds 1 --store out/quick.sqlite", NULL};

static const char *const shipped[] = {"traces/workloads/summary.jsonl",
                                      "traces/workloads/rag.jsonl", "traces/workloads/ui.jsonl",
                                      "traces/workloads/reply.jsonl"};

static int numbers(const struct args *a, struct val_options *o, struct err *e)
{
    int64_t budget = 0, reps = 0, prompts = 0, rounds = 0, ctx = 0, seed = 0;
    int rc = arg_int(a, "--budget", 1, 1000000, &budget, e);
    if (!rc)
        rc = arg_int(a, "--repetitions", 2, VAL_MAX_REPS, &reps, e);
    if (!rc)
        rc = arg_int(a, "--prompts", 1, VAL_MAX_PROMPTS, &prompts, e);
    if (!rc)
        rc = arg_int(a, "--rounds", 1, MAX_ROUNDS, &rounds, e);
    if (!rc)
        rc = arg_int(a, "--ctx", 512, 1 << 20, &ctx, e);
    if (!rc)
        rc = arg_int(a, "--seed", 0, INT64_MAX, &seed, e);
    o->quick = arg_given(a, "--quick");
    o->budget_s = arg_given(a, "--quick") ? 120 : (double)budget;
    o->repetitions = o->quick && !arg_given(a, "--repetitions") ? QUICK_REPETITIONS : (int32_t)reps;
    o->max_prompts = (int32_t)prompts;
    o->rounds = o->quick && !arg_given(a, "--rounds") ? QUICK_ROUNDS : (int32_t)rounds;
    o->max_ctx = (int32_t)ctx;
    o->seed = (uint64_t)seed;
    return rc;
}

/* What comes with Tandem is found from anywhere. */
static void default_workloads(struct val_options *o)
{
    static char path[sizeof shipped / sizeof *shipped][4096];
    o->n_workloads = sizeof shipped / sizeof *shipped;
    for (int32_t i = 0; i < o->n_workloads; i++) {
        command_shipped(shipped[i], path[i], sizeof path[i]);
        o->workload[i] = path[i];
    }
}

static int read_options(const struct args *a, struct val_options *o, char *model, size_t size,
                        struct err *e)
{
    static const char *const engine[] = {"llama", "toy", NULL};
    int toy = 0, rc = numbers(a, o, e);
    if (!rc)
        rc = args_exclusive(a, "--quick", "--budget", e);
    if (!rc)
        rc = args_exclusive(a, "--device", "--save-device", e);
    if (!rc)
        rc = arg_word(a, "--engine", engine, &toy, e);
    o->model = toy ? NULL : arg_text(a, "--model");
    if (!toy && !o->model)
        o->model = session_default_model(model, size);
    o->store = arg_text(a, "--store");
    o->device_in = arg_text(a, "--device");
    o->device_out = o->device_in ? NULL : arg_text(a, "--save-device");
    o->resume = arg_given(a, "--resume");
    o->n_workloads = arg_all(a, "--workload", o->workload, VAL_MAX_WORKLOADS);
    o->all_held_out = o->n_workloads > 0;
    if (!o->all_held_out)
        default_workloads(o);
    role_map_default(&o->roles);
    if (!rc && arg_text(a, "--roles"))
        rc = role_map_parse(arg_text(a, "--roles"), &o->roles, e);
    return rc;
}

static int check_files(const struct args *a, const struct val_options *o, struct err *e)
{
    struct command_file file[6 + sizeof o->workload / sizeof *o->workload] = {
        {"--store", o->store, true},
        {"--save-device", o->device_out, true},
        {"--report", arg_text(a, "--report"), true},
        {"--picture", arg_text(a, "--picture"), true},
        {"--device", o->device_in, false},
        {"--model", o->model, false}};
    for (int32_t i = 0; i < o->n_workloads; i++)
        file[6 + i] = (struct command_file){"--workload", o->workload[i], false};
    return command_distinct(file, 6 + o->n_workloads, e);
}

static int write_report(const struct validation *v, const struct val_report *r, const char *path,
                        struct err *e)
{
    struct io_out out;
    int rc = io_out_open(&out, path, e);
    if (rc)
        return rc;
    rc = validate_print(v, r, VAL_JSON, out.file);
    if (rc)
        err_at(e, rc, path, 0, 0, "cannot write: %s",
               rc == ERR_IO ? err_system(errno) : err_text(rc));
    int closed = io_out_close(&out, rc == ERR_OK, e);
    return rc ? rc : closed;
}

static int draw(const struct validation *v, const struct val_report *r, const char *path,
                struct err *e)
{
    struct figure_point *p = malloc(((size_t)r->n_pairs + 1) * sizeof *p);
    if (!p)
        return err_set(e, ERR_NOMEM, "out of memory");
    for (int32_t i = 0; i < r->n_pairs; i++)
        p[i] = (struct figure_point){r->pair[i].measured_ns / 1e6, r->pair[i].predicted_ns / 1e6,
                                     r->pair[i].policy};
    const char *label[VAL_MAX_POLICIES];
    for (int32_t i = 0; i < v->n_policies; i++)
        label[i] = v->policy[i].label;
    char title[128];
    snprintf(title, sizeof title, "%d prompts, %d policies: median error %.2f %%, P90 %.2f %%",
             r->prompts, r->policies, r->noise.e2e.median, r->noise.e2e.p90);
    int rc = figure_predicted(p, r->n_pairs, label, v->n_policies, title,
                              "measured, end to end, ms", path, e);
    free(p);
    return rc;
}

/* Nothing is measured there: what says how has no say. */
static int published_alone(const struct args *a, struct err *e)
{
    for (int i = 0; i < a->n_given; i++) {
        const char *name = a->given[i].option->name;
        if (strcmp(name, "--published") && strcmp(name, "--format"))
            return err_set(e, ERR_USAGE, "'--published' measures nothing: remove '%s'", name);
    }
    return ERR_OK;
}

static int run(int argc, char **argv)
{
    static const char *const formats[] = {"table", "csv", "json", NULL};
    struct args a;
    struct err e = {0};
    struct val_options o = {0};
    struct val_report r;
    char model[4096];
    int format = 0, code = args_parse(&command_validate, argc, argv, &a);
    if (code != ARGS_GO_ON)
        return code;
    int rc = arg_word(&a, "--format", formats, &format, &e);
    if (!rc && arg_given(&a, "--published")) {
        rc = published_alone(&a, &e);
        return rc ? command_fail(&e) : published_command((enum output_format)format);
    }
    if (!rc)
        rc = read_options(&a, &o, model, sizeof model, &e);
    if (!rc)
        rc = check_files(&a, &o, &e);
    if (rc)
        return command_fail(&e);
    struct validation *v = calloc(1, sizeof *v);
    if (!v)
        return command_usage("out of memory");
    command_make_out(o.store);
    command_make_out(o.device_out);
    command_make_out(arg_text(&a, "--report"));
    command_make_out(arg_text(&a, "--picture"));
    rc = command_can_write(arg_text(&a, "--report"), &e);
    if (!rc)
        rc = command_can_write(arg_text(&a, "--picture"), &e);
    if (!rc)
        rc = command_can_write(o.device_out, &e);
    if (!rc)
        rc = validate_measure(&o, v, &e);
    if (!rc)
        rc = validate_compare(v, &r, &e);
    if (!rc)
        rc = write_report(v, &r, arg_text(&a, "--report"), &e);
    if (!rc && validate_print(v, &r, (enum val_format)format, stdout))
        rc = err_set(&e, ERR_IO, "standard output could not be written");
    if (!rc)
        rc = draw(v, &r, arg_text(&a, "--picture"), &e);
    code = rc ? command_fail(&e) : command_end();
    if (!code && arg_given(&a, "--check") && strcmp(r.verdict, "passed"))
        code = EXIT_FAILED;
    validate_close(v);
    free(v);
    return code;
}

const struct command command_validate = {
    .name = "validate",
    .group = "Run",
    .summary = "run for real, simulate the same, print the error between them",
    .arguments = "",
    .options = options,
    .details =
        "Micro-benchmarks profile the device; every policy runs every held-out prompt for "
        "real, calibration rounds in between; the simulator predicts the same runs. "
        "Printed: the error under four readings, its sources, negative controls, order of "
        "policies and regret, an oracle's ceiling, and what other threads and a longer context "
        "change. Acceptance "
        "is replayed, from the request's own run, and blind, from requests of the calibration "
        "split: then each task's mean and P90 are foretold. A "
        "finished comparison exits 0 whatever its verdict. --published measures nothing: hardware "
        "models are fitted to the points of experiments/published/points.yaml but one, and "
        "foretell that one; beside the errors it prints how far sources disagree.",
    .examples = examples,
    .run = run};
