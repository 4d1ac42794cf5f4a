/* Products of Q4_0 weights with Q8_0 activations on x86-64 CPUs that have AVX2, here, or AVX-512
 * with VNNI, q4_kernel_avx512.c: what llama.cpp computes there, bit for bit, in fewer instructions.
 *
 * The library's kernels cost so much per row that a step of four rows takes as long as three and a
 * half of one row (hwmodels/devices/epyc-2core-smollm2.yaml): no draft can pay. Here a block of 8
 * columns x 32 rows of weights is unpacked once for four rows of activations, and the rows that are
 * left over by fours, for which the library goes through the weights one by one, are computed
 * together, so that a step of two or three rows reads the weights once. Nibbles are kept
 * unsigned, u = w + 8, so that one VPMADDUBSW takes them as they are, and
 *     sum w y = sum u y - 8 sum y
 * where the last sum belongs to the activations alone. Sums of four products' pairs fit 16 bits:
 * 4 * 2 * 15 * 127 = 15,240. The integers are the library's, and so are the floating-point
 * operations on them and their order:
 *     acc = fma((float)sum, d_w * d_y, acc), block after block.
 *
 * The linker calls these in place of the library's (--wrap, CMakeLists.txt). How many rows are left
 * over is seen where a product begins (ggml_cpu_extra_compute_forward). Before the first use
 * both are compared on a made-up matrix: where a bit differs, because a library packs otherwise, or
 * on another CPU, the library's own stay. */
#include "hwmodels/real/q4_kernel.h"
#include "hwmodels/real/f16_kernel.h"
#include "hwmodels/real/q4_kernel_blocks.h"

#ifdef TANDEM_LLAMA_WRAPS
#include <ggml.h>
#include <immintrin.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct ggml_compute_params;

bool __real_ggml_cpu_extra_compute_forward(struct ggml_compute_params *params,
                                           struct ggml_tensor *op);
bool __wrap_ggml_cpu_extra_compute_forward(struct ggml_compute_params *params,
                                           struct ggml_tensor *op);
void __real_ggml_gemv_q4_0_8x8_q8_0(int n, float *s, size_t bs, const void *vx, const void *vy,
                                    int nr, int nc);
void __real_ggml_gemm_q4_0_8x8_q8_0(int n, float *s, size_t bs, const void *vx, const void *vy,
                                    int nr, int nc);
void __wrap_ggml_gemv_q4_0_8x8_q8_0(int n, float *s, size_t bs, const void *vx, const void *vy,
                                    int nr, int nc);
void __wrap_ggml_gemm_q4_0_8x8_q8_0(int n, float *s, size_t bs, const void *vx, const void *vy,
                                    int nr, int nc);

#define AVX2   __attribute__((target("avx2,fma,f16c")))
#define INLINE __attribute__((always_inline)) inline

enum { TILES = 4 };

/* Of a block of activations: the scale, and 8 sum y. */
struct scales {
    float d[TILE];
    int32_t bias[TILE];
};

/* Half of a block: the nibbles u of four columns, 8 rows of each at a time. */
struct half {
    __m256i u[4];
};

/* half 0: columns 0-3, 1: columns 4-7. */
AVX2 static INLINE struct half unpack(const struct weights *w, int half)
{
    const __m256i flip = _mm256_set1_epi8((char)0x88), low = _mm256_set1_epi8(0x0F);
    const __m256i *q = (const __m256i *)(const void *)w->q + half;
    __m256i first = _mm256_xor_si256(_mm256_loadu_si256(q), flip);
    __m256i second = _mm256_xor_si256(_mm256_loadu_si256(q + 2), flip);
    struct half h = {{_mm256_and_si256(first, low), _mm256_and_si256(second, low),
                      _mm256_and_si256(_mm256_srli_epi16(first, 4), low),
                      _mm256_and_si256(_mm256_srli_epi16(second, 4), low)}};
    return h;
}

/* Scales of the columns 0 1 4 5 2 3 6 7, the order that a horizontal addition leaves. */
AVX2 static INLINE __m256 column_scales(const struct weights *w)
{
    const __m128i order = _mm_setr_epi8(0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15);
    __m128i d = _mm_loadu_si128((const __m128i *)(const void *)w->d);
    return _mm256_cvtph_ps(_mm_shuffle_epi8(d, order));
}

