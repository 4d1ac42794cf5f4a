/* Figures, drawn by gnuplot. */
#ifndef TANDEM_ANALYSIS_FIGURE_H
#define TANDEM_ANALYSIS_FIGURE_H

#include <stdint.h>

#include "sim/base/err.h"

struct figure_point {
    double x, y;
    int32_t group; /* index into the labels */
};

/* All are SVG, written whole or not at all. ERR_DEVICE when gnuplot is missing or fails. */

/* Predicted (y) against measured or published (x), which `axis` names with what they are of
 * ("measured, end to end, ms"), with the lines of +-5 %, one colour per group. */
int figure_predicted(const struct figure_point *p, int32_t n, const char *const *label,
                     int32_t n_labels, const char *title, const char *axis, const char *path,
                     struct err *e);

enum { FIGURE_MAX_TICKS = 16 };

/* Panels of coloured cells, each with its number; what is above 0 stands out. */
struct figure_map {
    const char *title, *x_label, *y_label;
    int32_t n_x, n_y, n_panels, columns; /* panels go row by row */
    const double *x, *y;                 /* of the ticks, at most FIGURE_MAX_TICKS */
    const char *const *panel;            /* titles */
    const double *value;                 /* [panel][y][x]; NAN: none */
};

int figure_map(const struct figure_map *m, const char *path, struct err *e);

#endif
