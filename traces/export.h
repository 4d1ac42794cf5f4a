/* Logs for people and for other tools: text, one CSV row per step, a trace for Perfetto.
 *
 * All read the log to its end and write the same bytes for the same log. Errors are the reader's
 * (what came before them has been written) and ERR_IO for `f`, which stays open and is flushed. */
#ifndef TANDEM_TRACES_EXPORT_H
#define TANDEM_TRACES_EXPORT_H

#include <stdio.h>

#include "sim/exec/log.h"

/* The header's lines, an empty line, then a line per record: its time in ns, what it was, its ids
 * and fields; of an array the first max_items and its length. */
int export_text(struct log_reader *r, FILE *f, int32_t max_items, struct err *e);

/* A row per FORWARD or HEAD whose DONE came, in the order of the DONEs: request, job, phase, role,
 * graph, b0, b1, width, n, pos, start_ns, end_ns, sample_ns, status, bytes, extrapolated (1: the
 * cost lies outside what was measured). ERR_CORRUPT when job ids do not increase, or a job ends
 * that was never submitted. */
int export_csv(struct log_reader *r, FILE *f, struct err *e);

/* The JSON trace format that Perfetto and chrome://tracing open; times in microseconds. Tracks:
 * - one per processor with its jobs (role, kind, phase, width); jobs that overlap on it take a
 *   second one. Roles are the policy's, processors those of the header's role map: a role without
 *   one is its own;
 * - one per request from its arrival to its finish, in it what it waited for: its first job, its
 *   first token, then each emission with the phase of the step before it;
 * - the bus: the sum of what the running jobs move, each evenly between start and end. A log has no
 *   rate but this mean: of jobs that shared the bus for a part of their time the sum may exceed it.
 *   Where no job says what it moved, one slice that says so.
 * ERR_CORRUPT as above, ERR_NOMEM. */
int export_perfetto(struct log_reader *r, FILE *f, struct err *e);

#endif
