/* The products of q4_kernel.c with VPDPBUSD, which adds four products of bytes at once: a vector
 * holds 8 bytes of each of 8 columns, which gives two sums for each column; those of two rows are
 * added in pairs to one vector of both rows, in the columns' own order. Two streams of weights, for
 * 16 columns at once, took a third longer for steps of one to four rows. */
#include "hwmodels/real/q4_kernel_blocks.h"

#ifdef TANDEM_LLAMA_WRAPS
#include <immintrin.h>
#include <string.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c")))
#define INLINE __attribute__((always_inline)) inline

/* A block's nibbles u of 8 columns, 8 rows of each at a time. */
struct block {
    __m512i u[4];
};

AVX512 static INLINE struct block unpack(const struct weights *w)
{
    const __m512i flip = _mm512_set1_epi8((char)0x88), low = _mm512_set1_epi8(0x0F);
    __m512i first = _mm512_xor_si512(_mm512_loadu_si512(w->q), flip);
    __m512i second = _mm512_xor_si512(_mm512_loadu_si512(w->q + 64), flip);
    struct block b = {{_mm512_and_si512(first, low), _mm512_and_si512(second, low),
                       _mm512_and_si512(_mm512_srli_epi16(first, 4), low),
                       _mm512_and_si512(_mm512_srli_epi16(second, 4), low)}};
    return b;
}

AVX512 static INLINE __m512i eight(const int8_t *q)
{
    int64_t x;
    memcpy(&x, q, sizeof x);
    return _mm512_set1_epi64(x);
}

/* Sums of pairs of a row's products with 8 columns; `turn` bytes from one 8 of the row to the next.
 */
AVX512 static INLINE __m512i dot(const struct block *b, const int8_t *q, size_t turn)
{
    __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), b->u[0], eight(q));
    sum = _mm512_dpbusd_epi32(sum, b->u[1], eight(q + turn));
    sum = _mm512_dpbusd_epi32(sum, b->u[2], eight(q + 2 * turn));
    return _mm512_dpbusd_epi32(sum, b->u[3], eight(q + 3 * turn));
}

/* Of two rows, each 8 times: the scale, and 8 sum y. */
struct pair {
    float d[16];
    int32_t bias[16];
};

/* The columns' products with a block of two rows. */
AVX512 static INLINE __m512 add(__m512i first, __m512i second, __m512 d_columns,
                                const struct pair *k, __m512 acc)
{
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    __m512i sum = _mm512_add_epi32(_mm512_permutex2var_epi32(first, even, second),
                                   _mm512_permutex2var_epi32(first, odd, second));
    sum = _mm512_sub_epi32(sum, _mm512_loadu_si512(k->bias));
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(d_columns, _mm512_loadu_ps(k->d)),
                           acc);
}

/* One row's: the lower half. */
AVX512 static INLINE __m512 add_one(__m512i row, __m512 d_columns, const struct pair *k, __m512 acc)
{
    __m256i sum = _mm512_cvtepi64_epi32(_mm512_add_epi32(row, _mm512_srli_epi64(row, 32)));
    sum = _mm256_sub_epi32(sum, _mm256_loadu_si256((const __m256i *)(const void *)k->bias));
    __m256 d = _mm256_mul_ps(_mm512_castps512_ps256(d_columns), _mm256_loadu_ps(k->d));
    return _mm512_castps256_ps512(
        _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), d, _mm512_castps512_ps256(acc)));
}

AVX512 static INLINE __m512 column_scales(const struct weights *w)
{
    __m128i d = _mm_loadu_si128((const __m128i *)(const void *)w->d);
    return _mm512_cvtph_ps(_mm256_broadcastsi128_si256(d));
}

/* The first of two rows, and with more than one also the second. */
AVX512 static INLINE void store(float *s, size_t bs, int rows, __m512 acc)
{
    _mm256_storeu_ps(s, _mm512_castps512_ps256(acc));
    if (rows > 1)
        _mm256_storeu_ps(s + bs, _mm512_extractf32x8_ps(acc, 1));
}

/* `rows` rows, at most four, and all columns. Row r of block b: q[b * block + r * row], its 8s
 * `turn` bytes apart; scale[2 b + r / 2]. */
AVX512 static INLINE void columns(int rows, int nb, float *s, size_t bs, const struct weights *w,
                                  int nc, const int8_t *q, size_t block, size_t row, size_t turn,
                                  const struct pair *scale)
{
    for (int x = 0; x < nc; x += 8) {
        __m512 low = _mm512_setzero_ps(), high = low;
        for (int b = 0; b < nb; b++, w++) {
            fetch_ahead(w);
            const struct block u = unpack(w);
            const int8_t *at = q + (size_t)b * block;
            __m512 d = column_scales(w);
            __m512i first = dot(&u, at, turn);
            low = rows > 1 ? add(first, dot(&u, at + row, turn), d, &scale[2 * b], low)
                           : add_one(first, d, &scale[2 * b], low);
            if (rows > 2) {
                first = dot(&u, at + 2 * row, turn);
                high = rows > 3
                           ? add(first, dot(&u, at + 3 * row, turn), d, &scale[2 * b + 1], high)
                           : add_one(first, d, &scale[2 * b + 1], high);
            }
        }
        store(s + x, bs, rows, low);
        if (rows > 2)
            store(s + 2 * bs + x, bs, rows - 2, high);
    }
}

AVX512 static INLINE void scale_row(uint16_t d, const int8_t *q, size_t turn, int row,
                                    struct pair *out)
{
    int32_t sum = 0;
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 8; k++)
            sum += q[i * turn + k];
    _mm256_storeu_ps(out[row / 2].d + row % 2 * 8, _mm256_set1_ps(_cvtsh_ss(d)));
    _mm256_storeu_si256((__m256i *)(void *)(out[row / 2].bias + row % 2 * 8),
                        _mm256_set1_epi32(8 * sum));
}

AVX512 static INLINE void few_rows(int rows, int n, float *s, size_t bs, const struct weights *w,
                                   const struct row1 *y, int nc)
{
    struct pair scale[MAX_BLOCKS * 2];
    int nb = n / BLOCK;
    for (int b = 0; b < nb; b++)
        for (int r = 0; r < rows; r++)
            scale_row(y[r * nb + b].d, y[r * nb + b].q, 8, r, &scale[2 * b]);
    columns(rows, nb, s, bs, w, nc, y->q, sizeof *y, (size_t)nb * sizeof *y, 8, scale);
}

AVX512 static void few(int rows, int n, float *s, size_t bs, const struct weights *w,
                       const struct row1 *y, int nc)
{
    BY_ROWS(rows, few_rows, n, s, bs, w, y, nc);
}

AVX512 static void gemm(int n, float *s, size_t bs, const struct weights *w, const struct rows4 *y,
                        int nr, int nc)
{
    struct pair scale[MAX_BLOCKS * 2];
    int nb = n / BLOCK;
    for (int from = 0; from < nr; from += TILE, y += nb, s += TILE * bs) {
        for (int b = 0; b < nb; b++)
            for (int r = 0; r < TILE; r++)
                scale_row(y[b].d[r], y[b].q + 8 * r, 32, r, &scale[2 * b]);
        columns(TILE, nb, s, bs, w, nc, y->q, sizeof *y, 8, 32, scale);
    }
}

static bool fits(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}

const struct q4_products q4_avx512 = {fits, few, gemm};
#else
enum { Q4_AVX512_ABSENT };
#endif
