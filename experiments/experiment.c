#include "experiments/experiment.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/faults.h"
#include "experiments/session.h"
#include "sim/base/io.h"
#include "sim/base/yaml.h"
#include "sim/core/clock.h"

static const char *const split_words[] = {"held-out", "calibration", "all", NULL};
static const char *const order_words[] = {"given", "shuffled", NULL};
static const char *const layout_words[] = {"one", "mllm", "mllm-pairs", NULL};
static const char *const wait_words[] = {"polling", "sleeping", NULL};
static const char *const estimator_words[] = {"minimum", "median", NULL};

struct reader {
    struct yaml y;
    struct arena *arena;
    struct experiment *x;
};

static int no_memory(struct reader *r)
{
    if (!r->y.code)
        r->y.code = err_set(r->y.e, ERR_NOMEM, "out of memory while reading an experiment");
    return r->y.code;
}

/* ---- paths ---------------------------------------------------------------------------------- */

static struct experiment_path resolve(struct reader *r, const char *given)
{
    const char *file = r->x->file, *slash = strrchr(file, '/');
    if (!given || r->y.code)
        return (struct experiment_path){0};
    size_t folder = slash && given[0] != '/' ? (size_t)(slash - file) + 1 : 0;
    size_t size = folder + strlen(given) + 1;
    char *path = arena_alloc(r->arena, size, 1);
    if (!path) {
        no_memory(r);
        return (struct experiment_path){0};
    }
    memcpy(path, file, folder);
    memcpy(path + folder, given, size - folder);
    return (struct experiment_path){given, path};
}

static struct experiment_path read_path(struct reader *r, struct yaml_node *at, const char *key)
{
    return resolve(r, yaml_str_or(&r->y, at, key, NULL));
}

static void read_workloads(struct reader *r, struct yaml_node *root)
{
    struct experiment *x = r->x;
    struct yaml_node *node = yaml_get(&r->y, root, "workload");
    if (!node || node->type == YAML_NULL)
        return;
    if (node->type != YAML_LIST) {
        x->workload[x->n_workloads++] = read_path(r, root, "workload");
        return;
    }
    for (struct yaml_node *c = node->first; c && !r->y.code; c = c->next) {
        if (x->n_workloads == EXPERIMENT_MAX_WORKLOADS) {
            yaml_fail(&r->y, node, ERR_LIMIT, "more than %d workload files",
                      EXPERIMENT_MAX_WORKLOADS);
            return;
        }
        x->workload[x->n_workloads++] = resolve(r, yaml_str(&r->y, c, NULL));
    }
}

/* ---- roles ---------------------------------------------------------------------------------- */

/* A mapping from role to processor as the text that device_roles takes; NULL: there is none. */
static const char *read_roles(struct reader *r, struct yaml_node *root)
{
    char text[512] = "";
    size_t at = 0;
    struct yaml_node *map = yaml_map_or(&r->y, root, "roles");
    for (struct yaml_node *c = map ? map->first : NULL; c && !r->y.code; c = c->next) {
        const char *processor = yaml_str(&r->y, c, NULL);
        struct err e = {0};
        if (role_check(c->key, &e))
            yaml_fail(&r->y, c, ERR_SCHEMA, "%s", e.msg);
        else if (strpbrk(processor, " =,"))
            yaml_fail(&r->y, c, ERR_SCHEMA, "expected 'role: processor' without space, '=', ','");
        int n = snprintf(text + at, sizeof text - at, "%s%s=%s", at ? " " : "", c->key, processor);
        at += (size_t)n;
        if (at >= sizeof text) {
            yaml_fail(&r->y, c, ERR_LIMIT, "the role map has more than %zu bytes", sizeof text - 1);
            return NULL;
        }
    }
    const char *kept = map && !r->y.code ? arena_strdup(r->arena, text) : NULL;
    if (map && !r->y.code && !kept)
        no_memory(r);
    return kept;
}

static void read_real_roles(struct reader *r, struct yaml_node *root)
{
    struct role_map map;
    struct err e = {0};
    r->x->real_roles = yaml_str_or(&r->y, root, "real_roles", NULL);
    if (!r->y.code && r->x->real_roles && role_map_parse(r->x->real_roles, &map, &e))
        yaml_fail(&r->y, yaml_get(&r->y, root, "real_roles"), ERR_SCHEMA, "%s", e.msg);
}

/* ---- policies ------------------------------------------------------------------------------- */

