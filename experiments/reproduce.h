/* Published results, recomputed: `tandem reproduce NAME`.
 *
 * An entry reads what was published from a committed file (experiments/published/NAME.yaml: values,
 * units, source; published.h), computes the same with Tandem, and gives rows. Adding one: a file
 * reproduce_NAME.c with its `struct reproduction`, a line in the registry of reproduce.c, a line in
 * CMakeLists.txt. */
#ifndef TANDEM_EXPERIMENTS_REPRODUCE_H
#define TANDEM_EXPERIMENTS_REPRODUCE_H

#include <stdio.h>

#include "experiments/output.h"
#include "sim/base/arena.h"
#include "sim/base/err.h"

struct t3_fit;

struct reproduce_context {
    struct arena *arena;
    struct output *rows; /* with the entry's columns */
    FILE *notes; /* what people read besides rows: searches, verdicts, arithmetic. NULL where
                    only rows are wanted: reproduce_note then does nothing */
    bool brief;  /* as a part of `all`: grids may be coarser, and the notes say so */
    uint64_t seed;
    const char *picture; /* file for the entry's own picture; NULL: none is wanted */
    const struct t3_fit *
        *table3; /* what entries share of Table 3 (table3_search.h); NULL until made */
};

struct reproduction {
    const char *name;
    const char *source;         /* what is reproduced: paper, table */
    const char *summary;        /* one line */
    bool files_only;            /* from committed files alone: a part of `all` */
    const char *const *columns; /* NULL-terminated; the first is "target". NULL: those of a cell */
    /* What --picture draws, NULL: nothing. Of cells the axis ("published, ms/token"), and they are
     * drawn from the rows; of an entry with columns of its own what `run` draws. */
    const char *picture;
    int (*run)(struct reproduce_context *c, struct err *e);
};

extern const struct reproduction reproduce_audit, reproduce_table3, reproduce_table4,
    reproduce_ranges, reproduce_fig5, reproduce_fig6, reproduce_fig13, reproduce_memory,
    reproduce_negatives, reproduce_switching, reproduce_acceptance, reproduce_choices,
    reproduce_rejection, reproduce_bus;

/* NULL-terminated. */
extern const struct reproduction *const reproduce_registry[];

/* A cell's columns: target, cell, published, simulated, error_pct, role, reading, low, high. */
extern const char *const reproduce_cell_columns[];

/* One cell. `role`: "calibrated" (used to fit), "predicted", "shown". `reading`: "zero-fit",
 * "leave-one-model-out", "all", "null". low and high: the published range or the predictions' one;
 * NAN: none. The error is 100 * (simulated / published - 1). A cell without a number has no row:
 * published and simulated are finite and published is not 0. */
void reproduce_cell(struct reproduce_context *c, const char *target, const char *cell,
                    double published, double simulated, const char *role, const char *reading,
                    double low, double high);

/* What people read besides rows; nothing where only rows are wanted. */
void reproduce_note(const struct reproduce_context *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Path of experiments/published/NAME.yaml, where it is found from (command_shipped). ERR_IO. */
int reproduce_file(const char *name, char *path, size_t size, struct err *e);

#endif
