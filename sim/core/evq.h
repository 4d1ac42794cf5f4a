/* The event queue: few pending events in one total order, (time, kind, sequence).
 *
 * The sequence is the order of pushes, so that events of one time and kind leave in the order in
 * which they came. Up to EVQ_SORTED pending events are a sorted array; more are a 4-ary heap. The
 * order does not depend on which. Memory is taken once, at init. Cost in bench.h's units: push and
 * pop together about 10 ns with 16 pending; cancel looks at every pending event. */
#ifndef TANDEM_CORE_EVQ_H
#define TANDEM_CORE_EVQ_H

#include "sim/base/arena.h"

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
    bool heap; /* at[] is a heap, earliest first; otherwise sorted, earliest last */
};

/* Room for `capacity` (at least 1) pending events, owned by the arena. ERR_OK or ERR_NOMEM. */
int evq_init(struct evq *q, struct arena *a, uint32_t capacity);

/* Forgets every pending event and starts the sequence again. */
void evq_clear(struct evq *q);

/* The event's id, never 0 and never given twice; 0 when the queue is full. 0 <= kind < EVQ_KINDS.
 */
uint64_t evq_push(struct evq *q, int64_t time_ns, unsigned kind, uint64_t data);

/* False when no such event is pending: it has left the queue, or never was in it. */
bool evq_cancel(struct evq *q, uint64_t id);

/* The earliest event, left in place; NULL when none is pending. Valid until the next call. */
const struct evq_event *evq_peek(const struct evq *q);

/* Its time; CLOCK_NEVER when none is pending. */
int64_t evq_next_ns(const struct evq *q);

/* Takes the earliest event; false when none is pending. */
bool evq_pop(struct evq *q, struct evq_event *out);

#endif