/* Joins the names of a registry for a message. */
#define JOIN_NAMES(registry, buf)                                                                  \
    do {                                                                                           \
        (buf)[0] = 0;                                                                              \
        for (int i_ = 0; (registry)[i_]; i_++)                                                     \
            err_list(buf, sizeof(buf), (registry)[i_]->name);                                      \
    } while (0)

/* NAME, or {NAME: {PARAM: VALUE}}. */
static void read_drafter(struct reader *r, struct yaml_node *node, struct experiment_policy *p)
{
    struct yaml *y = &r->y;
    struct yaml_node *named = node;
    const char *name;
    char known[400];
    if (node->type == YAML_MAP) {
        if (node->n != 1) {
            yaml_fail(y, node, ERR_SCHEMA, "expected one drafter, as in {lookup: {ngram: 3}}");
            return;
        }
        named = node->first;
        name = named->key;
    } else {
        name = yaml_str(y, node, NULL);
    }
    if (y->code)
        return;
    if (p->n_drafters == EXEC_MAX_DRAFTERS) {
        yaml_fail(y, node, ERR_LIMIT, "more than %d drafters of one policy", EXEC_MAX_DRAFTERS);
        return;
    }
    struct run_drafter *d = &p->drafter[p->n_drafters++];
    d->type = draft_find(name);
    if (!d->type) {
        JOIN_NAMES(draft_registry, known);
        yaml_fail(y, named, ERR_SCHEMA, "there is no drafter '%.60s': expected one of %s", name,
                  known);
        return;
    }
    if (node->type == YAML_MAP)
        yaml_params(y, node, name, d->type->params, d->param);
    else
        param_defaults(d->type->params, d->param);
}

static void read_drafters(struct reader *r, struct yaml_node *item, struct experiment_policy *p)
{
    struct yaml_node *node = yaml_get(&r->y, item, "drafter");
    bool needs = p->type->flags & POLICY_NEEDS_DRAFTER;
    if (!node || node->type == YAML_NULL) {
        if (needs)
            yaml_fail(&r->y, item, ERR_SCHEMA,
                      "policy '%s' needs a drafter: add 'drafter: lookup'; `tandem list` has all",
                      p->type->name);
        return;
    }
    if (!needs && !(p->type->flags & POLICY_TAKES_DRAFTER)) {
        yaml_fail(&r->y, node, ERR_SCHEMA, "policy '%s' uses no drafter: remove it", p->type->name);
        return;
    }
    if (node->type != YAML_LIST) {
        read_drafter(r, node, p);
        return;
    }
    if (!node->n)
        yaml_fail(&r->y, node, ERR_SCHEMA, "expected at least one drafter");
    for (struct yaml_node *c = node->first; c && !r->y.code; c = c->next)
        read_drafter(r, c, p);
}

/* The policy's own parameters stand beside `policy`, `name` and `drafter`. */
static void read_policy_params(struct reader *r, struct yaml_node *item,
                               struct experiment_policy *p)
{
    param_defaults(p->type->params, p->param);
    for (struct yaml_node *c = item->first; c && !r->y.code; c = c->next) {
        if (strcmp(c->key, "policy") && strcmp(c->key, "name") && strcmp(c->key, "drafter") &&
            strcmp(c->key, "roles"))
            yaml_param(&r->y, c, p->type->params, p->param, ", or policy, name, drafter, roles");
    }
}

/* Appends " name=value" of the parameters that are not at their defaults. */
static size_t put_changed(const struct param *spec, const int64_t *value, char *buf, size_t size,
                          size_t at)
{
    for (int32_t i = 0, n = param_count(spec); i < n && at < size; i++) {
        char one[80];
        struct param each[2] = {spec[i], {.name = NULL}};
        if (value[i] != spec[i].def)
            at += (size_t)snprintf(buf + at, size - at, " %s",
                                   param_format(each, value + i, one, sizeof one));
    }
    return at;
}

/* "speculative lookup ngram=2 max_draft=3": what tells it from its defaults. */
static const char *default_label(struct reader *r, const struct experiment_policy *p)
{
    char text[300];
    size_t at = (size_t)snprintf(text, sizeof text, "%s", p->type->name);
    for (int32_t i = 0; i < p->n_drafters && at < sizeof text; i++) {
        const struct run_drafter *d = &p->drafter[i];
        at += (size_t)snprintf(text + at, sizeof text - at, " %s", d->type->name);
        at = put_changed(d->type->params, d->param, text, sizeof text, at);
    }
    put_changed(p->type->params, p->param, text, sizeof text, at);
    const char *label = arena_strdup(r->arena, text);
    if (!label)
        no_memory(r);
    return label;
}

