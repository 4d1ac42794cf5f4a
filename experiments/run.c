#include "experiments/run.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "experiments/faults.h"
#include "experiments/progress.h"
#include "sim/exec/log.h"

static int no_memory(struct err *e)
{
    return err_set(e, ERR_NOMEM, "out of memory for an experiment");
}

void run_report_fini(struct run_report *r)
{
    arena_fini(&r->arena);
    r->n = 0;
}

/* ---- the first event ------------------------------------------------------------------------ */

/* A shim that says when the first event is delivered. */
struct first {
    struct exec exec; /* must be first */
    struct exec *inner;
    void (*call)(void);
};

static void first_caps(const struct exec *x, struct exec_caps *out)
{
    const struct first *f = (const struct first *)x;
    f->inner->ops->caps(f->inner, out);
}

static int first_next(struct exec *x, const struct event *due, struct event *out, struct err *e)
{
    struct first *f = (struct first *)x;
    int rc = f->inner->ops->next(f->inner, due, out, e);
    if (!rc && f->call) {
        f->call();
        f->call = NULL;
    }
    return rc;
}

static int first_act(struct exec *x, const struct action *action, struct err *e)
{
    struct first *f = (struct first *)x;
    return f->inner->ops->act(f->inner, action, e);
}

static int64_t first_host(struct exec *x, const struct host_work *work)
{
    struct first *f = (struct first *)x;
    return f->inner->ops->host(f->inner, work);
}

static void first_destroy(struct exec *x)
{
    struct first *f = (struct first *)x;
    f->inner->ops->destroy(f->inner);
    free(f);
}

static const struct exec_ops first_ops = {"first",   first_caps, first_next,
                                          first_act, first_host, first_destroy};

static int first_create(struct exec *inner, void (*call)(void), struct exec **out, struct err *e)
{
    struct first *f = malloc(sizeof *f);
    if (!f) {
        inner->ops->destroy(inner);
        return no_memory(e);
    }
    *f = (struct first){{&first_ops}, inner, call};
    *out = &f->exec;
    return ERR_OK;
}

/* ---- one run -------------------------------------------------------------------------------- */

/* DIR/03-LABEL-seed1-rep0.log; the label with what file names can hold everywhere. */
static char *log_path(struct arena *arena, const char *dir, const struct run_outcome *o)
{
    char label[64], path[4096];
    snprintf(label, sizeof label, "%s", o->policy->label);
    for (char *c = label; *c; c++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *c))
            *c = '_';
    snprintf(path, sizeof path, "%s/%02" PRId32 "-%s-seed%" PRIu64 "-rep%" PRId32 ".log", dir,
             o->policy_index, label, o->seed, o->repetition);
    return arena_strdup(arena, path);
}

/* Names are copied: the device's end with the world. */
static int take_stats(struct run_outcome *o, const struct exec *inner, enum world_kind kind,
                      struct arena *arena, struct err *e)
{
    o->n_jobs = o->n_extrapolated = o->peak_resident_bytes = -1;
    if (kind == WORLD_SIM) {
        struct sim_stats s;
        sim_stats(inner, &s);
        o->n_jobs = s.n_jobs;
        o->n_extrapolated = s.n_extrapolated;
        o->peak_resident_bytes = s.peak_resident_bytes;
        o->energy.known = s.n_processors > 0;
        for (int32_t i = 0; i < s.n_processors; i++) {
            const char *name = arena_strdup(arena, s.processor[i].name);
            if (!name)
                return no_memory(e);
            o->busy[o->n_busy++] =
                (struct run_busy){name, s.processor[i].busy_ns, s.processor[i].work};
            o->energy = energy_add(o->energy, s.processor[i].energy);
        }
        o->energy = energy_add(o->energy, s.bus_energy);
        o->heat_known = s.heat_known;
        o->peak_mc = s.peak_mc;
        o->slow_ns = s.slow_ns;
        return ERR_OK;
    }
    int64_t steps = 0, drafts = 0;
    for (int32_t i = 0; i < o->result.n_requests; i++) {
        const struct request_result *r = &o->result.request[i];
        for (int32_t k = 0; k < r->n_steps; k++)
            steps += r->step[k].end_ns - r->step[k].start_ns;
        drafts += r->part_ns[PART_DRAFT];
    }
    o->busy[o->n_busy++] = (struct run_busy){.name = "target", .busy_ns = steps};
    o->busy[o->n_busy++] = (struct run_busy){.name = "draft", .busy_ns = drafts};
    return ERR_OK;
}

