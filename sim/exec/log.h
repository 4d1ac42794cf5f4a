/* Logs: everything that passed the seam in one run, in order. One format for all executors.
 *
 * A file is a readable header (lines "key: value", ended by an empty line), a binary body, and a
 * trailer. The body is a row of records, each: a type byte, the payload's length (LEB128), the
 * payload (integers as LEB128, signed ones zigzag-coded, times as differences to the record
 * before), and the payload's CRC-32. The trailer record holds the count of records and the hash of
 * the actions; a file without it belongs to a run that was killed.
 *
 * A log needs no other file: prompts, the belief, every parameter and every output are in it. */
#ifndef TANDEM_EXEC_LOG_H
#define TANDEM_EXEC_LOG_H

#include <stdio.h>

#include "sim/exec/driver.h"

enum { LOG_VERSION = 1 };

/* The numbers are part of the format. */
enum log_type { LOG_BELIEF = 1, LOG_EVENT, LOG_HOST, LOG_ACTION, LOG_TRAILER };

/* ---- writing --------------------------------------------------------------------------------- */

struct log_writer;

/* Writes to `path`.part and renames on log_close, so that a log is whole or absent. */
int log_create(const char *path, const char *executor, const struct run_setup *setup,
               const struct exec_caps *caps, struct log_writer **out, struct err *e);
int log_event(struct log_writer *w, const struct event *event);
int log_host(struct log_writer *w, int64_t host_ns, const struct host_work *work);
int log_action(struct log_writer *w, const struct action *action);

/* Frees w either way; with `keep` false nothing is left behind. */
int log_close(struct log_writer *w, bool keep, struct err *e);

/* ---- reading --------------------------------------------------------------------------------- */

struct log_record {
    uint8_t type;  /* enum log_type */
    size_t offset; /* of the record in the file */
    union {
        struct event event;
        struct action action;
        struct {
            int64_t host_ns;
            struct host_work work;
        } host;
        struct {
            int64_t n_records;
            uint64_t actions_hash;
        } trailer;
    };
};

struct log_reader;

/* Opens a file, or n bytes that stay valid until log_close_reader (`name` is for messages). The
 * header is parsed and checked at once: ERR_CORRUPT and ERR_SCHEMA name the offset or the line. */
int log_open(const char *path, struct log_reader **out, struct err *e);
int log_open_bytes(const char *name, const void *bytes, size_t n, struct log_reader **out,
                   struct err *e);
void log_close_reader(struct log_reader *r);

/* The run that was logged: policy and drafters resolved in the registries by name (ERR_UNSUPPORTED
 * when this program does not have one), the belief, the limits. */
int log_setup(struct log_reader *r, struct run_setup *setup, struct exec_caps *caps, struct err *e);

/* A header line's value, or NULL. */
const char *log_header(const struct log_reader *r, const char *key);

/* Reads the next record; arrays are valid until the reader is closed for ARRIVE, until the next
 * call otherwise. Returns ERR_OK, ERR_CORRUPT (damaged, or no trailer: *e names the offset), or
 * ERR_OK with type LOG_TRAILER at the end. */
int log_next(struct log_reader *r, struct log_record *out, struct err *e);

#endif
