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

/* What a run puts in the place of the device's numbers. */
struct status_use {
    bool layout;     /* graphs with another processor between them */
    bool load_given; /* the bandwidth of loading */
};

/* The mechanisms that a simulated run exercises, none of them unknown; returns their number. Power,
 * energy per byte and heat are in it where their numbers are there; whether the run's energy or
 * heat could be computed is for the run to say. */
int32_t device_exercised(const struct device *d, const struct status_use *use,
                         struct status out[STATUS_MECHANISMS]);

/* The weakest of n >= 1. */
const char *status_weakest(const struct status *s, int32_t n);

#endif