/* Labels stand in tables, and make the names of logs. */
static void check_label(struct reader *r, struct yaml_node *item, int32_t index)
{
    const struct experiment_policy *p = r->x->policy;
    const char *label = p[index].label;
    struct yaml_node *at = yaml_get(&r->y, item, "name");
    at = at ? at : item;
    if (strlen(label) > 200 || strpbrk(label, "\n\r\t"))
        yaml_fail(&r->y, at, ERR_SCHEMA, "expected a name of one line and at most 200 bytes");
    for (int32_t i = 0; i < index && !r->y.code; i++)
        if (!strcmp(p[i].label, label))
            yaml_fail(&r->y, at, ERR_SCHEMA,
                      "two policies are named '%s': give one another 'name:'", label);
}

/* Schemes and the like are words of a policy's parameter: says whose, where one is taken for a
 * policy. */
static bool is_word(const char *name, char *buf, size_t size)
{
    for (const struct policy_type *const *t = policy_registry; *t; t++)
        for (const struct param *p = (*t)->params; p && p->name; p++)
            for (const char *const *word = p->choice; word && *word; word++)
                if (!strcmp(*word, name)) {
                    snprintf(buf, size, "{policy: %s, %s: %s}", (*t)->name, p->name, name);
                    return true;
                }
    return false;
}

static void read_policy(struct reader *r, struct yaml_node *item, int32_t index)
{
    struct experiment_policy *p = &r->x->policy[index];
    const char *name = yaml_str(&r->y, item, "policy");
    char known[400];
    if (r->y.code)
        return;
    p->type = policy_find(name);
    if (!p->type && is_word(name, known, sizeof known)) {
        yaml_fail(&r->y, yaml_get(&r->y, item, "policy"), ERR_SCHEMA,
                  "there is no such policy: is %s meant", known);
        return;
    }
    if (!p->type) {
        JOIN_NAMES(policy_registry, known);
        yaml_fail(&r->y, yaml_get(&r->y, item, "policy"), ERR_SCHEMA,
                  "there is no such policy: expected one of %s", known);
        return;
    }
    p->line = item->line;
    p->col = item->col;
    read_drafters(r, item, p);
    p->roles = read_roles(r, item);
    read_policy_params(r, item, p);
    p->label = yaml_str_or(&r->y, item, "name", NULL);
    if (!p->label && !r->y.code)
        p->label = default_label(r, p);
    if (!r->y.code)
        check_label(r, item, index);
}

static void read_policies(struct reader *r, struct yaml_node *root)
{
    struct yaml_node *list = yaml_list(&r->y, root, "policies");
    if (r->y.code)
        return;
    if (!list->n || list->n > EXPERIMENT_MAX_POLICIES) {
        yaml_fail(&r->y, list, ERR_SCHEMA, "expected 1 to %d policies", EXPERIMENT_MAX_POLICIES);
        return;
    }
    r->x->policy = arena_alloc(r->arena, (size_t)list->n, sizeof *r->x->policy);
    if (!r->x->policy) {
        no_memory(r);
        return;
    }
    r->x->n_policies = list->n;
    for (struct yaml_node *c = list->first; c && !r->y.code; c = c->next)
        read_policy(r, c, c->index);
}

/* ---- arrivals, seeds, costs ----------------------------------------------------------------- */

static void read_arrival_list(struct reader *r, struct yaml_node *list)
{
    struct experiment *x = r->x;
    x->arrivals = ARRIVE_LIST;
    x->arrival_ns = arena_alloc(r->arena, (size_t)list->n + 1, sizeof *x->arrival_ns);
    if (!x->arrival_ns) {
        no_memory(r);
        return;
    }
    for (struct yaml_node *c = list->first; c && !r->y.code; c = c->next) {
        int64_t t = yaml_quantity(&r->y, c, NULL, UNIT_NS);
        if (!r->y.code && x->n_arrivals && t < x->arrival_ns[x->n_arrivals - 1])
            yaml_fail(&r->y, c, ERR_SCHEMA, "earlier than the one before: sort them");
        if (!r->y.code && t > CLOCK_MAX_NS / 2)
            yaml_fail(&r->y, c, ERR_RANGE, "expected a time of at most 73 years");
        x->arrival_ns[x->n_arrivals++] = t;
    }
    if (!list->n)
        yaml_fail(&r->y, list, ERR_SCHEMA, "expected a time for each request");
}

