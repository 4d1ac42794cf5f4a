#include "sim/core/evq.h"

#include "sim/base/err.h"
#include "sim/core/clock.h"

#include <assert.h>

/* Below this a heap becomes a sorted array again: well under EVQ_SORTED, so that a queue that
 * hovers at the border does not change its form at every event. */
enum { SORT_AGAIN = EVQ_SORTED / 2, ARITY = 4 };

static inline bool before(const struct evq_event *a, const struct evq_event *b)
{
    return a->time_ns < b->time_ns || (a->time_ns == b->time_ns && a->id < b->id);
}

int evq_init(struct evq *q, struct arena *a, uint32_t capacity)
{
    assert(capacity > 0);
    *q = (struct evq){.capacity = capacity};
    q->at = arena_alloc(a, capacity, sizeof *q->at);
    return q->at ? ERR_OK : ERR_NOMEM;
}

void evq_clear(struct evq *q)
{
    q->count = 0;
    q->sequence = 0;
    q->heap = false;
}

/* Places e at hole i or above it, whichever keeps the heap. */
static void sift_up(struct evq *q, uint32_t i, struct evq_event e)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / ARITY;
        if (!before(&e, &q->at[parent]))
            break;
        q->at[i] = q->at[parent];
        i = parent;
    }
    q->at[i] = e;
}

/* Places e at hole i or below it. */
static void sift_down(struct evq *q, uint32_t i, struct evq_event e)
{
    for (;;) {
        uint32_t first = i * ARITY + 1, least = first;
        if (first >= q->count)
            break;
        uint32_t end = q->count - first < ARITY ? q->count : first + ARITY;
        for (uint32_t c = first + 1; c < end; c++)
            least = before(&q->at[c], &q->at[least]) ? c : least;
        if (!before(&q->at[least], &e))
            break;
        q->at[i] = q->at[least];
        i = least;
    }
    q->at[i] = e;
}

/* Sorted mode: e into the hole at the end, or further to the front, where the later ones are. */
static void insert_sorted(struct evq_event *at, uint32_t n, struct evq_event e)
{
    uint32_t i = n;
    for (; i > 0 && before(&at[i - 1], &e); i--)
        at[i] = at[i - 1];
    at[i] = e;
}

/* Earliest first is a heap as it stands. */
static void sorted_to_heap(struct evq *q)
{
    for (uint32_t i = 0, j = q->count - 1; i < j; i++, j--) {
        struct evq_event e = q->at[i];
        q->at[i] = q->at[j];
        q->at[j] = e;
    }
    q->heap = true;
}

static void heap_to_sorted(struct evq *q)
{
    for (uint32_t i = 1; i < q->count; i++)
        insert_sorted(q->at, i, q->at[i]);
    q->heap = false;
}

uint64_t evq_push(struct evq *q, int64_t time_ns, unsigned kind, uint64_t data)
{
    assert(kind < EVQ_KINDS && time_ns >= 0 && time_ns <= CLOCK_MAX_NS);
    if (q->count == q->capacity)
        return 0;
    uint64_t id = (uint64_t)kind << 56 | ++q->sequence;
    struct evq_event e = {.time_ns = time_ns, .id = id, .data = data};
    if (!q->heap && q->count == EVQ_SORTED)
        sorted_to_heap(q);
    if (q->heap)
        sift_up(q, q->count, e);
    else
        insert_sorted(q->at, q->count, e);
    q->count++;
    return id;
}

static void remove_from_heap(struct evq *q, uint32_t i)
{
    struct evq_event last = q->at[--q->count];
    if (i < q->count) {
        if (i > 0 && before(&last, &q->at[(i - 1) / ARITY]))
            sift_up(q, i, last);
        else
            sift_down(q, i, last);
    }
    if (q->count < SORT_AGAIN)
        heap_to_sorted(q);
}

bool evq_cancel(struct evq *q, uint64_t id)
{
    uint32_t i = 0;
    while (i < q->count && q->at[i].id != id)
        i++;
    if (i == q->count)
        return false;
    if (q->heap) {
        remove_from_heap(q, i);
    } else {
        q->count--;
        for (; i < q->count; i++)
            q->at[i] = q->at[i + 1];
    }
    return true;
}

const struct evq_event *evq_peek(const struct evq *q)
{
    if (!q->count)
        return NULL;
    return q->heap ? &q->at[0] : &q->at[q->count - 1];
}

int64_t evq_next_ns(const struct evq *q)
{
    const struct evq_event *e = evq_peek(q);
    return e ? e->time_ns : CLOCK_NEVER;
}

bool evq_pop(struct evq *q, struct evq_event *out)
{
    if (!q->count)
        return false;
    if (q->heap) {
        *out = q->at[0];
        remove_from_heap(q, 0);
    } else {
        *out = q->at[--q->count];
    }
    return true;
}
