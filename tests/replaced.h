#ifndef TANDEM_TESTS_REPLACED_H
#define TANDEM_TESTS_REPLACED_H

#include "tests/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `text` with the first `from` replaced by `to`; free it. */
static inline char *replaced(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    char *out = malloc(strlen(text) + strlen(to) + 1);
    if (!CHECK(at && out))
        abort();
    sprintf(out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return out;
}

#endif