static void read_arrivals(struct reader *r, struct yaml_node *root)
{
    struct yaml_node *node = yaml_get(&r->y, root, "arrivals");
    if (!node || node->type == YAML_NULL)
        return;
    if (node->type == YAML_LIST) {
        read_arrival_list(r, node);
    } else if (node->type == YAML_MAP) {
        r->x->arrivals = ARRIVE_PERIOD;
        r->x->period_ns = yaml_quantity(&r->y, node, "period", UNIT_NS);
        if (!r->y.code && r->x->period_ns > INT64_C(1000000000000))
            yaml_fail(&r->y, yaml_get(&r->y, node, "period"), ERR_RANGE, "expected at most 1000 s");
    } else if (strcmp(node->text, "after-previous")) {
        yaml_fail(&r->y, node, ERR_SCHEMA,
                  "expected after-previous, {period: 10 ms}, or a list of times");
    }
}

static void read_seeds(struct reader *r, struct yaml_node *root)
{
    struct experiment *x = r->x;
    struct yaml_node *node = yaml_get(&r->y, root, "seed");
    x->n_seeds = 1;
    if (!node || node->type != YAML_LIST) {
        x->seed[0] = (uint64_t)yaml_int_or(&r->y, root, "seed", 0, INT64_MAX, 1);
        return;
    }
    if (!node->n || node->n > EXPERIMENT_MAX_SEEDS) {
        yaml_fail(&r->y, node, ERR_SCHEMA, "expected 1 to %d seeds", EXPERIMENT_MAX_SEEDS);
        return;
    }
    for (struct yaml_node *c = node->first; c && !r->y.code; c = c->next) {
        x->seed[c->index] = (uint64_t)yaml_int(&r->y, c, NULL, 0, INT64_MAX);
        for (int32_t i = 0; i < c->index && !r->y.code; i++)
            if (x->seed[i] == x->seed[c->index])
                yaml_fail(&r->y, c, ERR_SCHEMA, "this seed comes twice: remove one of them");
    }
    x->n_seeds = node->n;
}

static void read_estimator(struct reader *r, struct yaml_node *root)
{
    struct yaml_node *node = yaml_get(&r->y, root, "estimator");
    r->x->estimator_n = 1;
    if (node && node->type == YAML_MAP) {
        r->x->estimator = DEVICE_EXPECTED_MINIMUM;
        r->x->estimator_n = (int32_t)yaml_int(&r->y, node, "expected_minimum", 1, 1000000);
        return;
    }
    if (node && node->type == YAML_TEXT && strcmp(node->text, estimator_words[0]) &&
        strcmp(node->text, estimator_words[1])) {
        yaml_fail(&r->y, node, ERR_SCHEMA, "expected minimum, median or {expected_minimum: N}");
        return;
    }
    int word = yaml_enum_or(&r->y, root, "estimator", estimator_words, 0);
    r->x->estimator = word ? DEVICE_MEDIAN : DEVICE_MINIMUM;
}

/* A key that another one overrules is refused, as an unused one is. */
static void refuse(struct yaml *y, struct yaml_node *map, const char *key, const char *why)
{
    struct yaml_node *node = yaml_get(y, map, key);
    if (node && node->type != YAML_NULL && !y->code)
        yaml_fail(y, node, ERR_SCHEMA, "%s", why);
}

/* After the graphs, which are what loads. */
static void read_belief(struct reader *r, struct yaml_node *root)
{
    struct experiment *x = r->x;
    struct yaml_node *map = yaml_map_or(&r->y, root, "belief");
    x->belief_scale = x->belief_load_scale = 1;
    if (!map)
        return;
    x->belief = read_path(r, map, "file");
    x->belief_scale = yaml_double_or(&r->y, map, "scale", 0.001, 1000, 1);
    x->belief_noise_pct = yaml_double_or(&r->y, map, "noise_pct", 0, 100, 0);
    x->belief_load_scale = yaml_double_or(&r->y, map, "load_scale", 0.001, 1000, 1);
    if (!x->has_graphs && !x->belief.given)
        refuse(&r->y, map, "load_scale", "without graphs nothing is loaded: remove it");
}

/* ---- a model on a device of operators ------------------------------------------------------- */

static void refuse_overruled(struct yaml *y, struct yaml_node *map, const struct phone_graphs *g)
{
    if (g->layout == LAYOUT_ONE) {
        refuse(y, map, "attention", "only with layout: mllm or mllm-pairs is attention elsewhere");
        refuse(y, map, "wait", "only with layout: mllm or mllm-pairs do processors wait");
    }
    if (g->load_bytes_per_s > 0)
        refuse(y, map, "read_block", "graphs.load is the bandwidth: remove one of the two");
}

