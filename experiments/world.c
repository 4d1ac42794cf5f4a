#include "experiments/world.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/command.h"
#include "hwmodels/belief.h"
#include "hwmodels/steps.h"
#include "sim/base/hash.h"
#include "traces/workload.h"

enum { DEFAULT_CTX = 2048 };

static int no_memory(struct err *e)
{
    return err_set(e, ERR_NOMEM, "out of memory for an experiment");
}

/* ---- a trace as the target ------------------------------------------------------------------ */

static int32_t truth_choice(struct truth *base, int32_t request, int32_t n_true,
                            const int32_t *wrong, int32_t n_wrong)
{
    const struct trace_truth *t = (const struct trace_truth *)base;
    if (request < 0 || request >= t->n)
        return -1;
    return trace_choice(t->trace, t->map[request], n_true, wrong, n_wrong);
}

static int32_t truth_follow(struct truth *base, int32_t request, int32_t n_true, int32_t n_wrong,
                            int32_t token, struct truth_path *path)
{
    const struct trace_truth *t = (const struct trace_truth *)base;
    int32_t of = request < 0 || request >= t->n ? -1 : t->map[request];
    struct trace_path at = {path->chain, path->at};
    int32_t choice = trace_follow(t->trace, of, n_true, n_wrong, token, &at);
    *path = (struct truth_path){at.chain, at.at};
    return choice;
}

static int32_t truth_length(struct truth *base, int32_t request)
{
    const struct trace_truth *t = (const struct trace_truth *)base;
    return request < 0 || request >= t->n ? 0 : trace_length(t->trace, t->map[request]);
}

static int32_t truth_top(struct truth *base, int32_t request, int32_t pos, int32_t k,
                         int32_t *token, float *logit)
{
    const struct trace_truth *t = (const struct trace_truth *)base;
    if (request < 0 || request >= t->n)
        return 0;
    return trace_top(t->trace, t->map[request], pos, k, token, logit);
}

static const int32_t *truth_text(struct truth *base, int32_t request, int32_t *n)
{
    const struct trace_truth *t = (const struct trace_truth *)base;
    *n = truth_length(base, request);
    return *n ? trace_request(t->trace, t->map[request]).output : NULL;
}

static const struct truth_ops truth_ops = {.choice = truth_choice,
                                           .length = truth_length,
                                           .top = truth_top,
                                           .text = truth_text,
                                           .follow = truth_follow};

void trace_truth_init(struct trace_truth *t, const struct trace *trace, const int32_t *map,
                      int32_t n)
{
    *t = (struct trace_truth){{&truth_ops}, trace, map, n};
}

void trace_requests(const struct trace *trace, const int32_t *map, int32_t n,
                    struct request *request)
{
    for (int32_t i = 0; i < n; i++) {
        struct trace_request r = trace_request(trace, map[i]);
        request[i] = (struct request){.n = r.n_prompt,
                                      .token = r.prompt,
                                      .max_tokens = r.max_tokens,
                                      .arrival_ns = REQUEST_AFTER_PREVIOUS,
                                      .cancel_ns = EXEC_NEVER};
    }
}

int device_exec(const struct device *d, const char *roles, const struct device_options *opt,
                struct truth *truth, const struct run_setup *setup, struct arena *arena,
                struct exec **out, struct err *e)
{
    const struct cost_model *cost;
    struct device_options named = *opt;
    int32_t processor[EXEC_MAX_ROLES], n_roles = 0;
    while (setup->policy->role[n_roles])
        n_roles++;
    for (int32_t i = 0; i < setup->n_drafters; i++)
        named.drafter[i] = setup->drafter[i].type->name;
    int rc = device_roles(d, setup->policy->role, roles, processor, e);
    if (!rc)
        rc = device_cost_create(d, processor, n_roles, &named, arena, &cost, e);
    return rc ? rc : sim_create(cost, truth, setup, out, e);
}

