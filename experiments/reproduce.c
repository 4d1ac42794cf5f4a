#include "experiments/reproduce.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>

#include "experiments/command.h"

const struct reproduction *const reproduce_registry[] = {
    &reproduce_audit,      &reproduce_table3,  &reproduce_table4,
    &reproduce_ranges,     &reproduce_fig5,    &reproduce_fig6,
    &reproduce_fig13,      &reproduce_memory,  &reproduce_rejection,
    &reproduce_negatives,  &reproduce_bus,     &reproduce_switching,
    &reproduce_acceptance, &reproduce_choices, NULL,
};

const char *const reproduce_cell_columns[] = {"target",    "cell", "published", "simulated",
                                              "error_pct", "role", "reading",   "low",
                                              "high",      NULL};

void reproduce_cell(struct reproduce_context *c, const char *target, const char *cell,
                    double published, double simulated, const char *role, const char *reading,
                    double low, double high)
{
    assert(isfinite(published) && isfinite(simulated) && published != 0);
    output_text(c->rows, target);
    output_text(c->rows, cell);
    output_number(c->rows, "%.6g", published, "");
    output_number(c->rows, "%.6g", simulated, "");
    output_number(c->rows, "%.2f", 100 * (simulated / published - 1), "");
    output_text(c->rows, role);
    output_text(c->rows, reading);
    output_number(c->rows, "%.6g", low, "");
    output_number(c->rows, "%.6g", high, "");
    output_end(c->rows);
}

void reproduce_note(const struct reproduce_context *c, const char *fmt, ...)
{
    va_list ap;
    if (!c->notes)
        return;
    va_start(ap, fmt);
    vfprintf(c->notes, fmt, ap);
    va_end(ap);
}

int reproduce_file(const char *name, char *path, size_t size, struct err *e)
{
    char relative[256];
    snprintf(relative, sizeof relative, "experiments/published/%s.yaml", name);
    if (command_shipped(relative, path, size))
        return ERR_OK;
    return err_at(e, ERR_IO, relative, 0, 0,
                  "is not here nor beside the program: run from the repository's root");
}