static void read_graphs(struct reader *r, struct yaml_node *root)
{
    struct yaml *y = &r->y;
    struct phone_graphs *g = &r->x->graphs;
    struct yaml_node *map = yaml_map_or(y, root, "graphs");
    if (!map)
        return;
    r->x->has_graphs = true;
    r->x->graphs_line = map->line;
    r->x->graphs_col = map->col;
    g->wide = (int32_t)yaml_int(y, map, "wide", 1, DEVICE_MAX_WIDTH);
    g->narrow = (int32_t)yaml_int(y, map, "narrow", 1, DEVICE_MAX_WIDTH);
    g->blocks = (int32_t)yaml_int_or(y, map, "blocks", 1, GRAPHS_MAX_BLOCKS, 1);
    g->context = (int32_t)yaml_int_or(y, map, "context", 1, 1 << 24, 0);
    g->layout = (enum layout)yaml_enum_or(y, map, "layout", layout_words, 0);
    g->sleeping = yaml_enum_or(y, map, "wait", wait_words, 0) != 0;
    g->attention = yaml_str_or(y, map, "attention", NULL);
    g->backend = yaml_str_or(y, map, "backend", NULL);
    g->datatype = yaml_str_or(y, map, "datatype", NULL);
    g->load_bytes_per_s = yaml_quantity_or(y, map, "load", UNIT_BYTES_PER_S, -1);
    g->read_bytes = yaml_quantity_or(y, map, "read_block", UNIT_BYTES, 512000);
    g->unload_ns = yaml_quantity_or(y, map, "unload", UNIT_NS, 0);
    g->load_mw = yaml_quantity_or(y, map, "load_power", UNIT_MW, -1);
    g->base_bytes = yaml_quantity_or(y, map, "base", UNIT_BYTES, 0);
    g->wide_bytes = yaml_quantity_or(y, map, "wide_own", UNIT_BYTES, 0);
    g->narrow_bytes = yaml_quantity_or(y, map, "narrow_own", UNIT_BYTES, 0);
    r->x->graphs_host = read_path(r, map, "host");
    if (!y->code && g->narrow > g->wide)
        yaml_fail(y, yaml_get(y, map, "narrow"), ERR_SCHEMA, "wider than graphs.wide, %" PRId32,
                  g->wide);
    if (!y->code && !g->load_bytes_per_s)
        yaml_fail(y, yaml_get(y, map, "load"), ERR_SCHEMA, "expected a bandwidth above 0, or null");
    refuse_overruled(y, map, g);
}

/* ---- the device, altered -------------------------------------------------------------------- */

/* Whether two of --set, PATH=VALUE, are of the same value. */
static bool same_path(const char *a, const char *b)
{
    size_t n = strcspn(a, "=");
    return n == strcspn(b, "=") && !strncmp(a, b, n);
}

static void add_device_set(struct reader *r, const struct yaml_node *at, const char *set)
{
    struct experiment *x = r->x;
    if (x->n_device_sets == EXPERIMENT_MAX_SETS)
        yaml_fail(&r->y, at, ERR_LIMIT, "more than %d values of a device", EXPERIMENT_MAX_SETS);
    else
        x->device_set[x->n_device_sets++] = set;
}

/* Behind them come those of the command line, which are there already and replace them. */
static void read_device_sets(struct reader *r, struct yaml_node *root)
{
    struct experiment *x = r->x;
    const char *own[EXPERIMENT_MAX_SETS];
    int32_t n_own = x->n_device_sets;
    struct yaml_node *list = yaml_list_or(&r->y, root, "device_set");
    memcpy(own, x->device_set, sizeof own);
    x->n_device_sets = 0;
    for (struct yaml_node *c = list ? list->first : NULL; c && !r->y.code; c = c->next) {
        const char *set = yaml_str(&r->y, c, NULL);
        bool replaced = false;
        if (!r->y.code && (strncmp(set, "device.", 7) || !strchr(set, '=')))
            yaml_fail(&r->y, c, ERR_SCHEMA,
                      "expected what --set takes, as in \"device.bus.dram=80 GB/s\"");
        for (int32_t i = 0; i < x->n_device_sets && !r->y.code; i++)
            if (same_path(x->device_set[i], set))
                yaml_fail(&r->y, c, ERR_SCHEMA, "this value comes twice: remove one of them");
        for (int32_t i = 0; i < n_own && !r->y.code; i++)
            replaced = replaced || same_path(own[i], set);
        if (!r->y.code && !replaced)
            add_device_set(r, c, set);
    }
    for (int32_t i = 0; i < n_own && !r->y.code; i++)
        add_device_set(r, root, own[i]);
}

