/* A device file: what was measured on one device with one model, as plain data.
 *
 * The file's layout is in hwmodels/README.md. A device is read from a file, or built in memory by
 * who measures (device_init, device_table_put, device_finish), saved, and turned into a cost model
 * (steps.h) or a belief (belief.h). Whole-step tables belong to one model: the file names it.
 *
 * Everything lives in the device's arena; strings are UTF-8 and never NULL where not said. Times
 * are ns; -1 stands for "not known" (null in the file), never 0. */
#ifndef TANDEM_HWMODELS_DEVICE_H
#define TANDEM_HWMODELS_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "hwmodels/platform.h"
#include "hwmodels/roofline.h"
#include "sim/base/arena.h"
#include "sim/base/err.h"
#include "sim/exec/cost.h"

#define DEVICE_SCHEMA "tandem-device-1"

enum {
    DEVICE_MAX_PROCESSORS = 16,
    DEVICE_MAX_WIDTH = 4096,   /* rows of a step or prefill chunk in a table */
    DEVICE_MAX_BUCKET = 65536, /* number of a context bucket */
    DEVICE_MAX_BUCKETS = 64,   /* different ones in a table */
    DEVICE_MAX_CELLS = 16384   /* of a table */
};

/* A time in a table: 1 ns .. 1000 s. */
#define DEVICE_MAX_SAMPLE_NS INT64_C(1000000000000)

/* What n samples say, in ns. The median of an even number is the mean of the middle two, rounded
 * down; p90 is the smallest sample with at least 90 % of them at or below it; serial is the lag-1
 * autocorrelation in the order of measuring, 0 with fewer than 3 samples or none that differ. */
struct device_stats {
    int32_t n;
    int64_t min_ns, median_ns, p90_ns;
    double serial;
};

/* What a step's shape is to that of the role's step before. Steps of few rows are of one kind and
 * wider ones of another (struct device_table): after one of the other kind more has to be undone.
 */
enum device_change {
    DEVICE_SAME_SHAPE,
    DEVICE_OTHER_SHAPE, /* another width or bucket; nothing before */
    DEVICE_OTHER_KIND,  /* and of the other kind */
    DEVICE_CHANGES
};

/* Time of a step of `width` rows whose attended cells fill `bucket` pads. */
struct device_cell {
    int32_t width, bucket;
    enum device_change changed;
    int32_t n;                /* samples, >= 1 */
    const int64_t *sample_ns; /* [n] in the order of measuring */
    const int64_t *sorted_ns; /* [n] rising; set by device_finish, as is stats */
    struct device_stats stats;
    const char *source; /* NULL: the table's */
};

/* Axes: width, bucket = ceil((context + width) / pad), changed. `context` is what the cache holds
 * before the step. Cells are in the order of (width, bucket, changed) after device_finish. */
struct device_table {
    int32_t pad;              /* cells; 1: every context is a bucket */
    int32_t period;           /* time is linear in width within each width % period; 1: plain */
    int32_t few;              /* rows of the widest step of the first kind; 0: all are of one */
    int64_t change_ns;        /* more for a changed shape, where no cell says so; -1 */
    int64_t fixed_bytes;      /* over the bus per step: weights; -1 */
    int64_t per_token_bytes;  /* and per token attended: KV cache; -1 */
    const char *bytes_source; /* NULL: the table's */
    int32_t n_cells, cap_cells;
    struct device_cell *cell; /* n_cells == 0: there is no such table */
    const char *source;       /* NULL: the processor's */
};

/* A drafter's call: fixed + the counters times their costs (per 1000, since one is about 1 ns). */
struct device_draft {
    const char *name;
    int64_t fixed_ns, kprobe_ns, knode_ns, ktoken_ns;
    const char *source; /* NULL: the processor's */
};

enum device_kind { DEVICE_CPU, DEVICE_GPU, DEVICE_NPU };
extern const char *const device_kinds[]; /* "cpu", "gpu", "npu", NULL */

struct device_processor {
    const char *name; /* no space, '=' or '.': it stands in role maps and dotted paths */
    const char *source;
    int32_t kind; /* enum device_kind */
    int32_t threads;
    int64_t active_mw, idle_mw; /* -1 */
    struct ranged prefill_mw, decode_mw;
    int32_t n_units; /* 0: whole steps, below */
    const struct roof_unit *unit;
    int32_t same_as; /* index of the processor whose costs this one shares; -1: it has its own */
    struct device_table step;                /* outputs of every row; without sampling */
    struct device_table prefill;             /* output of the last row at most */
    struct device_table prefill_all;         /* outputs of every row, wider than `step` */
    int64_t sample_fixed_ns, sample_row_ns;  /* choosing a token, per job and per wanted row */
    int64_t sample_top_ns;                   /* per row whose top-k is wanted; -1: sample_row_ns */
    int64_t commit_chain_ns, commit_tree_ns; /* rows 0 .. n-1 kept; another path kept; -1 */
    int64_t copy_ns;                         /* -1 */
    const char *sample_source, *commit_source; /* NULL: the processor's */
    int32_t n_drafts;
    struct device_draft *draft;
};

