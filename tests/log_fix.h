/* Makes the checksums of a log that was changed fit again, so that tests and the fuzzer reach what
 * lies behind them. Knows the format from log.h's words alone. */
#ifndef TANDEM_TESTS_LOG_FIX_H
#define TANDEM_TESTS_LOG_FIX_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "sim/base/hash.h"

/* Reads a LEB128 number of at most 9 bytes; false when there is none. */
static inline int log_fix_number(const unsigned char *b, size_t n, size_t *at, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; *at < n && shift < 63; shift += 7) {
        *out |= (uint64_t)(b[*at] & 127) << shift;
        if (b[(*at)++] < 128)
            return 1;
    }
    return 0;
}

static inline void log_fix(unsigned char *b, size_t n)
{
    static const char key[] = "header_crc32: ";
    size_t at = 0, line = sizeof key - 1 + 9;
    while (at + 1 < n && (b[at] != '\n' || b[at + 1] != '\n'))
        at++;
    at++;
    if (at >= n || at < line || memcmp(b + at - line, key, sizeof key - 1))
        return;
    uint32_t crc = hash_crc32(0, b, at - line);
    char digits[9];
    snprintf(digits, sizeof digits, "%08x", (unsigned)crc);
    memcpy(b + at - 9, digits, 8);
    at++;
    while (at < n) {
        size_t start = at;
        uint64_t type, length;
        if (!log_fix_number(b, n, &at, &type) || !log_fix_number(b, n, &at, &length) ||
            length > n - at || n - at - length < 4)
            return;
        at += (size_t)length;
        crc = hash_crc32(crc, b + start, at - start);
        for (int i = 0; i < 4; i++)
            b[at++] = (unsigned char)(crc >> (8 * i));
    }
}

#endif
