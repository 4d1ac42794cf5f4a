#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "experiments/command.h"
#include "experiments/progress.h"
#include "experiments/session.h"
#include "experiments/spec.h"
#include "experiments/world.h"
#include "traces/workload.h"

enum { CHUNK = 256, MAX_TOP = 16, MAX_DRAFTS = 16, MAX_WORKLOADS = 64 };

static const struct option options[] = {
    {"--engine", "llama|toy", "llama", "the target", 0},
    {"--model", "FILE.gguf", NULL, "default: the one that the quickstart installed", 0},
    {"--roles", "MAP", NULL, "as target=cpu:1 draft=cpu:0; default: the last core and the first",
     0},
    {"--workload", "FILE.jsonl", NULL, "what is asked; needed", OPTION_REPEATS_TO(MAX_WORKLOADS)},
    {"--output", "FILE.trace", "out/observed.trace", "the token trace", 0},
    {"-o", "FILE.trace", NULL, "the same", 0},
    {"--split", "all|calibration|held-out", "all", "of the workload", 0},
    {"--prompts", "N", "100000", "at most so many, evenly over tasks", 0},
    {"--max-tokens", "N", "100000", "at most so many output tokens each", 0},
    {"--top-k", "N", "0", "likely next tokens at every prompt position", 0},
    {"--drafts", "SPEC", NULL,
     "run with these drafts, as in speculative:max_draft=15+suffix, or none; default: two runs",
     OPTION_REPEATS_TO(MAX_DRAFTS)},
    {"--agreements", NULL, NULL, "of rejected rows keep those whose choice was drafted next", 0},
    {"--ctx", "TOKENS", "2048", "context of the engine", 0},
    {NULL, NULL, NULL, NULL, 0}};

static const char *const examples[] = {
    "observe --engine toy --workload traces/workloads/ui.jsonl --prompts 2 -o out/toy.trace",
    "observe --engine toy --workload traces/workloads/rag.jsonl --prompts 1 --top-k 4 --agreements "
    "--drafts speculative:max_draft=7,calibrate=1,reuse=1+aligned -o out/toy-aligned.trace",
    NULL};

/* After the target's own text these are run for the counterfactuals that their drafts show. */
static const char *const usual_drafts[] = {"speculative:max_draft=15+suffix",
                                           "speculative:max_draft=15+lookup:branches=4"};

/* ---- an executor that shows each verified step to the trace --------------------------------- */

struct watch {
    struct exec exec; /* must be first */
    struct exec *inner;
    struct trace_builder *trace;
    int32_t index, n_prompt;
    struct job step;
    int32_t token[512], parent[512];
    bool has_parent, agreements;
    struct err *e;
};

static void watch_caps(const struct exec *x, struct exec_caps *out)
{
    const struct watch *w = (const struct watch *)x;
    w->inner->ops->caps(w->inner, out);
}

/* Leaves out what nobody will ask for who only looks for agreement: choices after rejected rows
 * that were not drafted as the next token. */
static void keep_agreements(const struct watch *w, int32_t n, const int32_t *choice, int32_t *kept)
{
    int32_t row[512],
        on_path = exec_accept(n, w->token, w->has_parent ? w->parent : NULL, choice, row);
    for (int32_t i = 0; i < n; i++)
        kept[i] = -1;
    for (int32_t i = 0; i < on_path; i++)
        kept[row[i]] = choice[row[i]];
    for (int32_t i = 1; i < n; i++) {
        int32_t above = w->has_parent ? w->parent[i] : i - 1;
        if (above >= 0 && choice[above] == w->token[i])
            kept[above] = choice[above];
    }
}

static int watch_next(struct exec *x, const struct event *due, struct event *out, struct err *e)
{
    struct watch *w = (struct watch *)x;
    int rc = w->inner->ops->next(w->inner, due, out, e);
    if (rc || out->kind != EV_DONE || out->done.id != w->step.id || out->done.status != DONE_OK)
        return rc;
    const struct job_forward *f = &w->step.forward;
    int32_t kept[512];
    const int32_t *choice = out->done.choice;
    if (w->agreements) {
        keep_agreements(w, f->n, choice, kept);
        choice = kept;
    }
    return trace_add_step(w->trace, w->index, f->pos + 1 - w->n_prompt, f->n, w->token,
                          w->has_parent ? w->parent : NULL, choice, e);
}

