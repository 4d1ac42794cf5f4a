/* An arena: memory of one run, freed at once. Not thread-safe: one arena has one owner.
 *
 * After arena_seal any further allocation is a bug and asserts: this is how "no allocation after a
 * run has started" is kept true. */
#ifndef TANDEM_BASE_ARENA_H
#define TANDEM_BASE_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *head;
    size_t used_bytes; /* handed out, padding included */
    int sealed;
};

void arena_init(struct arena *a);
void arena_fini(struct arena *a);

/* Zeroed memory, aligned for any type; NULL when the system has none left or count * size
 * overflows. Valid until arena_reset or arena_fini. */
void *arena_alloc(struct arena *a, size_t count, size_t size);

/* The same of any content, for what is written before it is read: pages that nobody touches cost
 * nothing. */
void *arena_room(struct arena *a, size_t count, size_t size);

/* A copy of s with its NUL; NULL as above. */
char *arena_strdup(struct arena *a, const char *s);

void arena_seal(struct arena *a);
void arena_unseal(struct arena *a);

/* Frees all memory and opens a sealed arena again. */
void arena_reset(struct arena *a);

#endif
