/* experiments/published/table3.yaml. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "experiments/published.h"
#include "experiments/table3.h"

static const char *const model_key[T3_MODELS] = {"q15", "q05", "l3"};
static const char *const cell_key[T3_CELLS] = {"npu", "g", "sd", "g_sd", "ours"};

static const char *const shared_unit[T3_SHARED] = {
    [T3_PROMPT] = "tokens", [T3_G1] = "tokens",        [T3_RATIO] = "x",
    [T3_BLOCKS] = "blocks", [T3_BYTES] = "B",          [T3_LAYER] = "ms",
    [T3_WEIGHTS] = "GB/s",  [T3_NPU_RATE] = "TFLOP/s", [T3_ATTENTION] = "GFLOP/s",
    [T3_LOAD] = "s",        [T3_STALL] = "yes/no",     [T3_DRAFT] = "ms",
    [T3_CALIBRATE] = "ms",  [T3_MAX_DRAFT] = "tokens", [T3_MATCH] = "x",
};

static const char *const own_unit[T3_OWN] = {"tokens", "tokens", "x", "x"};

/* What the closed form can bear. */
#define LEAST 0.0
#define MOST  1e6

static void read_unknown(struct yaml *y, struct yaml_node *group, const char *key, const char *unit,
                         struct t3_unknown *out)
{
    static const char *const scales[] = {"linear", "log", NULL};
    struct yaml_node *at = yaml_map(y, group, key);
    struct yaml_node *choices = yaml_list_or(y, at, "choices");
    const char *given = yaml_str(y, at, "unit");
    *out = (struct t3_unknown){.unit = unit};
    if (!y->code && strcmp(given, unit))
        yaml_fail(y, yaml_get(y, at, "unit"), ERR_SCHEMA, "expected the unit '%s'", unit);
    out->source = y->code ? "" : yaml_source(at);
    if (choices) {
        enum { MAX_CHOICES = sizeof out->choice / sizeof out->choice[0] };
        if (choices->n < 2 || choices->n > MAX_CHOICES)
            yaml_fail(y, choices, ERR_SCHEMA, "expected 2 to %d choices", MAX_CHOICES);
        for (struct yaml_node *c = choices->first; c && !y->code; c = c->next)
            out->choice[out->n_choices++] = yaml_double(y, c, NULL, LEAST, MOST);
        return;
    }
    out->log = yaml_enum(y, at, "scale", scales) == 1;
    out->low = yaml_double(y, at, "low", LEAST, MOST);
    out->high = yaml_double(y, at, "high", LEAST, MOST);
    if (!y->code && (out->low >= out->high || (out->log && out->low <= 0)))
        yaml_fail(y, yaml_get(y, at, "low"), ERR_RANGE,
                  out->log ? "expected more than 0 and less than its `high`, %g"
                           : "expected less than its `high`, %g",
                  out->high);
    out->span = out->log && !y->code ? log(out->high / out->low) : 0;
}

static void read_model(struct yaml *y, struct yaml_node *group, const char *key,
                       struct t3_model *out)
{
    enum { MOST_WIDE = 1 << 20 };
    struct yaml_node *at = yaml_map(y, group, key);
    out->name = yaml_str(y, at, "name");
    out->layers = (int32_t)yaml_int(y, at, "layers", 1, 1000);
    double hidden = (double)yaml_int(y, at, "hidden", 1, MOST_WIDE);
    double query = (double)yaml_int(y, at, "query", 1, MOST_WIDE);
    double key_width = (double)yaml_int(y, at, "key", 1, MOST_WIDE);
    double ff = (double)yaml_int(y, at, "ff", 1, MOST_WIDE);
    double vocabulary = (double)yaml_int(y, at, "vocabulary", 1, MOST_WIDE);
    out->attention = query;
    out->linear_params =
        out->layers * (2 * hidden * query + 2 * hidden * key_width + 3 * hidden * ff);
    out->head_params = hidden * vocabulary;
}