/* Puts the shims around the executor; owns it also when it fails. */
static int wrap(const struct experiment *of, const struct run_options *o,
                const struct run_setup *setup, const char *log, bool first, struct exec **x,
                struct err *e)
{
    int rc = ERR_OK;
    if (of->has_faults)
        rc = fault_create(*x, &of->faults, x, e);
    if (!rc && log)
        rc = record_create(*x, setup, log, x, e);
    if (!rc && first && o->first_event)
        rc = first_create(*x, o->first_event, x, e);
    return rc;
}

/* Results come in the order of the run; reports have one for all runs. */
static int put_back(const struct world *w, struct arena *arena, struct run_result *r, struct err *e)
{
    struct request_result *q = arena_alloc(arena, (size_t)r->n_requests, sizeof *q);
    if (!q)
        return no_memory(e);
    for (int32_t i = 0; i < r->n_requests; i++)
        q[w->order[i]] = r->request[i];
    r->request = q;
    return ERR_OK;
}

static int run_one(struct world *w, const struct run_options *o, struct run_report *report,
                   struct run_outcome *out, struct err *e)
{
    struct run_setup *setup = arena_alloc(&report->arena, 1, sizeof *setup);
    const struct request *request = world_order(w, out->seed);
    struct exec *inner, *x;
    if (!setup)
        return no_memory(e);
    out->executor = world_kind_name(w->kind);
    if (o->log_dir && !(out->log = log_path(&report->arena, o->log_dir, out)))
        return no_memory(e);
    int rc = world_run_setup(w, out->policy, out->seed, setup, e);
    if (!rc)
        rc = world_exec(w, setup, &report->arena, &inner, e);
    if (rc)
        return rc;
    x = inner;
    rc = wrap(w->x, o, setup, out->log, !report->n, &x, e);
    if (rc)
        return rc;
    rc = driver_run(setup, x, request, w->n_requests, &report->arena, &out->result, e);
    if (!rc && w->order)
        rc = put_back(w, &report->arena, &out->result, e);
    if (!rc)
        rc = take_stats(out, inner, w->kind, &report->arena, e);
    if (!rc && out->log && !(!report->n && o->first_event))
        rc = record_finish(x, e);
    x->ops->destroy(x);
    return rc;
}

/* Every policy is looked at before the first one runs: one that this executor refuses is not found
 * out after hours. */
static int check_policies(struct world *w, const struct experiment *x, struct err *e)
{
    int rc = ERR_OK;
    for (int32_t p = 0; p < x->n_policies && !rc; p++) {
        struct err why = {0};
        struct exec *exec;
        struct arena arena;
        arena_init(&arena);
        struct run_setup *setup = arena_alloc(&arena, 1, sizeof *setup);
        rc = setup ? world_run_setup(w, &x->policy[p], x->seed[0], setup, &why) : no_memory(&why);
        if (!rc)
            rc = world_exec(w, setup, &arena, &exec, &why);
        if (!rc) {
            rc = driver_check(setup, exec, &why);
            exec->ops->destroy(exec);
        }
        arena_fini(&arena);
        if (rc && !why.file[0])
            err_at(e, rc, x->file, x->policy[p].line, x->policy[p].col, "policy '%s': %s",
                   x->policy[p].label, why.msg);
        else if (rc && e && !e->code)
            *e = why;
    }
    return rc;
}

/* ---- all of them ---------------------------------------------------------------------------- */

static int check_seeds(const struct experiment *x, enum world_kind kind, struct err *e)
{
    bool random =
        x->belief_noise_pct > 0 || x->has_faults || kind == WORLD_TOY || x->order == ORDER_SHUFFLED;
    if (x->n_seeds == 1 || random)
        return ERR_OK;
    return err_at(e, ERR_USAGE, x->file, 0, 0,
                  "seed has %" PRId32 " values, and nothing here is random: every one would give "
                  "the same. Give one, or order: shuffled, or a belief with noise_pct, or --faults",
                  x->n_seeds);
}

