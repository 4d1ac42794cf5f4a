/* Proposals by what their drafter was told: a sweep over devices, and a validation's readings, ask
 * the same drafters the same things again and again. A drafter is deterministic, so that its answer
 * is a function of its type, its parameters, its limits, the responses that it remembers and every
 * job of the request so far: the key is a hash of all that (the accepted prefix is a part of it).
 *
 * Fixed memory, allocated at once; what does not fit is not kept. For one thread. */
#ifndef TANDEM_EXEC_MEMO_H
#define TANDEM_EXEC_MEMO_H

#include <stdbool.h>

#include "sim/base/err.h"
#include "sim/draft/draft.h"

struct draft_memo;

/* Room for about `answers` answers of `nodes` nodes. ERR_NOMEM. */
int draft_memo_create(int32_t answers, int32_t nodes, struct draft_memo **out, struct err *e);
void draft_memo_destroy(struct draft_memo *m);

/* Fills *tree (arrays for the answer's nodes) and *work; false when the key is not there. */
bool draft_memo_get(struct draft_memo *m, uint64_t key, struct draft_tree *tree,
                    struct draft_work *work);

/* The key is not there yet. */
void draft_memo_put(struct draft_memo *m, uint64_t key, const struct draft_tree *tree,
                    const struct draft_work *work);

struct draft_memo_stats {
    int64_t asked, found, kept;
};

struct draft_memo_stats draft_memo_stats(const struct draft_memo *m);

#endif