/* ---- requests of a trace -------------------------------------------------------------------- */

static bool in_split(const struct experiment *x, int32_t split)
{
    return x->split == EXPERIMENT_ALL ||
           split == (x->split == EXPERIMENT_HELD_OUT ? SPLIT_HELD_OUT : SPLIT_CALIBRATION);
}

/* A request's place: its turn among those of its task, and the task's place in order of first
 * appearance. */
struct turn {
    int32_t turn, task, request;
};

static int by_turn(const void *a, const void *b)
{
    const struct turn *x = a, *y = b;
    if (x->turn != y->turn)
        return x->turn < y->turn ? -1 : 1;
    return (x->task > y->task) - (x->task < y->task);
}

/* The requests of the split, at most `limit` of them evenly over tasks, as workload_choose does
 * it. Fills map[] and *n. */
static int choose_requests(const struct experiment *x, const struct trace *t, int32_t *map,
                           int32_t *n, struct err *e)
{
    int32_t all = trace_info(t)->n_requests, n_tasks = 0, found = 0;
    struct turn *turn = calloc((size_t)all + 1, sizeof *turn);
    struct {
        const char *name;
        int32_t n;
    } *task = calloc((size_t)all + 1, sizeof *task);
    for (int32_t i = 0; turn && task && i < all; i++) {
        struct trace_request r = trace_request(t, i);
        int32_t k = 0;
        if (!in_split(x, r.split))
            continue;
        while (k < n_tasks && strcmp(task[k].name, r.task))
            k++;
        if (k == n_tasks)
            task[n_tasks++].name = r.task;
        turn[found++] = (struct turn){task[k].n++, k, i};
    }
    if (turn && task)
        qsort(turn, (size_t)found, sizeof *turn, by_turn);
    *n = x->limit && x->limit < found ? x->limit : found;
    for (int32_t i = 0; turn && task && i < *n; i++)
        map[i] = turn[i].request;
    int rc = turn && task ? ERR_OK : no_memory(e);
    free(turn);
    free(task);
    return rc;
}

static int open_trace(struct world *w, struct err *e)
{
    const struct experiment *x = w->x;
    int rc = trace_open(x->trace.path, &w->trace, e);
    if (rc)
        return rc;
    int32_t n = trace_info(w->trace)->n_requests;
    int32_t *map = arena_alloc(&w->arena, (size_t)n + 1, sizeof *map);
    if (!map)
        return no_memory(e);
    rc = choose_requests(x, w->trace, map, &w->n_requests, e);
    if (rc)
        return rc;
    n = w->n_requests;
    w->request = arena_alloc(&w->arena, (size_t)n + 1, sizeof *w->request);
    w->name = arena_alloc(&w->arena, (size_t)n + 1, sizeof *w->name);
    if (!w->request || !w->name)
        return no_memory(e);
    trace_requests(w->trace, map, n, w->request);
    trace_truth_init(&w->truth, w->trace, map, n);
    for (int32_t i = 0; i < n; i++) {
        struct trace_request r = trace_request(w->trace, map[i]);
        w->name[i] = (struct world_name){r.id, r.task};
    }
    snprintf(w->model, sizeof w->model, "%s", trace_info(w->trace)->model);
    snprintf(w->numerics, sizeof w->numerics, "%s", trace_info(w->trace)->numerics);
    return ERR_OK;
}

/* ---- requests of a workload ----------------------------------------------------------------- */

int32_t world_choose(const struct workload *w, enum experiment_split split, int32_t max,
                     int32_t *index)
{
    if (split != EXPERIMENT_ALL)
        return workload_choose(w, split == EXPERIMENT_HELD_OUT ? SPLIT_HELD_OUT : SPLIT_CALIBRATION,
                               max, index);
    struct workload all = *w; /* the same items, all of one split */
    all.item = calloc((size_t)w->n + 1, sizeof *all.item);
    if (!all.item)
        return -1;
    for (int32_t i = 0; i < w->n; i++) {
        all.item[i] = w->item[i];
        all.item[i].split = SPLIT_HELD_OUT;
    }
    int32_t n = workload_choose(&all, SPLIT_HELD_OUT, max, index);
    free(all.item);
    return n;
}

