/* Operators of a forward pass against counts made by hand, and the shipped model descriptions. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/base/io.h"
#include "sim/llm/ops.h"
#include "tests/scratch.h"
#include "tests/replaced.h"
#include "tests/unit.h"

#define MODELS "hwmodels/models"

/* 2 layers of 8 wide, 4 heads and 2 KV heads of 2, 16 wide inside, 32 words; 1,704 parameters. */
static const char small[] = "schema: tandem-model-1\n"
                            "source: made up\n"
                            "name: small\n"
                            "architecture: llama\n"
                            "layers: 2\n"
                            "d_model: 8\n"
                            "d_ff: 16\n"
                            "heads: 4\n"
                            "kv_heads: 2\n"
                            "head_dim: 2\n"
                            "vocabulary: 32\n"
                            "context: 99\n"
                            "tied_embeddings: false\n"
                            "parameters: 1704\n"
                            "quantisation: F16\n";

static int parse(const char *text, struct model_desc *m, struct err *e)
{
    memset(e, 0, sizeof *e);
    return model_from_yaml_bytes("m.yaml", text, strlen(text), m, e);
}

static const struct op *find(const struct ops *ops, const char *name, int32_t layer)
{
    static const struct op none;
    for (int32_t i = 0; i < ops->n; i++)
        if (!strcmp(ops->op[i].name, name) && ops->op[i].layer == layer)
            return &ops->op[i];
    CHECK_STR("operator", name);
    return &none;
}

static void operators_are_as_counted_by_hand(void)
{
    static const struct {
        const char *name;
        int64_t m, n, k, flops, weights, in, out, kv_read, kv_write;
    } want[] = {
        {"attn_norm", 3, 8, 1, 96, 32, 48, 48, 0, 0},
        {"attn_q", 3, 8, 8, 384, 128, 48, 48, 0, 0},
        {"attn_k", 3, 4, 8, 192, 64, 48, 24, 0, 0},
        {"attn_v", 3, 4, 8, 192, 64, 48, 24, 0, 0},
        {"rope", 3, 12, 1, 108, 0, 72, 72, 0, 0},
        {"attention", 3, 8, 8, 1248, 0, 48, 48, 128, 48},
        {"attn_o", 3, 8, 8, 384, 128, 48, 48, 0, 0},
        {"attn_add", 3, 8, 1, 24, 0, 96, 48, 0, 0},
        {"ffn_norm", 3, 8, 1, 96, 32, 48, 48, 0, 0},
        {"ffn_gate", 3, 16, 8, 768, 256, 48, 96, 0, 0},
        {"ffn_up", 3, 16, 8, 768, 256, 48, 96, 0, 0},
        {"ffn_act", 3, 16, 1, 240, 0, 192, 96, 0, 0},
        {"ffn_down", 3, 8, 16, 768, 256, 96, 48, 0, 0},
        {"ffn_add", 3, 8, 1, 24, 0, 96, 48, 0, 0},
    };
    struct arena arena;
    struct model_desc m;
    struct ops_step s;
    struct ops ops;
    struct err e;
    arena_init(&arena);
    if (!CHECK_EQ(parse(small, &m, &e), ERR_OK))
        return;
    CHECK_STR(e.msg, "");
    CHECK_EQ(ops_whole(&m, 3, 5, &s, &e), ERR_OK);
    CHECK_EQ(ops_build(&m, &s, &arena, &ops, &e), ERR_OK);
    CHECK_EQ(ops.n, 1 + 2 * 14 + 2);
    for (int32_t layer = 0; layer < 2; layer++)
        for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
            const struct op *op = find(&ops, want[i].name, layer);
            CHECK_EQ(op->m, want[i].m);
            CHECK_EQ(op->n, want[i].n);
            CHECK_EQ(op->k, want[i].k);
            CHECK_EQ(op->flops, want[i].flops);
            CHECK_EQ(op->weight_bytes, want[i].weights);
            CHECK_EQ(op->input_bytes, want[i].in);
            CHECK_EQ(op->output_bytes, want[i].out);
            CHECK_EQ(op->kv_read_bytes, want[i].kv_read);
            CHECK_EQ(op->kv_write_bytes, want[i].kv_write);
        }
    CHECK_EQ(find(&ops, "embed", -1)->weight_bytes, 48);
    CHECK_EQ(find(&ops, "head", -1)->flops, 1536);
    CHECK_EQ(find(&ops, "head", -1)->weight_bytes, 512);
    CHECK_EQ(op_bytes(find(&ops, "attention", 0)), 48 + 48 + 128 + 48);
    struct op total = ops_total(&ops);
    CHECK_EQ(total.flops, 2 * 5292 + 96 + 1536);
    CHECK_EQ(total.kv_write_bytes, 2 * 48);
    CHECK_EQ(m.weight_bytes, 2 * 1216 + 1056);
    CHECK_EQ(m.kv_f16_bytes, 2 * 2 * 2 * 2 * 2);
    arena_fini(&arena);
}

