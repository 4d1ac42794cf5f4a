/* Any bytes as a workload and as a file to import: refused, or read, split and chosen from. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "traces/workload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct workload *w)
{
    int32_t index[64];
    int32_t a = workload_choose(w, SPLIT_CALIBRATION, 64, index);
    int32_t b = workload_choose(w, SPLIT_HELD_OUT, 64, index);
    assert(a + b > 0 && (a == 64 || b == 64 || a + b == w->n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct import_options options[] = {
        {.from = IMPORT_SPEC_BENCH, .max_tokens = 8},
        {.from = IMPORT_JSONL, .field = "text", .max_tokens = 8},
        {.from = IMPORT_TEXT, .task = "t", .max_tokens = 8},
    };
    struct workload w;
    struct err e = {0};
    const char *bytes = (const char *)data;
    if (!workload_load_bytes("fuzz", bytes, size, SPLIT_ALTERNATE, &w, &e))
        use(&w);
    workload_fini(&w);
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        workload_init(&w);
        if (!workload_import_bytes(&options[i], "a/fuzz.x", bytes, size, &w, &e) &&
            !workload_finish(&w, SPLIT_ALTERNATE, "fuzz", &e))
            use(&w);
        workload_fini(&w);
    }
    return 0;
}
