/* Products of F16 tensors with F32 rows on x86-64 CPUs with AVX-512: what llama.cpp computes there,
 * bit for bit, in fewer instructions. Its attention consists of them where it is not "flash":
 * queries with keys, and weights, after the softmax, with values.
 *
 * The library takes one row of one head at a time, converts every key and value for it, and every
 * query for each of these. Here keys and values are converted once for QUERIES rows of all heads
 * that share them. Each product is, as there, 64 sums, one for each position modulo 64,
 *     x[l] = fma over the positions l, l + 64, ...
 *     y[l] = (x[l] + x[l + 32]) + (x[l + 16] + x[l + 48])
 * and then the 16 y halved four times, y[l] + y[l + 8] first. A key has 64 positions: 16 keys are
 * turned, so that a vector is one position of all of them and sums need no shuffles. Values lie
 * token after token: a vector is 16 tokens, and only what is left of 16 dimensions is turned.
 *
 * A single row is left to the library: there is nothing to share but the heads' reading, and that
 * waits for memory (with ours a step of one row took up to 8 % longer).
 *
 * Where an operation begins, q4_kernel.c, which has the linker's one place for that
 * (ggml_cpu_extra_compute_forward), asks here first. Tried as its own products are: where a bit
 * differs, or on another CPU, the library's stay. */
#include "hwmodels/real/f16_kernel.h"

#ifdef TANDEM_LLAMA_WRAPS
#include "hwmodels/real/try_kernel.h"

#include <immintrin.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* As far as ggml's own begins so. */
struct ggml_compute_params {
    int ith, nth;
};

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,f16c")))
#define INLINE __attribute__((always_inline)) inline

enum { LANES = 16, STEP = 64, FEW = 3, QUERIES = 24, CELLS = 2048, PAST = LANES };

/* The rows that meet one head of src0: of each of `group` heads, `rows`. */
struct rows {
    const struct ggml_tensor *from;
    struct ggml_tensor *to;
    int64_t head, group, rows;
};

static const char *row_from(const struct rows *x, int64_t i)
{
    return (const char *)x->from->data +
           (size_t)(x->head * x->group + i / x->rows) * x->from->nb[2] +
           (size_t)(i % x->rows) * x->from->nb[1];
}

static float *row_to(const struct rows *x, int64_t i)
{
    return (float *)(void *)((char *)x->to->data +
                             (size_t)(x->head * x->group + i / x->rows) * x->to->nb[2] +
                             (size_t)(i % x->rows) * x->to->nb[1]);
}

/* Into a register, once and now: left alone, GCC 12 loads again for every use, or all at first. */
AVX512 static INLINE __m512 load(const float *from)
{
    __m512 x = _mm512_loadu_ps(from);
    __asm__ volatile("" : "+v"(x)::"memory");
    return x;
}

/* Keys and values come from memory, after a layer's weights, and a head's keys are scattered. An
 * address, since the last ones lie beyond the tensor. */
static INLINE void fetch(uintptr_t from, size_t stride, size_t rows, size_t bytes)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < bytes; k += 64)
            __builtin_prefetch((const void *)(from + i * stride + k));
}

/* All lanes of a mask: without optimisation GCC 12 passes -1 for the mask of the form without one,
 * which the warnings of conversions refuse. */
AVX512 static INLINE void round_row(const char *from, int n, float *to)
{
    for (int i = 0; i < n; i += LANES)
        _mm512_storeu_ps(to + i, _mm512_cvtph_ps(_mm512_maskz_cvtps_ph(
                                     0xFFFF, _mm512_loadu_ps(from + (size_t)i * sizeof(float)),
                                     _MM_FROUND_TO_NEAREST_INT)));
}

/* ---- queries with keys ---------------------------------------------------------------------- */