static void a_part_of_the_layers_has_neither_embeddings_nor_head(void)
{
    struct arena arena;
    struct model_desc m;
    struct ops_step s;
    struct ops ops;
    struct err e;
    arena_init(&arena);
    parse(small, &m, &e);
    ops_whole(&m, 3, 5, &s, &e);
    s.b0 = 1;
    s.head_rows = 1;
    s.attended = 64; /* a static graph's length */
    s.activation_bytes = 1;
    s.kv_bytes = 1;
    CHECK_EQ(ops_build(&m, &s, &arena, &ops, &e), ERR_OK);
    CHECK_EQ(ops.n, 14 + 2);
    CHECK_EQ(find(&ops, "attention", 1)->flops, 4 * 3 * 64 * 8 + 5 * 3 * 64 * 4);
    CHECK_EQ(find(&ops, "attention", 1)->kv_read_bytes, 2 * 64 * 4);
    CHECK_EQ(find(&ops, "attention", 1)->kv_write_bytes, 2 * 3 * 4);
    CHECK_EQ(find(&ops, "head", -1)->flops, 2 * 32 * 8);
    CHECK_EQ(find(&ops, "attn_q", 1)->input_bytes, 24);
    s.b0 = 0;
    s.b1 = 1;
    s.head_rows = 0;
    CHECK_EQ(ops_build(&m, &s, &arena, &ops, &e), ERR_OK);
    CHECK_EQ(ops.n, 1 + 14);
    arena_fini(&arena);
}

static void what_a_step_cannot_be_is_refused(void)
{
    static const struct {
        int32_t b0, b1, rows, context, attended, head, act, kv;
        const char *says;
    } t[] = {
        {-1, 2, 1, 0, 0, 0, 2, 2, "layers -1..2"}, {1, 1, 1, 0, 0, 0, 2, 2, "layers 1..1"},
        {0, 3, 1, 0, 0, 0, 2, 2, "layers 0..3"},   {0, 2, 0, 0, 0, 0, 2, 2, "0 rows"},
        {0, 2, 1, -1, 0, 0, 2, 2, "context"},      {0, 2, 3, 5, 7, 0, 2, 2, "7 attended"},
        {0, 2, 3, 5, 8, 4, 2, 2, "4 rows"},        {0, 1, 3, 5, 8, 1, 2, 2, "before the last"},
        {0, 2, 3, 5, 8, 1, 0, 2, "elements"},      {0, 2, 3, 5, 8, 1, 2, 9, "elements"},
    };
    struct arena arena;
    struct model_desc m;
    struct err e;
    arena_init(&arena);
    parse(small, &m, &e);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct ops_step s;
        struct ops ops;
        ops_whole(&m, t[i].rows, t[i].context, &s, &e);
        s.b0 = t[i].b0;
        s.b1 = t[i].b1;
        s.attended = t[i].attended;
        s.head_rows = t[i].head;
        s.activation_bytes = t[i].act;
        s.kv_bytes = t[i].kv;
        e = (struct err){0};
        CHECK_EQ(ops_build(&m, &s, &arena, &ops, &e), ERR_RANGE);
        CHECK_HAS(e.msg, t[i].says);
    }
    arena_fini(&arena);
}

static void types_are_found_by_name(void)
{
    struct model_type t;
    struct err e = {0};
    CHECK_EQ(model_type_find("Q4_0", &t, &e), ERR_OK);
    CHECK_EQ(model_type_bytes(&t, 33), 36);
    CHECK_EQ(model_type_find("W4", &t, &e), ERR_OK);
    CHECK_EQ(model_type_bytes(&t, 7), 4);
    CHECK_EQ(model_type_find("W8", &t, &e), ERR_OK);
    CHECK_EQ(model_type_bytes(&t, 7), 7);
    CHECK_EQ(model_type_find("BF16", &t, &e), ERR_OK);
    CHECK_EQ(model_type_bytes(&t, 7), 14);
    CHECK_EQ(model_type_find("Q4", &t, &e), ERR_SCHEMA);
    CHECK_HAS(e.msg, "'Q4'");
}

static void descriptions_that_are_wrong_are_refused(void)
{
    static const struct {
        const char *from, *to, *says;
    } t[] = {
        {"model-1", "model-2", "tandem-model-1"},
        {"1704", "1705", "expected 1704"},
        {"heads: 4", "heads: 0", "heads"},
        {"kv_heads: 2", "kv_heads: 3", "1704"},
        {"F16", "F17", "F17"},
        {"F16", "F16\nhead_type: F17", "F17"},
        {"F16", "F16\nhead_kind: F16", "head_kind"},
        {"tied_embeddings: false", "tied_embeddings: 0", "true or false"},
        {"source: made up\n", "", "source"},
        {"name: small",
         "name: "
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
         "at most 127"},
        {"layers: 2\n", "", "layers"},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct model_desc m;
        struct err e;
        char *text = replaced(small, t[i].from, t[i].to);
        CHECK(parse(text, &m, &e) != ERR_OK);
        CHECK_HAS(e.msg, t[i].says);
        CHECK_STR(e.file, "m.yaml");
        free(text);
    }
    struct model_desc m;
    struct err e;
    char *text = replaced(small, "heads: 4\nkv_heads: 2", "heads: 3\nkv_heads: 2");
    char *more = replaced(text, "1704", "1640");
    CHECK(parse(more, &m, &e) != ERR_OK); /* the shapes add up, the heads do not */
    CHECK_HAS(e.msg, "multiple");
    free(text);
    free(more);
}

