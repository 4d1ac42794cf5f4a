/* Logs: everything that passed the seam in one run, in order. One format for all executors.
 *
 * A file is a readable header (lines "key: value", ended by an empty line), a binary body, and a
 * trailer. The header's last line is the CRC-32 of all lines before it. The body is a row of
 * records, each: a type byte, the payload's length (LEB128), the payload (integers as LEB128,
 * signed ones zigzag-coded, times as differences to the event before, floats as their 32 bits,
 * the reason of a job that failed as length and bytes), and
 * four bytes of CRC-32 (lowest first) over the record's other bytes, continued from the record
 * before, the header's for the first: a record that was changed, moved, doubled or lost is
 * noticed. The first record is the belief, the trailer holds the count of records and the hash of
 * the actions; a file without it belongs to a run that was killed.
 *
 * A log needs no other file: prompts, the belief, every parameter and every output are in it. */
#ifndef TANDEM_EXEC_LOG_H
#define TANDEM_EXEC_LOG_H

#include <stdio.h>

#include "sim/exec/driver.h"

enum { LOG_VERSION = 3 };

/* What a header may hold: bytes in all, and the largest of the numbers that readers size their
 * memory by. Writing and reading refuse more with ERR_LIMIT and ERR_SCHEMA. */
enum {
    LOG_MAX_HEADER = 16384,
    LOG_MAX_CTX = 1 << 24,
    LOG_MAX_ROWS = 1 << 20,
    LOG_MAX_SMALL = 1 << 16 /* blocks, sequences, jobs, slots, top-k, open requests */
};

/* The numbers are part of the format. */
enum log_type { LOG_BELIEF = 1, LOG_EVENT, LOG_HOST, LOG_ACTION, LOG_TRAILER };

/* ---- writing -------------------------------------------------------------------------------- */

struct log_writer;

/* Writes to `path`.part and renames on log_close, so that a log is whole or absent. ERR_LIMIT or
 * ERR_SCHEMA when the set-up does not fit a header that readers accept, ERR_IO. */
int log_create(const char *path, const char *executor, const struct run_setup *setup,
               const struct exec_caps *caps, struct log_writer **out, struct err *e);

/* Each returns the writer's first error, ERR_IO or ERR_NOMEM, from then on. `due_ns` is the time at
 * which the driver's own event was due; of a DONE it is its time_ns. */
int log_event(struct log_writer *w, const struct event *event, int64_t due_ns);
int log_host(struct log_writer *w, int64_t host_ns, const struct host_work *work);
int log_action(struct log_writer *w, const struct action *action);

/* That error, with the file and the system's reason; ERR_OK when there is none. */
int log_error(const struct log_writer *w, struct err *e);

/* Frees w either way; with `keep` false, or after an error, nothing is left behind. */
int log_close(struct log_writer *w, bool keep, struct err *e);

/* ---- reading -------------------------------------------------------------------------------- */

struct log_record {
    uint8_t type;    /* enum log_type; never LOG_BELIEF, which log_setup gives */
    int64_t number;  /* of the record in the file, from 0, the belief */
    size_t offset;   /* of the record in the file */
    int64_t time_ns; /* EVENT: its own; HOST: its event's; ACTION: when it was carried out, which is
                        the event's time and the host's; TRAILER: the last action's */
    int64_t due_ns;  /* EVENT: as given to log_event */
    size_t n_payload;
    const unsigned char *payload; /* the record's own bytes */
    union {
        struct event event;
        struct action action;
        struct {
            int64_t host_ns;
            struct host_work work;
        } host;
        struct {
            int64_t n_records;     /* the trailer not counted */
            uint64_t actions_hash; /* as struct run_result's */
        } trailer;
    };
};

struct log_reader;

/* Opens a file, or n bytes that stay valid until log_close_reader (`name` is for messages). The
 * header and the belief are parsed and checked at once: ERR_CORRUPT and ERR_SCHEMA name the offset
 * or the line. */
int log_open(const char *path, struct log_reader **out, struct err *e);
int log_open_bytes(const char *name, const void *bytes, size_t n, struct log_reader **out,
                   struct err *e);
void log_close_reader(struct log_reader *r);

/* Types that are in no registry: plug-ins', tests'. NULL-terminated, searched first; may be NULL.
 */
struct log_types {
    const struct policy_type *const *policy;
    const struct drafter_type *const *drafter;
};

/* The run that was logged: policy and drafters found by name in `types` (NULL: none) or in the
 * registries, the belief, the limits. ERR_UNSUPPORTED when this program has no such policy or
 * drafter; ERR_SCHEMA with the line for parameters that it does not take, or that are missing. */
int log_setup(struct log_reader *r, const struct log_types *types, struct run_setup *setup,
              struct exec_caps *caps, struct err *e);

/* As log_setup, without policy and drafters: the numbers alone, which any program can read. */
void log_limits(const struct log_reader *r, struct run_setup *setup, struct exec_caps *caps);

/* A header line's value, or NULL. */
const char *log_header(const struct log_reader *r, const char *key);

/* The header as it stands in the file, with its last line and without the empty one. Not
 * NUL-terminated. */
const char *log_header_text(const struct log_reader *r, size_t *n);

/* Reads the next record; arrays are valid until the reader is closed for ARRIVE, until the next
 * call otherwise. Returns ERR_OK, ERR_CORRUPT (damaged, or no trailer: *e names the offset), or
 * ERR_OK with type LOG_TRAILER at the end; not to be called after either. Whether records make
 * sense one after another is not checked: that is replay's. */
int log_next(struct log_reader *r, struct log_record *out, struct err *e);

/* ---- text ----------------------------------------------------------------------------------- */

/* "FORWARD", "prefill", "DONE", "SUBMIT", "cancelled"; "?" for a number that has no name. */
const char *log_job_name(uint8_t job_kind);
const char *log_phase_name(uint8_t phase);
const char *log_event_name(uint8_t event_kind);
const char *log_action_name(uint8_t action_kind);
const char *log_status_name(uint8_t done_status);

/* Write one line without its end. Of longer arrays the first max_items are shown and their length,
 * INT32_MAX shows all. */
void log_print(FILE *f, const struct log_record *r, int32_t max_items);
void log_print_action(FILE *f, const struct action *a, int32_t max_items);
void log_print_event(FILE *f, const struct event *ev, int32_t max_items);

#endif