static int add_item(struct world *w, const struct workload *from, int32_t index, struct err *e)
{
    const struct workload_item *item = &from->item[index];
    size_t n = strlen(item->prompt);
    int32_t cap = (int32_t)n + 8;
    int32_t *token = malloc((size_t)cap * sizeof *token);
    int32_t count = token ? session_tokenize(&w->session, item->prompt, n, token, cap) : -1;
    int32_t *kept = count > 0 ? arena_alloc(&w->arena, (size_t)count, sizeof *kept) : NULL;
    if (kept)
        memcpy(kept, token, (size_t)count * sizeof *kept);
    free(token);
    if (!count)
        return err_at(e, ERR_RANGE, item->file, item->line,
                      item->prompt_col ? item->prompt_col : item->col,
                      "the prompt of '%s' has no tokens: give it some text", item->id);
    const char *id = arena_strdup(&w->arena, item->id);
    const char *task = arena_strdup(&w->arena, from->task[item->task]);
    if (!kept || !id || !task)
        return no_memory(e);
    for (int32_t i = 0; i < w->n_requests; i++)
        if (!strcmp(w->name[i].id, id))
            return err_at(e, ERR_SCHEMA, item->file, item->line, item->col,
                          "the id '%s' is in another workload file too: rename one", id);
    w->name[w->n_requests] = (struct world_name){id, task};
    w->request[w->n_requests++] = (struct request){.n = count,
                                                   .token = kept,
                                                   .max_tokens = item->max_tokens,
                                                   .arrival_ns = REQUEST_AFTER_PREVIOUS,
                                                   .cancel_ns = EXEC_NEVER};
    return ERR_OK;
}

struct choice {
    struct workload workload;
    int32_t n, *index;
};

static int choose_items(struct world *w, const char *path, struct choice *c, struct err *e)
{
    int rc = workload_load(path, SPLIT_ALTERNATE, &c->workload, e);
    if (rc)
        return rc;
    int32_t n = c->workload.n;
    c->index = arena_alloc(&w->arena, (size_t)n + 1, sizeof *c->index);
    if (!c->index)
        return no_memory(e);
    c->n = world_choose(&c->workload, w->x->split, n, c->index);
    return c->n < 0 ? no_memory(e) : ERR_OK;
}

/* Files take turns, so that a limit takes evenly from each. */
static int open_workloads(struct world *w, struct err *e)
{
    const struct experiment *x = w->x;
    struct choice *c = calloc(EXPERIMENT_MAX_WORKLOADS, sizeof *c);
    int32_t total = 0;
    int rc = c ? ERR_OK : no_memory(e);
    for (int32_t i = 0; i < x->n_workloads && !rc; i++) {
        rc = choose_items(w, x->workload[i].path, &c[i], e);
        total += c[i].n;
    }
    w->request = arena_alloc(&w->arena, (size_t)total + 1, sizeof *w->request);
    w->name = arena_alloc(&w->arena, (size_t)total + 1, sizeof *w->name);
    if (!rc && (!w->request || !w->name))
        rc = no_memory(e);
    int32_t limit = x->limit && x->limit < total ? x->limit : total;
    for (int32_t turn = 0; !rc && w->n_requests < limit; turn++)
        for (int32_t i = 0; i < x->n_workloads && !rc && w->n_requests < limit; i++)
            if (turn < c[i].n)
                rc = add_item(w, &c[i].workload, c[i].index[turn], e);
    for (int32_t i = 0; c && i < x->n_workloads; i++)
        workload_fini(&c[i].workload);
    free(c);
    return rc;
}

