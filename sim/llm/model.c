#include "sim/llm/model.h"

#include <inttypes.h>

int model_check(const struct model_desc *m, struct err *e)
{
    const struct {
        const char *name;
        int64_t value, max;
    } field[] = {
        {"layers", m->layers, 1 << 14},
        {"d_model", m->d_model, 1 << 24},
        {"d_ff", m->d_ff, 1 << 24},
        {"heads", m->heads, 1 << 16},
        {"kv_heads", m->kv_heads, 1 << 16},
        {"head_dim", m->head_dim, 1 << 16},
        {"vocabulary", m->vocabulary, 1 << 24},
        {"context", m->context, INT32_MAX},
        {"parameters", m->parameters, (int64_t)1 << 50},
        {"weight_bytes", m->weight_bytes, (int64_t)1 << 50},
        {"kv_f16_bytes", m->kv_f16_bytes, (int64_t)1 << 40},
    };
    for (size_t i = 0; i < sizeof field / sizeof field[0]; i++)
        if (field[i].value < 1 || field[i].value > field[i].max)
            return err_set(e, ERR_RANGE,
                           "the model's %s is %" PRId64 ": expected a number from 1 to %" PRId64,
                           field[i].name, field[i].value, field[i].max);
    if (m->heads % m->kv_heads)
        return err_set(e, ERR_RANGE, "the model's heads, %d, are no multiple of its kv_heads, %d",
                       m->heads, m->kv_heads);
    return ERR_OK;
}
