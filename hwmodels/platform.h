/* What the processors of a device share: bus, storage, memory, waiting for one another, heat.
 *
 * All of it may be absent from a device file; what is not known is -1 and stays so in what is
 * computed from it. */
#ifndef TANDEM_HWMODELS_PLATFORM_H
#define TANDEM_HWMODELS_PLATFORM_H

#include <stdbool.h>

#include "hwmodels/ranged.h"

enum { PLATFORM_MAX_PATHS = 16, PLATFORM_MAX_BLOCKS = 16, PLATFORM_MAX_EDGES = 16 };

/* A way to the DRAM that kernels of one kind take, as "npu-dma". */
struct platform_path {
    const char *name;
    struct ranged bytes_per_s; /* alone */
    int32_t priority;          /* served before lower ones; 0 when absent */
    const char *source;
};

struct platform_bus {
    struct ranged dram_bytes_per_s;   /* one path alone reaches no more */
    struct ranged shared_bytes_per_s; /* two or more together; -1: as one alone */
    struct ranged pj_per_byte;        /* energy of what passes */
    int32_t n_paths;
    struct platform_path *path;
    const char *source;
};

/* Reading a file in blocks of a size, in rising order of size. */
struct platform_storage {
    int32_t n_blocks;
    struct platform_block {
        int64_t block_bytes;
        struct ranged bytes_per_s;
    } * block;
    const char *source;
};

struct platform_memory {
    struct ranged dram_bytes;      /* of the device */
    struct ranged npu_space_bytes; /* what an NPU can address at once */
    const char *source;
};

/* Handing work from one processor to another and getting it back. */
struct platform_edge {
    const char *name;                      /* "cpu-npu" */
    struct ranged polling_ns, sleeping_ns; /* waiting in one way or the other */
    const char *source;
};

/* One thermal node behind a resistance to the air, and a governor with hysteresis (thermal.h). */
struct platform_thermal {
    struct ranged mc_per_w, mj_per_c, ambient_mc;
    struct ranged hot_mc, cool_mc; /* slower above hot, as before below cool */
    struct ranged slow_permille;   /* speed while slowed */
    const char *source;
};

struct platform {
    struct platform_bus bus;
    struct platform_storage storage;
    struct platform_memory memory;
    struct platform_thermal thermal;
    int32_t n_edges;
    struct platform_edge *edge;
};

/* Everything unknown, nothing listed. */
void platform_init(struct platform *p);

/* Index of a path or edge; -1. */
int32_t platform_path(const struct platform *p, const char *name);
int32_t platform_edge(const struct platform *p, const char *name);

/* Bytes per second of storage read in blocks of this size: between two sizes linear in the size,
 * beyond them the nearest's (*extrapolated is set then); -1 when not known. */
int64_t platform_storage_rate(const struct platform_storage *s, int64_t block_bytes,
                              bool *extrapolated);

#endif