static int check_faults(const struct experiment *x, enum world_kind kind, struct err *e)
{
    if (!x->has_faults || kind != WORLD_REAL)
        return ERR_OK;
    return err_at(e, ERR_UNSUPPORTED, x->file, 0, 0,
                  "faults are injected with --on sim and --on toy: with --on real say --set "
                  "faults=null");
}

static int describe(struct run_report *r, const struct world *w, struct err *e)
{
    struct run_setup setup;
    int rc = world_run_setup(w, &w->x->policy[0], w->x->seed[0], &setup, e);
    if (rc)
        return rc;
    r->n_requests = w->n_requests;
    r->mixed = w->mixed;
    if (w->x->has_faults)
        faults_format(&w->x->faults, r->faults, sizeof r->faults);
    if (w->kind == WORLD_SIM && w->has_device) {
        const struct status_use use = {.layout = w->x->graphs.layout != LAYOUT_ONE,
                                       .load_given = w->x->graphs.load_bytes_per_s > 0};
        r->n_status = device_exercised(&w->device, &use, r->status);
    }
    snprintf(r->device, sizeof r->device, "%s", setup.device);
    snprintf(r->model, sizeof r->model, "%s", setup.model);
    snprintf(r->numerics, sizeof r->numerics, "%s", setup.numerics);
    snprintf(r->device_numerics, sizeof r->device_numerics, "%s",
             w->has_device ? w->device.numerics_id : "");
    snprintf(r->version, sizeof r->version, "%s", setup.version);
    snprintf(r->roles, sizeof r->roles, "%s", setup.roles);
    r->name = arena_alloc(&r->arena, (size_t)w->n_requests, sizeof *r->name);
    r->n_prompt = arena_alloc(&r->arena, (size_t)w->n_requests, sizeof *r->n_prompt);
    if (!r->name || !r->n_prompt)
        return no_memory(e);
    for (int32_t i = 0; i < w->n_requests; i++) {
        r->name[i].id = arena_strdup(&r->arena, w->name[i].id);
        r->name[i].task = arena_strdup(&r->arena, w->name[i].task);
        r->n_prompt[i] = w->request[i].n;
        if (!r->name[i].id || !r->name[i].task)
            return no_memory(e);
    }
    return ERR_OK;
}

/* With the folders above it. */
static int make_folder(const char *dir, struct err *e)
{
    char path[4096];
    if (!dir)
        return ERR_OK;
    if (strlen(dir) >= sizeof path)
        return err_set(e, ERR_LIMIT, "a folder's name of more than %zu bytes", sizeof path - 1);
    for (size_t i = 1; i <= strlen(dir); i++) {
        if (dir[i] && dir[i] != '/')
            continue;
        memcpy(path, dir, i);
        path[i] = 0;
        if (mkdir(path, 0777) && errno != EEXIST)
            return err_at(e, ERR_IO, path, 0, 0, "cannot make this folder: %s", err_system(errno));
    }
    return ERR_OK;
}

/* The runs of one world: the toy has one for each seed, the others one for all seeds. Policies take
 * turns, so that a slow spell of the machine meets all of them. */
static int run_world(struct world *w, const struct run_options *o, int32_t seed0, int32_t n_seeds,
                     struct run_report *r, struct err *e)
{
    const struct experiment *x = r->x;
    int32_t repetitions = o->kind == WORLD_SIM ? 1 : x->repetitions;
    int rc = ERR_OK;
    for (int32_t i = 0; i < n_seeds * repetitions && !rc; i++)
        for (int32_t p = 0; p < x->n_policies && !rc; p++) {
            struct run_outcome *out = &r->run[r->n];
            *out = (struct run_outcome){.policy = &x->policy[p],
                                        .policy_index = p,
                                        .repetition = i % repetitions,
                                        .seed = x->seed[seed0 + i / repetitions]};
            progress_show("run %" PRId32 " of %" PRId32 ": %s", r->n + 1, r->cap,
                          out->policy->label);
            rc = run_one(w, o, r, out, e);
            out->code = rc;
            if (rc)
                snprintf(out->why, sizeof out->why, "%s", e ? e->msg : err_text(rc));
            if (o->sink && (!rc || rc != ERR_NOMEM)) {
                int stored = o->sink->add(o->sink->self, out, rc ? NULL : e);
                rc = rc ? rc : stored;
            }
            if (rc)
                err_more(e, "in the run of '%.100s', seed %" PRIu64, out->policy->label, out->seed);
            r->n += !rc;
        }
    return rc;
}