/* ---- the whole ------------------------------------------------------------------------------ */

static void read_root(struct reader *r)
{
    struct yaml *y = &r->y;
    struct yaml_node *root = y->root;
    struct experiment *x = r->x;
    const char *schema = yaml_str(y, root, "schema");
    if (!y->code && strcmp(schema, EXPERIMENT_SCHEMA)) {
        yaml_fail(y, yaml_get(y, root, "schema"), ERR_SCHEMA, "expected %s", EXPERIMENT_SCHEMA);
        return;
    }
    x->name = yaml_str(y, root, "name");
    x->device = read_path(r, root, "device");
    read_device_sets(r, root);
    x->model = read_path(r, root, "model");
    x->trace = read_path(r, root, "trace");
    read_workloads(r, root);
    x->split = (enum experiment_split)yaml_enum_or(y, root, "split", split_words, 0);
    x->order = (enum experiment_order)yaml_enum_or(y, root, "order", order_words, 0);
    x->limit = (int32_t)yaml_int_or(y, root, "limit", 1, 1 << 20, 0);
    x->max_tokens = (int32_t)yaml_int_or(y, root, "max_tokens", 1, 1 << 20, 0);
    x->max_ctx = (int32_t)yaml_int_or(y, root, "max_ctx", 2, 1 << 24, 0);
    x->roles = read_roles(r, root);
    read_graphs(r, root);
    read_real_roles(r, root);
    read_policies(r, root);
    read_arrivals(r, root);
    x->repetitions = (int32_t)yaml_int_or(y, root, "repetitions", 1, EXPERIMENT_MAX_REPETITIONS, 1);
    read_seeds(r, root);
    read_estimator(r, root);
    read_belief(r, root);
    x->mix_numerics = yaml_bool_or(y, root, "mix_numerics", false);
    x->has_faults = faults_read(y, root, &x->faults);
}

/* Two --set of one value would hide the first. */
static int check_sets(const char *const *set, int32_t n_set, struct err *e)
{
    for (int32_t i = 0; i < n_set; i++)
        for (int32_t k = 0; k < i; k++)
            if (same_path(set[i], set[k]))
                return err_set(e, ERR_USAGE,
                               "--set %s and --set %s are of the same value: remove one of them",
                               set[k], set[i]);
    return ERR_OK;
}

int experiment_parse(const char *name, const void *bytes, size_t n, const char *const *set,
                     int32_t n_set, struct arena *arena, struct experiment *out, struct err *e)
{
    struct reader r = {.arena = arena, .x = out};
    *out = (struct experiment){.file = arena_strdup(arena, name)};
    if (!out->file)
        return err_set(e, ERR_NOMEM, "out of memory while reading an experiment");
    if (check_sets(set, n_set, e))
        return ERR_USAGE;
    yaml_parse(&r.y, out->file, bytes, n, arena, e);
    for (int32_t i = 0; i < n_set && !r.y.code; i++) {
        if (strncmp(set[i], "device.", 7)) {
            yaml_set(&r.y, NULL, set[i]);
        } else if (out->n_device_sets == EXPERIMENT_MAX_SETS) {
            return err_set(e, ERR_LIMIT, "more than %d --set of a device", EXPERIMENT_MAX_SETS);
        } else if (!(out->device_set[out->n_device_sets++] = arena_strdup(arena, set[i]))) {
            return no_memory(&r);
        }
    }
    if (!r.y.code)
        read_root(&r);
    return yaml_done(&r.y);
}

int experiment_load(const char *path, const char *const *set, int32_t n_set, struct arena *arena,
                    struct experiment *out, struct err *e)
{
    char *bytes;
    size_t n;
    int rc = io_read_file(path, YAML_MAX_BYTES, &bytes, &n, e);
    if (rc)
        return rc;
    rc = experiment_parse(path, bytes, n, set, n_set, arena, out, e);
    free(bytes);
    return rc;
}

/* ---- writing -------------------------------------------------------------------------------- */

static void put(FILE *f, const char *key, const char *text)
{
    char quoted[4096];
    if (text)
        fprintf(f, "%s: %s\n", key, yaml_quote(text, quoted, sizeof quoted));
}

