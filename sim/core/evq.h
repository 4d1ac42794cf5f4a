/* The event queue: few pending events in one total order, (time, kind, sequence).
 *
 * The sequence is the order of pushes, so that events of one time and kind leave in the order in
 * which they came. Up to EVQ_SORTED pending events are a sorted array; more are a 4-ary heap. The
 * order does not depend on which. Memory is taken once, at init. Cost in bench.h's units: push and
 * pop together about 10 ns with 16 pending; cancel looks at every pending event. The sorted array's
 * part is here, to be inlined: a run has two or three pending. */
#ifndef TANDEM_CORE_EVQ_H
#define TANDEM_CORE_EVQ_H

#include "sim/base/arena.h"
#include "sim/core/clock.h"

#include <stdbool.h>
#include <stdint.h>

enum { EVQ_SORTED = 32, EVQ_KINDS = 256 };

struct evq_event {
    int64_t time_ns;
    uint64_t id;   /* kind << 56 | sequence: the order within one time, and the name for cancel */
    uint64_t data; /* the caller's: an index, a job's id */
};

static inline unsigned evq_kind(const struct evq_event *e)
{
    return (unsigned)(e->id >> 56);
}

struct evq {
    struct evq_event *at;
    uint32_t count, capacity;
    uint64_t sequence;
    int64_t next_ns; /* of the earliest: asked for more often than it changes */
    bool heap;       /* at[] is a heap, earliest first; otherwise sorted, earliest last */
};

/* Room for `capacity` (at least 1) pending events, owned by the arena. ERR_OK or ERR_NOMEM. */
int evq_init(struct evq *q, struct arena *a, uint32_t capacity);

/* The total order. */
static inline bool evq_before(const struct evq_event *a, const struct evq_event *b)
{
    return a->time_ns < b->time_ns || (a->time_ns == b->time_ns && a->id < b->id);
}

/* Private to the queue: e into the hole at the end of n sorted ones, or further to the front, where
 * the later ones are; the same where there is, or will be, a heap; and out of a heap. */
static inline void evq_insert(struct evq_event *at, uint32_t n, struct evq_event e)
{
    uint32_t i = n;
    for (; i > 0 && evq_before(&at[i - 1], &e); i--)
        at[i] = at[i - 1];
    at[i] = e;
}

void evq_push_many(struct evq *q, struct evq_event e);
void evq_drop_first(struct evq *q);

/* The event's id, never 0 and never given twice; 0 when the queue is full. 0 <= kind < EVQ_KINDS.
 */
static inline uint64_t evq_push(struct evq *q, int64_t time_ns, unsigned kind, uint64_t data)
{
    assert(kind < EVQ_KINDS && time_ns >= 0 && time_ns <= CLOCK_MAX_NS);
    if (q->count == q->capacity)
        return 0;
    struct evq_event e = {time_ns, (uint64_t)kind << 56 | ++q->sequence, data};
    if (q->heap || q->count == EVQ_SORTED)
        evq_push_many(q, e);
    else
        evq_insert(q->at, q->count++, e);
    q->next_ns = clock_min(q->next_ns, time_ns);
    return e.id;
}

/* False when no such event is pending: it has left the queue, or never was in it. */
bool evq_cancel(struct evq *q, uint64_t id);

/* The earliest event, left in place; NULL when none is pending. Valid until the next call. */
static inline const struct evq_event *evq_peek(const struct evq *q)
{
    return !q->count ? NULL : q->heap ? &q->at[0] : &q->at[q->count - 1];
}

/* Its time; CLOCK_NEVER when none is pending. */
static inline int64_t evq_next_ns(const struct evq *q)
{
    return q->next_ns;
}

/* Takes the earliest event out; one is pending. */
static inline void evq_drop(struct evq *q)
{
    if (q->heap) {
        evq_drop_first(q);
        return;
    }
    q->count--;
    q->next_ns = q->count ? q->at[q->count - 1].time_ns : CLOCK_NEVER;
}

/* Takes the earliest event; false when none is pending. */
bool evq_pop(struct evq *q, struct evq_event *out);

#endif
