/* Any bytes as a model description: refused, or one whose operators add up. */
#include <assert.h>
#include <stdint.h>

#include "sim/llm/ops.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model_desc m;
    struct ops_step s;
    struct ops ops;
    struct arena arena;
    struct err e = {0};
    int code = model_from_yaml_bytes("fuzz", data, size, &m, &e);
    if (code) {
        assert(e.code == code && e.msg[0]);
        return 0;
    }
    assert(model_check(&m, &e) == ERR_OK && m.parameters == model_parameters(&m));
    arena_init(&arena);
    if (!ops_whole(&m, 3, 5, &s, &e) && m.layers < 1000 && !ops_build(&m, &s, &arena, &ops, &e)) {
        struct op total = ops_total(&ops);
        assert(total.flops > 0 && op_bytes(&total) > 0);
    }
    arena_fini(&arena);
    return 0;
}