AVX2 static INLINE __m256i eight(const int8_t *q)
{
    int64_t x;
    memcpy(&x, q, sizeof x);
    return _mm256_set1_epi64x(x);
}

/* A row's products with half a block, two sums for each column; `stride` bytes from one turn of 8
 * to the next. */
AVX2 static INLINE __m256i dot(const struct half *h, const int8_t *q, size_t stride)
{
    __m256i a = _mm256_add_epi16(_mm256_maddubs_epi16(h->u[0], eight(q)),
                                 _mm256_maddubs_epi16(h->u[1], eight(q + stride)));
    __m256i b = _mm256_add_epi16(_mm256_maddubs_epi16(h->u[2], eight(q + 2 * stride)),
                                 _mm256_maddubs_epi16(h->u[3], eight(q + 3 * stride)));
    return _mm256_madd_epi16(_mm256_add_epi16(a, b), _mm256_set1_epi16(1));
}

AVX2 static INLINE __m256 add(__m256i a, __m256i b, __m256 d_columns, float d, int32_t bias,
                              __m256 acc)
{
    __m256i sum = _mm256_sub_epi32(_mm256_hadd_epi32(a, b), _mm256_set1_epi32(bias));
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(d_columns, _mm256_set1_ps(d)),
                           acc);
}

/* From the order of column_scales to the columns' own. */
AVX2 static INLINE void store(float *s, __m256 acc)
{
    _mm256_storeu_ps(s, _mm256_permutevar8x32_ps(acc, _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7)));
}

AVX2 static float half(uint16_t h)
{
    return _cvtsh_ss(h);
}

AVX2 static INLINE void few_rows(int rows, int n, float *s, size_t bs, const struct weights *w,
                                 const struct row1 *y, int nc)
{
    struct {
        float d;
        int32_t bias;
    } scale[MAX_BLOCKS][3];
    int nb = n / BLOCK;
    for (int b = 0; b < nb; b++)
        for (int r = 0; r < rows; r++) {
            const struct row1 *at = &y[r * nb + b];
            int32_t sum = 0;
            for (int i = 0; i < BLOCK; i++)
                sum += at->q[i];
            scale[b][r].d = half(at->d);
            scale[b][r].bias = 8 * sum;
        }
    for (int x = 0; x < nc / 8; x++) {
        __m256 acc[3] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
        for (int b = 0; b < nb; b++, w++) {
            fetch_ahead(w);
            struct half h0 = unpack(w, 0), h1 = unpack(w, 1);
            __m256 d = column_scales(w);
            for (int r = 0; r < rows; r++) {
                const int8_t *q = y[r * nb + b].q;
                acc[r] =
                    add(dot(&h0, q, 8), dot(&h1, q, 8), d, scale[b][r].d, scale[b][r].bias, acc[r]);
            }
        }
        for (int r = 0; r < rows; r++)
            store(s + (size_t)r * bs + (size_t)(8 * x), acc[r]);
    }
}

AVX2 static void few(int rows, int n, float *s, size_t bs, const struct weights *w,
                     const struct row1 *y, int nc)
{
    BY_ROWS(rows, few_rows, n, s, bs, w, y, nc);
}

AVX2 static void scale_rows(const struct rows4 *y, int n, struct scales *out)
{
    for (int b = 0; b < n; b++)
        for (int r = 0; r < TILE; r++) {
            int32_t sum = 0;
            for (int k = 0; k < 4; k++)
                for (int i = 0; i < 8; i++)
                    sum += y[b].q[32 * k + 8 * r + i];
            out[b].d[r] = half(y[b].d[r]);
            out[b].bias[r] = 8 * sum;
        }
}