/* 16 keys, `stride` bytes apart, position after position. */
AVX512 static void turn_keys(const char *key, size_t stride, float (*to)[LANES])
{
    const __m512i even_odd = _mm512_setr_epi32(
        0x020000, 0x060004, 0x0A0008, 0x0E000C, 0x120010, 0x160014, 0x1A0018, 0x1E001C, 0x030001,
        0x070005, 0x0B0009, 0x0F000D, 0x130011, 0x170015, 0x1B0019, 0x1F001D);
    for (int i = 0; i < STEP; i += 8) {
        __m512i x[4], y[4];
        for (size_t k = 0; k < 4; k++) {
            const char *at = key + k * stride + 2 * i;
            x[k] = _mm512_castsi128_si512(_mm_loadu_si128((const void *)at));
            x[k] = _mm512_inserti32x4(x[k], _mm_loadu_si128((const void *)(at + 4 * stride)), 1);
            x[k] = _mm512_inserti32x4(x[k], _mm_loadu_si128((const void *)(at + 8 * stride)), 2);
            x[k] = _mm512_inserti32x4(x[k], _mm_loadu_si128((const void *)(at + 12 * stride)), 3);
        }
        __m512i low = _mm512_unpacklo_epi32(x[0], x[1]), high = _mm512_unpackhi_epi32(x[0], x[1]);
        __m512i low2 = _mm512_unpacklo_epi32(x[2], x[3]), high2 = _mm512_unpackhi_epi32(x[2], x[3]);
        y[0] = _mm512_unpacklo_epi64(low, low2);
        y[1] = _mm512_unpackhi_epi64(low, low2);
        y[2] = _mm512_unpacklo_epi64(high, high2);
        y[3] = _mm512_unpackhi_epi64(high, high2);
        for (int k = 0; k < 4; k++) { /* two positions of each key */
            __m512i two = _mm512_permutexvar_epi16(even_odd, y[k]);
            _mm512_storeu_ps(to[i + 2 * k], _mm512_cvtph_ps(_mm512_castsi512_si256(two)));
            _mm512_storeu_ps(to[i + 2 * k + 1], _mm512_cvtph_ps(_mm512_extracti64x4_epi64(two, 1)));
        }
    }
}

/* Of 16 keys and each of n queries: y[l]; then sums of 2, 4, 8 and 16 of them. */
AVX512 static INLINE void sum_1(int n, float (*key)[LANES], float (*q)[STEP], int l, __m512 *s)
{
    __m512 k0 = load(key[l]), k1 = load(key[l + 16]), k2 = load(key[l + 32]),
           k3 = load(key[l + 48]);
    for (int i = 0; i < n; i++)
        s[i] = _mm512_add_ps(_mm512_add_ps(_mm512_mul_ps(k0, _mm512_set1_ps(q[i][l])),
                                           _mm512_mul_ps(k2, _mm512_set1_ps(q[i][l + 32]))),
                             _mm512_add_ps(_mm512_mul_ps(k1, _mm512_set1_ps(q[i][l + 16])),
                                           _mm512_mul_ps(k3, _mm512_set1_ps(q[i][l + 48]))));
}

AVX512 static INLINE void add(int n, __m512 *s, const __m512 *more)
{
    for (int i = 0; i < n; i++)
        s[i] = _mm512_add_ps(s[i], more[i]);
}

AVX512 static INLINE void sum_2(int n, float (*key)[LANES], float (*q)[STEP], int l, __m512 *s)
{
    __m512 more[FEW];
    sum_1(n, key, q, l, s);
    sum_1(n, key, q, l + 8, more);
    add(n, s, more);
}

AVX512 static INLINE void sum_4(int n, float (*key)[LANES], float (*q)[STEP], int l, __m512 *s)
{
    __m512 more[FEW];
    sum_2(n, key, q, l, s);
    sum_2(n, key, q, l + 4, more);
    add(n, s, more);
}

AVX512 static INLINE void sum_8(int n, float (*key)[LANES], float (*q)[STEP], int l, __m512 *s)
{
    __m512 more[FEW];
    sum_4(n, key, q, l, s);
    sum_4(n, key, q, l + 2, more);
    add(n, s, more);
}

AVX512 static INLINE void sum_16(int n, float (*key)[LANES], float (*q)[STEP], int l, __m512 *s)
{
    __m512 more[FEW];
    sum_8(n, key, q, l, s);
    sum_8(n, key, q, l + 1, more);
    add(n, s, more);
}

AVX512 static INLINE void score(int n, float (*key)[LANES], float (*q)[STEP], float *const *to,
                                int64_t token)
{
    __m512 s[FEW];
    sum_16(n, key, q, 0, s);
    for (int i = 0; i < n; i++) /* + 0: the library's sums begin with it, so that none is -0 */
        _mm512_storeu_ps(to[i] + token, _mm512_add_ps(s[i], _mm512_setzero_ps()));
}

/* Not part of their caller, where the compiler would know that nothing else sees key and q, and
 * keep copies of them. */
#define APART __attribute__((noinline))

AVX512 APART static void score_1(float (*key)[LANES], float (*q)[STEP], float *const *to,
                                 int64_t token)
{
    score(1, key, q, to, token);
}

AVX512 APART static void score_2(float (*key)[LANES], float (*q)[STEP], float *const *to,
                                 int64_t token)
{
    score(2, key, q, to, token);
}

AVX512 APART static void score_3(float (*key)[LANES], float (*q)[STEP], float *const *to,
                                 int64_t token)
{
    score(3, key, q, to, token);
}

