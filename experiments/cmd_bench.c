/* tandem bench: what Tandem itself costs, and its speed against llama.cpp's own programs. */
#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "experiments/bench_pages.h"
#include "experiments/bench_real.h"
#include "experiments/bench_sim.h"
#include "experiments/command.h"
#include "experiments/output.h"
#include "experiments/session.h"
#include "sim/base/json.h"
#include "sim/core/bench.h"
#include "sim/draft/bench.h"
#include "sim/exec/metrics.h"

extern char **environ;

enum { START_MAX = 1000, DRAFT_MAX = 64 };

/* ---- core ----------------------------------------------------------------------------------- */

static void put_stat(struct output *o, const char *what, const struct bench_stat *s, double unit)
{
    output_text(o, what);
    output_number(o, "%.2f", s->median / unit, "-");
    output_number(o, "%.2f", s->min / unit, "-");
    output_number(o, "%.2f", s->max / unit, "-");
    output_end(o);
}

static int core_table(const struct core_bench *b)
{
    static const char *const columns[] = {"measure", "median", "min", "max", NULL};
    struct output o;
    struct arena arena;
    arena_init(&arena);
    output_init(&o, &arena, columns);
    put_stat(&o, "million events per s, 16 pending", &b->events_per_s, 1e6);
    put_stat(&o, "million completions per s, 8 flows share", &b->shared_completions_per_s, 1e6);
    for (int i = 0; i < CORE_BENCH_QUEUES; i++) {
        char what[64];
        snprintf(what, sizeof what, "ns per event, %d pending", b->queue[i].pending);
        put_stat(&o, what, &b->queue[i].ns_per_event, 1);
    }
    int rc = output_print(&o, OUTPUT_TABLE, stdout);
    arena_fini(&arena);
    return rc;
}

static int core_json(const struct core_bench *b)
{
    struct json_writer w;
    json_writer_init(&w, stdout, 1);
    json_object(&w, NULL);
    json_double(&w, "events_per_s", b->events_per_s.median);
    json_double(&w, "events_per_s_min", b->events_per_s.min);
    json_double(&w, "events_per_s_max", b->events_per_s.max);
    json_double(&w, "shared_completions_per_s", b->shared_completions_per_s.median);
    json_double(&w, "shared_completions_per_s_min", b->shared_completions_per_s.min);
    json_double(&w, "shared_completions_per_s_max", b->shared_completions_per_s.max);
    for (int i = 0; i < CORE_BENCH_QUEUES; i++) {
        char key[48];
        snprintf(key, sizeof key, "ns_per_event_%d_pending", b->queue[i].pending);
        json_double(&w, key, b->queue[i].ns_per_event.median);
    }
    json_int(&w, "repetitions", b->repetitions);
    json_close(&w);
    int rc = json_line(&w);
    json_writer_fini(&w);
    return rc;
}

static int bench_core(enum output_format format, int64_t repetitions, struct err *e)
{
    struct core_bench b;
    int rc = core_bench_run(&b, (int)repetitions, 200);
    if (rc)
        return err_set(e, rc, "the event core could not be measured: %s", err_text(rc));
    return format == OUTPUT_JSON ? core_json(&b) : core_table(&b);
}

/* ---- drafters ------------------------------------------------------------------------------- */

static int draft_table(const struct draft_bench_row *row, int32_t n)
{
    static const char *const columns[] = {"drafter",
                                          "us/step",
                                          "spread us",
                                          "us/step warm",
                                          "us/step of 8",
                                          "us/prompt token",
                                          "us/token calibrated",
                                          "probes/step",
                                          "nodes/step",
                                          "kB",
                                          NULL};
    struct output o;
    struct arena arena;
    arena_init(&arena);
    output_init(&o, &arena, columns);
    for (int32_t i = 0; i < n; i++) {
        output_text(&o, row[i].drafter);
        output_number(&o, "%.3f", row[i].us_per_step, "-");
        output_number(&o, "%.3f", row[i].spread_us, "-");
        output_number(&o, "%.3f", row[i].us_per_step_warm, "-");
        output_number(&o, "%.3f", row[i].us_per_step_nodes[1], "-");
        output_number(&o, "%.4f", row[i].us_per_token_prompt, "-");
        output_number(&o, "%.4f", row[i].us_per_token_calibration, "-");
        output_number(&o, "%.1f", row[i].probes_per_step, "-");
        output_number(&o, "%.1f", row[i].nodes_per_step, "-");
        output_int(&o, row[i].mem_bytes / 1000);
        output_end(&o);
    }
    int rc = output_print(&o, OUTPUT_TABLE, stdout);
    arena_fini(&arena);
    return rc;
}

