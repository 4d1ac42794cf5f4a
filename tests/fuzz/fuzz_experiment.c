/* Any bytes as an experiment file: refused with a place, or read, and then its resolved text reads
 * back to itself. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/experiment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct experiment x, again;
    struct arena a;
    struct err e = {0};
    arena_init(&a);
    if (!experiment_parse("dir/fuzz.yaml", data, size, NULL, 0, &a, &x, &e)) {
        const char *text = experiment_text(&x, &a);
        if (text && experiment_parse("dir/fuzz.yaml", text, strlen(text), NULL, 0, &a, &again, &e))
            abort();
        const char *twice = text ? experiment_text(&again, &a) : NULL;
        if (twice && strcmp(text, twice))
            abort();
    } else if (!e.code || !e.msg[0]) {
        abort();
    }
    arena_fini(&a);
    return 0;
}
