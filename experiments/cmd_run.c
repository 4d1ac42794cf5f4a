/* tandem run: one experiment file, several executors. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "experiments/command.h"
#include "experiments/faults.h"
#include "experiments/output.h"
#include "experiments/progress.h"
#include "experiments/run.h"
#include "sim/exec/log.h"

static const char replay_prefix[] = "replay:";

/* For `tandem bench start`: says that the simulation has begun, and ends the process. */
static void say_first_event(void)
{
    ssize_t n = write(STDOUT_FILENO, "\n", 1);
    _exit(n == 1 ? EXIT_OK : EXIT_FAILED);
}

/* ---- replay --------------------------------------------------------------------------------- */

static bool same_run(const struct experiment_policy *p, const struct run_setup *s)
{
    bool same =
        p->type == s->policy && p->n_drafters == s->n_drafters &&
        !memcmp(p->param, s->policy_param, (size_t)param_count(p->type->params) * sizeof *p->param);
    for (int32_t i = 0; same && i < p->n_drafters; i++) {
        const struct run_drafter *a = &p->drafter[i], *b = &s->drafter[i];
        same = a->type == b->type &&
               !memcmp(a->param, b->param, (size_t)param_count(a->type->params) * sizeof *a->param);
    }
    return same;
}

/* At most `most` bytes, up to the end of a word. */
static int words(const char *text, size_t most)
{
    size_t n = strlen(text);
    while (n > most || (n && text[n] && text[n] != ' '))
        n--;
    return (int)n;
}

/* Says which policy the log was made with, and which of the experiment's that is. */
static int too_many(const struct experiment *x, const struct log_reader *r,
                    const struct run_setup *setup, struct err *e)
{
    enum { SHOWN = 160 };
    const char *own = NULL, *policy = log_header(r, "policy"), *drafter = log_header(r, "drafter0");
    policy = policy ? policy : "";
    drafter = drafter ? drafter : "";
    int n = words(policy, SHOWN), n_drafter = words(drafter, SHOWN);
    for (int32_t i = 0; i < x->n_policies && setup->policy && !own; i++)
        own = same_run(&x->policy[i], setup) ? x->policy[i].label : NULL;
    return err_at(e, ERR_USAGE, x->file, 0, 0,
                  "%" PRId32 " policies: a log is replayed with one. This one was made with "
                  "'%.*s%s%s%.*s%s', %s%s%s. Leave the experiment out to replay it with its own",
                  x->n_policies, n, policy, policy[n] ? " ..." : "", *drafter ? " and " : "",
                  n_drafter, drafter, drafter[n_drafter] ? " ..." : "",
                  own ? "here '" : "none of these", own ? own : "", own ? "'" : "");
}

/* The policy of the experiment that the log may be replayed with: its only one. */
static int only_policy(const char *log, const struct experiment *x,
                       const struct experiment_policy **out, struct err *e)
{
    struct log_reader *r;
    struct exec_caps caps;
    *out = &x->policy[0];
    if (x->n_policies == 1)
        return ERR_OK;
    struct run_setup *setup = calloc(1, sizeof *setup);
    if (!setup)
        return err_set(e, ERR_NOMEM, "out of memory");
    int rc = log_open(log, &r, e);
    if (!rc) {
        log_setup(r, NULL, setup, &caps, NULL);
        rc = too_many(x, r, setup, e);
        log_close_reader(r);
    }
    free(setup);
    return rc;
}

static int print_replayed(const char *log, const struct run_replayed *r, enum output_format format)
{
    static const char *const columns[] = {"log",    "executor", "policy",       "model", "requests",
                                          "events", "actions",  "actions_hash", "equal", NULL};
    struct arena arena;
    struct output o;
    arena_init(&arena);
    output_init(&o, &arena, columns);
    output_text(&o, log);
    output_text(&o, r->executor);
    output_text(&o, r->policy);
    output_text(&o, r->model);
    output_int(&o, r->n_requests);
    output_int(&o, r->n_events);
    output_int(&o, r->n_actions);
    output_cell(&o, "%016" PRIx64, r->actions_hash);
    output_text(&o, "true");
    output_end(&o);
    if (format != OUTPUT_JSON) {
        int rc = output_print(&o, format, stdout);
        arena_fini(&arena);
        return command_printed(rc);
    }
    printf("{\n");
    for (int32_t i = 0; i < o.n_columns; i++) {
        bool bare = i >= 4 && i != 7;
        printf(" \"%s\": %s%s%s%s\n", o.column[i], bare ? "" : "\"", o.first->cell[i],
               bare ? "" : "\"", i + 1 < o.n_columns ? "," : "");
    }
    printf("}\n");
    arena_fini(&arena);
    return command_end();
}

static int replay(const char *log, const struct experiment *x, enum output_format format)
{
    const struct experiment_policy *policy = NULL;
    struct run_replayed r;
    struct err e = {0};
    int rc = x ? only_policy(log, x, &policy, &e) : ERR_OK;
    if (!rc)
        rc = run_replay(log, policy, &r, &e);
    if (rc && !e.file[0])
        snprintf(e.file, sizeof e.file, "%s", log);
    return rc ? command_fail(&e) : print_replayed(log, &r, format);
}

