#include "sim/core/watch.h"

#include "sim/base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum mark { UNSEEN, ON_PATH, DONE };

struct watch_node {
    char name[WATCH_NAME];
    uint32_t waits;     /* how many edges leave it */
    enum mark mark;     /* of the search for a cycle: */
    uint32_t next_edge; /* the first edge not yet followed */
    uint32_t path;      /* path[depth] is in nodes[depth].path */
};

struct watch_edge {
    uint32_t from, to;
};

int watch_init(struct watch *w, struct arena *a, uint32_t capacity)
{
    assert(capacity > 0);
    *w = (struct watch){.capacity = capacity};
    w->edges = arena_room(a, capacity, sizeof *w->edges);
    w->nodes = arena_room(a, (size_t)capacity * 2, sizeof *w->nodes);
    return w->edges && w->nodes ? ERR_OK : ERR_NOMEM;
}

void watch_clear(struct watch *w)
{
    w->node_count = w->edge_count = w->dropped = 0;
}

static uint32_t intern(struct watch *w, const char *name)
{
    char cut[WATCH_NAME];
    snprintf(cut, sizeof cut, "%s", name);
    uint32_t i = 0;
    while (i < w->node_count && strcmp(w->nodes[i].name, cut))
        i++;
    if (i == w->node_count) {
        w->nodes[i] = (struct watch_node){.waits = 0};
        memcpy(w->nodes[i].name, cut, sizeof cut);
        w->node_count++;
    }
    return i;
}

void watch_add(struct watch *w, const char *waiter, const char *waited_for)
{
    if (w->edge_count == w->capacity) {
        w->dropped++;
        return;
    }
    uint32_t from = intern(w, waiter), to = intern(w, waited_for);
    w->nodes[from].waits++;
    w->edges[w->edge_count++] = (struct watch_edge){from, to};
}

struct text {
    char *buf;
    size_t size, used;
};

static void append(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void append(struct text *t, const char *fmt, ...)
{
    if (t->used == t->size)
        return;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(t->buf + t->used, t->size - t->used, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= t->size - t->used) {
        t->used = t->size;
        memcpy(t->buf + t->size - 4, "...", 4);
    } else {
        t->used += (size_t)n;
    }
}

/* Depth-first from `start`; the length of the path whose last edge closes a cycle, with *back the
 * node where it began; 0 when there is no cycle. */
static uint32_t search(struct watch *w, uint32_t start, uint32_t *back)
{
    struct watch_node *n = w->nodes;
    uint32_t depth = 1;
    n[0].path = start;
    n[start].mark = ON_PATH;
    while (depth) {
        uint32_t at = n[depth - 1].path, e = n[at].next_edge;
        while (e < w->edge_count && w->edges[e].from != at)
            e++;
        n[at].next_edge = e + 1;
        if (e >= w->edge_count) {
            n[at].mark = DONE;
            depth--;
        } else if (n[w->edges[e].to].mark == ON_PATH) {
            *back = w->edges[e].to;
            return depth;
        } else if (n[w->edges[e].to].mark == UNSEEN) {
            n[w->edges[e].to].mark = ON_PATH;
            n[depth++].path = w->edges[e].to;
        }
    }
    return 0;
}

static void append_cycle(struct watch *w, struct text *t)
{
    for (uint32_t i = 0; i < w->node_count; i++) {
        w->nodes[i].mark = UNSEEN;
        w->nodes[i].next_edge = 0;
    }
    uint32_t length = 0, back = 0;
    for (uint32_t i = 0; i < w->node_count && !length; i++)
        if (w->nodes[i].mark == UNSEEN)
            length = search(w, i, &back);
    if (!length)
        return;
    uint32_t i = 0;
    while (w->nodes[i].path != back)
        i++;
    append(t, "; cycle: ");
    for (; i < length; i++)
        append(t, "%s -> ", w->nodes[w->nodes[i].path].name);
    append(t, "%s", w->nodes[back].name);
}

const char *watch_format(struct watch *w, char *buf, size_t size)
{
    assert(size >= 4);
    struct text t = {.buf = buf, .size = size};
    buf[0] = 0;
    if (!w->edge_count)
        append(&t, "nobody waits");
    for (uint32_t i = 0; i < w->edge_count; i++)
        append(&t, "%s%s waits for %s", i ? "; " : "", w->nodes[w->edges[i].from].name,
               w->nodes[w->edges[i].to].name);
    if (w->dropped)
        append(&t, "; and %u more", (unsigned)w->dropped);
    append_cycle(w, &t);
    for (uint32_t i = 0; i < w->node_count; i++)
        if (!w->nodes[i].waits)
            append(&t, "; nothing will end %s", w->nodes[i].name);
    return buf;
}
