#include "sim/base/arena.h"

#include <assert.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    alignas(max_align_t) unsigned char data[];
};

enum { BLOCK_BYTES = 1 << 16 };

void arena_init(struct arena *a)
{
    memset(a, 0, sizeof *a);
}

void arena_fini(struct arena *a)
{
    for (struct arena_block *b = a->head, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    memset(a, 0, sizeof *a);
}

void arena_reset(struct arena *a)
{
    arena_fini(a);
}

void arena_seal(struct arena *a)
{
    a->sealed = 1;
}

void arena_unseal(struct arena *a)
{
    a->sealed = 0;
}

/* Room for n bytes: in the block that is filled, or a new one. What is larger than a block gets one
 * of its own, which the system hands out as zeroes without a write where it can. */
static void *take(struct arena *a, size_t n, bool zero)
{
    struct arena_block *b = a->head;
    if (!b || b->size - b->used < n) {
        size_t room = n > BLOCK_BYTES ? n : BLOCK_BYTES;
        size_t bytes = sizeof *b + room;
        b = zero && n > BLOCK_BYTES ? calloc(1, bytes) : malloc(bytes);
        if (!b)
            return NULL;
        zero = zero && n <= BLOCK_BYTES;
        b->used = 0;
        b->size = room;
        bool behind = a->head && a->head->size - a->head->used > room - n;
        struct arena_block **at = behind ? &a->head->next : &a->head;
        b->next = *at;
        *at = b;
    }
    void *p = b->data + b->used;
    b->used += n;
    a->used_bytes += n;
    return zero ? memset(p, 0, n) : p;
}

static void *take_many(struct arena *a, size_t count, size_t size, bool zero)
{
    assert(!a->sealed && "allocation after the run has started");
    if (size && count > (SIZE_MAX / 2) / size)
        return NULL;
    const size_t align = alignof(max_align_t);
    return take(a, (count * size + align - 1) / align * align, zero);
}

void *arena_alloc(struct arena *a, size_t count, size_t size)
{
    return take_many(a, count, size, true);
}

void *arena_room(struct arena *a, size_t count, size_t size)
{
    return take_many(a, count, size, false);
}

char *arena_strdup(struct arena *a, const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = arena_room(a, n, 1);
    if (p)
        memcpy(p, s, n);
    return p;
}