/* ---- opening -------------------------------------------------------------------------------- */

const char *world_kind_name(enum world_kind kind)
{
    static const char *const name[] = {"sim", "real", "toy"};
    return name[kind];
}

/* What this kind needs and the experiment does not name. */
static int check_files(const struct world *w, struct err *e)
{
    const struct experiment *x = w->x;
    const char *missing = NULL, *what = "";
    if (w->kind == WORLD_SIM && !x->device.path) {
        missing = "device";
        what = "a device file";
    } else if (w->kind == WORLD_SIM && !x->trace.path) {
        missing = "trace";
        what = "a token trace, which `tandem observe` records";
    } else if (w->kind != WORLD_SIM && !x->n_workloads) {
        missing = "workload";
        what = "a JSON Lines file of prompts";
    }
    if (missing)
        return err_at(e, ERR_SCHEMA, x->file, 0, 0, "--on %s needs the key '%s': add %s",
                      world_kind_name(w->kind), missing, what);
    for (int32_t i = 0; i < x->n_policies && w->kind != WORLD_SIM; i++) {
        const struct experiment_policy *p = &x->policy[i];
        bool truth = p->type->flags & POLICY_NEEDS_TRUTH;
        for (int32_t k = 0; k < p->n_drafters; k++)
            truth = truth || (p->drafter[k].type->flags & DRAFTER_NEEDS_TRUTH);
        if (truth)
            return err_at(e, ERR_UNSUPPORTED, x->file, 0, 0,
                          "policy '%s' needs to know the truth: it exists in simulation only",
                          p->label);
    }
    return ERR_OK;
}

static int open_session(struct world *w, uint64_t seed, struct err *e)
{
    const struct experiment *x = w->x;
    struct role_map roles;
    char model[4096];
    int rc = ERR_OK;
    if (x->real_roles)
        rc = role_map_parse(x->real_roles, &roles, e);
    else
        role_map_default(&roles);
    if (rc)
        return rc;
    const int32_t width[2] = {x->graphs.wide, x->graphs.narrow};
    if (w->kind == WORLD_TOY)
        rc = session_open_graphs(seed, x->has_graphs ? x->graphs.blocks : 1, width,
                                 x->has_graphs ? 2 : 0, &w->session, e);
    else
        rc = session_open_model(x->model.path ? x->model.path
                                              : session_default_model(model, sizeof model),
                                &roles, x->max_ctx ? x->max_ctx : DEFAULT_CTX, &w->session, e);
    if (rc)
        return rc;
    w->session.roles = roles;
    snprintf(w->model, sizeof w->model, "%s", w->session.model);
    snprintf(w->numerics, sizeof w->numerics, "%s", w->session.numerics);
    return open_workloads(w, e);
}

static int check_numerics(struct world *w, struct err *e)
{
    const char *device = w->device.numerics_id;
    w->mixed = w->phone;
    if (w->phone && !w->x->mix_numerics)
        return err_at(e, ERR_MISMATCH, w->x->file, 0, 0,
                      "the trace was recorded with '%s' and not on this device with '%s': allow "
                      "that with mix_numerics: true, or --mix-numerics",
                      w->model, w->desc.name);
    if (w->phone) {
        char text[sizeof w->model];
        snprintf(text, sizeof text, "%.48s with the text of %.56s", w->desc.name, w->model);
        snprintf(w->model, sizeof w->model, "%s", text);
    }
    if (!w->has_device || w->kind != WORLD_SIM || !*device || !*w->numerics ||
        !strcmp(device, w->numerics))
        return ERR_OK;
    w->mixed = true;
    if (w->x->mix_numerics)
        return ERR_OK;
    return err_at(e, ERR_MISMATCH, w->x->file, 0, 0,
                  "the trace has the numerics id '%s', the device '%s': they were made with other "
                  "weights, builds or settings. Record the trace on the device's engine, or say "
                  "--mix-numerics",
                  w->numerics, device);
}

