/* tandem reproduce: published tables and figures, recomputed, with the error of each number. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/figure.h"
#include "experiments/command.h"
#include "experiments/reproduce.h"

static const struct option options[] = {
    {"--format", "table|csv|json", "table", "of standard output; only a table has the notes", 0},
    {"--seed", "N", "1", "of what is sampled", 0},
    {"--picture", "FILE.svg", NULL, "drawn besides, of table3 and switching; needs gnuplot", 0},
    {NULL, NULL, NULL, NULL, 0}};

static const char *const examples[] = {"reproduce", "reproduce audit",
                                       "reproduce fig6 --format csv",
                                       "reproduce switching --picture out/map.svg", NULL};

enum { MAX_ENTRIES = 32 };

static int list(enum output_format format)
{
    static const char *const columns[] = {"name", "in all", "summary", "source", NULL};
    struct arena arena;
    struct output o;
    arena_init(&arena);
    output_init(&o, &arena, columns);
    for (const struct reproduction *const *r = reproduce_registry; *r; r++) {
        output_text(&o, (*r)->name);
        output_text(&o, (*r)->files_only ? "yes" : "no");
        output_text(&o, (*r)->summary);
        output_text(&o, (*r)->source);
        output_end(&o);
    }
    int rc = output_print(&o, format, stdout);
    arena_fini(&arena);
    return command_printed(rc);
}

/* The entries that a name stands for, in the registry's order. ERR_USAGE when there is none. */
static int choose(const char *name, const struct reproduction **out, int *n, struct err *e)
{
    char names[512] = "all";
    *n = 0;
    for (const struct reproduction *const *r = reproduce_registry; *r && *n < MAX_ENTRIES; r++) {
        if (!strcmp(name, "all") ? (*r)->files_only : !strcmp(name, (*r)->name))
            out[(*n)++] = *r;
        err_list(names, sizeof names, (*r)->name);
    }
    return *n ? ERR_OK
              : err_set(e, ERR_USAGE, "nothing to reproduce is called '%s': expected one of %s",
                        name, names);
}

static const char *const *columns_of(const struct reproduction *r)
{
    return r->columns ? r->columns : reproduce_cell_columns;
}

/* What is the same for all entries of a command. */
struct chosen {
    const struct reproduction *entry[MAX_ENTRIES];
    int n;
    uint64_t seed;
    const char *picture;
    struct arena *arena;
    const struct t3_fit *table3;
};

/* Simulated against published, by reading. A cell's columns are those of reproduce_cell_columns. */
static int draw_cells(const struct chosen *s, const struct reproduction *r,
                      const struct output *rows, struct err *e)
{
    enum { PUBLISHED = 2, SIMULATED = 3, READING = 6, MAX_READINGS = 8 };
    const char *label[MAX_READINGS];
    int32_t n = 0, n_labels = 0;
    struct figure_point *p = arena_alloc(s->arena, (size_t)rows->n_rows + 1, sizeof *p);
    if (!p)
        return err_set(e, ERR_NOMEM, "out of memory");
    for (const struct output_row *row = rows->first; row; row = row->next) {
        int32_t g = 0;
        while (g < n_labels && strcmp(label[g], row->cell[READING]))
            g++;
        if (g == MAX_READINGS)
            continue;
        if (g == n_labels)
            label[n_labels++] = row->cell[READING];
        p[n++] = (struct figure_point){strtod(row->cell[PUBLISHED], NULL),
                                       strtod(row->cell[SIMULATED], NULL), g};
    }
    return figure_predicted(p, n, label, n_labels, r->source, r->picture, s->picture, e);
}

/* Runs one entry into `rows`. */
static int run_one(struct chosen *s, int i, struct output *rows, FILE *notes, struct err *e)
{
    const struct reproduction *r = s->entry[i];
    struct reproduce_context c = {.arena = s->arena,
                                  .rows = rows,
                                  .notes = notes,
                                  .brief = s->n > 1,
                                  .seed = s->seed,
                                  .picture = s->picture,
                                  .table3 = &s->table3};
    int rc = r->run(&c, e);
    if (!rc && rows->code)
        rc = err_set(e, rows->code, "no memory for the rows");
    return rc || !s->picture || r->columns ? rc : draw_cells(s, r, rows, e);
}

