#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "experiments/command.h"
#include "experiments/profile.h"
#include "experiments/progress.h"
#ifdef TANDEM_REAL
#include "hwmodels/real/probe.h"
#endif

enum { MAX_SPREAD_PCT = 40, MAX_DRIFT_PCT = 25 };

static const struct option options[] = {
    {"--model", "FILE.gguf", NULL, "default: the one that the quickstart installed", 0},
    {"--engine", "llama|toy", "llama", "what is profiled", 0},
    {"--roles", "MAP", NULL, "as target=cpu:1 draft=cpu:0; default: the last core and the first",
     0},
    {"--output", "FILE.yaml", "out/device.yaml", "the device file", 0},
    {"-o", "FILE.yaml", NULL, "the same", 0},
    {"--name", "NAME", "profiled", "of the device", 0},
    {"--rounds", "N", "9", "calibration rounds; each visits every width and context once", 0},
    {"--widths", "N", "32", "steps of 1 .. 16 rows, then of every eighth up to N", 0},
    {"--ctx", "TOKENS", "768", "contexts up to so many tokens", 0},
    {"--seed", "N", "1", "of order and tokens", 0},
    {"--noisy", NULL, NULL, "keep a table whose spread says that the machine was too noisy", 0},
    {NULL, NULL, NULL, NULL, 0}};

static const char *const examples[] = {
    "profile --engine toy --rounds 2 --widths 4 --ctx 256 -o out/toy.yaml --noisy", NULL};

