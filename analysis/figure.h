/* Figures, drawn by gnuplot. */
#ifndef TANDEM_ANALYSIS_FIGURE_H
#define TANDEM_ANALYSIS_FIGURE_H

#include <stdint.h>

#include "sim/base/err.h"

struct figure_point {
    double x, y;
    int32_t group; /* index into the labels */
};

/* Predicted (y) against measured (x) times in ms with the lines of +-5 %, one colour per group, as
 * SVG. Writes whole or not at all. ERR_DEVICE when gnuplot is missing or fails; the message has its
 * command. */
int figure_predicted(const struct figure_point *p, int32_t n, const char *const *label,
                     int32_t n_labels, const char *title, const char *path, struct err *e);

#endif
