#include "experiments/output.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *const output_formats[] = {"table", "csv", "json", NULL};

/* ---- filling -------------------------------------------------------------------------------- */

void output_init(struct output *o, struct arena *arena, const char *const *columns)
{
    *o = (struct output){.arena = arena};
    while (columns[o->n_columns]) {
        assert(o->n_columns < OUTPUT_MAX_COLUMNS);
        o->column[o->n_columns] = columns[o->n_columns];
        o->n_columns++;
    }
}

void output_text(struct output *o, const char *text)
{
    if (!o->at) {
        struct output_row *row = arena_alloc(o->arena, 1, sizeof *row);
        if (!row) {
            o->code = ERR_NOMEM;
            return;
        }
        if (o->last)
            o->last->next = row;
        else
            o->first = row;
        o->last = row;
        o->n_rows++;
    }
    assert(o->at < o->n_columns);
    const char *cell = o->last ? arena_strdup(o->arena, text) : NULL;
    if (!cell) {
        o->code = ERR_NOMEM;
        return;
    }
    o->last->cell[o->at++] = cell;
}

void output_cell(struct output *o, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    output_text(o, text);
}

/* Of the cell put last. */
static void set_type(struct output *o, enum output_type type)
{
    if (!o->code)
        o->last->type[o->at - 1] = (uint8_t)type;
}

void output_int(struct output *o, int64_t v)
{
    output_cell(o, "%" PRId64, v);
    set_type(o, OUTPUT_NUMBER);
}

void output_number(struct output *o, const char *fmt, double v, const char *none)
{
    char text[400];
    if (isnan(v)) {
        output_text(o, none);
        set_type(o, OUTPUT_NONE);
        return;
    }
    snprintf(text, sizeof text, fmt, v);
    output_text(o, text);
    set_type(o, OUTPUT_NUMBER);
}

void output_end(struct output *o)
{
    while (o->at && o->at < o->n_columns && !o->code)
        output_text(o, "");
    o->at = 0;
}

/* ---- printing ------------------------------------------------------------------------------- */

/* Characters, not bytes, of a text in UTF-8. */
static int32_t text_width(const char *s)
{
    int32_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

/* A cell that begins like a number, or says that there is none. */
static bool is_number(const char *s)
{
    return (*s >= '0' && *s <= '9') || (*s == '-' && (s[1] == 0 || (s[1] >= '0' && s[1] <= '9'))) ||
           !strcmp(s, "unknown");
}

static bool flush_right(const struct output *o, int32_t column)
{
    bool any = false;
    for (const struct output_row *r = o->first; r; r = r->next) {
        const char *s = r->cell[column];
        if (*s && !is_number(s))
            return false;
        any = any || *s;
    }
    return any;
}

static void print_row(const struct output *o, const char *const *cell, const int32_t *width,
                      const bool *right, FILE *f)
{
    for (int32_t c = 0; c < o->n_columns; c++) {
        int32_t gap = width[c] - text_width(cell[c]);
        bool last = c + 1 == o->n_columns;
        if (c)
            fputs("  ", f);
        if (right[c])
            fprintf(f, "%*s", (int)gap, "");
        fputs(cell[c], f);
        if (!right[c] && !last)
            fprintf(f, "%*s", (int)gap, "");
    }
    fputc('\n', f);
}

static void print_table(const struct output *o, FILE *f)
{
    int32_t width[OUTPUT_MAX_COLUMNS];
    bool right[OUTPUT_MAX_COLUMNS];
    for (int32_t c = 0; c < o->n_columns; c++) {
        width[c] = text_width(o->column[c]);
        right[c] = flush_right(o, c);
        for (const struct output_row *r = o->first; r; r = r->next) {
            int32_t w = text_width(r->cell[c]);
            width[c] = w > width[c] ? w : width[c];
        }
    }
    print_row(o, o->column, width, right, f);
    for (const struct output_row *r = o->first; r; r = r->next)
        print_row(o, r->cell, width, right, f);
}

static void print_csv_row(const struct output *o, const char *const *cell, FILE *f)
{
    for (int32_t c = 0; c < o->n_columns; c++) {
        if (c)
            fputc(',', f);
        if (!strpbrk(cell[c], ",\"\r\n")) {
            fputs(cell[c], f);
            continue;
        }
        fputc('"', f);
        for (const char *s = cell[c]; *s; s++) {
            if (*s == '"')
                fputc('"', f);
            fputc(*s, f);
        }
        fputc('"', f);
    }
    fputc('\n', f);
}

static void put_json_cell(struct json_writer *w, const char *column, const char *cell,
                          enum output_type type)
{
    char key[64];
    snprintf(key, sizeof key, "%s", column);
    for (char *c = key; *c; c++)
        *c = *c == ' ' ? '_' : (char)tolower((unsigned char)*c);
    if (type == OUTPUT_TEXT)
        json_string(w, key, cell);
    else if (type == OUTPUT_NONE)
        json_null(w, key);
    else if (cell[strspn(cell, "-0123456789")])
        json_double(w, key, strtod(cell, NULL));
    else
        json_int(w, key, strtoll(cell, NULL, 10));
}

void output_json_rows(const struct output *o, struct json_writer *w)
{
    for (const struct output_row *r = o->first; r; r = r->next) {
        json_object(w, NULL);
        for (int32_t c = 0; c < o->n_columns; c++)
            put_json_cell(w, o->column[c], r->cell[c], (enum output_type)r->type[c]);
        json_close(w);
    }
}

static int print_json(const struct output *o, FILE *f)
{
    struct json_writer w;
    json_writer_init(&w, f, 1);
    json_array(&w, NULL);
    output_json_rows(o, &w);
    json_close(&w);
    int rc = json_line(&w);
    json_writer_fini(&w);
    return rc;
}

int output_print(const struct output *o, enum output_format format, FILE *f)
{
    if (o->code)
        return o->code;
    if (format == OUTPUT_JSON)
        return print_json(o, f);
    if (format == OUTPUT_CSV) {
        print_csv_row(o, o->column, f);
        for (const struct output_row *r = o->first; r; r = r->next)
            print_csv_row(o, r->cell, f);
    } else {
        print_table(o, f);
    }
    return ferror(f) ? ERR_IO : ERR_OK;
}
