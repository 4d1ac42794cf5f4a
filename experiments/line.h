/* A straight line through two points: how Fig 6's verification time grows with the draft. */
#ifndef TANDEM_EXPERIMENTS_LINE_H
#define TANDEM_EXPERIMENTS_LINE_H

struct line {
    double fixed, slope;
};

/* x0 and x1 differ. */
static inline struct line line_through(double x0, double y0, double x1, double y1)
{
    double slope = (y1 - y0) / (x1 - x0);
    return (struct line){.fixed = y0 - slope * x0, .slope = slope};
}

static inline double line_at(struct line l, double x)
{
    return l.fixed + l.slope * x;
}

#endif
