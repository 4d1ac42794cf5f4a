/* Flash attention of a few rows on x86-64 CPUs with F16C: what llama.cpp computes there on one
 * thread, bit for bit, in fewer instructions.
 *
 * The library takes one row of one head at a time through the whole cache, and converts every key
 * and value for it. Here a cached token's key and value are converted once for all heads that share
 * them and all rows of the step, TOKENS at a time, so that a draft's rows cost less than as many
 * steps, and queries and sums stay in registers. Of each row the operations are the library's, in
 * its order: the products of a key in four accumulators of eight; the online softmax; the sum of
 * values rounded to half precision after every token.
 *
 *     s = scale q.k + mask;  M' = max(M, s);  S = S e^(M - M') + e^(s - M');
 *     acc = half(half(acc e^(M - M')) + v e^(s - M'));  out = acc / S
 *
 * Linked in and tried as q4_kernel.c is. Left to the library: heads that are not 64 wide, more rows
 * than ROWS (which it takes in tiles), several threads, and what llama.cpp's models of this kind
 * have not (bias, soft capping, sinks). */
#include "hwmodels/real/attention_kernel.h"

#ifdef TANDEM_LLAMA_WRAPS
#include "hwmodels/real/try_kernel.h"

#include <immintrin.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

/* As far as ggml's own begins so. */
struct ggml_compute_params {
    int ith, nth;
};

void __real_ggml_compute_forward_flash_attn_ext(const struct ggml_compute_params *params,
                                                struct ggml_tensor *dst);
void __wrap_ggml_compute_forward_flash_attn_ext(const struct ggml_compute_params *params,
                                                struct ggml_tensor *dst);

#define AVX2   __attribute__((target("avx2,fma,f16c")))
#define INLINE __attribute__((always_inline)) inline

enum { WIDE = 64, PARTS = WIDE / 8, ROWS = 16, GROUP = 8, SPLIT = 512, TOKENS = 16 };

/* A row of the step and a head. */
struct query {
    float m, s;
    float q[WIDE], acc[WIDE];
};

AVX2 static INLINE __m256 halves(const void *at)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(at));
}

AVX2 static INLINE __m256 rounded(__m256 x)
{
    return _mm256_cvtph_ps(_mm256_cvtps_ph(x, 0));
}