AVX2 static void tile(const struct weights *w, const struct rows4 *y, const struct scales *scale,
                      int nb, float *s, size_t bs)
{
    __m256 acc0 = _mm256_setzero_ps(), acc1 = acc0, acc2 = acc0, acc3 = acc0;
    for (int b = 0; b < nb; b++, w++, y++, scale++) {
        fetch_ahead(w);
        struct half h = unpack(w, 0);
        __m256i a0 = dot(&h, y->q, 32), a1 = dot(&h, y->q + 8, 32), a2 = dot(&h, y->q + 16, 32),
                a3 = dot(&h, y->q + 24, 32);
        __m256 d = column_scales(w);
        h = unpack(w, 1);
        __asm__ volatile("" : "+r"(y)); /* load again: 16 vectors are not enough to keep them */
        acc0 = add(a0, dot(&h, y->q, 32), d, scale->d[0], scale->bias[0], acc0);
        acc1 = add(a1, dot(&h, y->q + 8, 32), d, scale->d[1], scale->bias[1], acc1);
        acc2 = add(a2, dot(&h, y->q + 16, 32), d, scale->d[2], scale->bias[2], acc2);
        acc3 = add(a3, dot(&h, y->q + 24, 32), d, scale->d[3], scale->bias[3], acc3);
    }
    store(s, acc0);
    store(s + bs, acc1);
    store(s + 2 * bs, acc2);
    store(s + 3 * bs, acc3);
}

/* Sixteen rows at a time go through all columns, so that their scales fit the stack and the
 * weights come from memory once for a step of a draft's width. */
AVX2 static void gemm(int n, float *s, size_t bs, const struct weights *all, const struct rows4 *vy,
                      int nr, int nc)
{
    struct scales scale[TILES][MAX_BLOCKS];
    int nb = n / BLOCK;
    for (int from = 0; from < nr / TILE; from += TILES) {
        const struct weights *w = all;
        const struct rows4 *y = vy + (size_t)from * (size_t)nb;
        int tiles = nr / TILE - from < TILES ? nr / TILE - from : TILES;
        for (int t = 0; t < tiles; t++)
            scale_rows(y + t * nb, nb, scale[t]);
        for (int x = 0; x < nc / 8; x++, w += nb)
            for (int t = 0; t < tiles; t++)
                tile(w, y + t * nb, scale[t], nb,
                     s + (size_t)((from + t) * TILE) * bs + (size_t)(8 * x), bs);
    }
}

static bool fits(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); /* and so F16C */
}

static const struct q4_products avx2 = {fits, few, gemm};

/* ---- whether to ----------------------------------------------------------------------------- */

enum { TRY_BLOCKS = 5, TRY_COLUMNS = 24, TRY_ROWS = 20 };

static uint32_t draw(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

/* Random bytes, never -128, which no activation is; scales of moderate size. */
static void make_up(void *data, size_t n_blocks, size_t block, size_t n_scales, uint32_t *state)
{
    uint8_t *at = data;
    for (size_t i = 0; i < n_blocks; i++, at += block) {
        for (size_t k = 0; k < block; k++)
            at[k] = (uint8_t)(0x81 + draw(state) % 255);
        for (size_t k = 0; k < n_scales; k++) {
            uint16_t h = (uint16_t)(0x2000 + draw(state) % 0x1800);
            memcpy(at + 2 * k, &h, sizeof h);
        }
    }
}

static const struct q4_products *const all[] = {&q4_avx512, &avx2, NULL}; /* the fastest first */

static enum q4_kernel compare(const struct q4_products *p)
{
    static struct weights w[TRY_BLOCKS * TRY_COLUMNS / 8];
    static struct rows4 y[TRY_BLOCKS * TRY_ROWS / 4];
    static struct row1 y1[3 * TRY_BLOCKS];
    static float ours[TRY_ROWS * TRY_COLUMNS], theirs[TRY_ROWS * TRY_COLUMNS];
    enum { N = TRY_BLOCKS * BLOCK };
    uint32_t state = 1;
    __builtin_cpu_init();
    if (!p->fits())
        return Q4_ABSENT;
    make_up(w, sizeof w / sizeof *w, sizeof *w, 8, &state);
    make_up(y, sizeof y / sizeof *y, sizeof *y, 4, &state);
    make_up(y1, sizeof y1 / sizeof *y1, sizeof *y1, 1, &state);
    p->gemm(N, ours, TRY_COLUMNS, w, y, TRY_ROWS, TRY_COLUMNS);
    __real_ggml_gemm_q4_0_8x8_q8_0(N, theirs, TRY_COLUMNS, w, y, TRY_ROWS, TRY_COLUMNS);
    bool equal = !memcmp(ours, theirs, sizeof ours);
    for (int r = 0; r < TILE - 1; r++)
        __real_ggml_gemv_q4_0_8x8_q8_0(N, theirs + r * TRY_COLUMNS, TRY_COLUMNS, w,
                                       y1 + r * TRY_BLOCKS, 1, TRY_COLUMNS);
    for (int rows = 1; rows < TILE; rows++) {
        p->few(rows, N, ours, TRY_COLUMNS, w, y1, TRY_COLUMNS);
        equal = equal && !memcmp(ours, theirs, (size_t)rows * TRY_COLUMNS * sizeof *ours);
    }
    return equal ? Q4_EQUAL : Q4_DIFFERS;
}

enum q4_kernel q4_kernel_compare(void)
{
    enum q4_kernel found = Q4_ABSENT;
    for (size_t i = 0; all[i] && found != Q4_DIFFERS; i++) {
        enum q4_kernel one = compare(all[i]);
        found = one == Q4_ABSENT ? found : one;
    }
    return found;
}

static const struct q4_products *use;

static void decide(void)
{
    for (size_t i = 0; all[i] && !use; i++)
        use = compare(all[i]) == Q4_EQUAL ? all[i] : NULL;
}

bool q4_kernel_start(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, decide);
    return use != NULL;
}