/* "{ngram: 3, branches: 1}"; values as param_set takes them. */
static void put_params(FILE *f, const struct param *spec, const int64_t *value, const char *gap,
                       const char *between)
{
    for (int32_t i = 0, n = param_count(spec); i < n; i++) {
        char one[80];
        struct param each[2] = {spec[i], {.name = NULL}};
        const char *text = param_format(each, value + i, one, sizeof one);
        fprintf(f, "%s%s: %s", i ? between : gap, spec[i].name, strchr(text, '=') + 1);
    }
}

static void put_roles(FILE *f, const char *gap, const char *roles);

static void put_policy(FILE *f, const struct experiment_policy *p)
{
    char quoted[1024];
    fprintf(f, "  - policy: %s\n    name: %s\n", p->type->name,
            yaml_quote(p->label, quoted, sizeof quoted));
    put_roles(f, "    ", p->roles);
    if (p->n_drafters)
        fputs("    drafter:\n", f);
    for (int32_t i = 0; i < p->n_drafters; i++) {
        fprintf(f, "      - %s: {", p->drafter[i].type->name);
        put_params(f, p->drafter[i].type->params, p->drafter[i].param, "", ", ");
        fputs("}\n", f);
    }
    put_params(f, p->type->params, p->param, "    ", "\n    ");
    if (param_count(p->type->params))
        fputc('\n', f);
}

static void put_roles(FILE *f, const char *gap, const char *roles)
{
    char quoted[512];
    if (!roles)
        return;
    fprintf(f, "%sroles:", gap);
    if (!*roles)
        fputs(" {}", f);
    fputc('\n', f);
    while (*roles) {
        size_t role = strcspn(roles, "="), all = strcspn(roles, " ");
        char one[512], key[512];
        snprintf(key, sizeof key, "%.*s", (int)role, roles);
        snprintf(one, sizeof one, "%.*s", (int)(all - role - 1), roles + role + 1);
        fprintf(f, "%s  %s: ", gap, yaml_quote(key, quoted, sizeof quoted));
        fprintf(f, "%s\n", yaml_quote(one, quoted, sizeof quoted));
        roles += all + (roles[all] == ' ');
    }
}

static void put_graphs(FILE *f, const struct experiment *x)
{
    const struct phone_graphs *g = &x->graphs;
    if (!x->has_graphs)
        return;
    fprintf(f, "graphs:\n  wide: %" PRId32 "\n  narrow: %" PRId32 "\n  blocks: %" PRId32 "\n",
            g->wide, g->narrow, g->blocks);
    if (g->context)
        fprintf(f, "  context: %" PRId32 "\n", g->context);
    fprintf(f, "  layout: %s\n", layout_words[g->layout]);
    if (g->layout != LAYOUT_ONE)
        fprintf(f, "  wait: %s\n", wait_words[g->sleeping]);
    put(f, "  attention", g->attention);
    put(f, "  backend", g->backend);
    put(f, "  datatype", g->datatype);
    if (g->load_bytes_per_s > 0)
        fprintf(f, "  load: %" PRId64 " B/s\n", g->load_bytes_per_s);
    else
        fprintf(f, "  read_block: %" PRId64 " B\n", g->read_bytes);
    fprintf(f, "  unload: %" PRId64 " ns\n", g->unload_ns);
    if (g->load_mw >= 0)
        fprintf(f, "  load_power: %" PRId64 " mW\n", g->load_mw);
    fprintf(f, "  base: %" PRId64 " B\n  wide_own: %" PRId64 " B\n  narrow_own: %" PRId64 " B\n",
            g->base_bytes, g->wide_bytes, g->narrow_bytes);
    put(f, "  host", x->graphs_host.given);
}

static void put_arrivals(FILE *f, const struct experiment *x)
{
    if (x->arrivals == ARRIVE_AFTER_PREVIOUS)
        fputs("arrivals: after-previous\n", f);
    else if (x->arrivals == ARRIVE_PERIOD)
        fprintf(f, "arrivals: {period: %" PRId64 " ns}\n", x->period_ns);
    else
        for (int32_t i = 0; i < x->n_arrivals; i++)
            fprintf(f, "%s%" PRId64 " ns%s", i ? ", " : "arrivals: [", x->arrival_ns[i],
                    i + 1 == x->n_arrivals ? "]\n" : "");
}

