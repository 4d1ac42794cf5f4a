#include "sim/llm/ops.h"

#include <assert.h>
#include <inttypes.h>

const char *const op_kind_name[OP_KINDS] = {"embed", "elementwise", "matmul", "attention"};

enum { MAX_PER_LAYER = 15, MAX_OUTER = 3, F32_BYTES = 4 };

/* FLOPs per element. */
enum { NORM_FLOPS = 4, ROPE_FLOPS = 3, ACT_FLOPS = 5, ADD_FLOPS = 1, SOFTMAX_FLOPS = 5 };

int ops_whole(const struct model_desc *m, int32_t rows, int32_t context, struct ops_step *out,
              struct err *e)
{
    *out = (struct ops_step){.b1 = m->layers,
                             .rows = rows,
                             .context = context,
                             .head_rows = rows,
                             .activation_bytes = 2,
                             .kv_bytes = 2};
    int code = model_type_find(m->quantisation, &out->weights, e);
    return code ? code : model_type_find(m->head_type, &out->head, e);
}

static struct op *add(struct ops *ops, const char *name, enum op_kind kind, int32_t layer)
{
    struct op *op = &ops->op[ops->n++];
    *op = (struct op){.name = name, .kind = (uint8_t)kind, .layer = layer, .k = 1};
    return op;
}

static void matmul(struct ops *ops, const struct ops_step *s, const char *name, int32_t layer,
                   const struct model_type *type, int64_t m, int64_t n, int64_t k, bool bias)
{
    struct op *op = add(ops, name, OP_MATMUL, layer);
    op->m = m;
    op->n = n;
    op->k = k;
    op->flops = 2 * m * n * k + (bias ? m * n : 0);
    op->weight_bytes = n * model_type_bytes(type, k) + (bias ? n * F32_BYTES : 0);
    op->input_bytes = m * k * s->activation_bytes;
    op->output_bytes = m * n * s->activation_bytes;
}

/* `inputs` tensors of m x n become one. */
static struct op *elementwise(struct ops *ops, const struct ops_step *s, const char *name,
                              int32_t layer, int64_t n, int32_t flops, int32_t inputs)
{
    struct op *op = add(ops, name, OP_ELEMENTWISE, layer);
    op->m = s->rows;
    op->n = n;
    op->flops = op->m * n * flops;
    op->input_bytes = inputs * op->m * n * s->activation_bytes;
    op->output_bytes = op->m * n * s->activation_bytes;
    return op;
}

static void norm(struct ops *ops, const struct ops_step *s, const char *name, int32_t layer,
                 int64_t n, int64_t weights)
{
    elementwise(ops, s, name, layer, n, NORM_FLOPS, 1)->weight_bytes = weights * F32_BYTES;
}

static void attention(struct ops *ops, const struct model_desc *m, const struct ops_step *s,
                      int32_t layer)
{
    int64_t width = (int64_t)m->heads * m->head_dim, kv = (int64_t)m->kv_heads * m->head_dim;
    struct op *op = add(ops, "attention", OP_ATTENTION, layer);
    op->m = s->rows;
    op->n = s->attended ? s->attended : (int64_t)s->context + s->rows;
    op->k = width;
    op->flops = 4 * op->m * op->n * width + SOFTMAX_FLOPS * op->m * op->n * m->heads;
    op->input_bytes = op->m * width * s->activation_bytes;
    op->output_bytes = op->m * width * s->activation_bytes;
    op->kv_read_bytes = 2 * op->n * kv * s->kv_bytes;
    op->kv_write_bytes = 2 * op->m * kv * s->kv_bytes;
}

static void add_layer(struct ops *ops, const struct model_desc *m, const struct ops_step *s,
                      int32_t i)
{
    int64_t d = m->d_model, q = (int64_t)m->heads * m->head_dim;
    int64_t kv = (int64_t)m->kv_heads * m->head_dim;
    norm(ops, s, "attn_norm", i, d, d);
    matmul(ops, s, "attn_q", i, &s->weights, s->rows, q, d, m->qkv_bias);
    matmul(ops, s, "attn_k", i, &s->weights, s->rows, kv, d, m->qkv_bias);
    matmul(ops, s, "attn_v", i, &s->weights, s->rows, kv, d, m->qkv_bias);
    if (m->qk_norm)
        norm(ops, s, "qk_norm", i, q + kv, 2 * (int64_t)m->head_dim);
    elementwise(ops, s, "rope", i, q + kv, ROPE_FLOPS, 1);
    attention(ops, m, s, i);
    matmul(ops, s, "attn_o", i, &s->weights, s->rows, d, q, false);
    elementwise(ops, s, "attn_add", i, d, ADD_FLOPS, 2);
    norm(ops, s, "ffn_norm", i, d, d);
    matmul(ops, s, "ffn_gate", i, &s->weights, s->rows, m->d_ff, d, false);
    matmul(ops, s, "ffn_up", i, &s->weights, s->rows, m->d_ff, d, false);
    elementwise(ops, s, "ffn_act", i, m->d_ff, ACT_FLOPS, 2);
    matmul(ops, s, "ffn_down", i, &s->weights, s->rows, d, m->d_ff, false);
    elementwise(ops, s, "ffn_add", i, d, ADD_FLOPS, 2);
}

