#include "experiments/spec.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Reads "a=1,b=2" up to the end of text. */
static int set_all(const struct param *spec, const char *text, int64_t *value, struct err *e)
{
    param_defaults(spec, value);
    while (*text) {
        char name[32], number[48];
        int used = 0;
        if (sscanf(text, "%31[^=,]=%47[^,]%n", name, number, &used) != 2 || !used)
            return err_set(e, ERR_USAGE, "'%s': expected PARAM=VALUE,PARAM=VALUE", text);
        int rc = param_set(spec, name, number, value, e);
        if (rc)
            return rc;
        text += used;
        text += *text == ',';
    }
    return ERR_OK;
}

/* Splits "name:rest" of n characters. */
static int split(const char *text, size_t n, char name[32], char rest[256], struct err *e)
{
    size_t at = 0;
    while (at < n && text[at] != ':')
        at++;
    size_t left = at < n ? n - at - 1 : 0;
    if (at >= 32 || left >= 256)
        return err_set(e, ERR_USAGE, "'%.*s' is too long", (int)n, text);
    snprintf(name, 32, "%.*s", (int)at, text);
    snprintf(rest, 256, "%.*s", (int)left, text + at + 1);
    return ERR_OK;
}

int spec_parse(const char *text, struct run_setup *setup, struct err *e)
{
    char name[32], rest[256];
    size_t n = strcspn(text, "+");
    int rc = split(text, n, name, rest, e);
    if (rc)
        return rc;
    setup->policy = policy_find(name);
    if (!setup->policy)
        return err_set(e, ERR_USAGE, "no policy '%s': `tandem list` has those there are", name);
    rc = set_all(setup->policy->params, rest, setup->policy_param, e);
    setup->n_drafters = 0;
    if (rc || !text[n])
        return rc;
    rc = split(text + n + 1, strlen(text + n + 1), name, rest, e);
    if (rc)
        return rc;
    setup->drafter[0].type = draft_find(name);
    if (!setup->drafter[0].type)
        return err_set(e, ERR_USAGE, "no drafter '%s': `tandem list` has those there are", name);
    setup->n_drafters = 1;
    return set_all(setup->drafter[0].type->params, rest, setup->drafter[0].param, e);
}

/* Appends ":PARAM=VALUE,..." where there is any. */
static size_t put_params(const struct param *spec, const int64_t *value, char *buf, size_t at)
{
    char text[SPEC_PARAMS];
    size_t n = strlen(param_format(spec, value, text, sizeof text));
    assert(n + 1 < sizeof text && at + n + 1 < SPEC_TEXT);
    for (char *c = text; *c; c++)
        *c = *c == ' ' ? ',' : *c;
    return at + (size_t)snprintf(buf + at, SPEC_TEXT - at, "%s%s", n ? ":" : "", text);
}

const char *spec_format(const struct run_setup *setup, char buf[SPEC_TEXT])
{
    size_t at = (size_t)snprintf(buf, SPEC_TEXT, "%s", setup->policy->name);
    at = put_params(setup->policy->params, setup->policy_param, buf, at);
    if (setup->n_drafters) {
        const struct run_drafter *d = &setup->drafter[0];
        at += (size_t)snprintf(buf + at, SPEC_TEXT - at, "+%s", d->type->name);
        put_params(d->type->params, d->param, buf, at);
    }
    return buf;
}

bool spec_lossless(const struct run_setup *setup)
{
    bool trees = false;
    for (int32_t i = 0; i < setup->n_drafters; i++)
        trees = trees || (setup->drafter[i].type->flags & DRAFTER_BRANCHES);
    return !trees || setup->policy->lossless(setup->policy_param);
}
