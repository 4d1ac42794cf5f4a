/* What commands print: tables for people, CSV and JSON for programs. The bytes depend on the values
 * alone. */
#ifndef TANDEM_EXPERIMENTS_OUTPUT_H
#define TANDEM_EXPERIMENTS_OUTPUT_H

#include <stdint.h>
#include <stdio.h>

#include "experiments/run.h"
#include "sim/base/arena.h"
#include "sim/base/err.h"
#include "sim/base/json.h"

enum output_format { OUTPUT_TABLE, OUTPUT_CSV, OUTPUT_JSON };

/* {"table", "csv", "json", NULL}: for arg_word, in the order of the enum. */
extern const char *const output_formats[];

/* ---- rows and columns ----------------------------------------------------------------------- */

enum { OUTPUT_MAX_COLUMNS = 32 };

/* What a cell is in JSON. */
enum output_type { OUTPUT_TEXT, OUTPUT_NUMBER, OUTPUT_NONE };

/* Text cells under named columns. Cells are copied to the arena; memory that runs out is kept in
 * mind and reported by output_print. */
struct output {
    struct arena *arena;
    int32_t n_columns, n_rows, at; /* at: the next cell of the open row */
    const char *column[OUTPUT_MAX_COLUMNS];
    struct output_row {
        const char *cell[OUTPUT_MAX_COLUMNS];
        uint8_t type[OUTPUT_MAX_COLUMNS]; /* enum output_type */
        struct output_row *next;
    } * first, *last;
    int code;
};

/* `columns` is NULL-terminated and kept. */
void output_init(struct output *o, struct arena *arena, const char *const *columns);

/* Cells of a row, from left to right; output_end fills the rest with "". */
void output_text(struct output *o, const char *text);
void output_cell(struct output *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void output_int(struct output *o, int64_t v);

/* The number by fmt (one %f or %g), or `none` where it is NAN. */
void output_number(struct output *o, const char *fmt, double v, const char *none)
    __attribute__((format(printf, 2, 0)));
void output_end(struct output *o);

/* TABLE: columns two spaces apart, numbers flush right. CSV: as RFC 4180 with a header, lines
 * ended by LF. JSON: an array of objects, a row each; keys are the columns' names in lower case,
 * with '_' for a space; numbers are what output_int and output_number put there, null what was NAN.
 * Returns ERR_NOMEM, ERR_IO. */
int output_print(const struct output *o, enum output_format format, FILE *f);

/* Each row as an object, as in JSON above: for an array that holds more than these rows. */
void output_json_rows(const struct output *o, struct json_writer *w);

/* ---- of runs -------------------------------------------------------------------------------- */

/* The report of `tandem run`: TABLE in ms with footnotes; CSV a row per policy with integers in ns;
 * JSON one object with every request. */
int output_report(const struct run_report *r, enum output_format format, FILE *f, struct err *e);

#endif
