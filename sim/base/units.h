/* Quantities with units, as people write them: "8.5 GB/s", "5400 ns", "1.2 ms", "3 W".
 *
 * Conversion is exact decimal arithmetic on integers: no double is involved, and what is finer than
 * the base unit is refused, so that a value read, written and read again stays the same. */
#ifndef TANDEM_BASE_UNITS_H
#define TANDEM_BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>

#include "sim/base/err.h"

/* By the base unit that values are converted to. */
enum unit {
    UNIT_NS,          /* ns, us, ms, s, min */
    UNIT_BYTES,       /* B, kB, MB, GB, KiB, MiB, GiB */
    UNIT_BYTES_PER_S, /* B/s, kB/s, MB/s, GB/s, MiB/s, GiB/s */
    UNIT_MW,          /* mW, W */
    UNIT_KHZ,         /* kHz, MHz, GHz */
    UNIT_MC,         /* mC, C: thousandths of a degree Celsius; the only one that may be negative */
    UNIT_FLOP_PER_S, /* FLOPS, MFLOPS, GFLOPS, TFLOPS: operations per second of any kind */
    UNIT_PJ_PER_BYTE, /* pJ/B, nJ/B */
    UNIT_MC_PER_W,    /* mC/W, C/W: a thermal resistance */
    UNIT_MJ_PER_C,    /* mJ/C, J/C: a heat capacity */
    UNITS
};

/* Reads "<number> <unit>": digits with an optional fraction, one space or none, one of the unit's
 * names. ERR_SCHEMA when the text has no such form (the message lists the names), ERR_RANGE when
 * the value does not fit int64_t, is negative, or is no whole number of the base unit. The message
 * has no position: the caller knows it. */
int unit_parse(const char *text, enum unit unit, int64_t *out, struct err *e);

/* Writes the value in the largest decimal unit that it fills, exactly: 5400 ns is "5.4 us". Returns
 * buf; 40 bytes are always enough. */
const char *unit_format(int64_t value, enum unit unit, char *buf, size_t size);

/* "a time, as in '1.2 ms' (ns, us, ms, s, min)": what a message says was expected. */
const char *unit_expected(enum unit unit, char *buf, size_t size);

#endif
