/* Model descriptions that people write, and the choice between the two kinds of files. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sim/base/io.h"
#include "sim/base/yaml.h"
#include "sim/llm/ops.h"

#define MODEL_SCHEMA "tandem-model-1"

static void read_text(struct yaml *y, const char *key, const char *def, char *out, size_t size)
{
    const char *text = def ? yaml_str_or(y, y->root, key, def) : yaml_str(y, y->root, key);
    if (!y->code && strlen(text) >= size)
        yaml_fail(y, yaml_get(y, y->root, key), ERR_LIMIT, "expected at most %zu bytes", size - 1);
    snprintf(out, size, "%s", text ? text : "");
}

static int32_t number(struct yaml *y, const char *key, int64_t max)
{
    return (int32_t)yaml_int(y, y->root, key, 1, max);
}

static void check_type(struct yaml *y, const char *key, const char *name, struct model_type *type)
{
    struct err why = {0};
    if (!y->code && model_type_find(name, type, &why))
        yaml_fail(y, yaml_get(y, y->root, key), ERR_SCHEMA, "%s", why.msg);
}

static void compute(struct yaml *y, struct model_desc *m, int64_t published)
{
    struct model_type weights = {0}, head = {0};
    check_type(y, "quantisation", m->quantisation, &weights);
    check_type(y, "head_type", m->head_type, &head);
    if (y->code)
        return;
    m->parameters = model_parameters(m);
    m->weight_bytes = m->layers * model_layer_bytes(m, &weights) + model_outer_bytes(m, &head);
    m->kv_f16_bytes = (int64_t)m->layers * 4 * m->kv_heads * m->head_dim;
    if (m->parameters != published)
        yaml_fail(y, yaml_get(y, y->root, "parameters"), ERR_SCHEMA,
                  "expected %" PRId64 ", what the shapes come to: correct one or the other",
                  m->parameters);
}

static void read_model(struct yaml *y, struct model_desc *m)
{
    const char *schema = yaml_str(y, y->root, "schema");
    if (!y->code && strcmp(schema, MODEL_SCHEMA))
        yaml_fail(y, yaml_get(y, y->root, "schema"), ERR_SCHEMA, "expected '" MODEL_SCHEMA "'");
    read_text(y, "name", NULL, m->name, sizeof m->name);
    read_text(y, "architecture", NULL, m->architecture, sizeof m->architecture);
    m->layers = number(y, "layers", 1 << 14);
    m->d_model = number(y, "d_model", 1 << 20);
    m->d_ff = number(y, "d_ff", 1 << 20);
    m->heads = number(y, "heads", 1 << 16);
    m->kv_heads = number(y, "kv_heads", 1 << 16);
    m->head_dim = number(y, "head_dim", 1 << 16);
    m->vocabulary = number(y, "vocabulary", 1 << 24);
    m->context = number(y, "context", INT32_MAX);
    m->tied_embeddings = yaml_bool(y, y->root, "tied_embeddings");
    m->qkv_bias = yaml_bool_or(y, y->root, "qkv_bias", false);
    m->qk_norm = yaml_bool_or(y, y->root, "qk_norm", false);
    int64_t published = yaml_int(y, y->root, "parameters", 1, (int64_t)1 << 50);
    read_text(y, "quantisation", NULL, m->quantisation, sizeof m->quantisation);
    read_text(y, "head_type", m->quantisation, m->head_type, sizeof m->head_type);
    if (!y->code)
        compute(y, m, published);
    struct err why = {0};
    if (!y->code && model_check(m, &why))
        yaml_fail(y, y->root, why.code, "%s", why.msg);
    yaml_done(y);
}

int model_from_yaml_bytes(const char *name, const void *bytes, size_t n, struct model_desc *out,
                          struct err *e)
{
    struct yaml y;
    struct arena arena;
    memset(out, 0, sizeof *out);
    arena_init(&arena);
    if (!yaml_parse(&y, name, bytes, n, &arena, e)) {
        y.need_source = true;
        read_model(&y, out);
    }
    arena_fini(&arena);
    return y.code;
}

int model_from_yaml(const char *path, struct model_desc *out, struct err *e)
{
    struct yaml y;
    struct arena arena;
    memset(out, 0, sizeof *out);
    arena_init(&arena);
    if (!yaml_load(&y, path, &arena, e)) {
        y.need_source = true;
        read_model(&y, out);
    }
    arena_fini(&arena);
    return y.code;
}

int model_load(const char *path, struct model_desc *out, struct err *e)
{
    char magic[4] = {0};
    size_t length = strlen(path);
    FILE *f;
    int code = io_open(path, &f, e);
    if (code)
        return code;
    size_t n = fread(magic, 1, sizeof magic, f);
    fclose(f);
    if ((n == sizeof magic && !memcmp(magic, "GGUF", sizeof magic)) ||
        (length > 5 && !strcmp(path + length - 5, ".gguf")))
        return model_from_gguf(path, out, e);
    return model_from_yaml(path, out, e);
}