/* ---- running -------------------------------------------------------------------------------- */

static const char *const by_words[] = {"policy", "task", NULL};
static const char *const on_words[] = {"sim", "real", "toy", NULL};

struct request_of_user {
    enum output_format format;
    bool by_task;
    const char *log; /* to be replayed; NULL */
    const char *set[EXPERIMENT_MAX_SETS];
    int n_set;
    int64_t seed; /* -1: the file's */
    bool mix_numerics, has_faults;
    struct fault_plan faults; /* instead of the file's */
    struct run_options o;
};

/* What says the same thing twice, or has no effect. */
static int check_together(const struct args *a, const struct request_of_user *u, struct err *e)
{
    static const char *const not_replayed[] = {"--seed", "--log", "--store", "--mix-numerics",
                                               "--by"};
    for (int i = 0; i < u->n_set; i++) {
        if (arg_given(a, "--seed") && !strncmp(u->set[i], "seed=", 5))
            return err_set(e, ERR_USAGE,
                           "--seed %s and --set %s both give the seed: remove one of them",
                           arg_text(a, "--seed"), u->set[i]);
        if (arg_given(a, "--mix-numerics") && !strncmp(u->set[i], "mix_numerics=", 13))
            return err_set(e, ERR_USAGE,
                           "--mix-numerics and --set %s say the same thing: remove one of them",
                           u->set[i]);
        if (arg_given(a, "--faults") && !strncmp(u->set[i], "faults", 6) &&
            strchr("=.", u->set[i][6]))
            return err_set(e, ERR_USAGE,
                           "--faults and --set %s both give the faults: remove one of them",
                           u->set[i]);
    }
    for (size_t i = 0; u->log && i < sizeof not_replayed / sizeof *not_replayed; i++)
        if (arg_given(a, not_replayed[i]))
            return err_set(e, ERR_USAGE,
                           "%s and --on replay:%s do not go together, since a log has its own "
                           "answer: remove one of them",
                           not_replayed[i], u->log);
    if (u->log && u->n_set && !a->n)
        return err_set(e, ERR_USAGE,
                       "--set %s and --on replay:%s without an experiment: there is nothing to "
                       "set; name the experiment, or remove it",
                       u->set[0], u->log);
    return ERR_OK;
}

static int read_options(const struct args *a, struct request_of_user *u, struct err *e)
{
    int word = 0;
    const char *on = arg_text(a, "--on"), *faults = arg_text(a, "--faults");
    u->seed = -1;
    u->n_set = arg_all(a, "--set", u->set, EXPERIMENT_MAX_SETS);
    u->mix_numerics = arg_given(a, "--mix-numerics");
    u->o.log_dir = arg_text(a, "--log");
    u->o.first_event = arg_given(a, "--first-event") ? say_first_event : NULL;
    int rc = arg_word(a, "--format", output_formats, &word, e);
    u->format = (enum output_format)word;
    if (!rc)
        rc = arg_word(a, "--by", by_words, &word, e);
    u->by_task = !rc && word == 1;
    if (!rc)
        rc = arg_int(a, "--seed", 0, INT64_MAX, &u->seed, e);
    if (!rc && !strncmp(on, replay_prefix, sizeof replay_prefix - 1))
        u->log = on + sizeof replay_prefix - 1;
    else if (!rc && arg_word(a, "--on", on_words, &word, NULL))
        return err_set(e, ERR_USAGE, "--on is '%s': expected sim, real, toy or replay:LOG", on);
    u->o.kind = u->log ? WORLD_SIM : (enum world_kind)word;
    if (!rc)
        rc = check_together(a, u, e);
    if (rc || !faults)
        return rc;
    if (u->log || u->o.kind == WORLD_REAL)
        return err_set(e, ERR_USAGE, "--faults goes with --on sim and --on toy");
    u->has_faults = true;
    return faults_parse(faults, &u->faults, e);
}

static int check_files(const struct args *a, const struct experiment *x, struct err *e)
{
    struct command_file file[7 + EXPERIMENT_MAX_WORKLOADS] = {
        {"--store", arg_text(a, "--store"), true}, {"--log", arg_text(a, "--log"), true},
        {"the experiment", a->arg[0], false},      {"its device", x->device.path, false},
        {"its model", x->model.path, false},       {"its trace", x->trace.path, false},
        {"its belief", x->belief.path, false}};
    for (int32_t i = 0; i < x->n_workloads; i++)
        file[7 + i] = (struct command_file){"its workload", x->workload[i].path, false};
    return command_distinct(file, 7 + x->n_workloads, e);
}

