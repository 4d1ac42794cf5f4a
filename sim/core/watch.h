/* The no-progress watchdog: who waits for whom, in words.
 *
 * A run is stuck when nothing is pending and jobs are outstanding. Whoever finds that names each
 * wait ("job 7 (FORWARD on npu)" waits for "job 5 (DRAFT on cpu)"); the text lists them, and says
 * what is at their root: a cycle, or somebody who is waited for and waits for nobody, so that
 * nothing will ever end the wait. */
#ifndef TANDEM_CORE_WATCH_H
#define TANDEM_CORE_WATCH_H

#include "sim/base/arena.h"

#include <stddef.h>
#include <stdint.h>

enum { WATCH_NAME = 80 }; /* bytes, NUL included; longer names are cut, and differ before that */

struct watch_node;
struct watch_edge;

struct watch {
    struct watch_node *nodes;
    struct watch_edge *edges;
    uint32_t node_count, edge_count, capacity;
    uint32_t dropped; /* waits beyond the capacity */
};

/* Room for `capacity` waits (at least 1), owned by the arena. ERR_OK or ERR_NOMEM. */
int watch_init(struct watch *w, struct arena *a, uint32_t capacity);

void watch_clear(struct watch *w);

/* Names are copied, and are equal when their text is. Waits beyond the capacity are counted only.
 */
void watch_add(struct watch *w, const char *waiter, const char *waited_for);

/* Writes
 *     A waits for B; B waits for A; cycle: A -> B -> A
 *     A waits for B; nothing will end B
 * in the order of watch_add, the first cycle found; "nobody waits" when there is nothing to tell. A
 * text that does not fit ends in "...". Returns buf; size is at least 4. */
const char *watch_format(struct watch *w, char *buf, size_t size);

#endif