/* What is left of a row's product: four sums of two. */
AVX2 static INLINE __m128 dot(const __m256 *q, const float *key)
{
    __m256 sum[4];
    for (int i = 0; i < 4; i++) {
        sum[i] = _mm256_fmadd_ps(_mm256_loadu_ps(key + 8 * i), q[i], _mm256_setzero_ps());
        sum[i] = _mm256_fmadd_ps(_mm256_loadu_ps(key + 8 * (i + 4)), q[i + 4], sum[i]);
    }
    __m256 all = _mm256_add_ps(_mm256_add_ps(sum[0], sum[2]), _mm256_add_ps(sum[1], sum[3]));
    return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

AVX2 static void find_scores(const float *query, float (*key)[WIDE], float *score)
{
    __m256 q[PARTS];
    for (int i = 0; i < PARTS; i++)
        q[i] = _mm256_loadu_ps(query + 8 * i);
    for (int t = 0; t < TOKENS; t += 4) {
        __m128 first = _mm_hadd_ps(dot(q, key[t]), dot(q, key[t + 1]));
        __m128 second = _mm_hadd_ps(dot(q, key[t + 2]), dot(q, key[t + 3]));
        _mm_storeu_ps(score + t, _mm_hadd_ps(first, second));
    }
}

/* What a token adds to the sum: its weight, after the sum so far was scaled by `less` (-1: was
 * not). */
struct share {
    int token;
    float weight, less;
};

AVX2 static int weigh(struct query *x, const float *score, const uint16_t *mask, float scale,
                      struct share *out)
{
    int n = 0;
    for (int t = 0; t < TOKENS; t++) {
        float add = _cvtsh_ss(mask[t]), s = score[t] * scale;
        if (add == -INFINITY)
            continue;
        s += add;
        if (s > x->m) {
            out[n] = (struct share){t, 1, expf(x->m - s)};
            x->m = s;
            x->s = fmaf(x->s, out[n].less, 1);
        } else {
            out[n] = (struct share){t, expf(s - x->m), -1};
            x->s = x->s + out[n].weight;
        }
        n++;
    }
    return n;
}

AVX2 static void add_values(struct query *x, float (*value)[WIDE], const struct share *share, int n)
{
    __m256 acc[PARTS];
    for (int i = 0; i < PARTS; i++)
        acc[i] = _mm256_loadu_ps(x->acc + 8 * i);
    for (int k = 0; k < n; k++) {
        const float *v = value[share[k].token];
        __m256 weight = _mm256_set1_ps(share[k].weight), less = _mm256_set1_ps(share[k].less);
        for (int i = 0; i < PARTS && share[k].less >= 0; i++)
            acc[i] = rounded(_mm256_mul_ps(acc[i], less));
        for (int i = 0; i < PARTS; i++)
            acc[i] = rounded(_mm256_fmadd_ps(_mm256_loadu_ps(v + 8 * i), weight, acc[i]));
    }
    for (int i = 0; i < PARTS; i++)
        _mm256_storeu_ps(x->acc + 8 * i, acc[i]);
}

AVX2 static void begin(struct query *x, const float *q)
{
    x->m = -INFINITY;
    x->s = 0;
    memset(x->acc, 0, sizeof x->acc);
    for (int i = 0; i < PARTS; i++)
        _mm256_storeu_ps(x->q + 8 * i, rounded(_mm256_loadu_ps(q + 8 * i)));
}

AVX2 static void end(const struct query *x, float plus, float *out)
{
    float inverse = x->s == 0 ? 0 : 1 / x->s;
    for (int i = 0; i < WIDE; i++)
        out[i] = (x->acc[i] + plus) * inverse;
}

/* TOKENS rows of a head of the cache. */
AVX2 static void read_halves(const struct ggml_tensor *from, int64_t head, int64_t token,
                             float (*to)[WIDE])
{
    const char *at = (const char *)from->data + (size_t)head * from->nb[2];
    for (int t = 0; t < TOKENS; t++)
        for (int i = 0; i < PARTS; i++)
            _mm256_storeu_ps(to[t] + 8 * i,
                             halves(at + (size_t)(token + t) * from->nb[1] + 16 * i));
}

static bool none_seen(const uint16_t *mask)
{
    const uint16_t infinity = 0xFC00; /* minus */
    for (int t = 0; t < TOKENS; t++)
        if (mask[t] != infinity)
            return false;
    return true;
}

/* All rows of the heads that share one head of the cache. */
AVX2 static void shared_head(struct ggml_tensor *dst, int64_t head)
{
    const struct ggml_tensor *q = dst->src[0], *k = dst->src[1], *v = dst->src[2],
                             *mask = dst->src[3];
    struct query x[ROWS * GROUP];
    int rows = (int)q->ne[1], group = (int)(q->ne[2] / k->ne[2]);
    float scale;
    memcpy(&scale, dst->op_params, sizeof scale);
    const char *from = (const char *)q->data + (size_t)(head * group) * q->nb[2];
    for (int g = 0; g < group; g++)
        for (int r = 0; r < rows; r++)
            begin(&x[r * group + g], (const float *)(const void *)(from + (size_t)g * q->nb[2] +
                                                                   (size_t)r * q->nb[1]));
    for (int64_t t = 0; t < k->ne[1]; t += TOKENS) {
        float keys[TOKENS][WIDE], values[TOKENS][WIDE], score[TOKENS];
        struct share share[TOKENS];
        bool read = false;
        for (int r = 0; r < rows; r++) {
            const uint16_t *seen = (const uint16_t *)(const void *)((const char *)mask->data +
                                                                    (size_t)r * mask->nb[1]) +
                                   t;
            if (none_seen(seen))
                continue;
            if (!read)
                read_halves(k, head, t, keys);
            if (!read)
                read_halves(v, head, t, values);
            read = true;
            for (int g = 0; g < group; g++) {
                struct query *to = &x[r * group + g];
                find_scores(to->q, keys, score);
                add_values(to, values, share, weigh(to, score, seen, scale, share));
            }
        }
    }
    /* One row of a long cache goes through a sum of partial results, which knows no -0. */
    float plus = rows == 1 && k->ne[1] >= SPLIT ? 0.0F : -0.0F;
    for (int g = 0; g < group; g++)
        for (int r = 0; r < rows; r++)
            end(&x[r * group + g], plus,
                (float *)(void *)((char *)dst->data +
                                  (size_t)(head * group + g + r * dst->ne[1]) * dst->nb[1]));
}

/* Whether it is a case that is computed here. */
static bool ours(const struct ggml_compute_params *params, const struct ggml_tensor *dst)
{
    const struct ggml_tensor *q = dst->src[0], *k = dst->src[1], *v = dst->src[2],
                             *mask = dst->src[3];
    float op[3];
    memcpy(op, dst->op_params, sizeof op);
    return params->nth == 1 && mask && !dst->src[4] && op[1] == 0 && op[2] == 0 &&
           q->type == GGML_TYPE_F32 && k->type == GGML_TYPE_F16 && v->type == GGML_TYPE_F16 &&
           mask->type == GGML_TYPE_F16 && q->ne[0] == WIDE && k->ne[0] == WIDE &&
           v->ne[0] == WIDE && q->ne[1] <= ROWS && k->ne[1] % TOKENS == 0 && q->ne[3] == 1 &&
           k->ne[3] == 1 && v->ne[3] == 1 && mask->ne[2] == 1 && mask->ne[3] == 1 &&
           k->ne[2] == v->ne[2] && q->ne[2] % k->ne[2] == 0 && q->ne[2] / k->ne[2] <= GROUP &&
           q->nb[0] == sizeof(float) && k->nb[0] == 2 && v->nb[0] == 2 && mask->nb[0] == 2 &&
           dst->nb[1] == WIDE * sizeof(float);
}

/* ---- whether to ----------------------------------------------------------------------------- */

enum { TRY_HEADS = 6, TRY_SHARED = 2 };

static bool use;
static _Thread_local bool trying, take_ours;

/* Rows at the end of a cache of n tokens: both ways, the same bits? */
static enum attention_kernel try(int rows, int n)
{
    struct ggml_init_params how = {.mem_size = 4 << 20};
    struct ggml_context *c = ggml_init(how);
    uint32_t state = 1;
    if (!c)
        return ATTENTION_ABSENT;
    struct ggml_tensor *q = ggml_new_tensor_3d(c, GGML_TYPE_F32, WIDE, rows, TRY_HEADS);
    struct ggml_tensor *k = ggml_new_tensor_3d(c, GGML_TYPE_F16, WIDE, n, TRY_SHARED);
    struct ggml_tensor *v = ggml_new_tensor_3d(c, GGML_TYPE_F16, WIDE, n, TRY_SHARED);
    struct ggml_tensor *mask = ggml_new_tensor_2d(c, GGML_TYPE_F16, n, rows);
    try_fill(q, &state);
    try_fill(k, &state);
    try_fill(v, &state);
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < n; t++)
            ((ggml_fp16_t *)mask->data)[r * n + t] =
                ggml_fp32_to_fp16(t < n - rows + r - 7 ? 0 : -INFINITY);
    struct ggml_tensor *x = ggml_flash_attn_ext(c, q, k, v, mask, 0.125F, 0, 0);
    struct ggml_tensor *y = ggml_flash_attn_ext(c, q, k, v, mask, 0.125F, 0, 0);
    bool equal;
    if (!try_both(c, x, y, &take_ours, &equal))
        return ATTENTION_ABSENT;
    return equal ? ATTENTION_EQUAL : ATTENTION_DIFFERS;
}

enum attention_kernel attention_kernel_compare(void)
{
    enum attention_kernel found = ATTENTION_EQUAL;
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
        __builtin_cpu_supports("avx512f"))
        return ATTENTION_ABSENT;
    trying = true;
    for (int i = 0; i < 4 && found == ATTENTION_EQUAL; i++)
        found = try((int[]){1, 3, ROWS, 1}[i], (int[]){64, 96, 64, SPLIT}[i]);
    trying = false;
    return found;
}

static void decide(void)
{
    use = attention_kernel_compare() == ATTENTION_EQUAL;
}

bool attention_kernel_start(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, decide);
    return use;
}

void __wrap_ggml_compute_forward_flash_attn_ext(const struct ggml_compute_params *params,
                                                struct ggml_tensor *dst)
{
    if (!ours(params, dst) || !(trying ? take_ours : attention_kernel_start())) {
        __real_ggml_compute_forward_flash_attn_ext(params, dst);
        return;
    }
    for (int64_t head = 0; head < dst->src[1]->ne[2]; head++)
        shared_head(dst, head);
}
#else
enum attention_kernel attention_kernel_compare(void)
{
    return ATTENTION_ABSENT;
}

bool attention_kernel_start(void)
{
    return false;
}
#endif
