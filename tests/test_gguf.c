#include "sim/base/io.h"
#include "sim/llm/model.h"
#include "tests/scratch.h"
#include "tests/unit.h"

#include <stdlib.h>
#include <string.h>

/* A small GGUF writer: little-endian by hand, so that the reader is checked against the format and
 * not against itself. */
struct file {
    unsigned char data[4096];
    size_t n;
};

static void le(struct file *f, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        f->data[f->n++] = (unsigned char)(v >> (8 * i));
}

static void text(struct file *f, const char *s)
{
    le(f, strlen(s), 8);
    memcpy(f->data + f->n, s, strlen(s));
    f->n += strlen(s);
}

static void key_u32(struct file *f, const char *key, uint32_t v)
{
    text(f, key);
    le(f, 4, 4);
    le(f, v, 4);
}

static void key_text(struct file *f, const char *key, const char *v)
{
    text(f, key);
    le(f, 8, 4);
    text(f, v);
}

static void tensor(struct file *f, const char *name, uint64_t d0, uint64_t d1, uint32_t type,
                   uint64_t offset)
{
    text(f, name);
    le(f, d1 ? 2 : 1, 4);
    le(f, d0, 8);
    if (d1)
        le(f, d1, 8);
    le(f, type, 4);
    le(f, offset, 8);
}

static void head(struct file *f, uint32_t version, uint64_t tensors, uint64_t keys)
{
    memset(f, 0, sizeof *f);
    memcpy(f->data, "GGUF", 4);
    f->n = 4;
    le(f, version, 4);
    le(f, tensors, 8);
    le(f, keys, 8);
}

/* d 64, 4 heads and 2 KV heads of 16, 3 layers, 5 words: the architecture deliberately not first.
 */
static void keys(struct file *f)
{
    key_u32(f, "toy.block_count", 3);
    key_u32(f, "general.alignment", 64);
    key_text(f, "general.architecture", "toy");
    key_text(f, "general.name", "Toy \xc3\xa9");
    key_u32(f, "toy.context_length", 512);
    key_u32(f, "toy.embedding_length", 64);
    text(f, "toy.feed_forward_length"); /* per layer */
    le(f, 9, 4);
    le(f, 5, 4);
    le(f, 3, 8);
    le(f, 96, 4);
    le(f, 160, 4);
    le(f, 128, 4);
    text(f, "toy.attention.layer_norm_rms_epsilon");
    le(f, 6, 4);
    le(f, 0x3727c5ac, 4);
    key_u32(f, "toy.attention.head_count", 4);
    text(f, "toy.attention.head_count_kv");
    le(f, 10, 4);
    le(f, 2, 8);
    text(f, "tokenizer.ggml.tokens");
    le(f, 9, 4);
    le(f, 8, 4);
    le(f, 5, 8);
    for (int i = 0; i < 5; i++)
        text(f, i == 3 ? "" : "w");
    key_text(f, "toyish.block_count", "no number: another architecture's key");
}

enum { N_KEYS = 12 };

static void finish(struct file *f, size_t data_bytes)
{
    f->n = (f->n + 63) / 64 * 64 + data_bytes;
}

static void whole(struct file *f)
{
    head(f, 3, 3, N_KEYS);
    keys(f);
    tensor(f, "token_embd.weight", 64, 5, 8, 0);    /* Q8_0: 10 blocks of 34 = 340 */
    tensor(f, "blk.0.w", 64, 3, 2, 384);            /* Q4_0: 6 blocks of 18 = 108 */
    tensor(f, "output_norm.weight", 64, 0, 0, 512); /* F32: 256 */
    finish(f, 768);
}

/* An exact-size copy: reading past its end is seen by ASan. */
static int describe(const void *data, size_t n, struct model_desc *m, struct err *e)
{
    unsigned char *copy = malloc(n ? n : 1);
    memcpy(copy, data, n);
    memset(e, 0, sizeof *e);
    int code = model_from_gguf_bytes("m.gguf", copy, n, m, e);
    free(copy);
    return code;
}

