/* Any bytes as a trace, as they are and with mended checksums (which a fuzzer cannot guess):
 * refused, or open to every lookup. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "traces/trace.h"
#include "traces/trace_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void mend(uint8_t *data, size_t size)
{
    struct trace_header h;
    if (size < sizeof h)
        return;
    memcpy(&h, data, sizeof h);
    memcpy(h.magic, TRACE_MAGIC, sizeof h.magic);
    h.version = TRACE_VERSION;
    h.header_bytes = sizeof h;
    h.file_bytes = size;
    for (int i = 0; i < TRACE_SECTIONS; i++) {
        struct trace_span *s = &h.section[i];
        if (s->offset <= size && s->bytes <= size - s->offset)
            s->crc = hash_crc32(0, data + s->offset, (size_t)s->bytes);
    }
    h.crc = hash_crc32(0, &h, offsetof(struct trace_header, crc));
    memcpy(data, &h, sizeof h);
}

static void use(const struct trace *t)
{
    const struct trace_info *info = trace_info(t);
    int32_t token[TRACE_MAX_TOPK];
    float logit[TRACE_MAX_TOPK];
    for (int32_t i = 0; i < info->n_requests; i++) {
        struct trace_request r = trace_request(t, i);
        assert(trace_length(t, i) == r.n_output && r.task[0]);
        for (int32_t k = 0; k < r.n_prompt; k++) {
            assert(r.prompt[k] >= 0 && r.prompt[k] < info->n_vocab);
            trace_top(t, i, k, TRACE_MAX_TOPK, token, logit);
        }
        for (int32_t k = 0; k <= r.n_output; k++) {
            trace_choice(t, i, k, NULL, 0);
            trace_choice(t, i, k, r.prompt, 1);
        }
        for (int32_t k = 0; k < r.n_counterfactuals; k++) {
            struct trace_counterfactual c = trace_counterfactual(t, i, k);
            assert(c.choice >= 0 && c.choice < info->n_vocab);
        }
    }
}

static void open_and_use(const void *data, size_t size)
{
    struct trace *t;
    struct err e = {0};
    if (trace_open_bytes("fuzz", data, size, &t, &e))
        return;
    use(t);
    trace_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    open_and_use(data, size);
    if (copy && size) {
        memcpy(copy, data, size);
        mend(copy, size);
        open_and_use(copy, size);
    }
    free(copy);
    return 0;
}
