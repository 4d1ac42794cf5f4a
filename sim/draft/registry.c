#include <string.h>

#include "sim/draft/internal.h"

const struct drafter_type *const draft_registry[] = {
    &lookup_drafter,
    &suffix_drafter,
    &aligned_drafter,
    &sam_author_drafter,
    &oracle_drafter,
    &parametric_drafter,
    NULL,
};

const struct drafter_type *draft_find(const char *name)
{
    for (size_t i = 0; draft_registry[i]; i++)
        if (!strcmp(draft_registry[i]->name, name))
            return draft_registry[i];
    return NULL;
}
