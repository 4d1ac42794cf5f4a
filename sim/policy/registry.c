#include <string.h>

#include "sim/policy/policy.h"

extern const struct policy_type policy_autoregressive;
extern const struct policy_type policy_speculative;
extern const struct policy_type policy_switching;

const struct policy_type *const policy_registry[] = {
    &policy_autoregressive,
    &policy_speculative,
    &policy_switching,
    NULL,
};

const struct policy_type *policy_find(const char *name)
{
    for (const struct policy_type *const *t = policy_registry; *t; t++)
        if (!strcmp((*t)->name, name))
            return *t;
    return NULL;
}