static int check_requests(const struct world *w, struct err *e)
{
    const struct experiment *x = w->x;
    struct exec_caps caps = {.max_ctx = w->device.max_ctx};
    if (w->kind != WORLD_SIM)
        w->session.engine->ops->caps(w->session.engine, &caps);
    const char *whose = w->kind == WORLD_SIM ? "the device's" : "max_ctx";
    int32_t ctx = caps.max_ctx;
    if (!w->n_requests)
        return err_at(e, ERR_SCHEMA, x->file, 0, 0,
                      "no request is left: the split and the limit leave none of them");
    if (x->max_ctx && x->max_ctx < ctx) {
        ctx = x->max_ctx;
        whose = "max_ctx";
    } else if (w->phone && x->graphs.context) {
        whose = "graphs.context";
    } else if (w->phone && x->max_ctx == ctx) {
        whose = "max_ctx";
    }
    for (int32_t i = 0; i < w->n_requests; i++) {
        const struct request *r = &w->request[i];
        if (r->n > ctx - r->max_tokens)
            return err_at(e, ERR_RANGE, x->file, 0, 0,
                          "request '%s' has %" PRId32 " prompt tokens and asks for %" PRId32
                          " more, which is over the context of %" PRId32
                          " (%s): raise that, lower max_tokens, or leave the request out",
                          w->name[i].id, r->n, r->max_tokens, ctx, whose);
    }
    return ERR_OK;
}

static int set_arrivals(struct world *w, struct err *e)
{
    const struct experiment *x = w->x;
    if (x->arrivals == ARRIVE_LIST && x->n_arrivals != w->n_requests)
        return err_at(e, ERR_SCHEMA, x->file, 0, 0,
                      "arrivals has %" PRId32 " times and there are %" PRId32
                      " requests: expected one each",
                      x->n_arrivals, w->n_requests);
    for (int32_t i = 0; i < w->n_requests; i++) {
        if (x->arrivals == ARRIVE_LIST)
            w->request[i].arrival_ns = x->arrival_ns[i];
        else if (x->arrivals == ARRIVE_PERIOD)
            w->request[i].arrival_ns = i * x->period_ns;
        if (x->max_tokens && w->request[i].max_tokens > x->max_tokens)
            w->request[i].max_tokens = x->max_tokens;
    }
    return ERR_OK;
}

/* The bandwidth that graphs are loaded with: the experiment's or the storage's. */
static int check_load(const struct world *w, struct err *e)
{
    const struct experiment *x = w->x;
    bool beyond = false;
    if (x->graphs.load_bytes_per_s > 0 ||
        platform_storage_rate(&w->device.platform.storage, x->graphs.read_bytes, &beyond) > 0)
        return ERR_OK;
    return err_at(e, ERR_UNSUPPORTED, x->file, x->graphs_line, x->graphs_col,
                  "graphs.load is null, and device '%s' does not know how fast its storage is read "
                  "(storage.read): set one of the two, as graphs.load: 1 GB/s",
                  w->device.name);
}