struct profiling {
    struct session session;
    struct measure_plan plan;
    struct samples samples;
    struct arena arena;
    struct device device;
    const char *path, *name;
    int64_t rounds;
    bool made_out;
    char exactness[3][200];
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- a file that is there ------------------------------------------------------------------- */

/* Takes over the samples of the same model on the same roles: an interrupted profile goes on, a
 * wider one measures what is missing. Returns the rounds that they stand for. */
static int64_t take_over(struct profiling *p, const struct device_table *t, enum sample_kind kind)
{
    int64_t rounds = INT64_MAX;
    for (int32_t i = 0; i < t->n_cells; i++) {
        const struct device_cell *c = &t->cell[i];
        int32_t steady = measure_steady(&p->plan, c->width);
        for (int32_t k = 0; k < c->n; k++) {
            struct sample s = {.kind = (uint8_t)kind,
                               .changed = (uint8_t)c->changed,
                               .round = c->changed ? k : k / steady,
                               .width = c->width,
                               .pos = c->bucket * t->pad - c->width,
                               .ns = c->sample_ns[k]};
            samples_add(&p->samples, &s);
        }
        if (!c->changed && c->n / steady < rounds)
            rounds = c->n / steady;
    }
    return rounds == INT64_MAX ? 0 : rounds;
}

static bool covers(const struct profiling *p, const struct device *d)
{
    const struct device_table *t = &d->processor[0].step;
    if (t->few != p->plan.few) /* its cells' kinds are others */
        return false;
    for (int32_t c = 0; c < p->plan.n_contexts; c++)
        for (int32_t w = 0; w < p->plan.n_widths; w++) {
            int32_t width = p->plan.width[w];
            int32_t bucket = device_bucket(p->plan.context[c], width, p->plan.pad);
            if (!device_cell(t, width, bucket, DEVICE_SAME_SHAPE))
                return false;
        }
    return d->max_topk < p->plan.top_k || d->processor[0].prefill_all.n_cells;
}

/* What is at the path may be gone on with (*rounds > 0) or replaced; a file that is no device file,
 * or another model's, is neither: ERR_USAGE. */
static int resume(struct profiling *p, int64_t *rounds, struct err *e)
{
    struct device old;
    struct err why = {0};
    *rounds = 0;
    if (access(p->path, F_OK))
        return ERR_OK;
    if (device_load(p->path, NULL, 0, &p->arena, &old, &why)) {
        err_at(e, ERR_USAGE, why.file, why.line, why.col, "%s", why.msg);
        err_more(e, "it is not replaced: correct it, or name another file");
        return ERR_USAGE;
    }
    if (strcmp(old.numerics_id, p->session.numerics))
        return err_at(
            e, ERR_USAGE, p->path, 0, 0,
            "holds the device of another model or build (numerics id '%s', this is '%s'), "
            "so it is not replaced: name another file",
            old.numerics_id, p->session.numerics);
    if (!old.n_processors || !covers(p, &old) ||
        strcmp(old.processor[0].name, role_map_find(&p->session.roles, "target")))
        return ERR_OK;
    *rounds = take_over(p, &old.processor[0].step, SAMPLE_STEP);
    take_over(p, &old.processor[0].prefill, SAMPLE_PREFILL);
    take_over(p, &old.processor[0].prefill_all, SAMPLE_ALL);
    return ERR_OK;
}

/* ---- measuring ------------------------------------------------------------------------------ */

#ifdef TANDEM_REAL
static int find_exactness(struct profiling *p, struct err *e)
{
    /* Text, because on random tokens the attention of a small model rests on the first one alone,
     * and the order of the others in the cache then changes nothing. */
    static const char text[] =
        "The harbour master wrote the arrivals of the week into a green book: two coasters with "
        "timber on Monday, the ferry from the islands, which was late again, and a trawler whose "
        "engine had failed off the point. She noted the berth of each, the hour, and who had "
        "signed for the dues. In the winter the list was short; ";
    int32_t prompt[256];
    struct probe x;
    if (strcmp(p->session.executor, "real"))
        return ERR_OK;
    int32_t n = session_tokenize(&p->session, text, sizeof text - 1, prompt, 256);
    if (n < 1)
        return err_set(e, ERR_DEVICE, "the model's tokeniser cannot read the probe's text");
    int rc = probe_exactness(p->session.engine, prompt, n, 32, &x, e);
    if (rc)
        return rc;
    size_t at = 0, size = sizeof p->exactness[0];
    for (int32_t w = 1; w <= x.max_width; w++)
        if (x.chain_equal[w] && at < size)
            at += (size_t)snprintf(p->exactness[0] + at, size - at, "%s%d", at ? " " : "", w);
    snprintf(p->exactness[1], size, "%d of %d rows differ", x.first_rows_differ, x.tree_rows);
    snprintf(p->exactness[2], size,
             "%d of %d rows differ by up to %.3g, %d choices; smallest margin %.3g",
             x.other_rows_differ, x.tree_rows, x.other_max_diff, x.other_choices_differ,
             x.min_margin);
    return ERR_OK;
}
#else
static int find_exactness(struct profiling *p, struct err *e)
{
    (void)p;
    (void)e;
    return ERR_OK;
}
#endif

static void add_fact(struct profiling *p, struct device_fact *list, int32_t *n, const char *key,
                     const char *text)
{
    const char **copy = arena_alloc(&p->arena, 1, sizeof *copy);
    if (!copy || !*text)
        return;
    *copy = arena_strdup(&p->arena, text);
    list[(*n)++] = (struct device_fact){.key = key, .n = 1, .text = copy};
}

static int save(struct profiling *p, struct profile_noise *noise, int32_t rounds, struct err *e)
{
    char text[3][64];
    int rc = profile_device(&p->session, &p->plan, &p->samples, -1, "tandem profile", &p->arena,
                            &p->device, e);
    if (rc)
        return rc;
    profile_noise(&p->samples, &p->plan, &p->device, rounds, noise);
    struct device *d = &p->device;
    d->name = p->name;
    d->measured = arena_alloc(&p->arena, 8, sizeof *d->measured);
    d->exactness = arena_alloc(&p->arena, 4, sizeof *d->exactness);
    if (!d->measured || !d->exactness)
        return err_set(e, ERR_NOMEM, "out of memory");
    snprintf(text[0], sizeof text[0], "%d", rounds);
    snprintf(text[1], sizeof text[1], "%.1f", noise->spread_pct);
    snprintf(text[2], sizeof text[2], "%.2f", noise->serial);
    add_fact(p, d->measured, &d->n_measured, "engine", p->session.version);
    add_fact(p, d->measured, &d->n_measured, "rounds", text[0]);
    add_fact(p, d->measured, &d->n_measured, "cell_spread_pct", text[1]);
    add_fact(p, d->measured, &d->n_measured, "serial_correlation", text[2]);
    add_fact(p, d->exactness, &d->n_exactness, "chain_widths_equal", p->exactness[0]);
    add_fact(p, d->exactness, &d->n_exactness, "tree_first_branch", p->exactness[1]);
    add_fact(p, d->exactness, &d->n_exactness, "tree_other_branch", p->exactness[2]);
    return device_save(d, p->path, e);
}

static int measure(struct profiling *p, int64_t from, struct profile_noise *noise, struct err *e)
{
    double start = seconds();
    int rc = find_exactness(p, e);
    for (int64_t r = from; r < p->rounds && !rc; r++) {
        rc = profile_round(&p->session, &p->plan, (int32_t)r, &p->samples, e);
        double each = (seconds() - start) / (double)(r - from + 1);
        if (!rc)
            progress_show("round %lld of %lld, about %.0f s left", (long long)r + 1,
                          (long long)p->rounds, each * (double)(p->rounds - r - 1));
        /* Saved after every round: a killed profile loses one. */
        if (!rc)
            rc = save(p, noise, (int32_t)r + 1, e);
    }
    progress_end();
    return rc;
}

static int open_all(const struct args *a, struct profiling *p, struct err *e)
{
    static const char *const engine[] = {"llama", "toy", NULL};
    int64_t widths = 0, ctx = 0, seed = 0;
    int toy = 0, rc = args_exclusive(a, "-o", "--output", e);
    char model[4096];
    struct role_map roles;
    role_map_default(&roles);
    if (!rc)
        rc = arg_int(a, "--rounds", 2, 1000, &p->rounds, e);
    if (!rc)
        rc = arg_int(a, "--widths", 1, 64, &widths, e);
    if (!rc)
        rc = arg_int(a, "--ctx", 256, 4096, &ctx, e);
    if (!rc)
        rc = arg_int(a, "--seed", 0, INT64_MAX, &seed, e);
    if (!rc)
        rc = arg_word(a, "--engine", engine, &toy, e);
    if (!rc && toy && arg_given(a, "--model"))
        rc = err_set(e, ERR_USAGE,
                     "--model and --engine toy do not go together: remove one of them");
    if (!rc && arg_text(a, "--roles"))
        rc = role_map_parse(arg_text(a, "--roles"), &roles, e);
    if (rc)
        return rc;
    p->path = arg_text(a, "-o") ? arg_text(a, "-o") : arg_text(a, "--output");
    p->name = arg_text(a, "--name");
    const struct command_file file[] = {{"--model", arg_text(a, "--model"), false},
                                        {arg_given(a, "-o") ? "-o" : "--output", p->path, true}};
    rc = command_distinct(file, 2, e);
    if (rc)
        return rc;
    profile_plan((int32_t)widths, (int32_t)ctx, (uint64_t)seed, &p->plan);
    p->made_out = command_make_out(p->path);
    rc = command_can_write(p->path, e);
    if (rc)
        return rc;
    if (toy) {
        rc = session_open_toy((uint64_t)seed, &p->session, e);
        p->session.roles = roles;
        return rc;
    }
    const char *path = arg_text(a, "--model");
    return session_open_model(path ? path : session_default_model(model, sizeof model), &roles,
                              (int32_t)ctx + 512, &p->session, e);
}

static int run(int argc, char **argv)
{
    struct args a;
    struct err e = {0};
    struct profile_noise noise = {0};
    int code = args_parse(&command_profile, argc, argv, &a);
    if (code != ARGS_GO_ON)
        return code;
    struct profiling *p = calloc(1, sizeof *p);
    if (!p)
        return command_usage("out of memory");
    arena_init(&p->arena);
    int rc = open_all(&a, p, &e);
    int64_t from = 0;
    if (!rc)
        rc = resume(p, &from, &e);
    if (!rc && from < p->rounds)
        rc = measure(p, from, &noise, &e);
    if (!rc && from >= p->rounds)
        printf("%s: nothing is missing: %lld rounds\n", p->path, (long long)from);
    else if (!rc)
        printf("%s: %lld rounds, %d step cells; cell spread %.1f %%, drift up to %.1f %%, serial "
               "correlation %.2f\n",
               p->path, (long long)p->rounds, p->device.processor[0].step.n_cells, noise.spread_pct,
               noise.drift_pct, noise.serial);
    if (!rc && !arg_given(&a, "--noisy") &&
        (noise.spread_pct > MAX_SPREAD_PCT || noise.drift_pct > MAX_DRIFT_PCT)) {
        char aside[4096];
        snprintf(aside, sizeof aside, "%s.noisy", p->path);
        rename(p->path, aside);
        rc = err_set(
            &e, ERR_NOISY,
            "the machine was too noisy: cells spread by %.1f %% (at most %d), it drifted by "
            "%.1f %% (at most %d); set aside as %s: run again on a quiet machine, or keep "
            "such a table with --noisy",
            noise.spread_pct, MAX_SPREAD_PCT, noise.drift_pct, MAX_DRIFT_PCT, aside);
    }
    code = rc ? command_fail(&e) : command_end();
    if (rc && p->made_out)
        rmdir("out"); /* unless something is in it */
    session_close(&p->session);
    samples_free(&p->samples);
    arena_fini(&p->arena);
    free(p);
    return code;
}

const struct command command_profile = {
    .name = "profile",
    .group = "Prepare",
    .summary = "measure a device with micro-benchmarks of random tokens",
    .arguments = "",
    .options = options,
    .details = "Rounds visit every width, context and prefill length in random order, through the "
               "same threads and cores that a policy's jobs take. A device file of the same model "
               "and roles that is there already is gone on with.",
    .examples = examples,
    .run = run};
