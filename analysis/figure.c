#include "analysis/figure.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/base/io.h"

/* Text between double quotes in gnuplot: no quotes, backslashes or line ends. */
static void quoted(FILE *f, const char *s)
{
    fputc('"', f);
    for (; *s; s++)
        fputc(*s == '"' || *s == '\\' || *s < ' ' ? ' ' : *s, f);
    fputc('"', f);
}

/* Both axes alike: from below the smallest value to above the largest, with marks at 1, 2, 5, 10
 * ...
 */
static void axes(FILE *f, const struct figure_point *p, int32_t n)
{
    double low = INFINITY, high = 0;
    for (int32_t i = 0; i < n; i++) {
        low = fmin(low, fmin(p[i].x, p[i].y));
        high = fmax(high, fmax(p[i].x, p[i].y));
    }
    if (!(low > 0 && high > 0))
        return;
    fprintf(f, "set xrange [%.6g:%.6g]\nset yrange [%.6g:%.6g]\n", 0.85 * low, 1.18 * high,
            0.85 * low, 1.18 * high);
    const char *const axis[] = {"xtics", "ytics"};
    for (int a = 0; a < 2; a++) {
        fprintf(f, "set %s (", axis[a]);
        for (int d = -3; d <= 9; d++)
            fprintf(f, "%s%.6g, %.6g, %.6g", d > -3 ? ", " : "", pow(10, d), 2 * pow(10, d),
                    5 * pow(10, d));
        fprintf(f, ")\n");
    }
}

/* A script in the writing, for a picture that takes its place when it is whole. */
struct drawing {
    FILE *script;
    char *target, *part;
};

static int begin(struct drawing *d, const char *path, int width, int height, struct err *e)
{
    int rc = io_out_paths(path, &d->target, &d->part, e);
    if (rc)
        return rc;
    d->script = popen("exec gnuplot >/dev/null", "w");
    if (!d->script) {
        free(d->target);
        free(d->part);
        return err_set(e, ERR_DEVICE, "gnuplot could not be started: install gnuplot-nox");
    }
    fprintf(d->script, "set terminal svg size %d,%d font 'Helvetica,13' background '#ffffff'\n",
            width, height);
    fprintf(d->script, "set output ");
    quoted(d->script, d->part);
    fputc('\n', d->script);
    return ERR_OK;
}

/* gnuplot ends as if all were well where the disk has no room. */
static bool is_whole(const char *path)
{
    char end[33] = "";
    FILE *f = fopen(path, "rb");
    if (f && !fseek(f, -32, SEEK_END))
        end[fread(end, 1, 32, f)] = 0;
    if (f)
        fclose(f);
    return strstr(end, "</svg>") != NULL;
}

static int finish(struct drawing *d, const char *path, struct err *e)
{
    int rc = ERR_OK;
    if (pclose(d->script) != 0 || !is_whole(d->part) || rename(d->part, d->target)) {
        remove(d->part);
        rc = err_at(e, ERR_DEVICE, path, 0, 0,
                    "gnuplot drew no picture: install gnuplot-nox, or see whether the folder "
                    "can be written and has room");
    }
    free(d->target);
    free(d->part);
    return rc;
}

/* ---- predicted against measured ------------------------------------------------------------- */