struct device_role {
    const char *name;
    int32_t processor;
};

/* A free field: kept, not interpreted. */
struct device_fact {
    const char *key;
    bool list;
    int32_t n;               /* texts; 0 and no list: null */
    const char *const *text; /* [n] */
};

struct device {
    struct arena *arena;
    const char *name, *model, *numerics_id;
    const char *source;  /* of all that has no other; NULL */
    const char *altered; /* the --set texts, joined by "; "; "": as in the file */
    int32_t n_processors;
    struct device_processor *processor; /* [DEVICE_MAX_PROCESSORS] */
    int32_t n_roles;
    struct device_role *role; /* [EXEC_MAX_ROLES]: defaults */
    int64_t dram_bytes_per_s; /* -1; platform.bus holds its range */
    const char *bus_source;
    bool operators; /* the processors have units and no tables, model and numerics_id are "" */
    struct platform platform;
    struct cost_host host;
    const char *host_source;
    uint32_t features; /* enum exec_feature: TREES and COPIES; CALIBRATES with a top-k */
    int32_t max_rows, max_ctx, max_seqs, max_topk;
    const char *limits_source;
    int32_t n_exactness, n_measured;
    struct device_fact *exactness; /* what was probed: chain_widths_equal, tree_rows_equal ... */
    struct device_fact *measured;  /* where and how: host, compiler, protocol ... */
};

/* Reads a file, with `set` (n_set texts, "device.bus.dram=80 GB/s") put in. Fills *out, whose
 * memory is in `arena`. Errors name file:line:column, the value, what was expected, the remedy. */
int device_load(const char *path, const char *const *set, int32_t n_set, struct arena *arena,
                struct device *out, struct err *e);
/* The same from n bytes; `name` stands for the file in messages. */
int device_parse(const char *name, const void *bytes, size_t n, const char *const *set,
                 int32_t n_set, struct arena *arena, struct device *out, struct err *e);

/* Writes the file whole or not at all. Reading it again gives an equal device. ERR_UNSUPPORTED for
 * an altered one: its sources would no longer be true. */
int device_save(const struct device *d, const char *path, struct err *e);

/* An empty device to be filled: strings "", no processor, everything unknown, limits at their
 * least. ERR_NOMEM. */
int device_init(struct device *d, struct arena *arena);

/* A new processor with empty tables (pad 256, period 1, few 0) and unknown costs; NULL when there
 * are DEVICE_MAX_PROCESSORS or memory is out. */
struct device_processor *device_add_processor(struct device *d, const char *name);

/* Puts n >= 1 samples (copied) into the cell, in the place of any that it had. ERR_NOMEM,
 * ERR_LIMIT. */
int device_table_put(struct arena *arena, struct device_table *t, int32_t width, int32_t bucket,
                     enum device_change changed, const int64_t *sample_ns, int32_t n);

/* Sorts cells and computes what is derived; after the last put. ERR_NOMEM. */
int device_finish(struct device *d);

/* The cell, after device_finish; NULL. */
const struct device_cell *device_cell(const struct device_table *t, int32_t width, int32_t bucket,
                                      enum device_change changed);

/* ceil((context + width) / pad) */
int32_t device_bucket(int32_t context, int32_t width, int32_t pad);

/* What a step of `width` rows at `pos` is to the role's step before; pad and few are a table's. */
enum device_change device_change(const struct engine_state *before, int32_t width, int32_t pos,
                                 int32_t pad, int32_t few);

/* Index of a processor, -1. */
int32_t device_find(const struct device *d, const char *processor);

/* The processor whose costs count for processor i: itself, or the one that it is the same as. */
const struct device_processor *device_costs_of(const struct device *d, int32_t i);

/* Who plays the roles (NULL-terminated names): `map` is "target=cpu:0 draft=cpu:1" or NULL, and the
 * file's defaults hold for what it does not name; names of other roles in it are fine. ERR_SCHEMA
 * names the role or processor that is not there and the ones that are. */
int device_roles(const struct device *d, const char *const *role, const char *map,
                 int32_t *processor, struct err *e);

/* The unit of a processor with this backend and datatype (NULL: the first that fits); NULL. */
const struct roof_unit *device_unit(const struct device_processor *p, const char *backend,
                                    const char *datatype);

/* What a crossing between processors of two kinds (enum device_kind) costs: the file's `sync` of
 * that name, as "cpu-npu", whichever comes first; NULL: it has none. `name` becomes what was looked
 * for. */
const struct platform_edge *device_crossing(const struct device *d, int32_t a, int32_t b,
                                            char name[16]);

/* A free field, NULL. */
const struct device_fact *device_fact(const struct device_fact *list, int32_t n, const char *key);

#endif