static void a_model_is_described(void)
{
    struct file f;
    struct model_desc m;
    struct err e;
    char path[300];
    whole(&f);
    for (unsigned version = 2; version <= 3; version++) {
        f.data[4] = (unsigned char)version;
        if (!CHECK_EQ(describe(f.data, f.n, &m, &e), ERR_OK))
            return;
        CHECK_STR(m.name, "Toy \xc3\xa9");
        CHECK_STR(m.architecture, "toy");
        CHECK_STR(m.quantisation, "Q8_0");
        CHECK_EQ(m.layers, 3);
        CHECK_EQ(m.d_model, 64);
        CHECK_EQ(m.d_ff, 160);
        CHECK_EQ(m.heads, 4);
        CHECK_EQ(m.kv_heads, 2);
        CHECK_EQ(m.head_dim, 16);
        CHECK_EQ(m.vocabulary, 5);
        CHECK_EQ(m.context, 512);
        CHECK(m.tied_embeddings);
        CHECK_STR(m.head_type, "Q8_0");
        CHECK(!m.qkv_bias && !m.qk_norm);
        CHECK_EQ(m.parameters, 64 * 5 + 64 * 3 + 64);
        CHECK_EQ(m.weight_bytes, 340 + 108 + 256);
        CHECK_EQ(m.kv_f16_bytes, 3 * 2 * 2 * (16 + 16));
    }
    scratch_path(path, sizeof path, "gguf");
    CHECK_EQ(io_write_file(path, f.data, f.n, &e), ERR_OK);
    CHECK_EQ(model_from_gguf(path, &m, &e), ERR_OK);
    CHECK_EQ(m.weight_bytes, 704);
    CHECK_EQ(model_load(path, &m, &e), ERR_OK); /* by its first bytes, whatever its name */
    CHECK_EQ(m.layers, 3);
    unlink(path);
    CHECK_EQ(model_from_gguf(path, &m, &e), ERR_IO);
    e = (struct err){0};
    CHECK_EQ(model_load(path, &m, &e), ERR_IO);
}

/* What the tensors' names say: biases, norms of q and k, and which type the head has. */
static void tensors_tell_what_a_layer_has(void)
{
    struct file f;
    struct model_desc m;
    struct err e;
    head(&f, 3, 5, N_KEYS);
    keys(&f);
    tensor(&f, "output.weight", 64, 5, 2, 0); /* Q4_0, before the embeddings */
    tensor(&f, "token_embd.weight", 64, 5, 8, 192);
    tensor(&f, "blk.0.attn_q.bias", 64, 0, 0, 576);
    tensor(&f, "blk.0.attn_q_norm.weight", 16, 0, 0, 832);
    tensor(&f, "output_norm.weight", 64, 0, 0, 896);
    finish(&f, 1152);
    CHECK_EQ(describe(f.data, f.n, &m, &e), ERR_OK);
    CHECK_STR(e.msg, "");
    CHECK(!m.tied_embeddings && m.qkv_bias && m.qk_norm);
    CHECK_STR(m.head_type, "Q4_0");
}

static void layers_may_differ(void)
{
    struct file f;
    struct model_desc m;
    struct err e;
    head(&f, 3, 2, 11);
    key_text(&f, "general.architecture", "x");
    key_u32(&f, "x.block_count", 3);
    key_u32(&f, "x.context_length", 7);
    key_u32(&f, "x.embedding_length", 48);
    key_u32(&f, "x.feed_forward_length", 50);
    key_u32(&f, "x.attention.head_count", 6);
    text(&f, "x.attention.head_count_kv"); /* int32 array 1, 3, 2 */
    le(&f, 9, 4);
    le(&f, 5, 4);
    le(&f, 3, 8);
    le(&f, 1, 4);
    le(&f, 3, 4);
    le(&f, 2, 4);
    key_u32(&f, "x.attention.key_length", 20);
    key_u32(&f, "x.attention.value_length", 12);
    key_u32(&f, "x.vocab_size", 9);
    text(&f, "x.rope"); /* a float array that is passed over */
    le(&f, 9, 4);
    le(&f, 6, 4);
    le(&f, 2, 8);
    le(&f, 0x7fc00000, 4);
    le(&f, 0, 4);
    tensor(&f, "token_embd.weight", 48, 9, 30, 0);
    tensor(&f, "output.weight", 48, 9, 1, 896);
    f.n = (f.n + 31) / 32 * 32 + 896 + 864;
    if (!CHECK_EQ(describe(f.data, f.n, &m, &e), ERR_OK))
        return;
    CHECK_EQ(m.kv_heads, 3);
    CHECK_EQ(m.head_dim, 20);
    CHECK_EQ(m.kv_f16_bytes, 2 * (1 + 3 + 2) * (20 + 12));
    CHECK_EQ(m.vocabulary, 9);
    CHECK(!m.tied_embeddings);
    CHECK_STR(m.name, "");
}