static int draft_json(const struct draft_bench_row *row, int32_t n)
{
    struct json_writer w;
    json_writer_init(&w, stdout, 1);
    json_array(&w, NULL);
    for (int32_t i = 0; i < n; i++) {
        json_object(&w, NULL);
        json_string(&w, "drafter", row[i].drafter);
        json_double(&w, "us_per_step", row[i].us_per_step);
        json_double(&w, "spread_us", row[i].spread_us);
        json_double(&w, "us_per_step_warm", row[i].us_per_step_warm);
        json_double(&w, "us_per_token_prompt", row[i].us_per_token_prompt);
        json_double(&w, "us_per_token_calibration", row[i].us_per_token_calibration);
        json_double(&w, "probes_per_step", row[i].probes_per_step);
        json_double(&w, "nodes_per_step", row[i].nodes_per_step);
        json_int(&w, "mem_bytes", row[i].mem_bytes);
        json_close(&w);
    }
    json_close(&w);
    int rc = json_line(&w);
    json_writer_fini(&w);
    return rc;
}

static int bench_draft(enum output_format format, int64_t repetitions, struct err *e)
{
    struct draft_bench_config config = draft_bench_default();
    struct draft_bench_row row[DRAFT_MAX];
    int32_t n = 0;
    config.rounds = (int32_t)repetitions;
    int rc = draft_bench_all(&config, DRAFT_MAX, row, &n, e);
    if (rc)
        return rc;
    return format == OUTPUT_JSON ? draft_json(row, n) : draft_table(row, n);
}

/* ---- simulator ------------------------------------------------------------------------------ */

static int sim_table(const struct sim_bench_row *row, int32_t n)
{
    static const char *const columns[] = {"drafts",       "M tokens/s",        "min",
                                          "max",          "tokens/step",       "M events/s",
                                          "in drafter %", "same as with memo", NULL};
    struct output o;
    struct arena arena;
    arena_init(&arena);
    output_init(&o, &arena, columns);
    for (int32_t i = 0; i < n; i++) {
        output_text(&o, row[i].what);
        output_number(&o, "%.3f", row[i].tokens_per_s.median / 1e6, "-");
        output_number(&o, "%.3f", row[i].tokens_per_s.min / 1e6, "-");
        output_number(&o, "%.3f", row[i].tokens_per_s.max / 1e6, "-");
        output_number(&o, "%.2f", row[i].tokens_per_step, "-");
        output_number(&o, "%.3f", row[i].events_per_s / 1e6, "-");
        output_number(&o, "%.0f", 100 * row[i].drafter_share, "-");
        output_text(&o, isnan(row[i].drafter_share) ? "-" : row[i].same ? "yes" : "NO");
        output_end(&o);
    }
    int rc = output_print(&o, OUTPUT_TABLE, stdout);
    arena_fini(&arena);
    return rc;
}

static int sim_json(const struct sim_bench_row *row, int32_t n)
{
    struct json_writer w;
    json_writer_init(&w, stdout, 1);
    json_array(&w, NULL);
    for (int32_t i = 0; i < n; i++) {
        json_object(&w, NULL);
        json_string(&w, "drafts", row[i].what);
        json_string(&w, "policy", row[i].drafter);
        json_double(&w, "tokens_per_s", row[i].tokens_per_s.median);
        json_double(&w, "tokens_per_s_min", row[i].tokens_per_s.min);
        json_double(&w, "tokens_per_s_max", row[i].tokens_per_s.max);
        json_double(&w, "tokens_per_step", row[i].tokens_per_step);
        json_double(&w, "events_per_s", row[i].events_per_s);
        json_double(&w, "drafter_share", row[i].drafter_share);
        json_bool(&w, "same", row[i].same);
        json_close(&w);
    }
    json_close(&w);
    int rc = json_line(&w);
    json_writer_fini(&w);
    return rc;
}

static int bench_sim(enum output_format format, int64_t repetitions, struct err *e)
{
    struct sim_bench_row row[SIM_BENCH_ROWS];
    int32_t n;
    int rc = sim_bench_run(row, &n, (int32_t)repetitions, e);
    if (rc)
        return rc;
    return format == OUTPUT_JSON ? sim_json(row, n) : sim_table(row, n);
}

/* ---- start ---------------------------------------------------------------------------------- */