static struct t3_hypothesis read_hypothesis(struct yaml *y, struct yaml_node *at)
{
    static const char *const decode[] = {"g2", "one", "g1", NULL};
    static const char *const replaces[] = {"sync", "last-chunk", "nothing", NULL};
    static const char *const calibration[] = {"overlapped", "serial", NULL};
    static const char *const overflow[] = {"cut", "matches", "free", NULL};
    struct t3_hypothesis h = {.decode = (enum t3_decode)yaml_enum(y, at, "decode", decode),
                              .replaces = (enum t3_replaces)yaml_enum(y, at, "replaces", replaces),
                              .calibration =
                                  (enum t3_calibration)yaml_enum(y, at, "calibration", calibration),
                              .overflow = (enum t3_overflow)yaml_enum(y, at, "overflow", overflow)};
    if (!y->code && (h.decode == T3_DECODE_G1) != (h.replaces == T3_NO_SWITCH))
        yaml_fail(y, yaml_get(y, at, "replaces"), ERR_SCHEMA,
                  "expected 'nothing' exactly where decode is g1: then no graph is switched");
    return h;
}

static int32_t read_tolerance(struct yaml *y, struct yaml_node *at, const char *key)
{
    double v = published_value(y, at, key, "percent");
    if (!y->code && (v > 50 || v != floor(v)))
        yaml_fail(y, yaml_get(y, yaml_get(y, at, key), "value"), ERR_RANGE,
                  "expected a whole number up to 50");
    return y->code ? 1 : (int32_t)v;
}

int table3_read(const char *path, struct table3 *out, struct arena *arena, struct err *e)
{
    struct yaml y;
    *out = (struct table3){.gain = 0};
    published_open(&y, path, "table3", arena, e);
    struct yaml_node *cells = yaml_map(&y, y.root, "cells");
    struct yaml_node *models = yaml_map(&y, y.root, "models");
    struct yaml_node *acceptance = yaml_map(&y, y.root, "acceptance");
    struct yaml_node *tolerances = yaml_map(&y, y.root, "tolerances");
    struct yaml_node *shared = yaml_map(&y, y.root, "shared");
    struct yaml_node *own = yaml_map(&y, y.root, "own");
    for (int32_t m = 0; m < T3_MODELS && !y.code; m++) {
        struct yaml_node *row = yaml_map(&y, cells, model_key[m]);
        for (int32_t c = 0; c < T3_CELLS; c++)
            out->cell[m][c] = published_value(&y, row, cell_key[c], "ms/token");
        read_model(&y, models, model_key[m], &out->model[m]);
    }
    out->accepted = published_value(&y, acceptance, "sam", "tokens/verification");
    out->gain = published_value(&y, acceptance, "ours", "tokens/verification") / out->accepted;
    out->eagle_accepted = published_value(&y, acceptance, "eagle", "tokens/verification");
    out->tolerance_pct[0] = read_tolerance(&y, tolerances, "strict");
    out->tolerance_pct[1] = read_tolerance(&y, tolerances, "loose");
    if (!y.code && out->tolerance_pct[0] >= out->tolerance_pct[1])
        yaml_fail(&y, yaml_get(&y, tolerances, "strict"), ERR_RANGE,
                  "expected less than the loose one, %d", (int)out->tolerance_pct[1]);
    struct yaml_node *written = yaml_map(&y, y.root, "as_written");
    out->as_written = read_hypothesis(&y, written);
    out->written_g1 = published_value(&y, written, "g1", "tokens");
    out->written_ratio = published_value(&y, written, "g1_over_g2", "x");
    out->written_blocks = published_value(&y, written, "blocks", "blocks");
    for (int32_t u = 0; u < T3_SHARED; u++)
        read_unknown(&y, shared, t3_shared_name[u], shared_unit[u], &out->shared[u]);
    for (int32_t u = 0; u < T3_OWN; u++)
        read_unknown(&y, own, t3_own_name[u], own_unit[u], &out->own[u]);
    return yaml_done(&y);
}
