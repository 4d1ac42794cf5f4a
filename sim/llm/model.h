/* What a language model is made of, as far as its cost depends on it. */
#ifndef TANDEM_LLM_MODEL_H
#define TANDEM_LLM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/base/err.h"

/* Where layers differ, a field has the largest value of any layer; kv_f16_bytes is the exact sum.
 */
struct model_desc {
    char name[128];        /* as its file calls it; "" when the file does not */
    char architecture[64]; /* "llama" */
    char quantisation[32]; /* "Q4_0": what most weights are stored as */
    int32_t layers;
    int32_t d_model;
    int32_t d_ff;
    int32_t heads;
    int32_t kv_heads;
    int32_t head_dim; /* of keys; values may differ, which kv_f16_bytes counts */
    int32_t vocabulary;
    int32_t context;      /* tokens that it was trained for */
    bool tied_embeddings; /* the LM head is the embedding table */
    bool qkv_bias;        /* attention's q, k and v have biases */
    bool qk_norm;         /* q and k are normalised per head */
    char head_type[32];   /* what the LM head's weights are stored as; the embeddings' where tied */
    int64_t parameters;   /* elements of all tensors */
    int64_t weight_bytes; /* of all tensors, without the file's padding */
    int64_t kv_f16_bytes; /* of keys and values per token and sequence, in half precision:
                             sum over layers of 2 * kv_heads * (key length + value length) */
};

/* ERR_RANGE with the field's name unless every number is one that a model can have: sizes positive
 * and below 2^24, heads a multiple of kv_heads, weights no more than 2^50 bytes. */
int model_check(const struct model_desc *m, struct err *e);

/* Reads the description from a GGUF file (versions 2 and 3, little-endian): the header's keys and
 * tensor records. The tensor data is not touched, but must be there: ERR_CORRUPT with the offset
 * for a file that is truncated or contradicts itself; ERR_UNSUPPORTED for another version, byte
 * order or tensor type; ERR_SCHEMA for a header without a needed key; ERR_RANGE of model_check,
 * *out as the header has it. */
int model_from_gguf(const char *path, struct model_desc *out, struct err *e);

/* The same from n bytes; `name` stands for the file in messages. */
int model_from_gguf_bytes(const char *name, const void *bytes, size_t n, struct model_desc *out,
                          struct err *e);

/* Reads a description as people write it (YAML, schema tandem-model-1; hwmodels/models/ has the
 * published ones, sim/llm/README.md the keys). weight_bytes and kv_f16_bytes are computed.
 * ERR_SCHEMA when `parameters` is not what the shapes come to; the errors of sim/base/yaml.h. */
int model_from_yaml(const char *path, struct model_desc *out, struct err *e);
int model_from_yaml_bytes(const char *name, const void *bytes, size_t n, struct model_desc *out,
                          struct err *e);

/* Either of the two: GGUF by the file's first bytes or by its name's end, so that one whose first
 * bytes are damaged is told so. */
int model_load(const char *path, struct model_desc *out, struct err *e);

/* How weights of a type are stored: `elements` in `bytes`. */
struct model_type {
    const char *name;
    int32_t elements, bytes;
};

/* The type of a name: those of GGUF ("Q4_0" is 32 elements in 18 bytes), and "W4" (2 in 1) and "W8"
 * (1 in 1), whose scales, one per output channel, are not counted. ERR_SCHEMA lists some. */
int model_type_find(const char *name, struct model_type *out, struct err *e);

/* Bytes of n elements, whole blocks. */
int64_t model_type_bytes(const struct model_type *t, int64_t n);

#endif
