#include "sim/base/units.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { MAX_NAMES = 8, MAX_WHOLE = 19, MAX_FRACTION = 18 };

/* Names in rising order. Only those marked `written` are powers of ten and chosen by unit_format;
 * the others are further spellings. */
struct unit_name {
    const char *text;
    int64_t factor;
    bool written;
};

static const struct {
    const char *what, *example;
    bool negative;
    struct unit_name name[MAX_NAMES];
} kinds[UNITS] = {
    [UNIT_NS] = {"a time",
                 "1.2 ms",
                 false,
                 {{"ns", 1, true},
                  {"us", 1000, true},
                  {"ms", 1000000, true},
                  {"s", 1000000000, true},
                  {"min", 60000000000, false},
                  {"\xc2\xb5s", 1000, false}}},
    [UNIT_BYTES] = {"a size",
                    "64 MiB",
                    false,
                    {{"B", 1, true},
                     {"kB", 1000, true},
                     {"MB", 1000000, true},
                     {"GB", 1000000000, true},
                     {"KiB", 1 << 10, false},
                     {"MiB", 1 << 20, false},
                     {"GiB", 1 << 30, false}}},
    [UNIT_BYTES_PER_S] = {"a bandwidth",
                          "8.5 GB/s",
                          false,
                          {{"B/s", 1, true},
                           {"kB/s", 1000, true},
                           {"MB/s", 1000000, true},
                           {"GB/s", 1000000000, true},
                           {"MiB/s", 1 << 20, false},
                           {"GiB/s", 1 << 30, false}}},
    [UNIT_MW] = {"a power", "3 W", false, {{"mW", 1, true}, {"W", 1000, true}}},
    [UNIT_KHZ] = {"a frequency",
                  "2.4 GHz",
                  false,
                  {{"kHz", 1, true}, {"MHz", 1000, true}, {"GHz", 1000000, true}}},
    [UNIT_MC] = {"a temperature",
                 "45 C",
                 true,
                 {{"mC", 1, true},
                  {"C", 1000, true},
                  {"m\xc2\xb0"
                   "C",
                   1, false},
                  {"\xc2\xb0"
                   "C",
                   1000, false}}},
    [UNIT_FLOP_PER_S] = {"a computing speed",
                         "4.6 TFLOPS",
                         false,
                         {{"FLOPS", 1, true},
                          {"MFLOPS", 1000000, true},
                          {"GFLOPS", 1000000000, true},
                          {"TFLOPS", 1000000000000, true}}},
    [UNIT_PJ_PER_BYTE] = {"an energy per byte",
                          "60 pJ/B",
                          false,
                          {{"pJ/B", 1, true}, {"nJ/B", 1000, true}}},
    [UNIT_MC_PER_W] = {"a thermal resistance",
                       "6.5 C/W",
                       false,
                       {{"mC/W", 1, true}, {"C/W", 1000, true}}},
    [UNIT_MJ_PER_C] = {"a heat capacity",
                       "90 J/C",
                       false,
                       {{"mJ/C", 1, true}, {"J/C", 1000, true}}},
};

const char *unit_expected(enum unit unit, char *buf, size_t size)
{
    size_t at =
        (size_t)snprintf(buf, size, "%s, as in '%s' (", kinds[unit].what, kinds[unit].example);
    for (int i = 0; i < MAX_NAMES && kinds[unit].name[i].text && at < size; i++)
        at +=
            (size_t)snprintf(buf + at, size - at, "%s%s", i ? ", " : "", kinds[unit].name[i].text);
    if (at < size)
        snprintf(buf + at, size - at, ")");
    return buf;
}

static const struct unit_name *find_name(enum unit unit, const char *text)
{
    for (int i = 0; i < MAX_NAMES && kinds[unit].name[i].text; i++)
        if (!strcmp(kinds[unit].name[i].text, text))
            return &kinds[unit].name[i];
    return NULL;
}

struct decimal {
    uint64_t whole; /* whole + fraction / scale */
    int64_t fraction, scale;
    bool negative;
};

/* Reads the number at the start of `text`; returns what follows it, or NULL when there is none or
 * it has too many digits. */
static const char *read_decimal(const char *text, struct decimal *d)
{
    *d = (struct decimal){.scale = 1, .negative = *text == '-'};
    const char *p = text + d->negative;
    const char *from = p;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (p - from == MAX_WHOLE)
            return NULL;
        d->whole = d->whole * 10 + (uint64_t)(*p - '0');
    }
    if (p == from)
        return NULL;
    if (*p != '.')
        return p;
    for (from = ++p; *p >= '0' && *p <= '9'; p++) {
        if (p - from == MAX_FRACTION)
            return NULL;
        d->fraction = d->fraction * 10 + (*p - '0');
        d->scale *= 10;
    }
    return p == from ? NULL : p;
}

static int64_t gcd(int64_t a, int64_t b)
{
    while (b) {
        int64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

int unit_parse(const char *text, enum unit unit, int64_t *out, struct err *e)
{
    assert(unit >= 0 && unit < UNITS);
    char want[200];
    unit_expected(unit, want, sizeof want);
    struct decimal d;
    const char *rest = read_decimal(text, &d);
    if (!rest)
        return err_set(e, ERR_SCHEMA, "expected %s", want);
    if (*rest == ' ')
        rest++;
    if (!*rest)
        return err_set(e, ERR_SCHEMA, "the unit is missing: expected %s", want);
    const struct unit_name *name = find_name(unit, rest);
    if (!name)
        return err_set(e, ERR_SCHEMA, "'%.40s' is no unit here: expected %s", rest, want);
    if (d.negative && !kinds[unit].negative)
        return err_set(e, ERR_RANGE, "it is negative: expected %s", want);
    int64_t g = gcd(name->factor, d.scale);
    if (d.fraction % (d.scale / g))
        return err_set(e, ERR_RANGE, "it is finer than 1 %s: expected a whole number of %s",
                       kinds[unit].name[0].text, kinds[unit].name[0].text);
    int64_t part = d.fraction / (d.scale / g) * (name->factor / g);
    if (d.whole > (uint64_t)((INT64_MAX - part) / name->factor))
        return err_set(e, ERR_RANGE, "it is too large: expected at most %" PRId64 " %s", INT64_MAX,
                       kinds[unit].name[0].text);
    int64_t v = (int64_t)d.whole * name->factor + part;
    *out = d.negative ? -v : v;
    return ERR_OK;
}

const char *unit_format(int64_t value, enum unit unit, char *buf, size_t size)
{
    assert(unit >= 0 && unit < UNITS);
    uint64_t v = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    const struct unit_name *best = &kinds[unit].name[0];
    for (int i = 1; i < MAX_NAMES && kinds[unit].name[i].written; i++)
        if (v >= (uint64_t)kinds[unit].name[i].factor)
            best = &kinds[unit].name[i];
    uint64_t factor = (uint64_t)best->factor, part = v % factor;
    char fraction[24] = ""; /* "." and the digits of part / factor, without zeroes at the end */
    for (size_t n = 1; part; n++) {
        factor /= 10;
        fraction[0] = '.';
        fraction[n] = (char)('0' + (int)(part / factor));
        part %= factor;
    }
    snprintf(buf, size, "%s%" PRIu64 "%s %s", value < 0 ? "-" : "", v / (uint64_t)best->factor,
             fraction, best->text);
    return buf;
}