/* QUERIES rows or fewer with the tokens [from, to). */
AVX512 static void scores(const struct ggml_tensor *key, const struct rows *x, int64_t first, int n,
                          int64_t from, int64_t to)
{
    float q[QUERIES][STEP], keys[STEP][LANES], *out[QUERIES];
    enum { AHEAD = 2 * LANES };
    size_t stride = key->nb[1];
    const char *at = (const char *)key->data + (size_t)x->head * key->nb[2];
    bool first_time = x->head == 0 && first == 0; /* a token's keys of all heads in one go */
    for (int i = 0; i < n; i++) {
        round_row(row_from(x, first + i), STEP, q[i]);
        out[i] = row_to(x, first + i);
    }
    for (int64_t t = from; t < to; t += LANES) {
        if (first_time)
            fetch((uintptr_t)at + (size_t)(t + AHEAD) * stride, stride, LANES, stride);
        turn_keys(at + (size_t)t * stride, stride, keys);
        for (int i = 0; i < n; i += FEW)
            if (n - i >= 3)
                score_3(keys, q + i, out + i, t);
            else if (n - i == 2)
                score_2(keys, q + i, out + i, t);
            else
                score_1(keys, q + i, out + i, t);
    }
}

/* ---- weights with values -------------------------------------------------------------------- */

/* y[k], y[k + 1]: n queries, at most FEW, with two rows of `cells`; rows are `stride` apart. */
AVX512 static INLINE void meet(int n, const float *value, const float *weight, int cells,
                               size_t stride, __m512 (*y)[LANES], int k)
{
    __m512 x[FEW][2][4];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < 4; j++)
            x[i][0][j] = x[i][1][j] = _mm512_setzero_ps();
    for (int t = 0; t < cells; t += STEP)
        for (int j = 0; j < 4; j++) {
            __m512 v0 = load(value + t + LANES * j);
            __m512 v1 = load(value + stride + t + LANES * j);
            for (int i = 0; i < n; i++) {
                __m512 w = load(weight + (size_t)i * stride + t + LANES * j);
                x[i][0][j] = _mm512_fmadd_ps(v0, w, x[i][0][j]);
                x[i][1][j] = _mm512_fmadd_ps(v1, w, x[i][1][j]);
            }
        }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < 2; j++)
            y[i][k + j] = _mm512_add_ps(_mm512_add_ps(x[i][j][0], x[i][j][2]),
                                        _mm512_add_ps(x[i][j][1], x[i][j][3]));
}

/* Halves of a and b added: eight sums of each. */
AVX512 static INLINE __m512 halve_16(__m512 a, __m512 b)
{
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
}

AVX512 static INLINE __m512 halve_8(__m512 a, __m512 b)
{
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
}

/* Of dimensions i, i + 4, i + 8, i + 12: four sums each. */
AVX512 static INLINE __m512 four(const __m512 *y, int i)
{
    return halve_8(halve_16(y[i], y[i + 4]), halve_16(y[i + 8], y[i + 12]));
}

AVX512 static INLINE __m512 halve_4(__m512 a, __m512 b)
{
    __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
    return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                         _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
}

AVX512 static INLINE __m512 sum_up(const __m512 *y)
{
    __m512 a = halve_4(four(y, 0), four(y, 1)), b = halve_4(four(y, 2), four(y, 3));
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xDD));
}

/* QUERIES rows or fewer with the dimensions [from, to). */
AVX512 static void sums(const struct ggml_tensor *value, const struct rows *x, int64_t first, int n,
                        int64_t from, int64_t to)
{
    float weights[QUERIES * (CELLS + PAST)], values[LANES * (CELLS + PAST)];
    int cells = (int)value->ne[0];
    size_t stride = (size_t)cells + PAST; /* no power of two: rows in other lines of the cache */
    const char *at = (const char *)value->data + (size_t)x->head * value->nb[2];
    fetch((uintptr_t)at + (size_t)from * value->nb[1], value->nb[1], LANES, 2 * (size_t)cells);
    for (int i = 0; i < n; i++)
        round_row(row_from(x, first + i), cells, weights + (size_t)i * stride);
    for (int64_t d = from; d < to; d += LANES) {
        for (size_t k = 0; k < LANES; k++)
            for (int t = 0; t < cells; t += LANES)
                _mm512_storeu_ps(values + k * stride + t,
                                 _mm512_cvtph_ps(_mm256_loadu_si256(
                                     (const void *)(at + ((size_t)d + k) * value->nb[1] + 2 * t))));
        for (int i = 0; i < n; i += FEW) {
            __m512 y[FEW][LANES];
            const float *w = weights + (size_t)i * stride;
            for (int k = 0; k < LANES; k += 2) {
                const float *v = values + (size_t)k * stride;
                if (i == 0)
                    fetch((uintptr_t)at + (size_t)(d + LANES + k) * value->nb[1], value->nb[1], 2,
                          2 * (size_t)cells);
                if (n - i >= 3)
                    meet(3, v, w, cells, stride, y, k);
                else if (n - i == 2)
                    meet(2, v, w, cells, stride, y, k);
                else
                    meet(1, v, w, cells, stride, y, k);
            }
            for (int q = 0; q < FEW && i + q < n; q++)
                _mm512_storeu_ps(row_to(x, first + i + q) + d, sum_up(y[q]));
        }
    }
}