/* The product that this thread computes, where two or three rows are left over by fours; and which
 * call for one of them comes next, when all of them were computed with the first. */
static _Thread_local struct {
    const struct ggml_tensor *op;
    int rows, done;
    const float *s;
    const void *x, *y;
} left;

bool __wrap_ggml_cpu_extra_compute_forward(struct ggml_compute_params *params,
                                           struct ggml_tensor *op)
{
    if (f16_kernel_compute(params, op))
        return true;
    bool matrix = op->op == GGML_OP_MUL_MAT && op->ne[2] == 1 && op->ne[3] == 1;
    left.op = matrix && op->ne[1] % TILE > 1 ? op : NULL;
    left.rows = (int)(op->ne[1] % TILE);
    left.done = 0;
    bool computed = __real_ggml_cpu_extra_compute_forward(params, op);
    left.op = NULL;
    return computed;
}

/* Whether s is in the first of the rows that are left over. */
static bool first_left(const float *s)
{
    const struct ggml_tensor *op = left.op;
    const char *row = (const char *)op->data + (size_t)(op->ne[1] - left.rows) * op->nb[1];
    return (const char *)s >= row && (const char *)s < row + op->nb[1];
}

static void one_row(int n, float *s, const void *vx, const void *vy, int nc)
{
    if (left.op && left.done && s == left.s && vx == left.x && vy == left.y) {
        left.done--;
    } else if (left.op && first_left(s)) {
        size_t bs = left.op->nb[1] / sizeof *s;
        use->few(left.rows, n, s, bs, vx, vy, nc);
        left.done = left.rows - 1;
        left.s = s;
        left.x = vx;
        left.y = vy;
    } else {
        use->few(1, n, s, 0, vx, vy, nc);
        return;
    }
    left.s += left.op->nb[1] / sizeof *s;
    left.y = (const struct row1 *)left.y + n / BLOCK;
}

void __wrap_ggml_gemv_q4_0_8x8_q8_0(int n, float *s, size_t bs, const void *vx, const void *vy,
                                    int nr, int nc)
{
    if (nr == 1 && n / BLOCK <= MAX_BLOCKS && q4_kernel_start())
        one_row(n, s, vx, vy, nc);
    else
        __real_ggml_gemv_q4_0_8x8_q8_0(n, s, bs, vx, vy, nr, nc);
}

void __wrap_ggml_gemm_q4_0_8x8_q8_0(int n, float *s, size_t bs, const void *vx, const void *vy,
                                    int nr, int nc)
{
    if (n / BLOCK <= MAX_BLOCKS && q4_kernel_start())
        use->gemm(n, s, bs, vx, vy, nr, nc);
    else
        __real_ggml_gemm_q4_0_8x8_q8_0(n, s, bs, vx, vy, nr, nc);
}
#else
enum q4_kernel q4_kernel_compare(void)
{
    return Q4_ABSENT;
}

bool q4_kernel_start(void)
{
    return false;
}
#endif