static void add_embed(struct ops *ops, const struct model_desc *m, const struct ops_step *s)
{
    struct op *op = add(ops, "embed", OP_EMBED, -1);
    op->m = s->rows;
    op->n = m->d_model;
    op->weight_bytes = op->m * model_type_bytes(&s->head, op->n);
    op->output_bytes = op->m * op->n * s->activation_bytes;
}

static int check(const struct model_desc *m, const struct ops_step *s, struct err *e)
{
    const int32_t most = 1 << 24;
    if (s->b0 < 0 || s->b0 >= s->b1 || s->b1 > m->layers)
        return err_set(e, ERR_RANGE,
                       "layers %" PRId32 "..%" PRId32 ": expected a part of 0..%" PRId32, s->b0,
                       s->b1, m->layers);
    if (s->rows < 1 || s->rows > most)
        return err_set(e, ERR_RANGE, "%" PRId32 " rows: expected 1 to %" PRId32, s->rows, most);
    if (s->context < 0 || s->context > most)
        return err_set(e, ERR_RANGE, "a context of %" PRId32 ": expected 0 to %" PRId32, s->context,
                       most);
    if (s->attended && (s->attended < s->context + s->rows || s->attended > 2 * most))
        return err_set(e, ERR_RANGE,
                       "%" PRId32 " attended cells: expected at least the context and the rows, "
                       "%" PRId32,
                       s->attended, s->context + s->rows);
    if (s->head_rows < 0 || s->head_rows > s->rows || (s->head_rows && s->b1 < m->layers))
        return err_set(e, ERR_RANGE,
                       "%" PRId32 " rows for the head: expected 0 to %" PRId32
                       ", and 0 before the last layer",
                       s->head_rows, s->rows);
    if (s->activation_bytes < 1 || s->activation_bytes > 8 || s->kv_bytes < 1 || s->kv_bytes > 8)
        return err_set(e, ERR_RANGE, "elements of %" PRId32 " and %" PRId32 " B: expected 1 to 8",
                       s->activation_bytes, s->kv_bytes);
    return ERR_OK;
}

int ops_build(const struct model_desc *m, const struct ops_step *s, struct arena *arena,
              struct ops *out, struct err *e)
{
    int code = check(m, s, e);
    if (code)
        return code;
    size_t most = (size_t)(s->b1 - s->b0) * MAX_PER_LAYER + MAX_OUTER;
    *out = (struct ops){.op = arena_alloc(arena, most, sizeof *out->op)};
    if (!out->op)
        return err_set(e, ERR_NOMEM, "out of memory");
    if (s->b0 == 0)
        add_embed(out, m, s);
    for (int32_t i = s->b0; i < s->b1; i++)
        add_layer(out, m, s, i);
    if (s->head_rows) {
        struct ops_step head = *s;
        head.rows = s->head_rows;
        norm(out, &head, "out_norm", -1, m->d_model, m->d_model);
        matmul(out, &head, "head", -1, &s->head, s->head_rows, m->vocabulary, m->d_model, false);
    }
    assert(out->n <= (int32_t)most);
    return ERR_OK;
}

int64_t op_bytes(const struct op *op)
{
    return op->weight_bytes + op->input_bytes + op->output_bytes + op->kv_read_bytes +
           op->kv_write_bytes;
}

struct op ops_total(const struct ops *ops)
{
    struct op t = {.name = "total", .layer = -1};
    for (int32_t i = 0; i < ops->n; i++) {
        const struct op *op = &ops->op[i];
        t.flops += op->flops;
        t.weight_bytes += op->weight_bytes;
        t.input_bytes += op->input_bytes;
        t.output_bytes += op->output_bytes;
        t.kv_read_bytes += op->kv_read_bytes;
        t.kv_write_bytes += op->kv_write_bytes;
    }
    return t;
}

/* ---- what is resident ----------------------------------------------------------------------- */

/* Elements of a layer's matrices, and of what is kept in single precision beside them. */
static void layer_elements(const struct model_desc *m, int64_t *matrices, int64_t *others)
{
    int64_t d = m->d_model, q = (int64_t)m->heads * m->head_dim;
    int64_t kv = (int64_t)m->kv_heads * m->head_dim;
    *matrices = d * (q + 2 * kv) + q * d + 3 * d * m->d_ff;
    *others = 2 * d + (m->qkv_bias ? q + 2 * kv : 0) + (m->qk_norm ? 2 * m->head_dim : 0);
}

int64_t model_layer_bytes(const struct model_desc *m, const struct model_type *weights)
{
    int64_t d = m->d_model, q = (int64_t)m->heads * m->head_dim;
    int64_t kv = (int64_t)m->kv_heads * m->head_dim, matrices, others;
    layer_elements(m, &matrices, &others);
    return (q + 2 * kv + 2 * (int64_t)m->d_ff) * model_type_bytes(weights, d) +
           d * (model_type_bytes(weights, q) + model_type_bytes(weights, m->d_ff)) +
           others * F32_BYTES;
}

int64_t model_outer_bytes(const struct model_desc *m, const struct model_type *head)
{
    int64_t table = m->vocabulary * model_type_bytes(head, m->d_model);
    return (m->tied_embeddings ? table : 2 * table) + (int64_t)m->d_model * F32_BYTES;
}

int64_t model_parameters(const struct model_desc *m)
{
    int64_t matrices, others, table = (int64_t)m->vocabulary * m->d_model;
    layer_elements(m, &matrices, &others);
    return m->layers * (matrices + others) + (m->tied_embeddings ? table : 2 * table) + m->d_model;
}