/* One process from its start to the first simulated event. */
static int start_once(const char *experiment, double *ms, struct err *e)
{
    int pipes[2];
    char self[] = "tandem", run[] = "run", option[] = "--first-event", path[4096], byte;
    char *argv[] = {self, run, path, option, NULL};
    posix_spawn_file_actions_t actions;
    struct timespec from, to;
    pid_t pid;
    int status;
    snprintf(path, sizeof path, "%s", experiment);
    if (pipe(pipes))
        return err_set(e, ERR_IO, "no pipe: %s", strerror(errno));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipes[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, pipes[0]);
    clock_gettime(CLOCK_MONOTONIC, &from);
    int failed = posix_spawn(&pid, program_path(), &actions, NULL, argv, environ);
    close(pipes[1]);
    ssize_t n = failed ? 0 : read(pipes[0], &byte, 1);
    clock_gettime(CLOCK_MONOTONIC, &to);
    close(pipes[0]);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        return err_set(e, ERR_IO, "%s cannot be started: %s", program_path(), strerror(failed));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (n != 1)
        return err_at(e, ERR_IO, experiment, 0, 0,
                      "the experiment did not come to its first event: run it to see why");
    *ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
    return ERR_OK;
}

static int bench_start(enum output_format format, const char *experiment, int64_t repetitions,
                       struct err *e)
{
    double ms[START_MAX], first;
    int32_t n = (int32_t)(repetitions > START_MAX ? START_MAX : repetitions);
    int rc = start_once(experiment, &first, e); /* warms the file cache */
    for (int32_t i = 0; i < n && !rc; i++)
        rc = start_once(experiment, &ms[i], e);
    if (rc)
        return rc;
    double median = metrics_quantile(ms, n, 0.5);
    if (format != OUTPUT_JSON) {
        printf("process start to first event: median %.3f ms, min %.3f, max %.3f of %d\n", median,
               ms[0], ms[n - 1], (int)n);
        return ERR_OK;
    }
    struct json_writer w;
    json_writer_init(&w, stdout, 1);
    json_object(&w, NULL);
    json_double(&w, "start_ms", median);
    json_double(&w, "start_ms_min", ms[0]);
    json_double(&w, "start_ms_max", ms[n - 1]);
    json_int(&w, "repetitions", n);
    json_close(&w);
    rc = json_line(&w);
    json_writer_fini(&w);
    return rc;
}

/* ---- pages ---------------------------------------------------------------------------------- */

static int pages_table(const struct pages_bench *b)
{
    static const char *const columns[] = {"rows", "huge pages ms", "min", "small pages ms",
                                          "min",  "small/huge",    NULL};
    struct output o;
    struct arena arena;
    arena_init(&arena);
    output_init(&o, &arena, columns);
    for (int i = 0; i < PAGES_BENCH_ROWS; i++) {
        const struct pages_bench_row *r = &b->row[i];
        output_int(&o, r->rows);
        output_number(&o, "%.3f", r->huge_ns.median / 1e6, "-");
        output_number(&o, "%.3f", r->huge_ns.min / 1e6, "-");
        output_number(&o, "%.3f", r->small_ns.median / 1e6, "-");
        output_number(&o, "%.3f", r->small_ns.min / 1e6, "-");
        output_number(&o, "%.3f", r->small_ns.median / r->huge_ns.median, "-");
        output_end(&o);
    }
    int rc = output_print(&o, OUTPUT_TABLE, stdout);
    arena_fini(&arena);
    if (!rc && !b->huge)
        puts(
            "both columns are of the same pages: this system gives none, or this build cannot ask");
    return rc;
}

static int pages_json(const struct pages_bench *b)
{
    struct json_writer w;
    json_writer_init(&w, stdout, 1);
    json_object(&w, NULL);
    json_bool(&w, "huge_pages", b->huge);
    json_array(&w, "rows");
    for (int i = 0; i < PAGES_BENCH_ROWS; i++) {
        const struct pages_bench_row *r = &b->row[i];
        json_object(&w, NULL);
        json_int(&w, "rows", r->rows);
        json_double(&w, "huge_ms", r->huge_ns.median / 1e6);
        json_double(&w, "huge_ms_min", r->huge_ns.min / 1e6);
        json_double(&w, "small_ms", r->small_ns.median / 1e6);
        json_double(&w, "small_ms_min", r->small_ns.min / 1e6);
        json_close(&w);
    }
    json_close(&w);
    json_close(&w);
    int rc = json_line(&w);
    json_writer_fini(&w);
    return rc;
}

static int bench_pages(const struct args *a, enum output_format format, int64_t repetitions,
                       struct err *e)
{
    const char *model[BENCH_MAX_MODELS];
    char path[4096];
    struct pages_bench b;
    int32_t n = arg_all(a, "--model", model, BENCH_MAX_MODELS);
    if (n > 1)
        return err_set(e, ERR_USAGE, "--model is given %d times: expected one for pages", (int)n);
    int rc = pages_bench_run(n ? model[0] : session_default_model(path, sizeof path),
                             (int32_t)repetitions, &b, e);
    if (rc)
        return rc;
    return format == OUTPUT_JSON ? pages_json(&b) : pages_table(&b);
}

/* ---- real ----------------------------------------------------------------------------------- */