int run_experiment(const struct experiment *x, const struct run_options *o, struct run_report *out,
                   struct err *e)
{
    *out = (struct run_report){.x = x, .kind = o->kind};
    arena_init(&out->arena);
    int32_t worlds = o->kind == WORLD_TOY ? x->n_seeds : 1;
    int32_t repetitions = o->kind == WORLD_SIM ? 1 : x->repetitions;
    out->cap = x->n_policies * x->n_seeds * repetitions;
    out->run = arena_alloc(&out->arena, (size_t)out->cap, sizeof *out->run);
    int rc = out->run ? check_seeds(x, o->kind, e) : no_memory(e);
    if (!rc)
        rc = check_faults(x, o->kind, e);
    for (int32_t i = 0; i < worlds && !rc; i++) {
        struct world w;
        rc = world_open(x, o->kind, x->seed[i], &w, e);
        if (!rc && !i)
            rc = check_policies(&w, x, e);
        if (!rc && !i)
            rc = describe(out, &w, e);
        if (!rc && !i)
            rc = make_folder(o->log_dir, e);
        if (!rc && !i && o->sink)
            rc = o->sink->begin(o->sink->self, out, e);
        if (!rc)
            rc = run_world(&w, o, i, worlds > 1 ? 1 : x->n_seeds, out, e);
        world_close(&w);
    }
    return rc;
}

/* ---- replaying ------------------------------------------------------------------------------ */

static int read_log(const char *path, const struct experiment_policy *policy,
                    struct run_setup *setup, struct run_replayed *out, struct err *e)
{
    struct log_reader *log;
    struct exec_caps caps;
    int rc = log_open(path, &log, e);
    if (rc)
        return rc;
    const char *executor = log_header(log, "executor");
    snprintf(out->executor, sizeof out->executor, "%s", executor ? executor : "?");
    if (policy) {
        log_limits(log, setup, &caps);
        setup->policy = policy->type;
        setup->n_drafters = policy->n_drafters;
        memcpy(setup->policy_param, policy->param, sizeof setup->policy_param);
        memcpy(setup->drafter, policy->drafter, sizeof setup->drafter);
    } else {
        rc = log_setup(log, NULL, setup, &caps, e);
    }
    log_close_reader(log);
    return rc;
}

int run_replay(const char *path, const struct experiment_policy *policy, struct run_replayed *out,
               struct err *e)
{
    struct run_setup *setup = calloc(1, sizeof *setup);
    struct run_result result;
    struct request *request;
    struct exec *x = NULL;
    struct arena arena;
    *out = (struct run_replayed){0};
    arena_init(&arena);
    int rc = setup ? read_log(path, policy, setup, out, e) : no_memory(e);
    if (!rc)
        rc = replay_requests(path, &arena, &request, &out->n_requests, e);
    if (!rc)
        rc = replay_create(path, setup, &x, e);
    if (rc)
        goto out;
    rc = driver_run(setup, x, request, out->n_requests, &arena, &result, e);
    if (!rc)
        rc = replay_finish(x, e);
    x->ops->destroy(x);
    if (rc)
        goto out;
    out->n_actions = result.n_actions;
    out->n_events = result.n_events;
    out->end_ns = result.end_ns;
    out->actions_hash = result.actions_hash;
    snprintf(out->policy, sizeof out->policy, "%s", setup->policy->name);
    snprintf(out->model, sizeof out->model, "%s", setup->model);
out:
    free(setup);
    arena_fini(&arena);
    return rc;
}