static void every_truncation_is_rejected_with_the_offset(void)
{
    struct file f;
    struct model_desc m;
    struct err e;
    whole(&f);
    for (size_t n = 0; n < f.n; n++) {
        CHECK_EQ(describe(f.data, n, &m, &e), ERR_CORRUPT);
        CHECK_HAS(e.msg, "offset ");
        CHECK_STR(e.file, "m.gguf");
    }
}

static void no_changed_byte_crashes(void)
{
    struct file f;
    struct model_desc m;
    struct err e;
    whole(&f);
    size_t header = f.n - 768;
    int rejected = 0;
    for (size_t i = 0; i < header; i++)
        for (int bit = 0; bit < 8; bit++) {
            f.data[i] = (unsigned char)(f.data[i] ^ 1 << bit);
            int code = describe(f.data, f.n, &m, &e);
            CHECK(code == ERR_OK || e.msg[0]);
            rejected += code != ERR_OK;
            f.data[i] = (unsigned char)(f.data[i] ^ 1 << bit);
        }
    CHECK(rejected > (int)header * 4);
}

/* One change to the whole file, and what is said about it. */
static void broken(const char *find, int delta, uint64_t v, int bytes, int code, const char *msg)
{
    struct file f;
    struct model_desc m;
    struct err e;
    whole(&f);
    size_t at = 0, n = strlen(find), end = f.n;
    for (at = 0; at + n < f.n && memcmp(f.data + at, find, n); at++)
        ;
    if (!CHECK(at + n < f.n))
        return;
    f.n = (size_t)((long)(at + n) + delta);
    le(&f, v, bytes);
    CHECK_EQ(describe(f.data, end, &m, &e), code);
    CHECK_HAS(e.msg, msg);
}

static void hostile_values_are_rejected(void)
{
    broken("GGUF", -4, 'X', 1, ERR_CORRUPT, "offset 0: the file does not start with 'GGUF'");
    broken("GGUF", 0, 1, 4, ERR_UNSUPPORTED, "GGUF version 1: expected 2 or 3");
    broken("GGUF", 0, 0x03000000, 4, ERR_UNSUPPORTED, "big-endian");
    broken("GGUF", 4, UINT64_MAX, 8, ERR_CORRUPT, "offset 8: 18446744073709551615 tensors");
    broken("GGUF", 12, 65537, 8, ERR_CORRUPT, "and 65537 keys");
    broken("GGUF", 12, N_KEYS + 1, 8, ERR_CORRUPT, "offset ");
    broken("toy.block_count", -23, UINT64_MAX, 8, ERR_CORRUPT, "a key needs 18446744073709551615");
    broken("toy.block_count", -23, 0, 8, ERR_CORRUPT, "a key's name is no text");
    broken("toy.block_count", -1, 0xff, 1, ERR_CORRUPT, "a key's name is no text");
    broken("toy.block_count", 0, 13, 4, ERR_CORRUPT, "13 is no type of a value");
    broken("toy.block_count", 0, 6, 4, ERR_CORRUPT, "is no whole number from 0");
    broken("toy.block_count", 4, 0x80000000, 4, ERR_CORRUPT, "is no whole number from 0");
    broken("toy.block_count", 4, 0, 4, ERR_RANGE, "layers is 0: expected a number from 1");
    broken("toy.block_count", 4, 1 << 20, 4, ERR_RANGE, "layers is 1048576");
    broken("toy.block_count", -1, 'x', 1, ERR_SCHEMA, "lacks 'toy.block_count'");
    broken("toy.context_length", -14, 'x', 1, ERR_SCHEMA, "lacks 'toy.context_length'");
    broken("rms_epsilon", 4, 0xbf800000, 4, ERR_CORRUPT, "rms_epsilon' is -1: expected 0 or more");
    broken("rms_epsilon", 4, 0x7fc00000, 4, ERR_CORRUPT, "rms_epsilon' is nan: expected 0 or more");
    broken("general.alignment", 4, 48, 4, ERR_CORRUPT, "no power of two");
    broken("general.alignment", 4, 0, 4, ERR_CORRUPT, "no power of two");
    broken("general.architecture", -1, 'x', 1, ERR_SCHEMA, "lacks 'general.architecture'");
    broken("general.architecture", 12, 0, 1, ERR_CORRUPT, "'general.architecture' is no text");
    broken("general.name", 12, 0xff, 1, ERR_CORRUPT, "'general.name' is no text");
    broken("toy.feed_forward_length", 0, 4, 4, ERR_CORRUPT, "offset ");
    broken("toy.feed_forward_length", 4, 9, 4, ERR_CORRUPT, "9 is no type of a value");
    broken("toy.feed_forward_length", 8, ((uint64_t)1 << 62) + 3, 8, ERR_CORRUPT,
           "does not fit the file");
    broken("toy.attention.head_count", 4, 5, 4, ERR_RANGE, "no multiple of its kv_heads");
    broken("toy.attention.head_count", 4, 0, 4, ERR_RANGE, "heads is 0");
    broken("tokenizer.ggml.tokens", 8, UINT64_MAX, 8, ERR_CORRUPT, "does not fit the file");
    broken("tokenizer.ggml.tokens", 16, UINT64_MAX - 3, 8, ERR_CORRUPT, "a string needs");
    broken("token_embd.weight", 0, 0, 4, ERR_CORRUPT, "0 dimensions: expected 1 to 4");
    broken("token_embd.weight", 0, 5, 4, ERR_CORRUPT, "5 dimensions: expected 1 to 4");
    broken("token_embd.weight", 4, 0, 8, ERR_CORRUPT, "dimension 0 is out of range");
    broken("token_embd.weight", 12, UINT64_MAX, 8, ERR_CORRUPT, "is out of range");
    broken("token_embd.weight", 12, (uint64_t)1 << 42, 8, ERR_CORRUPT, "does not fit the file");
    broken("token_embd.weight", 4, 63, 8, ERR_CORRUPT, "not made of whole blocks");
    broken("token_embd.weight", 20, 4, 4, ERR_UNSUPPORTED, "tensor type 4 is not known");
    broken("token_embd.weight", 20, 99, 4, ERR_UNSUPPORTED, "tensor type 99 is not known");
    broken("token_embd.weight", 24, 32, 8, ERR_CORRUPT, "does not fit the file");
    broken("token_embd.weight", 24, UINT64_MAX - 63, 8, ERR_CORRUPT, "does not fit the file");
    broken("output_norm.weight", 16, 576, 8, ERR_CORRUPT, "it was cut short");
}

