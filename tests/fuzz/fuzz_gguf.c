/* Any bytes as a GGUF header: refused, or described by numbers that a model can have. */
#include <assert.h>
#include <stdint.h>

#include "sim/llm/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model_desc m;
    struct err e = {0};
    int code = model_from_gguf_bytes("fuzz", data, size, &m, &e);
    if (code == ERR_OK)
        assert(model_check(&m, &e) == ERR_OK);
    else
        assert(e.code == code && e.msg[0]);
    return 0;
}
