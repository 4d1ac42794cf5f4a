/* Power: one active/idle integral per processor, exact, in picojoules (1 mW x 1 ns = 1 pJ).
 *
 *     E(t) = sum over spells with a job of its power * time + idle_mw * (the other time)
 *
 * A job has the processor's active power, or one of its own; of several at once the first's counts.
 * What was not measured is unknown, never zero: with either power unknown the energy is unknown,
 * and a sum with an unknown part is unknown. */
#ifndef TANDEM_CORE_POWER_H
#define TANDEM_CORE_POWER_H

#include <stdbool.h>
#include <stdint.h>

#define POWER_UNKNOWN (-1)
#define POWER_MAX_MW  ((int64_t)1000000000)

/* mj * 10^9 + pj picojoules, 0 <= pj < 10^9: int64_t alone would end after 51 hours at 50 W. Both
 * are 0 when the energy is not known. */
struct energy {
    int64_t mj;
    int64_t pj;
    bool known;
};

struct power {
    int64_t active_mw, idle_mw;
    int64_t now_mw;       /* of the spell of activity that is open */
    int64_t start_ns;     /* when the integral began */
    int64_t active_ns;    /* closed spells of activity */
    struct energy active; /* and their energy */
    int64_t since_ns;     /* of the last change */
    int32_t running;      /* jobs */
};

/* Idle from now on. Each power is in [0, POWER_MAX_MW] or POWER_UNKNOWN. */
void power_init(struct power *p, int64_t active_mw, int64_t idle_mw, int64_t now_ns);

/* A job starts, or ends, on this processor. They may overlap: active is at least one. */
void power_begin(struct power *p, int64_t now_ns);
void power_begin_at(struct power *p, int64_t mw, int64_t now_ns); /* mw may be POWER_UNKNOWN */
void power_end(struct power *p, int64_t now_ns);

/* From init to now_ns, which is not before the last change. */
int64_t power_active_ns(const struct power *p, int64_t now_ns);
struct energy power_energy(const struct power *p, int64_t now_ns);

/* Of that the spells with a job alone: known whatever the idle power is. */
struct energy power_work(const struct power *p, int64_t now_ns);

/* Drawn at this moment, in mW; POWER_UNKNOWN. */
int64_t power_now_mw(const struct power *p);

/* a * b picojoules: mW times ns, or pJ per byte times bytes; a in [0, POWER_MAX_MW], b >= 0. */
struct energy energy_product(int64_t a, int64_t b);

struct energy energy_add(struct energy a, struct energy b);

/* False, and *pj untouched, when the energy is unknown or above INT64_MAX picojoules. */
bool energy_pj(struct energy e, int64_t *pj);

#endif
