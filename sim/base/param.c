#include "sim/base/param.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int32_t param_count(const struct param *spec)
{
    int32_t n = 0;
    while (spec && spec[n].name)
        n++;
    return n;
}

void param_defaults(const struct param *spec, int64_t *value)
{
    for (int32_t i = 0, n = param_count(spec); i < n; i++)
        value[i] = spec[i].def;
}

int32_t param_find(const struct param *spec, const char *name)
{
    for (int32_t i = 0, n = param_count(spec); i < n; i++)
        if (!strcmp(spec[i].name, name))
            return i;
    return -1;
}

const char *param_expected(const struct param *p, char *buf, size_t size)
{
    size_t at = 0;
    if (p->choice) {
        at += (size_t)snprintf(buf, size, "one of:");
        for (int i = 0; p->choice[i] && at < size; i++)
            at += (size_t)snprintf(buf + at, size - at, "%s %s", i ? "," : "", p->choice[i]);
    } else {
        at += (size_t)snprintf(buf, size, "a whole number from %" PRId64 " to %" PRId64, p->min,
                               p->max);
    }
    if (p->allow_auto && at < size)
        snprintf(buf + at, size - at, ", or %s",
                 p->allow_auto & PARAM_TAKES_AUTO ? "auto" : "none");
    return buf;
}

static int unknown(const struct param *spec, const char *name, struct err *e)
{
    char known[400] = "";
    for (int32_t i = 0, n = param_count(spec); i < n; i++)
        err_list(known, sizeof known, spec[i].name);
    return err_set(e, ERR_SCHEMA, "unknown parameter '%s': expected %s%s", name,
                   known[0] ? "one of " : "none", known);
}

int param_set(const struct param *spec, const char *name, const char *text, int64_t *value,
              struct err *e)
{
    int32_t i = param_find(spec, name);
    if (i < 0)
        return unknown(spec, name, e);
    const struct param *p = &spec[i];
    if (p->allow_auto & PARAM_TAKES_AUTO && !strcmp(text, "auto")) {
        value[i] = PARAM_AUTO;
        return ERR_OK;
    }
    if (p->allow_auto & PARAM_TAKES_NONE && !strcmp(text, "none")) {
        value[i] = 0;
        return ERR_OK;
    }
    if (p->choice) {
        for (int c = 0; p->choice[c]; c++)
            if (!strcmp(p->choice[c], text)) {
                value[i] = c;
                return ERR_OK;
            }
    } else {
        char *end;
        errno = 0;
        long long v = strtoll(text, &end, 10);
        if (!errno && end != text && !*end && v >= p->min && v <= p->max) {
            value[i] = v;
            return ERR_OK;
        }
    }
    char want[300];
    return err_set(e, ERR_RANGE, "%s is '%s': expected %s", name, text,
                   param_expected(p, want, sizeof want));
}

const char *param_format(const struct param *spec, const int64_t *value, char *buf, size_t size)
{
    size_t at = 0;
    buf[0] = 0;
    for (int32_t i = 0, n = param_count(spec); i < n && at < size; i++) {
        const char *gap = i ? " " : "";
        if (value[i] == PARAM_AUTO)
            at += (size_t)snprintf(buf + at, size - at, "%s%s=auto", gap, spec[i].name);
        else if (spec[i].choice)
            at += (size_t)snprintf(buf + at, size - at, "%s%s=%s", gap, spec[i].name,
                                   spec[i].choice[value[i]]);
        else
            at +=
                (size_t)snprintf(buf + at, size - at, "%s%s=%" PRId64, gap, spec[i].name, value[i]);
    }
    return buf;
}
