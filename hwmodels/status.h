/* What a device's mechanisms rest on.
 *
 * "validated": switched off, a held-out error gets worse by more than the floor (nothing here says
 * so of itself: `tandem validate` does, for the device that it measured). "sourced": measured on
 * the device, or its numbers come with a source. "assumed": sourced numbers, put together in a way
 * that no measurement of them together confirms. "unknown": a number that it needs is null. */
#ifndef TANDEM_HWMODELS_STATUS_H
#define TANDEM_HWMODELS_STATUS_H

#include "hwmodels/device.h"

enum { STATUS_MECHANISMS = 10 };

struct status {
    const char *mechanism;
    const char *status; /* of the three last words above */
    const char *why;
};

/* Fills out[STATUS_MECHANISMS], always in the same order. */
void device_status(const struct device *d, struct status out[STATUS_MECHANISMS]);

#endif
