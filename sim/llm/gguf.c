/* GGUF: "GGUF", version (u32), number of tensors and of keys (u64 each); then per key its name, its
 * type (u32) and its value, an array being element type (u32), count (u64), elements; then per
 * tensor its name, number of dimensions (u32), the dimensions (u64 each), type (u32) and offset
 * (u64) in the data, which starts at the next multiple of general.alignment. Strings are a length
 * (u64) and bytes. Everything is little-endian and unaligned. */
#include "sim/base/io.h"
#include "sim/base/json.h"
#include "sim/llm/model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_KEYS = 65536, MAX_TENSORS = 1 << 20, MAX_NAME = 65535, MAX_DIMS = 4 };

enum value_type {
    T_U8,
    T_I8,
    T_U16,
    T_I16,
    T_U32,
    T_I32,
    T_F32,
    T_BOOL,
    T_STRING,
    T_ARRAY,
    T_U64,
    T_I64,
    T_F64,
    T_COUNT
};

static const uint8_t value_bytes[T_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

/* How a tensor's elements are stored: in blocks of `per_block` elements and `bytes` bytes. The
 * index is the type's number in the file. */
static const struct {
    const char *name;
    int32_t per_block, bytes;
} tensor_type[] = {
    [0] = {"F32", 1, 4},         [1] = {"F16", 1, 2},         [2] = {"Q4_0", 32, 18},
    [3] = {"Q4_1", 32, 20},      [6] = {"Q5_0", 32, 22},      [7] = {"Q5_1", 32, 24},
    [8] = {"Q8_0", 32, 34},      [9] = {"Q8_1", 32, 36},      [10] = {"Q2_K", 256, 84},
    [11] = {"Q3_K", 256, 110},   [12] = {"Q4_K", 256, 144},   [13] = {"Q5_K", 256, 176},
    [14] = {"Q6_K", 256, 210},   [15] = {"Q8_K", 256, 292},   [16] = {"IQ2_XXS", 256, 66},
    [17] = {"IQ2_XS", 256, 74},  [18] = {"IQ3_XXS", 256, 98}, [19] = {"IQ1_S", 256, 50},
    [20] = {"IQ4_NL", 32, 18},   [21] = {"IQ3_S", 256, 110},  [22] = {"IQ2_S", 256, 82},
    [23] = {"IQ4_XS", 256, 136}, [24] = {"I8", 1, 1},         [25] = {"I16", 1, 2},
    [26] = {"I32", 1, 4},        [27] = {"I64", 1, 8},        [28] = {"F64", 1, 8},
    [29] = {"IQ1_M", 256, 56},   [30] = {"BF16", 1, 2},       [34] = {"TQ1_0", 256, 54},
    [35] = {"TQ2_0", 256, 66},   [39] = {"MXFP4", 32, 17},    [40] = {"NVFP4", 64, 36},
    [41] = {"Q1_0", 128, 18},    [42] = {"Q2_0", 64, 18},
};

enum { N_TENSOR_TYPES = sizeof tensor_type / sizeof tensor_type[0] };

int model_type_find(const char *name, struct model_type *out, struct err *e)
{
    static const struct model_type vendors[] = {{"W4", 2, 1}, {"W8", 1, 1}};
    for (size_t i = 0; i < sizeof vendors / sizeof *vendors; i++)
        if (!strcmp(vendors[i].name, name)) {
            *out = vendors[i];
            return ERR_OK;
        }
    for (size_t i = 0; i < N_TENSOR_TYPES; i++)
        if (tensor_type[i].name && !strcmp(tensor_type[i].name, name)) {
            *out = (struct model_type){tensor_type[i].name, tensor_type[i].per_block,
                                       tensor_type[i].bytes};
            return ERR_OK;
        }
    return err_set(e, ERR_SCHEMA,
                   "'%s' is no type of weights: expected W4, W8, F16, Q8_0, Q4_0 or another of "
                   "GGUF's",
                   name);
}

int64_t model_type_bytes(const struct model_type *t, int64_t n)
{
    return (n + t->elements - 1) / t->elements * t->bytes;
}

/* An integer key, or an array of them with one entry per layer. */
struct number {
    bool seen, array;
    uint64_t n;    /* entries of the array */
    size_t at;     /* where its elements start */
    uint32_t type; /* enum value_type of the element */
    int64_t value, max;
};

enum key {
    K_LAYERS,
    K_CONTEXT,
    K_D_MODEL,
    K_D_FF,
    K_HEADS,
    K_KV_HEADS,
    K_KEY_LENGTH,
    K_VALUE_LENGTH,
    K_VOCABULARY,
    K_COUNT
};

/* After the architecture's name and a dot. */
static const char *const key_name[K_COUNT] = {
    "block_count",          "context_length",         "embedding_length",
    "feed_forward_length",  "attention.head_count",   "attention.head_count_kv",
    "attention.key_length", "attention.value_length", "vocab_size",
};

struct gguf {
    const char *name;
    const unsigned char *data;
    size_t n, at;
    struct err *e;
    uint64_t n_tensors, n_keys, alignment;
    struct number key[K_COUNT];
    uint64_t n_words; /* of the tokeniser */
    int64_t bytes_of[N_TENSOR_TYPES];
    uint64_t data_end; /* of the tensor that ends last, from the data's start */
    uint32_t head;     /* type of the LM head, else of the embeddings */
    bool has_output, seen_alignment, seen_name, seen_words;
    struct model_desc *m;
};

struct text {
    const char *s;
    size_t n;
};

#define CORRUPT(g, ...) err_at((g)->e, ERR_CORRUPT, (g)->name, 0, 0, __VA_ARGS__)

static int need(struct gguf *g, uint64_t bytes, const char *what)
{
    if (bytes <= g->n - g->at)
        return ERR_OK;
    return CORRUPT(g, "offset %zu: %s needs %" PRIu64 " bytes and the file has %zu left", g->at,
                   what, bytes, g->n - g->at);
}

static uint64_t little(const unsigned char *p, size_t bytes)
{
    uint64_t v = 0;
    for (size_t i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static int read_u32(struct gguf *g, uint32_t *v, const char *what)
{
    if (need(g, 4, what))
        return ERR_CORRUPT;
    *v = (uint32_t)little(g->data + g->at, 4);
    g->at += 4;
    return ERR_OK;
}

static int read_u64(struct gguf *g, uint64_t *v, const char *what)
{
    if (need(g, 8, what))
        return ERR_CORRUPT;
    *v = little(g->data + g->at, 8);
    g->at += 8;
    return ERR_OK;
}

static int read_text(struct gguf *g, struct text *t, const char *what)
{
    uint64_t n;
    if (read_u64(g, &n, what) || need(g, n, what))
        return ERR_CORRUPT;
    t->s = (const char *)g->data + g->at;
    t->n = (size_t)n;
    g->at += t->n;
    return ERR_OK;
}

static bool is(struct text t, const char *s)
{
    return strlen(s) == t.n && !memcmp(s, t.s, t.n);
}

/* Copies a name for people: text, whole, without NULs. */
static int copy_text(struct gguf *g, struct text t, char *out, size_t size, const char *what)
{
    if (t.n >= size || memchr(t.s, 0, t.n) || json_utf8(t.s, t.n) < t.n)
        return CORRUPT(g, "offset %zu: %s is no text of at most %zu bytes", g->at - t.n, what,
                       size - 1);
    memcpy(out, t.s, t.n);
    out[t.n] = 0;
    return ERR_OK;
}

/* The integer of a type at an offset; false when it is no integer, or beyond int64_t. */
static bool integer_at(const struct gguf *g, uint32_t type, size_t at, int64_t *v)
{
    uint64_t raw = little(g->data + at, value_bytes[type]);
    switch (type) {
    case T_U8:
    case T_U16:
    case T_U32:
        *v = (int64_t)raw;
        return true;
    case T_I8:
        *v = (int8_t)raw;
        return true;
    case T_I16:
        *v = (int16_t)raw;
        return true;
    case T_I32:
        *v = (int32_t)raw;
        return true;
    case T_I64:
    case T_U64:
        *v = (int64_t)raw;
        return type == T_I64 || raw <= INT64_MAX;
    default:
        return false;
    }
}

/* ---- keys ----------------------------------------------------------------------------------- */

/* A value as it stands in the file. */
struct value {
    uint32_t type; /* enum value_type; of the elements when `array` */
    bool array;
    uint64_t n; /* elements of an array */
    size_t at;  /* of the value, or the first element */
    struct text text;
};

static int read_value(struct gguf *g, struct value *v)
{
    memset(v, 0, sizeof *v);
    v->n = 1;
    if (read_u32(g, &v->type, "a value's type"))
        return ERR_CORRUPT;
    if (v->type == T_ARRAY) {
        v->array = true;
        if (read_u32(g, &v->type, "an array's type") || read_u64(g, &v->n, "an array's length"))
            return ERR_CORRUPT;
    }
    if (v->type >= T_COUNT || v->type == T_ARRAY)
        return CORRUPT(g, "offset %zu: %" PRIu32 " is no type of a value here", g->at, v->type);
    v->at = g->at;
    /* one element has at least one byte, which bounds the count before it is multiplied */
    uint64_t least = v->type == T_STRING ? 8 : value_bytes[v->type];
    if (v->n > (g->n - g->at) / least)
        return CORRUPT(g, "offset %zu: an array of %" PRIu64 " elements does not fit the file",
                       g->at, v->n);
    if (v->type == T_STRING) {
        for (uint64_t i = 0; i < v->n; i++)
            if (read_text(g, &v->text, "a string"))
                return ERR_CORRUPT;
    } else {
        g->at += (size_t)(v->n * least);
    }
    return ERR_OK;
}

static int once(struct gguf *g, struct text key, bool *seen)
{
    if (*seen)
        return CORRUPT(g, "offset %zu: the key '%.*s' comes twice", g->at, (int)key.n, key.s);
    *seen = true;
    return ERR_OK;
}

static int take_number(struct gguf *g, struct text key, const struct value *v, struct number *out)
{
    if (once(g, key, &out->seen))
        return ERR_CORRUPT;
    out->array = v->array;
    out->n = v->n;
    out->at = v->at;
    out->type = v->type;
    if (v->array && v->n == 0)
        return CORRUPT(g, "offset %zu: '%.*s' is an empty array", v->at, (int)key.n, key.s);
    for (uint64_t i = 0; i < v->n; i++) {
        int64_t x;
        if (!integer_at(g, v->type, v->at + (size_t)i * value_bytes[v->type], &x) || x < 0 ||
            x > INT32_MAX)
            return CORRUPT(g, "offset %zu: '%.*s' is no whole number from 0 to 2^31 - 1", v->at,
                           (int)key.n, key.s);
        out->value = i == 0 ? x : out->value;
        out->max = x > out->max ? x : out->max;
    }
    return ERR_OK;
}

static int take_general(struct gguf *g, struct text key, const struct value *v)
{
    int64_t x;
    bool string = v->type == T_STRING && !v->array;
    if (is(key, "general.name")) {
        if (once(g, key, &g->seen_name))
            return ERR_CORRUPT;
        if (!string)
            return CORRUPT(g, "offset %zu: 'general.name' is no string", v->at);
        return copy_text(g, v->text, g->m->name, sizeof g->m->name, "'general.name'");
    }
    if (is(key, "general.alignment")) {
        if (once(g, key, &g->seen_alignment))
            return ERR_CORRUPT;
        if (v->array || !integer_at(g, v->type, v->at, &x) || x < 1 || x > 1 << 20 || (x & (x - 1)))
            return CORRUPT(g, "offset %zu: 'general.alignment' is no power of two up to 2^20",
                           v->at);
        g->alignment = (uint64_t)x;
    }
    if (is(key, "tokenizer.ggml.tokens")) {
        if (once(g, key, &g->seen_words))
            return ERR_CORRUPT;
        if (!v->array || v->type != T_STRING)
            return CORRUPT(g, "offset %zu: 'tokenizer.ggml.tokens' is no array of strings", v->at);
        g->n_words = v->n;
    }
    return ERR_OK;
}

/* No description needs it, but this reader's verdict is what stands before llama.cpp (check_file of
 * hwmodels/real/llama_engine.c), which ends the process where it is no such number. */
static int check_epsilon(struct gguf *g, struct text key, struct text rest, const struct value *v)
{
    float x;
    if (v->array || v->type != T_F32 ||
        !(is(rest, "attention.layer_norm_rms_epsilon") || is(rest, "attention.layer_norm_epsilon")))
        return ERR_OK;
    memcpy(&x, g->data + v->at, sizeof x);
    return x >= 0 && isfinite(x) ? ERR_OK
                                 : CORRUPT(g, "offset %zu: '%.*s' is %g: expected 0 or more", v->at,
                                           (int)key.n, key.s, (double)x);
}

/* One pass over the keys. The first one only looks for the architecture, whose name the other keys
 * start with; the order in the file is free. */
static int read_keys(struct gguf *g, bool first)
{
    bool seen = false;
    size_t prefix = strlen(g->m->architecture);
    for (uint64_t i = 0; i < g->n_keys; i++) {
        struct text key;
        struct value v;
        if (read_text(g, &key, "a key"))
            return ERR_CORRUPT;
        if (key.n == 0 || key.n > MAX_NAME || memchr(key.s, 0, key.n) ||
            json_utf8(key.s, key.n) < key.n)
            return CORRUPT(g, "offset %zu: a key's name is no text of 1 to %d bytes", g->at - key.n,
                           MAX_NAME);
        if (read_value(g, &v))
            return ERR_CORRUPT;
        if (first) {
            if (!is(key, "general.architecture"))
                continue;
            if (once(g, key, &seen))
                return ERR_CORRUPT;
            if (v.type != T_STRING || v.array || v.text.n == 0)
                return CORRUPT(g, "offset %zu: 'general.architecture' is no string", v.at);
            if (copy_text(g, v.text, g->m->architecture, sizeof g->m->architecture,
                          "'general.architecture'"))
                return ERR_CORRUPT;
            continue;
        }
        if (take_general(g, key, &v))
            return ERR_CORRUPT;
        if (key.n <= prefix || memcmp(key.s, g->m->architecture, prefix) || key.s[prefix] != '.')
            continue;
        struct text rest = {key.s + prefix + 1, key.n - prefix - 1};
        for (int k = 0; k < K_COUNT; k++)
            if (is(rest, key_name[k]) && take_number(g, key, &v, &g->key[k]))
                return ERR_CORRUPT;
        if (check_epsilon(g, key, rest, &v))
            return ERR_CORRUPT;
    }
    if (first && !seen)
        return err_at(g->e, ERR_SCHEMA, g->name, 0, 0,
                      "the header lacks 'general.architecture': is this a language model?");
    return ERR_OK;
}

/* ---- tensors -------------------------------------------------------------------------------- */

static int read_tensor(struct gguf *g)
{
    struct text name;
    uint32_t dims, type;
    uint64_t dim[MAX_DIMS] = {0}, elements = 1, offset;
    size_t start = g->at;
    if (read_text(g, &name, "a tensor's name") || read_u32(g, &dims, "a tensor's dimensions"))
        return ERR_CORRUPT;
    if (dims < 1 || dims > MAX_DIMS)
        return CORRUPT(g, "offset %zu: a tensor has %" PRIu32 " dimensions: expected 1 to %d",
                       g->at - 4, dims, MAX_DIMS);
    for (uint32_t i = 0; i < dims; i++) {
        if (read_u64(g, &dim[i], "a tensor's dimension"))
            return ERR_CORRUPT;
        if (dim[i] < 1 || dim[i] > ((uint64_t)1 << 48) / elements)
            return CORRUPT(g, "offset %zu: a tensor's dimension %" PRIu64 " is out of range",
                           g->at - 8, dim[i]);
        elements *= dim[i];
    }
    if (read_u32(g, &type, "a tensor's type") || read_u64(g, &offset, "a tensor's offset"))
        return ERR_CORRUPT;
    if (type >= N_TENSOR_TYPES || !tensor_type[type].name)
        return err_at(g->e, ERR_UNSUPPORTED, g->name, 0, 0,
                      "offset %zu: tensor type %" PRIu32 " is not known: requantise the model",
                      g->at - 12, type);
    uint64_t per = (uint64_t)tensor_type[type].per_block;
    if (dim[0] % per)
        return CORRUPT(g, "offset %zu: a row of %" PRIu64 " elements is not made of whole blocks",
                       start, dim[0]);
    uint64_t bytes = elements / per * (uint64_t)tensor_type[type].bytes;
    if (offset % g->alignment || offset > g->n || bytes > g->n)
        return CORRUPT(g,
                       "offset %zu: a tensor of %" PRIu64 " bytes at %" PRIu64
                       " of the data does not fit the file of %zu bytes",
                       start, bytes, offset, g->n);
    if (offset + bytes > g->data_end)
        g->data_end = offset + bytes;
    /* each tensor fits the file, but a hostile file lists the same bytes again and again */
    if (bytes > ((uint64_t)1 << 60) - (uint64_t)g->m->weight_bytes ||
        elements > ((uint64_t)1 << 60) - (uint64_t)g->m->parameters)
        return CORRUPT(g, "offset %zu: the tensors' sizes add up to nothing possible", start);
    g->bytes_of[type] += (int64_t)bytes;
    g->m->weight_bytes += (int64_t)bytes;
    g->m->parameters += (int64_t)elements;
    if (is(name, "output.weight") || (is(name, "token_embd.weight") && !g->has_output))
        g->head = type;
    g->has_output = g->has_output || is(name, "output.weight");
    g->m->qkv_bias = g->m->qkv_bias || is(name, "blk.0.attn_q.bias");
    g->m->qk_norm = g->m->qk_norm || is(name, "blk.0.attn_q_norm.weight");
    if (is(name, "token_embd.weight") && g->n_words == 0 && !g->key[K_VOCABULARY].seen)
        g->n_words = dims > 1 ? dim[1] : 0;
    return ERR_OK;
}

static int read_tensors(struct gguf *g)
{
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        int code = read_tensor(g);
        if (code)
            return code;
    }
    if (!g->n_tensors)
        return ERR_OK;
    uint64_t start = ((uint64_t)g->at + g->alignment - 1) / g->alignment * g->alignment;
    if (start > g->n || g->data_end > g->n - start)
        return CORRUPT(g,
                       "offset %zu: the file ends here and its tensors need %" PRIu64
                       " bytes: it was cut short",
                       g->n, start + g->data_end);
    return ERR_OK;
}

/* ---- the description ------------------------------------------------------------------------ */

static int64_t number_of(const struct gguf *g, enum key k, int64_t layer, int64_t otherwise)
{
    const struct number *x = &g->key[k];
    int64_t v;
    if (!x->seen)
        return otherwise;
    if (!x->array || (uint64_t)layer >= x->n)
        return x->value;
    integer_at(g, x->type, x->at + (size_t)layer * value_bytes[x->type], &v);
    return v;
}

static int fill(struct gguf *g)
{
    static const enum key needed[] = {K_LAYERS, K_CONTEXT, K_D_MODEL, K_D_FF, K_HEADS};
    struct model_desc *m = g->m;
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (!g->key[needed[i]].seen)
            return err_at(g->e, ERR_SCHEMA, g->name, 0, 0, "the header lacks '%s.%s'",
                          m->architecture, key_name[needed[i]]);
    m->layers = (int32_t)g->key[K_LAYERS].value;
    m->context = (int32_t)g->key[K_CONTEXT].value;
    m->d_model = (int32_t)g->key[K_D_MODEL].value;
    m->d_ff = (int32_t)g->key[K_D_FF].max;
    m->heads = (int32_t)g->key[K_HEADS].max;
    m->kv_heads = (int32_t)(g->key[K_KV_HEADS].seen ? g->key[K_KV_HEADS].max : m->heads);
    int64_t dim = m->heads ? m->d_model / m->heads : 0;
    int64_t key = number_of(g, K_KEY_LENGTH, 0, dim), val = number_of(g, K_VALUE_LENGTH, 0, dim);
    m->head_dim = (int32_t)key;
    uint64_t words = g->n_words ? g->n_words : (uint64_t)g->key[K_VOCABULARY].value;
    m->vocabulary = words > INT32_MAX ? 0 : (int32_t)words;
    m->tied_embeddings = !g->has_output;
    /* numbers below 2^31 in products of two, layers checked first: no sum can overflow */
    for (int64_t i = 0; i < m->layers && m->layers <= 1 << 14; i++) {
        int64_t heads = number_of(g, K_KV_HEADS, i, number_of(g, K_HEADS, i, 0));
        if (heads > 1 << 16 || key > 1 << 16 || val > 1 << 16)
            return CORRUPT(g, "layer %" PRId64 " has %" PRId64 " KV heads of %" PRId64, i, heads,
                           key);
        m->kv_f16_bytes += 2 * heads * (key + val);
    }
    size_t most = 0;
    for (size_t i = 0; i < N_TENSOR_TYPES; i++)
        most = g->bytes_of[i] > g->bytes_of[most] ? i : most;
    snprintf(m->quantisation, sizeof m->quantisation, "%s", tensor_type[most].name);
    snprintf(m->head_type, sizeof m->head_type, "%s", tensor_type[g->head].name);
    struct err why = {0};
    int code = model_check(m, &why);
    return code ? err_at(g->e, code, g->name, 0, 0, "%s", why.msg) : ERR_OK;
}

static int read_header(struct gguf *g)
{
    uint32_t version;
    if (need(g, 4, "the magic"))
        return ERR_CORRUPT;
    if (memcmp(g->data, "GGUF", 4))
        return CORRUPT(g, "offset 0: the file does not start with 'GGUF': expected a GGUF model");
    g->at = 4;
    if (read_u32(g, &version, "the version"))
        return ERR_CORRUPT;
    if (version == 0x02000000 || version == 0x03000000)
        return err_at(g->e, ERR_UNSUPPORTED, g->name, 0, 0,
                      "offset 4: the file is big-endian: convert it to little-endian");
    if (version != 2 && version != 3)
        return err_at(g->e, ERR_UNSUPPORTED, g->name, 0, 0,
                      "offset 4: GGUF version %" PRIu32 ": expected 2 or 3", version);
    if (read_u64(g, &g->n_tensors, "the number of tensors") ||
        read_u64(g, &g->n_keys, "the number of keys"))
        return ERR_CORRUPT;
    if (g->n_tensors > MAX_TENSORS || g->n_keys > MAX_KEYS)
        return CORRUPT(
            g, "offset 8: %" PRIu64 " tensors and %" PRIu64 " keys: expected at most %d and %d",
            g->n_tensors, g->n_keys, MAX_TENSORS, MAX_KEYS);
    return ERR_OK;
}

int model_from_gguf_bytes(const char *name, const void *bytes, size_t n, struct model_desc *out,
                          struct err *e)
{
    struct gguf g = {.name = name, .data = bytes, .n = n, .e = e, .alignment = 32, .m = out};
    memset(out, 0, sizeof *out);
    int code = read_header(&g);
    size_t keys = g.at;
    if (!code)
        code = read_keys(&g, true);
    g.at = keys;
    if (!code)
        code = read_keys(&g, false);
    if (!code)
        code = read_tensors(&g);
    if (!code)
        code = fill(&g);
    if (code == ERR_CORRUPT)
        err_more(e, "fetch or convert the model again");
    return code;
}

int model_from_gguf(const char *path, struct model_desc *out, struct err *e)
{
    struct io_map map;
    int code = io_map_file(path, &map, e);
    if (code)
        return code;
    code = model_from_gguf_bytes(path, map.data, map.n, out, e);
    io_unmap(&map);
    return code;
}
