/* The operators of a forward pass: what a step of some layers computes and moves.
 *
 * A decoder layer is, in this order: attn_norm, attn_q, attn_k, attn_v, [qk_norm,] rope, attention,
 * attn_o, attn_add, ffn_norm, ffn_gate, ffn_up, ffn_act, ffn_down, ffn_add. Before the first comes
 * embed, after the last out_norm and head. Every layer has the shapes of struct model_desc.
 *
 * FLOPs, with m rows: a matrix product 2mnk, and mn more for a bias; attention 4 m n k of its two
 * products (n attended cells, k = heads * head_dim) and 5 m n heads of the softmax; a norm 4, a
 * rotation 3, a gated activation 5 and a sum 1 per element. What a kernel computes counts: the
 * whole rectangle of rows and attended cells, whatever the mask hides.
 *
 * Bytes are what passes if nothing stays in a cache between operators: each weight once, the
 * operator's inputs and outputs, keys and values attended, keys and values of the new rows. */
#ifndef TANDEM_LLM_OPS_H
#define TANDEM_LLM_OPS_H

#include "sim/base/arena.h"
#include "sim/llm/model.h"

enum op_kind { OP_EMBED, OP_ELEMENTWISE, OP_MATMUL, OP_ATTENTION, OP_KINDS };

extern const char *const op_kind_name[OP_KINDS];

/* One operator. MATMUL: [m, k] x [k, n]. ATTENTION: m rows, n attended cells, k = heads * head_dim.
 * ELEMENTWISE, EMBED: m rows of n elements, k = 1. */
struct op {
    const char *name;
    uint8_t kind;  /* enum op_kind */
    int32_t layer; /* -1: not of a layer */
    int64_t m, n, k;
    int64_t flops;
    int64_t weight_bytes;   /* read: weights */
    int64_t input_bytes;    /* read: activations */
    int64_t output_bytes;   /* written: activations */
    int64_t kv_read_bytes;  /* keys and values attended */
    int64_t kv_write_bytes; /* keys and values of the rows */
};

/* A step of `rows` rows (padding included) through layers [b0, b1), with `context` cached tokens.
 */
struct ops_step {
    int32_t b0, b1;
    int32_t rows;
    int32_t context;
    int32_t attended;  /* cells that attention computes; 0: context + rows. A static graph's length
                          is fixed */
    int32_t head_rows; /* rows through the head, when b1 is the last layer; 0: no head */
    struct model_type weights, head;
    int32_t activation_bytes; /* of an element: 2 for F16 */
    int32_t kv_bytes;         /* of an element of the cache */
};

struct ops {
    int32_t n;
    struct op *op; /* [n] in the order of execution; the arena's */
};

/* Weights and head stored as the model is, activations and cache in half precision, all layers, the
 * head at every row. ERR_SCHEMA: the model's types are not known. */
int ops_whole(const struct model_desc *m, int32_t rows, int32_t context, struct ops_step *out,
              struct err *e);

/* ERR_RANGE for layers that the model lacks, no rows, `attended` below context + rows, head_rows
 * above rows or before the last layer, sizes of elements outside 1 .. 8; ERR_NOMEM. */
int ops_build(const struct model_desc *m, const struct ops_step *s, struct arena *arena,
              struct ops *out, struct err *e);

/* All bytes of an operator. */
int64_t op_bytes(const struct op *op);

/* Sums; name and kind are those of nothing. */
struct op ops_total(const struct ops *ops);

/* What the weights occupy: of one layer; and of the embeddings, the last norm and the head (a tied
 * head is the embedding table, once). Norms and biases are in single precision. */
int64_t model_layer_bytes(const struct model_desc *m, const struct model_type *weights);
int64_t model_outer_bytes(const struct model_desc *m, const struct model_type *head);

/* Elements of all weights that the shapes come to. */
int64_t model_parameters(const struct model_desc *m);

#endif