/* A device of operators runs a model that the experiment describes, as graphs of its shapes. */
static int open_phone(struct world *w, struct err *e)
{
    const struct experiment *x = w->x;
    w->phone = w->device.operators && w->kind == WORLD_SIM;
    if (w->phone != (x->has_graphs && w->kind == WORLD_SIM))
        return err_at(e, ERR_SCHEMA, x->file, 0, 0,
                      w->phone ? "device '%s' has operators' times, for any model: add 'graphs:' "
                                 "with wide and narrow, and 'model:' with a description"
                               : "device '%s' has whole-step tables: graphs need a device of "
                                 "operators, as oneplus-13.yaml",
                      w->device.name);
    if (!w->phone)
        return ERR_OK;
    if (!x->model.path)
        return err_at(e, ERR_SCHEMA, x->file, 0, 0,
                      "device '%s' has operators' times, for any model: add 'model:', as in "
                      "hwmodels/models/qwen2.5-1.5b.yaml",
                      w->device.name);
    int rc = model_load(x->model.path, &w->desc, e);
    if (!rc && x->graphs_host.path) {
        rc = device_load(x->graphs_host.path, NULL, 0, &w->arena, &w->host, e);
        w->has_host = !rc;
    }
    if (!rc && w->has_host && w->host.operators)
        rc = err_at(e, ERR_SCHEMA, x->file, 0, 0,
                    "graphs.host: device '%s' has operators' times and no costs of drafting: "
                    "expected one that was profiled",
                    w->host.name);
    if (!rc)
        rc = check_load(w, e);
    if (x->graphs.context)
        w->device.max_ctx = x->graphs.context;
    else if (x->max_ctx && x->max_ctx < w->device.max_ctx)
        w->device.max_ctx = x->max_ctx;
    return rc;
}

/* Room for another order of the requests. */
static int make_order(struct world *w, struct err *e)
{
    size_t n = (size_t)w->n_requests;
    w->map = w->truth.map;
    w->order = arena_alloc(&w->arena, n, sizeof *w->order);
    w->ordered = arena_alloc(&w->arena, n, sizeof *w->ordered);
    w->ordered_map = arena_alloc(&w->arena, n, sizeof *w->ordered_map);
    return w->order && w->ordered && w->ordered_map ? ERR_OK : no_memory(e);
}

int world_open(const struct experiment *x, enum world_kind kind, uint64_t seed, struct world *out,
               struct err *e)
{
    *out = (struct world){.kind = kind, .x = x};
    arena_init(&out->arena);
    int rc = check_files(out, e);
    if (!rc && x->device.path) {
        rc = device_load(x->device.path, x->device_set, x->n_device_sets, &out->arena, &out->device,
                         e);
        out->has_device = !rc;
    } else if (!rc && x->n_device_sets) {
        rc = err_set(e, ERR_USAGE,
                     "%s is to be set, and the experiment names no device file: add 'device'",
                     x->device_set[0]);
    }
    if (!rc)
        rc = open_phone(out, e);
    if (!rc)
        rc = kind == WORLD_SIM ? open_trace(out, e) : open_session(out, seed, e);
    if (!rc)
        rc = check_numerics(out, e);
    if (!rc)
        rc = set_arrivals(out, e);
    if (!rc)
        rc = check_requests(out, e);
    return rc || x->order == ORDER_GIVEN ? rc : make_order(out, e);
}

/* Fisher and Yates. Times of arrival belong to places and stay. */
const struct request *world_order(struct world *w, uint64_t seed)
{
    if (!w->order)
        return w->request;
    for (int32_t i = 0; i < w->n_requests; i++)
        w->order[i] = i;
    for (int32_t i = w->n_requests - 1; i > 0; i--) {
        int32_t k = (int32_t)(rng_u64(seed, RNG_WORKLOAD, 0, (uint64_t)i) % (uint64_t)(i + 1));
        int32_t kept = w->order[i];
        w->order[i] = w->order[k];
        w->order[k] = kept;
    }
    for (int32_t i = 0; i < w->n_requests; i++) {
        w->ordered[i] = w->request[w->order[i]];
        w->ordered[i].arrival_ns = w->request[i].arrival_ns;
        if (w->kind == WORLD_SIM)
            w->ordered_map[i] = w->map[w->order[i]];
    }
    if (w->kind == WORLD_SIM)
        w->truth.map = w->ordered_map;
    return w->ordered;
}

void world_close(struct world *w)
{
    session_close(&w->session);
    if (w->trace)
        trace_close(w->trace);
    w->trace = NULL;
    arena_fini(&w->arena);
}

/* ---- runs ----------------------------------------------------------------------------------- */

static struct device_options options_of(const struct experiment *x)
{
    return (struct device_options){.estimator = x->estimator, .estimator_n = x->estimator_n};
}

