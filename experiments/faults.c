#include "experiments/faults.h"

#include <stdio.h>
#include <string.h>

enum { FAIL, DROP, DELAY, DELAY_NS, REORDER, SEED };

const struct param faults_spec[] = {
    {"fail", "jobs of 1000 that end failed", 0, 0, 1000, NULL, 0},
    {"drop", "jobs of 1000 whose end never comes", 0, 0, 1000, NULL, 0},
    {"delay", "jobs of 1000 that end delay_ns later", 0, 0, 1000, NULL, 0},
    {"delay_ns", "nanoseconds", 0, 0, INT64_C(1000000000000), NULL, 0},
    {"reorder", "jobs of 1000 that end after the next one", 0, 0, 1000, NULL, 0},
    {"seed", "of the draw", 1, 0, INT64_MAX, NULL, 0},
    {.name = NULL}};

void faults_values(const struct fault_plan *plan, int64_t *value)
{
    value[FAIL] = plan->fail;
    value[DROP] = plan->drop;
    value[DELAY] = plan->delay;
    value[DELAY_NS] = plan->delay_ns;
    value[REORDER] = plan->reorder;
    value[SEED] = (int64_t)plan->seed;
}

static struct fault_plan plan_of(const int64_t *value)
{
    return (struct fault_plan){.seed = (uint64_t)value[SEED],
                               .fail = (int32_t)value[FAIL],
                               .drop = (int32_t)value[DROP],
                               .delay = (int32_t)value[DELAY],
                               .reorder = (int32_t)value[REORDER],
                               .delay_ns = value[DELAY_NS]};
}

/* What is wrong with values that are each in range; NULL: nothing. */
static const char *wrong(const int64_t *value)
{
    if (value[DELAY] && !value[DELAY_NS])
        return "delay without a delay_ns above 0 delays nothing: add it";
    if (value[FAIL] + value[DROP] + value[DELAY] + value[REORDER] > 1000)
        return "more than 1000 of 1000 jobs suffer one";
    return NULL;
}

int faults_parse(const char *text, struct fault_plan *out, struct err *e)
{
    int64_t value[PARAM_MAX];
    char name[32], number[32];
    bool given[PARAM_MAX] = {false};
    int used;
    param_defaults(faults_spec, value);
    const char *at = text + strspn(text, " ,");
    do {
        struct err why = {0};
        used = 0;
        if (sscanf(at, "%31[^= ,]=%31[^ ,]%n", name, number, &used) != 2 || !used)
            return err_set(e, ERR_USAGE,
                           "--faults is '%s': expected NAME=NUMBER pairs, as in 'fail=10 drop=5 "
                           "seed=1'",
                           text);
        if (param_set(faults_spec, name, number, value, &why))
            return err_set(e, ERR_USAGE, "--faults is '%s': %s", text, why.msg);
        int32_t which = param_find(faults_spec, name);
        if (given[which])
            return err_set(e, ERR_USAGE, "--faults is '%s': %s is given twice: remove one of them",
                           text, name);
        given[which] = true;
        at += used;
        at += strspn(at, " ,");
    } while (*at);
    if (wrong(value))
        return err_set(e, ERR_USAGE, "--faults is '%s': %s", text, wrong(value));
    *out = plan_of(value);
    return ERR_OK;
}

bool faults_read(struct yaml *y, struct yaml_node *root, struct fault_plan *out)
{
    int64_t value[PARAM_MAX];
    struct yaml_node *map = yaml_map_or(y, root, "faults");
    if (!map || y->code)
        return false;
    yaml_params(y, root, "faults", faults_spec, value);
    if (!y->code && !map->n)
        yaml_fail(y, map, ERR_SCHEMA, "expected faults, as in {fail: 10, seed: 1}, or null");
    else if (!y->code && wrong(value))
        yaml_fail(y, map, ERR_SCHEMA, "%s", wrong(value));
    *out = plan_of(value);
    return !y->code;
}

const char *faults_format(const struct fault_plan *plan, char *buf, size_t size)
{
    int64_t value[PARAM_MAX];
    faults_values(plan, value);
    return param_format(faults_spec, value, buf, size);
}