static int watch_act(struct exec *x, const struct action *a, struct err *e)
{
    struct watch *w = (struct watch *)x;
    const struct job_forward *f = &a->job.forward;
    if (a->kind == ACT_SUBMIT && a->job.kind == JOB_FORWARD && a->job.phase == PHASE_VERIFY &&
        f->n <= 512) {
        w->step = a->job;
        memcpy(w->token, f->token, (size_t)f->n * sizeof *w->token);
        w->has_parent = f->parent != NULL;
        if (f->parent)
            memcpy(w->parent, f->parent, (size_t)f->n * sizeof *w->parent);
    }
    return w->inner->ops->act(w->inner, a, e);
}

static int64_t watch_host(struct exec *x, const struct host_work *work)
{
    struct watch *w = (struct watch *)x;
    return w->inner->ops->host(w->inner, work);
}

static void watch_destroy(struct exec *x)
{
    struct watch *w = (struct watch *)x;
    w->inner->ops->destroy(w->inner);
}

static const struct exec_ops watch_ops = {"observe", watch_caps, watch_next,
                                          watch_act, watch_host, watch_destroy};

/* ---- one request ---------------------------------------------------------------------------- */

struct observing {
    struct session session;
    struct trace_builder *trace;
    struct arena arena; /* of one request */
    int32_t top_k, max_tokens, max_ctx;
    int n_drafts;
    const char *draft[MAX_DRAFTS];
    bool agreements;
    const char *output;
};

static int run_drafts(struct observing *o, const char *spec, const struct request *request,
                      int32_t index, struct err *e)
{
    struct run_setup setup = {.max_requests = 1};
    struct run_result result;
    struct watch w = {
        .exec = {&watch_ops}, .trace = o->trace, .index = index, .n_prompt = request->n};
    w.agreements = o->agreements;
    session_setup(&o->session, &setup);
    int rc = spec_parse(spec, &setup, e);
    if (!rc)
        rc = session_exec(&o->session, &setup, &w.inner, e);
    if (rc)
        return rc;
    rc = driver_run(&setup, &w.exec, request, 1, &o->arena, &result, e);
    watch_destroy(&w.exec);
    return rc;
}

/* One step of the engine at `pos` cached tokens, without a policy. */
static int run_step(struct observing *o, int32_t pos, int32_t n, const int32_t *token,
                    struct engine_out *out, struct err *e)
{
    struct engine *g = o->session.engine;
    struct exec_caps caps;
    g->ops->caps(g, &caps);
    bool likely = o->top_k && out->top;
    struct job job = {.id = 1, .kind = JOB_FORWARD, .phase = PHASE_PREFILL};
    job.forward = (struct job_forward){.b1 = caps.blocks,
                                       .width = n,
                                       .pos = pos,
                                       .n = n,
                                       .token = token,
                                       .slot_in = -1,
                                       .slot_out = -1,
                                       .want = likely ? WANT_TOPK : WANT_ARGMAX,
                                       .want_from = likely ? 0 : n - 1,
                                       .want_k = likely ? o->top_k : 0};
    out->status = DONE_OK;
    g->ops->run(g, &job, out);
    if (out->status != DONE_OK)
        return err_set(e, ERR_DEVICE, "a step failed: %s", out->message);
    return ERR_OK;
}

static bool is_end(const struct session *s, int32_t token)
{
    for (int32_t i = 0; i < s->n_eos; i++)
        if (s->eos[i] == token)
            return true;
    return false;
}

/* The target's own text, a token per step, and the likely tokens at every prompt position. */
static int decode_alone(struct observing *o, const struct request *request, int32_t index,
                        struct err *e)
{
    static int32_t choice[512], top[512 * MAX_TOP];
    static float logit[512 * MAX_TOP];
    struct engine_out out = {.choice = choice, .top = top, .logit = logit};
    int32_t *output = arena_alloc(&o->arena, (size_t)request->max_tokens, sizeof *output), k = 0;
    int rc = output ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory");
    for (int32_t pos = 0, n; pos < request->n && !rc; pos += n) {
        n = request->n - pos < CHUNK ? request->n - pos : CHUNK;
        rc = run_step(o, pos, n, request->token + pos, &out, e);
        if (!rc && o->top_k)
            rc = trace_add_top(o->trace, index, pos, n, top, logit, e);
    }
    out.top = NULL;
    while (!rc) {
        output[k++] = choice[out.n_choice - 1];
        if (k == request->max_tokens || is_end(&o->session, output[k - 1]))
            break;
        rc = run_step(o, request->n + k - 1, 1, &output[k - 1], &out, e);
    }
    struct job clear = {.id = 1, .kind = JOB_COMMIT};
    o->session.engine->ops->run(o->session.engine, &clear, &out);
    return rc ? rc : trace_add_output(o->trace, index, output, k, e);
}