static int64_t distorted(int64_t ns, double scale, const struct belief_options *how, uint64_t key)
{
    double u = 2 * rng_unit(rng_u64(how->seed, RNG_BELIEF, 0, key)) - 1;
    double wrong = (double)ns * scale * how->scale * (1 + how->noise_pct / 100 * u) + 0.5;
    return wrong < 4e18 ? (int64_t)wrong : INT64_MAX / 2;
}

/* A belief file made wrong as belief_options says, its loads by load_scale besides; device_belief
 * and blocks_belief do it for a device's. */
static void distort(struct belief *b, const struct belief_options *how, double load_scale)
{
    for (int32_t w = 0; w < b->n_widths; w++)
        for (int32_t c = 0; c < b->n_contexts; c++)
            b->step_ns[w][c] = distorted(b->step_ns[w][c], 1, how,
                                         (uint64_t)b->width[w] << 32 | (uint32_t)b->context[c]);
    for (int32_t i = 0; i < b->n_blocks; i++) {
        b->load_ns[i] = distorted(b->load_ns[i], load_scale, how, UINT64_MAX - (uint64_t)i);
        for (int32_t g = 0; g < EXEC_MAX_GRAPHS; g++)
            b->block_ns[g][i] =
                distorted(b->block_ns[g][i], 1, how,
                          UINT64_MAX - (uint64_t)(g + 1) * BELIEF_MAX_BLOCKS - (uint64_t)i);
    }
}

/* What a run costs on a device of operators. */
static int spec_of(const struct world *w, const struct run_setup *setup, struct arena *arena,
                   struct blocks_spec **out, struct err *e)
{
    struct phone_graphs g = w->x->graphs;
    struct phone_run run = {.role = setup->policy->role,
                            .map = setup->roles,
                            .n_drafters = setup->n_drafters,
                            .max_topk = trace_info(w->trace)->top_k};
    for (int32_t i = 0; i < setup->n_drafters; i++)
        run.drafter[i] = setup->drafter[i].type;
    g.context = w->device.max_ctx;
    *out = arena_alloc(arena, 1, sizeof **out);
    if (!*out)
        return no_memory(e);
    return phone_spec(&w->device, w->has_host ? &w->host : NULL, &w->desc, &g, &run, arena, *out,
                      e);
}

/* Every time is wrong by noise and by scale, those of loads by load_scale besides. */
static int phone_belief(const struct world *w, const struct run_setup *setup, struct arena *arena,
                        struct belief *out, struct err *e)
{
    const struct experiment *x = w->x;
    const struct blocks_error how = {.load_scale = x->belief_load_scale,
                                     .noise_pct = x->belief_noise_pct,
                                     .seed = setup->seed,
                                     .scale = x->belief_scale};
    struct blocks_spec *spec;
    int rc = spec_of(w, setup, arena, &spec, e);
    if (rc)
        return rc;
    blocks_belief(spec, 1, 2, &how, out);
    return ERR_OK;
}

static int make_belief(const struct world *w, const struct run_setup *setup, struct belief *out,
                       struct err *e)
{
    static const char *const target[] = {"target", NULL};
    const struct experiment *x = w->x;
    struct belief_options how = {
        .scale = x->belief_scale, .noise_pct = x->belief_noise_pct, .seed = setup->seed};
    struct device_options opt = options_of(x);
    struct arena scratch;
    int32_t processor;
    int rc = ERR_OK;
    *out = (struct belief){0};
    arena_init(&scratch);
    if (x->belief.path) {
        rc = belief_load(x->belief.path, &scratch, out, e);
        bool loads = false;
        for (int32_t b = 0; b < out->n_blocks; b++)
            loads = loads || out->load_ns[b] > 0;
        if (!rc && !loads && (x->belief_load_scale < 1 || x->belief_load_scale > 1))
            rc = err_at(e, ERR_SCHEMA, x->file, 0, 0,
                        "belief.load_scale: %s has no loads: remove it", x->belief.given);
        if (!rc)
            distort(out, &how, x->belief_load_scale);
    } else if (w->phone) {
        rc = phone_belief(w, setup, &scratch, out, e);
    } else if (w->has_device && !w->device.operators) {
        rc = device_roles(&w->device, target, x->roles, &processor, e);
        if (!rc)
            rc = device_belief(&w->device, processor, &opt, &how, &scratch, out, e);
    }
    arena_fini(&scratch);
    return rc;
}