static void write_script(FILE *f, const struct figure_point *p, int32_t n, const char *const *label,
                         int32_t n_labels, const char *title, const char *axis)
{
    static const char *const colour[] = {"#1b6ca8", "#d1495b", "#3a7d44", "#edae49", "#6a4c93",
                                         "#00798c", "#8d6a4f", "#b5179e", "#588157", "#5f6c7b"};
    fprintf(f, "set title ");
    quoted(f, title);
    fprintf(f, " noenhanced\nset xlabel ");
    quoted(f, axis);
    fprintf(f, " noenhanced\nset ylabel 'predicted'.");
    quoted(f, axis + strcspn(axis, ","));
    fprintf(f, " noenhanced\nset logscale xy\nset grid lc rgb '#dddddd'\n"
               "set key outside right top reverse Left noenhanced\nset size square\n");
    axes(f, p, n);
    for (int32_t g = 0; g < n_labels; g++) {
        fprintf(f, "$g%d << EOD\n", g);
        for (int32_t i = 0; i < n; i++)
            if (p[i].group == g)
                fprintf(f, "%.6f %.6f\n", p[i].x, p[i].y);
        fprintf(f, "EOD\n");
    }
    fprintf(f, "plot x title 'equal' lc rgb '#222222' lw 1, "
               "1.05*x title '+-5 %%' lc rgb '#999999' dt 2, 0.95*x notitle lc rgb '#999999' dt 2");
    for (int32_t g = 0; g < n_labels; g++) {
        fprintf(f, ", $g%d with points pt %d ps 0.6 lc rgb '%s' title ", g, 5 + 2 * (g % 4),
                colour[(size_t)g % (sizeof colour / sizeof *colour)]);
        quoted(f, label[g]);
    }
    fprintf(f, "\n");
}

int figure_predicted(const struct figure_point *p, int32_t n, const char *const *label,
                     int32_t n_labels, const char *title, const char *axis, const char *path,
                     struct err *e)
{
    struct drawing d;
    int rc = begin(&d, path, 860, 640, e);
    if (rc)
        return rc;
    write_script(d.script, p, n, label, n_labels, title, axis);
    return finish(&d, path, e);
}

/* ---- maps ----------------------------------------------------------------------------------- */

static void ticks(FILE *f, const char *axis, const double *v, int32_t n)
{
    fprintf(f, "set %stics (", axis);
    for (int32_t i = 0; i < n; i++)
        fprintf(f, "%s'%.6g' %" PRId32, i ? ", " : "", v[i], i);
    fprintf(f, ")\nset %srange [-0.5:%" PRId32 ".5]\n", axis, n - 1);
}

static void panel(FILE *f, const struct figure_map *m, int32_t p)
{
    const double *value = m->value + (size_t)p * (size_t)(m->n_x * m->n_y);
    fprintf(f, "$p%" PRId32 " << EOD\n", p);
    for (int32_t i = 0; i < m->n_x * m->n_y; i++)
        if (!isnan(value[i]))
            fprintf(f, "%" PRId32 " %" PRId32 " %.6g\n", i % m->n_x, i / m->n_x, value[i]);
    fprintf(f, "EOD\nset title ");
    quoted(f, m->panel[p]);
    fprintf(f,
            " noenhanced\nplot $p%" PRId32 " using 1:2:3 with image pixels, "
            "$p%" PRId32 " using 1:2:(sprintf('%%.1f', $3)) with labels font ',8'\n",
            p, p);
}

int figure_map(const struct figure_map *m, const char *path, struct err *e)
{
    struct drawing d;
    int32_t rows = (m->n_panels + m->columns - 1) / m->columns;
    int rc = begin(&d, path, 90 + 420 * m->columns, 60 + 300 * rows, e);
    if (rc)
        return rc;
    fprintf(d.script, "set multiplot layout %" PRId32 ",%" PRId32 " title ", rows, m->columns);
    quoted(d.script, m->title);
    /* white at 0; blue above, orange below: their marks differ in grey, too */
    fprintf(d.script, " noenhanced\nset palette defined (-10 '#f3c08a', -0.001 '#fdf1e3', "
                      "0 '#ffffff', 0.001 '#dbe9f6', 10 '#4a90c4')\nset cbrange [-10:10]\n"
                      "unset key\nunset colorbox\nset xtics rotate by -60\nset xlabel ");
    quoted(d.script, m->x_label);
    fprintf(d.script, " noenhanced\nset ylabel ");
    quoted(d.script, m->y_label);
    fprintf(d.script, " noenhanced\n");
    ticks(d.script, "x", m->x, m->n_x);
    ticks(d.script, "y", m->y, m->n_y);
    for (int32_t p = 0; p < m->n_panels; p++)
        panel(d.script, m, p);
    fprintf(d.script, "unset multiplot\n");
    return finish(&d, path, e);
}
