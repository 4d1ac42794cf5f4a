/* Policies and a drafter that only tests use: they drive what no shipped policy needs yet. Each is
 * an ordinary policy_type, so that it runs on every executor. */
#ifndef TANDEM_TESTS_POLICIES_H
#define TANDEM_TESTS_POLICIES_H

#include "sim/exec/toy.h"
#include "sim/policy/policy.h"

/* The shipped one that loads and frees blocks (sim/policy/switching.c): with k=2 it needs no
 * belief.
 */
extern const struct policy_type policy_switching;

/* Verifies trees whose true branch comes second at every node. The draft is made from toy_next: set
 * policy_tree_toy before. One request at a time. */
extern const struct policy_type policy_tree;
extern const struct toy_options *policy_tree_toy;

/* Serves as many requests at once as the executor has sequences, one step of each in turn; every
 * token is also appended to drafter 0, where there is one, on a role of its own. */
extern const struct policy_type policy_interleave;

/* Queues all of a request's prefill at once on two roles. On CANCEL_REQUEST it cancels whatever has
 * not ended, waits for every DONE and a WAKE, clears the cache and finishes. */
extern const struct policy_type policy_cancel;

/* Proposes a chain: the last token plus 1, plus 2, ... */
extern const struct drafter_type drafter_count;

#endif