static void a_key_that_comes_twice_is_rejected(void)
{
    static const char *const twice[] = {"general.architecture", "general.name", "toy.block_count",
                                        "general.alignment"};
    for (size_t i = 0; i < sizeof twice / sizeof twice[0]; i++) {
        struct file f;
        struct model_desc m;
        struct err e;
        head(&f, 3, 0, N_KEYS + 1);
        keys(&f);
        if (i < 2)
            key_text(&f, twice[i], "toy");
        else
            key_u32(&f, twice[i], 64);
        CHECK_EQ(describe(f.data, f.n, &m, &e), ERR_CORRUPT);
        CHECK_HAS(e.msg, "comes twice");
        CHECK_HAS(e.msg, twice[i]);
    }
}

static void an_empty_array_is_no_number(void)
{
    struct file f;
    struct model_desc m;
    struct err e;
    head(&f, 3, 0, N_KEYS + 1);
    keys(&f);
    text(&f, "toy.vocab_size");
    le(&f, 9, 4);
    le(&f, 4, 4);
    le(&f, 0, 8);
    CHECK_EQ(describe(f.data, f.n, &m, &e), ERR_CORRUPT);
    CHECK_HAS(e.msg, "'toy.vocab_size' is an empty array");
}

static void a_header_without_tensors_is_no_model(void)
{
    struct file f;
    struct model_desc m;
    struct err e;
    head(&f, 3, 0, N_KEYS);
    keys(&f);
    CHECK_EQ(describe(f.data, f.n, &m, &e), ERR_RANGE);
    CHECK_HAS(e.msg, "parameters is 0");
}

static const struct unit_test tests[] = {
    {"a_model_is_described", a_model_is_described},
    {"tensors_tell_what_a_layer_has", tensors_tell_what_a_layer_has},
    {"layers_may_differ", layers_may_differ},
    {"every_truncation_is_rejected_with_the_offset", every_truncation_is_rejected_with_the_offset},
    {"no_changed_byte_crashes", no_changed_byte_crashes},
    {"hostile_values_are_rejected", hostile_values_are_rejected},
    {"a_key_that_comes_twice_is_rejected", a_key_that_comes_twice_is_rejected},
    {"an_empty_array_is_no_number", an_empty_array_is_no_number},
    {"a_header_without_tensors_is_no_model", a_header_without_tensors_is_no_model},
    {NULL, NULL},
};

UNIT_MAIN("gguf", tests)
