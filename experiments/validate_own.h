/* What the target said in a real run, kept as the request's own trace: its text, the choices under
 * rejected tokens and the likely tokens at prompt positions, as far as the policy saw them. The
 * simulated run of the same request is answered from it. */
#ifndef TANDEM_EXPERIMENTS_VALIDATE_OWN_H
#define TANDEM_EXPERIMENTS_VALIDATE_OWN_H

#include "experiments/validate.h"

/* Wraps *x so that what a run of `prompt` sees is written down; `setup` is the run's. On success *x
 * owns what it was. ERR_NOMEM. */
int val_watch(struct exec **x, const struct run_setup *setup, const struct val_prompt *prompt,
              struct err *e);

/* What was seen so far, as words for val_own_add; valid until the executor's end. ERR_LIMIT when it
 * was more than the request's room. */
int val_watched(const struct exec *x, const int32_t **word, int32_t *n, struct err *e);

/* Adds one run to a trace under an id of its own; *index becomes its number there. */
int val_own_add(struct trace_builder *b, const char *id, const struct val_prompt *prompt,
                enum split split, const struct val_run *run, int32_t *index, struct err *e);

/* Likely tokens that a run of this policy asks for at each prompt position; 0: none. */
int32_t val_top_k(const struct val_policy *p);

/* Opens v->own, the trace of every run that is there, and fills v->own_index. */
int val_own_open(struct validation *v, struct err *e);

/* Builds, by way of the file PATH, which is gone afterwards. */
int val_trace_open(const struct trace_builder *b, const char *path, struct trace **out,
                   struct err *e);

#endif
