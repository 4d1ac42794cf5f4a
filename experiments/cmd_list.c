/* tandem list: what there is to choose from. */
#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/command.h"
#include "experiments/output.h"
#include "hwmodels/status.h"

/* A line for each policy, drafter or executor, and for each parameter. */
static const char *const columns[] = {"kind",  "name", "parameter", "default",
                                      "range", "what", NULL};

static void put_params(struct output *o, const char *kind, const char *name,
                       const struct param *spec)
{
    for (int32_t i = 0, n = param_count(spec); i < n; i++) {
        const struct param *p = &spec[i];
        struct param each[2] = {*p, {.name = NULL}};
        char text[200], range[200];
        size_t at = 0;
        param_format(each, &p->def, text, sizeof text);
        for (int c = 0; p->choice && p->choice[c] && at < sizeof range; c++)
            at +=
                (size_t)snprintf(range + at, sizeof range - at, "%s%s", c ? "|" : "", p->choice[c]);
        if (!p->choice)
            at = (size_t)snprintf(range, sizeof range, "%" PRId64 "..%" PRId64, p->min, p->max);
        if (p->allow_auto && at < sizeof range)
            snprintf(range + at, sizeof range - at, "|%s",
                     p->allow_auto & PARAM_TAKES_AUTO ? "auto" : "none");
        output_text(o, kind);
        output_text(o, name);
        output_text(o, p->name);
        output_text(o, strchr(text, '=') + 1);
        output_text(o, range);
        output_text(o, p->help);
        output_end(o);
    }
}

static void put_head(struct output *o, const char *kind, const char *name, const char *what,
                     bool truth, uint32_t flags)
{
    const char *drafter = flags & POLICY_NEEDS_DRAFTER   ? " (needs a drafter)"
                          : flags & POLICY_TAKES_DRAFTER ? " (takes a drafter)"
                                                         : "";
    output_text(o, kind);
    output_text(o, name);
    output_text(o, "");
    output_text(o, "");
    output_text(o, "");
    output_cell(o, "%s%s%s", what, drafter, truth ? " (knows the truth: simulation only)" : "");
    output_end(o);
}

/* Whether a policy's text is the target's own, with its default parameters. */
static const char *lossless(const struct policy_type *t)
{
    int64_t value[PARAM_MAX];
    param_defaults(t->params, value);
    return t->lossless(value) ? "; lossless" : "; not lossless";
}

/* Mechanisms of the hardware model: what it is made from, and what there is no model of, so that no
 * result has it. */
static void put_mechanisms(struct output *o)
{
    static const struct {
        const char *name, *what;
    } list[] = {
        {"width", "measured: step and prefill tables, linear within a residue of the period"},
        {"context", "measured: the tables' buckets of padded cells"},
        {"changed shape", "measured: one figure of each kind of steps, from cells after a change"},
        {"sampling", "measured: sample, commit, draft of a device file"},
        {"host", "measured: event, action, dispatch and notify times of a device file"},
        {"bus sharing", "weighted max-min; needs bus.dram and the tables' bytes"},
        {"power", "active and idle power of a device file; null: energy unknown"},
        {"operators", "sourced: products and rates that others measured; an experiment's graphs"},
        {"load beside compute", "share the bus, where bus.dram is known; devices of operators"},
        {"synchronisation", "dispatch and notify; layouts mllm and mllm-pairs: sync of a device"},
        {"storage", "sourced: its bandwidth by block, or an experiment's graphs.load"},
        {"thermal", "one node, a governor with hysteresis; null: unknown; devices of operators"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        put_head(o, "mechanism", list[i].name, list[i].what, false, 0);
}

/* What each mechanism of a shipped device rests on: sourced, assumed or unknown (status.h). */
static int put_status(struct output *o, const char *folder, const char *file, struct err *e)
{
    struct status status[STATUS_MECHANISMS];
    struct device d;
    struct arena arena;
    char path[800];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    arena_init(&arena);
    int rc = device_load(path, NULL, 0, &arena, &d, e);
    if (!rc)
        device_status(&d, status);
    for (int32_t i = 0; i < STATUS_MECHANISMS && !rc; i++) {
        output_text(o, "status");
        output_text(o, d.name);
        output_text(o, status[i].mechanism);
        output_text(o, status[i].status);
        output_text(o, "");
        output_text(o, status[i].why);
        output_end(o);
    }
    arena_fini(&arena);
    return rc;
}

/* Of all device files that come with Tandem, by name. Without sources there are none. */
static int put_devices(struct output *o, struct err *e)
{
    char folder[512];
    struct dirent **file;
    int n = command_yaml_files("hwmodels/devices", folder, sizeof folder, &file), rc = ERR_OK;
    for (int i = 0; i < n; i++) {
        if (!rc)
            rc = put_status(o, folder, file[i]->d_name, e);
        free(file[i]);
    }
    free(file);
    return rc;
}

static void put_executors(struct output *o)
{
    static const struct {
        const char *name, *what;
    } list[] = {
        {"sim", "a virtual clock, a device file and a token trace"},
        {"real", "llama.cpp on a device of this machine"},
        {"toy", "a hash language model in wall-clock time on real threads"},
        {"replay:LOG", "a recorded log, whose actions must come again"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        bool here = strcmp(list[i].name, "real") != 0;
#ifdef TANDEM_REAL
        here = true;
#endif
        char what[160];
        snprintf(what, sizeof what, "%s%s", list[i].what, here ? "" : " (not in this build)");
        put_head(o, "executor", list[i].name, what, false, 0);
    }
}

static int run(int argc, char **argv)
{
    static struct args a;
    struct output o;
    struct arena arena;
    struct err e = {0};
    int format, rc = args_parse(&command_list, argc, argv, &a);
    if (rc != ARGS_GO_ON)
        return rc;
    if (arg_word(&a, "--format", output_formats, &format, &e))
        return command_fail(&e);
    arena_init(&arena);
    output_init(&o, &arena, columns);
    for (int i = 0; policy_registry[i]; i++) {
        const struct policy_type *t = policy_registry[i];
        char what[200];
        snprintf(what, sizeof what, "%s%s", t->summary, lossless(t));
        put_head(&o, "policy", t->name, what, t->flags & POLICY_NEEDS_TRUTH, t->flags);
        put_params(&o, "policy", t->name, t->params);
    }
    for (int i = 0; draft_registry[i]; i++) {
        const struct drafter_type *t = draft_registry[i];
        char what[200];
        snprintf(what, sizeof what, "%s%s", t->summary,
                 t->flags & DRAFTER_BRANCHES ? "; may propose trees" : "");
        put_head(&o, "drafter", t->name, what, t->flags & DRAFTER_NEEDS_TRUTH, false);
        put_params(&o, "drafter", t->name, t->params);
    }
    put_executors(&o);
    put_mechanisms(&o);
    if (put_devices(&o, &e)) {
        arena_fini(&arena);
        return command_fail(&e);
    }
    rc = output_print(&o, (enum output_format)format, stdout);
    arena_fini(&arena);
    return command_printed(rc);
}

static const struct option options[] = {{"--format", "FORMAT", "table", "table, csv or json", 0},
                                        {.name = NULL}};
static const char *const examples[] = {"list", NULL};

const struct command command_list = {
    .name = "list",
    .group = "Look",
    .summary = "policies, drafters, executors, mechanisms and what these rest on, by device",
    .arguments = "",
    .options = options,
    .examples = examples,
    .run = run};
