/* Writes a synthetic token trace for tests of the commands: a language of hashes that soon repeats
 * itself, in two tasks. No model said this: never to be committed as if one had.
 *
 *   make_trace OUT.trace [NUMERICS [REQUESTS]]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/base/hash.h"
#include "traces/trace.h"
#include "traces/workload.h"

enum { VOCAB = 64, MAX_TOKENS = 48, MAX_TEXT = 1024 };

static int32_t next(const int32_t *text, int32_t n)
{
    uint64_t h = hash_step(hash_step(11, (uint64_t)text[n - 1]), (uint64_t)text[n - 2]);
    return 1 + (int32_t)(h % 19);
}

static int add(struct trace_builder *b, int32_t i, struct err *e)
{
    int32_t text[MAX_TEXT], n = 60 + 97 * (i % 4), index;
    char id[32];
    snprintf(id, sizeof id, "synthetic-%" PRId32, i);
    for (int32_t k = 0; k < n; k++)
        text[k] = 1 + (int32_t)(rng_u64(5, RNG_TEST, (uint64_t)i, (uint64_t)k % 40) % (VOCAB - 1));
    for (int32_t k = n; k < n + MAX_TOKENS; k++)
        text[k] = next(text, k);
    int rc = trace_add_request(b, id, i % 3 ? "chat" : "copy",
                               i % 2 ? SPLIT_HELD_OUT : SPLIT_CALIBRATION, MAX_TOKENS, text, n,
                               &index, e);
    return rc ? rc : trace_add_output(b, index, text + n, MAX_TOKENS, e);
}

int main(int argc, char **argv)
{
    const int32_t eos[] = {0};
    struct trace_builder *b = NULL;
    struct err e = {0};
    char text[1200];
    int32_t n = argc > 3 ? (int32_t)strtol(argv[3], NULL, 10) : 6;
    if (argc < 2)
        return 2;
    int rc = trace_builder_create("synthetic", argc > 2 ? argv[2] : "example-2core", VOCAB, eos, 1,
                                  0, &b, &e);
    for (int32_t i = 0; i < n && !rc; i++)
        rc = add(b, i, &e);
    if (!rc)
        rc = trace_write(b, argv[1], &e);
    if (rc)
        fprintf(stderr, "%s\n", err_format(&e, text, sizeof text));
    trace_builder_destroy(b);
    return rc != 0;
}