/* Each has its published number of parameters, or it would not be read. */
static void shipped_models_are_as_published(void)
{
    DIR *dir = opendir(MODELS);
    int n = 0;
    if (!CHECK(dir != NULL))
        return;
    for (struct dirent *f; (f = readdir(dir));) {
        struct model_desc m;
        struct err e = {0};
        char path[512];
        if (!strstr(f->d_name, ".yaml"))
            continue;
        snprintf(path, sizeof path, MODELS "/%s", f->d_name);
        CHECK_EQ(model_load(path, &m, &e), ERR_OK);
        CHECK_STR(e.msg, "");
        n++;
    }
    closedir(dir);
    CHECK(n >= 7);
}

static void a_quantised_model_has_the_bytes_of_its_file(void)
{
    struct arena arena;
    struct model_desc m;
    struct err e = {0};
    struct ops_step s;
    struct ops ops;
    struct model_type q4;
    arena_init(&arena);
    /* SmolLM2-135M in pure Q4_0: the tensors of its GGUF file add up to this */
    CHECK_EQ(model_load(MODELS "/smollm2-135m.yaml", &m, &e), ERR_OK);
    model_type_find("Q4_0", &q4, &e);
    CHECK_EQ(m.layers * model_layer_bytes(&m, &q4) + model_outer_bytes(&m, &q4), 75785472);
    CHECK_EQ(m.kv_f16_bytes, 23040);
    /* Llama-3.2-1B: a decoded token multiplies every weight but the norms' once */
    CHECK_EQ(model_load(MODELS "/llama-3.2-1b.yaml", &m, &e), ERR_OK);
    CHECK_EQ(ops_whole(&m, 1, 0, &s, &e), ERR_OK);
    CHECK_EQ(ops_build(&m, &s, &arena, &ops, &e), ERR_OK);
    int64_t flops = 0, weights = 0;
    for (int32_t i = 0; i < ops.n; i++)
        if (ops.op[i].kind == OP_MATMUL) {
            flops += ops.op[i].flops;
            weights += ops.op[i].weight_bytes;
        }
    CHECK_EQ(flops, 2 * (INT64_C(1235814400) - (16 * 2 + 1) * 2048));
    CHECK_EQ(weights, flops);
    CHECK_EQ(m.kv_f16_bytes, 32768);
    /* Qwen2.5 has biases: the product's FLOPs and bytes hold them */
    CHECK_EQ(model_load(MODELS "/qwen2.5-0.5b.yaml", &m, &e), ERR_OK);
    ops_whole(&m, 2, 0, &s, &e);
    CHECK_EQ(ops_build(&m, &s, &arena, &ops, &e), ERR_OK);
    CHECK_EQ(find(&ops, "attn_k", 3)->flops, 2 * 2 * 128 * 896 + 2 * 128);
    CHECK_EQ(find(&ops, "attn_k", 3)->weight_bytes, 2 * 128 * 896 + 4 * 128);
    /* Qwen3 norms q and k per head */
    CHECK_EQ(model_load(MODELS "/qwen3-0.6b.yaml", &m, &e), ERR_OK);
    ops_whole(&m, 2, 0, &s, &e);
    CHECK_EQ(ops_build(&m, &s, &arena, &ops, &e), ERR_OK);
    CHECK_EQ(find(&ops, "qk_norm", 0)->flops, 4 * 2 * (16 + 8) * 128);
    CHECK_EQ(find(&ops, "qk_norm", 0)->weight_bytes, 4 * 2 * 128);
    CHECK_EQ(find(&ops, "attn_o", 0)->k, 2048);
    arena_fini(&arena);
}

static const struct unit_test tests[] = {
    {"operators_are_as_counted_by_hand", operators_are_as_counted_by_hand},
    {"a_part_of_the_layers_has_neither_embeddings_nor_head",
     a_part_of_the_layers_has_neither_embeddings_nor_head},
    {"what_a_step_cannot_be_is_refused", what_a_step_cannot_be_is_refused},
    {"types_are_found_by_name", types_are_found_by_name},
    {"descriptions_that_are_wrong_are_refused", descriptions_that_are_wrong_are_refused},
    {"shipped_models_are_as_published", shipped_models_are_as_published},
    {"a_quantised_model_has_the_bytes_of_its_file", a_quantised_model_has_the_bytes_of_its_file},
    {NULL, NULL},
};

UNIT_MAIN("ops", tests)