/* Adds "role=processor", n bytes, unless the text maps that role. */
static void put_role(char *buf, size_t size, const char *item, size_t n)
{
    size_t role = strcspn(item, "=") + 1, at = strlen(buf);
    for (const char *found = buf; (found = strchr(found, item[0])); found++)
        if ((found == buf || found[-1] == ' ') && !strncmp(found, item, role))
            return;
    snprintf(buf + at, size - at, "%s%.*s", at ? " " : "", (int)n, item);
}

/* The policy's role map, after it the experiment's and what the device's file says of others. */
static void put_roles(const struct device *d, const char *own, const char *map, char *buf,
                      size_t size)
{
    char item[256];
    snprintf(buf, size, "%s", own ? own : "");
    for (const char *p = map ? map : ""; *p;) {
        size_t n = strcspn(p, " ");
        put_role(buf, size, p, n);
        p += n + strspn(p + n, " ");
    }
    for (int32_t i = 0; i < d->n_roles; i++) {
        snprintf(item, sizeof item, "%s=%s", d->role[i].name,
                 d->processor[d->role[i].processor].name);
        put_role(buf, size, item, strlen(item));
    }
}

int world_run_setup(const struct world *w, const struct experiment_policy *policy, uint64_t seed,
                    struct run_setup *out, struct err *e)
{
    const struct experiment *x = w->x;
    *out =
        (struct run_setup){.policy = policy->type,
                           .n_drafters = policy->n_drafters,
                           .max_requests = x->arrivals == ARRIVE_AFTER_PREVIOUS ? 1 : w->n_requests,
                           .seed = seed};
    memcpy(out->policy_param, policy->param, sizeof out->policy_param);
    memcpy(out->drafter, policy->drafter, sizeof out->drafter);
    if (w->kind == WORLD_SIM) {
        const struct trace_info *t = trace_info(w->trace);
        out->n_vocab = t->n_vocab;
        out->n_eos = t->n_eos;
        memcpy(out->eos, t->eos, (size_t)t->n_eos * sizeof *t->eos);
        snprintf(out->model, sizeof out->model, "%s", w->model);
        snprintf(out->numerics, sizeof out->numerics, "%s", w->numerics);
        snprintf(out->device, sizeof out->device, "%s%s", w->device.name,
                 *w->device.altered ? " (altered)" : "");
        put_roles(&w->device, policy->roles, x->roles, out->roles, sizeof out->roles);
        snprintf(out->version, sizeof out->version, "Tandem %s", tandem_version);
    } else {
        session_setup(&w->session, out);
    }
    return make_belief(w, out, &out->belief, e);
}

int world_exec(struct world *w, const struct run_setup *setup, struct arena *arena,
               struct exec **out, struct err *e)
{
    struct device_options opt = options_of(w->x);
    if (w->kind != WORLD_SIM)
        return session_exec(&w->session, setup, out, e);
    if (w->phone) {
        const struct cost_model *cost;
        struct blocks_spec *spec;
        int rc = spec_of(w, setup, arena, &spec, e);
        if (!rc)
            rc = blocks_cost_create(spec, arena, &cost, e);
        return rc ? rc : sim_create(cost, &w->truth.truth, setup, out, e);
    }
    return device_exec(&w->device, setup->roles, &opt, &w->truth.truth, setup, arena, out, e);
}