static int observe(struct observing *o, const struct workload *w, const struct workload_item *item,
                   struct err *e)
{
    arena_reset(&o->arena);
    int32_t *token = arena_alloc(&o->arena, (size_t)o->max_ctx, sizeof *token), index;
    if (!token)
        return err_set(e, ERR_NOMEM, "out of memory");
    int32_t max_tokens = item->max_tokens < o->max_tokens ? item->max_tokens : o->max_tokens;
    int32_t n =
        session_tokenize(&o->session, item->prompt, strlen(item->prompt), token, o->max_ctx);
    if (n < 1 || n + max_tokens + 16 > o->max_ctx)
        return err_at(
            e, ERR_LIMIT, item->file, item->line, item->col,
            "prompt %s and %d output tokens do not fit a context of %d tokens: raise --ctx",
            item->id, max_tokens, o->max_ctx);
    struct request request = {.n = n,
                              .token = token,
                              .max_tokens = max_tokens,
                              .arrival_ns = REQUEST_AFTER_PREVIOUS,
                              .cancel_ns = EXEC_NEVER};
    int rc = trace_add_request(o->trace, item->id, w->task[item->task], (int32_t)item->split,
                               max_tokens, token, n, &index, e);
    if (!rc)
        rc = decode_alone(o, &request, index, e);
    for (int i = 0; i < o->n_drafts && !rc; i++)
        rc = run_drafts(o, o->draft[i], &request, index, e);
    return rc ? rc : trace_write(o->trace, o->output, e);
}

/* ---- all of them ---------------------------------------------------------------------------- */

/* The items of one workload file that are asked. */
struct asked {
    struct workload workload;
    int32_t n, *index;
};

static int choose(const char *file, enum experiment_split split, int64_t prompts, struct asked *out,
                  struct err *e)
{
    int rc = workload_load(file, SPLIT_ALTERNATE, &out->workload, e);
    if (rc)
        return rc;
    int32_t n = out->workload.n;
    out->index = calloc((size_t)n + 1, sizeof *out->index);
    if (out->index)
        out->n =
            world_choose(&out->workload, split, prompts < n ? (int32_t)prompts : n, out->index);
    return out->index && out->n >= 0 ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory");
}

/* Files take turns and the trace is written after every prompt: a recording that is stopped has
 * about as many of each. */
static int observe_all(struct observing *o, const struct asked *asked, int n, struct err *e)
{
    int32_t total = 0, done = 0;
    for (int i = 0; i < n; i++)
        total += asked[i].n;
    for (int32_t turn = 0; done < total; turn++)
        for (int i = 0; i < n; i++) {
            if (turn >= asked[i].n)
                continue;
            const struct workload *w = &asked[i].workload;
            const struct workload_item *item = &w->item[asked[i].index[turn]];
            done++;
            progress_show("%d of %d: %s", done, total, item->id);
            int rc = observe(o, w, item, e);
            if (rc)
                return rc;
        }
    progress_end();
    return total ? ERR_OK : trace_write(o->trace, o->output, e); /* which says that there is none */
}

static int open_target(const struct args *a, struct observing *o, struct err *e)
{
    static const char *const engine[] = {"llama", "toy", NULL};
    int64_t top_k = 0, max_tokens = 0, ctx = 0;
    char model[4096];
    struct role_map roles;
    int toy = 0, rc = arg_int(a, "--top-k", 0, MAX_TOP, &top_k, e);
    role_map_default(&roles);
    if (!rc)
        rc = arg_int(a, "--max-tokens", 1, 1000000, &max_tokens, e);
    if (!rc)
        rc = arg_int(a, "--ctx", 64, 1 << 20, &ctx, e);
    if (!rc)
        rc = arg_word(a, "--engine", engine, &toy, e);
    if (!rc && toy && arg_given(a, "--model"))
        rc = err_set(e, ERR_USAGE,
                     "--model and --engine toy do not go together: remove one of them");
    if (!rc && arg_text(a, "--roles"))
        rc = role_map_parse(arg_text(a, "--roles"), &roles, e);
    o->top_k = (int32_t)top_k;
    o->max_tokens = (int32_t)max_tokens;
    o->max_ctx = (int32_t)ctx;
    if (rc)
        return rc;
    if (toy) {
        rc = session_open_toy(1, &o->session, e);
        o->session.roles = roles;
        return rc;
    }
    const char *path = arg_text(a, "--model");
    return session_open_model(path ? path : session_default_model(model, sizeof model), &roles,
                              (int32_t)ctx, &o->session, e);
}

