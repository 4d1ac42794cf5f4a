/* Operators' times: per (processor, backend, datatype) kernels with a measured table or a roofline.
 *
 * A kernel serves one kind of operator between two numbers of rows: where a backend changes its
 * kernel (from matrix-vector to matrix products, from vector to matrix units), another kernel goes
 * on. For a product [m, k] x [k, n] with all three rounded up to the tile:
 *
 *     t = launch + order * work + copies / copy bandwidth
 *       = max(launch, order * work) + copies / copy bandwidth    where the work hides the launch
 *     work = max or sum (overlap or not) of 2 m n k / peak, and (weights + keys and values) /
 *            bandwidth
 *
 * order: what a product costs more whose stationary operand, the weights, has fewer outputs than
 * inputs (n < k). Attention and element-wise operators have their FLOPs and bytes as they are. The
 * bandwidth is the kernel's own, at most its bus path's cap. copies are the activations in and out.
 *
 * A measured point is returned exactly. Where a kernel has points and no roofline, between two
 * points that differ along one axis only: linear; elsewhere the nearest point (in ratios of m, n
 * and k) with its utilisation held, marked extrapolated. A roofline between its points is not
 * marked: it is a model everywhere.
 *
 * A launch time, peak or bandwidth that is not known makes the time unknown, as does one beyond
 * ROOF_MAX_NS; a path without a cap does not bind. Times are rounded once. */
#ifndef TANDEM_HWMODELS_ROOFLINE_H
#define TANDEM_HWMODELS_ROOFLINE_H

#include <stdbool.h>

#include "hwmodels/ranged.h"
#include "sim/llm/ops.h"

#define ROOF_MAX_NS 1e13

enum roof_op { ROOF_MATMUL, ROOF_ATTENTION, ROOF_ELEMENTWISE, ROOF_OPS };

/* Of the parts of a time the largest, or what else decided. */
enum roof_limit {
    ROOF_UNKNOWN, /* no kernel, or a number that is not known */
    ROOF_MEASURED,
    ROOF_INCLUDED, /* no time of its own: it is in other kernels' rates */
    ROOF_LAUNCH,
    ROOF_COMPUTE,
    ROOF_MEMORY,
    ROOF_COPY,
    ROOF_BUS,  /* the memory, by the cap of the kernel's path */
    ROOF_DRAM, /* by what the DRAM gives one path alone */
    ROOF_LIMITS
};

extern const char *const roof_op_name[ROOF_OPS + 1]; /* NULL-terminated */
extern const char *const roof_limit_name[ROOF_LIMITS];

struct roof_point {
    int64_t m, n, k, ns;
    const char *source; /* NULL: the kernel's */
};

struct roof_kernel {
    uint8_t op; /* enum roof_op */
    int32_t rows_from, rows_to;
    int32_t tile;  /* >= 1 */
    bool overlap;  /* compute and memory at once */
    bool hidden;   /* the launch is a shortest time: work that takes longer hides it */
    bool included; /* the numbers of the unit's other kernels hold its time. Its own, which only
                      attention may have, count beside another unit's products (explain.h) */
    int32_t path;  /* index of the device's bus paths; -1 */
    struct ranged launch_ns, flops_per_s, bytes_per_s;
    struct ranged copy_bytes_per_s; /* -1: copies cost nothing that is known */
    struct ranged order_permille;   /* -1: 1000 */
    int32_t n_points;
    const struct roof_point *point;
    const char *source; /* NULL: the unit's */
};

/* What a processor is when one backend drives it with one kind of numbers. */
struct roof_unit {
    const char *backend, *datatype;
    struct model_type weights;
    int32_t activation_bytes, kv_bytes;
    int32_t n_kernels;
    const struct roof_kernel *kernel;
    const char *source; /* NULL: the processor's */
};

enum { ROOF_MAX_SOURCES = 5 };

struct roof_time {
    bool known, extrapolated;
    bool capped; /* the bandwidth that counted was the cap, not the kernel's own */
    enum roof_limit limit;
    int64_t ns; /* -1 when not known */
    double launch_ns, compute_ns, memory_ns, copy_ns;
    int64_t bytes; /* over the bus: weights, keys and values */
    int32_t path;  /* that they take; -1 */
    /* Where the numbers that made it come from; NULL: the unit's or one further up. */
    int32_t n_sources;
    const char *source[ROOF_MAX_SOURCES];
};

/* What of a kernel's numbers an operator needs: t = sum over them, or with the maximum of the two
 * in the middle. What fits a kernel (hwmodels/fit) reads these. */
struct roof_work {
    double launches, flops, bytes, copy_bytes;
    bool thin; /* n < k: order applies to flops and bytes */
};

void roof_work_of(const struct roof_kernel *k, const struct op *op, struct roof_work *out);

/* The first kernel that serves the operator; NULL. */
const struct roof_kernel *roof_kernel_of(const struct roof_unit *u, const struct op *op);

/* `cap_bytes_per_s`: of what the kernel's bytes pass; NULL or its value <= 0: none known. The limit
 * is ROOF_MEMORY whoever's the bandwidth is: who gives the cap knows what it stands for. */
void roof_kernel_time(const struct roof_kernel *k, const struct op *op,
                      const struct ranged *cap_bytes_per_s, struct roof_time *out);

#endif
