#include "sim/core/evq.h"

#include "sim/base/err.h"

#include <assert.h>

/* Below this a heap becomes a sorted array again: well under EVQ_SORTED, so that a queue that
 * hovers at the border does not change its form at every event. */
enum { SORT_AGAIN = EVQ_SORTED / 2, ARITY = 4 };

int evq_init(struct evq *q, struct arena *a, uint32_t capacity)
{
    assert(capacity > 0);
    *q = (struct evq){.capacity = capacity, .next_ns = CLOCK_NEVER};
    q->at = arena_alloc(a, capacity, sizeof *q->at);
    return q->at ? ERR_OK : ERR_NOMEM;
}

/* Places e at hole i or above it, whichever keeps the heap. */
static void sift_up(struct evq *q, uint32_t i, struct evq_event e)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / ARITY;
        if (!evq_before(&e, &q->at[parent]))
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
            least = evq_before(&q->at[c], &q->at[least]) ? c : least;
        if (!evq_before(&q->at[least], &e))
            break;
        q->at[i] = q->at[least];
        i = least;
    }
    q->at[i] = e;
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
        evq_insert(q->at, i, q->at[i]);
    q->heap = false;
}

void evq_push_many(struct evq *q, struct evq_event e)
{
    if (!q->heap)
        sorted_to_heap(q);
    sift_up(q, q->count++, e);
}

static void look(struct evq *q)
{
    const struct evq_event *e = evq_peek(q);
    q->next_ns = e ? e->time_ns : CLOCK_NEVER;
}

static void remove_from_heap(struct evq *q, uint32_t i)
{
    struct evq_event last = q->at[--q->count];
    if (i < q->count) {
        if (i > 0 && evq_before(&last, &q->at[(i - 1) / ARITY]))
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
    look(q);
    return true;
}

void evq_drop_first(struct evq *q)
{
    remove_from_heap(q, 0);
    look(q);
}

bool evq_pop(struct evq *q, struct evq_event *out)
{
    const struct evq_event *e = evq_peek(q);
    if (!e)
        return false;
    *out = *e;
    evq_drop(q);
    return true;
}