static int bench_real(const struct args *a, enum output_format format, int64_t repetitions,
                      struct err *e)
{
    struct bench_options o = {.seed = 1};
    struct bench_real b;
    int64_t prompts = 0, tokens = 0, budget = 0;
    int rc = arg_int(a, "--prompts", 1, 13, &prompts, e);
    if (!rc)
        rc = arg_int(a, "--tokens", 8, 512, &tokens, e);
    if (!rc)
        rc = arg_int(a, "--budget", 1, 100000, &budget, e);
    if (rc)
        return rc;
    o.n_models = arg_all(a, "--model", o.model, BENCH_MAX_MODELS);
    o.prompts = (int32_t)prompts;
    o.max_tokens = (int32_t)tokens;
    o.budget_s = (double)budget;
    o.repetitions = (int32_t)(repetitions > BENCH_MAX_REPS ? BENCH_MAX_REPS : repetitions);
    rc = bench_real_measure(&o, &b, e);
    if (!rc)
        rc = bench_real_print(&b, format == OUTPUT_JSON, stdout, e);
    bench_real_close(&b);
    return rc;
}

/* ---- the command ---------------------------------------------------------------------------- */

static int run(int argc, char **argv)
{
    static struct args a;
    static const char *const formats[] = {"table", "json", NULL};
    struct err e = {0};
    int64_t repetitions = 0;
    int word, rc = args_parse(&command_bench, argc, argv, &a);
    if (rc != ARGS_GO_ON)
        return rc;
    rc = arg_word(&a, "--format", formats, &word, &e);
    if (!rc)
        rc = arg_int(&a, "--repetitions", 1, START_MAX, &repetitions, &e);
    if (rc)
        return command_fail(&e);
    enum output_format format = word ? OUTPUT_JSON : OUTPUT_TABLE;
    if (!strcmp(a.arg[0], "core"))
        rc = bench_core(format, repetitions ? repetitions : 5, &e);
    else if (!strcmp(a.arg[0], "draft"))
        rc = bench_draft(format, repetitions ? repetitions : 5, &e);
    else if (!strcmp(a.arg[0], "start"))
        rc = bench_start(format, arg_text(&a, "--experiment"), repetitions ? repetitions : 21, &e);
    else if (!strcmp(a.arg[0], "sim"))
        rc = bench_sim(format, repetitions ? repetitions : 11, &e);
    else if (!strcmp(a.arg[0], "pages"))
        rc = bench_pages(&a, format, repetitions ? repetitions : 21, &e);
    else if (!strcmp(a.arg[0], "real"))
        rc = bench_real(&a, format, repetitions ? repetitions : 5, &e);
    else
        return command_usage("nothing is called '%s' here: expected bench "
                             "core|draft|sim|start|pages|real",
                             a.arg[0]);
    if (rc && !e.code)
        err_set(&e, rc, "standard output: %s", err_text(rc));
    return rc ? command_fail(&e) : command_end();
}

static const struct option options[] = {
    {"--format", "FORMAT", "table", "table or json", 0},
    {"--repetitions", "N", NULL, "of each measurement; 11 for sim, 21 for start and pages, else 5",
     0},
    {"--experiment", "FILE", "experiments/quickstart.yaml", "start: what the process runs", 0},
    {"--model", "FILE.gguf", NULL, "real: instead of SmolLM2 and TinyLlama; pages: of SmolLM2",
     OPTION_REPEATS_TO(BENCH_MAX_MODELS)},
    {"--prompts", "N", "4", "real: held-out prompts of each task at most", 0},
    {"--tokens", "N", "64", "real: output tokens of a prompt", 0},
    {"--budget", "S", "1700", "real: no prompt or repetition is begun that would end later", 0},
    {.name = NULL}};

static const char *const examples[] = {
    "bench core --repetitions 1",        "bench draft --repetitions 1 --format json",
    "bench sim --repetitions 1",         "bench start --repetitions 3",
    "real: bench pages --repetitions 1", NULL};

const struct command command_bench = {
    .name = "bench",
    .group = "Look",
    .summary = "what Tandem itself costs, and its speed against llama.cpp's programs",
    .arguments = "core|draft|sim|start|pages|real",
    .min_args = 1,
    .max_args = 1,
    .options = options,
    .details = "core: the event queue and bandwidth sharing. draft: one drafting step at 4,096\n"
               "tokens of context, caches evicted. sim: output tokens simulated per second,\n"
               "one stream, drafts by parametric acceptance, from a memo, executed. start:\n"
               "process start to the first event. pages: steps of a model whose memory is on\n"
               "huge pages, and on small ones. real: against llama-lookup and\n"
               "llama-speculative-simple, which the first call builds (ten minutes); the\n"
               "fastest of their builds, attentions and draft lengths.",
    .examples = examples,
    .run = run};
