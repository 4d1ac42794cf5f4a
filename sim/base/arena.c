#include "sim/base/arena.h"

#include <assert.h>
#include <stdalign.h>
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

void *arena_alloc(struct arena *a, size_t count, size_t size)
{
    assert(!a->sealed && "allocation after the run has started");
    if (size && count > (SIZE_MAX / 2) / size)
        return NULL;
    size_t n = count * size;
    const size_t align = alignof(max_align_t);
    n = (n + align - 1) / align * align;
    if (!a->head || a->head->size - a->head->used < n) {
        size_t room = n > BLOCK_BYTES ? n : BLOCK_BYTES;
        struct arena_block *b = calloc(1, sizeof *b + room);
        if (!b)
            return NULL;
        b->size = room;
        b->next = a->head;
        a->head = b;
    }
    void *p = a->head->data + a->head->used;
    a->head->used += n;
    a->used_bytes += n;
    return p;
}

char *arena_strdup(struct arena *a, const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = arena_alloc(a, n, 1);
    if (p)
        memcpy(p, s, n);
    return p;
}
