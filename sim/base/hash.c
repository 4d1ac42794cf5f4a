#include "sim/base/hash.h"

static uint64_t load_le(const unsigned char *p, size_t n)
{
    uint64_t w = 0;
    for (size_t i = 0; i < n; i++)
        w |= (uint64_t)p[i] << (8 * i);
    return w;
}

uint64_t hash_bytes(const void *data, size_t n, uint64_t seed)
{
    /* Four lanes hide the multiplier's latency; the tail and the length go into the result. */
    const unsigned char *p = data;
    uint64_t lane[4];
    for (unsigned i = 0; i < 4; i++)
        lane[i] = hash_mix(seed + i);
    size_t left = n;
    for (; left >= 32; left -= 32, p += 32)
        for (unsigned i = 0; i < 4; i++)
            lane[i] = hash_step(lane[i], load_le(p + 8 * i, 8));
    uint64_t h = hash_step(hash_step(lane[0], lane[1]), hash_step(lane[2], lane[3]));
    for (; left >= 8; left -= 8, p += 8)
        h = hash_step(h, load_le(p, 8));
    h = hash_step(h, load_le(p, left));
    return hash_step(h, (uint64_t)n);
}

uint32_t hash_crc32(uint32_t crc, const void *data, size_t n)
{
    /* Nibble-wise: a 64-byte table that needs no initialisation at load. */
    static const uint32_t nibble[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                        0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    const unsigned char *p = data;
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc = nibble[(crc ^ p[i]) & 15] ^ (crc >> 4);
        crc = nibble[(crc ^ (uint32_t)(p[i] >> 4)) & 15] ^ (crc >> 4);
    }
    return ~crc;
}
