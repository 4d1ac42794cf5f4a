/* Names for a test's own files: outside the sources, different for every process. */
#ifndef TANDEM_TESTS_SCRATCH_H
#define TANDEM_TESTS_SCRATCH_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Writes "<temporary folder>/tandem-<process>-<name>" to buf; returns buf. The test removes it. */
static inline const char *scratch_path(char *buf, size_t size, const char *name)
{
    const char *dir = getenv("TMPDIR");
    snprintf(buf, size, "%s/tandem-%ld-%s", dir && *dir ? dir : "/tmp", (long)getpid(), name);
    return buf;
}

#endif
