/* A number from the literature: what is used, and how far its sources disagree. */
#ifndef TANDEM_HWMODELS_RANGED_H
#define TANDEM_HWMODELS_RANGED_H

#include <stdint.h>

/* In the unit that the field's name says. -1: not known; low and high are then what bounds it, or
 * -1 too. Where the value is known, low <= value <= high. */
struct ranged {
    int64_t value, low, high;
    const char *source; /* NULL: that of what holds it */
};

#define RANGED_UNKNOWN ((struct ranged){-1, -1, -1, 0})

#endif
