/* Hashes and counter-based random streams: pure functions of their arguments, the same on every
 * compiler and machine.
 *
 * A random draw is a function of (seed, component, request, index), never of the order of calls, so
 * that two policies meet the same luck and a sweep gives the same bytes for every number of
 * threads. The mixer is the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), applied once
 * per key word. */
#ifndef TANDEM_BASE_HASH_H
#define TANDEM_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t hash_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t hash_step(uint64_t h, uint64_t word)
{
    return hash_mix(h ^ word);
}

/* 64-bit hash of n bytes, for identity of files and results; not for adversaries. Independent of
 * the machine's byte order; about 2 GB/s. */
uint64_t hash_bytes(const void *data, size_t n, uint64_t seed);

/* CRC-32 (polynomial 0xEDB88320, as in zlib): guards files against truncation and bit rot. Pass 0
 * first, then the previous result. */
uint32_t hash_crc32(uint32_t crc, const void *data, size_t n);

enum rng_component {
    RNG_TIMING = 1,
    RNG_WORKLOAD,
    RNG_BELIEF,
    RNG_FAULT,
    RNG_TEST,
    RNG_ACCEPTANCE
};

static inline uint64_t rng_u64(uint64_t seed, enum rng_component component, uint64_t request,
                               uint64_t index)
{
    uint64_t h = hash_step(hash_mix(seed), (uint64_t)component);
    return hash_step(hash_step(h, request), index);
}

/* Uniform in [0, 1) with 53 bits. */
static inline double rng_unit(uint64_t u)
{
    return (double)(u >> 11) * (1.0 / 9007199254740992.0);
}

#endif
