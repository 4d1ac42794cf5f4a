/* A policy with its parameters and drafter, in one word for command lines and tables:
 *
 *     POLICY[:PARAM=VALUE,...][+DRAFTER[:PARAM=VALUE,...]]
 *     speculative:max_draft=7,width=8+lookup:ngram=3
 */
#ifndef TANDEM_EXPERIMENTS_SPEC_H
#define TANDEM_EXPERIMENTS_SPEC_H

#include "sim/exec/driver.h"

/* Fills policy, parameters and drafter 0 of *setup; leaves the rest alone. ERR_USAGE for a name
 * that there is not; the errors of param_set. */
int spec_parse(const char *text, struct run_setup *setup, struct err *e);

/* Room for any: names of up to 31 characters, values of up to 47, as spec_parse reads them. */
enum { SPEC_PARAMS = PARAM_MAX * (31 + 1 + 47 + 1), SPEC_TEXT = 2 * (1 + 31 + 1 + SPEC_PARAMS) };

/* The whole of it, every parameter named; returns buf. */
const char *spec_format(const struct run_setup *setup, char buf[SPEC_TEXT]);

/* Whether the output is the target's own by construction: the policy says so, or no drafter can
 * propose a tree that is no chain. */
bool spec_lossless(const struct run_setup *setup);

#endif
