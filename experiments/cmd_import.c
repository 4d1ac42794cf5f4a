/* tandem import: other people's prompts as a workload. */
#include <inttypes.h>

#include "experiments/command.h"
#include "traces/workload.h"

static int run(int argc, char **argv)
{
    static struct args a;
    struct workload w;
    struct err e = {0};
    int64_t max_tokens = 0;
    struct import_options o = {0};
    int rc = args_parse(&command_import, argc, argv, &a);
    if (rc != ARGS_GO_ON)
        return rc;
    if (!arg_given(&a, "--from"))
        return command_usage("--from is missing: expected spec-bench, text or jsonl");
    if (!arg_given(&a, "--output"))
        return command_usage("--output is missing: name the workload file to write");
    rc = import_from_name(arg_text(&a, "--from"), &o.from, &e);
    if (!rc)
        rc = arg_int(&a, "--max-tokens", 1, WORKLOAD_MAX_TOKENS, &max_tokens, &e);
    if (rc)
        return command_fail(&e);
    static struct command_file file[ARGS_MAX + 1];
    for (int i = 0; i < a.n; i++)
        file[i] = (struct command_file){"FILE", a.arg[i], false};
    file[a.n] = (struct command_file){"--output", arg_text(&a, "--output"), true};
    if (command_distinct(file, a.n + 1, &e))
        return command_fail(&e);
    o.field = arg_text(&a, "--field");
    o.task = arg_text(&a, "--task");
    o.max_tokens = (int32_t)max_tokens;
    rc = workload_import(&o, a.arg, a.n, &w, &e);
    if (!rc)
        rc = workload_save(&w, arg_text(&a, "--output"), &e);
    if (!rc)
        fprintf(stderr, "%s: %" PRId32 " prompts, %" PRId32 " tasks, written to %s\n",
                program->name, w.n, w.n_tasks, arg_text(&a, "--output"));
    if (!rc && w.n_turns_left_out)
        fprintf(stderr,
                "%s: %" PRId64 " later turns left out: only the first of each question becomes a "
                "prompt\n",
                program->name, w.n_turns_left_out);
    workload_fini(&w);
    return rc ? command_fail(&e) : command_end();
}

static const struct option options[] = {
    {"--from", "KIND", NULL,
     "spec-bench (question.jsonl), text (a prompt per file), jsonl (a prompt per line); needed", 0},
    {"--field", "NAME", NULL, "jsonl: the field that holds the prompt; needed there", 0},
    {"--task", "NAME", NULL, "of all of them; default: the category, or the file's name", 0},
    {"--max-tokens", "N", "128", "output tokens at most", 0},
    {"--output", "OUT.jsonl", NULL, "the workload file to write; needed", 0},
    {.name = NULL}};

static const char *const examples[] = {
    "import --from jsonl --field prompt --task reply traces/workloads/reply.jsonl "
    "--output out/imported.jsonl",
    NULL};

const struct command command_import = {
    .name = "import",
    .group = "Prepare",
    .summary = "make a workload of other people's prompts",
    .arguments = "FILE...",
    .min_args = 1,
    .max_args = ARGS_MAX,
    .options = options,
    .details = "Prompts are taken as they are: final text, no chat template is added.\n"
               "Of Spec-Bench's questions only the first turn is taken: the later ones answer a\n"
               "reply that is not in the file. How many were left out is said.",
    .examples = examples,
    .run = run};
