#include "analysis/figure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

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

static void write_script(FILE *f, const struct figure_point *p, int32_t n, const char *const *label,
                         int32_t n_labels, const char *title, const char *part)
{
    static const char *const colour[] = {"#1b6ca8", "#d1495b", "#3a7d44", "#edae49", "#6a4c93",
                                         "#00798c", "#8d6a4f", "#b5179e", "#588157", "#5f6c7b"};
    fprintf(f, "set terminal svg size 860,640 font 'Helvetica,13' background '#ffffff'\n");
    fprintf(f, "set output ");
    quoted(f, part);
    fprintf(f, "\nset title ");
    quoted(f, title);
    fprintf(f, " noenhanced\nset xlabel 'measured, end to end, ms'\n"
               "set ylabel 'predicted, ms'\nset logscale xy\nset grid lc rgb '#dddddd'\n"
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
                     int32_t n_labels, const char *title, const char *path, struct err *e)
{
    char *target, *part;
    int rc = io_out_paths(path, &target, &part, e);
    if (rc)
        return rc;
    FILE *f = popen("exec gnuplot >/dev/null", "w");
    if (!f) {
        rc = err_set(e, ERR_DEVICE, "gnuplot could not be started: install gnuplot-nox");
    } else {
        write_script(f, p, n, label, n_labels, title, part);
        if (pclose(f) != 0 || rename(part, target)) {
            remove(part);
            rc = err_at(e, ERR_DEVICE, path, 0, 0,
                        "gnuplot drew no picture: install gnuplot-nox, or see whether the folder "
                        "can be written");
        }
    }
    free(target);
    free(part);
    return rc;
}