/* Whether it is a case that is computed here. */
static bool ours(const struct ggml_tensor *op)
{
    const struct ggml_tensor *a = op->src[0], *b = op->src[1];
    return op->op == GGML_OP_MUL_MAT && a->type == GGML_TYPE_F16 && b->type == GGML_TYPE_F32 &&
           a->nb[0] == 2 && b->nb[0] == sizeof(float) && op->nb[0] == sizeof(float) &&
           a->ne[0] % STEP == 0 && a->ne[0] <= CELLS && a->ne[1] % LANES == 0 && a->ne[3] == 1 &&
           b->ne[3] == 1 && b->ne[2] % a->ne[2] == 0 && b->ne[1] > 1 && op->op_params[1] == 0;
}

/* The thread's part of n, in whole vectors. */
static int64_t part(int64_t n, int ith, int nth)
{
    return n / LANES * ith / nth * LANES;
}

static void compute(const struct ggml_compute_params *params, struct ggml_tensor *op)
{
    const struct ggml_tensor *a = op->src[0], *b = op->src[1];
    struct rows x = {b, op, 0, b->ne[2] / a->ne[2], b->ne[1]};
    int64_t from = part(a->ne[1], params->ith, params->nth),
            to = part(a->ne[1], params->ith + 1, params->nth), all = x.group * x.rows;
    for (; x.head < a->ne[2] && from < to; x.head++)
        for (int64_t i = 0; i < all; i += QUERIES) {
            int n = (int)(all - i < QUERIES ? all - i : QUERIES);
            if (a->ne[0] == STEP)
                scores(a, &x, i, n, from, to);
            else
                sums(a, &x, i, n, from, to);
        }
}

/* ---- whether to ----------------------------------------------------------------------------- */

enum { TRY_HEADS = 4, TRY_SHARED = 2 };

static bool use;
static _Thread_local bool trying, take_ours;

/* `n` positions, `columns` of them in each head, `rows` rows of each, heads side by side as in a
 * cache: both ways, the same bits? */
static enum f16_kernel try(int n, int columns, int rows)
{
    struct ggml_init_params how = {.mem_size = 4 << 20};
    struct ggml_context *c = ggml_init(how);
    uint32_t state = 1;
    if (!c)
        return F16_ABSENT;
    struct ggml_tensor *a = ggml_new_tensor_3d(c, GGML_TYPE_F16, n, TRY_SHARED, columns);
    struct ggml_tensor *b = ggml_new_tensor_3d(c, GGML_TYPE_F32, n, TRY_HEADS, rows);
    try_fill(a, &state);
    try_fill(b, &state);
    a = ggml_permute(c, a, 0, 2, 1, 3);
    b = ggml_permute(c, b, 0, 2, 1, 3);
    struct ggml_tensor *x = ggml_mul_mat(c, a, b), *y = ggml_mul_mat(c, a, b);
    bool equal;
    if (!try_both(c, x, y, &take_ours, &equal))
        return F16_ABSENT;
    return equal ? F16_EQUAL : F16_DIFFERS;
}

enum f16_kernel f16_kernel_compare(void)
{
    enum f16_kernel found = F16_EQUAL;
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return F16_ABSENT;
    trying = true;
    for (int i = 0; i < 10 && found == F16_EQUAL; i++)
        found = try((int[]){1, 3}[i % 2] * STEP, 3 * LANES, (int[]){2, 3, 5, 7, 32}[i / 2]);
    trying = false;
    return found;
}

static void decide(void)
{
    use = f16_kernel_compare() == F16_EQUAL;
}

bool f16_kernel_start(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, decide);
    return use;
}

bool f16_kernel_compute(const struct ggml_compute_params *params, struct ggml_tensor *op)
{
    if (!ours(op) || !(trying ? take_ours : f16_kernel_start()))
        return false;
    compute(params, op);
    return true;
}
#else
enum f16_kernel f16_kernel_compare(void)
{
    return F16_ABSENT;
}

bool f16_kernel_start(void)
{
    return false;
}
#endif