/* Each entry under its name: notes, then rows. */
static int run_tables(struct chosen *s, struct err *e)
{
    int rc = ERR_OK;
    for (int i = 0; i < s->n && !rc; i++) {
        const struct reproduction *r = s->entry[i];
        struct output rows;
        output_init(&rows, s->arena, columns_of(r));
        printf("%s%s: %s\n", i ? "\n" : "", r->name, r->source);
        rc = run_one(s, i, &rows, stdout, e);
        if (!rc && output_print(&rows, OUTPUT_TABLE, stdout))
            rc = err_set(e, ERR_IO, "the rows of %s could not be printed", r->name);
    }
    return rc;
}

/* The rows of all entries: one JSON array, or a CSV whose header is repeated where the columns
 * change. Nothing is printed unless all succeed. */
static int run_rows(struct chosen *s, enum output_format format, struct err *e)
{
    struct output rows[MAX_ENTRIES];
    int tables = 0, rc = ERR_OK;
    for (int i = 0; i < s->n && !rc; i++) {
        const char *const *columns = columns_of(s->entry[i]);
        if (!i || columns != columns_of(s->entry[i - 1]))
            output_init(&rows[tables++], s->arena, columns);
        rc = run_one(s, i, &rows[tables - 1], NULL, e);
    }
    if (rc)
        return rc;
    if (format == OUTPUT_JSON) {
        struct json_writer w;
        json_writer_init(&w, stdout, 1);
        json_array(&w, NULL);
        for (int i = 0; i < tables; i++)
            output_json_rows(&rows[i], &w);
        json_close(&w);
        rc = json_line(&w);
        json_writer_fini(&w);
    } else {
        for (int i = 0; i < tables && !rc; i++)
            rc = output_print(&rows[i], format, stdout);
    }
    return rc ? err_set(e, rc, "the rows could not be printed") : ERR_OK;
}

static int can_draw(const struct chosen *s, const char *path, struct err *e)
{
    if (s->n != 1 || !s->entry[0]->picture)
        return err_set(e, ERR_USAGE, "no picture is drawn of %s: expected table3 or switching",
                       s->n == 1 ? s->entry[0]->name : "several at once");
    return command_can_write(path, e);
}

static int run(int argc, char **argv)
{
    struct args a;
    struct err e = {0};
    struct arena arena;
    struct chosen s = {.arena = &arena};
    int format = 0, code = args_parse(&command_reproduce, argc, argv, &a);
    int64_t seed = 1;
    if (code != ARGS_GO_ON)
        return code;
    int rc = arg_word(&a, "--format", output_formats, &format, &e);
    if (!rc)
        rc = arg_int(&a, "--seed", 0, INT64_MAX, &seed, &e);
    if (!rc && !a.n)
        return list((enum output_format)format);
    if (!rc)
        rc = choose(a.arg[0], s.entry, &s.n, &e);
    if (!rc && arg_given(&a, "--picture"))
        rc = can_draw(&s, arg_text(&a, "--picture"), &e);
    if (rc)
        return command_fail(&e);
    s.seed = (uint64_t)seed;
    s.picture = arg_text(&a, "--picture");
    arena_init(&arena);
    rc = format == OUTPUT_TABLE ? run_tables(&s, &e) : run_rows(&s, (enum output_format)format, &e);
    code = rc ? command_fail(&e) : command_end();
    arena_fini(&arena);
    return code;
}

const struct command command_reproduce = {
    .name = "reproduce",
    .group = "Run",
    .summary = "recompute published tables and figures, and print the error",
    .arguments = "[NAME|all]",
    .max_args = 1,
    .options = options,
    .details = "Without a name: the list; `all` is what needs nothing but committed files. A row "
               "has what was published, what Tandem computes, the error in percent, and whether "
               "the number was used to fit (calibrated), foretold (predicted) or is only shown. "
               "As JSON one array of rows.",
    .examples = examples,
    .run = run};