/* A policy that knows the truth is the upper bound of a simulation; elsewhere the others go on. */
static int leave_out(struct experiment *x, const struct request_of_user *u, struct err *e)
{
    int32_t left_out = u->o.kind == WORLD_SIM ? 0 : experiment_drop_truth(x);
    if (!x->n_policies)
        return err_at(e, ERR_UNSUPPORTED, x->file, 0, 0,
                      "every policy needs to know the truth, which exists in simulation only: run "
                      "it with --on sim, or add another");
    if (left_out)
        fprintf(stderr,
                "%" PRId32 " of %" PRId32 " policies left out: they need to know the truth, which "
                "exists in simulation only\n",
                left_out, left_out + x->n_policies);
    return ERR_OK;
}

/* What runs is all in the experiment: the store and the reports have it from there. */
static void put_options(const struct request_of_user *u, struct experiment *x)
{
    if (u->seed >= 0) {
        x->n_seeds = 1;
        x->seed[0] = (uint64_t)u->seed;
    }
    x->mix_numerics = x->mix_numerics || u->mix_numerics;
    if (u->has_faults) {
        x->has_faults = true;
        x->faults = u->faults;
    }
}

/* --on sim and so on. */
static int run_all(const struct args *a, struct experiment *x, struct request_of_user *u)
{
    struct run_sink sink = {0};
    struct run_report report;
    struct err e = {0};
    const char *store = arg_text(a, "--store");
    int rc = check_files(a, x, &e);
    if (!rc)
        rc = leave_out(x, u, &e);
    if (rc)
        return command_fail(&e);
    if (u->by_task && !program->report_tasks)
        return command_usage("--by task: %s has no GSL; use tandem, or --format json",
                             program->name);
    if (store && !program->open_store)
        return command_usage("--store: %s has no SQLite; use tandem, or --format json",
                             program->name);
    if (store) {
        rc = program->open_store(store, &sink, &e);
        u->o.sink = &sink;
    }
    if (rc)
        return command_fail(&e);
    rc = run_experiment(x, &u->o, &report, &e);
    progress_end();
    if (!rc)
        rc = u->by_task ? program->report_tasks(&report, (int)u->format, stdout, &e)
                        : output_report(&report, u->format, stdout, &e);
    if (sink.close)
        sink.close(sink.self);
    run_report_fini(&report);
    return rc ? command_fail(&e) : command_end();
}

static int run(int argc, char **argv)
{
    static struct args a;
    static struct request_of_user u;
    struct experiment *x = NULL;
    struct arena arena;
    struct err e = {0};
    int rc = args_parse(&command_run, argc, argv, &a);
    if (rc != ARGS_GO_ON)
        return rc;
    rc = read_options(&a, &u, &e);
    if (rc)
        return command_fail(&e);
    if (!a.n && !u.log)
        return command_usage("too few arguments: expected run EXPERIMENT.yaml");
    arena_init(&arena);
    if (a.n) {
        x = arena_alloc(&arena, 1, sizeof *x);
        rc = x ? experiment_load(a.arg[0], u.set, u.n_set, &arena, x, &e)
               : err_set(&e, ERR_NOMEM, "out of memory");
    }
    if (!rc && x)
        put_options(&u, x);
    rc = rc ? command_fail(&e) : u.log ? replay(u.log, x, u.format) : run_all(&a, x, &u);
    arena_fini(&arena);
    return rc;
}

static const struct option options[] = {
    {"--on", "WHERE", "sim", "executor: sim, real, toy, or replay:LOG", 0},
    {"--set", "KEY=VALUE", NULL, "a value by its dotted path, as in device.bus.dram='80 GB/s'",
     OPTION_REPEATS},
    {"--seed", "N", NULL, "instead of the file's", 0},
    {"--format", "FORMAT", "table", "table, csv or json", 0},
    {"--by", "policy|task", "policy",
     "rows of the report; by task with 95 % intervals of acceptance and speed-up", OPTION_FULL},
    {"--log", "DIR", NULL, "record every run there, to be replayed or read by `log`", 0},
    {"--store", "FILE", NULL, "add the runs to this SQLite file", OPTION_FULL},
    {"--faults", "PLAN", NULL,
     "jobs of 1000 that suffer: 'fail=10 drop=0 delay=5 delay_ns=1000000 reorder=2 seed=1'", 0},
    {"--mix-numerics", NULL, NULL, "allow a trace that was made with another build or model", 0},
    {"--first-event", NULL, NULL, "end at the first event, with an empty line", OPTION_HIDDEN},
    {.name = NULL}};

static const char *const examples[] = {
    "run experiments/quickstart.yaml",
    "run experiments/quickstart.yaml --set policies.1.max_draft=5 --format csv",
    "run experiments/quickstart.yaml --on toy --log out/logs",
    "real: run experiments/quickstart.yaml --on real --set limit=1 --set max_tokens=16", NULL};

const struct command command_run = {
    .name = "run",
    .group = "Run",
    .summary = "run an experiment: simulated, for real, or from a log",
    .arguments = "EXPERIMENT.yaml",
    .min_args = 0,
    .max_args = 1,
    .options = options,
    .details =
        "Prints a row per policy. With --on replay:LOG the experiment may be left out: everything\n"
        "is in the log, and the answer is whether the policy does the same again; an experiment\n"
        "with one policy puts that one to the test.",
    .examples = examples,
    .run = run};