static int check_files(const struct args *a, const char *output, struct err *e)
{
    const char *workload[MAX_WORKLOADS];
    int n = arg_all(a, "--workload", workload, MAX_WORKLOADS), rc = ERR_OK;
    for (int i = 0; i < n && !rc; i++) {
        const struct command_file file[] = {{"--workload", workload[i], false},
                                            {"--model", arg_text(a, "--model"), false},
                                            {arg_given(a, "-o") ? "-o" : "--output", output, true}};
        rc = command_distinct(file, 3, e);
    }
    return rc;
}

/* The runs with drafts: as asked, the usual ones, or none. */
static int read_drafts(const struct args *a, struct observing *o, struct err *e)
{
    o->n_drafts = arg_all(a, "--drafts", o->draft, MAX_DRAFTS);
    if (o->n_drafts == 1 && !strcmp(o->draft[0], "none")) {
        o->n_drafts = 0;
    } else if (!o->n_drafts) {
        o->n_drafts = (int)(sizeof usual_drafts / sizeof *usual_drafts);
        memcpy(o->draft, usual_drafts, sizeof usual_drafts);
    }
    o->agreements = arg_given(a, "--agreements");
    for (int i = 0; i < o->n_drafts; i++) {
        struct run_setup setup = {0};
        int rc = spec_parse(o->draft[i], &setup, e);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

static int observe_files(struct observing *o, const struct args *a, struct err *e)
{
    static const char *const splits[] = {"all", "calibration", "held-out", NULL};
    static const enum experiment_split split[] = {EXPERIMENT_ALL, EXPERIMENT_CALIBRATION,
                                                  EXPERIMENT_HELD_OUT};
    static struct asked asked[MAX_WORKLOADS];
    const char *file[MAX_WORKLOADS];
    int n = arg_all(a, "--workload", file, MAX_WORKLOADS), which = 0;
    int64_t prompts = 0;
    int rc = arg_int(a, "--prompts", 1, 1000000, &prompts, e);
    if (!rc)
        rc = arg_word(a, "--split", splits, &which, e);
    for (int i = 0; i < n && !rc; i++)
        rc = choose(file[i], split[which], prompts, &asked[i], e);
    if (!rc)
        rc = observe_all(o, asked, n, e);
    for (int i = 0; i < n; i++) {
        free(asked[i].index);
        workload_fini(&asked[i].workload);
    }
    return rc;
}

static int run(int argc, char **argv)
{
    static struct args a;
    struct err e = {0};
    static struct observing o;
    int code = args_parse(&command_observe, argc, argv, &a);
    if (code != ARGS_GO_ON)
        return code;
    if (!arg_text(&a, "--workload"))
        return command_usage("observe needs --workload FILE.jsonl");
    arena_init(&o.arena);
    const char *path = arg_text(&a, "-o") ? arg_text(&a, "-o") : arg_text(&a, "--output");
    o.output = path;
    int rc = args_exclusive(&a, "-o", "--output", &e);
    if (!rc)
        rc = check_files(&a, path, &e);
    if (!rc)
        rc = read_drafts(&a, &o, &e);
    if (rc)
        return command_fail(&e);
    bool made_out = command_make_out(path);
    rc = command_can_write(path, &e);
    if (!rc)
        rc = open_target(&a, &o, &e);
    const struct session *s = &o.session;
    if (!rc)
        rc = trace_builder_create(s->model, s->numerics, s->n_vocab, s->eos, s->n_eos, o.top_k,
                                  &o.trace, &e);
    if (!rc)
        rc = observe_files(&o, &a, &e);
    if (!rc) {
        struct trace_counts n = trace_counts(o.trace);
        printf("%s: %lld counterfactuals, %lld seen again, %lld conflicting, %lld divergent\n",
               path, (long long)n.counterfactuals, (long long)n.repeated, (long long)n.conflicting,
               (long long)n.divergent);
    }
    code = rc ? command_fail(&e) : command_end();
    if (rc && made_out)
        rmdir("out"); /* unless something is in it */
    if (o.trace)
        trace_builder_destroy(o.trace);
    session_close(&o.session);
    arena_fini(&o.arena);
    return code;
}

const struct command command_observe = {
    .name = "observe",
    .group = "Prepare",
    .summary = "record a token trace: what the target says, also under rejected drafts",
    .arguments = "",
    .options = options,
    .details = "Every prompt is decoded alone, which gives the target's own text, and again with\n"
               "drafts, whose rejected rows give counterfactuals. Workload files take turns, and\n"
               "the trace is written after every prompt: what was recorded before a stop is kept.",
    .examples = examples,
    .run = run};