/* A value may be a whole table, and is never cut; false without memory. */
static bool put_device_sets(FILE *f, const struct experiment *x, struct arena *arena)
{
    if (x->n_device_sets)
        fputs("device_set:\n", f);
    for (int32_t i = 0; i < x->n_device_sets; i++) {
        size_t size = 4 * strlen(x->device_set[i]) + 3;
        char *quoted = arena_alloc(arena, size, 1);
        if (!quoted)
            return false;
        fprintf(f, "  - %s\n", yaml_quote(x->device_set[i], quoted, size));
    }
    return true;
}

static void put_faults(FILE *f, const struct experiment *x)
{
    int64_t value[PARAM_MAX];
    if (!x->has_faults)
        return;
    faults_values(&x->faults, value);
    fputs("faults: {", f);
    put_params(f, faults_spec, value, "", ", ");
    fputs("}\n", f);
}

static bool print(const struct experiment *x, FILE *f, struct arena *arena)
{
    fprintf(f, "schema: %s\n", EXPERIMENT_SCHEMA);
    put(f, "name", x->name);
    put(f, "device", x->device.given);
    if (!put_device_sets(f, x, arena))
        return false;
    put(f, "model", x->model.given);
    put(f, "trace", x->trace.given);
    if (x->n_workloads)
        fputs("workload:\n", f);
    for (int32_t i = 0; i < x->n_workloads; i++) {
        char quoted[4096];
        fprintf(f, "  - %s\n", yaml_quote(x->workload[i].given, quoted, sizeof quoted));
    }
    fprintf(f, "split: %s\norder: %s\n", split_words[x->split], order_words[x->order]);
    if (x->limit)
        fprintf(f, "limit: %" PRId32 "\n", x->limit);
    if (x->max_tokens)
        fprintf(f, "max_tokens: %" PRId32 "\n", x->max_tokens);
    if (x->max_ctx)
        fprintf(f, "max_ctx: %" PRId32 "\n", x->max_ctx);
    put_roles(f, "", x->roles);
    put_graphs(f, x);
    put(f, "real_roles", x->real_roles);
    put_arrivals(f, x);
    fprintf(f, "repetitions: %" PRId32 "\nseed: [", x->repetitions);
    for (int32_t i = 0; i < x->n_seeds; i++)
        fprintf(f, "%s%" PRIu64, i ? ", " : "", x->seed[i]);
    if (x->estimator == DEVICE_EXPECTED_MINIMUM)
        fprintf(f, "]\nestimator: {expected_minimum: %" PRId32 "}\n", x->estimator_n);
    else
        fprintf(f, "]\nestimator: %s\n", estimator_words[x->estimator == DEVICE_MEDIAN]);
    fputs("belief:\n", f);
    put(f, "  file", x->belief.given);
    fprintf(f, "  scale: %.17g\n  noise_pct: %.17g\n", x->belief_scale, x->belief_noise_pct);
    if (x->has_graphs || x->belief.given)
        fprintf(f, "  load_scale: %.17g\n", x->belief_load_scale);
    fprintf(f, "mix_numerics: %s\n", x->mix_numerics ? "true" : "false");
    put_faults(f, x);
    fputs("policies:\n", f);
    for (int32_t i = 0; i < x->n_policies; i++)
        put_policy(f, &x->policy[i]);
    return true;
}

const char *experiment_text(const struct experiment *x, struct arena *arena)
{
    char *text = NULL, *kept = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return NULL;
    bool whole = print(x, f, arena);
    if (!fclose(f) && whole)
        kept = arena_strdup(arena, text);
    free(text);
    return kept;
}

int32_t experiment_drop_truth(struct experiment *x)
{
    int32_t kept = 0, all = x->n_policies;
    for (int32_t i = 0; i < all; i++) {
        bool truth = x->policy[i].type->flags & POLICY_NEEDS_TRUTH;
        for (int32_t k = 0; k < x->policy[i].n_drafters; k++)
            truth = truth || (x->policy[i].drafter[k].type->flags & DRAFTER_NEEDS_TRUTH);
        if (!truth)
            x->policy[kept++] = x->policy[i];
    }
    x->n_policies = kept;
    return all - kept;
}

const char *experiment_drafters(const struct experiment_policy *p, char *buf, size_t size)
{
    size_t at = 0;
    buf[0] = 0;
    for (int32_t i = 0; i < p->n_drafters && at < size; i++) {
        char params[400];
        const struct run_drafter *d = &p->drafter[i];
        param_format(d->type->params, d->param, params, sizeof params);
        at += (size_t)snprintf(buf + at, size - at, "%s%s%s%s", i ? "; " : "", d->type->name,
                               params[0] ? " " : "", params);
    }
    return buf;
}
